"""The window of ``chainrule draw`` on a display of its own (Debian's xvfb), driven by events."""

import gc
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
def window(display, monkeypatch, tmp_path):
    import tkinter as tk

    from chainrule.apps.draw.window import Window

    monkeypatch.chdir(tmp_path)
    found = Window(tk.Tk(), DigitPredictor())
    found.root.focus_force()  # no window manager gives it the keys
    found.root.update()
    yield found
    if found.reader.thread.is_alive():
        found.close()


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """Slow machines learn slowly. What Tk has made is freed here, not by another thread of a later test."""
    monkeypatch.setattr(selftest, "PATIENCE", 120.0)
    told = []  # a dialog would wait for ever
    monkeypatch.setattr("tkinter.messagebox.showerror", lambda title, text, **_: told.append(text))
    yield told
    gc.collect()


def shares(drawing):
    """The strokes of a drawing, in the middle of the sheet."""
    points = np.concatenate([np.array(stroke, float) for stroke in drawing["strokes"]])
    low, size = points.min(0), np.ptp(points, axis=0)
    return [((np.array(s) - low - size / 2) / size.max() * 0.7 + 0.5).tolist() for s in drawing["strokes"]]


def extents(window):
    """Left, top, right and bottom of what is drawn, as shares of the square of the sheet."""
    window.sheet.paint()
    side, left, top = window.sheet.square()
    box = window.sheet.paper.bbox("all")
    return [(v - start) / side for v, start in zip(box, (left, top, left, top), strict=True)]


def settled(window, digit):
    """Wait for the answer to all that is drawn."""

    def newest():
        return not window.pending and window.answer is not None and window.answer.number == window.asked

    selftest.wait(window, lambda: newest() and selftest.reads(window) == digit, f"a {digit} was read")


def test_the_selftest_of_the_command(display):
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "draw", "--selftest"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("selftest passed")


def test_every_digit_is_read_by_events(window):
    for digit in range(10):
        selftest.strike(window, shares(DRAWINGS[20 * digit + 11]))
        settled(window, digit)
        assert window.results.says["text"] == f"This is a {digit}." and window.results.digit["text"] == str(digit)
        assert window.results.top["text"].startswith(f"{digit}: ")
        window.root.event_generate("<Escape>")
        selftest.wait(window, lambda: window.answer is None, "the sheet was cleared")


def test_the_window_shows_what_the_network_sees(window):
    selftest.strike(window, shares(DRAWINGS[25]))
    settled(window, 1)
    size, image = int(window.results.seen["width"]), window.answer.found.read.steps.image
    for row, column in ((14, 14), (5, 14), (0, 0), (14, 2)):
        at = [int((part + 0.5) * size / 28) for part in (column, row)]
        assert window.results.shown.get(*at)[0] == round(float(image[row, column]) * 255)


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
    quick = window.reader.read

    def read(question):
        time.sleep(2)
        return quick(question)

    window.reader.read = read
    start = time.perf_counter()
    for _ in range(3):
        selftest.strike(window, shares(DRAWINGS[20 * 3]))
        window.root.update()
    assert time.perf_counter() - start < 2 * 3
    settled(window, selftest.reads(window) if window.answer else window.predictor(*window.drawing.source()).digit)


def test_a_saved_picture_is_opened_and_read(window, tmp_path):
    selftest.strike(window, shares(DRAWINGS[20 * 2 + 1]))
    settled(window, 2)
    window.save(str(tmp_path / "two.png"))
    window.clear()
    selftest.wait(window, lambda: window.answer is None, "the sheet was cleared")
    window.open(str(tmp_path / "two.png"))
    settled(window, 2)
    assert window.drawing.picture.shape == (560, 560) and window.sheet.paper.find_all()
    window.root.event_generate("<Control-z>")
    assert window.drawing.picture is None


def test_what_is_no_digit_is_told(window):
    selftest.strike(window, [[(0.5, 0.5), (0.5, 0.5)]])
    selftest.wait(window, lambda: "hardly more than a dot" in window.results.says["text"], "the dot was told")


