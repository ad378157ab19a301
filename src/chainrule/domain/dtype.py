"""dtypes by name, and the one in which a mixture of them meets."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import unknown

BOOL, INTEGER, FLOAT = 0, 1, 2  # the categories, lowest first


class DType(str):
    """The name of an element type, with its ``category`` (0 bool, 1 integer, 2 float) and its ``bits``.

    A DType is equal to its name, and NumPy takes it as a dtype.

    >>> float32, float32 == "float32", float32.bits, int64.is_floating
    (chainrule.float32, True, 32, False)
    """

    category: int
    bits: int
    __slots__ = ("category", "bits")

    def __new__(cls, name: str, category: int, bits: int) -> DType:
        self = super().__new__(cls, name)
        self.category, self.bits = category, bits
        return self

    @property
    def is_floating(self) -> bool:
        """Whether values of this type can have a gradient."""
        return self.category == FLOAT

    def __repr__(self) -> str:
        return f"chainrule.{self}"

    def __reduce__(self) -> tuple[object, ...]:
        return (dtype, (str(self),))


bool_ = DType("bool", BOOL, 1)
uint8, int8 = DType("uint8", INTEGER, 8), DType("int8", INTEGER, 8)
int16, int32, int64 = DType("int16", INTEGER, 16), DType("int32", INTEGER, 32), DType("int64", INTEGER, 64)
float16, bfloat16 = DType("float16", FLOAT, 16), DType("bfloat16", FLOAT, 16)
float32, float64 = DType("float32", FLOAT, 32), DType("float64", FLOAT, 64)

DTYPES: dict[str, DType] = {
    str(d): d for d in (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
}
DEFAULT = {BOOL: bool_, INTEGER: int64, FLOAT: float32}
SCALAR: dict[type, int] = {bool: BOOL, int: INTEGER, float: FLOAT}  # a Python scalar has a category and no width
TIES = {frozenset({uint8, int8}): int16, frozenset({float16, bfloat16}): float32}


def dtype(name: object) -> DType:
    """The DType called ``name``: a name, a DType, a Python type, or anything whose ``name`` is one (a NumPy dtype).

    >>> dtype("float16"), dtype(float), dtype(int)
    (chainrule.float16, chainrule.float32, chainrule.int64)
    >>> dtype("flaot32")
    Traceback (most recent call last):
    chainrule.domain.errors.ArgumentError: unknown dtype 'flaot32': did you mean 'float32'? Known: bool, uint8, ...
    """
    if isinstance(name, DType):
        return name
    if isinstance(name, type) and name in SCALAR:
        return DEFAULT[SCALAR[name]]
    key = getattr(name, "name", None) or getattr(name, "__name__", None) or str(name)
    found = DTYPES.get(key.removesuffix("_"))
    if found is None:
        raise unknown("dtype", str(key), DTYPES)
    return found


def promote(dtypes: Iterable[DType], least: int = BOOL) -> DType:
    """The dtype in which tensors of ``dtypes`` meet: the highest category decides, then the width within it.

    So an integer never widens a float, as in PyTorch; unlike there, a tensor without axes counts as any other.
    ``least`` is the lowest category allowed: that of a
    Python scalar among the arguments, or FLOAT for an op that only floats can do.

    >>> promote([int64, float16]), promote([float32, float64]), promote([uint8, int8])
    (chainrule.float16, chainrule.float64, chainrule.int16)
    >>> promote([int32], least=FLOAT), promote([float32], least=INTEGER)
    (chainrule.float32, chainrule.float32)
    """
    given = list(dtypes)
    category, bits = max((d.category, d.bits) for d in given)
    if category < least:
        return DEFAULT[least]
    widest = frozenset(d for d in given if (d.category, d.bits) == (category, bits))
    return TIES.get(widest) or next(iter(widest))
