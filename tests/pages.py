"""Pages, notebooks and examples as programs: each block of a page prints what the page says that it prints."""

from __future__ import annotations

import ast
import doctest
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import chainrule as cr
from chainrule.ops._op import OPS

HOME = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text( about| like)?\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
CHECKER = doctest.OutputChecker()
NUMBER, CURVE = re.compile(r"[-+]?\d[\d.,]*(e[-+]\d+)?"), re.compile("[\u2800-\u28ff]+")


@contextmanager
def as_a_program(folder: Path, mnist: Any, *arguments: str) -> Iterator[None]:
    """A folder and arguments of its own, MNIST without reading it again; layers, ops and settings are put back after it."""
    before, threads = [(names, {**names}) for names in (cr.nn.REGISTRY, OPS)], cr.get_num_threads()
    try:
        with (
            chdir(folder),
            patch.object(cr.data, "load_mnist", lambda: mnist),
            patch.object(sys, "argv", ["", *arguments]),
        ):
            yield
    finally:
        cr.set_num_threads(threads)
        for names, kept in before:
            names.clear()
            names.update(kept)


def said(code: str, first: int, path: Path, names: dict[str, Any]) -> str:
    """What a block prints, run with ``names``; errors in it have the line of the page."""
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile("\n" * (first - 1) + code, str(path), "exec"), names)  # noqa: S102  (pages of our own)
    return out.getvalue()


def words(text: str) -> str:
    """A text without its numbers and curves, which differ from machine to machine."""
    return " ".join(NUMBER.sub("#", CURVE.sub("", text)).split())


def alike(want: str, got: str, how: str) -> bool:
    """Whether two texts differ in numbers alone; of " like" ones the first lines are compared."""
    return (
        words(want) == words(got)
        if how == " about"
        else words(want.partition("\n")[0]) == words(got.partition("\n")[0])
    )


def run_page(path: Path, changes: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a page and return its names. A block prints what the ``text`` block right below it shows, "..." for anything.

    Of a block ``text about`` the words are compared and not the numbers, of ``text like`` those of its first line.
    ``changes`` has other values for lines ``name = value`` of the page; what is printed is not looked at then.
    """
    text, names = path.read_text(encoding="utf-8"), {"__name__": "__main__"}
    for name, value in (changes or {}).items():
        text, found = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert found == 1, f"{path.name} has {found} lines that begin with {name!r} ="
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1)) + 1
        got = said(block[1], line, path, names)
        want = block[3] or ""
        same = alike(want, got, block[2]) if block[2] else CHECKER.check_output(want, got, FLAGS)
        if changes is None and not same:
            raise AssertionError(f"{path.name}, line {line}: the page says\n{want}\nand the block prints\n{got}")
    return names


def run_notebook(path: Path) -> list[str]:
    """Run the cells of a notebook one after the other; the HTML of what they show, "" for text and figures."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"], 1):
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"] and cell["execution_count"] is None, f"cell {number} of {path.name} has its output"
        tree = ast.parse("".join(cell["source"]))
        last = tree.body[-1]
        if isinstance(last, ast.Expr):  # what a notebook shows
            tree.body[-1] = ast.parse("_ = None").body[0]
            tree.body[-1].value = last.value  # type: ignore[attr-defined]
        names["_"] = None
        said(ast.unparse(tree), 1, path.with_name(f"{path.name}, cell {number}"), names)
        html = getattr(names["_"], "_repr_html_", None)
        shown.append(html() if html else "")
    return shown
