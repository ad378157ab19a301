"""A large model as a folder: its arrays in several safetensors files, and an index, which says where each is.

The layout is that of Hugging Face: ``model.safetensors.index.json`` is ``{"metadata": {...}, "weight_map": {name: file}}``.
Files are named by what is in them, so that new ones stand beside the old until the index is replaced, in one step; then the old
ones go. A writer holds a lock on the folder.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..domain.errors import ArgumentError, FileFormatError, FileWriteError, MissingFileError
from .atomic import atomic_write
from .jsontext import parsed
from .source import Tensors, signed
from .tensors import KEY, TensorFile, write_tensors

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"  # what others call the only file of a small model
SHARD = re.compile(r"model-\d{5}-of-\d{5}-[0-9a-f]{8}\.safetensors")  # of ours
SHARD_SIZE = "1GB"
MOST_SHARDS = 800  # all are open at once
MOST_INDEX = 1 << 28  # bytes
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path to write to means a folder: it ends in a slash, has no suffix, or is such a folder.

    >>> is_folder("runs/large/"), is_folder("runs/large"), is_folder("runs/large.safetensors")
    (True, True, False)
    """
    name = os.fspath(path)
    return bool(name) and (name.endswith("/") or not Path(name).suffix or Path(name, INDEX).is_file())


def open_folder(path: str | os.PathLike[str], where: str) -> Tensors:
    """The arrays of a folder. Errors: MissingFileError, FileFormatError."""
    index = index_of(path, where)
    if index.name == SINGLE:
        file = TensorFile(index, where)
        return Tensors(dict.fromkeys(file.places, file), [file], file.texts, where)
    while True:
        content = text_of(index, where)
        places, texts = read_index(content, index, where)
        files: dict[str, TensorFile] = {}
        try:
            for name in sorted({*places.values()}):
                files[name] = TensorFile(Path(path, name), f"{where}: {name}")
            for name, shard in places.items():
                if name not in files[shard].places:
                    raise FileFormatError(f"{where}: {shard} lacks {name!r}, which {index.name} says is there")
        except BaseException as error:
            for file in files.values():
                file.close()
            if isinstance(error, MissingFileError) and text_of(index, where) != content:
                continue  # the folder was written to meanwhile: the files of the old index are gone
            raise
        return Tensors({name: files[shard] for name, shard in places.items()}, files.values(), texts, where)


def index_of(path: str | os.PathLike[str], where: str) -> Path:
    """What says where the arrays of a folder are: its index, or its only file."""
    if Path(path, INDEX).is_file():
        return Path(path, INDEX)
    others = sorted(Path(path).glob("*.safetensors.index.json"))  # diffusion_pytorch_model, say
    if len(others) == 1:
        return others[0]
    if not others and Path(path, SINGLE).is_file():
        return Path(path, SINGLE)
    has = "several indices" if others else f"neither {INDEX} nor {SINGLE}"
    raise MissingFileError(f"{where} is not a regular file, and as a folder it has {has}")


def text_of(index: Path, where: str) -> bytes:
    """The bytes of an index."""
    with open(index, "rb") as file:
        if os.fstat(file.fileno()).st_size > MOST_INDEX:
            raise FileFormatError(f"{where}: {index.name} has more than {MOST_INDEX} bytes")
        return file.read()


