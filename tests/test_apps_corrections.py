"""A labelled drawing changes what the network says of it, and hardly anything else; all of it can be taken back."""

import copy
import json
import threading
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, nn
from chainrule.apps.corrections import MOST, Corrections, fingerprint, user_file
from chainrule.apps.image import preprocess
from chainrule.apps.predictor import DigitPredictor

DRAWINGS = json.loads((Path(__file__).parent / "fixtures" / "drawings.json").read_text())
MINE = [[[10, 10], [90, 10], [90, 90], [10, 90], [10, 10]], [[10, 50], [90, 50]]]  # a box with a bar, said to be an 8


@pytest.fixture(scope="module")
def steps():
    return [preprocess(d["strokes"], d["pen"]) for d in DRAWINGS[::4]]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A predictor that has learnt one drawing, kept in a file; and what it was told."""
    predictor, path = DigitPredictor(), tmp_path_factory.mktemp("corrections") / "mine.safetensors"
    corrections = Corrections(predictor, path)
    return corrections, corrections.learn(MINE, 8)


def test_the_drawing_is_read_as_it_was_told_and_others_as_before(taught, steps):
    corrections, learnt = taught
    assert learnt.before.digit != 8 and learnt.after.digit == 8 and learnt.right and learnt.after.sure
    assert (learnt.label, learnt.examples, learnt.known[0]) == (8, 1, 1.0) and learnt.known[1] >= 0.97
    assert corrections.predictor(MINE).probabilities == learnt.after.probabilities
    larger = (np.array(MINE[0]) * 2.2 + 30).tolist(), (np.array(MINE[1]) * 2.2 + 30).tolist()
    assert corrections.predictor(list(larger), 12).digit == 8
    labels = [d["digit"] for d in DRAWINGS[::4]]
    right = [one.digit == label for one, label in zip(corrections.predictor.predict(steps), labels, strict=True)]
    assert np.mean(right) >= 0.97


def test_mnist_is_not_forgotten(taught, mnist):
    x, y = mnist.x_test[:1000], mnist.y_test[:1000]
    before = (DigitPredictor().scores(x).argmax(axis=1) == y).mean()
    assert (taught[0].predictor.scores(x).argmax(axis=1) == y).mean() >= before - 0.006


def test_what_was_learnt_is_there_again(taught):
    corrections, _ = taught
    again = DigitPredictor()
    found = Corrections(again, corrections.path)
    assert again(MINE).probabilities == pytest.approx(corrections.predictor(MINE).probabilities, abs=1e-6)
    ((image, label),) = found.examples
    assert label == 8 and image.dtype == np.uint8
    assert np.abs(image / 255 - preprocess(MINE).image).max() <= 0.5 / 255 + 1e-6
    found.path = None  # leave the file to the others
    assert found.undo() and not found.undo()
    assert again(MINE).probabilities == DigitPredictor()(MINE).probabilities


class Quick(Corrections):
    """Corrections whose tuning takes no time: the weights moved by what was told."""

    def tuned(self, images, labels):
        model = copy.deepcopy(self.base)
        with cr.no_grad():
            model[1].bias.copy_(model[1].bias + sum(labels) * cr.tensor(np.eye(10, dtype=np.float32)[3]))
        return model


@pytest.fixture
def quick(tmp_path):
    cr.manual_seed(0)
    predictor = DigitPredictor(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    return Quick(predictor, tmp_path / "deep" / "mine.safetensors")


def bias(corrections):
    return corrections.predictor.model[1].bias.numpy()[3] - corrections.base[1].bias.numpy()[3]


def test_steps_back_and_a_fresh_start(quick):
    for label in (1, 2, 5):
        quick.learn(MINE, label)
    assert bias(quick) == pytest.approx(8) and [label for _, label in quick.examples] == [1, 2, 5]
    assert quick.undo() and bias(quick) == pytest.approx(3)
    again = Quick(DigitPredictor(quick.base), quick.path)  # from the file: models to go back to are tuned anew
    assert bias(again) == pytest.approx(3) and again.undo() and bias(again) == pytest.approx(1)
    assert [label for _, label in Quick(DigitPredictor(quick.base), quick.path).examples] == [1]
    again.reset()
    assert bias(again) == 0 and again.examples == [] and not quick.path.exists()
    again.reset()


def test_what_cannot_be_learnt_changes_nothing(quick, monkeypatch):
    quick.learn(MINE, 2)
    kept = quick.path.read_bytes()
    for label in (10, -1, "3", True, 2.0):
        with pytest.raises(errors.ArgumentError, match="expected a digit from 0 to 9"):
            quick.learn(MINE, label)
    with pytest.raises(errors.DataError, match="there is nothing yet"):
        quick.learn([], 3)
    monkeypatch.setattr("chainrule.apps.corrections.MOST", 1)
    with pytest.raises(errors.DataError, match="undo or reset"):
        quick.learn(MINE, 3)
    monkeypatch.setattr("chainrule.apps.corrections.MOST", MOST)
    quick.path, place = Path("/dev/full/mine.safetensors"), quick.path
    with pytest.raises(errors.FileWriteError):
        quick.learn(MINE, 3)
    assert len(quick.examples) == 1 and bias(quick) == pytest.approx(2) and place.read_bytes() == kept


def test_files_of_others_are_refused(quick, tmp_path):
    quick.learn(MINE, 2)
    with pytest.raises(errors.ArgumentError, match=r"has no corrections of digits \(comes with chainrule\)"):
        Corrections(DigitPredictor(), quick.path)
    quick.path.write_bytes(quick.path.read_bytes()[:-50])
    with pytest.raises(errors.FileFormatError):
        Quick(DigitPredictor(quick.base), quick.path)
    with pytest.raises(errors.ArgumentError, match="no parameters to train"):
        Corrections(DigitPredictor(quick.base.requires_grad_(False)))


def test_predictions_go_on_while_it_learns(monkeypatch):
    monkeypatch.setattr("chainrule.apps.corrections.STEPS", 5)
    predictor = DigitPredictor()
    corrections, done, answers = Corrections(predictor), threading.Event(), []
    before, picture = predictor(MINE).probabilities, preprocess(MINE).image

    def read():
        while not done.is_set():
            answers.append(predictor(MINE).probabilities)
            predictor.feature_maps(picture)

    thread = threading.Thread(target=read)
    thread.start()
    learnt = corrections.learn(MINE, 8)
    done.set()
    thread.join()
    assert all(module._hooks is None or not module._hooks.after for module in predictor.model.modules())
    assert len(answers) > 5 and set(answers) <= {before, learnt.after.probabilities}


def test_each_model_has_a_file_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    shipped, other = DigitPredictor(), DigitPredictor(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    assert user_file(shipped).parent == tmp_path / "chainrule" and user_file(shipped) != user_file(other)
    assert fingerprint(shipped.model) == fingerprint(DigitPredictor().model)
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_file(shipped).parent == tmp_path / ".local" / "share" / "chainrule"


def test_the_same_drawings_give_the_same_network(monkeypatch):
    monkeypatch.setattr("chainrule.apps.corrections.STEPS", 5)
    once, again = Corrections(DigitPredictor()), Corrections(DigitPredictor())
    assert once.learn(MINE, 8).after.probabilities == again.learn(MINE, 8).after.probabilities
