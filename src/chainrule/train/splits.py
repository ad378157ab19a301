"""Which samples to validate with, where nobody says."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..random import Generator

SHARE = 5  # one sample in so many is held out


def automatic(samples: int, labels: Any = None) -> tuple[Any, Any] | None:
    """Indices of four fifths of the samples, to train with, and of one fifth, drawn at random; None for fewer than five.

    The draw depends on nothing but the data, so that a model trained twice never sees what it is validated with. With
    ``labels``, integers (n,), each class gives its share, and no class all that it has; numbers of which most come once
    are no classes.

    >>> train, held = automatic(10, np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]))
    >>> len(train), sorted(held // 5)
    (8, [np.int64(0), np.int64(1)])
    """
    if samples < SHARE:
        return None
    order = Generator(0).permutation(samples).numpy()
    if labels is not None:
        ordered = order[np.argsort(labels[order], kind="stable")]
        _, kind, sizes = np.unique(labels[ordered], return_inverse=True, return_counts=True)
        alone = sizes[kind] == 1
        if 2 * alone.sum() < samples:
            order = np.concatenate([ordered[~alone], ordered[alone]])
            several = int((~alone).sum())
            held = np.zeros(samples, bool)
            held[SHARE // 2 : several : SHARE] = True
            held[:1] |= not held.any()
            return np.sort(order[~held]), np.sort(order[held])
    return np.sort(order[samples // SHARE :]), np.sort(order[: samples // SHARE])
