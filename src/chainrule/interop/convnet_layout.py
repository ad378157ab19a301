"""What ConvNet's files say: its layers, and what each of them has.

The text is a list of ``{"class", "config"}``. A weight is called ``INDEX_CLASS_NAME``: ``0_Conv2D_W`` (height, width, in, out),
``0_Conv2D_b``, ``3_BatchNorm2D_gamma`` and ``_beta``, ``5_Dense_W`` (in, out). Images have their channels last, "same" pads as
TensorFlow does. A convolution is a cross-correlation; but ConvNet 2, where it computes with SciPy and not with JAX, turns
kernels about (see ``turned``) in the forward pass alone, and its files do not say where it computed. Its own files lack the
running statistics of batch normalization; ours add them as ``_running_mean`` and ``_running_var``, which ConvNet skips.
"""

from __future__ import annotations

from typing import Any

from .. import nn
from ..domain.errors import FileFormatError
from .entries import POSITIVE, RATE, SIZE, Said, flag, is_pair, is_share, is_size, one_of, typed

RUNNING = ("running_mean", "running_var")
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softmax": nn.Softmax}
PAIR = Said("two sizes", is_pair)
CONFIGS = {
    "Conv2D": {
        "filters": SIZE,
        "kernel_size": PAIR._replace(default=[3, 3]),
        "stride": SIZE._replace(default=1),
        "padding": one_of(["same", "valid"], "same"),
        "use_bias": flag(True),
    },
    "Dense": {"units": SIZE, "use_bias": flag(True)},
    "MaxPool2D": {
        "pool_size": PAIR._replace(default=[2, 2]),
        "stride": Said("a size", lambda v: v is None or is_size(v), None),
    },
    "BatchNorm2D": {
        "momentum": Said("a number from 0 to 1", is_share, 0.9),
        "eps": POSITIVE._replace(default=1e-5),
    },
    "Activation": {"func": one_of(ACTIVATIONS, "relu")},
    "Dropout": {"rate": RATE},
    "Flatten": {},
}


def listed(said: Any, where: str) -> list[tuple[str, dict[str, Any]]]:
    """The layers of a text, with their configs complete. Errors: FileFormatError."""
    if not isinstance(said, list):
        raise FileFormatError(f"{where} has a {type(said).__name__}; expected a list of layers")
    found = []
    for index, entry in enumerate(said):
        at = f"{where}: layer {index}"
        flat = entry
        if isinstance(entry, dict):
            if not isinstance(entry.get("config", {}), dict):
                raise FileFormatError(f"{at} has the config {repr(entry['config'])[:200]}; expected a dictionary")
            flat = {**entry.get("config", {}), "class": entry.get("class")}
        found.append(typed(flat, "class", CONFIGS, at))
    return found


def turned(weight: Any, kernel: tuple[int, ...], stride: int, flipped: bool) -> Any:
    """A weight (height, width, in, out); if ``flipped``, of at least 3 by 3 and at stride 1, turned about, as with SciPy."""
    return weight[::-1, ::-1] if flipped and stride == 1 and min(kernel) >= 3 else weight
