"""What users of earlier frameworks did with them, done with chainrule: each scenario with the result it must show.

The numbers are those of the list of scenarios that chainrule was asked to cover. Data are made up here. Elsewhere:

* 3, 13, 17, 28, 29, .npz of 12 and 15, what a wrong call is told: test_scenarios_more.py. Wheels: ``make prove``.
* 6, 7, 21, 27, benchmarks: test_benchmarks.py. 20, C++ without Python: tests/prove/test_cpp.py.
* 10, a command that trains on MNIST: tests/test_cli.py; ``from_keras``: tests/test_interop_keras.py.
* 2 and 29 on a GPU: tests/cuda/test_models.py.
* 13, the window itself: tests/prove/test_window.py.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, optim
from chainrule.apps.image import prepare
from chainrule.data import ArrayDataset, DataLoader
from chainrule.train import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau


def clusters(n, features, classes, spread=0.5):
    """``n`` points around ``classes`` centres, and the number of the centre of each."""
    rng = np.random.default_rng(0)
    centres, y = rng.standard_normal((classes, features)), rng.integers(classes, size=n)
    return (centres[y] + spread * rng.standard_normal((n, features))).astype(np.float32), y


def pictures(n):
    """``n`` pictures (1, 28, 28) of ten kinds, each kind a bright square in a place of its own, and their kinds."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 10
    x = 0.1 * rng.random((n, 1, 28, 28))
    for i, kind in enumerate(y):
        row, column = 2 + 12 * (kind // 5), 1 + 5 * (kind % 5)
        x[i, 0, row : row + 8, column : column + 4] += 0.9
    return x.astype(np.float32), y


def test_1_the_first_gradient():
    x = cr.zeros(2, 3, requires_grad=True)
    y = (x * 2.0).sum()
    y.backward()
    assert y.item() == 0.0
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 2.0))


def test_2_a_large_product_on_the_cpu():
    x = cr.rand(1024, 1024, requires_grad=True)
    y = (x @ x.T).mean()
    y.backward()
    assert y.shape == () and repr(y).startswith("tensor(256.")
    assert y.item() == pytest.approx(256.08, abs=0.5)
    assert x.grad.shape == (1024, 1024)
    columns = x.detach().numpy().sum(axis=0)
    np.testing.assert_allclose(x.grad.numpy(), np.tile(2 * columns / 1024**2, (1024, 1)), rtol=1e-4)


def test_4_a_cnn_as_json(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 14 * 14, 10),
        nn.Softmax(axis=-1),
    ).eval()
    model.save_json(tmp_path / "checkpoint.json")
    content = json.loads((tmp_path / "checkpoint.json").read_text())
    assert content.keys() == {"format", "arch", "state"}
    assert content["state"].keys() == {"0.weight", "0.bias", "4.weight", "4.bias"}
    x = cr.rand(5, 1, 28, 28)
    before, after = model(x).numpy(), cr.io.load_json(tmp_path / "checkpoint.json")(x).numpy()
    np.testing.assert_array_equal(after, before)
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_5_both_ways_in_time(kind):
    layer = nn.Bidirectional(kind(16, 32, return_sequences=True), return_sequences=True)
    y = layer(cr.randn(7, 3, 16))
    assert y.shape == (7, 3, 64)
    y.sum().backward()
    for way in (layer.forward_layer, layer.backward_layer):
        assert all(p.grad is not None and (p.grad != 0).any() for p in way.parameters())


def test_8_exclusive_or():
    x, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [[0.0], [1.0], [1.0], [0.0]]
    model = nn.Sequential(nn.Linear(8), nn.Tanh(), nn.Linear(1), nn.Sigmoid())
    model.compile("bce", optim.Adam(model.parameters(), lr=0.05), metrics=["accuracy"])
    history = model.fit(x, y, epochs=100, batch_size=4, verbose=0)
    assert history["accuracy"][-1] == 1.0 and history["loss"][-1] < 0.005


