"""What ``scaling`` found: as text, as a page of tables, as plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...domain.errors import ArgumentError, MissingDependencyError
from .results import quartiles, shown_seconds
from .scaling import answers, speedup, typical

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    counts = sorted(map(int, row["seconds"]))
    text = f"{row['op']:12} {row['size']:9} "
    text += "  ".join(f"{t}t {shown_seconds(typical(row, t)):>8}" for t in counts)
    if len(counts) > 1:
        text += f"  {speedup(row, counts[-1]):5.2f}×"
    if "gpu" in row:
        text += f"  gpu {shown_seconds(row['gpu'])}"
    for t, times in row.get("numpy", {}).items():
        text += f"  numpy {t}t {shown_seconds(quartiles(times)[1])}" if times else ""
    return text


def said(answer: dict[str, Any]) -> str:
    """The answer for one op as a sentence."""
    text = f"{answer['op']}: "
    if answer["pays_from"] is None:
        text += f"{answer['threads']} threads do not pay up to the largest size"
    else:
        begin = shown_seconds(answer["pays_from_seconds"])
        text += f"{answer['threads']} threads pay from size {answer['pays_from']} ({begin} with one)"
    text += f", {answer['best_speedup']:.2f}× at best; a GPU {'pays' if answer['gpu'] else 'would pay'} "
    text += f"from size {answer['gpu_from']}" if answer["gpu_from"] else "at no size measured"
    sent = answer["gpu_with_transfer_from"]
    return text + (f", with transfers from {sent}" if sent else ", with transfers at none")


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """The answers, and below them every size, in Markdown."""
    found = answers(rows)
    counts = sorted(map(int, rows[0]["seconds"]))
    gpu = "GPU" if found[0]["gpu"] else "GPU, estimated"
    out = [f"| op | {counts[-1]} threads pay from | with one thread | at best | {gpu}: data there | data sent |"]
    out.append("|---|---|---|---|---|---|")
    for a in found:
        begin = shown_seconds(a["pays_from_seconds"]) if a["pays_from_seconds"] else "–"
        cells = [a["op"], a["pays_from"] or "–", begin, f"{a['best_speedup']:.2f}×"]
        cells += [a["gpu_from"] or "never", a["gpu_with_transfer_from"] or "never"]
        out.append(f"| {' | '.join(map(str, cells))} |")
    for name in dict.fromkeys(r["op"] for r in rows):
        mine = [r for r in rows if r["op"] == name]
        extra = [f"NumPy, {t}" for t, times in mine[0].get("numpy", {}).items() if times]
        head = ["size", *(f"{t} thread{'s' * (t > 1)}" for t in counts), "speed-up", *extra, gpu]
        out += ["", f"**{name}**", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        for r in mine:
            cells = [str(r["size"]), *(shown_seconds(typical(r, t)) for t in counts), f"{speedup(r, counts[-1]):.2f}"]
            cells += [shown_seconds(quartiles(times)[1]) for times in r.get("numpy", {}).values() if times]
            cells += [shown_seconds(r.get("gpu", r["gpu_estimate"]))]
            out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def put(rows: Sequence[dict[str, Any]], page: Path, mark: str) -> None:
    """Replace what is between the two marks of a page. Errors: ArgumentError if it has none."""
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ArgumentError(f"[scaling] {page} has no place for figures: put {BEGIN} and {END} into it")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    page.write_text(f"{before}{BEGIN}\n\n{mark}\n\n{tables(rows)}\n\n{END}{after}", encoding="utf-8")


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time over size for each op and number of threads, the GPU dashed. Errors: MissingDependencyError."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("[scaling] plots need Matplotlib: pip install 'chainrule[plot]'") from error
    names = list(dict.fromkeys(r["op"] for r in rows))
    figure = Figure(figsize=(12, 3 * ((len(names) + 3) // 4)), layout="constrained")
    axes = figure.subplots((len(names) + 3) // 4, min(4, len(names)), squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        mine = [r for r in rows if r["op"] == name]
        sizes = [r["size"] for r in mine]
        for t in mine[0]["seconds"]:
            low, middle, high = zip(*(quartiles(r["seconds"][t]) for r in mine), strict=True)
            axis.plot(sizes, middle, marker=".", label=f"{t} thread{'s' * (t != '1')}")
            axis.fill_between(sizes, low, high, alpha=0.2)
        key = "gpu" if "gpu" in mine[0] else "gpu_estimate"
        axis.plot(sizes, [r[key] for r in mine], "k--", lw=0.8, label="GPU" if key == "gpu" else "GPU (estimate)")
        axis.set(title=name, xlabel="size", ylabel="seconds", xscale="log", yscale="log")
    axes[0].legend(fontsize="small")
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
