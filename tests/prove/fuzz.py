"""What the fuzzers share: their seed, arrays of any shape, layout and dtype, and the comparison of two backends."""

import os
import subprocess
from pathlib import Path

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, seed, settings

from chainrule import Tensor, backends, grad, ops
from chainrule.ops._op import OPS
from chainrule.tensor import from_array


def chosen_seed():
    """CHAINRULE_FUZZ_SEED, or one from the commit: a run can be repeated, and every commit is tried with other cases."""
    if "CHAINRULE_FUZZ_SEED" in os.environ:
        return int(os.environ["CHAINRULE_FUZZ_SEED"])
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return int(done.stdout[:8] or "0", 16)


SEED = chosen_seed()
FLOATS = ("float32", "float64")
HALVES = ("float16", "bfloat16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
DTYPES = (*FLOATS, *INTEGERS, *HALVES, "bool")


def fuzzed(examples):
    """Run a test on so many drawn cases: as slow as they are, always the same for one seed.

    CHAINRULE_FUZZ_TIMES multiplies the number of cases: 10 for a night, 0.2 where each is slow.
    """
    chosen = settings(
        max_examples=max(1, round(examples * float(os.environ.get("CHAINRULE_FUZZ_TIMES", "1")))),
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: seed(SEED)(chosen(test))


# arrays

SIZES = st.sampled_from([0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33])
LONG = st.sampled_from([31, 64, 65, 100, 130, 257, 1000])  # where vectors, blocks and threads come in
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-30, 3e4, -3e4, np.inf, -np.inf, np.nan]


@st.composite
def shapes(draw, least=0, most=4):
    """Mostly small; sometimes one axis is long."""
    shape = draw(st.lists(SIZES, min_size=least, max_size=most))
    if shape and draw(st.integers(0, 3)) == 0:
        shape = [min(n, 4) for n in shape]
        shape[draw(st.integers(0, len(shape) - 1))] = draw(LONG)
    return tuple(shape)


@st.composite
def broadcastable(draw, shape):
    """A shape that broadcasts to ``shape``: fewer axes, some of them one long."""
    kept = shape[draw(st.integers(0, len(shape))) :]
    return tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in kept)


def values(random, shape, dtype, span=(-2.0, 2.0), special=False):
    """A C-ordered array of random numbers."""
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if dtype in INTEGERS:
        return random.integers(0 if dtype == "uint8" else -9, 10, shape).astype(dtype)
    a = np.asarray(random.uniform(*span, shape))
    if special:
        a = np.where(random.random(shape) < 0.3, random.choice(SPECIAL, shape), a)
    return a.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


LAYOUTS = ("C", "C", "F", "permuted", "last", "steps", "reversed", "inner", "expanded")


def laid_out(a, layout, random):
    """The same shape and values (for "expanded", equal along an axis) in another memory order."""
    if layout == "C" or not a.ndim:
        return a.copy()
    axes = list(range(a.ndim))
    if layout == "F":
        return np.asfortranarray(a)
    if layout == "last":  # channels last
        order = [0, *axes[2:], 1] if a.ndim > 2 else axes[::-1]
        return np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))
    if layout == "permuted":
        order = random.permutation(axes)
        return np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))
    if layout == "expanded":
        axis = int(random.integers(a.ndim))
        return np.broadcast_to(a[(slice(None),) * axis + (slice(0, 1),)], a.shape) if a.shape[axis] else a.copy()
    if layout == "inner":  # a part of something larger, on an address that no vector likes
        memory = np.zeros([n + 3 for n in a.shape], a.dtype)
        view = memory[tuple(slice(1, 1 + n) for n in a.shape)]
    else:
        steps = [int(random.integers(1, 4)) for _ in axes]
        memory = np.zeros([n * s for n, s in zip(a.shape, steps, strict=True)], a.dtype)
        view = memory[tuple(slice(None, None, s) for s in steps)]
        if layout == "reversed":
            view = view[tuple(slice(None, None, -1 if random.random() < 0.5 else 1) for _ in axes)]
    view[...] = a
    return view


@st.composite
def arrays(draw, shape, dtype, span=(-2.0, 2.0), special=False, layouts=LAYOUTS):
    """An array of this shape and dtype in any layout."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return laid_out(values(random, shape, dtype, span, special), draw(st.sampled_from(layouts)), random)


# two backends

TOLERANCE = {"float32": (1e-5, 3e-6), "float64": (1e-11, 1e-13), "float16": (2e-3, 1e-4), "bfloat16": (1.6e-2, 1e-3)}


def outcome(backend, name, args, params, gradients, writes):
    """The outputs of an op on a backend, what it wrote to, and the gradients of its floating arguments; or its error."""

    def tensor(i, a):
        if not isinstance(a, np.ndarray):
            return a
        t = from_array(np.array(a, order="K") if i in writes else a)
        return t.requires_grad_(gradients and t.is_floating and i not in writes)

    with backends.use(backend):
        tensors = [tensor(i, a) for i, a in enumerate(args)]
        try:
            found = vars(ops).get(name, OPS[name])(*tensors, **params)  # as users call it, where they can
            found = found if isinstance(found, tuple) else (found,)
            differentiable = [y for y in found if y.requires_grad]
            gs = []
            if differentiable:
                total = sum((y * Tensor(np.cos(np.arange(y.size)).reshape(y.shape), dtype=y.dtype)).sum()
                            for y in differentiable)  # fmt: skip
                variables = [t for t in tensors if isinstance(t, Tensor) and t.requires_grad]
                gs = grad(total, variables, allow_unused=True)
        except Exception as error:  # compared below
            return error
        return [None if t is None else t.numpy() for t in (*found, *gs, *[tensors[i] for i in writes])]


def agree(name, args, params=None, gradients=True, exact=False, scale=1.0, writes=()):
    """Assert that the native backend and the reference do the same: values, gradients, dtypes, or errors.

    ``writes`` are the places of the arguments that the op writes to.
    """
    params = params or {}
    wanted = outcome("numpy", name, args, params, gradients, writes)
    found = outcome("cpu", name, args, params, gradients, writes)
    if isinstance(wanted, Exception) or isinstance(found, Exception):
        assert type(wanted) is type(found), f"reference: {wanted!r}; native: {found!r}"
        return
    for y, e in zip(found, wanted, strict=True):
        if e is None or y is None:
            assert y is e
            continue
        assert (y.dtype, y.shape) == (e.dtype, e.shape)
        if exact or y.dtype.kind in "biu":
            np.testing.assert_array_equal(y, e)
        else:
            rtol, atol = TOLERANCE[e.dtype.name]
            np.testing.assert_allclose(y.astype(np.float64), e.astype(np.float64), rtol=rtol * scale, atol=atol * scale)
