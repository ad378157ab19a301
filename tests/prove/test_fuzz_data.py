"""Damaged data: every reader of tables, arrays, images and texts gives data or a chainrule error; loaders in any use."""

from __future__ import annotations

import gzip
import io
import json
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image
from tests.prove.fuzz import fuzzed
from tests.prove.test_fuzz_files import damaged

from chainrule.data import (
    ArrayDataset,
    CharVocabulary,
    CSVDataset,
    DataLoader,
    GaussianNoise,
    ImageFolder,
    IterableDataset,
    MemmapDataset,
    RandomSampler,
    StratifiedSampler,
    WeightedRandomSampler,
    load_csv,
)
from chainrule.domain.errors import ChainruleError

TABLE = b'a,"b, c",kind\n1,2.5,x\n-3,1e3,"y"\n\n,4,x\n5,NA,z\n'


def array_bytes() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(12, dtype=np.float32).reshape(4, 3))
    return file.getvalue()


def image_bytes(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def read_image(path: Path) -> None:
    folder = ImageFolder(path.parent.parent, size=8)
    folder.read(path)


def read_table(path: Path) -> None:
    load_csv(path, target="kind", missing=0.0)


READERS: dict[str, tuple[Any, bytes]] = {
    "t.csv": (read_table, TABLE),
    "d.csv": (lambda p: load_csv(p, target=-1, missing="drop"), TABLE),
    "s.csv": (lambda p: list(CSVDataset(p, columns=[0, 1], missing=float("nan"))), TABLE),
    "t.csv.gz": (read_table, gzip.compress(TABLE)),
    "x.npy": (lambda p: MemmapDataset(p).batch([0]), array_bytes()),
    "v.json": (
        CharVocabulary.load,
        json.dumps(
            {"format": "chainrule.characters.v1", "symbols": ["<e>", "a"], "specials": ["<e>"], "unknown": None}
        ).encode(),
    ),
    "i.png": (read_image, image_bytes("png")),
    "i.jpg": (read_image, image_bytes("jpeg")),
    "i.gif": (read_image, image_bytes("gif")),
    "i.bmp": (read_image, image_bytes("bmp")),
    "i.tiff": (read_image, image_bytes("tiff")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "one"
    path.mkdir()
    (path / "good.png").write_bytes(image_bytes("png"))
    return path


def harmless(folder: Path, name: str, content: bytes) -> None:
    """Reading gives data, or an error of chainrule."""
    path = folder / name
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            READERS[name][0](path)
    except ChainruleError as error:
        assert str(error)


def test_whole_files_can_be_read(folder: Path) -> None:
    for name, (reader, content) in READERS.items():
        (folder / name).write_bytes(content)
        reader(folder / name)


@given(data=st.data())
@fuzzed(2500)
def test_damaged_bytes(data: st.DataObject, folder: Path) -> None:
    name = data.draw(st.sampled_from(sorted(READERS)))
    harmless(folder, name, data.draw(damaged(READERS[name][1])))


@given(data=st.data())
@fuzzed(500)
def test_any_bytes(data: st.DataObject, folder: Path) -> None:
    name = data.draw(st.sampled_from(sorted(READERS)))
    kept = READERS[name][1][: data.draw(st.integers(0, 40))] if data.draw(st.booleans()) else b""
    harmless(folder, name, kept + data.draw(st.binary(max_size=80)))


@given(
    n=st.integers(1, 40),
    size=st.integers(1, 12),
    workers=st.integers(0, 3),
    prefetch=st.integers(0, 3),
    order=st.sampled_from(["plain", "shuffle", "random", "replacement", "weighted", "stratified", "stream"]),
    drop_last=st.booleans(),
    noisy=st.booleans(),
    stop=st.integers(0, 8),
    seed=st.integers(0, 9),
)
@fuzzed(600)
def test_loaders_go_on_where_they_stopped(
    n: int, size: int, workers: int, prefetch: int, order: str, drop_last: bool, noisy: bool, stop: int, seed: int
) -> None:
    """Whatever the options: a second epoch that is stopped anywhere goes on in another loader, and a third follows."""
    if drop_last and n < size:
        return
    x = np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1)

    def loader() -> DataLoader:
        samplers = {
            "random": lambda: RandomSampler(x, num_samples=n + 3, seed=seed),
            "replacement": lambda: RandomSampler(x, True, n, seed=seed),
            "weighted": lambda: WeightedRandomSampler(x[:, 0, 0, 0] + 1, n, seed=seed),
            "stratified": lambda: StratifiedSampler(np.arange(n) % 3, seed=seed),
        }
        data: Any = ArrayDataset(x)
        if order == "stream":
            data = IterableDataset(lambda: iter(x)).shuffle(5, seed)
        return DataLoader(
            data,
            size,
            shuffle=order == "shuffle",
            sampler=samplers[order]() if order in samplers else None,
            seed=seed,
            drop_last=drop_last,
            transform=GaussianNoise(0.1) if noisy else None,
            workers=workers,
            prefetch=prefetch,
        )

    def values(batches: Any) -> list[list[float]]:
        return [batch[0].numpy().ravel().tolist() for batch in batches]

    whole, stopped, other = loader(), loader(), loader()
    epochs = [values(whole) for _ in range(3)]
    assert values(stopped) == epochs[0]
    iterator = iter(stopped)
    taken = values(islice(iterator, stop))
    other.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    if stop > len(epochs[1]):
        assert taken == epochs[1] and values(other) == epochs[2]
    else:
        assert taken + values(other) == epochs[1]
        assert values(other) == epochs[2]
