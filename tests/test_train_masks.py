"""Losses and metrics of models that give something for every step, some of which are padding."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn

LENGTHS = np.array([6, 3, 1, 4])
COUNTS = np.arange(6) < LENGTHS[:, None]


def padded():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 6, 3)) * COUNTS[..., None], rng.normal(size=(4, 6, 2))


def regressor():
    cr.manual_seed(1)
    return nn.Sequential(nn.Masking(), nn.Linear(4), nn.Tanh(), nn.Linear(2)).to(dtype="float64")


def drawn():
    cr.manual_seed(1)
    steps = nn.Input((None, 3))
    return nn.Graph(steps, nn.Linear(2)(nn.Tanh()(nn.Linear(4)(nn.Masking()(steps))))).to(dtype="float64")


def nested():
    return nn.Sequential(drawn()).to(dtype="float64")


def tagger():
    cr.manual_seed(1)
    layers = nn.Masking(), nn.GRU(5, batch_first=True, return_sequences=True), nn.Linear(3), nn.Permute((0, 2, 1))
    return nn.Sequential(*layers).to(dtype="float64")


def squares(model, x, y):
    return ((model(cr.tensor(x)).numpy() - y) ** 2).mean(axis=2)


@pytest.mark.parametrize("make", [regressor, drawn, nested])
@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_the_mean_is_over_the_steps_that_count(make, batch_size):
    x, y = padded()
    model = make().compile("mse", metrics=["mae"])
    logs = model.evaluate(x, y, batch_size=batch_size)
    errors = np.abs(model(cr.tensor(x)).numpy() - y)
    assert logs["loss"] == pytest.approx(squares(model, x, y)[COUNTS].mean(), rel=1e-12)
    assert logs["mae"] == pytest.approx(errors[COUNTS].mean(), rel=1e-12)


def test_weights_of_samples_count_as_well():
    x, y = padded()
    model, weight = regressor().compile("mse"), np.array([2.0, 0.5, 0.0, 1.0])
    expected = (squares(model, x, y) * weight[:, None])[COUNTS].sum() / COUNTS.sum()
    assert model.evaluate(x, y, sample_weight=weight)["loss"] == pytest.approx(expected, rel=1e-12)


def test_a_mask_that_is_given():
    x, y = padded()
    cr.manual_seed(1)
    model = nn.Sequential(nn.Linear(2)).to(dtype="float64").compile("mse")
    found = model.evaluate((x, COUNTS), y)["loss"]
    assert found == pytest.approx(squares(model, x, y)[COUNTS].mean(), rel=1e-12)


def test_a_sum_is_over_them_too():
    x, y = padded()
    model = regressor().compile(losses.MSE("sum"))
    expected = 2 * squares(model, x, y)[COUNTS].sum() / 4  # reported by sample
    assert model.evaluate(x, y)["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_classes_of_steps(weights):
    x, _ = padded()
    labels = np.random.default_rng(2).integers(0, 3, (4, 6))
    loss = losses.CrossEntropy(weights).to(dtype="float64")
    model = tagger().compile(loss, metrics=["accuracy"])
    logs = model.evaluate(x, labels, batch_size=3)
    scores = model(cr.tensor(x)).numpy()
    logs_of = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    each = -np.take_along_axis(logs_of, labels[:, None], axis=1)[:, 0]
    weight = np.ones((4, 6)) if weights is None else np.array(weights)[labels]
    assert logs["loss"] == pytest.approx((each * weight)[COUNTS].sum() / weight[COUNTS].sum(), rel=1e-6)
    assert logs["accuracy"] == pytest.approx((scores.argmax(axis=1) == labels)[COUNTS].mean())


def test_two_outputs_of_one_graph():
    x, y = padded()
    cr.manual_seed(1)
    steps = nn.Input((None, 3))
    known = nn.Masking()(steps)
    outputs = {"each": nn.Linear(2)(known), "whole": nn.GRU(2, batch_first=True)(known)}
    model = nn.Graph(steps, outputs).to(dtype="float64").compile({"each": "mse", "whole": "mse"})
    logs = model.evaluate(x, {"each": y, "whole": y[:, 0]})
    each, whole = (part.numpy() for part in model(cr.tensor(x)))
    assert logs["each_loss"] == pytest.approx(((each - y)[COUNTS] ** 2).mean(), rel=1e-12)
    assert logs["whole_loss"] == pytest.approx(((whole - y[:, 0]) ** 2).mean(), rel=1e-12)


@pytest.mark.parametrize("make", [regressor, drawn, tagger])
def test_accumulated_batches_make_the_step_of_all_steps_at_once(make):
    x, y = padded()
    y = np.random.default_rng(2).integers(0, 3, (4, 6)) if make is tagger else y
    loss = "cross_entropy" if make is tagger else "mse"
    ends = []
    for size in (4, 1):
        model = make().compile(loss, "sgd", accumulate=4 // size)
        model.fit(x, y, batch_size=size, shuffle=False, verbose=0)
        ends.append([p.numpy() for p in model.parameters()])
    for whole, parts in zip(*ends, strict=True):
        np.testing.assert_allclose(parts, whole, rtol=1e-9, atol=1e-12)


def test_training_follows_the_steps_that_count_alone():
    x, y = padded()
    ends = []
    for other in (0.0, 100.0):
        model = regressor().compile("mse", "sgd")
        found = model.fit(x, np.where(COUNTS[..., None], y, other), batch_size=4, verbose=0)["loss"]
        ends.append((found, [p.numpy() for p in model.parameters()]))
    assert ends[0][0] == ends[1][0]
    for one, two in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_batch_of_padding_alone_changes_nothing():
    model = regressor().compile("mse", "sgd")
    model.build(cr.zeros(1, 6, 3, dtype="float64"))
    before = [p.numpy().copy() for p in model.parameters()]
    assert model.fit(np.zeros((2, 6, 3)), np.ones((2, 6, 2)), verbose=0)["loss"] == [0.0]
    for one, two in zip(before, model.parameters(), strict=True):
        np.testing.assert_array_equal(one, two.numpy())
