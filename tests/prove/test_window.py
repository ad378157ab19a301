"""The window of ``chainrule draw`` on a display of its own (Debian's xvfb), driven by events."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from chainrule.apps.draw import selftest
from chainrule.apps.predictor import DigitPredictor

DRAWINGS = json.loads((Path(__file__).parent.parent / "fixtures" / "drawings.json").read_text())


@pytest.fixture(scope="module")
def display():
    """A screen that nobody sees."""
    read, write = os.pipe()
    command = [shutil.which("Xvfb") or "Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1200x24"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as told:
            before, os.environ["DISPLAY"] = os.environ.get("DISPLAY"), f":{told.readline().strip()}"
        yield os.environ["DISPLAY"]
        server.terminate()
    if before is None:
        del os.environ["DISPLAY"]
    else:
        os.environ["DISPLAY"] = before


@pytest.fixture
def window(display):
    import tkinter as tk

    from chainrule.apps.draw.window import Window

    found = Window(tk.Tk(), DigitPredictor())
    found.root.focus_force()  # no window manager gives it the keys
    found.root.update()
    yield found
    if found.reader.thread.is_alive():
        found.close()


def shares(drawing):
    """The strokes of a drawing, in the middle of the sheet."""
    points = np.concatenate([np.array(stroke, float) for stroke in drawing["strokes"]])
    low, size = points.min(0), np.ptp(points, axis=0)
    return [((np.array(s) - low - size / 2) / size.max() * 0.7 + 0.5).tolist() for s in drawing["strokes"]]


def extents(window):
    """Left, top, right and bottom of what is drawn, as shares of the square of the sheet."""
    window.paint()
    side, left, top = window.square()
    box = window.sheet.bbox("all")
    return [(v - start) / side for v, start in zip(box, (left, top, left, top), strict=True)]


def settled(window, digit):
    selftest.wait(window, lambda: selftest.reads(window) == digit, f"a {digit} was read")


def test_the_selftest_of_the_command(display):
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "draw", "--selftest"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("selftest passed")


def test_every_digit_is_read_by_events(window):
    for digit in range(10):
        selftest.strike(window, shares(DRAWINGS[20 * digit + 11]))
        settled(window, digit)
        assert window.says["text"] == f"This is a {digit}." and window.digit["text"] == str(digit)
        assert window.top["text"].startswith(f"{digit}: ")
        window.root.event_generate("<Escape>")
        selftest.wait(window, lambda: window.answer is None, "the sheet was cleared")


def test_the_window_shows_what_the_network_sees(window):
    selftest.strike(window, shares(DRAWINGS[25]))
    settled(window, 1)
    size, image = int(window.seen["width"]), window.answer.found.steps.image
    for row, column in ((14, 14), (5, 14), (0, 0), (14, 2)):
        at = [int((part + 0.5) * size / 28) for part in (column, row)]
        assert window.shown.get(*at)[0] == round(float(image[row, column]) * 255)


@pytest.mark.parametrize("size", ["720x640", "1500x660", "800x1100"])
def test_another_size_loses_nothing(window, size):
    selftest.strike(window, shares(DRAWINGS[20 * 5 + 3]))
    settled(window, 5)
    before, extent = [stroke.points for stroke in window.drawing.strokes], extents(window)
    window.root.geometry(size)
    selftest.wait(window, lambda: window.root.geometry().startswith(size), f"the window was {size}")
    assert [stroke.points for stroke in window.drawing.strokes] == before
    window.root.update()
    assert extents(window) == pytest.approx(extent, abs=0.02)
    window.clear()
    selftest.strike(window, shares(DRAWINGS[20 * 6 + 3]))
    settled(window, 6)


def test_drawing_never_waits_for_the_network(window):
    slow = window.predictor

    def predict(source, pen):
        time.sleep(0.5)
        return slow(source, pen)

    window.reader.predict = predict
    start = time.perf_counter()
    for _ in range(3):
        selftest.strike(window, shares(DRAWINGS[20 * 3]))
        window.root.update()
    assert time.perf_counter() - start < 0.5 * 3
    settled(window, selftest.reads(window) if window.answer else window.predictor(*window.drawing.source()).digit)


def test_a_saved_picture_is_opened_and_read(window, tmp_path):
    selftest.strike(window, shares(DRAWINGS[20 * 2 + 1]))
    settled(window, 2)
    window.save(str(tmp_path / "two.png"))
    window.clear()
    selftest.wait(window, lambda: window.answer is None, "the sheet was cleared")
    window.open(str(tmp_path / "two.png"))
    settled(window, 2)
    assert window.drawing.picture.shape == (560, 560) and window.sheet.find_all()
    window.root.event_generate("<Control-z>")
    assert window.drawing.picture is None


def test_what_is_no_digit_and_no_model_are_told(window):
    selftest.strike(window, [[(0.5, 0.5), (0.5, 0.5)]])
    selftest.wait(window, lambda: "hardly more than a dot" in window.says["text"], "the dot was told")
    window.predictor = None
    window.clear()
    selftest.wait(window, lambda: "There is no network here" in window.says["text"], "it was told that none is there")
    window.close()


def test_closing_while_it_reads_ends_the_thread(window):
    selftest.strike(window, shares(DRAWINGS[0]))
    window.close()
    assert not window.reader.thread.is_alive()


def test_an_answer_that_comes_after_the_sheet_was_cleared_is_passed_over(window):
    import threading

    quick, began, go = window.predictor, threading.Event(), threading.Event()

    def predict(source, pen):
        began.set()
        go.wait(20)
        return quick(source, pen)

    window.reader.predict = predict
    selftest.strike(window, shares(DRAWINGS[20 * 9]))
    selftest.wait(window, began.is_set, "the network was asked")
    window.clear()
    window.ask()
    selftest.strike(window, shares(DRAWINGS[20 * 1 + 1])[:1])
    seen, show = [], window.show
    window.show = lambda answer: (seen.append(answer), show(answer))
    go.set()
    settled(window, 1)
    assert [answer.found.digit for answer in seen if answer] == [1] * len([answer for answer in seen if answer])
