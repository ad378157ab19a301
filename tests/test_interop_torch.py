"""Files of PyTorch without PyTorch: what real ones hold, what we write, and files made to do harm."""

import os
import random
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentTypeError, FileFormatError, MissingFileError
from chainrule.interop import load_torch, save_torch
from chainrule.interop.torch_pickle import Raw, called, dumped, named, persistent

FIXTURES = Path(__file__).parent / "fixtures"
STATES = [FIXTURES / "torch_2.13_state.pt", FIXTURES / "torch_2.13_state_stream.pth"]  # written by torch.save
SMALL = [FIXTURES / "torch_2.13_small.pt", FIXTURES / "torch_2.13_small_stream.pth"]


@pytest.fixture(params=STATES, ids=["zip", "stream"])
def state(request):
    return load_torch(request.param)


def test_what_torch_wrote(state):
    assert [*state["model"]] == [
        *("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"),
        *("2.weight", "2.bias"),
    ]
    assert type(state["model"]) is dict and state["model"]["0.weight"].shape == (4, 3)
    assert (state["epoch"], state["best"], state["note"]) == (3, 0.5, "für alle")
    assert (state["shape"], state["dtype"], state["device"]) == ((4, 6), "bfloat16", "cpu")
    assert state["history"] == [{"loss": 1.5}, (True, None, -(2**40))]
    assert state["optimizer"]["param_groups"][0]["lr"] == 0.125 and [*state["optimizer"]["state"]] == [*range(6)]
    assert state["optimizer"]["state"][0]["exp_avg"].shape == (4, 3)
    assert state["scalar"].shape == () and state["scalar"] == 7 and state["empty"].shape == (0, 3)


def test_every_dtype(state):
    for name, array in state["dtypes"].items():
        expected = np.arange(6).reshape(2, 3) % (2 if name == "bool" else 6)
        assert array.dtype.name == name and np.array_equal(array.astype("complex128"), expected), name
        assert array.flags.aligned and array.flags.writeable, name
    assert state["dtypes"]["bfloat16"].dtype == ml_dtypes.bfloat16


def test_strides_and_shared_memory(state):
    base = np.arange(24.0).reshape(4, 6)
    assert np.array_equal(state["tied"], base) and np.array_equal(state["turned"], base.T)
    assert np.array_equal(state["part"], base[1:3, ::2]) and np.array_equal(state["parameter"], base[0])
    assert state["turned"].strides == (4, 24) and np.array_equal(state["expanded"], np.ones((3, 5)))
    state["tied"][0, 0] = 99.0
    assert state["turned"][0, 0] == state["parameter"][0] == 99.0


def test_writing_into_an_array_does_not_write_to_the_file(tmp_path):
    (tmp_path / "x.pt").write_bytes(SMALL[0].read_bytes())
    load_torch(tmp_path / "x.pt")["w"][:] = -1.0
    assert (tmp_path / "x.pt").read_bytes() == SMALL[0].read_bytes()


def test_the_weights_compute_what_torch_computed(state):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model.load_state_dict(state["model"])
    assert np.abs(model.eval()(cr.tensor(state["x"])).numpy() - state["y"]).max() < 1e-6


def test_torch_is_not_imported():
    code = f"import sys; from chainrule import interop; interop.load_torch({str(STATES[0])!r}); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "src"}
    )
    assert done.stdout == "False\n", done.stderr


def test_written_and_read_again(tmp_path, state):
    save_torch(tmp_path / "x.pt", state)
    again = load_torch(tmp_path / "x.pt")
    assert [*again] == [*state]
    for name in state["dtypes"]:
        assert again["dtypes"][name].dtype.name == name and np.array_equal(again["dtypes"][name], state["dtypes"][name])
    assert np.array_equal(again["turned"], state["turned"]) and again["history"] == state["history"]
    save_torch(tmp_path / "y.pt", state)
    assert (tmp_path / "x.pt").read_bytes() == (tmp_path / "y.pt").read_bytes()


def test_an_array_twice_is_stored_once(tmp_path):
    w = cr.ones(100)
    save_torch(tmp_path / "x.pt", {"a": w, "b": [w], "c": np.float32(2.0)})
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert [name for name in archive.namelist() if "/data/" in name] == ["archive/data/0"]
        assert archive.testzip() is None
    again = load_torch(tmp_path / "x.pt")
    again["a"][0] = 5.0
    assert again["b"][0][0] == 5.0 and again["c"] == 2.0


