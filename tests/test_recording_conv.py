"""A convolution and relu: one call in a recorded step, and no bit of what it gives is another."""

import numpy as np
import pytest

import chainrule as cr

# images, kernel, stride, padding, dilation, groups: planes, Winograd, tiles, pixels, depthwise, groups
CASES = {
    "one channel": ((3, 1, 14, 15), (8, 1, 3, 3), 1, 1, 1, 1),
    "planes": ((2, 3, 20, 25), (20, 3, 3, 3), 1, 1, 1, 1),
    "winograd": ((3, 20, 13, 13), (33, 20, 3, 3), 1, 1, 1, 1),
    "winograd in parts": ((1, 16, 40, 70), (16, 16, 3, 3), 1, 1, 1, 1),
    "strides": ((2, 20, 13, 13), (33, 20, 3, 3), 2, 1, 1, 1),
    "dilation": ((2, 20, 13, 13), (33, 20, 3, 3), 1, 2, 2, 1),
    "pointwise": ((4, 20, 9, 9), (33, 20, 1, 1), 1, 0, 1, 1),
    "pointwise, small": ((12, 20, 3, 3), (33, 20, 1, 1), 1, 0, 1, 1),
    "depthwise": ((2, 20, 13, 13), (20, 1, 3, 3), 1, 1, 1, 20),
    "groups": ((2, 20, 13, 13), (40, 5, 3, 3), 1, 1, 1, 4),
}


def step_of(case, dtype, bias):
    _, kernel, stride, padding, dilation, groups = CASES[case]
    r = np.random.default_rng(1)
    w = cr.tensor((r.standard_normal(kernel) / kernel[1]).astype(dtype), requires_grad=True)
    b = cr.tensor(r.standard_normal(kernel[0]).astype(dtype), requires_grad=True) if bias else None

    def step(x):
        step.calls += 1
        w.grad = None
        y = cr.conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups).relu()
        (y * y).sum().backward()
        return y.detach()

    step.calls = 0
    return step, w


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("last", [False, True], ids=["row-major", "channels-last"])
@pytest.mark.parametrize("case", CASES)
def test_relu_in_the_convolution_gives_the_same(case, last, dtype):
    shape, before, found = CASES[case][0], cr.get_num_threads(), []
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    x[0, 0, 2, 2] = np.nan
    for threads, wrap in ((1, lambda f: f), (1, cr.jit), (2, cr.jit)):
        cr.set_num_threads(threads)
        plain, w = step_of(case, dtype, bias=not last)
        step = wrap(plain)
        for _ in range(4):
            given = cr.tensor(x.transpose(0, 2, 3, 1).copy()).permute(0, 3, 1, 2) if last else cr.tensor(x)
            results = step(given), w.grad
        found.append([(a.array.strides, a.numpy().tobytes()) for a in results])
    cr.set_num_threads(before)
    assert found[0] == found[1] == found[2] and plain.calls == 2  # and two replays
    names = [call.name for call in step.programs[-1].plan.calls]
    assert "conv2d relu" in names and "relu" not in names


def test_what_others_want_stays_apart():
    x, w = cr.rand(2, 3, 8, 8) - 0.5, cr.rand(4, 3, 3, 3) - 0.5

    def both(x):
        y = cr.conv2d(x, w)
        return y.relu(), y

    recorded = cr.jit(both)
    for _ in range(3):
        found = recorded(x)
    assert [a.tolist() for a in found] == [a.tolist() for a in both(x)]
    assert [call.name for call in recorded.programs[-1].plan.calls] == ["conv2d", "relu"]
