"""Attention with several heads, and the cache of its keys and values."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from ..creation import arange
from ..domain.errors import ArgumentError, DTypeError, ShapeError
from ..ops.attention import scaled_dot_product_attention
from ..ops.elementwise import eq, logical_and, where
from ..ops.memory import cast
from ..ops.reduce import mean
from ..ops.shape import concat, expand, permute, reshape, transpose, unsqueeze
from ..random import default_generator
from ..tensor import Tensor
from .layer import Layer, count
from .linear import Linear
from .module import Module
from .position import RotaryEmbedding
from .registry import register


class KVCache:
    """Keys and values that attention layers have computed, for a sequence that is made step by step.

    Give one to the same model with each piece of the sequence, ``model(piece, is_causal=True, cache=cache)``: every layer
    in it adds its keys and values, and the results are those of the whole sequence at once. A layer keeps its own, so one
    cache serves a stack; keys of a memory (cross-attention) are computed once.

    >>> import chainrule as cr
    >>> layer, x, cache = MultiHeadAttention(8, 2), cr.random.normal((1, 5, 8)), KVCache()
    >>> whole = layer(x, is_causal=True)
    >>> steps = [layer(x[:, i : i + 1], is_causal=True, cache=cache) for i in range(5)]
    >>> bool(((cr.concat(steps, 1) - whole).abs() < 1e-6).all()), len(cache)
    (True, 5)
    """

    def __init__(self) -> None:
        self._entries: dict[Module, tuple[Tensor, Tensor]] = {}
        self._memories: dict[Module, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """How many steps of the sequence it holds."""
        return max((k.shape[-2] for k, _ in self._entries.values()), default=0)

    def length(self, layer: Module) -> int:
        """How many steps of the sequence it holds for a layer."""
        entry = self._entries.get(layer)
        return 0 if entry is None else entry[0].shape[-2]

    def extend(self, layer: Module, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer, (n, heads, steps, size), with new ones at the end."""
        if layer in self._entries:
            before = self._entries[layer]
            if before[0].shape[0] != k.shape[0]:
                raise ShapeError(
                    f"the cache holds {before[0].shape[0]} sequences, but {k.shape[0]} came: make a KVCache() for each batch"
                )
            k, v = (concat(old, new, axis=-2) for old, new in zip(before, (k, v), strict=True))
        self._entries[layer] = k, v
        return k, v

    def memory(self, layer: Module, make: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer that do not grow, made the first time."""
        if layer not in self._memories:
            self._memories[layer] = make()
        return self._memories[layer]


@register
class MultiHeadAttention(Layer):
    """Each element of a sequence gathers from others: several heads of ``scaled_dot_product_attention``, between projections
    (Vaswani et al., 2017).

    ``layer(x)`` is self-attention; ``layer(x, memory)`` looks at another sequence, ``layer(query, key, value)`` takes values
    from a third. They are (n, t, embed_dim), (n, s, kdim) and (n, s, vdim), without n for one sequence, and with t and s
    first unless ``batch_first``; the result is as the query. ``num_kv_heads`` below ``num_heads`` shares keys and values
    among heads (Ainslie et al., 2023). ``dropout`` drops weights in training. ``rotary`` turns queries and keys by their
    positions.

    ``mask`` is bool, True where a query may look (as in the op; PyTorch's layer has it the other way round), or floats added
    to the scores; (t, s), (n, t, s) or (n, heads, t, s). ``key_mask`` (n, s) is True for keys that count, and False for
    padding. ``is_causal`` keeps each query from what comes after it. ``cache`` is a ``KVCache``. With ``need_weights`` the
    result is (y, weights): how much each query took from each key, (n, t, s), the mean of the heads, or (n, heads, t, s)
    with ``average_attn_weights=False``. Errors: ArgumentError, ShapeError.

    >>> import chainrule as cr
    >>> layer = MultiHeadAttention(16, 4, num_kv_heads=2)
    >>> layer(cr.zeros(3, 10, 16), is_causal=True).shape, layer(cr.zeros(3, 10, 16), cr.zeros(3, 7, 16)).shape
    ((3, 10, 16), (3, 10, 16))
    """

    follows_as = "linear"

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = True,
        *,
        num_kv_heads: int | None = None,
        rotary: bool = False,
        dtype: str = "float32",
    ) -> None:
        name = "MultiHeadAttention"
        self.embed_dim, self.num_heads = count(name, "embed_dim", embed_dim), count(name, "num_heads", num_heads)
        self.num_kv_heads = num_heads if num_kv_heads is None else count(name, "num_kv_heads", num_kv_heads)
        if embed_dim % num_heads:
            raise ArgumentError(f"{name}: embed_dim {embed_dim} is not a multiple of num_heads {num_heads}")
        if num_heads % self.num_kv_heads:
            raise ArgumentError(f"{name}: num_heads {num_heads} is not a multiple of num_kv_heads {num_kv_heads}")
        if not 0 <= dropout <= 1:
            raise ArgumentError(f"{name}: dropout is {dropout!r}, expected a probability, from 0 to 1")
        self.dropout, self.bias, self.batch_first, self.rotary = dropout, bias, batch_first, rotary
        self.kdim = embed_dim if kdim is None else count(name, "kdim", kdim)
        self.vdim = embed_dim if vdim is None else count(name, "vdim", vdim)
        self.head_dim = embed_dim // num_heads
        if rotary and self.head_dim % 2:
            raise ArgumentError(
                f"{name}: rotary turns pairs of features, and a head has {self.head_dim}: an odd number"
            )
        narrow = self.num_kv_heads * self.head_dim
        self.q_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        self.k_proj = Linear(self.kdim, narrow, bias, dtype=dtype)
        self.v_proj = Linear(self.vdim, narrow, bias, dtype=dtype)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        self._turn = RotaryEmbedding() if rotary else None

    @property
    def dtype(self) -> str:
        """The dtype of the parameters."""
        return self.q_proj.dtype

    def masked(self, *masks: Any) -> dict[str, Any]:
        """It takes the mask of the keys."""
        return {"key_mask": of_keys(masks[min(1, len(masks) - 1)], self.batch_first)}

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        is_causal: bool = False,
        cache: KVCache | None = None,
        need_weights: bool = False,
        average_attn_weights: bool = True,
    ) -> Any:
        """See the class."""
        if key is not None and (self.rotary or (cache is not None and is_causal)):
            raise ArgumentError(
                "MultiHeadAttention: rotary positions, and causality with a cache, are of one sequence: they are for "
                "self-attention, without a key"
            )
        if query.ndim not in (2, 3):
            raise ShapeError(
                f"MultiHeadAttention: the query has shape {query.shape}, expected (n, t, {self.embed_dim})"
            )
        alone, swapped = query.ndim == 2, query.ndim == 3 and not self.batch_first
        x = self._batched(query, alone, swapped)
        q = self._split(self.q_proj(x), self.num_heads)
        past = 0
        if key is None:
            past = 0 if cache is None else cache.length(self)
            k, v = (self._split(proj(x), self.num_kv_heads) for proj in (self.k_proj, self.v_proj))
            if self._turn is not None:
                q, k = self._turn(q, offset=past), self._turn(k, offset=past)
            if cache is not None:
                k, v = cache.extend(self, k, v)
        else:
            pair = (key, key if value is None else value)

            def project() -> tuple[Tensor, Tensor]:
                source, content = (self._batched(y, alone, swapped) for y in pair)
                return self._split(self.k_proj(source), self.num_kv_heads), self._split(
                    self.v_proj(content), self.num_kv_heads
                )

            k, v = project() if cache is None else cache.memory(self, project)
        if is_causal and past:  # one query alone comes after all keys
            mask, is_causal = (_and(_causal(past, q), mask) if q.shape[-2] > 1 else mask), False
        attend = self._attention(q, k, _masked(mask, key_mask, q, k), is_causal)
        y = self.out_proj(reshape(permute(attend(v), axes=(0, 2, 1, 3)), shape=x.shape))
        y = reshape(y, shape=query.shape) if alone else transpose(y, axis0=0, axis1=1) if swapped else y
        if not need_weights:
            return y
        steps = arange(k.shape[2], device=k.device)
        same = cast(eq(unsqueeze(steps, axis=1), steps), dtype=k.dtype)  # what values gather if each is its own key
        weights = attend(expand(same, shape=(*k.shape[:2], *same.shape)))
        weights = mean(weights, axis=1) if average_attn_weights else weights
        return y, weights[0] if alone else weights

    def _batched(self, x: Tensor, alone: bool, swapped: bool) -> Any:
        """x as (n, t, features)."""
        return unsqueeze(x, axis=0) if alone else transpose(x, axis0=0, axis1=1) if swapped else x

    def _split(self, x: Any, heads: int) -> Any:
        """(n, t, heads · size) as (n, heads, t, size)."""
        return permute(reshape(x, shape=(*x.shape[:-1], heads, self.head_dim)), axes=(0, 2, 1, 3))

    def _attention(self, q: Any, k: Any, mask: Any, is_causal: bool) -> Callable[[Any], Any]:
        """What queries gather of values: a function of these, that drops the same weights whenever it is called."""
        if not self.training or not self.dropout:
            return lambda v: scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal)
        state = default_generator(q.device).reserve(q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2])
        return lambda v: scaled_dot_product_attention(q, k, v, mask, state, is_causal=is_causal, dropout=self.dropout)


def of_keys(mask: Any, batch_first: bool) -> Any:
    """The mask of a sequence as a ``key_mask`` (n, s)."""
    return mask if mask is None or batch_first else transpose(mask, axis0=0, axis1=1)


def _causal(past: int, q: Any) -> Any:
    """Where queries that come after ``past`` others may look."""
    t = q.shape[-2]
    last = unsqueeze(arange(past, past + t, device=q.device), axis=1)
    return arange(past + t, device=q.device) <= last


def _and(a: Any, b: Any) -> Any:
    """A bool mask and another, of bools or floats, as one."""
    return a if b is None else logical_and(a, b) if b.dtype == "bool" else where(a, b, -inf)


def _masked(mask: Any, key_mask: Any, q: Any, k: Any) -> Any:
    """One mask that broadcasts to (n, heads, t, s)."""
    if mask is not None and mask.ndim == 3:
        mask = unsqueeze(mask, axis=1)
    if key_mask is None:
        return mask
    wanted = (k.shape[0], k.shape[2])
    if key_mask.shape not in (wanted, wanted[1:]):
        raise ShapeError(
            f"MultiHeadAttention: key_mask has shape {key_mask.shape}, expected {wanted}: one bool for each key"
        )
    if key_mask.dtype != "bool":
        raise DTypeError(f"MultiHeadAttention: key_mask is {key_mask.dtype}, expected bool, True for keys that count")
    return _and(reshape(key_mask, shape=(-1, 1, 1, wanted[1])), mask)
