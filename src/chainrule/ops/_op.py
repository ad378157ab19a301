"""What an op is: a body, perhaps rules for its gradient, perhaps checks; perhaps a kernel of its name in a backend."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import cached_property, update_wrapper
from inspect import Signature, signature
from typing import Any, Protocol, TypeVar, overload

from ..domain.errors import NotSupportedError
from ..launch import launch
from ..modes import casting, modes, no_grad
from ..tensor import Tensor
from ._bind import bind
from ._gradient import attach
from ._rule import Rule

OPS: dict[str, OpCall] = {}  # every op, by its name


Function = TypeVar("Function", bound=Callable[..., Any])


class OpCall(Protocol):
    """An op as its users see it: a function, with the means to declare its rules and checks."""

    __name__: str
    op: Op
    exact: Callable[..., Any]

    def __call__(self, *args: Any, **params: Any) -> Any: ...
    @overload
    def vjp(self, argument: str, /) -> Callable[[Function], Function]: ...
    @overload
    def vjp(self, **rules: Callable[..., Any]) -> None: ...
    def checks(self, function: Function) -> Function: ...
    def normalises(self, function: Function) -> Function: ...


class Op:
    """The declaration of an op.

    Tensors stand before the ``*`` of its signature (``*xs``: a list of them), parameters after it. ``outputs`` names
    what it returns. ``promote`` says in which dtype the tensors meet: "common", "float" (the common one, at least
    float32), "rest" (all but the first), or None: each keeps its own. ``mutates`` gives the tensors it writes to;
    ``nondifferentiable`` says that the result has no gradient, whatever the arguments require.
    """

    def __init__(
        self,
        name: str,
        sign: Signature,
        body: Callable[..., Any] | None,
        outputs: tuple[str, ...],
        promote: str | None,
        mutates: Callable[..., Any] | None,
        nondifferentiable: bool,
    ) -> None:
        self.name, self.vjp_name = name, name + "_vjp"
        self.body, self.outputs, self.promote, self.mutates = body, outputs, promote, mutates
        self.nondifferentiable = nondifferentiable
        if len(outputs) == 1:
            self.result = None
        self.tensors: list[str] = []
        self.variadic = False
        self.optional: set[str] = set()
        self.defaults: dict[str, Any] = {}
        params = []
        for p in sign.parameters.values():
            if p.kind is p.KEYWORD_ONLY:
                params.append(p.name)
                if p.default is not p.empty:
                    self.defaults[p.name] = p.default
            else:
                self.tensors.append(p.name)
                self.variadic = p.kind is p.VAR_POSITIONAL
                if p.default is None:
                    self.optional.add(p.name)
        self.params = dict.fromkeys(params).keys()  # in order, and equal to the keys of complete parameters
        self.arity = None if self.variadic or len(self.defaults) < len(params) else len(self.tensors)
        self.rules: list[Rule | None] = [None] * len(self.tensors)
        self.last = len(self.tensors) - 1
        self.check: Callable[..., Any] | None = None
        self.normalise: Callable[..., dict[str, Any]] | None = None

    @cached_property
    def result(self) -> Any:
        """The kind of tuple it returns, made when it is first needed; None if that is one tensor."""
        return namedtuple(self.name, self.outputs)

    def vjp(self, argument: str | None = None, /, **rules: Callable[..., Any]) -> Any:
        """State the gradient of arguments: ``mul.vjp(a=..., b=...)``, or ``@layer_norm.vjp("x")`` above a function.

        A rule is a function of ``g``, the gradient of the output (a tuple, of several), and of what else its signature
        names: arguments, outputs (``y``, if there is one), parameters, ``x_shape`` and ``x_dtype`` of an argument ``x``,
        and ``i``, the place in a list of arguments. Only tensors that are named are kept. Rules are tensor code, so they
        have gradients themselves. What was broadcast is summed back after them.
        """
        if argument is not None:

            def stated(rule: Callable[..., Any]) -> Callable[..., Any]:
                self.vjp(**{argument: rule})
                return rule

            return stated
        for name, function in rules.items():
            self.rules[self.tensors.index(name)] = Rule(self, function)
        return None

    def has_rules(self, args: Any) -> bool:
        """Whether every argument that wants a gradient has a rule."""
        wanted = (i for i, a in enumerate(args) if isinstance(a, Tensor) and a.edge is not None)
        return all(self.rules[min(i, self.last)] for i in wanted)

    def checks(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function of the op's signature that raises if the arguments make no sense. It always runs."""
        self.check, self.arity = function, None
        return function

    def normalises(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function of the op's signature that returns parameters in the form the kernels take them.

        It runs before the checks, and only if a parameter was given: the defaults are in that form.
        """
        self.normalise = function
        return function


def run(op_: Op, args: Any, params: dict[str, Any]) -> Any:
    """One call: the kernel or the body, and the tape. ``args`` and ``params`` are complete and as kernels take them."""
    if casting and modes.autocast is not None:
        way = modes.autocast.get(op_.name)
        if way is not None:
            return way(run, op_, args, params)
    result, args, taped = launch(op_.name, args, params, op_.promote)
    taped = taped and not op_.nondifferentiable
    saved = None
    if result is NotImplemented:
        if op_.body is None:
            raise NotSupportedError(f"[{op_.name}] the backend has no kernel for these arguments")
        if not op_.nondifferentiable and (not taped or not op_.has_rules(args)):
            result = run_body(op_, args, params)  # the tape, if it is on, sees the parts
            return result if op_.result is None else op_.result(*result)
        with no_grad():
            result = fresh(run_body(op_, args, params), args)
    else:
        if type(result) is tuple:
            result, saved = parted(op_, args, result)
        if op_.mutates is not None:
            for t in op_.mutates(*args, **params):
                t.storage.version += 1
    if taped:
        result = attach(op_, args, params, result, saved)
    return result if op_.result is None else op_.result(*result)


def declare(op_: Op) -> Callable[..., Any]:
    """The function that users call."""

    def call(*args: Any, **params: Any) -> Any:
        if params or len(args) != op_.arity:
            args, params = bind(op_, args, params)
        else:
            params = op_.defaults
        return run(op_, args, params)

    return call


def exact(op_: Op) -> Callable[..., Any]:
    """The function that rules may call: nothing is left out, and nothing is brought into form or checked."""
    return lambda *args, **params: run(op_, args, params)


@overload
def op(body: Callable[..., Any], /) -> OpCall: ...
@overload
def op(
    *,
    is_primitive: bool = False,
    outputs: tuple[str, ...] = ("y",),
    promote: str | None = None,
    mutates: Callable[..., Any] | None = None,
    nondifferentiable: bool = False,
) -> Callable[[Callable[..., Any]], OpCall]: ...
def op(
    body: Callable[..., Any] | None = None,
    /,
    *,
    is_primitive: bool = False,
    outputs: tuple[str, ...] = ("y",),
    promote: str | None = None,
    mutates: Callable[..., Any] | None = None,
    nondifferentiable: bool = False,
) -> Any:
    """Make ``body`` an op: what it means, what runs where no kernel does, and its gradient where there are no rules."""

    def made(body: Callable[..., Any]) -> OpCall:
        implementation = None if is_primitive else body
        this = Op(body.__name__, signature(body), implementation, outputs, promote, mutates, nondifferentiable)
        call: Any = declare(this)
        call.op, call.vjp, call.checks, call.normalises = this, this.vjp, this.checks, this.normalises
        call.exact = exact(this)
        found: Any = update_wrapper(call, body)
        OPS[this.name] = found
        return found  # type: ignore[no-any-return]

    return made if body is None else made(body)


@overload
def primitive(declaration: Callable[..., Any], /) -> OpCall: ...
@overload
def primitive(
    *,
    outputs: tuple[str, ...] = ("y",),
    promote: str | None = None,
    mutates: Callable[..., Any] | None = None,
    nondifferentiable: bool = False,
) -> Callable[[Callable[..., Any]], OpCall]: ...
def primitive(declaration: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Declare an op without a body: every backend has a kernel for it (``domain.backend.PRIMITIVES``)."""
    made = op(is_primitive=True, **options)
    return made if declaration is None else made(declaration)


def run_body(op_: Op, args: Any, params: dict[str, Any]) -> Any:
    """What the body returns; where anomalies are looked for they are in that, not in its parts."""
    if modes.anomaly is not None:
        return modes.anomaly.body(op_, args, params)
    return op_.body(*args, **params)  # type: ignore[misc]  # it has one


def parted(op_: Op, args: Any, result: Any) -> Any:
    """The outputs, and what the kernel saved for its gradient: only one that has a gradient returns these two apart."""
    backend = next(a.backend for a in args if isinstance(a, Tensor))
    return result if op_.vjp_name in backend.kernels else (result, None)


def fresh(result: Any, args: Any) -> Any:
    """What a body returned; an argument that it gave back as it was becomes a tensor that can have its own edge."""
    if isinstance(result, tuple):
        return tuple(fresh(y, args) for y in result)
    return result.detach() if any(result is a for a in args) else result
