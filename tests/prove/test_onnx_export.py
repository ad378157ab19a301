"""What chainrule writes as ONNX, onnxruntime computes: every layer, at every opset, for batches of several sizes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.onnx_models import MODELS, made, tensors

import chainrule as cr
from chainrule import nn
from chainrule.interop import from_onnx, to_onnx

runtime = pytest.importorskip("onnxruntime")
runtime.set_default_logger_severity(3)


def computed(proto, batches):
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: x.numpy() for i, x in zip(session.get_inputs(), batches, strict=True)})


@pytest.mark.parametrize("opset", [17, 18, 20, 22])
@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_gives_the_same(name, opset, record_property):
    model, inputs, batches = made(name)
    proto = to_onnx(model, None, inputs, opset=opset)
    with cr.no_grad():
        wanted = [y.numpy() for y in tensors(model(*batches))]
    largest = 0.0
    for theirs, ours in zip(computed(proto, batches), wanted, strict=True):
        assert (theirs.shape, theirs.dtype) == (ours.shape, ours.dtype)
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)
        largest = max(largest, float(np.abs(theirs.astype(np.float64) - ours).max(initial=0)))
    record_property("largest deviation", largest)


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_gives_the_same_for_what_was_read_and_written_again(name):
    model, inputs, batches = made(name)
    proto = to_onnx(model, None, inputs)
    graph = from_onnx(proto)
    for theirs, again in zip(computed(proto, batches), computed(to_onnx(graph, None), batches), strict=True):
        np.testing.assert_allclose(again, theirs, rtol=1e-6, atol=1e-6)
    with cr.no_grad():
        for parameter in graph.parameters():  # as if it had been trained
            parameter *= 1.5
        wanted = tensors(graph(*batches))
    for theirs, ours in zip(computed(to_onnx(graph, None), batches), wanted, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-5, atol=1e-5)


def test_a_convolutional_network_with_any_batch(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(8, kernel_size=3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2),
        nn.Residual(nn.Sequential(nn.Conv2d(8, kernel_size=3, padding=1), nn.GroupNorm(2), nn.SiLU())),
        nn.GlobalAvgPool2d(), nn.Flatten(), nn.Dropout(), nn.Linear(10),
    )  # fmt: skip
    model(cr.randn(16, 3, 16, 16))
    to_onnx(model, tmp_path / "net.onnx", (1, 3, 16, 16))
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    again = from_onnx(tmp_path / "net.onnx")
    model.eval()
    for n in (1, 2, 7):
        x = cr.randn(n, 3, 16, 16)
        y = model(x).detach().numpy()
        np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(again(x).detach().numpy(), y, rtol=1e-5, atol=1e-5)
    fixed = to_onnx(model, None, (1, 3, 16, 16), dynamic_batch=False)
    assert [d.dim_value for d in fixed.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 16, 16]
