"""Graphs that were read from ONNX files, written as files again: the same operators, names and weights, trained or not."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.onnx_models import made, tensors

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, NotSupportedError
from chainrule.interop import from_onnx, to_onnx

NAMES = ["Conv2d", "Graph", "GroupNorm", "BatchNorm2d", "LSTM", "TransformerEncoder", "Upsample", "Embedding"]


def same(a, b, batches):
    assert dict(a.get_config()) == dict(b.get_config())
    assert [*a.state_dict()] == [*b.state_dict()]
    assert [*dict(a.named_parameters())] == [*dict(b.named_parameters())]
    with cr.no_grad():
        for x, y in zip(tensors(a(*batches)), tensors(b(*batches)), strict=True):
            np.testing.assert_array_equal(x.numpy(), y.numpy())


@pytest.mark.parametrize("name", NAMES)
def test_what_was_read_is_written_again(name):
    model, inputs, batches = made(name)
    graph = from_onnx(to_onnx(model, None, inputs))
    proto = to_onnx(graph, None)
    assert [node.op_type for node in proto.graph.node] == [node.op for node in graph.nodes.values()]
    same(graph, from_onnx(proto), batches)


def test_a_graph_that_was_trained_is_written_as_it_is_now(tmp_path):
    model, x = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)), cr.randn(16, 3)
    before = to_onnx(model, None, (None, 3))
    graph = from_onnx(before)
    graph.compile("cross_entropy", cr.optim.Adam(graph.parameters(), lr=0.1))
    for _ in range(3):
        graph.train_on_batch(x, cr.randint(0, 2, (16,)))
    graph.train()
    after = to_onnx(graph, tmp_path / "trained.onnx")
    assert graph.training
    kept = {t.name: numpy_helper.to_array(t) for t in after.graph.initializer}
    was = {t.name: numpy_helper.to_array(t) for t in before.graph.initializer}
    assert {*kept} == {*was} and all((kept[name] != was[name]).any() for name in kept)
    graph.eval()
    same(graph, from_onnx(tmp_path / "trained.onnx"), [x])
    graph.save(tmp_path / "trained.safetensors")
    assert to_onnx(cr.load(tmp_path / "trained.safetensors"), None) == after
    wide = to_onnx(graph.to("float64"), None)  # the file says float32, and so are its weights
    assert wide == after


def branches():
    """A branch and a loop, whose graphs use values around them, hold tensors of one name, and give back what they hold."""
    number = [helper.make_tensor_value_info("r", TensorProto.FLOAT, [2])]
    held = [numpy_helper.from_array(np.array([n, n], np.float32), "k") for n in (3.0, 4.0)]
    then = helper.make_graph([helper.make_node("Mul", ["a", "k"], ["r"])], "then", [], number, [held[0]])
    other = helper.make_graph([helper.make_node("Identity", ["k"], ["r"])], "else", [], number, [held[1]])
    body = helper.make_graph(
        [helper.make_node("Add", ["v", "x"], ["v2"]), helper.make_node("Identity", ["go"], ["go2"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_empty_tensor_value_info("v")],
        [helper.make_tensor_value_info("go2", TensorProto.BOOL, []),
         helper.make_tensor_value_info("v2", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("If", ["positive"], ["b"], then_branch=then, else_branch=other),
        helper.make_node("Loop", ["three", "", "b"], ["y"], body=body),
    ]
    infos = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])] for name in "xy"]
    constants = [numpy_helper.from_array(np.float32(0), "zero"), numpy_helper.from_array(np.int64(3), "three")]
    graph = helper.make_graph(nodes, "g", *infos, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_graphs_inside_nodes():
    graph = from_onnx(branches())
    proto = to_onnx(graph, None)
    assert proto.opset_import[0].version == 21
    for x in ([1.0, 2.0], [-1.0, -2.0]):
        same(graph, from_onnx(proto), [cr.tensor(x)])
    wanted = {(1.0, 2.0): [0.0, 0.0], (-1.0, -2.0): [1.0, -2.0]}
    for x, y in wanted.items():
        assert from_onnx(proto)(cr.tensor(x)).tolist() == y
    inside = to_onnx(nn.Sequential(graph, nn.ReLU()), None, (2,), opset=21, dynamic_batch=False)
    assert from_onnx(inside)(cr.tensor([-1.0, -2.0])).tolist() == [1.0, 0.0]


def test_a_graph_inside_a_model_of_ours():
    backbone = from_onnx(to_onnx(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), None, (None, 3)))
    model = nn.Sequential({"backbone": backbone, "head": nn.Linear(4, 2)})
    x = cr.randn(5, 3)
    proto = to_onnx(model, None, (None, 3))
    again = from_onnx(proto)
    np.testing.assert_array_equal(again(x).numpy(), model(x).detach().numpy())
    assert "head.weight" in {t.name for t in proto.graph.initializer}
    twice = nn.Sequential(from_onnx(proto), from_onnx(to_onnx(nn.Sequential(nn.Linear(2, 3)), None, (None, 2))))
    np.testing.assert_array_equal(from_onnx(to_onnx(twice, None, (None, 3)))(x).numpy(), twice(x).detach().numpy())


def test_outputs_that_no_node_makes():
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("k1", "k2", "y")]
    nodes = [helper.make_node("Identity", ["k"], ["k1"]), helper.make_node("Identity", ["k"], ["k2"]),
             helper.make_node("Abs", ["x"], ["y"])]  # fmt: skip
    held = numpy_helper.from_array(np.array([1, 2], np.float32), "k")
    proto = helper.make_model(helper.make_graph(nodes, "g", [info], ends, [held]), ir_version=8)
    proto.opset_import[0].version = 17
    graph = from_onnx(to_onnx(from_onnx(proto), None))
    assert [y.tolist() for y in graph(cr.tensor([-1.0, 3.0]))] == [[1.0, 2.0], [1.0, 2.0], [1.0, 3.0]]


def test_what_cannot_be_is_said():
    graph = from_onnx(to_onnx(nn.Sequential(nn.Linear(3, 2)), None, (None, 3)))
    with pytest.raises(ArgumentError, match="has its inputs: give none"):
        to_onnx(graph, None, (None, 3))
    with pytest.raises(NotSupportedError, match=r"of opset 17 and is written in that, not in 20"):
        to_onnx(graph, None, opset=20)
    with pytest.raises(NotSupportedError, match=r"of opset 17: export the whole with opset=17"):
        to_onnx(nn.Sequential(graph), None, (None, 3), opset=20)
    info = onnx.ValueInfoProto(name="x")
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    info.type.CopyFrom(helper.make_optional_type_proto(kind))
    end = helper.make_tensor_value_info("y", TensorProto.BOOL, [])
    proto = helper.make_model(
        helper.make_graph([helper.make_node("OptionalHasElement", ["x"], ["y"])], "g", [info], [end]), ir_version=8
    )
    proto.opset_import[0].version = 18
    with pytest.raises(NotSupportedError, match="'x' is of the kind optional"):
        to_onnx(from_onnx(proto), None)
