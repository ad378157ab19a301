"""Convolutions on a GPU beyond the table: several tiles, groups, strides, 16-bit floats, parts of long sums."""

import ml_dtypes
import numpy as np
import pytest
from tests.ops import test_conv as on_any

import chainrule as cr
from chainrule import Tensor, backends
from chainrule.backends.cuda import driver
from chainrule.backends.cuda.rooms import conv

DTYPES = ["float32", "float64", "float16", "bfloat16"]
HALF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}  # of a last place
CASES = [
    ((2, 5, 9, 11), (7, 5, 3, 3), {}),
    ((2, 6, 12, 13), (70, 6, 3, 2), {"padding": (1, 0)}),  # more filters than a tile has rows
    ((1, 5, 11, 12), (6, 5, 3, 4), {"stride": (2, 3), "padding": (1, 2)}),
    ((2, 5, 9, 8), (6, 5, 2, 3), {"stride": (2, 2), "dilation": (2, 3), "padding": (2, 1)}),
    ((1, 6, 7, 7), (5, 6, 1, 1), {"stride": (3, 2)}),  # elements that no window reaches
    ((1, 12, 8, 9), (14, 6, 3, 3), {"groups": 2, "padding": (1, 1)}),
    ((2, 6, 8, 9), (6, 1, 3, 3), {"groups": 6, "padding": (1, 1), "stride": (2, 1)}),  # each channel for itself
    ((2, 4, 8, 9), (8, 2, 3, 3), {"groups": 2, "dilation": (2, 1)}),
    ((1, 3, 20, 20), (5, 3, 5, 5), {"padding": (2, 2)}),
]


def arrays(*shapes, dtype):
    r = np.random.default_rng(0)
    return [r.standard_normal(s).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype) for s in shapes]


def results(device, given, dtype, **params):
    """A convolution, and the gradients for one that is different everywhere, in float64."""
    with backends.use(device):
        x, w, b = (Tensor(v.astype(np.float64), dtype=dtype, requires_grad=True) for v in given)
        y = cr.conv2d(x, w, b, **params)
        weights = (
            np.cos(np.arange(y.size)).reshape(y.shape).astype(ml_dtypes.bfloat16)
        )  # exact in bfloat16 and in float32
        y.backward(Tensor(weights.astype(np.float64), dtype=dtype))
        return [v.numpy().astype(np.float64) for v in (y.detach(), x.grad, w.grad, b.grad)]


def near(found, expected, dtype, terms):
    """Equal but for one rounding of the result, and those of sums of so many terms, in float32 at least."""
    for one, other, n in zip(found, expected, terms, strict=True):
        sums = min(HALF[dtype], HALF["float32"])
        limit = (
            2 * HALF[dtype] * np.abs(other) + 4 * sums * n**0.5 * np.abs(other).max() + 2.0**-24 * (dtype == "float16")
        )
        assert one.shape == other.shape and (np.abs(one - other) <= limit).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("x", "w", "params"), CASES, ids=lambda v: str(v).replace(" ", ""))
