"""The catalogue of layers: each computes what NumPy says, is saved, loaded, copied and described as it was."""

import copy
import pickle

import numpy as np
import pytest
from tests.ops import oracles as o
from tests.ops import rows_activation as a
from tests.ops import rows_conv as c
from tests.ops import rows_pool as p
from tests.ops import rows_shape as r

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.domain.errors import ArgumentError, NotSupportedError, ShapeError

RNG = np.random.default_rng(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def log_softmax(x, axis=-1):
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def halves(x):
    return np.split(x, 2, -1)


ACTIVATIONS = [  # layer, and what NumPy says of an array (4, 6)
    (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    (nn.HardTanh(), lambda x: np.clip(x, -1, 1)),
    (nn.HardTanh(-0.5, 2.0), lambda x: np.clip(x, -0.5, 2)),
    (nn.HardSigmoid(), lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    (nn.HardSwish(), lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    (nn.Threshold(0.5, -2.0), lambda x: np.where(x > 0.5, x, -2)),
    (nn.Softshrink(0.7), lambda x: a.softshrink(x, 0.7)),
    (nn.Hardshrink(0.7), lambda x: a.hardshrink(x, 0.7)),
    (nn.ELU(0.5), lambda x: a.elu(x, 0.5)),
    (nn.CELU(0.5), lambda x: a.celu(x, 0.5)),
    (nn.SELU(), lambda x: a.SCALE * a.elu(x, a.ALPHA)),
    (nn.SiLU(), lambda x: x * sigmoid(x)),
    (nn.Mish(), lambda x: x * np.tanh(np.log(1 + np.exp(x)))),
    (nn.Softplus(2.0), lambda x: np.log(1 + np.exp(2 * x)) / 2),
    (nn.Softsign(), lambda x: x / (1 + abs(x))),
    (nn.LogSigmoid(), lambda x: np.log(sigmoid(x))),
    (nn.LogSoftmax(), log_softmax),
    (nn.LogSoftmax(0), lambda x: log_softmax(x, 0)),
    (nn.Softmax(temperature=2.0), lambda x: np.exp(log_softmax(x / 2))),
    (nn.GLU(), lambda x: halves(x)[0] * sigmoid(halves(x)[1])),
    (nn.SwiGLU(), lambda x: halves(x)[0] * sigmoid(halves(x)[0]) * halves(x)[1]),
    (nn.Maxout(3), lambda x: x.reshape(4, 2, 3).max(2)),
    (nn.PReLU(), lambda x: np.where(x > 0, x, 0.25 * x)),
    (nn.PReLU(6, init=0.5), lambda x: np.where(x > 0, x, 0.5 * x)),
]
NORMS = [
    (nn.LayerNorm(6), (4, 6)), (nn.LayerNorm((3, 6), bias=False), (4, 3, 6)), (nn.LayerNorm(), (4, 6)),
    (nn.LayerNorm(6, eps=0.1, elementwise_affine=False), (4, 6)), (nn.RMSNorm(6), (4, 6)), (nn.RMSNorm(eps=0.1), (4, 6)),
    (nn.RMSNorm([3, 6], elementwise_affine=False), (4, 3, 6)), (nn.GroupNorm(2, 4), (2, 4, 3)), (nn.GroupNorm(2), (2, 4, 5)),
    (nn.GroupNorm(1, affine=False), (2, 4, 3, 2)), (nn.BatchNorm3d(4), (2, 4, 2, 3, 2)), (nn.BatchNorm3d(), (2, 4, 2, 3, 2)),
    (nn.InstanceNorm1d(4), (2, 4, 5)), (nn.InstanceNorm1d(affine=True, track_running_stats=True), (2, 4, 5)),
    (nn.InstanceNorm2d(4, affine=True), (2, 4, 5, 3)),
]  # fmt: skip
DROPOUTS = [
    (nn.Dropout1d(0.25), (4, 3, 5)), (nn.Dropout2d(), (4, 3, 5, 2)), (nn.AlphaDropout(0.2), (4, 6)),
    (nn.DropPath(0.1), (4, 6)),
]  # fmt: skip
POOLS = [  # layer, the shape of an input, what NumPy says
    (nn.MaxPool1d(2), (2, 3, 8), lambda x: x.reshape(2, 3, 4, 2).max(3)),
    (nn.MaxPool1d(3, 2, 1, ceil_mode=True), (2, 3, 8), p.of_sequences(p.max_pool2d)),
    (nn.AvgPool1d(3, 2, 1, True, False), (2, 3, 8), p.of_sequences(p.avg_pool2d)),
    (nn.LPPool1d(2, 3, 2), (2, 3, 8), p.of_sequences(p.lp_pool2d)),
    (nn.LPPool2d(2, (3, 2)), (2, 3, 6, 7), p.lp_pool2d),
    (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 3, 6, 7), p.max_pool2d),
    (nn.AvgPool2d(3, 2, 1, True), (2, 3, 6, 7), p.avg_pool2d),
    (nn.AdaptiveAvgPool1d(3), (2, 3, 8), p.adaptive(np.mean)),
    (nn.AdaptiveAvgPool2d((3, None)), (2, 3, 6, 7), p.adaptive(np.mean)),
    (nn.AdaptiveMaxPool1d(3), (2, 3, 8), p.adaptive(np.max)),
    (nn.AdaptiveMaxPool2d(4), (2, 3, 6, 7), p.adaptive(np.max)),
    (nn.GlobalAvgPool1d(), (2, 3, 8), lambda x: x.mean(2, keepdims=True)),
    (nn.GlobalAvgPool2d(), (2, 3, 6, 7), lambda x: x.mean((2, 3), keepdims=True)),
    (nn.GlobalMaxPool1d(), (2, 3, 8), lambda x: x.max(2, keepdims=True)),
    (nn.GlobalMaxPool2d(), (2, 3, 6, 7), lambda x: x.max((2, 3), keepdims=True)),
    (nn.MaxPool1d(2, return_indices=True), (2, 3, 8), p.of_sequences(p.max_pool2d_with_indices)),
    (nn.MaxPool2d(2, return_indices=True), (2, 3, 6, 7), p.max_pool2d_with_indices),
]


@nn.register_function
def mixed(x, by=2.0):
    return x * by


def another():
    def mixed(x):
        return x

    return mixed


SHAPES = [  # layer, the shape of an input, what NumPy says
    (nn.Unflatten(1, (2, -1)), (4, 6), lambda x: x.reshape(4, 2, 3)),
    (nn.Unflatten(-2, [3, 1]), (2, 3, 4), lambda x: x.reshape(2, 3, 1, 4)),
    (nn.Reshape((2, 3)), (4, 6), lambda x: x.reshape(4, 2, 3)),
    (nn.Reshape(-1), (4, 2, 3), lambda x: x.reshape(4, 6)),
    (nn.Permute((0, 2, 1)), (2, 3, 4), lambda x: x.transpose(0, 2, 1)),
    (nn.Lambda("mixed"), (2, 3), lambda x: x * 2),
    (nn.Lambda(mixed, {"by": 3.0}), (2, 3), lambda x: x * 3),
    (nn.PixelShuffle(2), (2, 8, 3, 2), lambda x: r.pixel_shuffle(x, 2)),
    (nn.PixelUnshuffle(2), (2, 3, 4, 6), lambda x: r.pixel_unshuffle(x, 2)),
    (nn.Upsample((7, 3)), (2, 3, 4, 5), lambda x: r.interpolate(x, (7, 3))),
    (nn.Upsample(scale_factor=2, mode="linear"), (2, 3, 5), lambda x: r.interpolate(x, None, 2, "linear")),
    (
        nn.Upsample(7, mode="bilinear", align_corners=True),
        (2, 3, 4, 5),
        lambda x: r.interpolate(x, 7, None, "bilinear", True),
    ),
]
WORDS = [(nn.Embedding(3, 4), [2, 5]), (nn.Embedding(3, 4, padding_idx=-1, init="ones"), [5])]  # lists: of integers


def around(x, width, mode):
    """``x`` with ``width`` more at both ends of all but its first two axes."""
    return np.pad(x, [(0, 0), (0, 0), *[(width, width)] * (x.ndim - 2)], mode)


CONVS = [  # layer, the shape of an input, what NumPy says of x, weight and bias
    (nn.Conv1d(3, 4, 3), (2, 3, 8), c.of_sequences(o.conv2d)),
    (nn.Conv1d(4, kernel_size=3, stride=2, groups=2, bias=False), (2, 4, 8),
     lambda x, w, b: c.of_sequences(o.conv2d)(x, w, b, stride=2, groups=2)),
    (nn.Conv1d(3, 4, 4, padding="same"), (2, 3, 8),
     lambda x, w, b: c.of_sequences(o.conv2d)(np.pad(x, [(0, 0), (0, 0), (1, 2)]), w, b)),
    (nn.Conv1d(3, 4, 3, padding=2, padding_mode="reflect"), (2, 3, 8),
     lambda x, w, b: c.of_sequences(o.conv2d)(around(x, 2, "reflect"), w, b)),
    (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular", stride=2), (2, 3, 6, 5),
     lambda x, w, b: o.conv2d(around(x, 1, "wrap"), w, b, stride=(2, 2))),
    (nn.Conv2d(3, 4, 3, padding="same", padding_mode="replicate"), (2, 3, 6, 5),
     lambda x, w, b: o.conv2d(around(x, 1, "edge"), w, b)),
    (nn.Conv3d(2, 4, (2, 3, 2), padding="same"), (1, 2, 3, 3, 4),
     lambda x, w, b: c.conv3d(np.pad(x, [(0, 0), (0, 0), (0, 1), (1, 1), (0, 1)]), w, b)),
    (nn.Conv3d(4, kernel_size=2, stride=(1, 2, 1), padding=1, padding_mode="replicate"), (1, 2, 3, 3, 4),
     lambda x, w, b: c.conv3d(around(x, 1, "edge"), w, b, stride=(1, 2, 1))),
    (nn.ConvTranspose1d(3, 4, 3, 2, 1, 1), (2, 3, 5),
     lambda x, w, b: c.of_sequences(c.conv_transpose2d)(x, w, b, stride=2, padding=1, output_padding=1)),
    (nn.ConvTranspose2d(3, 4, 3), (2, 3, 4, 5), c.conv_transpose2d),
    (nn.ConvTranspose2d(4, kernel_size=(3, 2), stride=2, groups=2, dilation=(1, 2), bias=False), (2, 6, 4, 5),
     lambda x, w, b: c.conv_transpose2d(x, w, b, stride=(2, 2), groups=2, dilation=(1, 2))),
]  # fmt: skip
ACTIVE = [(layer, (4, 6)) for layer, _ in ACTIVATIONS]
# of each layer, and the shape of an input
EXAMPLES = [*ACTIVE, *NORMS, *DROPOUTS, *WORDS, *[row[:2] for row in [*POOLS, *SHAPES, *CONVS]]]


@pytest.mark.parametrize(("layer", "formula"), ACTIVATIONS, ids=lambda v: repr(v) if isinstance(v, nn.Module) else "")
def test_activations(layer, formula):
    x = RNG.standard_normal((4, 6)) * 3
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), formula(x), rtol=1e-12, atol=1e-14)
    assert layer(Tensor(x.astype("float32"))).dtype == "float32"


def test_prelu_learns_its_slopes():
    layer, x = nn.PReLU(2), Tensor([[-1.0, 2.0], [-3.0, -4.0]])
    layer(x).sum().backward()
    assert layer.weight.grad.tolist() == [-4.0, -4.0]
    with pytest.raises(ShapeError, match=r"weight has shape \(2,\) but x has \(2, 3\)"):
        layer(cr.zeros(2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.HardTanh(2, 1), "min_val 2 is above max_val 1"),
        (lambda: nn.Softshrink(-1), "lambd is -1"),
        (lambda: nn.CELU(0), "alpha is 0"),
        (lambda: nn.Softplus(0), "beta is 0"),
        (lambda: nn.Maxout(0), "pieces is 0"),
        (lambda: nn.Softmax(temperature=0), "temperature is 0"),
        (lambda: nn.PReLU(0), "num_parameters is 0"),
        (lambda: nn.GLU()(cr.zeros(2, 3)), r"axis 1 of x, \(2, 3\), cannot be halved"),
        (lambda: nn.Maxout(2)(cr.zeros(2, 3)), r"axis 1 of x, \(2, 3\), cannot be divided into pieces of 2"),
    ],
)
def test_activations_say_what_is_wrong(make, message):
    with pytest.raises((ArgumentError, ShapeError), match=message):
        make()


