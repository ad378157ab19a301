"""Module: a function with parameters, buffers and modules inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter as Argument
from inspect import Signature, signature
from textwrap import indent
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from ..domain.device import Device
from ..domain.dtype import DTYPES
from ..domain.dtype import dtype as named_dtype
from ..domain.errors import ArgumentError, ArgumentTypeError, ChainruleError, DTypeError
from ..modes import listening, modes, no_grad, revisions
from ..tensor import Tensor
from . import state as states
from .build import batches_of
from .hooks import HookHandle, Hooks
from .node import Node, called, drawn
from .notebook import tree
from .parameter import LazyTensor, Parameter
from .registry import decode, encode

if TYPE_CHECKING:
    from ._methods import Methods
else:
    Methods = object  # ``train`` and ``io`` attach theirs to Module

OWN = frozenset({"_arguments", "_buffers", "_hooks", "_replays", "training"})  # attributes that hold no members


class Shown:
    """The signature of a class: that of its ``__init__``."""

    def __get__(self, instance: Any, owner: type) -> Signature:
        shown = signature(owner.__init__)  # type: ignore[misc]  # of any class, not of this instance
        return shown.replace(parameters=[*shown.parameters.values()][1:])


class Module(Methods):
    """A function with parameters, buffers and modules inside it: a layer, or a model of layers.

    A subclass says in ``forward`` what it computes. What it has as attributes belongs to it: parameters, modules, also
    in lists, tuples and dicts (named ``blocks.0.weight``), and what ``register_buffer`` names. Nothing else needs to be
    declared, not even ``super().__init__()``. An error that passes through modules says where it comes from.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> class Residual(nn.Module):
    ...     def __init__(self, width):
    ...         self.fc1 = nn.Linear(width, width)
    ...         self.fc2 = nn.Linear(width, width)
    ...     def forward(self, x):
    ...         return x + self.fc2(cr.relu(self.fc1(x)))
    >>> model = Residual(8)
    >>> model
    Residual(
      (fc1): Linear(in_features=8, out_features=8)
      (fc2): Linear(in_features=8, out_features=8)
    )
    >>> model(cr.zeros(3, 8)).shape, len(model.parameters())
    ((3, 8), 4)
    >>> model(cr.zeros(3, 7))
    Traceback (most recent call last):
    chainrule.domain.errors.ShapeError: fc1: [linear] x has 7 features ...
    """

    training: bool = True
    follows_as: str | None = (
        "linear"  # the initialization that suits a layer before this one; None: as what comes after
    )
    in_sequential: Mapping[str, Any] = MappingProxyType({})  # what a Sequential calls it with, besides its input
    makes_mask: bool = False  # whether it finds out which steps count, and compute_mask says so
    keeps_steps: bool = True  # whether the first two axes of its output are those of its input, where they are as long
    _hooks: Hooks | None = None
    _buffers: Mapping[str, bool] = MappingProxyType({})  # name: whether files have it
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    __signature__ = Shown()  # __new__ would hide it

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self.__dict__.update(_arguments=(args, kwargs), _replays=None)  # for get_config; what ``train`` has recorded
        return self

    def __init__(self) -> None:
        pass  # nothing needs to be set up; without it, arguments that nobody takes would be swallowed

    def _no_forward(self, *inputs: Any, **named: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} needs a forward(self, ...)")

    forward: Callable[..., Any] = _no_forward

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        try:
            if drawn and inputs and type(inputs[0]) is Node:
                return called(self, inputs, named)
            if listening and modes.recorder is not None:
                modes.recorder.works(self)
            if self._hooks is None:
                return self.forward(*inputs, **named)
            return self._hooks.call(self, inputs, named)
        except ChainruleError as error:
            self._locate(error)
            raise

    def masked(self, *masks: Any) -> Mapping[str, Any]:
        """What forward is to be called with, by name, to know the masks of its inputs. By default it is not told of them.

        A mask is bool, True for steps that count, and as the first two axes of its input; None where all count.
        """
        return {}

    def compute_mask(self, *inputs: Any) -> Any:
        """Which steps of its output count, if it ``makes_mask``: bool, as the first two axes; None where all do."""
        return None

    def _locate(self, error: ChainruleError) -> None:
        """Put the name of the module that an error comes from before its path."""
        if error.layer is not None and error.layer is not self:
            for name, module in self.named_modules(repeated=True):
                if module is error.layer:
                    error.path.insert(0, name)
                    break
        error.layer = self

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(self.__dict__.get(name), Parameter) and not isinstance(value, (Parameter, type(None))):
            raise ArgumentTypeError(
                f"{type(self).__name__}.{name} is a parameter, and a {type(value).__name__} in its place would not be "
                f"trained: {name}.load(values) changes its values, and nn.Parameter(values) is another parameter"
            )
        super().__setattr__(name, value)
        revisions[0] += 1

    # ---- what belongs to it

    def members(self) -> Iterator[tuple[str, Any]]:
        """Its parameters, buffers and modules, not those inside the modules: (name, member), in order of assignment."""
        for name, value in self.__dict__.items():
            if name in self._buffers:
                if value is not None:
                    yield name, value
            elif name not in OWN:
                yield from _found(name, value)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Remember ``tensor`` as an attribute that is no parameter, but goes with the module to devices and files.

        Without ``persistent`` it does not go to files.
        """
        if not name.isidentifier() or (name in self.__dict__ and name not in self._buffers):
            raise ArgumentError(f"{name!r} cannot be the name of a buffer of {type(self).__name__}")
        if isinstance(tensor, LazyTensor) and not tensor.name:
            tensor.name = name
        self.__dict__[name] = tensor
        self.__dict__["_buffers"] = {**self._buffers, name: persistent}

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside it; one that is there twice comes twice."""
        return ((name, value) for name, value in self.members() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The modules directly inside it."""
        return (child for _, child in self.named_children())

    def named_modules(
        self, prefix: str = "", *, repeated: bool = False, _seen: set[Module] | None = None
    ) -> Iterator[tuple[str, Module]]:
        """It and all modules inside it, outer before inner: (path, module), each once unless ``repeated``."""
        seen: set[Module] = set() if _seen is None else _seen
        if self in seen:
            return
        seen.add(self)
        yield prefix, self
        for name, child in self.named_children():
            path = f"{prefix}.{name}" if prefix else name
            yield from child.named_modules(path, repeated=repeated, _seen={*seen} if repeated else seen)

    def modules(self) -> Iterator[Module]:
        """It and all modules inside it."""
        return (module for _, module in self.named_modules())

    def tensors(self, *, repeated: bool = False) -> Iterator[tuple[str, Module, str, Tensor]]:
        """All parameters and buffers: (path, module, name in it, tensor), each once unless ``repeated``."""
        seen = set()
        for path, module in self.named_modules(repeated=repeated):
            for name, value in module.members():
                if not isinstance(value, Module) and (repeated or value not in seen):
                    seen.add(value)
                    yield f"{path}.{name}" if path else name, module, name, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters under their paths, each once. Does not draw their values."""
        for path, module, name, value in self.tensors():
            if isinstance(value, Parameter) and name not in module._buffers:
                if len(path) > len(value.name):  # the outermost tree knows it best
                    value.name = path
                yield path, value

    def parameters(self) -> Parameters:
        """All parameters, each once; with their names, as ``parameters().items()``.

        Going through them draws the values of those whose shapes are known, in order, so that they do not depend on
        which is used first.
        """
        return Parameters(self)

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """All buffers under their paths, each once."""
        return ((path, value) for path, module, name, value in self.tensors() if name in module._buffers)

    def buffers(self) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (buffer for _, buffer in self.named_buffers())

    # ---- its state

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers by path, detached, in the memory that the module uses.

        Errors: NotBuiltError while a parameter has no shape.
        """
        return states.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> states.Differences:
        """Take the values of ``state`` (tensors or arrays by path), each in the dtype that the module has.

        Parameters whose shape is not known yet take that of the values. Returns the names that ``state`` lacks
        (``missing``) and those it has too many (``unexpected``). Errors: StateError, and nothing is loaded, for these if
        ``strict``, and always for values of another shape.

        >>> from chainrule import nn
        >>> nn.Linear(2, 1).load_state_dict({"weight": [[1.0, 2.0, 3.0]], "bais": [0.0]})
        Traceback (most recent call last):
        chainrule.domain.errors.StateError: the state does not fit into Linear:
          missing: bias
          unexpected: bais
          weight: (1, 3) in the state, (1, 2) in the model
        """
        return states.load_state_dict(self, state, strict)

    @property
    def is_built(self) -> bool:
        """Whether the shapes of all its parameters and buffers are known."""
        return all(not isinstance(value, LazyTensor) or value.is_built for *_, value in self.tensors())

    def input_dtype(self, default: str = "float32") -> str:
        """The dtype that its first layer takes: ``default``, unless that is one of integers, as Embedding."""
        first = next(self.children(), None)
        return default if first is None else first.input_dtype(default)

    def build(self, x: Any, *, dtype: Any = None) -> Self:
        """Find the sizes that layers take from their input, and draw all values that are not drawn.

        ``x`` is the shape of a batch, with any size or None for its first axis, or a batch; for several inputs a tuple of
        these, or a dict by the names in ``forward``. The module runs once, in eval mode and on zeros if it has only a shape;
        their dtype is float32, or int64 where words are embedded, or ``dtype``: one, or one for each input.

        >>> from chainrule import nn
        >>> nn.Sequential(nn.Linear(4), nn.ReLU(), nn.Linear(2)).build((None, 3))
        Sequential(
          (0): Linear(in_features=3, out_features=4)
          (1): ReLU()
          (2): Linear(in_features=4, out_features=2)
        )
        """
        return self._run_once(*batches_of(self, x, dtype))

    def _run_once(self, *inputs: Any) -> Self:
        """Run once in eval mode, and draw all values."""
        modes = [(module, module.training) for module in self.modules()]
        try:
            with no_grad():
                self.eval()(*inputs)
        finally:
            for module, training in modes:
                module.training = training
        for parameter in self.parameters():
            parameter.draw()
        return self

    def train(self, mode: bool = True) -> Self:
        """Have dropout and normalization, and all modules inside, behave as in training."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Undo ``train``."""
        return self.train(False)

    def to(self, *args: Any, device: Any = None, dtype: Any = None) -> Self:
        """Move parameters and buffers to a device, and those that are floating to a dtype, each by name or by keyword.

        They stay the same objects. An optimizer made before follows to the device with its state, which keeps its dtype.

        >>> from chainrule import nn
        >>> nn.Linear(2, 1).to("float64").weight.dtype
        chainrule.float64
        """
        for a in args:
            if isinstance(a, Device) or (isinstance(a, str) and a not in DTYPES):
                device = a
            else:
                dtype = a
        if dtype is not None and not named_dtype(dtype).is_floating:
            raise DTypeError(f"a module goes to a floating dtype, not to {named_dtype(dtype)}")
        for _, module, name, value in [*self.tensors()]:
            if isinstance(value, LazyTensor):
                value.move(device=device, dtype=dtype)
            else:
                setattr(module, name, value.to(device=device, dtype=dtype if value.is_floating else None))
        return self

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call ``function`` on every module inside it, inner before outer, and on itself."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, parameter in self.named_parameters():
            if parameter.requires_grad:
                parameter.grad = None

    def requires_grad_(self, on: bool = True) -> Self:
        """Train its parameters, or not."""
        for _, parameter in self.named_parameters():
            parameter.requires_grad = on
        return self

    # ---- hooks

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(module, inputs)`` before forward; what it returns, if anything, replaces the inputs (a tuple)."""
        return HookHandle(self, "before", hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(module, inputs, output)`` after forward; what it returns, if anything, replaces the output."""
        return HookHandle(self, "after", hook)

    def register_full_backward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(module, input_gradients, output_gradients)`` in backward, each a tuple with None where none is wanted.

        What it returns, if anything, replaces the gradients of the inputs.
        """
        return HookHandle(self, "backward", hook)

    # ---- text

    def get_config(self) -> dict[str, Any]:
        """The arguments it was made with, as JSON can hold them. Errors: ArgumentError for one that it cannot."""
        args, kwargs = self._arguments
        bound = signature(type(self)).bind(*args, **kwargs)
        bound.apply_defaults()
        config = {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if kind is Argument.VAR_KEYWORD:
                config.update({k: encode(k, v) for k, v in value.items()})
            elif kind is not Argument.VAR_POSITIONAL:
                config[name] = encode(name, value)
            elif value:
                raise ArgumentError(f"{type(self).__name__} takes *{name}, which has no names; override get_config")
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A new module from what ``get_config`` returned."""
        return cls(**{name: decode(value) for name, value in config.items()})

    def extra_repr(self) -> str:
        """What its repr says in parentheses, besides its modules."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}" for name, child in self.named_children()]
        inside = "\n".join([*filter(None, [self.extra_repr()]), *lines])
        if lines:
            inside = "\n" + indent(inside, "  ") + "\n"
        return f"{type(self).__name__}({inside})"

    def _repr_html_(self) -> str:
        return tree(self)


class Parameters:
    """The parameters of a module as ``parameters()`` gives them: to go through, to count, and by name."""

    def __init__(self, module: Module) -> None:
        self._module = module

    def items(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), with values drawn as by iteration."""
        for name, parameter in self._module.named_parameters():
            if parameter.is_built:
                parameter.draw()
            yield name, parameter

    @property
    def names(self) -> list[str]:
        """The paths."""
        return [name for name, _ in self._module.named_parameters()]

    def __iter__(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.items())

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        lines = (f"  {name}: {p.sizes} {p.dtype}" for name, p in self._module.named_parameters())
        return "\n".join([f"{len(self)} parameters of {type(self._module).__name__}", *lines])


def _found(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The member that a value is, or the members in it."""
    if isinstance(value, (Module, Parameter)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            yield from _found(f"{name}.{i}", v)
    elif isinstance(value, dict):
        for k, v in value.items():
            yield from _found(f"{name}.{k}", v)