def test_9_a_small_cnn_learns_a_handful_by_heart():
    x, y = cr.rand(8, 1, 12, 12), cr.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    body = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4), nn.Softmax(axis=-1)
    )
    assert body(x).shape == (8, 4)
    np.testing.assert_allclose(body(x).sum(axis=1).detach().numpy(), 1, rtol=1e-6)
    loss_of, optimizer = losses.CategoricalCrossEntropy(), optim.Adam(body.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        loss_of(body(x), y).backward()
        optimizer.step()
    assert (body(x).argmax(axis=1) == y).all()


def test_9_an_rnn_learns_a_sequence():
    rnn, head = nn.RNN(1, 16), nn.Linear(16, 1)
    wave = np.sin(np.arange(41) * 0.4).astype(np.float32)
    x, target = cr.tensor(wave[:-1].reshape(40, 1, 1)), cr.tensor(wave[1:].reshape(40, 1, 1))
    optimizer = optim.Adam([*rnn.parameters(), *head.parameters()], lr=0.01)
    course = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = losses.mse(head(rnn(x)[0]), target)
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert course[-1] < 0.1 * course[0] and course[-1] < course[30] < course[0]


def test_9_the_gradient_of_a_first_state():
    rnn = nn.RNN(3, 4, dtype="float64")
    x = cr.randn(5, 2, 3, dtype="float64")
    assert cr.gradcheck(lambda h: rnn(x, h)[0], (cr.randn(1, 2, 4, dtype="float64", requires_grad=True),))


def test_10_watched_training(tmp_path):
    x, y = clusters(200, 8, 3)
    model = nn.Sequential(nn.Linear(16), nn.ReLU(), nn.Linear(3))
    model.compile("cross_entropy", optim.Adam(model.parameters(), lr=0.2), metrics=["accuracy"])
    stopping = EarlyStopping("val_loss", patience=2)
    files = ModelCheckpoint(tmp_path / "ckpt_{epoch}.safetensors")
    wanted = 200
    data = (x[150:], y[150:])
    history = model.fit(x[:150], y[:150], epochs=wanted, validation_data=data, callbacks=[stopping, files], verbose=0)
    epochs = len(history["loss"])
    assert epochs < wanted, "stopped early"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"ckpt_{i + 1}.safetensors" for i in range(epochs))
    assert model.evaluate(*data)["loss"] == pytest.approx(min(history["val_loss"]), rel=1e-5)


def test_11_the_cnn_of_the_example(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(8, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(10),
    )
    summary = model.summary((None, 1, 28, 28))
    assert [row.parameters for row in summary.rows if row.parameters] == [80, 1168, 50_240, 650]
    assert summary.total == 52_138 and "52,138" in str(summary)
    x, y = pictures(300)
    model.compile("cross_entropy", optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4), metrics=["accuracy"])
    callbacks = [
        EarlyStopping("val_accuracy", patience=12),
        ReduceLROnPlateau("val_accuracy", factor=0.5, patience=4),
    ]
    history = model.fit(x, y, epochs=8, batch_size=64, validation_split=0.1, callbacks=callbacks, verbose=0)
    assert max(history["val_accuracy"]) > 0.9
    model.save(tmp_path / "weights.safetensors")
    again = cr.load(tmp_path / "weights.safetensors").predict(x[:4]).numpy()
    assert again.shape == (4, 10)
    np.testing.assert_array_equal(again, model.predict(x[:4]).numpy())
    cr.interop.save_convnet(model, tmp_path / "weights.hdf5")
    assert {p.name for p in tmp_path.iterdir()} == {"weights.safetensors", "weights.hdf5", "weights.json"}
    theirs = cr.interop.load_convnet(tmp_path / "weights.hdf5").predict(x[:4].transpose(0, 2, 3, 1)).numpy()
    np.testing.assert_allclose(theirs, again, rtol=1e-4, atol=1e-6)  # with channels last, as that framework had them


def test_11_the_rate_falls_on_a_plateau_and_training_ends():
    model = nn.Sequential(nn.Linear(1))
    model.compile("mse", optim.SGD(model.parameters(), lr=1e-12))  # nothing improves
    callbacks = [
        EarlyStopping("val_loss", patience=12, min_delta=1e-3),
        ReduceLROnPlateau("val_loss", factor=0.5, patience=4),
    ]
    x = np.ones((20, 1), np.float32)
    history = model.fit(x, x, epochs=100, validation_split=0.1, callbacks=callbacks, verbose=0)
    assert 13 <= len(history["loss"]) <= 15
    assert model.compiled.optimizer.lr == pytest.approx(0.25e-12)


