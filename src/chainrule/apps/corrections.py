"""A predictor that learns the hand of who draws: drawings with their labels, and the network fine-tuned on them.

The network is always tuned anew from the one it began with, on all drawings. Most of each batch are drawings that it knows
(``hand.pictures``), moved at random and half of them laid over one another; their targets are what it said of them at
first, so that it keeps what it knew (Li and Hoiem, 2016). Statistics of batch norms stay as they are, dropout is off. It
ends as soon as each drawing is read rightly and surely.
"""

from __future__ import annotations

import copy
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..creation import from_numpy
from ..data import RandomAffine
from ..domain.errors import ArgumentError, DataError
from ..io import save_weights
from ..io.weights import read
from ..losses import cross_entropy
from ..nn import Module
from ..optim import Adam
from ..random import Generator
from ..train.batches import place
from ..train.mode import mode
from .hand import pictures
from .image import Steps, preprocess
from .insight import scores
from .predictor import SURE, DigitPredictor, Prediction, probabilities

OWN, KNOWN = 8, 56  # drawings of the user and known ones in a batch
STEPS, EVERY = 100, 5  # at most; and after how many it is looked whether all is learnt
RATE, SMOOTHING = 2e-4, 0.05
ENOUGH = SURE + 0.05  # probability at which a drawing counts as learnt
NEAR = RandomAffine(8, shear=8, scale=0.08, shift=1)  # as the same hand would draw it again
FAR = RandomAffine(20, shear=20, scale=0.2, shift=2)
MOST = 500  # drawings that are kept


class Learned(NamedTuple):
    """What one correction changed."""

    label: int  #: what the drawing was said to be
    before: Prediction  #: how it was read
    after: Prediction  #: how it is read now
    known: tuple[float, float]  #: the share of known drawings that was read rightly before, and that is now
    examples: int  #: drawings learnt by now
    seconds: float  #: that it took

    @property
    def right(self) -> bool:
        """Whether it is read as it was said to be."""
        return self.after.digit == self.label