# ---- norms


@pytest.mark.parametrize(("layer", "shape"), NORMS, ids=lambda v: repr(v) if isinstance(v, nn.Module) else "")
def test_norms_have_mean_0_and_variance_1(layer, shape):
    x = RNG.standard_normal(shape) * 3 + (0 if isinstance(layer, nn.RMSNorm) else 5)
    y = copy.deepcopy(layer)(Tensor(x, dtype="float32")).numpy()
    groups = {nn.GroupNorm: getattr(layer, "num_groups", 0)}.get(type(layer))
    if isinstance(layer, nn.BatchNorm3d):
        parts = y.swapaxes(0, 1).reshape(4, -1)
    elif isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        parts = y.reshape(4, -1) if len(layer.normalized_shape or "1") == 2 else y.reshape(-1, 6)
    else:
        parts = y.reshape(shape[0] * (groups or shape[1]), -1)
    if not isinstance(layer, nn.RMSNorm):
        np.testing.assert_allclose(parts.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose((parts**2).mean(1), 1, atol=0.11 if layer.eps == 0.1 else 2e-3)


def test_instance_norm_tracks_as_pytorch_does():
    layer, x = nn.InstanceNorm1d(3, track_running_stats=True, momentum=0.25), RNG.standard_normal((2, 3, 5)) + 4
    layer(Tensor(x, dtype="float32"))
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.25 * x.mean((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.75 + 0.25 * x.var(2, ddof=1).mean(0), rtol=1e-5)
    expected = (x - layer.running_mean.numpy()[:, None]) / np.sqrt(layer.running_var.numpy()[:, None] + 1e-5)
    np.testing.assert_allclose(layer.eval()(Tensor(x, dtype="float32")).numpy(), expected, rtol=1e-4)
    assert layer.num_batches_tracked.item() == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LayerNorm(0), "LayerNorm: normalized_shape is 0"),
        (lambda: nn.LayerNorm(()), r"LayerNorm: normalized_shape is \(\)"),
        (lambda: nn.RMSNorm(3, eps=-1), "RMSNorm: eps is -1"),
        (lambda: nn.GroupNorm(3, 4), "4 channels cannot be divided into 3 groups"),
        (lambda: nn.GroupNorm(3)(cr.zeros(2, 4)), "3 groups do not divide the 4 channels"),
        (lambda: nn.GroupNorm(2, 4)(cr.zeros(2, 6)), r"x has 6 channels \(axis 1 of \(2, 6\)\) but GroupNorm has 4"),
        (lambda: nn.LayerNorm(4)(cr.zeros(2, 6)), r"\(2, 6\), which does not end in normalized_shape \(4,\)"),
        (lambda: nn.InstanceNorm1d(4)(cr.zeros(2, 4, 1)), "one element in each channel"),
        (lambda: nn.InstanceNorm2d(4)(cr.zeros(2, 4, 1)), r"InstanceNorm2d takes \(n, channels, height, width\)"),
        (lambda: nn.BatchNorm3d(4)(cr.zeros(2, 4, 1, 1)), r"BatchNorm3d takes \(n, channels, depth, height, width\)"),
    ],
)
def test_norms_say_what_is_wrong(make, message):
    with pytest.raises((ArgumentError, ShapeError), match=message):
        make()


