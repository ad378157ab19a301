"""Training and data, used in ways that were not thought of at first: each mistake found stays mended."""

import gc
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import ArrayDataset, DataLoader, IterableDataset, pad_collate
from chainrule.data.processes import ProcessPool, described
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError, WorkerError
from chainrule.train import AverageWeights, Callback, EarlyStopping, LambdaCallback, TensorBoard
from chainrule.train.splits import automatic

X = np.random.default_rng(0).random((16, 4)).astype("f4")
Y = X.sum(1, keepdims=True)


class Stuck(IterableDataset):
    def __iter__(self):
        yield X[0]
        time.sleep(1.0)
        yield X[1]


def test_a_shard_that_is_stuck_does_not_make_the_others_wait():
    start = time.monotonic()
    with pytest.raises(WorkerError, match="within 0.2 s"):
        list(DataLoader(Stuck(), 1, workers=2, timeout=0.2))
    assert time.monotonic() - start < 0.9
    for thread in threading.enumerate():
        if thread.name.startswith("chainrule-"):
            thread.join()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_training_goes_on_after_a_scaled_step_that_was_broken_off(error):
    model = nn.Sequential(nn.Linear(4, 1)).compile("mse", "sgd", precision="fp16-mixed")
    optimizer, step = model.compiled.optimizer, model.compiled.optimizer.step

    def broken():
        optimizer.step = step
        raise error

    optimizer.step = broken
    if error is KeyboardInterrupt:
        assert model.fit(X, Y, batch_size=4, verbose=0).interrupted
    else:
        with pytest.raises(error):
            model.fit(X, Y, batch_size=4, verbose=0)
    assert np.isfinite(model.fit(X, Y, verbose=0)["loss"][0])
    assert cr.is_grad_enabled()


def test_a_stream_may_be_a_subclass_without_a_constructor():
    class Squares(IterableDataset):
        def __iter__(self):
            return (n * n for n in range(3))

    assert [x.tolist() for (x,) in DataLoader(Squares(), 2)] == [[0, 1], [4]]

    class Indexed(Squares):  # as those of PyTorch, whose base has an index that only raises
        def __getitem__(self, index):
            raise NotImplementedError

    assert len(list(DataLoader(Indexed(), 2))) == 2
    with pytest.raises(ArgumentTypeError, match="or write __iter__ in a subclass"):
        IterableDataset()


def test_keras_ways_of_callbacks_work_or_are_told():
    class Ends(Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.stop_training = True

    class Batches(Callback):
        def on_train_batch_end(self, batch, logs=None):
            """Never called."""

    model = nn.Sequential(nn.Linear(4, 1)).compile("mse", "sgd")
    assert model.fit(X, Y, epochs=3, callbacks=Ends(), verbose=0).epoch == [0]
    assert model.fit(X, Y, epochs=3, verbose=0).epoch == [0, 1, 2]
    with pytest.raises(
        ArgumentError, match="Batches has on_train_batch_end, which is never called: the hook is on_batch_end"
    ):
        model.fit(X, Y, callbacks=Batches(), verbose=0)


def test_a_second_training_goes_on_from_the_average():
    model = nn.Sequential(nn.Linear(4, 1)).compile("mse", "sgd")
    average = cr.optim.EMA(model.parameters(), decay=0.5)
    model.fit(X, Y, epochs=3, callbacks=AverageWeights(average), verbose=0)
    before = model[0].weight.numpy().copy()
    seen = []
    note = LambdaCallback(on_batch_end=lambda batch, logs: seen.append(model[0].weight.numpy().copy()))
    model.fit(X, Y, callbacks=[note, AverageWeights(average)], verbose=0)
    np.testing.assert_array_equal(model[0].weight.numpy(), before + (seen[0] - before) * np.float32(0.5))


def test_histograms_of_weights_that_are_no_numbers(tmp_path):
    model = nn.Sequential(nn.Linear(4, 1)).build((1, 4))
    board = TensorBoard(tmp_path, histogram_freq=1)
    board.set_model(model)
    board.on_train_begin({})
    with cr.no_grad():
        model[0].bias.fill_(float("nan"))
    board.on_epoch_end(0, {})
    board.on_train_end({})
    assert [*(tmp_path / "train").iterdir()]


@pytest.mark.parametrize("given", ["balanced", 2.0])
def test_weights_of_classes_that_are_none_are_told(given):
    model = nn.Sequential(nn.Linear(4, 2)).compile("cross_entropy")
    with pytest.raises(ArgumentError, match=r"class_weight is .*, expected a weight for each class"):
        model.fit(X, np.arange(16) % 2, class_weight=given, verbose=0)


@pytest.mark.parametrize("losses", [["mse", None], [None, "mae"], {"b": "mae"}])
def test_targets_of_outputs_without_a_loss_may_be_given(losses):
    x = nn.Input((4,))
    model = nn.Graph(x, {"a": nn.Linear(1)(x), "b": nn.Linear(1)(x)}).compile(losses, "sgd")
    given = {"a": Y, "b": 2 * Y} if isinstance(losses, dict) else (Y, 2 * Y)
    found = model.evaluate(X, given)["loss"]
    a, b = (p.numpy() for p in model.predict(X))
    expected = np.mean((a - Y) ** 2) if "mse" in losses else np.mean(np.abs(b - 2 * Y))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_classes_that_are_not_on_axis_1_are_told():
    x, y = np.zeros((4, 5, 2), "f4"), np.zeros((4, 5), int)
    ends = nn.Sequential(nn.Linear(2, 3), nn.Softmax()).compile("cross_entropy")
    with pytest.raises(
        ArgumentError, match=r"Softmax\(axis=-1\) of \(4, 5, 3\), but .* nn.Permute\(\(0, 2, 1\)\) before it"
    ):
        ends.evaluate(x, y)
    with pytest.raises(ShapeError, match=r"classes on axis 1: nn.Permute\(\(0, 2, 1\)\) puts them there"):
        nn.Sequential(nn.Linear(2, 3)).compile("cross_entropy").evaluate(x, y)
    told = nn.Sequential(nn.Linear(2, 3), nn.Permute((0, 2, 1)), nn.Softmax(axis=1)).compile("cross_entropy")
    loss, p = told.evaluate(x, y)["loss"], told.predict(x).numpy()
    np.testing.assert_allclose(loss, -np.log(p[:, 0]).mean(), rtol=1e-6)


def test_one_layer_of_several_outputs_takes_no_columns_from_the_table():
    x = nn.Input((5, 4))
    made = nn.Graph(x, nn.Linear(1)(nn.Bidirectional(nn.LSTM(6, batch_first=True))(x))).summary()
    wide, narrow = made.text(140), made.text(100)
    assert "(None, 5, 6), (None, 1, 6), (None, 1, 6)" in wide
    assert "(None, 5, 6), …" in narrow
    assert narrow.splitlines()[0].split() == wide.splitlines()[0].split()


@pytest.mark.parametrize(
    "given, told",
    [
        ({"loss": cr.ones(3)}, r"'loss' as a tensor of shape \(3,\)"),
        ({"mine": "x"}, "'mine' as a str"),
        ({"a": [1]}, "'a' as a list"),
    ],
)
def test_what_a_step_reports_is_numbers(given, told):
    class Own(nn.Sequential):
        def train_step(self, batch):
            return given

    with pytest.raises(ArgumentError, match=rf"train_step reports {told}, expected one number or a metric"):
        Own(nn.Linear(4, 1)).compile("mse").fit(X, Y, verbose=0)


def test_a_step_may_report_tensors_of_one_element():
    class Own(nn.Sequential):
        def train_step(self, batch):
            return {"loss": cr.ones(1, 1), "mine": 2}

    assert dict(Own(nn.Linear(4, 1)).compile("mse").fit(X, Y, verbose=0)) == {"loss": [1.0], "mine": [2.0]}


@pytest.mark.parametrize("options", [{"prefetch": 0}, {}, {"workers": 2}])
def test_a_sample_that_raises_stop_iteration_does_not_end_the_epoch(options):
    class Ends:
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return index if index < 4 else next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(Ends(), 2, **options))


