"""Padding, of the shape room: a file of its own for its length."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, ShapeError, unknown
from ..tensor import Tensor
from ._axes import sizes
from ._op import op
from .index import embed, getitem, index, setitem
from .memory import clone, filled, like


@op
def pad(x: Tensor, *, pad: Any, mode: str = "constant", value: float = 0.0) -> Any:
    """More elements at the ends of the last axes: ``pad`` is (before, after) of the last axis, then of the one before, ...

    ``mode`` says which: "constant" (``value``; negative sizes cut off), "reflect" (mirrored without the edge), "replicate"
    (the edge) or "circular" (from the other end). Errors: ShapeError where there is too little to mirror.

    Formula: ``y[i] = x[i - before]`` inside; outside ``value``, or an element of ``x``. Gradient: to each element of ``x``
    the ``g`` of all its places in ``y``. Shapes: sizes grow by before + after.

    >>> pad(Tensor([1.0, 2.0, 3.0]), (1, 2)), pad(Tensor([1.0, 2.0, 3.0]), (2, 0), "reflect")
    (tensor([0., 1., 2., 3., 0., 0.]), tensor([3., 2., 1., 2., 3.]))
    """
    ends = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    if mode != "constant":
        for axis, (before, after) in enumerate(ends):
            if before or after:
                places = like(x, sources(x.shape[axis], before, after, mode))
                x = index(x, places, pattern=(slice(None),) * axis + ("tensor", ...))
        return clone(x)
    if min(pad, default=0) < 0:
        kept = [slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(x.shape, ends, strict=True)]
        x = getitem(x, index=(*kept, ...))
        ends = [(max(b, 0), max(a, 0)) for b, a in ends]
    inside = tuple([slice(b, b + n) for n, (b, _) in zip(x.shape, ends, strict=True)])
    shape = tuple([b + n + a for n, (b, a) in zip(x.shape, ends, strict=True)])
    if value == 0:
        return embed(x, index=(*inside, ...), shape=shape)
    return setitem(filled(x, shape, value, x.dtype), x, index=(*inside, ...))


def sources(n: int, before: int, after: int, mode: str) -> list[int]:
    """Which element of an axis of ``n`` comes to each place of the padded axis."""
    places = range(-before, n + after)
    if mode == "circular":
        return [i % n for i in places]
    if mode == "replicate":
        return [min(max(i, 0), n - 1) for i in places]
    return [n - 1 - abs(n - 1 - abs(i)) for i in places]


@pad.normalises
def _(x: Any, *, pad: Any, mode: str, value: float) -> dict[str, Any]:
    found = sizes("pad", pad)
    if len(found) % 2 or len(found) > 2 * x.ndim:
        raise ArgumentError(
            f"[pad] pad {found} should be pairs (before, after) for at most the {x.ndim} axes of {x.shape}"
        )
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise unknown("mode of pad", mode, ["constant", "reflect", "replicate", "circular"])
    for k, (before, after) in enumerate(zip(found[::2], found[1::2], strict=True)):
        n = x.shape[-1 - k]
        most = {"reflect": n - 1, "circular": n, "replicate": max(before, after) if n else -1}.get(mode)
        if n + before + after < 0 or (most is not None and not (0 <= before <= most and 0 <= after <= most)):
            raise ShapeError(f"[pad] {mode} cannot pad axis {x.ndim - 1 - k} of {x.shape} by {before} and {after}")
    return {"pad": found}
