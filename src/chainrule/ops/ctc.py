"""The CTC room: the loss of a sequence that does not say where its labels are."""

from __future__ import annotations

import math
from typing import Any

from ..domain.dtype import FLOAT
from ..domain.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from ..tensor import Tensor
from ._op import op
from ._widened import wide
from .elementwise import where
from .index import gather
from .memory import cast
from .reduce import logsumexp, mean, sum
from .shape import concat, expand, pad, permute, reshape, stack, unsqueeze
from .softmax import known_reduction

NEVER = -1e30  # the logarithm of 0: finite, so that gradients are


@op
def ctc(
    x: Tensor,
    target: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    *,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """How unlikely log-probabilities ``x`` make labels, over all ways to place them in time (Graves et al., 2006).

    ``x`` is (time, n, classes), of ``log_softmax``; ``target`` (n, labels), padded with any class; the lengths are (n,). A
    way is the labels in order, each as often in a row as it likes, with any number of ``blank`` between, and at least one
    between equal labels. "mean" divides each loss by its number of labels first, as PyTorch does. Labels that do not fit
    into the time cost infinity, or nothing with ``zero_infinity``; they have no gradient. Errors: ShapeError, DTypeError,
    IndexRangeError, ArgumentError.

    Formula: ``y = -log Σ_ways Π_t exp(x[t, way_t])``. Gradient: ``dx[t, c] = -g`` × the share of the ways' probability that
    has c at t. Shapes: ``y`` is (), with "none" (n,).

    >>> x = Tensor([[[0.5, 0.5]], [[0.5, 0.5]]]).log()
    >>> ctc(x, Tensor([[1]]), Tensor([2]), Tensor([1])).exp()  # one over the share of ways that say "1"
    tensor(1.3333)
    """
    logs = permute(wide(x), axes=(1, 0, 2))  # (n, time, classes)
    n, time, _ = logs.shape
    if time == 0:
        raise ShapeError(f"[ctc] x has shape {x.shape}: it has no time")
    labels = target.shape[1]
    states = 2 * labels + 1
    blanks = target * 0 + blank
    between = reshape(stack(blanks, target, axis=2), shape=(n, 2 * labels))
    path = pad(between, pad=(0, 1), value=blank)  # a blank before, between and after the labels
    jumps = (path[:, 2:] != path[:, :-2]).logical_and(path[:, 2:] != blank)  # from label to label
    steps = gather(logs, expand(unsqueeze(path, axis=1), shape=(n, time, states)), axis=2)
    past = concat(steps[:, 0, :2], steps[:, 0, 2:] * 0 + NEVER, axis=1)
    for t in range(1, time):
        one_before = pad(past[:, :-1], pad=(1, 0), value=NEVER)
        two_before = pad(where(jumps, past[:, :-2], NEVER), pad=(min(2, states), 0), value=NEVER)
        now = logsumexp(stack(past, one_before, two_before, axis=0), axis=0) + steps[:, t]
        past = where(reshape(input_lengths, shape=(n, 1)) > t, now, past)
    last = reshape(target_lengths, shape=(n, 1)) * 2
    ends = [gather(past, last, axis=1), where(last > 0, gather(past, (last - 1).clip(min=0), axis=1), NEVER)]
    losses = -reshape(logsumexp(concat(*ends, axis=1), axis=1), shape=(n,))
    silent = where(target_lengths > 0, -NEVER, 0.0)  # without any time nothing is said
    losses = where(input_lengths > 0, losses, cast(silent, dtype=losses.dtype))
    losses = where(losses < -NEVER / 2, losses, 0.0 if zero_infinity else math.inf)
    if reduction == "mean":
        losses = mean(losses / cast(target_lengths.clip(min=1), dtype=losses.dtype))
    elif reduction == "sum":
        losses = sum(losses)
    return cast(losses, dtype=x.dtype)


@ctc.checks
def _(x: Any, target: Any, input_lengths: Any, target_lengths: Any, *, blank: int, reduction: str, **rest: Any) -> None:
    known_reduction("ctc", reduction)
    if x.ndim != 3 or target.ndim != 2 or target.shape[0] != x.shape[1]:
        raise ShapeError(
            f"[ctc] x has shape {x.shape} and target {target.shape}; they should be (time, n, classes) and (n, labels)"
        )
    for name, value in (("target", target), ("input_lengths", input_lengths), ("target_lengths", target_lengths)):
        if value.dtype.category == FLOAT:
            raise DTypeError(f"[ctc] {name} is {value.dtype}, expected integers: cast it to int64")
    if not x.is_floating:
        raise DTypeError(f"[ctc] x is {x.dtype}, expected log-probabilities")
    time, n, classes = x.shape
    if not 0 <= blank < classes:
        raise IndexRangeError(f"[ctc] blank is {blank}, but x has {classes} classes (0 to {classes - 1})")
    for name, value, most in (
        ("input_lengths", input_lengths, time),
        ("target_lengths", target_lengths, target.shape[1]),
    ):
        if value.shape != (n,):
            raise ShapeError(f"[ctc] {name} has shape {value.shape}, expected ({n},): one for each sequence")
        if n and not 0 <= int(value.amin()) <= int(value.amax()) <= most:
            raise ArgumentError(f"[ctc] {name} are {value.tolist()}, expected numbers from 0 to {most}")
    if target.size and not 0 <= int(target.amin()) <= int(target.amax()) < classes:
        raise IndexRangeError(f"[ctc] target has {target.tolist()}, but x has {classes} classes (0 to {classes - 1})")
