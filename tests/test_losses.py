"""Losses: against their formulas in float64, on all kinds of targets, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, ClassIndexError, DTypeError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 4)).astype(np.float32)
CLASSES = np.array([0, 3, 1, 2, 2, 0])


def log_softmax(x):
    x = x.astype(np.float64)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def reduced(values, reduction):
    return {"none": values, "sum": values.sum(), "mean": values.mean()}[reduction]


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "one-hot", "one-hot ints", "probabilities"])
def test_cross_entropy(reduction, kind):
    onehot = np.eye(4)[CLASSES]
    shares = RNG.dirichlet(np.ones(4), 6) if kind == "probabilities" else onehot
    target = {
        "one-hot": onehot.astype(np.float32),
        "one-hot ints": onehot.astype(np.int64),
        "probabilities": shares.astype(np.float32),
    }.get(kind, CLASSES if kind not in ("int32", "uint8") else CLASSES.astype(kind))
    loss = losses.CrossEntropy(reduction=reduction)(cr.from_numpy(X), cr.from_numpy(target))
    expected = reduced(-(log_softmax(X) * shares).sum(axis=1), reduction)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_cross_entropy_with_class_weights_smoothing_and_ignored_targets():
    weight, smooth = np.array([1.0, 2.0, 0.5, 3.0]), 0.1
    logs, target = log_softmax(X), CLASSES.copy()
    target[1] = -100
    keep = target != -100
    w = weight[CLASSES] * keep
    nll = -logs[np.arange(6), CLASSES] * w
    spread = -(logs * weight).sum(axis=1) * keep
    expected = ((1 - smooth) * nll + smooth / 4 * spread).sum() / w.sum()
    loss = losses.CrossEntropy([*weight], label_smoothing=smooth)
    np.testing.assert_allclose(loss(cr.from_numpy(X), cr.tensor(target)).item(), expected, rtol=1e-5)
    assert not loss.state_dict() and [*loss.buffers()][0].shape == (4,)
    nothing = losses.CrossEntropy(ignore_index=7, reduction="sum")
    assert nothing(cr.from_numpy(X), cr.tensor([7] * 6)).item() == 0.0


def test_cross_entropy_of_each_pixel():
    x = RNG.standard_normal((2, 3, 4, 5)).astype(np.float32)
    target = RNG.integers(0, 3, (2, 4, 5))
    logs = log_softmax(x)
    expected = -np.take_along_axis(logs, target[:, None], axis=1).mean()
    assert losses.get("cross_entropy")(cr.from_numpy(x), cr.tensor(target)).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_survives_large_scores():
    x = cr.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = losses.CrossEntropy()(x, cr.tensor([1]))
    loss.backward()
    assert loss.item() == 2e4 and x.grad.tolist() == [[1.0, -1.0, 0.0]]


def test_the_gradient_of_cross_entropy():
    x = cr.tensor(X, requires_grad=True)
    losses.CrossEntropy()(x, cr.tensor(CLASSES)).backward()
    np.testing.assert_allclose(x.grad.numpy(), (np.exp(log_softmax(X)) - np.eye(4)[CLASSES]) / 6, atol=1e-6)


def test_cross_entropy_says_what_is_wrong():
    loss, x = losses.CrossEntropy(), cr.from_numpy(X)
    with pytest.raises(DTypeError, match="cast it to int64.*probabilities"):
        loss(x, cr.tensor([0.0, 1.0, 2.0, 3.0, 0.0, 1.0]))
    with pytest.raises(ClassIndexError, match=r"target 12 at row 2 is not a class: x has 4 classes \(0 to 3\)"):
        loss(x, cr.tensor([0, 1, 12, 0, 0, 0]))
    with pytest.raises(ClassIndexError, match="target -1 at row 0"):
        loss(x, cr.tensor([-1, 1, 0, 0, 0, 0]))
    with pytest.raises(ShapeError, match=r"\(6, 4\).*\(5,\)"):
        loss(x, cr.tensor([0] * 5))
    with pytest.raises(ShapeError, match="weight has shape"):
        losses.CrossEntropy(weight=[1.0, 2.0])(x, cr.tensor(CLASSES))
    with pytest.raises(ArgumentError, match="label_smoothing is 1.5"):
        losses.CrossEntropy(label_smoothing=1.5)
    with pytest.raises(ArgumentError, match="unknown reduction of CrossEntropy 'average'"):
        losses.CrossEntropy(reduction="average")


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", ["MSE", "BCE", "BCEWithLogits"])
def test_elementwise_losses(name, reduction):
    x, t = X.astype(np.float64), RNG.random((6, 4))
    p = 1 / (1 + np.exp(-x))
    expected = (x - t) ** 2 if name == "MSE" else -(t * np.log(p) + (1 - t) * np.log(1 - p))
    given = cr.tensor(p if name == "BCE" else x, requires_grad=True)
    loss = getattr(losses, name)(reduction)(given, cr.tensor(t))
    np.testing.assert_allclose(loss.numpy(), reduced(expected, reduction), rtol=1e-9)
    loss.sum().backward()
    slope = {"MSE": 2 * (x - t), "BCE": (p - t) / (p * (1 - p)), "BCEWithLogits": p - t}[name]
    np.testing.assert_allclose(given.grad.numpy(), slope / (24 if reduction == "mean" else 1), rtol=1e-9, atol=1e-12)


def test_elementwise_losses_take_labels_and_refuse_other_shapes():
    x = cr.tensor([0.3, -2.0])
    assert (
        losses.BCEWithLogits()(x, cr.tensor([1, 0])).item() == losses.BCEWithLogits()(x, cr.tensor([1.0, 0.0])).item()
    )
    for loss in (losses.MSE(), losses.BCE(), losses.BCEWithLogits()):
        with pytest.raises(ShapeError, match=r"\(2, 1\).*\(2,\)"):  # and no silent (2, 2)
            loss(cr.zeros(2, 1), cr.zeros(2))


def test_bce_is_finite_for_certain_mistakes():
    assert losses.BCE()(cr.tensor([0.0, 1.0]), cr.tensor([1.0, 0.0])).item() == 100.0
    assert losses.BCEWithLogits()(cr.tensor([-1000.0]), cr.tensor([1.0])).item() == 1000.0


def test_losses_by_name():
    for name in ("cross_entropy", "categorical_crossentropy", "sparse_categorical_crossentropy"):
        assert type(losses.get(name)) is losses.CrossEntropy
    assert type(losses.get("bce")) is type(losses.get("binary_crossentropy")) is losses.BCE
    assert type(losses.get("bce_with_logits")) is losses.BCEWithLogits and losses.get("sse").reduction == "sum"
    own, loss = (lambda x, y: (x - y).abs().mean()), losses.MSE("sum")
    assert losses.get(own) is own and losses.get(loss) is loss and type(losses.get(losses.MSE)) is losses.MSE
    with pytest.raises(ArgumentError, match="unknown loss 'cros_entropy': did you mean 'cross_entropy'"):
        losses.get("cros_entropy")
    with pytest.raises(ArgumentTypeError, match="a loss is a name or a function"):
        losses.get(3)


def test_losses_are_modules():
    loss = losses.CrossEntropy([1.0, 2.0], label_smoothing=0.5)
    assert repr(losses.MSE("sum")) == "MSE(reduction='sum')" and isinstance(loss, nn.Module)
    assert nn.create(nn.describe(loss)).label_smoothing == 0.5
