"""Measure everything and write docs/parity.md: ``python -m tests.prove.parity``. It fails where a row is out of its bounds."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from tests.prove.parity import layers, losses, ops, optimizers
from tests.prove.parity.measure import Row

from chainrule import _native
from chainrule.io import atomic_write

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "parity.md"
HEAD = """# How near to PyTorch

Every op, layer, loss, optimizer, schedule, initialiser and metric of chainrule, and how far it is from its counterpart. Written
by `make parity`, which measures all of it anew and fails where a row is out of its bounds.

- PyTorch {torch}, on one thread of a CPU; chainrule with its native kernels for {isa}.
- **cases**: calls with the same arguments, of fixed and of drawn shapes, values and options; the draws have fixed seeds.
- **forward**, **gradient**: the largest absolute deviation, and in brackets the largest in units of rounding: the deviation
  divided by the epsilon of the dtype (1.2e-07 for float32, 2.2e-16 for float64) times the largest number of the result, or 1 if
  all are smaller. A gradient is that of a sum which weighs no two elements of the result alike, for every floating
  argument (of a layer: every parameter too); its numbers count as at least as large as the number of results that each
  element of the argument takes part in. Shapes, dtypes, whole numbers, infinities and NaNs are equal, or the row fails.
- **allowed**: the most units of rounding. Where it is more than a few, many terms are added in another order, or the exact
  result is a difference of near numbers.
- 0 is equality, bit by bit. – has no gradient, or is no number of this kind.
"""
COLUMNS = ("forward, float32", "gradient, float32", "forward, float64", "gradient, float64")


def table(title: str, text: str, rows: list[Row], alone: dict[str, str]) -> list[str]:
    """A section: its rows, and what has no counterpart."""
    cases = sum(r.cases for r in rows)
    lines = [f"## {title}", "", f"{text} {len(rows)} rows, {cases:,} cases.".strip(), ""]
    lines += [
        f"| {title.lower()} | PyTorch | cases | {' | '.join(COLUMNS)} | allowed |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [r.line() for r in rows]
    if alone:
        lines += ["", "Without a counterpart, or shown elsewhere:", ""]
        for why in dict.fromkeys(alone.values()):
            lines.append(f"- {', '.join(f'`{name}`' for name, w in alone.items() if w == why)}: {why}.")
    return [*lines, ""]


SECTIONS = (
    ("Ops", "The ops that all else is made of.", ops.rows),
    ("Activations far out", "At 12 places from -10 000 to 10 000, one at a time.", losses.far_rows),
    ("Layers", "With the same parameters, in training and in eval mode.", layers.layer_rows),
    ("Losses", "All reductions, class weights, smoothing, what is ignored, and the other options.", losses.loss_rows),
    ("Optimizers", f"Parameters after each of {optimizers.STEPS} steps, for every combination of options. A case is a "
     "combination.", optimizers.optimizer_rows),
    ("Schedules", "Learning rate and momentum after every step.", optimizers.schedule_rows),
    ("Metrics", "Against scikit-learn, over uneven batches.", optimizers.metric_rows),
)  # fmt: skip


def report() -> tuple[str, list[str]]:
    """The page, and the rows that do not hold."""
    text, failed = [HEAD.format(torch=torch.__version__.split("+")[0], isa=_native.simd())], []
    for title, words, measure in SECTIONS:
        print(f"{title} ...", flush=True)
        rows, alone = measure()
        text += table(title, words, rows, alone)
        failed += [
            f"{title}: {r.name} is {r.units:.1f} units of rounding apart ({r.worst})" for r in rows if not r.holds
        ]
    lines, holds = optimizers.initialiser_lines()
    text += ["## Initialisers", "", "The two draw other random numbers: means, standard deviations (ours / PyTorch's) and the"
             " largest distance between the two distributions. One pair of equal ones in ten thousand is farther apart than"
             " allowed.", "", "| initialiser | PyTorch | shape | mean | standard deviation | distance | allowed |",
             "|---|---|---|--:|--:|--:|--:|", *lines, ""]  # fmt: skip
    failed += [] if holds else ["Initialisers: a distribution is not PyTorch's"]
    return "\n".join(text), failed


def main() -> int:
    warnings.simplefilter("ignore")  # PyTorch's own
    torch.set_num_threads(1)
    text, failed = report()
    with atomic_write(PAGE, text=True) as file:
        file.write(text)
    print(*failed, f"{PAGE.name} is written; {len(failed)} rows do not hold", sep="\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
