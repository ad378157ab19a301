"""Optimizers along trajectories, schedules, initialisers, metrics."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tests.prove import test_sklearn_metrics, test_torch_schedules
from tests.prove.parity.measure import DTYPES, Row

import chainrule as cr
from chainrule import nn, optim

STEPS = 60
GRID: dict[str, dict[str, list[Any]]] = {
    "SGD": {"momentum": [0.0, 0.9], "weight_decay": [0.0, 0.01], "nesterov": [False, True], "dampening": [0.0, 0.3]},
    "Adam": {
        "betas": [(0.9, 0.999), (0.7, 0.95)],
        "eps": [1e-8, 1e-4],
        "weight_decay": [0.0, 0.1],
        "amsgrad": [False, True],
    },
    "AdamW": {
        "betas": [(0.9, 0.999), (0.7, 0.95)],
        "eps": [1e-8, 1e-4],
        "weight_decay": [0.01, 0.1],
        "amsgrad": [False, True],
    },
    "RMSprop": {"alpha": [0.99, 0.8], "momentum": [0.0, 0.6], "centered": [False, True], "weight_decay": [0.0, 0.1]},
    "Adagrad": {"lr_decay": [0.0, 0.1], "weight_decay": [0.0, 0.1], "initial_accumulator_value": [0.0, 0.3]},
    "Adadelta": {"rho": [0.9, 0.7], "eps": [1e-6, 1e-3], "weight_decay": [0.0, 0.1]},
    "Adamax": {"betas": [(0.9, 0.999), (0.7, 0.95)], "eps": [1e-8, 1e-4], "weight_decay": [0.0, 0.1]},
    "NAdam": {"betas": [(0.9, 0.999), (0.7, 0.95)], "weight_decay": [0.0, 0.1], "momentum_decay": [0.004, 0.1]},
    "RAdam": {"betas": [(0.9, 0.999), (0.7, 0.95)], "eps": [1e-8, 1e-4], "weight_decay": [0.0, 0.1]},
    "LBFGS": {"lr": [0.01, 0.003], "max_iter": [1, 5], "history_size": [2, 10]},
}
ALONE = {
    "Lion": "PyTorch has none: formulas in float64 in `tests/optim_formulas.py`",
    "LAMB": "PyTorch has none: formulas in float64 in `tests/optim_formulas.py`",
    "Muon": "PyTorch iterates in bfloat16, with three digits: `tests/prove/test_torch_optim.py`, and NumPy in float64",
}
SHAPES = [(4, 3), (5,), (2, 3, 2)]


def options_of(name: str) -> Iterator[dict[str, Any]]:
    names = list(GRID[name])
    for values in itertools.product(*GRID[name].values()):
        options = dict(zip(names, values, strict=True))
        if options.get("nesterov") and (not options["momentum"] or options["dampening"]):
            continue
        yield options if name in ("LBFGS", "Adadelta") else {"lr": 0.01, **options}


def trajectory(row: Row, name: str, options: dict[str, Any], dtype: str) -> None:
    """Parameters after each of many steps on a loss that they themselves change; one has no gradient at times."""
    random = np.random.default_rng(0)
    starts = [random.standard_normal(s).astype(dtype) for s in SHAPES]
    goals = [random.standard_normal((STEPS, *s)).astype(dtype) for s in SHAPES]
    ours = [cr.tensor(a, requires_grad=True) for a in starts]
    theirs = [torch.tensor(a, requires_grad=True) for a in starts]
    mine, peer = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(STEPS if name != "LBFGS" else 10):
        frozen = 1 if step % 7 == 3 and name != "LBFGS" else None
        for parameters, optimizer, tensor in ((ours, mine, cr.tensor), (theirs, peer, torch.tensor)):

            def closure(parameters=parameters, optimizer=optimizer, tensor=tensor, step=step):  # type: ignore[no-untyped-def]
                optimizer.zero_grad()
                loss = sum(((p - tensor(g[step])) ** 2).sum() for p, g in zip(parameters, goals, strict=True))
                loss.backward()
                return loss

            if name == "LBFGS":
                optimizer.step(closure)
                continue
            closure()
            if frozen is not None:
                parameters[frozen].grad = None
            optimizer.step()
        for x, y in zip(ours, theirs, strict=True):
            row.add(dtype, "forward", x.detach().numpy(), y.detach().numpy(), f"{options} step {step}", 0.1)


def optimizer_rows() -> tuple[list[Row], dict[str, str]]:
    found = []
    for name in sorted(GRID):
        row = Row(
            f"`{name}`", f"`torch.optim.{name}`", 8192.0 if name == "LBFGS" else 32.0
        )  # each step asks how far it went
        for options in options_of(name):
            row.cases += 1
            for dtype in DTYPES:
                torch.set_default_dtype(getattr(torch, dtype))  # in which PyTorch keeps the momenta of NAdam
                trajectory(row, name, options, dtype)
        torch.set_default_dtype(torch.float32)
        found.append(row)
    return found, ALONE


def schedule_rows() -> tuple[list[Row], dict[str, str]]:
    """The rates of each schedule after every step."""
    found = []
    for name, (ours, theirs) in sorted(test_torch_schedules.CASES.items()):
        row = Row(f"`{name.split()[0]}`{name[len(name.split()[0]) :]}", "`torch.optim.lr_scheduler`", 16.0)
        mine = optim.SGD([cr.zeros(1, requires_grad=True)], lr=0.5, momentum=0.9)
        peer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5, momentum=0.9)
        schedule, other = ours(mine), theirs(peer)
        for step in range(19):
            row.cases += 1
            for what in ("lr", "momentum"):
                a, b = np.array(mine.param_groups[0][what]), np.array(peer.param_groups[0][what])
                row.add("float64", "forward", a, b, f"{what} after {step} steps", 0.1)
            schedule.step()
            peer.step()
            other.step()
        found.append(row)
    return found, {"InverseSqrt": "PyTorch has none: `tests/test_optim_schedules.py`"}


# Ours with its options, PyTorch's with its own, the shape.
INITIALISERS: list[tuple[str, dict[str, Any], str, dict[str, Any], tuple[int, ...]]] = [
    ("uniform", {"low": -2.0, "high": 3.0}, "uniform_", {"a": -2.0, "b": 3.0}, (200, 300)),
    ("normal", {"mean": 1.0, "std": 0.3}, "normal_", {"mean": 1.0, "std": 0.3}, (200, 300)),
    (
        "truncated_normal",
        {"std": 0.7, "low": -1.0, "high": 0.5},
        "trunc_normal_",
        {"std": 0.7, "a": -1.0, "b": 0.5},
        (200, 300),
    ),
    ("xavier_uniform", {}, "xavier_uniform_", {}, (200, 300)),
    ("xavier_uniform", {"gain": 2.0}, "xavier_uniform_", {"gain": 2.0}, (64, 32, 5, 3)),
    ("xavier_normal", {}, "xavier_normal_", {}, (64, 32, 5, 3)),
    ("kaiming_uniform", {}, "kaiming_uniform_", {}, (64, 32, 5, 3)),
    (
        "kaiming_uniform",
        {"mode": "fan_out", "negative_slope": 0.4},
        "kaiming_uniform_",
        {"mode": "fan_out", "a": 0.4},
        (200, 300),
    ),
    ("kaiming_normal", {"activation": "relu"}, "kaiming_normal_", {"nonlinearity": "relu"}, (200, 300)),
    ("orthogonal", {"gain": 1.5}, "orthogonal_", {"gain": 1.5}, (150, 300)),
    ("sparse", {"sparsity": 0.3, "std": 0.2}, "sparse_", {"sparsity": 0.3, "std": 0.2}, (200, 300)),
    ("dirac", {}, "dirac_", {}, (16, 8, 3, 3)),
    ("identity", {}, "eye_", {}, (30, 40)),
    ("constant", {"value": 0.25}, "constant_", {"val": 0.25}, (30, 40)),
    ("zeros", {}, "zeros_", {}, (30, 40)),
    ("ones", {}, "ones_", {}, (30, 40)),
]


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance of two distributions of numbers (Kolmogorov and Smirnov)."""
    places = np.sort(np.concatenate([a, b]))
    of = [np.searchsorted(np.sort(v), places, side="right") / v.size for v in (a, b)]
    return float(np.abs(of[0] - of[1]).max())


