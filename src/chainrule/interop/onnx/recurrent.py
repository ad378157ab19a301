"""LSTM, GRU and RNN of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ... import ops
from ...domain.errors import ArgumentError, NotSupportedError
from .activation import elu, hard_sigmoid, leaky_relu, thresholded_relu
from .operators import constant, integers, operator

ACTIVATIONS: dict[str, tuple[Callable[..., Any], str]] = {  # with the parameters that they have
    "affine": (lambda x, alpha=1.0, beta=0.0: alpha * x + beta, "alpha beta"),
    "elu": (elu, "alpha"),
    "hardsigmoid": (hard_sigmoid, "alpha beta"),
    "leakyrelu": (leaky_relu, "alpha"),
    "relu": (ops.relu, ""),
    "scaledtanh": (lambda x, alpha=1.0, beta=1.0: alpha * ops.tanh(beta * x), "alpha beta"),
    "sigmoid": (ops.sigmoid, ""),
    "softplus": (ops.softplus, ""),
    "softsign": (ops.softsign, ""),
    "tanh": (ops.tanh, ""),
    "thresholdedrelu": (thresholded_relu, "alpha"),
}
DEFAULTS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
ORDERS = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # ours of the gates: i f g o, r z n


def functions(kind: str, names: list[str], alphas: list[float], betas: list[float]) -> list[Callable[[Any], Any]]:
    """The activations of one direction, with the parameters that they have."""
    found: list[Callable[[Any], Any]] = []
    for name in names:
        if name not in ACTIVATIONS:
            raise NotSupportedError(f"{kind} with the activation {name!r}; expected one of {', '.join(ACTIVATIONS)}")
        function, takes = ACTIVATIONS[name]
        given = {key: left.pop(0) for key, left in (("alpha", alphas), ("beta", betas)) if key in takes and left}
        found.append(partial(function, **given))
    return found


def reordered(kind: str, weight: Any) -> Any:
    """The gates in our order."""
    order = ORDERS[kind]
    if len(order) == 1:
        return weight
    n = weight.shape[0] // len(order)
    return ops.concat(*(weight[i * n : (i + 1) * n] for i in order), axis=0)


def run(
    kind: str, x: Any, w: Any, r: Any, b: Any, lengths: Any, h0: Any, c0: Any, p: Any, activations: Any, alphas: Any,
    betas: Any, clip: float | None, direction: str, layout: int, after: bool = False, forget: int = 0,
) -> tuple[Any, ...]:  # fmt: skip
    """All steps (t, directions, n, h), the last ones, and for an LSTM the last cells."""
    if layout:
        x = ops.permute(x, axes=(1, 0, 2))
        h0, c0 = (None if s is None else ops.permute(s, axes=(1, 0, 2)) for s in (h0, c0))
    turns = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(direction)
    if turns is None or w.shape[0] != len(turns):
        raise ArgumentError(f"{kind} of direction {direction!r} with weights of shape {w.shape}")
    names = [str(name).lower() for name in activations or DEFAULTS[kind] * len(turns)]
    each = len(names) // len(turns)
    alphas, betas = [*(alphas or [])], [*(betas or [])]
    plain = names == DEFAULTS[kind] * len(turns) and not alphas and not betas and not clip and p is None and not forget
    mask = None
    if lengths is not None and any(n < x.shape[0] for n in integers(lengths)):
        steps = constant([*range(x.shape[0])], x, "int64").reshape(-1, 1)
        mask = steps < lengths.to(dtype="int64").reshape(1, -1)
    found = []
    for i, reverse in enumerate(turns):
        state = None if h0 is None else h0[i]
        bias = (None, None) if b is None else ops.split(b[i], sizes=(b.shape[1] // 2,) * 2, axis=0)
        acts = functions(kind, names[i * each : (i + 1) * each], alphas, betas)
        if plain:
            ours = [None if v is None else reordered(kind, v) for v in (w[i], r[i], *bias)]
            if kind == "LSTM":
                found.append(ops.lstm(x, *ours, state, None if c0 is None else c0[i], mask, reverse=reverse))
            elif kind == "GRU":
                found.append(ops.gru(x, *ours, state, mask, reset_after=after, reverse=reverse))
            else:
                found.append(ops.rnn(x, *ours, state, mask, reverse=reverse))
        else:
            cell = None if c0 is None else c0[i]
            weights = (w[i], r[i], *bias, None if p is None else p[i])
            found.append(stepped(kind, x, weights, state, cell, mask, acts, clip, after, forget, reverse))
    results = [ops.stack(*parts, axis=0) for parts in zip(*found, strict=True)]
    y = ops.permute(results[0], axes=(1, 0, 2, 3))
    if layout:
        y = ops.permute(y, axes=(2, 0, 1, 3))
        results[1:] = [ops.permute(s, axes=(1, 0, 2)) for s in results[1:]]
    return (y, *results[1:])


def stepped(
    kind: str, x: Any, weights: Any, h: Any, c: Any, mask: Any, acts: Any, clip: float | None, after: bool, forget: int,
    reverse: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """One direction, step by step: with peepholes, clipping, other activations, sequences of several lengths."""
    w, r, bias, own, peep = weights
    size, gates = r.shape[-1], len(ORDERS[kind])
    bias, own = (constant([0.0] * gates * size, x, x.dtype) if v is None else v for v in (bias, own))
    zeros = ops.expand(constant(0.0, x, x.dtype), shape=(x.shape[1], size))
    h, c = (zeros if v is None else v for v in (h, c))
    peeps = [0.0] * 3 if peep is None else [peep[i * size : (i + 1) * size] for i in range(3)]  # of i, o, f

    def held(v: Any) -> Any:
        return ops.clip(v, min=-clip, max=clip) if clip else v

    cut = [slice(i * size, (i + 1) * size) for i in range(gates)]
    outputs: list[Any] = [None] * x.shape[0]
    for t in reversed(range(x.shape[0])) if reverse else range(x.shape[0]):
        inward = ops.linear(x[t], w, bias)
        new_c = c
        if kind == "LSTM":
            all_gates = inward + ops.linear(h, r, own)
            i, o, f, g = (all_gates[:, s] for s in cut)
            i = acts[0](held(i + peeps[0] * c))
            f = 1 - i if forget else acts[0](held(f + peeps[2] * c))
            new_c = f * c + i * acts[1](held(g))
            new = acts[0](held(o + peeps[1] * new_c)) * acts[2](new_c)
        elif kind == "GRU":
            both = slice(0, 2 * size)
            rest = acts[0](held(inward[:, both] + ops.linear(h, r[both], own[both])))
            z, reset = rest[:, cut[0]], rest[:, cut[1]]
            last = r[cut[2]], own[cut[2]]
            inner = reset * ops.linear(h, *last) if after else ops.linear(reset * h, *last)
            new = (1 - z) * acts[1](held(inward[:, cut[2]] + inner)) + z * h
        else:
            new = acts[0](held(inward + ops.linear(h, r, own)))
        if mask is None:
            h, c, outputs[t] = new, new_c, new
        else:
            counts = mask[t].reshape(-1, 1)
            h, c = ops.where(counts, new, h), ops.where(counts, new_c, c)
            outputs[t] = ops.where(counts, new, zeros)
    y = ops.stack(*outputs, axis=0)
    return (y, h, c) if kind == "LSTM" else (y, h)


@operator("LSTM")
def lstm(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None, c0: Any = None, p: Any = None, *,
    activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None, clip: float | None = None,
    direction: str = "forward", hidden_size: int | None = None, input_forget: int = 0, layout: int = 0,
) -> Any:  # fmt: skip
    """A long short-term memory, perhaps with peepholes."""
    return run("LSTM", x, w, r, b, lengths, h0, c0, p, activations, activation_alpha, activation_beta, clip, direction,
               layout, forget=input_forget)  # fmt: skip


@operator("GRU")
def gru(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None, *, activation_alpha: Any = None,
    activation_beta: Any = None, activations: Any = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0, linear_before_reset: int = 0,
) -> Any:  # fmt: skip
    """A gated recurrent unit."""
    return run("GRU", x, w, r, b, lengths, h0, None, None, activations, activation_alpha, activation_beta, clip, direction,
               layout, after=bool(linear_before_reset))  # fmt: skip


@operator("RNN")
def rnn(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None, *, activation_alpha: Any = None,
    activation_beta: Any = None, activations: Any = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0,
) -> Any:  # fmt: skip
    """A recurrent network of one activation."""
    return run("RNN", x, w, r, b, lengths, h0, None, None, activations, activation_alpha, activation_beta, clip, direction,
               layout)  # fmt: skip
