"""Modules as ONNX files."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ...domain.errors import ArgumentError, FileWriteError, NotSupportedError
from ...io.atomic import atomic_write
from ...modes import no_grad
from ...nn import Graph, Module
from ...nn.build import batches_of, is_size
from ...tensor import Tensor
from .exporters import NUMBERS, Value, Writer, flat, load_exporters, strangers
from .graph import OnnxGraph
from .reader import nodes_within, onnx_library

OLDEST, NEWEST = 17, 23
IR = 8  # the version of the file format: of opset 17, and read by all that came after
LARGEST = (1 << 31) - (1 << 20)  # bytes of weights that fit into one protobuf message


def to_onnx(
    model: Module, path: Any, inputs: Any = None, *, opset: int | None = None, dynamic_batch: bool = True
) -> Any:
    """Write a model as an ONNX file, in evaluation mode; the ``onnx.ModelProto`` is returned, and only that for path None.

    ``inputs`` is what ``model.build`` takes: a shape with the batch, None where a size is open, or a batch; for several
    inputs a tuple of them. A Graph knows its own. With ``dynamic_batch`` the first axis is open, whatever is given.
    Initializers have the names of the state_dict. Random layers do nothing; masks of steps are computed in the file, which has
    passed ``onnx.checker``. ``opset`` is 17 to 23, 17 if none is given. What ``from_onnx`` read is written again, trained or
    not: the same operators of the same opset, values and weights under the names they had, for the inputs it has. Errors:
    NotSupportedError with all layers that cannot be exported, ArgumentError, FileWriteError.

    >>> from chainrule import interop, nn
    >>> model = nn.Sequential(nn.Conv2d(4, kernel_size=3), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(2))
    >>> proto = interop.to_onnx(model, None, (None, 1, 8, 8))
    >>> [node.op_type for node in proto.graph.node]
    ['Conv', 'Relu', 'GlobalAveragePool', 'Flatten', 'Gemm']
    """
    onnx = onnx_library()
    if opset is not None and not OLDEST <= opset <= NEWEST and not isinstance(model, OnnxGraph):
        raise ArgumentError(f"[to_onnx] opset is {opset!r}, expected {OLDEST} to {NEWEST}")
    load_exporters()
    unknown = strangers(model)
    if unknown:
        listed = ", ".join(f"{path} ({name})" for path, name in unknown.items())
        raise NotSupportedError(
            f"[to_onnx] these layers cannot be exported: {listed}. @interop.onnx.exporter gives a class of your own"
        )
    modes = [(module, module.training) for module in model.modules()]
    try:
        with no_grad():
            model.eval()
            if isinstance(model, OnnxGraph):
                proto = again(model, inputs, opset)
            else:
                proto = made(model, inputs, opset or OLDEST, dynamic_batch)
    finally:
        for module, training in modes:
            module.training = training
    try:
        onnx.checker.check_model(proto, full_check=not isinstance(model, OnnxGraph))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ArgumentError(f"[to_onnx] onnx.checker does not allow what was made: {error}") from error
    if path is not None:
        with atomic_write(path) as file:
            file.write(proto.SerializeToString())
    return proto


def example(model: Module, inputs: Any, dynamic_batch: bool, first: int, others: int) -> tuple[list[Tensor], list[Any]]:
    """Inputs with such a size where the first is open, and others, and for each which of its axes are."""
    if inputs is None:
        if not isinstance(model, Graph):
            raise ArgumentError("[to_onnx] the inputs are missing: give a shape as (None, 784), or a batch")
        inputs = model.input_shapes
    several = isinstance(inputs, (tuple, list)) and len(inputs) > 0 and not all(is_size(n) for n in inputs)
    each = [*inputs] if several else [inputs]
    dtypes = model.input_dtypes if isinstance(model, Graph) else [model.input_dtype(dtype_of(model))] * len(each)
    axes: list[Any] = []
    found: list[Any] = []
    for one in each:
        shaped = isinstance(one, (tuple, list)) and all(is_size(n) for n in one)
        sizes = [*one] if shaped else [*one.shape]
        chosen = [i for i, n in enumerate(sizes) if n is None or (i == 0 and dynamic_batch)]
        axes.append(chosen)
        if shaped:
            found.append([(others if i else first) if i in chosen else n or 1 for i, n in enumerate(sizes)])
        else:
            array = one.numpy() if isinstance(one, Tensor) else np.asarray(one)
            if chosen:
                array = array[np.arange(first) % max(len(array), 1)]
            found.append(Tensor(array))
    batches = batches_of(
        model, tuple(found) if len(found) > 1 else found[0], [*dtypes] if len(found) > 1 else dtypes[0]
    )
    return batches, axes


def dtype_of(model: Module) -> str:
    """The dtype of its first floating parameter."""
    return next((str(p.dtype) for _, p in model.named_parameters() if p.is_floating), "float32")


def made(model: Module, inputs: Any, opset: int, dynamic_batch: bool) -> Any:
    """The file."""
    from onnx import helper, numpy_helper

    batches, axes = example(model, inputs, dynamic_batch, 2, 2)
    model(*batches)  # which builds it
    sizes = {n for *_, tensor in model.tensors() for n in tensor.shape} | {n for batch in batches for n in batch.shape}
    free = [n for n in (11, 13, 17, 19, 23, 29, 31, 37) if n not in sizes]  # an open axis is like no other
    batches, axes = example(model, inputs, dynamic_batch, 2, free[0])
    first = flat(model(*batches))
    names = model.input_names if isinstance(model, Graph) else ["input"]
    if len(names) < len(batches):
        names = [f"input_{i}" for i in range(len(batches))]
    writer = Writer(model, opset)
    writer.used = dict.fromkeys([*names, "output"], 1)
    values = [Value(name, batch) for name, batch in zip(names, batches, strict=True)]
    results = flat(writer.call(model, *values))
    second = flat(model(*example(model, inputs, dynamic_batch, 3, free[1])[0])) if any(axes) else first
    labels = model.output_names if isinstance(model, Graph) else ["output"]
    if len(labels) != len(results):
        labels = [f"output_{i}" for i in range(len(results))]
    for label, value in zip(labels, results, strict=True):
        writer.nodes.append(helper.make_node("Identity", [value.name], [label], name=f"{label}/Identity"))
    merged(writer.nodes, [*labels])
    prune(writer, labels)
    check_size(sum(array.nbytes for array in writer.initializers.values()))
    starts = [described(v.name, v.example, chosen) for v, chosen in zip(values, axes, strict=True)]
    ends = [
        described(label, a, [i for i in range(a.ndim) if a.shape[i] != b.shape[i]])
        for label, a, b in zip(labels, first, second, strict=True)
    ]
    tensors = [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in writer.initializers.items()]
    return in_file(helper.make_graph(writer.nodes, type(model).__name__, starts, ends, tensors), opset)


def again(model: OnnxGraph, inputs: Any, opset: int | None) -> Any:
    """The file of a graph that was read from one."""
    from .export_imported import written_again

    if inputs is not None:
        raise ArgumentError("[to_onnx] a graph that was read from ONNX has its inputs: give none")
    graph, own, size = written_again(model, opset)
    check_size(size)
    return in_file(graph, own)


def check_size(size: int) -> None:
    """Errors: FileWriteError for weights that are too large for one message."""
    if size > LARGEST:
        raise FileWriteError(
            f"[to_onnx] the model has {size} bytes of weights; an ONNX file without others holds {LARGEST}"
        )


def in_file(graph: Any, opset: int) -> Any:
    """The ModelProto of a graph."""
    from onnx import helper

    used = {node.domain for node in nodes_within(graph)} - {"", "ai.onnx"}
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in sorted(used))]
    ir = max(IR, helper.find_min_ir_version_for(imports[:1]))
    return helper.make_model(graph, opset_imports=imports, producer_name="chainrule", ir_version=ir)


def described(name: str, tensor: Any, free: Any) -> Any:
    """An input or output: its dtype, and its shape with names for the axes where sizes are open."""
    from onnx import helper

    shape = [n if i not in free else f"{name}_size_{i}" if i else "batch" for i, n in enumerate(tensor.shape)]
    return helper.make_tensor_value_info(name, NUMBERS[str(tensor.dtype)], shape)


def merged(nodes: list[Any], labels: list[str]) -> None:
    """Let the nodes that make the outputs name them, instead of an Identity behind, where nothing else is in the way."""
    for label in labels:
        last = next(node for node in nodes if list(node.output) == [label])
        source = last.input[0]
        users = [node for node in nodes for name in node.input if name == source]
        maker = next((node for node in nodes if source in node.output), None)
        if maker is not None and len(users) == 1 and source not in labels and maker.op_type != "Identity":
            nodes.remove(last)
            maker.output[list(maker.output).index(source)] = label


def prune(writer: Writer, labels: Iterable[str]) -> None:
    """Leave out what no output needs: the sequence behind a last state."""
    wanted, kept = {*labels}, []
    for node in reversed(writer.nodes):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted.update(name for part in nodes_within(SimpleNamespace(node=[node])) for name in part.input)
    writer.nodes = kept[::-1]
    writer.initializers = {name: array for name, array in writer.initializers.items() if name in wanted}
