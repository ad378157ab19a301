"""ONNX files with bytes changed, left out and put in: they load and run, or an error of ours says why not."""

from __future__ import annotations

import numpy as np
import pytest
from tests.onnx_models import made
from tests.prove.fuzz import SEED

from chainrule.domain.errors import ChainruleError
from chainrule.interop import from_onnx, to_onnx

CORPUS = ["Conv2d", "Graph", "GroupNorm", "LSTM", "MaxPool2d", "TransformerEncoder", "Upsample"]
CHANGES = 400


def changed(data, random):
    """One to three changes."""
    content = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at, n = random.integers(len(content)), random.integers(1, 8)
        kind = random.integers(3)
        if kind == 0:
            content[at] = random.integers(256)
        elif kind == 1:
            del content[at : at + n]
        else:
            content[at:at] = random.integers(0, 256, n, np.uint8).tobytes()
    return bytes(content)


@pytest.mark.parametrize("name", CORPUS)
def test_changed_files(name, record_property):
    model, inputs, batches = made(name)
    data = to_onnx(model, None, inputs).SerializeToString()
    random = np.random.default_rng(SEED)
    loaded = 0
    for _ in range(CHANGES):
        try:
            from_onnx(changed(data, random))(*batches)
            loaded += 1
        except ChainruleError:
            pass
    record_property("changed files", CHANGES)
    record_property("of which ran", loaded)
    assert 0 < loaded < CHANGES
