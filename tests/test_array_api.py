"""The array API of tensors against NumPy's: values, shapes, dtypes; every name that is declared has a row."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, ShapeError

XP = cr.ones(1).__array_namespace__()
R = np.random.default_rng(0)
A = R.normal(size=(3, 4)).astype(np.float32)
B = R.normal(size=(3, 4))
N, J = R.integers(-9, 9, (3, 4)), R.integers(1, 5, (4,), np.int32)
U = R.integers(0, 200, (2, 3, 2), np.uint8)
P, Q = R.random((3, 4)) < 0.5, R.random((4,)) < 0.5
S = np.array([-np.inf, -3.0, -1.5, -1.0, -0.5, -0.0, 0.0, 1e-9, 0.5, 1.0, 2.5, 1e9, 1e300, np.inf, np.nan])
D = np.array([3.0, 1.0, 3.0, 2.0, 1.0, 3.0])
UNARY = """abs ceil floor isfinite isinf isnan negative positive round sign square trunc exp expm1 sqrt sin cos tan sinh cosh
    tanh asin acos atan asinh acosh atanh log log1p log2 log10 reciprocal""".split()
BINARY = """add subtract multiply maximum minimum equal not_equal less less_equal greater greater_equal""".split()
FLOATS = "divide pow atan2 hypot logaddexp floor_divide remainder".split()
ROWS = [
    *[(name, (x,), {}) for name in UNARY for x in (A, S)],
    *[(name, (x,), {}) for name in "abs ceil floor negative positive round sign square trunc isnan isinf isfinite".split()
      for x in (N, J)],
    *[(name, args, {}) for name in BINARY for args in ((A, A[:1]), (S, S[::-1]), (N, J), (A, A[0].astype("f8")), (U, U[0]))],
    *[(name, args, {}) for name in FLOATS for args in ((abs(A), A[:1]), (np.abs(S), S[::-1]), (B[:, :1], B[0]))],
    *[(name, args, {}) for name in ("floor_divide", "remainder") for args in ((N, J), (N, -J), (U, U[:1] + 1))],
    *[(f"logical_{name}", args, {}) for name in ("and", "or", "xor") for args in ((P, Q),)],
    *[(f"bitwise_{name}", args, {}) for name in ("and", "or", "xor") for args in ((P, Q), (N, J), (U, U[0]))],
    ("logical_not", (P,), {}), ("bitwise_invert", (N,), {}), ("bitwise_invert", (P,), {}), ("pow", (J, J), {}),
    ("signbit", (S[:-1],), {}), ("signbit", (N,), {}), ("copysign", (A, S[4:8]), {}),
    ("clip", (A, -0.5, 0.5), {}), ("clip", (N, J, None), {}), ("clip", (A, A[:1], A[:1] + 1), {}), ("clip", (N, 0, None), {}),
    *[(name, (x,), kw) for name in ("sum", "prod", "max", "min") for x in (A, N, U, J)
      for kw in ({}, {"axis": -1}, {"axis": (0, 1), "keepdims": True}, {"axis": ()}) if x.ndim > 1 or "axis" not in kw],
    ("sum", (P,), {}), ("sum", (N,), {"dtype": "float64"}), ("prod", (J,), {"dtype": "int8"}), ("sum", (A[:0],), {"axis": 0}),
    *[(name, (A,), kw) for name in ("mean", "std", "var") for kw in ({}, {"axis": 0}, {"axis": 1, "keepdims": True})],
    ("std", (A,), {"correction": 1.0}), ("var", (B,), {"correction": 2, "axis": -1}),
    *[(name, (x,), kw) for name in ("all", "any") for x in (P, N, A[:0]) for kw in ({}, {"axis": 0}, {"axis": ()})],
    *[(name, (N,), kw) for name in ("argmax", "argmin") for kw in ({}, {"axis": 1}, {"axis": 0, "keepdims": True})],
    ("count_nonzero", (N,), {"axis": 0}), ("cumulative_sum", (A,), {"axis": 1}), ("cumulative_prod", (J,), {}),
    ("cumulative_sum", (J,), {"include_initial": True}), ("cumulative_sum", (N,), {"axis": 0, "dtype": "float32"}),
    ("cumulative_prod", (B,), {"axis": 0, "include_initial": True}),
    ("diff", (N,), {}), ("diff", (A,), {"axis": 0, "n": 2}), ("diff", (N,), {"prepend": N[:, :1], "append": N[:, :2]}),
    *[(name, (x,), kw) for name in ("sort", "argsort") for x in (N, D) for kw in ({}, {"axis": 0})],
    *[("searchsorted", (np.sort(D), np.array([[0.0, 1.0], [2.5, 9.0]])), {"side": side}) for side in ("left", "right")],
    ("searchsorted", (D, D), {"sorter": np.argsort(D)}), ("nonzero", (N,), {}), ("nonzero", (D > 1,), {}),
    *[(name, (x,), {}) for name in ("unique_all", "unique_counts", "unique_inverse", "unique_values")
      for x in (D, N, D[:1], D[:0].astype("f4"), P)],
    ("where", (P, A, A[:1]), {}), ("where", (P, N, J), {}), ("matmul", (A, A.T), {}), ("matmul", (N, J), {}),
    ("matmul", (B[None], B.T), {}), ("matrix_transpose", (U,), {}), ("vecdot", (A, A[:1]), {}), ("vecdot", (N, N), {"axis": 0}),
    ("tensordot", (U.astype("f8"), U.astype("f8")), {"axes": ((1, 2), (1, 2))}), ("tensordot", (A, A.T), {"axes": 1}),
    ("tensordot", (A, B), {}), ("tensordot", (J, J), {"axes": 0}),
    *[("astype", (x, kind), {}) for x in (N, A, P) for kind in ("float64", "int8", "bool", "float32")],
    ("broadcast_to", (A[0], (2, 4)), {}), ("broadcast_arrays", (A, A[:, :1], A[:1]), {}), ("expand_dims", (A,), {"axis": -1}),
    ("expand_dims", (A,), {"axis": 1}), ("concat", ((A, B),), {}), ("concat", ((N, J[None]),), {"axis": 0}),
    ("concat", ((N, J),), {"axis": None}), ("stack", ((A, A),), {"axis": -1}), ("unstack", (U,), {"axis": 1}),
    ("flip", (N,), {}), ("flip", (N,), {"axis": 1}), ("moveaxis", (U, 0, 2), {}), ("moveaxis", (U, (0, 1), (-1, -2)), {}),
    ("permute_dims", (U, (2, 0, 1)), {}), ("repeat", (N, 2), {}), ("repeat", (N, np.array([1, 0, 2])), {"axis": 0}),
    ("reshape", (A, (2, -1)), {}), ("reshape", (A, (12,)), {"copy": True}), ("roll", (N, 2), {}),
    ("roll", (N, (1, -1)), {"axis": (0, 1)}), ("squeeze", (A[:, :1], 1), {}), ("squeeze", (A[:1, :1], (0, 1)), {}),
    ("take", (N, np.array([2, 0])), {"axis": 0}), ("take", (J, np.array([1])), {}),
    ("take_along_axis", (N, np.array([[0], [1], [2]])), {}), ("tile", (J, (2, 2)), {}), ("tile", (N, (2,)), {}),
    ("arange", (5,), {}), ("arange", (1, 10, 3), {}), ("arange", (5,), {"dtype": "float32"}), ("arange", (3, -1, -2), {}),
    ("linspace", (0.0, 1.0, 7), {"dtype": "float64"}), ("linspace", (1, 5, 4), {"endpoint": False, "dtype": "float32"}),
    ("eye", (3,), {"dtype": "float32"}), ("eye", (2, 4), {"k": 1, "dtype": "int64"}), ("eye", (3,), {"k": -1, "dtype": "int8"}),
    ("full", ((2, 3), 7), {}), ("full", (2, True), {}), ("full", ((), 1.5), {"dtype": "float64"}), ("full_like", (N, 3), {}),
    *[(name, ((2, 3),), {"dtype": "int8"}) for name in ("zeros", "ones")],
    ("zeros", (4,), {"dtype": "float32"}), ("zeros_like", (N,), {}), ("ones_like", (U,), {"dtype": "float32"}),
    ("meshgrid", (J, J[:2]), {}), ("meshgrid", (J, J[:2], J[:3]), {"indexing": "ij"}), ("tril", (N,), {"k": 1}),
    ("triu", (B,), {}), ("asarray", ([[1, 2], [3, 4]],), {}), ("asarray", ([1.0],), {"dtype": "float64"}),
    ("asarray", (A,), {"copy": True}), ("from_dlpack", (A.copy(),), {}),
    ("linalg.diagonal", (N,), {}), ("linalg.diagonal", (U,), {"offset": 1}), ("linalg.diagonal", (N,), {"offset": -5}),
    ("linalg.trace", (N,), {"offset": -1}), ("linalg.trace", (A,), {}), ("linalg.outer", (J, J[:2]), {}),
    *[("linalg.vector_norm", (A,), kw) for kw in ({}, {"axis": 1}, {"axis": 0, "ord": 1}, {"axis": (0, 1), "keepdims": True},
                                                 {"axis": 1, "ord": np.inf}, {"axis": 1, "ord": 0}, {"axis": 0, "ord": 3})],
    *[("linalg.matrix_norm", (B,), {"ord": o, "keepdims": k}) for o in ("fro", 1, -1, np.inf, -np.inf) for k in (False, True)],
    ("linalg.matrix_norm", (U.astype("f8"),), {}),
]  # fmt: skip
OTHERWISE = {"asarray", "empty", "empty_like", "from_dlpack"}  # a promise about memory, tested below


def found(space, name):
    for part in name.split("."):
        space = getattr(space, part)
    return space


def given(value):
    """NumPy's arrays as tensors, in tuples too."""
    if isinstance(value, np.ndarray):
        return Tensor(value)
    return (
        tuple(map(given, value))
        if isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value)
        else value
    )


