"""Further rows of the optimizer room; what they write is compared in test_optim.py and tests/test_optim.py."""

import numpy as np
from tests.ops.table import Fixed, row


def same(lr, *_, **__):
    return lr


def counted(step, *_, **__):
    return step + 1


PART = Fixed((3, 2))
SAMPLES = [
    row("adam_", np.array(3.0), np.array(0.1), *[PART] * 5, count=1, amsgrad=True, expected=counted),
    row("rmsprop_", np.array(0.1), *[PART] * 3, count=1, expected=same),
    row("rmsprop_", np.array(0.1), *[PART] * 5, count=1, centered=True, momentum=0.5, expected=same),
    row("adagrad_", np.array(3.0), np.array(0.1), *[PART] * 3, count=1, expected=counted),
    row("lion_", np.array(0.1), *[PART] * 3, count=1, expected=same),
]
