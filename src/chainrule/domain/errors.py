"""The errors of the framework. Each is also the built-in error that a caller would expect."""

from __future__ import annotations

from typing import Any


class ChainruleError(Exception):
    """The base of every error raised on purpose.

    ``path`` names the layers an error passed through, outermost first: ``encoder.block2.fc1: [linear] ...``.

    >>> error = ShapeError("[linear] x has 3 features but weight expects 4")
    >>> error.path.insert(0, "fc1")
    >>> str(error)
    'fc1: [linear] x has 3 features but weight expects 4'
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.path: list[str] = []
        self.layer: Any = None  # the innermost layer not yet named

    def __str__(self) -> str:
        message = super().__str__() if not self.args else str(self.args[0])
        return f"{'.'.join(self.path)}: {message}" if self.path else message


class ShapeError(ChainruleError, ValueError):
    """Sizes that do not go together."""


class ArgumentError(ChainruleError, ValueError):
    """A value that an argument cannot have."""


class ArgumentTypeError(ChainruleError, TypeError):
    """An argument of a type that cannot be used."""


class DTypeError(ChainruleError, TypeError):
    """A dtype that an operation cannot take."""


class DeviceError(ChainruleError, RuntimeError):
    """Tensors on different devices, or a device that is not there."""


class GraphError(ChainruleError, RuntimeError):
    """A gradient that cannot be computed: a released tape, a value changed in place, nothing to differentiate."""


class RecordingError(ChainruleError, RuntimeError):
    """What cannot be part of a recorded step: a value that is read, a shape that depends on values, a tensor left behind."""


class IndexRangeError(ChainruleError, IndexError):
    """A label or an index outside its range."""


class NotBuiltError(ChainruleError, RuntimeError):
    """A parameter that has no shape yet, because its layer has not seen an input."""


class NotCompiledError(ChainruleError, RuntimeError):
    """A model that is to be trained or evaluated, but has no loss yet."""


class StateError(ChainruleError, KeyError, ValueError):
    """A state that does not fit into a module or an optimizer: names missing or too many, values of another shape."""


class AnomalyError(ChainruleError, ArithmeticError):
    """NaN or infinity where it was looked for."""


class DataError(ChainruleError, ValueError):
    """Data that cannot be used: empty, of unequal lengths, not what its format says."""


class FileFormatError(ChainruleError, ValueError):
    """A file that is damaged, cut short, or in another format."""


class MissingFileError(ChainruleError, FileNotFoundError):
    """A file to read that is not there."""


class FileWriteError(ChainruleError, OSError):
    """A file that cannot be written: not a regular file, no space, no permission."""


class DownloadError(ChainruleError, OSError):
    """Data that could not be fetched from anywhere."""


class WorkerError(ChainruleError, RuntimeError):
    """A worker of a loader that died, or gave nothing in time."""


class MissingDependencyError(ChainruleError, ImportError):  # type: ignore[misc]  # both have a path
    """An optional package that a feature needs."""


class NotSupportedError(ChainruleError, NotImplementedError):
    """A combination that no kernel and no body handles."""


def unknown(what: str, given: object, known: Any) -> ArgumentError:
    """The error for a name that is not one of the known, with the nearest of them.

    >>> print(unknown("optimizer", "adma", ["adam", "sgd"]))
    unknown optimizer 'adma': did you mean 'adam'? Known: adam, sgd
    """
    from difflib import get_close_matches  # 2 ms of an import that may never need it

    names = [str(k) for k in known]
    folded = {name.lower(): name for name in names}
    close = get_close_matches(str(given).lower(), folded, n=1)
    hint = f": did you mean {folded[close[0]]!r}?" if close else "."
    return ArgumentError(f"unknown {what} {given!r}{hint} Known: {', '.join(names)}")