# ---- dropout


@pytest.mark.parametrize(("layer", "shape"), DROPOUTS, ids=lambda v: repr(v) if isinstance(v, nn.Module) else "")
def test_dropouts(layer, shape):
    x = Tensor(RNG.standard_normal((400, *shape[1:])), dtype="float32", requires_grad=True)
    cr.manual_seed(0)
    layer = copy.deepcopy(layer)
    y, chance = layer(x), layer.p
    y.sum().backward()
    kept = x.grad.numpy() != 0
    parts = kept.reshape(400, -1) if isinstance(layer, nn.DropPath) else kept.reshape(400, shape[1], -1)
    if not isinstance(layer, nn.AlphaDropout):
        assert (parts.all(-1) == parts.any(-1)).all(), "whole parts are dropped"
        assert ((y.numpy() != 0) == kept).all()
        np.testing.assert_allclose(y.numpy()[kept], x.numpy()[kept] / (1 - chance), rtol=1e-6)
    assert kept.mean() == pytest.approx(1 - chance, abs=0.05)
    assert len({*x.grad.numpy()[kept].round(5).tolist()}) == 1
    if isinstance(layer, nn.AlphaDropout):
        assert abs(y.mean().item()) < 0.1 and abs(y.std().item() - 1) < 0.1
    assert layer.eval()(x) is x
    layer.train().p = 1.0
    assert (layer(x).numpy() == 0).all()


