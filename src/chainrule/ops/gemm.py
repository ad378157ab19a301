"""The matrix-product room."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ..domain.errors import ArgumentError, ArgumentTypeError, ShapeError, unknown
from ..launch import converted
from ..tensor import Tensor
from ._front import front
from ._op import OpCall, op, primitive, run
from ._widened import widened
from .activation import gelu, relu, silu
from .elementwise import sigmoid, tanh
from .index import getitem
from .reduce import sum
from .shape import expand, permute, reshape


def flipped(x: Any) -> Any:
    """The last two axes exchanged."""
    n = x.ndim
    return permute.exact(x, axes=(1, 0) if n == 2 else (*range(n - 2), n - 1, n - 2))


def rows(x: Any) -> Any:
    """``x`` as a matrix: all axes but the last as one."""
    return x if x.ndim == 2 else reshape(x, shape=(prod(x.shape[:-1]), x.shape[-1]))


def vectors_too(call: OpCall) -> Callable[..., Any]:
    """A vector is a row on the left and a column on the right, and the axis it got for that goes again."""

    this, no_params = call.op, call.op.defaults

    def matmul(a: Any, b: Any) -> Any:
        if isinstance(a, Tensor) and isinstance(
            b, Tensor
        ):  # small products: the way through `bind` costs as much again
            left, right = a.array.shape, b.array.shape
            if len(left) > 1 and len(right) > 1 and left[-1] == right[-2]:
                return run(this, (a, b), no_params)
        a, b = converted("matmul", (a, b))
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or (a.ndim > 1 and b.ndim > 1):
            return call(a, b)
        if not a.ndim or not b.ndim:
            raise ShapeError(f"[matmul] a has shape {a.shape} and b {b.shape}; a number has no rows: use a * b")
        row, column = a.ndim == 1, b.ndim == 1
        y = call(reshape(a, shape=(1, -1)) if row else a, reshape(b, shape=(-1, 1)) if column else b)
        shape = y.shape[:-2] + (() if row else y.shape[-2:-1]) + (() if column else y.shape[-1:])
        return reshape(y, shape=shape)

    return matmul


@front(vectors_too)
@primitive(promote="common")
def matmul(a: Tensor, b: Tensor) -> Any:
    """The matrix product over the last two axes; the axes before them broadcast.

    ``a`` is (..., n, k) and ``b`` (..., k, m), or one is a vector (k,). Errors: ShapeError if the k differ.

    Formula: ``yᵢⱼ = Σₖ aᵢₖ bₖⱼ``. Gradient: ``da = g bᵀ``, ``db = aᵀ g``. Shapes: (…, n, k) and (…, k, m) → (…, n, m); the
    axis of a vector is dropped.

    >>> matmul(Tensor([[1.0, 2.0]]), Tensor([[3.0], [4.0]])), matmul(Tensor([1.0, 2.0]), Tensor([3.0, 4.0]))
    (tensor([[11.]]), tensor(11.))
    """


@matmul.vjp("a")
def _(g: Any, a_shape: Any, b: Any) -> Any:
    return matmul(g, flipped(b))


@matmul.vjp("b")
def _(g: Any, a: Any, b_shape: Any) -> Any:
    if len(b_shape) == 2:  # one matrix for all of a batch: one product, and no sum over the batch
        return matmul(flipped(rows(a)), rows(g))
    return matmul(flipped(a), g)


@matmul.checks
def _(a: Any, b: Any) -> None:
    for name, x in (("a", a), ("b", b)):
        if not isinstance(x, Tensor):
            raise ArgumentTypeError(f"[matmul] {name} is a {type(x).__name__}; make it a tensor first: cr.tensor(...)")
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"[matmul] a has {a.shape[-1]} columns (axis -1 of {a.shape}) but b has {b.shape[-2]} rows (axis -2 of {b.shape})"
        )


def activated(call: OpCall) -> Callable[..., Any]:
    """With an activation, linear is another op, which keeps its result for the gradient."""

    this, no_params = call.op, call.op.defaults

    def linear(x: Any, weight: Any, bias: Any = None, *, activation: str | None = None) -> Any:
        if activation is None and isinstance(x, Tensor) and isinstance(weight, Tensor):
            given, sizes = x.array.shape, weight.array.shape  # as in matmul: straight there if it fits
            fitting = bias is None or (isinstance(bias, Tensor) and bias.array.shape == sizes[:1])
            if len(sizes) == 2 and given and given[-1] == sizes[1] and fitting:
                return run(this, (x, weight, bias), no_params)
        if activation is None:
            return call(x, weight, bias)
        return linear_activation(x, weight, bias, activation=activation)

    return linear


@front(activated)
@op(promote="common")
@widened
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """``x @ weight.T + bias``: ``x`` is (..., in), ``weight`` (out, in), ``bias`` (out,) or None.

    ``activation="relu"``, ``"sigmoid"``, ``"tanh"``, ``"gelu"`` (the exact one) or ``"silu"`` is applied to that, in the same
    pass.

    Formula: ``y = x weightᵀ + bias``. Gradient: ``dx = g weight``, ``dweight = gᵀ x``, ``dbias = Σ g``. Shapes: ``y`` is
    (…, out).

    >>> linear(Tensor([[1.0, 2.0]]), Tensor([[3.0, 4.0]]), Tensor([0.5]))
    tensor([[11.5]])
    """
    y = matmul(rows(x), flipped(weight))
    y = y if x.ndim == 2 else reshape(y, shape=(*x.shape[:-1], weight.shape[0]))
    return y if bias is None else y + bias


@linear.vjp("x")
def _(g: Any, weight: Any) -> Any:
    return reshape(matmul(rows(g), weight), shape=(*g.shape[:-1], weight.shape[1]))


linear.vjp(weight=lambda g, x: matmul(flipped(rows(g)), rows(x)), bias=lambda g: sum(rows(g), axis=0))


@linear.checks
def fits(x: Any, weight: Any, bias: Any) -> None:
    """Raise unless the shapes make a linear map."""
    if weight.ndim != 2:
        raise ShapeError(f"[linear] weight has shape {weight.shape}; it should be (out, in)")
    if not x.ndim or x.shape[-1] != weight.shape[1]:
        features = x.shape[-1] if x.ndim else "no"
        raise ShapeError(
            f"[linear] x has {features} features (axis -1 of {x.shape}) but weight expects {weight.shape[1]} "
            f"(axis 1 of {weight.shape})"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"[linear] bias has shape {bias.shape} but weight {weight.shape} needs {weight.shape[:1]}")


OF_RESULT = {"relu": relu, "sigmoid": sigmoid, "tanh": tanh}  # whose derivative follows from their result
ACTIVATIONS = {**OF_RESULT, "gelu": gelu, "silu": silu}


@op(promote="common")
@widened
def linear_activation(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: str) -> Any:
    """An activation of ``linear(x, weight, bias)``; of that op, what a call with ``activation`` is.

    Errors: ShapeError; ArgumentError for an activation other than relu, sigmoid, tanh, gelu and silu.

    >>> linear_activation(Tensor([[1.0, 2.0]]), Tensor([[3.0, 4.0], [-3.0, 1.0]]), activation="relu")
    tensor([[11.,  0.]])
    """
    return ACTIVATIONS[activation](linear(x, weight, bias))


def inner(g: Any, x: Any, weight: Any, bias: Any, y: Any, activation: str) -> Any:
    """The gradient of what the activation was applied to; that is computed again where the result does not tell."""
    kept = y if activation in OF_RESULT else linear(x, weight, bias)
    more = ("none",) if activation == "gelu" else ()
    return ACTIVATIONS[activation].op.rules[0].function(g, kept, *more)  # type: ignore[union-attr]


@linear_activation.vjp("x")
def _(g: Any, x: Any, weight: Any, bias: Any, y: Any, activation: str) -> Any:
    before = inner(g, x, weight, bias, y, activation)
    return reshape(matmul(rows(before), weight), shape=(*g.shape[:-1], weight.shape[1]))


@linear_activation.vjp("weight")
def _(g: Any, x: Any, weight: Any, bias: Any, y: Any, activation: str) -> Any:
    return matmul(flipped(rows(inner(g, x, weight, bias, y, activation))), rows(x))


@linear_activation.vjp("bias")
def _(g: Any, x: Any, weight: Any, bias: Any, y: Any, activation: str) -> Any:
    return sum(rows(inner(g, x, weight, bias, y, activation)), axis=0)


@linear_activation.checks
def _(x: Any, weight: Any, bias: Any, *, activation: Any) -> None:
    if activation not in ACTIVATIONS:
        raise unknown("activation of linear", activation, ACTIVATIONS)
    fits(x, weight, bias)


@op(promote="common")
def outer(a: Tensor, b: Tensor) -> Any:
    """Every element of a vector times every element of another: (n, m).

    Formula: ``yᵢⱼ = aᵢ bⱼ``. Gradient: ``da = g b``, ``db = gᵀ a``. Shapes: (n,) and (m,) → (n, m).

    >>> outer(Tensor([1.0, 2.0]), Tensor([3.0, 4.0]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    return reshape(a, shape=(-1, 1)) * b


@op(promote="common")
def dot(a: Tensor, b: Tensor) -> Any:
    """The sum of the products of two vectors' elements.

    Formula: ``y = Σᵢ aᵢ bᵢ``. Gradient: ``da = g * b``, ``db = g * a``. Shapes: (n,) and (n,) → ().

    >>> dot(Tensor([1.0, 2.0]), Tensor([3.0, 4.0]))
    tensor(11.)
    """
    return matmul(a, b)


def vectors(call: OpCall, same: bool) -> None:
    """Have an op refuse what are no vectors, or not of one length."""

    @call.checks
    def _(a: Any, b: Any) -> None:
        if a.ndim != 1 or b.ndim != 1 or (same and a.shape != b.shape):
            length = " of one length" if same else ""
            raise ShapeError(f"[{call.__name__}] takes two vectors{length}, but a has shape {a.shape} and b {b.shape}")


vectors(outer, same=False)
vectors(dot, same=True)


def equation_first(call: OpCall) -> Callable[..., Any]:
    """Users give the equation before the tensors."""

    def einsum(equation: str, *xs: Any) -> Any:
        if not isinstance(equation, str):
            raise ArgumentTypeError(f"[einsum] the equation comes first, as in 'ij,jk->ik', not {equation!r}")
        return call(*(xs[0] if len(xs) == 1 and isinstance(xs[0], (list, tuple)) else xs), equation=equation)

    return einsum


@front(equation_first)
@op(promote="common")
def einsum(*xs: Tensor, equation: str) -> Any:
    """Products of elements, summed over the letters that the result lacks (Einstein's notation).

    ``einsum(equation, *tensors)``; a letter names an axis, ``...`` the axes that broadcast, a letter twice in one
    operand its diagonal. Without ``->`` the result has the letters that occur once, in alphabetical order. Errors:
    ArgumentError for an equation that makes no sense, ShapeError for sizes that do not fit.

    Formula: ``y[out] = Σ x₀[in₀] · x₁[in₁] …`` over the letters that out lacks. Gradient: of a factor: ``g`` times the
    other factors, summed over the letters that it lacks. Shapes: as the equation says.

    >>> a, b = Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> einsum("ij,jk->ik", a, b), einsum("ii", a)
    (tensor([[1., 4.],
            [3., 8.]]), tensor(5.))
    """
    terms, result = parsed(equation, [x.ndim for x in xs])
    operands = [diagonal(x, term) for x, term in zip(xs, terms, strict=True)]
    sizes: dict[str, int] = {}
    for x, term in operands:
        for letter, n in zip(term, x.shape, strict=True):
            if sizes.setdefault(letter, n) == 1:
                sizes[letter] = n
            elif n not in (1, sizes[letter]):
                raise ShapeError(f"[einsum] in {equation!r} {letter!r} is {sizes[letter]} long and elsewhere {n}")
    operands = [(expand(x, shape=tuple([sizes[c] for c in term])), term) for x, term in operands]
    y, term = operands[0]
    for k, (x, other) in enumerate(operands[1:], 2):
        y, term = contracted(y, term, x, other, {*result}.union(*[t for _, t in operands[k:]]))
    y, term = summed(y, term, {*result})
    return permute(y, axes=tuple([term.index(c) for c in result]))


def parsed(equation: str, ndims: list[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result; the axes of ``...`` have characters that nobody can type."""

    def bad(why: str) -> ArgumentError:
        return ArgumentError(f"[einsum] {equation!r} {why}")

    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise bad(f"names {len(terms)} operands, but {len(ndims)} tensors are given")
    widest = 0
    for k, (term, ndim) in enumerate(zip(terms, ndims, strict=True)):
        free = ndim - len(term.replace("...", "", 1))
        if free < 0 or (free and "..." not in term):
            raise bad(f"has {term!r} for operand {k}, which has {ndim} axes")
        widest = max(widest, free) if "..." in term else widest
        terms[k] = term.replace("...", "".join(map(chr, range(free - 1, -1, -1))), 1)
    broadcast = "".join(map(chr, range(widest - 1, -1, -1)))
    letters = "".join(terms)
    once = "".join(sorted(c for c in set(letters) if letters.count(c) == 1 and c not in broadcast))
    result = result.replace("...", broadcast, 1) if arrow else broadcast + once
    if not all(c.isascii() and (c.isalpha() or c in broadcast) for c in letters + result):
        raise bad("should be made of letters, ',', '...' and '->'")
    if len(set(result)) < len(result) or not set(result) <= set(letters):
        raise bad("has a result with a letter twice, or one that no operand has")
    return terms, result


def diagonal(x: Any, term: str) -> tuple[Any, str]:
    """``x`` without the letters that its term has twice: there, the elements where both axes agree."""
    for c in sorted(set(term)):
        while term.count(c) > 1:
            i = term.index(c)
            j = term.index(c, i + 1)
            n = x.shape[i]
            if x.shape[j] != n:
                raise ShapeError(f"[einsum] {c!r} names two axes of {x.shape}, {n} and {x.shape[j]} long")
            others = [a for a in range(x.ndim) if a not in (i, j)]
            x = permute(x, axes=(*others, i, j))
            x = getitem(reshape(x, shape=(*x.shape[:-2], n * n)), index=(..., slice(None, None, n + 1)))
            term = "".join(term[a] for a in others) + c
    return x, term


def summed(x: Any, term: str, wanted: set[str]) -> tuple[Any, str]:
    """``x`` summed over the letters that nobody wants."""
    axes = tuple([a for a, c in enumerate(term) if c not in wanted])
    return (sum(x, axis=axes) if axes else x), "".join(c for c in term if c in wanted)


def contracted(a: Any, s: str, b: Any, t: str, wanted: set[str]) -> tuple[Any, str]:
    """The product of two operands, summed over the letters that both have and nobody else wants."""
    a, s = summed(a, s, wanted | set(t))
    b, t = summed(b, t, wanted | set(s))
    both = [c for c in s if c in t and c in wanted]
    inner = [c for c in s if c in t and c not in wanted]
    left, right = [c for c in s if c not in t], [c for c in t if c not in s]
    a = permute(a, axes=tuple([s.index(c) for c in both + left + inner]))
    b = permute(b, axes=tuple([t.index(c) for c in both + inner + right]))
    n, m = len(both), len(both) + len(left)
    shape = (*a.shape[:m], *b.shape[n + len(inner) :])
    if inner:
        k = prod(a.shape[m:])
        batch = (prod(a.shape[:n]),) if both else ()
        a = reshape(a, shape=(*batch, prod(a.shape[n:m]), k))
        y = matmul(a, reshape(b, shape=(*batch, k, prod(shape[m:]))))
    else:
        y = reshape(a, shape=a.shape + (1,) * len(right)) * reshape(
            b, shape=b.shape[:n] + (1,) * len(left) + b.shape[n:]
        )
    return reshape(y, shape=shape), "".join(both + left + right)
