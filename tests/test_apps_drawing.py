"""What the window draws on, without a window; and the thread that reads it."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from chainrule import errors
from chainrule.apps.draw.drawing import Drawing, Reader


def drawn(*strokes):
    drawing = Drawing()
    for stroke in strokes:
        drawing.begin(*stroke[0], 0.1)
        for x, y in stroke[1:]:
            drawing.extend(x, y)
    return drawing


def points(drawing):
    return [stroke.points for stroke in drawing.strokes]


A, B = [(0.1, 0.2), (0.3, 0.4)], [(0.5, 0.5), (0.6, 0.9), (0.7, 0.7)]


def test_steps_are_taken_back_and_again():
    drawing = drawn(A, B)
    assert points(drawing) == [A, B]
    drawing.undo()
    assert points(drawing) == [A]
    drawing.redo()
    assert points(drawing) == [A, B]
    drawing.clear()
    assert drawing.empty
    drawing.clear()  # nothing to do, and nothing to take back
    drawing.undo()
    assert points(drawing) == [A, B]
    for _ in range(5):
        drawing.undo()
    assert drawing.empty
    for _ in range(5):
        drawing.redo()
    assert drawing.empty  # after the clear
    drawing.undo()
    drawing.begin(0.0, 0.0, 0.1)
    drawing.redo()  # a new stroke forgets what was taken back
    assert points(drawing) == [A, B, [(0.0, 0.0)]]


def test_a_picture_takes_the_place_of_strokes_and_gives_way_to_them():
    drawing, picture = drawn(A), np.ones((3, 4))
    drawing.change((), picture)
    assert drawing.source() == (picture, None) and not drawing.strokes
    drawing.begin(0.2, 0.2, 0.1)
    assert drawing.picture is None and len(drawing.strokes) == 1
    drawing.undo()
    drawing.undo()
    assert points(drawing) == [A] and drawing.picture is None


def test_the_source_is_a_copy():
    drawing = drawn(A, B)
    strokes, pen = drawing.source()
    drawing.extend(0.9, 0.9)
    assert strokes == [A, B] and pen == pytest.approx(0.1)
    assert Drawing().source() == ([], None)


def test_what_is_saved_is_what_is_drawn():
    sheet = drawn([(0.5, 0.1), (0.5, 0.9)]).rendered(100)
    assert sheet.shape == (100, 100) and sheet.dtype == np.uint8
    assert sheet[50, 50] == 0 and sheet[50, 30] == 255 and (sheet < 128).sum(axis=1)[50] == 10
    drawing = Drawing()
    drawing.change((), np.array([[0.0, 1.0]]))
    assert drawing.rendered().tolist() == [[0, 255]]


def test_the_reader_passes_over_what_is_old_and_outlives_errors():
    started, go, answers = threading.Event(), threading.Event(), []

    def predict(source, pen):
        started.set()
        go.wait(10)
        if source == "bad":
            raise errors.DataError("no digit")
        return source

    reader = Reader(predict, answers.append)
    reader.ask(1, "first", None)
    started.wait(10)
    for number, source in ((2, "second"), (3, "third"), (4, "bad")):
        reader.ask(number, source, None)
    go.set()
    end = time.monotonic() + 10
    while len(answers) < 2 and time.monotonic() < end:
        time.sleep(0.001)
    reader.ask(5, "fifth", None)
    while len(answers) < 3 and time.monotonic() < end:
        time.sleep(0.001)
    reader.close()
    assert [answer.number for answer in answers] == [1, 4, 5]
    assert [str(answer.found) for answer in answers] == ["first", "no digit", "fifth"]
    assert not reader.thread.is_alive()


def test_without_a_display_the_page_is_named():
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "chainrule", "draw"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "no window can be opened" in done.stderr and "chainrule serve" in done.stderr
