"""Random programs of tensor operations: views, in-place changes, parts without a graph, and a gradient at the end.

Beside every tensor goes a mirror: NumPy memory, shared where the tensor shares it, and its derivative along one direction of
the leaves, computed forward by complex steps (Squire and Trapp, 1998), which no step of ours has anything to do with. Values,
who shares memory with whom, who requires a gradient, and the gradient itself have to agree. The only liberty: a program may
be refused with GraphError (a view changed in a graph, a saved value changed before backward), and then nothing has happened.
"""

import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from tests.prove.fuzz import fuzzed

import chainrule as cr
from chainrule import Tensor, backends, grad, no_grad
from chainrule.domain.errors import ArgumentError, ChainruleError, GraphError

STEP = 1e-30  # of the complex step: nothing cancels, so it may be as small as it likes
SHAPES = [(), (3,), (4, 3), (3, 3), (2, 4, 3), (1, 3)]


class Mirror:
    """What a tensor should be: memory that others may share, and a derivative of its own."""

    def __init__(self, value, tangent=None, requires=False):
        self.value, self.requires = np.asarray(value), requires
        self.tangent = np.zeros(value.shape) if tangent is None else tangent

    @property
    def dual(self):
        return np.asarray(self.value + 1j * STEP * self.tangent)


def softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True) if x.ndim else x[0]


# name: (of ours, of complex NumPy); one operand, smooth and bounded
UNARY = {
    "sin": (lambda x: x.sin(), np.sin),
    "tanh": (lambda x: x.tanh(), np.tanh),
    "exp of tanh": (lambda x: x.tanh().exp(), lambda x: np.exp(np.tanh(x))),
    "sigmoid": (lambda x: (x.tanh() * 3).sigmoid(), lambda x: 1 / (1 + np.exp(-3 * np.tanh(x)))),
    "neg": (lambda x: -x, lambda x: -x),
    "scaled": (lambda x: 1.5 * x - 0.25, lambda x: 1.5 * x - 0.25),
    "square": (lambda x: x.sin() ** 2, lambda x: np.sin(x) ** 2),
    "reciprocal": (lambda x: 1 / (x.sin() + 2), lambda x: 1 / (np.sin(x) + 2)),
    "sum": (lambda x: x.sum(), np.sum),
    "mean of last": (lambda x: x.mean(axis=-1, keepdims=True), lambda x: x.mean(-1, keepdims=True)),
    "sum of first": (lambda x: x.sum(axis=0), lambda x: x.sum(0)),
    "cumsum": (lambda x: x.cumsum(axis=0), lambda x: x.cumsum(0) if x.ndim else x[0]),
    "softmax": (lambda x: x.sin().softmax(axis=-1), lambda x: softmax(np.sin(x))),
    "flip": (lambda x: x.flip(0), lambda x: np.flip(x, 0)),
    "roll": (lambda x: x.roll(1, axis=0), lambda x: np.roll(x, 1, 0)),
    "pad": (lambda x: x.pad((1, 0)), lambda x: np.pad(x[None, ...], [(0, 0)] * x.ndim + [(1, 0)])[0] if x.ndim else x[0]),
    "tril": (lambda x: x.tril(), lambda x: np.tril(x) if x.ndim > 1 else x[None, None, 0, 0]),
    "rows": (lambda x: x[[0, -1, 0]], lambda x: x[[0, -1, 0]]),
    "places": (lambda x: x[..., [0, 0], None], lambda x: x[..., [0, 0], None]),
    "clone": (lambda x: x.clone(), np.copy),
    "variance": (lambda x: x.var(axis=-1, correction=0), lambda x: ((x - x.mean(-1, keepdims=True)) ** 2).mean(-1)),
}  # fmt: skip
VIEWS = {
    "reversed": (lambda x: x[::-1], lambda x: x[::-1]),
    "first": (lambda x: x[0], lambda x: x[0]),
    "every other": (lambda x: x[..., ::2], lambda x: x[..., ::2]),
    "new axis": (lambda x: x[None], lambda x: x[None]),
    "from one": (lambda x: x[..., 1:, :], lambda x: x[..., 1:, :]),
    "transposed": (lambda x: x.T, lambda x: x.T),
    "expanded": (lambda x: x.expand(2, *x.shape), lambda x: np.broadcast_to(x, (2, *x.shape))),
    "as it is": (lambda x: x[...], lambda x: x[...]),
    "half": (lambda x: x.split(2, axis=0)[0], lambda x: x[:2]),
}  # fmt: skip
BINARY = {
    "add": (lambda x, y: x + y, lambda x, y: x + y),
    "sub": (lambda x, y: x - y, lambda x, y: x - y),
    "mul": (lambda x, y: x.sin() * y, lambda x, y: np.sin(x) * y),
    "div": (lambda x, y: x / (y.sin() + 2), lambda x, y: x / (np.sin(y) + 2)),
    "matmul": (lambda x, y: (x @ y).tanh(), lambda x, y: np.tanh(x @ y)),
    "where": (lambda x, y: cr.where(Tensor([True, False, True]), x, y), lambda x, y: np.where([True, False, True], x, y)),
    "concat": (lambda x, y: cr.concat(x, y, axis=-1), lambda x, y: np.concatenate([x, y], -1)),
    "stack": (lambda x, y: cr.stack(x, y, axis=0), lambda x, y: np.stack([x, y])),
}  # fmt: skip
STEPS = (..., slice(None, None, -2))
CHANGES = {  # in place: what it does to x, and what x is then
    "add": (lambda x, y: x.__iadd__(y), lambda x, y: x + y),
    "sub": (lambda x, y: x.__isub__(y), lambda x, y: x - y),
    "mul": (lambda x, y: x.__imul__(0.5), lambda x, y: x * 0.5),
    "tanh": (lambda x, y: x.tanh_(), lambda x, y: np.tanh(x)),
    "all": (lambda x, y: x.copy_(y), lambda x, y: put(x, ..., y)),
    "first": (lambda x, y: x.__setitem__(0, y), lambda x, y: put(x, (0, ...), y)),
    "steps": (lambda x, y: x.__setitem__(STEPS, y), lambda x, y: put(x, STEPS, y)),
    "places": (lambda x, y: x.__setitem__([0, 1], y), lambda x, y: put(x, [0, 1], y)),
    "zeros": (lambda x, y: x.zero_(), lambda x, y: x * 0),
}  # fmt: skip


