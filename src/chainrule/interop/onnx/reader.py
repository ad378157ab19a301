"""ONNX files as modules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from ...domain.errors import ChainruleError, FileFormatError, MissingDependencyError, NotSupportedError
from ...modes import no_grad
from ...tensor import Tensor
from .graph import OnnxGraph, OnnxNode
from .operators import DTYPES, dtype_of, operators
from .tensors import Store

OLDEST, NEWEST = 6, 28  # opsets whose operators were looked at
ROLES = {  # the names of the inputs that a node may hold
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm"), ("", "weight", "bias")),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization"), ("", "weight", "bias")),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), ("", "weight_ih", "weight_hh", "bias", "lengths", "h0", "c0", "peepholes")),
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    "Gather": ("weight", "indices"),
    "PRelu": ("", "weight"),
    "RMSNormalization": ("", "weight"),
}
FIXED = {  # operators whose floating inputs, from a place on, are no weights
    "BatchNormalization": 3, "Clip": 1, "DequantizeLinear": 0, "Dropout": 1, "LSTM": 4, "GRU": 4, "RNN": 4,
    "NonMaxSuppression": 0, "OneHot": 0, "Pad": 1, "Range": 0, "Resize": 1, "RotaryEmbedding": 1, "Upsample": 1,
}  # fmt: skip
FOLDED = set(
    "Add And Cast Concat ConstantOfShape Div Equal Gather Greater Identity Less Max Min Mod Mul Neg Not Or Range ReduceProd "
    "ReduceSum Reshape Shape Size Slice Squeeze Sub Transpose Unsqueeze Where".split()
)
SMALL, PRODUCT = 4096, 1 << 20  # elements of a constant that is folded, and of all that go into one node together
BROKEN = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
MOST_NODES = 1_000_000


def onnx_library() -> Any:
    """The package onnx. Errors: MissingDependencyError."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("ONNX needs the package onnx: pip install 'chainrule[onnx]'") from error
    return onnx


def from_onnx(source: Any) -> OnnxGraph:
    """A module that computes what an ONNX file says: a path, the bytes of a file, or an ``onnx.ModelProto``.

    Floating initializers become Parameters, under the names that layers have where one operator alone uses them:
    ``conv1.weight``. Statistics of batch norms stay as they are, and dropout does nothing, in training too. Weights in
    files beside it are read from its folder alone. Opsets 6 to 28. Errors: MissingFileError, FileFormatError (damaged,
    cyclic, values missing, sizes that do not fit), NotSupportedError with all operators that are not known and how often.

    >>> import chainrule as cr
    >>> from tempfile import TemporaryDirectory
    >>> model = cr.nn.Sequential(cr.nn.Linear(3, 4), cr.nn.ReLU(), cr.nn.Linear(4, 2))
    >>> with TemporaryDirectory() as folder:
    ...     _ = cr.interop.to_onnx(model, f"{folder}/model.onnx", (None, 3))
    ...     again = cr.interop.from_onnx(f"{folder}/model.onnx")
    >>> x = cr.randn(5, 3)
    >>> bool(cr.all(again(x) == model(x))), again.input_shapes, len(again.parameters())
    (True, ((None, 3),), 4)
    """
    onnx = onnx_library()
    from .files import parsed  # needs onnx

    model, where, folder = parsed(source)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    opset = opsets.get("ai.onnx", 0)
    if not OLDEST <= opset <= NEWEST:
        raise NotSupportedError(
            f"{where} is of opset {opset}, expected {OLDEST} to {NEWEST}: convert it by onnx.version_converter"
        )
    try:
        check_names(model.graph, where)
        if model.functions:
            counted(model, where)
            model = onnx.inliner.inline_local_functions(model)
        check_operators(model.graph, where)
        with no_grad():
            graph = Reader(opset, where, folder).graph(model.graph, set())
    except (FileFormatError, NotSupportedError):
        raise
    except (ChainruleError, *BROKEN) as error:
        raise FileFormatError(f"{where}: {error}") from error
    graph.eval()
    return graph


