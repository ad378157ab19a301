"""ONNX files: written and read again, run, trained, saved; and files that are broken."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.onnx_models import MODELS, made, tensors

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, ChainruleError, FileFormatError, MissingFileError, NotSupportedError
from chainrule.interop import from_onnx, to_onnx
from chainrule.interop.onnx.exporters import Value, exporter

LAYERS = {cls for cls in vars(nn).values() if isinstance(cls, type) and issubclass(cls, nn.Module)}
BASES = {nn.Module, nn.ModuleDict, nn.ModuleList}
LEFT_OUT = {nn.Lambda}  # functions are not exported


@nn.register_function
def as_it_is(x):
    return x


@pytest.mark.parametrize("name", MODELS)
def test_written_and_read_again(name):
    model, inputs, batches = made(name)
    again = from_onnx(to_onnx(model, None, inputs))
    with cr.no_grad():
        pairs = zip(tensors(model(*batches)), tensors(again(*batches)), strict=True)
    for ours, theirs in pairs:
        assert theirs.dtype == ours.dtype
        np.testing.assert_allclose(theirs.numpy(), ours.numpy(), rtol=1e-5, atol=1e-5)


def test_every_layer_is_exported_or_named():
    from chainrule.interop.onnx.exporters import EXPORTERS, load_exporters

    load_exporters()
    missing = {cls.__name__ for cls in LAYERS - {*EXPORTERS} - BASES - LEFT_OUT}
    assert not missing
    same = nn.Lambda(as_it_is)
    with pytest.raises(NotSupportedError, match=r"1 \(Lambda\), 2\.0 \(Lambda\)"):
        to_onnx(nn.Sequential(nn.ReLU(), same, nn.Sequential(same)), None, (None, 3, 2))


@pytest.mark.parametrize("name", ["masked sequences", "masked both ways", "masked attention"])
def test_gradients_go_through_what_was_read_with_masks(name):
    model, inputs, (x,) = made(name)
    again, x = from_onnx(to_onnx(model, None, inputs)), cr.tensor(x.numpy(), requires_grad=True)
    ours, theirs = (cr.grad((m(x) ** 2).sum(), [x])[0].numpy() for m in (model, again))
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
    assert np.abs(ours[0]).max() > 1e-3 and not ours[4].any()  # nothing of what is padding alone


def test_masks_that_cannot_be_exported_are_said():
    @nn.register
    class Positive(nn.Module):
        """Steps that begin with a positive number count."""

        makes_mask = True

        def compute_mask(self, x):
            return x[..., 0] > 0

        def forward(self, x):
            return x

    model = nn.Sequential(Positive(), nn.LSTM(2, 3, batch_first=True))
    with pytest.raises(NotSupportedError, match=r"0 \(Positive\)"):
        to_onnx(model, None, (None, 4, 2))
    exporter(Positive)(lambda w, layer, x: x.name)
    with pytest.raises(NotSupportedError, match="Positive makes a mask, which masks="):
        to_onnx(model, None, (None, 4, 2))

    def positive(w, layer, x):
        first = w.node("Squeeze", [w.slice(x, 2, 0, 1), w.integers(2)])
        return Value(w.node("Greater", [first, w.constant(0.0, x)]), layer.compute_mask(x.example))

    exporter(Positive, masks=positive)(lambda w, layer, x: x.name)
    again, x = from_onnx(to_onnx(model, None, (None, None, 2))), cr.randn(5, 7, 2)
    np.testing.assert_allclose(again(x).detach().numpy(), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_subclass_that_computes_something_else_is_named():
    class Named(nn.Sequential):
        """It only begins otherwise."""

        def __init__(self):
            super().__init__(nn.Linear(3, 2))

    class Squared(nn.LSTM):
        def _sequence(self, *args, reverse):
            return super()._sequence(*args, reverse=reverse)

    assert len(to_onnx(Named(), None, (None, 3)).graph.node) == 1
    with pytest.raises(NotSupportedError, match=r"the model \(Squared\)"):
        to_onnx(Squared(3, 2), None, (None, 4, 3))


def model_of(nodes, inputs, outputs, tensors=(), opset=17):
    """A model of nodes; inputs and outputs are (name, shape), of float32."""
    infos = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in each] for each in (inputs, outputs)]
    arrays = [numpy_helper.from_array(np.asarray(a), n) for n, a in dict(tensors).items()]
    graph = helper.make_graph(nodes, "g", *infos, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def small():
    """A classifier of float64-free, everyday nodes, with arithmetic of shapes."""
    weight = np.random.default_rng(0).normal(size=(4, 1, 3, 3)).astype(np.float32)
    return model_of(
        [
            helper.make_node("Conv", ["x", "conv.w"], ["a"], name="/conv/Conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "zero"], ["n"]),
            helper.make_node("Mul", ["two", "three"], ["six"]),
            helper.make_node("Unsqueeze", ["n", "first"], ["n1"]),
            helper.make_node("Concat", ["n1", "minus"], ["shape"], axis=0),
            helper.make_node("Reshape", ["b", "shape"], ["c"]),
            helper.make_node("Gemm", ["c", "fc.w", "fc.b"], ["y"], transB=1, name="fc"),
        ],
        [("x", ["n", 1, 4, 4])], [("y", ["n", 2])],
        {
            "conv.w": weight, "fc.w": np.ones((2, 64), np.float32) / 8, "fc.b": np.zeros(2, np.float32),
            "zero": np.int64(0), "two": np.int64(2), "three": np.int64(3), "first": np.array([0]), "minus": np.array([-1]),
        },
    )  # fmt: skip


def test_a_model_runs_can_be_seen_trained_and_saved(tmp_path):
    onnx.save(small(), tmp_path / "small.onnx")
    model = from_onnx(tmp_path / "small.onnx")
    assert "six" not in {name for node in model.nodes.values() for name in node.inputs + node.outputs}
    assert [*dict(model.named_parameters())] == ["conv_Conv.weight", "fc.weight", "fc.bias"]
    assert model.input_names == ("x",) and model.input_shapes == ((None, 1, 4, 4),) and model.output_names == ("y",)
    assert model["fc"].op == "Gemm" and "fc" in repr(model) and "conv_Conv" in str(model.summary((None, 1, 4, 4)))
    x, target = cr.randn(6, 1, 4, 4), cr.randint(0, 2, (6,))
    model.compile("cross_entropy", cr.optim.Adam(model.parameters(), lr=0.05))
    before = model.train_on_batch(x, target)["loss"]
    for _ in range(10):
        after = model.train_on_batch(x, target)["loss"]
    assert float(after) < float(before)
    model.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again(x).detach().numpy(), model(x).detach().numpy())


def test_gradients_are_those_of_differences():
    model = from_onnx(small()).to("float64")
    x = cr.randn(2, 1, 4, 4, dtype="float64", requires_grad=True)
    assert cr.gradcheck(lambda v: model(v), (x,))


def test_unknown_operators_are_all_named():
    nodes = [helper.make_node("StringSplit", ["x"], [f"a{i}", f"b{i}", f"c{i}"]) for i in range(2)]
    nodes.append(helper.make_node("Foo", ["x"], ["y"], domain="my.own"))
    with pytest.raises(NotSupportedError, match="StringSplit × 2, my.own.Foo × 1"):
        from_onnx(model_of(nodes, [("x", [1])], [("y", [1])]))


def test_branches_and_loops_see_the_values_around_them(tmp_path):
    body = [helper.make_node("Mul", ["x", "k"], ["t"]), helper.make_node("Identity", ["x"], ["e"])]
    out = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [2])] for n in "te"]
    branches = [helper.make_graph([node], node.op_type, [], info) for node, info in zip(body, out, strict=True)]
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    constants = {"k": np.float32([3, 4]), "zero": np.float32(0)}
    model = from_onnx(model_of(nodes, [("x", [2])], [("y", [2])], constants))
    assert model(cr.tensor([1.0, 2.0])).tolist() == [3.0, 8.0] and model(cr.tensor([-1.0, -2.0])).tolist() == [
        -1.0,
        -2.0,
    ]
    model.save(tmp_path / "branches.safetensors")
    assert cr.load(tmp_path / "branches.safetensors")(cr.tensor([1.0, 2.0])).tolist() == [3.0, 8.0]


def broken():
    """Models that cannot be, and what is said of them."""
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    ends = [("x", [2])], [("y", [2])]
    circle = [
        helper.make_node("Add", ["x", "b"], ["a"], name="one"),
        helper.make_node("Relu", ["a"], ["b"], name="two"),
    ]
    huge = model_of(relu, *ends, {"w": np.zeros(2, np.float32)})
    huge.graph.initializer[0].dims[0] = 1 << 60
    negative = model_of(relu, *ends, {"w": np.zeros(2, np.float32)})
    negative.graph.initializer[0].dims[0] = -2
    short = model_of(relu, *ends, {"w": np.zeros(4, np.float32)})
    short.graph.initializer[0].raw_data = b"1234"
    fill = helper.make_node("ConstantOfShape", ["w"], ["y"])
    return {
        "circle of nodes, among 'one', 'two'": model_of([*circle, *relu], *ends),
        "needs 'z', which nothing makes": model_of([helper.make_node("Relu", ["z"], ["y"])], *ends),
        "output 'q' is made by nothing": model_of(relu, ends[0], [("q", [2])]),
        "'y' is made twice": model_of(relu * 2, *ends),
        "expected sizes from 0": huge,
        "expected sizes from 0 and": negative,
        "has 4 bytes, but shape": short,
        "3 inputs, expected 2": model_of([helper.make_node("Add", ["x"] * 3, ["y"])], *ends),
        "has axis as FLOAT, expected INT": model_of([helper.make_node("Concat", ["x"], ["y"], axis=0.5)], *ends),
        "a Conv, has strides as INT, expected INTS": model_of(
            [helper.make_node("Conv", ["x", "w"], ["y"], strides=1)], *ends, {"w": np.zeros((1, 1, 1), np.float32)}
        ),
        "kernel_shape is .*, expected 1 sizes from 1": model_of(
            [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[-(1 << 31)])], [("x", [1, 1, 2])], ends[1]
        ),
        "expected 1 to 268435456 elements": model_of(
            [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[1 << 20], pads=[1 << 30, 0])],
            [("x", [1, 1, 2])],
            ends[1],
        ),
        "'z' was not made: a node has outputs too many": model_of(
            [helper.make_node("Relu", ["x"], ["a", "z"]), helper.make_node("Add", ["a", "z"], ["y"])], *ends
        ),
        "at most 64 dimensions|up to 32 dimensions": model_of(
            [helper.make_node("Expand", ["x", "w"], ["y"])], *ends, {"w": np.array([*[1] * 39, 2])}
        ),
        "lacks the attribute axis": model_of([helper.make_node("Concat", ["x"], ["y"])], *ends),
        "at most 2147483648 elements": model_of([fill], *ends, {"w": np.array([1 << 40, 1 << 40])}),
    }


@pytest.mark.parametrize("message", broken())
def test_what_cannot_be_is_said(message):
    with pytest.raises(ChainruleError, match=message):  # noqa: PT012
        model = from_onnx(broken()[message])
        model(cr.ones(*model.input_shapes[0]))


def test_strides_out_of_all_proportion_cost_nothing():
    """A stride of 100,000,000 took 9 GB and two minutes, one of 2**62 had no end."""
    x, w = cr.randn(1, 1, 5, 7), np.ones((1, 1, 3, 3), np.float32)
    ends = [("x", [1, 1, 5, 7])], [("y", [1, 1, 3, 1])]

    def convolution(strides):
        return from_onnx(model_of([helper.make_node("Conv", ["x", "w"], ["y"], strides=strides)], *ends, {"w": w}))

    wanted = convolution([1, 7])(x).detach().numpy()
    np.testing.assert_array_equal(convolution([1, 10**8])(x).detach().numpy(), wanted)
    np.testing.assert_array_equal(convolution([1, (1 << 31) - 1])(x).detach().numpy(), wanted)
    for stride in (1 << 31, 1 << 62, (1 << 63) - 1):
        with pytest.raises(ArgumentError, match="at most 2147483647"):
            convolution([1, stride])(x)
    with pytest.raises(ArgumentError, match="at most 2147483647"):
        cr.ops.conv2d(x, cr.tensor(w), padding=(1, (1 << 63) - 1))  # which was one of -1


def test_files_that_are_none(tmp_path):
    with pytest.raises(MissingFileError, match="no file"):
        from_onnx(tmp_path / "nothing.onnx")
    for data in (b"", b"not a model", b"\x08\x08"):
        (tmp_path / "bad.onnx").write_bytes(data)
        with pytest.raises(FileFormatError, match="bad.onnx is not an ONNX file"):
            from_onnx(tmp_path / "bad.onnx")
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(1 << 31)  # a hole, that takes no room
    with pytest.raises(FileFormatError, match="large.onnx has 2147483648 bytes"):
        from_onnx(tmp_path / "large.onnx")
    data = small().SerializeToString()
    with pytest.raises(NotSupportedError, match="Gems × 1"):
        from_onnx(data.replace(b"Gemm", b"Gems"))
    for name in (b"Relu", b"conv.w", b"transB", b"/conv/Conv"):
        with pytest.raises(FileFormatError, match="has the name b'.*', which is no UTF-8 text"):
            from_onnx(data.replace(name, name[:-2] + b"\xff\xfe"))
    with pytest.raises(ChainruleError, match="got a int"):
        from_onnx(3)
    with pytest.raises(NotSupportedError, match="opset 5"):
        from_onnx(model_of([helper.make_node("Relu", ["x"], ["y"])], [("x", [2])], [("y", [2])], opset=5))


def test_truncated_files_and_changed_bytes_give_errors_of_ours():
    data = small().SerializeToString()
    damaged = [data[:n] for n in range(0, len(data), 3)]
    random = np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(data)
        changed[random.integers(len(data))] = random.integers(256)
        damaged.append(bytes(changed))
    loaded = 0
    for part in damaged:
        try:
            from_onnx(part)
            loaded += 1
        except ChainruleError as error:
            assert len(str(error)) > 20  # noqa: PT017
    assert loaded < len(damaged) / 2


def test_weights_in_files_beside_the_model(tmp_path):
    weights = tmp_path / "weights"
    onnx.save(small(), tmp_path / "m.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    x = cr.randn(3, 1, 4, 4)
    np.testing.assert_array_equal(
        from_onnx(tmp_path / "m.onnx")(x).detach().numpy(), from_onnx(small())(x).detach().numpy()
    )
    data = weights.read_bytes()
    weights.write_bytes(data[:100])
    with pytest.raises(FileFormatError, match="a file of 100"):
        from_onnx(tmp_path / "m.onnx")
    weights.unlink()
    with pytest.raises(FileFormatError, match="which is not there"):
        from_onnx(tmp_path / "m.onnx")
    (tmp_path / "elsewhere").write_bytes(data)
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileFormatError, match="within the folder"):
        from_onnx(tmp_path / "m.onnx")
    outside = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for tensor in outside.graph.initializer:
        tensor.external_data[0].value = "../elsewhere"
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "m.onnx").write_bytes(outside.SerializeToString())
    with pytest.raises(FileFormatError, match="within the folder"):
        from_onnx(tmp_path / "inner" / "m.onnx")


def test_functions_that_grow_without_end():
    def calls(name, inner):
        nodes = [helper.make_node(inner, ["x"], [f"a{i}"], domain="f") for i in range(10)]
        nodes.append(helper.make_node("Identity", ["a0"], ["y"]))
        return helper.make_function(
            "f", name, ["x"], ["y"], nodes, [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
        )

    for names in (["a", "b", "a"], [*"abcdefghij"]):
        functions = [calls(n, m) for n, m in zip(names[:-1], names[1:], strict=True)]
        if names[-1] == "j":
            functions.append(helper.make_function("f", "j", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])],
                                                  [helper.make_opsetid("", 17)]))  # fmt: skip
        model = model_of([helper.make_node("a", ["x"], ["y"], domain="f")], [("x", [2])], [("y", [2])])
        model.functions.extend(functions)
        model.opset_import.append(helper.make_opsetid("f", 1))
        with pytest.raises(FileFormatError, match="calls itself|expected at most"):
            from_onnx(model)


def test_a_graph_that_the_checker_does_not_allow_is_not_written():
    nodes = [helper.make_node("Swish", ["x"], ["y"])]
    graph = from_onnx(model_of(nodes, [("x", [2])], [("y", [2])], opset=20))  # Swish is of opset 24
    with pytest.raises(ArgumentError, match="does not allow what was made: No Op registered for Swish"):
        to_onnx(graph, None)


def test_what_a_model_is_called_with():
    model = from_onnx(small())
    x = cr.ones(2, 1, 4, 4)
    assert model({"x": x}).shape == (2, 2)
    for given, message in (
        ((x, x), "got 2 inputs"),
        (({"z": x},), "got the inputs z"),
        ((cr.ones(4),), "expected 4 axes"),
    ):
        with pytest.raises(ArgumentError, match=message):
            model(*given)
    with pytest.raises(ChainruleError, match="is of int64"):
        model(cr.ones(2, 1, 4, 4, dtype="int64"))


def test_half_precision_is_read_from_either_field():
    values = np.float16([1.5, -2.0])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    bits = [int(b) for b in values.view(np.uint16)]
    for fields in ({"raw_data": values.tobytes()}, {"int32_data": bits}):
        model = model_of([node], [("x", [2])], [("y", [2])])
        model.graph.initializer.append(TensorProto(name="w", dims=[2], data_type=TensorProto.FLOAT16, **fields))
        (parameter,) = from_onnx(model).parameters()
        assert parameter.dtype == "float16" and parameter.tolist() == [1.5, -2.0]
