"""Weights of classes and of samples in fit."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, optim
from chainrule.data import ArrayDataset, DataLoader


def data(n=30):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 3)).astype(np.float32), rng.integers(0, 4, n), rng.uniform(size=n).astype(np.float32)


def network(loss="cross_entropy", *, outputs=4, head=()):
    cr.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, outputs), *head)
    return model.compile(loss, optim.SGD(model.parameters(), lr=0.1))


def trained(model, *args, **options):
    model.fit(*args, batch_size=8, verbose=0, epochs=2, **options)
    return model[0].weight.numpy().copy()


def by_hand(x, y, weight, loss):
    model = network(loss)
    optimizer, loader = model.compiled.optimizer, DataLoader(ArrayDataset(x, y, weight), 8, shuffle=True)
    for _ in range(2):
        for xb, yb, wb in loader:
            optimizer.zero_grad()
            loss(model(xb), yb, wb).backward()
            optimizer.step()
    return model[0].weight.numpy()


def test_weights_of_samples_equal_a_loop_by_hand():
    x, y, weight = data()
    expected = by_hand(x, y, weight, losses.CrossEntropy())
    np.testing.assert_array_equal(trained(network(), x, y, sample_weight=weight), expected)
    assert not np.array_equal(trained(network(), x, y), expected)


@pytest.mark.parametrize("given", [[1.0, 0.5, 2.0, 1.0], {1: 0.5, 2: 2.0}, np.array([1.0, 0.5, 2.0, 1.0])])
def test_weights_of_classes_are_those_of_their_samples(given):
    x, y, weight = data()
    of_class = np.array([1.0, 0.5, 2.0, 1.0], np.float32)[y]
    expected = trained(network(), x, y, sample_weight=of_class)
    np.testing.assert_array_equal(trained(network(), x, y, class_weight=given), expected)
    rows = np.eye(4, dtype=np.float32)[y]
    np.testing.assert_allclose(trained(network(), x, rows, class_weight=given), expected, rtol=1e-5, atol=1e-6)
    both = trained(network(), x, y, class_weight=given, sample_weight=weight)
    np.testing.assert_array_equal(both, trained(network(), x, y, sample_weight=of_class * weight))


@pytest.mark.parametrize("head", [(), (nn.Sigmoid(),)])
def test_weights_of_yes_and_no(head):
    x, y, weight = data()
    yes = (y > 1).astype(np.float32)[:, None]
    loss = "bce" if head else "bce_with_logits"
    expected = trained(
        network("bce_with_logits", outputs=1), x, yes, sample_weight=np.where(yes[:, 0] > 0, 3, 1) * weight
    )
    found = trained(network(loss, outputs=1, head=head), x, yes, class_weight={1: 3.0}, sample_weight=weight)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_validation_is_not_weighted():
    x, y, weight = data()
    model = network()
    history = model.fit(x, y, validation_split=0.5, class_weight=[9, 9, 9, 9], sample_weight=weight, verbose=0)
    assert history["val_loss"][0] == pytest.approx(model.evaluate(x[15:], y[15:])["loss"], rel=1e-6)


def test_weights_that_cannot_be_are_told():
    x, y, weight = data()
    for options in (
        {"class_weight": [1, 2]},
        {"class_weight": {4: 1.0}},
        {"class_weight": {}},
        {"class_weight": {-1: 2}},
    ):
        with pytest.raises(cr.errors.ArgumentError, match="class_weight"):
            network().fit(x, y, verbose=0, **options)
    with pytest.raises(cr.errors.ArgumentError, match="-2"):
        network().fit(x, y, class_weight=[1, 1, 1, -2], verbose=0)
    with pytest.raises(cr.errors.ShapeError, match="one for each sample"):
        network().fit(x, y, sample_weight=weight[:5], verbose=0)
    with pytest.raises(cr.errors.DataError, match="sample_weight has nan"):
        network().fit(x, y, sample_weight=weight * np.nan, verbose=0)
    with pytest.raises(cr.errors.ArgumentError, match=r"samples may be \(x, y, weight\)"):
        network().fit(ArrayDataset(x, y), sample_weight=weight, verbose=0)
    with pytest.raises(cr.errors.ArgumentError, match="takes none"):
        network(lambda a, b: a.mean()).fit(x, y, sample_weight=weight, verbose=0)