def test_value_and_gradients(x, w, params, dtype):
    given = arrays(x, w, w[:1], dtype=dtype)
    if dtype == "float16":
        given = [v / 4 for v in given]  # rounded weights of the gradient are exact in float16, too: far from its ends
    expected = results("cpu", given, "float64", **params)
    pixels = x[0] * expected[0].shape[2] * expected[0].shape[3]
    terms = w[1] * w[2] * w[3], w[0] * w[2] * w[3], pixels, pixels
    near(results("cuda", given, dtype, **params), expected, dtype, terms)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_large_tiles(gpu, dtype):
    x, w = (1, 3, 30, 30), (66, 3, 3, 3)
    chosen = conv.tiles(dtype, 66, 900, 27, 1, gpu.properties.multiprocessors, conv.TILES[dtype])
    assert chosen.tile == 128
    given = arrays(x, w, w[:1], dtype=dtype)
    near(
        results("cuda", given, dtype, padding=1),
        results("cpu", given, "float64", padding=1),
        dtype,
        (27, 594, 900, 900),
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_long_sums_are_done_in_parts(gpu, dtype):
    for x, w in (
        ((1, 5, 40, 41), (6, 5, 3, 3)),
        ((1, 150, 5, 4), (6, 150, 3, 2)),
    ):  # of the weight's gradient, and of y
        given = arrays(x, w, w[:1], dtype=dtype)
        found = results("cuda", given, dtype)
        near(found, results("cpu", given, "float64"), dtype, (900, 54, 1482, 1482))
        for one, other in zip(results("cuda", given, dtype), found, strict=True):
            np.testing.assert_array_equal(one, other)
    assert conv.tiles("float32", 6, 45, 38 * 39, 1, 2, (64,), True).parts > 1
    assert conv.tiles("float32", 6, 9, 900, 1, 2, (64,), True).parts > 1


@pytest.mark.parametrize(
    ("x", "w", "params"),
    [*CASES[:6], ((1, 3, 30, 30), (66, 3, 3, 3), {"padding": 1})],
    ids=lambda v: str(v).replace(" ", ""),
)
def test_in_tf32(x, w, params):
    """Of numbers that TF32 has, the same as in float32; and of others not."""
    given = arrays(x, w, w[:1], dtype="float32")
    exact = [((v.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32) for v in given[:2]] + given[2:]
    cr.cuda.set_float32_matmul_precision("high")
    try:
        found, other = results("cuda", exact, "float32", **params), results("cuda", given, "float32", **params)
    finally:
        cr.cuda.set_float32_matmul_precision("highest")
    expected = results("cpu", exact, "float64", **params)
    pixels = x[0] * expected[0].shape[2] * expected[0].shape[3]
    near(found, expected, "float32", (w[1] * w[2] * w[3], w[0] * w[2] * w[3], pixels, pixels))
    wide = results("cpu", given, "float64", **params)
    assert all(1e-5 < np.abs(a - b).max() < 0.1 for a, b in zip(other[:3], wide, strict=False))


def test_images_of_other_layouts(gpu):
    x, w = arrays((2, 5, 9, 8), (6, 5, 3, 3), dtype="float32")
    params = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    expected = gpu.download(conv.conv2d(gpu, gpu.upload(x), gpu.upload(w), None, **params)[0])
    last = gpu.upload(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    last = last.view(x.shape, tuple(last.strides[a] for a in (0, 3, 1, 2)))
    back = gpu.upload(np.ascontiguousarray(x[:, :, ::-1, ::-1]))
    s = back.strides
    back = back.view(x.shape, (s[0], s[1], -s[2], -s[3]), s[1] - s[3])
    turned = gpu.upload(np.ascontiguousarray(w.transpose(3, 2, 1, 0)))
    turned = turned.view(w.shape, turned.strides[::-1])
    for one in (last, back):
        np.testing.assert_array_equal(gpu.download(conv.conv2d(gpu, one, turned, None, **params)[0]), expected)


def test_not_a_number_stays_in_its_windows(gpu):
    x, w = arrays((1, 5, 9, 9), (6, 5, 3, 3), dtype="float32")
    x[0, 2, 4, 5] = np.nan
    y = gpu.download(
        conv.conv2d(gpu, gpu.upload(x), gpu.upload(w), None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)[
            0
        ]
    )
    expected = np.zeros(y.shape, bool)
    expected[:, :, 2:5, 3:6] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_order_of_threads_does_not_count(dtype):
    if driver.connected().name != "emulated":
        pytest.skip("a GPU has an order of its own")
    given = arrays((1, 6, 9, 9), (6, 6, 3, 3), (6,), dtype=dtype)
    expected = results("cuda", given, dtype, stride=2)
    try:
        driver.connected().shuffle(3)
        for one, other in zip(results("cuda", given, dtype, stride=2), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    finally:
        driver.connected().shuffle(0)


@pytest.mark.parametrize(
    "test",
    [
        on_any.test_integers_and_pairs,
        on_any.test_channels_last_gives_the_same,
        on_any.test_no_images,
        on_any.test_only_what_is_asked_for_gets_a_gradient,
    ],
)
def test_as_elsewhere(test):
    with backends.use("cuda"):
        test()