class Corrections:
    """Drawings that a user has labelled, and ``predictor`` fine-tuned on them; ``learn`` adds one, ``undo`` takes it away.

    With ``path`` they are kept in that file with the weights, and are there again next time (``user_file`` has a place for
    it); without it they are in memory alone. Predictions may go on in other threads meanwhile: the tuned copy takes the
    place of the model at once, as a whole. Errors: FileFormatError for a damaged file, ArgumentError for one of another
    model or for a model without parameters to train.

    >>> corrections = Corrections(DigitPredictor())
    >>> learnt = corrections.learn([[[20, 20], [80, 20], [40, 110]]], 7)
    >>> learnt.before.digit, learnt.after.digit, learnt.right, len(corrections.examples)
    (7, 7, True, 1)
    >>> corrections.undo()
    True
    >>> corrections.examples
    []
    """

    def __init__(self, predictor: DigitPredictor, path: str | os.PathLike[str] | None = None) -> None:
        self.predictor, self.path = predictor, None if path is None else Path(path)
        self.base = predictor.model
        self.lock = threading.RLock()  # of the drawings; one correction at a time
        self.images: list[Any] = []  # uint8 (28, 28)
        self.labels: list[int] = []
        self.models: list[Module | None] = []  # before each drawing, to go back to; None: to be tuned anew
        if not any(p.requires_grad for p in self.base.parameters()):
            raise ArgumentError(f"[corrections] {predictor.name} has no parameters to train")
        if self.path is not None and self.path.exists():
            self.read(self.path)

    @property
    def examples(self) -> list[tuple[Any, int]]:
        """The drawings, uint8 (28, 28), and their labels, the oldest first."""
        with self.lock:
            return [*zip(self.images, self.labels, strict=True)]

    def learn(self, drawing: Any, label: int, pen: float | None = None) -> Learned:
        """Keep a drawing with what it is, and tune the network on all that are kept: about a second or five.

        ``drawing`` is anything that ``preprocess`` takes, or what it gave. Errors: DataError of ``preprocess``, and for more
        than 500 drawings; ArgumentError for a label that is no digit; FileWriteError, after which nothing has changed.
        """
        if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label <= 9:
            raise ArgumentError(f"[corrections] label is {label!r}, expected a digit from 0 to 9")
        steps = drawing if isinstance(drawing, Steps) else preprocess(drawing, pen)
        start = time.perf_counter()
        with self.lock:
            if len(self.images) >= MOST:
                raise DataError(f"[corrections] {MOST} drawings are kept, which is the most: undo or reset")
            before, known = self.predictor.predict([steps])[0], self.known()
            model, images = self.predictor.model, [*self.images, np.rint(steps.image * 255).astype(np.uint8)]
            labels = [*self.labels, int(label)]
            tuned = self.tuned(images, labels)
            self.put(tuned, images, labels, [*self.models, model])
            after = self.predictor.predict([steps])[0]
            spent = time.perf_counter() - start
            return Learned(int(label), before, after, (known, self.known()), len(images), spent)

    def undo(self) -> bool:
        """Take the last drawing away, and what was learnt of it. False if there is none."""
        with self.lock:
            if not self.images:
                return False
            images, labels, before = self.images[:-1], self.labels[:-1], self.models[-1]
            model = before or (self.tuned(images, labels) if images else self.base)
            self.put(model, images, labels, self.models[:-1])
            return True

    def reset(self) -> None:
        """Forget all drawings: the network is the one it began with, and the file is removed."""
        with self.lock:
            self.put(self.base, [], [], [])

    def put(self, model: Module, images: list[Any], labels: list[int], models: list[Module | None]) -> None:
        """Write the file, then have this in the place of what is there."""
        if self.path is not None:
            if images:
                arrays = {f"model.{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
                arrays |= {"drawings": np.stack(images), "labels": np.asarray(labels, np.int64)}
                save_weights(self.path, arrays, {"corrections_of": fingerprint(self.base)})
            else:
                self.path.unlink(missing_ok=True)
        self.images, self.labels, self.models = images, labels, models
        self.predictor.replace(model)

    def read(self, path: Path) -> None:
        """Take drawings and weights from the file."""
        arrays, metadata = read(path)
        if metadata.get("corrections_of") != fingerprint(self.base):
            raise ArgumentError(f"[corrections] {path} has no corrections of {self.predictor.name}: give another path")
        images, labels = arrays.pop("drawings"), arrays.pop("labels")
        model = copy.deepcopy(self.base)
        model.load_state_dict({name.removeprefix("model."): array for name, array in arrays.items()})
        self.images, self.labels = [*images], [int(label) for label in labels]
        self.models = [None] * len(images)
        self.predictor.replace(model)

    def known(self) -> float:
        """The share of the known drawings that is read rightly."""
        x, y = pictures()
        return float((self.predictor.scores(x).argmax(axis=1) == y).mean())

    def tuned(self, images: list[Any], labels: list[int]) -> Module:
        """A copy of the network that it began with, tuned on drawings. The same drawings give the same copy."""
        own, y = (np.stack(images)[:, None] / np.float32(255)).astype(np.float32), np.asarray(labels)
        known, _ = pictures()
        with self.predictor.lock:  # no view of the network may have its hooks there
            model, first = copy.deepcopy(self.base), copy.deepcopy(self.base)
        device, dtype = place(model)
        wanted = np.eye(10)[y] * (1 - SMOOTHING) + SMOOTHING / 10
        optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=RATE)
        generator, draw = Generator(0), np.random.default_rng(0)
        for step in range(1, STEPS + 1):
            mine = draw.integers(len(own), size=OWN)
            mine[0] = len(own) - 1  # the newest in each batch
            others = FAR(known[draw.integers(len(known), size=KNOWN)], generator=generator)
            share = draw.random((KNOWN // 2, 1, 1, 1), np.float32)
            over = known[draw.integers(len(known), size=KNOWN // 2)]
            others[: KNOWN // 2] = np.maximum(others[: KNOWN // 2] * share, over * (1 - share))
            x = np.concatenate([NEAR(own[mine], generator=generator), others])
            target = np.concatenate([wanted[mine], probabilities(first.predict(others))])
            with mode(model, training=False):
                found = scores(model, from_numpy(x).to(device=device, dtype=dtype))
                loss = cross_entropy(found, from_numpy(target).to(device=device, dtype=dtype))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % EVERY == 0:
                chances = probabilities(model.predict(own))
                if (chances[np.arange(len(y)), y] >= ENOUGH).all():
                    break
        optimizer.zero_grad()
        return model.eval()


def fingerprint(model: Module) -> str:
    """What tells the weights of a model from all others: 16 hexadecimal digits of a SHA-256."""
    sums = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        sums.update(name.encode())
        sums.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return sums.hexdigest()[:16]


def user_file(predictor: DigitPredictor) -> Path:
    """Where the corrections of a model are kept: ``chainrule`` in ``$XDG_DATA_HOME`` or ``~/.local/share``, a file a model."""
    home = os.environ.get("XDG_DATA_HOME")
    folder = Path(home) if home else Path.home() / ".local" / "share"
    return folder / "chainrule" / f"corrections-{fingerprint(predictor.model)}.safetensors"
