"""Files of ConvNet (called ``nn`` before): ``BASE.json`` says the layers, HDF5 or ``.npz`` has the weights."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from ..domain.device import Device
from ..domain.errors import ArgumentError, FileFormatError, MissingFileError, unknown
from ..io.arrayfiles import read_h5, read_npz, write_h5, write_npz
from ..io.atomic import atomic_write
from ..io.checkpoint import filled
from ..io.jsontext import parsed
from ..io.zipped import regular
from ..nn import Module
from .convnet_layout import ACTIVATIONS, RUNNING, listed, turned
from .convnet_writer import Writer
from .entries import taken

DTYPES = ("float16", "float32", "float64")
OF_IMAGES = ("Conv2D", "MaxPool2D", "BatchNorm2D")
ANYWHERE = ("Activation", "Dropout")


def load_convnet(
    path: str | os.PathLike[str],
    *,
    flipped: bool = False,
    dtype: str | None = None,
    device: str | Device | None = None,
) -> Module:
    """The model of ``path`` (``BASE.hdf5`` or ``BASE.npz``, or BASE) and ``BASE.json``, in evaluation mode.

    It is a Sequential that takes what ConvNet took, images (n, height, width, channels), and gives what ConvNet gave. Weights
    come in the widest dtype that the file has (its first version wrote float64), or in ``dtype``. ConvNet 2 without JAX turns
    kernels of 3 by 3 and more at stride 1 about by 180 degrees, where its first version and JAX do not; no file says so:
    ``flipped=True`` gives the predictions of such a model. Warns of batch normalization
    without running statistics: it takes mean 0 and variance 1, as ConvNet does with its files. Errors: MissingFileError;
    FileFormatError; MissingDependencyError (HDF5 needs ``pip install 'chainrule[h5]'``).

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_convnet(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), f"{folder}/model.npz")
    ...     load_convnet(f"{folder}/model.npz")
    Sequential(
      (0): Linear(in_features=2, out_features=3)
      (1): ReLU()
    )
    """
    where = f"[load_convnet] {path}"
    if dtype not in (None, *DTYPES):
        raise unknown("dtype of weights", dtype, DTYPES)
    weights, text = _files(Path(path))
    said = parsed(text.read_bytes(), f"[load_convnet] {text}")
    arrays = (read_npz if weights.suffix == ".npz" else read_h5)(weights, f"[load_convnet] {weights}")
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise FileFormatError(f"{where}: {name!r} has the dtype {array.dtype}; expected one of {', '.join(DTYPES)}")
    widest = np.result_type(np.float16, *arrays.values()).name if arrays else "float32"
    reader = Reader(arrays, dtype or widest, flipped, where)
    try:
        model = reader.model(listed(said, f"[load_convnet] {text}"))
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{where} has a layer that cannot be made: {error}") from error
    if reader.forgetful:
        warnings.warn(
            f"{where} has no running statistics for {', '.join(reader.forgetful)}: until the model has seen data in training "
            "mode, it normalizes by mean 0 and variance 1",
            stacklevel=2,
        )
    return filled(model, reader.state, where, device)


def save_convnet(model: Module, path: str | os.PathLike[str], *, flipped: bool = False) -> None:
    """Write a model as ConvNet can load it: ``path``, ``BASE.hdf5`` or ``BASE.npz``, and ``BASE.json`` beside it.

    ConvNet loads the second by ``Model.load("BASE")``, and takes images (n, height, width, channels). So does a model with
    ``ChannelsLast`` around its image layers; one without takes (n, channels, height, width), and the weights after its Flatten
    are written in the other order. ``flipped`` as in ``load_convnet``: for a ConvNet that turns kernels about. Optimizers are
    not in such files. Errors: NotSupportedError for a layer, or an argument of one, that ConvNet has not (``model.save`` writes
    every model); ArgumentError for another suffix; NotBuiltError; FileWriteError; MissingDependencyError.
    """
    target = Path(path)
    if target.suffix not in (".hdf5", ".npz"):
        raise ArgumentError(f"[save_convnet] {path} ends in {target.suffix!r}: ConvNet's files end in .hdf5 or .npz")
    writer = Writer(f"[save_convnet] {path}", flipped)
    writer.add(model, "", False)
    writer.close()
    if target.suffix == ".npz":
        write_npz(target, writer.arrays)
    else:
        write_h5(target, writer.arrays, f"[save_convnet] {path}")
    with atomic_write(target.with_suffix(".json"), text=True) as file:
        json.dump(writer.layers, file, indent=2)


def _files(path: Path) -> tuple[Path, Path]:
    """The file of weights and the text beside it: ConvNet adds .npz where h5py is missing. Errors: MissingFileError."""
    longer = path.with_name(f"{path.name}.npz")
    weights = path if path.is_file() or not longer.is_file() else longer
    regular(weights, f"[load_convnet] {path}")
    stem = weights.with_suffix("") if weights.suffix == ".npz" else weights
    texts = [stem.with_name(f"{stem.name}.json"), stem.with_suffix(".json")]
    for text in texts:
        if text.is_file():
            return weights, text
    raise MissingFileError(f"[load_convnet] {texts[1]}, which says the layers of {weights.name}, does not exist")


class Reader:
    """Makes the layers, and gathers the state that they are to have."""

    def __init__(self, arrays: Mapping[str, Any], dtype: str, flipped: bool, where: str) -> None:
        self.arrays, self.dtype, self.flipped, self.where = arrays, dtype, flipped, where
        self.state: dict[str, Any] = {}
        self.forgetful: list[str] = []

    def model(self, said: list[tuple[str, dict[str, Any]]]) -> Module:
        """All layers, those of images between the turns of their axes."""
        top: list[Module] = []
        run: list[Module] = []
        images = _of_images(said)
        for index, (name, config) in enumerate(said):
            if images[index]:
                inside = f"{len(top)}.body."
                run.extend(self._layers(index, name, config, inside, len(run)))
                if index + 1 == len(said) or not images[index + 1]:
                    top.append(nn.ChannelsLast(nn.Sequential(run)))
                    run = []
            else:
                top.extend(self._layers(index, name, config, "", len(top)))
        return nn.Sequential(top)

    def _layers(self, index: int, name: str, config: dict[str, Any], inside: str, place: int) -> list[Module]:
        if name == "Flatten":
            return [nn.Flatten()]
        if name == "Activation":
            return [ACTIVATIONS[config["func"]]()]
        if name == "Dropout":
            return [nn.Dropout(config["rate"])]
        if name == "MaxPool2D":
            stride = config["stride"] or config["pool_size"][0]
            return [nn.MaxPool2d(tuple(config["pool_size"]), (stride, stride))]
        key = f"{index}_{name}_"
        if name == "Dense":
            weight = self._taken(key + "W", (None, config["units"]))
            self._put(f"{inside}{place}.weight", weight.T)
            self._bias(key, f"{inside}{place}", config, config["units"])
            return [nn.Linear(weight.shape[0], config["units"], config["use_bias"], dtype=self.dtype)]
        if name == "BatchNorm2D":
            return [self._norm(key, f"{inside}{place}", config)]
        kernel, stride = tuple(config["kernel_size"]), config["stride"]
        weight = self._taken(key + "W", (*kernel, None, config["filters"]))
        padding = config["padding"] if stride == 1 else "valid"
        layers: list[Module] = (
            [nn.SamePad(kernel, (stride, stride))] if config["padding"] == "same" and stride > 1 else []
        )
        path = f"{inside}{place + len(layers)}"
        weight = turned(weight, kernel, stride, self.flipped)
        self._put(f"{path}.weight", weight.transpose(3, 2, 0, 1))
        self._bias(key, path, config, config["filters"])
        sizes = (weight.shape[2], config["filters"])
        conv = nn.Conv2d(*sizes, kernel, stride, padding, bias=config["use_bias"], dtype=self.dtype)
        return [*layers, conv]

    def _norm(self, key: str, path: str, config: dict[str, Any]) -> Module:
        gamma = self._taken(key + "gamma", (None,))
        features = gamma.shape[0]
        self._put(f"{path}.weight", gamma)
        self._put(f"{path}.bias", self._taken(key + "beta", (features,)))
        kept = all(key + name in self.arrays for name in RUNNING)
        if not kept:
            self.forgetful.append(key[:-1])
        for name, start in zip(RUNNING, (0.0, 1.0), strict=True):
            running = self._taken(key + name, (features,)) if kept else np.full(features, start)
            self._put(f"{path}.{name}", running)
        self.state[f"{path}.num_batches_tracked"] = np.array(0)
        return nn.BatchNorm2d(features, config["eps"], round(1 - config["momentum"], 12), dtype=self.dtype)

    def _bias(self, key: str, path: str, config: dict[str, Any], size: int) -> None:
        if config["use_bias"]:
            self._put(f"{path}.bias", self._taken(key + "b", (size,)))

    def _put(self, name: str, array: Any) -> None:
        self.state[name] = np.ascontiguousarray(array, self.dtype)

    def _taken(self, name: str, shape: tuple[int | None, ...]) -> Any:
        return taken(self.arrays, name, shape, self.where)


def _of_images(said: list[tuple[str, dict[str, Any]]]) -> list[bool]:
    """Which layers see images: from the first that does for certain up to one that sees them with their channels last."""
    found, start = [False] * len(said), 0
    for index in range(len(said) + 1):
        name, config = said[index] if index < len(said) else ("", {})
        if name not in (*OF_IMAGES, *ANYWHERE) or config.get("func") == "softmax":
            certain = [i for i in range(start, index) if said[i][0] in OF_IMAGES]
            if certain:
                found[certain[0] : index] = [True] * (index - certain[0])
            start = index + 1
    return found
