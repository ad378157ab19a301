"""Models of any format, by file or by name, and how far an exported one is from its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import zoo
from ..domain.errors import ArgumentError, MissingFileError, unknown
from ..io.zipped import regular
from ..nn import Module
from .convert import READ
from .runs import subject

Shape = tuple[int | None, ...] | None
IMAGES = (3, 32, 32)  # what a model of the zoo for images is shown on, if nothing is said


def loaded(name: str, shape: Shape, outputs: int = 10) -> tuple[Module, Shape]:
    """A model and the shape of its input, if it is known: of a run, of a file of any format, or of the zoo.

    Errors: ArgumentError for what is none of these, those of the readers.

    >>> model, shape = loaded("lenet", (1, 28, 28))
    >>> model.summary((None, *shape)).total
    61706
    """
    path = Path(name)
    if path.exists() or path.suffix in READ:
        if not path.is_dir():
            regular(path, f"[summary] {path}")
        chosen = subject(path)
        return chosen.model(shape), shape or (tuple(chosen.about["shape"]) if chosen.about else None)
    if name not in zoo.MODELS:
        raise MissingFileError(f"[summary] {unknown('model', name, zoo.MODELS)}; and there is no file or folder {name}")
    kind = zoo.MODELS[name].takes[0]
    if shape is None:
        if kind == "sequences":
            raise ArgumentError(f"[summary] {name} reads sequences: give --input-shape STEPS,FEATURES")
        shape = (128,) if kind == "text" else IMAGES
    elif name in ("lstm", "gru") and len(shape) == 1:
        kind = "text"
    elif name == "mlp" and len(shape) == 1:
        kind = "table"
    model = zoo.create(name, outputs, kind=kind)
    return model.build((None, *shape)), shape


def onnx_difference(model: Any, path: Path, shape: tuple[int | None, ...]) -> float | None:
    """The largest difference between what the model and ONNX Runtime make of random input, as a share of the largest output;
    None where it is not installed.
    """
    try:
        from importlib import import_module

        onnxruntime = import_module("onnxruntime")
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    sizes = (3, *(4 if n is None else n for n in shape))
    generator = np.random.default_rng(0)
    whole = "int64" in given.type
    x = generator.integers(0, 2, sizes) if whole else generator.standard_normal(sizes).astype(np.float32)
    (other,) = session.run(None, {given.name: x})[:1]
    ours = model.predict(x).numpy()
    return float(np.abs(ours - other).max() / np.abs(ours).max())