@pytest.mark.parametrize("cls", [nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.DropPath])
def test_dropouts_say_what_is_wrong(cls):
    with pytest.raises(ArgumentError, match=f"{cls.__name__}: p is 1.5, expected a probability"):
        cls(1.5)
    if "d" in cls.__name__[-1]:
        with pytest.raises(ShapeError, match=rf"x has shape \(2, 3\); {cls.__name__} takes \(n, channels,"):
            cls()(cr.zeros(2, 3))


# ---- pooling


@pytest.mark.parametrize(
    ("layer", "shape", "formula"), POOLS, ids=lambda v: repr(v) if isinstance(v, nn.Module) else ""
)
def test_pools(layer, shape, formula):
    x = RNG.uniform(0.5, 2.0, shape)
    config = {k: v for k, v in layer.get_config().items() if k != "return_indices"}
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    expected = formula(x, **config) if formula.__name__ != "<lambda>" else formula(x)
    y = layer(Tensor(x))
    for v, e in zip(
        y if isinstance(y, tuple) else (y,), expected if isinstance(expected, tuple) else (expected,), strict=True
    ):
        np.testing.assert_allclose(v.numpy(), e, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.MaxPool1d(2, padding=2),
            "MaxPool1d: padding is 2, expected an integer from 0 to half of kernel_size 2",
        ),
        (lambda: nn.AvgPool1d(0), "AvgPool1d: kernel_size is 0"),
        (lambda: nn.LPPool1d(0, 2), "norm_type is 0"),
        (lambda: nn.LPPool2d(0, 2), "norm_type is 0"),
        (
            lambda: nn.AdaptiveAvgPool2d((1, 2, 3)),
            r"AdaptiveAvgPool2d: output_size is \(1, 2, 3\), expected a positive",
        ),
        (lambda: nn.AdaptiveMaxPool1d(0), "AdaptiveMaxPool1d: output_size is 0"),
        (lambda: nn.AdaptiveMaxPool1d(2)(cr.zeros(2, 3)), r"x has shape \(2, 3\); sequences are"),
        (lambda: nn.AdaptiveAvgPool2d(2)(cr.zeros(2, 3, 4)), r"x has shape \(2, 3, 4\); images are"),
        (lambda: nn.MaxPool1d(2)(cr.zeros(2, 3, 4, 4)), r"\[max_pool1d\] x has shape \(2, 3, 4, 4\); sequences are"),
        (lambda: nn.GlobalMaxPool2d()(cr.zeros(2, 3)), r"\[global_max_pool2d\] x has shape \(2, 3\); images are"),
        (lambda: nn.GlobalAvgPool1d()(cr.zeros(2, 3)), r"\[global_avg_pool1d\] x has shape \(2, 3\); sequences are"),
    ],
)
def test_pools_say_what_is_wrong(make, message):
    with pytest.raises((ArgumentError, ShapeError), match=message):
        make()


