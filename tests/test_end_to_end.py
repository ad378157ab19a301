"""The main jobs from start to end, on real data: learn, watch, evaluate, save, load, use, interrupt."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.apps.demo import learn
from chainrule.train import CSVLogger, EarlyStopping, ModelCheckpoint

HOME = Path(__file__).parent.parent


def small_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(10),
        nn.Softmax(),
    )


def train_small(x, y, **options):
    cr.manual_seed(4)
    model = small_cnn()
    model.compile("cross_entropy", optim.Adam(model.parameters(), lr=3e-3), metrics=["accuracy"])
    return model, model.fit(x, y, batch_size=32, verbose=0, **options)


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_xor_is_learnt_to_100_percent(head):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([0, 1, 1, 0])
    if head == "sigmoid":
        model = nn.Sequential(nn.Linear(8), nn.Tanh(), nn.Linear(1), nn.Sigmoid())
        loss, target = "bce", y[:, None].astype(np.float32)
    else:
        model = nn.Sequential(nn.Linear(8), nn.Tanh(), nn.Linear(2), nn.Softmax())
        loss, target = "cross_entropy", y
    model.compile(loss, optim.Adam(model.parameters(), lr=0.05), metrics=["accuracy"])
    history = model.fit(x, target, epochs=200, batch_size=4, verbose=0)
    assert history["accuracy"][-1] == 1.0 and history["loss"][-1] < 0.05
    chances = model.predict(x).numpy()
    assert ((chances[:, 0] > 0.5) == y).all() if head == "sigmoid" else (chances.argmax(axis=1) == y).all()


def test_regression_on_a_line():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = x @ [[1.0], [-2.0], [0.5]] + 3
    model = nn.Sequential(nn.Linear(1))
    model.compile("mse", optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    model.fit(x, y, epochs=60, validation_split=0.2, verbose=0)
    np.testing.assert_allclose(model[0].weight.numpy(), [[1, -2, 0.5]], atol=1e-2)
    np.testing.assert_allclose(model[0].bias.numpy(), [3], atol=1e-2)


def test_a_cnn_on_2000_digits_is_trained_watched_saved_loaded_and_used(mnist, mnist_small, tmp_path):
    x_test, y_test = mnist.x_test, mnist.y_test
    best = ModelCheckpoint(tmp_path / "best.safetensors", save_best_only=True)
    stopping = EarlyStopping(patience=2)
    model, history = train_small(
        *mnist_small, epochs=6, validation_split=0.1, callbacks=[best, stopping, CSVLogger(tmp_path / "log.csv")]
    )
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    found = model.evaluate(x_test, y_test)
    assert found["accuracy"] > 0.93, found
    assert found["accuracy"] == (model.predict(x_test).numpy().argmax(axis=1) == y_test).mean()

    history.to_csv(tmp_path / "history.csv")
    history.plot(tmp_path / "history.png")
    assert (tmp_path / "log.csv").read_text() == (tmp_path / "history.csv").read_text()

    model.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    expected = model.predict(x_test[:500]).numpy()
    for loaded in (again, cr.load(tmp_path / "best.safetensors")):  # EarlyStopping put the best back
        np.testing.assert_array_equal(loaded.predict(x_test[:500]).numpy(), expected)
        assert [*loaded.state_dict()] == [*model.state_dict()]
    assert again.compile("cross_entropy", "adam", ["accuracy"]).evaluate(x_test, y_test) == found


def test_a_seed_repeats_a_training_to_the_bit(mnist_small):
    x, y = (part[:600] for part in mnist_small)
    (one, first), (two, second) = (train_small(x, y, epochs=2, validation_split=0.1) for _ in range(2))
    assert first.history == second.history
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)


def test_the_loop_of_the_readme_equals_fit_to_the_bit():
    """The loop as it is printed, and a fit in its place, each in a process of its own."""
    text = (HOME / "README.md").read_text(encoding="utf-8")
    (loop,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "optimizer.step()" in block]
    head, _, _ = loop.partition("loader = ")
    epochs = int(re.search(r"in range\((\d+)\)", loop)[1])
    size = int(re.search(r"batch_size=(\d+)", loop)[1])
    count = re.search(r"ArrayDataset\(x_train\[:(\d+)\]", loop)[1]
    fit = f"{head}model.compile(loss_fn, optimizer)\nmodel.fit(x_train[:{count}], y_train[:{count}], "
    fit += f"epochs={epochs}, batch_size={size}, verbose=0)\n"
    start = "import chainrule as cr\nfrom chainrule import nn\nfrom chainrule.data import load_mnist\n"
    start += "x_train, y_train, x_test, y_test = load_mnist()\ncr.manual_seed(0)\n"
    end = "\nimport hashlib\nstate = b''.join(v.numpy().tobytes() for v in model.state_dict().values())\n"
    end += "print('state', len(state), hashlib.sha256(state).hexdigest())\n"
    found = []
    for program in (loop, fit):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", start + program + end], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.splitlines()[-1])
    assert found[0] == found[1] and int(found[0].split()[1]) > 100_000


def test_a_model_of_more_than_ten_layers_keeps_their_order(tmp_path):
    model = nn.Sequential(*(layer for _ in range(7) for layer in (nn.Linear(3, 3), nn.Tanh())))
    model.save(tmp_path / "deep.safetensors")
    again = cr.load(tmp_path / "deep.safetensors")
    assert repr(again) == repr(model)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(x).numpy(), model.predict(x).numpy())


INTERRUPTED = """
import json, sys
import numpy as np
import chainrule as cr
from chainrule import nn
from chainrule.train import Callback