def test_12_compile_fit_predict_save_load(tmp_path):
    x, y = clusters(250, 20, 10)
    model = nn.Sequential(nn.Linear(32), nn.ReLU(), nn.Linear(10), nn.Softmax())
    optimizer = optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    model.compile("categorical_crossentropy", optimizer, metrics=["accuracy"])
    validation, stopping = (x[200:], y[200:]), EarlyStopping(patience=5)
    history = model.fit(
        x[:200], y[:200], epochs=5, batch_size=64, validation_data=validation, callbacks=stopping, verbose=0
    )
    names = {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert {name: len(history[name]) for name in names} == dict.fromkeys(names, 5)
    assert model.predict(x).shape == (250, 10)
    model.save(tmp_path / "my.safetensors")
    cr.interop.save_convnet(model, tmp_path / "my.hdf5")
    for loaded in (cr.load(tmp_path / "my.safetensors"), cr.interop.load_convnet(tmp_path / "my.hdf5")):
        np.testing.assert_array_equal(loaded.predict(x).numpy(), model.predict(x).numpy())


def test_12_clipped_steps_in_a_loop():
    x, y = clusters(100, 20, 10)
    model = nn.Sequential(nn.Linear(20, 10))
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    losses.cross_entropy(100.0 * model(cr.tensor(x)), cr.tensor(y)).backward()
    before = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    assert optim.clip_grad_norm_(model.parameters(), 5.0).item() > 5
    optimizer.step()
    moved = before - np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    assert np.linalg.norm(moved) == pytest.approx(5.0, rel=1e-4)  # of all parameters together


def test_13_a_drawing_becomes_a_digit():
    sheet = np.zeros((280, 280))
    sheet[60:220, 130:150] = 255.0
    digit = prepare(sheet)
    assert digit.shape == (1, 28, 28) and digit.max() == 1.0
    larger = prepare(np.kron(sheet, np.ones((2, 2))))  # the size of the sheet does not matter
    np.testing.assert_allclose(larger, digit, atol=1e-6)


@nn.register(name="scenario_scale")
class Scale(nn.Module):
    """Times a factor, with a gradient of its own."""

    def __init__(self, factor):
        self.factor = factor

    def forward(self, x):
        return Times.apply(x, self.factor)


class Times(cr.Function):
    """x times a number."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx, g):
        return g * ctx.factor, None


class Halfway(optim.Formula):
    """Half a gradient step."""

    def __init__(self, params, lr=0.2):
        super().__init__(params, {"lr": lr, "weight_decay": 0.0})

    def formula(self, group, t, x, g):
        return (x - 0.5 * group.rate.to(x.dtype) * g,)


def test_14_a_layer_a_loss_and_an_optimizer_of_ones_own(tmp_path):
    model = nn.Sequential(Scale(2.0))
    x = cr.ones(2, 3, requires_grad=True)
    y = model(x)
    np.testing.assert_array_equal(y.detach().numpy(), np.full((2, 3), 2.0))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 2.0))
    model.save(tmp_path / "scale.safetensors")
    np.testing.assert_array_equal(cr.load(tmp_path / "scale.safetensors").predict(x.detach()).numpy(), 2.0)

    line = nn.Sequential(nn.Linear(1, 1), Scale(2.0))
    line.compile(lambda prediction, target: ((prediction - target) ** 2).mean(), Halfway(line.parameters()))
    points = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
    line.fit(points, 6 * points + 2, epochs=30, verbose=0)
    assert line[0].weight.item() == pytest.approx(3, abs=0.05) and line[0].bias.item() == pytest.approx(1, abs=0.05)


ALONE = """
import sys
for name in ("h5py", "matplotlib", "PIL", "onnx", "sklearn", "torch"):
    sys.modules[name] = None  # importing it fails
import os
before = dict(os.environ)
import chainrule as cr
assert dict(os.environ) == before
model = cr.nn.Sequential(cr.nn.Linear(2, 1)).compile("mse", "sgd")
model.fit([[0.0, 1.0], [1.0, 0.0]], [[2.0], [3.0]], verbose=0)
model.save("model.safetensors")
assert (cr.load("model.safetensors").predict([[1.0, 1.0]]) == model.predict([[1.0, 1.0]])).all()
print("done")
"""


def test_15_and_16_nothing_optional_is_needed_and_the_environment_is_left_alone(tmp_path):
    clean = {k: v for k, v in os.environ.items() if not k.endswith("NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, cwd=tmp_path, env=clean, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


def test_18_regression_on_a_table(capsys):
    rng = np.random.default_rng(42)
    x = rng.standard_normal((442, 10))
    y = x @ rng.standard_normal((10, 1)) + 0.5 * rng.standard_normal((442, 1))
    y = (y - y.mean()) / y.std()
    model = nn.Sequential(nn.Linear(16), nn.Sigmoid(), nn.Linear(16), nn.Sigmoid(), nn.Linear(1))
    model.compile("mse", optim.SGD(model.parameters(), lr=0.01))
    history = model.fit(x[:353], y[:353], epochs=10, batch_size=353, validation_data=(x[353:], y[353:]), verbose=2)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 10 and all("loss" in line and "val_loss" in line for line in lines)
    assert history["loss"][-1] < history["loss"][0]
    assert model.predict(x[353:]).shape == (89, 1)


def test_19_classes_of_64_features():
    x, y = clusters(1797, 64, 10, spread=1.0)
    model = nn.Sequential(nn.Linear(89), nn.Tanh(), nn.Linear(10))
    model.compile("cross_entropy", optim.SGD(model.parameters(), lr=0.1), metrics=["accuracy"])
    model.fit(x[:1257], y[:1257], epochs=20, batch_size=60, verbose=0)
    predicted = model.predict(x[1257:]).numpy()
    assert predicted.shape == (540, 10)
    accuracy = (predicted.argmax(axis=1) == y[1257:]).mean()
    assert accuracy > 0.95
    assert model.evaluate(x[1257:], y[1257:])["accuracy"] == pytest.approx(accuracy)


def test_22_an_mlp_with_dropout():
    x, y = clusters(400, 784, 10)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10), nn.Softmax())
    model.compile("cross_entropy", optim.Adam(model.parameters(), lr=1e-3), metrics=["accuracy"])
    model.fit(x, y, epochs=5, batch_size=32, validation_split=0.2, callbacks=EarlyStopping(patience=5), verbose=0)
    chances = model.predict(x[:50]).numpy()
    assert chances.shape == (50, 10)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    assert model.evaluate(x, y)["accuracy"] > 0.95


def test_22_sizes_the_wrong_way_round_are_told():
    x, y = clusters(64, 784, 10)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(10, 128))
    message = (
        r"2: \[linear\] x has 128 features \(axis -1 of \(32, 128\)\) but weight expects 10 \(axis 1 of \(128, 10\)\)"
    )
    with pytest.raises(ValueError, match=message):
        model.compile("cross_entropy").fit(x, y, batch_size=32, verbose=0)
    with pytest.raises(cr.errors.ShapeError, match=r"0: \[linear\] x has 784 features .* but weight expects 128"):
        nn.Sequential(nn.Linear(128, 784))(cr.tensor(x))


def test_23_a_cnn_and_its_shapes():
    layers = [
        nn.Conv2d(1, 32, 3),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        nn.Linear(32 * 13 * 13, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    ]
    x, shapes = cr.rand(2, 1, 28, 28), []
    for layer in layers:
        x = layer(x)
        shapes.append(x.shape[1:])
    image = (32, 26, 26)
    assert shapes == [image, image, image, (32, 13, 13), (5408,), (100,), (100,), (10,)]


def test_24_regression_with_metrics():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((160, 13)).astype(np.float32)
    y = x @ rng.standard_normal((13, 1)) + np.maximum(x[:, :1], 0)
    model = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    model.compile("mse", optim.Adam(model.parameters(), lr=0.01), metrics=["rmse", "r2"])
    history = model.fit(x, y, epochs=100, batch_size=16, verbose=0)
    assert len(history["rmse"]) == len(history["r2"]) == 100
    assert history["r2"][-1] > 0.95 and history["rmse"][-1] < 0.25 * history["rmse"][0]
    assert history["rmse"][-1] == pytest.approx(history["loss"][-1] ** 0.5, rel=1e-4)


def test_25_adamw_is_adam_with_decoupled_decay():
    ends = []
    for make in (lambda p: optim.AdamW(p, weight_decay=0.1), lambda p: optim.Adam(p, weight_decay=0.1, decoupled=True),
                 lambda p: optim.Adam(p, weight_decay=0.1)):  # fmt: skip
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3))
        optimizer = make(model.parameters())
        for _ in range(5):
            optimizer.zero_grad()
            (model(cr.ones(2, 4)) ** 2).sum().backward()
            optimizer.step()
        ends.append(model[0].weight.numpy().copy())
    np.testing.assert_array_equal(ends[0], ends[1])
    assert not np.allclose(ends[0], ends[2])


def test_26_training_goes_on_from_files_to_the_bit(tmp_path):
    x, y = clusters(96, 8, 3)

    def epochs(model, optimizer, n):
        model.train()
        for _ in range(n):
            for xb, yb in DataLoader(ArrayDataset(x, y), batch_size=32):
                optimizer.zero_grad()
                losses.cross_entropy(model(xb), yb).backward()
                optimizer.step()

    def start():
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
        return model, optim.Adam(model.parameters(), lr=0.01)

    straight, optimizer = start()
    epochs(straight, optimizer, 4)

    model, optimizer = start()
    epochs(model, optimizer, 2)
    model.save(tmp_path / "model.safetensors")
    cr.io.save_training(tmp_path / "training.safetensors", model=model, optimizer=optimizer)
    model.eval()
    loaded = cr.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(x).numpy(), model.predict(x).numpy())

    resumed = optim.Adam(loaded.parameters(), lr=0.01)
    assert cr.io.load_training(tmp_path / "training.safetensors", model=loaded, optimizer=resumed) == {}
    epochs(loaded, resumed, 2)
    ours, theirs = loaded.state_dict(), straight.state_dict()
    assert ours.keys() == theirs.keys() and "1.running_var" in ours
    for name, value in ours.items():
        np.testing.assert_array_equal(value.numpy(), theirs[name].numpy(), err_msg=name)


def test_29_padding_and_stride_of_one_keep_the_size():
    assert nn.Conv2d(1, 32, 3, padding=1, stride=1)(cr.rand(2, 1, 28, 28)).shape == (2, 32, 28, 28)
