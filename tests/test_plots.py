"""Figures: they show the numbers that they should, and leave the model as it is."""

import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, plots, zoo
from chainrule.domain.errors import ArgumentError, DataError, GraphError, MissingDependencyError
from chainrule.plots.graph import arranged
from chainrule.train import Trial


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def small():
    """A convolutional classifier with a batch norm and dropout."""
    layers = [
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(3),
    ]
    return nn.Sequential(*layers, nn.Softmax()).build((None, 1, 10, 10)).compile("cross_entropy", "adam")


def state(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all((one[k] == other[k]).all() for k in one)


def test_class_report_and_confusion_matrix_are_those_of_scikit_learn(rng):
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    true, said = rng.integers(0, 5, 300), rng.integers(0, 5, 300)
    true[true == 3] = 2  # a class that never is
    report = plots.class_report(true, said)
    expected = precision_recall_fscore_support(true, said, labels=range(5), zero_division=0)
    for got, wanted in zip((report.precision, report.recall, report.f1, report.samples), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    assert report.accuracy == accuracy_score(true, said)
    assert report.to_dict()["2"]["samples"] == (true == 2).sum() and "<table>" in report._repr_html_()
    figure = plots.confusion_matrix(true, np.eye(5)[said], list("abcde"))
    matrix = confusion_matrix(true, said, labels=range(5))
    assert [int(t.get_text()) for t in figure.axes[0].texts] == matrix.ravel().tolist()
    shares = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))


@pytest.mark.parametrize(
    ("true", "said", "error", "message"),
    [
        ([0, 1], [0], DataError, "2 labels and 1 predictions"),
        ([0.5, 1.0], [0, 1], DataError, "expected integers"),
        ([-1, 1], [0, 1], DataError, "label -1"),
        ([], [], DataError, "expected integers"),
        ([0, 2], [0, 1], ArgumentError, "a label 2, but 2 classes"),
    ],
)
def test_labels_that_cannot_be(true, said, error, message):
    with pytest.raises(error, match=message):
        plots.class_report(true, said, ["a", "b"])


def test_misclassified_shows_the_surest_mistakes_first(rng):
    chances = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    x = rng.random((4, 1, 3, 3)).astype(np.float32)
    figure = plots.misclassified(x, [0, 0, 1, 0], chances, ["a", "b"])
    assert [t.get_text() for t in figure.axes[0].texts] == ["a → b, 80%", "a → b, 60%"]
    assert [image.get_array().tolist() for image in figure.axes[0].images] == [x[3, 0].tolist(), x[1, 0].tolist()]
    assert "2 of 4 wrong (50.00%)" in figure.get_suptitle()
    other = plots.misclassified(cr.data.ArrayDataset(x, np.zeros(4)), [0, 0, 1, 0], chances, ["a", "b"])
    np.testing.assert_array_equal(other.axes[0].images[0].get_array(), x[3, 0])
    assert "all 4 are right" in plots.misclassified(x, [0, 1, 1, 1], chances).get_suptitle()
    with pytest.raises(DataError, match="expected images"):
        plots.misclassified(x[:, 0], [0, 0, 1, 0], chances)


def test_history_groups_and_marks_the_best_epoch(tmp_path):
    values = {
        "epoch": [1, 2, 3],
        "loss": [3.0, 2.0, 1.0],
        "val_loss": [2.0, 1.5, 1.8],
        "lr": [0.1] * 3,
        "accuracy": [0.1] * 3,
    }
    figure = plots.history(values, tmp_path / "h.png")
    assert [a.get_title() for a in figure.axes] == ["loss", "accuracy", "learning rate"]
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert list(lines["val_loss"]) == [2.0, 1.5, 1.8] and "best: epoch 2" in lines
    assert figure._repr_png_().startswith(b"\x89PNG") and (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DataError, match="no epoch was finished"):
        plots.history({"loss": []})
    with pytest.raises(ArgumentError, match="unknown format"):
        plots.history(values, tmp_path / "h.xyz")
    assert not (tmp_path / "h.xyz").exists()
    assert plots.lr_find(Trial([0.1, 0.2], [1.0, 2.0])).axes[0].get_xscale() == "log"


