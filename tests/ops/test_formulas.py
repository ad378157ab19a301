"""Every op says its formula, its gradient and its shapes; what is said in Python is what it computes, on its rows."""

import inspect
import math
import re

import numpy as np
import pytest
from tests.ops.samples import SAMPLES

from chainrule import Tensor, grad, ops
from chainrule.ops._op import OPS
from chainrule.ops.reduce import sum_to

FACTS = re.compile(r"Formula: (?P<formula>.+?)\. Gradient: (?P<gradient>.+?)\. Shapes: (?P<shapes>.+)\.")
STATEMENT = re.compile(r"``([a-z]\w*) = ([ -_a-~]+)``", re.ASCII)


def facts(name):
    """What the docstring of an op says, or None."""
    for paragraph in (inspect.getdoc(getattr(ops, name)) or "").split("\n\n"):
        found = FACTS.fullmatch(" ".join(paragraph.split()))
        if found:
            return found
    return None


def statements(name):
    """What is said in Python: {"y": code, "dx": code, …}, and helpers like ``d = x - target``. Mathematics is left out."""
    found = {}
    for target, text in STATEMENT.findall(facts(name)[0]):
        try:
            found[target] = compile(text, f"{name}: {target}", "eval")
        except SyntaxError:
            continue
    return found


@pytest.mark.parametrize("name", ops.__all__)
def test_an_op_says_its_formula_its_gradient_and_its_shapes(name):
    found = facts(name)
    assert found, f"{name} has no paragraph 'Formula: …. Gradient: …. Shapes: ….' in its docstring"
    assert "``" in found["formula"]
    none = found["gradient"].startswith("none")
    assert none == OPS[name].op.nondifferentiable


def judged(sample):
    """Whether something of a row's op can be computed: one output, and a formula or a gradient in Python."""
    said = statements(sample.op) if sample.op in ops.__all__ else {}
    return "y" in said or any(f"d{name}" in said for name in OPS[sample.op].op.tensors)


ROWS = [sample for sample in SAMPLES if judged(sample) and sample.params.get("dtype") is None]


def test_many_formulas_are_code():
    assert len({sample.op for sample in ROWS}) > 70


def tensor(a, varied, floats):
    """An argument of a row; a number is of the dtype that gradients have."""
    return Tensor(a if isinstance(a, np.ndarray) else np.asarray(a, float if floats else None), requires_grad=varied)


def computed(sample):
    """The result of a row's op, its gradients by name, and the names that statements know."""
    this = OPS[sample.op].op
    params = {**this.defaults, **sample.params}
    if "reduction" in params:
        params["reduction"] = "none"
    args = [a if a is None else tensor(a, i in sample.varied, bool(sample.varied)) for i, a in enumerate(sample.args)]
    y = OPS[sample.op](*args, **params)
    g = Tensor(np.random.default_rng(0).uniform(-1.0, 1.0, y.shape))
    varied = [] if this.nondifferentiable else sample.varied
    found = grad(y, [args[i] for i in varied], g) if varied else ()
    gradients = {this.tensors[i]: v for i, v in zip(varied, found, strict=True)}
    python = {name: getattr(ops, name) for name in ops.__all__}
    python["log"] = lambda v: ops.log(v) if isinstance(v, Tensor) else math.log(v)
    known = {**python, "inf": math.inf, "pi": math.pi, **params, **dict(zip(this.tensors, args, strict=False)), "g": g}
    return y, gradients, known


def valued(statement, known):
    """What a statement of a docstring gives."""
    return eval(statement, known)  # noqa: S307


def same(value, expected):
    """Whether what a statement gives, which may have been broadcast, is what the op gives."""
    value = Tensor(np.asarray(value)) if not isinstance(value, Tensor) else value
    if value.size > 1:
        value = sum_to(value, expected.shape)
    np.testing.assert_allclose(*np.broadcast_arrays(value.numpy(), expected.numpy()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sample", ROWS, ids=str)
def test_the_formulas_are_what_is_computed(sample):
    y, gradients, known = computed(sample)
    said = statements(sample.op)
    for name in (n for n in said if n != "y" and n[1:] not in OPS[sample.op].op.tensors):
        known[name] = valued(said[name], known)
    known["y"] = y
    if "y" in said:
        same(valued(said["y"], known), y)
    for name, expected in gradients.items():
        if f"d{name}" in said:
            known[f"d{name}"] = valued(said[f"d{name}"], known)
            same(known[f"d{name}"], expected)
