"""Parameters: drawn when first needed, never again; and how their values are drawn."""

from __future__ import annotations

import copy
import math
import pickle
import threading
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, NotBuiltError, ShapeError
from chainrule.domain.parameter import IParameter


def drawn(shape, seed=0, **options):
    cr.manual_seed(seed)
    return nn.Parameter(shape=shape, **options)


def test_values_are_drawn_when_first_read_and_never_again():
    cr.manual_seed(1)
    p = nn.Parameter(shape=(3, 2), init="normal")
    assert p.shape == (3, 2) and p.dtype == "float32" and p.size == 6 and p.ndim == 2 and "not drawn" in repr(p)
    assert cr.random.default_generator().get_state() == (1, 0)  # nothing of this drew
    first = p.numpy().copy()
    cr.manual_seed(2)
    assert (p.numpy() == first).all() and (p + 0.0).numpy().tolist() == first.tolist()
    assert cr.random.default_generator().get_state() == (2, 0)


def test_one_that_has_no_shape_says_so_by_name():
    p = nn.Parameter(shape=(4, None), name="encoder.weight")
    assert not p.is_built and p.sizes == (4, None) and "(4, ?)" in repr(p)
    for use in (lambda: p.shape, lambda: p.numpy(), lambda: p + 1, p.draw, lambda: p.size):
        with pytest.raises(NotBuiltError, match="encoder.weight.*no shape yet.*build"):
            use()
    with pytest.raises(AttributeError, match="colour"):
        p.colour  # noqa: B018
    p.build((4, 3))
    assert p.is_built and p.numpy().shape == (4, 3)


def test_build_and_load_refuse_other_shapes():
    p = nn.Parameter(shape=(4, None), name="weight")
    with pytest.raises(ShapeError, match=r"\(4, \?\).*\(5, 3\)"):
        p.build((5, 3))
    with pytest.raises(ShapeError, match=r"\(4, \?\).*\(4,\)"):
        p.load(np.zeros(4))
    p.load(np.ones((4, 2), np.float64))
    assert p.dtype == "float32" and p.requires_grad and p.numpy().tolist() == [[1.0, 1.0]] * 4
    with pytest.raises(ShapeError, match=r"\(4, 2\).*\(4, 3\)"):
        p.load(np.ones((4, 3)))


def test_loading_writes_into_the_memory_that_is_there():
    p = nn.Parameter([1.0, 2.0])
    array = p.array
    p.load([3.0, 4.0])
    assert p.array is array and array.tolist() == [3.0, 4.0] and p.requires_grad


def test_loaded_values_are_copies():
    values = np.ones(2, np.float32)
    p, q = nn.Parameter(values), nn.Parameter(shape=(2,))
    q.load(cr.from_numpy(values))
    values[0] = 9
    assert p.tolist() == q.tolist() == [1.0, 1.0]


def test_a_parameter_is_a_tensor_with_a_gradient():
    p = nn.Parameter(shape=(2,), init="ones")
    (p * p).sum().backward()
    assert p.grad.tolist() == [2.0, 2.0] and isinstance(p, IParameter) and p.is_leaf
    with pytest.raises(ArgumentError, match="data or a shape"):
        nn.Parameter()
    with pytest.raises(ArgumentError, match="data or a shape"):
        nn.Parameter([1.0], shape=(1,))


@pytest.mark.parametrize("make", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])  # noqa: S301
def test_copies_are_apart(make):
    p, pending = nn.Parameter([1.0, 2.0], name="a"), nn.Parameter(shape=(2, None), init="normal", name="b")
    q, other = make(p), make(pending)
    p.load([5.0, 6.0])
    pending.build((2, 1))
    assert isinstance(q, nn.Parameter) and q.tolist() == [1.0, 2.0] and q.name == "a" and q.requires_grad
    assert not other.is_built and other.pending.init.name == "normal" and other.requires_grad


def test_moving_keeps_the_object_and_its_gradient():
    p, pending = nn.Parameter([1.0]), nn.Parameter(shape=(None,))
    p.sum().backward()
    for x in (p, pending):
        x.move(dtype="float64")
    assert p.dtype == p.grad.dtype == pending.dtype == "float64"
    pending.build((2,))
    assert pending.numpy().dtype == np.float64


def test_threads_that_meet_a_new_parameter_draw_it_once(monkeypatch):
    def slow(place):
        time.sleep(0.01)
        return place.uniform(0.0, 1.0)

    monkeypatch.setitem(nn.init.NAMES, "slow", slow)
    p, seen = nn.Parameter(shape=(3,), init="slow"), []
    threads = [threading.Thread(target=lambda: seen.append(p.tolist())) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert seen == [p.tolist()] * 4


# ---- initializers


@pytest.mark.parametrize(
    ("name", "options", "variance"),
    [
        ("xavier_uniform", {}, 2 / (300 + 200)),
        ("xavier_normal", {"gain": 2.0}, 4 * 2 / (300 + 200)),
        ("kaiming_uniform", {}, 2 / 300),
        ("kaiming_normal", {"negative_slope": 0.5}, 2 / 1.25 / 300),
        ("lecun_normal", {}, 1 / 300),
        ("uniform", {"low": -1.0, "high": 1.0}, 1 / 3),
        ("normal", {"std": 0.1}, 0.01),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_variances(name, options, variance, dtype):
    values = drawn((200, 300), init=nn.init.get(name, **options), dtype=dtype).numpy()
    assert values.dtype == dtype
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    assert values.var() == pytest.approx(variance, rel=0.03)
    if "uniform" in name:
        assert np.abs(values).max() <= math.sqrt(3 * variance) * (1 + 1e-6)
    else:
        assert np.abs(values).max() > 3 * math.sqrt(variance)


def test_the_fans_of_a_convolution_are_those_of_its_groups():
    weight = drawn((64, 8, 3, 3), init="kaiming_normal").numpy()
    assert weight.var() == pytest.approx(2 / (8 * 9), rel=0.1)
    depthwise = drawn((256, 1, 3, 3), init="xavier_normal", groups=256).numpy()
    assert depthwise.var() == pytest.approx(2 / (9 + 9), rel=0.1)


def test_constants_and_half_precision():
    assert drawn((2,), init={"name": "constant", "value": 0.25}).tolist() == [0.25, 0.25]
    assert drawn((2,), init="ones", dtype="float16").numpy().dtype == np.float16
    assert drawn((2, 2), init="kaiming_normal", dtype="bfloat16").dtype == "bfloat16"
    assert drawn((0, 3), init="kaiming_normal").shape == (0, 3)


def test_values_depend_on_the_seed_alone():
    a, b, c = (drawn((5, 5), seed, init="xavier_uniform").tolist() for seed in (3, 3, 4))
    assert a == b != c


def test_unknown_initializers_and_options():
    with pytest.raises(ArgumentError, match="did you mean 'kaiming_normal'"):
        nn.init.get("kaiming_norml")
    with pytest.raises(ArgumentError, match="unknown option of normal 'sd'.*mean, std"):
        nn.init.get("normal", sd=1.0)
    with pytest.raises(TypeError, match="a name or an Initializer"):
        nn.init.get(3)
    with pytest.raises(ArgumentError, match="two axes"):
        drawn((3,), init="kaiming_normal").numpy()


def test_an_initializer_survives_its_config():
    for init in (nn.init.get("ones"), nn.init.get("normal", std=0.5)):
        assert nn.init.get(init.get_config()) == init