# ---- shapes and words


@pytest.mark.parametrize(
    ("layer", "shape", "formula"), SHAPES, ids=lambda v: repr(v) if isinstance(v, nn.Module) else ""
)
def test_shapes(layer, shape, formula):
    x = RNG.standard_normal(shape)
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), formula(x), rtol=1e-12)


def test_embedding():
    layer = nn.Embedding(4, 3, padding_idx=1)
    y = layer(cr.tensor([[0, 1], [1, 3]]))
    np.testing.assert_array_equal(y.numpy(), layer.weight.numpy()[[[0, 1], [1, 3]]])
    assert y.numpy()[0, 1].tolist() == [0, 0, 0] and y.numpy()[0, 0].all()
    y.sum().backward()
    assert layer.weight.grad.sum(axis=1).tolist() == [3, 0, 0, 3]
    with pytest.raises(IndexError, match="index 4 is no row: weight has 4 rows"):
        layer(cr.tensor([4]))
    assert nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(2))(cr.tensor([[1, 2]])).shape == (1, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Embedding(0, 3), "num_embeddings is 0"),
        (lambda: nn.Embedding(4, 3, padding_idx=4), "padding_idx is 4, but there are 4 embeddings"),
        (lambda: nn.Reshape((2.0, 3)), r"Reshape: shape is \(2.0, 3\), expected integers"),
        (lambda: nn.Unflatten(3, (1, 1))(cr.zeros(2, 3)), r"axis 3 is not an axis of x, \(2, 3\)"),
        (lambda: nn.Lambda("mixde"), "function of Lambda 'mixde': did you mean 'mixed'"),
        (lambda: nn.Lambda(lambda x: x), "is not registered: put @nn.register_function above"),
        (lambda: nn.register_function(another()), "the name 'mixed' is taken"),
        (lambda: nn.Upsample(), "size is None and scale_factor None; give one of the two"),
        (lambda: nn.Upsample(3, mode="cubic"), "mode of Upsample 'cubic'"),
        (lambda: nn.Upsample(3, align_corners=True), "align_corners goes with the modes"),
        (lambda: nn.Upsample(3, mode="bilinear")(cr.zeros(1, 2, 3)), "mode 'bilinear' is not for x of shape"),
        (lambda: nn.Upsample(3)(cr.zeros(1, 2)), r"x has shape \(1, 2\); it should be"),
        (lambda: cr.interpolate(cr.zeros(1, 1, 2)), "neither size nor scale_factor is given"),
        (lambda: cr.interpolate(cr.zeros(1, 1, 2), scale_factor=0.1), r"size would be \(0,\), but at least 1"),
        (lambda: cr.interpolate(cr.zeros(1, 1, 2), size=(2, 3)), r"should be a number, or 1 of them"),
        (
            lambda: nn.PixelShuffle(2)(cr.zeros(1, 3, 2, 2)),
            "3 channels .* which upscale_factor 2 squared does not divide",
        ),
        (lambda: nn.PixelUnshuffle(2)(cr.zeros(1, 3, 3, 2)), "downscale_factor 2 does not divide height and width"),
    ],
)
def test_shapes_say_what_is_wrong(make, message):
    with pytest.raises((ArgumentError, ShapeError, TypeError), match=message):
        make()


