"""PyTorch's files ``.pt`` and ``.pth``, without PyTorch: read in both layouts, written as zip archives.

A zip has ``NAME/data.pkl``, a pickle of everything but the values of tensors, and ``NAME/data/KEY``, the memory of each
storage. The layout before it is a stream: five pickles (a number, a version, the system, the object, the keys of storages),
then for each storage how many elements it has, and these.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from ..domain.errors import ArgumentTypeError, FileFormatError
from ..io.zipped import Archive, mapped, raw_bytes, write_zip
from ..tensor import Tensor
from .torch_pickle import Global, Machine, Makers, Raw, called, dumped, named, persistent

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a stream
VERSION = 1001
MOST_REPEATED = 1 << 24  # elements of a tensor that shows its values several times
MOST_AXES = 32
ALIGNMENT = 16  # of memory in which elements of any dtype may lie

STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}
SMALL = [f"float8_{kind}" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")]
UNTYPED = ["uint16", "uint32", "uint64", *SMALL]  # dtypes whose storages are of bytes
DTYPES = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in (*STORAGES.values(), *UNTYPED)}

Memory = Callable[["Storage", np.dtype[Any]], Any]


class Storage(NamedTuple):
    """The memory of tensors: its key, the dtype of its elements and how many there are; a part of it is another's."""

    key: str
    dtype: str
    length: int
    part: tuple[int, int] | None = None

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.length * DTYPES[self.dtype].itemsize


def load_torch(path: str | os.PathLike[str]) -> Any:
    """What a file of ``torch.save`` holds: a dict, as a rule, with NumPy arrays in place of tensors. Without PyTorch.

    Dicts, lists, tuples, numbers and texts stay what they are. Tensors that share memory make arrays that do; transposed ones
    keep their strides. Memory of a file is mapped: its values are read when they are used, and what is written into an array
    does not go to the file. bfloat16 and float8 are those of ``ml_dtypes``; a dtype or a device is a text.

    No pickle is run: a file that asks for any other object is refused, with the object's name. Errors: MissingFileError;
    FileFormatError if the file is damaged, cut short, or something else.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_torch(f"{folder}/x.pt", {"w": np.eye(2), "epoch": 3})
    ...     load_torch(f"{folder}/x.pt")
    {'w': array([[1., 0.],
           [0., 1.]]), 'epoch': 3}
    """
    where = f"[load_torch] {path}"
    data = mapped(path, where)
    if data[:2].tobytes() == b"PK":
        return _of_zip(data, where)
    if data[:1].tobytes() == b"\x80":
        return _of_stream(data, where)
    found = (
        "is a tar archive of PyTorch 0.1: save it again" if data[257:262].tobytes() == b"ustar" else "is something else"
    )
    raise FileFormatError(f"{where} {found}; torch.save writes a zip archive, or a stream that begins with a pickle")


