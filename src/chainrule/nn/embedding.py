"""The embedding layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ..creation import as_tensor
from ..domain.errors import ArgumentError, ShapeError
from ..ops.elementwise import ne
from ..ops.embedding import embedding
from ..tensor import Tensor
from . import init as initializers
from .layer import Layer, count, given_init
from .parameter import Parameter
from .registry import register


@dataclass(frozen=True)
class Padded(initializers.Initializer):
    """An initializer with zeros in one row."""

    row: int = 0

    def __call__(self, shape: tuple[int, ...], **options: Any) -> Tensor:
        y = super().__call__(shape, **options)
        y[self.row] = 0.0
        return y


@register
class Embedding(Layer):
    """A vector for each of ``num_embeddings`` words or the like: ``weight`` (num_embeddings, embedding_dim), which is trained.

    ``x`` is of integers, of any shape; the result has an axis more, embedding_dim long. The vector of ``padding_idx`` begins
    with zeros and gets no gradient. With ``mask_zero`` the word 0 is padding that layers after it in a Sequential or a Graph
    pass over (see ``Masking``). ``init`` names the initializer of the weight, by default the standard normal. Errors:
    IndexRangeError for a number below 0 or too large.

    >>> import chainrule as cr
    >>> layer = Embedding(1000, 16, padding_idx=0)
    >>> layer(cr.tensor([[3, 999, 0]])).shape, layer(cr.tensor([0])).abs().sum().item()
    ((1, 3, 16), 0.0)
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        mask_zero: bool = False,
        init: Any = None,
        dtype: str = "float32",
    ) -> None:
        self.num_embeddings = count("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = count("Embedding", "embedding_dim", embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(f"Embedding: padding_idx is {padding_idx}, but there are {num_embeddings} embeddings")
        self.padding_idx, self.mask_zero = padding_idx, mask_zero
        self.init = given_init(init)
        first = self.init or initializers.get("normal")
        if padding_idx is not None:
            first = Padded(first.name, first.options, padding_idx)
        self.weight = Parameter(shape=(num_embeddings, embedding_dim), init=first, dtype=dtype, name="weight")

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None, **options: Any
    ) -> Self:
        """The layer of vectors that are known, (num_embeddings, embedding_dim); ``freeze``: they are not trained.

        >>> import chainrule as cr
        >>> Embedding.from_pretrained([[1.0, 2.0], [3.0, 4.0]])(cr.tensor([1]))
        tensor([[3., 4.]])
        """
        values = as_tensor(embeddings)
        if values.ndim != 2:
            raise ShapeError(
                f"Embedding: the vectors have shape {values.shape}, expected (num_embeddings, embedding_dim)"
            )
        layer = cls(values.shape[0], values.shape[1], padding_idx, dtype=values.dtype, **options)
        layer.weight.load(values)
        layer.weight.requires_grad = not freeze
        return layer

    @property
    def dtype(self) -> str:
        """The dtype of the weight."""
        return self.weight.dtype

    def input_dtype(self, default: str = "float32") -> str:
        """Numbers of words are integers."""
        return "int64"

    @property
    def makes_mask(self) -> bool:  # type: ignore[override]
        """Whether it says which steps count."""
        return self.mask_zero

    def compute_mask(self, *inputs: Any) -> Any:
        """Which words count: with ``mask_zero`` those that are not 0, otherwise all (None)."""
        return ne(inputs[0], 0) if self.mask_zero else None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = embedding(x, self.weight, padding_idx=self.padding_idx)
        return y
