"""Coming from other frameworks: every name of ours that the tables give is run, after the page's own blocks."""

from __future__ import annotations

import re

import pytest
from tests.pages import HOME, as_a_program, run_page, said

PAGES = sorted((HOME / "docs" / "coming_from").glob("*.md"))


def cells(page, column):
    """The pieces of code in a column of the tables of a page."""
    rows = [
        line.strip("| ").split(" | ") for line in page.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"
    ]
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row[column])]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_what_is_said_to_be_ours_is_there(page, tmp_path, mnist):
    found = cells(page, 1)
    assert len(found) > 10
    with as_a_program(tmp_path, mnist):
        names = run_page(page)
        for code in found:
            try:
                said(code, 1, page, names)
            except Exception as error:
                raise AssertionError(f"{page.name}: {code}: {error}") from error
