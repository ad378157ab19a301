"""The signatures of the methods that ``train`` and ``io`` give to Module, for type checkers and editors.

Nothing imports this file at run time; a test compares it with what Module has.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from ..domain.callback import ICallback
from ..train.compiled import Compiled
from ..train.history import History
from ..train.summary import Summary
from .state import Differences

Path = str | os.PathLike[str]

class Methods:
    compiled: Compiled

    def compile(
        self,
        loss: Any = None,
        optimizer: Any = "adam",
        metrics: Any = (),
        *,
        loss_weights: Any = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        precision: str | None = None,
        jit: bool | str = "auto",
    ) -> Self: ...
    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        validation_data: Any = None,
        validation_split: float | str = 0.0,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        callbacks: Iterable[ICallback] | ICallback | None = None,
        verbose: int | str = "auto",
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_freq: int = 1,
        validation_batch_size: int | None = None,
        validation_steps: int | None = None,
        debug: str | None = None,
        fast_dev_run: bool | int = False,
        overfit_batches: int | float = 0,
        resume: bool | str | os.PathLike[str] | None = None,
    ) -> History: ...
    def train_on_batch(
        self, x: Any, y: Any = None, *, sample_weight: Any = None, class_weight: Any = None
    ) -> dict[str, float]: ...
    def train_step(self, batch: Any) -> dict[str, Any]: ...
    def test_step(self, batch: Any) -> dict[str, Any]: ...
    def evaluate(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int | None = None,
        sample_weight: Any = None,
        steps: int | None = None,
    ) -> dict[str, float]: ...
    def predict(self, x: Any, *, batch_size: int | None = None, steps: int | None = None) -> Any: ...
    def summary(
        self, input_shape: Any = None, *, depth: int | None = None, dtypes: Sequence[str] | None = None
    ) -> Summary: ...
    def save(self, path: Path, *, optimizer: Any = None, max_shard_size: int | str | None = None) -> None: ...
    def save_json(self, path: Path) -> None: ...
    def load_weights(
        self,
        path: Path,
        *,
        rename: Mapping[str, str | None] | None = None,
        prefix: str = "",
        strict: bool = True,
        mmap: bool = False,
    ) -> Differences: ...
    def save_weights(self, path: Path, *, max_shard_size: int | str | None = None) -> None: ...
