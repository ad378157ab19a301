"""The recurrent room: networks that go through a sequence, time first: ``x`` is (time, batch, features).

Weights are laid out as PyTorch has them: ``weight_ih`` (k·h, features) and ``weight_hh`` (k·h, h), in blocks of h rows: one
for ``rnn``; r, z, n for ``gru``; i, f, g, o for ``lstm``. The biases are (k·h,) or None, states (batch, h) or None for zeros.
``mask`` (time, batch) is true, or not 0, where a step counts. A step that does not keeps the state as it is and gives 0, in
PyTorch as steps beyond a packed sequence's length, so the last state is that of the last step that counts. ``reverse`` goes
from the last step to the first; outputs stay where their inputs are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..domain.errors import ShapeError, unknown
from ..tensor import Tensor
from ._op import op
from ._widened import widened
from .activation import relu
from .elementwise import ne, sigmoid, tanh, where
from .gemm import linear
from .index import getitem
from .memory import filled
from .shape import stack, unsqueeze

Step = Callable[..., tuple[Any, ...]]  # from the input's part of the sums and the states to the new states


def at(x: Any, t: int) -> Any:
    """One step of a sequence."""
    return getitem.exact(x, index=(t, ...))


def parts(sums: Any, n: int) -> list[Any]:
    """The blocks of the last axis."""
    h = sums.shape[-1] // n
    return [getitem.exact(sums, index=(..., slice(k * h, (k + 1) * h))) for k in range(n)]


def rnn_step(sums: Any, h: Any, weight: Any, bias: Any, nonlinearity: str) -> tuple[Any, ...]:
    """The new state of an Elman network."""
    return ((relu if nonlinearity == "relu" else tanh)(sums + linear(h, weight, bias)),)


def gru_step(sums: Any, h: Any, weight: Any, bias: Any, reset_after: bool) -> tuple[Any, ...]:
    """The new state of a gated recurrent unit."""
    if reset_after:
        (r, z, n), (hr, hz, hn) = parts(sums, 3), parts(linear(h, weight, bias), 3)
        r, z = sigmoid(r + hr), sigmoid(z + hz)
        n = tanh(n + r * hn)
    else:
        size, (r, z, n) = h.shape[1], parts(sums, 3)
        gates, last = (slice(0, 2 * size), ...), (slice(2 * size, None), ...)
        bias_gates, bias_last = (None, None) if bias is None else (bias[gates], bias[last])
        hr, hz = parts(linear(h, weight[gates], bias_gates), 2)
        r, z = sigmoid(r + hr), sigmoid(z + hz)
        n = tanh(n + linear(r * h, weight[last], bias_last))
    return ((1 - z) * n + z * h,)


def lstm_step(sums: Any, h: Any, c: Any, weight: Any, bias: Any) -> tuple[Any, ...]:
    """The new state and the new cell of a long short-term memory."""
    i, f, g, o = parts(sums + linear(h, weight, bias), 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def started(x: Any, weight_hh: Any, *states: Any) -> list[Any]:
    """The states, zeros where none is given."""
    shape = (x.shape[-2], weight_hh.shape[1])
    return [filled(x, shape, 0.0, x.dtype) if s is None else s for s in states]


def through(step: Step, sums: Any, states: list[Any], mask: Any, reverse: bool) -> tuple[Any, ...]:
    """The outputs of all steps and the last states."""
    valid = None if mask is None else unsqueeze(ne(mask, 0), axis=2)
    found: list[Any] = []
    for t in reversed(range(len(sums))) if reverse else range(len(sums)):
        new = step(at(sums, t), *states)
        out = new[0]
        if valid is not None:
            counts = at(valid, t)
            out = where(counts, out, 0.0)
            new = tuple([where(counts, a, b) for a, b in zip(new, states, strict=True)])
        found.append(out)
        states = [*new]
    return (stack(*(reversed(found) if reverse else found)), *states)


@op(promote="float", outputs=("y", "h"))
@widened
def rnn(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h0: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> Any:
    """``h' = tanh(x weight_ihᵀ + bias_ih + h weight_hhᵀ + bias_hh)`` at each step: all of them, and the last (Elman, 1990).

    The room's docstring has the shapes. ``nonlinearity`` is "tanh" or "relu". Errors: ShapeError.

    Formula: ``h' = f(x Wᵀ + h Uᵀ + b)``. Gradient: back through time: ``da = f'(a) (g + dh')``, ``dh = da U``,
    ``dx = da W``, ``dW += daᵀ x``, ``dU += daᵀ h``. Shapes: (t, n, features) → (t, n, h) and (n, h).

    >>> y, h = rnn(Tensor([[[1.0]], [[2.0]]]), Tensor([[1.0]]), Tensor([[1.0]]), nonlinearity="relu")
    >>> y.reshape(2), h
    (tensor([1., 3.]), tensor([[3.]]))
    """
    return through(
        lambda sums, h: rnn_step(sums, h, weight_hh, bias_hh, nonlinearity),
        linear(x, weight_ih, bias_ih),
        started(x, weight_hh, h0),
        mask,
        reverse,
    )


@op(promote="float", outputs=("y", "h"))
@widened
def gru(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h0: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    reset_after: bool = True,
    reverse: bool = False,
) -> Any:
    """A gated recurrent unit: the states of all steps, and the last (Cho et al., 2014).

    Without ``reset_after`` the reset gate acts before the product, ``(r h) U_nᵀ + c_n``, as in the paper. The room's
    docstring has the shapes of the weights. Errors: ShapeError.

    Formula: ``r, z = sigmoid(...)``, ``n = tanh(x W_nᵀ + b_n + r (h U_nᵀ + c_n))``, ``h' = (1 - z) n + z h``.
    Gradient: back through time: ``dn = dh' · (1 - z) (1 - n²)``, ``dz = dh' · (h - n) z (1 - z)``,
    ``dr = dn · (h U_nᵀ + c_n) r (1 - r)``; then as in ``rnn``. Shapes: (t, n, features) → (t, n, h) and (n, h).

    >>> y, h = gru(Tensor([[[1.0]], [[2.0]]]), Tensor([[0.0], [0.0], [1.0]]), Tensor([[0.0], [0.0], [0.0]]))
    >>> y.reshape(2), h
    (tensor([0.3808, 0.6724]), tensor([[0.6724]]))
    """
    return through(
        lambda sums, h: gru_step(sums, h, weight_hh, bias_hh, reset_after),
        linear(x, weight_ih, bias_ih),
        started(x, weight_hh, h0),
        mask,
        reverse,
    )


@op(promote="float", outputs=("y", "h", "c"))
@widened
def lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    reverse: bool = False,
) -> Any:
    """A long short-term memory: the outputs of all steps, the last one, and the last cell (Hochreiter, Schmidhuber, 1997).

    The room's docstring has the shapes of the weights. Errors: ShapeError.

    Formula: ``i, f, o = sigmoid(...)``, ``g = tanh(...)``, ``c' = f c + i g``, ``h' = o tanh(c')``.
    Gradient: back through time: ``dc' += dh' · o (1 - tanh²(c'))``, ``do = dh' · tanh(c')``, ``df = dc' · c``,
    ``di = dc' · g``, ``dg = dc' · i``, ``dc = dc' · f``, each through its own function; then as in ``rnn``.
    Shapes: (t, n, features) → (t, n, h), (n, h) and (n, h).

    >>> weight = Tensor([[0.0], [0.0], [1.0], [0.0]])
    >>> y, h, c = lstm(Tensor([[[1.0]], [[2.0]]]), weight, weight * 0)
    >>> y.reshape(2), h, c
    (tensor([0.1817, 0.2933]), tensor([[0.2933]]), tensor([[0.6724]]))
    """
    return through(
        lambda sums, h, c: lstm_step(sums, h, c, weight_hh, bias_hh),
        linear(x, weight_ih, bias_ih),
        started(x, weight_hh, h0, c0),
        mask,
        reverse,
    )


@op(promote="float")
@widened
def rnn_cell(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h: Tensor | None = None,
    *,
    nonlinearity: str = "tanh",
) -> Any:
    """One step of ``rnn``: ``x`` is (batch, features), ``h`` the state before it, and the result the one after it.

    Formula: as in ``rnn``. Gradient: one step of that of ``rnn``. Shapes: (n, features) and (n, h) → (n, h).

    >>> rnn_cell(Tensor([[1.0]]), Tensor([[2.0]]), Tensor([[1.0]]), None, None, Tensor([[3.0]]), nonlinearity="relu")
    tensor([[5.]])
    """
    (h,) = started(x, weight_hh, h)
    return rnn_step(linear(x, weight_ih, bias_ih), h, weight_hh, bias_hh, nonlinearity)[0]


@op(promote="float")
@widened
def gru_cell(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h: Tensor | None = None,
    *,
    reset_after: bool = True,
) -> Any:
    """One step of ``gru``: ``x`` is (batch, features), ``h`` the state before it, and the result the one after it.

    Formula: as in ``gru``. Gradient: one step of that of ``gru``. Shapes: (n, features) and (n, h) → (n, h).

    >>> gru_cell(Tensor([[1.0]]), Tensor([[0.0], [0.0], [1.0]]), Tensor([[0.0], [0.0], [0.0]]))
    tensor([[0.3808]])
    """
    (h,) = started(x, weight_hh, h)
    return gru_step(linear(x, weight_ih, bias_ih), h, weight_hh, bias_hh, reset_after)[0]


@op(promote="float", outputs=("h", "c"))
@widened
def lstm_cell(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    h: Tensor | None = None,
    c: Tensor | None = None,
) -> Any:
    """One step of ``lstm``: ``x`` is (batch, features), ``h`` and ``c`` its states before; the result those after it.

    Formula: as in ``lstm``. Gradient: one step of that of ``lstm``. Shapes: (n, features), (n, h) and (n, h) → (n, h) and
    (n, h).

    >>> weight = Tensor([[0.0], [0.0], [1.0], [0.0]])
    >>> h, c = lstm_cell(Tensor([[1.0]]), weight, weight * 0)
    >>> h, c
    (tensor([[0.1817]]), tensor([[0.3808]]))
    """
    h, c = started(x, weight_hh, h, c)
    return lstm_step(linear(x, weight_ih, bias_ih), h, c, weight_hh, bias_hh)


def check(name: str, blocks: int, sequence: bool, x: Any, weights: Any, states: Any, mask: Any = None) -> None:
    """Raise unless the shapes fit together; ``weights`` are both matrices and both biases."""
    weight_ih, weight_hh, *biases = weights
    axes = "(time, batch, features)" if sequence else "(batch, features)"
    if x.ndim != (3 if sequence else 2):
        raise ShapeError(f"[{name}] x has shape {x.shape}; it should be {axes}")
    if sequence and not len(x):
        raise ShapeError(f"[{name}] x has no steps (axis 0 of {x.shape})")
    if weight_hh.ndim != 2 or weight_hh.shape[0] != blocks * weight_hh.shape[1]:
        rows = "h" if blocks == 1 else f"{blocks} h"
        raise ShapeError(f"[{name}] weight_hh has shape {weight_hh.shape}; it should be ({rows}, h)")
    rows, h = weight_hh.shape
    if weight_ih.shape != (rows, x.shape[-1]):
        raise ShapeError(
            f"[{name}] x has {x.shape[-1]} features (axis {x.ndim - 1} of {x.shape}) and weight_hh has shape "
            f"{weight_hh.shape}, but weight_ih has shape {weight_ih.shape} instead of {(rows, x.shape[-1])}"
        )
    for bias_name, bias in zip(("bias_ih", "bias_hh"), biases, strict=True):
        if bias is not None and bias.shape != (rows,):
            raise ShapeError(f"[{name}] {bias_name} has shape {bias.shape} but the weights need {(rows,)}")
    for state_name, state in states.items():
        if state is not None and state.shape != (x.shape[-2], h):
            raise ShapeError(
                f"[{name}] {state_name} has shape {state.shape} but x {x.shape} and weight_hh {weight_hh.shape} need "
                f"{(x.shape[-2], h)}"
            )
    if mask is not None and mask.shape != x.shape[:2]:
        raise ShapeError(f"[{name}] mask has shape {mask.shape} but x {x.shape} needs {x.shape[:2]}")


def known_nonlinearity(name: str, nonlinearity: str) -> None:
    """Raise unless it is one."""
    if nonlinearity not in ("tanh", "relu"):
        raise unknown(f"nonlinearity of {name}", nonlinearity, ["tanh", "relu"])


@rnn.checks
def _(x: Any, *args: Any, nonlinearity: str, reverse: bool) -> None:
    known_nonlinearity("rnn", nonlinearity)
    check("rnn", 1, True, x, args[:4], {"h0": args[4]}, args[5])


@gru.checks
def _(x: Any, *args: Any, reset_after: bool, reverse: bool) -> None:
    check("gru", 3, True, x, args[:4], {"h0": args[4]}, args[5])


@lstm.checks
def _(x: Any, *args: Any, reverse: bool) -> None:
    check("lstm", 4, True, x, args[:4], {"h0": args[4], "c0": args[5]}, args[6])


@rnn_cell.checks
def _(x: Any, *args: Any, nonlinearity: str) -> None:
    known_nonlinearity("rnn_cell", nonlinearity)
    check("rnn_cell", 1, False, x, args[:4], {"h": args[4]})


@gru_cell.checks
def _(x: Any, *args: Any, reset_after: bool) -> None:
    check("gru_cell", 3, False, x, args[:4], {"h": args[4]})


@lstm_cell.checks
def _(x: Any, *args: Any) -> None:
    check("lstm_cell", 4, False, x, args[:4], {"h": args[4], "c": args[5]})
