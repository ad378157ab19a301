"""The weights of Keras files: HDF5, read as an untrusted file is. Both layouts give the arrays of a layer in Keras's order.

``model.weights.h5`` of Keras 3 numbers them, ``layers/dense_1/vars/0``: its layers are named by class and number. Older files
have a group for each layer, whose attribute ``weight_names`` says where in it the arrays are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any

import numpy as np

from ..domain.errors import ChainruleError, FileFormatError, MissingDependencyError
from ..io.h5_texts import check_lengths, largest_heap

MOST_NAMES = 100_000  # elements of an attribute
MOST_TEXT = 2 << 30  # bytes that its texts may have
MOST_RATIO = 256  # times its size in the file that an array may inflate to
LEAST_ROOM = 1 << 20
INNER = ("cell", "layer", "forward_layer", "backward_layer", "query_dense", "key_dense", "value_dense", "output_dense")
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


# the bytes of the file that is open, those of its largest heap of texts, and the attributes whose lengths were looked at
OPEN: ContextVar[tuple[Any, int, set[str]]] = ContextVar("OPEN")


@contextmanager
def opened(file: Any, data: Any, where: str) -> Iterator[Any]:
    """The root of an HDF5 file: a path, or an open file; ``data`` are its bytes.

    Errors: FileFormatError for what h5py stumbles over.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(f"{where}: reading HDF5 needs h5py: pip install 'chainrule[h5]'") from error
    try:
        OPEN.set((data, largest_heap(data, where), set()))
        with h5py.File(file, "r") as root:
            yield root
    except ChainruleError:
        raise
    except (
        OSError,
        KeyError,
        ValueError,
        RuntimeError,
        TypeError,
        AttributeError,
        MemoryError,
        RecursionError,
    ) as error:
        raise FileFormatError(f"{where} is damaged, cut short, or no HDF5 file: {error}") from error


def member(group: Any, name: str, where: str) -> Any:
    """A group or dataset that lies in ``group`` itself. Errors: FileFormatError for links that lead elsewhere."""
    import h5py

    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise FileFormatError(f"{where}: {name!r} is no name of a weight")
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            raise FileFormatError(f"{where} lacks {name}, in {getattr(group, 'name', None)}")
        if type(link) is not h5py.HardLink:
            raise FileFormatError(f"{where}: {name} in {group.name} is a link to elsewhere, which is not followed")
        group = group[part]
    return group


def texts(holder: Any, name: str, where: str) -> list[str] | None:
    """An attribute of texts, or one text; Keras cuts long ones into NAME0, NAME1, ... None if there is none."""
    if name not in holder.attrs:
        if f"{name}0" not in holder.attrs:
            return None
        found: list[str] = []
        number = 0
        while f"{name}{number}" in holder.attrs:
            found += texts(holder, f"{name}{number}", where) or []
            number += 1
        return found
    data, longest, checked = OPEN.get()
    if name not in checked:
        check_lengths(data, name, where)
        checked.add(name)
    attribute = holder.attrs.get_id(name)
    count = prod(attribute.shape)
    each = longest if attribute.dtype.hasobject else attribute.dtype.itemsize  # many may be one and the same text
    if count > MOST_NAMES or (count > 1 and count * each > MOST_TEXT):
        raise FileFormatError(f"{where}: {name} of {holder.name} has {count} elements of up to {each} bytes")
    value = holder.attrs[name]
    values = value.ravel().tolist() if isinstance(value, np.ndarray) else [value]
    read = [v.decode("utf-8") if isinstance(v, bytes) else v for v in values]
    if not all(isinstance(v, str) for v in read) and values != []:
        raise FileFormatError(f"{where}: {name} of {holder.name} should be texts, not {type(values[0]).__name__}")
    return read