class Tells(Callback):
    def on_epoch_end(self, epoch, logs):
        print("epoch", epoch, flush=True)

x = np.random.default_rng(0).normal(size=(20000, 20)).astype(np.float32)
y = (x.sum(axis=1) > 0).astype(np.int64)
model = nn.Sequential(nn.Linear(64), nn.ReLU(), nn.Linear(2)).compile("cross_entropy", "adam", ["accuracy"])
history = model.fit(x, y, epochs=100000, batch_size=32, callbacks=[Tells()], verbose=0)
print(json.dumps({
    "interrupted": history.interrupted, "epochs": len(history.epoch), "losses": history["loss"],
    "accuracy": model.evaluate(x, y)["accuracy"], "training": model.training,
}))
model.save(sys.argv[1])
"""


def test_ctrl_c_keeps_history_and_weights(tmp_path):
    """A real signal, in the middle of an epoch."""
    path = tmp_path / "kept.safetensors"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", INTERRUPTED, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "epoch 0\n"
        assert process.stdout.readline() == "epoch 1\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result["interrupted"] and result["epochs"] >= 2 and result["training"]
    assert result["losses"][1] < result["losses"][0] and result["accuracy"] > 0.9
    assert cr.load(path).predict(np.zeros((1, 20))).shape == (1, 2)


def test_a_bad_line_of_data_loses_nothing(mnist_small):
    x, y = (part[:200].copy() for part in mnist_small)
    model, _ = train_small(x, y, epochs=1)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    x[77, 0, 3, 4] = np.nan
    with pytest.raises(cr.errors.DataError, match=r"nan at index \(77, 0, 3, 4\) \(sample 77\)"):
        model.fit(x, y, verbose=0)
    with pytest.raises(cr.errors.ShapeError, match=r"0: \[conv2d\] x has 3 channels"):
        model.fit(np.zeros((4, 3, 28, 28)), y[:4], verbose=0)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_what_make_demo_does_is_repeatable(tmp_path):
    reports = [learn(tmp_path / name, epochs=2, limit=1500, verbose=0) for name in "ab"]
    assert reports[0]["test_accuracy"] == reports[1]["test_accuracy"] > 0.8
    assert reports[0]["test_loss"] == reports[1]["test_loss"]
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert json.loads((tmp_path / "a" / "report.json").read_text())["test_accuracy"] == reports[0]["test_accuracy"]
    assert os.path.getsize(tmp_path / "a" / "history.png") > 1000
