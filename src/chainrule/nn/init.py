"""How the first values of a parameter are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from math import prod, sqrt
from typing import Any

from .. import random
from ..creation import full
from ..domain.errors import ArgumentError, ArgumentTypeError, unknown
from ..random import Generator
from ..tensor import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Initializer:
    """A way to draw values: a name of ``NAMES`` with its options. Call it with a shape.

    ``groups`` are those of a convolution, whose fans are smaller by it.

    >>> get("constant", value=0.5)((2,))
    tensor([0.5, 0.5])
    >>> get("kaiming_uniform", negative_slope=0.1)
    kaiming_uniform(negative_slope=0.1)
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        shape: Shape,
        *,
        groups: int = 1,
        dtype: str = "float32",
        device: Any = None,
        generator: Generator | None = None,
    ) -> Tensor:
        place = Place(tuple(shape), groups, dtype, generator or random.initial_generator(device))
        return NAMES[self.name](place, **self.options)

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self.options.items())
        return f"{self.name}({options})" if options else self.name

    def get_config(self) -> Any:
        """The name, or with options ``{"name": name, option: value, ...}``: what ``get`` takes."""
        return {"name": self.name, **self.options} if self.options else self.name


@dataclass(frozen=True)
class Place:
    """What values are drawn for."""

    shape: Shape
    groups: int
    dtype: str
    generator: Generator

    def fans(self) -> tuple[float, float]:
        """How many inputs reach an output, and outputs an input, of a weight (out, in, …)."""
        if len(self.shape) < 2:
            raise ArgumentError(f"a fan needs a weight of at least two axes (out, in, …), not {self.shape}")
        window = prod(self.shape[2:])
        return self.shape[1] * window, self.shape[0] * window / self.groups

    def full(self, value: float) -> Tensor:
        """One value everywhere."""
        return full(self.shape, value, dtype=self.dtype, device=self.generator.state.device)

    def uniform(self, low: float, high: float) -> Tensor:
        """Uniform values in [low, high)."""
        return self._cast(self.generator.uniform(self.shape, self._drawn()) * (high - low) + low)

    def normal(self, mean: float, std: float) -> Tensor:
        """Normal values."""
        return self._cast(self.generator.normal(self.shape, self._drawn()) * std + mean)

    def scaled(self, variance: float, distribution: str) -> Tensor:
        """Values of mean 0 and of the variance given."""
        if distribution == "normal":
            return self.normal(0.0, sqrt(variance))
        bound = sqrt(3 * variance)
        return self.uniform(-bound, bound)

    def _drawn(self) -> str:
        return "float64" if self.dtype == "float64" else "float32"

    def _cast(self, values: Any) -> Tensor:
        cast: Tensor = values.to(self.dtype)
        return cast


Draw = Callable[..., Tensor]
NAMES: dict[str, Draw] = {}


def register(draw: Draw) -> Draw:
    """Make a function ``draw(place, *, options)`` an initializer of its name.

    >>> @register
    ... def alternating(place, *, size=1.0):
    ...     return place.uniform(-size, size).sign() * size
    >>> get("alternating", size=2.0)((3,)).abs()
    tensor([2., 2., 2.])
    >>> del NAMES["alternating"]
    """
    NAMES[draw.__name__] = draw
    return draw


@register
def zeros(place: Place) -> Tensor:
    """0 everywhere."""
    return place.full(0.0)


@register
def ones(place: Place) -> Tensor:
    """1 everywhere."""
    return place.full(1.0)


@register
def constant(place: Place, *, value: float) -> Tensor:
    """``value`` everywhere."""
    return place.full(value)


@register
def uniform(place: Place, *, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform in [low, high)."""
    return place.uniform(low, high)


@register
def normal(place: Place, *, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with a mean and a standard deviation."""
    return place.normal(mean, std)


def _xavier(place: Place, gain: float, distribution: str) -> Tensor:
    fan_in, fan_out = place.fans()
    return place.scaled(2 * gain * gain / max(1, fan_in + fan_out), distribution)


@register
def xavier_uniform(place: Place, *, gain: float = 1.0) -> Tensor:
    """Uniform of variance ``gain² · 2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010)."""
    return _xavier(place, gain, "uniform")


@register
def xavier_normal(place: Place, *, gain: float = 1.0) -> Tensor:
    """Normal of variance ``gain² · 2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010)."""
    return _xavier(place, gain, "normal")


@register
def kaiming_uniform(place: Place, *, negative_slope: float = 0.0) -> Tensor:
    """Uniform of variance ``2 / ((1 + negative_slope²) fan_in)`` (He et al., 2015)."""
    return place.scaled(2 / (1 + negative_slope**2) / max(1, place.fans()[0]), "uniform")


@register
def kaiming_normal(place: Place, *, negative_slope: float = 0.0) -> Tensor:
    """Normal of variance ``2 / ((1 + negative_slope²) fan_in)`` (He et al., 2015)."""
    return place.scaled(2 / (1 + negative_slope**2) / max(1, place.fans()[0]), "normal")


@register
def lecun_normal(place: Place) -> Tensor:
    """Normal of variance ``1 / fan_in`` (LeCun et al., 1998)."""
    return place.scaled(1 / max(1, place.fans()[0]), "normal")


def get(name: Any, **options: Any) -> Initializer:
    """The initializer called ``name``, with options; an initializer or its config as it is.

    >>> get({"name": "normal", "std": 0.02})
    normal(std=0.02)
    >>> get("xaver_uniform")
    Traceback (most recent call last):
    chainrule.domain.errors.ArgumentError: unknown initializer 'xaver_uniform': did you mean 'xavier_uniform'? ...
    """
    if isinstance(name, Initializer):
        return name
    if isinstance(name, Mapping):
        name, options = name.get("name"), {k: v for k, v in name.items() if k != "name"}
    if not isinstance(name, str):
        raise ArgumentTypeError(f"an initializer is a name or an Initializer, not a {type(name).__name__}")
    if name not in NAMES:
        raise unknown("initializer", name, NAMES)
    _, *known = signature(NAMES[name]).parameters
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    return Initializer(name, options)
