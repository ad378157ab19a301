"""Weights of a file into a model: by other names, in part, and told by name and shape what does not fit."""

from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, FileFormatError, MissingFileError, StateError
from chainrule.interop import save_torch
from chainrule.io import save_weights

SUFFIXES = [".safetensors", ".npz", ".h5", ".hdf5", ".json", ".json.gz", ".pt", ".pth"]


def model():
    return nn.Sequential({"fc1": nn.Linear(2, 3), "norm": nn.BatchNorm1d(3), "fc2": nn.Linear(3, 1)})


def values(network):
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def write(path, arrays):
    (save_torch if path.suffix.startswith(".pt") else save_weights)(path, arrays)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format(tmp_path, suffix):
    one, other, path = model(), model(), tmp_path / f"w{suffix}"
    write(path, values(one))
    assert other.load_weights(path) == ([], [])
    assert same(values(one), values(other))
    assert same(values(one), cr.io.load_weights(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_save_weights_of_a_model(tmp_path, suffix):
    one, other = model(), model().to("float64")
    one.save_weights(tmp_path / f"w{suffix}")
    other.load_weights(tmp_path / f"w{suffix}")
    assert same(values(one), values(other)) and other["fc1"].weight.dtype == "float64"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_model_without_parameters(tmp_path, suffix):
    nn.ReLU().save_weights(tmp_path / f"w{suffix}")
    assert nn.ReLU().load_weights(tmp_path / f"w{suffix}") == ([], [])


def test_names_that_say_another_format(tmp_path):
    for suffix in (".keras", ".onnx"):
        with pytest.raises(ArgumentError, match=f"no weights are written to a {suffix}"):
            model().save_weights(tmp_path / f"w{suffix}")
    with pytest.raises(ArgumentError, match="no metadata are written to a .pt"):
        save_weights(tmp_path / "w.pt", {}, {"epoch": 1})
    assert not [*tmp_path.iterdir()]


def test_lazy_layers_take_the_sizes_of_the_file(tmp_path):
    nn.Sequential(nn.Linear(2, 3)).save_weights(tmp_path / "w.npz")
    lazy = nn.Sequential(nn.Linear(3))
    lazy.load_weights(tmp_path / "w.npz")
    assert lazy[0].in_features == 2


def test_renamed_in_order_and_left_out(tmp_path):
    one = model()
    arrays = {f"module.{name.replace('fc', 'dense')}": array for name, array in values(one).items()}
    write(tmp_path / "w.npz", arrays | {"module.head.weight": np.ones(3), "other": np.ones(1)})
    other = model()
    other.load_weights(tmp_path / "w.npz", prefix="module.", rename={r"^head\.": None, "dense(.)": r"fc\1"})
    assert same(values(one), values(other))


def test_part_of_a_model(tmp_path):
    one, other = model(), model()
    write(
        tmp_path / "w.npz", {name: a for name, a in values(one).items() if name.startswith("fc1")} | {"x": np.ones(2)}
    )
    before = values(other)
    found = other.load_weights(tmp_path / "w.npz", strict=False)
    assert found.missing == [name for name in before if not name.startswith("fc1")] and found.unexpected == ["x"]
    assert same(values(other), before | {name: a for name, a in values(one).items() if name.startswith("fc1")})


def test_what_does_not_fit_is_listed_with_both_shapes(tmp_path):
    arrays = values(model())
    arrays["linear1.weight"] = np.zeros((5, 2))
    arrays["more"] = np.zeros((7, 1))
    del arrays["fc1.weight"], arrays["fc2.bias"]
    write(tmp_path / "w.npz", arrays)
    network = model()
    before = values(network)
    with pytest.raises(StateError) as caught:
        network.load_weights(tmp_path / "w.npz", rename={"linear": "fc"})
    assert str(caught.value).splitlines() == [
        f"[load_weights] {tmp_path / 'w.npz'} does not fit into Sequential:",
        "  in the model, not in the file:",
        "    fc2.bias (1,)",
        "  in the file, not in the model:",
        "    more (7, 1)",
        "  of another shape:",
        "    fc1.weight (linear1.weight in the file): (5, 2) in the file, (3, 2) in the model",
    ]
    with pytest.raises(StateError, match="of another shape"):
        network.load_weights(tmp_path / "w.npz", rename={"linear": "fc"}, strict=False)
    assert same(before, values(network))


def test_a_beginning_too_many_is_told(tmp_path):
    write(tmp_path / "w.npz", {f"module.{name}": array for name, array in values(model()).items()})
    with pytest.raises(StateError, match=r"names in the file begin with 'module\.': .*prefix='module\.'"):
        model().load_weights(tmp_path / "w.npz")


def test_long_lists_are_cut(tmp_path):
    write(tmp_path / "w.npz", {f"a{i}": np.zeros(1) for i in range(100)} | values(model()))
    with pytest.raises(StateError, match=r"(?s)a0 \(1,\).*and 80 more"):
        model().load_weights(tmp_path / "w.npz")


@pytest.mark.parametrize(
    "options, said",
    [
        ({"rename": {"(": ""}}, "pattern that is none"),
        ({"rename": {r"fc\d": "fc"}}, r"makes 'fc.weight' of both 'fc1.weight' and 'fc2.weight'"),
        ({"prefix": "encoder."}, "no name that begins with 'encoder.'; it begins with fc1"),
    ],
)
def test_renaming_that_cannot_be(tmp_path, options, said):
    write(tmp_path / "w.npz", values(model()))
    with pytest.raises(ArgumentError, match=said):
        model().load_weights(tmp_path / "w.npz", **options)


def test_floats_do_not_become_integers(tmp_path):
    write(tmp_path / "w.npz", values(model()) | {"norm.num_batches_tracked": np.array(1.5)})
    with pytest.raises(StateError, match="norm.num_batches_tracked: float64 in the state, int64 in the model"):
        model().load_weights(tmp_path / "w.npz")


def test_packed_projections_are_taken_apart(tmp_path):
    layer = nn.MultiHeadAttention(8, 2)
    arrays = values(layer)
    packed = {
        f"in_proj_{kind}": np.concatenate([arrays.pop(f"{x}_proj.{kind}") for x in "qkv"])
        for kind in ("weight", "bias")
    }
    write(tmp_path / "w.pt", arrays | packed)
    other = nn.MultiHeadAttention(8, 2)
    assert other.load_weights(tmp_path / "w.pt") == ([], [])
    assert same(values(layer), values(other))


def test_checkpoints_of_torch_with_more_in_them(tmp_path):
    arrays, one = values(model()), model()
    for found in [
        {"state_dict": arrays, "epoch": 3},
        {"model": arrays, "ema": arrays, "optimizer": {"state": {0: {}}}},
        {"anything": arrays, "lr": 0.1},
    ]:
        save_torch(tmp_path / "w.pt", found)
        one.load_weights(tmp_path / "w.pt")
        assert same(values(one), arrays)
    for found, said in [
        ({"a": arrays, "b": arrays}, "is a dict of a, b; expected arrays by name"),
        ([np.ones(2)], "is a list"),
        ({"w": np.ones(2), "epoch": 1}, "is a dict of w, epoch"),
    ]:
        save_torch(tmp_path / "w.pt", found)
        with pytest.raises(FileFormatError, match=said):
            one.load_weights(tmp_path / "w.pt")


def test_a_missing_and_a_damaged_file_leave_the_model(tmp_path):
    network = model()
    before = values(network)
    for suffix in SUFFIXES:
        path = tmp_path / f"w{suffix}"
        with pytest.raises(MissingFileError, match="does not exist"):
            network.load_weights(path)
        write(path, values(model()))
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(FileFormatError, match="w"):
            network.load_weights(path)
    assert same(before, values(network))


@pytest.mark.parametrize("name", ["m.safetensors", "m.npz", "m.json", "m/"])
def test_of_a_whole_file_the_model_is_taken(name, tmp_path):
    """Not its optimizer, nor the rest of a training."""

    def network():
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).compile("mse", "adam")

    model, x, y = network(), np.ones((8, 4), "f"), np.zeros((8, 3), "f")
    path = f"{tmp_path}/{name}"
    callbacks = [cr.train.Checkpoint(f"{tmp_path}/run{name.removeprefix('m')}")]
    model.fit(x, y, epochs=1, verbose=0, callbacks=callbacks)
    model.save(path, optimizer=model.compiled.optimizer)
    for file, prefix in ((path, ""), (callbacks[0].path, ""), (callbacks[0].path, "model/")):
        other = network()
        assert other.load_weights(file, prefix=prefix) == ([], [])
        for one, value in model.state_dict().items():
            np.testing.assert_array_equal(other.state_dict()[one].numpy(), value.numpy())
    renamed = nn.Sequential({"fc": nn.Linear(4, 3), "norm": nn.BatchNorm1d(3)})
    assert renamed.load_weights(path, rename={r"^0\.": "fc.", r"^1\.": "norm."}) == ([], [])


def test_files_of_others_are_told_what_reads_them(tmp_path):
    for name, reader in (("m.keras", "from_keras"), ("m.onnx", "from_onnx"), ("m.pt", "load_weights")):
        with pytest.raises(ArgumentError, match=rf"a model file ends in .*{reader}\(path\)"):
            cr.load(tmp_path / name)


@pytest.mark.parametrize("file", ["torch_2.13_state.pt", "torch_2.13_state_stream.pth"])
def test_files_of_pytorch_under_another_name(file, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes((Path(__file__).parent / "fixtures" / file).read_bytes())
    with pytest.raises(FileFormatError, match=r"it begins as PyTorch's do: end its name in \.pt"):
        nn.Linear(2, 2).load_weights(path)