def flat(values):
    return [*values] if isinstance(values, (tuple, list)) else [values]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_same_as_numpy(row):
    name, args, kwargs = row
    with np.errstate(all="ignore"):
        wanted = flat(found(np, name)(*args, **kwargs))
    got = flat(found(XP, name)(*map(given, args), **{key: given(value) for key, value in kwargs.items()}))
    assert len(got) == len(wanted)
    if name == "unique_values":  # in any order, says the standard
        wanted = [np.sort(wanted[0])]
    for y, e in zip(got, map(np.asarray, wanted), strict=True):
        assert isinstance(y, Tensor) and y.shape == e.shape
        kind = e.dtype.name if e.dtype != np.uint64 else "int64"  # of sums of uint8: there is no uint64
        assert y.dtype == kind
        if kind.startswith("float"):
            rtol = 3e-6 if kind == "float32" else 1e-13
            np.testing.assert_allclose(y.numpy(), e, rtol=rtol, atol=rtol / 10)
        else:
            np.testing.assert_array_equal(y.numpy(), e.astype(kind))


def test_every_function_has_a_row():
    declared = {
        name for name in XP.__all__ if inspect.isfunction(getattr(XP, name)) or hasattr(getattr(XP, name), "op")
    }
    declared -= {"can_cast", "finfo", "iinfo", "isdtype", "result_type"}  # of dtypes, tested below
    declared |= {f"linalg.{name}" for name in XP.linalg.__all__ if not hasattr(XP, name)}
    assert declared - {row[0] for row in ROWS} - OTHERWISE == set()
    assert all(inspect.getdoc(found(XP, name)) for name in declared)


