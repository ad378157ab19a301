"""Samplers, splits, padding and resampling beside PyTorch's; worker processes that are killed at any time."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import data as peer

import chainrule as cr
from chainrule.data import (
    ArrayDataset,
    BatchSampler,
    DataLoader,
    DistributedSampler,
    WeightedRandomSampler,
    one_hot,
    pad_collate,
    random_split,
)
from chainrule.data.geometry import affine, inverse
from chainrule.domain.errors import WorkerError


def test_parts_of_processes() -> None:
    for n, replicas, drop_last in product((1, 2, 5, 8, 17), (1, 2, 3, 8), (False, True)):
        if drop_last and n < replicas:
            continue
        for rank in range(replicas):
            mine = DistributedSampler(range(n), replicas, rank, shuffle=False, drop_last=drop_last)
            theirs: Any = peer.DistributedSampler(range(n), replicas, rank, shuffle=False, drop_last=drop_last)  # type: ignore[arg-type]
            assert list(mine) == list(theirs) and len(mine) == len(theirs), (n, replicas, rank, drop_last)


def test_batches_and_lengths() -> None:
    for n, size, drop_last in product((1, 7, 8, 9, 16), (1, 4, 8, 20), (False, True)):
        theirs: Any = peer.BatchSampler(range(n), size, drop_last)
        mine = BatchSampler(range(n), size, drop_last)
        assert list(mine) == list(theirs) and len(mine) == len(theirs)
        if len(theirs):
            loader = DataLoader(ArrayDataset(np.arange(n)), size, drop_last=drop_last)
            expected = peer.DataLoader(range(n), size, drop_last=drop_last)  # type: ignore[arg-type, var-annotated]
            assert [b[0].tolist() for b in loader] == [b.tolist() for b in expected] and len(loader) == len(expected)


def test_random_parts_have_the_same_sizes() -> None:
    for n, shares in product((10, 11, 12, 97), ([0.5, 0.5], [0.9, 0.1], [0.7, 0.2, 0.1], [1 / 3] * 3)):
        theirs = peer.random_split(range(n), shares)  # type: ignore[arg-type, var-annotated]
        assert [len(p) for p in random_split(range(n), shares, seed=0)] == [len(p) for p in theirs], (n, shares)


def test_weighted_draws_have_the_same_frequencies() -> None:
    weights, draws = [0.5, 0.0, 3.0, 1.5], 60_000
    mine = np.bincount(list(WeightedRandomSampler(weights, draws, seed=1)), minlength=4) / draws
    torch.manual_seed(0)
    theirs = np.bincount(list(peer.WeightedRandomSampler(weights, draws)), minlength=4) / draws
    assert np.abs(mine - theirs).max() < 0.01


def test_labels_and_sequences() -> None:
    labels = np.random.default_rng(0).integers(0, 7, (4, 5))
    np.testing.assert_array_equal(
        one_hot(labels, 9, "int64"), torch.nn.functional.one_hot(torch.from_numpy(labels), 9).numpy()
    )
    sequences = [np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32) for n in (3, 9, 1, 5)]
    theirs = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(s) for s in sequences], batch_first=True, padding_value=2.0
    )
    np.testing.assert_array_equal(pad_collate(sequences, value=2.0)[0], theirs.numpy())


@pytest.mark.parametrize("shape", [(5, 3, 17, 23), (3, 1, 28, 28), (2, 2, 1, 9)])
def test_resampling(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    n, _, height, width = shape
    images, down, right = rng.normal(size=shape), *rng.uniform(-4, 4, (2, n))
    matrix = inverse(rng.uniform(-3, 3, n), rng.uniform(-0.5, 0.5, n), rng.uniform(0.5, 2, n))
    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    offsets = np.stack([y - down[:, None, None], x - right[:, None, None]], axis=-1)
    found = np.einsum("nij,nhwj->nhwi", matrix, offsets)
    # in grid_sample, -1 and 1 are the outer edges of the outer pixels, and the columns come first
    grid = torch.from_numpy(np.stack([found[..., 1] * 2 / width, found[..., 0] * 2 / height], axis=-1))
    expected = torch.nn.functional.grid_sample(torch.from_numpy(images), grid, align_corners=False)
    np.testing.assert_allclose(affine(images, matrix, down, right, 0.0), expected.numpy(), atol=1e-12)


def test_workers_killed_at_any_time() -> None:
    """Whenever a worker is killed there is an error that says so, in seconds, and nothing stays behind."""
    shared = set(os.listdir("/dev/shm"))
    data = ArrayDataset(np.random.default_rng(0).random((400, 3000), np.float32))
    rng, killed = np.random.default_rng(1), 0
    for _ in range(25):
        loader = DataLoader(data, 8, workers=3, worker="process", shuffle=True)
        iterator = iter(loader)
        next(iterator)
        assert loader._pool is not None
        victim = loader._pool._processes[rng.integers(3)].pid
        threading.Timer(float(rng.uniform(0, 0.05)), os.kill, (victim, signal.SIGKILL)).start()
        start = time.monotonic()
        try:
            for epoch in range(100):
                for _ in iterator if epoch == 0 else loader:
                    pass
        except WorkerError as error:
            assert "SIGKILL" in str(error)
            killed += 1
        assert time.monotonic() - start < 30
        loader.close()
    del loader, iterator
    gc.collect()
    assert killed == 25 and multiprocessing.active_children() == []
    assert {name for name in os.listdir("/dev/shm") if name.startswith(("psm_", "cr_"))} <= shared


def test_the_numbers_of_a_batch_do_not_depend_on_who_makes_it() -> None:
    class Noise(cr.data.Transform):
        def apply(self, images: Any, generator: cr.Generator) -> Any:
            return images + generator.normal(images.shape).numpy()

    data = ArrayDataset(np.zeros((64, 1, 4, 4), np.float32))
    expected = [b[0].numpy() for b in DataLoader(data, 5, seed=7, transform=Noise(), prefetch=0)]
    for workers in range(1, 9):
        found = [b[0].numpy() for b in DataLoader(data, 5, seed=7, transform=Noise(), workers=workers)]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