def _of_zip(data: Any, where: str) -> Any:
    archive = Archive(data, where, verify=False)  # torch.save may leave checksums out, and torch.load looks at none
    names = [name for name in archive if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(names) != 1:
        raise FileFormatError(f"{where} is a zip archive with {len(names)} NAME/data.pkl; one of torch.save has one")
    base = names[0].removesuffix("data.pkl")
    if f"{base}constants.pkl" in archive:
        raise FileFormatError(
            f"{where} is a program of TorchScript (it has {base}constants.pkl); save its weights alone: "
            "torch.save(model.state_dict(), path)"
        )
    order = archive.read(f"{base}byteorder")[:20].tobytes() if f"{base}byteorder" in archive else b"little"
    if order not in (b"little", b"big"):
        raise FileFormatError(f"{where} has the byte order {order!r}; expected little or big")
    known: dict[tuple[str, str], Any] = {}

    def memory(storage: Storage, dtype: np.dtype[Any]) -> Any:
        name, place = f"{base}data/{storage.key}", (storage.key, dtype.name)
        if name not in archive:
            raise FileFormatError(f"{where} lacks {name}, the memory of a tensor")
        if place not in known:
            values = _elements(archive.read(name), storage, dtype, name, where)
            known[place] = values.byteswap() if order == b"big" else values
        return known[place]

    return _machine(archive.read(names[0]), 0, where, memory).run()


def _of_stream(data: Any, where: str) -> Any:
    machine = _machine(data, 0, where, None)
    head = [machine.run()]
    for _ in range(2):
        machine = _machine(data, machine.at, where, None)
        head.append(machine.run())
    if head[0] != MAGIC or head[1] != VERSION:
        raise FileFormatError(f"{where} is a pickle, but not one of torch.save, which begins with numbers of its own")
    start, storages = machine.at, dict[str, Storage]()
    machine = _machine(data, start, where, None, storages)
    machine.run()  # once to know the storages, which come after it
    machine = _machine(data, machine.at, where, None)
    keys, at = machine.run(), machine.at
    if type(keys) is not list or sorted(map(str, keys)) != sorted(storages):
        raise FileFormatError(f"{where} is damaged: the storages that follow are not those of its tensors")
    known: dict[str, tuple[Any, Storage]] = {}
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(data[at : at + 8].tobytes(), "little")
        at += 8
        if at + storage.nbytes > len(data):
            raise FileFormatError(
                f"{where} is cut short: {len(data)} bytes, but storage {key!r} ends at {at + storage.nbytes}"
            )
        if count != storage.length:
            raise FileFormatError(
                f"{where} is damaged: storage {key!r} has {count} elements, but tensors of {storage.length}"
            )
        raw = data[at : at + storage.nbytes]
        known[key] = (raw.copy() if raw.ctypes.data % ALIGNMENT else raw), storage
        at += storage.nbytes
    return _machine(
        data, start, where, lambda storage, dtype: _elements(*known[storage.key], dtype, storage.key, where)
    ).run()


def _elements(raw: Any, storage: Storage, dtype: np.dtype[Any], name: str, where: str) -> Any:
    """The elements of a storage from its bytes, which are copied if they lie where no such element may."""
    if len(raw) != storage.nbytes:
        raise FileFormatError(
            f"{where} is damaged: {name} has {len(raw)} bytes, but {storage.length} elements of {storage.dtype} "
            f"need {storage.nbytes}"
        )
    raw = raw.copy() if raw.ctypes.data % ALIGNMENT else raw
    return raw[: len(raw) // dtype.itemsize * dtype.itemsize].view(dtype)


def _machine(
    data: Any, at: int, where: str, memory: Memory | None, storages: dict[str, Storage] | None = None
) -> Machine:
    """What runs a pickle. Without ``memory`` there are no values of tensors; ``storages`` is given all that are met."""

    def kept(found: Any) -> Storage:
        if type(found) is not tuple or len(found) not in (5, 6) or found[0] != "storage":
            kind = found[0] if type(found) is tuple and found and type(found[0]) is str else type(found).__name__
            raise machine.error(f"keeps {str(kind)[:50]!r} outside of its pickle; only storages are read")
        _, kind, key, _, count, *rest = found
        dtype = KINDS.get(getattr(kind, "name", ""))
        if dtype is None or type(key) is not str or type(count) is not int or count < 0:
            raise machine.error(f"is damaged, or has a storage of another kind: {getattr(kind, 'name', kind)!s:.80}")
        part = None
        if rest and rest[0] is not None:
            _, first, size = rest[0]
            part = (first, size)
        storage = Storage(key, dtype, count, part)
        if storages is not None and storages.setdefault(key, storage)[:3] != storage[:3]:
            raise machine.error(f"is damaged: it has two storages {key[:50]!r}")
        return storage

    def of_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
        """A tensor with attributes of its own, which are left out."""
        if type(function) is not Global or function.name not in TENSORS or type(arguments) is not tuple:
            raise ValueError("no tensor")
        return makers[function.name](*arguments)

    makers = {**MAKERS, **{name: _tensors(name, memory, where) for name in REBUILD}, OF_TYPE: of_type}
    machine = Machine(data, at, where, makers, CONSTANTS, kept)
    return machine


def _tensors(name: str, memory: Memory | None, where: str) -> Callable[..., Any]:
    """What makes arrays of the arguments that ``name`` of PyTorch takes."""

    def rebuild(storage: Any, offset: Any, size: Any, stride: Any, *others: Any) -> Any:
        later = name.endswith("v3")
        dtype = DTYPES[others[2] if later else storage.dtype]
        return None if memory is None else strided(memory(storage, dtype), storage, offset, size, stride, where)

    return rebuild


def strided(values: Any, storage: Storage, offset: int, size: Any, stride: Any, where: str) -> Any:
    """The array of ``size`` from an offset on; its next element along an axis is ``stride`` elements on."""
    wanted = values.dtype
    first, count = storage.part or (0, len(values))
    numbers = (first, count, offset, *size, *stride)
    if any(type(n) is not int or n < 0 for n in numbers) or len(size) != len(stride) or len(size) > MOST_AXES:
        raise ValueError("no shape")
    if first + count > len(values):
        raise ValueError("a part that is not inside")
    values = values[first : first + count]
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if prod(size) and last >= len(values):
        raise FileFormatError(
            f"{where} is damaged: a tensor of shape {size} and strides {stride} from element {offset} on "
            f"reaches element {last} of a storage of {len(values)}"
        )
    if prod(size) > max(len(values), MOST_REPEATED):
        raise FileFormatError(
            f"{where} has a tensor of shape {size} that repeats the {len(values)} elements of its storage; "
            f"at most {MOST_REPEATED} elements are made of fewer"
        )
    if not prod(size):
        return np.empty(size, wanted)
    steps = [step * wanted.itemsize if n > 1 else wanted.itemsize for n, step in zip(size, stride, strict=True)]
    return np.ndarray(size, wanted, values.view(np.uint8), offset * wanted.itemsize, steps)  # bfloat16 is no buffer


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    """A dict of pairs."""
    if type(pairs) not in (tuple, list) or any(type(key) is not str for key, _ in pairs):
        raise ValueError("no pairs of names and values")
    return dict(pairs)


def _default(factory: Any = None) -> dict[Any, Any]:
    """A dict that makes what it lacks: nothing is lacking any more."""
    return {}


def _size(found: Any) -> Any:
    """A shape."""
    if type(found) is not tuple or any(type(n) is not int for n in found):
        raise ValueError("no shape")
    return found


def _device(kind: Any, index: Any = None) -> str:
    """The name of a device."""
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise ValueError("no device")
    return kind if index is None else f"{kind}:{index}"


def _same(found: Any, *others: Any) -> Any:
    """A parameter as its tensor."""
    if found is not None and not isinstance(found, np.ndarray):
        raise ValueError("no tensor")
    return found


def _bytes(text: Any, encoding: Any) -> bytes:
    """Bytes, which pickles of protocol 2 have as a text."""
    if type(text) is not str or encoding != "latin1":
        raise ValueError("no bytes")
    return text.encode("latin-1")


def _never(*arguments: Any) -> Any:
    """For classes that are named only."""
    raise ValueError("not made alone")


KINDS = {f"torch.{place}{kind}Storage": dtype for place in ("", "cuda.") for kind, dtype in STORAGES.items()}
KINDS |= dict.fromkeys(
    ("torch.storage.UntypedStorage", "torch.UntypedStorage", "torch.storage._UntypedStorage"), "uint8"
)
REBUILD = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3")
PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
TENSORS = (*REBUILD, *PARAMETERS)
OF_TYPE = "torch._tensor._rebuild_from_type_v2"
CONSTANTS = {f"torch.{name}": name for name in DTYPES}
MAKERS: Makers = {
    **dict.fromkeys(
        (*KINDS, "torch.Tensor", "torch.nn.parameter.Parameter", "builtins.dict", "__builtin__.dict"), _never
    ),
    **dict.fromkeys(("builtins.list", "__builtin__.list"), _never),
    "_codecs.encode": _bytes,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _default,
    "torch.Size": _size,
    "torch.device": _device,
    **dict.fromkeys(PARAMETERS, _same),
}


# ---- writing


def save_torch(path: str | os.PathLike[str], state: Any) -> None:
    """Write ``state`` so that ``torch.load(path, weights_only=True)`` reads it; PyTorch is not needed.

    It is a ``state_dict()`` or anything of dicts, lists, tuples, numbers, texts, NumPy arrays and tensors. An array that comes
    twice is stored once and shared. The file is replaced as a whole or not at all; equal contents give equal bytes. Errors:
    ArgumentTypeError for what cannot be in such a file, FileWriteError.

    >>> import chainrule as cr
    >>> from tempfile import TemporaryDirectory
    >>> model = cr.nn.Linear(2, 1)
    >>> with TemporaryDirectory() as folder:
    ...     save_torch(f"{folder}/weights.pth", model.state_dict())
    ...     [*load_torch(f"{folder}/weights.pth")]
    ['weight', 'bias']
    """
    stored: list[Any] = []
    keys: dict[int, int] = {}

    def tensor(place: str, value: Any) -> Any:
        if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.dtype.name not in CUSTOM:
            return value.item()
        if not isinstance(value, (np.ndarray, Tensor)):
            raise ArgumentTypeError(
                f"[save_torch] state{place} is a {type(value).__name__}; arrays, tensors, numbers, texts, bytes, dicts, "
                "lists and tuples can be written"
            )
        if id(value) not in keys:
            array = value.numpy() if isinstance(value, Tensor) else value
            if array.dtype.name not in DTYPES:
                raise ArgumentTypeError(
                    f"[save_torch] state{place} is of dtype {array.dtype}, which PyTorch does not have"
                )
            keys[id(value)] = len(stored)
            stored.append((value, np.asarray(array, DTYPES[array.dtype.name], order="C")))  # the value keeps its id
        key = keys[id(value)]
        return _described(str(key), stored[key][1])

    text = dumped(state, tensor)
    head = [("archive/data.pkl", [text]), ("archive/byteorder", [b"little"])]
    values = [(f"archive/data/{key}", [raw_bytes(array)]) for key, (_, array) in enumerate(stored)]
    write_zip(path, [*head, *values, ("archive/version", [b"3\n"])])


CUSTOM = {name for name in DTYPES if hasattr(ml_dtypes, name)}


def _described(key: str, array: Any) -> Raw:
    """The call that makes a tensor."""
    name = array.dtype.name
    kind = next((kind for kind, dtype in STORAGES.items() if dtype == name), None)
    count = array.size if kind else array.nbytes
    storage = named(f"torch.{kind}Storage" if kind else "torch.storage.UntypedStorage")
    kept = persistent(("storage", storage, key, "cpu", count))
    strides = tuple(prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
    hooks = called("collections.OrderedDict")
    if kind:
        return called("torch._utils._rebuild_tensor_v2", kept, 0, array.shape, strides, False, hooks)
    return called(
        "torch._utils._rebuild_tensor_v3", kept, 0, array.shape, strides, False, hooks, named(f"torch.{name}")
    )
