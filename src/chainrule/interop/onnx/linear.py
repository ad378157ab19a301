"""The matrix products of ONNX."""

from __future__ import annotations

from typing import Any

from ... import ops
from .operators import operator


@operator("MatMul")
def matmul(a: Any, b: Any) -> Any:
    """The product of matrices, of batches of them, and of vectors."""
    return ops.matmul(a, b)


@operator("Gemm")
def gemm(
    a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0,
    broadcast: int = 0,
) -> Any:  # fmt: skip
    """``alpha a b + beta c``, each of a and b as it is or transposed."""
    a = a.T if transA else a
    if transB and alpha == 1.0 and beta == 1.0 and c is not None and c.shape == (b.shape[0],) and a.is_floating:
        return ops.linear(a, b, c)
    y = ops.matmul(a, b.T if transB else b)
    y = y if alpha == 1.0 else y * alpha
    return y if c is None else y + (c if beta == 1.0 else c * beta)


@operator("Einsum")
def einsum(*xs: Any, equation: str) -> Any:
    """The sum that an equation of letters says."""
    return ops.einsum(equation.replace(" ", ""), *xs)


@operator("Det")
def det(x: Any) -> Any:
    """The determinants of square matrices, by elimination with the largest pivots."""
    n = x.shape[-1]
    y = x.reshape(-1, n, n)
    found = []
    for i in range(y.shape[0]):
        rows, value = y[i], None
        for column in range(n):
            pivot = column + int(ops.abs(rows[column:, column]).numpy().argmax())
            order = [*range(n)]
            order[column], order[pivot] = pivot, column
            rows = ops.stack(*(rows[j] for j in order), axis=0)
            factor = rows[column, column] if pivot == column else -rows[column, column]
            value = factor if value is None else value * factor
            if float(rows[column, column].numpy()) == 0.0:
                break
            if column + 1 < n:
                below = rows[column + 1 :] - ops.outer(rows[column + 1 :, column] / rows[column, column], rows[column])
                rows = ops.concat(rows[: column + 1], below, axis=0)
        found.append(value)
    return ops.stack(*found, axis=0).reshape(x.shape[:-2])
