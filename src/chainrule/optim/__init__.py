"""Optimizers: how gradients change parameters.

>>> import chainrule as cr
>>> from chainrule import losses, nn, optim
>>> model = nn.Linear(2, 1)
>>> optimizer = optim.Adam(model.parameters(), lr=1e-2)
>>> loss = losses.mse(model(cr.ones(4, 2)), cr.ones(4, 1))
>>> loss.backward(); optimizer.step(); optimizer.zero_grad()
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..domain.errors import unknown
from . import schedules
from .adagrad import Adadelta, Adagrad
from .adam import Adam, AdamW
from .adaptive import LAMB, Adamax, Lion, NAdam, RAdam
from .averaging import EMA, SWA, update_bn
from .clip import clip_grad_norm_, clip_grad_value_
from .formula import Formula
from .lbfgs import LBFGS
from .muon import Muon
from .optimizer import Group, Optimizer, Penalty
from .plateau import ReduceOnPlateau
from .rmsprop import RMSprop
from .sgd import SGD

NAMES: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls
    for cls in (SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Adamax, NAdam, RAdam, LAMB, Lion, LBFGS, Muon)
}


def get(name: str, params: Any = None, **options: Any) -> Any:
    """The optimizer called ``name`` for ``params``; without them, what makes it: a function of the parameters.

    Errors: ArgumentError for an unknown name or option, with the nearest.

    >>> from chainrule import nn
    >>> get("sgd", nn.Linear(2, 1).parameters(), lr=0.1).lr
    0.1
    >>> make = get("adam", lr=0.01)
    >>> make(nn.Linear(2, 1).parameters())
    Adam(Group(2 parameters, lr=0.01, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, amsgrad=False))
    >>> get("adan")
    Traceback (most recent call last):
    chainrule.domain.errors.ArgumentError: unknown optimizer 'adan': did you mean 'adam'? ...
    """
    if name not in NAMES:
        raise unknown("optimizer", name, NAMES)
    cls: Any = NAMES[name]
    known = [k for k in cls.__init__.__annotations__ if k not in ("params", "penalty", "return")]
    known += [*Penalty.__annotations__] if "penalty" in cls.__init__.__annotations__ else []
    for option in options:
        if option not in known:
            raise unknown(f"option of {cls.__name__}", option, known)
    return partial(cls, **options) if params is None else cls(params, **options)


__all__ = [
    "EMA",
    "LAMB",
    "LBFGS",
    "SGD",
    "SWA",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Formula",
    "Group",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "ReduceOnPlateau",
    "clip_grad_norm_",
    "clip_grad_value_",
    "get",
    "schedules",
    "update_bn",
]