def test_trainings_are_compared_by_what_all_report():
    small, large = (
        {"loss": [3.0, 2.0], "val_loss": [3.0, 2.5], "lr": [0.1, 0.1]},
        {"loss": [1.0, 0.5, 0.2], "val_loss": [2.0] * 3},
    )
    figure = plots.compare({"small": small, "large": {**large, "accuracy": [0.1] * 3}})
    (axes,) = figure.axes
    drawn = [(line.get_label(), line.get_linestyle(), list(line.get_ydata())) for line in axes.lines]
    assert drawn[0] == ("small", "-", [3.0, 2.0]) and drawn[2] == ("large", "-", [1.0, 0.5, 0.2])
    assert drawn[1][1:] == ("--", [3.0, 2.5]) and len(drawn) == 4
    assert axes.lines[0].get_color() == axes.lines[1].get_color() != axes.lines[2].get_color()
    with pytest.raises(DataError, match="nothing to compare"):
        plots.compare({"a": {"loss": [1.0]}, "b": {"accuracy": [1.0]}})


def test_predictions_have_the_score_of_scikit_learn(rng):
    from sklearn.metrics import r2_score

    true = rng.standard_normal(50)
    said = true + 0.3 * rng.standard_normal(50)
    left, right = plots.predictions(true[:, None], cr.tensor(said)).axes
    assert left.get_title() == f"predicted over true, R² {r2_score(true, said):.3f}"
    np.testing.assert_allclose(left.collections[0].get_offsets(), np.stack([true, said], axis=1))
    assert sum(patch.get_height() for patch in right.patches) == 50
    with pytest.raises(DataError, match="2 targets and 3 predictions"):
        plots.predictions([1, 2], [1, 2, 3])


def test_filters_are_the_weights(rng):
    model = small()
    shown = [image.get_array() for image in plots.filters(model).axes[0].images]
    np.testing.assert_array_equal(np.stack(shown), model[0].weight.detach().numpy()[:, 0])
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    shown = plots.filters(linear, shape=(3, 4)).axes[0].images[2].get_array()
    np.testing.assert_array_equal(shown, linear[1].weight.detach().numpy()[2].reshape(3, 4))
    with pytest.raises(ArgumentError, match="no square image"):
        plots.filters(linear)
    with pytest.raises(ArgumentError, match="did you mean '1'|unknown layer"):
        plots.filters(linear, "7")
    with pytest.raises(ArgumentError, match="has no Conv2d or Linear"):
        plots.filters(nn.Sequential(nn.ReLU()))


def test_feature_maps_are_what_the_layers_give(rng):
    model, image = small(), rng.random((1, 10, 10)).astype(np.float32)
    before = state(model)
    figure = plots.feature_maps(model, image, layers=["0", "2"])
    assert [t.get_text() for t in figure.axes[0].texts] == ["image", "0 Conv2d", "2 ReLU"]
    convolved = model[0](cr.tensor(image[None])).detach().numpy()[0]
    np.testing.assert_allclose(figure.axes[0].images[1 + 1].get_array(), convolved[1], rtol=1e-6)
    assert same(state(model), before) and model.training and model[0]._hooks is None
    with pytest.raises(ArgumentError, match="gives maps"):
        plots.feature_maps(nn.Sequential(nn.Flatten(), nn.Linear(100, 2)), image)


def test_weights_counts_every_value():
    model = small()
    figure = plots.weights(model)
    counts = {a.get_title(): sum(p.get_height() for p in a.patches) for a in figure.axes}
    assert counts["0.weight (4, 1, 3, 3)"] == 36 and sum(counts.values()) == sum(p.size for p in model.parameters())


