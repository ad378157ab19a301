"""Damaged and hostile files of ConvNet and MPNeuralNetwork: what is read gives a model or a chainrule error, nothing else."""

import json
import shutil
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from tests.prove.fuzz import fuzzed
from tests.prove.test_fuzz_files import changed, damaged, harmless

from chainrule import nn
from chainrule.interop import load_convnet, load_mpnn, save_convnet, save_mpnn
from chainrule.io.arrayfiles import write_npz


def layers(images):
    return [images, nn.Flatten(), nn.Linear(18, 3, activation="relu"), nn.Dropout(0.2), nn.Linear(3, 2), nn.Softmax()]


def convolutions():
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with good files of both."""
    folder = tmp_path_factory.mktemp("good")
    for name in ("m.hdf5", "n.npz"):
        save_convnet(nn.Sequential(layers(nn.ChannelsLast(convolutions()))), folder / name)
    save_mpnn(nn.Sequential(layers(convolutions())), folder / "p.npz", input_shape=(1, 6, 6))
    shutil.copy(Path(__file__).parent.parent / "fixtures" / "mpnn_1.1.1_dense_bn_adam.npz", folder / "q.npz")
    return folder


READERS = {"m.hdf5": load_convnet, "n.npz": load_convnet, "p.npz": load_mpnn, "q.npz": load_mpnn}


def test_good_files_can_be_read(written, tmp_path):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    for name, reader in READERS.items():
        assert harmless(reader, tmp_path / name, (written / name).read_bytes()), name


@given(data=st.data())
@fuzzed(1000)
def test_damaged_bytes(data, written, tmp_path_factory):
    name = data.draw(st.sampled_from([*READERS]))
    folder = tmp_path_factory.getbasetemp()
    shutil.copy((written / name).with_suffix(".json"), folder) if name[0] in "mn" else None
    harmless(READERS[name], folder / name, data.draw(damaged((written / name).read_bytes())))


@given(data=st.data())
@fuzzed(800)
def test_changed_texts_of_convnet(data, written, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    said = data.draw(changed(json.loads((written / "n.json").read_text())))
    (folder / "n.json").write_text(json.dumps(said))
    harmless(load_convnet, folder / "n.npz", (written / "n.npz").read_bytes())


@given(data=st.data())
@fuzzed(500)
def test_changed_texts_of_mpneuralnetwork(data, written, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "p.npz"
    arrays = dict(np.load(written / data.draw(st.sampled_from(["p.npz", "q.npz"]))))
    for name in data.draw(st.sampled_from([["architecture"], ["model_config"], ["architecture", "model_config"]])):
        arrays[name] = np.array(json.dumps(data.draw(changed(json.loads(str(arrays[name]))))))
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from([*arrays]))
        shape = data.draw(st.lists(st.integers(0, 17), max_size=5))
        arrays[name] = np.zeros(shape, data.draw(st.sampled_from(["f4", "f8", "f2", "i8", "?", "U3"])))
    write_npz(path, arrays)
    harmless(load_mpnn, path, path.read_bytes())
