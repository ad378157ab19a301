"""Files of Keras that are damaged, or made to do harm: refused, within bounds, and the model is as it was."""

import io
import json
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from chainrule import interop, nn
from chainrule.domain.errors import FileFormatError, MissingFileError, NotSupportedError

FIXTURES = Path(__file__).parent / "fixtures"
NETWORK = FIXTURES / "keras_3.15.1_functional.keras"
WHOLE = FIXTURES / "keras_3.15.1_sequential.h5"
ALONE = FIXTURES / "keras_3.15.1_sequential.weights.h5"
RNG = np.random.default_rng(0)


def rewritten(tmp_path, change, name="r.keras"):
    """The archive with other members."""
    with zipfile.ZipFile(NETWORK) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    change(members)
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for n, data in members.items():
            archive.writestr(n, data)
    return tmp_path / name


def test_files_that_are_none(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        interop.from_keras(tmp_path / "none.keras")
    with pytest.raises(MissingFileError, match="SavedModel"):
        interop.from_keras(tmp_path)
    for data, said in [(b"", "empty"), (b"hello, this is no file", "neither"), (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "damaged"),
                       (b"PK\x03\x04", "zip")]:  # fmt: skip
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(FileFormatError, match=said):
            interop.from_keras(tmp_path / "x")
    with pytest.raises(FileFormatError, match="weights without a model"):
        interop.from_keras(ALONE)
    with h5py.File(tmp_path / "x.h5", "w") as root:
        root["x"] = 1.0
    with pytest.raises(FileFormatError, match="no weights of Keras"):
        interop.load_keras_weights(nn.Linear(2), tmp_path / "x.h5")


@pytest.mark.parametrize("source", [NETWORK, WHOLE, ALONE], ids=lambda p: p.suffixes[-1])
def test_cut_short(source, tmp_path):
    data, model = source.read_bytes(), nn.Sequential({"gru": nn.GRU(3, batch_first=True), "out": nn.Linear(2)})
    for size in [*range(0, len(data) - 1, len(data) // 60 + 1), len(data) - 1]:
        path = tmp_path / source.name
        path.write_bytes(data[:size])
        with pytest.raises(FileFormatError, match="load_keras_weights|from_keras"):
            interop.load_keras_weights(model, path) if source == ALONE else interop.from_keras(path)
    assert not model.is_built


def test_archives_that_do_harm(tmp_path):
    def weights(change):
        def changed(members):
            file = io.BytesIO(members["model.weights.h5"])
            with h5py.File(file, "a") as root:
                change(root["layers"])
            members["model.weights.h5"] = file.getvalue()

        return changed

    def huge(layers):
        del layers["dense/vars/0"]
        layers.create_dataset("dense/vars/0", (1 << 20, 1 << 20), "f4", chunks=(1 << 10, 1 << 10))

    def late(layers):
        del layers["dense/vars/0"]
        layers.create_dataset("dense/vars/0", (1 << 20, 1 << 18), "f4")

    def elsewhere(layers):
        del layers["dense/vars/0"]
        layers["dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")

    def soft(layers):
        del layers["dense/vars"]
        layers["dense/vars"] = h5py.SoftLink("/layers/conv2d/vars")

    def outside(layers):
        del layers["dense/vars/0"]
        layers.create_dataset("dense/vars/0", (4,), "u1", external=[("/etc/passwd", 0, 4)])

    def references(layers):
        del layers["dense/vars/0"]
        layers.create_dataset("dense/vars/0", (2,), h5py.ref_dtype)

    def group(layers):
        del layers["dense/vars/0"]
        layers.create_group("dense/vars/0")

    def loop(layers):
        layers["dense/cell"] = layers["dense"]

    cases = [
        (weights(huge), "bytes in the file"), (weights(late), "bytes in the file"), (weights(elsewhere), "link to elsewhere"),
        (weights(soft), "link to elsewhere"), (weights(outside), "in another file"), (weights(references), "expected numbers"),
        (weights(group), "should be an array"), (weights(loop), "lie inside one another|damaged|too deep"),
        (lambda m: m.pop("config.json"), "without config.json"), (lambda m: m.pop("model.weights.h5"), "without model.weights"),
        (lambda m: m.update({"../x": b""}), "leads out"), (lambda m: m.update({"config.json": b"[" * 100_000}), "damaged"),
        (lambda m: m.update({"config.json": b'{"a": NaN}'}), "no number"),
        (lambda m: m.update({"config.json": b"[]"}), "describe"),
        (lambda m: m.update({"metadata.json": b'{"keras_version": "9.1"}'}), "is of Keras '9.1'"),
        (lambda m: m.update({"bomb": b"\0" * (1 << 22)}), None),
    ]  # fmt: skip
    for change, said in cases:
        path = rewritten(tmp_path, change)
        if said is None:  # what is not read does no harm
            interop.from_keras(path)
            continue
        with pytest.raises(FileFormatError, match=said):
            interop.from_keras(path)


def test_texts_that_may_be_one_and_the_same(tmp_path):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as root:
        root.attrs["layer_names"] = ["d"] * 4000
        root.attrs.create("other", "x" * (1 << 20), dtype=h5py.string_dtype())
    with pytest.raises(FileFormatError, match="layer_names of / has 4000 elements of up to 10"):
        interop.load_keras_weights(nn.Linear(2), path)


def test_configs_that_do_harm(tmp_path):
    """Sizes are not believed before there are weights of them, and models do not go on inside models for ever."""

    def changed(kind, key, value):
        def change(members):
            config = json.loads(members["config.json"])
            for layer in config["config"]["layers"]:
                if layer["class_name"] == kind:
                    layer["config"][key] = value
            members["config.json"] = json.dumps(config).encode()

        return change

    for kind, key, value in [
        ("Dense", "units", 2**31 - 1), ("Dense", "units", 2**70), ("Dense", "units", -1), ("Dense", "units", "9"),
        ("Dense", "use_bias", 3), ("Conv2D", "filters", 10**9), ("Conv2D", "kernel_size", [10**9, 10**9]),
        ("Embedding", "input_dim", 10**9), ("GRU", "units", 10**8), ("GRU", "units", None), ("Conv2D", "strides", [0, 0]),
        ("BatchNormalization", "epsilon", "x"), ("InputLayer", "batch_shape", [None, 10**9, 10**9, 2]),
        ("Bidirectional", "layer", 3), ("Bidirectional", "layer", None), ("Concatenate", "axis", None),
    ]:  # fmt: skip
        path = rewritten(tmp_path, changed(kind, key, value))
        if kind in ("InputLayer", "Concatenate"):
            interop.from_keras(path)
            continue
        with pytest.raises(FileFormatError, match="Keras|expected|describe"):
            interop.from_keras(path)
    inner = {"class_name": "Sequential", "config": {"name": "s", "layers": []}}
    for _ in range(200):
        inner = {"class_name": "Sequential", "config": {"name": "s", "layers": [inner]}}
    with pytest.raises(FileFormatError, match="too deep"):
        interop.from_keras(rewritten(tmp_path, lambda m: m.update({"config.json": json.dumps(inner).encode()})))


def test_flipped_bytes(tmp_path):
    """A file with a byte changed is read, or refused as damaged."""
    path = tmp_path / WHOLE.name
    shutil.copy(WHOLE, path)
    data = bytearray(WHOLE.read_bytes())
    for at in RNG.integers(0, len(data), 60):
        old = data[at]
        data[at] ^= 1 << int(RNG.integers(8))
        path.write_bytes(data)
        data[at] = old
        with suppress(FileFormatError, NotSupportedError):
            interop.from_keras(path)
