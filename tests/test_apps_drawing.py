"""What the window draws on, without a window; and the thread that reads it."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from chainrule import errors
from chainrule.apps.draw.drawing import Drawing, Question, Reader, Stroke, cut, distances, papered
from chainrule.apps.draw.pixels import tiles


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


def test_an_eraser_cuts_strokes_where_it_meets_their_ink():
    stroke = Stroke([(0.1, 0.5), (0.9, 0.5)], 0.1)
    left, right = cut(stroke, (0.5, 0.1), (0.5, 0.9), 0.1)
    assert left.points[0] == (0.1, 0.5) and right.points[-1] == (0.9, 0.5) and left.pen == right.pen == 0.1
    assert left.points[-1][0] == pytest.approx(0.4, abs=0.005)  # its round end touches the eraser
    assert right.points[0][0] == pytest.approx(0.6, abs=0.005)
    assert cut(stroke, (0.5, 0.61), (0.6, 0.61), 0.1) == [stroke]  # beside it
    assert cut(stroke, (0.5, 0.59), (0.5, 0.59), 0.1) != [stroke]
    assert cut(Stroke([(0.5, 0.5)], 0.1), (0.5, 0.5), (0.5, 0.5), 0.1) == []
    assert len(cut(Stroke([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], 0.02), (0.9, 0.1), (1.0, 0.0), 0.02)) == 2


def test_distances_are_those_of_points_near_to_one_another_on_the_line():
    draw = np.random.default_rng(0)
    points, start, end = draw.normal(size=(50, 2)), draw.normal(size=2), draw.normal(size=2)
    line = start + np.linspace(0, 1, 20001)[:, None] * (end - start)
    nearest = [np.linalg.norm(line - p, axis=1).min() for p in points]
    assert distances(points, start, end) == pytest.approx(nearest, abs=1e-4)
    assert distances(points, start, start) == pytest.approx(np.linalg.norm(points - start, axis=1))


def test_erasing_is_one_step_to_take_back():
    drawing = drawn(A, [(0.1, 0.9), (0.9, 0.9)])
    whole = points(drawing)
    drawing.begin_erasing()
    assert not drawing.erase((0.5, 0.1), (0.6, 0.1), 0.05)
    assert drawing.strokes == tuple(drawing.strokes) and points(drawing) == whole
    assert drawing.erase((0.3, 0.9), (0.3, 0.9), 0.05) and drawing.erase((0.3, 0.9), (0.6, 0.9), 0.05)
    assert len(drawing.strokes) == 3 and points(drawing)[0] == A
    pieces = points(drawing)
    drawing.undo()
    assert points(drawing) == whole
    drawing.redo()
    assert points(drawing) == pieces
    drawing.begin_erasing()
    assert not drawing.erase((0.45, 0.9), (0.45, 0.9), 0.02)  # where nothing is left
    drawing.undo()
    assert points(drawing) == whole


def test_a_picture_gets_paper_where_the_eraser_goes():
    drawing, picture = Drawing(), np.full((50, 100), 0.8)
    picture[20:30, 10:90] = 0.1
    drawing.change((), picture)
    drawing.begin_erasing()
    assert drawing.erase((0.5, 0.1), (0.5, 0.9), 0.1) and not drawing.erase((0.5, 0.1), (0.5, 0.9), 0.1)
    changed = drawing.picture != picture
    assert changed[20:30, 45:55].all() and changed.sum() == 100 and (drawing.picture[changed] == 0.8).all()
    drawing.undo()
    assert drawing.picture is picture
    tall = papered(np.pad(np.zeros((98, 48)), 1, constant_values=0.5), (0.5, 0.5), (0.5, 0.5), 0.2)  # in the middle
    assert tall[50, 25] == 0.5 and tall[50, 14] == 0


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

    def read(question):
        started.set()
        go.wait(10)
        if question.source == "bad":
            raise errors.DataError("no digit")
        return question.source

    reader = Reader(read, answers.append)
    reader.ask(Question(1, "first", None))
    started.wait(10)
    for number, source in ((2, "second"), (3, "third"), (4, "bad")):
        reader.ask(Question(number, source, None))
    go.set()
    end = time.monotonic() + 10
    while len(answers) < 2 and time.monotonic() < end:
        time.sleep(0.001)
    reader.ask(Question(5, "fifth", None))
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


def test_views_fit_where_they_are():
    maps = np.random.default_rng(0).random((32, 28, 28)).astype(np.float32)
    for height, width in ((300, 200), (60, 500), (29, 40), (5, 7)):
        found = tiles(maps, height, width, gap=2)
        assert found is None or (found.shape[0] <= height and found.shape[1] <= width)
    assert tiles(maps, 5, 7, gap=2) is None
    sheet = tiles(maps, 12 * 28 + 20, 3 * 28 + 6, gap=2)
    low, high = float(maps.min()), float(maps.max())
    assert np.array_equal(sheet[30:58, 60:88], np.rint((maps[5] - low) / (high - low) * 255).astype(np.uint8))
    assert tiles(np.zeros((3, 2, 2)), 50, 50, 1) is not None  # of maps that are all 0
