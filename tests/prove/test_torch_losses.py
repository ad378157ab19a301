"""Losses equal PyTorch's, with their gradients. Runs where PyTorch is installed (``make prove``)."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses

torch = pytest.importorskip("torch")
f = torch.nn.functional
RNG = np.random.default_rng(0)
A, B, C = (RNG.standard_normal((5, 4)) for _ in range(3))
P, Q = (RNG.dirichlet(np.ones(4), 5) for _ in range(2))
YES = RNG.integers(0, 2, (5, 4)).astype(float)
PM, LABELS, W = np.array([1.0, -1, 1, -1, -1]), np.array([0, 3, 1, -100, 2]), RNG.random(4) + 0.5
COUNTS = RNG.integers(0, 6, (5, 4)).astype(float)

CASES = {
    "mae": (losses.mae, f.l1_loss, [A, B], {}, {}),
    "huber": (losses.huber, f.huber_loss, [A, B], {"delta": 0.5}, {"delta": 0.5}),
    "smooth_l1": (losses.smooth_l1, f.smooth_l1_loss, [A, B], {"beta": 0.5}, {"beta": 0.5}),
    "bce_with_logits": (
        lambda x, t, **p: losses.bce_with_logits(x, t, cr.tensor(W), **p),
        lambda x, t, **p: f.binary_cross_entropy_with_logits(x, t, pos_weight=torch.tensor(W), **p),
        [A * 20, YES], {}, {},
    ),
    "kl_div": (losses.kl_div, f.kl_div, [np.log(P), Q], {}, {}),
    "kl_div of logs": (losses.kl_div, f.kl_div, [np.log(P), np.log(Q)], {"log_target": True}, {"log_target": True}),
    "poisson": (losses.poisson_nll, f.poisson_nll_loss, [A, COUNTS], {"full": True}, {"full": True}),
    "poisson of rates": (
        losses.poisson_nll, f.poisson_nll_loss, [P, COUNTS], {"log_input": False}, {"log_input": False},
    ),
    "gaussian": (losses.gaussian_nll, f.gaussian_nll_loss, [A, B, P + 0.1], {"full": True}, {"full": True}),
    "nll": (
        lambda x, t, **p: losses.nll(x, t, cr.tensor(W), **p),
        lambda x, t, **p: f.nll_loss(x, t, torch.tensor(W), **p),
        [np.log(P), LABELS], {}, {},
    ),
    "cosine_embedding": (
        losses.cosine_embedding, f.cosine_embedding_loss, [A, B, PM], {"margin": 0.2}, {"margin": 0.2},
    ),
    "triplet": (losses.triplet_margin, f.triplet_margin_loss, [A, B, C], {"swap": True}, {"swap": True}),
    "triplet of p": (losses.triplet_margin, f.triplet_margin_loss, [A, B, C], {"p": 3.0}, {"p": 3.0}),
}  # fmt: skip


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")  # PyTorch's own, of its kl_div
def test_losses(name, reduction):
    ours, theirs, args, options, peers = CASES[name]
    mine, other = cr.tensor(args[0], requires_grad=True), torch.tensor(args[0], requires_grad=True)
    value = ours(mine, *map(cr.tensor, args[1:]), reduction=reduction, **options)
    wanted = theirs(other, *map(torch.tensor, args[1:]), reduction=reduction, **peers)
    np.testing.assert_allclose(value.detach().numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-12)
    value.sum().backward()
    wanted.sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("blank", [0, 3])
def test_ctc(reduction, blank):
    rng = np.random.default_rng(1)
    scores, times, labels = rng.standard_normal((20, 4, 6)), np.array([20, 15, 9, 2]), np.array([7, 3, 0, 1])
    target = rng.choice([c for c in range(6) if c != blank], (4, 7))
    x, y = cr.tensor(scores, requires_grad=True), torch.tensor(scores, requires_grad=True)
    ours = losses.ctc(
        x.log_softmax(axis=2), cr.tensor(target), cr.tensor(times), cr.tensor(labels), blank=blank, reduction=reduction
    )
    theirs = f.ctc_loss(y.log_softmax(2), *map(torch.tensor, (target, times, labels)), blank=blank, reduction=reduction)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9)
    ours.sum().backward()
    theirs.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-7, atol=1e-10)