class Array:
    """A dataset that may be read: its name and its shape."""

    def __init__(self, dataset: Any, where: str) -> None:
        import h5py

        if not isinstance(dataset, h5py.Dataset):
            raise FileFormatError(f"{where}: {getattr(dataset, 'name', dataset)} should be an array")
        self._dataset, self._where = dataset, where
        self.name, self.shape = str(dataset.name), tuple(dataset.shape or ())
        self.brain = texts(dataset, "dtype", where) == ["bfloat16"] and dataset.dtype.itemsize == 2
        if dataset.shape is None or dataset.dtype.kind not in "fiub" and not self.brain:
            raise FileFormatError(f"{where}: {self.name} has the dtype {dataset.dtype}, expected numbers")
        if dataset.is_virtual or dataset.external:
            raise FileFormatError(f"{where}: the values of {self.name} are in another file, which is not read")
        size, kept = prod(self.shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
        if size > (kept * MOST_RATIO + LEAST_ROOM if dataset.chunks else kept):
            raise FileFormatError(
                f"{where}: {self.name} of shape {self.shape} has {kept} bytes in the file, for {size}"
            )

    def read(self) -> Any:
        """The values: float32, or float64 where they are."""
        found = np.empty(self.shape, self._dataset.dtype)
        if found.size:
            self._dataset.read_direct(found)
        if self.brain:
            import ml_dtypes

            found = found.view(ml_dtypes.bfloat16)
        return found.astype("float64" if found.dtype == np.float64 else "float32", copy=False)


class Stored:
    """What a file has of a layer, a wrapper or a model inside a model."""

    def __init__(self, where: str) -> None:
        self.where = where

    def arrays(self) -> list[Array]:
        """Its arrays, in Keras's order."""
        raise NotImplementedError

    def inner(self) -> Stored:
        """What it has of the layer that a wrapper wraps."""
        raise NotImplementedError

    def layers(self, named: Sequence[tuple[str, str]]) -> list[Stored]:
        """What it has of the layers in it, each given by name and class."""
        raise NotImplementedError


class Numbered(Stored):
    """A group of Keras 3, or None if the file has nothing there."""

    def __init__(self, group: Any, where: str) -> None:
        super().__init__(where)
        self.group = group

    def child(self, name: str) -> Any:
        """A group in it, or None."""
        if self.group is None:
            return None
        given = name if name in self.group else f"_{name}"
        return member(self.group, given, self.where) if given in self.group else None

    def arrays(self) -> list[Array]:
        """See Stored."""
        found = self.child("vars")
        arrays = []
        if found is not None:
            names = sorted(found, key=lambda name: (len(name), name))
            if names != [str(i) for i in range(len(names))]:
                raise FileFormatError(f"{self.where}: {found.name} has {', '.join(names[:9])}, expected numbers from 0")
            arrays = [Array(member(found, name, self.where), self.where) for name in names]
        for name in INNER:
            group = self.child(name)
            if group is not None:
                arrays += Numbered(group, self.where).arrays()
        return arrays

    def inner(self) -> Stored:
        """See Stored."""
        return Numbered(self.child("layer"), self.where)

    def said(self) -> str | None:
        """The name of the layer, where Keras wrote it."""
        found = self.child("vars")
        names = None if found is None else texts(found, "name", self.where)
        return names[0] if names else None

    def children(self) -> list[tuple[str, Numbered]]:
        """The layers in it, by their names in the file."""
        holder = next((g for g in map(self.child, CONTAINERS) if g is not None), None)
        return [] if holder is None else [(n, Numbered(member(holder, n, self.where), self.where)) for n in holder]

    def layers(self, named: Sequence[tuple[str, str]]) -> list[Stored]:
        """See Stored."""
        holder = next((g for g in map(self.child, CONTAINERS) if g is not None), None)
        within, used, found = Numbered(holder, self.where), dict[str, int](), list[Stored]()
        for _, kind in named:
            name = snake(kind)
            number = used.get(name, 0)
            used[name] = number + 1
            found.append(Numbered(within.child(f"{name}_{number}" if number else name), self.where))
        return found


class Named(Stored):
    """Arrays of a layer of files before Keras 3, by name."""

    def __init__(self, found: list[tuple[str, Array]], where: str) -> None:
        super().__init__(where)
        self.found = found

    def arrays(self) -> list[Array]:
        """See Stored."""
        return [array for _, array in self.found]

    def inner(self) -> Stored:
        """See Stored."""
        return self

    def layers(self, named: Sequence[tuple[str, str]]) -> list[Stored]:
        """See Stored."""
        result: list[Stored] = []
        for name, _ in named:
            own = name.split("/")
            result.append(Named([(path, array) for path, array in self.found if _within(own, path)], self.where))
        return result


def _within(own: list[str], path: str) -> bool:
    """Whether the parts of a layer's name stand one after the other among those of a path."""
    parts = path.split("/")[:-1]
    return any(parts[i : i + len(own)] == own for i in range(len(parts)))


class Files(Stored):
    """The root of a file before Keras 3: a group for each layer."""

    def __init__(self, root: Any, where: str) -> None:
        super().__init__(where)
        self.groups: dict[str, Any] = {}
        for name in texts(root, "layer_names", where) or []:
            group = member(root, name, where)
            names = texts(group, "weight_names", where)
            if names is None:
                raise FileFormatError(f"{where}: the layer {name} has no weight_names")
            self.groups[name] = Named([(n, Array(member(group, n, where), where)) for n in names], where)

    def layers(self, named: Sequence[tuple[str, str]]) -> list[Stored]:
        """See Stored."""
        return [self.groups.get(name, Named([], self.where)) for name, _ in named]


def snake(name: str) -> str:
    """The name of a class as Keras writes it into paths.

    >>> snake("BatchNormalization"), snake("Conv2DTranspose"), snake("LSTM")
    ('batch_normalization', 'conv2d_transpose', 'lstm')
    """
    found = re.sub(r"\W+", "", name)
    found = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", found)
    return re.sub("([a-z])([A-Z])", r"\1_\2", found).lower()


def root_of(root: Any, where: str) -> Stored:
    """What a file of weights, or the part of one that has them, holds."""
    for holder in (root, member(root, "model_weights", where) if "model_weights" in root else None):
        if holder is not None and texts(holder, "layer_names", where) is not None:
            return Files(holder, where)
    if any(name in root for name in CONTAINERS) or "vars" in root:
        return Numbered(root, where)
    raise FileFormatError(f"{where} is HDF5, but has no weights of Keras: neither layer_names nor layers")
