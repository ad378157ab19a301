"""What earlier frameworks paid for without need, counted: arrays, kernels, copies. Not seconds: these are the same on all
machines."""

import gc
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from tests.listeners import Heard

import chainrule as cr
from chainrule import _native, losses, nn, optim
from chainrule.modes import listen


def kernels(f):
    """The kernels that run in ``f()``, which has run once before."""
    f()
    with listen(Heard()) as heard:
        f()
    return heard.names


def bytes_of(f):
    """What is in use after ``f()`` and was not before, while its result lives."""
    f()
    before = _native.memory_stats()["in_use"]
    kept = f()
    after = _native.memory_stats()["in_use"]
    del kept
    return after - before


@pytest.mark.parametrize(
    "f", [lambda x: x + x, lambda x: x * 2.0, lambda x: 1 - x, lambda x: x > 0.5, lambda x: x.exp()]
)
def test_an_operation_makes_its_result_and_nothing_else(f):
    x = cr.rand(256, 256)
    assert len(kernels(lambda: f(x))) == 1
    assert bytes_of(lambda: f(x)) == f(x).numpy().nbytes


def test_a_slice_costs_a_slice():
    x = cr.rand(4096, 64)
    assert bytes_of(lambda: x[8:16]) <= 8 * 64 * 4
    assert len(kernels(lambda: x[8:16])) == 1


@pytest.mark.parametrize(
    ("layer", "shape", "op"),
    [
        (nn.Linear(64, 32), (128, 64), "linear"),
        (nn.BatchNorm1d(64), (128, 64), "batch_norm_train"),
        (nn.LayerNorm(64), (128, 64), "layer_norm"),
        (nn.Dropout(0.5), (128, 64), "dropout"),
        (nn.Softmax(), (128, 64), "softmax"),
        (nn.Conv2d(4, 8, 3), (2, 4, 9, 9), "conv2d"),
        (nn.LSTM(8, 16), (50, 3, 8), "lstm"),
        (nn.GRU(8, 16), (50, 3, 8), "gru"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_layer_is_one_kernel(layer, shape, op):
    x = cr.rand(*shape)
    first, *rest = kernels(lambda: layer(x))
    assert first == op and {*rest} <= {"stack", "add", "assign"}, (
        rest
    )  # the states of all layers; how many batches were seen


def test_a_bias_costs_its_addition_alone():
    x, with_bias, without = cr.rand(1024, 64), nn.Linear(64, 64), nn.Linear(64, 64, bias=False)
    assert kernels(lambda: with_bias(x)) == kernels(lambda: without(x))
    assert bytes_of(lambda: with_bias(x)) == bytes_of(lambda: without(x))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "lion"])
def test_a_step_of_all_parameters_is_one_kernel_without_temporaries(name):
    parameters = [nn.Parameter(np.ones((64, 64), np.float32)) for _ in range(9)]
    optimizer = optim.get(name, parameters)
    for p in parameters:
        p.grad = cr.rand(64, 64)
    optimizer.step()
    assert len(kernels(optimizer.step)) <= 2  # one may count the steps
    before = _native.memory_stats()
    optimizer.step()
    after = _native.memory_stats()
    assert after["allocations"] - before["allocations"] <= 2 and after["in_use"] == before["in_use"]


def test_a_training_step_takes_the_softmax_once():
    model = nn.Sequential(nn.Linear(8, 3), nn.Softmax())
    x, y = np.ones((6, 8), np.float32), np.array([0, 1, 2, 0, 1, 2])
    for metrics, more in (([], 0), (["accuracy"], 1)):  # metrics are given probabilities
        model.compile("cross_entropy", optim.SGD(model.parameters(), lr=0.1), metrics=metrics)
        names = kernels(lambda: model.train_on_batch(x, y))
        assert names.count("linear") == names.count("cross_entropy") == 1
        assert len([n for n in names if n in ("softmax", "log_softmax", "exp", "logsumexp")]) == more, names


def test_the_reference_has_no_loop_over_pixels():
    counts = []
    with cr.backends.use("numpy"):
        for size in (8, 24):
            x, w = cr.rand(2, 3, size, size), cr.rand(4, 3, 3, 3)
            with listen(Heard()) as heard:
                cr.max_pool2d(cr.conv2d(x, w), 2).sum()
            counts.append(len(heard.names))
    assert counts[0] == counts[1] < 40


COLUMNS = """
import chainrule as cr
from chainrule import _native
x, w = cr.rand(8, 32, 48, 48), cr.rand(32, 32, 3, 3)
w.requires_grad_()
before = _native.memory_stats()["in_use"]
y = cr.conv2d(x, w, padding=1)
y.sum().backward()
print(_native.memory_stats()["peak"] - before - 2 * y.numpy().nbytes, 9 * x.numpy().nbytes)
"""


def test_a_convolution_never_lays_out_all_its_windows():
    done = subprocess.run([sys.executable, "-c", COLUMNS], capture_output=True, text=True, timeout=60, check=True)
    beside, columns = map(int, done.stdout.split())
    assert beside < columns / 2


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_does_not_copy_the_data(shuffle):
    x, y = np.ones((4000, 256), np.float32), np.zeros(4000, np.int64)
    model = nn.Sequential(nn.Linear(256, 2)).compile("cross_entropy", "sgd")
    model.fit(x[:64], y[:64], verbose=0)
    tracemalloc.start()
    model.fit(x, y, batch_size=100, shuffle=shuffle, verbose=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 4


def test_thousands_of_steps_leave_nothing_behind():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer, x = optim.Adam(model.parameters()), cr.rand(5, 4)

    def step():
        optimizer.zero_grad()
        losses.mse(model(x), cr.zeros(5, 1)).backward()
        optimizer.step()

    for _ in range(3):
        step()
    gc.collect()  # of tests before
    before = _native.memory_stats()["in_use"]
    for _ in range(1000):
        step()
    assert _native.memory_stats()["in_use"] == before
