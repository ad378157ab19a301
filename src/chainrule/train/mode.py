"""Train and eval mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def mode(model: Any, training: bool) -> Iterator[None]:
    """Train or eval mode inside the block; then every layer has the mode again that it had.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Dropout(0.5))
    >>> with mode(model, training=False):
    ...     model[0].training
    False
    >>> model[0].training
    True
    """
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was