def test_gradients_are_those_of_the_loss_and_nothing_changes(rng):
    x, y = rng.standard_normal((12, 4)).astype(np.float32), rng.integers(0, 2, 12)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).compile("cross_entropy", "sgd")
    figure = plots.gradients(model, x, y, batch_size=12)
    cr.losses.cross_entropy(model(cr.tensor(x)), cr.tensor(y)).backward()
    medians = [float(line.get_xdata()[0]) for line in figure.axes[0].lines if line.get_marker() == "|"]
    expected = [np.median(np.abs(p.grad.numpy())) for p in model.parameters()]
    np.testing.assert_allclose(medians, expected, rtol=1e-5)
    normed = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(), nn.Linear(6, 2)).build((None, 4)).compile("cross_entropy")
    before = state(normed)
    figure = plots.gradients(normed, x, y)
    assert same(state(normed), before) and all(p.grad is None for p in normed.parameters())
    medians = [float(line.get_xdata()[0]) for line in figure.axes[0].lines if line.get_marker() == "|"]
    cr.losses.cross_entropy(normed.train()(cr.tensor(x)), cr.tensor(y)).backward()  # as in training
    expected = [np.median(np.abs(p.grad.numpy()[p.grad.numpy() != 0])) for p in normed.parameters()]
    np.testing.assert_allclose(medians[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(medians[-2:], expected[-2:], rtol=1e-4)
    dead = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).compile("cross_entropy", "sgd")
    dead[0].bias.load(np.full(6, -1e3, np.float32))
    notes = [a.get_text() for a in plots.gradients(dead, x, y).axes[0].texts]
    assert notes[:2] == ["100% are 0", "100% are 0"]


def test_loss_landscape_has_the_loss_in_its_middle(rng):
    x, y = rng.standard_normal((20, 4)).astype(np.float32), rng.integers(0, 3, 20)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(), nn.ReLU(), nn.Linear(8, 3)).compile(
        "cross_entropy", "adam"
    )
    model.fit(x, y, epochs=30, verbose=0)
    before = state(model)
    figure = plots.loss_landscape(model, x, y, steps=5, span=0.5)
    assert same(state(model), before)
    one, other = (line.get_ydata() for line in figure.axes[1].lines)
    found = model.evaluate(x, y)["loss"]
    assert one[2] == other[2] == pytest.approx(found, rel=1e-5) and max(one[0], one[4], other[0], other[4]) > found
    np.testing.assert_allclose(figure.axes[1].lines[0].get_xdata(), [-0.5, -0.25, 0, 0.25, 0.5])
    with pytest.raises(ArgumentError, match="at least 3"):
        plots.loss_landscape(model, x, y, steps=1)


def test_attention_is_what_the_layers_weigh(rng):
    layer = nn.MultiHeadAttention(8, 2)
    x = rng.standard_normal((5, 8)).astype(np.float32)
    _, weights = layer(cr.tensor(x[None]), need_weights=True, average_attn_weights=False)
    figure = plots.attention(nn.Sequential(layer), x, tokens="hello")
    for head, axes in enumerate(figure.axes):
        np.testing.assert_allclose(axes.images[0].get_array(), weights.detach().numpy()[0, head], rtol=1e-5)
    assert "forward" not in vars(layer)
    gpt = zoo.create("gpt", 12, width=16, depth=1, heads=2, context=6)
    shown = plots.attention(gpt, np.arange(6)).axes[0].images[0].get_array()
    np.testing.assert_allclose(shown.sum(axis=1), 1, rtol=1e-5)
    assert np.triu(shown, 1).max() == 0
    with pytest.raises(ArgumentError, match="no MultiHeadAttention"):
        plots.attention(small(), x)


def test_decision_boundary_has_the_colours_of_what_is_said(rng):
    model = nn.Sequential(nn.Linear(3, 3))
    x = rng.standard_normal((40, 3)).astype(np.float32)
    figure = plots.decision_boundary(model, x, rng.integers(0, 3, 40), features=(2, 0), steps=12, names=["a", "b", "c"])
    axes = figure.axes[0]
    image, (left, right, low, high) = axes.images[0].get_array(), axes.images[0].get_extent()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("c", "a") and axes.get_title() == "other features at their means"
    from matplotlib import colormaps

    colours = colormaps["tab10"](range(3))[:, :3]
    points = np.tile(x.mean(axis=0), (144, 1))
    points[:, 2] = np.tile(np.linspace(left, right, 12), 12)
    points[:, 0] = np.repeat(np.linspace(low, high, 12), 12)
    chances = model.predict(points.astype(np.float32)).softmax(axis=1).numpy()
    sure = chances.max(axis=1) > 0.5  # paler is nearer to white
    nearest = (image.reshape(-1, 1, 3) - 1) / -np.maximum(
        (1 - image.reshape(-1, 1, 3)).max(axis=2, keepdims=True), 1e-9
    )
    tints = (1 - colours) / (1 - colours).max(axis=1, keepdims=True)
    said = np.abs(nearest - tints).sum(axis=2).argmin(axis=1)
    assert (said == chances.argmax(axis=1))[sure].all() and sure.sum() > 50
    with pytest.raises(DataError, match="expected"):
        plots.decision_boundary(model, x[:, 0])
    with pytest.raises(ArgumentError, match="features are"):
        plots.decision_boundary(model, x, features=(0, 3))
    yes = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())
    assert plots.decision_boundary(yes, x[:, :2], (x[:, 0] > 0).astype(int), steps=8).axes


