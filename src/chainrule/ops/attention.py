"""The attention room: queries look up values by keys, and rotations that tell positions apart."""

from __future__ import annotations

import math
from typing import Any

from ..domain.errors import ArgumentError, DTypeError, ShapeError
from ..tensor import Tensor
from ._op import op
from ._widened import is_half, wide, widened
from .elementwise import exp, ge, where
from .gemm import matmul
from .memory import cast, clone, counted
from .random import dropout as dropped_out
from .random import probability
from .reduce import amax, sum
from .shape import concat, expand, reshape, transpose, unsqueeze


@op
def scaled_dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    state: Tensor | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Any:
    """``softmax(q kᵀ · scale + mask) v``: each query's mean of the values, by how well the keys fit (Vaswani et al., 2017).

    ``q`` is (..., heads, t, d), ``k`` (..., heads, s, d), ``v`` (..., heads, s, e), the result (..., heads, t, e). Of k
    and v there may be fewer heads, a divisor of q's: each then serves as many queries' heads in a row (grouped-query
    attention). ``scale`` is ``1 / sqrt(d)`` unless given. ``mask`` broadcasts to (..., heads, t, s): bool, True where a
    query may look, or floats that are added to the scores. ``is_causal`` lets query i look at keys 0 to i alone, besides
    what the mask says. A query that may look nowhere gives zeros, and has gradient zero, as in PyTorch.

    ``dropout`` drops that share of the weights after the softmax; which, ``state`` (seed, counter) says, which is read and
    not advanced: give ``Generator.reserve(...)``. The native kernel keeps no (t, s) matrix, forward or backward (Dao et
    al., 2022); only the gradient of a mask is made by one. Errors: ShapeError, DTypeError, ArgumentError.

    Formula: ``y = A v``, ``A = softmax(s)``, ``s = q kᵀ · scale + mask``. Gradient: ``dv = Aᵀ g``, ``dq = scale · S k``,
    ``dk = scale · Sᵀ q``, ``dmask = Σ S``, with ``S = A · (g vᵀ - Σ g y)``. Shapes: as above.

    >>> q, k, v = Tensor([[0.0, 0.0]]), Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([[1.0], [5.0]])
    >>> scaled_dot_product_attention(q, k, v), scaled_dot_product_attention(q, k, v, is_causal=True)
    (tensor([[3.]]), tensor([[1.]]))
    >>> scaled_dot_product_attention(q, k, v, Tensor([False, True]))
    tensor([[5.]])
    """
    if is_half(q):  # in float32 throughout, where there is a kernel
        mask = None if mask is None else wide(mask)
        params = {"is_causal": is_causal, "scale": scale, "dropout": dropout}
        y = scaled_dot_product_attention.exact(wide(q), wide(k), wide(v), mask, state, **params)
        return cast(y, dtype=q.dtype)
    k, v = each_head(k, q), each_head(v, q)
    scores = matmul(q, transpose(k, axis0=-2, axis1=-1)) * (
        1 / math.sqrt(max(1, q.shape[-1])) if scale is None else scale
    )
    if mask is not None:
        scores = where(mask, scores, -math.inf) if mask.dtype == "bool" else scores + mask
    if is_causal:
        t, s = scores.shape[-2:]
        scores = where(ge(unsqueeze(counted(q, 0, t), axis=1), counted(q, 0, s)), scores, -math.inf)
    if not scores.shape[-1]:
        return matmul(scores, v)  # nowhere to look
    top = amax(scores.detach(), axis=-1, keepdims=True)
    e = exp(scores - where(top == -math.inf, 0.0, top))
    total = sum(e, axis=-1, keepdims=True)
    weights = e / where(total == 0, 1.0, total)
    if dropout and state is not None:
        weights = dropped_out(weights, clone(state), p=dropout)[0]
    return matmul(weights, v)


def each_head(x: Any, q: Any) -> Any:
    """Keys or values with a head for each of the queries'."""
    if x.ndim < 4 or x.shape[-3] in (1, q.shape[-3]):
        return x
    *batch, heads, s, d = x.shape
    group = q.shape[-3] // heads
    wider = expand(unsqueeze(x, axis=-3), shape=(*batch, heads, group, s, d))
    return reshape(wider, shape=(*batch, heads * group, s, d))


