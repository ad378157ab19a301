"""Further rows of the optimizer room; what they write is compared in test_optim.py and tests/test_optim.py."""

import numpy as np
from tests.ops.table import Fixed, row


def same(lr, *_, **__):
    return lr


def counted(step, *_, **__):
    return step + 1


def length(*gradients, max_norm, ord=2):
    parts = np.concatenate([np.ravel(g) for g in gradients])
    return np.linalg.norm(parts, ord)


PART = Fixed((3, 2))
SAMPLES = [
    row("adam_", np.array(3.0), np.array(0.1), *[PART] * 5, count=1, amsgrad=True, expected=counted),
    row("rmsprop_", np.array(0.1), *[PART] * 3, count=1, expected=same),
    row("rmsprop_", np.array(0.1), *[PART] * 5, count=1, centered=True, momentum=0.5, expected=same),
    row("adagrad_", np.array(3.0), np.array(0.1), *[PART] * 3, count=1, expected=counted),
    row("clip_norm_", PART, Fixed((4,)), max_norm=0.5, expected=length),
    row("clip_norm_", PART, Fixed(()), max_norm=100.0, ord=1.0, expected=length),
    row("clip_norm_", PART, max_norm=0.5, ord=np.inf, expected=length),
    row("adamax_", np.array(3.0), np.array(0.1), *[PART] * 4, count=1, expected=counted),
    row("nadam_", np.array(3.0), np.array(0.1), *[PART] * 4, np.array(0.5), count=1, expected=counted),
    row("radam_", np.array(7.0), np.array(0.1), *[PART] * 4, count=1, expected=counted),
    row("adadelta_", np.array(3.0), np.array(0.1), *[PART] * 4, count=1, expected=counted),
    row("lion_", np.array(0.1), *[PART] * 3, count=1, expected=same),
]