@pytest.mark.parametrize("narrow", [1 << 31, 100])
def test_members_begin_where_any_element_may_lie(tmp_path, monkeypatch, narrow):
    """Also those whose sizes take 64 bits."""
    monkeypatch.setattr("chainrule.io.zipped.NARROW", narrow)
    state = {"a": np.arange(3.0), "b": np.arange(1000, dtype="int16"), "c": np.ones(5)}
    save_torch(tmp_path / "x.pt", state)
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        found = [(info.header_offset, len(archive.read(info))) for info in archive.infolist()]
    content = (tmp_path / "x.pt").read_bytes()
    for at, _ in found:
        assert (at + 30 + sum(struct.unpack("<2H", content[at + 26 : at + 30]))) % 64 == 0
    again = load_torch(tmp_path / "x.pt")
    assert all(np.array_equal(again[name], state[name]) for name in state)


def test_what_cannot_be_written(tmp_path):
    for value, said in [
        ({"a": [object()]}, r"state\['a'\]\[0\] is a object"),
        ({"a": np.array(["x"])}, "dtype <U1"),
        ({"x": 1j}, "is a complex"),
    ]:
        with pytest.raises(ArgumentTypeError, match=said):
            save_torch(tmp_path / "x.pt", value)
    assert not [*tmp_path.iterdir()]


# ---- broken files


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        load_torch(tmp_path / "x.pt")
    with pytest.raises(MissingFileError, match="regular"):
        load_torch(tmp_path)
    for content, said in [
        (b"", "empty"),
        (b"{}", "something else"),
        (b"\0" * 257 + b"ustar" + b"\0" * 300, "tar archive"),
    ]:
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(FileFormatError, match=said):
            load_torch(tmp_path / "x.pt")


@pytest.mark.parametrize("path", SMALL, ids=["zip", "stream"])
def test_cut_short_anywhere(path, tmp_path):
    whole, file = path.read_bytes(), tmp_path / "x.pt"
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match=r"\[load_torch\] .*x.pt"):
            load_torch(file)


@pytest.mark.parametrize("path", SMALL, ids=["zip", "stream"])
def test_any_byte_changed(path, tmp_path):
    """Either another value, or an error that says what it is."""
    whole, file, draw = path.read_bytes(), tmp_path / "x.pt", random.Random(0)
    for at in range(len(whole)):
        for byte in (0, 255, draw.randrange(256)):
            file.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
            with suppress(FileFormatError):
                load_torch(file)


