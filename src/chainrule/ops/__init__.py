"""The rooms: what each op means. No device code."""

from __future__ import annotations

from . import (
    activation,
    conv,
    elementwise,
    gemm,
    index,
    loss,
    memory,
    norm,
    optim,
    pool,
    random,
    reduce,
    shape,
    softmax,
)
from ._op import OPS

ROOMS = (
    elementwise, activation, reduce, gemm, shape, memory, index, conv, pool, softmax, loss, norm, random, optim,
)  # fmt: skip
HIDDEN = {  # for the framework itself, or called by another name at the front door
    "assign", "embed", "setitem", "getitem", "index", "index_scatter", "index_set", "scatter", "windows", "unwindow",
    "full", "arange", "uniform", "normal", "integers", "bernoulli", "permutation", "sgd_", "adam_",
}  # fmt: skip

FRONT = {name: getattr(room, name) for room in ROOMS for name in vars(room) if name in OPS and name not in HIDDEN}
globals().update(FRONT)
__all__ = sorted(FRONT)

from . import methods  # noqa: E402
