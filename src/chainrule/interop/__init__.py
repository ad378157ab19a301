"""Files and models of other frameworks. What is named here is loaded when it is first used.

>>> import chainrule as cr
>>> from tempfile import TemporaryDirectory
>>> with TemporaryDirectory() as folder:
...     cr.interop.save_torch(f"{folder}/weights.pt", {"weight": cr.ones(2)})
...     cr.interop.load_torch(f"{folder}/weights.pt")
{'weight': array([1., 1.], dtype=float32)}
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

from ..later import names
from ..nn.registry import LATER, READERS, WRITERS

if TYPE_CHECKING:
    from .convnet import load_convnet, save_convnet
    from .cppapi import from_cppapi
    from .keras_files import from_keras, load_keras_weights
    from .keras_writer import to_keras
    from .mpnn import load_mpnn, save_mpnn
    from .onnx import from_onnx, to_onnx
    from .torch_files import load_torch, save_torch
    from .torch_modules import from_torch, to_torch

HOMES = {  # the file of this folder that has it
    "from_cppapi": "cppapi",
    "from_keras": "keras_files",
    "from_onnx": "onnx",
    "to_onnx": "onnx",
    "load_convnet": "convnet",
    "load_keras_weights": "keras_files",
    "load_mpnn": "mpnn",
    "load_torch": "torch_files",
    "save_convnet": "convnet",
    "save_mpnn": "mpnn",
    "save_torch": "torch_files",
    "from_torch": "torch_modules",
    "to_keras": "keras_writer",
    "to_torch": "torch_modules",
}

__all__ = [
    "from_cppapi",
    "from_keras",
    "from_onnx",
    "from_torch",
    "load_convnet",
    "load_keras_weights",
    "load_mpnn",
    "load_torch",
    "save_convnet",
    "save_mpnn",
    "save_torch",
    "to_keras",
    "to_torch",
    "to_onnx",
]


__getattr__, __dir__ = names(__name__, HOMES)


def _torch_weights(path: str | PathLike[str]) -> dict[str, Any]:
    """The arrays of a file of PyTorch, for ``load_weights``."""
    from ..io.loading import state_of
    from .torch_files import load_torch

    return state_of(load_torch(path), path)


def _write_torch_weights(path: str | PathLike[str], arrays: Mapping[str, Any]) -> None:
    """The opposite, for ``save_weights``."""
    from .torch_files import save_torch

    save_torch(path, dict(arrays))


for _suffix in (".pt", ".pth"):
    READERS[_suffix], WRITERS[_suffix] = _torch_weights, _write_torch_weights
LATER.update(dict.fromkeys(("OnnxGraph", "OnnxNode"), lambda: import_module(".onnx.graph", __name__)))
