"""Convolutions by channel, channels that come last, and what goes with convolutions: oracles are plain Conv layers, NumPy."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.domain.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)
EXAMPLES = [
    (nn.DepthwiseConv1d(3, 3, padding="same"), (2, 3, 8)),
    (nn.DepthwiseConv1d(kernel_size=2, depth_multiplier=2, bias=False), (2, 3, 8)),
    (nn.DepthwiseConv2d(3, (3, 2), 2, 1, depth_multiplier=3), (2, 3, 6, 7)),
    (nn.DepthwiseConv2d(kernel_size=3, padding=1, padding_mode="reflect"), (2, 3, 6, 7)),
    (nn.SeparableConv1d(3, 5, 3), (2, 3, 8)),
    (nn.SeparableConv2d(5, kernel_size=3, stride=2, depth_multiplier=2), (2, 3, 6, 7)),
]
rows = pytest.mark.parametrize(("layer", "shape"), EXAMPLES, ids=lambda v: repr(v) if isinstance(v, nn.Module) else "")


def data(*shape):
    return Tensor(RNG.standard_normal(shape))


def by_channel(layer, x):
    """A depthwise convolution as plain ones, one for each channel, side by side."""
    plain = {1: nn.Conv1d, 2: nn.Conv2d}[layer.axes]
    found = []
    for c in range(x.shape[1]):
        one = plain(1, layer.depth_multiplier, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
                    bias=layer.bias is not None, padding_mode=layer.padding_mode, dtype="float64")  # fmt: skip
        mine = slice(c * layer.depth_multiplier, (c + 1) * layer.depth_multiplier)
        one.load_state_dict({name: value[mine] for name, value in layer.state_dict().items()})
        found.append(one(x[:, c : c + 1]))
    return cr.concat(found, axis=1)


@rows
def test_channels_apart_and_mixed(layer, shape):
    layer, x = copy.deepcopy(layer), data(*shape)
    layer(x.float())
    layer.to("float64")
    depthwise = getattr(layer, "depthwise", layer)
    wanted = by_channel(depthwise, x)
    if depthwise is not layer:
        w = layer.pointwise.weight.numpy().reshape(layer.out_channels, -1)
        wanted = np.einsum("oc,nc...->no...", w, wanted.detach().numpy())
        wanted = wanted + layer.pointwise.bias.numpy().reshape(-1, *(1,) * (len(shape) - 2))
    np.testing.assert_allclose(layer(x).detach().numpy(), np.asarray(wanted), rtol=1e-11, atol=1e-12)
    assert layer.in_channels == 3 and layer(x).shape[1] == layer.out_channels


@rows
def test_they_are_described_saved_and_loaded(layer, shape, tmp_path):
    layer, x = copy.deepcopy(layer), data(*shape).float()
    assert repr(nn.create(nn.describe(layer))) == repr(layer)
    y = layer(x).detach()
    layer.save(tmp_path / "layer.safetensors")
    again = cr.load(tmp_path / "layer.safetensors")
    np.testing.assert_array_equal(again(x).detach().numpy(), y.numpy())
    assert repr(again) == repr(layer) and nn.describe(again) == nn.describe(layer)


def test_lazy_ones_take_their_sizes_from_a_state():
    made, lazy = nn.DepthwiseConv2d(3, 3, depth_multiplier=2), nn.DepthwiseConv2d(kernel_size=3, depth_multiplier=2)
    lazy.load_state_dict(made.state_dict())
    x = data(1, 3, 5, 5).float()
    np.testing.assert_array_equal(lazy(x).detach().numpy(), made(x).detach().numpy())
    assert lazy.in_channels == 3 and lazy.out_channels == 6


def test_they_begin_as_convolutions_of_as_many_groups_do():
    for layer in (nn.DepthwiseConv2d(6, 3), nn.DepthwiseConv2d(kernel_size=3)):
        model = nn.Sequential(layer, nn.ReLU())
        model.build((None, 6, 5, 5))
        bound = np.sqrt(6 / 9)  # He, uniform: 9 values reach an output
        found = np.abs(layer.weight.detach().numpy())
        assert found.max() <= bound and found.max() > 0.7 * bound
    model = nn.Sequential(nn.SeparableConv2d(4, kernel_size=3), nn.ReLU())
    assert str(model[0].pointwise.weight.pending.init) == "kaiming_uniform"
    assert str(model[0].depthwise.weight.pending.init) == "xavier_uniform"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.DepthwiseConv2d(3), r"kernel_size is missing: write DepthwiseConv2d\(in_channels, kernel_size\)"),
        (lambda: nn.SeparableConv2d(3, 4), "kernel_size is missing"),
        (lambda: nn.DepthwiseConv2d(0, 3), "in_channels is 0"),
        (lambda: nn.DepthwiseConv2d(3, 3, depth_multiplier=0), "depth_multiplier is 0"),
        (lambda: nn.DepthwiseConv2d(kernel_size=3)(cr.ones(3, 5, 5)), "images are"),
        (lambda: nn.DepthwiseConv2d(3, 3)(cr.ones(1, 4, 5, 5)), "4 channels"),
        (lambda: nn.ConvTranspose2d(1, 1, 3, padding="some"), "padding of ConvTranspose2d 'some': did you mean 'same'"),
        (lambda: nn.ConvTranspose2d(1, 1, 3, 2, "same", 1), "leave output_padding out"),
        (lambda: nn.ConvTranspose2d(1, 1, 3, 2, "same")(cr.ones(1, 1, 3, 3), output_size=6), "leave output_size out"),
        (lambda: nn.ChannelsLast(nn.ReLU())(cr.ones(3, 5)), r"x has shape \(3, 5\)"),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3, 2)(cr.ones(1, 1, 3, 3), output_size=9),
            r"sizes from \(7, 7\) to \(8, 8\)",
        ),
    ],
)
def test_mistakes_are_told(make, message):
    with pytest.raises((ArgumentError, ShapeError), match=message):
        make()


# ---- what goes with convolutions


def test_a_transposed_convolution_gives_back_the_size_that_was():
    for size in (7, 8, 9, 10):
        x = data(1, 2, size, 12 - size)
        down = nn.Conv2d(2, 3, 3, stride=2, padding=1, dtype="float64")
        up = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, dtype="float64")
        y = up(down(x), output_size=x.shape)
        assert y.shape == x.shape
        more = nn.ConvTranspose2d(3, 2, 3, 2, 1, tuple((n + 1) % 2 for n in x.shape[2:]), dtype="float64")
        more.load_state_dict(up.state_dict())
        np.testing.assert_array_equal(y.detach().numpy(), more(down(x)).detach().numpy())
    assert nn.ConvTranspose1d(1, 1, 3, 2)(cr.ones(1, 1, 3), output_size=8).shape == (1, 1, 8)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 2, 1), (4, 2, 1), (2, 3, 1), (2, 1, 1), (3, 1, 2), (4, (1, 2), 3)]
)
def test_transposed_convolutions_as_large_as_stride_says(kernel, stride, dilation):
    """The middle of the whole result, where a surplus of one is cut off at the end; this is what Keras and TensorFlow give."""
    options = {"stride": stride, "dilation": dilation, "dtype": "float64"}
    same = nn.ConvTranspose2d(2, 3, kernel, padding="same", **options)
    whole = nn.ConvTranspose2d(2, 3, kernel, padding="valid", **options)
    whole.load_state_dict(same.state_dict())
    same.bias.load([1.0, 2.0, 3.0])
    x = data(2, 2, 4, 5)
    y, full = same(x).detach().numpy(), whole(x).detach().numpy()
    sizes = [n * s for n, s in zip((4, 5), np.broadcast_to(stride, 2), strict=True)]
    surplus = [max(n - m, 0) for n, m in zip(full.shape[2:], sizes, strict=True)]
    wanted = np.zeros((2, 3, *sizes))
    inner = full[:, :, surplus[0] // 2 :, surplus[1] // 2 :][:, :, : sizes[0], : sizes[1]]
    wanted[:, :, : inner.shape[2], : inner.shape[3]] = inner
    np.testing.assert_allclose(y, wanted + np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1), rtol=1e-12)
    line = nn.ConvTranspose1d(1, 1, 4, stride=2, padding="same")
    assert line(cr.ones(1, 1, 7)).shape == (1, 1, 14) and nn.create(nn.describe(line)).padding == "same"


FEATURES = {
    "conv": lambda: nn.Conv2d(4, kernel_size=3, stride=2, padding=1),
    "block": lambda: nn.Sequential(nn.Conv2d(4, kernel_size=3), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)),
    "norms": lambda: nn.Sequential(nn.GroupNorm(1), nn.InstanceNorm2d(3), nn.AvgPool2d(2), nn.Upsample(scale_factor=2)),
    "transposed": lambda: nn.ConvTranspose2d(4, kernel_size=2, stride=2),
    "pooled": lambda: nn.Sequential(nn.SeparableConv2d(4, kernel_size=3), nn.GlobalAvgPool2d(), nn.Flatten()),
}


@pytest.mark.parametrize("name", FEATURES)
def test_channels_last(name, tmp_path):
    model = nn.Sequential(nn.ChannelsLast(FEATURES[name]()))
    x = data(2, 6, 8, 3)
    model(x.float())
    model.to("float64").eval()
    first = Tensor(np.ascontiguousarray(np.moveaxis(x.numpy(), -1, 1)))
    y, wanted = model(x).detach().numpy(), model[0]._layers["body"](first).detach().numpy()
    np.testing.assert_allclose(y, wanted if wanted.ndim == 2 else np.moveaxis(wanted, 1, -1), rtol=1e-11, atol=1e-12)
    model.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again(x).detach().numpy(), y)


def test_channels_last_of_sequences_and_volumes():
    assert nn.ChannelsLast(nn.Conv1d(5, kernel_size=3))(cr.ones(2, 9, 4)).shape == (2, 7, 5)
    assert nn.ChannelsLast(nn.Conv3d(5, kernel_size=3))(cr.ones(2, 4, 5, 6, 3)).shape == (2, 2, 3, 4, 5)


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.Dropout2d(0.5), nn.AlphaDropout(0.5), nn.DropPath(0.5)], ids=repr
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_keeps_the_memory_order_of_images(layer, dtype):
    values = RNG.standard_normal((4, 5, 6, 8)).astype(dtype)
    last = Tensor(values).permute(0, 3, 1, 2).requires_grad_()
    cr.manual_seed(3)
    y = layer(last)
    (g,) = cr.grad((y * y).sum(), [last])
    assert y.numpy().strides == g.numpy().strides == last.detach().numpy().strides
    cr.manual_seed(3)  # what is dropped does not depend on the order
    np.testing.assert_array_equal(layer(last.detach().contiguous()).numpy(), y.detach().numpy())


def test_a_bias_before_a_norm_is_left_out_by_option_alone():
    def layers():
        return nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)

    kept, without = nn.Sequential(*layers()), nn.Sequential(*layers(), bias_before_norm=False)
    assert [m.bias is None for m in (kept[0], kept[3])] == [False, False]
    assert [m.bias is None for m in (without[0], without[3])] == [True, False]
    assert "0.bias" not in without.state_dict() and nn.create(nn.describe(without))[0].bias is None
    without.load_state_dict({k: v for k, v in kept.state_dict().items() if k != "0.bias"})
    kept[0].bias.load([1.0, -2.0, 3.0, 0.5])
    x = data(3, 1, 6, 6).float()
    np.testing.assert_allclose(kept(x).detach().numpy(), without(x).detach().numpy(), rtol=1e-4, atol=1e-4)
    added = nn.Sequential(nn.Linear(3, 4), bias_before_norm=False).add(nn.BatchNorm1d(4))
    assert added[0].bias is None
