"""What is fuzzed: each reader of files, and how the bytes that a fuzzer makes become a file for it.

Where a checksum would refuse every change, the bytes are one part of a file and the rest is put around them.
"""

from __future__ import annotations

import json
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from chainrule import interop, io, nn
from chainrule.apps.contents import contents
from chainrule.data import CSVDataset, load_csv, read_idx, read_ts
from chainrule.data.archives import members
from chainrule.data.cifar import read_cifar
from chainrule.data.png import read_png
from chainrule.data.sources import RemoteFile
from chainrule.domain.errors import ChainruleError
from chainrule.io.weights import KEY

CORPUS = Path(__file__).parent / "corpus"
SHARD = "model-00001-of-00001-00000000.safetensors"


class Target(NamedTuple):
    """A reader, the name of its file, what is put around the bytes, and files that lie beside it."""

    read: Callable[[Path], Any]
    name: str
    around: Callable[[bytes], bytes] = bytes
    beside: Mapping[str, str] = {}  # by name: a file of the corpus


def trial(target: Target, data: bytes, folder: Path) -> bool:
    """Let a target read bytes: whether it could, or refused them with an error of chainrule. Anything else is raised."""
    for name, source in target.beside.items():
        if not (folder / name).exists():
            (folder / name).write_bytes((CORPUS / source).read_bytes())
    path = folder / target.name
    path.write_bytes(target.around(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(path)
    except ChainruleError as error:
        if not str(error).strip():
            raise AssertionError("an error that says nothing") from error
        return False
    return True


# what is put around bytes


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip archive whose checksums hold."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def within(archive: str, name: str) -> Callable[[bytes], bytes]:
    """The bytes in place of a member of an archive of the corpus."""
    kept: dict[str, bytes] = {}

    def packed(data: bytes) -> bytes:
        if not kept:
            with zipfile.ZipFile(CORPUS / archive) as file:
                kept.update({n: file.read(n) for n in file.namelist()})
        return zipped({**kept, name: data})

    return packed


def described(archive: str) -> Callable[[bytes], bytes]:
    """A text as the signed description in a safetensors file of the corpus."""

    def signed(data: bytes) -> bytes:
        file = (CORPUS / archive).read_bytes()
        length = struct.unpack("<Q", file[:8])[0]
        text = data.decode("utf-8", "replace")
        entries = json.loads(file[8 : 8 + length])
        header = json.dumps({**entries, "__metadata__": {KEY: f"{zlib.crc32(text.encode()):08x} {text}"}}).encode()
        return struct.pack("<Q", len(header)) + header + file[8 + length :]

    return signed


# readers


def training(path: Path) -> Any:
    """Into the parts that are in the corpus; random numbers go on as they were."""
    model = nn.Sequential(nn.Linear(2, 2))
    before = cr.random.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        return io.load_training(path, model=model, optimizer=cr.optim.Adam(model.parameters()))
    finally:
        cr.random.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])


def keras_weights(path: Path) -> Any:
    """Into the model that is in the corpus."""
    return interop.load_keras_weights(nn.Sequential({"dense": nn.Linear(2)}), path, strict=False)


def cppapi(path: Path) -> Any:
    """A description as JSON, since cppapi has no files."""
    said = io.jsontext.parsed(path.read_bytes(), str(path))
    said = said if isinstance(said, dict) else {"layers": said}
    return interop.from_cppapi(said.get("layers"), said.get("loss", "MSE"), said.get("weights"))


def packed_data(path: Path) -> Any:
    """Some files, as a data set wants them out of an archive."""
    wanted = [RemoteFile(name, 400, "0" * 64) for name in ("a.csv", "b.bin")]
    return [target.stat().st_size for _, target in members(path, "data", wanted, path.parent)]


def table(path: Path) -> Any:
    """As arrays, and row by row."""
    load_csv(path, target=0)
    return [*CSVDataset(path, target=0, classes=["a", "b"], missing=0.0)]


TARGETS: dict[str, Target] = {
    "safetensors": Target(io.weights.load_weights, "w.safetensors"),
    "description": Target(cr.load, "m.safetensors", described("safetensors/model.safetensors")),
    "training": Target(training, "m.safetensors", described("safetensors/training.safetensors")),
    "folder": Target(
        lambda path: io.weights.load_weights(path.parent),
        "model.safetensors.index.json",
        beside={SHARD: "safetensors/shard.safetensors"},
    ),
    "json_v2": Target(io.weights.load_weights, "w.json"),
    "json_gz": Target(io.weights.load_weights, "w.json.gz"),
    "npz": Target(io.weights.load_weights, "w.npz"),
    "npy": Target(io.weights.load_weights, "w.npz", lambda data: zipped({"a.npy": data})),
    "h5": Target(io.weights.load_weights, "w.h5"),
    "json": Target(io.load_json, "m.json"),
    "convnet": Target(interop.load_convnet, "m.hdf5", beside={"m.json": "convnet_json/model.json"}),
    "convnet_json": Target(
        lambda path: interop.load_convnet(path.with_suffix(".hdf5")), "m.json", beside={"m.hdf5": "convnet/model.hdf5"}
    ),
    "mpnn": Target(interop.load_mpnn, "m.npz"),
    "cppapi": Target(cppapi, "m.json"),
    "torch_zip": Target(interop.load_torch, "m.pt"),
    "torch_pickle": Target(interop.load_torch, "m.pt", within("torch_zip/state.pt", "archive/data.pkl")),
    "torch_stream": Target(interop.load_torch, "m.pth"),
    "keras": Target(interop.from_keras, "m.keras"),
    "keras_config": Target(interop.from_keras, "m.keras", within("keras/model.keras", "config.json")),
    "keras_h5": Target(interop.from_keras, "m.h5"),
    "keras_weights": Target(keras_weights, "m.weights.h5"),
    "onnx": Target(interop.from_onnx, "m.onnx"),
    "idx": Target(read_idx, "x.idx"),
    "png": Target(lambda path: read_png(path.read_bytes(), path), "x.png"),
    "cifar": Target(read_cifar, "x.bin"),
    "csv": Target(table, "x.csv"),
    "timeseries": Target(read_ts, "x.ts"),
    "zip": Target(packed_data, "x.zip"),
    "tar": Target(packed_data, "x.tar.gz"),
    "inspect": Target(contents, "m.safetensors"),
    "inspect_h5": Target(contents, "m.h5"),
    "inspect_keras": Target(contents, "m.keras"),
    "inspect_onnx": Target(contents, "m.onnx"),
}