def counted(model: Any, where: str) -> None:
    """Refuse functions that call themselves, or become too many nodes when put in place."""
    functions = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[Any, int] = {}

    def size(nodes: Any, path: tuple[Any, ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in path or len(path) > 100:
                raise FileFormatError(f"{where}: the function {key[1]} calls itself, or calls go too deep")
            if key in functions and key not in sizes:
                sizes[key] = size(functions[key].node, (*path, key))
            total += sizes.get(key, 1)
            for attribute in node.attribute:
                for graph in ([attribute.g] if attribute.HasField("g") else []) + [*attribute.graphs]:
                    total += size(graph.node, path)
        if total > MOST_NODES:
            raise FileFormatError(f"{where}: functions become {total} nodes, expected at most {MOST_NODES}")
        return total

    size(model.graph.node, ())


def nodes_within(graph: Any) -> Iterable[Any]:
    """All nodes, those of graphs inside nodes too."""
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def attribute_type(node: Any, opset: int, name: str) -> int | None:
    """The number of the type that an attribute has by the standard; None where that says nothing."""
    from onnx import defs

    try:
        known: Any = defs.get_schema(node.op_type, opset, node.domain).attributes
    except defs.SchemaError:
        return None
    return int(known[name].type) if name in known else None


def check_names(graph: Any, where: str) -> None:
    """Errors: FileFormatError for a name that is no text: protobuf gives bytes where they are not UTF-8."""
    waiting = [graph]
    while waiting:
        part = waiting.pop()
        names = [one.name for one in (*part.initializer, *part.input, *part.output)]
        for node in part.node:
            names += [node.name, node.op_type, node.domain, *node.input, *node.output]
            for attribute in node.attribute:
                names.append(attribute.name)
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs
        wrong = next((name for name in names if not isinstance(name, str)), None)
        if wrong is not None:
            raise FileFormatError(f"{where} has the name {wrong[:50]!r}, which is no UTF-8 text")


def kind(node: Any) -> str:
    """The name of an operator, with its domain where that is not the usual."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def check_operators(graph: Any, where: str) -> None:
    """Errors: NotSupportedError that lists all operators that are not known."""
    unknown = Counter(kind(n) for n in nodes_within(graph) if kind(n) not in operators() and kind(n) != "Constant")
    if unknown:
        listed = ", ".join(f"{name} × {times}" for name, times in sorted(unknown.items(), key=str))
        raise NotSupportedError(
            f"{where} has {sum(unknown.values())} nodes of operators that chainrule does not know: {listed}. "
            "interop.onnx.operators has those it knows, and @operator gives it further ones"
        )


class Reader:
    """Graphs of one file."""

    def __init__(self, opset: int, where: str, folder: Any) -> None:
        self.opset, self.where = opset, where
        self.store = Store(where, folder)

    def graph(self, graph: Any, around: set[str]) -> OnnxGraph:
        """A graph, whose nodes may use the values ``around`` it."""
        constants = {t.name: self.store.array(t) for t in graph.initializer}
        if graph.sparse_initializer:
            raise NotSupportedError(f"{self.where}: sparse initializers; expected dense ones")
        weights = {name for name, array in constants.items() if is_float(array)}
        inputs = [self.described(v) for v in graph.input if v.name not in constants]
        nodes: list[Any] = []
        alias: dict[str, str] = {}
        for node in ordered(graph, {*constants, *(v.name for v in graph.input), *around}, self.where):
            names = [alias.get(name, name) for name in node.input]
            if kind(node) == "Constant":
                value = self.constant(node)
                constants[node.output[0]] = value
                if is_float(value) and value.size > 1:
                    weights.add(node.output[0])
            elif kind(node) == "Identity" and names[0] in constants:
                alias[node.output[0]] = names[0]
            elif self.folds(node, names, constants, weights):
                self.fold(node, names, constants)
            else:
                nodes.append((node, names))
        outputs = [self.described(v) for v in graph.output]
        for text in outputs:
            text["name"] = alias.get(text["name"], text["name"])
        return self.assembled(nodes, constants, weights, inputs, outputs, around | {i["name"] for i in inputs})

    def assembled(
        self,
        nodes: list[Any],
        constants: dict[str, Any],
        weights: set[str],
        inputs: Any,
        outputs: Any,
        around: set[str],
    ) -> OnnxGraph:
        """The module: every constant with the node that alone uses it, or with the graph."""
        uses = Counter(name for _, names in nodes for name in set(names) if name in constants)
        uses.update(text["name"] for text in outputs if text["name"] in constants)
        for node, _ in nodes:
            for attribute in node.attribute:
                for inner in [attribute.g] if attribute.HasField("g") else []:
                    uses.update(dict.fromkeys({n for m in nodes_within(inner) for n in m.input} & {*constants}, 2))
                    uses.update(dict.fromkeys({v.name for v in inner.output} & {*constants}, 2))
        fixed = {name for node, names in nodes for i, name in enumerate(names) if i >= FIXED.get(kind(node), 1 << 30)}
        taken: set[str] = set()
        shared = {
            name: text(constants[name], fresh(name, taken), name in weights - fixed)
            for name in constants
            if uses[name] > 1 or (uses[name] and any(name == t["name"] for t in outputs))
        }
        made: dict[str, OnnxNode] = {}
        times: Counter[str] = Counter()
        visible = around | {n for node, _ in nodes for n in node.output} | {*shared}
        for node, names in nodes:
            op = kind(node)
            held: dict[str, Any] = {}
            own: set[str] = {"op", "opset", "inputs", "outputs", "attributes"}
            for i, name in enumerate(names):
                if name in constants and name not in shared and name not in held:
                    role = (*ROLES.get(op, ()), *[""] * len(names))[i] or f"input_{i}"
                    held[name] = text(constants[name], fresh(role, own), name in weights - fixed)
            times[op] += 1
            label = fresh(node.name or f"{op.lower()}_{times[op]}", taken)
            attributes = self.attributes(node, visible)
            made[label] = module = OnnxNode(op, self.opset, names, node.output, attributes, held)
            fill(module, constants)
        model = OnnxGraph(made, {"inputs": inputs, "outputs": outputs, "tensors": shared})
        fill(model, constants)
        return model

    def described(self, value: Any) -> dict[str, Any]:
        """The name, the dtype and the shape of an input or output; None for sizes that are open."""
        kind_, tensor = value.type.WhichOneof("value"), value.type.tensor_type
        if kind_ not in ("tensor_type", None):
            inner = value.type.sequence_type.elem_type.tensor_type.elem_type
            dtype = DTYPES.get(inner, "float32")
            return {"name": value.name, "dtype": dtype, "shape": None, "kind": kind_.removesuffix("_type")}
        dims = [
            int(d.dim_value) if d.WhichOneof("value") == "dim_value" and d.dim_value > 0 else None
            for d in tensor.shape.dim
        ]
        known = {"name": value.name, "shape": dims if tensor.HasField("shape") else None}
        if not tensor.elem_type:
            return {**known, "dtype": "float32", "kind": "open"}
        return {**known, "dtype": dtype_of(tensor.elem_type)}

    def constant(self, node: Any) -> Any:
        """The value of a Constant."""
        (attribute,) = node.attribute
        if attribute.name == "value":
            return self.store.array(attribute.t)
        plain = {"value_float": (float, "f"), "value_int": (int, "i"), "value_floats": (list, "floats"),
                 "value_ints": (list, "ints")}  # fmt: skip
        if attribute.name not in plain:
            raise NotSupportedError(f"{self.where}: a Constant with {attribute.name}; expected numbers")
        make, field = plain[attribute.name]
        return np.array(make(getattr(attribute, field)), np.float32 if "float" in attribute.name else np.int64)

    def attributes(self, node: Any, around: set[str]) -> dict[str, Any]:
        """The attributes of a node as JSON can hold them; graphs as modules. Errors: NotSupportedError."""
        op, found = operators()[kind(node)], {}
        what = f"{self.where}: the node {node.name or node.output[0]!r}, a {node.op_type},"
        if not op.least <= len(node.input) <= op.most:
            raise FileFormatError(f"{what} has {len(node.input)} inputs, expected {op.least} to {op.most}")
        lost = op.needed - {attribute.name for attribute in node.attribute}
        if lost:
            raise FileFormatError(f"{what} lacks the attribute {', '.join(sorted(lost))}")
        for attribute in node.attribute:
            name = attribute.name
            if name in ("consumed_inputs", "seq_type"):
                continue
            if name not in op.attributes:
                raise NotSupportedError(
                    f"{what} has the attribute {name!r}; expected one of {', '.join(op.attributes) or 'none'}"
                )
            wanted = attribute_type(node, self.opset, name)
            if wanted not in (None, attribute.type):
                types = type(attribute).AttributeType.Name
                raise FileFormatError(f"{what} has {name} as {types(attribute.type)}, expected {types(wanted)}")
            if attribute.HasField("g"):
                found[name] = self.graph(attribute.g, around)
            else:
                found[name] = self.plain(attribute)
        return found

    def plain(self, attribute: Any) -> Any:
        """An attribute that is no graph."""
        from onnx import AttributeProto as Kind

        if attribute.type == Kind.TENSOR:
            array = self.store.array(attribute.t)
            values = [str(v) for v in array.reshape(-1).tolist()]
            return {"tensor": {"dtype": array.dtype.name, "shape": [*array.shape], "values": values}}
        if attribute.type == Kind.STRING:
            return attribute.s.decode("utf-8", "replace")
        if attribute.type == Kind.STRINGS:
            return [s.decode("utf-8", "replace") for s in attribute.strings]
        fields = {Kind.FLOAT: "f", Kind.INT: "i", Kind.FLOATS: "floats", Kind.INTS: "ints"}
        if attribute.type not in fields:
            raise NotSupportedError(
                f"{self.where}: the attribute {attribute.name!r} is of a type that is not supported"
            )
        value = getattr(attribute, fields[attribute.type])
        return value if isinstance(value, (int, float)) else [*value]

    def folds(self, node: Any, names: list[str], constants: Mapping[str, Any], weights: set[str]) -> bool:
        """Whether a node is arithmetic of small constants, as shapes are computed."""
        if kind(node) not in FOLDED or not names:
            return False
        if kind(node) == "Shape" and names[0] in constants:
            return True
        given = [constants.get(name) for name in names if name]
        if any(v is None or v.size > SMALL or is_float(v) for v in given):
            return False
        if kind(node) != "Concat" and prod(max(v.size, 1) for v in given if v is not None) > PRODUCT:
            return False
        if kind(node) == "ConstantOfShape":
            return bool(abs(given[0].astype(np.float64)).prod() <= SMALL)  # type: ignore[union-attr]
        if kind(node) == "Range":
            return bool(abs((given[1] - given[0]) / max(abs(int(given[2])), 1)) <= SMALL)  # type: ignore[operator, arg-type]
        return True

    def fold(self, node: Any, names: list[str], constants: dict[str, Any]) -> None:
        """Compute such a node now."""
        module = OnnxNode(kind(node), self.opset, names, node.output, self.attributes(node, set()), {})
        values = module(*(Tensor(constants[name]) for name in names if name))
        for name, value in zip(node.output, values if isinstance(values, tuple) else (values,), strict=False):
            constants[name] = value.numpy()


def is_float(array: Any) -> bool:
    """Whether an array is floating, bfloat16 too."""
    return array.dtype.name in ("float16", "bfloat16", "float32", "float64")


def text(array: Any, name: str, trained: bool) -> dict[str, Any]:
    """The description of a tensor that is held."""
    return {"name": name, "shape": [*array.shape], "dtype": array.dtype.name, "trained": trained}


def fresh(name: str, taken: set[str]) -> str:
    """A name without dots and slashes, with a number where it is taken."""
    base = re.sub(r"\W+", "_", name).strip("_") or "value"
    found, n = base, 2
    while found in taken:
        found, n = f"{base}_{n}", n + 1
    taken.add(found)
    return found


def fill(module: OnnxNode | OnnxGraph, constants: Mapping[str, Any]) -> None:
    """The values of what it holds."""
    for name, tensor in module._held.values.items():
        tensor.load(Tensor(constants[name]))


def ordered(graph: Any, known: set[str], where: str) -> list[Any]:
    """The nodes, each after those whose values it needs. Errors: FileFormatError for missing values and circles."""
    maker: dict[str, int] = {}
    for i, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in maker or name in known:
                raise FileFormatError(f"{where}: the value {name!r} is made twice")
            maker[name] = i
    needs = []
    for node in graph.node:
        used = {n for n in node.input if n}
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else []:
                used |= {n for m in nodes_within(inner) for n in m.input} & {*maker}
        lost = sorted(n for n in used if n not in maker and n not in known)
        if lost:
            raise FileFormatError(
                f"{where}: the node {node.name or node.op_type!r} needs {lost[0]!r}, which nothing makes"
            )
        needs.append({maker[n] for n in used if n in maker})
    lost = sorted(v.name for v in graph.output if v.name not in maker and v.name not in known)
    if lost or not graph.output:
        raise FileFormatError(
            f"{where}: the output {lost[0]!r} is made by nothing" if lost else f"{where} has no outputs"
        )
    users: list[list[int]] = [[] for _ in needs]
    for i, before in enumerate(needs):
        for j in before:
            users[j].append(i)
    left = [len(before) for before in needs]
    if all(max(before, default=-1) < i for i, before in enumerate(needs)):
        return [*graph.node]
    ready, order = [i for i, n in enumerate(left) if not n], []
    while ready:
        i = ready.pop(0)
        order.append(graph.node[i])
        for j in users[i]:
            left[j] -= 1
            if not left[j]:
                ready.append(j)
    if len(order) < len(needs):
        names = [graph.node[i].name or graph.node[i].op_type for i, n in enumerate(left) if n]
        raise FileFormatError(f"{where}: a circle of nodes, among {', '.join(map(repr, names[:5]))}; expected none")
    return order
