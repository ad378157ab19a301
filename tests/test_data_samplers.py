"""Samplers: what is drawn, how often, in which order; loaders that use them and go on after a stop."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import (
    ArrayDataset,
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StratifiedSampler,
    WeightedRandomSampler,
)
from chainrule.domain.errors import ArgumentError, DataError

N = 30
DATA = ArrayDataset(np.arange(N))
LABELS = np.array([0] * 18 + [1] * 9 + [2] * 3)
SAMPLERS: list[Any] = [
    lambda: SequentialSampler(DATA),
    lambda: RandomSampler(DATA, seed=1),
    lambda: RandomSampler(DATA, replacement=True, num_samples=50, seed=1),
    lambda: WeightedRandomSampler(np.arange(N), 40, seed=1),
    lambda: WeightedRandomSampler(np.arange(N) + 1, 20, replacement=False, seed=1),
    lambda: StratifiedSampler(LABELS, seed=1),
    lambda: DistributedSampler(DATA, 4, 2, seed=1),
]
EACH = pytest.mark.parametrize("make", SAMPLERS, ids=lambda m: type(m()).__name__)


def order(loader: Any) -> list[int]:
    return [int(v) for batch in loader for v in batch[0].tolist()]


@EACH
@pytest.mark.parametrize("batches", [False, True], ids=["sampler", "batch_sampler"])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_in_a_loader_and_resumed(make: Any, batches: bool, prefetch: int) -> None:
    def loader() -> DataLoader:
        if batches:
            return DataLoader(DATA, batch_sampler=BatchSampler(make(), 4), prefetch=prefetch)
        return DataLoader(DATA, 4, sampler=make(), prefetch=prefetch)

    plain, whole = make(), loader()
    epochs = [list(plain) for _ in range(3)]
    assert [order(whole) for _ in range(3)] == epochs
    assert len(plain) == len(epochs[0]) and len(whole) == -(-len(plain) // 4)
    for stop in (0, 1, len(whole)):
        stopped, other = loader(), loader()
        list(stopped)
        iterator = iter(stopped)
        taken = order([next(iterator) for _ in range(stop)])
        list(other)
        list(other)  # its samplers have gone elsewhere
        other.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
        assert taken + order(other) == epochs[1], stop
        assert order(other) == epochs[2], stop


def test_random() -> None:
    assert sorted(RandomSampler(DATA, seed=0)) == list(range(N))
    assert list(RandomSampler(DATA, seed=0)) == list(RandomSampler(DATA, seed=0)) != list(RandomSampler(DATA, seed=1))
    many = list(RandomSampler(DATA, num_samples=75, seed=0))
    assert Counter(Counter(many).values()) == {2: 15, 3: 15}, "two whole orders and half of one"
    assert len(set(many[:30])) == 30
    drawn = Counter(RandomSampler(DATA, replacement=True, num_samples=30000, seed=0))
    assert len(drawn) == N and 850 < min(drawn.values()) and max(drawn.values()) < 1150
    cr.manual_seed(4)
    first = list(RandomSampler(DATA))
    cr.manual_seed(4)
    assert list(RandomSampler(DATA)) == first


def test_weights() -> None:
    weights = np.array([0.0, 1.0, 2.0, 5.0, 0.0])
    counts = np.bincount(list(WeightedRandomSampler(weights, 40000, seed=0)), minlength=5) / 40000
    np.testing.assert_allclose(counts, weights / 8, atol=0.01)
    # without replacement: the first of three is drawn by weight, the second among those left
    sampler = WeightedRandomSampler([1.0, 2.0, 5.0], 2, replacement=False, seed=0)
    pairs = Counter(tuple(sampler) for _ in range(4000))
    w = np.array([1.0, 2.0, 5.0]) / 8
    for (i, j), n in pairs.items():
        assert abs(n / 4000 - w[i] * w[j] / (1 - w[i])) < 0.03
    assert len(pairs) == 6
    for bad in ([-1.0, 2.0], [0.0, 0.0], [np.inf, 1.0], [[1.0]]):
        with pytest.raises(ArgumentError, match="finite, not negative"):
            WeightedRandomSampler(bad, 1)
    with pytest.raises(ArgumentError, match="3 samples without replacement, but 2 have a weight"):
        WeightedRandomSampler([0.0, 1.0, 1.0], 3, replacement=False)


@pytest.mark.parametrize(
    "counts", [[18, 9, 3], [100] * 10, [5923, 6742, 5958, 6131, 5842], [95, 5], [7], [50] + [1] * 10, [300, 200, 3, 97]]
)
@pytest.mark.parametrize("size", [8, 32, 100])
def test_batches_have_the_proportions_of_the_whole(counts: list[int], size: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    sampler = StratifiedSampler(labels, seed=2)
    first, second = sampler.order(), sampler.order()
    assert sorted(first.tolist()) == list(range(len(labels))) and (len(labels) < 8 or (first != second).any())
    shares = np.array(counts) / len(labels)
    for start in range(0, len(labels) - size + 1, size):
        found = np.bincount(labels[first[start : start + size]], minlength=len(counts))
        rare = shares < 0.5
        assert (np.abs(found - size * shares)[rare] < 2).all(), "a sample or two more or less"
        assert (np.abs(found - size * shares) < 1 + size * 0.06 + len(counts) / 4).all()
    with pytest.raises(DataError, match="expected one class for each sample"):
        StratifiedSampler(np.zeros((3, 2)))


def test_parts_of_processes() -> None:
    for shuffle in (False, True):
        parts = [DistributedSampler(DATA, 4, rank, shuffle) for rank in range(4)]
        orders = [list(p) for p in parts]
        assert [len(p) for p in parts] == [8] * 4 == [len(o) for o in orders]
        assert Counter(Counter(sum(orders, [])).values()) == {1: 28, 2: 2}, "32 of 30: two come twice"
        for p in parts:
            p.set_epoch(1)
        assert ([list(p) for p in parts] == orders) != shuffle
        dropped = [list(DistributedSampler(DATA, 4, rank, shuffle, drop_last=True)) for rank in range(4)]
        assert [len(d) for d in dropped] == [7] * 4 and len(set(sum(dropped, []))) == 28
    assert list(DistributedSampler(range(2), 5, 4, False)) == [0], "filled up more than once"
    with pytest.raises(ArgumentError, match="rank is 4, expected 0 to 3"):
        DistributedSampler(DATA, 4, 4)
    with pytest.raises(DataError, match="3 samples are too few for 4 processes"):
        DistributedSampler(range(3), 4, 0, drop_last=True)


def test_samplers_of_ones_own() -> None:
    class Evens(Sampler):
        def __len__(self) -> int:
            return 15

        def order(self) -> Any:
            return np.arange(0, 30, 2)

    for sampler in (Evens(), list(range(0, 30, 2)), range(0, 30, 2), np.arange(0, 30, 2)):
        loader = DataLoader(DATA, 4, sampler=sampler)
        assert order(loader) == order(loader) == list(range(0, 30, 2)) and len(loader) == 4
        assert order(DataLoader(DATA, 4, sampler=sampler, drop_last=True)) == list(range(0, 24, 2))
    uneven = DataLoader(DATA, batch_sampler=[[1, 2, 3], [4], [5, 6]])
    assert [b[0].tolist() for b in uneven] == [[1, 2, 3], [4], [5, 6]] and len(uneven) == 3
    endless = DataLoader(DATA, 2, sampler=iter(lambda: 7, None))
    with pytest.raises(TypeError):
        len(endless)
    iterator = iter(endless)
    assert [next(iterator)[0].tolist() for _ in range(3)] == [[7, 7]] * 3


def test_what_does_not_go_together() -> None:
    with pytest.raises(ArgumentError, match="sampler gives the order: leave out shuffle"):
        DataLoader(DATA, sampler=range(3), shuffle=True)
    with pytest.raises(ArgumentError, match="makes the batches: leave out batch_size, shuffle$"):
        DataLoader(DATA, 4, batch_sampler=[[1]], shuffle=True)
    with pytest.raises(ArgumentError, match="a seed or a generator"):
        RandomSampler(DATA, seed=1, generator=cr.Generator(1))
    with pytest.raises(ArgumentError, match="num_samples is 0"):
        RandomSampler(DATA, num_samples=0)
    with pytest.raises(ArgumentError, match="batch_size is 0"):
        BatchSampler(range(3), 0)


def test_fit_takes_them() -> None:
    x, y = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32), LABELS
    model = cr.nn.Sequential(cr.nn.Linear(3, 3)).compile("cross_entropy", "adam")
    loader = DataLoader(ArrayDataset(x, y), 8, sampler=StratifiedSampler(y, seed=0))
    assert len(model.fit(loader, epochs=2, verbose=0)["loss"]) == 2