@scaled_dot_product_attention.checks
def _(q: Any, k: Any, v: Any, mask: Any, state: Any, *, is_causal: bool, scale: float | None, dropout: float) -> None:
    name = "scaled_dot_product_attention"
    probability(name, dropout)
    if dropout and state is None:
        raise ArgumentError(f"[{name}] dropout {dropout} needs state, which says what to drop: Generator.reserve(...)")
    for key, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim < 2 or x.ndim != q.ndim:
            raise ShapeError(
                f"[{name}] {key} has shape {x.shape} and q {q.shape}; each should be (..., heads, length, size)"
            )
        if x.dtype != q.dtype or not x.is_floating:
            raise DTypeError(
                f"[{name}] q is {q.dtype} and {key} {x.dtype}; they should be floating and the same: cast one"
            )
    if k.shape[-1] != q.shape[-1]:
        raise ShapeError(f"[{name}] q of shape {q.shape} and k {k.shape} differ in their last axis, the size of a key")
    if v.shape[-2] != k.shape[-2]:
        raise ShapeError(f"[{name}] k of shape {k.shape} and v {v.shape} differ in axis -2: a value for each key")
    if not same_leading(q, k) or not same_leading(q, v) or (q.ndim > 3 and k.shape[-3] != v.shape[-3]):
        raise ShapeError(
            f"[{name}] leading axes of q {q.shape}, k {k.shape} and v {v.shape} do not match; k and v have q's batch, and "
            "q's heads or a divisor of them"
        )
    if mask is None:
        return
    if mask.dtype not in ("bool", q.dtype):
        raise DTypeError(
            f"[{name}] mask is {mask.dtype}; it should be bool, True where a query may look, or {q.dtype}, added to scores"
        )
    full = (*q.shape[:-1], k.shape[-2])
    if mask.ndim > len(full) or any(m not in (1, n) for m, n in zip(mask.shape[::-1], full[::-1], strict=False)):
        raise ShapeError(f"[{name}] mask of shape {mask.shape} does not broadcast to the scores, {full}")


def same_leading(q: Any, x: Any) -> bool:
    """Whether keys or values have q's batch (or 1), and q's heads or a divisor of them."""
    pairs = [*zip(q.shape[:-2], x.shape[:-2], strict=True)]
    if q.ndim > 3:
        heads, fewer = pairs.pop()
        if not (heads == fewer or (fewer and heads % fewer == 0)):
            return False
    return all(m in (1, n) for n, m in pairs)


@op
@widened
def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Any:
    """Each pair of features (i, i + d/2) turned by an angle, given by its ``cos`` and ``sin`` (Su et al., 2021).

    ``x`` is (..., t, d) with an even d; ``cos`` and ``sin`` broadcast to (..., t, d/2). Of queries and keys turned by
    angles in proportion to their positions, scores depend on the distance alone. Errors: ShapeError.

    Formula: ``y₁ = x₁ cos - x₂ sin``, ``y₂ = x₂ cos + x₁ sin``, of the halves. Gradient: ``dx₁ = g₁ cos + g₂ sin``,
    ``dx₂ = g₂ cos - g₁ sin``, ``dcos = g₁ x₁ + g₂ x₂``, ``dsin = g₂ x₁ - g₁ x₂``. Shapes: ``y`` as ``x``.

    >>> rotary(Tensor([[1.0, 0.0]]), Tensor([0.0]), Tensor([1.0]))
    tensor([[0., 1.]])
    """
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return concat(a * cos - b * sin, b * cos + a * sin, axis=-1)


@rotary.vjp("x")
def _(g: Any, cos: Any, sin: Any) -> Any:
    return rotary.exact(g, cos, -sin)


@rotary.vjp("cos")
@widened
def _(g: Any, x: Any) -> Any:
    half = x.shape[-1] // 2
    return g[..., :half] * x[..., :half] + g[..., half:] * x[..., half:]


@rotary.vjp("sin")
@widened
def _(g: Any, x: Any) -> Any:
    half = x.shape[-1] // 2
    return g[..., half:] * x[..., :half] - g[..., :half] * x[..., half:]


@rotary.checks
def _(x: Any, cos: Any, sin: Any) -> None:
    half = (*x.shape[:-1], x.shape[-1] // 2) if x.ndim else ()
    if x.ndim < 2 or x.shape[-1] % 2:
        raise ShapeError(f"[rotary] x has shape {x.shape}; it should be (..., t, d) with an even d")
    for key, a in (("cos", cos), ("sin", sin)):
        if a.dtype != x.dtype:
            raise DTypeError(f"[rotary] x is {x.dtype} and {key} {a.dtype}; cast one")
        if a.ndim > x.ndim or any(m not in (1, n) for m, n in zip(a.shape[::-1], half[::-1], strict=False)):
            raise ShapeError(f"[rotary] {key} of shape {a.shape} does not broadcast to {half}, half of x")
