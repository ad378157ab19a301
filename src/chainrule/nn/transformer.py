"""Transformer layers and stacks of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from ..domain.errors import ArgumentTypeError, unknown
from ..ops.activation import gelu, mish, relu, silu
from ..ops.elementwise import tanh
from ..tensor import Tensor
from .attention import KVCache, MultiHeadAttention, of_keys
from .dropout import Dropout
from .layer import Layer, count
from .linear import Linear
from .module import Module
from .registry import register
from .sample_norm import LayerNorm

ACTIVATIONS: dict[str, Callable[..., Any]] = {"relu": relu, "gelu": gelu, "silu": silu, "mish": mish, "tanh": tanh}


class TransformerLayer(Layer):
    """What the layers of encoder and decoder have in common: self-attention, and two linear layers for each position."""

    follows_as = "linear"
    crosses = False  # whether it attends to a memory, too

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
        bias: bool = True,
        *,
        num_kv_heads: int | None = None,
        rotary: bool = False,
        dtype: str = "float32",
    ) -> None:
        name = type(self).__name__
        if activation not in ACTIVATIONS:
            raise unknown(f"activation of {name}", activation, ACTIVATIONS)
        self.d_model, self.nhead = count(name, "d_model", d_model), count(name, "nhead", nhead)
        self.dim_feedforward = count(name, "dim_feedforward", dim_feedforward)
        self.dropout, self.activation, self.layer_norm_eps = dropout, activation, layer_norm_eps
        self.batch_first, self.norm_first, self.bias = batch_first, norm_first, bias
        self.num_kv_heads, self.rotary = nhead if num_kv_heads is None else num_kv_heads, rotary
        self.self_attn = self._attention(rotary=rotary, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.linear1.suit("linear" if activation == "tanh" else "relu")
        self.norm1, self.norm2 = self._norm(dtype), self._norm(dtype)
        self.dropout1, self.dropout2, self.dropout_inside = Dropout(dropout), Dropout(dropout), Dropout(dropout)
        if self.crosses:
            self.multihead_attn = self._attention(dtype=dtype)
            self.norm3, self.dropout3 = self._norm(dtype), Dropout(dropout)

    def masked(self, *masks: Any) -> dict[str, Any]:
        """It takes the masks of its sequences, for their keys."""
        names = ("tgt_key_mask", "memory_key_mask") if self.crosses else ("key_mask",)
        return {name: of_keys(mask, self.batch_first) for name, mask in zip(names, masks, strict=False)}

    def _attention(self, **options: Any) -> MultiHeadAttention:
        return MultiHeadAttention(
            self.d_model, self.nhead, self.dropout, self.bias, None, None, self.batch_first,
            num_kv_heads=self.num_kv_heads, **options,
        )  # fmt: skip

    def _norm(self, dtype: str) -> LayerNorm:
        return LayerNorm(self.d_model, self.layer_norm_eps, bias=self.bias, dtype=dtype)

    @property
    def dtype(self) -> str:
        """The dtype of the parameters."""
        return self.linear1.dtype

    def _forward_each(self, x: Tensor) -> Any:
        """What each position goes through by itself."""
        return self.linear2(self.dropout_inside(ACTIVATIONS[self.activation](self.linear1(x))))

    def _added(self, x: Any, norm: LayerNorm, drop: Dropout, inner: Callable[[Any], Any]) -> Any:
        """x plus what ``inner`` makes of it, normalized before or after."""
        return x + drop(inner(norm(x))) if self.norm_first else norm(x + drop(inner(x)))


@register
class TransformerEncoderLayer(TransformerLayer):
    """Self-attention, then two linear layers for each position, with residual sums and norms (Vaswani et al., 2017).

    ``src`` and the result are (n, t, d_model), or (t, n, d_model) unless ``batch_first``. ``norm_first`` normalizes what goes
    into each part instead of the sum after it (Xiong et al., 2020). ``activation`` is "relu", "gelu", "silu", "mish" or
    "tanh". Masks, ``num_kv_heads``, ``rotary`` and ``cache`` are those of MultiHeadAttention. With ``is_causal`` it is a
    layer of a language model.

    >>> import chainrule as cr
    >>> layer = TransformerEncoderLayer(16, 4, 64, activation="gelu", norm_first=True)
    >>> layer(cr.zeros(3, 10, 16), is_causal=True).shape
    (3, 10, 16)
    """

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        cache: KVCache | None = None,
    ) -> Tensor:
        """See the class."""
        options = {"mask": mask, "key_mask": key_mask, "is_causal": is_causal, "cache": cache}
        x = self._added(src, self.norm1, self.dropout1, lambda y: self.self_attn(y, **options))
        y: Tensor = self._added(x, self.norm2, self.dropout2, self._forward_each)
        return y


@register
class TransformerDecoderLayer(TransformerLayer):
    """Self-attention, attention to ``memory``, then two linear layers for each position, each with a residual sum and a norm.

    ``tgt`` and the result are (n, t, d_model), ``memory`` is (n, s, d_model): an encoder's result. Arguments are as in
    TransformerEncoderLayer; those that begin with memory are for the keys of the memory.

    >>> import chainrule as cr
    >>> layer = TransformerDecoderLayer(16, 4, 64)
    >>> layer(cr.zeros(3, 10, 16), cr.zeros(3, 7, 16), tgt_is_causal=True).shape
    (3, 10, 16)
    """

    crosses = True

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_mask: Tensor | None = None,
        memory_key_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        *,
        cache: KVCache | None = None,
    ) -> Tensor:
        """See the class."""
        own = {"mask": tgt_mask, "key_mask": tgt_key_mask, "is_causal": tgt_is_causal, "cache": cache}
        other = {"mask": memory_mask, "key_mask": memory_key_mask, "cache": cache}
        x = self._added(tgt, self.norm1, self.dropout1, lambda y: self.self_attn(y, **own))
        x = self._added(x, self.norm2, self.dropout2, lambda y: self.multihead_attn(y, memory, **other))
        y: Tensor = self._added(x, self.norm3, self.dropout3, self._forward_each)
        return y


class Stack(Module):
    """What TransformerEncoder and TransformerDecoder have in common."""

    kind: type[TransformerLayer]

    def __init__(self, layer: Any, num_layers: int, norm: Module | None = None) -> None:
        name = type(self).__name__
        if not isinstance(layer, self.kind):
            raise ArgumentTypeError(f"{name} repeats a {self.kind.__name__}, not {layer!r}")
        self.layers = [deepcopy(layer) for _ in range(count(name, "num_layers", num_layers))]
        self.norm = norm

    def masked(self, *masks: Any) -> Mapping[str, Any]:
        """It takes the masks that its layers take."""
        return self.layers[0].masked(*masks)

    def _through(self, x: Tensor, *others: Any, **options: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *others, **options)
        return x if self.norm is None else self.norm(x)


@register
class TransformerEncoder(Stack):
    """``num_layers`` layers like ``layer`` one after the other, each with weights of its own, then ``norm`` if there is one.

    A stack with ``norm_first`` layers needs a ``norm`` at the end, as a rule.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> layer = nn.TransformerEncoderLayer(16, 4, 64, norm_first=True)
    >>> model = TransformerEncoder(layer, 2, nn.LayerNorm(16))
    >>> model(cr.zeros(3, 10, 16), key_mask=cr.ones(3, 10, dtype="bool")).shape
    (3, 10, 16)
    """

    kind = TransformerEncoderLayer

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        cache: KVCache | None = None,
    ) -> Tensor:
        """See the class."""
        return self._through(src, mask, key_mask, is_causal, cache=cache)


@register
class TransformerDecoder(Stack):
    """``num_layers`` decoder layers like ``layer`` one after the other, then ``norm`` if there is one.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 64), 2)
    >>> model(cr.zeros(3, 10, 16), cr.zeros(3, 7, 16), tgt_is_causal=True).shape
    (3, 10, 16)
    """

    kind = TransformerDecoderLayer

    def forward(self, tgt: Tensor, memory: Tensor, *masks: Any, cache: KVCache | None = None, **named: Any) -> Tensor:
        """See TransformerDecoderLayer."""
        return self._through(tgt, memory, *masks, cache=cache, **named)
