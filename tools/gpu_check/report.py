"""The results as a page."""

from __future__ import annotations

from typing import Any


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    """A table of Markdown."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(map(str, r))} |" for r in rows), ""]


def number(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}"


def page(result: dict[str, Any]) -> str:
    """All of it, in Markdown."""
    lines = ["# What a GPU showed" if not result["emulated"] else "# The stages on the emulated driver, untimed", ""]
    facts = result.get("facts")
    if facts:
        gpu, cuda = facts["gpu"], facts.get("cuda", {})
        lines += [
            f"{facts['date']}, commit {facts['commit']}: {gpu['name']}, compute capability {gpu['capability'] / 10}, "
            f"{gpu['multiprocessors']} multiprocessors; CUDA {cuda}; Python {facts['python']}; PyTorch "
            f"{facts['packages'].get('torch')}.", "",
        ]  # fmt: skip
    stages = [[name, s["result"], s.get("seconds", "–")] for name, s in result["stages"].items()]
    lines += table(["stage", "result", "seconds"], stages)
    found = result.get("kernels", {})
    if "left out" in found:
        lines += [f"No kernels were compiled: {found['left out']}.", ""]
    elif found:
        lines += [f"Kernels: {found.get('kernels', 0)} compiled in {found.get('seconds', '–')} s.", ""]
        lines += [f"* {k['kernel']}: {k['error'][:300]}" for k in found.get("failed", [])[:20]]
    outcomes: dict[str, int] = {}
    failed, worst = [], {}
    for name, part in result.items():
        if name.startswith("tests") and isinstance(part, dict):
            for outcome, count in part["outcomes"].items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
            failed += part["failed"]
            worst.update(part["deviations"])
    if outcomes:
        lines += [f"Tests: {', '.join(f'{n} {what}' for what, n in outcomes.items())}.", ""]
        lines += [
            f"* `{f['test']}`: {f['error'].strip().splitlines()[-1][:200]}" for f in failed[:25] if f["error"].strip()
        ]
        most = sorted(worst.items(), key=lambda row: -row[1]["of_allowed"])[:10]
        lines += ["", "Largest deviations, as a share of what is allowed:", ""]
        lines += table(
            ["test, op", "absolute", "of allowed"],
            [[name, f"{v['absolute']:.2g}", f"{v['of_allowed']:.2f}"] for name, v in most],
        )
    if "exchange" in result:
        lines += table(
            ["exchange", "result"], [[k, v.strip().splitlines()[-1][:150]] for k, v in result["exchange"].items()]
        )
    if "bench" in result:
        ways = ["chainrule eager", "chainrule replayed", "torch eager", "torch replayed"]
        lines += ["Microseconds, medians of rounds in turns; apart: distance from PyTorch's result, relative.", ""]
        lines += table(
            ["case", "floor", *ways, "apart"],
            [
                [r["name"] + (" *" if r["table"] else ""), number(r["floor"]), *(number(r["us"].get(w)) for w in ways),
                 number(r.get("apart"))]
                for r in result["bench"]["rows"]
            ],
        )  # fmt: skip
        lines += [f"* {r['name']}: {r['errors']}" for r in result["bench"]["rows"] if "errors" in r]
        if result["bench"].get("no time for"):
            lines += ["", f"No time was left for {', '.join(result['bench']['no time for'])}."]
    for row in result.get("slowest", []):
        lines += ["", f"{row['name']}, {row['behind']} times PyTorch's:", ""]
        both = [("ours", k) for k in row["ours"]] + [("torch", k) for k in row.get("torch", [])]
        lines += table(["", "kernel", "µs"], [[who, f"`{k['kernel'][:90]}`", number(k["us"])] for who, k in both[:24]])
    return "\n".join(lines) + "\n"