def test_the_computation_graph_is_the_tape(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4))
    x = cr.ones(2, 3, requires_grad=True)
    h = model(x)
    loss = (h + h * h).sum()
    graph = plots.computation_graph(loss, model, {"x": x})
    boxes = {box.key: box for box in graph.boxes.values()}
    names = {key: box.name for key, box in boxes.items()}
    made = {box.name: sorted(names[k] for k in box.inputs) for box in boxes.values() if box.inputs}
    assert made["sum"] == ["add"] and made["add"] == ["linear", "mul"] and made["mul"] == ["linear"]
    leaves = {box.name: box.kind for box in boxes.values() if box.kind in ("leaf", "input")}
    assert leaves == {"x": "input", "0.weight": "leaf", "0.bias": "leaf", "2.weight": "leaf", "2.bias": "leaf"}
    assert [box.kind for box in boxes.values()].count("output") == 1 and "sum () ← " in str(graph)
    svg = ElementTree.fromstring(graph.svg())
    assert len(svg.findall("{*}rect")) == len(boxes)
    assert len(svg.findall("{*}path")) == sum(len(box.inputs) for box in boxes.values()) == graph.dot().count("->")
    for layer in arranged(graph.boxes):
        for one, other in zip(layer, layer[1:], strict=False):
            assert boxes[other].x - boxes[one].x >= (boxes[one].width + boxes[other].width) / 2, "boxes overlap"
    assert all(boxes[k].rank < box.rank for box in boxes.values() for k in box.inputs)
    for suffix in ("svg", "dot", "txt"):
        graph.save(tmp_path / f"g.{suffix}")
    assert "<svg" in graph._repr_html_() and repr(graph) == "ComputationGraph(6 calls, 5 leaves)"
    with pytest.raises(ArgumentError, match=r"expected .svg, .dot, .txt"):
        graph.save(tmp_path / "g.png")
    loss.backward()
    with pytest.raises(GraphError, match="has consumed the tape"):
        plots.computation_graph(loss)
    with pytest.raises(GraphError, match="not on the tape"):
        plots.computation_graph(cr.ones(2))


@pytest.mark.parametrize("seed", range(20))
def test_boxes_of_a_graph_do_not_overlap_wherever_they_want_to_be(seed):
    from chainrule.plots.graph import GAP, Box, spread

    rng = np.random.default_rng(seed)
    keys = [f"n{k}" for k in range(rng.integers(1, 12))]
    boxes = {k: Box(k, "x" * int(rng.integers(1, 30)), "op", x=float(rng.integers(-100, 100))) for k in keys}
    layer = sorted(keys, key=lambda k: boxes[k].x)
    spread(layer, boxes)
    for one, other in zip(layer, layer[1:], strict=False):
        apart = boxes[other].x - boxes[one].x
        assert apart >= (boxes[one].width + boxes[other].width) / 2 + GAP - 1e-6


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=re.escape("pip install 'chainrule[plot]'")):
        plots.weights(small())
    monkeypatch.undo()
    assert plots.weights(small()).axes


# ---- in the terminal

CURVES = {"loss": [3.0, 2.0, float("nan"), 1.0], "val_loss": [3.5, 2.5, 2.0, 1.5]}


