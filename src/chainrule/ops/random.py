"""The random room. ``state`` is an int64 tensor (seed, counter), which each draw advances: see ``chainrule.random``.

The numbers depend on it alone, not on the backend or the number of threads (Philox4x32-10, Salmon et al., 2011).
"""

from __future__ import annotations

from typing import Any

from ..domain.dtype import dtype as known
from ..domain.errors import ArgumentError, DTypeError
from ..tensor import Tensor
from ._axes import sizes
from ._op import OpCall, op, primitive
from .elementwise import logical_not, where


def drawing(state: Any, **params: Any) -> list[Any]:
    """What a draw writes to."""
    return [state]


def probability(name: str, p: float) -> None:
    """Raise unless ``p`` is a probability."""
    if not 0 <= p <= 1:
        raise ArgumentError(f"[{name}] p is {p}; a probability is from 0 to 1")


def place(name: str, shape: Any) -> tuple[int, ...]:
    """The shape of a draw. Errors: ArgumentError for a negative size."""
    found = sizes(name, shape)
    if min(found, default=0) < 0:
        raise ArgumentError(f"[{name}] a size cannot be negative: {found}")
    return found


@primitive(mutates=drawing, nondifferentiable=True)
def uniform(state: Tensor, *, shape: Any, dtype: str = "float32") -> Any:
    """Numbers in [0, 1): multiples of 2⁻²⁴ in float32, of 2⁻⁵³ in float64.

    >>> uniform(Tensor([1, 0]), shape=(1000,)).mean().item() // 0.1
    4.0
    """


@primitive(mutates=drawing, nondifferentiable=True)
def normal(state: Tensor, *, shape: Any, dtype: str = "float32") -> Any:
    """Numbers of the standard normal distribution.

    >>> normal(Tensor([1, 0]), shape=(2, 3)).shape
    (2, 3)
    """


@primitive(mutates=drawing, nondifferentiable=True)
def integers(state: Tensor, *, low: int, high: int, shape: Any) -> Any:
    """Integers from ``low`` to ``high - 1``, int64.

    >>> integers(Tensor([1, 0]), low=3, high=4, shape=(2,))
    tensor([3, 3])
    """


@primitive(mutates=drawing, nondifferentiable=True)
def bernoulli(state: Tensor, *, p: float, shape: Any) -> Any:
    """True with probability ``p``.

    >>> bernoulli(Tensor([1, 0]), p=1.0, shape=(2,))
    tensor([ True,  True])
    """


@primitive(mutates=drawing, nondifferentiable=True)
def permutation(state: Tensor, *, n: int) -> Any:
    """The integers below ``n`` in random order, int64.

    >>> permutation(Tensor([1, 0]), n=5).sort().values
    tensor([0, 1, 2, 3, 4])
    """


def floating(call: OpCall) -> None:
    """Have a draw of real numbers refuse other dtypes, and give the kernel the name of the one it takes."""

    @call.normalises
    def _(state: Any, *, shape: Any, dtype: Any) -> dict[str, Any]:
        found = known(dtype)
        if not found.is_floating:
            raise DTypeError(f"[{call.__name__}] draws floats, not {found}; cast the result")
        return {"shape": place(call.__name__, shape), "dtype": found}


floating(uniform)
floating(normal)


@integers.checks
def _(state: Any, *, low: int, high: int, shape: Any) -> None:
    if not 0 < high - low < 2**32:
        raise ArgumentError(
            f"[integers] low {low} to high {high} are {high - low} integers; 1 to 2**32 - 1 can be drawn from"
        )


@bernoulli.checks
def _(state: Any, *, p: float, shape: Any) -> None:
    probability("bernoulli", p)


@op(outputs=("y", "mask"), mutates=lambda x, state, **params: [state])
def dropout(x: Tensor, state: Tensor, *, p: float = 0.5) -> Any:
    """Each element 0 with probability ``p``, else ``x / (1 - p)``; and which were kept (Srivastava et al., 2014).

    Formula: ``y = x · kept / (1 - p)``. Gradient: ``dx = g · kept / (1 - p)``. Shapes: any; both outputs as ``x``.

    >>> dropout(Tensor([1.0, 2.0]), Tensor([1, 0]), p=0.0)[0]
    tensor([1., 2.])
    """
    # the nearest multiple of 2⁻³², where a mask is exact on every backend
    mask = logical_not(bernoulli(state, p=round(p * 2**32) / 2**32, shape=x.shape))
    return where(mask, x * kept_scale(p), 0.0), mask


def kept_scale(p: float) -> float:
    """By what the kept elements grow, so that the mean stays."""
    return 1 / (1 - p) if p < 1 else 0.0


dropout.vjp(x=lambda g, mask, p: where(mask, g[0] * kept_scale(p), 0.0))


@dropout.checks
def _(x: Any, state: Any, *, p: float) -> None:
    probability("dropout", p)
    if not x.is_floating:
        raise DTypeError(f"[dropout] x is {x.dtype}; it should be floating: cast it")
