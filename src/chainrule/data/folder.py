"""Images in folders, one folder for each class."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, DataError, FileFormatError, MissingDependencyError, MissingFileError
from ..random import Generator
from .collate import default_collate, takes_generator
from .geometry import pair
from .transforms import transformed

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MODES = ("RGB", "L")


class ImageFolder:
    """The images below ``root``, whose folders are the classes: ``root/cat/1.png``, ``root/dog/new/2.jpg``.

    A sample is (image, label): float32 (channels, height, width) from 0 to 1, or with ``raw=True`` uint8, and the place
    of its class in ``classes``, int64, which are the names of the folders, sorted; so are the files, kept as (path,
    label) in ``samples``. ``mode`` is "RGB" or "L" (grey). With ``size``, a number or (height, width), images are scaled
    to cover it and cut at the centre; without, all images of a batch need one size. ``transform`` gets the arrays of
    each batch. Needs Pillow: ``pip install 'chainrule[images]'``. Errors: MissingFileError, DataError for a folder
    without images, FileFormatError with the name of a damaged file.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as root:
    ...     for name in ("dog", "cat"):
    ...         os.mkdir(f"{root}/{name}")
    ...         Image.new("RGB", (40, 30), "white").save(f"{root}/{name}/1.png")
    ...     data = ImageFolder(root, size=28)
    ...     data.classes, data[1][0].shape, int(data[1][1])
    (['cat', 'dog'], (3, 28, 28), 1)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        size: int | tuple[int, int] | None = None,
        mode: str = "RGB",
        raw: bool = False,
        transform: Callable[..., Any] | None = None,
    ) -> None:
        pillow()
        if mode not in MODES:
            raise ArgumentError(f'[ImageFolder] mode is {mode!r}, expected "RGB" or "L"')
        self.root, self.size, self.mode, self.raw = Path(root), pair("ImageFolder", "size", size), mode, raw
        self.transform = transform
        self.draws = takes_generator(transform)  # whether a batch needs random numbers
        if not self.root.is_dir():
            raise MissingFileError(f"[ImageFolder] {root} is not a folder")
        self.classes = sorted(p.name for p in self.root.iterdir() if p.is_dir() and not p.name.startswith("."))
        if not self.classes:
            raise DataError(f"[ImageFolder] {root} has no folders: each class needs one, with its images in it")
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.samples: list[tuple[Path, int]] = []
        for name, label in self.class_to_idx.items():
            files = sorted(p for p in (self.root / name).rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
            if not files:
                raise DataError(
                    f"[ImageFolder] {self.root / name} has no images ({', '.join(EXTENSIONS)}): remove it, or put some there"
                )
            self.samples += [(file, label) for file in files]
        self.targets = np.array([label for _, label in self.samples], np.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        image, label = self.batch([index])
        return image[0], label[0]

    def batch(self, indices: Any, generator: Generator | None = None) -> tuple[Any, ...]:
        """The images and labels at ``indices``."""
        (images,) = default_collate([self.read(self.samples[int(i)][0]) for i in indices], indices)
        arrays = images if self.raw else np.divide(images, np.float32(255), dtype=np.float32), self.targets[indices]
        return transformed(self.transform, arrays, generator)

    def read(self, path: str | os.PathLike[str]) -> Any:
        """The image of a file as the data set gives it, uint8 (channels, height, width)."""
        image_module, operations = pillow()
        try:
            with image_module.open(path) as opened:
                image = operations.exif_transpose(opened).convert(self.mode)
            if self.size is not None:
                image = operations.fit(image, self.size[::-1], image_module.Resampling.BILINEAR)
        except FileNotFoundError:
            raise MissingFileError(f"[ImageFolder] {path} does not exist any more") from None
        except Exception as error:  # Pillow raises many kinds
            raise FileFormatError(f"[ImageFolder] {path} cannot be read as an image: {error}") from error
        return np.ascontiguousarray(np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1))

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.root)!r}: {len(self)} images, {len(self.classes)} classes)"


def pillow() -> tuple[Any, Any]:
    """Its modules Image and ImageOps."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise MissingDependencyError("[ImageFolder] images need Pillow: pip install 'chainrule[images]'") from None
    return Image, ImageOps
