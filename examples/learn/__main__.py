"""``make learn``: real learning, each task held to its goal; the figures go to docs/learn.json and docs/learn.md.

python -m examples.learn [NAMES] [--quick]
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from chainrule.apps.about import about
from chainrule.apps.bench.results import commit, machine
from chainrule.io import atomic_write

DOCS = Path(__file__).parent.parent.parent / "docs"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True)
class Goal:
    """What a task has to reach: at least ``figure``, or at most; in ``minutes`` of training, if that is asked for too."""

    figure: float
    what: str
    minutes: float | None = None
    at_most: bool = False

    def reached(self, figure: float, seconds: float) -> bool:
        in_time = self.minutes is None or seconds <= 60 * self.minutes
        return in_time and (figure <= self.figure if self.at_most else figure >= self.figure)

    def shown(self, figure: float) -> str:
        return f"{figure:.2%}" if self.what.startswith("accuracy") else f"{figure:.3f}"

    def __str__(self) -> str:
        limit = "" if self.minutes is None else f", {self.minutes:g} min"
        return f"{'≤' if self.at_most else '≥'} {self.shown(self.figure)}{limit}"


GOALS = {
    "mnist_mlp": Goal(0.98, "accuracy"),
    "mnist_cnn": Goal(0.992, "accuracy"),
    "fashion_cnn": Goal(0.915, "accuracy"),
    "cifar_resnet": Goal(0.85, "accuracy", minutes=20),
    "vowels": Goal(0.96, "accuracy"),
    "diabetes": Goal(0.45, "R²"),
    "shakespeare": Goal(1.7, "nats a character", minutes=10, at_most=True),
    "dates": Goal(0.99, "accuracy of whole dates"),
}


def outcome(name: str, quick: bool, code: str) -> dict[str, Any]:
    """Run a task of the commit ``code``; what is recorded of it."""
    goal, start = GOALS[name], time.perf_counter()
    result = import_module(f"examples.learn.{name}").learn(quick)
    epochs, seconds = len(result["history"].epoch), result["seconds"]
    return {
        "task": name,
        "what": goal.what,
        "figure": round(result["figure"], 5),
        "goal": str(goal),
        "reached": goal.reached(result["figure"], seconds),
        "note": result.get("note", ""),
        "parameters": sum(p.size for p in result["model"].parameters()),
        "epochs": epochs,
        "training_seconds": round(seconds, 1),
        "samples_per_second": round(epochs * result["samples"] / seconds),
        "seconds": round(time.perf_counter() - start, 1),
        "seed": 0,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": code,
        "machine": machine(),
        "threads": about()["threads"],
        "simd": about()["simd"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table of Markdown."""
    lines = [
        "| task | reached | goal | parameters | epochs | training | samples/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        goal = GOALS[row["task"]]
        figure = f"{goal.shown(row['figure'])} {row['what']}"
        lines.append(
            f"| [{row['task']}](../examples/learn/{row['task']}.py) | {figure if row['reached'] else f'**missed**: {figure}'} "
            f"| {row['goal']} | {row['parameters']:,} | {row['epochs']} | {row['training_seconds']:,.1f} s "
            f"| {row['samples_per_second']:,} |"
        )
    lines += [f"\n* {row['task']}: {row['note']}" for row in rows if row["note"]]
    made = sorted(
        {f"{row['machine']}, {row['threads']} threads ({row['simd']}), commit {row['commit']}" for row in rows}
    )
    return "\n".join([*lines, "", *(f"Measured on {where}." for where in made)])


def record(row: dict[str, Any], docs: Path) -> None:
    """Put a row in the place of the one before, in learn.json and in the table of learn.md."""
    path, page = docs / "learn.json", docs / "learn.md"
    rows = {old["task"]: old for old in json.loads(path.read_text("utf-8"))} if path.exists() else {}
    rows[row["task"]] = row
    kept = [rows[name] for name in GOALS if name in rows]
    with atomic_write(path, text=True) as file:
        file.write("[\n  " + ",\n  ".join(json.dumps(r, ensure_ascii=False) for r in kept) + "\n]\n")
    text = page.read_text("utf-8")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    with atomic_write(page, text=True) as file:
        file.write(f"{before}\n\n{table(kept)}\n\n{after}")


def main(arguments: list[str] | None = None) -> int:
    """Run the named tasks, or all; 1 if one missed its goal."""
    parser = argparse.ArgumentParser(prog="python -m examples.learn", description="Real learning, held to its goals.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"tasks, of {', '.join(GOALS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="a little of each: whether it runs; nothing is recorded")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder of learn.json and learn.md")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in GOALS:
            parser.error(f"there is no task {name!r}; the tasks are {', '.join(GOALS)}")
    missed, code = [], commit()  # before a record changes files
    for name in given.names or GOALS:
        print(f"\n---- {name}: {GOALS[name].what} {GOALS[name]}", flush=True)
        row = outcome(name, given.quick, code)
        said = f"{GOALS[name].shown(row['figure'])} in {row['training_seconds']:.0f} s of training"
        print(f"{name}: {said}" + (f" ({row['note']})" if row["note"] else ""), flush=True)
        if given.quick:
            continue
        record(row, given.docs)
        if not row["reached"]:
            missed.append(name)
            print(f"{name} missed its goal: {GOALS[name]}", file=sys.stderr)
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
