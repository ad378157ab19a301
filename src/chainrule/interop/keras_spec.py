"""What a Keras config says of a layer, in the words of Keras 3, whichever version wrote it. Nothing in it is ever run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..domain.errors import FileFormatError
from ..nn import Module
from .keras_hdf5 import Array, Stored

KINDS = {  # names of classes that have changed
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "SeparableConvolution1D": "SeparableConv1D",
    "SeparableConvolution2D": "SeparableConv2D",
    "Convolution2DTranspose": "Conv2DTranspose",
    "Convolution1DTranspose": "Conv1DTranspose",
    "Deconvolution2D": "Conv2DTranspose",
    "GlobalAvgPool1D": "GlobalAveragePooling1D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
    "AvgPool1D": "AveragePooling1D",
    "AvgPool2D": "AveragePooling2D",
    "MaxPool1D": "MaxPooling1D",
    "MaxPool2D": "MaxPooling2D",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "LSTMV2": "LSTM",
    "GRUV2": "GRU",
    "Model": "Functional",
}
KEYS = {  # names of arguments in Keras 1
    "output_dim": "units",
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "subsample": "strides",
    "subsample_length": "strides",
    "border_mode": "padding",
    "bias": "use_bias",
    "p": "rate",
    "pool_length": "pool_size",
    "stride": "strides",
    "inner_activation": "recurrent_activation",
    "atrous_rate": "dilation_rate",
    "length": "size",
    "concat_axis": "axis",
}
MERGES = {"sum": "Add", "mul": "Multiply", "concat": "Concatenate", "ave": "Average", "max": "Maximum", "dot": "Dot"}


Parts = list[tuple[str, Module]]  # what a layer becomes, one after the other; "" has its weights and its name


class Refusal(Exception):
    """Why a layer cannot be converted; all of a file are told at once."""


def translated(kind: str, config: Mapping[str, Any], version: int) -> tuple[str, dict[str, Any]]:
    """The class and the arguments in the words of Keras 3."""
    found = dict(config)
    if version == 1:
        if kind == "Merge":
            kind = MERGES.get(str(found.get("mode")), kind)
        if kind == "Embedding":
            found["output_dim"] = found.get("output_dim")
            return kind, found
        for old, new in KEYS.items():
            if old in found and not (kind == "RepeatVector" or (old == "p" and "rate" in found)):
                found[new] = found.pop(old)
        if "nb_row" in found:
            found["kernel_size"] = [found.pop("nb_row"), found.pop("nb_col", None)]
        if "dim_ordering" in found:
            found["data_format"] = {"th": "channels_first", "tf": "channels_last"}.get(found.pop("dim_ordering"))
        found.setdefault("reset_after", False)
    return KINDS.get(kind, kind), found


class Spec:
    """A layer of a file: its class, its name, its arguments, how many axes its input has, and what is stored of it."""

    def __init__(
        self,
        entry: Any,
        stored: Stored,
        rank: int | None,
        version: int,
        where: str,
    ) -> None:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("class_name"), str):
            raise FileFormatError(f"{where}: {str(entry)[:100]!r} should describe a layer, with class_name and config")
        config = entry.get("config")
        if not isinstance(config, (Mapping, list)):
            raise FileFormatError(f"{where}: a {entry['class_name']} has the config {str(config)[:100]!r}")
        self.entry, self.stored, self.version, self.where = entry, stored, version, where
        self.is_model = KINDS.get(entry["class_name"], entry["class_name"]) in ("Sequential", "Functional")
        self.written = entry["class_name"]
        self.kind = self.written
        self.config: dict[str, Any] = {}
        if isinstance(config, Mapping):
            self.kind, self.config = translated(self.written, config, version)
        name = self.config.get("name", entry.get("name"))
        self.name = name if isinstance(name, str) and name else self.kind.lower()
        self.rank = self._built_rank() or rank
        self._arrays: list[Array] | None = None

    def _built_rank(self) -> int | None:
        built = self.entry.get("build_config")
        shape = built.get("input_shape") if isinstance(built, Mapping) else None
        given = shape if shape is not None else self.config.get("batch_input_shape", self.config.get("batch_shape"))
        sizes = isinstance(given, (list, tuple)) and all(n is None or type(n) is int for n in given)
        return len(given) if sizes and given is not None else None

    @property
    def known(self) -> str:
        """How an error names it."""
        return f"{self.written} {self.name!r}"

    def arrays(self) -> list[Array]:
        """What the file has of it."""
        if self._arrays is None:
            self._arrays = self.stored.arrays()
        return self._arrays

    def refuse(self, why: str) -> Refusal:
        """The reason why it cannot be converted."""
        return Refusal(f"{self.known}: {why}")

    def _wrong(self, key: str, wanted: str) -> FileFormatError:
        return FileFormatError(
            f"{self.where}: {key} of {self.known} is {str(self.config.get(key))[:80]!r}, expected {wanted}"
        )

    def get(self, key: str, default: Any = None) -> Any:
        """An argument as it stands."""
        value = self.config.get(key)
        return default if value is None else value

    def size(self, key: str, least: int = 1) -> int:
        """An integer."""
        value = self.config.get(key)
        if type(value) is not int or not least <= value < 1 << 31:
            raise self._wrong(key, f"an integer of at least {least}")
        return value

    def sizes(self, key: str, axes: int, default: Any = None) -> tuple[int, ...]:
        """An integer for each axis."""
        value = self.get(key, default)
        found = tuple(value) if isinstance(value, (list, tuple)) else (value,) * axes
        if len(found) != axes or any(type(n) is not int or not 0 < n < 1 << 31 for n in found):
            raise self._wrong(key, f"{axes} positive integers")
        return found

    def integers(self, key: str) -> tuple[int, ...]:
        """Some integers, or one."""
        value = self.config.get(key)
        found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if any(type(n) is not int or abs(n) >= 1 << 31 for n in found):
            raise self._wrong(key, "integers")
        return found

    def ends(self, key: str, axes: int) -> list[tuple[int, int]]:
        """How many before and after along each axis."""
        value = self.get(key, 1)
        if type(value) is int:
            value = [value] * (axes if axes > 1 else 2)
        if not isinstance(value, (list, tuple)):
            raise self._wrong(key, "pairs of integers")
        if axes == 1:
            value = [value]
        pairs = [tuple(v) if isinstance(v, (list, tuple)) else (v, v) for v in value]
        if len(pairs) != axes or any(
            len(p) != 2 or any(type(n) is not int or not 0 <= n < 1 << 31 for n in p) for p in pairs
        ):
            raise self._wrong(key, f"{axes} pairs of integers")
        return [(p[0], p[1]) for p in pairs]

    def flag(self, key: str, default: bool) -> bool:
        """True or False."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number; Keras 2 writes some as arrays."""
        value = self.get(key, default)
        if isinstance(value, Mapping) and isinstance(value.get("value"), (int, float)):
            value = value["value"]
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self._wrong(key, "a number")
        return float(value)

    def choice(self, key: str, default: str, known: Sequence[str]) -> str:
        """One of some words."""
        value = self.get(key, default)
        if value not in known:
            raise self.refuse(f"{key} {str(value)[:60]!r} is not supported, only {', '.join(known)}")
        return str(value)

    def first(self) -> bool:
        """Whether the channels of its input come before its other axes."""
        return self.choice("data_format", "channels_last", ("channels_last", "channels_first")) == "channels_first"

    def only(self, **wanted: Any) -> None:
        """Refuse arguments that are other than these."""
        for key, value in wanted.items():
            if self.get(key, value) != value:
                raise self.refuse(f"{key}={str(self.config[key])[:60]} is not supported")

    def axis(self, key: str = "axis", default: int = -1) -> int:
        """An axis, counted from the front."""
        value = self.get(key, default)
        value = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
        if type(value) is not int:
            raise self._wrong(key, "an axis")
        return value if value >= 0 else self.axes() + value

    def axes(self) -> int:
        """How many axes its input has. Refused if that is not known."""
        if self.rank is None:
            raise self.refuse("the shape of its input is not in the file; give input_shape")
        return self.rank
