"""Any NumPy index: reading, writing and gradients equal NumPy's; what NumPy refuses is refused with a chainrule error."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from tests.prove.fuzz import LAYOUTS, fuzzed, laid_out

from chainrule import Tensor, backends, no_grad
from chainrule.domain.errors import ChainruleError
from chainrule.tensor import from_array

SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 4, 5]), max_size=4).map(tuple)


@st.composite
def slices(draw, n):
    ends = st.one_of(st.none(), st.integers(-n - 2, n + 2))
    return slice(draw(ends), draw(ends), draw(st.one_of(st.none(), st.sampled_from([1, 2, 3, -1, -2, -3]))))


@st.composite
def indices(draw, shape):
    """A tuple of what an index can have; once in a while one that is out of range or of the wrong length."""
    items, axis, common = [], 0, draw(st.lists(st.integers(0, 3), max_size=2).map(tuple))
    wrong = draw(st.integers(0, 15)) == 0
    open_at = draw(st.integers(0, len(shape))) if draw(st.booleans()) else None
    while axis < len(shape):
        if axis == open_at:
            items.append(...)
            axis, open_at = axis + draw(st.integers(0, len(shape) - axis)), None
            continue
        n = shape[axis]
        edge = n + wrong
        kind = draw(st.sampled_from("integer slice slice array array mask new flag end".split()))
        if kind == "integer" and edge:
            items.append(draw(st.one_of(st.integers(-edge, edge - 1), st.integers(-edge, edge - 1).map(np.int32))))
        elif kind == "slice":
            items.append(draw(slices(n)))
        elif kind == "array":
            kept = common[draw(st.integers(0, len(common))) :]
            wide = tuple(1 if draw(st.integers(0, 3)) == 0 else m for m in kept)
            if not edge:
                wide = (0, *wide[1:])  # nothing can be taken from an axis of no length
            numbers = np.random.default_rng(draw(st.integers(0, 999))).integers(-edge, max(edge, 1), wide)
            items.append(numbers.astype(draw(st.sampled_from(["int64", "int32", "uint8"] if not np.any(numbers < 0) else
                                                             ["int64", "int8"]))))  # fmt: skip
            items[-1] = items[-1].tolist() if draw(st.integers(0, 4)) == 0 and items[-1].size else items[-1]
        elif kind == "mask":
            axes = draw(st.integers(1, len(shape) - axis))
            sizes = shape[axis : axis + axes]
            items.append(np.random.default_rng(draw(st.integers(0, 999))).random((sizes[0] + wrong, *sizes[1:])) < 0.4)
            axis += axes - 1
        elif kind == "new":
            items.append(None)
            continue
        elif kind == "flag":
            if draw(st.integers(0, 3)) == 0:
                items.append(draw(st.booleans()))
            continue
        elif kind == "end":
            break
        axis += 1
    if wrong and draw(st.booleans()):
        items.append(draw(st.sampled_from([0, ..., slice(None)])))
    return items[0] if len(items) == 1 and draw(st.booleans()) else tuple(items)


def tried(function):
    """What a function returns, or the error it raises."""
    try:
        return function()
    except Exception as error:  # compared by the caller
        return error


def as_tensors(index):
    """Arrays among the items as tensors."""
    items = index if isinstance(index, tuple) else (index,)
    found = tuple(Tensor(i) if isinstance(i, np.ndarray) else i for i in items)
    return found if isinstance(index, tuple) else found[0]


@given(st.data())
@fuzzed(9000)
def test_indexing_is_numpys(data):
    shape = data.draw(SHAPES)
    index = data.draw(indices(shape))
    layout = data.draw(st.sampled_from(LAYOUTS[:-1]))
    random = np.random.default_rng(1)
    a = np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape)
    expected = tried(lambda: a[index])
    with backends.use(data.draw(st.sampled_from(["cpu", "numpy"]))):
        given_index = as_tensors(index) if data.draw(st.booleans()) else index
        x = from_array(laid_out(a, layout, random)).requires_grad_()
        found = tried(lambda: x[given_index])
        if isinstance(expected, Exception):
            assert isinstance(found, ChainruleError) and isinstance(found, type(expected)), repr(found)
            return
        expected = np.asarray(expected)
        if not a.size and isinstance(found, ChainruleError) and "the mask has shape" in str(found):
            return  # NumPy lets a mask of no elements stand for an axis of another length
        assert isinstance(found, Tensor), repr(found)
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found.numpy(), expected)

        g = np.cos(np.arange(found.size)).reshape(found.shape)
        (found * Tensor(g)).sum().backward()
        wanted = np.zeros_like(a)
        np.add.at(wanted, index, g)
        np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=1e-12)

        written(data, a, x, index, given_index, expected.shape)


def written(data, a, x, index, given_index, shape):
    """The same index on the left of ``=``, with and without a graph. NumPy says the last of equal places wins."""
    kept = shape[data.draw(st.integers(0, len(shape))) :]
    kept = tuple(1 if data.draw(st.integers(0, 3)) == 0 else n for n in kept)
    number = data.draw(st.integers(0, 3)) == 0
    v = -3.5 if number else -1.0 - np.arange(np.prod(kept, dtype=int)).reshape(kept)
    masked = any(
        isinstance(i, np.ndarray) and i.dtype == bool for i in (index if isinstance(index, tuple) else [index])
    )
    if shape and not number and not masked and data.draw(st.integers(0, 4)) == 0:
        v = v[None]  # more axes than its place has: NumPy allows that
    wanted = a.copy()
    wanted[index] = v
    places = np.full(a.shape, -1)
    places[index] = np.arange(np.prod(shape, dtype=int)).reshape(shape)  # which element of the value each place got

    memory = from_array(x.numpy().copy(order="K"))
    with no_grad():
        memory[given_index] = v
    np.testing.assert_array_equal(memory.numpy(), wanted)

    value = v if number else Tensor(v, requires_grad=True)
    y = x * 1.0
    y[given_index] = value
    np.testing.assert_array_equal(y.numpy(), wanted)
    g = np.sin(1.0 + np.arange(a.size)).reshape(a.shape)
    x.grad = None
    (y * Tensor(g)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.where(places < 0, g, 0.0))
    if not number:
        reached = places >= 0
        by_place = np.zeros(np.prod(shape, dtype=int))
        by_place[places[reached]] = g[reached]
        wide = by_place.reshape(shape)
        axes = tuple(range(len(shape) - len(kept)))
        summed = wide.sum(axes) if axes else wide
        ones = tuple(i for i, n in enumerate(kept) if n == 1)
        summed = summed.sum(ones, keepdims=True) if ones else summed
        repeated = len(np.unique(places[reached])) < by_place.size  # a place written to twice keeps the last
        if not repeated:
            np.testing.assert_allclose(value.grad.numpy(), summed.reshape(v.shape), rtol=1e-12)
