"""The shipped network reads digits: those of MNIST, those drawn here by strokes, and says when it is unsure."""

import json
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, nn
from chainrule.apps.image import preprocess
from chainrule.apps.predictor import SHIPPED, SURE, DigitPredictor

DRAWINGS = json.loads((Path(__file__).parent / "fixtures" / "drawings.json").read_text())


@pytest.fixture(scope="module")
def predictor():
    return DigitPredictor()


def accuracy(predictor, pictures, labels):
    """The share of pictures, arrays (h, w), that are read as their labels by way of ``preprocess``."""
    found = predictor.predict([preprocess(picture) for picture in pictures])
    return np.mean([one.digit == label for one, label in zip(found, labels, strict=True)])


def placed(image, generator):
    """A digit of MNIST, 2 to 6 times as large and smooth, somewhere on a sheet of 200 × 200."""
    scale = generator.uniform(2, 6)
    side = int(28 * scale)
    at = (np.arange(side) + 0.5) / scale - 0.5
    low = np.clip(np.floor(at).astype(int), 0, 26)
    share = np.clip(at - low, 0, 1)
    rows = image[low] * (1 - share[:, None]) + image[low + 1] * share[:, None]
    larger = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    sheet = np.zeros((200, 200))
    top, left = generator.integers(0, 200 - side + 1, 2)
    sheet[top : top + side, left : left + side] = larger
    return sheet


def test_the_file_is_small_and_reads_mnist(predictor, mnist):
    assert SHIPPED.stat().st_size <= 1_000_000
    chances = predictor.scores(mnist.x_test[:2000])
    assert (chances.argmax(axis=1) == mnist.y_test[:2000]).mean() >= 0.992  # all 10,000, at 99.4 %: tests/prove


def test_preprocess_leaves_the_accuracy_as_it_is(predictor, mnist):
    x, y = mnist.x_test[2000:2500, 0], mnist.y_test[2000:2500]
    plain = (predictor.scores(x[:, None]).argmax(axis=1) == y).mean()
    generator = np.random.default_rng(0)
    assert abs(accuracy(predictor, x, y) - plain) <= 0.003
    assert abs(accuracy(predictor, [placed(image, generator) for image in x], y) - plain) <= 0.01


def test_dark_on_light_is_read_as_light_on_dark(predictor, mnist):
    for image in mnist.x_test[:50, 0].astype(np.float64):
        light, dark = preprocess(image).image, preprocess(0.9 - 0.7 * image).image
        assert np.abs(light - dark).max() < 1e-6


def test_drawings_of_every_digit_are_read(predictor):
    """Hand-made strokes of four styles a digit, of many sizes, places, slants and pens: see make_drawings.py."""
    assert min(Counter(d["digit"] for d in DRAWINGS).values()) >= 20
    found = predictor.predict([preprocess(d["strokes"], d["pen"]) for d in DRAWINGS])
    right = [one.digit == d["digit"] for one, d in zip(found, DRAWINGS, strict=True)]
    assert np.mean(right) >= 0.97
    assert np.mean([one.sure for one in found]) >= 0.97


def test_scribbles_are_unsure(predictor):
    generator = np.random.default_rng(3)
    steps = []
    for _ in range(60):
        corners = generator.uniform(0, 100, (generator.integers(8, 14), 2))
        steps.append(preprocess([corners], 6))
    assert np.mean([one.sure for one in predictor.predict(steps)]) <= 0.05


def test_an_answer_is_complete(predictor):
    one = predictor(DRAWINGS[-1]["strokes"], DRAWINGS[-1]["pen"])
    assert one.digit == 9 and one.sure and one.probabilities[9] == max(one.probabilities) >= SURE
    assert sum(one.probabilities) == pytest.approx(1) and len(one.probabilities) == 10
    assert one.top()[0] == (9, one.probabilities[9]) and len(one.top()) == 3
    assert one.top(10) == sorted(one.top(10), key=lambda pair: -pair[1])
    assert predictor.predict([]) == []


def test_a_batch_is_read_as_its_parts_are(predictor):
    steps = [preprocess(d["strokes"], d["pen"]) for d in DRAWINGS[::20]]
    for together, alone in zip(predictor.predict(steps), steps, strict=True):
        assert together.probabilities == pytest.approx(predictor.predict([alone])[0].probabilities, abs=1e-5)


def test_threads_share_a_predictor(predictor):
    expected = [predictor(d["strokes"], d["pen"]).probabilities for d in DRAWINGS[:8]]
    found = [None] * 8

    def work(i):
        found[i] = predictor(DRAWINGS[i]["strokes"], DRAWINGS[i]["pen"]).probabilities

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_a_model_of_ones_own_from_a_file_with_scores(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with cr.no_grad():
        model[1].weight.fill_(0)
        model[1].bias.copy_(cr.tensor([0.0] * 4 + [5.0] + [0.0] * 5))
    model.save(tmp_path / "mine.safetensors")
    mine = DigitPredictor(tmp_path / "mine.safetensors")
    one = mine(DRAWINGS[0]["strokes"])
    assert mine.name == "mine.safetensors" and one.digit == 4
    assert one.probabilities[4] == pytest.approx(np.exp(5) / (np.exp(5) + 9), rel=1e-5)


def test_models_that_read_no_digits_are_refused(tmp_path):
    with pytest.raises(errors.ArgumentError, match=r"gives \[1, 3\] for an image, expected ten scores"):
        DigitPredictor(nn.Sequential(nn.Flatten(), nn.Linear(784, 3)))
    with pytest.raises(errors.ArgumentError, match=r"takes no images \(n, 1, 28, 28\)"):
        DigitPredictor(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(10)))
    with pytest.raises(errors.MissingFileError):
        DigitPredictor(tmp_path / "none.safetensors")
