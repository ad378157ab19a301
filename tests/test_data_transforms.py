"""Augmentation: every transformation against a float64 reference written for one image; labels, shapes, dtypes kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import (
    ArrayDataset,
    ColorJitter,
    Compose,
    DataLoader,
    GaussianNoise,
    Normalize,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomVerticalFlip,
    RandomZoom,
    Subset,
    Transform,
)
from chainrule.data.geometry import affine, inverse
from chainrule.domain.errors import ArgumentError, DTypeError, ShapeError

RNG = np.random.default_rng(0)
FLOAT = RNG.random((7, 3, 9, 11))
BYTES = RNG.integers(0, 256, (7, 3, 9, 11), dtype=np.uint8)
KINDS = pytest.mark.parametrize("images", [FLOAT, FLOAT.astype(np.float32), BYTES], ids=["f8", "f4", "u1"])
ALL = [
    RandomCrop(padding=2),
    RandomCrop(padding=2, mode="reflect"),
    RandomHorizontalFlip(),
    RandomVerticalFlip(),
    RandomAffine(20, shift=2, scale=0.2, shear=10),
    RandomRotation(30),
    RandomShift((1, 2)),
    RandomZoom(0.3),
    RandomShear(20),
    GaussianNoise(5.0),
    ColorJitter(0.3, 0.3, 0.3),
]


def generator(seed: int = 1) -> cr.Generator:
    return cr.Generator(seed)


@KINDS
@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
def test_shapes_dtypes_labels_and_seeds(transform: Any, images: Any) -> None:
    labels, before = np.arange(7), images.copy()
    found, same = transform(images, labels, generator=generator())
    assert found.shape == images.shape and found.dtype == images.dtype and same is labels
    np.testing.assert_array_equal(images, before, err_msg="the given images are left as they are")
    assert not np.shares_memory(found, images)
    again, other = (transform(images, generator=generator(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(found, again)
    assert (found != other).any()
    single = transform(images[:1], generator=generator())
    assert single.shape == images[:1].shape


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
def test_tensors_and_the_default_generator(transform: Any) -> None:
    x = cr.tensor(FLOAT.astype(np.float32))
    cr.manual_seed(3)
    first = transform(x)
    cr.manual_seed(3)
    assert isinstance(first, cr.Tensor) and (first == transform(x)).all()


def resampled(image: Any, matrix: Any, down: float, right: float, fill: float) -> Any:
    """One image (channels, height, width) in float64: each pixel fetched by four weights."""
    channels, height, width = image.shape
    out = np.empty((channels, height, width))

    def pixel(k: int, i: int, j: int) -> float:
        return float(image[k, i, j]) if 0 <= i < height and 0 <= j < width else fill

    for k in range(channels):
        for i in range(height):
            for j in range(width):
                offset = np.array([i - (height - 1) / 2 - down, j - (width - 1) / 2 - right])
                y, x = matrix @ offset + [(height - 1) / 2, (width - 1) / 2]
                top, left = math.floor(y), math.floor(x)
                v, w = y - top, x - left
                out[k, i, j] = (
                    (1 - v) * (1 - w) * pixel(k, top, left)
                    + (1 - v) * w * pixel(k, top, left + 1)
                    + v * (1 - w) * pixel(k, top + 1, left)
                    + v * w * pixel(k, top + 1, left + 1)
                )
    return out


@KINDS
def test_affine_against_the_reference(images: Any) -> None:
    transform = RandomAffine((-40, 90), shift=(3, 4), scale=(0.5, 1.7), shear=(-30, 20), fill=7.0)
    found = transform(images, generator=generator(5))
    u = generator(5).uniform((5, 7), "float64").numpy()
    for n in range(7):
        angle, slant = math.radians(-40 + 130 * u[0, n]), math.tan(math.radians(-30 + 50 * u[1, n]))
        scale, down, right = 0.5 + 1.2 * u[2, n], -3 + 6 * u[3, n], -4 + 8 * u[4, n]
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        forward = scale * turn @ np.array([[1.0, 0.0], [slant, 1.0]])
        expected = resampled(images[n], np.linalg.inv(forward), down, right, 7.0)
        if images.dtype == np.uint8:
            assert np.abs(found[n] - expected).max() < 0.5 + 1e-3
        else:
            np.testing.assert_allclose(found[n], expected, atol={8: 1e-12, 4: 2e-5}[images.dtype.itemsize])


def test_affine_in_cases_known_without_arithmetic() -> None:
    zero = np.zeros(7)
    turned = affine(FLOAT[..., :9], inverse(np.full(7, math.pi / 2), zero, zero + 1), zero, zero, 0.0)
    np.testing.assert_allclose(turned, np.rot90(FLOAT[..., :9], axes=(2, 3)), atol=1e-12, err_msg="counter-clockwise")
    shifted = affine(BYTES, inverse(zero, zero, zero + 1), zero + 2, zero - 3, 5.0)
    np.testing.assert_array_equal(shifted[:, :, 2:, :-3], BYTES[:, :, :-2, 3:])
    assert (shifted[:, :, :2] == 5).all() and (shifted[..., -3:] == 5).all()
    image = np.zeros((1, 1, 3, 5))
    image[..., 2] = 1  # a vertical stroke, slanted by 45 degrees
    slanted = affine(image, inverse(zero[:1], zero[:1] + math.pi / 4, zero[:1] + 1), zero[:1], zero[:1], 0.0)
    np.testing.assert_allclose(slanted[0, 0], [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]], atol=1e-12)
    dot = np.zeros((1, 1, 5, 5))
    dot[0, 0, 2, 3] = 1
    doubled = affine(dot, inverse(zero[:1], zero[:1], zero[:1] + 2), zero[:1], zero[:1], 0.0)
    assert doubled[0, 0, 2].tolist() == [0, 0, 0, 0.5, 1], "twice as far from the centre, twice as wide"
    for transform in (RandomRotation(0), RandomShift(0), RandomZoom(0), RandomShear(0), RandomAffine()):
        np.testing.assert_array_equal(transform(BYTES), BYTES)


def test_named_affine_maps_are_their_part_of_the_whole() -> None:
    for one, whole in [
        (RandomRotation(20, fill=1), RandomAffine(20, fill=1)),
        (RandomShift((1, 2)), RandomAffine(shift=(1, 2))),
        (RandomZoom((0.5, 0.9)), RandomAffine(scale=(0.5, 0.9))),
        (RandomShear(12), RandomAffine(shear=12)),
    ]:
        np.testing.assert_array_equal(one(FLOAT, generator=generator()), whole(FLOAT, generator=generator()))


@KINDS
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_crop_against_the_reference(images: Any, mode: str) -> None:
    found = RandomCrop((8, 12), padding=3, fill=2, mode=mode)(images, generator=generator(4))
    draws = generator(4)
    top, left = draws.integers(0, 9 + 6 - 8 + 1, (7,)).numpy(), draws.integers(0, 11 + 6 - 12 + 1, (7,)).numpy()
    assert found.shape == (7, 3, 8, 12) and len({*zip(top, left, strict=True)}) > 4

    def place(i: int, size: int) -> int | None:
        if 0 <= i < size:
            return i
        if mode == "constant":
            return None
        if mode == "edge":
            return 0 if i < 0 else size - 1
        return -i if i < 0 else 2 * (size - 1) - i

    for n in range(7):
        for i in range(8):
            for j in range(12):
                r, c = place(int(top[n]) + i - 3, 9), place(int(left[n]) + j - 3, 11)
                expected = [2, 2, 2] if r is None or c is None else images[n, :, r, c]
                np.testing.assert_array_equal(found[n, :, i, j], np.asarray(expected, images.dtype))


def test_crops_take_every_place() -> None:
    places = RandomCrop(1)(np.tile(np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2), (400, 1, 1, 1)))
    assert set(np.unique(places)) == {0, 1, 2, 3} and np.bincount(places.ravel()).min() > 60


@KINDS
@pytest.mark.parametrize(("transform", "axis"), [(RandomHorizontalFlip, 2), (RandomVerticalFlip, 1)])
def test_flips(images: Any, transform: Any, axis: int) -> None:
    found = transform(0.4)(images, generator=generator())
    turned = generator().uniform((7,), "float64").numpy() < 0.4
    assert 0 < turned.sum() < 7
    for n in range(7):
        np.testing.assert_array_equal(found[n], np.flip(images[n], axis) if turned[n] else images[n])
    np.testing.assert_array_equal(transform(0.0)(images), images)


def test_normalize() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    for images, atol in ((FLOAT, 1e-14), (FLOAT.astype(np.float32), 1e-6), (BYTES, 1e-6)):
        found = Normalize(mean, std)(images)
        assert found.dtype == (np.float64 if images is FLOAT else np.float32)
        unit = images / 255.0 if images.dtype == np.uint8 else images.astype(np.float64)
        for k in range(3):
            np.testing.assert_allclose(found[:, k], (unit[:, k] - mean[k]) / std[k], atol=atol, rtol=atol)
    with pytest.raises(ShapeError, match="mean has 2 numbers, but the images have 3 channels"):
        Normalize((1, 2), 1.0)(FLOAT)
    with pytest.raises(ArgumentError, match="std > 0"):
        Normalize(0.5, 0.0)


def test_noise() -> None:
    found = GaussianNoise(0.1)(FLOAT, generator=generator())
    np.testing.assert_array_equal(found, FLOAT + 0.1 * generator().normal(FLOAT.shape, "float64").numpy())
    grey = np.full((10, 1, 32, 32), 128, np.uint8)
    noisy = GaussianNoise(20)(grey).astype(float) - 128
    assert abs(noisy.mean()) < 1 and abs(noisy.std() - 20) < 0.6
    ends = GaussianNoise(60)(np.tile(np.array([0, 255], np.uint8), (10, 1, 8, 1)))
    assert ends[..., 0].max() < 256 / 2 + 130 and (ends[..., 0] == 0).mean() > 0.4, "clipped, not wrapped"


@KINDS
def test_color_against_the_reference(images: Any) -> None:
    found = ColorJitter(0.4, 1.5, 0.2)(images, generator=generator(9))
    u, top = generator(9).uniform((3, 7), "float64").numpy(), 255 if images.dtype == np.uint8 else 1
    for n in range(7):
        b, c, s = 0.6 + 0.8 * u[0, n], 2.5 * u[1, n], 0.8 + 0.4 * u[2, n]
        image = np.clip(images[n].astype(np.float64) * b, 0, top)
        mean = np.mean(0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2])
        image = np.clip(mean + c * (image - mean), 0, top)
        pixel = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        image = np.clip(pixel + s * (image - pixel), 0, top)
        if images.dtype == np.uint8:
            assert np.abs(found[n] - image).max() < 0.5 + 1e-3
        else:
            np.testing.assert_allclose(found[n], image, atol={8: 1e-12, 4: 2e-6}[images.dtype.itemsize])
    one = FLOAT[:, :1]
    np.testing.assert_allclose(ColorJitter(saturation=0.9)(one), one, err_msg="grey has no saturation")


class Marked(Transform):
    """Adds a random number to each image, so that a batch shows what was drawn for it."""

    def apply(self, images: Any, generator: cr.Generator) -> Any:
        return images + generator.uniform((len(images), 1, 1, 1)).numpy()


def data(n: int = 20, transform: Any = None) -> ArrayDataset:
    return ArrayDataset(np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1), np.arange(n), transform=transform)


def drawn(loader: Any) -> list[tuple[int, float]]:
    return [(int(k), float(v)) for x, y in loader for k, v in zip(y.numpy(), x.numpy().ravel(), strict=True)]


@pytest.mark.parametrize("inside", [True, False], ids=["dataset", "loader"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_in_a_loader_seeded_and_resumed(inside: bool, shuffle: bool) -> None:
    def loader(seed: int, prefetch: int = 2) -> DataLoader:
        options: Any = {"batch_size": 3, "shuffle": shuffle, "seed": seed, "prefetch": prefetch}
        if inside:
            return DataLoader(Subset(data(30, Marked()), range(20)), **options)
        return DataLoader(data(), transform=Marked(), **options)

    whole = loader(1)
    epochs = [drawn(whole) for _ in range(3)]
    assert all(0 <= v - k < 1 for k, v in epochs[0]), "images and labels belong together"
    assert len({round(v - k, 6) for epoch in epochs for k, v in epoch}) > 55, "each batch, each epoch has its numbers"
    again = loader(1, prefetch=0)
    assert [drawn(again) for _ in range(3)] == epochs
    assert drawn(loader(2)) != epochs[0]
    for stop in (0, 2, 7):
        stopped, other = loader(1), loader(5)
        drawn(stopped)
        iterator = iter(stopped)
        taken = drawn([next(iterator) for _ in range(stop)])
        other.load_state_dict(stopped.state_dict())
        assert taken + drawn(other) == epochs[1]
        assert drawn(other) == epochs[2]


def test_functions_as_transformations() -> None:
    loader = DataLoader(data(4), batch_size=4, transform=lambda x, y: (x * 2, y, y + 1))
    ((x, y, z),) = loader
    assert x.reshape(-1).tolist() == [0, 2, 4, 6] and (z - y).tolist() == [1] * 4
    (batch,) = DataLoader(np.arange(3.0), batch_size=4, transform=np.negative)
    assert batch[0].tolist() == [0, -1, -2]
    dataset = data(4, transform=lambda x, y: (x + 1, y))
    assert dataset[2][0].item() == 3 and dataset[1:3][0].ravel().tolist() == [2, 3]
    assert dataset[[0, 3]][0].ravel().tolist() == [1, 4] and dataset[-1][1] == 3


def test_compose() -> None:
    both = Compose([RandomCrop(padding=2), lambda x, y: (x, y * 2), Normalize(0.5, 0.25)])
    x, y = both(BYTES, np.arange(7), generator=generator())
    draws = generator()
    expected = Normalize(0.5, 0.25)(RandomCrop(padding=2)(BYTES, generator=draws))
    np.testing.assert_array_equal(x, expected)
    assert y.tolist() == list(range(0, 14, 2))
    assert "RandomCrop(size=None, padding=2" in repr(both)
    with pytest.raises(ArgumentError, match="3 cannot be called"):
        Compose([3])  # type: ignore[list-item]


def test_wrong_images_and_arguments() -> None:
    flip = RandomHorizontalFlip()
    with pytest.raises(ShapeError, match=r"has shape \(7, 9\), expected images \(n, channels, height, width\)"):
        flip(FLOAT[:, 0, :, 0])
    with pytest.raises(DTypeError, match="dtype int64, expected uint8 or a float"):
        flip(BYTES.astype(np.int64))
    with pytest.raises(ShapeError, match="9x11 with padding 1 are too small for a window of 12x12"):
        RandomCrop(12, padding=1)(FLOAT)
    for make, message in [
        (lambda: RandomHorizontalFlip(1.5), "p is 1.5, expected a number from 0 to 1"),
        (lambda: RandomRotation("a"), "degrees is 'a', expected a number of at least 0"),
        (lambda: RandomRotation((3, 1)), r"degrees is \(3, 1\), expected a number or a range"),
        (lambda: RandomZoom(1.0), "scale > 0"),
        (lambda: RandomShear(90), r"\|shear\| < 90"),
        (lambda: RandomCrop(0), "size is 0, expected a positive integer"),
        (lambda: RandomCrop(padding=-1), "padding is -1"),
        (lambda: RandomCrop(mode="wrap"), "mode is 'wrap', expected one of constant"),
        (lambda: GaussianNoise(float("nan")), "std is nan"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            make()
