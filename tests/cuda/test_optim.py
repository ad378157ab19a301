"""The optimizers on a GPU: the tests of every backend, many parameters at once, and no word to the host."""

import numpy as np
import pytest
from tests.ops import test_optim as everywhere

import chainrule as cr
from chainrule import backends, nn, optim

DTYPES = ["float32", "float64"]
WAYS = [
    (optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (optim.Adam, {"amsgrad": True, "weight_decay": 0.01}),
    (optim.AdamW, {}),
    (optim.RMSprop, {"momentum": 0.9, "centered": True}),
    (optim.Adagrad, {"lr_decay": 0.1}),
    (optim.Lion, {"weight_decay": 0.1}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, options", WAYS, ids=lambda v: getattr(v, "__name__", ""))
def test_steps_are_those_of_the_cpu(kind, options, dtype):
    """Seventy parameters: more than one launch takes; one of them has no elements."""
    shapes = [(3, 5), (0, 2), (700,), ()] + [(i % 7 + 1,) for i in range(66)]
    found = []
    for device in ("cpu", "cuda"):
        random = np.random.default_rng(1)
        ps = [cr.tensor(random.standard_normal(s), dtype=dtype, device=device, requires_grad=True) for s in shapes]
        optimizer = kind(ps, lr=0.01, **options)
        for _ in range(3):
            for p in ps:
                p.grad = cr.tensor(random.standard_normal(p.shape), dtype=dtype, device=device)
            optimizer.step()
        found.append([p.numpy() for p in ps])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(
            b, a, rtol=2e-6 if dtype == "float32" else 1e-13, atol=1e-6 if dtype == "float32" else 1e-14
        )


def test_a_step_is_few_launches_and_no_wait(gpu):
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(20)]).to("cuda")
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    model(cr.ones(2, 4, device="cuda")).sum().backward()
    optimizer.step()
    before, copies = gpu.driver.launches, {**gpu.copies}
    optimizer.step()
    assert gpu.driver.launches - before == 3 and gpu.copies == copies  # the rates, and twice 20 parameters


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("most", [0.5, 1e6])
def test_the_norm_of_gradients(order, most):
    found = []
    for device in ("cpu", "cuda"):
        random = np.random.default_rng(2)
        gs = [cr.tensor(random.standard_normal(n).astype(np.float32), device=device) for n in (3, 5000, 1, 0, 77)]
        norm = everywhere.o.clip_norm_(*gs, max_norm=most, ord=order)
        found.append([norm.numpy(), *[g.numpy() for g in gs]])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-6)


def test_nan_is_not_hidden_by_clipping():
    g = cr.tensor([1.0, float("nan")], device="cuda")
    norm = everywhere.o.clip_norm_(g, max_norm=1.0)
    assert np.isnan(norm.item()) and np.isnan(g.numpy()).all()


@pytest.mark.parametrize("test", [everywhere.test_16_bits_are_computed_in_float32], ids=["16 bits"])
def test_as_everywhere(test):
    test("cuda")


def test_gradients_in_another_order():
    """A gradient that lies column by column is put in order; the parameter stays where it is."""
    with backends.use("cuda"):
        p = cr.zeros(2, 3, requires_grad=True)
        p.grad = cr.tensor(np.arange(6.0, dtype=np.float32).reshape(3, 2)).T
        optim.SGD([p], lr=1.0).step()
        np.testing.assert_array_equal(p.numpy(), -np.arange(6.0).reshape(3, 2).T)
