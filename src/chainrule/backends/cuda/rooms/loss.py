"""The loss room on a GPU: losses of elements, reduced in the same pass, and their gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..array import DeviceArray
from ..gpu import Gpu
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels
from .elementwise import run, walk
from .reduce import fold

KERNELS = Kernels()
KINDS = {name: kind for kind, name in enumerate("mse mae huber smooth_l1 bce bce_with_logits".split())}
PARAMETER = {"huber": "delta", "smooth_l1": "beta"}

declare("loss", *(f"{kernel}<{NAMES[d]}>" for d in FLOATS for kernel in ("loss_each", "loss_slopes")))
declare("loss", *(f"fold_rows<LossSum<{NAMES[d]}>>" for d in FLOATS))


def loss(gpu: Gpu, x: DeviceArray, target: DeviceArray, pos_weight: Any = None, *, name: str, reduction: str = "mean",
         **parameter: float) -> Any:  # fmt: skip
    """The loss, and what its gradient needs. Of a number of 0 or less, and with pos_weight, it is left to the body."""
    p = parameter.get(PARAMETER.get(name, ""), 1.0)
    if pos_weight is not None or p <= 0 or x.dtype != target.dtype or x.shape != target.shape:
        return NotImplemented
    if reduction == "none":
        shape, where, n, together = walk((x.shape, x.steps), (target.shape, target.steps))
        y = gpu.empty(shape, x.dtype)
        run(gpu, "loss", f"loss_each<{c_name(x.dtype)}>", n, together, y, x, target, where, KINDS[name], float(p))
    else:
        y = gpu.empty((), x.dtype)
        how = 8 * (x.size if reduction == "mean" else 1) + KINDS[name]
        fold(gpu, "loss", f"LossSum<{c_name(x.dtype)}>", x, tuple(range(x.ndim)), y, t=target, how=how, number=float(p))
    return y, (x, target)


def loss_vjp(gpu: Gpu, g: DeviceArray, x: DeviceArray, target: DeviceArray, *, name: str, needs: Any,
             reduction: str = "mean", **parameter: float) -> Any:  # fmt: skip
    """The gradients by x, by the target, and by nothing else."""
    shape, where, n, together = walk((x.shape, (0,) * x.ndim if g.ndim < x.ndim else g.steps), (x.shape, x.steps),
                                     (x.shape, target.steps))  # fmt: skip
    p = float(parameter.get(PARAMETER.get(name, ""), 1.0))
    share = float(x.size) if reduction == "mean" else 1.0
    found = []
    for by_target, wanted in enumerate(needs[:2]):
        y = gpu.empty(shape, x.dtype) if wanted else None
        if y is not None:
            kernel = f"loss_slopes<{c_name(x.dtype)}>"
            run(gpu, "loss", kernel, n, together, y, g, x, target, where, KINDS[name], p, share, by_target)
        found.append(y)
    return (*found, *(None for _ in needs[2:]))


for _name in KINDS:
    KERNELS[_name] = partial(loss, name=_name)
    KERNELS[_name + "_vjp"] = partial(loss_vjp, name=_name)
