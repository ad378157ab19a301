"""``fit(..., debug="nan")``: where a training first has NaN or infinity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ..anomaly import described, detect_anomaly, has, not_finite
from ..domain.errors import AnomalyError, unknown
from .scaling import Precision
from .structure import leaves


class Debug:
    """What ``debug`` of ``fit`` asks for: "nan" to look for the first anomaly (see ``detect_anomaly``), None for nothing.

    Under a LossScaler the gradients are not looked at as long as its scale is 1 or more: they overflow now and then, and
    it leaves such steps out.
    """

    def __init__(self, debug: str | None, model: Any, precision: Precision) -> None:
        if debug not in (None, "nan"):
            raise unknown("debug", debug, ["nan"])
        self.on, self.model, self.precision = debug is not None, model, precision

    @property
    def forward_only(self) -> bool:
        """Whether the gradients are left to the scaler."""
        scaler = self.precision.scaler
        return scaler is not None and scaler.get_scale() >= 1

    def forward(self) -> AbstractContextManager[Any]:
        """Around model and loss."""
        return detect_anomaly(self.model) if self.on and self.forward_only else nullcontext()

    def step(self, batch: Any, epoch: int, number: int, what: str = "") -> AbstractContextManager[Any]:
        """Around a step: an error says in which batch it was."""
        return self.watched(batch, f"epoch {epoch + 1}, {what}batch {number + 1}") if self.on else nullcontext()

    @contextmanager
    def watched(self, batch: Any, place: str) -> Iterator[None]:
        """See ``step``."""
        try:
            for number, part in enumerate(leaves(batch)):
                if has(part, not_finite):
                    raise AnomalyError(f"part {number} of the data has NaN or infinity: {described(part)}")
            with nullcontext() if self.forward_only else detect_anomaly(self.model):
                yield
        except AnomalyError as error:
            raise AnomalyError(f"{place}: {error}") from error
