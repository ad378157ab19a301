"""Strokes of a pen become pixels, and are read whatever their size and place were."""

import numpy as np
import pytest

from chainrule import errors
from chainrule.apps.image import preprocess
from chainrule.apps.strokes import MOST, PENS, STROKES, checked, drawn, render

SEVEN = [[[10, 10], [90, 12], [40, 140]], [[30, 70], [80, 68]]]


def moved(strokes, scale, shift):
    return [(np.array(s) * scale + shift).tolist() for s in strokes]


@pytest.mark.parametrize("stroke", [[[8.3, 9.1], [30.2, 22.7]], [[12.0, 33.3], [12.0, 9.0]], [[20.5, 18.5]]])
def test_the_pixels_are_the_area_near_the_line(stroke):
    """Against counting, in each pixel, 16 × 16 points that are nearer to the line than half the pen."""
    pen = 5.0
    places = (np.arange(44 * 16) + 0.5) / 16
    x, y = np.meshgrid(places[: 40 * 16] - stroke[0][0], places - stroke[0][1])
    along = np.subtract(stroke[-1], stroke[0])
    t = np.clip((x * along[0] + y * along[1]) / max(along @ along, 1e-9), 0, 1)
    area = (np.hypot(x - t * along[0], y - t * along[1]) <= pen / 2).reshape(44, 16, 40, 16).mean((1, 3))
    found = render([stroke], (44, 40), pen)
    assert np.abs(found - area).max() < 0.15 and abs(found.sum() / area.sum() - 1) < 0.01


def test_strokes_lie_over_one_another():
    each = [render([stroke], (150, 100), 9) for stroke in SEVEN]
    assert np.array_equal(render(SEVEN, (150, 100), 9), np.maximum(*each))


def test_what_is_outside_of_the_sheet_is_cut_off():
    assert render([[[-500, -500], [-400, -300]]], (20, 20), 6).max() == 0
    assert np.array_equal(render([[[-50, 10], [70, 10]]], (20, 20), 6), render([[[0, 10], [20, 10]]], (20, 20), 6))


@pytest.mark.parametrize("scale", [0.01, 0.4, 1, 7, 3000])
def test_size_and_place_change_nothing(scale):
    base = preprocess(SEVEN, 12).image
    assert np.abs(preprocess(moved(SEVEN, scale, 40 - 30 * scale), 12 * scale).image - base).max() < 1e-4


def test_order_and_direction_of_the_strokes_change_nothing():
    base = preprocess(SEVEN, 12).image
    assert np.abs(preprocess([s[::-1] for s in SEVEN[::-1]], 12).image - base).max() < 1e-5


def test_the_pen_is_kept_within_those_of_mnist():
    ink = [drawn(SEVEN, pen).sum() for pen in (0.1, 5, 22, 24, 60)]
    assert ink[0] == ink[1] < ink[2] < ink[3] == pytest.approx(ink[4], rel=0.05)
    assert PENS[0] < 22 / (130 + 22) < PENS[1]


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        ([], "nothing yet: draw a digit"),
        ([[], []], "nothing yet"),
        ([[[5, 5]]], "hardly more than a dot"),
        ([[[5, 5], [6, 6]]], "hardly more than a dot"),
        (7, "a int is no drawing"),
        ("77", "a str is no drawing"),
        ([[1, 2], [3, 4]], r"stroke 0 has shape \[2\]"),
        ([[[1, 2]], [[1, 2, 3]]], r"stroke 1 has shape \[1, 3\]"),
        ([[[1, 2], [3]]], "stroke 0 is no list of points"),
        ([[["a", 2]]], "stroke 0 is no list of points"),
        ([[[None, 2]]], "NaN"),
        ([[[1, float("inf")]]], "NaN, infinite or beyond"),
        ([[[1, 1e9]]], "beyond a million"),
        ([[[1, 2]] * (MOST + 1)], f"expected {MOST} at most"),
        ([[[1, 2]]] * (STROKES + 1), f"expected {STROKES} at most"),
        ([[[0, 0], [90, 90]] * 60], "this is a scribble"),
    ],
)
def test_what_is_no_drawing_is_refused(strokes, message):
    with pytest.raises(errors.DataError, match=message):
        preprocess(strokes, 10)


@pytest.mark.parametrize("pen", [0, -1, float("nan"), float("inf")])
def test_a_pen_has_a_width(pen):
    with pytest.raises(errors.DataError, match="expected the width of the line"):
        drawn(SEVEN, pen)


def test_checked_takes_arrays_too():
    assert [s.tolist() for s in checked([np.array([[1, 2], [3, 4]])])] == [[[1.0, 2.0], [3.0, 4.0]]]
