"""make learn: goals are held, figures are kept, and the tasks that need no large data run."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from examples.learn.__main__ import BEGIN, END, GOALS, Goal, main

import chainrule as cr
from chainrule.train import History

FOLDER = Path(__file__).parent.parent / "examples" / "learn"


@pytest.fixture
def docs(tmp_path):
    (tmp_path / "learn.md").write_text(f"# Before\n{BEGIN}\nstale\n{END}\nafter\n")
    return tmp_path


@pytest.fixture
def task(monkeypatch):
    """Has a task give a figure, without training."""

    def give(name, figure, seconds=10.0, **more):
        history = History()
        history.on_epoch_end(0, {"loss": 1.0})
        result = {"figure": figure, "model": cr.nn.Linear(3, 2), "history": history, "samples": 500, "seconds": seconds}
        module = SimpleNamespace(learn=lambda quick: result | more)
        monkeypatch.setitem(sys.modules, f"examples.learn.{name}", module)

    return give


def test_every_task_has_a_goal_and_a_file():
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__main__"} == set(GOALS)


def test_figures_are_kept_beside_those_of_other_tasks(docs, task, capsys):
    task("mnist_mlp", 0.9853)
    task("diabetes", 0.5, note="mean of five folds 0.4")
    assert main(["diabetes", "--docs", str(docs)]) == 0
    assert main(["mnist_mlp", "--docs", str(docs)]) == 0
    rows = json.loads((docs / "learn.json").read_text())
    assert [row["task"] for row in rows] == ["mnist_mlp", "diabetes"]  # in the order of the goals
    first = rows[0]
    assert (first["figure"], first["reached"], first["parameters"], first["samples_per_second"]) == (
        0.9853,
        True,
        8,
        50,
    )
    text = (docs / "learn.md").read_text()
    assert text.startswith("# Before\n") and text.endswith("\nafter\n") and "stale" not in text
    assert "| 98.53% accuracy | ≥ 98.00% | 8 | 1 | 10.0 s | 50 |" in text and "mean of five folds 0.4" in text


def test_a_missed_goal_is_told(docs, task, capsys):
    task("mnist_mlp", 0.97)
    task("vowels", 0.99)
    assert main(["mnist_mlp", "vowels", "--docs", str(docs)]) == 1
    assert capsys.readouterr().err.endswith("missed: mnist_mlp\n")
    assert "**missed**: 97.00% accuracy" in (docs / "learn.md").read_text()


def test_goals():
    assert Goal(0.85, "accuracy", minutes=20).reached(0.85, 1200)
    assert not Goal(0.85, "accuracy", minutes=20).reached(0.99, 1201)
    assert Goal(1.7, "nats", at_most=True).reached(1.6, 1e9) and not Goal(1.7, "nats", at_most=True).reached(1.71, 1)


def test_unknown_tasks_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["minst_mlp"])
    assert "there is no task 'minst_mlp'; the tasks are mnist_mlp" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dates", "diabetes"])
def test_a_task_runs(name, docs, capsys):
    assert main([name, "--quick", "--docs", str(docs)]) == 0
    assert name in capsys.readouterr().out and not (docs / "learn.json").exists()


def test_the_page_shows_what_was_recorded():
    home = FOLDER.parent.parent / "docs"
    if (home / "learn.json").exists():
        rows = json.loads((home / "learn.json").read_text())
        assert all(row["reached"] for row in rows)
        page = (home / "learn.md").read_text()
        assert all(GOALS[row["task"]].shown(row["figure"]) in page for row in rows)
