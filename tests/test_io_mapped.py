"""Loading without a second copy: mapped pages of the file, and array by array within a limit of memory."""

from __future__ import annotations

import json
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, FileFormatError, StateError
from chainrule.io import load_weights, save_weights
from chainrule.io.tensors import TensorFile


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


def mapped(tensor: Any) -> bool:
    """Whether the memory of a tensor is that of a file."""
    base = tensor.array
    while isinstance(base, np.ndarray):
        base = base.base
    return type(base).__name__ == "mmap" or (isinstance(base, memoryview) and type(base.obj).__name__ == "mmap")


@pytest.fixture(params=["m.safetensors", "m/"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return f"{tmp_path}/{request.param}"


def bytes_in(path: str) -> dict[str, bytes]:
    files = [Path(path)] if Path(path).is_file() else sorted(Path(path).iterdir())
    return {file.name: file.read_bytes() for file in files}


def test_parameters_are_the_pages_of_the_file(path: str) -> None:
    made, x = model(), cr.randn(5, 8)
    made.train()(x)
    made.save(path)
    again, other = cr.load(path, mmap=True), model()
    other(x)  # drawn: its memory is replaced
    assert other.load_weights(path, mmap=True) == ([], [])
    for one in (again, other):
        assert all(mapped(p) for p in one.parameters())
        assert (one.eval()(x) == made.eval()(x)).all()
    assert not any(mapped(p) for p in cr.load(path).parameters())
    found = load_weights(path, mmap=True)
    assert all((found[name] == value.numpy()).all() for name, value in made.state_dict().items())


def test_training_does_not_change_the_file(path: str) -> None:
    made, x, y = model(), np.ones((16, 8), np.float32), np.arange(16) % 4
    made.save(path)
    before = bytes_in(path)
    histories = []
    for mmap in (True, False):
        cr.manual_seed(0)
        again = cr.load(path, mmap=mmap).compile("cross_entropy", "adam", ["accuracy"])
        histories.append((again.fit(x, y, epochs=2, batch_size=4, verbose=0)["loss"], again.state_dict()))
    assert histories[0][0] == histories[1][0] and bytes_in(path) == before
    assert all((histories[0][1][name] == histories[1][1][name]).all() for name in histories[0][1])
    array = load_weights(path, mmap=True)["0.weight"]
    array += 1
    assert bytes_in(path) == before


def test_a_mapped_model_can_be_saved_over_its_own_file(path: str) -> None:
    made = model()
    made.save(path)
    again = cr.load(path, mmap=True)
    with cr.no_grad():
        again[0].weight.add_(1)
    again.save(path)
    assert (cr.load(path)[0].weight == made[0].weight + 1).all()
    assert (again[3].weight == made[3].weight).all()  # of the file that was there


def test_other_dtypes_and_places_are_copied(tmp_path: Path) -> None:
    made = model()
    made.save_weights(tmp_path / "m.safetensors")
    half = model().to("bfloat16")
    half.load_weights(tmp_path / "m.safetensors", mmap=True)
    assert not any(mapped(p) for p in half.parameters())
    assert (half[0].weight == made[0].weight.to("bfloat16")).all()
    values = np.arange(3, dtype="<f4")
    header = json.dumps({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}).encode()
    for spaces in range(8):  # of others, who begin anywhere
        head = header + b" " * spaces
        (tmp_path / "w.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + values.tobytes())
        found = load_weights(tmp_path / "w.safetensors", mmap=True)["w"]
        assert found.flags.aligned and found.flags.writeable and (found == values).all()


def test_every_dtype_and_shape(tmp_path: Path) -> None:
    from ml_dtypes import bfloat16

    names = "float16 float32 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool".split()
    arrays = {f"{name} {shape}": np.ones(shape, name) for name in [*names, bfloat16] for shape in ((), (0, 3), (2, 3))}
    save_weights(tmp_path / "w.safetensors", arrays)
    for mmap in (False, True):
        found = load_weights(tmp_path / "w.safetensors", mmap=mmap)
        assert found.keys() == arrays.keys()
        for name, value in arrays.items():
            other = found[name]
            assert (other.dtype, other.shape, other.tobytes()) == (value.dtype, value.shape, value.tobytes()), name


def test_packed_projections_are_mapped_in_their_parts(tmp_path: Path) -> None:
    layer = nn.MultiHeadAttention(8, 2)
    arrays = {name: value.numpy() for name, value in layer.state_dict().items()}
    for kind in ("weight", "bias"):
        arrays[f"in_proj_{kind}"] = np.concatenate([arrays.pop(f"{x}_proj.{kind}") for x in "qkv"])
    save_weights(tmp_path / "w.safetensors", arrays)
    for mmap in (False, True):
        other = nn.MultiHeadAttention(8, 2)
        other.load_weights(tmp_path / "w.safetensors", mmap=mmap)
        assert all((other.state_dict()[n] == v).all() for n, v in layer.state_dict().items())
        assert mapped(other.k_proj.weight) == mmap
    other.q_proj.weight.load(np.zeros((8, 8), np.float32))
    assert (other.k_proj.weight == layer.k_proj.weight).all()


def test_formats_that_cannot_be_mapped_say_so(tmp_path: Path) -> None:
    for suffix in (".npz", ".h5", ".json"):
        made = model()
        made.save(tmp_path / f"m{suffix}")
        for do in (load_weights, cr.load, model().load_weights):
            with pytest.raises(ArgumentError, match="mmap=True maps .safetensors files, and folders of them"):
                do(tmp_path / f"m{suffix}", mmap=True)  # type: ignore[operator]


def test_damage_leaves_the_model_as_it_was(path: str) -> None:
    """The last array is damaged, and seen before the first is taken."""
    model().save_weights(path, **({"max_shard_size": 300} if path.endswith("/") else {}))  # type: ignore[arg-type]
    file = sorted(Path(path).glob("*.safetensors"))[-1] if path.endswith("/") else Path(path)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for drawn in (True, False):
        other = model()
        before = {name: value.numpy().copy() for name, value in other.state_dict().items()} if drawn else {}
        with pytest.raises(FileFormatError, match="do not match their checksum"):
            other.load_weights(path)
        assert all((other.state_dict()[name].numpy() == value).all() for name, value in before.items())
        assert drawn or all("not drawn" in repr(other[i].weight) for i in (0, 3))


def test_dtypes_that_are_none_of_ours_are_named(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    for mmap in (False, True):
        with pytest.raises(FileFormatError, match="'w' is of the dtype F8_E4M3; known are F64, F32"):
            load_weights(tmp_path / "w.safetensors", mmap=mmap)
    save_file({"0.weight": np.ones((3, 2), np.uint16)}, tmp_path / "w.safetensors")
    with pytest.raises(StateError, match="uint16 in the state, float32 in the model"):
        nn.Sequential(nn.Linear(2, 3, bias=False)).load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}}',
        '{"a":{"dtype":"F32","shape":[-2,-1],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0]}}',
        '{"a":{"dtype":"F32","shape":[true,2],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}',
        '{"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}}',
        '{"a":{"dtype":"f4","shape":[2],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F4","shape":[15],"data_offsets":[0,8]}}',
        '{"a":[1,2,3]}',
        '{"__metadata__":{"a":1}}',
        '{"__metadata__":[]}',
        '{"a":' * 5000,
    ],
)
def test_headers_that_cannot_be(tmp_path: Path, header: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(8))
    with pytest.raises(FileFormatError, match=r"w\.safetensors is damaged: its "):
        load_weights(tmp_path / "w.safetensors")


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", {"a": np.ones(1000)})
    with TensorFile(tmp_path / "w.safetensors", "w") as file:
        (tmp_path / "w.safetensors").write_bytes(b"")
        for do in (file.read, file.checksum):
            with pytest.raises(FileFormatError, match="w was cut short while it was read"):
                do("a")


