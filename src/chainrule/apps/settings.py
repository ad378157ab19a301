"""What a training run is told: read from TOML, YAML or flags, checked, and written down as TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..domain.errors import ArgumentError, MissingDependencyError, MissingFileError, unknown

SCHEDULES = ("linear", "cosine", "onecycle", "constant")
AUGMENTS = ("none", "crop", "flip", "crop+flip")
MODES = ("RGB", "L")
TASKS = ("", "classes", "regression")
KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


@dataclass
class ModelSettings:
    """``[model]``: a name of the zoo, and options of that model."""

    name: str = ""  # by the kind of data, if empty
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataSettings:
    """``[data]``: a set by name, or a path to images, a table, arrays or a text."""

    name: str = "mnist"
    validation: float = 0.1  # of the training samples, held out
    limit: int = 0  # training samples; 0 for all
    target: str = ""  # the column of a table that is to be predicted; the last, if empty
    task: str = ""  # of a table: "classes" or "regression"; by its target, if empty
    drop: str = ""  # columns to leave out, with commas between
    size: int = 64  # height and width that images of a folder are brought to
    mode: str = "RGB"  # or "L", grey
    length: int = 128  # characters of a piece of text


@dataclass
class TrainSettings:
    """``[train]``: how long, how fast, by what."""

    epochs: int = 0  # what suits the data, if 0
    batch_size: int = 0  # 64, if 0, or 16 of few samples
    optimizer: str = "adam"
    lr: float = 0.0  # what suits the model, if 0
    schedule: str = "linear"  # of the learning rate: SCHEDULES
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    clip_norm: float = 0.0  # of the gradients; 0 for none
    augment: str = "none"  # of images: AUGMENTS
    patience: int = 0  # epochs without progress in val_loss before it ends; 0: it does not
    precision: str = "32"  # or "bf16-mixed", "fp16-mixed"
    tensorboard: bool = False  # whether logs for TensorBoard are written, too
    seed: int = 0


@dataclass
class Settings:
    """All of it. ``read`` makes it of a file, ``changed`` of flags, ``to_toml`` writes it.

    >>> settings = Settings().changed({"model.name": "mlp", "model.hidden": [32], "train.epochs": 2})
    >>> settings.model, settings.train.epochs
    (ModelSettings(name='mlp', options={'hidden': [32]}), 2)
    """

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    train: TrainSettings = field(default_factory=TrainSettings)

    @classmethod
    def of(cls, tables: Mapping[str, Any], where: str = "the settings") -> Settings:
        """From the tables of a file. Errors: ArgumentError, which names the entry."""
        found = cls()
        flat: dict[str, Any] = {}
        for table, entries in tables.items():
            if table not in ("model", "data", "train"):
                raise ArgumentError(f"[train] {where}: {unknown('table', table, ['model', 'data', 'train'])}")
            entries = {} if entries is None else entries  # as YAML has a table without entries
            if not isinstance(entries, Mapping):
                raise ArgumentError(f"[train] {where}: {table} is {entries!r}, expected a table: [{table}]")
            flat |= {f"{table}.{key}": value for key, value in entries.items()}
        return found.changed(flat, where)

    def changed(self, entries: Mapping[str, Any], where: str = "the settings") -> Settings:
        """These settings with some entries, by "table.name", replaced. Errors: ArgumentError."""
        parts = {name: dict(values) for name, values in asdict(self).items()}
        for path, value in entries.items():
            table, _, key = path.partition(".")
            if table == "model" and key != "name":
                parts["model"]["options"] = {**parts["model"]["options"], key: value}
                continue
            kinds = {f.name: type(f.default) for f in fields(getattr(self, table))}
            if key not in kinds:
                raise ArgumentError(f"[train] {where}: {unknown(f'entry of [{table}]', key, kinds)}")
            kind = kinds[key]
            given = float(value) if kind is float and type(value) is int else value
            if type(given) is not kind:
                raise ArgumentError(f"[train] {where}: {path} is {value!r}, expected {KINDS[kind]}")
            parts[table][key] = given
        found = Settings(
            ModelSettings(**parts["model"]), DataSettings(**parts["data"]), TrainSettings(**parts["train"])
        )
        found.check(where)
        return found

    def check(self, where: str) -> None:
        """Raise ArgumentError for a value that cannot be."""
        train, data = self.train, self.data
        words = (
            ("schedule", train.schedule, SCHEDULES),
            ("augmentation", train.augment, AUGMENTS),
            ("mode", data.mode, MODES),
            ("task", data.task, TASKS),
        )
        for what, value, known in words:
            if value not in known:
                raise ArgumentError(f"[train] {where}: {unknown(what, value, known)}")
        least = dict.fromkeys(("train.epochs", "train.batch_size", "train.seed", "train.patience", "data.limit"), 0)
        least |= {"data.size": 1, "data.length": 1, "train.weight_decay": 0, "train.clip_norm": 0}
        for path, low in least.items():
            table, _, key = path.partition(".")
            value = getattr(getattr(self, table), key)
            if not value >= low:
                raise ArgumentError(f"[train] {where}: {path} is {value}, expected at least {low}")
        if not 0 <= data.validation < 1:
            raise ArgumentError(
                f"[train] {where}: data.validation is {data.validation}, expected a share from 0 to below 1"
            )
        if not 0 <= train.label_smoothing < 1:
            raise ArgumentError(f"[train] {where}: train.label_smoothing is {train.label_smoothing}, expected 0 to 1")

    def tables(self) -> dict[str, dict[str, Any]]:
        """As ``of`` takes it."""
        found = asdict(self)
        return {**found, "model": {"name": self.model.name, **self.model.options}}

    def to_toml(self) -> str:
        """The text of a file.

        >>> Settings.of(tomllib.loads(Settings().to_toml())) == Settings()
        True
        """
        lines = []
        for table, entries in self.tables().items():
            lines += [f"[{table}]", *(f"{key} = {toml(value)}" for key, value in entries.items()), ""]
        return "\n".join(lines)


def toml(value: Any) -> str:
    """A value as TOML writes it: JSON does, but for texts beyond its escapes, which are the same.

    >>> toml([1, 2.5, "a"]), toml(True)
    ('[1, 2.5, "a"]', 'true')
    """
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=True)


def read(path: str | Path) -> Settings:
    """The settings in a file: ``.toml``, or ``.yaml`` and ``.yml`` where PyYAML is installed.

    Errors: MissingFileError, ArgumentError, MissingDependencyError.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"[train] there is no file {path}")
    text = path.read_bytes()
    try:
        if path.suffix in (".yaml", ".yml"):
            tables = yaml(text, path)
        elif path.suffix == ".toml":
            tables = tomllib.loads(text.decode())
        else:
            raise ArgumentError(f"[train] {path} ends in {path.suffix or 'nothing'!r}; settings are .toml, .yaml, .yml")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"[train] {path} is not TOML: {error}") from error
    return Settings.of(tables, str(path))


