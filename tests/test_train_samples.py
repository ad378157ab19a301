"""Samples one by one: what their parts are."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, losses, nn, optim
from chainrule.data import ArrayDataset, DataLoader, IterableDataset

RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(22, 3)).astype("f"), RNG.normal(size=(22, 2)).astype("f")
LABELS = RNG.integers(0, 4, 22)


class Samples:
    """A data set without arrays, whose samples are what ``shape`` makes of them; it counts how often it is asked."""

    def __init__(self, shape):
        self.shape, self.asked = shape, 0

    def __len__(self):
        return 22

    def __getitem__(self, i):
        self.asked += 1
        return self.shape(A[i], B[i], LABELS[i])


def test_tuples_of_numbers_are_arrays_but_where_several_targets_are_expected():
    class Pairs(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            y = self.fc(x)
            return (y[:, :1], y[:, 1:]) if self.apart else y

    model = Pairs()
    model.apart = False
    vectors = Samples(lambda a, b, k: (a, (float(b[0]), float(b[1]))))
    assert model.compile("mse").evaluate(vectors) == pytest.approx(model.evaluate(A, B), rel=1e-6)
    tuples = Samples(lambda a, b, k: (tuple(a.tolist()), b))
    assert model.evaluate(tuples) == pytest.approx(model.evaluate(A, B), rel=1e-6)
    model.apart = True
    apart = Samples(lambda a, b, k: (a, (b[:1], b[1:])))
    model.compile(["mse", "mse"], loss_weights=[0.5, 0.5])
    assert model.evaluate(apart)["loss"] == pytest.approx(model.evaluate(A, (B[:, :1], B[:, 1:]))["loss"], rel=1e-6)


def test_two_labels_are_two_targets_or_a_vector():
    class Twice(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(3, 4)

        def forward(self, x):
            return self.fc(x), self.fc(x)

    model = Twice()
    labels = Samples(lambda a, b, k: (a, (int(k), k)))
    model.compile(["cross_entropy", "cross_entropy"])
    assert model.evaluate(labels) == pytest.approx(model.evaluate(A, (LABELS, LABELS)), rel=1e-6)


def test_a_sample_is_read_once_an_epoch():
    for shape in (lambda a, b, k: (a, k), lambda a, b, k: ((a,), {"y": k})):
        samples = Samples(shape)
        model = nn.Sequential(nn.Linear(3, 4))
        model.compile({"y": "cross_entropy"}, optim.SGD(model.parameters(), lr=0.1))
        model.fit(samples, epochs=2, verbose=0)
        assert samples.asked == 44
        model.fit(samples, validation_split="auto", verbose=0)
        assert samples.asked == 66


def test_a_stream_of_samples_comes_in_batches():
    sizes = []
    model = nn.Sequential(nn.Linear(3, 4)).compile("cross_entropy", "sgd")
    model[0].register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    stream = IterableDataset(lambda: zip(A, LABELS, strict=True))
    model.fit(stream, batch_size=8, epochs=2, validation_data=stream.shard(0, 2), verbose=0)
    assert sizes == [8, 8, 6, 11] * 2
    sizes.clear()
    assert model.evaluate(stream) == pytest.approx(model.evaluate(A, LABELS), rel=1e-6)
    assert model.predict(stream, batch_size=20).shape == (22, 4) and sizes[-2:] == [20, 2]
    with pytest.raises(errors.ArgumentError, match="y was given beside a loader"):
        model.fit(stream, LABELS, verbose=0)
    with pytest.raises(errors.ArgumentError, match="cannot cut a loader"):
        model.fit(stream, validation_split=0.5, verbose=0)


def test_a_loader_with_a_sampler_and_a_transform():
    loader = DataLoader(ArrayDataset(A, LABELS), 4, sampler=[*range(10)], transform=lambda x, y: (x * 0, y))
    model = nn.Sequential(nn.Linear(3, 4)).compile("cross_entropy", "sgd")
    assert model.evaluate(loader) == pytest.approx(model.evaluate(A[:10] * 0, LABELS[:10]), rel=1e-6)


def test_a_mask_is_an_input_and_weights_are_not():
    x, mask, weight = RNG.normal(size=(22, 5, 3)).astype("f"), RNG.random((22, 5)) > 0.4, RNG.random(22).astype("f")
    mask[:, 0] = True
    model = nn.Sequential(nn.GRU(3, 4, batch_first=True), nn.Linear(4, 4)).compile("cross_entropy", "sgd")
    each = losses.CrossEntropy(reduction="none")(model(cr.tensor(x), cr.tensor(mask)), cr.tensor(LABELS)).numpy()
    plain = losses.CrossEntropy(reduction="none")(model(cr.tensor(x)), cr.tensor(LABELS)).numpy()
    for given, expected in (
        (((x, mask), LABELS), each),
        ((ArrayDataset(x, mask, LABELS),), each),
        ((ArrayDataset(x, mask, LABELS, weight),), each * weight),
        ((ArrayDataset(x, LABELS, weight),), plain * weight),
        ((ArrayDataset(x, LABELS),), plain),
    ):
        assert model.evaluate(*given)["loss"] == pytest.approx(expected.mean(), rel=1e-5)
        assert model.predict(given[0]).shape == (22, 4)
    np.testing.assert_allclose(
        model.predict(ArrayDataset(x, mask, LABELS)).numpy(), model(cr.tensor(x), cr.tensor(mask)).numpy(), rtol=1e-5
    )


def normed():
    return nn.Sequential(nn.Linear(4), nn.BatchNorm1d(), nn.Linear(1)).compile("mse", "sgd")


@pytest.mark.parametrize("samples, batches", [(65, [32, 33]), (64, [32, 32]), (66, [32, 32, 2]), (33, [33]), (2, [2])])
def test_a_sample_left_over_joins_the_batch_before_it_for_a_batch_norm(samples, batches):
    x = np.random.default_rng(0).normal(size=(samples, 3)).astype("f4")
    data = ArrayDataset(x, x[:, :1])
    for given in ((x, x[:, :1]), (data,)):
        model, seen = normed(), []
        model[1].register_forward_hook(lambda module, inputs, y, seen=seen: seen.append(len(y)))
        history = model.fit(*given, epochs=2, batch_size=32, verbose=0)
        assert seen == batches * 2 and np.isfinite(history["loss"]).all()


def test_other_models_get_a_sample_that_is_left_over_alone():
    x, seen = np.zeros((33, 3), "f4"), []
    model = nn.Sequential(nn.Linear(1)).compile("mse", "sgd")
    model[0].register_forward_hook(lambda module, inputs, y: seen.append(len(y)))
    model.fit(x, x[:, :1], batch_size=32, verbose=0)
    assert seen == [32, 1]
