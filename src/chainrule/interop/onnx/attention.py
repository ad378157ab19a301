"""Attention and rotary positions of ONNX."""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np

from ... import ops
from .operators import constant, dtype_of, integers, operator


def heads(x: Any, n: int | None) -> Any:
    """(batch, steps, heads · d) as (batch, heads, steps, d)."""
    return ops.permute(x.reshape(x.shape[0], x.shape[1], n, x.shape[2] // (n or 1)), axes=(0, 2, 1, 3))


@operator("Attention")
def attention(
    q: Any, k: Any, v: Any, mask: Any = None, past_key: Any = None, past_value: Any = None, lengths: Any = None, *,
    is_causal: int = 0, kv_num_heads: int | None = None, q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0, scale: float | None = None, softcap: float = 0.0, softmax_precision: int | None = None,
    outputs: int,
) -> Any:  # fmt: skip
    """``softmax(q kᵀ scale + mask) v``, by heads; with the keys and values of earlier steps."""
    flat = q.ndim == 3
    if flat:
        q, k, v = heads(q, q_num_heads), heads(k, kv_num_heads), heads(v, kv_num_heads)
    past = 0
    if past_key is not None:
        past = past_key.shape[2]
        k, v = ops.concat(past_key, k, axis=2), ops.concat(past_value, v, axis=2)
    present = (k, v)
    times = q.shape[1] // k.shape[1]
    if times > 1:
        k, v = (
            ops.expand(ops.unsqueeze(s, axis=2), shape=(s.shape[0], s.shape[1], times, *s.shape[2:])).reshape(
                s.shape[0], -1, *s.shape[2:]
            )
            for s in (k, v)
        )
    t, s = q.shape[2], k.shape[2]
    root = sqrt(scale if scale is not None else 1 / sqrt(q.shape[-1]))
    scores = ops.matmul(q * root, (k * root).mT)
    kept = [scores]
    bias: Any = None
    if is_causal:
        first = past if lengths is None else 0
        ahead = np.arange(s)[None] > np.arange(t)[:, None] + first
        if lengths is not None:
            ends = np.array(integers(lengths)).reshape(-1, 1, 1, 1)
            ahead = np.arange(s)[None] > np.arange(t)[:, None] + (ends - t)
        bias = constant(np.where(ahead, -inf, 0.0), q, q.dtype)
    if lengths is not None:
        beyond = np.arange(s)[None] >= np.array(integers(lengths))[:, None]
        bias = summed(bias, constant(np.where(beyond, -inf, 0.0)[:, None, None], q, q.dtype))
    if mask is not None:
        if mask.dtype == "bool":
            mask = ops.where(mask, constant(0.0, q, q.dtype), constant(-inf, q, q.dtype))
        if mask.shape[-1] < s:
            mask = ops.pad(mask, pad=(0, s - mask.shape[-1]), value=-inf)
        bias = summed(bias, mask)
    capped = softcap * ops.tanh(scores / softcap) if softcap else scores
    added = capped if bias is None else capped + bias
    kept += [capped, added]  # what qk_matmul_output_mode chooses from
    wide = added if softmax_precision is None else added.to(dtype=dtype_of(softmax_precision))
    share = ops.softmax(wide, axis=-1)
    if bias is not None:  # a query that may look nowhere gives zeros
        nowhere = ops.eq(ops.amax(added, axis=-1, keepdims=True), -inf)
        share = ops.where(nowhere, constant(0.0, share, share.dtype), share)
    share = share.to(dtype=q.dtype)
    kept.append(share)
    y = ops.matmul(share, v)
    if flat:
        y = ops.permute(y, axes=(0, 2, 1, 3)).reshape(y.shape[0], t, -1)
    return (y, *present, kept[qk_matmul_output_mode])[:outputs]


def summed(a: Any, b: Any) -> Any:
    """The sum of masks, of which the first may not be there."""
    return b if a is None else a + b


@operator("RotaryEmbedding")
def rotary_embedding(
    x: Any, cos: Any, sin: Any, positions: Any = None, *, interleaved: int = 0, num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Any:  # fmt: skip
    """Pairs of features turned by an angle that grows with the position (Su et al., 2021)."""
    flat = x.ndim == 3
    y = heads(x, num_heads) if flat else x
    size = rotary_embedding_dim or y.shape[-1]
    turned, rest = y[..., :size], y[..., size:]
    if positions is not None:
        cos, sin = cos[positions.to(dtype="int64")], sin[positions.to(dtype="int64")]
    cos, sin = (ops.unsqueeze(v[..., : size // 2], axis=1) for v in (cos, sin))
    a, b = (
        (turned[..., ::2], turned[..., 1::2]) if interleaved else (turned[..., : size // 2], turned[..., size // 2 :])
    )
    real, imaginary = a * cos - b * sin, a * sin + b * cos
    both = ops.stack(real, imaginary, axis=-1) if interleaved else ops.concat(real, imaginary, axis=-1)
    turned = both.reshape(turned.shape)
    y = ops.concat(turned, rest, axis=-1) if rest.shape[-1] else turned
    return ops.permute(y, axes=(0, 2, 1, 3)).reshape(x.shape) if flat else y
