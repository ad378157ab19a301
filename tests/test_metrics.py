"""Metrics: counted over batches, without reading anything back before the end."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, metrics
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.modes import listen

RNG = np.random.default_rng(0)


class NoReading:
    """A listener under which values may not be read, as under a recorder."""

    forbids_reading = True

    def launched(self, *_):
        pass


def result(metric, output, target):
    metric.update(cr.tensor(output), cr.tensor(target))
    return metric.result()


@pytest.mark.parametrize("kind", ["auto", "multiclass"])
def test_accuracy_of_classes_over_uneven_batches(kind):
    x, y = RNG.standard_normal((50, 3)).astype(np.float32), RNG.integers(0, 3, 50)
    accuracy = metrics.Accuracy(kind)
    for rows in (slice(0, 7), slice(7, 8), slice(8, 50)):
        accuracy.update(cr.tensor(x[rows]), cr.tensor(y[rows]))
    assert accuracy.result() == pytest.approx((x.argmax(axis=1) == y).mean(), abs=1e-12)
    accuracy.reset()
    assert accuracy.result() == 0.0
    onehot = np.eye(3, dtype=np.float32)[y]
    assert result(accuracy, x, onehot) == pytest.approx((x.argmax(axis=1) == y).mean())
    assert result(metrics.Accuracy(), x, y.astype(np.uint8)) == accuracy.result()


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("target_shape", [(4,), (4, 1)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_binary_accuracy(shape, target_shape, dtype):
    p = np.array([0.2, 0.6, 0.9, 0.4], np.float32).reshape(shape)
    y = np.array([0, 1, 0, 1]).reshape(target_shape).astype(dtype)
    assert result(metrics.Accuracy(), p, y) == 0.5
    assert result(metrics.Accuracy(threshold=0.0), np.log(p / (1 - p)), y) == 0.5


def test_accuracy_of_several_labels_and_of_pixels():
    p, y = np.array([[0.9, 0.2], [0.6, 0.7]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert result(metrics.Accuracy("binary"), p, y) == 0.75
    x, y = RNG.standard_normal((2, 3, 4, 5)), RNG.integers(0, 3, (2, 4, 5))
    assert result(metrics.Accuracy(), x, y) == pytest.approx((x.argmax(axis=1) == y).mean())


def test_accuracy_refuses_what_does_not_fit():
    for output, target in (((4, 3), (5,)), ((4, 3), (4, 1)), ((4,), (5,)), ((4, 3), (4, 3, 1))):
        with pytest.raises(ShapeError, match=r"\[accuracy\] output has shape"):
            result(metrics.Accuracy(), np.zeros(output), np.zeros(target, np.int64))
    with pytest.raises(ArgumentError, match="kind of accuracy"):
        metrics.Accuracy("binry")


def test_updates_read_nothing_and_change_the_same_memory():
    accuracy = metrics.Accuracy()
    x, y = cr.zeros(2, 3), cr.tensor([0, 1])
    accuracy.update(x, y)
    memory = accuracy.total.array, accuracy.count.array
    with listen(NoReading()):
        accuracy.update(x, y)
        accuracy.reset()
        accuracy.update(x, y)
    assert (accuracy.total.array is memory[0]) and (accuracy.count.array is memory[1]) and accuracy.result() == 0.5


def test_a_copy_counts_for_itself():
    accuracy = metrics.Accuracy()
    accuracy.update(cr.zeros(2, 3), cr.tensor([0, 1]))
    other = copy.deepcopy(accuracy)
    other.reset()
    assert accuracy.result() == 0.5 and other.result() == 0.0


def test_outputs_on_the_tape_are_counted():
    x = cr.zeros(2, 3, requires_grad=True)
    accuracy = metrics.Accuracy()
    accuracy.update(x * 2, cr.tensor([0, 0]))
    assert accuracy.result() == 1.0 and not accuracy.total.requires_grad


def test_the_mean_of_a_function_weighs_batches_by_their_size():
    mean = metrics.get(lambda x, y: (x - y).abs().mean())
    mean.update(cr.ones(3), cr.zeros(3))
    mean.update(cr.ones(1) * 5, cr.zeros(1))
    assert mean.result() == 2.0 and mean.name == "<lambda>"
    error = metrics.get(losses.MSE())
    assert error.name == "MSE" and result(error, [1.0], [3.0]) == 4.0


def test_metrics_by_name():
    assert metrics.get("acc").name == metrics.get("accuracy").name == "accuracy"
    assert metrics.get("binary_accuracy").kind == "binary" and metrics.get(metrics.Accuracy).kind == "auto"
    scores = metrics.get("accuracy", losses.BCEWithLogits())
    assert scores.kind == "binary" and scores.threshold == 0.0
    assert metrics.get("accuracy", losses.BCE()).threshold == 0.5
    assert metrics.get(scores) is scores
    with pytest.raises(ArgumentError, match="unknown metric 'acurracy': did you mean 'accuracy'"):
        metrics.get("acurracy")
    with pytest.raises(ArgumentTypeError, match="a metric is"):
        metrics.get(3)
    with pytest.raises(ArgumentError, match="mean over its batch"):
        metrics.get(losses.MSE("sum"))
