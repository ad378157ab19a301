"""The report of a run: one file of HTML with all that is known of it, that needs no other file and no network."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from ..domain.errors import ArgumentError, ChainruleError, MissingDependencyError
from ..io.atomic import atomic_write
from ..plots.curves import LEAVE_OUT
from .commands.shared import shown
from .figures import Figures
from .kinds import KINDS
from .runs import HISTORY, Run

DPI = 110
STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --dim: #57606a; --back: #ffffff; --ink: #1f2328; --box: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --dim: #9198a1; --back: #0d1117; --ink: #e6edf3; --box: #151b23; }
  img { background: #ffffff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--back); }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; } h2 { margin: 2.2rem 0 .6rem; font-size: 1.2rem; }
p.dim, figcaption, td.dim { color: var(--dim); }
.cards { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.2rem 0; }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .9rem; background: var(--box); }
.card b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; } .card span { color: var(--dim); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; } pre { overflow-x: auto; padding: .7rem; background: var(--box); font-size: .8rem; }
figure { margin: 0; overflow-x: auto; } img, svg { max-width: 100%; height: auto; border-radius: .3rem; }
@media (max-width: 40rem) { figure img { max-width: none; width: 36rem; } }
details { margin: .6rem 0; } summary { cursor: pointer; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .9rem; } nav a { color: inherit; }
"""
SECTIONS = {  # kinds of figures by heading
    "history": "Curves",
    "confusion": "Confusion",
    "predictions": "Predictions",
    "misclassified": "Mistakes",
    "boundary": "Decision boundary",
    "filters": "Filters",
    "features": "Feature maps",
    "attention": "Attention",
    "weights": "Weights",
    "gradients": "Gradients",
}


def write_report(run: Run, out: str | Path | None = None, *, fast: bool = False) -> Path:
    """Write the report of a run, ``RUN/report.html``, or ``out``, and return where it is.

    ``fast`` leaves out what needs the model and the data. What a run has not (images, classes, attention) is left out.
    Errors: MissingDependencyError without matplotlib, those of what reads the run, FileWriteError.
    """
    path = Path(out) if out is not None else run.folder / "report.html"
    if path.suffix not in (".html", ".htm"):
        raise ArgumentError(f"[report] {path} ends in {path.suffix or 'nothing'!r}, expected .html")
    parts = sections(run, fast)
    title = f"{run.settings.model.name} on {run.settings.data.name}"
    links = "".join(f'<a href="#{name}">{escape(heading)}</a>' for name, heading, _ in parts)
    body = "".join(f'<section id="{name}"><h2>{escape(heading)}</h2>{text}</section>' for name, heading, text in parts)
    with atomic_write(path, text=True) as file:
        file.write(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
            f"<h1>{escape(title)}</h1><p class=dim>{escape(str(run.folder))}</p>{cards(run)}<nav>{links}</nav>{body}"
            "</body></html>\n"
        )
    return path


def sections(run: Run, fast: bool) -> list[tuple[str, str, str]]:
    """(id, heading, HTML) of all that there is."""
    figures, found = Figures(run, progress=False), []
    for kind in [*SECTIONS] if not fast else ["history"]:
        made = tried(partial(drawn, figures, kind))
        if made:
            found.append((kind, SECTIONS[kind], made))
        if kind == "confusion" and made:
            found.append(("classes", "Classes", per_class(figures.tested.per_class().to_dict())))
    if (run.folder / HISTORY).exists():
        found.append(("epochs", "Epochs", epochs(run.history())))
    if not fast:
        shape = (None, *figures.tested.data.shape)
        table = tried(lambda: f"<div class=wide>{figures.tested.model.summary(shape)._repr_html_()}</div>")
        found.append(("model", "Model", table))
        graph = tried(
            lambda: f"<details><summary>a step, call by call</summary>{figures.graph(None)._repr_html_()}</details>"
        )
        found.append(("graph", "Computation graph", graph))
    found.append(("settings", "Settings", "".join(settings_tables(run))))
    found.append(("environment", "Environment", table_of(run.environment)))
    return [part for part in found if part[2]]


def drawn(figures: Figures, kind: str) -> str:
    """A figure with what it shows."""
    return image(getattr(figures, kind)(None), KINDS[kind])


def tried(make: Callable[[], str]) -> str:
    """What is made, or nothing where the run has no such thing. Errors: MissingDependencyError."""
    try:
        return make()
    except MissingDependencyError:
        raise
    except ChainruleError:
        return ""


def image(figure: Any, caption: str) -> str:
    """A figure in the page itself."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    data = base64.b64encode(file.getvalue()).decode()
    text = escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def cards(run: Run) -> str:
    """The results that matter."""
    report = run.report
    try:
        last = {name: values[-1] for name, values in run.history().items()}
    except (ChainruleError, IndexError):
        last = {}
    chosen = {name: report[name] for name in report if name.startswith("test_")}
    chosen |= {name: last[name] for name in ("val_accuracy", "val_loss", "loss") if name in last}
    chosen |= {"epochs": report.get("epochs", int(last.get("epoch", 0)))}
    if "train_seconds" in report:
        chosen |= {
            "seconds": round(report["train_seconds"], 1),
            "samples_per_second": round(report["samples_per_second"]),
        }
    if not report or report.get("interrupted"):
        chosen |= {"state": "interrupted" if report else "not finished"}
    boxes = "".join(
        f"<div class=card><b>{escape(f'{v:,}' if isinstance(v, int) else shown(v))}</b>"
        f"<span>{escape(k.replace('_', ' '))}</span></div>"
        for k, v in chosen.items()
    )
    return f"<div class=cards>{boxes}</div>"


def per_class(report: Mapping[str, Mapping[str, float]]) -> str:
    """The report of each class."""
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td class=n>{row[k]:.3f}</td>" for k in ("precision", "recall", "f1"))
        + f"<td class=n>{row['samples']}</td></tr>"
        for name, row in report.items()
    )
    head = "".join(f"<th class=n>{t}</th>" for t in ("precision", "recall", "F1", "samples"))
    return f"<div class=wide><table><tr><th>class</th>{head}</tr>{rows}</table></div>"


def epochs(history: Mapping[str, list[float]]) -> str:
    """The numbers of each epoch."""
    names = [name for name in history if name not in LEAVE_OUT]
    head = "".join(f"<th class=n>{escape(name)}</th>" for name in ["epoch", *names])
    rows = "".join(
        f"<tr><td class=n>{epoch:g}</td>" + "".join(f"<td class=n>{history[n][k]:.4g}</td>" for n in names) + "</tr>"
        for k, epoch in enumerate(history["epoch"])
    )
    table = f"<div class=wide><table><tr>{head}</tr>{rows}</table></div>"
    return f"<details{' open' if len(history['epoch']) <= 20 else ''}><summary>all</summary>{table}</details>"


def settings_tables(run: Run) -> list[str]:
    """What it was told."""
    return [f"<h3>{name}</h3>{table_of(entries)}" for name, entries in run.settings.tables().items()]


def table_of(entries: Mapping[str, Any]) -> str:
    """Names and values."""
    rows = "".join(
        f"<tr><td class=dim>{escape(k.replace('_', ' '))}</td><td>{escape(shown(v))}</td></tr>"
        for k, v in entries.items()
    )
    return f"<div class=wide><table>{rows}</table></div>"
