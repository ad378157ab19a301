"""What training changes, kept in memory, to be put back."""

from __future__ import annotations

from typing import Any

from ..optim import Optimizer


class Snapshot:
    """Copies of a model's parameters and buffers, and of what its optimizer remembers: moments, steps, learning rates.

    ``optimizer`` is that of the compiled model unless it is given; without one the weights are kept alone. The scale of
    losses in mixed precision is kept, too. ``state`` is what ``state_dict`` of another gave, to be that one.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 1)).compile("mse", "adam")
    >>> kept, before = Snapshot(model), model.predict([[1.0, 2.0]]).item()
    >>> _ = model.train_on_batch([[1.0, 2.0]], [[9.0]])
    >>> kept.restore()
    >>> model.predict([[1.0, 2.0]]).item() == before, model.compiled.optimizer.state_dict()["state"]
    (True, {})
    """

    def __init__(self, model: Any, optimizer: Any = None, state: Any = None) -> None:
        plan = getattr(model, "compiled", None)
        if optimizer is None:
            optimizer = getattr(plan, "optimizer", None)
        self.model = model
        self.scaler = None if plan is None else plan.precision.scaler
        self.optimizer: Any = optimizer if isinstance(optimizer, Optimizer) else None
        self.state: Any = None
        if state is not None:
            self.scale, self.weights, self.state = state["scale"], state["weights"], state["optimizer"]
            return
        self.scale = None if self.scaler is None else self.scaler.state_dict()
        self.weights = {name: value.clone() for name, value in model.state_dict().items()}
        if self.optimizer is not None:
            saved = self.optimizer.state_dict()
            copies = {name: {key: t.clone() for key, t in one.items()} for name, one in saved["state"].items()}
            self.state = {**saved, "state": copies}

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return {"scale": self.scale, "weights": self.weights, "optimizer": self.state}

    def restore(self) -> None:
        """Put all of it back."""
        self.model.load_state_dict(self.weights)
        if self.optimizer is not None:
            self.optimizer.load_state_dict(self.state)
        if self.scaler is not None:
            self.scaler.load_state_dict(self.scale)
