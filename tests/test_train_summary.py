"""The summary of a model: what it counts, by hand, and how it is shown."""

import json

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends, errors, nn


def test_summary_counts_and_shows():
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(10)
    )
    early = network.summary()
    assert not early.complete and early.total == 80 + 16 + 10 and "?" in str(early)
    table = network.summary((None, 1, 28, 28))
    rows = {row.name: (row.layer, row.output, row.parameters) for row in table.rows}
    assert rows["0"] == ("Conv2d", "(None, 8, 28, 28)", 80)
    assert rows["1"] == ("BatchNorm2d", "(None, 8, 28, 28)", 16)
    assert rows["3"] == ("MaxPool2d", "(None, 8, 14, 14)", 0)
    assert rows["5"] == ("Linear", "(None, 10)", 15690)
    assert table.total == table.trainable == 80 + 16 + 15690
    assert "15,690" in str(table) and "15,786 parameters" in str(table)
    assert ">Conv2d</td>" in table._repr_html_()
    assert table.to_dict()["total"] == 15786
    assert network.summary((2, 1, 28, 28)).rows[0].output == "(2, 8, 28, 28)"


def test_summary_of_shared_frozen_and_own_parameters():
    class Tied(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter([1.0, 2.0])
            self.blocks = [nn.Linear(2, 2), nn.Linear(2, 2)]
            self.blocks[1].weight = self.blocks[0].weight

        def forward(self, x):
            return self.blocks[1](self.blocks[0](x)) * self.scale

    tied = Tied()
    tied.blocks[1].bias.requires_grad = False
    table = tied.summary((1, 2))
    assert [(row.name, row.parameters) for row in table.rows] == [("", 2), ("blocks.0", 6), ("blocks.1", 2)]
    assert (table.total, table.trainable) == (10, 8)
    assert "8 of them trained" in str(table)


def test_summary_leaves_no_trace():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    network.train()
    network.summary((8, 3))
    assert network.training and network[1].running_mean.numpy().sum() == 0
    assert all(parameter.grad is None for parameter in network.parameters())
    assert cr.is_grad_enabled()


def example():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(10),
    )  # fmt: skip


def test_the_numbers_of_a_cnn_by_hand():
    table = example().summary((None, 1, 28, 28))
    assert [row.parameters for row in table.rows if row.parameters] == [80, 1168, 50_240, 650]
    assert [row.macs for row in table.rows if row.macs] == [28 * 28 * 8 * 9, 14 * 14 * 16 * 8 * 9, 784 * 64, 640]
    assert (table.total, table.trainable, table.bytes) == (52_138, 52_138, 4 * 52_138)
    assert table.macs == 333_056 and table.input_bytes == 4 * 784
    given = 2 * 6272 + 1568 + 2 * 3136 + 2 * 784 + 3 * 64 + 10  # what the layers give, one after another
    assert table.activation_bytes == 2 * 4 * given
    assert example().summary((5, 1, 28, 28)).macs == 5 * 333_056


