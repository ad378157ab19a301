"""The profiler counts what runs, and what does not run natively."""

import json
import threading

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError


def test_calls_times_and_fallbacks():
    x, n = cr.ones(4, requires_grad=True), cr.tensor([1, 2])
    with cr.profile() as p:
        (x * x).exp().sum().backward()
        n + n
        thread = threading.Thread(target=lambda: x.detach().log())
        thread.start()
        thread.join()
    assert p.calls["exp"] == 1 and p.calls["mul"] == 4 and "log" not in p.calls
    assert 0 < sum(p.seconds.values()) <= p.total
    assert p.fallbacks == {("cpu", "add"): 1}
    text = repr(p)
    assert "exp" in text and "declined by cpu: add × 1" in text
    x.detach().exp()
    assert p.calls["exp"] == 1


def test_bytes_and_operations():
    x, w, b = cr.ones(8, 3), cr.ones(5, 3, requires_grad=True), cr.ones(5, requires_grad=True)
    image, kernel = cr.ones(2, 3, 8, 8), cr.ones(4, 3, 3, 3, requires_grad=True)
    with cr.profile() as p:
        x.T.reshape(24)
        cr.linear(x, w, b).sum().backward()
        cr.conv2d(image, kernel, padding=1).sum().backward()
        x @ x.T
    assert p.flops["linear"] == 2 * 8 * 5 * 3 and p.flops["linear_vjp"] == 2 * 8 * 5 * 3  # x needs none
    assert p.flops["conv2d"] == p.flops["conv2d_vjp"] == 2 * (2 * 4 * 8 * 8) * (3 * 3 * 3)
    assert p.flops["matmul"] == 2 * 8 * 8 * 3
    assert p.bytes["permute"] == 0 and p.bytes["matmul"] == 4 * (24 + 24 + 64)
    assert "GFLOP/s" in repr(p)


def test_layers_and_a_trace(tmp_path):
    model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 2)))
    model(cr.ones(3, 4))
    with cr.profile(model, trace=True) as p:
        model(cr.ones(3, 4)).sum().backward()
    assert {*p.layers} == {"0", "1.0", "1.1", None} and {*p.backward} == {"0", "1.0", "1.1", None}
    assert abs(sum(p.layers.values()) + sum(p.backward.values()) - sum(p.seconds.values())) < 1e-9
    assert "1.1" in repr(p) and "(not in a layer)" in repr(p)
    p.export_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    kernels = [e for e in events if e["cat"] == "kernel"]
    assert len(kernels) == sum(p.calls.values()) and all(e["ph"] == "X" and e["dur"] >= 0 for e in events)
    assert [e["args"]["layer"] for e in kernels if e["name"] == "linear"] == ["0", "1.1"]
    back = [(e["name"], e["args"]["layer"]) for e in kernels if e["args"]["backward"] and e["name"].endswith("_vjp")]
    assert back == [("linear_vjp", "1.1"), ("relu_vjp", "1.0"), ("linear_vjp", "0")]
    spans = {e["name"]: e for e in events if e["cat"] == "layer"}
    assert {*spans} == {"Sequential", "0 Linear", "1 Sequential", "1.0 ReLU", "1.1 Linear"}
    inner, outer = spans["1.1 Linear"], spans["1 Sequential"]
    assert outer["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"]
    assert all(m._hooks is None for m in model.modules())
    with cr.profile() as p:
        pass
    with pytest.raises(ArgumentError, match="trace=True"):
        p.export_chrome_trace(tmp_path / "none.json")


def test_backward_is_that_of_the_layer_that_made_the_node():
    class Twice(nn.Module):
        """Calls a layer twice, and computes between and after."""

        def __init__(self):
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return self.inner((self.inner(x) * 2.0).tanh()) + x.exp()

    model, x = Twice(), cr.ones(2, 4, requires_grad=True)
    with cr.profile(model, trace=True) as p:
        (model(x) - 1.0).square().sum().backward()
        x + 1.0
    found = [(e["name"], e["args"]["layer"]) for e in p._events if e["cat"] == "kernel" and e["args"]["backward"]]
    assert [layer for name, layer in found if name == "linear_vjp"] == ["inner", "inner"]
    at = [name for name, _ in found].index("linear_vjp")
    assert not any(layer == "inner" for _, layer in found[:at])
    assert {"inner", "", None} == {*p.layers} and {"inner", None, ""} == {*p.backward}


def test_arrays_from_the_pool():
    with cr.profile() as p:
        x = cr.ones(256, 256)
        y = x.exp()
        x.reshape(-1)
        del y
        x.exp()
    assert p.allocations["exp"] == 2 and p.allocations["reshape"] == 0 and 0 <= p.fresh <= 3
    assert p.peak >= 2 * 256 * 256 * 4 and "arrays from the system" in repr(p)
