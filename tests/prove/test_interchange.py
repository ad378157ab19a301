"""The matrix of ``make interchange``: it sees deviations, counts what was called, and keeps what it cannot measure."""

import numpy as np
import pytest
from tests.prove import interchange
from tests.prove.interchange import HEAD, PAGE, ROWS, measured, own, table

import chainrule as cr
from chainrule import nn


def test_a_deviation_is_seen(monkeypatch):
    assert (measured(own(".npz")).worst, measured(own(".npz")).models) == (0.0, len(interchange.MODELS))
    load = cr.load

    def loaded(path):
        model = load(path)
        for value in model.state_dict().values():
            if value.is_floating:
                value.copy_(value + 0.25)
        return model

    monkeypatch.setattr(cr, "load", loaded)
    assert measured(own(".npz")).worst > 0.01


def test_what_is_called_and_compared_counts():
    def measure(trial, folder):
        nn.Sequential(nn.Linear(2, 3), nn.ReLU())(cr.ones(1, 2))
        np.testing.assert_allclose([1.0, 2.0], [1.0, 2.5], atol=1.0)

    trial = measured(measure)
    assert trial.kinds == {"Sequential", "Linear", "ReLU"} and trial.worst == 0.5


def test_rows_without_their_peer_stay(monkeypatch):
    def missing(trial, folder):
        raise ImportError("no peer")

    monkeypatch.setattr(
        interchange, "ROWS", [(("A", "read", "its peer"), missing), (("B", "read", "its peer"), missing)]
    )
    line = "| A | read | its peer | 3 | 4 | 1.0e-07 |"
    assert table(f"{HEAD}{line}\n") == (f"{HEAD}{line}\n", 0)


@pytest.mark.parametrize("titles", [titles for titles, _ in ROWS], ids="|".join)
def test_the_page_has_every_row_and_none_is_far_apart(titles):
    line = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {' | '.join(titles)} |"))
    assert float(line.split("|")[6]) < 1e-4
