"""The page's own JavaScript, run by node: what it makes of drawings and how it runs networks, against Python to 1e-5."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, nn, zoo
from chainrule.apps import insight
from chainrule.apps.image import preprocess
from chainrule.apps.predictor import DigitPredictor
from chainrule.apps.serve.app import PAGE
from chainrule.apps.serve.network import exported

DRAWINGS = json.loads((Path(__file__).parent.parent / "fixtures" / "drawings.json").read_text())
NODE = shutil.which("node") or shutil.which("nodejs")
PROGRAM = """
import { readFileSync, writeFileSync } from "node:fs";
import { NoDigit, preprocess } from "./digits.js";
import { Network } from "./network.js";
import { cut } from "./drawing.js";
const given = JSON.parse(readFileSync("given.json"));
const network = given.network && (() => { const b = readFileSync("network.bin");
  return new Network(b.buffer.slice(b.byteOffset, b.byteOffset + b.length)); })();
const end = (steps) => { for (;;) { const { done, value } = steps.next(); if (done) return value; } };
const polite = (act) => { try { return act(); } catch (error) {
  if (error instanceof NoDigit) return error.message;
  throw error; } };
const calls = {
  images: () => given.drawings.map((drawing) => polite(() => Array.from(preprocess(drawing)))),
  read: () => given.images.map((image) => network.probabilities(Float32Array.from(image))),
  saliency: () => given.images.map((image) => end(network.saliency(Float32Array.from(image), given.label, 1, given.noise))),
  maps: () => network.maps(Float32Array.from(given.images[0])),
  cut: () => given.lines.map((points) => cut(points, given.centre, given.radius)),
};
writeFileSync("found.json", JSON.stringify(given.calls.map((name) => calls[name]())));
"""


@pytest.fixture
def run(tmp_path):
    """Has the modules of the page answer calls, each of what is given."""
    for path in PAGE.glob("*.js"):
        shutil.copy(path, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "program.js").write_text(PROGRAM)

    def run_page(*calls, network=None, **given):
        if network is not None:
            (tmp_path / "network.bin").write_bytes(network)
        given |= {"calls": calls, "network": network is not None}
        (tmp_path / "given.json").write_text(json.dumps(given))
        subprocess.run([NODE, "program.js"], cwd=tmp_path, check=True, timeout=300)
        found = json.loads((tmp_path / "found.json").read_text())
        return found if len(calls) > 1 else found[0]

    return run_page


def picture(grey):
    """A picture as the page has it."""
    return {"data": np.ravel(grey).tolist(), "height": len(grey), "width": len(grey[0])}


def test_the_committed_drawings_are_read_alike(run):
    predictor = DigitPredictor()
    wanted = [predictor(d["strokes"], d["pen"]) for d in DRAWINGS]
    images = [found.steps.image.ravel() for found in wanted]
    drawings = [{"strokes": d["strokes"], "pen": d["pen"]} for d in DRAWINGS]
    made, read = run(
        "images",
        "read",
        drawings=drawings,
        images=np.array(images).tolist(),
        network=exported(predictor.model),
    )
    assert np.abs(np.array(made) - images).max() < 1e-6
    assert np.abs(np.array(read) - [found.probabilities for found in wanted]).max() < 1e-5


def test_pictures_are_prepared_alike_and_refused_alike(run):
    draw = np.random.default_rng(0)
    pictures = []
    for k in range(60):  # a line of ink on paper, with grain, some light on dark, some too small or empty
        height, width = draw.integers(20, 200, 2)
        ink = np.zeros((height, width))
        top, left = draw.integers(1, height // 2), draw.integers(1, width // 2)
        ink[top : top + draw.integers(2, height // 2), left : left + max(2, width // 12)] = draw.uniform(0.3, 1)
        grey = np.clip((ink if k % 2 else 1 - ink) * 255 + draw.normal(0, k % 5, ink.shape), 0, 255)
        pictures.append(np.rint(grey))
    pictures += [np.zeros((30, 30)), np.eye(2) * 255, np.pad(np.ones((60, 60)), 1) * 255]
    found = run("images", drawings=[{"picture": picture(one)} for one in pictures])
    refused = 0
    for one, image in zip(pictures, found, strict=True):
        try:
            wanted = preprocess(one).image
        except errors.DataError as error:
            refused += 1
            assert str(error).partition("] ")[2].casefold() == image.casefold()
        else:
            assert np.abs(wanted.ravel() - image).max() < 1e-6
    assert 3 <= refused < 20


def test_what_is_no_drawing_is_refused_in_the_same_words(run):
    scribble = [[[float(i % 2), i / 500] for i in range(500)]]
    cases = [([], 1), ([[[5, 5]]], 2), ([[[0, 0], [1, 1]]] * 501, 0.1), ([[[0, 0]] * 20_001], 1), (scribble, 0.01)]
    found = run("images", drawings=[{"strokes": strokes, "pen": pen} for strokes, pen in cases])
    for (strokes, pen), text in zip(cases, found, strict=True):
        with pytest.raises(errors.DataError) as told:
            preprocess(strokes, pen)
        assert str(told.value).partition("] ")[2].casefold() == text.casefold()


def mixed():
    """A network of every kind of layer that the page knows, with uneven sizes."""
    body = nn.Sequential(
        nn.Conv2d(6, 6, 3, padding="same", groups=3), nn.BatchNorm2d(), nn.SiLU(), nn.Conv2d(6, 8, 1, bias=False)
    )
    return nn.Sequential(
        nn.Conv2d(1, 6, (3, 2), stride=(2, 1), padding=(2, 0), dilation=(1, 2)),
        nn.Dropout(0.5),
        nn.ELU(0.7),
        nn.Residual(body, nn.Conv2d(6, 8, 1)),
        nn.LeakyReLU(0.2),
        nn.MaxPool2d((3, 2), (2, 3), padding=1),
        nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
        nn.AvgPool2d(2, 1, padding=1),
        nn.Conv2d(8, 8, 2, padding="same"),
        nn.Tanh(),
        nn.GlobalAvgPool2d(),
        nn.Flatten(),
        nn.BatchNorm1d(),
        nn.Sigmoid(),
        nn.Identity(),
        nn.Linear(10),
        nn.ReLU(),
        nn.Linear(10),
        nn.Softmax(temperature=1.7),
    )


MODELS = {name: getattr(zoo, name) for name in ("linear", "mlp", "lenet", "cnn", "vgg", "resnet")} | {
    "mixed": lambda outputs: mixed(),
    "scores": lambda outputs: nn.Sequential(*mixed()[:-1]),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_goes_forward_and_back_as_in_python(run, name):
    cr.manual_seed(3)
    draw = np.random.default_rng(1)
    model = MODELS[name](10).build((None, 1, 28, 28))
    model.train()
    for _ in range(3):  # so that batch norms have statistics of their own
        model(cr.tensor(draw.normal(0.3, 1, (16, 1, 28, 28)).astype(np.float32)))
    model.eval()
    images = draw.random((3, 28, 28)).astype(np.float32)
    read, saliency, maps = run(
        "read",
        "saliency",
        "maps",
        images=images.reshape(3, -1).tolist(),
        label=4,
        noise=0,
        network=exported(model),
    )
    predictor = DigitPredictor(model)
    assert np.abs(predictor.scores(images[:, None]) - read).max() < 1e-5
    for image, found in zip(images, saliency, strict=True):
        assert np.abs(insight.saliency(model, image, 4, noise=0) - found).max() < 1e-4  # of a maximum of 1
    if name in ("linear", "mlp"):
        assert maps == {"layer": "", "maps": []}
    else:
        wanted = insight.feature_maps(model, images[0])
        assert maps["layer"] == wanted.layer and np.abs(wanted.maps - maps["maps"]).max() < 1e-5


def test_an_eraser_takes_what_lies_under_it(run):
    line = [[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]]
    far, dot, under = [[0.0, 0.3], [1.0, 0.3]], [[0.55, 0.0]], [[0.45, 0.0], [0.5, 0.05]]
    found = run("cut", lines=[line, far, dot, under, [[0.5, 0.5]]], centre=[0.5, 0.0], radius=0.1)
    left, right = found[0]
    assert np.allclose(left, [[0, 0], [0.4, 0]]) and np.allclose(right, [[0.6, 0], [1, 0]])
    assert found[1:] == [[far], [], [], [[[0.5, 0.5]]]]
    draw = np.random.default_rng(2)  # nothing that is left lies under it, and nothing else is gone
    lines = (np.cumsum(draw.normal(0, 0.05, (20, 30, 2)), 1) + 0.5).tolist()
    for before, after in zip(lines, run("cut", lines=lines, centre=[0.5, 0.5], radius=0.2), strict=True):
        dense = [np.linspace(a, b, 50) for piece in after for a, b in zip(piece, piece[1:], strict=False)]
        assert all(np.hypot(*(d - 0.5).T).min() > 0.2 - 1e-9 for d in dense)
        outside = [p for p in before if np.hypot(p[0] - 0.5, p[1] - 0.5) > 0.2]
        kept = [p for piece in after for p in piece]
        assert all(p in kept for p in outside)
