"""dtypes of the array API: those there are, what they hold, and where mixtures of them meet."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi
from typing import Any

import ml_dtypes
import numpy as np

from ..domain.device import Device
from ..domain.dtype import BOOL, FLOAT, INTEGER, DType, bool_, dtype, promote
from ..domain.dtype import float32 as float32
from ..domain.dtype import float64 as float64
from ..domain.dtype import int8 as int8
from ..domain.dtype import int16 as int16
from ..domain.dtype import int32 as int32
from ..domain.dtype import int64 as int64
from ..domain.dtype import uint8 as uint8
from ..domain.errors import ArgumentError, ArgumentTypeError
from ..tensor import Tensor

bool = bool_
newaxis = None
DTYPES = (bool, int8, int16, int32, int64, uint8, float32, float64)
KINDS = {
    "bool": (bool,),
    "signed integer": (int8, int16, int32, int64),
    "unsigned integer": (uint8,),
    "integral": (int8, int16, int32, int64, uint8),
    "real floating": (float32, float64),
    "complex floating": (),
    "numeric": DTYPES[1:],
}


@dataclass(frozen=True)
class finfo_object:  # noqa: N801
    """What a floating dtype can hold."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True)
class iinfo_object:  # noqa: N801
    """What an integer dtype can hold."""

    bits: int
    max: int
    min: int
    dtype: DType


def _of(kind: Any) -> DType:
    return kind.dtype if isinstance(kind, Tensor) else dtype(kind)


def finfo(type: Any, /) -> finfo_object:
    """The limits of a floating dtype, or of the dtype of a tensor. Errors: ArgumentTypeError for another."""
    kind = _of(type)
    if not kind.is_floating:
        raise ArgumentTypeError(f"finfo takes a floating dtype, not {kind}")
    read: Any = ml_dtypes.finfo
    found = read(kind)
    eps, high, low, small = (float(v) for v in (found.eps, found.max, found.min, found.smallest_normal))
    return finfo_object(kind.bits, eps, high, low, small, kind)


def iinfo(type: Any, /) -> iinfo_object:
    """The limits of an integer dtype, or of the dtype of a tensor. Errors: ArgumentTypeError for another."""
    kind = _of(type)
    if kind.category != INTEGER:
        raise ArgumentTypeError(f"iinfo takes an integer dtype, not {kind}")
    found = np.iinfo(np.dtype(kind))
    return iinfo_object(kind.bits, int(found.max), int(found.min), kind)


def isdtype(dtype: Any, kind: Any) -> Any:
    """Whether a dtype is another, or of a kind: "bool", "integral", "real floating", ..., or of one of several.

    >>> isdtype(float32, "real floating"), isdtype(int8, ("bool", "unsigned integer"))
    (True, False)
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, DType) or not isinstance(kind, str):
        return dtype == _of(kind)
    if kind not in KINDS:
        raise ArgumentError(f"isdtype got the kind {kind!r}, expected one of {', '.join(KINDS)}")
    found = _of(dtype)
    return found in KINDS[kind] or (kind in ("real floating", "numeric") and found.category == FLOAT)


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype in which tensors, dtypes and Python numbers meet. Errors: ArgumentError without a tensor or a dtype.

    >>> result_type(float32, int8), result_type(uint8, int8), result_type(int8, 1.5)
    (chainrule.float32, chainrule.int16, chainrule.float32)
    """
    scalars = [x for x in arrays_and_dtypes if type(x) in SCALARS]
    kinds = [_of(x) for x in arrays_and_dtypes if type(x) not in SCALARS]
    if not kinds:
        raise ArgumentError("result_type needs a tensor or a dtype")
    return promote(kinds, max((SCALARS[type(x)] for x in scalars), default=BOOL))


SCALARS = {builtins.bool: BOOL, int: INTEGER, float: FLOAT}


def can_cast(from_: Any, to: Any, /) -> Any:
    """Whether every value of a dtype, or of the dtype of a tensor, is one of another by the rules of promotion.

    >>> can_cast(int8, int64), can_cast(float64, float32)
    (True, False)
    """
    source, target = _of(from_), _of(to)
    same = source.category == target.category or source == target
    return same and promote([source, target]) == target


class __array_namespace_info__:  # noqa: N801
    """What this implementation has: ``xp.__array_namespace_info__()``."""

    def capabilities(self) -> dict[str, Any]:
        """What is optional in the standard, and is here."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """Where arrays are made."""
        return Device("cpu")

    def devices(self) -> list[Device]:
        """Where arrays can be."""
        return [Device("cpu")]

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes of what is made of Python numbers."""
        return {"real floating": float32, "integral": int64, "indexing": int64}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The dtypes by name, of a kind if one is given."""
        return {str(d): d for d in DTYPES if kind is None or isdtype(d, kind)}
