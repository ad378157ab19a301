"""Whether the step of a model can be recorded, and whether it does the same each time."""

from __future__ import annotations

from typing import Any

from ..metrics import Mean
from ..nn import Lambda

PACKAGE = __name__.partition(".")[0]


def is_ours(value: Any) -> bool:
    """Whether a function, or the class of an object, is of this package."""
    kind = value if hasattr(value, "__qualname__") else type(value)
    return str(kind.__module__).partition(".")[0] == PACKAGE


def own_code(step: Any) -> str:
    """What of a step is not of this package, whose Python may do something else each time; "" if nothing is."""
    if step.own_train:
        return f"{type(step.model).__name__} has a train_step of its own"
    for path, layer in step.model.named_modules():
        if not is_ours(layer) or isinstance(layer, Lambda):
            return f"{path or 'the model'} is a {type(layer).__name__}, which may do something else in each step"
    for term in step.terms:
        for part in (term.loss, *term.metrics):
            found = part.function if isinstance(part, Mean) else part
            if not is_ours(found):
                return f"{found!r} is a loss or metric of your own"
    if not is_ours(step.plan.optimizer):
        return f"{type(step.plan.optimizer).__name__} is an optimizer of your own"
    return ""


def unrecordable(step: Any) -> str:
    """What of a step a replay could not do; "" if nothing is known."""
    plan = step.plan
    if plan.uses_closure:
        return f"{type(plan.optimizer).__name__} calls a closure as often as it likes"
    if step.updates.size > 1:
        return "batches are accumulated"
    return ""
