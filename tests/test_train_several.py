"""Several inputs, outputs and losses in fit; losses of more than two tensors; steps of the model's own."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, losses, metrics, nn, optim
from chainrule.data import ArrayDataset, DataLoader, IterableDataset
from chainrule.train import Callback

RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(22, 3)).astype("f"), RNG.normal(size=(22, 2)).astype("f")
LABELS, SIZES = RNG.integers(0, 4, 22), RNG.normal(size=(22, 1)).astype("f")
WEIGHTS = RNG.uniform(size=22).astype("f")
Y = {"kind": LABELS, "size": SIZES}
LOSSES = {"kind": losses.CrossEntropy(), "size": losses.MSE()}
SHARES = {"kind": 1.0, "size": 0.25}


class Two(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self):
        self.left, self.right = nn.Linear(3, 5), nn.Linear(2, 5)
        self.kind, self.size = nn.Linear(5, 4), nn.Linear(5, 1)

    def forward(self, a, b):
        h = cr.tanh(self.left(a) + self.right(b))
        return self.kind(h), self.size(h)


class Named(Two):
    """The same, its outputs by name."""

    def forward(self, a, b):
        kind, size = super().forward(a, b)
        return {"size": size, "kind": kind}


def graph(head=False):
    a, b = nn.Input((3,), name="a"), nn.Input((2,), name="b")
    h = nn.Tanh()(nn.Linear(5)(a) + nn.Linear(5)(b))
    kind = nn.Linear(4)(h)
    return nn.Graph([a, b], {"kind": nn.Softmax()(kind) if head else kind, "size": nn.Linear(1)(h)})


def made(kind=Two, **options):
    cr.manual_seed(5)
    model = kind()
    options = {"loss": LOSSES, "loss_weights": SHARES, **options}
    return model.compile(optimizer=optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **options)


def weights(model):
    return np.concatenate([p.numpy().ravel() for p in model.parameters()])


def by_hand(kind=Two, epochs=2, batch=8, weight=None, order=None):
    """Weights after training by a plain loop, and the losses of the last epoch."""
    cr.manual_seed(5)
    model, seen = kind(), []
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(epochs):
        seen = []
        for start in range(0, 22, batch):
            rows = slice(start, start + batch)
            given = {} if weight is None else {"sample_weight": cr.tensor(weight[rows])}
            first, second = model(cr.tensor(A[rows]), cr.tensor(B[rows]))
            kinds = losses.CrossEntropy()(first, cr.tensor(LABELS[rows]), **given)
            sizes = losses.MSE()(second, cr.tensor(SIZES[rows]), **given)
            optimizer.zero_grad()
            (kinds + 0.25 * sizes).backward()
            optimizer.step()
            seen.append((len(A[rows]), kinds.item(), sizes.item()))
    n = sum(s[0] for s in seen)
    return weights(model), sum(s[0] * s[1] for s in seen) / n, sum(s[0] * s[2] for s in seen) / n


class Samples:
    """A data set without arrays, whose samples are what ``shape`` makes of them."""

    def __init__(self, shape):
        self.shape = shape

    def __len__(self):
        return 22

    def __getitem__(self, i):
        return self.shape(A[i], B[i], LABELS[i], SIZES[i])


FORMS = {
    "tuples": lambda: ((A, B), (LABELS, SIZES)),
    "lists": lambda: ([A, B], [LABELS, SIZES]),
    "dicts": lambda: ({"b": B, "a": A}, {"size": SIZES, "kind": LABELS}),
    "tensors": lambda: ([cr.tensor(A), cr.tensor(B)], (cr.tensor(LABELS), cr.tensor(SIZES))),
    "a set in a row": lambda: (ArrayDataset(A, B, LABELS, SIZES),),
    "samples in a row": lambda: (Samples(lambda *parts: parts),),
    "nested samples": lambda: (Samples(lambda a, b, k, s: ((a, b), (k, s))),),
    "samples of dicts": lambda: (Samples(lambda a, b, k, s: ({"b": b, "a": a}, {"kind": k, "size": s})),),
    "a stream": lambda: (IterableDataset(lambda: zip(A, B, LABELS, SIZES, strict=True)),),
    "a loader": lambda: (DataLoader(ArrayDataset(A, B, LABELS, SIZES), 8),),
    "a loader of nested samples": lambda: (DataLoader(Samples(lambda a, b, k, s: ((a, b), (k, s))), 8, workers=2),),
    "a loader of dicts": lambda: (
        DataLoader(Samples(lambda a, b, k, s: ({"b": b, "a": a}, {"kind": k, "size": s})), 8),
    ),
    "nested batches": lambda: (Batches(lambda a, b, k, s: ([a, b], (k, s))),),
}


class Batches:
    """A loader, whose batches are what ``shape`` makes of them."""

    def __init__(self, shape):
        self.shape = shape

    def __iter__(self):
        for rows in (slice(0, 8), slice(8, 16), slice(16, 22)):
            yield self.shape(A[rows], B[rows], LABELS[rows], SIZES[rows])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [Two, Named])
def test_all_forms_of_data_train_as_a_loop_by_hand(form, kind):
    given = FORMS[form]()
    options = {} if "load" in form or "batches" in form else {"batch_size": 8}
    model = made(kind)
    history = model.fit(*given, epochs=2, shuffle=False, verbose=0, **options)
    expected, kinds, sizes = by_hand()
    np.testing.assert_array_equal(weights(model), expected)
    assert list(history) == ["loss", "kind_loss", "size_loss"]
    assert history["kind_loss"][-1] == pytest.approx(kinds, rel=1e-6)
    assert history["size_loss"][-1] == pytest.approx(sizes, rel=1e-6)
    assert history["loss"][-1] == pytest.approx(kinds + 0.25 * sizes, rel=1e-6)
    assert model.evaluate(*given) == pytest.approx(model.evaluate((A, B), Y), rel=1e-6)


def test_losses_in_a_list_have_numbered_names_and_none_is_no_loss():
    model = made(loss=["cross_entropy", "mse"], loss_weights=[1, 0.25], metrics=["accuracy", None])
    history = model.fit((A, B), (LABELS, SIZES), epochs=2, batch_size=8, shuffle=False, verbose=0)
    assert list(history) == ["loss", "output_1_loss", "output_2_loss", "output_1_accuracy"]
    np.testing.assert_array_equal(weights(model), by_hand()[0])
    single = made(loss=[None, "mse"], loss_weights=None, metrics={"output_2": ["mae"]})
    assert list(single.fit((A, B), SIZES, verbose=0)) == ["loss", "output_2_loss", "output_2_mae"]
    assert single.compiled.terms[0].name == "output_2"


@pytest.mark.parametrize("given", [WEIGHTS, {"kind": WEIGHTS, "size": WEIGHTS}, (WEIGHTS, WEIGHTS)])
def test_weights_of_samples_count_in_all_losses_or_in_each(given):
    model = made()
    model.fit((A, B), Y, epochs=2, batch_size=8, shuffle=False, sample_weight=given, verbose=0)
    np.testing.assert_array_equal(weights(model), by_hand(weight=WEIGHTS)[0])


def test_weights_of_one_output_and_of_its_classes():
    of_class = np.array([1.0, 3.0, 1.0, 0.5], "f")[LABELS]
    expected = made().fit((A, B), Y, sample_weight={"kind": of_class}, shuffle=False, verbose=0)["loss"]
    classes = {"kind": {1: 3.0, 3: 0.5}}
    assert made().fit((A, B), Y, class_weight=classes, shuffle=False, verbose=0)["loss"] == expected
    with pytest.raises(errors.ArgumentError, match="not told of which output"):
        made().fit((A, B), Y, class_weight={1: 3.0}, verbose=0)


@pytest.mark.parametrize(
    "kinds",
    [
        {"kind": losses.CrossEntropy(), "size": losses.MSE()},
        {"kind": losses.CrossEntropy([1.0, 2.0, 0.5, 3.0], ignore_index=2), "size": losses.MSE()},
        {"kind": losses.CrossEntropy(ignore_index=0), "size": losses.MSE("sum")},
        {"kind": losses.CrossEntropy([1.0, 2.0, 0.5, 3.0], reduction="sum"), "size": losses.Huber(0.1)},
    ],
)
def test_accumulated_batches_are_one_batch_for_each_loss(kinds):
    options = {"epochs": 3, "shuffle": False, "verbose": 0, "sample_weight": WEIGHTS}
    whole, parts = made(loss=kinds), made(loss=kinds, accumulate=3, clip_norm=1e3)
    whole.fit((A, B), Y, batch_size=12, **options)  # steps of 12 and 10 samples
    parts.fit((A, B), Y, batch_size=4, **options)  # windows of 4 + 4 + 4 and 4 + 4 + 2
    np.testing.assert_allclose(weights(parts), weights(whole), rtol=2e-5, atol=1e-6)


def test_a_graph_is_trained_on_the_scores_before_its_softmax():
    plain, headed = (made(lambda head=head: graph(head), metrics={"kind": "accuracy"}) for head in (False, True))
    results = []
    for model in (plain, headed):
        cr.manual_seed(1)
        results.append(model.fit({"a": A, "b": B}, Y, epochs=3, validation_split=0.25, verbose=0).history)
    assert results[0] == results[1]
    np.testing.assert_array_equal(weights(plain), weights(headed))
    kind, size = headed.predict((A, B), batch_size=5)
    np.testing.assert_allclose(kind.numpy().sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(size.numpy(), plain.predict((A, B), batch_size=5)[1].numpy())
    assert [*headed.output_names] == ["kind", "size"] and len(headed(cr.tensor(A), cr.tensor(B))) == 2


def test_one_loss_is_that_of_each_output_of_a_graph():
    model = graph().compile("mse", loss_weights={"size": 2.0})
    found = model.evaluate((A, B), {"kind": np.zeros((22, 4)), "size": SIZES})
    assert found["loss"] == pytest.approx(found["kind_loss"] + 2 * found["size_loss"])


def test_predict_gives_what_the_model_gives():
    data = ArrayDataset(A, B, LABELS, SIZES)
    expected = [part.numpy() for part in made()(cr.tensor(A), cr.tensor(B))]
    for x in ((A, B), [A, B], {"a": A, "b": B}, data, DataLoader(data, 5), ArrayDataset(A, B)):
        found = made().predict(x, **({} if isinstance(x, DataLoader) else {"batch_size": 5}))
        assert isinstance(found, tuple)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=1e-6)
    named = made(Named).predict((A, B))
    assert list(named) == ["size", "kind"] and named["kind"].shape == (22, 4)


def test_build_takes_several_shapes_or_batches():
    class Lazy(nn.Module):
        def __init__(self):
            self.words, self.left = nn.Embedding(10, 3), nn.Linear(5)

        def forward(self, words, a):
            return self.left(a) + self.words(words).sum(axis=1).mean()

    for x, dtype in (
        (((None, 4), (None, 2)), ("int64", "float32")),
        (({"a": (None, 2), "words": (None, 4)}), ["int64", None]),
        ((np.zeros((1, 4), np.int64), np.zeros((1, 2), "f")), None),
    ):
        assert Lazy().build(x, dtype=dtype).left.weight.shape == (5, 2)
    with pytest.raises(errors.ArgumentError, match="unknown input of the model 'word': did you mean 'words'"):
        Lazy().build({"word": (None, 4)})
    assert graph().build({"a": (None, 3), "b": (None, 2)}).is_built


# ---- mistakes


MISTAKES = {
    "one array": ((A, LABELS), {}, errors.DataError, r"x has 1 part, but the model takes 2 inputs \(a, b\)"),
    "three arrays": (((A, B, B), Y), {}, errors.DataError, r"x has 3 parts, but the model takes 2 inputs"),
    "unknown input": (({"a": A, "c": B}, Y), {}, errors.ArgumentError, "unknown input of the model 'c'"),
    "missing input": (({"b": B}, Y), {}, errors.ArgumentError, "x has no 'a'"),
    "unknown output": (
        ((A, B), {"kind": LABELS, "sise": SIZES}),
        {},
        errors.ArgumentError,
        "'sise': did you mean 'size'",
    ),
    "missing target": (((A, B), {"kind": LABELS}), {}, errors.ArgumentError, "y has no 'size', which has a loss"),
    "one target": (((A, B), LABELS), {}, errors.DataError, r"y has 1 part, but there are 2 losses \(kind, size\)"),
    "lengths": (((A, B[:5]), Y), {}, errors.DataError, r"x has 22 samples but x\[1\] has 5"),
    "target lengths": (((A, B), (LABELS, SIZES[:5])), {}, errors.DataError, r"x has 22 samples but y\[1\] has 5"),
    "nan": (((A, B * np.nan), Y), {}, errors.DataError, r"x\[1\] has nan at index"),
    "labels": (((A, B), {**Y, "kind": LABELS + 1}), {}, errors.IndexRangeError, r"y\['kind'\] is 4 at row"),
    "row": ((ArrayDataset(A, B, SIZES),), {}, errors.DataError, "x has 1 part, but the model takes 2"),
    "weights": (((A, B), Y), {"sample_weight": {"kid": WEIGHTS}}, errors.ArgumentError, "sample_weight of fit 'kid'"),
    "validation": (((A, B), Y), {"validation_data": ((A, B), (LABELS,))}, errors.DataError, r"y has 1 part"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told_before_the_first_step(case):
    args, options, error, message = MISTAKES[case]
    model = made()
    before = weights(model)
    with pytest.raises(error, match=message):
        model.fit(*args, verbose=0, **options)
    np.testing.assert_array_equal(weights(model), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": ["mse"]}, "1 losses, but the model has 2 outputs"),
        ({"loss": {"kind": "mse", "sizes": "mse"}}, "'sizes': did you mean 'size'"),
        ({"loss": {"kind": None}}, "no output has a loss"),
        ({"loss": "mse", "loss_weights": [1, 2, 3]}, "loss_weights has 3 parts, but there are 2 losses"),
        ({"loss": "mse", "loss_weights": {"size": -1}}, "loss_weights has -1"),
        ({"loss": "mse", "metrics": {"siz": "mae"}}, "'siz': did you mean 'size'"),
        ({"loss": "mse", "metrics": [["mae", "mae"], None]}, "reported as 'kind_mae'"),
        ({"loss": None}, "no train_step of its own"),
    ],
)
def test_bad_arguments_of_compile(options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        graph().compile(**options)


def test_a_loss_of_one_output_for_a_model_of_two():
    model = made(loss="mse", loss_weights=None)
    with pytest.raises(errors.DataError, match=r"MSE takes 1 output of the model and 1 target.* 2 and 1.*loss=\[...\]"):
        model.fit((A, B), SIZES, verbose=0)
    with pytest.raises(errors.DataError, match="the model gives 1 output, but it was compiled with 2 losses"):
        nn.Linear(3, 1).compile(["mse", "mse"], "sgd").fit(A, (SIZES, SIZES), verbose=0)


# ---- losses of more than two tensors


class Normal(nn.Module):
    def __init__(self):
        self.mean, self.spread = nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, x):
        return self.mean(x), cr.exp(self.spread(x))


def test_a_mean_and_a_variance():
    cr.manual_seed(0)
    model = Normal()

    def inside(mean, target, variance):
        return ((mean - target).abs() < variance**0.5).astype("float32").mean()

    model.compile("gaussian_nll", optim.Adam(model.parameters(), lr=0.05), metrics=["mae", inside])
    history = model.fit(A, SIZES, epochs=30, batch_size=8, sample_weight=WEIGHTS, verbose=0)
    assert history["loss"][-1] < history["loss"][0] and list(history) == ["loss", "mae", "inside"]
    mean, variance = model.predict(A)
    found = model.evaluate(A, SIZES, sample_weight=WEIGHTS, batch_size=5)
    each = (np.log(variance.numpy()) + (mean.numpy() - SIZES) ** 2 / variance.numpy()) / 2
    assert found["loss"] == pytest.approx((each[:, 0] * WEIGHTS).mean(), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(mean.numpy() - SIZES).mean(), rel=1e-6)
    inner = np.abs(mean.numpy() - SIZES) < np.sqrt(variance.numpy())
    assert found["inside"] == pytest.approx(inner.mean(), rel=1e-6)


class Encoded(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(3, 4)

    def forward(self, *parts):
        return tuple(self.fc(part) for part in parts)


def test_triplets_need_no_target_and_pairs_have_one():
    cr.manual_seed(0)
    model, C = Encoded(), A[::-1].copy()
    closer = metrics.Mean(lambda a, p, n: ((a - p) ** 2).mean() - ((a - n) ** 2).mean(), "closer")
    model.compile("triplet_margin", optim.SGD(model.parameters(), lr=0.1), metrics=[closer])
    history = model.fit((A, A + 0.1, C), epochs=5, validation_data=((A, A + 0.1, C),), verbose=0)
    assert history["loss"][-1] < history["loss"][0] and history["val_closer"][-1] < 0
    assert model.evaluate(ArrayDataset(A, A + np.float32(0.1), C))["loss"] == pytest.approx(
        history["val_loss"][-1], 1e-5
    )
    with pytest.raises(errors.ArgumentError, match="needs a target"):
        model.compile("triplet_margin", metrics=["accuracy"])

    same = (LABELS > 1).astype("f")
    for name in ("contrastive", "cosine_embedding"):
        model.compile(name, "sgd")
        whole = model.evaluate((A, C), same)["loss"]
        one, other = (model.fc(cr.tensor(part)) for part in (A, C))
        expected = losses.get(name)(one, other, cr.tensor(same)).item()
        assert whole == pytest.approx(expected, rel=1e-6)
        assert model.evaluate((A, C), same, batch_size=3)["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_sequences_of_labels(reduction):
    class Reader(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(3, 5)

        def forward(self, x):
            return self.fc(x).log_softmax(axis=-1)

    cr.manual_seed(0)
    x = RNG.normal(size=(10, 6, 3)).astype("f")
    labels, steps, lengths = RNG.integers(1, 5, (10, 2)), RNG.integers(5, 7, 10), RNG.integers(1, 3, 10)
    model = Reader()
    loss = losses.CTC(batch_first=True, reduction=reduction)
    model.compile(loss, optim.SGD(model.parameters(), lr=0.01), accumulate=2)
    weight = WEIGHTS[:10]
    found = model.evaluate(x, (labels, steps, lengths), sample_weight=weight, batch_size=4)["loss"]
    each = losses.CTC(reduction="none")(
        model(cr.tensor(x)).permute(1, 0, 2), *(cr.tensor(part) for part in (labels, steps, lengths))
    ).numpy()
    assert found == pytest.approx((each * weight / (lengths if reduction == "mean" else 1)).mean(), rel=1e-5)
    history = model.fit(x, (labels, steps, lengths), epochs=20, batch_size=4, verbose=0)
    assert history["loss"][-1] < history["loss"][0] and model.predict(x).shape == (10, 6, 5)
    row = ArrayDataset(x, labels, steps, lengths)
    assert model.evaluate(row)["loss"] == pytest.approx(model.evaluate(x, (labels, steps, lengths))["loss"], rel=1e-6)


def test_a_function_gets_all_outputs_and_then_all_targets():
    def both(kind, size, labels, sizes):
        return losses.cross_entropy(kind, labels) + 0.25 * losses.mse(size, sizes)

    for given in (((A, B), (LABELS, SIZES)), (ArrayDataset(A, B, LABELS, SIZES),)):
        model = made(loss=both, loss_weights=None)
        model.fit(*given, epochs=2, batch_size=8, shuffle=False, verbose=0)
        np.testing.assert_allclose(weights(model), by_hand()[0], rtol=1e-6)


def test_a_group_of_outputs_under_one_loss():
    class Three(Two):
        def forward(self, a, b):
            kind, size = super().forward(a, b)
            return kind, (size, cr.exp(size))

    model = made(Three, loss=["cross_entropy", "gaussian_nll"], loss_weights=None)
    assert list(model.fit((A, B), (LABELS, SIZES), verbose=0)) == ["loss", "output_1_loss", "output_2_loss"]
    kind, (size, spread) = model.predict((A, B), batch_size=5)
    assert kind.shape == (22, 4) and size.shape == spread.shape == (22, 1)


def test_no_value_is_read_in_a_step_of_several_losses(monkeypatch):
    reads, watching = [], []
    real = cr.Tensor.numpy
    monkeypatch.setattr(cr.Tensor, "numpy", lambda self: (reads.append(1) if watching else None, real(self))[1])

    class Watch(Callback):
        def on_batch_begin(self, batch, logs):
            watching.append(1) if batch else None

        def on_batch_end(self, batch, logs):
            watching.clear()

    kinds = {"kind": losses.CrossEntropy(ignore_index=0), "size": "mse"}
    model = made(loss=kinds, accumulate=2, clip_norm=1.0, metrics={"kind": "accuracy", "size": "mae"})
    options = {"class_weight": {"kind": [1, 2, 3, 4]}, "sample_weight": WEIGHTS}
    model.fit((A, B), Y, batch_size=4, epochs=2, callbacks=Watch(), verbose=0, **options)
    assert reads == []


def test_evaluation_is_that_of_all_data_at_once_whatever_the_batches():
    labels = np.where(np.arange(22) < 4, 0, LABELS)  # the first batch of four has nothing that counts
    kinds = {"kind": losses.CrossEntropy([1.0, 2.0, 0.5, 3.0], ignore_index=0), "size": losses.MSE("sum")}
    model = made(loss=kinds, metrics={"kind": "accuracy"})
    y = {"kind": labels, "size": SIZES}
    for weight in (None, WEIGHTS):
        whole = model.evaluate((A, B), y, batch_size=22, sample_weight=weight)
        scores, sizes = model(cr.tensor(A), cr.tensor(B))
        given = {} if weight is None else {"sample_weight": weight}
        assert whole["kind_loss"] == pytest.approx(kinds["kind"](scores, cr.tensor(labels), **given).item(), rel=1e-6)
        assert whole["loss"] == pytest.approx(whole["kind_loss"] + 0.25 * whole["size_loss"], rel=1e-6)
        assert model.evaluate((A, B), y, batch_size=4, sample_weight=weight) == pytest.approx(whole, rel=1e-6)
    only = nn.Sequential(nn.Linear(3, 4)).compile(losses.CrossEntropy(ignore_index=0))
    assert only.evaluate(A, labels, batch_size=4) == pytest.approx(only.evaluate(A, labels), rel=1e-6)


def test_generators_without_end():
    def endless():
        for i in itertools.count():
            rows = slice(i * 4 % 20, i * 4 % 20 + 4)
            yield (A[rows], B[rows]), {"kind": LABELS[rows], "size": SIZES[rows]}

    history = made().fit(
        endless(), steps_per_epoch=5, epochs=2, validation_data=endless(), validation_steps=2, verbose=0
    )
    assert len(history["val_loss"]) == 2 and len(made().evaluate(endless(), steps=3)) == 3