class Unread(Exception):
    """One that cannot be made again from its arguments."""

    def __init__(self, a, b):
        super().__init__("what was wrong")


def test_an_error_that_cannot_be_sent_is_told():
    error = Unread(1, 2)
    error.add_note("in sample 3")
    pool = SimpleNamespace(_processes=[SimpleNamespace(pid=1)])
    assert str(ProcessPool._error(pool, 0, *described(error))).endswith("Unread: what was wrong")


def test_numbers_that_come_once_are_no_classes():
    numbers = np.arange(100)
    train, held = automatic(100, numbers)
    assert len(held) == 20 and np.union1d(train, held).tolist() == numbers.tolist()
    assert 30 < held.mean() < 70  # not the smallest
    mostly = np.concatenate([numbers, [0, 1]])
    assert len(automatic(102, mostly)[1]) == 20


def test_lengths_are_not_taken_for_labels():
    padded = DataLoader([(X[: k + 1], k % 2) for k in range(4)], 2, collate_fn=pad_collate)
    model = nn.Sequential(nn.LSTM(4, batch_first=True), nn.Linear(8)).compile("cross_entropy")
    with pytest.raises(DataError, match="the last would be the weights, but it is int64.*mask=True"):
        model.fit(padded, verbose=0)


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_padding_that_the_dtype_cannot_hold_is_told(value):
    with pytest.raises(ArgumentError, match=f"value is {value}, but part 0 of the samples is int64"):
        pad_collate([([1, 2], 0), ([3], 1)], value=value)
    assert pad_collate([([1, 2], 0), ([3], 1)], value=-1.0)[0].tolist() == [[1, 2], [3, -1]]


def test_a_loader_that_was_not_gone_through_ends_its_work():
    loader = DataLoader(ArrayDataset(X, Y), 2, workers=2)
    model = nn.Sequential(nn.Linear(4, 1)).compile("mse", "sgd")
    gc.disable()
    try:
        model.fit(loader, epochs=2, steps_per_epoch=3, verbose=0)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("chainrule-")]
    finally:
        gc.enable()


@pytest.mark.parametrize("first", [True, False])
def test_the_average_comes_after_the_best_weights_whatever_the_order(first):
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 1))
    model.compile("mse", cr.optim.SGD(model.parameters(), lr=2.0))
    average, seen = cr.optim.EMA(model.parameters(), decay=0.5), []
    note = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((logs["loss"], model[0].weight.numpy().copy())))
    callbacks = [AverageWeights(average, "epoch"), EarlyStopping("loss", patience=9)]
    model.fit(X, Y, epochs=4, callbacks=[note, *(callbacks if first else callbacks[::-1])], verbose=0)
    best = min(seen, key=lambda pair: pair[0])[1]
    expected = seen[0][1]
    for _, weight in seen[1:]:
        expected = 0.5 * expected + 0.5 * weight
    np.testing.assert_allclose(model[0].weight.numpy(), expected, rtol=1e-5)
    average.swap()
    np.testing.assert_array_equal(model[0].weight.numpy(), best)