def test_closing_while_it_reads_ends_the_thread(window):
    selftest.strike(window, shares(DRAWINGS[0]))
    window.close()
    assert not window.reader.thread.is_alive()


def test_an_answer_that_comes_after_the_sheet_was_cleared_is_passed_over(window):
    import threading

    quick, began, go = window.reader.read, threading.Event(), threading.Event()

    def read(question):
        began.set()
        go.wait(20)
        return quick(question)

    window.reader.read = read
    selftest.strike(window, shares(DRAWINGS[20 * 9]))
    selftest.wait(window, began.is_set, "the network was asked")
    window.clear()
    window.ask()
    selftest.strike(window, shares(DRAWINGS[20 * 1 + 1])[:1])
    seen, show = [], window.show
    window.show = lambda answer: (seen.append(answer), show(answer))
    go.set()
    settled(window, 1)
    assert [answer.found.read.digit for answer in seen if answer] == [1] * len([answer for answer in seen if answer])


def key(window, keys):
    """Press keys, as people do."""
    window.root.focus_force()
    window.root.update()
    window.root.event_generate(keys)
    window.root.update()


def test_the_eraser_cuts_and_is_taken_back(window):
    selftest.strike(window, [[(0.5, 0.1), (0.5, 0.9)]])
    settled(window, 1)
    key(window, "e")
    assert window.eraser.get() and window.sheet.paper["cursor"] == "dotbox"
    selftest.strike(window, [[(0.2, 0.5), (0.8, 0.5)]])
    above, below = window.drawing.strokes
    assert above.points[-1][1] < 0.45 and below.points[0][1] > 0.55
    side, left, top = window.sheet.square()
    assert not window.sheet.paper.find_overlapping(
        left + 0.5 * side, top + 0.5 * side, left + 0.5 * side, top + 0.5 * side
    )
    key(window, "<Control-z>")
    assert len(window.drawing.strokes) == 1
    key(window, "<Control-y>")
    assert len(window.drawing.strokes) == 2
    key(window, "p")
    selftest.strike(window, [[(0.1, 0.2), (0.9, 0.2)]], button=3)  # the right button erases whatever is chosen
    assert len(window.drawing.strokes) == 3


def test_the_size_of_pen_and_its_keys(window):
    for keys, size in (("<bracketright>", 8), ("<bracketleft>", 7)):
        key(window, keys)
        assert window.pen.get() == size
    for _ in range(20):
        key(window, "<bracketright>")
    assert window.pen.get() == 14
    selftest.strike(window, [[(0.3, 0.5), (0.7, 0.5)]])
    line, *_ = (item for item in window.sheet.paper.find_all() if window.sheet.paper.type(item) == "line")
    side = window.sheet.square()[0]
    assert float(window.sheet.paper.itemcget(line, "width")) == pytest.approx(0.14 * side, abs=1)


def test_an_undo_amid_a_stroke_ends_it(window):
    paper = window.sheet.paper
    paper.event_generate("<ButtonPress-1>", x=50, y=50)
    paper.event_generate("<B1-Motion>", x=90, y=90)
    key(window, "<Control-z>")
    paper.event_generate("<B1-Motion>", x=150, y=150)
    paper.event_generate("<ButtonRelease-1>", x=150, y=150)
    assert window.drawing.empty


def test_feature_maps_and_saliency_are_shown_and_put_away(window):
    selftest.strike(window, shares(DRAWINGS[20 * 8 + 1]))
    settled(window, 8)
    width = window.root.winfo_width()
    key(window, "m")
    key(window, "s")
    selftest.wait(window, lambda: len(window.panel.photos) == 2, "both were shown")
    found = window.answer.found.views
    assert found.maps.maps.shape == (32, 28, 28) and found.saliency.max() == 1
    assert "0.2 ReLU" in window.panel.titles["maps"]["text"] and window.panel.winfo_ismapped()
    assert window.root.winfo_width() > width
    key(window, "m")
    selftest.wait(window, lambda: window.answer.found.views.maps is None, "maps were no longer asked for")
    assert not window.panel.pictures["maps"].winfo_ismapped() and window.panel.pictures["saliency"].winfo_ismapped()
    key(window, "s")
    selftest.wait(window, lambda: window.root.winfo_width() == width, "the window was as wide as before")
    assert not window.panel.winfo_ismapped()


