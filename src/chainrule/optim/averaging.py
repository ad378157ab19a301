"""Averages of the weights over training: smoother than the last ones, and often better on unseen data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..domain.errors import ArgumentError, StateError
from ..modes import no_grad
from ..tensor import Tensor
from .optimizer import named


class WeightAverage:
    """An average of parameters, in tensors of their shapes. A subclass says in ``share`` how much the newest weighs.

    ``params`` is ``model.parameters()``, tensors, or pairs of a name and a tensor. ``update`` takes the weights as they are
    now into the average (the first time it is they); ``with average.applied():`` puts the average into the model and the
    weights back at the end; ``swap`` exchanges them for good.
    """

    def __init__(self, params: Any) -> None:
        self.params = [(name or f"parameter.{i}", p) for i, (name, p) in enumerate(named(params))]
        if not self.params:
            raise ArgumentError(f"{type(self).__name__} got no parameters")
        self.updates = 0
        self.values: dict[str, Tensor] = {}
        self.swapped = False  # whether the parameters are the average, and ``values`` the weights

    def share(self, updates: int) -> float:
        """The weight of the newest values, after so many updates."""
        raise NotImplementedError(f"{type(self).__name__} needs a share(self, updates)")

    def follow(self) -> None:
        """Move the average to where the parameters are, if the model was moved since."""
        for name, param in self.params:
            if name in self.values and self.values[name].device != param.device:
                self.values[name] = self.values[name].to(param.device)

    def update(self) -> None:
        """Take the weights of now into the average."""
        self.follow()
        with no_grad():
            for name, param in self.params:
                value = self.values.get(name)
                if value is None:
                    self.values[name] = param.detach().clone()
                else:
                    value.add_((param - value) * self.share(self.updates))
        self.updates += 1

    def swap(self) -> None:
        """Put the average into the parameters, and their values here. Errors: StateError before the first update."""
        if not self.values:
            raise StateError(f"{type(self).__name__} has no average yet: call update() after a step first")
        self.follow()
        with no_grad():
            for name, param in self.params:
                value = param.detach().clone()
                param.copy_(self.values[name])
                self.values[name] = value
        self.swapped = not self.swapped

    def settle(self) -> None:
        """After a ``swap``: let go of the weights, the average is that of the parameters. Otherwise nothing."""
        if self.swapped:
            self.values = {name: param.detach().clone() for name, param in self.params}
            self.swapped = False

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A ``with`` in which the parameters are their average."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state_dict(self) -> dict[str, Any]:
        """``{"updates": number, "values": {name: tensor}}``."""
        return {"updates": self.updates, "values": dict(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Errors: StateError if its names or shapes are others."""
        values = state["values"]
        here = {name: getattr(p, "sizes", p.shape) for name, p in self.params}
        there = {name: tuple(value.shape) for name, value in values.items()}
        fitting = [all(m in (None, n) for m, n in zip(here[k], there[k], strict=True)) for k in here if k in there]
        if values and (here.keys() != there.keys() or not all(fitting)):
            raise StateError(f"the state does not fit into {type(self).__name__}: it has {there}, here are {here}")
        likes = dict(self.params)
        self.updates = int(state["updates"])
        self.values = {k: Tensor(v, dtype=likes[k].dtype, device=likes[k].device) for k, v in values.items()}
        self.swapped = False


class EMA(WeightAverage):
    """The exponential moving average: ``average = decay · average + (1 - decay) · weights``, after each step.

    >>> import chainrule as cr
    >>> x = cr.tensor([0.0], requires_grad=True)
    >>> average = EMA([x], decay=0.9)
    >>> average.update(); _ = x.detach().fill_(1.0); average.update()
    >>> with average.applied():
    ...     print(x)
    tensor([0.1], requires_grad=True)
    >>> x
    tensor([1.], requires_grad=True)
    """

    def __init__(self, params: Any, decay: float = 0.999) -> None:
        super().__init__(params)
        if not 0 <= decay <= 1:
            raise ArgumentError(f"EMA: decay is {decay!r}, expected a number from 0 to 1")
        self.decay = decay

    def share(self, updates: int) -> float:
        """See WeightAverage."""
        return 1 - self.decay


class SWA(WeightAverage):
    """Stochastic weight averaging: the mean of the weights at all updates, one an epoch (Izmailov et al., 2018).

    Batch normalization has seen other weights: ``update_bn`` with the average applied gives it new statistics.

    >>> import chainrule as cr
    >>> x = cr.tensor([0.0], requires_grad=True)
    >>> average = SWA([x])
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = x.detach().fill_(value); average.update()
    >>> average.swap(); x
    tensor([3.], requires_grad=True)
    """

    def share(self, updates: int) -> float:
        """See WeightAverage."""
        return 1 / (updates + 1)


def update_bn(model: Any, batches: Iterable[Any]) -> None:
    """Give the batch norms of ``model`` the statistics of its weights as they are now: means over all ``batches``.

    A batch is the input, or a tuple that begins with it. Modes are put back.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.BatchNorm1d(1))
    >>> update_bn(model, [cr.tensor([[1.0], [3.0]]), cr.tensor([[5.0], [7.0]])])
    >>> model[0].running_mean.item(), model[0].running_var.item()
    (4.0, 2.0)
    """
    norms = [m for m in model.modules() if getattr(m, "running_mean", None) is not None and hasattr(m, "momentum")]
    momenta, modes = [m.momentum for m in norms], [(m, m.training) for m in model.modules()]
    try:
        model.eval()
        for norm in norms:
            norm.train()
        with no_grad():
            for number, batch in enumerate(batches):
                for norm in norms:
                    norm.momentum = 1 / (number + 1)  # the first replaces what was there
                model(batch[0] if isinstance(batch, (tuple, list)) else batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
