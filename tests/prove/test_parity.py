"""The report of ``make parity``: it holds, it leaves nothing out, and it would see a deviation."""

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from tests.prove.parity import layers, losses, optimizers  # noqa: E402
from tests.prove.parity.__main__ import report  # noqa: E402
from tests.prove.parity.measure import Case, Row, deviation, run  # noqa: E402

import chainrule as cr  # noqa: E402
from chainrule import nn, optim  # noqa: E402

HOME = Path(__file__).parent.parent.parent


@pytest.mark.filterwarnings("ignore")  # PyTorch's own
def test_every_row_holds(record_property):
    text, failed = report()
    record_property("cases", sum(int(n.replace(",", "")) for n in re.findall(r"rows, ([\d,]+) cases", text)))
    assert not failed
    for path in set(re.findall(r"`(tests/[\w/.]+)`", text)):
        assert (HOME / path).is_file(), path


def test_nothing_is_left_out():
    listed = {*layers.LAYERS, *layers.COVERED}
    assert {name for name in nn.REGISTRY if hasattr(torch.nn, name)} <= listed
    known = {*losses.LOSSES, *losses.COMPOSED, "SSE", "CategoricalCrossEntropy"}
    kinds = {
        name for name, kind in vars(cr.losses).items() if isinstance(kind, type) and issubclass(kind, cr.losses.Loss)
    }
    assert kinds - {"Loss", "Elementwise"} <= known
    assert {kind.__name__ for kind in optim.NAMES.values()} <= {*optimizers.GRID, *optimizers.ALONE}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (cr.silu, torch.nn.functional.mish),
        (lambda x: cr.clip(x, min=0), torch.abs),
        (lambda x: x.sum(), lambda x: x.sum(0, keepdim=True)),
        (lambda x: x.to("float64"), lambda x: x * 1),
    ],
)
def test_a_difference_is_seen(ours, theirs):
    row = Row("x", "x", 16.0)
    run(row, Case(ours, theirs, [np.linspace(-3, 3, 7)], [0]))
    assert not row.holds


def test_units_of_rounding():
    one = np.ones(3, np.float32)
    assert deviation(one, one, "float32") == (0, 0)
    assert deviation(one + np.float32(2**-23), one, "float32")[1] == 1
    assert deviation(one, one.astype(np.float64), "float32") == (np.inf, np.inf)
    assert deviation(np.array([np.nan, 1.0]), np.array([1.0, 1.0]), "float64")[0] == np.inf
    assert deviation(np.array([np.nan, np.inf]), np.array([np.nan, np.inf]), "float64") == (0, 0)
