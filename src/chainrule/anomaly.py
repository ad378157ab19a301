"""The first NaN or infinity: which op made it, in which layer, forward or backward, from what."""

from __future__ import annotations

from typing import Any

import numpy as np

from .domain.errors import AnomalyError
from .modes import listen, modes
from .ops import OPS
from .saved import Saved
from .tensor import Tensor, wrap
from .whereabouts import Whereabouts

LARGE = 1e4  # numbers of this size in a network are no accident
HINTS = {
    "exp": "float32 holds exp up to x = 88.7: subtract the largest x first, or use softmax, logsumexp or softplus",
    "log": "log needs numbers above 0: log(x.clip(min=1e-12)); losses of scores (cross_entropy, bce_with_logits) need none",
    "sqrt": "sqrt needs numbers from 0 on, and its derivative is infinite at 0: sqrt(x + 1e-12)",
    "pow": "a fraction as power needs numbers above 0, and large powers overflow",
    "div": "divided by zero: add a small number to what is divided by",
    "softmax": "a row of which everything is masked (-inf) has no softmax: keep one entry of each row",
}  # by the op, or the op whose gradient it is
ALIKE = {
    "log2": "log", "log10": "log", "log1p": "log", "rsqrt": "sqrt", "std": "sqrt", "reciprocal": "div", "expm1": "exp",
    "log_softmax": "softmax", "scaled_dot_product_attention": "softmax", "sinh": "exp", "cosh": "exp", "square": "pow",
}  # fmt: skip


class detect_anomaly:
    """Inside ``with detect_anomaly(model):`` the first op of this thread that makes NaN or infinity raises AnomalyError.

    That is: NaN from arguments without NaN, or infinity from finite ones. So -inf as you put it into a mask, and what
    comes of it as long as no NaN does, is no anomaly; log(0) is one even if ``where`` hides it later, for its gradient
    is 0 · inf = NaN: write ``log(where(x > 0, x, 1))``. Also raised for NaN or +inf in an input of ``model``, and for
    a step of an optimizer that leaves either in a parameter.

    The error names the op and its numbers; the layer, by its path; in a backward the op whose gradient it was, and its
    line. Without ``model`` there is no layer in the backward. Slow: every output is read.

    >>> import chainrule as cr
    >>> with cr.detect_anomaly():
    ...     cr.tensor([0.0]).log()
    Traceback (most recent call last):
    chainrule.domain.errors.AnomalyError: [log] made -inf at (0,) of its output (1,) float32, ...
    """

    def __init__(self, model: Any = None) -> None:
        self.model = model

    def __enter__(self) -> detect_anomaly:
        self._watch = Watch(self.model)
        self._listen = listen(self._watch)
        self._listen.__enter__()
        self._before, modes.anomaly = modes.anomaly, self._watch
        return self

    def __exit__(self, *args: object) -> None:
        modes.anomaly = self._before
        self._listen.__exit__(*args)
        self._watch.close()


class Watch(Whereabouts):
    """Sees every kernel call, and which layer is at work."""

    forbids_reading = False
    depth = 0  # of bodies and gradients at work: their parts are not looked at

    def enter(self, module: Any, inputs: Any) -> None:
        """A layer begins; the outermost has its inputs looked at."""
        if not self.stack or module is self.model:
            for i, x in enumerate(inputs):
                if has(x, np.isnan) or has(x, np.isposinf):
                    raise AnomalyError(f"input {i} of the model has NaN or infinity: {described(x)}. Look at the data")
        super().enter(module, inputs)

    def where(self, line: str) -> str:
        """What a node of the tape remembers of its call: the line, and the layer at work."""
        if not self.stack:
            return line
        path, layer = self.path(), first_line(self.stack[-1])
        return f"{line} in {path}: {layer}" if path else f"{line} in {layer}"

    def launched(self, backend: Any, name: str, inputs: Any, params: Any, outputs: Any) -> None:
        """A kernel was called: of an op of its own, unless it is a part of another."""
        if not self.depth:
            self.check(name, OPS[name].op if name in OPS else None, inputs, params, outputs)

    def body(self, op: Any, args: Any, params: dict[str, Any]) -> Any:
        """Run the body of an op, which counts as one call: what it makes and hides is its own affair."""
        self.depth += 1
        try:
            result = op.body(*args, **params)
        finally:
            self.depth -= 1
        if not self.depth:
            self.check(op.name, op, args, params, result)
        return result

    def step(self, node: Any, inputs: Any, g: Any) -> Any:
        """The gradient of a call: raise if it made what is not finite."""
        if node.name == "checkpoint":  # that of the calls inside
            return node.vjp(node, inputs, g)
        self.depth += 1
        try:
            flows = node.vjp(node, inputs, g)
        finally:
            self.depth -= 1
        given = [x for x in flat(g) if isinstance(x, Tensor)]
        left = iter(inputs)  # in the order of the flows, some of which may be missing
        for edge, _, y in flows:
            position = next((at for at, other, *_ in left if other is edge), 0)
            if not self.depth and anomalous(y, given):
                raise AnomalyError(self.told_gradient(node, inputs, given, position, y))
        return flows

    def check(self, name: str, op: Any, inputs: Any, params: Any, outputs: Any) -> None:
        """Raise if a call made what is not finite."""
        written = op.mutates(*inputs, **params) if op is not None and op.mutates is not None else []
        made = [y for y in [*written, *flat(outputs)] if has(y, not_finite)]
        if made and not np.isfinite(params.get("value", 0.0)):  # full(inf)
            return
        given = [x for x in inputs if not any(x is y for y in written)]
        if not (op is not None and op.nondifferentiable and name[-1] == "_"):  # a step of an optimizer never may
            made = [y for y in made if anomalous(y, given)]
        if made:
            raise AnomalyError(self.told(name, op, given, written, params, made[0]))

    def told(self, name: str, op: Any, given: list[Any], written: list[Any], params: Any, broken: Tensor) -> str:
        """What happened."""
        names = {} if self.model is None else {p.storage: path for path, p in self.model.named_parameters()}
        what = f"parameter {names[broken.storage]}" if broken.storage in names else "output"
        lines = [f"[{name}] made {first(broken)} of its {what} {described(broken)}"]
        if self.stack:
            lines.append(f"layer: {first_line(self.stack[-1])}")
        if op is not None and op.variadic and written:  # an optimizer: of all its tensors, the one gradient
            count = params["count"]
            number = next(i for i, y in enumerate(written) if y is broken) % count
            named = [("lr", given[-count - 1]), ("gradient", given[-count + number])]
        else:
            labels = op.tensors if op is not None and not op.variadic else []
            labels = [*labels, *(f"argument {i}" for i in range(len(labels), len(given)))]
            named = list(zip(labels, given, strict=False)) if not written else [("argument", x) for x in given]
        return text(lines, named) + hint(name, given, broken)

    def told_gradient(self, node: Any, inputs: Any, given: list[Any], position: int, broken: Tensor) -> str:
        """What happened in a backward: with what the rule of that argument kept."""
        tensors = OPS[node.name].op.tensors if node.name in OPS else []
        label = tensors[position] if position < len(tensors) else f"argument {position}"
        line = f", called at {node.line}" if node.line else ""
        lines = [f"in the gradient of [{node.name}]{line}: made {first(broken)} of that of {label} {described(broken)}"]
        named = [("gradient of the output", g) for g in given]
        for at, _, _, rule, kept in inputs:
            if at == position and rule is not None:
                op = OPS[node.name].op
                for (kind, which), value in zip(rule.sources, kept, strict=True):
                    if isinstance(value, Saved):
                        x = wrap(value.array, value.backend, value.storage)
                        named.append((op.tensors[which] if kind == "tensor" else op.outputs[which], x))
        return text(lines, named) + hint(node.name, [x for _, x in named], broken)


