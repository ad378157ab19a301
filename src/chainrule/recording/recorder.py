"""What happens in a step: every kernel call, with the arrays it took and gave, and what became of gradients."""

from __future__ import annotations

import gc
from typing import Any, NamedTuple
from weakref import ref

from ..domain.errors import RecordingError
from ..launch import caller
from ..modes import listen, modes
from ..ops import OPS
from ..tape import Leaf
from ..tensor import Tensor

VALUE_SHAPED = frozenset({"nonzero", "unique"})  # kernels whose results have shapes that depend on values


class Call:
    """A kernel call. ``arguments``, and then the values of the parameters ``names``, are places, ``results`` nested tuples
    of places, where -1 is None. ``writes`` are the storages that the call changed, ``written`` the places of the arrays that it
    wrote to, ``line`` is where it was made."""

    def __init__(self, name: str, backend: Any, arguments: list[int], names: tuple[str, ...], line: str) -> None:
        self.name, self.backend, self.arguments, self.names, self.line = name, backend, arguments, names, line
        self.function: Any = None  # what runs instead of the kernel of that name
        self.results: Any = -1
        self.writes: list[Any] = []
        self.written: list[int] = []

    @property
    def kernel(self) -> Any:
        """What it runs."""
        return self.function or self.backend.kernels[self.name]

    def parted(self, values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Values for its arguments and for its parameters, which come one after another, apart."""
        count = len(values) - len(self.names)
        return values[:count], dict(zip(self.names, values[count:], strict=True))


class Kind(NamedTuple):
    """What an array is like: its memory is that of the array at place ``base``, unless that is None."""

    shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...]
    base: int | None


class Recorder:
    """Listens while a step runs: ``with Recorder(inputs) as recorder: ...``.

    ``values`` has for each place what it begins with: an array or a parameter that stays, or None where ``inputs``,
    gradients from before the step, or results come; ``kinds`` what the arrays are like. ``outside`` are the tensors, by
    place, that the step found and did not make. What a replay could not do again is a RecordingError; or, unless
    ``strict``, ``failed`` says it, and the step goes on unrecorded.
    """

    def __init__(self, inputs: list[Tensor], strict: bool = True) -> None:
        self.strict, self.failed = strict, ""
        self.calls: list[Call] = []
        self.values: list[Any] = []
        self.kinds: dict[int, Kind] = {}
        self.places: dict[int, int] = {}  # by the identity of an array
        self.arrays: dict[int, Any] = {}  # by place: weak references, which take the identity away with the array
        self.made: dict[int, Call] = {}  # by place: the call whose result it is
        self.outside: dict[int, Tensor] = {}
        self.began = Leaf().number  # leaves of greater numbers are made by the step
        self.leaves: dict[Leaf, int | None] = {}  # whose gradients were looked at or changed: the place of the gradient
        # from before the step, -1 if there was none; None if nobody looked before it was changed
        self.witnesses: dict[int, Any] = {}  # modules and optimizers that were at work
        self.inputs = [self.input(x) for x in inputs]

    def __enter__(self) -> Recorder:
        self._listen = listen(self)
        self._listen.__enter__()
        modes.recorder = self
        return self

    def __exit__(self, *args: object) -> None:
        modes.recorder = None
        self._listen.__exit__(*args)
        del self._listen  # which refers to this

    def refuse(self, why: str) -> None:
        """It cannot be recorded."""
        if self.strict:
            raise RecordingError(f"[jit] {why}")
        self.failed = self.failed or why

    # ---- places

    def new(self, value: Any = None) -> int:
        """One more place."""
        self.values.append(value)
        return len(self.values) - 1

    def known(self, array: Any, value: Any = None) -> int:
        """The place of an array; a new one if it has none yet."""
        place = self.places.get(id(array))
        if place is None:
            name = id(array)
            place = self.places[name] = self.new(value)
            self.arrays[place] = ref(array, lambda _: self.places.pop(name, None))
            base = array.base
            while base is not None and id(base) not in self.places:  # windows lie in what NumPy puts between
                base = getattr(base, "base", None)
            self.kinds[place] = Kind(array.shape, array.dtype, array.strides, self.places.get(id(base)))
        return place

    def input(self, x: Tensor) -> int:
        """The place of an argument of the step."""
        if not x.is_leaf:
            self.refuse(
                f"an argument of shape {x.shape} comes from the tape: its graph begins outside of the recorded step; hand "
                "over x.detach(), or record what makes it too"
            )
        return self.known(x.array)

    def argument(self, x: Any) -> int:
        """The place of what a kernel is called with."""
        if not isinstance(x, Tensor):
            return self.new(x)
        place = self.places.get(id(x.array))
        if place is None:
            if not x.is_leaf:
                self.refuse(
                    f"{caller()} uses a tensor of shape {x.shape} whose graph began before the recorded step; detach() it, "
                    "or make it inside"
                )
            place = self.known(x.array, x.array)
            self.outside[place] = x
        return place

    # ---- what it is told

    @property
    def forbids_reading(self) -> bool:
        """Whoever asks is about to read a value."""
        if not self.failed:
            self.refuse(
                f"{caller()} reads a value (item, numpy, print, float, if): every replay would see this one; return the "
                "tensor from the recorded step and read it there"
            )
        return False

    def launched(self, backend: Any, name: str, inputs: Any, params: Any, outputs: Any) -> None:
        """A kernel call is over."""
        if self.failed:
            return
        line = caller()
        if name in VALUE_SHAPED:
            self.refuse(
                f"{line} calls {name}, whose result has a shape that depends on values; use where(mask, x, y), or do it "
                "outside of the recorded step"
            )
        places = [self.argument(x) for x in inputs] + [self.new(value) for value in params.values()]
        call = Call(name, backend, places, tuple(params), line)
        op = OPS[name].op if name in OPS else None
        if op is not None and op.mutates is not None:
            changed = op.mutates(*inputs, **params)
            call.writes = [x.storage for x in changed]
            call.written = [self.places[id(x.array)] for x in changed]
        call.results = self.result(call, outputs)
        self.calls.append(call)

    def result(self, call: Call, outputs: Any) -> Any:
        """The places of results."""
        if outputs is None:
            return -1
        if type(outputs) is tuple:
            return tuple(self.result(call, y) for y in outputs)
        fresh = id(outputs.array) not in self.places
        place = self.known(outputs.array)
        if fresh:
            self.made[place] = call
        return place

    def reads_gradient(self, leaf: Leaf) -> None:
        """The gradient of a leaf is looked at."""
        if leaf not in self.leaves:
            self.leaves[leaf] = -1 if leaf.grad is None else self.known(leaf.grad.array)

    def writes_gradient(self, leaf: Leaf) -> None:
        """The gradient of a leaf is about to be changed."""
        self.leaves.setdefault(leaf, None)

    def works(self, witness: Any) -> None:
        """A module or an optimizer is at work: what it does depends on its attributes."""
        if getattr(witness, "_hooks", None) is not None:
            self.refuse(f"a {type(witness).__name__} has hooks, which a replay would not call: remove them")
        self.witnesses[id(witness)] = witness

    # ---- the end

    def left_behind(self, spared: set[int]) -> None:
        """Refuse if somebody still holds what calls made, but for arrays at the places ``spared`` and their bases."""
        for place in [*spared]:
            while (base := self.kinds[place].base) is not None and base not in spared:
                spared.add(base)
                place = base
        watched = [place for place in self.made if place not in spared]
        for again in (False, True):
            alive = [place for place in watched if self.arrays[place]() is not None]
            if not alive:
                return
            if not again:
                gc.collect()
        call = self.made[alive[0]]
        self.refuse(
            f"{call.line} makes a tensor of shape {self.kinds[alive[0]].shape} by {call.name} that somebody keeps after the "
            "step: a replay would not renew it; return it, or change what is kept in place (total.add_(x))"
        )
