"""chainrule: deep learning from scratch, with kernels of its own.

The front door: tensors and their making here, layers in ``chainrule.nn``, optimizers in ``chainrule.optim``, training by
``model.compile(...)`` and ``model.fit(...)``, data in ``chainrule.data``, files in ``chainrule.io``.

>>> import chainrule as cr
>>> x = cr.tensor([[1.0, 2.0]], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([[2., 4.]])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import backends, interop, later, nn, ops
from .anomaly import detect_anomaly
from .autograd import grad
from .creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from .domain import errors
from .domain.device import Device
from .domain.dtype import DType, bfloat16, float16, float32, float64, int8, int16, int32, int64, uint8
from .domain.dtype import bool_ as bool
from .function import Function, checkpoint
from .gradcheck import gradcheck
from .modes import enable_grad, inference, is_grad_enabled, no_grad
from .ops import *  # noqa: F403
from .precision import autocast
from .profile import profile
from .random import Generator, manual_seed
from .resources import (
    empty_cache,
    get_float32_conv_precision,
    get_num_threads,
    memory_stats,
    set_cache_limit,
    set_float32_conv_precision,
    set_num_threads,
)
from .tensor import Tensor

if TYPE_CHECKING:
    from . import cuda, data, io, losses, metrics, optim, plots, train, zoo
    from .io import load
    from .recording import jit

# Parts that are read when they are first named; what a name that is no part comes from.
LATER = {name: name for name in ("cuda", "data", "io", "losses", "metrics", "optim", "plots", "train", "zoo")}
__getattr__, __dir__ = later.names(__name__, LATER | {"load": "io", "jit": "recording"})
later.methods(nn.Module, "chainrule.io", ("save", "save_json", "save_weights", "load_weights"))
later.methods(
    nn.Module,
    "chainrule.train",
    ("compile", "fit", "train_on_batch", "train_step", "test_step", "evaluate", "predict", "summary", "lr_find"),
)

backends.get()  # where the native module is missing, its one warning comes at the import

__version__ = "0.1.0"

__all__ = [
    "DType",
    "Device",
    "Function",
    "Generator",
    "Tensor",
    "arange",
    "as_tensor",
    "autocast",
    "bfloat16",
    "bool",
    "checkpoint",
    "cuda",
    "data",
    "detect_anomaly",
    "empty",
    "empty_cache",
    "empty_like",
    "enable_grad",
    "errors",
    "eye",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "get_float32_conv_precision",
    "get_num_threads",
    "grad",
    "gradcheck",
    "inference",
    "int16",
    "int32",
    "int64",
    "int8",
    "interop",
    "io",
    "is_grad_enabled",
    "jit",
    "linspace",
    "load",
    "losses",
    "manual_seed",
    "memory_stats",
    "metrics",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "ops",
    "optim",
    "plots",
    "profile",
    "rand",
    "randint",
    "randn",
    "randperm",
    "set_cache_limit",
    "set_float32_conv_precision",
    "set_num_threads",
    "tensor",
    "train",
    "uint8",
    "zeros",
    "zeros_like",
    "zoo",
]
__all__ += ops.__all__
