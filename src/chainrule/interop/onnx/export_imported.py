"""Graphs that were read from ONNX files, written again: the same operators, with the weights as they are now."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...domain.errors import NotSupportedError
from ...nn import Parameter
from .exporters import NUMBERS, Value, Writer, exporter
from .graph import OnnxGraph, OnnxNode, plain


@exporter(OnnxGraph)
def _(w: Writer, graph: Any, *inputs: Value) -> Any:
    """Inside another model: its values are named after its path."""
    opset = opset_of(graph)
    if opset not in (None, w.opset):
        raise NotSupportedError(
            f"[to_onnx] an OnnxGraph inside the model is of opset {opset}: export the whole with opset={opset}"
        )
    again = Again(w.fresh(w.scope or "graph") + "/")
    names = dict(zip(graph.input_names, (x.name for x in inputs), strict=True))
    outputs = again.graph(graph, names)
    w.nodes += again.nodes
    w.initializers |= again.tensors
    return outputs if len(outputs) > 1 else outputs[0]


def opset_of(graph: OnnxGraph) -> int | None:
    """The opset of its nodes, None if there are none. Errors: NotSupportedError for several."""
    found: set[int] = set()
    for module in graph.modules():
        if isinstance(module, OnnxNode):
            found.add(module.opset)
    if len(found) > 1:
        raise NotSupportedError(f"[to_onnx] an OnnxGraph has nodes of the opsets {', '.join(map(str, sorted(found)))}")
    return found.pop() if found else None


def written_again(graph: OnnxGraph, opset: int | None) -> tuple[Any, int, int]:
    """The GraphProto of an imported graph under the names of its file, its opset, and the bytes of its weights."""
    from onnx import helper

    own = opset_of(graph) or opset or 17
    if opset not in (None, own):
        raise NotSupportedError(
            f"[to_onnx] the graph is of opset {own} and is written in that, not in {opset}: onnx.version_converter converts"
        )
    again = Again("")
    names = {name: name for name in graph.input_names}
    outputs = again.graph(graph, names)
    starts, ends = typed([*names], graph.config["inputs"]), typed(outputs, graph.config["outputs"])
    made = helper.make_graph(again.nodes, "OnnxGraph", starts, ends, again.initializers())
    return made, own, sum(array.nbytes for array in again.tensors.values())


class Again:
    """The nodes and tensors of one graph; ``prefix`` begins the names of its values."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.tensors: dict[str, Any] = {}

    def graph(self, graph: OnnxGraph, names: dict[str, str]) -> list[str]:
        """Add all of it; ``names`` are those of the values it is given and finds around it. The names of its outputs."""
        from onnx import helper

        names = dict(names)
        self._hold(graph, names)
        for label, node in graph.nodes.items():
            self._hold(node, names)
            names |= {name: self.prefix + name for name in node.outputs if name}
            domain, _, op = node.op.rpartition(".")
            made = helper.make_node(
                op,
                [names[name] if name else "" for name in node.inputs],
                [names[name] if name else "" for name in node.outputs],
                name=self.prefix + label,
                domain=domain,
            )
            made.attribute.extend(self._attribute(node, key, value, names) for key, value in node.attributes.items())
            self.nodes.append(made)
        found: list[str] = []
        own = {name for node in graph.nodes.values() for name in node.outputs}
        for name in graph.output_names:
            if name in own and names[name] not in found:
                found.append(names[name])
                continue
            label = f"{names[name]}_output"  # an output is made by a node, and once
            while label in found or label in own:
                label += "_"
            self.nodes.append(helper.make_node("Identity", [names[name]], [label], name=label))
            found.append(label)
        return found

    def _hold(self, module: Any, names: dict[str, str]) -> None:
        """The tensors of a graph or node, in the dtypes of its file. One number that is not trained stays so: a Constant."""
        from onnx import helper, numpy_helper

        for value, tensor in module._held.values.items():
            names[value] = name = self.prefix + value
            array = np.asarray(tensor.to(module._held.dtypes[value]).numpy(), order="C")
            if isinstance(tensor, Parameter) or not tensor.is_floating or array.size != 1:
                self.tensors[name] = array
            else:
                held = numpy_helper.from_array(array, name)
                self.nodes.append(helper.make_node("Constant", [], [name], name=f"{name}/Constant", value=held))

    def _attribute(self, node: OnnxNode, key: str, value: Any, names: dict[str, str]) -> Any:
        """An attribute of a node; a graph inside it sees the values around it."""
        from onnx import defs, helper, numpy_helper

        if isinstance(value, OnnxGraph):
            inner = Again(self.prefix)
            given = {name: self.prefix + name for name in value.input_names}
            outputs = inner.graph(value, names | given)
            starts, ends = typed([*given.values()], value.config["inputs"]), typed(outputs, value.config["outputs"])
            return helper.make_attribute(key, helper.make_graph(inner.nodes, key, starts, ends, inner.initializers()))
        found = plain(value)
        if found is not value:
            return helper.make_attribute(key, numpy_helper.from_array(found.numpy()))
        domain, _, op = node.op.rpartition(".")
        kind: Any = None
        if value == []:  # of nothing one cannot see what it is
            schema: Any = defs.get_schema(op, node.opset, domain)
            kind = schema.attributes[key].type.value
        return helper.make_attribute(key, value, attr_type=kind)

    def initializers(self) -> list[Any]:
        """The tensors, as files have them."""
        from onnx import numpy_helper

        return [numpy_helper.from_array(array, name) for name, array in self.tensors.items()]


def typed(names: list[str], texts: Any) -> list[Any]:
    """Inputs or outputs under these names."""
    return [described(name, text) for name, text in zip(names, texts, strict=True)]


def described(name: str, text: Any) -> Any:
    """An input or output. Errors: NotSupportedError for an optional one."""
    from onnx import helper

    number = NUMBERS[str(text["dtype"])]
    kind = text.get("kind", "tensor")
    if kind == "sequence":
        return helper.make_tensor_sequence_value_info(name, number, text["shape"])
    if kind == "open":  # the input of a graph inside a node may leave it to what is given
        return helper.make_empty_tensor_value_info(name)
    if kind != "tensor":
        raise NotSupportedError(f"[to_onnx] {name!r} is of the kind {kind}, which is not written again")
    return helper.make_tensor_value_info(name, number, text["shape"])
