"""The programs in examples/ run, each from a clean folder."""

import runpy

import pytest
from tests.pages import HOME, as_a_program

EXAMPLES = sorted((HOME / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_runs(path, tmp_path, mnist, capsys):
    with as_a_program(tmp_path, mnist, "--quick"):
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_is_short(path):
    longest = 160 if path.stem == "train_digits" else 59  # that one makes the model that is shipped
    assert len(path.read_text(encoding="utf-8").splitlines()) <= longest


def test_the_quick_start_names_them_all():
    text = (HOME / "docs" / "quick_start.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if f"`{path.name}`" not in text] == []