def read_index(content: bytes, index: Path, where: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The file of each array, and the texts beside them. Errors: FileFormatError."""
    found = parsed(content, f"{where}: {index.name}")
    places, texts = (found.get("weight_map"), found.get("metadata") or {}) if isinstance(found, dict) else (None, {})
    if not isinstance(places, dict) or not isinstance(texts, dict):
        raise FileFormatError(f"{where}: {index.name} lacks a weight_map, the file of each array by name")
    for name, file in places.items():
        if (
            not isinstance(file, str)
            or file != os.path.basename(file)
            or not file.endswith(".safetensors")
            or "\0" in file
        ):
            raise FileFormatError(
                f"{where}: {index.name} says that {name!r} is in {file!r}, which is no file of the folder"
            )
    if len({*places.values()}) > MOST_SHARDS:
        raise FileFormatError(f"{where}: {index.name} names more than {MOST_SHARDS} files")
    return places, texts


def write_folder(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    text: str,
    sums: Mapping[str, str],
    max_shard_size: int | str | None,
) -> None:
    """Write C-ordered arrays and a text: all of it or, whatever happens, what was there before.

    Other files of the folder stay. Errors: ArgumentError, DTypeError, FileWriteError.
    """
    shards = split(arrays, bytes_of(SHARD_SIZE if max_shard_size is None else max_shard_size))
    if len(shards) > MOST_SHARDS:
        raise ArgumentError(
            f"[save_weights] {path}: max_shard_size={max_shard_size!r} makes {len(shards)} files of it, at most "
            f"{MOST_SHARDS} are read: give a larger one"
        )
    folder, places, made = Path(path), dict[str, str](), list[Path]()
    with locked(folder) as alone:
        old = listed(folder)
        try:
            for i, names in enumerate(shards, 1):
                part = signed({name: sums[name] for name in names}, {}, path)
                file = folder / f"model-{i:05d}-of-{len(shards):05d}-{part[:8]}.safetensors"
                if file.name not in old:
                    made.append(file)
                write_tensors(file, {name: arrays[name] for name in names}, {KEY: part, "format": "np"})
                places |= dict.fromkeys(names, file.name)
            size = sum(array.nbytes for array in arrays.values())
            index = {"metadata": {"total_size": size, KEY: text}, "weight_map": dict(sorted(places.items()))}
            with atomic_write(folder / INDEX, text=True) as target:
                json.dump(index, target, indent=2)
        except BaseException:
            for file in made:
                with suppress(OSError):
                    file.unlink()
            raise
        kept = {*places.values()}
        for file in folder.iterdir():
            if file.name not in kept and (file.name in old or (alone and SHARD.fullmatch(file.name))):
                with suppress(OSError):
                    file.unlink()


def discard(path: str | os.PathLike[str]) -> None:
    """Remove a file, or what ``write_folder`` wrote, and its folder if nothing else is in it."""
    folder = Path(path)
    if not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    files = listed(folder)
    (folder / INDEX).unlink(missing_ok=True)
    for name in files:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def split(arrays: Mapping[str, Any], most: int) -> list[list[str]]:
    """Names in their order, so many together as fit into ``most`` bytes; a larger array alone. At least one list."""
    shards: list[list[str]] = [[]]
    room = most
    for name, array in arrays.items():
        if array.nbytes > room and shards[-1]:
            shards.append([])
            room = most
        shards[-1].append(name)
        room -= array.nbytes
    return shards


def bytes_of(size: int | str) -> int:
    """Bytes of a text like "500MB", "1GB" (10**9) or "2GiB" (2**31), or of a number. Errors: ArgumentError.

    >>> bytes_of("500MB"), bytes_of("2GiB"), bytes_of(4096)
    (500000000, 2147483648, 4096)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)", str(size).strip())
    count = int(float(found[1]) * UNITS[found[2].upper()]) if found and found[2].upper() in UNITS else 0
    if isinstance(size, bool) or count < 1:
        raise ArgumentError(
            f'[save] max_shard_size is {size!r}, expected a number of bytes, or a text as "1GB" or "500MB"'
        )
    return count


def listed(folder: Path) -> set[str]:
    """The files that the index of a folder names; none if there is none that can be read."""
    try:
        return {*read_index(text_of(folder / INDEX, ""), folder / INDEX, "")[0].values()}
    except (OSError, FileFormatError):
        return set()


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """A folder to write to, made if it is not there; whether no other writer can be there. Errors: FileWriteError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        reason = "there is a file of that name" if error.errno in (errno.EEXIST, errno.ENOTDIR) else error.strerror
        raise FileWriteError(f"[save_weights] the folder {folder} cannot be written: {reason}") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            alone = True
        except OSError:  # a file system without locks
            alone = False
        yield alone
    finally:
        os.close(fd)
