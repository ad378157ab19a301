"""The optimizer room: a few steps against the formulas of PyTorch's documentation, written out in NumPy."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor
from chainrule.ops import optim as o

SHAPES = [(3, 4), (5,), ()]
on_both = pytest.mark.parametrize("backend", ["numpy", "cpu"])


def drawn(seed, dtype):
    random = np.random.default_rng(seed)
    return [np.array(random.standard_normal(s), dtype) for s in SHAPES]


def sgd(p, g, v, first, lr, momentum, dampening, weight_decay, nesterov):
    g = g + weight_decay * p
    if momentum:
        v = g if first else momentum * v + (1 - dampening) * g
        g = g + momentum * v if nesterov else v
    return p - lr * g, v


@on_both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "params",
    [
        {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.1, "nesterov": False},
        {"momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": True},
        {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "nesterov": False},
    ],
)
def test_sgd(backend, dtype, params):
    with cr.backends.use(backend):
        wanted, velocities = drawn(0, "float64"), [np.zeros(s) for s in SHAPES]
        ps, vs = [Tensor(w, dtype=dtype) for w in wanted], [Tensor(v, dtype=dtype) for v in velocities]
        for step in range(3):
            gs = drawn(step + 1, dtype)
            states = vs if params["momentum"] else []
            o.sgd_(Tensor(0.1, dtype=dtype), *ps, *map(Tensor, gs), *states, count=3, first=step == 0, **params)
            for i, g in enumerate(gs):
                wanted[i], velocities[i] = sgd(wanted[i], g, velocities[i], step == 0, 0.1, **params)
        for p, w in zip(ps, wanted, strict=True):
            np.testing.assert_allclose(p.numpy(), w, rtol=2e-6 if dtype == "float32" else 1e-13, atol=1e-7)
            assert p.storage.version >= 3


def adam(p, g, m, v, t, lr, beta1, beta2, eps, weight_decay, decoupled):
    if decoupled:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    return p - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


@on_both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("weight_decay", "decoupled"), [*itertools.product([0.0, 0.1], [False, True])])
def test_adam(backend, dtype, weight_decay, decoupled):
    params = {"beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": weight_decay, "decoupled": decoupled}
    with cr.backends.use(backend):
        wanted = drawn(0, "float64")
        ms, vs = [np.zeros(s) for s in SHAPES], [np.zeros(s) for s in SHAPES]
        ps, tm, tv = ([Tensor(x, dtype=dtype) for x in xs] for xs in (wanted, ms, vs))
        step, lr = Tensor(0.0), Tensor(0.01, dtype=dtype)
        for t in range(1, 5):
            gs = drawn(t, dtype)
            o.adam_(step, lr, *ps, *map(Tensor, gs), *tm, *tv, count=3, **params)
            for i, g in enumerate(gs):
                wanted[i], ms[i], vs[i] = adam(wanted[i], g, ms[i], vs[i], t, 0.01, **params)
        assert step.item() == 4
        for p, w in zip([*ps, *tm, *tv], [*wanted, *ms, *vs], strict=True):
            np.testing.assert_allclose(p.numpy(), w, rtol=5e-6 if dtype == "float32" else 1e-12, atol=1e-7)


STEPS = [
    ("adam_", 3, {"amsgrad": True, "beta2": 0.5, "weight_decay": 0.1}),
    ("rmsprop_", 1, {"alpha": 0.9, "weight_decay": 0.1}),
    ("rmsprop_", 2, {"alpha": 0.9, "momentum": 0.5}),
    ("rmsprop_", 2, {"alpha": 0.5, "centered": True, "eps": 1e-3}),
    ("rmsprop_", 3, {"alpha": 0.5, "centered": True, "momentum": 0.9, "eps": 1e-3}),
    ("adagrad_", 1, {"lr_decay": 0.5, "weight_decay": 0.1}),
    ("adamax_", 2, {"weight_decay": 0.1, "beta1": 0.8, "eps": 1e-3}),
    ("nadam_", 2, {"weight_decay": 0.1, "beta2": 0.9, "momentum_decay": 0.1}),
    ("radam_", 2, {"weight_decay": 0.1, "beta2": 0.9, "beta1": 0.8}),  # from its sixth step on another formula
    ("adadelta_", 2, {"weight_decay": 0.1, "rho": 0.8}),
    ("lion_", 1, {"weight_decay": 0.1}),
    ("lion_", 1, {"weight_decay": 0.1, "decoupled": True, "beta1": 0.5}),
]


COUNTED = ("adam_", "adagrad_", "adamax_", "nadam_", "radam_", "adadelta_")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "states", "params"), STEPS)
def test_kernels_do_what_the_bodies_say(name, states, params, dtype):
    """The bodies are compared with the formulas in tests/test_optim.py."""
    found = {}
    for backend in ("numpy", "cpu"):
        with cr.backends.use(backend):
            numbers = [Tensor(0.0, dtype="float64")] * (name in COUNTED) + [Tensor(0.1)]
            ps = [*map(Tensor, drawn(0, dtype))]
            memory = [Tensor(np.zeros(s), dtype=dtype) for _ in range(states) for s in SHAPES]
            ps[0], memory[0] = ps[0].transpose(0, 1), memory[0].transpose(0, 1)
            products = [Tensor(1.0, dtype="float64") for _ in SHAPES if name == "nadam_"]
            for t in range(1, 9):
                gs = [*map(Tensor, drawn(t, dtype))]
                gs[0] = gs[0].transpose(0, 1)
                for i in range(0, len(memory), 3):
                    memory[i] = memory[i] if memory[i].shape == (4, 3) else memory[i].transpose(0, 1)
                getattr(o, name)(*numbers, *ps, *gs, *memory, *products, count=3, **params)
            found[backend] = [x.numpy() for x in [*numbers, *ps, *memory, *products]]
    for a, b in zip(found["numpy"], found["cpu"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6)


@pytest.mark.parametrize(("name", "states", "params"), STEPS)
def test_large_parameters_are_cut_into_pieces(name, states, params):
    found = {}
    for backend in ("numpy", "cpu"):
        random = np.random.default_rng(0)
        with cr.backends.use(backend):
            numbers = [Tensor(0.0, dtype="float64")] * (name in COUNTED) + [Tensor(0.1)]
            tensors = [Tensor(np.abs(random.standard_normal(100_001))) for _ in range(2 + states)]
            tensors += [Tensor(0.5)] * (name == "nadam_")
            getattr(o, name)(*numbers, *tensors, count=1, **{"eps": 1e-3, **params} if name != "lion_" else params)
            found[backend] = [x.numpy() for x in tensors]
    for a, b in zip(found["numpy"], found["cpu"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@on_both
def test_16_bits_are_computed_in_float32(backend):
    with cr.backends.use(backend):
        p, g = Tensor([1.0, 2.0], dtype="bfloat16"), Tensor([1.0, -1.0], dtype="bfloat16")
        o.sgd_(Tensor(0.5), p, g, count=1)
        assert p.dtype == "bfloat16" and p.to("float32").tolist() == [0.5, 2.5]


def test_errors():
    p = Tensor([1.0, 2.0])
    with pytest.raises(TypeError, match=r"\[sgd_\] 2 tensors are given, but 1 parameters need 3 times as many"):
        o.sgd_(Tensor(0.1), p, p, count=1, momentum=0.9)
    with pytest.raises(ValueError, match=r"\[adam_\] parameter 0 has shape \(2,\), but a gradient or state \(1,\)"):
        o.adam_(Tensor(0.0), Tensor(0.1), p, p[:1], p, p, count=1)