@pytest.mark.parametrize("width", [20, 40, 80, 120])
@pytest.mark.parametrize("ascii", [False, True])
def test_terminal_plots_fit(width, ascii, rng):
    matrix = rng.integers(0, 1000, (10, 10))
    texts = [
        plots.terminal.lines(CURVES, width=width, ascii=ascii),
        plots.terminal.lines({"x": [1.0]}, width=width, ascii=ascii),
        plots.terminal.lines({"x": rng.random(500)}, width=width, ascii=ascii),
        plots.terminal.bars({"a long name of a class": 12345, "b": 1}, width=width, ascii=ascii),
        plots.terminal.histogram(rng.standard_normal(100), width=width, ascii=ascii),
        plots.terminal.picture(rng.random((3, 150, 200)), width=width, ascii=ascii),
    ]
    if not ascii:
        texts.append(plots.terminal.matrix(matrix, [f"class {k}" for k in range(10)], width=width))
    for text in texts:
        assert max(map(len, text.splitlines())) <= width, text
        assert not ascii or text.replace("…", "").isascii()


def test_terminal_lines_show_the_course():
    text = plots.terminal.lines({"x": [0.0, 1.0, 2.0, 3.0]}, width=30, height=11, ascii=True)
    columns = [line.index("*") for line in text.splitlines()[:8] if "*" in line]
    assert columns == sorted(columns, reverse=True) and len(columns) == 4
    assert text.splitlines()[0].split()[0] == "3" and text.splitlines()[7].split()[0] == "0"
    dots = plots.terminal.lines({"x": [0.0, 1.0]}, width=30, height=6)
    assert all(0x2800 <= ord(c) <= 0x28FF for c in dots.splitlines()[1].partition("│")[2].replace(" ", ""))
    with pytest.raises(DataError, match="no finite number"):
        plots.terminal.lines({"x": [float("nan")]})


def test_terminal_pictures_and_matrices():
    ramp = np.linspace(0, 1, 5)[None].repeat(2, axis=0)
    assert plots.terminal.picture(ramp).strip("\n") == " ░▒▓█"
    assert plots.terminal.matrix([[5, 0], [0, 7]], ["a", "b"], width=10).splitlines()[1].split() == ["a", "5", "0"]
    assert plots.terminal.matrix(np.eye(30), [f"class {k}" for k in range(30)], width=40) == "nothing is confused"


# ---- the figures and the report of a run


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The figures of a run on the small digits."""
    from chainrule.apps.figures import Figures
    from chainrule.apps.settings import Settings
    from chainrule.apps.training import train

    folder = tmp_path_factory.mktemp("run") / "cnn"
    told = {"model.name": "cnn", "model.channels": [4], "data.name": "digits", "data.limit": 300, "train.epochs": 2}
    train(Settings().changed(told), folder, verbose=0)
    from chainrule.apps.runs import opened

    return Figures(opened(folder), progress=False)


@pytest.mark.parametrize("kind", "history confusion classes lr graph".split())
def test_a_figure_of_a_run(kind, figures):
    made = figures.make(kind)
    assert made.path is None if kind == "classes" else made.path.stat().st_size > 500
    assert made.text if kind in ("history", "confusion", "classes", "weights", "lr", "graph") else not made.text
    if kind == "history":
        assert made.values["epoch"] == [1, 2]


def test_the_report_of_a_run_needs_nothing_else(figures, tmp_path):
    from html.parser import HTMLParser

    from chainrule.apps.page import write_report

    path = write_report(figures.run, tmp_path / "r.html")
    text = path.read_text(encoding="utf-8")
    seen = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            seen.append((tag, dict(attributes)))

    Reader().feed(text)
    loads = [a.get("src") or a.get("href") for tag, a in seen if tag in ("img", "script", "link", "a", "iframe")]
    assert loads and all(link.startswith(("data:image/png;base64,", "#")) for link in loads)
    sections = [a["id"] for tag, a in seen if tag == "section"]
    assert {"history", "confusion", "classes", "misclassified", "filters", "features", "weights", "gradients"} <= {
        *sections
    }
    assert {"epochs", "model", "graph", "settings", "environment"} <= {*sections} and "attention" not in sections
    assert "cnn on digits" in text and f"{figures.run.report['test_accuracy']:.4g}" in text
    fast = write_report(figures.run, tmp_path / "f.html", fast=True).read_text(encoding="utf-8")
    assert 'id="history"' in fast and 'id="confusion"' not in fast
