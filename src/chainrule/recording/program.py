"""A recorded step that can be run: its plan, and what becomes of gradients, versions and results."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple
from weakref import ref

from ..modes import revisions
from ..tape import Node
from ..tensor import Storage, Tensor, view, wrap
from .explain import Explanation
from .guards import snapshots
from .plan import Plan
from .recorder import Recorder
from .structure import TENSOR, flatten, unflatten


class Result(NamedTuple):
    """A tensor that the step returns: the array at ``place``, or ``itself``, or with neither argument ``number``.

    It lies in the memory of ``base`` (a tensor, or the number of an argument), if that is not None. Results of one
    ``storage`` share memory. ``taped``: it had a graph, which the step has used up.
    """

    place: int | None = None
    itself: Any = None
    number: int = 0
    base: Any = None
    storage: int = 0
    taped: bool = False


class Program:
    """What was recorded of a step. Called with tensors like those it was recorded with, it does the same to them.

    It holds as long as nothing changes that Python looked at while it was recorded.
    """

    def __init__(self, recorder: Recorder, inputs: list[Tensor], result: Any) -> None:
        made: list[Tensor] = []
        self.around = flatten(result, made)
        self.inputs = recorder.inputs
        own = {x.edge[0]: i for i, x in enumerate(inputs) if x.edge is not None}
        gradients = [(ref(leaf), at, gradient(recorder, leaf)) for leaf, at in recorder.leaves.items()]
        self.results = [self.of(y, recorder, inputs) for y in made]
        self.writes = writes(recorder, inputs)
        self.backend = inputs[0].backend if inputs else recorder.calls[0].backend if recorder.calls else None
        self.lasting: list[bool] = []  # empty as soon as something that the step uses is no more
        lasting = self.lasting
        ended = lambda _: lasting.clear()  # noqa: E731  (it does not refer to the program, which goes with its last user)
        witnesses = [ref(w, ended) for w in recorder.witnesses.values()]
        self.spent = Node("recorded step", lambda node, given, g: [], None)
        outside = [(ref(x), x.array) for x in recorder.outside.values()]
        made.clear()
        result = None
        recorder.outside.clear()
        recorder.witnesses.clear()
        recorder.leaves.clear()
        # gradients, each of a leaf, or of an argument if it has a number: where they are before and after; -1: there is none.
        # Nobody sees that of a leaf that is gone now; one that the step made had none
        leaves = [(own.get(leaf), leaf, at, after) for r, at, after in gradients if (leaf := r()) is not None]
        self.before = [(i, leaf, at) for i, leaf, at, _ in leaves if at is not None and leaf.number < recorder.began]
        self.after = [(number, leaf, after) for number, leaf, at, after in leaves if after != at]
        if any(r() is None and at not in (None, -1) for r, at, _ in gradients):
            recorder.refuse("a gradient is looked at of a tensor whose requires_grad is then switched off")
        kept = {r.place for r in self.results if r.place is not None} | {at for *_, at in self.after if at >= 0}
        recorder.left_behind({*kept})
        recorder.arrays.clear()  # their callbacks refer to the recorder
        # what is gone now was made by the step itself; the rest has to stay what it is
        self.witnesses = [w for w in witnesses if w() is not None]
        self.snapshot = self.seen()
        lasting[:] = [True]
        self.revision = revisions[0]
        self.watched = [(ref(x, ended), a, x.edge) for r, a in outside if (x := r()) is not None]
        self.plan = Plan(recorder, kept)

    def of(self, y: Tensor, recorder: Recorder, inputs: list[Tensor]) -> Result:
        """How a result is found again."""
        place = recorder.places.get(id(y.array))
        for number, x in enumerate(inputs):
            if y is x:
                return Result(number=number)
            if place is not None and y.storage is x.storage:
                return Result(place, base=number)
        outside = [x for x in recorder.outside.values() if x.storage is y.storage]
        if place is None or any(x is y for x in outside):
            return Result(itself=y)
        if outside:
            return Result(place, base=outside[0])
        if y.edge is not None and (y.is_leaf or y.edge[0].inputs is not None):
            recorder.refuse(
                f"the result of shape {y.shape} is on the tape, which a replay does not write: call backward inside of the "
                "recorded step, or record it under no_grad, or return y.detach()"
            )
        return Result(place, storage=id(y.storage), taped=y.edge is not None)

    @property
    def valid(self) -> bool:
        """Whether all that the step uses is still there."""
        return bool(self.lasting)

    def holds(self, inputs: list[Tensor]) -> bool:
        """Whether it may stand for the function now."""
        if not self.lasting:
            return False
        if self.revision != revisions[0]:
            same = all((x := r()) is not None and x.array is a and x.edge is e for r, a, e in self.watched)
            if not same or self.seen() != self.snapshot:
                return False
            self.revision = revisions[0]
        for number, leaf, at in self.before:
            gradient = leaf_of(number, leaf, inputs).grad
            if (gradient is None) != (at < 0):
                return False
        return True

    def seen(self) -> list[Any]:
        """What Python may look at: attributes and options of what was at work."""
        return snapshots(w() for w in self.witnesses)

    def __call__(self, inputs: list[Tensor]) -> Any:
        """Do the step."""
        values = self.plan.values.copy()
        if inputs:
            for place, x in zip(self.inputs, inputs, strict=True):
                values[place] = x.array
        for number, leaf, at in self.before:
            if at >= 0:
                values[at] = leaf_of(number, leaf, inputs).grad.array
        leaves = [leaf if number is None else leaf_of(number, leaf, inputs) for number, leaf, _ in self.after]
        for leaf in leaves:
            leaf.grad = None  # so nobody but the step's own list holds what is replaced
        try:
            self.plan.engine.run(values)
        except Exception as error:
            self.plan.explain_error(error)
            raise
        for storage, times in self.writes:
            (storage if type(storage) is Storage else inputs[storage].storage).version += times
        backend = self.backend
        for leaf, (_, _, at) in zip(leaves, self.after, strict=True):
            if at >= 0:
                leaf.grad = wrap(values[at], backend, Storage())
        if not self.results:
            return unflatten(self.around, iter(()))
        storages: dict[int, Storage] = {}
        results = [self.result(r, values, inputs, storages) for r in self.results]
        return results[0] if self.around is TENSOR else unflatten(self.around, iter(results))

    def explain(self, time: bool = True) -> Explanation:
        """The calls as a table: arrays, bytes, operations, and with ``time`` how long each takes, on zeros.

        >>> import chainrule as cr
        >>> f = cr.jit(lambda x: (x @ x).sum())
        >>> x = cr.ones(4, 4)
        >>> _ = f(x), f(x)
        >>> print(f.programs[0].explain(time=False))
        call    arguments → results  KiB  MFLOP  µs  rate  line
        matmul        4×4 4×4 → 4×4  ...
        sum                4×4 → ()  ...
        2 calls (2 recorded)
        """
        return Explanation(self.plan, time)

    def result(self, r: Result, values: list[Any], inputs: list[Tensor], storages: dict[int, Storage]) -> Tensor:
        """A tensor that the step returns."""
        if r.place is None:
            return inputs[r.number] if r.itself is None else r.itself
        if r.base is not None:
            return view(r.base if isinstance(r.base, Tensor) else inputs[r.base], values[r.place])
        storage = storages.setdefault(r.storage, Storage())
        return wrap(values[r.place], self.backend, storage, (self.spent, 0) if r.taped else None)


def leaf_of(number: int | None, leaf: Any, inputs: list[Tensor]) -> Any:
    """The leaf, or that of an argument if it has a number."""
    return leaf if number is None else inputs[number].edge[0]  # type: ignore[index]


def gradient(recorder: Recorder, leaf: Any) -> int:
    """The place of the gradient that a leaf has after the step; -1 if there is none."""
    if leaf.grad is None:
        return -1
    place = recorder.places.get(id(leaf.grad.array))
    if place is None:
        recorder.refuse(f"a gradient of shape {leaf.grad.shape} is put in place that the step did not make")
        return -1
    return place


def writes(recorder: Recorder, inputs: list[Tensor]) -> list[tuple[Any, int]]:
    """What was there before the step and is written to: (storage, or the number of an argument; how often)."""
    numbers = {id(x.storage): i for i, x in enumerate(inputs)}
    outside = {id(x.storage) for x in recorder.outside.values()}
    counted = Counter(id(s) for call in recorder.calls for s in call.writes)
    known = {id(s): s for call in recorder.calls for s in call.writes}
    return [(numbers.get(i, known[i]), n) for i, n in counted.items() if i in numbers or i in outside]
