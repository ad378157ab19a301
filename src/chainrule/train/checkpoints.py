"""Files written while training goes on: the best models, the last, all."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..domain.callback import Logs
from ..domain.errors import ArgumentError, unknown
from ..io import save_weights
from ..io.checkpoint import suffixed
from ..io.folders import discard, is_folder
from ..io.weights import suffix_of
from ..nn import Module, describe
from .callbacks import Monitor
from .compiled import compiled


class ModelCheckpoint(Monitor):
    """Save the model after each epoch, or after the best, by ``monitor`` (``mode`` as in EarlyStopping).

    ``filepath`` may name the epoch (from 1) and the logs: ``"runs/{epoch:02d}-{val_loss:.3f}.safetensors"``. Its suffix, or a
    slash at its end, says the format, as in ``model.save``.

    | | |
    |---|---|
    | ``save_best_only`` | after epochs better than all before, and than ``initial_value_threshold`` |
    | ``save_top_k=3`` | the three best epochs so far have files; that of a worse one is removed; -1: all, 0: none |
    | ``save_last`` | ``last``, of their suffix, beside them, or the path given; also when training ends within an epoch |
    | ``every_n_epochs`` | epochs between are passed over |
    | ``save_weights_only`` | parameters and buffers, for ``model.load_weights(path)`` |
    | ``save_optimizer`` | optimizer and LossScaler are in the file, too, for ``cr.io.load_optimizer(path, model)`` |

    Each file is replaced whole or not at all: on a full disk FileWriteError ends training, and the files before it stand.
    A worse file is removed only after the better is there; files of other runs are never removed. ``saved`` lists the
    files that stand, ``best_model_path``, ``best_model_score`` and ``last_model_path`` say what their names do. A second
    ``fit`` of the same model goes on from them. Errors: ArgumentError for a name in ``filepath``, or a value to monitor,
    that training does not report.

    >>> ModelCheckpoint("runs/best.safetensors", save_best_only=True).filepath
    'runs/best.safetensors'
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        mode: str = "auto",
        save_best_only: bool = False,
        *,
        save_top_k: int | None = None,
        save_last: bool | str | os.PathLike[str] = False,
        save_weights_only: bool = False,
        save_optimizer: bool = False,
        every_n_epochs: int = 1,
        initial_value_threshold: float | None = None,
        optimizer: Any = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = os.fspath(filepath)
        if save_top_k is not None and save_top_k < -1:
            raise ArgumentError(f"[ModelCheckpoint] save_top_k is {save_top_k}, expected -1 (all), 0 (none) or more")
        if save_best_only and save_top_k is not None:
            raise ArgumentError("[ModelCheckpoint] give save_best_only or save_top_k, not both")
        if save_top_k is not None and save_top_k > 1 and "{" not in self.filepath:
            raise ArgumentError(
                f"[ModelCheckpoint] {save_top_k} files cannot all be {self.filepath!r}: put {{epoch}} into the name"
            )
        if initial_value_threshold is not None and not save_best_only:
            raise ArgumentError("[ModelCheckpoint] initial_value_threshold goes with save_best_only=True")
        if every_n_epochs < 1:
            raise ArgumentError(f"[ModelCheckpoint] every_n_epochs is {every_n_epochs}, expected at least 1")
        self._folder = is_folder(self.filepath)
        if not save_weights_only and not self._folder:
            suffixed(self.filepath, "ModelCheckpoint")
        if save_weights_only and save_optimizer:
            raise ArgumentError("[ModelCheckpoint] save_weights_only leaves the optimizer out: give one of the two")
        self.last: Path | None = None
        self._last_folder = self._folder
        if save_last is not False:
            last = Path(self.filepath).with_name("last" if self._folder else f"last{suffix_of(self.filepath)}")
            if save_last is not True:
                last, self._last_folder = Path(save_last), is_folder(save_last)
            if not save_weights_only and not self._last_folder:
                suffixed(last, "ModelCheckpoint")
            if "{" in str(last):
                raise ArgumentError(
                    f"[ModelCheckpoint] there is one last file, not {last}: save_last='runs/last.safetensors'"
                )
            self.last = last
        self.save_best_only, self.save_top_k = save_best_only, save_top_k
        self.save_weights_only, self.save_optimizer, self.optimizer = save_weights_only, save_optimizer, optimizer
        self.every_n_epochs, self.initial_value_threshold = every_n_epochs, initial_value_threshold
        self.watches = save_best_only or (save_top_k or 0) > 0
        self.scores: dict[Path, float] = {}  # of the files that stand, in the order in which they were written
        self._seen: Any = None
        self._wrote_last, self._unsaved = False, False

    @property
    def saved(self) -> list[Path]:
        """The files that stand, the newest last; without that of ``save_last``."""
        return [*self.scores]

    @property
    def best_model_path(self) -> Path | None:
        """The file of the best epoch; without a value to watch the newest. None before the first."""
        if not self.scores:
            return None
        if not self.watches:
            return self.saved[-1]
        return min(self.scores, key=lambda path: self._rank(self.scores[path]))

    @property
    def best_model_score(self) -> float | None:
        """The watched value of ``best_model_path``; None without one."""
        path = self.best_model_path
        return None if path is None or not self.watches else self.scores[path]

    @property
    def last_model_path(self) -> Path | None:
        """What ``save_last`` wrote, once it did."""
        return self.last if self._wrote_last else None

    def expect(self, names: Iterable[str]) -> None:
        """Raise ArgumentError unless the watched value, if one is, and the names in the path are among ``names``."""
        if self.watches:
            super().expect(names)
        self._path(0, dict.fromkeys(names, 0.0))

    def on_train_begin(self, logs: Logs) -> None:
        """Forget what was seen of another model; see that a file can hold it before training, not after an epoch."""
        if not self.save_weights_only and isinstance(self.model, Module):
            describe(self.model)
        if self.save_optimizer and self.optimizer is None:
            compiled(self.model, "ModelCheckpoint")
        self._unsaved = False
        if self._seen is not None and self._seen is self.model:
            return
        self._seen, self.scores, self._wrote_last = self.model, {}, False
        if self.watches:
            self.forget()
            if self.initial_value_threshold is not None:
                self.best = self.initial_value_threshold

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """There is something new."""
        self._unsaved = True

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save, if it is time and good enough."""
        self._unsaved = False
        if (epoch + 1) % self.every_n_epochs:
            return
        if self.last is not None:
            self._save_last(self.last)
        if self.save_top_k == 0 or (self.watches and self.missing(logs)):
            return
        if self.watches:
            improved = self.improved(epoch, logs)
            if not (improved if self.save_best_only else self._among_the_best(logs[self.monitor])):
                return
        path = self._path(epoch, {**dict.fromkeys(self.reported, math.nan), **logs})
        score = float(logs[self.monitor]) if self.watches else math.nan
        if path in self.scores and self.watches and self._rank(self.scores[path]) <= self._rank(score):
            return  # the name of a better one
        self._write(path, self._folder)
        self.scores.pop(path, None)
        self.scores[path] = score
        if self.save_top_k is not None and 0 < self.save_top_k < len(self.scores):
            worst = max(self.scores, key=lambda path: self._rank(self.scores[path]))
            del self.scores[worst]
            discard(worst)

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        watched = super().state_dict() if self.watches else {}
        scores = [[str(path), score] for path, score in self.scores.items()]
        return {**watched, "scores": scores, "last": self._wrote_last, "unsaved": self._unsaved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        if self.watches:
            super().load_state_dict(state)
        self.scores = {Path(path): score for path, score in state["scores"]}
        self._wrote_last, self._unsaved = state["last"], state["unsaved"]

    def on_train_end(self, logs: Logs) -> None:
        """Save the weights that an interrupted epoch left, as the last."""
        if self._unsaved and self.last is not None:
            self._save_last(self.last)

    def _among_the_best(self, score: float) -> bool:
        worst = max((self._rank(value) for value in self.scores.values()), default=math.inf)
        return len(self.scores) < (self.save_top_k or 0) or self._rank(score) < worst

    def _rank(self, score: float) -> float:
        """Smaller is better, NaN is worst."""
        return math.inf if math.isnan(score) else self.sign * score

    def _save_last(self, path: Path) -> None:
        self._write(path, self._last_folder)
        self._wrote_last = True

    def _write(self, path: Path, folder: bool) -> None:
        target = f"{path}/" if folder else path
        if self.save_weights_only:
            save_weights(target, self.model.state_dict())
        elif self.save_optimizer:
            self.model.save(target, optimizer=self.optimizer or compiled(self.model, "ModelCheckpoint").optimizer)
        else:
            self.model.save(target)

    def _path(self, epoch: int, logs: Logs) -> Path:
        try:
            return Path(self.filepath.format(epoch=epoch + 1, **logs))
        except KeyError as error:
            raise unknown("name in the filepath of ModelCheckpoint", error.args[0], ["epoch", *logs]) from None
        except (ValueError, IndexError) as error:
            raise ArgumentError(
                f"[ModelCheckpoint] the filepath {self.filepath!r} cannot be filled in: {error}"
            ) from None
