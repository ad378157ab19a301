"""Training in mixed precision: what ``compile(precision=...)`` means, and losses scaled so that float16 holds gradients."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..domain.errors import ArgumentError, GraphError, StateError, unknown
from ..modes import no_grad
from ..ops import isfinite, stack
from ..precision import autocast, in_dtype
from ..tensor import Tensor
from .structure import leaves, rebuilt

PRECISIONS = {"32": None, "bf16-mixed": "bfloat16", "fp16-mixed": "float16"}
LARGEST = 2.0**126  # of scales


class Precision:
    """What ``name`` stands for: the dtype of products, or None, and a LossScaler if that is float16.

    Errors: ArgumentError for an unknown name, with the nearest.

    >>> Precision("bf16-mixed"), Precision(None)
    (Precision('bf16-mixed'), Precision('32'))
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = "32" if name is None else str(name)
        if self.name not in PRECISIONS:
            raise unknown("precision", name, PRECISIONS)
        self.dtype = PRECISIONS[self.name]
        self.scaler = LossScaler() if self.dtype == "float16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the model and its losses run."""
        return nullcontext() if self.dtype is None else autocast(self.dtype)

    def outputs(self, given: Any) -> Any:
        """The outputs of a model, those of 16 bits as float32: losses, metrics and users see no others."""
        if self.dtype is None:
            return given
        values = [
            in_dtype(y, "float32") if isinstance(y, Tensor) and y.dtype == self.dtype else y for y in leaves(given)
        ]
        return rebuilt(given, iter(values))

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to call ``backward`` on."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def unscale(self, optimizer: Any) -> None:
        """Have the gradients as the loss has them."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: Any) -> None:
        """Let the optimizer step, if its gradients are numbers."""
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()

    def forget(self) -> None:
        """Leave out a step that was broken off."""
        if self.scaler is not None:
            self.scaler._unscaled, self.scaler._stepped = {}, []

    def __repr__(self) -> str:
        return f"Precision({self.name!r})"


class LossScaler:
    """Multiplies the loss before backward, so that small gradients do not vanish in float16, and divides them after it.

    A step whose gradients are not finite is left out (``skipped`` counts them) and the scale falls by
    ``backoff_factor``; after ``growth_interval`` good steps it grows by ``growth_factor``. Without ``dynamic`` it stays.
    The recipe, and the names, are those of PyTorch's GradScaler: ``scale``, ``unscale_``, ``step``, ``update``. Whether
    all is finite is read from the device once for each step. Clip between ``unscale_`` and ``step``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = cr.optim.SGD([x], lr=0.5), LossScaler()
    >>> scaler.scale((x * x).sum()).backward()
    >>> scaler.step(optimizer); scaler.update()
    True
    >>> scaler.scale((x * float("inf")).sum()).backward()
    >>> scaler.step(optimizer); scaler.update()
    False
    >>> scaler.get_scale(), scaler.skipped
    (32768.0, 1)
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        dynamic: bool = True,
    ) -> None:
        if not 0 < init_scale <= LARGEST:
            raise ArgumentError(f"[LossScaler] init_scale is {init_scale!r}, expected a positive number up to 2**126")
        if not growth_factor > 1 or not 0 < backoff_factor < 1:
            raise ArgumentError(
                f"[LossScaler] growth_factor is {growth_factor!r} and backoff_factor {backoff_factor!r}, expected a number "
                "above 1 and one between 0 and 1"
            )
        if isinstance(growth_interval, bool) or not isinstance(growth_interval, int) or growth_interval < 1:
            raise ArgumentError(f"[LossScaler] growth_interval is {growth_interval!r}, expected a positive integer")
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.dynamic = dynamic
        self.skipped = 0  # steps left out since the beginning
        self._scale, self._good = float(init_scale), 0
        self._unscaled: dict[int, Tensor] = {}  # optimizers whose gradients are divided: whether all were finite
        self._stepped: list[bool] = []  # since the last update

    def get_scale(self) -> float:
        """The factor as it is now."""
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to call ``backward`` on."""
        scaled: Tensor = in_dtype(loss, "float32") * self._scale if loss.dtype.bits == 16 else loss * self._scale
        return scaled

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer, to look at them or clip them before ``step``. Reads nothing back.

        Errors: GraphError if that was done since the last ``update``.
        """
        if id(optimizer) in self._unscaled:
            raise GraphError("[LossScaler] the gradients are unscaled already: call update() after each step()")
        gradients = [e.param.grad for group in optimizer.param_groups for e in group.entries]
        given: list[Any] = [g for g in gradients if g is not None]
        with no_grad():
            for g in given:
                g.mul_(1.0 / self._scale)
            finite = stack([isfinite(g).all() for g in given]).all() if given else Tensor(True)
        self._unscaled[id(optimizer)] = finite

    def step(self, optimizer: Any) -> bool:
        """Let the optimizer step, if all its gradients are finite; returns whether it did."""
        if id(optimizer) not in self._unscaled:
            self.unscale_(optimizer)
        finite = bool(self._unscaled[id(optimizer)].item())
        self._stepped.append(finite)
        if finite:
            optimizer.step()
        else:
            self.skipped += 1
        return finite

    def update(self) -> None:
        """Change the scale as the steps since the last call suggest. Errors: GraphError if there was none."""
        if not self._stepped:
            raise GraphError("[LossScaler] update() comes after step(), but there was none since the last one")
        finite = all(self._stepped)
        self._unscaled, self._stepped = {}, []
        if not self.dynamic:
            return
        self._good = self._good + 1 if finite else 0
        if not finite:
            self._scale *= self.backoff_factor
        elif self._good == self.growth_interval:
            self._scale, self._good = min(self._scale * self.growth_factor, LARGEST), 0

    def state_dict(self) -> dict[str, Any]:
        """What to go on from: numbers."""
        return {"scale": self._scale, "good_steps": self._good, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave. Errors: StateError for anything else."""
        if {*state} != {*self.state_dict()}:
            raise StateError(f"[LossScaler] the state has {', '.join(state)}, expected {', '.join(self.state_dict())}")
        self._scale, self._good, self.skipped = float(state["scale"]), int(state["good_steps"]), int(state["skipped"])

    def __repr__(self) -> str:
        return f"LossScaler(scale={self._scale:g}, skipped={self.skipped})"
