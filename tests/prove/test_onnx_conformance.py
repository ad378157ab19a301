"""The cases of the ONNX project: each operator's, PyTorch's, and nine topologies. What is not supported is refused by name.

Figures are kept with the record: cases passed, refused, and by which operators.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import chainrule as cr
from chainrule.domain.errors import DTypeError, NotSupportedError
from chainrule.interop import from_onnx, to_onnx
from chainrule.interop.onnx import operators

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
SPACINGS = {"float16": 2.0**-9, "bfloat16": 2.0**-6}  # two: on the way attention rounds five times, in its order
# random numbers cannot agree; shifts by negative numbers are undefined
EXCEPTED = ("test_bernoulli", "test_training_dropout", "negative_shift")
ZERO = "_zero_ratio"  # of dropout that drops nothing


def arrays(value):
    """A case's value as arrays, in lists where it is a sequence."""
    readers = {"TensorProto": "to_array", "SequenceProto": "to_list", "OptionalProto": "to_optional"}
    reader = readers.get(type(value).__name__)
    return value if reader is None else getattr(numpy_helper, reader)(value)


def given(value):
    value = arrays(value)
    if value is None:
        return None
    return [given(v) for v in value] if isinstance(value, list) else cr.tensor(np.array(value))


def agree(got, want, rtol, atol):
    if want is None or isinstance(want, list):
        assert (got is None) == (want is None) and len(got or ()) == len(want or ())
        for g, w in zip(got or (), want or (), strict=True):
            agree(g, w, rtol, atol)
        return
    got, want = got.numpy(), np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    rtol = max(rtol, SPACINGS.get(want.dtype.name, 0.0))
    if want.dtype.kind not in "biuf":
        got, want = got.astype(np.float32), want.astype(np.float32)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


def compare(model, data_sets, rtol, atol):
    for inputs, outputs in data_sets:
        got = model(*map(given, inputs))
        for g, w in zip(got if len(model.output_names) > 1 else (got,), outputs, strict=True):
            agree(g, arrays(w), rtol, atol)


def test_every_case_of_an_operator_passes_or_is_refused(record_property):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases divide by 0 as they are made
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    passed, refused, failed, again = Counter(), Counter(), [], 0
    for case in cases:
        nodes = case.model.graph.node
        name = nodes[0].op_type if len(nodes) == 1 else "functions in parts"
        if any(part in case.name for part in EXCEPTED) and ZERO not in case.name:
            continue
        try:
            model = from_onnx(case.model)
        except NotSupportedError:
            refused[name] += 1
            continue
        try:
            compare(model, case.data_sets, case.rtol, case.atol)
            passed[name] += 1
            if not any(text.get("kind") == "optional" for text in model.config["inputs"]):
                compare(from_onnx(to_onnx(model, None)), case.data_sets, case.rtol, case.atol)
                again += 1
        except Exception as error:  # all are listed at once
            failed.append(f"{case.name}: {type(error).__name__} {str(error)[:200]}")
    record_property("operators known", len(operators()))
    record_property("operators with a case that passes", len(passed))
    record_property("cases passed", sum(passed.values()))
    record_property("cases written again, which pass", again)
    record_property("cases refused", sum(refused.values()))
    assert not failed, "\n".join(failed)
    assert len(operators()) >= 150 and len(passed) >= 150 and sum(passed.values()) >= 1400


def value_of(path, kind):
    proto = onnx.SequenceProto() if kind == "sequence_type" else onnx.TensorProto()
    proto.ParseFromString(path.read_bytes())
    return proto


REFUSED = ("gradient_of", "strnorm")  # gradients of a graph as nodes, and texts


@pytest.mark.parametrize("folder", ["pytorch-converted", "pytorch-operator", "simple"])
def test_cases_in_files(folder, record_property):
    passed = 0
    for case in sorted((DATA / folder).iterdir()):
        proto = onnx.load(case / "model.onnx")
        if any(word in case.name for word in REFUSED):
            with pytest.raises(NotSupportedError, match=r"Gradient|StringNormalizer"):
                from_onnx(proto)
            continue
        model = from_onnx(case / "model.onnx")
        held = {tensor.name for tensor in proto.graph.initializer}
        starts = [v.type.WhichOneof("value") for v in proto.graph.input if v.name not in held]
        ends = [v.type.WhichOneof("value") for v in proto.graph.output]
        for data in case.glob("test_data_set_*"):
            inputs = [value_of(data / f"input_{i}.pb", kind) for i, kind in enumerate(starts)]
            outputs = [value_of(data / f"output_{i}.pb", kind) for i, kind in enumerate(ends)]
            compare(model, [(inputs, outputs)], 1e-3, 1e-6)
        passed += 1
    record_property("cases passed", passed)
    assert passed == {"pytorch-converted": 82, "pytorch-operator": 35, "simple": 15}[folder]


@pytest.mark.parametrize("path", sorted((DATA / "light").glob("*.onnx")), ids=lambda p: p.stem)
def test_topologies(path):
    """Their weights are constants, and their input counts up; what they should give is in a file beside them."""
    model = from_onnx(path)
    shape = [n or 1 for n in model.input_shapes[0]]
    x = (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)
    with cr.no_grad():
        y = model(cr.tensor(x))
    agree(y, arrays(value_of(path.with_name(f"{path.stem}_output_0.pb"), "tensor_type")), 1e-3, 1e-6)


def test_dtypes_that_chainrule_has_not_are_named():
    info = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT32, [2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [info], [info])
    with pytest.raises((NotSupportedError, DTypeError), match="uint32"):
        from_onnx(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]))
