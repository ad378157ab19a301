"""Losses: against their formulas in float64, on all kinds of targets, and what they refuse."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, DTypeError, IndexRangeError, ShapeError

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
    with pytest.raises(IndexRangeError, match=r"target 12 at row 2 is not a class: x has 4 classes \(0 to 3\)"):
        loss(x, cr.tensor([0, 1, 12, 0, 0, 0]))
    with pytest.raises(IndexRangeError, match="target -1 at row 0"):
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
    assert type(losses.get("bce_with_logits")) is losses.BCEWithLogits and type(losses.get("sse")) is losses.SSE
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


# ---- the catalogue


REGISTERED = [
    losses.SSE(),
    losses.MAE("sum"),
    losses.Huber(0.5),
    losses.SmoothL1(0.5),
    losses.LogCosh(),
    losses.PoissonNLL(full=True),
    losses.KLDiv("batchmean", log_target=True),
    losses.Hinge(),
    losses.SquaredHinge(),
    losses.Focal(gamma=1.0),
    losses.Dice(smooth=0.5),
    losses.Cosine(),
    losses.BCE("none"),
]


@pytest.mark.parametrize("loss", REGISTERED, ids=repr)
def test_a_loss_is_its_op_and_its_description_makes_it_again(loss):
    x, target = cr.tensor(RNG.uniform(0.1, 0.9, (3, 4))), cr.tensor(RNG.uniform(0.1, 0.9, (3, 4)))
    options = {name: getattr(loss, name) for name in getattr(loss, "options", ())}
    wanted = type(loss).function(x, target, reduction=loss.reduction, **options)
    again = nn.create(nn.describe(loss))
    assert (loss(x, target).numpy() == wanted.numpy()).all() and (again(x, target).numpy() == wanted.numpy()).all()
    assert repr(again) == repr(loss)


def test_losses_of_more_than_two_tensors():
    a, b, c = (cr.tensor(RNG.standard_normal((3, 4))) for _ in range(3))
    t, var = cr.tensor([1, -1, 1]), cr.tensor(RNG.uniform(0.5, 2.0, (3, 1)))
    logs, labels = cr.tensor(RNG.standard_normal((5, 2, 4))).log_softmax(axis=2), cr.tensor([[1, 2], [3, 0]])
    lengths = cr.tensor([5, 4]), cr.tensor([2, 1])
    for loss, args, wanted in (
        (losses.GaussianNLL(full=True), (a, b, var), losses.gaussian_nll(a, b, var, full=True)),
        (losses.CosineEmbedding(0.1), (a, b, t), losses.cosine_embedding(a, b, t, margin=0.1)),
        (losses.Contrastive("sum", 2.0), (a, b, t), losses.contrastive(a, b, t, margin=2.0, reduction="sum")),
        (losses.TripletMargin(2.0, swap=True), (a, b, c), losses.triplet_margin(a, b, c, margin=2.0, swap=True)),
        (losses.CTC(), (logs, labels, *lengths), losses.ctc(logs, labels, *lengths)),
    ):
        assert loss(*args).item() == wanted.item() == nn.create(nn.describe(loss))(*args).item()


def test_cross_entropy_of_probabilities():
    p = np.exp(log_softmax(X))
    for target in (CLASSES, np.eye(4)[CLASSES]):
        for reduction in ("none", "sum", "mean"):
            loss = losses.CategoricalCrossEntropy(reduction)(cr.tensor(p), cr.tensor(target))
            np.testing.assert_allclose(loss.numpy(), reduced(-log_softmax(X)[np.arange(6), CLASSES], reduction))
    x = cr.tensor([[0.0, 1.0]], requires_grad=True)
    loss = losses.CategoricalCrossEntropy()(x, cr.tensor([0]))
    loss.backward()
    assert loss.item() == 100.0 and x.grad.isfinite().all()


def test_pos_weight():
    x, t = X.astype(np.float64), RNG.integers(0, 2, (6, 4))
    p = 1 / (1 + np.exp(-x))
    expected = -(3.0 * t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    loss = losses.BCEWithLogits(pos_weight=3.0)
    assert loss(cr.tensor(x), cr.tensor(t)).item() == pytest.approx(expected) and not loss.state_dict()


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_weights_of_samples(reduction):
    w = RNG.random(6)
    x, t = cr.tensor(X), cr.tensor(RNG.standard_normal((6, 4)).astype("f"))
    each = (X - t.numpy()) ** 2 * w[:, None]
    np.testing.assert_allclose(losses.MSE(reduction)(x, t, w).numpy(), reduced(each, reduction), rtol=1e-5)
    np.testing.assert_allclose(
        losses.MSE(reduction)(x, t, cr.tensor(np.repeat(w[:, None], 4, 1))).numpy(), reduced(each, reduction), rtol=1e-5
    )
    each = -log_softmax(X)[np.arange(6), CLASSES] * w
    for loss, scores in ((losses.CrossEntropy, x), (losses.NLL, x.log_softmax(axis=1))):
        found = loss(reduction=reduction)(scores, cr.tensor(CLASSES), sample_weight=w)
        np.testing.assert_allclose(found.numpy(), reduced(each, reduction), rtol=1e-5)
    with pytest.raises(ShapeError, match=r"sample_weight has shape \(5,\), expected \(6,\): one for each sample"):
        losses.MSE()(x, t, w[:5])


def test_weights_of_samples_beside_weights_of_classes():
    """Weights of 1 change nothing, whatever the classes weigh and whichever do not count."""
    target = CLASSES.copy()
    target[2] = -100
    for loss in (losses.CrossEntropy([1.0, 2.0, 0.5, 3.0], label_smoothing=0.1), losses.NLL([1.0, 2.0, 0.5, 3.0])):
        one = loss(cr.tensor(X), cr.tensor(target), cr.ones(6)).item()
        assert one == pytest.approx(loss(cr.tensor(X), cr.tensor(target)).item(), rel=1e-6)
    shares = cr.tensor(np.eye(4, dtype="f")[CLASSES])
    loss = losses.CrossEntropy([1.0, 2.0, 0.5, 3.0])
    assert loss(cr.tensor(X), shares, cr.ones(6)).item() == pytest.approx(loss(cr.tensor(X), shares).item(), rel=1e-6)
    x = cr.tensor(log_softmax(X))
    loss = losses.KLDiv("batchmean")
    assert loss(x, shares, cr.ones(6)).item() == pytest.approx(loss(x, shares).item(), rel=1e-6)


def test_options_out_of_range():
    for make in (
        lambda: losses.Huber(0.0),
        lambda: losses.SmoothL1(-1.0),
        lambda: losses.Focal(gamma=-1.0),
        lambda: losses.GaussianNLL(eps=0.0),
        lambda: losses.MSE("batchmean"),
    ):
        with pytest.raises(ArgumentError):
            make()


def test_every_loss_has_a_function_and_a_name():
    for name in losses.__all__:
        kind = getattr(losses, name)
        if isinstance(kind, type) and kind not in (losses.Loss, losses.Elementwise):
            small = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
            assert small in losses.__all__ and callable(getattr(losses, small)), small
            wanted = (
                losses.CrossEntropy if kind is losses.CategoricalCrossEntropy else kind
            )  # on scores, under all names
            assert type(losses.get(small)) is wanted
    a, b = cr.tensor(X), cr.tensor(RNG.standard_normal((6, 4)).astype("f"))
    assert losses.sse(a, b).item() == losses.SSE()(a, b).item() == losses.mse(a, b, reduction="sum").item()
    model = nn.Sequential(nn.Linear(4, 4)).compile(losses.sse)
    assert model.evaluate(a, b)["loss"] == model.compile("sse").evaluate(a, b)["loss"]


def test_labels_that_count_are_more_than_float16_can_count():
    x, y = cr.zeros(70000, 2, dtype="float16"), cr.tensor(np.zeros(70000, np.int64))
    assert losses.CrossEntropy().count(x, y).item() == 70000
    assert losses.CrossEntropy()(x, y, sample_weight=np.ones(70000, "f")).item() == pytest.approx(np.log(2), rel=1e-3)


def test_weights_of_samples_of_more_than_two_tensors():
    a, b, c = (cr.tensor(RNG.standard_normal((4, 3))) for _ in range(3))
    same, w = cr.tensor([1, -1, 1, 1]), np.array([0.5, 2.0, 0.0, 1.0])
    logs, labels = cr.tensor(RNG.standard_normal((5, 4, 4))).log_softmax(axis=2), cr.tensor([[1, 2]] * 4)
    lengths = cr.tensor([5, 4, 5, 5]), cr.tensor([2, 1, 1, 2])
    for make, args in (
        (losses.GaussianNLL, (a, b, c.abs())),
        (losses.CosineEmbedding, (a, b, same)),
        (losses.Contrastive, (a, b, same)),
        (losses.TripletMargin, (a, b, c)),
        (losses.CTC, (logs, labels, *lengths)),
    ):
        each = make(reduction="none")(*args).numpy()
        weighed = each * w.reshape(-1, *(1,) * (each.ndim - 1))
        assert make(reduction="sum")(*args, sample_weight=w).item() == pytest.approx(weighed.sum())
        np.testing.assert_allclose(make(reduction="none")(*args, sample_weight=w).numpy(), weighed)
        shares = weighed / lengths[1].numpy() if make is losses.CTC else weighed
        assert make()(*args, sample_weight=w).item() == pytest.approx(shares.mean())
        assert make()(*args, sample_weight=np.ones(4)).item() == pytest.approx(make()(*args).item())
    first = losses.CTC(batch_first=True)(logs.permute(1, 0, 2), labels, *lengths)
    assert first.item() == losses.CTC()(logs, labels, *lengths).item()


def test_every_name_makes_a_loss():
    assert {type(losses.get(name)) for name in losses.NAMES} <= {getattr(losses, n) for n in losses.__all__}
    assert losses.get("poisson").log_input is False
