"""The reductions of ONNX. Their axes are an attribute, or an input since opset 18 (13 for ReduceSum)."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod
from typing import Any

from ... import ops
from ...creation import full
from .operators import axes_in, constant, integers, operator


def reduction(name: str, function: Callable[..., Any]) -> None:
    """An operator over some axes: all unless given, none where ``noop_with_empty_axes`` says so."""

    @operator(name)
    def call(
        x: Any, axes_given: Any = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Any:
        chosen = axes if axes_given is None else integers(axes_given)
        if not chosen:
            if noop_with_empty_axes and name not in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum"):
                return x
            chosen = () if noop_with_empty_axes else range(x.ndim)
        return function(x, axis=axes_in(x, chosen), keepdims=bool(keepdims))


def extreme(which: Callable[..., Any], nothing: float) -> Callable[..., Any]:
    """The largest or smallest; of nothing, infinity."""

    def call(x: Any, *, axis: Any, keepdims: bool) -> Any:
        if prod(x.shape[i] for i in axis) == 0:
            kept = [1 if i in axis else n for i, n in enumerate(x.shape) if keepdims or i not in axis]
            return full(tuple(kept), nothing if x.is_floating else 0, dtype=x.dtype, device=x.device)
        if x.dtype == "bool":
            return which(x.to(dtype="uint8"), axis=axis, keepdims=keepdims).to(dtype="bool")
        return which(x, axis=axis, keepdims=keepdims)

    return call


def norm1(x: Any, *, axis: Any, keepdims: bool) -> Any:
    """The sum of the absolute values."""
    return ops.sum(ops.abs(x), axis=axis, keepdims=keepdims)


def squares(x: Any, *, axis: Any, keepdims: bool) -> Any:
    """The sum of the squares."""
    return ops.sum(x * x, axis=axis, keepdims=keepdims)


def norm2(x: Any, *, axis: Any, keepdims: bool) -> Any:
    """The root of the sum of the squares."""
    return ops.sqrt(squares(x, axis=axis, keepdims=keepdims))


def log_sum(x: Any, *, axis: Any, keepdims: bool) -> Any:
    """The logarithm of the sum."""
    return ops.log(ops.sum(x, axis=axis, keepdims=keepdims))


def log_sum_exp(x: Any, *, axis: Any, keepdims: bool) -> Any:
    """The logarithm of the sum of exponentials; of nothing, -infinity."""
    if prod(x.shape[i] for i in axis) == 0:
        return log_sum(x, axis=axis, keepdims=keepdims)
    return ops.logsumexp(x, axis=axis, keepdims=keepdims)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceL1": norm1,
    "ReduceL2": norm2,
    "ReduceLogSum": log_sum,
    "ReduceLogSumExp": log_sum_exp,
    "ReduceMax": extreme(ops.amax, -inf),
    "ReduceMean": ops.mean,
    "ReduceMin": extreme(ops.amin, inf),
    "ReduceProd": ops.prod,
    "ReduceSum": ops.sum,
    "ReduceSumSquare": squares,
}
for _name, _function in REDUCTIONS.items():
    reduction(_name, _function)


def argument(name: str, function: Callable[..., Any]) -> None:
    """Where the extreme is: the first of several, or the last."""

    @operator(name)
    def call(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        (axis,) = axes_in(x, axis)
        if not select_last_index:
            return function(x, axis=axis, keepdims=bool(keepdims))
        return x.shape[axis] - 1 - function(ops.flip(x, axis=axis), axis=axis, keepdims=bool(keepdims))


argument("ArgMax", ops.argmax)
argument("ArgMin", ops.argmin)


def cumulative(name: str, function: Callable[..., Any], neutral: int) -> None:
    """Running sums and products along the axis that the second input names."""

    @operator(name)
    def call(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
        (along,) = axes_in(x, integers(axis))
        y = ops.flip(x, axis=along) if reverse else x
        if exclusive:
            inside = (slice(None),) * along
            first = y[(*inside, slice(0, 1))] * 0 + constant(neutral, x, x.dtype)
            y = ops.concat(first, y[(*inside, slice(0, max(x.shape[along] - 1, 0)))], axis=along)
        y = function(y, axis=along)
        return (ops.flip(y, axis=along) if reverse else y).to(dtype=x.dtype)


cumulative("CumSum", ops.cumsum, 0)
cumulative("CumProd", ops.cumprod, 1)