def test_names_are_those_of_the_standard():
    """NumPy 2 follows it; what is optional there and what is not here is left out of both."""
    for name in XP.__all__:
        if name not in ("__array_api_version__", "expand_dims"):
            assert hasattr(np, name), name
    for name in XP.linalg.__all__:
        assert hasattr(np.linalg, name), name


def test_the_namespace_of_a_tensor():
    x = cr.ones(2, 3)
    assert (
        x.__array_namespace__() is XP is x.__array_namespace__(api_version="2022.12")
        and XP.__array_api_version__ == "2023.12"
    )
    with pytest.raises(ArgumentError, match=r"version '2030.12' was asked for; there is 2021.12"):
        x.__array_namespace__(api_version="2030.12")
    assert x.to_device("cpu") is x and x.to_device(x.device, stream=None) is x and x.mT.shape == (3, 2) and x.size == 6


def test_dtypes():
    assert XP.isdtype(XP.float32, "real floating") and not XP.isdtype(XP.int8, ("bool", "real floating"))
    assert XP.isdtype(XP.uint8, XP.uint8) and XP.isdtype(cr.float16, "numeric")
    with pytest.raises(ArgumentError, match="'float', expected one of bool"):
        XP.isdtype(XP.float32, "float")
    for kind in ("float32", "float64"):
        ours, numpys = XP.finfo(getattr(XP, kind)), np.finfo(kind)
        assert all(getattr(ours, f) == getattr(numpys, f) for f in ("bits", "eps", "max", "min", "smallest_normal"))
    for kind in ("int8", "int16", "int32", "int64", "uint8"):
        ours, numpys = XP.iinfo(cr.ones(1, dtype=kind)), np.iinfo(kind)
        assert all(getattr(ours, f) == getattr(numpys, f) for f in ("bits", "max", "min")) and ours.dtype == kind
    with pytest.raises(ArgumentTypeError, match="floating dtype, not int8"):
        XP.finfo(XP.int8)
    names = ("bool", "int8", "int16", "int32", "int64", "uint8", "float32", "float64")
    for a in names:
        for b in names:
            mixed = {np.dtype(a).kind, np.dtype(b).kind} in ({"b", "i"}, {"b", "u"}, {"b", "f"}, {"i", "f"}, {"u", "f"})
            if not mixed:  # the standard leaves those open
                assert XP.result_type(getattr(XP, a), cr.ones(1, dtype=b)) == np.result_type(a, b).name
                assert XP.can_cast(getattr(XP, a), getattr(XP, b)) == np.can_cast(a, b)
    assert XP.result_type(XP.int8, 3) == "int8" and XP.result_type(XP.float32, 1.0) == "float32"
    info = XP.__array_namespace_info__()
    assert info.default_dtypes()["real floating"] == "float32" and [*info.dtypes(kind="bool")] == ["bool"]
    assert info.default_device() in info.devices() and info.capabilities()["boolean indexing"]
    assert all(getattr(XP, name) == dtype for name, dtype in info.dtypes().items())
    assert (XP.e, XP.inf, XP.pi, XP.newaxis) == (np.e, np.inf, np.pi, None) and XP.nan != XP.nan


