"""Every row of the table: value, gradient, second derivative, kernel against reference, dtypes, layouts, memory."""

import copy
import importlib
from functools import wraps

import numpy as np
import pytest
from tests.ops.samples import ELEMENTWISE, LARGE, SAMPLES

from chainrule import Tensor, backends, grad
from chainrule._native import get_num_threads, set_num_threads
from chainrule.ops._op import OPS
from chainrule.tensor import from_array

NATIVE = set(importlib.import_module("chainrule.backends.cpu").NATIVE)
WRITES = {
    "assign",
    "sgd_",
    "adam_",
    "rmsprop_",
    "adagrad_",
    "lion_",
    "adamax_",
    "nadam_",
    "radam_",
    "adadelta_",
    "add_",
    "sub_",
    "mul_",
    "div_",
}  # they return an argument


def op(sample):
    return OPS[sample.op].op


def is_float(a):
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def differentiable(sample):
    return bool(sample.varied) and not op(sample).nondifferentiable and sample.params.get("dtype") != "int64"


DIFFERENTIABLE = [s for s in SAMPLES if differentiable(s)]
FLOATING = [s for s in SAMPLES if s.varied and "dtype" not in s.params]


def each(samples):
    return pytest.mark.parametrize("sample", samples, ids=str)


def on_both(test):
    """Run a test on the reference and on the native backend."""

    @wraps(test)
    def run_on_both(sample):
        for name in ("numpy", "cpu"):
            with backends.use(name):
                test(sample)

    return run_on_both


def tensors(sample, dtype=None, args=None):
    """The arguments of a row as tensors; the varied ones require gradients."""

    def tensor(i, a):
        if not isinstance(a, np.ndarray):
            return a
        return Tensor(a, dtype=dtype if is_float(a) else None, requires_grad=i in sample.varied)

    return [tensor(i, a) for i, a in enumerate(sample.args if args is None else args)]


def run(sample, args):
    """The outputs of the op, always as a tuple."""
    y = OPS[sample.op](*args, **sample.params)
    return y if isinstance(y, tuple) else (y,)


def expected(sample, args=None):
    e = sample.expected(*copy.deepcopy(sample.args if args is None else args), **sample.params)
    return e if isinstance(e, tuple) else (e,)


def variables(args):
    return [a for a in args if isinstance(a, Tensor) and a.requires_grad]


def weighted(sample, args):
    """A scalar that depends on every floating output, and no two elements weigh the same."""
    total = 0.0
    for y in run(sample, args):
        if y.is_floating:
            total = total + (y * Tensor(np.cos(np.arange(y.size)).reshape(y.shape), dtype=y.dtype)).sum()
    return total


def gradients(sample, dtype="float64", args=None, create_graph=False):
    args = tensors(sample, dtype) if args is None else args
    return grad(weighted(sample, args), variables(args), create_graph=create_graph)


def at(sample, xs):
    """The row's arguments as tensors, with ``xs`` for the varied ones."""
    args = list(sample.args)
    for i, x in zip(sample.varied, xs, strict=True):
        args[i] = np.array(x)
    return tensors(sample, args=args)


def along(f, xs, vs, h):
    """The derivative of ``f`` at ``xs`` along ``vs``, by central differences."""
    ahead = f([x + h * v for x, v in zip(xs, vs, strict=True)])
    return (ahead - f([x - h * v for x, v in zip(xs, vs, strict=True)])) / (2 * h)


def directions(xs, seed):
    return [np.random.default_rng(seed).standard_normal(x.shape) for x in xs]


def varied(sample):
    return [sample.args[i] for i in sample.varied]


def close(found, wanted, rtol, atol):
    for y, e in zip(found, wanted, strict=True):
        assert y.shape == np.shape(e)
        np.testing.assert_allclose(y.numpy(), np.asarray(e), rtol=rtol, atol=atol)


@each(SAMPLES)
@on_both
def test_value(sample):
    found = run(sample, tensors(sample))
    assert all(type(y.array) is np.ndarray for y in found)
    for y, e in zip(found, expected(sample), strict=True):
        assert np.asarray(e).dtype.kind == y.array.dtype.kind or sample.params.get("dtype")
        close([y], [e], 2e-7 if y.dtype == "float32" else 1e-12, 1e-14)


