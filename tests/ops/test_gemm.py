"""The matrix-product room beyond the table: vectors, batches, equations, errors."""

import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, grad


def filled(*shape):
    return Tensor(np.random.default_rng(len(shape)).standard_normal(shape), requires_grad=True)


@pytest.mark.parametrize("a, b", [((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2))])
def test_vectors(a, b):
    x, y = filled(*a), filled(*b)
    z = x @ y
    np.testing.assert_allclose(z.numpy(), x.numpy() @ y.numpy(), rtol=1e-12)
    gx, gy = grad(z.sum(), (x, y))
    assert gx.shape == a and gy.shape == b
    h = 1e-6 * np.ones(a)
    numeric = ((x.numpy() + h) @ y.numpy() - (x.numpy() - h) @ y.numpy()).sum() / 2e-6
    assert gx.sum().item() == pytest.approx(numeric, rel=1e-6)


def test_broadcast_batches_get_summed_gradients():
    a, b = filled(4, 1, 2, 3), filled(5, 3, 2)
    gx, gy = grad((a @ b).sum(), (a, b))
    assert gx.shape == a.shape and gy.shape == b.shape
    w = filled(3, 2)
    (gw,) = grad((a @ w).sum(), w)
    np.testing.assert_allclose(gw.numpy(), np.einsum("abij->j", a.numpy())[:, None] * np.ones((3, 2)), rtol=1e-9)


def test_einsum_takes_a_list_and_spaces():
    a, b = filled(2, 3), filled(3, 4)
    for y in (cr.einsum("ij, jk -> ik", a, b), cr.einsum("ij,jk->ik", [a, b]), cr.einsum("ij,jk", a, b)):
        np.testing.assert_allclose(y.numpy(), a.numpy() @ b.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: filled(1, 2) @ filled(3, 1), ValueError, r"\[matmul\] a has 2 columns .* but b has 3 rows"),
        (lambda: filled(2, 3) @ 2.0, TypeError, r"\[matmul\] b is a float"),
        (lambda: filled() @ filled(3), ValueError, r"\[matmul\] .* a number has no rows"),
        (lambda: cr.linear(filled(4, 3), filled(5, 2)), ValueError, r"\[linear\] x has 3 features .* weight expects 2"),
        (lambda: cr.linear(filled(4, 3), filled(3)), ValueError, r"\[linear\] weight has shape \(3,\)"),
        (lambda: cr.linear(filled(4, 3), filled(5, 3), filled(4)), ValueError, r"\[linear\] bias has shape \(4,\)"),
        (lambda: cr.linear(filled(4, 3), filled(5, 2), activation="relu"), ValueError, r"\[linear\] x has 3 features"),
        (lambda: cr.linear(filled(4, 3), filled(5, 3), activation="glu"), ValueError, "unknown activation of linear"),
        (lambda: cr.dot(filled(3), filled(4)), ValueError, r"\[dot\] takes two vectors of one length"),
        (lambda: cr.outer(filled(3, 1), filled(4)), ValueError, r"\[outer\] takes two vectors"),
        (lambda: cr.einsum("ij,jk", filled(2, 3)), ValueError, r"\[einsum\] 'ij,jk' names 2 operands, but 1"),
        (lambda: cr.einsum("ijk", filled(2, 3)), ValueError, r"\[einsum\] 'ijk' has 'ijk' for operand 0"),
        (lambda: cr.einsum("ij->ik", filled(2, 3)), ValueError, r"no operand has"),
        (lambda: cr.einsum("ij,ij->i", filled(2, 3), filled(2, 4)), ValueError, r"'j' is 3 long and elsewhere 4"),
        (lambda: cr.einsum("ii", filled(2, 3)), ValueError, r"'i' names two axes"),
        (lambda: cr.einsum(filled(2, 3), "ij"), TypeError, r"\[einsum\] the equation comes first"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_plain_linear_does_not_hold_its_result_for_the_gradient():
    x, w = filled(4, 3), cr.ones(5, 3, dtype="float64", requires_grad=True)
    y, z = cr.linear(x, w), cr.linear(x, w, activation="tanh")
    plain, activated = weakref.ref(y.array), weakref.ref(z.array)
    loss = y.sum() + z.sum()
    del y, z
    assert plain() is None and activated() is not None
    loss.backward()
    assert activated() is None
