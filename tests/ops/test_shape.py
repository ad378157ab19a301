"""The shape room beyond the table: what shares memory, and errors."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor


def filled(*shape):
    return Tensor(np.arange(float(np.prod(shape))).reshape(shape), dtype="float32")


def shares(x, y):
    return np.shares_memory(x.numpy(), y.numpy())


def test_views_share_memory_and_copies_do_not():
    x = filled(2, 3)
    for y in (
        x.reshape(3, 2),
        x.T,
        x.transpose(0, 1),
        x.expand(4, 2, 3),
        x.unsqueeze(0),
        x.squeeze(),
        x[0],
        *x.split(1),
    ):
        assert shares(x, y) and y.storage is x.storage
    for y in (x.flip(0), x.roll(1), x.roll(0), x.repeat(1, 1), x.tile(1), x.pad((1, 1)), x.pad((0, 0)), cr.concat([x]),
              x.tril(diagonal=9), cr.stack([x]), x.T.reshape(-1)):  # fmt: skip
        assert not shares(x, y) and y.storage is not x.storage


def test_lists_of_tensors():
    a, b = filled(2), filled(2)
    assert cr.stack([a, b]).shape == cr.stack(a, b).shape == (2, 2)
    assert cr.concat([a, b], 0).shape == cr.concat([a, b], dim=0).shape == (4,)
    assert cr.stack([a, b], axis=-1).tolist() == [[0, 0], [1, 1]]


def test_split_and_chunk():
    x = filled(7)
    assert [p.shape[0] for p in x.split(3)] == [3, 3, 1] and [p.shape[0] for p in x.chunk(3)] == [3, 3, 1]
    a, b = x.split([3, 4])
    assert b.tolist() == [3, 4, 5, 6] and a.shape == (3,)
    x.requires_grad = True
    x.split(3)[1].sum().backward()
    assert x.grad.tolist() == [0, 0, 0, 1, 1, 1, 0]


def test_repeat_tiles():
    assert filled(2).repeat(2, 2).shape == (2, 4) and filled(2, 2).tile(2).shape == (2, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.reshape(4, 2), ValueError, r"\[reshape\] x has 6 elements \(shape \(2, 3\)\) but \(4, 2\) has 8"),
        (lambda x: x.reshape(-1, -1), ValueError, r"\[reshape\] .* -1 stands for no one size"),
        (lambda x: x.reshape(-1, 4), ValueError, r"\[reshape\]"),
        (lambda x: x.permute(0, 0), ValueError, r"\[permute\] axes \(0, 0\) should name each of the 2 axes"),
        (lambda x: x.permute(0, 2), IndexError, r"\[permute\] axis 2 is not an axis of \(2, 3\)"),
        (
            lambda x: x.expand(4, 3),
            ValueError,
            r"\[expand\] x has shape \(2, 3\), which does not broadcast to \(4, 3\)",
        ),
        (lambda x: cr.stack([x, x[0]]), ValueError, r"\[stack\] tensor 1 has shape \(3,\) but tensor 0 has \(2, 3\)"),
        (
            lambda x: cr.concat([x, x.T]),
            ValueError,
            r"\[concat\] tensor 1 has shape \(3, 2\) .* only axis 0 may differ",
        ),
        (lambda x: cr.concat([x[0, 0]]), ValueError, r"\[concat\] a number has no axis; use stack|\[concat\] axis"),
        (lambda x: x.split((1, 2)), ValueError, r"\[split\] sizes \(1, 2\) add up to 3, but axis 0 of \(2, 3\) is 2"),
        (lambda x: x.split(0), ValueError, r"\[split\] a part has 0 elements"),
        (lambda x: x.repeat(2), ValueError, r"\[repeat\] repeats \(2,\)"),
        (lambda x: x.pad((1,)), ValueError, r"\[pad\] pad \(1,\) should be pairs"),
        (lambda x: x.pad((3, 0), "reflect"), ValueError, r"\[pad\] reflect cannot pad axis 1 of \(2, 3\) by 3 and 0"),
        (lambda x: x.pad((1, 0), "mirror"), ValueError, r"unknown mode of pad 'mirror'"),
        (lambda x: x[0].tril(), ValueError, r"\[tril\] x has shape \(3,\); a matrix is needed"),
        (lambda x: x.unsqueeze(3), IndexError, r"\[unsqueeze\] axis 3"),
        (lambda x: x.roll((1, 2), axis=0), ValueError, r"\[roll\] shifts \(1, 2\) and axis \(0,\)"),
        (lambda x: x.reshape("a"), TypeError, r"\[reshape\] a shape is made of integers"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(filled(2, 3))
