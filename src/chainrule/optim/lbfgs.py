"""L-BFGS: a quasi-Newton method for smooth functions that are cheap to evaluate, on the whole data at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..creation import zeros_like
from ..domain.errors import ArgumentError, ArgumentTypeError, StateError, unknown
from ..modes import enable_grad, no_grad
from ..ops.shape import concat, stack
from ..tensor import Tensor
from .optimizer import Optimizer, with_gradient

DECREASE, CURVATURE = 1e-4, 0.9  # of the strong Wolfe conditions
TRIALS = 25  # of a line search
HISTORY = ("old_dirs", "old_stps")  # differences of the gradients, and of the parameters
NUMBERS = ("t", "H_diag", "prev_loss", "n_iter", "func_evals")


@dataclass
class Point:
    """A point on the line: how far along, the loss there, its gradient, and its slope."""

    t: float
    loss: float
    gradient: Any
    slope: float


class LBFGS(Optimizer):
    """Newton's method with a Hessian from the last ``history_size`` steps (Nocedal and Wright, 2006; steps as in PyTorch).

    ``step(closure)`` takes a function that clears the gradients, computes the loss, calls ``backward`` and returns the loss;
    it runs up to ``max_iter`` iterations, ``max_eval`` calls (1.25 times as many). An iteration moves by ``lr``, or with
    ``line_search_fn="strong_wolfe"`` as far as a line search says. It ends when no gradient is above ``tolerance_grad``,
    or nothing changes by more than ``tolerance_change``. It reads the loss each time. One group of parameters.

    >>> import chainrule as cr
    >>> x = cr.tensor([-1.0, 2.0], requires_grad=True)
    >>> optimizer = LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(5):
    ...     loss = optimizer.step(closure)
    >>> [round(v, 3) for v in x.tolist()]
    [1.0, 1.0]
    """

    uses_closure = True

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        options = {"tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change}
        sizes = {"max_eval": max_iter * 5 // 4 if max_eval is None else max_eval, "history_size": history_size}
        self.memory: dict[str, Any] = {}
        super().__init__(params, {"lr": lr, "max_iter": max_iter, **sizes, **options, "line_search_fn": line_search_fn})
        if len(self.param_groups) > 1:
            raise ArgumentError("LBFGS: it takes one group of parameters, for it moves them all along one line")

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise if the options make no sense."""
        for key in ("max_iter", "max_eval", "history_size"):
            if options[key] < 1:
                raise ArgumentError(f"LBFGS: {key} is {options[key]!r}, expected 1 or more")
        if options["line_search_fn"] not in (None, "strong_wolfe"):
            raise unknown("line_search_fn of LBFGS", str(options["line_search_fn"]), ["strong_wolfe"])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Run iterations; returns the loss before them. Errors: ArgumentTypeError without a closure."""
        if closure is None:
            raise ArgumentTypeError(
                "LBFGS: step needs a closure, a function that clears the gradients, computes the loss, calls backward() and "
                "returns the loss: optimizer.step(closure)"
            )
        with no_grad():
            return self._iterate(closure)

    def _iterate(self, closure: Callable[[], Any]) -> Any:
        self._follow()
        o, m = self.param_groups[0].options, self.memory
        lr, loss0 = self.lr, self._called(closure)
        loss, g, calls = float(loss0), self._gradient(), 1
        m["func_evals"] = m.get("func_evals", 0) + 1
        if largest(g) <= o["tolerance_grad"]:
            return loss0
        for iteration in range(1, o["max_iter"] + 1):
            m["n_iter"] = m.get("n_iter", 0) + 1
            d = self._direction(g)
            m["prev_flat_grad"], m["prev_loss"] = g, loss
            t = min(1.0, 1.0 / float(g.abs().sum())) * lr if m["n_iter"] == 1 else lr
            m["d"], m["t"], slope, before = d, t, float((g * d).sum()), loss
            if slope > -o["tolerance_change"]:
                break
            if o["line_search_fn"]:
                x = self._values()

                def evaluate(t: float, x: Any = x, d: Any = d) -> Point:
                    self._move(x, d, t)
                    value = float(self._called(closure))
                    gradient = self._gradient()
                    return Point(t, value, gradient, float((gradient * d).sum()))

                found, trials = wolfe(evaluate, Point(0.0, loss, g, slope), t, largest(d), o["tolerance_change"])
                t, loss, g = found.t, found.loss, found.gradient
                self._move(x, d, t)
                m["t"] = t
            else:
                self._move(self._values(), d, t)
                trials = int(iteration < o["max_iter"])
                if trials:
                    loss, g = float(self._called(closure)), self._gradient()
            calls += trials
            m["func_evals"] += trials
            small = largest(d) * abs(t) <= o["tolerance_change"] or abs(loss - before) < o["tolerance_change"]
            if calls >= o["max_eval"] or largest(g) <= o["tolerance_grad"] or small:
                break
        return loss0

    def _follow(self) -> None:
        """Go where the parameters went since the last step."""
        device = self.param_groups[0].entries[0].param.device
        self.param_groups[0].follow()
        for key, value in self.memory.items():
            if isinstance(value, Tensor):
                self.memory[key] = value.to(device)
            elif isinstance(value, list):
                self.memory[key] = [one.to(device) for one in value]

    def _direction(self, g: Any) -> Any:
        """Where the Hessian of the last steps says that the least is."""
        m = self.memory
        if m["n_iter"] == 1:
            m["old_dirs"], m["old_stps"], m["H_diag"] = [], [], 1.0
            return -g
        changes, steps = m["old_dirs"], m["old_stps"]
        y, s = g - m["prev_flat_grad"], m["d"] * m["t"]
        curvature = float((y * s).sum())
        if curvature > 1e-10:
            while len(changes) >= self.param_groups[0].options["history_size"]:
                del changes[0], steps[0]
            changes.append(y)
            steps.append(s)
            m["H_diag"] = curvature / float((y * y).sum())
        inverse = [1.0 / float((a * b).sum()) for a, b in zip(changes, steps, strict=True)]
        q, shares = -g, [0.0] * len(steps)
        for i in reversed(range(len(steps))):
            shares[i] = float((steps[i] * q).sum()) * inverse[i]
            q = q - shares[i] * changes[i]
        d = q * m["H_diag"]
        for i in range(len(steps)):
            d = d + steps[i] * (shares[i] - float((changes[i] * d).sum()) * inverse[i])
        return d

    def _called(self, closure: Callable[[], Any]) -> Any:
        with enable_grad():
            return closure()

    def _gradient(self) -> Any:
        """All gradients as one vector; zeros for those that have none."""
        entries = self.param_groups[0].entries
        given = {id(e) for e in with_gradient(entries)}
        parts: list[Any] = [e.param.grad if id(e) in given else zeros_like(e.param) for e in entries]
        return concat([part.reshape(-1) for part in parts], axis=0)

    def _values(self) -> Any:
        """All parameters as one vector, copied."""
        return concat([e.param.reshape(-1) for e in self.param_groups[0].entries], axis=0)

    def _move(self, x: Any, d: Any, t: float) -> None:
        """Put the parameters at ``x + t d``."""
        to, start = x + t * d, 0
        for entry in self.param_groups[0].entries:
            size = entry.param.size
            entry.param.copy_(to[start : start + size].reshape(entry.param.shape))
            start += size

    def state_dict(self) -> dict[str, Any]:
        """As of any Optimizer; the state is that of all parameters together, under "all"."""
        m = self.memory
        state = {key: Tensor(float(m[key]), dtype="float64") for key in NUMBERS if key in m}
        state |= {key: m[key] for key in ("d", "prev_flat_grad") if key in m}
        state |= {key: stack(m[key]) for key in HISTORY if m.get(key)}
        return {**super().state_dict(), "state": {"all": state} if state else {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Optimizer."""
        given = state["state"].get("all", {})
        size = sum(e.param.size for g in self.param_groups for e in g.entries)
        for key in ("d", "prev_flat_grad", *HISTORY):
            if key in given and given[key].shape[-1] != size:
                raise StateError(
                    f"the state does not fit into LBFGS:\n  {key}: {given[key].shape[-1]} values in the state, {size} here"
                )
        super().load_state_dict({**state, "state": {}})
        like = self.param_groups[0].entries[0].param
        tensors = {k: Tensor(v, dtype=like.dtype, device=like.device) for k, v in given.items() if k not in NUMBERS}
        self.memory = {key: float(given[key].item()) for key in NUMBERS if key in given}
        self.memory |= {k: [*v] if k in HISTORY else v for k, v in tensors.items()}
        if self.memory:
            self.memory = {**{key: [] for key in HISTORY}, **self.memory}