@each(DIFFERENTIABLE)
@on_both
def test_gradient_is_the_derivative(sample):
    xs = varied(sample)
    vs = directions(xs, 1)
    exact = sum(float((g.numpy() * v).sum()) for g, v in zip(gradients(sample), vs, strict=True))
    numeric = along(lambda xs: weighted(sample, at(sample, xs)).item(), xs, vs, 1e-6)
    assert exact == pytest.approx(numeric, rel=1e-6, abs=1e-8)


def slope(sample, args, vs, create_graph=False):
    """The gradient along ``vs``: a scalar, itself a function of the arguments."""
    gs = gradients(sample, args=args, create_graph=create_graph)
    return sum(((g * Tensor(v)).sum() for g, v in zip(gs, vs, strict=True)), Tensor(0.0, dtype="float64"))


@each(DIFFERENTIABLE)
@on_both
def test_second_derivative(sample):
    xs = varied(sample)
    vs, us = directions(xs, 2), directions(xs, 3)
    args = tensors(sample)
    first = slope(sample, args, vs, create_graph=True)
    numeric = along(lambda xs: slope(sample, at(sample, xs), vs).item(), xs, us, 1e-5)
    exact = 0.0
    if first.requires_grad:
        found = grad(first, variables(args), allow_unused=True)
        exact = sum(float((g.numpy() * u).sum()) for g, u in zip(found, us, strict=True) if g is not None)
    assert exact == pytest.approx(numeric, rel=1e-5, abs=1e-7)


def on_native_and_reference(sample, dtype, function):
    """What ``function`` gives on the native backend, and in float64 on the reference."""
    with backends.use("cpu"):
        mine = function(sample, dtype)
    with backends.use("numpy"):
        return mine, function(sample, "float64")


@each([s for s in [*SAMPLES, *LARGE] if s.op in NATIVE])
def test_kernel_equals_reference(sample):
    for dtype, rtol, atol in (("float32", 1e-5, 2e-6), ("float64", 1e-11, 1e-13)):
        scale = sample.size**0.5  # of the error of sums
        close(*on_native_and_reference(sample, dtype, lambda s, d: run(s, tensors(s, d))), rtol, atol * scale)
        if differentiable(sample):
            close(*on_native_and_reference(sample, dtype, gradients), rtol, atol * scale)


@each([s for s in SAMPLES if "dtype" not in s.params and any(map(is_float, s.args))])
@on_both
def test_float32_stays_float32(sample):
    args = tensors(sample, "float32")
    assert {y.dtype for y in run(sample, args)} <= {"float32", "int64", "bool"}
    if differentiable(sample):
        assert {g.dtype for g in gradients(sample, "float32", args)} <= {"float32"}


@each(FLOATING)
@on_both
def test_16_bits_are_float32_rounded_once(sample):
    for dtype, spacing in (("float16", 2.0**-10), ("bfloat16", 2.0**-7)):
        narrow = tensors(sample, dtype)
        wide = [
            a.to("float32" if a.is_floating else a.dtype, copy=True) if isinstance(a, Tensor) else a for a in narrow
        ]
        for y, e in zip(run(sample, narrow), run(sample, wide), strict=True):
            assert y.dtype == (dtype if e.is_floating else e.dtype)
            close([y.to(e.dtype)], [e.numpy()], spacing, 2e-7)
        if differentiable(sample):
            assert {g.dtype for g in gradients(sample, dtype, narrow)} == {dtype}


def strided(a):
    """The same values where neighbours lie three elements apart, backwards, and the axes in another order."""
    memory = np.full((*a.shape[::-1], 3), 7).astype(a.dtype)
    view = np.moveaxis(memory, -1, 0)[1, ...].transpose()[(*[slice(None, None, -1)] * a.ndim, ...)]
    view[...] = a
    return view


def transposed(a):
    return np.ascontiguousarray(a.transpose()).transpose()


def channels_last(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) if a.ndim == 4 else a


