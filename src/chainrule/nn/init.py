"""How the first values of a parameter are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from math import ceil, erf, inf, prod, sqrt
from typing import Any

import numpy as np

from .. import random
from ..creation import full
from ..domain.errors import ArgumentError, ArgumentTypeError, ShapeError, unknown
from ..ops.elementwise import where
from ..ops.index import argsort
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

    def taken(self, values: Any) -> Tensor:
        """Values that were made elsewhere, an array."""
        return self._cast(Tensor(values, device=self.generator.state.device))

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


GAINS = {"linear": 1.0, "conv": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "selu": 0.75}


def gain(activation: str, negative_slope: float = 0.01) -> float:
    """What a weight before ``activation`` is multiplied by so that values keep their size (as in PyTorch).

    Known: linear, conv, sigmoid, tanh, relu, leaky_relu (of ``negative_slope``), selu. Initializers with a ``gain`` take
    the name in its place.

    >>> round(gain("relu"), 4), round(gain("leaky_relu", 0.2), 4)
    (1.4142, 1.3868)
    >>> get("xavier_uniform", gain="tanh")
    xavier_uniform(gain='tanh')
    """
    if activation == "leaky_relu":
        return sqrt(2 / (1 + negative_slope**2))
    if activation not in GAINS:
        raise unknown("activation that has a gain", activation, [*GAINS, "leaky_relu"])
    return GAINS[activation]


def _number(size: float | str) -> float:
    """A gain, by its activation or as it is."""
    return gain(size) if isinstance(size, str) else size


def _rows(place: Place, name: str, least: int = 2, most: float = inf) -> tuple[int, int]:
    """A weight (out, in, …) as rows and columns. Errors: ShapeError for another number of axes."""
    if not least <= len(place.shape) <= most:
        axes = (
            f"{least} axes" if least == most else f"{least} axes or more" if most == inf else f"{least} to {most} axes"
        )
        raise ShapeError(f"[{name}] a weight of {axes} is expected, not {place.shape}")
    return place.shape[0], prod(place.shape[1:])


@register
def truncated_normal(
    place: Place, *, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0
) -> Tensor:
    """Normal with a mean and a standard deviation, drawn again where it is not between ``low`` and ``high``.

    Errors: ArgumentError if fewer than one in a hundred values would be.
    """
    share = (erf((high - mean) / std / sqrt(2)) - erf((low - mean) / std / sqrt(2))) / 2 if std > 0 else 0.0
    if share < 0.01:
        raise ArgumentError(
            f"[truncated_normal] low is {low!r} and high {high!r}: they leave too little of the normal distribution of mean "
            f"{mean!r} and std {std!r}"
        )
    values = place.normal(mean, std)
    while True:
        outside = (values < low).logical_or(values > high)
        if not outside.any():
            return values
        values = where(outside, place.normal(mean, std), values)


@register
def orthogonal(place: Place, *, gain: float | str = 1.0) -> Tensor:
    """Rows (or columns, of which there are fewer) of length ``gain`` that stand at right angles (Saxe et al., 2013)."""
    rows, columns = _rows(place, "orthogonal")
    shape = (max(rows, columns), min(rows, columns))
    drawn = Place(shape, 1, "float64", place.generator).normal(0.0, 1.0).numpy()
    q, r = np.linalg.qr(drawn)
    q = q * np.where(r.diagonal() < 0, -1.0, 1.0)  # every rotation is as likely as any other
    return place.taken(_number(gain) * (q if rows >= columns else q.T).reshape(place.shape))


@register
def identity(place: Place, *, gain: float = 1.0) -> Tensor:
    """``gain`` on the diagonal of a weight (out, in): what comes in goes out."""
    return place.taken(gain * np.eye(*_rows(place, "identity", 2, 2)))


@register
def dirac(place: Place) -> Tensor:
    """1 in the middle of a convolution's window, from each channel to that of its number: what comes in goes out."""
    _rows(place, "dirac", 3, 5)
    out, channels, *window = place.shape
    if out % place.groups:
        raise ShapeError(f"[dirac] {out} channels go out, which {place.groups} groups cannot share")
    values, size = np.zeros(place.shape), out // place.groups
    for group in range(place.groups):
        for channel in range(min(size, channels)):
            values[(group * size + channel, channel, *[n // 2 for n in window])] = 1.0
    return place.taken(values)


@register
def sparse(place: Place, *, sparsity: float, std: float = 0.01) -> Tensor:
    """Normal, and in each column of a weight (out, in) a share ``sparsity`` of zeros (Martens, 2010)."""
    rows, _ = _rows(place, "sparse", 2, 2)
    if not 0 <= sparsity <= 1:
        raise ArgumentError(f"[sparse] sparsity is {sparsity!r}, expected a share, from 0 to 1")
    values, order = place.normal(0.0, std), argsort(argsort(place.uniform(0.0, 1.0), axis=0), axis=0)
    kept: Tensor = where(order < ceil(sparsity * rows), 0.0, values)
    return kept


def _xavier(place: Place, size: float | str, distribution: str) -> Tensor:
    fan_in, fan_out = place.fans()
    gain = _number(size)
    return place.scaled(2 * gain * gain / max(1, fan_in + fan_out), distribution)


@register
def xavier_uniform(place: Place, *, gain: float | str = 1.0) -> Tensor:
    """Uniform of variance ``gain² · 2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010)."""
    return _xavier(place, gain, "uniform")


@register
def xavier_normal(place: Place, *, gain: float | str = 1.0) -> Tensor:
    """Normal of variance ``gain² · 2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010)."""
    return _xavier(place, gain, "normal")


def _kaiming(place: Place, slope: float, mode: str, activation: str, distribution: str) -> Tensor:
    if mode not in ("fan_in", "fan_out"):
        raise unknown("mode of kaiming", mode, ["fan_in", "fan_out"])
    fan = place.fans()[0 if mode == "fan_in" else 1]
    return place.scaled(gain(activation, slope) ** 2 / max(1, fan), distribution)


@register
def kaiming_uniform(
    place: Place, *, negative_slope: float = 0.0, mode: str = "fan_in", activation: str = "leaky_relu"
) -> Tensor:
    """Uniform of variance ``gain² / fan_in``, by default ``2 / ((1 + negative_slope²) fan_in)`` (He et al., 2015)."""
    return _kaiming(place, negative_slope, mode, activation, "uniform")


@register
def kaiming_normal(
    place: Place, *, negative_slope: float = 0.0, mode: str = "fan_in", activation: str = "leaky_relu"
) -> Tensor:
    """Normal of variance ``gain² / fan_in``, by default ``2 / ((1 + negative_slope²) fan_in)`` (He et al., 2015)."""
    return _kaiming(place, negative_slope, mode, activation, "normal")


@register
def lecun_uniform(place: Place) -> Tensor:
    """Uniform of variance ``1 / fan_in`` (LeCun et al., 1998)."""
    return place.scaled(1 / max(1, place.fans()[0]), "uniform")


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
