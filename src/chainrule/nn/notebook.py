"""How a notebook shows a module: a tree that opens and closes."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .module import Module


def tree(module: Module, name: str = "", level: int = 0) -> str:
    """A module as HTML, the modules inside it nested; the first two levels are open.

    >>> from chainrule import nn
    >>> tree(nn.Sequential(nn.Linear(2, 1)))
    '<details open><summary>Sequential(), 3 parameters</summary><div ...>0: Linear(in_features=2, out_features=1)...'
    """
    text = escape(f"{name}: " * bool(name) + f"{type(module).__name__}({module.extra_repr()})")
    inside = "".join(tree(child, key, level + 1) for key, child in module.named_children())
    margin = ' style="margin-left:1.5em"' if level else ""
    if not inside:
        return f"<div{margin}>{text}</div>"
    sizes = [parameter.size if parameter.is_built else None for _, parameter in module.named_parameters()]
    count = "" if None in sizes else f", {sum(filter(None, sizes)):,} parameters"
    return f"<details{margin}{' open' if level < 2 else ''}><summary>{text}{count}</summary>{inside}</details>"
