"""What a row of the table of samples is, and how rows are written."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Fixed(tuple):
    """The shape of random numbers that are not differentiated."""


@dataclass(eq=False)
class Sample:
    """``args`` are arrays, Python scalars or None; the floating arrays at ``varied`` are differentiated."""

    op: str
    args: list[Any]
    varied: list[int]
    expected: Callable[..., Any]  # a function of args and params, on float64
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self):
        """The number of elements of all arguments."""
        return sum(np.size(a) for a in self.args)

    def __str__(self):
        return f"{self.op}{[getattr(a, 'shape', a) for a in self.args]}{self.params or ''}".replace(" ", "")


def row(op, *args, expected=None, span=(0.5, 2.0), **params):
    """A sample; a tuple among ``args`` is the shape of random numbers in ``span``."""
    random = np.random.default_rng(zlib.crc32(f"{op}{args}{params}".encode()))
    found = [np.array(random.uniform(*span, a)) if isinstance(a, tuple) else a for a in args]
    varied = [
        i
        for i, (a, given) in enumerate(zip(found, args, strict=True))
        if isinstance(a, np.ndarray) and a.dtype.kind == "f" and not isinstance(given, Fixed)
    ]
    return Sample(op, found, varied, expected, params)


def rows(op, expected, *shapes, **options):
    """A sample for each list of arguments."""
    return [row(op, *args, expected=expected, **options) for args in shapes]


BOTH = (-2.0, 2.0)  # of either sign
