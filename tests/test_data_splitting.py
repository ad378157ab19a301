"""Labels as vectors, and data in parts, against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.model_selection as peer  # type: ignore[import-untyped]

import chainrule as cr
from chainrule.data import (
    ArrayDataset,
    DataLoader,
    KFold,
    StratifiedKFold,
    Subset,
    one_hot,
    random_split,
    train_test_split,
)
from chainrule.domain.errors import ArgumentError, DataError, DTypeError, IndexRangeError

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 31, 9]))


def test_one_hot() -> None:
    labels = np.array([[2, 0], [1, 2]])
    found = one_hot(labels, 4)
    assert found.shape == (2, 2, 4) and found.dtype == np.float32
    np.testing.assert_array_equal(found, np.eye(4)[labels])
    assert one_hot([0, 2]).shape == (2, 3) and one_hot([1], 2, "int64").tolist() == [[0, 1]]
    tensor = one_hot(cr.tensor([1, 0]))
    assert isinstance(tensor, cr.Tensor) and tensor.tolist() == [[0, 1], [1, 0]]
    assert one_hot(np.uint8(3), 5).tolist() == [0, 0, 0, 1, 0] and one_hot([], 3).shape == (0, 3)
    with pytest.raises(IndexRangeError, match=r"the label at 1 is 3, expected 0 to 2"):
        one_hot([0, 3], 3)
    with pytest.raises(IndexRangeError, match=r"at \(0, 1\) is -1"):
        one_hot([[0, -1]])
    with pytest.raises(DTypeError, match="float64, expected integers"):
        one_hot([0.5])
    with pytest.raises(ArgumentError, match="give num_classes"):
        one_hot([])


@pytest.mark.parametrize(
    ("test", "train"),
    [
        (None, None),
        (0.25, None),
        (0.31, None),
        (7, None),
        (None, 0.33),
        (None, 10),
        (0.2, 0.5),
        (3, 0.5),
        (0.999, None),
    ],
)
@pytest.mark.parametrize("n", [10, 61, 90])
def test_sizes_as_in_scikit_learn(n: int, test: Any, train: Any) -> None:
    x = np.arange(n)
    for shuffle in (True, False):
        try:
            expected = peer.train_test_split(x, test_size=test, train_size=train, shuffle=shuffle, random_state=0)
        except ValueError:
            with pytest.raises(ArgumentError):
                train_test_split(x, test_size=test, train_size=train, shuffle=shuffle)
            continue
        found = train_test_split(x, test_size=test, train_size=train, shuffle=shuffle, seed=0)
        assert [len(p) for p in found] == [len(p) for p in expected]
        assert len({*found[0].tolist(), *found[1].tolist()}) == len(found[0]) + len(found[1])
        if not shuffle:
            assert [p.tolist() for p in found] == [p.tolist() for p in expected]


def test_kinds_of_data_stay_together() -> None:
    x, names = np.arange(20), [f"n{i}" for i in range(20)]
    parts = train_test_split(x, names, cr.tensor(x * 2), ArrayDataset(x), tuple(names), test_size=0.3, seed=1)
    for k in (0, 1):
        expected = parts[k].tolist()
        assert parts[2 + k] == parts[8 + k] == [f"n{i}" for i in expected]
        assert isinstance(parts[4 + k], cr.Tensor) and parts[4 + k].tolist() == [2 * i for i in expected]
        assert isinstance(parts[6 + k], Subset)
        assert [int(v) for b in DataLoader(parts[6 + k]) for v in b[0].tolist()] == expected
    again, other = (train_test_split(x, test_size=0.3, seed=s)[1].tolist() for s in (1, 2))
    assert again == parts[1].tolist() != other
    cr.manual_seed(3)
    drawn = train_test_split(x)[1].tolist()
    cr.manual_seed(3)
    assert train_test_split(x)[1].tolist() == drawn


@pytest.mark.parametrize(("test", "train"), [(0.3, None), (9, None), (0.2, 0.3), (3, 80)])
def test_stratified_as_in_scikit_learn(test: Any, train: Any) -> None:
    x = np.arange(len(LABELS))
    expected = peer.train_test_split(x, test_size=test, train_size=train, stratify=LABELS, random_state=0)
    found = train_test_split(x, test_size=test, train_size=train, stratify=LABELS, seed=0)
    for mine, theirs in zip(found, expected, strict=True):
        counts = np.bincount(LABELS[mine], minlength=3), np.bincount(LABELS[theirs], minlength=3)
        assert np.abs(counts[0] - counts[1]).max() <= 1 and counts[0].sum() == counts[1].sum(), "ties may go elsewhere"
        assert np.abs(counts[0] - np.bincount(LABELS) * len(mine) / 90).max() <= 1
    assert len({*found[0].tolist(), *found[1].tolist()}) == len(found[0]) + len(found[1])
    assert (np.diff(LABELS[found[0]]) < 0).any(), "the classes are mixed"


def test_split_errors() -> None:
    with pytest.raises(DataError, match=r"have \[3, 4\] samples"):
        train_test_split(range(3), range(4))
    with pytest.raises(DataError, match="class 1 has one sample"):
        train_test_split(range(5), stratify=[0, 0, 0, 0, 1])
    with pytest.raises(ArgumentError, match="cannot both have samples of 3 classes"):
        train_test_split(LABELS, stratify=LABELS, test_size=2)
    with pytest.raises(ArgumentError, match="test_size is 1.5"):
        train_test_split(range(5), test_size=1.5)
    with pytest.raises(ArgumentError, match="stratify needs shuffle"):
        train_test_split(LABELS, stratify=LABELS, shuffle=False)


@pytest.mark.parametrize("n", [5, 22, 90])
@pytest.mark.parametrize("k", [2, 5])
def test_folds_as_in_scikit_learn(n: int, k: int) -> None:
    found = [(a.tolist(), b.tolist()) for a, b in KFold(k).split(np.zeros((n, 2)))]
    assert found == [(a.tolist(), b.tolist()) for a, b in peer.KFold(k).split(np.zeros((n, 2)))]
    shuffled = list(KFold(k, shuffle=True, seed=1).split(range(n)))
    assert [len(b) for _, b in shuffled] == [len(b) for _, b in found] and len(KFold(k)) == k
    assert sorted(np.concatenate([b for _, b in shuffled]).tolist()) == list(range(n))
    assert all(sorted([*a, *b]) == list(range(n)) for a, b in shuffled)
    assert n == 5 or [b.tolist() for _, b in shuffled] != [b for _, b in found]


@pytest.mark.parametrize("k", [2, 3, 5, 9])
def test_stratified_folds_as_in_scikit_learn(k: int) -> None:
    for labels in (LABELS, np.array(list("zxy"))[LABELS]):
        found = [b.tolist() for _, b in StratifiedKFold(k).split(labels, labels)]
        assert found == [b.tolist() for _, b in peer.StratifiedKFold(k).split(labels, labels)]
    shuffled = [b for _, b in StratifiedKFold(k, shuffle=True, seed=2).split(LABELS, LABELS)]
    assert [np.bincount(LABELS[b]).tolist() for b in shuffled] == [np.bincount(LABELS[b]).tolist() for b in found]
    assert [b.tolist() for b in shuffled] != found


def test_fold_errors() -> None:
    with pytest.raises(DataError, match="3 samples cannot be in 5 folds"):
        KFold().split(range(3))
    with pytest.raises(ArgumentError, match="n_splits is 1, expected an integer of at least 2"):
        KFold(1)
    with pytest.raises(ArgumentError, match="without shuffle"):
        KFold(seed=1)
    with pytest.raises(DataError, match="largest class has 50 samples, less than 60"):
        StratifiedKFold(60).split(LABELS, LABELS)
    with pytest.raises(DataError, match="expected a class for each sample"):
        StratifiedKFold(2).split(LABELS)
    with pytest.warns(UserWarning, match="a class has 9 samples, less than 10 folds"):
        StratifiedKFold(10).split(LABELS, LABELS)


def test_random_parts() -> None:
    data = ArrayDataset(np.arange(11))
    parts = random_split(data, [5, 0, 6], seed=0)
    assert [len(p) for p in parts] == [5, 0, 6]
    assert sorted(int(p[i][0]) for p in parts for i in range(len(p))) == list(range(11))
    assert [len(p) for p in random_split(data, [0.5, 0.3, 0.2], seed=0)] == [6, 3, 2]
    assert random_split(data, [5, 6], seed=0)[0].indices.tolist() == parts[0].indices.tolist()
    with pytest.raises(ArgumentError, match=r"\[5, 5\] and add up to 10, expected 11"):
        random_split(data, [5, 5])
    with pytest.raises(ArgumentError, match="none can be negative"):
        random_split(data, [12, -1])
