"""How far each format carries a model, measured, into docs/interchange.md: ``python -m tests.prove.interchange``.

The models are those of the tests. A row whose peer is not installed, or cannot be fetched, stays as it was.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from tests.onnx_models import MODELS, made, tensors

import chainrule as cr
from chainrule import nn
from chainrule.io import atomic_write

PAGE = Path(__file__).parent.parent.parent / "docs" / "interchange.md"
BEGIN, END = "<!-- written by make interchange -->\n\n", "\n<!-- end -->\n"
HEAD = (
    "| Format | Direction | Compared with | Models | Kinds of layers | Largest deviation |\n|---|---|---|--:|--:|--:|\n"
)


class Trial:
    """What a row was measured on: models, the kinds of layers that were in them, and how far apart results were."""

    def __init__(self) -> None:
        self.models, self.worst = 0, 0.0
        self.kinds: set[str] = set()

    def note(self, _: str, value: float) -> None:
        """As pytest's ``record_property``."""
        self.worst = max(self.worst, value)

    def apart(self, found: Any, wanted: Any, **_: Any) -> None:
        """As ``assert_allclose``, which tests hold to their tolerances by themselves."""
        found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
        self.note("", float(np.abs(found - wanted).max(initial=0.0)) if found.shape == wanted.shape else float("inf"))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every module of ours that is called is one that was tried."""
        call, close = nn.Module.__call__, np.testing.assert_allclose

        def called(module: Any, *inputs: Any, **named: Any) -> Any:
            self.kinds |= {type(part).__name__ for part in module.modules() if hasattr(nn, type(part).__name__)}
            return call(module, *inputs, **named)

        def closer(found: Any, wanted: Any, **options: Any) -> None:
            close(found, wanted, **options)
            self.apart(found, wanted)

        with mock.patch.object(nn.Module, "__call__", called), mock.patch.object(np.testing, "assert_allclose", closer):
            yield


def own(suffix: str) -> Callable[[Trial, Path], None]:
    """Models in files of ours."""

    def measure(trial: Trial, folder: Path) -> None:
        for name in MODELS:
            model, _, batches = made(name)
            model.save(folder / f"m{suffix}")
            trial.models += 1
            with cr.no_grad():
                pairs = zip(tensors(cr.load(folder / f"m{suffix}")(*batches)), tensors(model(*batches)), strict=True)
                for found, wanted in pairs:
                    trial.apart(found.numpy(), wanted.numpy())

    return measure


def torch_weights(trial: Trial, folder: Path) -> None:
    """Weights that torch.load reads, and torch.save writes again."""
    torch: Any = import_module("torch")
    for name in MODELS:
        model, inputs, batches = made(name)
        model.save_weights(folder / "a.pt")
        torch.save(torch.load(folder / "a.pt", weights_only=True), folder / "b.pt")
        again = made(name)[0]
        for value in again.state_dict().values():
            value.copy_(cr.zeros_like(value))
        again.load_weights(folder / "b.pt")
        trial.models += 1
        with cr.no_grad():
            for found, wanted in zip(tensors(again(*batches)), tensors(model(*batches)), strict=True):
                trial.apart(found.numpy(), wanted.numpy())


def torch_modules(trial: Trial, folder: Path) -> None:
    torch: Any = import_module("torch")
    tests: Any = import_module("tests.prove.test_torch_files")
    trial.models = len([*tests.modules(torch)])
    tests.test_modules_compute_the_same_both_ways(torch, trial.note)


def keras_read(trial: Trial, folder: Path) -> None:
    tests: Any = import_module("tests.prove.test_keras_files")
    for shape, make in tests.LAYERS:
        tests.test_layers(shape, make, folder)
    for test in (tests.test_a_functional_network, tests.test_sequence_to_sequence, tests.test_attention):
        test(folder)
    trial.models = len(tests.LAYERS) + 3


def keras_written(kind: str) -> Callable[[Trial, Path], None]:
    """Models in files of Keras, each beside its weights alone."""

    def measure(trial: Trial, folder: Path) -> None:
        tests: Any = import_module("tests.prove.test_keras_files")
        for make, shape in tests.OURS:
            tests.test_models_of_ours_are_read_by_keras(make, shape, kind, folder)
        tests.test_channels_first_and_words(kind, folder)
        tests.test_graphs_of_ours_are_read_by_keras(kind, folder)
        trial.models = len(tests.OURS) + 3

    return measure


def onnx_written(trial: Trial, folder: Path) -> None:
    tests: Any = import_module("tests.prove.test_onnx_export")
    for name in MODELS:
        tests.test_onnxruntime_gives_the_same(name, 17, trial.note)
    trial.models = len(MODELS)


def onnx_read(trial: Trial, folder: Path) -> None:
    tests: Any = import_module("tests.test_interop_onnx")
    for name in MODELS:
        tests.test_written_and_read_again(name)
    trial.models = len(MODELS)


def onnx_again(trial: Trial, folder: Path) -> None:
    tests: Any = import_module("tests.prove.test_onnx_export")
    for name in MODELS:
        tests.test_onnxruntime_gives_the_same_for_what_was_read_and_written_again(name)
    trial.models = len(MODELS)


def shared(library: str) -> Callable[[Trial, Path], None]:
    """Weights that go to another library and come back, in its memory."""

    def measure(trial: Trial, folder: Path) -> None:
        peer: Any = import_module(library)
        for name in MODELS:
            model, _, batches = made(name)
            again = made(name)[0]
            states = model.state_dict(), again.state_dict()
            for key, value in states[0].items():
                states[1][key].copy_(cr.from_dlpack(peer.from_dlpack(value.detach())))
            trial.models += 1
            with cr.no_grad():
                for found, wanted in zip(tensors(again(*batches)), tensors(model(*batches)), strict=True):
                    trial.apart(found.numpy(), wanted.numpy())

    return measure


def array_api(trial: Trial, folder: Path) -> None:
    tests: Any = import_module("tests.prove.test_array_api")
    figures: dict[str, Any] = {}
    tests.test_scikit_learn_and_scipy(figures.__setitem__)
    trial.models, trial.worst = figures["functions of scikit-learn and SciPy"], figures["largest deviation"]


def original(name: str, version: str, program: str, test: str, models: int) -> Callable[[Trial, Path], None]:
    """A test that runs one of the original systems."""

    def measure(trial: Trial, folder: Path) -> None:
        tests: Any = import_module("tests.prove.test_original_systems")
        system = tests.Original(name, version, folder)
        system.run(program, "write")
        getattr(tests, test)(system, lambda what, value: trial.note(what, value) if "steps" not in what else None)
        trial.models = models

    return measure


KEYDNN = ("keydnn", "2.1.0", "keydnn_files.py")
CONVNET = ("convnet", "2.5.3", "convnet_files.py")
MPNN = ("mpneuralnetwork", "1.1.1", "mpnn_files.py")
ROWS: list[tuple[tuple[str, str, str], Callable[[Trial, Path], None]]] = [
    *[((f"`{suffix}` of ours", "written, read", "the model"), own(suffix)) for suffix in (".safetensors", ".npz", ".h5")],
    *[((f"{name} of ours", "written, read", "the model"), own(end)) for name, end in (("`.json`", ".json"), ("folders", "/"))],
    (("PyTorch `.pt`, weights", "written, read", "the model, by way of PyTorch"), torch_weights),
    (("PyTorch modules, float64", "read, written", "PyTorch"), torch_modules),
    (("Keras `.keras`, `.h5`", "read", "Keras"), keras_read),
    (("Keras `.keras`, `.weights.h5`", "written", "Keras"), keras_written("keras")),
    (("Keras `.h5`", "written", "Keras"), keras_written("h5")),
    (("ONNX", "written", "onnxruntime"), onnx_written),
    (("ONNX", "written, read", "the model"), onnx_read),
    (("ONNX", "read, written again", "onnxruntime"), onnx_again),
    (("DLPack, weights", "both ways", "the model, by way of PyTorch"), shared("torch")),
    (("DLPack, weights", "both ways", "the model, by way of JAX"), shared("jax.dlpack")),
    (("Array API: functions", "both ways", "scikit-learn and SciPy on NumPy"), array_api),
    (("KeyDNN `.json`", "read, written again", "KeyDNN 2.1.0"), original(*KEYDNN, "test_keydnn", 5)),
    (("KeyDNN `.json`", "written", "KeyDNN 2.1.0"), original(*KEYDNN, "test_models_of_ours_in_keydnn", 2)),
    (("ConvNet `.hdf5`, `.npz`", "read, written again", "ConvNet 2.5.3"), original(*CONVNET, "test_convnet", 5)),
    (("ConvNet `.npz`", "written", "ConvNet 2.5.3"), original(*CONVNET, "test_models_of_ours_in_convnet", 1)),
    (("MPNeuralNetwork `.npz`", "read, written again", "MPNeuralNetwork 1.1.1"), original(*MPNN, "test_mpneuralnetwork", 5)),
    (("MPNeuralNetwork `.npz`", "written", "MPNeuralNetwork 1.1.1"),
     original(*MPNN, "test_models_of_ours_in_mpneuralnetwork", 3)),
]  # fmt: skip


def measured(measure: Callable[[Trial, Path], None]) -> Trial | None:
    """A row; None where its peer is missing."""
    trial = Trial()
    cr.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, trial.watching(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers, and of statistics that files of KeyDNN and ConvNet have not
        try:
            measure(trial, Path(folder))
        except (pytest.skip.Exception, ImportError) as error:
            print(f"  not here: {error}"[:200], flush=True)
            return None
    return trial


def table(before: str) -> tuple[str, int]:
    """The matrix, and how many rows were measured; ``before`` is the one that there was."""
    kept = {
        tuple(c.strip() for c in line.split("|")[1:4]): line for line in before.splitlines() if line.startswith("|")
    }
    out, count = io.StringIO(HEAD), 0
    out.seek(0, io.SEEK_END)
    for titles, measure in ROWS:
        print(*titles, "...", sep=" ", flush=True)
        found = measured(measure)
        count += found is not None
        if found is not None:
            worst = f"{found.worst:.1e}" if found.worst else "0"
            out.write(f"| {' | '.join(titles)} | {found.models} | {len(found.kinds)} | {worst} |\n")
        elif titles in kept:
            out.write(f"{kept[titles]}\n")
    return out.getvalue(), count


def parts() -> tuple[str, str, str]:
    """The page before the matrix, the matrix, the page behind it."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    before, _, tail = rest.partition(END.lstrip())
    return head, before, tail


def main() -> int:
    lines, count = table(parts()[1])
    head, _, tail = parts()  # as it is now
    with atomic_write(PAGE, text=True) as file:
        file.write(head + BEGIN + lines + END + tail)
    print(lines, f"{PAGE.name} is written; {count} of {len(ROWS)} rows were measured", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