@each([s for s in SAMPLES if any(isinstance(a, np.ndarray) and a.ndim > 1 for a in s.args) and s.op not in WRITES])
@on_both
def test_any_strides(sample):
    """The same values in another layout give the same, and so do their gradients."""
    wanted = run(sample, tensors(sample))
    gs = gradients(sample) if differentiable(sample) else ()
    for layout in (strided, transposed, channels_last):
        close(run(sample, laid_out(sample, layout)), wanted, 1e-12, 1e-14)
        if differentiable(sample):
            close(gradients(sample, args=laid_out(sample, layout)), gs, 1e-12, 1e-14)


def written(sample, args):
    """The arguments that the op writes to."""
    mutates = op(sample).mutates
    return mutates(*args, **{**op(sample).defaults, **sample.params}) if mutates else []


def laid_out(sample, layout):
    """The arguments of a row in another layout."""
    args = tensors(sample)
    writes = written(sample, args)
    for i, a in enumerate(sample.args):
        if isinstance(a, np.ndarray) and a.ndim and not any(args[i] is w for w in writes):
            args[i] = from_array(layout(a.copy())).requires_grad_(i in sample.varied)
    return args


@each([s for s in ELEMENTWISE if all(is_float(a) and a.size or not isinstance(a, np.ndarray) for a in s.args)])
@on_both
def test_empty_and_number(sample):
    """Elementwise ops take any shape: here none, and no axes."""
    for shape in ((0, 3), ()):
        args = [np.resize(a, shape) if isinstance(a, np.ndarray) else a for a in sample.args]
        close(run(sample, tensors(sample, args=args)), expected(sample, args), 1e-12, 1e-14)
        if differentiable(sample):
            assert {g.shape for g in gradients(sample, args=tensors(sample, args=args))} == {shape}


def poison():
    """Leave NaN in the memory that the allocator will hand out next."""
    sizes = [n for n in (1, 3, 16, 24, 64, 120, 256, 500, 1024) for _ in range(4)]
    held = [Tensor(np.full(n, np.nan)) * 1.0 for n in sizes]
    del held


@each([s for s in SAMPLES if s.op in NATIVE])
def test_fresh_memory_does_not_show(sample):
    """Twice the same bits, though the memory of the results held NaN before."""
    found = []
    for _ in range(2):
        args = tensors(sample)
        poison()
        found.append([y.numpy().tobytes() for y in run(sample, args)])
        if differentiable(sample):
            poison()
            found[-1] += [g.numpy().tobytes() for g in gradients(sample)]
    assert found[0] == found[1]
    for y in run(sample, tensors(sample)):
        assert sample.op.startswith("is") or not y.is_floating or bool(y.isfinite().all())


@each([s for s in LARGE if s.op in NATIVE])
def test_threads_do_not_change_a_bit(sample):
    """One thread and two give the same bits, twice."""
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            set_num_threads(threads)
            found.append([y.numpy().tobytes() for y in run(sample, tensors(sample, "float32"))])
            if differentiable(sample):
                found[-1] += [g.numpy().tobytes() for g in gradients(sample, "float32")]
    finally:
        set_num_threads(before)
    assert found[0] == found[1] == found[2]


@each([s for s in SAMPLES if s.op not in WRITES])
def test_only_what_an_op_mutates_is_written_to(sample):
    args = tensors(sample)
    run(sample, args)
    writes = written(sample, args)
    for t, a in zip(args, sample.args, strict=True):
        if isinstance(t, Tensor) and not any(t is w for w in writes):
            np.testing.assert_array_equal(t.numpy(), a)


@each([s for s in DIFFERENTIABLE if op(s).body is not None and any(op(s).rules) and op(s).mutates is None])
def test_rule_equals_body(sample, monkeypatch):
    """The rules of an op give the gradient that its body has without them."""
    with backends.use("numpy"):
        by_rule = gradients(sample)
        if sample.op != "to_device":  # its body leaves the tape
            monkeypatch.setattr(op(sample), "rules", [None] * len(op(sample).rules))
        close(by_rule, gradients(sample), 1e-9, 1e-12)


def test_every_op_has_a_row():
    assert {s.op for s in SAMPLES} == set(OPS)
