"""Rows of the embedding room."""

import numpy as np
from tests.ops.table import BOTH, row


def embedding(indices, weight, padding_idx=None):
    return weight[indices]


WORDS = np.array([[0, 4, 4], [1, 2, 4]])

SAMPLES = [
    *[row("embedding", indices, (5, 3), expected=embedding, span=BOTH) for indices in (
        WORDS, WORDS[0], np.array(3), np.zeros((2, 0), np.int64), WORDS.astype(np.int32))],
]  # fmt: skip

LARGE = [row("embedding", np.arange(9000).reshape(90, 100) * 7 % 500, (500, 130), span=BOTH)]
