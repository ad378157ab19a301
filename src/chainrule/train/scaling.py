"""Training in mixed precision: what ``compile(precision=...)`` means, and losses scaled so that float16 holds gradients."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..domain.errors import ArgumentError, GraphError, StateError, unknown
from ..modes import no_grad, revisions
from ..ops import isfinite, stack
from ..ops.elementwise import where
from ..precision import autocast, in_dtype
from ..tensor import Tensor
from .recorded import is_ours
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
    The recipe, and the names, are those of PyTorch's GradScaler: ``scale``, ``unscale_``, ``step``, ``update``. The scale
    is a tensor beside the loss, and a step that is left out is one that was taken back there: nothing is read from the
    device but in a step that gives an optimizer its first state, or of an optimizer of your own. Clip between
    ``unscale_`` and ``step``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = cr.optim.SGD([x], lr=0.5), LossScaler()
    >>> scaler.scale((x * x).sum()).backward()
    >>> scaler.step(optimizer); scaler.update()
    tensor(True)
    >>> scaler.scale((x * float("inf")).sum()).backward()
    >>> scaler.step(optimizer); scaler.update()
    tensor(False)
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
        # The factor, good steps since it changed, and steps left out since the beginning: on the device of the losses
        self._numbers = {key: Tensor(0.0, dtype="float64", device="cpu") for key in ("scale", "good_steps", "skipped")}
        self._numbers["scale"].fill_(float(init_scale))
        self._unscaled: dict[int, Tensor] = {}  # optimizers whose gradients are divided: whether all were finite
        self._stepped: list[Tensor] = []  # since the last update

    def get_scale(self) -> float:
        """The factor as it is now, read from the device."""
        return self._numbers["scale"].item()  # type: ignore[no-any-return]

    @property
    def skipped(self) -> int:
        """Steps left out since the beginning, read from the device."""
        return int(self._numbers["skipped"].item())

    def _on(self, device: Any) -> Tensor:
        """The factor, on a device, where all that is known goes."""
        if self._numbers["scale"].device != device:
            self._numbers = {key: value.to(device) for key, value in self._numbers.items()}
            revisions[0] += 1
        return self._numbers["scale"]

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to call ``backward`` on."""
        wide: Tensor = in_dtype(loss, "float32") if loss.dtype.bits == 16 else loss
        scaled: Tensor = wide * self._on(loss.device).to(wide.dtype)
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
                g.mul_((1.0 / self._on(g.device)).to(g.dtype))
            finite = stack([isfinite(g).all() for g in given]).all() if given else Tensor(True)
        self._unscaled[id(optimizer)] = finite

    def step(self, optimizer: Any) -> Tensor:
        """Let the optimizer step, if all its gradients are finite; returns whether it did, as a tensor of one bool."""
        if id(optimizer) not in self._unscaled:
            self.unscale_(optimizer)
        finite = self._unscaled[id(optimizer)]
        self._stepped.append(finite)
        if not is_ours(optimizer):
            if finite.item():
                optimizer.step()
            return finite
        entries = [e for group in optimizer.param_groups for e in group.entries if e.param.grad is not None]
        before = [(e, {key: value.clone() for key, value in changed(e).items()}) for e in entries]
        optimizer.step()
        with no_grad():
            if any(len(changed(e)) > len(was) for e, was in before) and not finite.item():
                for e, was in before:  # there was no state: there is none again
                    e.state = {key: value for key, value in e.state.items() if key in was}
            back = {id(now): (now, was[key]) for e, was in before for key, now in changed(e).items() if key in was}
            for now, old in back.values():  # some counts of steps are shared
                now.copy_(where(finite, now, old))
        return finite

    def update(self) -> None:
        """Change the scale as the steps since the last call suggest. Errors: GraphError if there was none."""
        if not self._stepped:
            raise GraphError("[LossScaler] update() comes after step(), but there was none since the last one")
        scale, good, skipped = (self._numbers[key] for key in ("scale", "good_steps", "skipped"))
        with no_grad():
            each = stack([finite.to(scale.device) for finite in self._stepped])
            self._unscaled, self._stepped = {}, []
            skipped.add_((~each).to("float64").sum())
            if not self.dynamic:
                return
            finite = each.all()
            good.copy_(where(finite, good + 1.0, 0.0))
            grows = good == float(self.growth_interval)
            grown = where(grows, (scale * self.growth_factor).minimum(LARGEST), scale)
            scale.copy_(where(finite, grown, scale * self.backoff_factor))
            good.copy_(where(grows, 0.0, good))

    def state_dict(self) -> dict[str, Any]:
        """What to go on from: numbers."""
        return {
            "scale": self.get_scale(),
            "good_steps": int(self._numbers["good_steps"].item()),
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave. Errors: StateError for anything else."""
        if {*state} != {*self._numbers}:
            raise StateError(f"[LossScaler] the state has {', '.join(state)}, expected {', '.join(self._numbers)}")
        with no_grad():
            for key, number in self._numbers.items():
                number.fill_(float(state[key]))

    def __repr__(self) -> str:
        return f"LossScaler(scale={self.get_scale():g}, skipped={self.skipped})"


def changed(entry: Any) -> dict[str, Tensor]:
    """What a step of an optimizer changes of a parameter: itself, as "", and its state."""
    return {"": entry.param, **entry.state}