def torch_zip(pickle, members=(), name="x", **options):
    """The bytes of a zip as torch.save makes it, with a pickle of ours."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w", **options) as archive:
        archive.writestr(f"{name}/data.pkl", pickle)
        for key, value in dict(members).items():
            archive.writestr(key, value)
    return content.getvalue()


def tensor(offset=0, size=(4,), stride=(1,), *, count=4, kind="torch.FloatStorage", key="0"):
    kept = persistent(("storage", named(kind), key, "cpu", count))
    return called(
        "torch._utils._rebuild_tensor_v2", kept, offset, size, stride, False, called("collections.OrderedDict")
    )


def pickled(value):
    return dumped(value, lambda path, other: None)


def opened(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    return load_torch(tmp_path / "x.pt")


def test_the_files_of_these_tests_are_read(tmp_path):
    values = np.arange(4, dtype="float32")
    found = opened(tmp_path, torch_zip(pickled({"w": tensor()}), {"x/data/0": values.tobytes()}))
    assert np.array_equal(found["w"], values)
    big = {"x/data/0": values.astype(">f4").tobytes(), "x/byteorder": "big"}
    assert np.array_equal(opened(tmp_path, torch_zip(pickled(tensor()), big)), values)
    later = persistent(("storage", named("torch.storage.UntypedStorage"), "0", "cpu", 8))
    hooks = called("collections.OrderedDict")
    later = called("torch._utils._rebuild_tensor_v3", later, 1, (3,), (1,), False, hooks, named("torch.uint16"))
    big["x/data/0"] = np.arange(4, dtype=">u2").tobytes()
    assert opened(tmp_path, torch_zip(pickled(later), big)).tolist() == [1, 2, 3]
    packed = torch_zip(pickled(tensor()), {"x/data/0": values.tobytes()}, compression=zipfile.ZIP_DEFLATED)
    assert np.array_equal(opened(tmp_path, packed), values)


@pytest.mark.parametrize(
    "pickle, said",
    [
        (b"\x80\x02cos\nsystem\nX\x05\0\0\0false\x85R.", "asks for 'os.system'"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "asks for 'builtins.eval'"),
        (b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81.", "asks for 'torch.nn.modules.linear.Linear'"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "asks for 'collections.OrderedDict'"),
        (b"(S'x'\nios\nsystem\n.", "opcode 0x53"),
        (b"\x80\x02(X\x01\0\0\0xios\nsystem\n.", "opcode 0x69"),
        (b"\x80\x02(cos\nsystem\no.", "asks for 'os.system'"),
        (b"\x80\x02ctorch\nFloatStorage\n.", "torch.FloatStorage itself"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "makes no sense"),
        (b"\x80\x02X\x06\0\0\0modulecos\nsystem\n\x86Q.", "asks for 'os.system'"),
        (b"\x80\x02X\x06\0\0\0moduleN\x86Q.", "keeps 'module' outside"),
        (b"\x80\x02]q\x00h\x00a.", "list that contains itself"),
        (b"\x80\x02}q\x00K\x01h\x00s.", "dict that contains itself"),
        (b"\x80\x02" + b"]" * 500 + b"a" * 499 + b".", "nested more than 200"),
        (b"\x80\x02" + b"]" * 40_000 + b"a" * 39_999 + b".", "nested more than 200"),
        (b"\x80\x02N" + b"2\x86" * 60 + b".", "again and again"),
        (b"\x80\x02}N" + b"2\x86" * 60 + b"K\x01s.", "has a tuple as a key"),
        (b"\x80\x02}N" + b"\x85" * 80_000 + b"K\x01s.", "has a tuple as a key"),
        (b"\x80\x02}]K\x01s.", "has a list as a key"),
        (b"\x80\x02}\x8a\x10" + b"\x7f" * 16 + b"K\x01s.", "has a int as a key"),
        (b"\x80\x02}(K\x01K\x01K\x01K\x02u.", "'1' comes twice"),
        (b"\x80\x02K\x01}b.", "makes no sense"),
        (b"\x80\x02K\x01r\xff\xff\xff\xff0.", "makes no sense"),
        (b"\x80\x02j\xff\xff\xff\xff.", "makes no sense"),
        (b"\x80\x04\x8d" + b"\xff" * 8 + b"x.", "cut short"),
        (b"\x80\x02X\xff\xff\xff\xffx.", "cut short"),
        (b"\x80\x02T\xff\xff\xff\xffx.", "cut short"),
        (b"\x80\x02X\x02\0\0\0\xff\xff.", "makes no sense"),
        (b"\x80\x09N.", "later than 5"),
        (b"\x80\x02(.", "makes no sense"),
        (b"\x80\x02.", "makes no sense"),
        (b"\x80\x02NN.", "makes no sense"),
        (b"\x80\x02c" + b"x" * 5000 + b".", "no end"),
        (b"\x80\x02" + b"N0" * 100_000 + b"N.", "more than 100000 steps"),
    ],
)
def test_hostile_pickles(pickle, said, tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.interop.torch_pickle.MOST_STEPS", 100_000)
    tracemalloc.start()
    with pytest.raises(FileFormatError, match=said):
        opened(tmp_path, torch_zip(pickle))
    assert tracemalloc.get_traced_memory()[1] < 150e6
    tracemalloc.stop()


def test_arguments_that_are_copied_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.interop.torch_pickle.MOST_STEPS", 100_000)
    pairs = pickled([(str(i), i) for i in range(1000)])[:-1]
    bomb = pairs + b"q\x00(" + b"ccollections\nOrderedDict\nh\x00\x85R" * 200 + b"t."
    with pytest.raises(FileFormatError, match="more than 100000 steps"):
        opened(tmp_path, torch_zip(bomb))


@pytest.mark.parametrize(
    "call, said",
    [
        (tensor(1), "reaches element 4"),
        (tensor(0, (2, 2), (2, 2)), "reaches element 4"),
        (tensor(2**70), "reaches element"),
        (tensor(0, (2,), (2**63,)), "reaches element"),
        (tensor(0, (2**62, 2**62), (0, 0)), "repeats the 4 elements"),
        (tensor(0, (2**25,), (0,)), "repeats the 4 elements"),
        (tensor(0, (0, 2**62, 2**62), (1, 1, 1)), "makes no sense"),
        (tensor(-1), "makes no sense"),
        (tensor(0, (-1,)), "makes no sense"),
        (tensor(0, (2,), (-1,)), "makes no sense"),
        (tensor(0, (1.0,)), "makes no sense"),
        (tensor(0, (True,)), "makes no sense"),
        (tensor(0, (1,) * 33, (1,) * 33), "makes no sense"),
        (tensor(0, (1, 1), (1,)), "makes no sense"),
        (tensor(0, "ab", "cd"), "makes no sense"),
        (tensor(0, None), "makes no sense"),
        (tensor(count=3), "has 16 bytes, but 3 elements of float32 need 12"),
        (tensor(count=2**61), "need 9223372036854775808"),
        (tensor(count=-4), "storage of another kind"),
        (tensor(kind="torch.DoubleStorage"), "need 32"),
        (tensor(kind="torch.QInt8Storage"), "asks for 'torch.QInt8Storage'"),
        (tensor(key="1"), "lacks x/data/1"),
        (tensor(key="../data.pkl"), "lacks x/data/../data.pkl"),
        (called("torch._utils._rebuild_tensor_v2", 1, 0, (4,), (1,)), "makes no sense"),
        (called("torch._utils._rebuild_tensor_v2"), "makes no sense"),
        (called("torch._utils._rebuild_parameter", 3, True, None), "makes no sense"),
        (called("torch._utils._rebuild_qtensor", 3), "asks for 'torch._utils._rebuild_qtensor'"),
        (called("torch._tensor._rebuild_from_type_v2", 1, 2, 3, 4), "makes no sense"),
        (called("torch.Size", 3), "makes no sense"),
        (called("collections.OrderedDict", 3), "makes no sense"),
    ],
)
def test_hostile_tensors(call, said, tmp_path):
    values = {"x/data/0": np.arange(4, dtype="float32").tobytes()}
    with pytest.raises(FileFormatError, match=said):
        opened(tmp_path, torch_zip(pickled({"w": call}), values))


def test_hostile_streams(tmp_path):
    head = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled({})]
    values = np.arange(4, dtype="<f4").tobytes()
    tail = [pickled(["0"]), struct.pack("<q", 4) + values]
    one = {"w": tensor()}
    assert opened(tmp_path, b"".join([*head, pickled(one), *tail]))["w"].tolist() == [0, 1, 2, 3]
    for parts, said in [
        ([*head, pickled(one), pickled(["1"]), tail[1]], "not those of its tensors"),
        ([*head, pickled(one), pickled(["0", "0"]), tail[1]], "not those of its tensors"),
        ([*head, pickled(one), pickled("0"), tail[1]], "not those of its tensors"),
        ([*head, pickled(one), tail[0], struct.pack("<q", 5) + values], "has 5 elements, but tensors of 4"),
        ([*head, pickled(one), tail[0], struct.pack("<q", -1) + values], "but tensors of 4"),
        ([*head, pickled([tensor(), tensor(count=5)]), *tail], "two storages '0'"),
        ([*head, pickled({"w": tensor(count=2**62)}), tail[0], struct.pack("<q", 2**62)], "cut short"),
        ([pickled(1), pickled(1001), pickled({}), pickled(one), *tail], "not one of torch.save"),
    ]:
        with pytest.raises(FileFormatError, match=said):
            opened(tmp_path, b"".join(parts))


def test_views_of_storages_in_old_streams(tmp_path):
    kept = persistent(("storage", named("torch.FloatStorage"), "0", "cpu", 4, ("1", 1, 2)))
    view = called("torch._utils._rebuild_tensor", kept, 0, (2,), (1,))
    head = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled({}), pickled([tensor(), view]), pickled(["0"])]
    found = opened(tmp_path, b"".join([*head, struct.pack("<q", 4) + np.arange(4, dtype="<f4").tobytes()]))
    assert found[1].tolist() == [1.0, 2.0] and np.shares_memory(*found)


@pytest.mark.parametrize(
    "content, said",
    [
        (torch_zip(pickled(1), {"../evil": "x"}), "leads out of it"),
        (torch_zip(pickled(1), {"/etc/passwd": "x"}), "leads out of it"),
        (torch_zip(pickled(1), {"x\\..\\y": "x"}), "leads out of it"),
        (torch_zip(pickled(1), {"x/constants.pkl": "x"}), "TorchScript"),
        (torch_zip(pickled(1), {"y/data.pkl": "x"}), "with 2 NAME/data.pkl"),
        (torch_zip(pickled(1), {"x/byteorder": "mixed"}), "byte order b'mixed'"),
        (torch_zip(pickled(1), compression=zipfile.ZIP_BZIP2), "compressed by method 12"),
        (torch_zip(pickled(1)).replace(b"x/data.pkl", b"x/data.txt"), "with 0 NAME/data.pkl"),
        (torch_zip(pickled(1)) + b"more", "does not end where"),
        (b"PK" + torch_zip(pickled(1)), "directory"),
        (torch_zip(pickled(1), {"x/1": "", "x/2": ""}).replace(b"x/2", b"x/1"), "twice"),
    ],
)
def test_hostile_zips(content, said, tmp_path):
    with pytest.raises(FileFormatError, match=said):
        opened(tmp_path, content)


def test_members_over_one_another(tmp_path):
    """Two entries of the directory for the same bytes, as zip bombs have."""
    content = torch_zip(pickled(1), {"x/data/0": b"1234", "x/data/1": b"5678"})
    start = content.index(b"PK\x01\x02")
    second, third = (
        content.index(b"PK\x01\x02", at) for at in (start + 46, content.index(b"PK\x01\x02", start + 46) + 46)
    )
    moved = bytearray(content)
    moved[third + 42 : third + 46] = content[second + 42 : second + 46]
    with pytest.raises(FileFormatError, match="over one another"):
        opened(tmp_path, bytes(moved))


def test_a_zip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.io.zipped.MOST_INFLATED", 1 << 20)
    zeros = bytes(40_000_000)
    members = {"x/data/0": zeros}
    bomb = torch_zip(pickled(tensor(0, (10_000_000,), count=10_000_000)), members, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 60_000
    tracemalloc.start()
    with pytest.raises(FileFormatError, match="inflates to more than"):
        opened(tmp_path, bomb)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    lying = bomb.replace(struct.pack("<L", len(zeros)), struct.pack("<L", 400_000))
    with pytest.raises(FileFormatError, match="does not inflate to 400000"):
        (tmp_path / "x.pt").write_bytes(
            lying.replace(b"J" + struct.pack("<i", 10_000_000), b"J" + struct.pack("<i", 100_000))
        )
        load_torch(tmp_path / "x.pt")


def test_values_are_not_read_before_they_are_used(tmp_path):
    save_torch(tmp_path / "x.pt", {"w": np.zeros(5_000_000, "float32")})
    tracemalloc.start()
    found = load_torch(tmp_path / "x.pt")
    assert found["w"].size == 5_000_000 and tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


CODES = b"(0122NJKMGXTUBC)\x85\x86\x87t]lae}dsu\x8f\x90cR\x81bqr\x94hjQ\x80\x88\x89\x8a\x8b\x8c\x8d\x8e\x93\x95."
PIECES = [
    *(bytes([code]) for code in CODES),
    *(
        b"K\x01",
        b"h\x00",
        b"q\x00",
        b"X\x01\0\0\0a",
        b"ccollections\nOrderedDict\n",
        b"ctorch\nSize\n",
        b"\x8a\x01\x05",
    ),
    bytes(tensor())[:-1],
    bytes(tensor()),
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_any_opcodes_in_any_order(tmp_path, pieces):
    content = torch_zip(Raw(b"\x80\x02" + b"".join(pieces) + b"."), {"x/data/0": bytes(16)})
    try:
        opened(tmp_path, content)
    except FileFormatError as error:
        assert "x.pt" in str(error)
