"""The tutorials at full length reach what they say, notebooks run in Jupyter's kernel, and names of others are theirs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from contextlib import chdir
from typing import Any

import numpy as np
import pytest
from tests.pages import HOME, as_a_program, run_page, said
from tests.test_tutorials_coming_from import cells

from chainrule.data.packages import pip

PAGES = HOME / "docs" / "coming_from"
LONG = {  # page: changes, the name of a figure, what it has to be between
    "03_mlp": ({"few": "60_000"}, "accuracy", (0.975, 1)),
    "04_cnn": ({"few": "60_000"}, "accuracy", (0.975, 1)),
    "05_rnn": ({"epochs": "60"}, "accuracy", (0.95, 1)),
    "06_gpt": ({"length": "1_000_000", "epochs": "1"}, "after", (1.0, 2.1)),
    "08_training_loop": ({"few": "20_000"}, "accuracy", (0.94, 1)),
}


@pytest.mark.parametrize("stem", LONG)
def test_a_tutorial_at_length(stem, tmp_path, mnist, record_property):
    changes, name, (low, high) = LONG[stem]
    with as_a_program(tmp_path, mnist):
        found = run_page(HOME / "docs" / "tutorials" / f"{stem}.md", changes)[name]
    found = float(found.result() if hasattr(found, "result") else found)
    record_property(name, found)
    assert low <= found <= high


@pytest.mark.parametrize("path", sorted((HOME / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_in_the_kernel_of_jupyter(path, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    source = path.read_text(encoding="utf-8")
    nbformat.validate(nbformat.reads(source, as_version=4))
    program = (
        "import sys, nbformat, nbclient\n"
        "book = nbformat.read(sys.argv[1], as_version=4)\n"
        "nbclient.NotebookClient(book, timeout=300, resources={'metadata': {'path': '.'}}).execute()\n"
        "kinds = {kind for cell in book.cells for out in cell.get('outputs', []) for kind in out.get('data', {})}\n"
        "sys.exit(0 if 'text/html' in kinds else 'nothing was shown as HTML')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert nbclient.__version__ and path.read_text(encoding="utf-8") == source


def torch_names() -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    return {
        "x": x,
        "i": torch.tensor([[0, 1, 0]]),
        "mask": x.detach() > 2,
        "images": images,
        "labels": labels,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "data": torch.utils.data.TensorDataset(images, labels),
        "loss": nn.functional.cross_entropy(model(images), labels),
        "array": np.zeros((2, 3), dtype="float32"),
    }


def keras_names() -> dict[str, Any]:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    x, y = np.random.default_rng(0).random((8, 8, 8, 1), dtype="float32"), np.arange(8)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile(loss="mse", optimizer="adam")
    history = model.fit(x, np.eye(10)[y], verbose=0)
    return {"keras": keras, "layers": keras.layers, "model": model, "x": x, "y": y, "history": history}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stem, names", [("pytorch", torch_names), ("keras", keras_names)])
def test_names_of_others_are_theirs(stem, names, tmp_path):
    page, known = PAGES / f"{stem}.md", names()
    found = cells(page, 0)
    assert len(found) > 50
    with chdir(tmp_path):
        for code in found:
            try:
                said(code, 1, page, known)
            except Exception as error:
                raise AssertionError(f"{page.name}: {code}: {error}") from error


@pytest.mark.parametrize(
    "stem, package",
    [("keydnn", "keydnn==2.1.0"), ("nn", "convnet==2.5.3"), ("mpneuralnetwork", "mpneuralnetwork==1.1.1")],
)
def test_names_of_the_original_systems_are_theirs(stem, package, tmp_path):
    """In their source: not all of them can be imported everywhere."""
    command = [
        *pip(),
        "download",
        "--no-deps",
        "--quiet",
        "--disable-pip-version-check",
        "--dest",
        str(tmp_path),
        package,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"{package} cannot be fetched: {done.stderr.strip().splitlines()[-1:]}")
    source = ""
    for wheel in tmp_path.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            source += "\n".join(archive.read(n).decode() for n in archive.namelist() if n.endswith((".py", "METADATA")))
    known = set(re.findall(r"\w+", source))
    own = {"x", "y", "layers", "weights", "device", "array", "images", "history", "model", "dataset", "layer"}
    for code in cells(PAGES / f"{stem}.md", 0):
        try:
            tree = ast.parse(f"f({code})")  # arguments may stand alone
        except SyntaxError:
            tree = ast.parse(code)
        nodes = [*ast.walk(tree)][1:]
        said_names = {n.id for n in nodes if isinstance(n, ast.Name)} | {
            n.attr for n in nodes if isinstance(n, ast.Attribute)
        }
        said_names |= {n.arg for n in nodes if isinstance(n, ast.keyword) and n.arg}
        missing = said_names - known - own - {"f"}
        assert not missing, f"{stem}.md: {code}: {package} has no {missing}"