def test_a_network_without_convolutions_says_so_and_shows_saliency(window):
    from chainrule import nn

    window.use(DigitPredictor(nn.Sequential(nn.Flatten(), nn.Linear(784, 10))))
    selftest.strike(window, shares(DRAWINGS[0]))
    key(window, "m")
    key(window, "s")
    selftest.wait(window, lambda: "no Conv2d" in window.panel.titles["maps"]["text"], "the want of maps was told")
    assert window.answer.found.views.saliency.shape == (28, 28)


BOX = [[(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2)], [(0.2, 0.5), (0.8, 0.5)]]


def test_it_learns_and_forgets(window):
    teaching = window.teaching
    assert teaching.learning.instate(["disabled"])  # there is nothing to learn
    selftest.strike(window, BOX)
    selftest.wait(window, lambda: selftest.reads(window) is not None, "it was read")
    before = window.answer.found.read.probabilities
    digit = window.answer.found.read.top()[1][0]
    key(window, f"{digit}")
    assert teaching.label.get() == f"{digit}"
    teaching.learning.invoke()
    assert teaching.busy and teaching.told["text"] == "Learning…"
    selftest.strike(window, [[(0.9, 0.9), (0.91, 0.9)]])  # drawing goes on meanwhile
    window.undo()
    settled(window, digit)
    selftest.wait(window, lambda: not teaching.busy, "it was learnt")
    assert f"Read as {digit}" in teaching.told["text"] and "1 drawing learnt" in teaching.told["text"]
    key(window, "<Control-u>")
    selftest.wait(window, lambda: selftest.reads(window) not in (digit, None), "it was forgotten")
    assert window.answer.found.read.probabilities == before
    assert teaching.forgetting.instate(["disabled"])


def test_what_was_learnt_is_there_in_the_next_window(display, monkeypatch, tmp_path):
    import tkinter as tk

    from chainrule.apps.draw.window import Window

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    digit = -1
    for turn in range(2):
        window = Window(tk.Tk(), DigitPredictor(), keep=True)
        window.root.update()
        selftest.strike(window, BOX)
        if turn:
            settled(window, digit)
            assert "1 drawing of yours" in window.teaching.told["text"]
        else:
            selftest.wait(window, lambda window=window: selftest.reads(window) is not None, "it was read")
            digit = window.answer.found.read.top()[1][0]
            window.teaching.label.set(f"{digit}")
            window.teaching.learn()
        window.close()  # while it learns: it comes to its end
    (file,) = (tmp_path / "chainrule").iterdir()
    file.write_bytes(b"no such file")
    window = Window(tk.Tk(), DigitPredictor(), keep=True)
    assert window.teaching.told["text"] and window.teaching.learning.instate(["disabled"])
    window.close()
    assert file.read_bytes() == b"no such file"


