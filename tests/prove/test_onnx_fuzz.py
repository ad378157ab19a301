"""ONNX files with bytes or nodes changed, left out and put in: they load and run, or an error of ours says why not."""

from __future__ import annotations

import random
import signal

import numpy as np
import pytest
from onnx import AttributeProto, ModelProto, helper, numpy_helper
from tests.onnx_models import MODELS, made
from tests.prove.fuzz import SEED

from chainrule.domain.errors import ChainruleError
from chainrule.interop import from_onnx, to_onnx
from chainrule.interop.onnx import operators

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


GRAPHS = 2000
SECONDS = 30  # that one file may take
INTEGERS = [0, 1, -1, 2, 3, -7, 63, (1 << 31) - 1, -(1 << 31), 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 1, -(1 << 63)]
FLOATS = [0.0, -1.0, 1e-30, 1e38, np.nan, np.inf, -np.inf, 0.5]
TEXTS = [b"", b"linear", b"SAME_UPPER", b"reverse", b"cubic", b"wrap"]
NAMES = "axis axes keepdims to perm direction kernel_shape alpha mode num_outputs k allowzero epsilon".split()


def change_node(graph, chance):
    """Another operator, other inputs, other attributes; a node left out or twice."""
    node = chance.choice(graph.node)
    values = [o for n in graph.node for o in n.output] + [t.name for t in graph.initializer]
    kind = chance.randrange(7)
    if kind == 0:
        node.op_type = chance.choice([*operators()]).rpartition(".")[2]
    elif kind == 1:
        node.input.append(chance.choice([*values, ""]))
    elif kind in (2, 3) and node.input:
        at = chance.randrange(len(node.input))
        node.input[at : at + 1] = [chance.choice(values)] if kind == 2 else []
    elif kind == 4 and len(graph.node) > 1:
        graph.node.remove(node)
    elif kind == 5:
        graph.node.append(node)
    else:
        value = chance.choice([chance.choice(INTEGERS), [chance.choice(INTEGERS)], chance.choice(FLOATS), b"x"])
        node.attribute.append(helper.make_attribute(chance.choice(NAMES), value))


def change_attribute(graph, chance):
    """Another value of its type."""
    found = [a for node in graph.node for a in node.attribute]
    if not found:
        return
    a = chance.choice(found)
    if a.type == AttributeProto.INT:
        a.i = chance.choice(INTEGERS)
    elif a.type == AttributeProto.FLOAT:
        a.f = chance.choice(FLOATS)
    elif a.type == AttributeProto.STRING:
        a.s = chance.choice(TEXTS)
    elif a.type == AttributeProto.INTS and a.ints:
        a.ints[chance.randrange(len(a.ints))] = chance.choice(INTEGERS)


def change_tensor(graph, chance):
    """Other numbers, another shape, another dtype."""
    if not graph.initializer:
        return
    tensor = chance.choice(graph.initializer)
    array = numpy_helper.to_array(tensor).copy()
    kind = chance.randrange(4)
    if kind == 0 and array.size and array.dtype in (np.int64, np.float32):
        array.reshape(-1)[chance.randrange(array.size)] = chance.choice(INTEGERS if array.dtype == np.int64 else FLOATS)
    elif kind == 1:
        array = array[None] if chance.random() < 0.5 else array.reshape(-1)
    elif kind == 2:
        array = array.astype(chance.choice(["f2", "f8", "i8", "i4", "u1", "?"]))
    elif kind == 3 and array.ndim:
        array = array[: chance.randrange(2)]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_changed_graphs(record_property):
    """What a change of bytes seldom makes: files that can be read, of graphs that nobody meant."""

    def too_slow(*_):
        raise AssertionError(f"a file took more than {SECONDS} seconds")

    chance, ran = random.Random(SEED), 0
    files = [(to_onnx(model, None, inputs, opset=18), batches) for model, inputs, batches in map(made, MODELS)]
    before = signal.signal(signal.SIGALRM, too_slow)
    try:
        for _ in range(GRAPHS):
            proto, batches = chance.choice(files)
            changed = ModelProto()
            changed.CopyFrom(proto)
            for _ in range(chance.randint(1, 3)):
                if changed.graph.node:
                    chance.choice([change_node, change_attribute, change_tensor])(changed.graph, chance)
            signal.alarm(SECONDS)
            try:
                from_onnx(changed.SerializeToString())(*batches)
                ran += 1
            except ChainruleError:
                pass
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    record_property("changed graphs", GRAPHS)
    record_property("of which ran", ran)
    assert GRAPHS / 10 < ran < GRAPHS