def put(x, index, y):
    x = np.array(x)
    x[index] = y
    return x


INSTRUCTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [("unary", name) for name in UNARY] + 2 * [("view", name) for name in VIEWS]
            + 2 * [("binary", name) for name in BINARY] + 3 * [("change", name) for name in CHANGES]
            + 2 * [("detach", ""), ("reshape", "")]
        ),
        st.integers(0, 30), st.integers(0, 30), st.sampled_from([True, True, True, True, False]),
    ), min_size=1, max_size=14,
)  # fmt: skip


class Program:
    """Tensors and their mirrors, side by side."""

    def __init__(self, shapes, seed, contiguous):
        random = np.random.default_rng(seed)
        self.pairs = []
        for i, shape in enumerate(shapes):
            value, tangent = random.standard_normal(shape), random.standard_normal(shape)
            requires = i < 2
            value = np.array(value, order="C" if contiguous else "F")
            tensor = cr.from_numpy(value.copy(order="K")).requires_grad_(requires)
            self.pairs.append((tensor, Mirror(value, tangent if requires else None, requires)))
        self.leaves = [(t, m.tangent) for t, m in self.pairs if m.requires]

    def pick(self, number):
        """The later made, the likelier."""
        return self.pairs[-1 - number % len(self.pairs)]

    def run(self, instruction):
        (kind, name), i, j, recorded = instruction
        (x, a), (y, b) = self.pick(i), self.pick(j)
        with cr.enable_grad() if recorded else no_grad():
            getattr(self, kind)(name, x, a, y, b, recorded)

    def keep(self, tensor, value, tangent, requires):
        """A new pair."""
        assert tensor.shape == value.shape and tensor.requires_grad == requires
        self.pairs.append((tensor, Mirror(value, tangent if requires else None, requires)))

    def computed(self, ours, theirs, operands, mirrors, recorded):
        """A result in memory of its own."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the mean of nothing
                found = theirs(*[m.dual for m in mirrors])
        except np.exceptions.AxisError:  # of a number, whose only axis PyTorch allows to be named
            return
        except (ValueError, IndexError, TypeError):
            with pytest.raises(ChainruleError):
                ours(*operands)
            return
        found = np.asarray(found)
        if not np.isfinite(found).all():  # an empty mean
            return
        tensor = ours(*operands)
        assert all(tensor.storage is not t.storage for t, _ in self.pairs)
        requires = recorded and any(m.requires for m in mirrors)
        self.keep(tensor, found.real.copy(), found.imag / STEP, requires)

    def unary(self, name, x, a, y, b, recorded):
        self.computed(*UNARY[name], [x], [a], recorded)

    def binary(self, name, x, a, y, b, recorded):
        self.computed(*BINARY[name], [x, y], [a, b], recorded)

    def view(self, name, x, a, y, b, recorded):
        ours, theirs = VIEWS[name]
        try:
            value = theirs(a.value[..., None])[..., 0] if name == "first" else theirs(a.value)  # a view, no scalar
        except (ValueError, IndexError):
            with pytest.raises(ChainruleError):
                ours(x)
            return
        tensor = ours(x)
        assert tensor.storage is x.storage or not tensor.size
        self.keep(tensor, value, theirs(a.tangent).copy(), recorded and a.requires)

    def detach(self, name, x, a, y, b, recorded):
        tensor = x.detach()
        assert tensor.storage is x.storage
        self.keep(tensor, a.value, None, False)

    def reshape(self, name, x, a, y, b, recorded):
        tensor = x.reshape(-1)
        shares = tensor.storage is x.storage  # it may, and it has to say so
        assert np.shares_memory(tensor.array, x.array) == shares or not tensor.size
        if shares and not np.shares_memory(a.value.reshape(-1), a.value):
            return  # the mirror has another layout and cannot follow
        value = a.value.reshape(-1) if shares else a.value.flatten()
        self.keep(tensor, value, a.tangent.flatten(), recorded and a.requires)

    def change(self, name, x, a, y, b, recorded):
        ours, theirs = CHANGES[name]
        alone = name in ("mul", "tanh", "zeros")
        operands = [a] if alone else [a, b]
        try:
            found = np.asarray(theirs(a.dual, b.dual))
            possible = found.shape == a.value.shape
        except (ValueError, IndexError, TypeError):
            possible = False
        if not possible:
            with pytest.raises(ChainruleError):
                ours(x, y)
            return
        in_graph = recorded and any(m.requires for m in operands) and name != "zeros"
        try:
            ours(x, y)
        except GraphError:
            assert in_graph
            return
        except ArgumentError:
            assert not a.value.flags.writeable
            return
        if in_graph:  # the tensor became the result of a call: nobody else sees that
            a.value, a.tangent, a.requires = found.real.copy(), found.imag / STEP, True
        else:
            a.value[...] = found.real
        assert x.requires_grad == a.requires


counts = {"compared": 0, "refused": 0, "no gradient": 0}


@given(
    st.lists(st.sampled_from(SHAPES), min_size=2, max_size=3), INSTRUCTIONS, st.integers(0, 2**16), st.booleans(),
    st.sampled_from(["cpu", "numpy"]),
)  # fmt: skip
@fuzzed(9000)
def test_programs(shapes, instructions, seed, contiguous, backend):
    with backends.use(backend):
        program = Program(shapes, seed, contiguous)
        for instruction in instructions:
            program.run(instruction)
        for tensor, mirror in program.pairs:
            np.testing.assert_allclose(tensor.numpy(), mirror.value, rtol=1e-9, atol=1e-12)
            assert tensor.requires_grad == mirror.requires

        outputs = [(t, m) for t, m in program.pairs if m.requires and not t.is_leaf]
        if not outputs:
            counts["no gradient"] += 1
            return
        loss, wanted = 0.0, 0.0
        for tensor, mirror in outputs:
            weights = np.cos(np.arange(tensor.size)).reshape(tensor.shape)
            loss = loss + (tensor * Tensor(weights)).sum()
            wanted += (mirror.tangent * weights).sum()
        try:
            gradients = grad(loss, [leaf for leaf, _ in program.leaves], allow_unused=True)
        except GraphError as error:
            assert "changed in place" in str(error)
            counts["refused"] += 1
            return
        pairs = zip(gradients, program.leaves, strict=True)
        found = sum((g.numpy() * v).sum() for g, (_, v) in pairs if g is not None)
        assert found == pytest.approx(wanted, rel=1e-8, abs=1e-8)
        counts["compared"] += 1


def test_most_programs_are_compared(record_property):
    """Of what ran above: refusing everything would be no proof."""
    for name, count in counts.items():
        record_property(name, count)
    assert counts["compared"] > 4 * counts["refused"] > 0