# ---- convolutions


@pytest.mark.parametrize(
    ("layer", "shape", "formula"), CONVS, ids=lambda v: repr(v) if isinstance(v, nn.Module) else ""
)
def test_convolutions(layer, shape, formula):
    x, layer = RNG.standard_normal(shape), copy.deepcopy(layer)
    layer(Tensor(x, dtype="float32"))
    layer.to("float64")
    if layer.bias is not None:
        layer.bias.load(RNG.standard_normal(4))
    w, b = layer.weight.numpy(), None if layer.bias is None else layer.bias.numpy()
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), formula(x, w, b), rtol=1e-9, atol=1e-12)
    assert layer.in_channels == shape[1] and "in_channels" in layer.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv1d(3, 4), r"Conv1d: kernel_size is missing: write Conv1d\("),
        (lambda: nn.Conv1d(3, 4, (3, 3)), r"Conv1d: kernel_size is \(3, 3\), expected an integer of at least 1"),
        (lambda: nn.Conv1d(3, 4, 3, padding="sam"), "padding of Conv1d 'sam': did you mean 'same'"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "padding_mode of Conv2d 'mirror'"),
        (lambda: nn.Conv1d(4, kernel_size=3)(cr.zeros(2, 3)), r"\[conv1d\] x has shape \(2, 3\); sequences are"),
        (lambda: nn.Conv1d(3, 4, 3)(cr.zeros(2, 5, 8)), "x has 5 channels .* but weight expects 3"),
        (
            lambda: nn.Conv2d(1, 1, 3, padding=4, padding_mode="reflect")(cr.zeros(1, 1, 4, 4)),
            "reflect cannot pad axis",
        ),
        (
            lambda: nn.Conv3d(3, 4, (1, 2)),
            r"Conv3d: kernel_size is \(1, 2\), expected an integer of at least 1, or three",
        ),
        (lambda: nn.Conv3d(4, kernel_size=1)(cr.zeros(1, 1, 2, 2)), "volumes are"),
        (lambda: nn.Conv3d(3, 4, 3)(cr.zeros(1, 3, 2, 4, 4)), "does not fit into x, 2 long on axis 2"),
        (lambda: nn.Conv3d(3, 4, 3)(cr.zeros(1, 2, 4, 4, 4)), "x has 2 channels .* but weight expects 3"),
        (lambda: nn.ConvTranspose2d(3, 4), "ConvTranspose2d: kernel_size is missing"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=1), "output_padding is 1; it should be less than stride 1"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, groups=2), "3 in_channels and 4 out_channels cannot be divided into 2"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), "padding_mode 'reflect' is not supported"),
        (lambda: nn.ConvTranspose2d(3, 4, 3)(cr.zeros(2, 5, 8, 8)), r"x has 5 channels \(axis 1 .* weight expects 3"),
        (lambda: nn.ConvTranspose2d(4, kernel_size=3)(cr.zeros(2, 3)), "images are"),
        (lambda: nn.ConvTranspose1d(3, 4, 1, padding=3)(cr.zeros(1, 3, 2)), "leaves nothing of axis 3"),
        (lambda: cr.conv_transpose2d(cr.zeros(1, 2, 3, 3), cr.zeros(2, 2, 1, 1), cr.zeros(3)), r"needs \(2,\)"),
        (
            lambda: cr.conv_transpose2d(cr.zeros(1, 2, 3, 3), cr.zeros(2, 2, 1, 1), stride=2, output_padding=2),
            "less than",
        ),
        (lambda: cr.conv1d(cr.zeros(1, 2, 3), cr.zeros(2, 2, 1, 1)), r"should be \(filters, channels, length\)"),
    ],
)
def test_convolutions_say_what_is_wrong(make, message):
    with pytest.raises((ArgumentError, ShapeError, NotSupportedError), match=message):
        make()