def test_a_picture_is_pasted_from_the_clipboard(window, tmp_path, told):
    from PIL import Image

    picture = window.predictor(*(DRAWINGS[20 * 2 + 1][part] for part in ("strokes", "pen"))).steps.image
    Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(
        tmp_path / "two.png"
    )  # a Tk that gives takes small ones
    owner = """
import sys, tkinter as tk
text = " ".join(map(hex, open(sys.argv[1], "rb").read()))
root = tk.Tk()
kind = {"selection": "CLIPBOARD", "type": "image/png", "format": "image/png"}
root.selection_handle(lambda at, n: text[int(at) : int(at) + int(n)], **kind)
root.selection_own(selection="CLIPBOARD")
root.update()
print("mine", flush=True)
root.mainloop()
"""
    command = [sys.executable, "-c", owner, str(tmp_path / "two.png")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "mine\n"
        key(window, "<Control-v>")
        other.terminate()
    assert not told and window.drawing.picture.shape == (28, 28)
    settled(window, 2)
    window.root.clipboard_clear()
    window.root.clipboard_append(str(tmp_path / "two.png"))
    window.clear()
    key(window, "<Control-v>")
    settled(window, 2)


def test_an_empty_clipboard_and_bad_files_are_told(window, tmp_path, told):
    window.root.clipboard_clear()
    window.root.clipboard_append("hello")
    window.paste()
    (tmp_path / "bad.png").write_bytes(b"no picture")
    window.open(str(tmp_path / "bad.png"))
    window.choose_model(str(tmp_path / "none.safetensors"))
    selftest.strike(window, shares(DRAWINGS[0]))
    window.save(str(tmp_path / "no" / "folder.png"))
    assert len(told) == 4 and "no picture in the clipboard" in told[0] and "bad.png" in told[1]
    assert window.predictor is not None and len(window.drawing.strokes) == 1
    settled(window, 0)


def test_networks_to_choose_from(window, tmp_path):
    from chainrule import nn

    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    model.save(tmp_path / "runs" / "mine" / "model.safetensors")
    model.save(tmp_path / "other.safetensors")
    window.choose_model(str(tmp_path / "other.safetensors"))
    assert window.predictor.name == "other.safetensors" and "other.safetensors" in window.root.title()
    assert [path for _, path in window.models()] == [
        "",
        "runs/mine/model.safetensors",
        str(tmp_path / "other.safetensors"),
    ]
    menu = window.root.nametowidget(window.root["menu"])
    networks = menu.nametowidget(menu.entrycget("Network", "menu"))
    networks.tk.call(networks["postcommand"])
    labels = [
        networks.entrycget(i, "label") for i in range(networks.index("end") + 1) if networks.type(i) != "separator"
    ]
    assert labels[2:] == ["Comes with chainrule", *(p for _, p in window.models()[1:]), "Open a network…"]
    networks.invoke("Comes with chainrule")
    assert window.predictor.name == "digits (comes with chainrule)" and window.model.get() == ""


def test_without_a_network_one_is_trained_or_opened(window, tmp_path, monkeypatch):
    import chainrule.apps.draw.offer as offers

    selftest.strike(window, shares(DRAWINGS[20 * 7]))
    window.use(None)
    window.root.update()
    assert window.offer.winfo_ismapped() and not window.results.winfo_ismapped()
    assert "no network" in window.offer.says["text"]
    train = offers.command

    monkeypatch.setattr(offers, "command", lambda folder: [sys.executable, "-c", "print('it went wrong'); exit(3)"])
    window.offer.training.invoke()
    selftest.wait(window, lambda: window.offer.process is None, "training ended")
    assert window.offer.says["text"] == "it went wrong" and window.offer.training["text"] == "Train one now"

    monkeypatch.setattr(offers, "command", lambda folder: [sys.executable, "-c", "import time; time.sleep(60)"])
    window.offer.training.invoke()
    process = window.offer.process
    assert window.offer.training["text"] == "Stop"
    window.offer.training.invoke()
    assert process.wait(10) != 0 and window.offer.training["text"] == "Train one now"

    monkeypatch.setattr(offers, "command", lambda folder: [*train(folder), "--limit-train", "2000"])
    window.offer.training.invoke()
    selftest.wait(window, lambda: window.predictor is not None or "rror" in window.offer.says["text"], "it was trained")
    assert window.predictor.name == "model.safetensors" and (tmp_path / "runs" / "digits").is_dir()
    assert window.results.winfo_ismapped() and not window.offer.winfo_ismapped()
    selftest.wait(window, lambda: selftest.reads(window) is not None, "it reads")


@pytest.mark.parametrize("size", ["360x270", "400x300", "760x560", "1000x700", "1500x500", "420x1000"])
@pytest.mark.parametrize("scaling", [1, 2])
def test_nothing_is_cut_off(display, monkeypatch, tmp_path, size, scaling):
    import tkinter as tk

    from chainrule.apps.draw.window import Window

    root = tk.Tk()
    root.tk.call("tk", "scaling", scaling * 96 / 72)
    window = Window(root, DigitPredictor())
    assert window.unit == pytest.approx(scaling, rel=0.01)
    width, height = (int(n) * scaling for n in size.split("x"))
    root.geometry(f"{min(width, 1600)}x{min(height, 1150)}")
    root.update()
    selftest.strike(window, shares(DRAWINGS[20 * 5]))
    settled(window, 5)
    root.update()
    results, teaching = window.results, window.teaching
    parts = [results.digit, results.says, results.bars, teaching.choice, teaching.learning, teaching.forgetting]
    for part in [*parts, *window.buttons.values(), window.size]:
        right, bottom = part.winfo_rootx() + part.winfo_width(), part.winfo_rooty() + part.winfo_height()
        assert part.winfo_ismapped() and part.winfo_height() >= min(part.winfo_reqheight(), 10 * 11 * scaling)
        assert right <= root.winfo_rootx() + root.winfo_width() and bottom <= root.winfo_rooty() + root.winfo_height()
    right = window.column.winfo_rootx() + window.column.winfo_width()
    assert all(part.winfo_rootx() + part.winfo_width() <= right for part in parts)
    spare = 4 * scaling  # under the last digit of its font
    assert len(results.bars.find_all()) >= 31 and results.bars.bbox("all")[3] <= results.bars.winfo_height() + spare
    side = window.sheet.square()[0]
    assert side >= 0.25 * root.winfo_width() or side >= 0.8 * window.sheet.winfo_height()
    window.close()


def test_the_keys_are_told(window):
    key(window, "<F1>")
    (shown,) = [child for child in window.root.winfo_children() if child.winfo_class() == "Toplevel"]
    texts = [child["text"] for child in shown.winfo_children()]
    assert {"Ctrl+Z", "Ctrl+L", "E", "M", "S", "F1"} <= set(texts) and "Eraser" in texts
    shown.focus_force()
    shown.update()
    shown.event_generate("<Escape>")
    assert not shown.winfo_exists()


@pytest.mark.parametrize(("asked", "unit"), [(192.0, 2.0), (96.0, 1.0)])
def test_the_resolution_that_the_desktop_tells(display, monkeypatch, asked, unit):
    from tkinter import font

    from chainrule.apps.draw import theme

    assert theme.told_resolution() is None  # this display tells none
    monkeypatch.setattr(theme, "told_resolution", lambda: asked)
    root = theme.root_window()
    assert theme.unit_of(root) == pytest.approx(unit, rel=0.01)
    height = font.nametofont("TkDefaultFont").metrics("linespace")
    root.destroy()
    assert 12 * unit <= height <= 22 * unit


def test_a_network_that_raises_anything_is_told_and_the_window_goes_on(window):
    from chainrule import nn

    class Broken(nn.Module):
        on = False

        def forward(self, x):
            if self.on:
                raise KeyError("of one's own")
            return x.flatten(1)[:, :10]

    window.use(DigitPredictor(Broken()))
    assert window.teaching.learning.instate(["disabled"]) and "no parameters" in window.teaching.told["text"]
    window.predictor.model.on = True
    selftest.strike(window, shares(DRAWINGS[0]))
    selftest.wait(window, lambda: "of one's own" in window.results.says["text"], "the error was told")
    window.predictor.model.on = False
    window.changed()
    selftest.wait(window, lambda: selftest.reads(window) is not None, "it was read")
    window.choose_model("")
    settled(window, 0)
    assert window.model.get() == ""
