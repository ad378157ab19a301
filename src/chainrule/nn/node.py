"""Node: a value that a model will have when it runs. Calling layers with nodes draws the graph that ``nn.Graph`` takes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NoReturn

from ..domain.dtype import dtype as named_dtype
from ..domain.errors import ArgumentError, ArgumentTypeError

OPERATORS: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name) for name in "add sub mul truediv matmul pow neg getitem".split()
}
_serials = count()
drawn: list[bool] = []  # not empty once there is an Input: a look at it is cheaper than one at every argument of a call


class Node:
    """A value that a model will have when it runs: an ``nn.Input``, or what a layer or an operator makes of nodes.

    ``+ - * / @ **`` and ``[...]`` take nodes and numbers. Of a layer that returns several values, ``node[0]`` is the first.
    ``shape`` has None for the batch and for sizes that are open; what leads to the node is run on zeros for it.

    >>> from chainrule import nn
    >>> x = nn.Input((784,), name="pixels")
    >>> x, nn.Linear(10)(x) * 2.0
    (Input((784,), name='pixels'), Node(mul))
    >>> x.shape, nn.Linear(10)(x).shape
    ((None, 784), (None, 10))
    """

    __slots__ = ("what", "arguments", "named", "name", "serial", "__weakref__")

    def __init__(self, what: Any, arguments: tuple[Any, ...], named: dict[str, Any], name: str | None = None) -> None:
        self.what, self.arguments, self.named, self.name = what, arguments, named, name
        self.serial = next(_serials)  # a node comes after all that it needs

    @property
    def is_input(self) -> bool:
        """Whether it is an ``nn.Input``."""
        return self.what is None

    @property
    def shape(self) -> tuple[int | None, ...]:
        """See the class. Errors: those of the layers."""
        if self.is_input:
            return (None, *self.named["shape"])
        from .node_shape import node_shape  # which needs the Graph, which needs nodes

        return node_shape(self)

    def __iter__(self) -> NoReturn:
        raise ArgumentTypeError("a node has no values yet, and cannot be unpacked: take node[0], node[1]")

    def __bool__(self) -> NoReturn:
        raise ArgumentTypeError("a node has no values yet: a Graph cannot decide by them")

    @property
    def __array_interface__(self) -> NoReturn:  # where ops, and NumPy, look for values
        raise ArgumentTypeError(
            "a node has no values yet, and functions cannot take it: a Graph is made of layers, as nn.ReLU() for relu, "
            'nn.Merge("concat") for concat, or nn.Lambda with a function of your own'
        )

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a node has no values yet, and no {name!r}: give it to a layer, as its first argument")

    def __neg__(self) -> Node:
        return Node("neg", (self,), {})

    def __getitem__(self, key: Any) -> Node:
        return Node("getitem", (self, checked("an index", key)), {})

    def __repr__(self) -> str:
        if self.is_input:
            name = "" if self.name is None else f", name={self.name!r}"
            return f"Input({self.named['shape']}{name})"
        return f"Node({self.what if isinstance(self.what, str) else type(self.what).__name__})"


def _operators(name: str) -> None:
    """Give nodes an operator, with a node or a number on its other side."""

    def number(value: Any) -> Any:
        if type(value) is Node or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            return value
        raise ArgumentTypeError(
            f"a node can be combined with nodes and numbers, not with a {type(value).__name__}: a constant tensor is the "
            "buffer of a layer of your own"
        )

    setattr(Node, f"__{name}__", lambda a, b: Node(name, (a, number(b)), {}))
    setattr(Node, f"__r{name}__", lambda a, b: Node(name, (number(b), a), {}))


for _name in ("add", "sub", "mul", "truediv", "matmul", "pow"):
    _operators(_name)


def checked(what: str, value: Any) -> Any:
    """A value that the description of a graph can hold: lists become tuples. Errors: ArgumentTypeError."""
    if value is None or value is ... or isinstance(value, (Node, bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(checked(what, v) for v in value)
    if isinstance(value, slice):
        return slice(*(checked(what, v) for v in (value.start, value.stop, value.step)))
    raise ArgumentTypeError(
        f"{what} of a node is a {type(value).__name__}, which the description of a graph cannot hold: give nodes, numbers "
        "and strings, or lists of them"
    )


def called(layer: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> Node:
    """What a layer gives for nodes: a node. ``name=`` names the layer in the graph."""
    name = named.pop("name", None)
    what = f"an argument of {type(layer).__name__}"
    return Node(layer, checked(what, inputs), {key: checked(what, value) for key, value in named.items()}, name)


def nodes(value: Any) -> Iterator[Node]:
    """The nodes in an argument."""
    if isinstance(value, Node):
        yield value
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from nodes(v)


def Input(shape: Any, name: str | None = None, dtype: str = "float32") -> Node:
    """An input of an ``nn.Graph``: its shape without the batch, None for sizes that are open, its name and its dtype.

    Layers that are called with it give nodes, and those give further nodes. Errors: ArgumentError for what is no shape.

    >>> from chainrule import nn
    >>> words, pixels = nn.Input((None,), name="words", dtype="int64"), nn.Input((1, 28, 28))
    """
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if any(n is not None and (type(n) is not int or n < 0) for n in sizes):
        raise ArgumentError(
            f"Input: the shape is {shape!r}, expected sizes without the batch, as (784,), None where a size is open"
        )
    drawn.append(True) if not drawn else None
    return Node(None, (), {"shape": sizes, "dtype": str(named_dtype(dtype))}, name)
