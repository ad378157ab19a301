"""Rows: where they are kept, how they are shown. A row is a race, as JSON on a line, with commit and machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .contestants.cases import CASES

HERE = Path(__file__).parent


def commit() -> str:
    """The commit the figures belong to; without a repository the version."""
    if (HERE.parents[3] / ".git").exists():
        done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=HERE)
        if done.stdout.strip():
            return done.stdout.strip()
    from ..about import version

    return version()


def machine() -> str:
    """The processor, and how many cores may be used."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor())
    return f"{model}, {cores()} cores"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stamp() -> dict[str, str]:
    """What every row is marked with."""
    return {"commit": commit(), "machine": machine(), "date": datetime.now(UTC).isoformat(timespec="seconds")}


def home() -> Path:
    """Where rows go: ``benchmarks/results`` in the repository, else ``runs/bench``."""
    inside = Path("benchmarks/results")
    return inside if inside.is_dir() else Path("runs/bench")


def keep(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Add rows to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def shown_seconds(seconds: float) -> str:
    """In the unit that suits it.

    >>> shown_seconds(3.2e-6), shown_seconds(0.0123), shown_seconds(4.0)
    ('3.20 µs', '12.3 ms', '4.00 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            value = seconds / size
            return f"{value:.0f} {unit}" if value >= 99.95 else f"{value:#.3g} {unit}"
    return ""


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The median between the first and the third quartile."""
    low, middle, high = np.quantile(np.asarray(values, "float64"), [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def first(row: dict[str, Any]) -> str | None:
    """The contestant that the others are compared with: the first of ours."""
    labels = list(row["contestants"])
    return next((x for x in labels if x.startswith("chainrule")), labels[0] if labels else None)


def ratios(row: dict[str, Any], other: str, ours: str) -> list[float]:
    """The seconds of ``other`` by ours, block by block."""
    a, b = (row["contestants"][who]["seconds"] for who in (other, ours))
    return [x / y for x, y in zip(a, b, strict=False)]


def rate(row: dict[str, Any], seconds: float) -> str:
    """Operations a second, or bytes, whichever the case is about."""
    if row["flops"]:
        return f"{row['flops'] / seconds / 1e9:.1f} GFLOP/s"
    return f"{row['bytes'] / seconds / 1e9:.1f} GB/s" if row["bytes"] else "–"


HEAD = (
    f"{'case':16} {'t':>2} {'contestant':22} {'median':>9}  {'quartiles':21} {'ratio':>6}  {'quartiles':13} "
    f"{'rate':>15} {'of limit':>8} {'error':>8}"
)


def lines(row: dict[str, Any]) -> list[str]:
    """A row as a table: one line a contestant, and one for each that could not race."""
    ours, found = first(row), []
    title = row["case"] if row["scale"] == 1 else f"{row['case']} ×{row['scale']:g}"
    title += "" if row["dtype"] == "float32" else f" {row['dtype']}"
    title += f" +{row['hogs']} hog{'s' * (row['hogs'] > 1)}" if "hogs" in row else ""
    mark = " busy" if row["sentinel"]["busy"] else ""
    for label, entry in row["contestants"].items():
        low, middle, high = quartiles(entry["seconds"])
        spread = f"{shown_seconds(low)} – {shown_seconds(high)}"
        ratio = between = ""
        if ours and label != ours:
            a, b, c = quartiles(ratios(row, label, ours))
            ratio, between = f"{b:.2f}×", f"{a:.2f} – {c:.2f}"
        share = f"{row['limit'] / middle:.0%}" if row["limit"] else "–"
        error = f"{entry['deviation']:.0e}" if "deviation" in entry else ""
        found.append(
            f"{title:16} {row['threads']:2} {label:22} {shown_seconds(middle):>9}  {spread:21} {ratio:>6}  {between:13} "
            f"{rate(row, middle):>15} {share:>8} {error:>8}{mark}"
        )
    found += [f"{title:16} {row['threads']:2} {who:22} {why}" for who, why in row["unavailable"].items()]
    return found


def sentinel_line(row: dict[str, Any]) -> str:
    """What else the machine was doing, if it was."""
    s = row["sentinel"]
    return f"busy: others used {s['others']} cores, {s['stolen']:.1%} stolen, the peak is {s['peak']:.0%} of that at the start"


def markdown(rows: Iterable[dict[str, Any]]) -> str:
    """The latest row of each case and number of threads as a table of a document: ours, each peer, the ratio to the best."""
    latest = {(r["case"], r["threads"]): r for r in rows if usual(r)}
    cases = [c for c in CASES if any(name == c for name, _ in latest)]
    threads = sorted({t for _, t in latest})
    head = [
        "workload",
        *(f"{t} thread{'s' if t > 1 else ''}: eager / jit / torch / compile / JAX / Keras" for t in threads),
    ]
    head += [f"ratio {t}" for t in threads] + [f"of limit {t}" for t in threads] + ["goal", "error"]
    table = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for case in cases:
        at = {t: latest[case, t] for t in threads if (case, t) in latest}
        cells = [case, *(times(at[t]) if t in at else "–" for t in threads)]
        cells += [f"{best(at[t])[0]:.2f}" if t in at and best(at[t])[0] else "–" for t in threads]
        cells += [best(at[t])[1] if t in at else "–" for t in threads]
        errors = [e.get("deviation", 0.0) for r in at.values() for w, e in r["contestants"].items() if ours_is(w)]
        goal = CASES[case].goal
        cells += [f"{goal:g}" if goal else "–", f"{max(errors):.0e}" if errors else "–"]
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)


def usual(row: dict[str, Any]) -> bool:
    """Whether a row is of the standard size in float32, with nothing beside it."""
    return bool(row["scale"] == 1 and row["dtype"] == "float32" and "hogs" not in row)


def ours_is(label: str) -> bool:
    """Whether a contestant is this package."""
    return label.startswith("chainrule:")


def times(row: dict[str, Any]) -> str:
    """Medians of all, in the order of the head; an asterisk if the machine was busy."""
    labels = ["chainrule:eager", "chainrule:jit", "torch:eager", "torch:compile", "jax:jit", "keras:jax"]
    found = row["contestants"]
    cells = [shown_seconds(median(found[x]["seconds"])) if x in found else "–" for x in labels]
    return " / ".join(cells) + ("\\*" if row["sentinel"]["busy"] else "")


def best(row: dict[str, Any]) -> tuple[float, str]:
    """The median ratio of the fastest peer to the faster of ours, and our share of the limit."""
    typical = {who: median(entry["seconds"]) for who, entry in row["contestants"].items()}
    ours = {w: s for w, s in typical.items() if ours_is(w)}
    peers = {w: s for w, s in typical.items() if not w.startswith("chainrule")}
    if not ours:
        return 0.0, "–"
    me = min(ours, key=lambda w: ours[w])
    share = f"{row['limit'] / ours[me]:.0%}" if row["limit"] else "–"
    if not peers:
        return 0.0, share
    return median(ratios(row, min(peers, key=lambda w: peers[w]), me)), share
