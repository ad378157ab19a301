"""Optimizers, losses and batch normalization equal PyTorch's. Runs where PyTorch is installed (``make prove``)."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, optim

torch = pytest.importorskip("torch")

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True}),
    ("AdamW", {"lr": 0.01, "amsgrad": True, "betas": (0.8, 0.9)}),
    ("RMSprop", {"lr": 0.001}),
    ("RMSprop", {"lr": 0.001, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1, "centered": True}),
    ("Adagrad", {"lr": 0.01}),
    ("Adagrad", {"lr": 0.01, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "momentum_decay": 0.1}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_a_network_takes_the_same_steps(name, options, dtype):
    # no bias before the normalization: its gradient is rounding alone, which Adam blows up to full steps
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    kind = getattr(torch, dtype)
    peer = torch.nn.Sequential(
        torch.nn.Linear(6, 8, bias=False), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    ).to(kind)
    peer.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in model.state_dict().items()})
    ours, theirs = (
        getattr(optim, name)(model.parameters(), **options),
        getattr(torch.optim, name)(peer.parameters(), **options),
    )
    rng = np.random.default_rng(0)
    for step in range(30):
        x, y = rng.standard_normal((16, 6)).astype(dtype), rng.integers(0, 3, 16)
        frozen = step % 7 == 3  # the first layer has no gradient in some steps
        ours.zero_grad()
        loss = losses.CrossEntropy(label_smoothing=0.1)(model(cr.tensor(x)), cr.tensor(y))
        loss.backward()
        theirs.zero_grad()
        reference = torch.nn.functional.cross_entropy(
            peer(torch.from_numpy(x)), torch.from_numpy(y), label_smoothing=0.1
        )
        reference.backward()
        if frozen:
            model[0].weight.grad = None
            peer[0].weight.grad = None
        assert optim.clip_grad_norm_(model.parameters(), 1.0).item() == pytest.approx(
            torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0).item(), rel=1e-3
        )
        ours.step()
        theirs.step()
        assert loss.item() == pytest.approx(reference.item(), rel=1e-9 if dtype == "float64" else 1e-3)
    for (key, value), other in zip(model.state_dict().items(), peer.state_dict().values(), strict=True):
        tolerance = 1e-8 if dtype == "float64" else 2e-3
        np.testing.assert_allclose(value.numpy(), other.numpy(), rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("options", [{}, {"nesterov": False, "momentum": 0.5}, {"adjust_lr_fn": "match_rms_adamw"}])
def test_muon(options):
    """PyTorch iterates in bfloat16, with three digits."""
    rng = np.random.default_rng(0)
    value = rng.standard_normal((6, 4)).astype(np.float32)
    ours, theirs = cr.tensor(value, requires_grad=True), torch.tensor(value, requires_grad=True)
    steps = optim.Muon([ours], lr=0.1, **options), torch.optim.Muon([theirs], lr=0.1, **options)
    for _ in range(10):
        g = rng.standard_normal((6, 4)).astype(np.float32)
        ours.grad, theirs.grad = cr.tensor(g), torch.from_numpy(g)
        for optimizer in steps:
            optimizer.step()
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), atol=0.05 * 0.1 * 10)


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs(search):
    start = np.random.default_rng(1).standard_normal(6)
    options = {"lr": 1.0 if search else 0.001, "max_iter": 7, "history_size": 3, "line_search_fn": search}
    found = []
    for library, x in ((cr, cr.tensor(start, requires_grad=True)), (torch, torch.tensor(start, requires_grad=True))):
        optimizer = library.optim.LBFGS([x], **options)
        losses_seen = []

        def closure(optimizer=optimizer, x=x, losses_seen=losses_seen):
            optimizer.zero_grad()
            loss = ((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum()
            loss.backward()
            losses_seen.append(loss.item())
            return loss

        for _ in range(6):
            optimizer.step(closure)
        found.append((losses_seen, x.detach().numpy()))
    (ours, x), (theirs, y) = found
    assert len(ours) == len(theirs)  # every evaluation of the loss, in every line search
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(x, y, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_losses(reduction):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((5, 4)), rng.random((5, 4))
    y, weight = np.array([0, 3, -100, 1, 2]), rng.random(4)
    shares = t / t.sum(axis=1, keepdims=True)
    functional = torch.nn.functional
    pairs = [
        (losses.MSE(reduction), functional.mse_loss, x, t),
        (losses.BCE(reduction), functional.binary_cross_entropy, t[::-1].copy(), t),
        (losses.BCEWithLogits(reduction), functional.binary_cross_entropy_with_logits, x * 50, t),
        (losses.CrossEntropy(reduction=reduction), functional.cross_entropy, x, y),
        (losses.CrossEntropy(reduction=reduction), functional.cross_entropy, x, shares),
    ]
    for smoothing in (0.0, 0.2):
        for target in (y, shares):
            ours = losses.CrossEntropy(cr.tensor(weight), reduction=reduction, label_smoothing=smoothing)(
                cr.tensor(x), cr.tensor(target)
            )
            theirs = functional.cross_entropy(
                torch.from_numpy(x), torch.from_numpy(target), torch.from_numpy(weight), reduction=reduction,
                label_smoothing=smoothing,
            )  # fmt: skip
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9, atol=1e-12)
    for ours, theirs, a, b in pairs:
        given, peer = cr.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
        value, reference = ours(given, cr.tensor(b)), theirs(peer, torch.from_numpy(b), reduction=reduction)
        np.testing.assert_allclose(value.detach().numpy(), reference.detach().numpy(), rtol=1e-9, atol=1e-12)
        value.sum().backward()
        reference.sum().backward()
        np.testing.assert_allclose(given.grad.numpy(), peer.grad.numpy(), rtol=1e-9, atol=1e-12)
