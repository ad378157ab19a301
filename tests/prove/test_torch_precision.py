"""Mixed precision is PyTorch's recipe: autocast and GradScaler, step by step. Runs where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.train import LossScaler

torch = pytest.importorskip("torch")

EPS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


def mlp():
    ours = nn.Sequential(nn.Linear(12, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 5))
    theirs = torch.nn.Sequential(
        torch.nn.Linear(12, 32), torch.nn.LayerNorm(32), torch.nn.GELU(), torch.nn.Linear(32, 32), torch.nn.Tanh(),
        torch.nn.Linear(32, 5),
    )  # fmt: skip
    return ours, theirs, (12,)


def cnn():
    ours = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 5),
    )  # fmt: skip
    return ours, theirs, (2, 8, 8)


def pair(make):
    ours, theirs, shape = make()
    state = {k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state, strict=False)
    exact = make()[1].double()
    exact.load_state_dict({k: v.double() for k, v in state.items()}, strict=False)
    return ours, theirs, exact, shape


def batch(shape, n=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *shape)).astype(np.float32), rng.integers(0, 5, n)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("make", [mlp, cnn])
def test_gradients_are_as_near_to_the_truth(make, dtype):
    ours, theirs, exact, shape = pair(make)
    x, y = batch(shape)
    with cr.autocast(dtype):
        loss = cr.cross_entropy(ours(cr.tensor(x)), cr.tensor(y))
    loss.backward()
    with torch.autocast("cpu", getattr(torch, dtype)):
        reference = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y))
    reference.backward()
    truth = torch.nn.functional.cross_entropy(exact(torch.from_numpy(x).double()), torch.from_numpy(y))
    truth.backward()
    assert loss.dtype == "float32" and abs(loss.item() - truth.item()) < 4 * EPS[dtype] * truth.item()
    largest = max(p.grad.abs().max().item() for p in exact.parameters())
    for p, q, r in zip(ours.parameters(), theirs.parameters(), exact.parameters(), strict=True):
        assert p.grad.dtype == "float32" and q.grad.dtype == torch.float32
        mine = np.abs(p.grad.numpy() - r.grad.numpy()).max()
        other = np.abs(q.grad.numpy() - r.grad.numpy()).max()
        assert mine <= 2 * other + EPS[dtype] * largest


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("make", [mlp, cnn])
def test_training_takes_the_same_steps_but_for_rounding(make, dtype):
    far = []  # of five trainings, because a rounding that turns a ReLU or a maximum grows by chance, in theirs and in ours
    for seed in range(5):
        cr.manual_seed(seed)
        far.append(trained_apart(make, dtype))
    mine, other = np.median(far, axis=0)
    assert mine <= 1.5 * other + EPS[dtype]


def trained_apart(make, dtype):
    """How far 25 steps in 16 bits lead from those in float64: ours, and PyTorch's."""
    ours, theirs, exact, shape = pair(make)
    precision = {"bfloat16": "bf16-mixed", "float16": "fp16-mixed"}[dtype]
    sgd = optim.SGD(ours.parameters(), lr=0.05, momentum=0.9)
    ours.compile("cross_entropy", sgd, clip_norm=1.0, precision=precision)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    truth = torch.optim.SGD(exact.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == "float16", init_scale=2.0**12)
    if dtype == "float16":
        ours.compiled.precision.scaler = LossScaler(2.0**12)
    for step in range(25):
        x, y = batch(shape, seed=step)
        loss = ours.train_on_batch(x, y)["loss"]
        optimizer.zero_grad()
        with torch.autocast("cpu", getattr(torch, dtype)):
            reference = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y))
        scaler.scale(reference).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        truth.zero_grad()
        torch.nn.functional.cross_entropy(exact(torch.from_numpy(x).double()), torch.from_numpy(y)).backward()
        torch.nn.utils.clip_grad_norm_(exact.parameters(), 1.0)
        truth.step()
        if step < 5:  # later each has gone its own way by as much as roundings grow
            assert abs(loss - reference.item()) < 4 * EPS[dtype] * max(reference.item(), 1.0)
    far = []
    for p, q, r in zip(ours.parameters(), theirs.parameters(), exact.parameters(), strict=True):
        far.append([np.abs(v.detach().numpy() - r.detach().numpy()).max() for v in (p, q)])
    return np.max(far, axis=0)


def test_the_scaler_is_theirs():
    rng = np.random.default_rng(0)
    options = {"init_scale": 2.0**10, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 3}
    ours, theirs = LossScaler(**options), torch.amp.GradScaler("cpu", **options)
    x, z = cr.tensor([1.0, -2.0], requires_grad=True), torch.tensor([1.0, -2.0], requires_grad=True)
    mine, other = optim.SGD([x], lr=0.1, momentum=0.5), torch.optim.SGD([z], lr=0.1, momentum=0.5)
    for _ in range(60):
        factor = float(rng.choice([1.0, 0.5, float("inf"), float("nan")], p=[0.5, 0.35, 0.1, 0.05]))
        mine.zero_grad()
        other.zero_grad()
        ours.scale((x * x * factor).sum()).backward()
        theirs.scale((z * z * factor).sum()).backward()
        ours.step(mine)
        theirs.step(other)
        ours.update()
        theirs.update()
        assert ours.get_scale() == theirs.get_scale()
        assert np.allclose(x.detach().numpy(), z.detach().numpy(), rtol=1e-6)
    assert ours.skipped > 3


def test_products_have_the_dtypes_of_theirs():
    a, b = np.ones((2, 3, 4), np.float32), np.ones((4, 5), np.float32)
    image, kernel = np.ones((1, 2, 6, 6), np.float32), np.ones((3, 2, 3, 3), np.float32)
    calls = [
        (lambda m, t: m.matmul(t(a), t(b))),
        (lambda m, t: m.matmul(t(a), t(b)) * 2 + 1),
        (lambda m, t: m.matmul(t(a), t(b)) + t(np.ones(5, np.float32))),
        (lambda m, t: m.conv2d(t(image), t(kernel))),
        (lambda m, t: m.relu(m.conv2d(t(image), t(kernel)))),
        (lambda m, t: m.tanh(m.matmul(t(a), t(b)))),
        (lambda m, t: m.exp(t(a)) + t(a)),
        (lambda m, t: m.matmul(t(a.astype(np.float64)), t(b.astype(np.float64)))),
        (lambda m, t: m.einsum("ijk,kl->il", t(a), t(b))),
    ]
    for call in calls:
        with cr.autocast("bfloat16"):
            mine = call(cr, cr.tensor)
        with torch.autocast("cpu", torch.bfloat16):
            other = call(torch, torch.from_numpy)
        assert str(other.dtype) == f"torch.{mine.dtype}"