def largest(x: Any) -> float:
    """The largest absolute value."""
    return float(x.abs().amax()) if x.size else 0.0


def cubic(a: Point, b: Point, low: float, high: float) -> float:
    """Where between ``low`` and ``high`` the cubic through two points with their slopes is least.

    >>> cubic(Point(0.0, 1.0, None, -2.0), Point(2.0, 1.0, None, 2.0), 0.0, 2.0)
    1.0
    """
    a, b = (a, b) if a.t <= b.t else (b, a)
    bend = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    root = bend * bend - a.slope * b.slope
    if not root >= 0:
        return (low + high) / 2
    root = math.sqrt(root)
    least = b.t - (b.t - a.t) * ((b.slope + root - bend) / (b.slope - a.slope + 2 * root))
    return min(max(least, low), high)


def wolfe(
    evaluate: Callable[[float], Point], start: Point, t: float, reach: float, tolerance: float
) -> tuple[Point, int]:
    """A point along the line that meets the strong Wolfe conditions, or the best found; and how often it was evaluated."""

    def low_enough(point: Point) -> bool:
        return point.loss <= start.loss + DECREASE * point.t * start.slope

    def flat_enough(point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * start.slope

    last, here, trials, bracket = start, evaluate(t), 1, []
    for trial in range(TRIALS):
        if (
            not low_enough(here)
            or (trial > 1 and here.loss >= last.loss)
            or (here.slope >= 0 and not flat_enough(here))
        ):
            bracket = [last, here]
            break
        if flat_enough(here):
            return here, trials
        t = cubic(last, here, here.t + 0.01 * (here.t - last.t), here.t * 10)
        last, here, trials = here, evaluate(t), trials + 1
    bracket = bracket or [start, here]

    stuck = False
    best, other = sorted(bracket, key=lambda point: point.loss)
    while trials <= TRIALS and abs(best.t - other.t) * reach >= tolerance:
        low, high = sorted((best.t, other.t))
        t, margin = cubic(best, other, low, high), 0.1 * (high - low)
        if min(high - t, t - low) < margin:  # too near an end for the second time, or at it: a tenth inside
            if stuck or t >= high or t <= low:
                t, stuck = (high - margin if abs(t - high) < abs(t - low) else low + margin), False
            else:
                stuck = True
        else:
            stuck = False
        here, trials = evaluate(t), trials + 1
        if not low_enough(here) or here.loss >= best.loss:
            best, other = (best, here) if best.loss <= here.loss else (here, best)
            continue
        if flat_enough(here):
            return here, trials
        if here.slope * (other.t - best.t) >= 0:
            other = best
        best = here
    return best, trials
