"""Figures of training, by matplotlib where it is installed (``pip install 'chainrule[plot]'``)."""

from __future__ import annotations

import os
from functools import cache
from html import escape
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from ..domain.errors import DataError, MissingDependencyError, unknown
from ..io.atomic import atomic_write

PANEL = (5.2, 3.6)  # inches
DPI = 120


@cache
def shown(figure: Any) -> Any:
    """The kind of Matplotlib's figures, which a notebook shows though nothing is drawn by pyplot."""

    class Shown(figure):  # type: ignore[misc, unused-ignore]
        """A figure that notebooks show."""

        def _repr_png_(self) -> bytes:
            file = BytesIO()
            self.savefig(file, format="png", dpi=DPI)
            return file.getvalue()

    return Shown


def blank(name: str, width: float, height: float) -> Any:
    """A figure of so many inches. Errors: MissingDependencyError, which names the function ``name``."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(f"[{name}] needs matplotlib: pip install 'chainrule[plot]'") from error
    return shown(Figure)(figsize=(width, height), layout="constrained")


def panels(name: str, titles: list[str]) -> tuple[Any, list[Any]]:
    """A figure with a panel for each title, side by side. Errors: MissingDependencyError, which names the function."""
    figure = blank(name, PANEL[0] * len(titles), PANEL[1])
    axes = [*figure.subplots(1, len(titles), squeeze=False)[0]]
    for one, title in zip(axes, titles, strict=True):
        one.set(title=title)
        one.grid(alpha=0.3)
    return figure, axes


def written(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    """The figure, also in a file if ``path`` is given, in the format of its suffix: .png, .svg, .pdf.

    Errors: ArgumentError for another.
    """
    if path is not None:
        kind, known = Path(path).suffix.lstrip(".").lower() or "png", figure.canvas.get_supported_filetypes()
        if kind not in known:
            raise unknown(f"format of {path}", kind, sorted(known))
        with atomic_write(path) as file:
            figure.savefig(file, format=kind, dpi=DPI)
    return figure


def html(thing: Any) -> str:
    """What has a ``plot``, for a notebook: the figure, if there can be one, and its text."""
    text = StringIO()
    try:
        thing.plot().savefig(text, format="svg")
    except (MissingDependencyError, DataError):
        return f"<pre>{escape(repr(thing))}</pre>"
    drawn = text.getvalue()
    return f"<div>{drawn[drawn.index('<svg') :]}<pre>{escape(repr(thing))}</pre></div>"
