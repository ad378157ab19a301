"""Samples put together: padding, functions of one's own, errors that name the sample."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import DataLoader, default_collate, pad_collate
from chainrule.domain.errors import ArgumentError, DataError

RNG = np.random.default_rng(3)
LENGTHS = [4, 7, 1, 5, 7]
SEQUENCES = [(RNG.normal(size=(n, 2)).astype(np.float32), n % 3) for n in LENGTHS]


def test_sequences_are_padded() -> None:
    x, lengths, y = pad_collate(SEQUENCES, value=-1)
    assert x.shape == (5, 7, 2) and x.dtype == np.float32 and lengths.dtype == np.int64
    assert lengths.tolist() == LENGTHS and y.tolist() == [n % 3 for n in LENGTHS]
    for row, (sequence, _) in zip(x, SEQUENCES, strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], sequence)
        assert (row[len(sequence) :] == -1).all()
    _, mask, _ = pad_collate(SEQUENCES, mask=True, to=9)
    assert mask.shape == (5, 9) and mask.dtype == bool and mask.sum(1).tolist() == LENGTHS
    assert not mask[0, 4:].any() and mask[0, :4].all()


def test_dtypes_and_targets_that_are_sequences() -> None:
    tokens = [(np.arange(3), np.arange(3) + 1), (np.arange(5), np.arange(5) + 1)]
    x, lengths, y = pad_collate(tokens, value=(0, -100))
    assert x.dtype == y.dtype == np.int64 and y[0].tolist() == [1, 2, 3, -100, -100] and x[0, 3] == 0
    assert pad_collate([np.zeros(2), np.zeros(3)])[0].dtype == np.float64, "a float64 that was meant stays one"
    assert pad_collate([([1.0],), ([2.0, 3.0],)])[0].dtype == np.float32
    assert pad_collate([(cr.tensor([1, 2]), 0), (cr.tensor([3]), 0)])[0].tolist() == [[1, 2], [3, 0]]


def test_padded_batches_train_a_network() -> None:
    loader = DataLoader(SEQUENCES, batch_size=2, collate_fn=pad_collate, shuffle=True, seed=0)  # type: ignore[arg-type]
    assert [tuple(p.shape[:1]) for p in next(iter(loader))] == [(2,), (2,), (2,)]
    assert {batch[0].shape[1] for batch in loader} <= {4, 5, 7, 1}, "a batch is as long as its longest sequence"

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(2, 4, batch_first=True, return_sequences=False), nn.Linear(4, 3)

        def forward(self, x: cr.Tensor, lengths: cr.Tensor) -> cr.Tensor:
            return self.out(self.rnn(x, lengths=lengths))  # type: ignore[no-any-return]

    model = Classifier()
    model.compile("cross_entropy", "adam")
    history = model.fit(loader, epochs=2, verbose=0)
    assert np.isfinite(history["loss"]).all()


def test_padding_errors() -> None:
    with pytest.raises(DataError, match=r"part 0 of sample 1 of the batch has steps of shape \(3,\), .* \(2,\)"):
        pad_collate([np.zeros((4, 2)), np.zeros((5, 3))])
    with pytest.raises(DataError, match="is a single number, expected a sequence"):
        pad_collate([1.0, 2.0])
    with pytest.raises(DataError, match="has 7 steps, more than to=6"):
        pad_collate(SEQUENCES, to=6)
    with pytest.raises(ArgumentError, match="value has 3 numbers, but a sample has 2 parts"):
        pad_collate(SEQUENCES, value=(1, 2, 3))
    with pytest.raises(DataError, match="collate_fn=pad_collate"):
        list(DataLoader(SEQUENCES))  # type: ignore[arg-type]


def test_a_function_of_ones_own() -> None:
    loader = DataLoader([1.0, 2.0, 3.0], batch_size=2, collate_fn=lambda samples: (np.array(samples), np.array([9])))
    assert [(a.tolist(), b.tolist()) for a, b in loader] == [([1, 2], [9]), ([3], [9])]
    loader = DataLoader([1.0, 2.0, 3.0], batch_size=3, collate_fn=np.array)  # type: ignore[arg-type]
    assert [a.tolist() for (a,) in loader] == [[1, 2, 3]]
    loader = DataLoader(SEQUENCES, 5, collate_fn=partial(pad_collate, to=10))  # type: ignore[arg-type]
    assert next(iter(loader))[0].shape == (5, 10, 2)


class Broken:
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        if index == 3:
            raise ValueError("unreadable")
        return float(index)


@pytest.mark.parametrize("collate_fn", [None, default_collate])
def test_an_error_names_its_sample(collate_fn: Any) -> None:
    with pytest.raises(ValueError, match="unreadable") as caught:
        list(DataLoader(Broken(), batch_size=2, collate_fn=collate_fn))
    assert caught.value.__notes__ == ["[DataLoader] in sample 3 of Broken"]
