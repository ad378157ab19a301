"""Elementwise calls of a recorded step as one kernel: to the same bits as one by one, whatever the operands are like."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.cuda import emulated
from chainrule.domain.errors import DeviceError
from chainrule.ops import OPS
from chainrule.recording import Program

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -3.0, 3.0, 6.0, 20.5, 90.0, -90.0]
UNARY = (
    "neg abs sign sqrt floor ceil round exp expm1 log log1p tanh sigmoid erf square reciprocal rsqrt sin cos tan asin acos "
    "atan sinh cosh isfinite"
).split()
BINARY = "add sub mul div maximum minimum pow atan2 remainder floor_div eq ne lt le gt ge".split()
ACTIVATIONS = [
    *((name, {}) for name in "relu silu gelu selu hardsigmoid hardswish softplus logsigmoid mish softsign relu6".split()),
    ("gelu", {"approximate": "tanh"}), ("leaky_relu", {"negative_slope": 0.2}), ("elu", {"alpha": 1.5}),
    ("celu", {"alpha": 0.7}), ("hardtanh", {"min_val": -0.5, "max_val": 2.0}), ("threshold", {"threshold": 0.1, "value": 7.0}),
    ("softshrink", {"lambd": 0.3}), ("hardshrink", {"lambd": 0.3}), ("clip", {"min": -0.5, "max": 0.75}),
]  # fmt: skip


def numbers(shape, dtype="float32", seed=0, special=True):
    x = np.random.default_rng(seed).normal(size=shape) * 2
    if special:
        x.reshape(-1)[: len(SPECIAL)] = SPECIAL[: x.size]
    return cr.tensor(x, device="cuda", dtype=dtype)


def bits(tensors):
    found = [(str(y.dtype), y.shape, y.to("cpu").numpy().copy()) for y in tensors]
    for *_, y in found:
        y[y != y] = 1.2345  # a NaN has no sign that counts
    return [(*kind, y.tobytes()) for *kind, y in found]


def calls(f):
    (program,) = f.programs
    assert type(program) is Program
    return program.plan.calls


def same(f, *arguments, least=1):
    """Whether a function gives the same bits recorded, replayed and not recorded, in so many calls; these."""
    recorded = cr.jit(f)
    wanted = bits(f(*arguments))
    for _ in range(3):
        assert bits(recorded(*arguments)) == wanted
    assert len(calls(recorded)) == least
    return calls(recorded)


def parts(rows, size=9):
    return [rows[i : i + size] for i in range(0, len(rows), size)]


EACH = [
    *(lambda v, b, name=name: OPS[name](v) for name in UNARY),
    *(lambda v, b, name=name: OPS[name](v, b) for name in BINARY),
    *(lambda v, b, name=name: OPS[name](b, v) for name in BINARY),
    *(lambda v, b, name=name: OPS[name](v, 1.75) for name in BINARY),
    *(lambda v, b, name=name, params=params: OPS[name](v, **params) for name, params in ACTIVATIONS),
    lambda v, b: cr.where(v > b, v, 0.1),
    lambda v, b: cr.where(v > b, 0.1, b),
    lambda v, b: v**2,
]


@pytest.mark.parametrize("rows", parts(EACH), ids=range(len(parts(EACH))))
def test_every_op(rows):
    x, b = numbers((9, 37)), numbers((37,), seed=1)
    same(lambda x, b: tuple(f(v, b) for v in [x * 1.5] for f in rows), x, b)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_what_is_passed_on_is_rounded(dtype):
    x, b = numbers((7, 33), dtype), numbers((33,), dtype, 1)
    wanted = [EACH[i] for i in (7, 11, 26, 27, 28, 61, -1, -3, -8)]
    same(lambda x, b: tuple(f(v, b) for v in [x * 1.1 + b] for f in wanted), x, b)


def test_casts():
    x, h = numbers((40,)), numbers((40,), "bfloat16", 1)

    def f(x, h):
        return (x.to("float16") * 3.0).to("float32") + h.to("float32"), (x > 0.5).to("float32") * x

    same(f, x, h)


def test_a_product_and_a_sum_are_rounded_twice():
    a, b, c = (numbers((4096,), seed=i, special=False) for i in range(3))
    same(lambda a, b, c: (a * b + c, a * b - c), a, b, c)


@pytest.mark.parametrize(
    "places",
    [
        lambda x, b: (x.transpose(0, 1), b.transpose(0, 1)),
        lambda x, b: (x[::-1, ::2], b[::-1, ::2]),
        lambda x, b: (x[1:, 1:], b[1:, 1:]),
        lambda x, b: (x, b[:1]),
        lambda x, b: (x, b[:, :1]),
        lambda x, b: (x, b[0, 0]),
        lambda x, b: (x[:0], b[:0]),
        lambda x, b: (x[0, 0], b[0, 0]),
    ],
    ids=["transposed", "backwards", "unaligned", "a row", "a column", "one number", "empty", "0-d"],
)
def test_wherever_operands_lie(places):
    x, b = numbers((12, 32)), numbers((12, 32), seed=1)
    same(lambda x, b: (cr.exp(x * 0.5 + b),), *places(x, b))


def test_what_is_made_smaller_is_made_by_itself():
    x, b = numbers((12, 32)), numbers((12, 32), seed=1)
    same(lambda x, b: (cr.exp(x * 0.5 + b),), x[:1], b, least=2)


def test_more_arrays_than_a_kernel_takes():
    several = [numbers((50,), seed=i) for i in range(20)]

    def f(*several):
        y = several[0]
        for x in several[1:]:
            y = y * 0.5 + x
        return (y,)

    made = same(f, *several, least=2)
    assert all(len(call.arguments) <= 11 for call in made)


@pytest.mark.parametrize(
    ("rows", "dtype"), [(ACTIVATIONS[:10], "float32"), (ACTIVATIONS[10:], "float32"), (ACTIVATIONS[:4], "float16")]
)
def test_gradients(rows, dtype):
    def trained(jit):
        w = numbers((5, 33), dtype, special=False).requires_grad_()

        def step():
            w.grad = None
            v = w * 1.25
            sum((OPS[name](v, **params) for name, params in rows), v).sum().backward()

        f = cr.jit(step) if jit else step
        for _ in range(3):
            f()
        return w.grad, f

    wanted, _ = trained(False)
    found, f = trained(True)
    assert bits([found]) == bits([wanted])
    assert not [call.name for call in calls(f) if "_vjp" in call.name and call.function is None]


def test_without_a_compiler_calls_stay_single(monkeypatch):
    def none(*_):
        raise DeviceError("there is no compiler")

    x = numbers((20,))
    f = cr.jit(lambda x: x.sinh() * 0.123 + 1.0)
    monkeypatch.setattr(emulated, "built", none)
    for _ in range(3):
        y = f(x)
    assert len(calls(f)) == 3
    np.testing.assert_array_equal(y.numpy(), (x.sinh() * 0.123 + 1.0).numpy())


def test_a_program_shows_them():
    x = numbers((20,))
    f = cr.jit(lambda x: cr.tanh(x * 2.0) + 1.0)
    f(x), f(x)
    assert "mul tanh add" in str(f.programs[0].explain())
