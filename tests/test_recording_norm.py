"""Batch norm with what comes after it: one call in a recorded step, and no bit of what it gives is another."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

SHAPES = [(5, 3, 8, 16), (3, 20, 14, 14), (2, 33, 28, 10), (2, 5, 36, 40)]
TAILS = {
    "relu": (lambda y: y.relu(), "relu"),
    "pool": (lambda y: cr.max_pool2d(y, 2), "max_pool2d"),
    "both": (lambda y: cr.max_pool2d(y.relu(), 2), "max_pool2d relu"),
    "pool, then relu": (lambda y: cr.max_pool2d(y, 2).relu(), "max_pool2d relu"),
}


def images(shape, dtype="float32", last=False, seed=0):
    """Numbers with equal ones among them, in either order."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype).round(1)
    x[:, 1] += 3
    return cr.tensor(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).permute(0, 3, 1, 2) if last else cr.tensor(x)


def step_of(shape, dtype, tail, training=True, affine=True):
    norm = nn.BatchNorm2d(shape[1], affine=affine).to(dtype)
    if affine:
        numbers = {"weight": np.linspace(-1, 2, shape[1]), "bias": np.linspace(-1, 1, shape[1])}
        norm.load_state_dict({k: cr.tensor(v.astype(dtype)) for k, v in numbers.items()}, strict=False)
    norm.train(training)

    def step(x):
        calls.append(x)
        for p in norm.parameters():
            p.grad = None
        y = tail(norm(x))
        (y * y + y).sum().backward()  # a gradient where relu gave 0, too
        return y.detach()

    def whole(x, step=step):
        x.requires_grad = True
        y = step(x)
        return y, x.grad, *[p.grad for p in norm.parameters()]

    calls = whole.calls = []
    whole.step = step
    return norm, whole


def numbers(found, norm):
    return [(a.shape, a.array.strides, a.numpy().tobytes()) for a in (*found, *norm.buffers())]


def names(recorded):
    return [call.name for call in recorded.programs[-1].plan.calls]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("last", [False, True], ids=["row-major", "channels-last"])
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_pass_gives_the_same(shape, tail, last, training, dtype):
    function, wanted = TAILS[tail]
    found = []
    for threads, wrap in ((1, lambda f: f), (1, cr.jit), (2, cr.jit)):
        with_threads = cr.get_num_threads()
        cr.set_num_threads(threads)
        norm, whole = step_of(shape, dtype, function, training)
        step = wrap(whole.step)
        found.append([numbers(whole(images(shape, dtype, last, seed), step), norm) for seed in range(4)])
        cr.set_num_threads(with_threads)
    assert found[0] == found[1] == found[2]
    assert len(whole.calls) == 2  # and two replays
    mode = "train" if training else "eval"
    assert f"batch_norm_{mode} {wanted}" in names(step)
    back = " ".join(f"{name}_vjp" for name in reversed(wanted.split()))
    pays = wanted != "relu" and (last or shape[2] * shape[3] >= 512)
    assert (f"{back} batch_norm_{mode}_vjp" in names(step)) == pays


@pytest.mark.parametrize("last", [False, True], ids=["row-major", "channels-last"])
def test_inference_and_numbers_that_are_none(last):
    norm, _ = step_of((4, 6, 12, 12), "float32", None, training=False)
    x = images((4, 6, 12, 12), last=last)
    x.array[0, 0, 0, 0], x.array[1, 1, 3, 2] = np.nan, np.inf
    infer = cr.jit(lambda x: cr.max_pool2d(norm(x).relu(), 2))
    with cr.no_grad():
        found = [infer(x).numpy().tobytes() for _ in range(4)]
        assert found == [cr.max_pool2d(norm(x).relu(), 2).numpy().tobytes()] * 4
    assert names(infer) == ["batch_norm_eval max_pool2d relu"]


def check(shape, tail, affine=True):
    """That the third replay is the step, and the names of its calls."""
    norm, whole = step_of(shape, "float32", tail, affine=affine)
    recorded = cr.jit(whole.step)
    for seed in range(5):
        found = numbers(whole(images(shape, seed=seed), recorded), norm)
    assert len(whole.calls) == 2
    norm, whole = step_of(shape, "float32", tail, affine=affine)
    for seed in range(5):
        again = numbers(whole(images(shape, seed=seed)), norm)
    assert found == again
    return names(recorded)


@pytest.mark.parametrize("affine", [True, False])
def test_without_weights(affine):
    assert "batch_norm_train max_pool2d relu" in check((4, 6, 12, 12), TAILS["both"][0], affine)


UNLIKE = {
    "another reader": lambda y: cr.max_pool2d(y.relu(), 2) + cr.max_pool2d(y, 2),
    "other windows": lambda y: cr.max_pool2d(y, 3, stride=2),
    "odd": lambda y: cr.max_pool2d(y[:, :, :7, :7], 2),
    "another function": lambda y: y.tanh(),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_what_does_not_fit_stays_as_it_is(case):
    found = check((4, 6, 8, 8), UNLIKE[case])
    assert "batch_norm_train" in found and "batch_norm_train_vjp" in found
