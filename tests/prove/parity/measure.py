"""Cases, what they measure, and the rows of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from chainrule import Tensor, grad

DTYPES = ("float32", "float64")


@dataclass
class Case:
    """One call of ours and of theirs with the same arguments; gradients are of the arguments at ``varied``."""

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    args: list[Any]
    varied: list[int]
    name: str = ""
    dtypes: tuple[str, ...] = DTYPES


@dataclass
class Row:
    """The largest deviations of a name: for each dtype, forward and gradient, absolute and in units of rounding."""

    name: str
    peer: str
    allowed: float  # units of rounding
    cases: int = 0
    found: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    worst: str = ""

    def add(self, dtype: str, what: str, ours: Any, theirs: Any, case: str = "", least: float = 1.0) -> None:
        """Take in a result and what it should be."""
        absolute, units = deviation(ours, theirs, dtype, least)
        a, u = self.found.get((dtype, what), (0.0, -1.0))
        if units > u and units > self.units:
            self.worst = f"{case} {dtype} {what}"
        self.found[dtype, what] = max(a, absolute), max(u, units)

    @property
    def units(self) -> float:
        return max((u for _, u in self.found.values()), default=0.0)

    @property
    def holds(self) -> bool:
        return self.units <= self.allowed and self.cases > 0

    def line(self) -> str:
        cells = [self.cell(d, w) for d in DTYPES for w in ("forward", "gradient")]
        return f"| {self.name} | {self.peer} | {self.cases} | {' | '.join(cells)} | {self.allowed:g} |"

    def cell(self, dtype: str, what: str) -> str:
        if (dtype, what) not in self.found:
            return "–"
        absolute, units = self.found[dtype, what]
        return "0" if absolute == 0 else f"{absolute:.1e} ({units:.1f})"


def deviation(ours: Any, theirs: Any, dtype: str, least: float = 1.0) -> tuple[float, float]:
    """The largest difference, and the same in units of rounding of the largest number, or of ``least`` if that is more."""
    a, b = np.asarray(ours), np.asarray(theirs)
    if a.shape != b.shape:
        return np.inf, np.inf
    if a.dtype.kind in "biu" or b.dtype.kind in "biu":
        same = a.dtype == b.dtype and np.array_equal(a, b)
        return (0.0, 0.0) if same else (np.inf, np.inf)
    if a.dtype != b.dtype:
        return np.inf, np.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(b)
    if (
        not np.array_equal(np.where(finite, 0, a), np.where(finite, 0, b), equal_nan=True)
        or not np.isfinite(a[finite]).all()
    ):
        return np.inf, np.inf
    if not finite.any():
        return 0.0, 0.0
    apart, scale = float(np.abs(a - b)[finite].max()), float(np.abs(b[finite]).max())
    if apart == 0:
        return 0.0, 0.0
    return apart, apart / (float(np.finfo(dtype).eps) * max(scale, least))


def tuples(y: Any) -> tuple[Any, ...]:
    """Outputs as a flat tuple."""
    return tuple(o for part in y for o in tuples(part)) if isinstance(y, (tuple, list)) else (y,)


def made(case: Case, dtype: str, tensor: Callable[..., Any]) -> list[Any]:
    return [
        tensor(a.astype(dtype) if a.dtype.kind == "f" else a, i in case.varied) if isinstance(a, np.ndarray) else a
        for i, a in enumerate(case.args)
    ]


def run(row: Row, case: Case) -> None:
    """Measure a case in both dtypes."""
    row.cases += 1
    for dtype in case.dtypes:
        mine = made(case, dtype, lambda a, vary: Tensor(a, requires_grad=vary))
        peers = made(case, dtype, lambda a, vary: torch.tensor(a, requires_grad=vary))
        ys, es = tuples(case.ours(*mine)), tuples(case.theirs(*peers))
        if len(ys) != len(es):
            raise ValueError(f"{row.name} {case.name}: {len(ys)} results and {len(es)} of PyTorch")
        for y, e in zip(ys, es, strict=True):
            row.add(dtype, "forward", y.detach().numpy(), e.detach().numpy(), case.name)
        leaves = [(x, p) for x, p in zip(mine, peers, strict=True) if isinstance(x, Tensor) and x.requires_grad]
        if leaves and all(e.requires_grad == y.requires_grad for y, e in zip(ys, es, strict=True)):
            pairs = [(y, e) for y, e in zip(ys, es, strict=True) if e.requires_grad]
            gradients(row, dtype, pairs, leaves, case.name)


def gradients(row: Row, dtype: str, pairs: Any, leaves: Any, name: str) -> None:
    """Compare the gradients of a sum that weighs no two elements alike."""
    if not pairs:
        return
    ours: Any = 0.0
    theirs: Any = 0.0
    for y, e in pairs:
        weights = np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype)
        ours = ours + (y * Tensor(weights)).sum()
        theirs = theirs + (e * torch.from_numpy(weights)).sum()
    results = sum(y.size for y, _ in pairs)
    wanted = torch.autograd.grad(theirs, [p for _, p in leaves], allow_unused=True)
    found = grad(ours, [x for x, _ in leaves], allow_unused=True)
    for (x, _), g, w in zip(leaves, found, wanted, strict=True):
        zeros = np.zeros(x.shape, dtype)
        terms = results / max(x.size, 1)  # that an element of the argument takes part in, on average
        row.add(dtype, "gradient", zeros if g is None else g.numpy(), zeros if w is None else w.numpy(), name, terms)