@pytest.mark.parametrize("drawn", [False, True])
def test_there_is_no_second_copy(path: str, drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the model there are the arrays that are being read, here at most 2 MB (tests/prove limits the memory)."""
    monkeypatch.setattr("chainrule.io.tensors.AHEAD", 1 << 21)
    made = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(16)))
    made.save(path)
    other = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(16)))
    if drawn:
        other(cr.ones(1, 512))
    tracemalloc.start()
    other.load_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (16 << 20) * (0.4 if drawn else 1.2)
    assert all((p == q).all() for p, q in zip(made.parameters(), other.parameters(), strict=True))


def trained() -> nn.Sequential:
    """Eight layers of one size, compiled with Adam, trained for a step."""
    made = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(8))).compile("mse", "adam")
    made.train_on_batch(X, X)
    return made


X = np.random.default_rng(0).random((4, 64)).astype("f")
WAYS: dict[str, Any] = {
    "load_training": lambda file, model: cr.io.load_training(file, model=model, optimizer=model.compiled.optimizer),
    "resume": lambda file, model: model.fit(X, X, epochs=1, verbose=0, resume=file),
    "load_optimizer": lambda file, model: cr.io.load_optimizer(file, model),
}


def kept_in(file: str, way: str) -> dict[str, np.ndarray]:
    """A training in a file, and what is of it in the memory of the model and its optimizer."""
    made = trained()
    if way == "load_optimizer":
        made.save(file, optimizer=made.compiled.optimizer)
    else:
        made.fit(X, X, epochs=1, verbose=0, callbacks=[cr.train.Checkpoint(file)])
    return values_of(made)


def values_of(model: Any) -> dict[str, np.ndarray]:
    """Copies of the parameters and of what Adam remembers of them."""
    found = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    state = model.compiled.optimizer.state_dict()["state"]
    return found | {f"{n} {key}": value.numpy().copy() for n, one in state.items() for key, value in one.items()}


@pytest.mark.parametrize("way", WAYS)
def test_a_training_goes_on_array_by_array(path: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the arrays in the file only those that become the optimizer's memory stay, and two more at a time."""
    wanted, alive, most, size = kept_in(path, way), [0], [0], 64 * 64 * 4

    def counted(read: Any) -> Any:
        def both(self: TensorFile, name: str) -> Any:
            found = read(self, name)
            owner = found[0] if isinstance(found, tuple) else found
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            alive[0] += owner.nbytes
            most[0] = max(most[0], alive[0])
            weakref.finalize(owner, lambda n=owner.nbytes: alive.__setitem__(0, alive[0] - n))
            return found

        return both

    other = trained()
    for name in ("read", "summed"):
        monkeypatch.setattr(TensorFile, name, counted(getattr(TensorFile, name)))
    WAYS[way](path, other)
    assert 16 * size < most[0] < 18 * size + 15_000  # two for each layer are Adam's; words of random numbers
    found = values_of(other)
    for name, value in wanted.items():
        if way != "load_optimizer" or " " in name:
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_training_changes_nothing(path: str, way: str) -> None:
    """The last array is damaged: seen before the first is taken, by the model and by the optimizer."""
    kept_in(path, way)
    file = sorted(Path(path).glob("*.safetensors"))[-1] if path.endswith("/") else Path(path)
    content = bytearray(file.read_bytes())
    content[-1 - 7 * (way == "resume")] ^= 1
    file.write_bytes(content)
    other = trained()
    before = values_of(other)
    with pytest.raises(FileFormatError, match="do not match their checksum"):
        WAYS[way](path, other)
    for name, value in values_of(other).items():
        np.testing.assert_array_equal(value, before[name])