def text(lines: list[str], named: list[tuple[str, Any]]) -> str:
    """``lines``, and one for each argument that is a tensor or a number."""
    return "\n  ".join([*lines, *(f"{label}: {described(x)}" for label, x in named if isinstance(x, (Tensor, float)))])


def anomalous(y: Any, given: list[Any]) -> bool:
    """Whether ``y`` has NaN, made without NaN; or infinity, made of finite numbers."""
    if not has(y, not_finite) or any(has(x, np.isnan) for x in given):
        return False
    return has(y, np.isnan) or not any(has(x, not_finite) for x in given)


def flat(outputs: Any) -> list[Any]:
    """What a kernel returned, with tuples in it opened."""
    return [y for part in outputs for y in flat(part)] if isinstance(outputs, tuple) else [outputs]


def numbers(x: Tensor) -> Any:
    """The values in float64."""
    return np.asarray(x.backend.numpy(x.array), np.float64)


def not_finite(values: Any) -> Any:
    """Where there is NaN or infinity."""
    return ~np.isfinite(values)


def has(x: Any, test: Any) -> bool:
    """Whether ``test`` is true somewhere in a floating tensor or a number; other things have nothing."""
    if isinstance(x, Tensor):
        return x.is_floating and bool(test(numbers(x)).any())
    return isinstance(x, float) and bool(test(np.float64(x)))


def first_line(module: Any) -> str:
    """How a layer is written; of one with layers inside, its class alone."""
    text = repr(module)
    return text if "\n" not in text else type(module).__name__


def described(x: Any) -> str:
    """Shape, dtype and range in a few words.

    >>> described(Tensor([1.0, float("nan"), 3.0]))
    '(3,) float32, 1 of 3 not finite, the rest from 1 to 3'
    """
    if not isinstance(x, Tensor):
        return str(x)
    values = numbers(x)
    finite = values[np.isfinite(values)]
    text = f"{x.shape} {x.dtype}"
    if finite.size < values.size:
        text += f", {values.size - finite.size} of {values.size} not finite" + ", the rest" * bool(finite.size)
    return f"{text} from {finite.min():.4g} to {finite.max():.4g}" if finite.size else text


def first(x: Tensor) -> str:
    """The first number that is not finite, and its place."""
    values = numbers(x)
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
    return f"{values[place]} at {place}"


def hint(name: str, given: list[Any], broken: Tensor) -> str:
    """What may help with this op, on a line of its own: by the op, or by the numbers that came in."""
    if broken.dtype == "float16":
        return "\n  hint: float16 holds numbers up to 65504: bfloat16 has the range of float32"
    if name[-1] == "_":
        return "\n  hint: the learning rate is too large for these gradients: a smaller one, or clip_norm=1.0"
    found = HINTS.get(ALIKE.get(name, name), "")
    tensors = [numbers(x) for x in given if isinstance(x, Tensor) and x.is_floating]
    if any(not np.isfinite(values).all() for values in tensors):
        found = found or "there was infinity among what came in: look at where that was made, or at the data"
    elif any(values.size and np.abs(values).max() > LARGE for values in tensors):
        large = (
            "what came in is large already: a smaller learning rate, clip_norm=1.0, normalized inputs or a norm layer"
        )
        found = f"{found}; {large}" if found else large
    return f"\n  hint: {found}" if found else ""
