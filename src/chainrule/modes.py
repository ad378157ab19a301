"""What is switched on, for each thread apart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ContextDecorator
from typing import Any, Protocol


class Listener(Protocol):
    """Told of every kernel call of its thread: a recorder, the anomaly watch, the profiler."""

    @property
    def forbids_reading(self) -> bool: ...  # whether values may not be read while it listens, as by a recorder
    def launched(self, backend: Any, name: str, inputs: Any, params: Any, outputs: Any) -> None: ...


class Modes(threading.local):
    """The one thread-local of the framework. A new thread begins with the values written here."""

    grad = True  # calls are put on the tape
    listeners: tuple[Listener, ...] = ()
    anomaly: Any = None  # the watch of anomalies: nodes remember what it says of their call
    autocast: Mapping[str, Callable[..., Any]] | None = None  # ops by name: who casts their arguments and runs them
    recorder: Any = None  # the listener that records a step, which wants to know more than kernel calls


modes = Modes()
# The listeners and autocasts of all threads: a look at these is cheaper than one at a thread-local.
listening: list[Listener] = []
casting: list[Any] = []
# Counts changes that a recorded step cannot see: attributes of modules, options, arrays put in place of others.
revisions = [0]
# What set_float32_conv_precision and cuda.set_float32_matmul_precision were told: kernels are chosen by them, so a step
# that was recorded before is another.
conv_precision = ["highest"]
matmul_precision = ["highest"]


class listen:
    """Have ``listener`` told of every kernel call of this thread: ``with listen(recorder): ...``."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def __enter__(self) -> Listener:
        listening.append(self.listener)
        modes.listeners = (*modes.listeners, self.listener)
        return self.listener

    def __exit__(self, *_: object) -> None:
        modes.listeners = tuple(x for x in modes.listeners if x is not self.listener)
        listening.remove(self.listener)


class grad_mode(ContextDecorator):
    """Switch the tape on or off: ``with grad_mode(False): ...``, or as a decorator."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def _recreate_cm(self) -> grad_mode:  # a decorated function may call itself, or run in several threads
        return grad_mode(self.on)

    def __enter__(self) -> None:
        self.before, modes.grad = modes.grad, self.on

    def __exit__(self, *_: object) -> None:
        modes.grad = self.before


class cast_mode:
    """Have the ops that ``autocast`` names called through it; with None all as they are: ``with cast_mode(None): ...``."""

    def __init__(self, autocast: Any) -> None:
        self.autocast = autocast

    def __enter__(self) -> None:
        casting.append(self.autocast)
        self.before, modes.autocast = modes.autocast, self.autocast

    def __exit__(self, *_: object) -> None:
        modes.autocast = self.before
        casting.remove(self.autocast)


def no_grad(function: Any = None) -> Any:
    """Nothing inside is put on the tape, and in-place changes write to memory. Also a decorator, ``@no_grad``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> with cr.no_grad():
    ...     (x * 2).requires_grad
    False
    """
    return grad_mode(False) if function is None else grad_mode(False)(function)


def enable_grad(function: Any = None) -> Any:
    """Undo ``no_grad`` inside it. Also a decorator.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> with cr.no_grad(), cr.enable_grad():
    ...     (x * 2).requires_grad
    True
    """
    return grad_mode(True) if function is None else grad_mode(True)(function)


inference = no_grad  # one mode serves both: what it makes may be trained on later without harm


def is_grad_enabled() -> bool:
    """Whether calls of this thread are put on the tape.

    >>> is_grad_enabled()
    True
    """
    return modes.grad