def test_memory():
    x, a = cr.ones(3), np.ones(3)
    assert XP.asarray(x) is x and np.shares_memory(XP.asarray(a).numpy(), a)
    assert not np.shares_memory(XP.asarray(x, copy=True).numpy(), x.numpy())
    assert (
        XP.asarray(a, copy=False).tolist() == [1, 1, 1] and XP.empty((2, 0)).shape == XP.empty_like(cr.ones(2, 0)).shape
    )
    for wrong in ([1.0], (1, 2)):
        with pytest.raises(ValueError, match="copy=False"):
            XP.asarray(wrong, copy=False)
    with pytest.raises(ValueError, match="copy=False"):
        XP.asarray(x, dtype=XP.float64, copy=False)
    with pytest.raises(ValueError, match="copy=False"):
        XP.reshape(cr.ones(2, 3).mT, (6,), copy=False)
    assert XP.reshape(cr.ones(2, 3), (6,), copy=False).shape == (6,)
    assert XP.astype(x, XP.float32, copy=False) is x and XP.astype(x, XP.float32) is not x


def test_errors():
    with pytest.raises(ValueError, match="has not size 1"):
        XP.squeeze(cr.ones(2), 0)
    for wrong in (lambda: XP.expand_dims(cr.ones(2), axis=5), lambda: XP.moveaxis(cr.ones(2), 3, 0)):
        with pytest.raises(IndexError, match="axis"):
            wrong()
    for wrong in (lambda: XP.take(cr.ones(2, 2), cr.tensor([0])), lambda: XP.cumulative_sum(cr.ones(2, 2))):
        with pytest.raises(ArgumentError, match="axis"):
            wrong()
    with pytest.raises(ShapeError, match="broadcast_arrays"):
        XP.broadcast_arrays(cr.ones(2), cr.ones(3))


def test_gradients_flow_through():
    x = cr.randn(3, 4, dtype="float64", requires_grad=True)
    assert cr.gradcheck(lambda v: XP.sum(XP.std(v, axis=0) * XP.logaddexp(v[0], v[1]) + XP.hypot(v[0], v[2])), (x,))
    assert cr.gradcheck(lambda v: XP.linalg.matrix_norm(XP.asinh(v) + XP.atanh(v / 9)), (x,))


def test_the_page_lists_what_is_declared():
    text = (Path(__file__).parent.parent / "docs" / "interchange.md").read_text().partition("| Kind | Declared |")[2]
    rows = dict(line.strip("| ").split(" | ") for line in text.partition("\n\n")[0].splitlines()[2:])
    linalg = rows.pop("`linalg`")
    assert sorted(name for row in rows.values() for name in row.split(", ")) == sorted({*XP.__all__} - {"linalg"})
    assert linalg.split(", ") == sorted(XP.linalg.__all__)