# ---- all of them


def same(one, other, x):
    """Whether two layers compute the same, as in use and in training with the same random numbers."""
    for training in (False, True):
        found = []
        for layer in (one, other):
            cr.manual_seed(0)
            y = copy.deepcopy(layer).train(training)(x)
            found.append([v.numpy() for v in (y if isinstance(y, tuple) else (y,))])
        for v, w in zip(*found, strict=True):
            np.testing.assert_array_equal(v, w)


@pytest.mark.parametrize(("layer", "shape"), EXAMPLES, ids=lambda v: repr(v) if isinstance(v, nn.Module) else "")
def test_saved_loaded_described_copied(layer, shape, tmp_path):
    x = (
        Tensor(RNG.integers(0, 3, shape))
        if isinstance(shape, list)
        else Tensor(RNG.standard_normal(shape), dtype="float32")
    )
    model = nn.Sequential(layer).eval()
    model(x)
    for parameter in model.parameters():
        parameter.load(RNG.standard_normal(parameter.shape))
    model.save(tmp_path / "model.safetensors")
    same(model, cr.load(tmp_path / "model.safetensors"), x)
    same(model, copy.deepcopy(model), x)
    same(model, pickle.loads(pickle.dumps(model)), x)
    assert nn.describe(nn.create(nn.describe(layer))) == nn.describe(layer)
    assert type(layer).__doc__ and str(type(layer).__name__) in repr(layer)


def test_training_keeps_the_temperature_of_a_softmax():
    x, y = RNG.standard_normal((8, 3)).astype("float32"), np.arange(8) % 3
    weights = []
    for model in (nn.Sequential(nn.Linear(3, 3), nn.Softmax(temperature=4.0)), nn.Sequential(nn.Linear(3, 3))):
        model[0].weight.load(np.eye(3))
        if len(model) == 1:
            model.compile(lambda s, t: cr.cross_entropy(s / 4.0, t), cr.optim.SGD(model.parameters(), lr=1.0))
        else:
            model.compile("cross_entropy", cr.optim.SGD(model.parameters(), lr=1.0))
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model[0].weight.numpy())
        if len(model) == 2:
            np.testing.assert_allclose(model.predict(x).numpy(), model(Tensor(x)).numpy(), rtol=1e-6)
    np.testing.assert_allclose(*weights, rtol=1e-5)


def test_a_model_of_words_is_built_shown_and_trained():
    model = nn.Sequential(nn.Embedding(10, 4, padding_idx=0), nn.Dropout1d(0.1), nn.Flatten(), nn.Linear(2))
    assert model.summary((None, 5)).rows[-1].output == "(None, 2)"
    assert nn.Sequential(nn.Sequential(nn.Embedding(10, 4)), nn.Linear(2)).build((None, 5)).is_built
    x, y = RNG.integers(0, 10, (60, 5)), np.arange(60) % 2
    model.compile("cross_entropy", cr.optim.Adam(model.parameters(), lr=0.05))
    history = model.fit(x, y, epochs=20, batch_size=20, verbose=0)
    assert history["loss"][-1] < 0.7 * history["loss"][0] and not model[0].weight.numpy()[0].any()
