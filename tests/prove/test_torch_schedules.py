"""Schedules set the learning rates that PyTorch's do. Runs where PyTorch is installed (``make prove``)."""

import pytest

import chainrule as cr
from chainrule.optim import SGD, ReduceOnPlateau
from chainrule.optim import schedules as s

torch = pytest.importorskip("torch")
peers = torch.optim.lr_scheduler

CASES = {
    "Step": (lambda o: s.Step(o, 3), lambda o: peers.StepLR(o, 3)),
    "MultiStep": (lambda o: s.MultiStep(o, [2, 7], 0.3), lambda o: peers.MultiStepLR(o, [2, 7], 0.3)),
    "Exponential": (lambda o: s.Exponential(o, 0.9), lambda o: peers.ExponentialLR(o, 0.9)),
    "Lambda": (lambda o: s.Lambda(o, lambda n: 1 / (1 + n)), lambda o: peers.LambdaLR(o, lambda n: 1 / (1 + n))),
    "Linear": (lambda o: s.Linear(o, 0.2, 0.7, 6), lambda o: peers.LinearLR(o, 0.2, 0.7, 6)),
    "Polynomial": (lambda o: s.Polynomial(o, 8, 2.0), lambda o: peers.PolynomialLR(o, 8, 2.0)),
    "Cosine": (lambda o: s.Cosine(o, 19, 0.01), lambda o: peers.CosineAnnealingLR(o, 19, 0.01)),
    "CosineWarmRestarts": (
        lambda o: s.CosineWarmRestarts(o, 3, 2, 0.01),
        lambda o: peers.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    ),
    "OneCycle": (lambda o: s.OneCycle(o, 2.0, 20), lambda o: peers.OneCycleLR(o, 2.0, 20)),
    "OneCycle in three phases": (
        lambda o: s.OneCycle(o, 2.0, 20, 0.3, "linear", three_phase=True),
        lambda o: peers.OneCycleLR(o, 2.0, 20, pct_start=0.3, anneal_strategy="linear", three_phase=True),
    ),
    "Chain": (
        lambda o: s.Chain([s.Linear(o, 0.5, 1.0, 4), s.Exponential(o, 0.9)]),
        lambda o: peers.ChainedScheduler([peers.LinearLR(o, 0.5, 1.0, 4), peers.ExponentialLR(o, 0.9)]),
    ),
    "Sequential": (
        lambda o: s.Sequential([s.Linear(o, 0.5, 1.0, 4), s.Step(o, 3)], [4]),
        lambda o: peers.SequentialLR(o, [peers.LinearLR(o, 0.5, 1.0, 4), peers.StepLR(o, 3)], [4]),
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # PyTorch's own
@pytest.mark.parametrize("name", CASES)
def test_schedules(name):
    ours = SGD([cr.zeros(1, requires_grad=True)], lr=0.5, momentum=0.9)
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5, momentum=0.9)
    schedule, peer = (make(o) for make, o in zip(CASES[name], (ours, theirs), strict=True))
    for _ in range(19):
        assert ours.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
        assert ours.param_groups[0]["momentum"] == pytest.approx(theirs.param_groups[0]["momentum"], rel=1e-12)
        schedule.step()
        theirs.step()
        peer.step()


@pytest.mark.parametrize(
    "options", [{}, {"mode": "max"}, {"threshold_mode": "abs", "threshold": 0.1, "cooldown": 2}, {"min_lr": 0.02}]
)
def test_plateau(options):
    options = {"patience": 2, "factor": 0.3, **options}
    ours, theirs = SGD([cr.zeros(1, requires_grad=True)], lr=0.5), torch.optim.SGD([torch.zeros(1)], lr=0.5)
    schedule, peer = ReduceOnPlateau(ours, **options), peers.ReduceLROnPlateau(theirs, **options)
    generator = torch.Generator().manual_seed(0)
    for value in torch.rand(60, generator=generator).tolist():
        schedule.step(value)
        peer.step(value)
        assert ours.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
