"""Makes the small good files of ``corpus``, from which fuzzing starts: ``python -m fuzz.seeds``. The same bytes every time."""

from __future__ import annotations

import gzip
import json
import random
import struct
import tarfile
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import chainrule as cr
from chainrule import interop, nn
from chainrule.data import write_idx
from chainrule.io import save_training
from chainrule.io.weights import save_weights

from .targets import CORPUS, SHARD, zipped

FIXTURES = CORPUS.parent.parent / "tests" / "fixtures"
COPIED = {
    "json/keydnn_bidirectional.json": "keydnn_2.1.0_bidirectional_gru.json",
    "json/keydnn_linear.json": "keydnn_2.1.0_linear_bn.json",
    "torch_stream/state.pth": "torch_2.13_small_stream.pth",
    "torch_zip/small.pt": "torch_2.13_small.pt",
    "keras_h5/sequential.h5": "keras_3.15.1_sequential.h5",
    "keras_weights/sequential.weights.h5": "keras_3.15.1_sequential.weights.h5",
    "inspect_h5/sequential.h5": "keras_3.15.1_sequential.h5",
    "keras/functional.keras": "keras_3.15.1_functional.keras",
}
ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(0, np.float32), "c": np.array(7, np.int16)}


def main() -> None:
    """Write all of it; what fuzzing found stays."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        cr.manual_seed(0)
        write(folder)
        write_training(folder)
        for place, source in COPIED.items():
            keep(place, (FIXTURES / source).read_bytes())


def keep(place: str, data: bytes) -> None:
    """A file of the corpus."""
    path = CORPUS / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write(folder: Path) -> None:
    """What chainrule writes."""
    for kind in ("safetensors", "npz", "h5"):
        save_weights(folder / f"w.{kind}", ARRAYS, {"epoch": 1})
        keep(f"{kind}/weights.{kind}", (folder / f"w.{kind}").read_bytes())
    save_weights(f"{folder}/shards/", ARRAYS, {"epoch": 1})
    (shard,) = (folder / "shards").glob("*.safetensors")
    keep("safetensors/shard.safetensors", shard.read_bytes())
    index = (folder / "shards" / "model.safetensors.index.json").read_text()
    keep("folder/index.json", index.replace(shard.name, SHARD).encode())
    for name, kind in (("w.json", "json_v2"), ("w.json.gz", "json_gz")):
        save_weights(folder / name, ARRAYS, {"epoch": 1})
        keep(f"{kind}/{name}", (folder / name).read_bytes())
    keep("inspect/weights.safetensors", (folder / "w.safetensors").read_bytes())
    for name, array in {**ARRAYS, "f": np.asfortranarray(ARRAYS["a"]), "h": np.ones((2, 1), ">f2")}.items():
        file = BytesIO()
        np.save(file, array)
        keep(f"npy/{name}.npy", file.getvalue())

    images = [nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*images, nn.Flatten(), nn.Linear(8, 2), nn.Softmax())
    model(cr.ones(1, 1, 4, 4))
    model.save(folder / "m.safetensors")
    data = (folder / "m.safetensors").read_bytes()
    keep("safetensors/model.safetensors", data)
    keep("description/model.json", description(data))
    model.save_json(folder / "m.json")
    keep("json/model.json", (folder / "m.json").read_bytes())
    interop.save_mpnn(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2), nn.Softmax()), folder / "p.npz")
    keep("mpnn/model.npz", (folder / "p.npz").read_bytes())
    interop.save_convnet(
        nn.Sequential(nn.ChannelsLast(nn.Sequential(*images)), nn.Flatten(), nn.Linear(8, 2)), folder / "c.hdf5"
    )
    keep("convnet/model.hdf5", (folder / "c.hdf5").read_bytes())
    keep("convnet_json/model.json", (folder / "c.json").read_bytes())
    keep("cppapi/network.json", json.dumps({
        "layers": [["Dense", 2, "Tanh"], ["Dense", 1, "Linear"]], "loss": "MSE",
        "weights": [[[[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]], [[[1.0], [1.0]], [3.0]]],
    }).encode())  # fmt: skip

    state = {"weight": ARRAYS["a"].astype("f"), "bias": np.zeros(2, np.float16), "steps": 3}
    interop.save_torch(folder / "state.pt", state)
    keep("torch_zip/state.pt", (folder / "state.pt").read_bytes())
    with zipfile.ZipFile(folder / "state.pt") as archive:
        keep("torch_pickle/state.pkl", archive.read("archive/data.pkl"))

    small = nn.Sequential({"dense": nn.Linear(3, 2), "relu": nn.ReLU(), "gru": nn.Linear(2, 1)})
    interop.to_keras(small, folder / "k.keras", input_shape=(3,))
    for target in ("keras", "inspect_keras"):
        keep(f"{target}/model.keras", (folder / "k.keras").read_bytes())
    with zipfile.ZipFile(folder / "k.keras") as archive:
        keep("keras_config/model.json", archive.read("config.json"))
    recurrent = nn.Sequential(nn.LSTM(2, 3, batch_first=True))
    masked = nn.Sequential(nn.Masking(), recurrent)
    for name, made, shape in (("images", model, (None, 1, 4, 4)), ("linear", small, (None, 3)),
                              ("lstm", recurrent, (None, 4, 2)), ("masked", masked, (None, None, 2))):  # fmt: skip
        for target in ("onnx", "inspect_onnx"):
            keep(f"{target}/{name}.onnx", interop.to_onnx(made, None, shape).SerializeToString())

    write_data(folder)


def write_training(folder: Path) -> None:
    """A training to go on with."""
    cr.manual_seed(0)
    small = nn.Sequential(nn.Linear(2, 2)).compile("mse", "adam")
    small.train_on_batch(cr.ones(1, 2), cr.ones(1, 2))
    random.seed(0)
    np.random.seed(0)
    save_training(folder / "t.safetensors", model=small, optimizer=small.compiled.optimizer, epoch=1, best=None)
    data = (folder / "t.safetensors").read_bytes()
    keep("safetensors/training.safetensors", data)
    keep("training/run.json", description(data))


def description(data: bytes) -> bytes:
    """The signed text in a safetensors file of ours."""
    length = struct.unpack("<Q", data[:8])[0]
    signed: str = json.loads(data[8 : 8 + length])["__metadata__"]["chainrule"]
    return signed.partition(" ")[2].encode()


def write_data(folder: Path) -> None:
    """What data sets come in."""
    write_idx(folder / "x.idx", np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    keep("idx/images.idx", (folder / "x.idx").read_bytes())
    keep("idx/labels.idx.gz", gzip.compress((folder / "x.idx").read_bytes(), mtime=0))
    for kind in range(5):
        keep(f"png/filter{kind}.png", png(kind))
    keep("cifar/batch.bin", bytes([7]) + bytes(3072))
    keep("csv/table.csv", b'kind,size,"the price"\na,1.5,3\nb,2,4e2\n"a",2.5,-1\n')
    keep("timeseries/two.ts", b"@problemName x\n@dimensions 2\n@classLabel true a b\n@data\n1,2:3,4:a\n5:6:b\n")
    content = {"data/a.csv": b"1,2\n" * 9, "data/b.bin.gz": gzip.compress(b"0123456789" * 9, mtime=0)}
    keep("zip/data.zip", zipped(content))
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    keep("tar/data.tar", file.getvalue())
    keep("tar/data.tar.gz", gzip.compress(file.getvalue(), mtime=0))


def png(kind: int) -> bytes:
    """A picture of 3 × 2 grey pixels, its lines filtered in one way."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    lines = b"".join(bytes([kind, 10 * row, 5, 250]) for row in range(2))
    head = struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


if __name__ == "__main__":
    main()