def initialiser_lines() -> tuple[list[str], bool]:
    """Means, spreads and distributions of many numbers; what is not random is equal."""
    cr.manual_seed(0)
    torch.manual_seed(0)
    lines, holds = [], True
    for ours, options, theirs, others, shape in INITIALISERS:
        mine = nn.init.get(ours, **options) if options else nn.init.get(ours)
        a = nn.Parameter(shape=shape, init=mine).detach().numpy().ravel()
        b = getattr(torch.nn.init, theirs)(torch.empty(shape), **others).numpy().ravel()
        exact = ours in ("dirac", "identity", "constant", "zeros", "ones")
        allowed = 0.0 if exact else 2.23 * (2 / a.size) ** 0.5  # one in ten thousand is farther
        distance = apart(a, b) if not exact else float((a != b).any())
        holds &= distance <= allowed
        given = ", ".join(f"{k}={v}" for k, v in options.items())
        lines.append(
            f"| `{ours}({given})` | `init.{theirs}` | {shape} | {a.mean():.4f} / {b.mean():.4f} | "
            f"{a.std():.4f} / {b.std():.4f} | "
            f"{distance:.4f} | {allowed:.4f} |"
        )
    return lines, holds


def metric_rows() -> tuple[list[Row], dict[str, str]]:
    """Against scikit-learn: the cases of tests/prove/test_sklearn_metrics.py, over uneven batches."""
    rows: dict[str, Row] = {}

    def row(metric: Any) -> Row:
        name = type(metric).__name__
        return rows.setdefault(name, Row(f"`{name}`", "scikit-learn", 64.0))

    module = test_sklearn_metrics
    for metric, output, target, wanted in module.test_metrics.pytestmark[0].args[1]:
        r = row(metric)
        r.cases += 1
        found = np.asarray(module.result(metric, output, target), dtype=float)
        r.add("float64", "forward", found, np.asarray(wanted, dtype=float), "", 0.1)
    marks = {mark.args[0]: mark.args[1] for mark in module.test_of_each_class.pytestmark}
    for make, peer in marks["metric", "peer"]:
        for average in marks["average"]:
            metric = make(average)
            r = row(metric)
            r.cases += 1
            wanted = peer(module.CLASSES, module.SAID, average=None if average == "none" else average)
            r.add("float64", "forward", np.asarray(module.result(metric, module.SCORES, module.CLASSES), float),
                  np.asarray(wanted, float), str(average), 0.1)  # fmt: skip
    matrix = module.metrics.ConfusionMatrix()
    r = row(matrix)
    r.cases += 1
    wanted = module.sk.confusion_matrix(module.CLASSES, module.SAID, labels=module.ALL)
    r.add(
        "float64",
        "forward",
        np.asarray(module.result(matrix, module.SCORES, module.CLASSES), float),
        wanted.astype(float),
    )
    return sorted(rows.values(), key=lambda r: r.name), {"Perplexity": "`tests/test_metrics.py`"}