class Attends(nn.Module):
    """Attention of 7 queries over 5 keys of 4 heads."""

    def __init__(self):
        self.inner = nn.MultiHeadAttention(16, 4)

    def forward(self, x):
        return self.inner(x[:, :7], x[:, 7:], x[:, 7:])


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Linear(5, 3), (2, 7, 5), 2 * 7 * 5 * 3),
        (nn.Linear(5, 3, bias=False), (2, 5), 2 * 5 * 3),
        (nn.Conv1d(4, 6, 3), (2, 4, 10), 2 * 8 * 6 * 4 * 3),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 9, 7), 2 * 5 * 4 * 6 * 2 * 9),
        (nn.Conv2d(4, 4, 3, groups=4), (1, 4, 6, 6), 16 * 4 * 9),
        (nn.Conv2d(4, 8, 1), (1, 4, 6, 6), 36 * 8 * 4),
        (nn.Conv3d(2, 3, 2), (1, 2, 4, 5, 6), 3 * 4 * 5 * 3 * 2 * 8),
        (nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 5), 2 * 4 * 5 * 6 * 3),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (2, 4, 5, 6), 2 * 4 * 30 * 3 * 9),
        (nn.RNN(4, 8), (6, 3, 4), 18 * 8 * (4 + 8)),
        (nn.LSTM(4, 8), (6, 3, 4), 18 * 4 * 8 * (4 + 8)),
        (nn.GRU(4, 8, num_layers=2), (6, 3, 4), 18 * 3 * 8 * (4 + 8) + 18 * 3 * 8 * (8 + 8)),
        (nn.Bidirectional(nn.LSTM(4, 8)), (6, 3, 4), 2 * 18 * 4 * 8 * (4 + 8)),
        (Attends(), (2, 12, 16), 2 * (2 * 7 + 2 * 5) * 256 + 2 * 2 * 7 * 5 * 16),
        (nn.BatchNorm1d(5), (3, 5), 0),
        (nn.Embedding(10, 4), (3, 5), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_multiply_adds_by_hand(layer, shape, macs, backend):
    with backends.use(backend):
        made = nn.create(nn.describe(layer)) if not isinstance(layer, Attends) else Attends()
        table = made.summary(shape)
    assert table.macs == macs == sum(row.macs for row in table.rows)


def test_layers_that_stand_twice():
    class Twice(nn.Module):
        def __init__(self):
            self.first = nn.Linear(4, 4)
            self.block = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
            self.again = self.block

        def forward(self, x, y):
            return self.again(self.first(self.first(x)) + y)

    table = Twice().summary([(None, 4), (3, 4)])
    assert [(row.name, row.parameters, row.macs) for row in table.rows] == [
        ("first", 20, 32), ("block.0", 20, 48), ("block.1", 10, 24), ("again", 0, 0),
    ]  # fmt: skip
    assert table.total == 50 and table.macs == 104 and table.input_bytes == 4 * 4 * 4
    lines = str(table).splitlines()
    assert "Linear ×2" in lines[2] and "Sequential = block" in lines[5]
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    table = tied.summary((None, 3))
    assert [(row.parameters, row.shared) for row in table.rows] == [(12, 0), (3, 9)] and table.total == 15
    assert "  3*" in str(table) and "* and parameters of a layer above" in str(table)


def test_nested_layers_have_paths_or_one_row():
    network = nn.Sequential(
        nn.Embedding(50, 16), nn.Sequential(nn.TransformerEncoderLayer(16, 4, 32), nn.Linear(16, 4))
    )
    whole, outer, middle = (network.summary((None, 7), depth=depth) for depth in (None, 1, 2))
    assert {"1.0.self_attn.q_proj", "1.0.self_attn", "1.1"} <= {row.name for row in whole.rows}
    assert [(row.name, row.layer) for row in outer.rows] == [("0", "Embedding"), ("1", "Sequential")]
    assert [row.name for row in middle.rows] == ["0", "1.0", "1.1"]
    for table in (outer, middle):
        assert sum(row.parameters for row in table.rows) == table.total == whole.total
        assert sum(row.macs for row in table.rows) == table.macs == whole.macs
    assert outer.rows[1].output == "(None, 7, 4)"
    with pytest.raises(errors.ArgumentError, match="depth is 0"):
        network.summary(depth=0)


def test_a_graph_knows_its_inputs():
    a, b = nn.Input((6,), name="a"), nn.Input((2,), name="b")
    shared = nn.Linear(4)
    graph = nn.Graph([a, b], nn.Linear(3)(shared(nn.Linear(4)(a)) + shared(nn.Linear(4)(b))))
    table = graph.summary()
    assert table.total == 28 + 20 + 12 + 15 and table.macs == 24 + 2 * 16 + 8 + 12
    assert table.rows[-1].output == "(None, 3)" and table.input_bytes == 32
    assert graph.summary({"b": (5, 2), "a": (5, 6)}).macs == 5 * table.macs
    with pytest.raises(errors.ShapeError, match="the input shape is"):
        graph.summary(["a", "b"])


@pytest.mark.parametrize("width", [20, 24, 40, 60, 80, 200])
def test_the_text_fits_where_it_is_shown(width):
    network = nn.Sequential(example())
    network[0][0].requires_grad_(False)
    lines = network.summary((None, 1, 28, 28)).text(width).splitlines()
    assert max(map(len, lines)) <= width
    if width >= 40:
        assert any("0.7" in line and "50,240" in line for line in lines)
    if width >= 80:
        assert "trained" in lines[0] and "MACs" in lines[0] and "kernel" in lines[0] and "no" in lines[2]


def test_on_a_terminal_the_text_is_as_wide_as_it(monkeypatch):
    table = example().summary((None, 1, 28, 28))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: __import__("os").terminal_size((50, 20)))
    assert max(map(len, str(table).splitlines())) <= 50


def test_what_json_has():
    table = example().summary((None, 1, 28, 28))
    text = json.loads(json.dumps(table.to_dict()))
    assert text["layers"][0] == {
        "name": "0", "layer": "Conv2d", "kernel": "3×3", "output": "(None, 8, 28, 28)", "parameters": 80,
        "trainable": 80, "shared": 0, "macs": 56_448, "calls": 1, "same_as": None,
    }  # fmt: skip
    assert (text["total"], text["macs"], text["complete"]) == (52_138, 333_056, True)
    early = example().summary()
    assert early.macs is None and "MACs" not in str(early) and early.to_dict()["input_bytes"] is None


def test_float64_and_integers():
    table = nn.Sequential(nn.Linear(3, 2)).to(dtype="float64").summary((None, 3))
    assert (table.bytes, table.input_bytes, table.activation_bytes) == (64, 24, 32)

    class Both(nn.Module):
        def __init__(self):
            self.words, self.dense = nn.Embedding(10, 4), nn.Linear(3, 4)

        def forward(self, x, words):
            return self.dense(x) + self.words(words)

    table = Both().summary([(2, 3), (2,)], dtypes=["float32", "int64"])
    assert table.input_bytes == 2 * 3 * 4 + 2 * 8 and np.isclose(table.macs, 24)


def test_a_module_in_a_notebook():
    shown = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(1)))._repr_html_()
    assert shown.startswith("<details open><summary>Sequential()</summary><div")  # not all sizes are known
    assert ">0: Linear(in_features=2, out_features=3)</div>" in shown and "<summary>1: Sequential()</summary>" in shown
    assert shown.count("<details") == shown.count("</details>") == 2