def yaml(text: bytes, path: Path) -> Any:
    """The tables of a YAML file."""
    try:
        from yaml import SafeLoader, YAMLError, load
    except ImportError:
        raise MissingDependencyError(
            "[train] settings in YAML need PyYAML: pip install 'chainrule[yaml]' (TOML needs nothing)"
        ) from None

    class Loader(SafeLoader):  # type: ignore[misc, unused-ignore]  # which has no types here
        """With 3e-3 as a number, which needs a dot in YAML 1.1."""

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), [*"-+0123456789"]
    )
    try:
        found = load(text, Loader)
    except YAMLError as error:
        raise ArgumentError(f"[train] {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ArgumentError(f"[train] {path} should have tables: model, data, train")
    return found


def option(text: str) -> tuple[str, Any]:
    """``name=value`` of the command line; the value as TOML has it, or as a text.

    >>> option("hidden=[64, 32]"), option("train.epochs=5"), option("activation=relu")
    (('model.hidden', [64, 32]), ('train.epochs', 5), ('model.activation', 'relu'))
    """
    name, given, value = text.partition("=")
    if not given or not re.fullmatch(r"[a-z_0-9.]+", name):
        raise ArgumentError(f"[train] --set {text!r} should be NAME=VALUE, as hidden=[512,256] or train.epochs=5")
    path = name if name.partition(".")[0] in ("model", "data", "train") and "." in name else f"model.{name}"
    try:
        return path, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path, value
