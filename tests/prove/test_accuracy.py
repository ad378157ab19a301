"""The float32 functions against double precision, at every eleventh float: the errors that native/README.md states."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from chainrule import _native

STEP, CHUNK = 11, 1 << 22
README = Path(__file__).parents[2] / "native" / "README.md"


def erf(x):
    return torch.erf(torch.from_numpy(x)).numpy()


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


FUNCTIONS = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "sigmoid": sigmoid, "erf": erf,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "reciprocal": lambda x: 1 / x, "sin": np.sin, "cos": np.cos,
    "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
}  # fmt: skip
PAIRS = {"pow": np.power, "atan2": np.arctan2}


def stated():
    """{function: the largest error that the table in the README states}."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", README.read_text(), re.M)
    return {name: float(bound) for name, bound in rows}


def worst(got, want):
    """The largest error in units of the last place; what is no number, infinite or negative has to be that exactly."""
    narrow = want.astype(np.float32)
    finite = np.isfinite(narrow) & np.isfinite(got)
    assert ((got == narrow) | finite | (np.isnan(got) & np.isnan(narrow)) | edge(got, want)).all()
    assert (np.signbit(got) == np.signbit(narrow))[~np.isnan(narrow)].all()
    errors = np.abs(got[finite] - want[finite]) / np.spacing(np.abs(narrow[finite])).astype(float)
    return errors.max(initial=0)


def edge(got, want):
    """Where a result that rounds to the largest float may be infinite, or the other way."""
    return np.abs(np.abs(want) - 3.4028235677973366e38) < 1e32


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_eleventh_float(name, record_property):
    found = 0.0
    with np.errstate(all="ignore"):
        for start in range(0, 2**32, STEP * CHUNK):
            x = (
                np.arange(start, min(2**32, start + STEP * CHUNK), STEP, dtype=np.uint64)
                .astype(np.uint32)
                .view(np.float32)
            )
            found = max(found, worst(getattr(_native, name)(x), FUNCTIONS[name](x.astype(float))))
    record_property("ulp", round(float(found), 3))
    assert found <= stated()[name]


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_floats(name, record_property):
    """Any bits, and numbers of usual sizes."""
    found, random = 0.0, np.random.default_rng(0)
    with np.errstate(all="ignore"):
        for turn in range(24):
            if turn % 2:
                a, b = (random.integers(0, 2**32, CHUNK, dtype=np.uint32).view(np.float32) for _ in range(2))
            else:
                a, b = (random.standard_normal(CHUNK).astype(np.float32) * scale for scale in (10, 3))
            found = max(found, worst(getattr(_native, name)(a, b), PAIRS[name](a.astype(float), b.astype(float))))
    record_property("ulp", round(float(found), 3))
    assert found <= stated()[name]
