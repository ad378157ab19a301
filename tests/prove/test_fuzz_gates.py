"""Gates, slopes of channels, rotary positions, ctc, interpolate, places: native kernels against the bodies, drawn at random."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from tests.prove.fuzz import DTYPES, FLOATS, SIZES, agree, arrays, fuzzed, shapes

KINDS = st.sampled_from([*FLOATS, *FLOATS, "float16", "bfloat16"])


@given(st.data())
@fuzzed(900)
def test_gates(data):
    shape = list(data.draw(shapes(least=1)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    shape[axis] *= 2
    special = data.draw(st.integers(0, 4)) == 0  # of infinities the body has gradients like inf - inf
    x = data.draw(arrays(tuple(shape), data.draw(KINDS), span=(-6.0, 6.0), special=special))
    name = data.draw(st.sampled_from(["glu", "swiglu"]))
    agree(name, [x], {"axis": data.draw(st.sampled_from([axis, axis - len(shape)]))}, gradients=not special, scale=8)


@given(st.data())
@fuzzed(900)
def test_slopes(data):
    dtype, shape = data.draw(st.sampled_from(FLOATS)), data.draw(shapes())
    count = shape[1] if len(shape) > 1 and data.draw(st.booleans()) else 1
    x, weight = data.draw(arrays(shape, dtype)), data.draw(arrays((count,), dtype))
    agree("prelu", [x, weight], scale=8 + 4 * x.size**0.5)


@given(st.data())
@fuzzed(900)
def test_rotary(data):
    dtype = data.draw(st.sampled_from(FLOATS))
    lead, t, half = data.draw(shapes(most=2)), data.draw(SIZES), data.draw(SIZES)
    whole = (*lead, t, half)

    def part():
        kept = whole[data.draw(st.integers(0, len(whole) - 1)) :]
        return tuple(1 if data.draw(st.integers(0, 3)) == 0 else n for n in kept)

    x = data.draw(arrays((*lead, t, 2 * half), dtype))
    angles = [data.draw(arrays(part(), dtype)) for _ in range(2)]
    agree("rotary", [x, *angles], scale=8 + x.size**0.5)


@given(st.data())
@fuzzed(300)
def test_ctc(data):
    dtype, time, n = data.draw(st.sampled_from(FLOATS)), data.draw(st.integers(1, 20)), data.draw(st.integers(0, 4))
    classes, most = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 6))
    x = data.draw(arrays((time, n, classes), dtype, span=(-6.0, -0.1)))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    target, labels = random.integers(0, classes, (n, most)), random.integers(0, most + 1, n)
    params = {
        "blank": data.draw(st.integers(0, classes - 1)),
        "reduction": data.draw(st.sampled_from(["mean", "sum", "none"])),
        "zero_infinity": data.draw(st.booleans()),
    }
    if n == 0 and params["reduction"] == "mean":
        params["reduction"] = "sum"  # the mean of nothing is a warning of NumPy
    agree("ctc", [x, target, random.integers(0, time + 1, n), labels], params, scale=40)


@given(st.data())
@fuzzed(600)
def test_interpolate(data):
    axes = data.draw(st.integers(1, 2))
    mode = data.draw(st.sampled_from(["nearest", ("linear", "bilinear")[axes - 1]]))
    sizes = [data.draw(st.integers(1, 20)) for _ in range(axes)]
    x = data.draw(arrays((data.draw(st.integers(0, 3)), data.draw(st.integers(1, 5)), *sizes), data.draw(KINDS)))
    if data.draw(st.booleans()):
        params = {"size": tuple(data.draw(st.integers(1, 30)) for _ in range(axes))}
    else:
        params = {"scale_factor": tuple(data.draw(st.sampled_from([0.4, 1.0, 1.3, 2, 3.7])) for _ in range(axes))}
        params["scale_factor"] = tuple(max(f, 1 / n) for f, n in zip(params["scale_factor"], sizes, strict=True))
    if mode != "nearest":
        params["align_corners"] = data.draw(st.booleans())
    agree("interpolate", [x], {"mode": mode, **params}, scale=30)


@given(st.data())
@fuzzed(900)
def test_places(data):
    shape = data.draw(shapes(least=1))
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = data.draw(arrays(shape, data.draw(st.sampled_from(DTYPES)), special=data.draw(st.booleans())))
    name = data.draw(st.sampled_from(["topk", "gather", "ungather"]))
    if name == "topk":
        params = {
            "k": data.draw(st.integers(0, shape[axis])),
            "axis": data.draw(st.sampled_from([axis, axis - len(shape)])),
        }
        agree("topk", [x], {**params, "largest": data.draw(st.booleans())}, gradients=False)
        return
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    wanted = [data.draw(st.integers(0, n)) for n in shape]
    wanted[axis] = data.draw(SIZES)
    most = shape[axis] + (data.draw(st.integers(0, 9)) == 0)  # sometimes one is out of range
    indices = random.integers(0, max(most, 1), wanted) if most else np.zeros([0 if i == axis else n for i, n in
                                                                             enumerate(wanted)], np.int64)  # fmt: skip
    if name == "gather":
        agree("gather", [x, indices], {"axis": axis}, gradients=False)
    else:
        g = data.draw(arrays(indices.shape, data.draw(KINDS)))
        agree("ungather", [g, indices], {"axis": axis, "shape": shape}, scale=30)


@given(st.data())
@fuzzed(900)
def test_taken_rows(data):
    shape, dtype = data.draw(shapes(least=1)), data.draw(st.sampled_from(FLOATS))
    axis = data.draw(st.integers(0, len(shape) - 1))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    wanted = data.draw(shapes(most=2)) if shape[axis] else (0,)
    far = data.draw(st.integers(0, 9)) == 0  # sometimes one is out of range
    indices = random.integers(-shape[axis] - far, max(shape[axis], 1), wanted)
    pattern = (*[slice(None)] * axis, "tensor", ...)
    if np.prod(shape) * max(indices.size, 1) < 1e6:
        agree("index", [data.draw(arrays(shape, dtype)), indices], {"pattern": pattern}, scale=30)
