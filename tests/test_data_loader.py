"""Data sets and loaders: order, batches, resuming, threads that end, errors that arrive."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import ArrayDataset, DataLoader, Subset, split
from chainrule.data.prefetch import ahead
from chainrule.domain.data import IDataset
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, DataError, DTypeError

PREFETCH = pytest.mark.parametrize("prefetch", [0, 1, 3])


class Squares:
    """A data set of the slow kind: one sample at a time."""

    def __init__(self, n: int = 10, fails_at: int | None = None) -> None:
        self.n, self.fails_at, self.asked = n, fails_at, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        self.asked += 1
        if index == self.fails_at:
            raise KeyError(f"sample {index} is broken")
        return np.full((2,), index, np.float32), index * index, float(index)


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "chainrule-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Any:
    if threads():
        gc.collect()  # left by another test
    yield
    assert threads() == []


def order(loader: DataLoader) -> list[int]:
    return [int(v) for batch in loader for v in batch[-1].tolist()]


@PREFETCH
def test_batches_in_order(prefetch: int) -> None:
    x, y = np.arange(30, dtype=np.float32).reshape(10, 3), np.arange(10)
    loader = DataLoader(ArrayDataset(x, y), batch_size=4, prefetch=prefetch)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [b[0].shape for b in batches] == [(4, 3), (4, 3), (2, 3)], "the last partial batch is used"
    assert all(isinstance(t, cr.Tensor) for b in batches for t in b)
    assert batches[0][0].dtype == "float32" and batches[0][1].dtype == "int64"
    np.testing.assert_array_equal(np.concatenate([b[0].numpy() for b in batches]), x)
    assert order(loader) == order(loader) == list(range(10))


def test_drop_last_and_large_batches() -> None:
    data = ArrayDataset(np.arange(10))
    loader = DataLoader(data, batch_size=4, drop_last=True)
    assert len(loader) == 2 and order(loader) == list(range(8))
    loader = DataLoader(data, batch_size=99)
    assert len(loader) == 1 and order(loader) == list(range(10))
    with pytest.raises(DataError, match="10 samples make no batch of 99 and drop_last"):
        DataLoader(data, batch_size=99, drop_last=True)


@PREFETCH
def test_shuffling(prefetch: int) -> None:
    data = ArrayDataset(np.arange(50))
    loader = DataLoader(data, batch_size=8, shuffle=True, seed=3, prefetch=prefetch)
    first, second = order(loader), order(loader)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second and first != list(range(50))
    again = DataLoader(data, batch_size=8, shuffle=True, seed=3)
    assert [order(again), order(again)] == [first, second]
    assert order(DataLoader(data, batch_size=8, shuffle=True, seed=4)) != first
    assert order(DataLoader(data, batch_size=50, shuffle=True, generator=cr.Generator(3))) == first


def test_the_default_seed_is_drawn_from_the_default_generator() -> None:
    data = ArrayDataset(np.arange(50))

    def orders(between: Callable[[], object]) -> list[list[int]]:
        cr.manual_seed(5)
        loader = DataLoader(data, shuffle=True)
        first = order(loader)
        between()
        return [first, order(loader)]

    assert orders(lambda: None) == orders(lambda: cr.rand(1000)), "other draws do not change the order"


def test_samples_of_a_batch_belong_together() -> None:
    x = np.arange(100)
    loader = DataLoader(ArrayDataset(x, x * 2, np.repeat(x[:, None], 3, 1)), batch_size=7, shuffle=True, seed=0)
    for a, b, c in loader:
        assert (a * 2 == b).all() and (c == a.reshape(-1, 1)).all()


def test_batches_are_copies() -> None:
    x = np.zeros((4, 2), np.float32)
    for (batch,) in DataLoader(ArrayDataset(x), batch_size=2):
        batch += 1
    assert (x == 0).all()


@PREFETCH
def test_sets_without_whole_batches(prefetch: int) -> None:
    assert isinstance(Squares(), IDataset)
    a, b, c = list(DataLoader(Squares(), batch_size=4, prefetch=prefetch))[1]
    assert a.shape == (4, 2) and a.dtype == "float32" and a[1].tolist() == [5, 5]
    assert b.dtype == "int64" and b.tolist() == [16, 25, 36, 49]
    assert c.dtype == "float32" and c.tolist() == [4, 5, 6, 7]


def test_other_samples() -> None:
    (batch,) = next(iter(DataLoader([1.5, 2.5, 3.5], batch_size=2)))
    assert batch.tolist() == [1.5, 2.5] and batch.dtype == "float32"
    (batch,) = next(iter(DataLoader([cr.tensor([1, 2]), cr.tensor([3, 4])])))
    assert batch.tolist() == [[1, 2], [3, 4]]
    (batch,) = next(iter(DataLoader([np.float64(1), np.float64(2)])))
    assert batch.dtype == "float64", "a float64 that was meant stays one"


class Uneven:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return np.zeros(2 if index < 2 else 3), index


def test_samples_that_do_not_fit_together() -> None:
    with pytest.raises(DataError, match=r"part 0 of sample 2 has shape \(3,\), but that of sample 0 has \(2,\)"):
        list(DataLoader(Uneven()))
    with pytest.raises(DataError, match=r"samples have \[1, 2\] parts"):
        list(DataLoader([(1, 2), (3,)]))
    with pytest.raises(DataError, match="part 0 of the samples has dtype <U1"):
        list(DataLoader(["a", "b"]))


@PREFETCH
def test_an_error_arrives_in_its_place_with_its_traceback(prefetch: int) -> None:
    iterator = iter(DataLoader(Squares(fails_at=5), batch_size=2, prefetch=prefetch))
    assert [next(iterator)[1].tolist() for _ in range(2)] == [[0, 1], [4, 9]]
    with pytest.raises(KeyError, match="sample 5 is broken") as caught:
        next(iterator)
    assert "__getitem__" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    with pytest.raises(StopIteration):
        next(iterator)
    assert threads() == []


def test_work_is_done_ahead_but_not_further_than_asked() -> None:
    data = Squares(100)
    iterator = iter(DataLoader(data, batch_size=1, prefetch=3))
    next(iterator)
    for _ in range(200):
        if data.asked == 5:  # the one given, three that wait, one in the hands of the thread
            break
        threading.Event().wait(0.01)
    threading.Event().wait(0.05)
    assert data.asked == 5


def test_leaving_early_ends_the_thread() -> None:
    loader = DataLoader(Squares(1000), batch_size=1, prefetch=2)
    for _ in loader:
        break
    assert threads() == []
    iterator = iter(loader)
    next(iterator)
    assert len(threads()) == 1
    del iterator
    gc.collect()
    assert threads() == []
    with pytest.raises(RuntimeError, match="mine"):
        for _ in loader:
            raise RuntimeError("mine")
    gc.collect()
    assert threads() == []
    iter(loader)  # never used: no thread at all
    assert threads() == []
    assert [len(list(loader)), len(list(loader))] == [1000, 1000], "a new epoch is whole"


def test_ahead_is_stressed() -> None:
    for depth in (1, 2, 7):
        for taken in range(20):
            iterator = ahead(iter(range(10)), depth)
            got = [v for v, _ in zip(iterator, range(taken), strict=False)]
            assert got == list(range(min(taken, 10)))
            iterator.close()  # type: ignore[attr-defined]
    assert threads() == []


@PREFETCH
@pytest.mark.parametrize("shuffle", [True, False])
def test_resuming_inside_an_epoch(prefetch: int, shuffle: bool) -> None:
    data = ArrayDataset(np.arange(20))

    def loader(seed: int) -> DataLoader:
        return DataLoader(data, batch_size=3, shuffle=shuffle, seed=seed if shuffle else None, prefetch=prefetch)

    whole = loader(1)
    epochs = [order(whole) for _ in range(3)]
    for stop in range(8):  # 0: before the first batch; 7: after the last
        stopped, other = loader(1), loader(2)
        assert order(stopped) == epochs[0]
        iterator = iter(stopped)
        taken = [int(v) for _ in range(stop) for v in next(iterator)[0].tolist()]
        state = json.loads(json.dumps(stopped.state_dict()))
        other.load_state_dict(state)
        assert taken + order(other) == epochs[1], stop
        assert order(other) == epochs[2], stop


def test_resuming_with_another_batch_size() -> None:
    data = ArrayDataset(np.arange(20))
    first = DataLoader(data, batch_size=5, shuffle=True, seed=1)
    expected = order(DataLoader(data, batch_size=20, shuffle=True, seed=1))
    iterator = iter(first)
    taken = next(iterator)[0].tolist()
    second = DataLoader(data, batch_size=4, shuffle=True, seed=9)
    second.load_state_dict(first.state_dict())
    assert taken + order(second) == expected
    for other in (DataLoader(ArrayDataset(np.arange(19)), shuffle=True), DataLoader(data)):
        with pytest.raises(DataError, match="the state is of 20 samples, shuffled; this loader has"):
            other.load_state_dict(first.state_dict())


def test_bad_arguments() -> None:
    data = ArrayDataset(np.arange(4))
    for size in (0, -1, 2.5, "8", True, None):
        with pytest.raises(ArgumentError, match="batch_size is .*, expected an integer of at least 1"):
            DataLoader(data, batch_size=size)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="prefetch is -1"):
        DataLoader(data, prefetch=-1)
    with pytest.raises(ArgumentError, match="not both"):
        DataLoader(data, seed=1, generator=cr.Generator(1))
    with pytest.raises(DataError, match="the data set is empty"):
        DataLoader(ArrayDataset(np.zeros((0, 3))))
    for wrong in ((np.zeros(3), np.zeros(3)), iter([1]), {"x": 1}):
        with pytest.raises(ArgumentTypeError, match=r"is no data set: wrap arrays as ArrayDataset\(x, y\)"):
            DataLoader(wrong)  # type: ignore[arg-type]
    assert len(DataLoader(data, batch_size=np.int64(2))) == 2  # type: ignore[arg-type]


def test_array_dataset() -> None:
    data = ArrayDataset(cr.ones((3, 2)), [1.5, 2.5, 3.5], [1, 2, 3])
    assert [str(a.dtype) for a in data.arrays] == ["float32", "float32", "int64"]
    assert repr(data) == "ArrayDataset(float32[3, 2], float32[3], int64[3])"
    assert data[1:][1].tolist() == [2.5, 3.5]
    assert ArrayDataset(np.arange(3, dtype=">i2")).arrays[0].dtype == np.dtype("int16")
    with pytest.raises(DataError, match=r"have \[3, 2\] samples \(axis 0 of \(3, 4\) and \(2,\)\)"):
        ArrayDataset(np.zeros((3, 4)), np.zeros(2))
    with pytest.raises(DataError, match="no arrays"):
        ArrayDataset()
    with pytest.raises(DataError, match="array 1 is a single number"):
        ArrayDataset(np.zeros(3), np.float32(3))
    with pytest.raises(DataError, match="array 0 has dtype complex128: convert it"):
        ArrayDataset(np.zeros(3, complex))
    with pytest.raises(DTypeError):
        ArrayDataset(["a", "b"])


def test_split_and_subset() -> None:
    data = ArrayDataset(np.arange(10), np.arange(10) * 2)
    train, rest = split(data, 0.25)
    assert (len(train), len(rest)) == (8, 2) and order(DataLoader(rest)) == [16, 18]
    train, rest = split(data, 0.3, seed=1)
    assert sorted(order(DataLoader(train)) + order(DataLoader(rest))) == list(range(0, 20, 2))
    assert order(DataLoader(rest)) == order(DataLoader(split(data, 0.3, seed=1)[1])) != [14, 16, 18]
    assert [len(part) for part in split(data, 0.001)] == [9, 1]
    assert [len(part) for part in split(data, 0.999)] == [1, 9]
    assert order(DataLoader(Subset(Squares(), [3, 1]))) == [3, 1]
    for fraction in (0, 1, -0.5, 1.5, float("nan")):
        with pytest.raises(ArgumentError, match="expected a number between 0 and 1"):
            split(data, fraction)
    with pytest.raises(DataError, match="a set of 1 cannot be split"):
        split(ArrayDataset(np.zeros(1)), 0.5)
    with pytest.raises(DataError, match="there is no sample 10: the data set has 10"):
        Subset(data, [0, 10])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))])
@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"workers": 1, "worker": "process"}])
def test_a_copy_goes_on_where_the_loader_stands(copied, options):
    loader = DataLoader(ArrayDataset(np.arange(10)), 4, shuffle=True, seed=3, **options)
    first = [x.tolist() for (x,) in loader]
    again = copied(loader)
    try:
        second, third = ([x.tolist() for (x,) in each] for each in (loader, again))
        assert second == third != first
    finally:
        loader.close(), again.close()


def test_names_of_options_elsewhere():
    data = ArrayDataset(np.arange(10))
    with pytest.raises(TypeError, match="there is no num_workers: it is workers="):
        DataLoader(data, num_workers=2)
    with pytest.raises(TypeError, match="there is no pin_memory: leave it out"):
        DataLoader(data, pin_memory=True)
    with pytest.raises(ArgumentError, match="unknown option of DataLoader 'shufle': did you mean 'shuffle'"):
        DataLoader(data, shufle=True)
