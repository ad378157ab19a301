"""Training on little data, to see whether all of it runs, or whether the model can learn at all."""

from __future__ import annotations

from itertools import islice

from ..domain.errors import ArgumentError
from .batches import Batches
from .callbacks import CallbackList
from .checkpoints import ModelCheckpoint
from .loggers import FileLogger, TensorBoard
from .resume import Checkpoint

WRITERS = (Checkpoint, ModelCheckpoint, FileLogger, TensorBoard)


class Rehearsal:
    """What ``fast_dev_run`` and ``overfit_batches`` of ``fit`` ask for. Errors: ArgumentError.

    >>> Rehearsal(True).batches, Rehearsal(3).batches, Rehearsal(False, 0.5).share
    (1, 3, 0.5)
    """

    def __init__(self, fast_dev_run: bool | int = False, overfit_batches: int | float = 0) -> None:
        if not isinstance(fast_dev_run, int) or fast_dev_run < 0:
            raise ArgumentError(f"[fit] fast_dev_run is {fast_dev_run!r}, expected True, or a number of batches")
        whole = isinstance(overfit_batches, int) and not isinstance(overfit_batches, bool) and overfit_batches >= 0
        if not whole and not (isinstance(overfit_batches, float) and 0 <= overfit_batches <= 1):
            raise ArgumentError(
                f"[fit] overfit_batches is {overfit_batches!r}, expected a number of batches, or a fraction from 0 to 1"
            )
        if fast_dev_run and overfit_batches:
            raise ArgumentError("[fit] give fast_dev_run or overfit_batches, not both")
        self.batches, self.share = int(fast_dev_run), overfit_batches

    def epochs(self, first: int, last: int) -> int:
        """Where training ends: after its first epoch, if it is only a rehearsal."""
        return first + 1 if self.batches else last

    def data(self, train: Batches, validation: Batches | None) -> Batches | None:
        """Have ``train`` give as few batches as asked for; returns what to validate on."""
        if self.batches:
            for batches in (train, validation):
                if batches is not None:
                    batches.steps = self.batches
                    batches.samples = None
        elif self.share:
            return self.same(train, validation)
        return validation

    def same(self, train: Batches, validation: Batches | None) -> Batches | None:
        """Have ``train`` give the same few batches in each epoch; they also take the place of the validation."""
        count = self.share
        if isinstance(count, float):
            if not hasattr(train.loader, "__len__"):
                raise ArgumentError(f"[fit] overfit_batches is {count}, but the loader has no length: give a number")
            count = int(len(train.loader) * count)
            if not count:
                raise ArgumentError(f"[fit] overfit_batches is {self.share}: of {len(train.loader)} that is no batch")
        fixed = [*islice(train, count)]
        train.loader, train.samples = fixed, sum(batch.samples for batch in fixed)
        if validation is None:
            return None
        held = Batches("validation", fixed, train.device)
        held.unseen, held.unchecked = False, train.unchecked
        return held

    def callbacks(self, every: CallbackList, verbose: int | str) -> None:
        """Take away what writes files, and say so."""
        if not self.batches:
            return
        gone = [callback for callback in every.callbacks if isinstance(callback, WRITERS)]
        every.callbacks = [callback for callback in every.callbacks if callback not in gone]
        if verbose != 0:
            names = ", ".join(dict.fromkeys(type(callback).__name__ for callback in gone))
            batches = "1 batch" if self.batches == 1 else f"{self.batches} batches"
            print(f"fast_dev_run: one epoch of {batches}" + (f", without {names}" if names else ""))
