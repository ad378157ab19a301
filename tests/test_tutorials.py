"""The tutorials and notebooks run, on real data, and print what they say that they print."""

from __future__ import annotations

import re

import pytest
from tests.pages import HOME, as_a_program, run_notebook, run_page

PAGES = sorted((HOME / "docs" / "tutorials").glob("[0-9]*.md"))
NOTEBOOKS = sorted((HOME / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_tutorial_runs(page, tmp_path, mnist):
    with as_a_program(tmp_path, mnist):
        run_page(page)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_and_shows(path, tmp_path, mnist):
    with as_a_program(tmp_path, mnist):
        shown = [html for html in run_notebook(path) if html]
    assert shown and all(html.lstrip().startswith("<") for html in shown)


def test_kernels_that_a_tutorial_quotes_are_there():
    source = "\n".join(path.read_text() for path in sorted((HOME / "native").rglob("*.[ch]*")))
    quoted = [code for page in PAGES for code in re.findall(r"^```cpp\n(.*?)^```", page.read_text(), re.M | re.S)]
    assert quoted and all(code in source for code in quoted)
