"""fit, evaluate, predict: what they take, what they report, what they leave behind."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, metrics, nn, optim
from chainrule.data import ArrayDataset, DataLoader
from chainrule.train import Callback


def data(n=50, features=3, classes=4, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, features)).astype(np.float32), rng.integers(0, classes, n)


def classifier(*, head=False, metric=("accuracy",), optimizer=None, seed=5):
    cr.manual_seed(seed)
    layers = [nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)]
    model = nn.Sequential(*layers, *([nn.Softmax()] if head else []))
    return model.compile("cross_entropy", optimizer or optim.SGD(model.parameters(), lr=0.1), metrics=metric)


def weights(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_fit_equals_a_loop_written_by_hand_bit_for_bit():
    x, y = data(n=70)
    model = classifier()
    model.fit(x, y, epochs=3, batch_size=16, verbose=0)

    cr.manual_seed(5)
    by_hand = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))
    loss_fn = losses.CrossEntropy()
    optimizer = optim.SGD(by_hand.parameters(), lr=0.1)
    loader = DataLoader(ArrayDataset(x, y), batch_size=16, shuffle=True)
    for _ in range(3):
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = loss_fn(by_hand(xb), yb)
            loss.backward()
            optimizer.step()
    assert same(weights(model), weights(by_hand))


def test_the_same_with_layers_that_wait_for_their_input_and_dropout():
    x, y = data(n=70)

    def network():
        cr.manual_seed(11)
        return nn.Sequential(nn.Linear(8), nn.BatchNorm1d(), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4))

    model = network()
    model.compile("cross_entropy", optim.Adam(model.parameters(), lr=0.01))
    model.fit(x, y, epochs=2, batch_size=16, verbose=0)

    by_hand = network()
    optimizer, loss_fn = optim.Adam(by_hand.parameters(), lr=0.01), losses.CrossEntropy()
    loader = DataLoader(ArrayDataset(x, y), batch_size=16, shuffle=True)
    for _ in range(2):
        for xb, yb in loader:
            optimizer.zero_grad()
            loss_fn(by_hand(xb), yb).backward()
            optimizer.step()
    assert same(weights(model), weights(by_hand))


def test_the_seed_repeats_a_training_and_another_does_not():
    x, y = data()
    runs = []
    for seed in (5, 5, 6):
        model = classifier(seed=seed)
        history = model.fit(x, y, epochs=2, validation_split=0.2, verbose=0)
        runs.append((history.history, weights(model)))
    assert runs[0][0] == runs[1][0]
    assert same(runs[0][1], runs[1][1])
    assert not same(runs[0][1], runs[2][1])


def test_averages_weigh_batches_by_their_size_and_the_last_partial_batch_counts():
    x, y = data(n=10)
    model = classifier(optimizer=None)
    model.compiled.optimizer.lr = 0.0  # nothing moves: the averages are those of one model
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    scores = model(cr.tensor(x))
    assert history["loss"][0] == pytest.approx(losses.CrossEntropy()(scores, cr.tensor(y)).item(), rel=1e-6)
    assert history["accuracy"][0] == pytest.approx((scores.numpy().argmax(axis=1) == y).mean())
    for size in (1, 3, 7, 100):  # also larger than the data
        found = model.evaluate(x, y, batch_size=size)
        assert found["loss"] == pytest.approx(history["loss"][0], rel=1e-6)
        assert found["accuracy"] == pytest.approx(history["accuracy"][0])


def test_a_batch_larger_than_the_data_is_fine():
    x, y = data(n=5)
    model = classifier()
    before = weights(model)
    model.fit(x, y, batch_size=1000, verbose=0)
    assert not same(before, weights(model))


@pytest.mark.parametrize("kind", ["arrays", "tensors", "lists", "float64", "dataset", "loader", "generator"])
def test_data_comes_in_many_forms(kind):
    x, y = data(n=12)
    given = {
        "arrays": lambda: (x, y),
        "tensors": lambda: (cr.tensor(x), cr.tensor(y)),
        "lists": lambda: (x.tolist(), y.tolist()),
        "float64": lambda: (x.astype(np.float64), y.astype(np.int32)),
        "dataset": lambda: (ArrayDataset(x, y),),
        "loader": lambda: (DataLoader(ArrayDataset(x, y), batch_size=32),),
        "generator": lambda: (((x[i : i + 4], y[i : i + 4]) for i in range(0, 12, 4)),),
    }[kind]
    model = classifier()
    model.compiled.optimizer.lr = 0.0
    history = model.fit(*given(), verbose=0)
    expected = model.evaluate(x, y)
    assert history["loss"][0] == pytest.approx(expected["loss"], rel=1e-5)
    assert model.evaluate(*given())["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert model[0].weight.dtype == "float32"


def test_models_with_several_inputs():
    class Sum(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(3, 1)

        def forward(self, a, b):
            return self.fc(a) + b

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 3)).astype(np.float32), rng.normal(size=(40, 1)).astype(np.float32)
    target = a.sum(axis=1, keepdims=True) + b
    model = Sum()
    model.compile("mse", optim.Adam(model.parameters(), lr=0.1))
    history = model.fit(ArrayDataset(a, b, target), epochs=60, verbose=0)
    assert history["loss"][-1] < 1e-2
    assert model.predict(ArrayDataset(a, b, target)).shape == (40, 1)


def test_validation_split_takes_the_last_samples_before_shuffling():
    x, y = data(n=20)
    seen = []

    class Spy(nn.Module):
        def forward(self, inputs):
            seen.append((self.training, cr.is_grad_enabled(), inputs.numpy().copy()))
            return inputs

    model = nn.Sequential(Spy(), nn.Linear(3, 4))
    model.compile("cross_entropy", "sgd")
    history = model.fit(x, y, epochs=2, validation_split=0.25, batch_size=5, verbose=0)
    trained = np.concatenate([rows for training, grad, rows in seen if training and grad])
    validated = [rows for training, grad, rows in seen if not training and len(rows) == 5]
    assert sorted(map(tuple, trained)) == sorted(map(tuple, np.concatenate([x[:15]] * 2)))
    assert all(np.array_equal(rows, x[15:]) for rows in validated) and len(validated) == 2
    assert not any(grad for training, grad, _ in seen if not training)
    assert list(history.history) == ["loss", "val_loss"]


def test_validation_equals_evaluate():
    x, y = data(n=40)
    model = classifier()
    history = model.fit(x[:30], y[:30], epochs=2, validation_data=(x[30:], y[30:]), verbose=0)
    assert {k.removeprefix("val_"): v for k, v in history.last().items() if "val_" in k} == model.evaluate(
        x[30:], y[30:]
    )
    again = classifier().fit(x, y, epochs=2, validation_split=0.25, verbose=0)
    assert again.history == history.history


def test_validation_data_may_be_a_set_or_a_loader():
    x, y = data(n=40)
    results = []
    for validation in ((x, y), [x, y], ArrayDataset(x, y), DataLoader(ArrayDataset(x, y), batch_size=256)):
        results.append(classifier().fit(x, y, validation_data=validation, verbose=0)["val_loss"])
    assert results[0] == results[1] == results[2] == results[3]


def test_modes_are_put_back_layer_by_layer():
    x, y = data()
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Sequential(nn.BatchNorm1d(8)), nn.Linear(8, 4))
    model.compile("cross_entropy", "adam")
    model[2].eval()
    before = [module.training for module in model.modules()]
    for call in (
        lambda: model.predict(x),
        lambda: model.evaluate(x, y),
        lambda: model.fit(x, y, verbose=0),
        lambda: model.summary((None, 3)),
    ):
        call()
        assert [module.training for module in model.modules()] == before
    with pytest.raises(cr.errors.ShapeError):
        model.predict(x[:, :2])
    assert [module.training for module in model.modules()] == before


def test_predict_is_batched_without_a_graph_and_in_eval_mode():
    x, _ = data(n=10)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.9))
    sizes = []
    model[0].register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    output = model.predict(x, batch_size=4)
    assert sizes == [4, 4, 2]
    assert isinstance(output, cr.Tensor) and not output.requires_grad
    np.testing.assert_array_equal(output.numpy(), model[:1].predict(x, batch_size=4).numpy())


@pytest.mark.parametrize("form", [lambda x: x, cr.tensor, lambda x: ArrayDataset(x), lambda x: x.tolist()])
def test_predict_takes_what_fit_takes(form):
    x, y = data(n=10)
    model = classifier()
    expected = model.predict(x).numpy()
    np.testing.assert_array_equal(model.predict(form(x)).numpy(), expected)
    np.testing.assert_array_equal(model.predict(ArrayDataset(x, y)).numpy(), expected)
    np.testing.assert_array_equal(model.predict(DataLoader(ArrayDataset(x, y), 256)).numpy(), expected)


def test_a_final_softmax_is_trained_on_its_scores():
    x, y = data(n=60)
    plain, headed = classifier(), classifier(head=True)
    histories = []
    for model in (plain, headed):
        cr.manual_seed(1)
        histories.append(model.fit(x, y, epochs=3, validation_split=0.25, verbose=0).history)
    assert histories[0] == histories[1]
    assert same(weights(plain), weights(headed))
    np.testing.assert_allclose(headed.predict(x).numpy().sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(headed.predict(x).numpy(), plain.predict(x).softmax(axis=-1).numpy())


def test_the_scores_may_be_huge_under_a_softmax_and_a_sigmoid():
    x = np.array([[1.0], [-1.0]], np.float32)
    soft = nn.Sequential(nn.Linear(1, 2), nn.Softmax())
    soft[0].weight.load([[1e4], [-1e4]])
    soft.compile("cross_entropy", "sgd")
    assert soft.evaluate(x, [1, 1])["loss"] == pytest.approx(1e4, rel=1e-3)
    sigmoid = nn.Sequential(nn.Linear(1, 1), nn.Sigmoid())
    sigmoid[0].weight.load([[1e4]])
    for loss in ("bce", losses.BCE(), losses.BCEWithLogits()):
        sigmoid.compile(loss, "sgd")
        assert sigmoid.evaluate(x, [[0.0], [0.0]])["loss"] == pytest.approx(5e3, rel=1e-3)


def test_a_final_sigmoid_reports_accuracy_of_probabilities():
    x = np.array([[-2.0], [-0.2], [0.3], [2.0]], np.float32)
    y = np.array([[0.0], [0.0], [1.0], [1.0]], np.float32)
    model = nn.Sequential(nn.Linear(1, 1), nn.Sigmoid())
    model[0].weight.load([[1.0]])
    model[0].bias.load([0.0])
    model.compile("bce", "sgd", metrics=["accuracy"])
    assert model.evaluate(x, y)["accuracy"] == 1.0
    np.testing.assert_allclose(model.predict(x).numpy(), 1 / (1 + np.exp(-x)), rtol=1e-5)


def test_a_softmax_inside_a_nested_sequential_is_found():
    x, y = data(n=20)
    cr.manual_seed(5)
    inner = nn.Sequential(nn.Linear(8, 4), nn.Softmax())
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), inner)
    model.compile("cross_entropy", optim.SGD(model.parameters(), lr=0.1))
    nested = model.fit(x, y, epochs=2, verbose=0)["loss"]
    assert nested == classifier().fit(x, y, epochs=2, verbose=0)["loss"]


def test_strings_use_the_defaults_of_their_optimizers():
    for name, cls in (("sgd", optim.SGD), ("adam", optim.Adam), ("adamw", optim.AdamW)):
        model = nn.Sequential(nn.Linear(2, 1)).compile("mse", name)
        assert type(model.compiled.optimizer) is cls
        assert float(model.compiled.optimizer.lr) == pytest.approx(float(cls(model.parameters()).lr))
        assert float(model.compiled.optimizer.lr) < 0.1


def test_losses_and_metrics_may_be_functions():
    def absolute(prediction, target):
        return (prediction - target).abs().mean()

    x, y = np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [1.0], [5.0]])
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    model[0].weight.load([[1.0]])
    model.compile(absolute, "sgd", metrics=[absolute])
    assert model.evaluate(x, y, batch_size=2) == {"loss": pytest.approx(1.0), "absolute": pytest.approx(1.0)}


def test_a_loss_that_sums_is_reported_per_sample():
    x, y = data(n=10)
    model = classifier()
    mean = model.evaluate(x, y)["loss"]
    model.compile(losses.CrossEntropy(reduction="sum"), "sgd")
    assert model.evaluate(x, y, batch_size=3)["loss"] == pytest.approx(mean, rel=1e-6)


def test_metrics_of_training_are_apart_from_those_of_a_callback_that_evaluates():
    x, y = data(n=40)

    class Evaluates(Callback):
        def on_batch_end(self, batch, logs):
            self.model.evaluate(x[:3], y[:3])

    plain = classifier().fit(x, y, epochs=2, verbose=0)
    watched = classifier().fit(x, y, epochs=2, callbacks=[Evaluates()], verbose=0)
    assert plain.history == watched.history


def test_a_metric_object_is_not_changed():
    x, y = data(n=10)
    accuracy = metrics.get("accuracy")
    fresh = float(accuracy.result())
    classifier(metric=[accuracy]).fit(x, y, verbose=0)
    assert float(accuracy.result()) == fresh or np.isnan(fresh)


def test_no_value_is_read_in_a_step(monkeypatch):
    """Between the batches of an epoch nothing is read back: a step can be recorded, a device runs ahead."""
    x, y = data(n=40)
    model = classifier(head=True)
    reads = []

    class Watch(Callback):
        reading = False

        def on_batch_begin(self, batch, logs):
            Watch.reading = batch > 0  # the first batch is looked at, once

        def on_batch_end(self, batch, logs):
            Watch.reading = False

    real = cr.Tensor.numpy
    monkeypatch.setattr(cr.Tensor, "numpy", lambda self: (reads.append(1) if Watch.reading else None, real(self))[1])
    model.fit(x, y, epochs=2, batch_size=8, callbacks=[Watch()], verbose=0)
    assert reads == []


def test_initial_epoch_counts_epochs_as_done():
    x, y = data(n=10)
    epochs = []

    class Note(Callback):
        def on_epoch_begin(self, epoch, logs):
            epochs.append(epoch)

    history = classifier().fit(x, y, epochs=5, initial_epoch=3, callbacks=[Note()], verbose=0)
    assert epochs == history.epoch == [3, 4]


def test_float64_models_train_in_float64():
    x, y = data(n=10)
    model = nn.Sequential(nn.Linear(3, 4, dtype="float64")).compile("cross_entropy", "adam")
    model.fit(x, y, verbose=0)
    assert model.predict(x).dtype == "float64"


def test_the_methods_of_module_are_those_declared():
    tree = ast.parse((Path(nn.__file__).parent / "_methods.pyi").read_text())
    (declared,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for method in declared.body:
        if isinstance(method, ast.FunctionDef):
            real = inspect.signature(getattr(nn.Module, method.name)).parameters
            args = method.args
            assert [a.arg for a in args.args + args.kwonlyargs][1:] == list(real)[1:], method.name
            defaults = [ast.literal_eval(d) for d in args.defaults + [d for d in args.kw_defaults if d is not None]]
            assert defaults == [p.default for p in real.values() if p.default is not p.empty], method.name


@pytest.mark.parametrize("samples", range(1, 23))
def test_an_automatic_split_holds_a_fifth_or_nothing(samples):
    x, y = data(n=samples)
    seen = []

    class Spy(nn.Module):
        def forward(self, inputs):
            seen.append((self.training, inputs.numpy().copy()))
            return inputs

    model = nn.Sequential(Spy(), nn.Linear(3, 4)).compile("cross_entropy", "sgd")
    model.build((None, 3))
    seen.clear()
    history = model.fit(x, y, validation_split="auto", verbose=0)
    if samples < 5:
        assert list(history) == ["loss"] and all(training for training, _ in seen)
        return
    trained = np.concatenate([rows for training, rows in seen if training])
    held = np.concatenate([rows for training, rows in seen if not training])
    assert sorted(map(tuple, [*trained, *held])) == sorted(map(tuple, x))
    assert 1 <= len(held) <= max(1, round(samples / 5))
    assert samples < 10 or {*map(tuple, held)} != {*map(tuple, x[-len(held) :])}  # not just the last
    first = held.copy()
    seen.clear()
    model.fit(x, y, validation_split="auto", verbose=0)  # the same samples each time: none is ever trained on
    np.testing.assert_array_equal(np.concatenate([rows for training, rows in seen if not training]), first)


def test_an_automatic_split_is_balanced_and_leaves_each_class_some():
    from chainrule.train.splits import automatic

    labels = np.repeat([0, 1, 2, 3, 4], [500, 100, 50, 3, 1])  # sorted
    train, held = automatic(654, labels)
    assert np.bincount(labels[held], minlength=5).tolist() in ([100, 20, 10, 0, 0], [100, 20, 10, 1, 0])
    assert len({*train} | {*held}) == 654 and len(train) + len(held) == 654
    train, held = automatic(10, np.arange(10))  # each its own class
    assert len(held) == 2 and len(automatic(7)[1]) == 1
    assert len(automatic(5, np.array([0, 0, 1, 2, 3]))[1]) == 1


def test_an_automatic_split_gives_way_to_validation_data_and_loaders(recwarn):
    x, y = data(n=20)
    order = np.argsort(y)
    sets = {"validation_data": (x, y)}
    assert "val_loss" in classifier().fit(x, y, validation_split="auto", verbose=0, **sets)
    loader = DataLoader(ArrayDataset(x, y), 8)
    assert list(classifier().fit(loader, validation_split="auto", verbose=0)) == ["loss", "accuracy"]
    classifier().fit(x[order], y[order], validation_split="auto", verbose=0)
    assert not recwarn.list  # of labels in order


def test_validation_in_batches_of_its_own():
    x, y = data(n=20)
    sizes = []
    model = nn.Sequential(nn.Linear(3, 4)).compile("cross_entropy", "sgd")
    model[0].register_forward_hook(
        lambda module, inputs, output: None if module.training else sizes.append(len(output))
    )
    model.fit(x, y, validation_data=(x, y), validation_batch_size=8, epochs=2, verbose=0)
    model.fit(x, y, validation_split=0.5, validation_batch_size=4, validation_steps=2, verbose=0)
    assert sizes == [8, 8, 4, 8, 8, 4, 4, 4]
    with pytest.raises(cr.errors.ArgumentError, match=r"\[validation\] batch_size is 0"):
        model.fit(x, y, validation_data=(x, y), validation_batch_size=0, verbose=0)
    with pytest.raises(cr.errors.ArgumentError, match=r"\[validation\] steps is 0"):
        model.fit(x, y, validation_data=(x, y), validation_steps=0, verbose=0)
