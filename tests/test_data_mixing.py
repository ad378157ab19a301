"""Parts left out and images mixed, against references written for one image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import ArrayDataset, CutMix, Cutout, DataLoader, MixUp, RandomErasing
from chainrule.data.mixing import beta
from chainrule.domain.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)
FLOAT = RNG.random((8, 3, 9, 11)) + 1
BYTES = RNG.integers(1, 256, (8, 3, 9, 11), dtype=np.uint8)
KINDS = pytest.mark.parametrize("images", [FLOAT, FLOAT.astype(np.float32), BYTES], ids=["f8", "f4", "u1"])


def generator(seed: int = 1) -> cr.Generator:
    return cr.Generator(seed)


@KINDS
def test_cutout(images: Any) -> None:
    found, draws = Cutout(4, holes=2, fill=7)(images, generator=generator()), generator()
    expected = images.copy()
    for _ in range(2):
        rows, columns = draws.integers(0, 9, (8,)).tolist(), draws.integers(0, 11, (8,)).tolist()
        for n, (i, j) in enumerate(zip(rows, columns, strict=True)):
            expected[n, :, max(i - 2, 0) : i + 2, max(j - 2, 0) : j + 2] = 7
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == images.dtype and (images != 7).sum() > (found != 7).sum()


@KINDS
@pytest.mark.parametrize("fill", [0, "random"])
def test_erasing(images: Any, fill: Any) -> None:
    many = np.concatenate([images] * 20)
    found = RandomErasing(0.7, scale=(0.1, 0.3), ratio=(0.5, 2.0), fill=fill)(many, generator=generator())
    assert found.dtype == images.dtype and found.shape == many.shape
    u, erased = generator().uniform((5, 160), "float64").numpy(), 0
    for n in range(160):
        area, ratio = 99 * (0.1 + 0.2 * u[0, n]), math.exp(math.log(0.5) + math.log(4) * u[1, n])
        h, w = min(9, round(math.sqrt(area * ratio))), min(11, round(math.sqrt(area / ratio)))
        expected = np.zeros((9, 11), bool)
        if u[4, n] < 0.7:
            erased += 1
            top, left = int(u[2, n] * (9 - h + 1)), int(u[3, n] * (11 - w + 1))
            expected[top : top + h, left : left + w] = True
        changed = (found[n] != many[n]).any(axis=0)
        if fill == 0:
            np.testing.assert_array_equal(changed, expected)
            assert (found[n][:, expected] == 0).all()
        else:  # by chance a byte may be what it was
            assert not (changed & ~expected).any() and (changed & expected).sum() >= expected.sum() - 1
    assert 90 < erased < 135
    for wrong in ({"scale": (0.0, 0.5)}, {"scale": (0.5, 1.5)}, {"ratio": (0, 1)}, {"fill": "noise"}):
        with pytest.raises(ArgumentError, match="RandomErasing"):
            RandomErasing(**wrong)  # type: ignore[arg-type]


@KINDS
def test_mixup(images: Any) -> None:
    labels, transform = np.arange(8) % 5, MixUp(5, alpha=0.4)
    x, y = transform(images, labels, generator=generator())
    draws = generator()
    partner, share = draws.permutation(8).numpy(), beta(0.4, 8, draws)
    assert x.dtype == images.dtype and y.dtype == np.float32 and y.shape == (8, 5)
    for n in range(8):
        one, other = images[n].astype(np.float64), images[partner[n]].astype(np.float64)
        expected = share[n] * one + (1 - share[n]) * other
        atol = {8: 1e-14, 4: 1e-6, 1: 0.5 + 1e-4}[images.dtype.itemsize]
        assert np.abs(x[n] - expected).max() <= atol
        soft = share[n] * np.eye(5)[labels[n]] + (1 - share[n]) * np.eye(5)[labels[partner[n]]]
        np.testing.assert_allclose(y[n], soft, atol=1e-6)
    soft_again, _ = transform(images, np.eye(5)[labels], generator=generator())
    np.testing.assert_array_equal(soft_again, x)


@KINDS
def test_cutmix(images: Any) -> None:
    labels = np.arange(8) % 5
    x, y = CutMix(5)(images, labels, generator=generator())
    draws = generator()
    partner, share = draws.permutation(8).numpy(), beta(1.0, 8, draws)
    rows, columns = draws.integers(0, 9, (8,)).tolist(), draws.integers(0, 11, (8,)).tolist()
    for n in range(8):
        h, w = (int(size * math.sqrt(1 - share[n])) // 2 for size in (9, 11))
        expected = images[n].copy()
        top, bottom, left, right = (
            max(rows[n] - h, 0),
            min(rows[n] + h, 9),
            max(columns[n] - w, 0),
            min(columns[n] + w, 11),
        )
        expected[:, top:bottom, left:right] = images[partner[n], :, top:bottom, left:right]
        np.testing.assert_array_equal(x[n], expected)
        kept = 1 - (bottom - top) * (right - left) / 99
        soft = kept * np.eye(5)[labels[n]] + (1 - kept) * np.eye(5)[labels[partner[n]]]
        np.testing.assert_allclose(y[n], soft, atol=1e-6)
    assert x.dtype == images.dtype


@pytest.mark.parametrize("alpha", [0.001, 0.2, 1.0, 4.0])
def test_beta_numbers(alpha: float) -> None:
    """Moments of Beta(alpha, alpha): mean 1/2, variance 1 / (8 alpha + 4), fourth central moment 3 / (16 (2a+1)(2a+3))."""
    drawn = beta(alpha, 200_000, generator())
    assert np.isfinite(drawn).all() and 0 <= drawn.min() and drawn.max() <= 1
    centred = drawn - 0.5
    assert abs(centred.mean()) < 0.004
    assert abs((centred**2).mean() * (8 * alpha + 4) - 1) < 0.02
    assert abs((centred**4).mean() * 16 * (2 * alpha + 1) * (2 * alpha + 3) / 3 - 1) < 0.04


def test_training_with_soft_labels() -> None:
    x, y = FLOAT.astype(np.float32)[:, :, :8, :8], np.arange(8) % 3
    model = cr.nn.Sequential(cr.nn.Flatten(), cr.nn.Linear(3)).compile("cross_entropy", "adam", ["accuracy"])
    for transform in (MixUp(3), CutMix(3)):
        loader = DataLoader(ArrayDataset(x, y), 4, shuffle=True, seed=0, transform=transform)
        history = model.fit(loader, epochs=2, verbose=0)
        assert np.isfinite(history["loss"]).all()


def test_wrong_labels() -> None:
    with pytest.raises(ShapeError, match=r"y has shape \(8, 4\), expected \(8,\) or \(8, 5\)"):
        MixUp(5)(FLOAT, np.zeros((8, 4)))
    with pytest.raises(ArgumentError, match="num_classes is 1"):
        MixUp(1)
    with pytest.raises(ArgumentError, match="alpha is 0"):
        CutMix(3, alpha=0)
    with pytest.raises(ShapeError, match="expected images"):
        CutMix(3)(np.zeros((4, 2)), np.zeros(4, int))
    x, y = MixUp(3)(cr.ones((4, 2)), cr.tensor([0, 1, 2, 0]))
    assert isinstance(x, cr.Tensor) and isinstance(y, cr.Tensor) and repr(MixUp(3)) == "MixUp(3, alpha=1.0)"
