"""Convolution and pooling on random geometries: native kernels against the reference bodies, values and gradients."""

import hypothesis.strategies as st
from hypothesis import given
from tests.prove.fuzz import FLOATS, agree, arrays, fuzzed

CHANNELS = st.sampled_from([1, 1, 2, 3, 4, 5, 8, 9, 16, 17, 33])
STEPS = st.tuples(st.sampled_from([1, 1, 1, 2, 3]), st.sampled_from([1, 1, 1, 2, 3]))
SPREADS = st.tuples(st.sampled_from([1, 1, 1, 2, 3]), st.sampled_from([1, 1, 1, 2, 3]))
COMMON = st.sampled_from([(1, 1), (2, 2), (3, 3), (5, 5)])
WINDOWS = st.one_of(COMMON, st.tuples(st.integers(1, 5), st.integers(1, 5)))


@st.composite
def extents(draw, window, padding, dilation):
    """Heights and widths that a window just fits into, or with room; often small, where coincidences are."""
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(window, padding, dilation, strict=True)]
    return tuple(
        n + draw(st.one_of(st.integers(0, 3), st.integers(0, 9), st.sampled_from([13, 20, 30]))) for n in least
    )


@given(st.data())
@fuzzed(5000)
def test_conv2d(data):
    dtype, window, dilation = data.draw(st.sampled_from(FLOATS)), data.draw(WINDOWS), data.draw(SPREADS)
    padding = data.draw(st.sampled_from([(0, 0), (1, 1), (0, 2), (3, 1), tuple(k // 2 for k in window)]))
    groups = data.draw(st.sampled_from([1, 1, 1, 2, 3, 4, 16]))
    depth, filters = data.draw(CHANNELS), data.draw(CHANNELS)
    if data.draw(st.integers(0, 4)) == 0:  # depthwise
        depth, filters, groups = 1, data.draw(st.sampled_from([1, 2])), data.draw(CHANNELS)
    batch = data.draw(st.sampled_from([0, 1, 1, 2, 3, 8]))
    size = data.draw(extents(window, padding, dilation))
    if batch * size[0] * size[1] * depth * filters * groups > 3e5:
        depth, filters, batch = min(depth, 4), min(filters, 5), min(batch, 2)
    x = data.draw(arrays((batch, depth * groups, *size), dtype))
    weight = data.draw(arrays((filters * groups, depth, *window), dtype))
    bias = data.draw(arrays((filters * groups,), dtype)) if data.draw(st.booleans()) else None
    params = {"stride": data.draw(STEPS), "padding": padding, "dilation": dilation, "groups": groups}
    terms = max(weight[0].size, batch * size[0] * size[1], filters * window[0] * window[1])
    agree("conv2d", [x, weight, bias], params, scale=8 + 2 * terms**0.5)


@given(st.data())
@fuzzed(3000)
def test_pooling(data):
    name, dtype = data.draw(st.sampled_from(["max_pool2d", "avg_pool2d"])), data.draw(st.sampled_from(FLOATS))
    window = data.draw(WINDOWS)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in window)
    dilation = data.draw(SPREADS) if name == "max_pool2d" else (1, 1)
    shape = (
        data.draw(st.sampled_from([0, 1, 2, 3])),
        data.draw(CHANNELS),
        *data.draw(extents(window, padding, dilation)),
    )
    x = data.draw(arrays(shape, dtype))
    if data.draw(st.booleans()):
        x = (x * 2).round()  # many equals: the first gets the gradient
    params = {"kernel_size": window, "padding": padding, "stride": data.draw(st.one_of(st.none(), STEPS))}
    more = {"dilation": dilation} if name == "max_pool2d" else {"count_include_pad": data.draw(st.booleans())}
    agree(name, [x], {**params, **more}, scale=8)
