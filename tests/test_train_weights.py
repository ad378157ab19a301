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


def test_weights_are_the_third_part_of_the_data():
    x, y, weight = data()
    expected = trained(network(), x, y, sample_weight=weight)
    found = []
    for given in (
        lambda: ArrayDataset(x, y, weight),
        lambda: [(x[i], y[i], weight[i]) for i in range(30)],
        lambda: [((x[i],), (y[i],), weight[i]) for i in range(30)],
    ):
        samples = given()
        dataset = samples if isinstance(samples, ArrayDataset) else Listed(samples)
        found.append(trained(network(), dataset))
    for weights in found:
        np.testing.assert_array_equal(weights, expected)
    model = network()
    model.fit(((x[i : i + 8], y[i : i + 8], weight[i : i + 8]) for i in range(0, 30, 8)), verbose=0)
    other = network()
    other.fit(x, y, sample_weight=weight, batch_size=8, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model[0].weight.numpy(), other[0].weight.numpy())


class Listed:
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        return self.samples[i]


def test_evaluation_is_weighted_if_weights_are_given_with_its_data():
    x, y, weight = data()
    model = network()
    each = losses.CrossEntropy(reduction="none")(model(cr.tensor(x)), cr.tensor(y)).numpy()
    expected = pytest.approx((each * weight).mean(), rel=1e-6)
    assert model.evaluate(x, y, sample_weight=weight, batch_size=7)["loss"] == expected
    assert model.evaluate(ArrayDataset(x, y, weight))["loss"] == expected
    model.compiled.optimizer.lr = 0.0
    history = model.fit(x, y, validation_data=(x, y, weight), validation_batch_size=7, verbose=0)
    assert history["val_loss"][0] == expected and history["loss"][0] == pytest.approx(each.mean(), rel=1e-6)
    before = model.train_on_batch(x, y, sample_weight=weight)["loss"]
    assert before == expected
    held = model.fit(ArrayDataset(x, y, weight), validation_split=0.5, verbose=0)["val_loss"][0]
    assert held == pytest.approx(each[15:].mean(), rel=1e-6)


def test_classes_of_a_loader_are_weighed():
    x, y, _ = data()
    given = {"class_weight": {1: 0.5, 2: 2.0}}
    expected = trained(network(), x, y, **given)
    loader = DataLoader(ArrayDataset(x, y), 8, shuffle=True)
    model = network()
    model.fit(loader, epochs=2, verbose=0, **given)
    np.testing.assert_array_equal(model[0].weight.numpy(), expected)
