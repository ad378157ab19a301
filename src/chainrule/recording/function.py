"""``jit``: a function that is recorded, and then replayed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import update_wrapper
from types import MethodType
from typing import Any

from ..domain.errors import ArgumentTypeError
from ..modes import listening, modes
from ..tensor import Tensor
from .guards import key
from .program import Program
from .recorder import Recorder
from .structure import flatten, unflatten

VARIANTS = 4  # programs of one key: for gradients that were there before, and that were not
MOST_COUNTED = 1024  # kinds of arguments whose calls are counted: they may never come again


class Recorded:
    """A function that runs as recorded kernel calls. See ``jit``.

    ``programs`` has those that are kept, the newest last; ``why_not`` says why a function that may fail to be recorded
    (``strict`` is False) runs as it is. It runs so ``before`` times with each kind of arguments; and with those of more kinds
    than programs are kept, unless ``strict``: then they take the place of others.
    """

    def __init__(
        self, function: Callable[..., Any], max_programs: int = 16, strict: bool = True, before: int = 1
    ) -> None:
        self.function, self.max_programs, self.strict, self.before = function, max_programs, strict, before
        self.kept: OrderedDict[Any, list[Program]] = OrderedDict()
        self.calls: dict[Any, int] = {}  # before a program is made
        self.why_not = ""
        update_wrapper(self, function, updated=())  # a module's attributes are its own
        self.__name__: str = getattr(function, "__name__", type(function).__name__)

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else MethodType(self, owner)

    @property
    def programs(self) -> list[Program]:
        """Every program that is kept."""
        return [program for variants in self.kept.values() for program in variants]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if (listening and modes.listeners) or modes.anomaly is not None or self.why_not:
            return self.function(*args, **kwargs)  # inside another recording; or somebody wants to hear the calls
        inputs: list[Tensor] = []
        around = (len(args), *[flatten(x, inputs, True) for x in args])
        if kwargs:
            around = (*around, flatten(kwargs, inputs, True))
        found = key(inputs, around)
        try:
            variants = self.kept.get(found)
        except TypeError as error:
            raise ArgumentTypeError(
                f"[jit] {self.__name__} was called with arguments that cannot be compared: {error}; give tensors, "
                "numbers, strings and containers of them"
            ) from None
        for program in variants or ():
            if program.holds(inputs):
                if len(self.kept) > 1:
                    with suppress(KeyError):  # another thread may have put it out
                        self.kept.move_to_end(found)
                return program(inputs)
        if variants is None and not self.strict and len(self.kept) == self.max_programs:
            return self.function(*args, **kwargs)
        calls = self.calls.get(found, 0)
        if calls < self.before:  # what is made at the first call, such as the state of an optimizer, is there then
            if len(self.calls) == MOST_COUNTED:
                self.calls.clear()
            self.calls[found] = calls + 1
            return self.function(*args, **kwargs)
        self.calls.pop(found, None)
        return self.record(found, inputs, around)

    def record(self, found: Any, inputs: list[Tensor], around: Any) -> Any:
        """Run the function under a recorder, and keep what was recorded."""
        tensors = iter(inputs)
        args = [unflatten(x, tensors) for x in around[1 : 1 + around[0]]]
        kwargs = unflatten(around[-1], tensors) if len(around) > 1 + around[0] else {}
        recorder = Recorder(inputs, self.strict)
        with recorder:
            result = self.function(*args, **kwargs)
        program = Program(recorder, inputs, result)
        if recorder.failed:
            self.why_not = recorder.failed
            return result
        variants = [p for p in self.kept.get(found, []) if p.valid][-VARIANTS + 1 :]
        self.kept[found] = [*variants, program]
        self.kept.move_to_end(found)
        while len(self.kept) > self.max_programs:
            self.kept.popitem(last=False)
        return result


def jit(function: Callable[..., Any] | None = None, *, max_programs: int = 16) -> Any:
    """Record what ``function`` does with tensors, and from then on replay it without Python. Also a decorator, ``@jit``.

    A module is a function, too: under ``no_grad`` ``jit(model)`` gives what ``model`` gives. It has none of its methods.

    The first call with arguments of some shapes and dtypes runs the function as it is, the second is recorded, the third
    and all that follow are replays: the same kernels in the same order on the new values, to the same bits. A step may do
    what training does: forward, loss, backward, clipping, an optimizer's step, dropout, running statistics, metrics; changes
    in place, gradients and random states are as after a call of the function. NumPy arrays count as tensors.

    Python runs no more in a replay: numbers, branches, prints and attributes are what they were. Other shapes or dtypes,
    other numbers among the arguments, another mode (training, ``no_grad``, ``autocast``), another attribute of a module or
    option of an optimizer that was at work are recorded anew; ``max_programs`` of them are kept. Lists, globals and
    closures are not watched. Errors: RecordingError, while recording, where a value is read, a shape depends on values,
    a result is on the tape, or a tensor is kept that is not returned.

    >>> import chainrule as cr
    >>> w = cr.tensor([1.0, 2.0], requires_grad=True)
    >>> @cr.jit
    ... def step(x):
    ...     w.grad = None
    ...     loss = (w * x).sum()
    ...     loss.backward()
    ...     with cr.no_grad():
    ...         w.sub_(0.1 * w.grad)
    ...     return loss
    >>> [round(step(cr.tensor([1.0, 1.0])).item(), 3) for _ in range(4)]
    [3.0, 2.8, 2.6, 2.4]
    >>> len(step.programs)
    1
    """
    if function is None:
        return lambda function: jit(function, max_programs=max_programs)
    return Recorded(function, max_programs)
