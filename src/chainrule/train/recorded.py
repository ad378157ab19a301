"""Whether a step of a model can be recorded and does the same each time; and what stays recorded of evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any
from weakref import ref

from ..metrics import Mean
from ..nn import Lambda
from ..recording import Recorded
from ..recording.guards import frozen, snapshots

PACKAGE = __name__.partition(".")[0]
BEFORE = 2  # batches of a kind go before the one that is recorded: a call with few pays nothing


def is_ours(value: Any) -> bool:
    """Whether a function, or the class of an object, is of this package."""
    kind = value if hasattr(value, "__qualname__") else type(value)
    return str(kind.__module__).partition(".")[0] == PACKAGE


def own_layers(model: Any) -> str:
    """What of a model is not of this package, whose Python may do something else each time; "" if nothing is."""
    for path, layer in model.named_modules():
        if not is_ours(layer) or isinstance(layer, Lambda):
            return f"{path or 'the model'} is a {type(layer).__name__}, which may do something else in each step"
    return ""


def own_terms(step: Any) -> str:
    """The same of the losses and metrics of a step."""
    for term in step.terms:
        for part in (term.loss, *term.metrics):
            found = part.function if isinstance(part, Mean) else part
            if not is_ours(found):
                return f"{found!r} is a loss or metric of your own"
    return ""


def own_code(step: Any) -> str:
    """The same of a step of training."""
    if step.own_train:
        return f"{type(step.model).__name__} has a train_step of its own"
    found = own_layers(step.model) or own_terms(step)
    if not found and not is_ours(step.plan.optimizer):
        return f"{type(step.plan.optimizer).__name__} is an optimizer of your own"
    return found


def unrecordable(step: Any) -> str:
    """What of a step a replay could not do; "" if nothing is known."""
    plan = step.plan
    if plan.uses_closure:
        return f"{type(plan.optimizer).__name__} calls a closure as often as it likes"
    if step.updates.size > 1:
        return "batches are accumulated"
    return ""


class Replays:
    """What is recorded of the evaluation and the prediction of a model, for later calls to use again.

    It lies at the model and goes with it: it refers to the model only weakly, and copies and files of the model have none.
    As soon as a layer, an attribute of one, a loss or a metric is another, it begins anew.
    """

    def __init__(self) -> None:
        self.lock = Lock()  # one call at a time has it
        self.modules: list[Any] = []  # those of the model, and what they were like
        self.state: Any = None
        self.own = ""  # which of them is not of this package
        self.terms: Any = None  # what the kept parts are of
        self.kept: Any = None  # the objective and the metrics of the evaluation
        self.recorded: dict[str, Recorded] = {}

    def __deepcopy__(self, memo: Any) -> None:
        return None

    def __reduce__(self) -> Any:
        return type(None), ()

    def look(self, model: Any) -> None:
        """Forget what was of another model than this one is now."""
        modules = [*model.modules()]
        state = snapshots(modules)
        if state != self.state or [module() for module in self.modules] != modules:
            self.modules, self.state, self.own = [ref(module) for module in modules], state, own_layers(model)
            self.recorded, self.kept = {}, None

    def prediction(self, plan: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        """What does the ``function`` of a model that was compiled so, or with ``plan`` None was not."""
        jit = "auto" if plan is None else plan.jit
        if jit is False or (jit == "auto" and self.own):
            return function
        return self.of("predict" if plan is None else f"predict {plan.precision.name}", function, jit is True)

    def evaluation(self, step: Any) -> None:
        """Have a step of evaluation replayed, if nothing speaks against it."""
        jit = step.plan.jit
        if jit is False or (jit == "auto" and (step.own_test or self.own or own_terms(step))):
            return
        parts = [part for term in step.terms for part in (term, term.loss, *term.metrics)]
        terms = id(step.plan), [(id(part), frozen(getattr(part, "__dict__", None))) for part in parts]
        if self.kept is None or self.terms != terms or (jit is True and self.kept[1] is None):
            self.kept, self.terms = (step.plan, step.objective, step.metrics), terms
            self.recorded.pop("evaluate", None)
        found = self.of("evaluate", step.judged_parts, jit is True)
        if not found.why_not:
            _, step.objective, step.metrics = self.kept
            step.replay = found

    def of(self, name: str, function: Callable[..., Any], strict: bool) -> Recorded:
        """The ``function`` of this call, with the programs of those before."""
        found = self.recorded.get(name)
        if found is None or (strict and found.why_not):  # now it is to say why not
            found = self.recorded[name] = Recorded(unused, strict=strict, before=BEFORE)
        found.function, found.strict = function, strict
        return found

    def leave(self) -> None:
        """The call is over, and its functions, which know the model, go."""
        for found in self.recorded.values():
            found.function = unused
        if self.kept is not None and self.recorded["evaluate"].why_not:
            self.kept = self.kept[0], None, None  # metrics that cannot be recorded may hold what they have seen


def unused(*args: Any) -> Any:
    """Between calls."""


@contextmanager
def replays(model: Any) -> Iterator[Replays]:
    """What is recorded of a model; nothing while another call has it, of another thread or inside of this one."""
    at = vars(model)
    kept = at.get("_replays")
    if kept is None:
        kept = at["_replays"] = Replays()
    free = kept.lock.acquire(blocking=False)
    found = kept if free else Replays()
    try:
        found.look(model)
        yield found
    finally:
        found.leave()
        if free:
            kept.lock.release()
