"""The tutorials and notebooks run, on real data, and print what they say that they print."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.pages import HOME, run_notebook, run_page

from chainrule import data, nn
from chainrule.ops._op import OPS

PAGES = sorted((HOME / "docs" / "tutorials").glob("[0-9]*.md"))
NOTEBOOKS = sorted((HOME / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def as_a_program(monkeypatch, tmp_path, mnist) -> Iterator[None]:
    """A folder of its own, MNIST without reading it again, and no layer or op of theirs left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load_mnist", lambda: mnist)
    before = [(names, {**names}) for names in (nn.REGISTRY, OPS)]
    yield
    for names, kept in before:
        names.clear()
        names.update(kept)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_tutorial_runs(page):
    run_page(page)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_and_shows(path):
    shown = [html for html in run_notebook(path) if html]
    assert shown and all(html.lstrip().startswith("<") for html in shown)


def test_kernels_that_a_tutorial_quotes_are_there():
    source = "\n".join(path.read_text() for path in sorted((HOME / "native").rglob("*.[ch]*")))
    quoted = [code for page in PAGES for code in re.findall(r"^```cpp\n(.*?)^```", page.read_text(), re.M | re.S)]
    assert quoted and all(code in source for code in quoted)
