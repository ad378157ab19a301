"""The array API: functions of tensors with the names and meanings of the Python array API standard, which are NumPy's.

``x.__array_namespace__()`` gives this module, by which libraries that are written for any array compute with tensors:
scikit-learn, SciPy. It is a declared subset of the version 2023.12 (``docs/interchange.md`` lists it): no complex numbers, no
unsigned integers but uint8, no shifts of bits, and of ``linalg`` what needs no decomposition. Results are tensors, on the tape
where a gradient is wanted. Source: Consortium for Python Data API Standards, array API standard 2023.12.

>>> import chainrule as cr
>>> x = cr.tensor([[1.0, 2.0], [3.0, 5.0]])
>>> xp = x.__array_namespace__()
>>> xp.permute_dims(x, (1, 0)), xp.std(x, axis=0), xp.max(x)
(tensor([[1., 3.],
        [2., 5.]]), tensor([1. , 1.5]), tensor(5.))
"""

from __future__ import annotations

import sys
from typing import Any

from ..domain.errors import ArgumentError
from . import creation, elementwise, linalg, shapes, statistics
from .creation import *  # noqa: F403
from .dtypes import (
    __array_namespace_info__,
    bool,
    can_cast,
    e,
    finfo,
    float32,
    float64,
    iinfo,
    inf,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    nan,
    newaxis,
    pi,
    result_type,
    uint8,
)
from .elementwise import *  # noqa: F403
from .shapes import *  # noqa: F403
from .statistics import *  # noqa: F403

__array_api_version__ = "2023.12"
VERSIONS = ("2021.12", "2022.12", "2023.12")  # of which this is a subset

__all__ = [
    "__array_api_version__", "__array_namespace_info__", "bool", "can_cast", "e", "finfo", "float32", "float64", "iinfo", "inf",
    "int16", "int32", "int64", "int8", "isdtype", "linalg", "nan", "newaxis", "pi", "result_type", "uint8",
]  # fmt: skip
for _part in (creation, elementwise, shapes, statistics):
    __all__ += _part.__all__


def versioned(api_version: str | None) -> Any:
    """This module, if it is of a version. Errors: ArgumentError (a ValueError)."""
    if api_version not in (None, *VERSIONS):
        raise ArgumentError(f"the array API of version {api_version!r} was asked for; there is {', '.join(VERSIONS)}")
    return sys.modules[__name__]
