"""More of what users of earlier frameworks did: installing, drawing, another backend, and calls that are wrong."""

import json
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends, losses, nn, optim
from chainrule.apps.cli import main
from chainrule.apps.image import prepare

NEEDED = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {allowed!r}:
            raise ModuleNotFoundError(f"{{name}} is not a requirement", name=name)

sys.meta_path.insert(0, Nothing())
import chainrule as cr
model = cr.nn.Sequential(cr.nn.Conv2d(4, kernel_size=3), cr.nn.ReLU(), cr.nn.Flatten(), cr.nn.Linear(2), cr.nn.Softmax())
model.compile("cross_entropy", "adam", metrics=["accuracy"])
x, y = cr.rand(8, 1, 6, 6).numpy(), [0, 1] * 4
model.fit(x, y, verbose=2)
model.save("model.safetensors")
assert (cr.load("model.safetensors").predict(x) == model.predict(x)).all()
"""


def test_3_and_28_its_requirements_are_all_it_needs(tmp_path):
    allowed = {"chainrule", "numpy", "ml_dtypes", "safetensors"}
    command = [sys.executable, "-c", NEEDED.format(allowed=allowed)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_12_and_15_a_trained_cnn_in_a_file_that_needs_no_other_package(suffix, tmp_path):
    x, y = np.random.default_rng(0).random((16, 1, 8, 8)).astype(np.float32), np.arange(16) % 4
    model = nn.Sequential(
        nn.Conv2d(4, kernel_size=3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4)
    )
    model.compile("cross_entropy", "adam").fit(x, y, epochs=3, verbose=0)
    model.save(tmp_path / f"my{suffix}")
    assert [p.name for p in tmp_path.iterdir()] == [f"my{suffix}"]
    np.testing.assert_array_equal(cr.load(tmp_path / f"my{suffix}").predict(x).numpy(), model.predict(x).numpy())


def test_17_what_is_installed_has_versions_to_pin():
    assert metadata.version("chainrule") == cr.__version__
    for requirement in metadata.requires("chainrule"):
        if "extra" not in requirement:
            name, least = requirement.split(">=")
            found = [int(n) for n in metadata.version(name).split(".")[:2]]
            assert found >= [int(n) for n in least.split(".")], requirement


def test_13_a_drawing_on_a_sheet_of_280_pixels_becomes_three_guesses(tmp_path, monkeypatch, capsys):
    sheet = np.zeros((280, 280), np.float32)
    sheet[60:220, 130:150] = 255.0
    digit = prepare(sheet)
    assert digit.shape == (1, 28, 28) and digit.dtype == np.float32 and digit.max() == 1.0
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).build(cr.zeros(1, 1, 28, 28))
    model.save(tmp_path / "weights.safetensors")
    np.save(tmp_path / "sheet.npy", sheet)
    monkeypatch.chdir(tmp_path)

    def predict(*arguments):
        monkeypatch.setattr(sys, "argv", ["chainrule", "predict", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, capsys.readouterr()

    code, data = predict("weights.safetensors", "sheet.npy", "--json")
    (found,) = json.loads(data.out)
    scores = np.exp(model(cr.tensor(digit[None])).detach().numpy()[0])
    best = np.argsort(-scores)[:3]
    assert code == 0 and [t["digit"] for t in found["top"]] == best.tolist()
    np.testing.assert_allclose([t["probability"] for t in found["top"]], scores[best] / scores.sum(), rtol=1e-3)
    code, said = predict("weights.safetensors", "sheet.npy")
    assert code == 0 and said.out.startswith(f"sheet.npy: {best[0]} (") and f"{best[2]} " in said.out
    code, said = predict("none.safetensors", "sheet.npy")
    assert code != 0 and "none.safetensors" in said.err and "Traceback" not in said.err


def test_29_another_backend_by_one_line():
    ends = []
    for name in ("cpu", "numpy"):
        with backends.use(name):
            cr.manual_seed(0)
            model = nn.Sequential(
                nn.Conv2d(
                    1, 4, 3, padding=1, stride=1, bias=False
                ),  # one before a norm would have rounding as its gradient
                nn.BatchNorm2d(),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(3),
            )
            optimizer = optim.Adam(model.build(cr.zeros(1, 1, 8, 8)).parameters(), lr=0.01)
            x = cr.tensor(np.random.default_rng(0).random((12, 1, 8, 8)).astype(np.float32))
            for _ in range(5):
                optimizer.zero_grad()
                losses.cross_entropy(model(x), cr.tensor(np.arange(12) % 3)).backward()
                optimizer.step()
            ends.append(model.eval()(x).detach().numpy())
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-3, atol=1e-4)


X = np.zeros((32, 13), np.float32)
WRONG = {
    "22 features after the number of units": (
        lambda: nn.Sequential(nn.Linear(128, 13), nn.ReLU())(cr.tensor(X)),
        r"0: \[linear\] x has 13 features .* but weight expects 128",
    ),
    "23 a head the wrong way round": (
        lambda: nn.Sequential(nn.Conv2d(1, 32, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 5408))(cr.zeros(1, 1, 28, 28)),
        r"3: \[linear\] x has 5408 features .* but weight expects 100",
    ),
    "23 images with the channels last": (
        lambda: nn.Conv2d(1, 32, 3)(cr.zeros(1, 28, 28, 1)),
        r"\[conv2d\] x has 28 channels \(axis 1 of \(1, 28, 28, 1\)\) but weight expects 1",
    ),
    "23 a convolution without its kernel": (lambda: nn.Conv2d(32), r"kernel_size is missing: write Conv2d\("),
    "24 a first layer the wrong way round": (
        lambda: nn.Sequential(nn.Linear(64, 13)).compile("mse").fit(X, X[:, :1], verbose=0),
        r"0: \[linear\] x has 13 features .* but weight expects 64",
    ),
    "24 targets of another shape": (lambda: losses.mse(cr.zeros(4, 1), cr.zeros(4)), r"\(4, 1\) but target has \(4,\)"),
    "12 a loss that is misspelt": (
        lambda: nn.Sequential(nn.Linear(1)).compile("categorical_crosentropy"),
        "did you mean 'categorical_crossentropy'",
    ),
    "12 a label that is no class": (
        lambda: losses.cross_entropy(cr.zeros(2, 3), cr.tensor([0, 3])),
        r"target 3 at row 1 is not a class: x has 3 classes \(0 to 2\)",
    ),
    "5 a sequence without its batch": (lambda: nn.LSTM(16, 32)(cr.zeros(5, 16)), r"\(time, batch, features\)"),
    "8 an optimizer without parameters": (lambda: optim.SGD(0.1), r"SGD takes several parameters first, not a float"),
    "11 a share as a percentage": (lambda: nn.Dropout(20), "p is 20, expected a probability, from 0 to 1"),
    "4 a file of another kind": (
        lambda: nn.Sequential(nn.Linear(1, 1)).save("weights.xyz"), "ends in",
    ),
    "2 a device that does not exist": (lambda: cr.Device("gpu:0"), 'write "cpu", "cuda" or "cuda:<index>"'),
}  # fmt: skip


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_call_is_told(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    f, message = WRONG[call]
    with pytest.raises((cr.errors.ChainruleError, ValueError, TypeError), match=message):
        f()
