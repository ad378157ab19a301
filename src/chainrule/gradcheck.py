"""Looking for wrong gradients: finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .autograd import grad
from .domain.errors import DTypeError, GraphError
from .tensor import Tensor


def gradcheck(
    function: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3
) -> bool:
    """Compare the gradient of ``function(*inputs)`` with central differences, element by element.

    ``inputs`` are float64 tensors; those that require a gradient are checked. Returns True, or raises GraphError that
    names the input, the element and both values.

    >>> x = Tensor([0.5, 1.5], dtype="float64", requires_grad=True)
    >>> gradcheck(lambda x: (x.exp() * x).sum(), x)
    True
    """
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    variables = [(i, x) for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    for i, x in variables:
        if x.dtype != "float64":
            raise DTypeError(f"input {i} is {x.dtype}: differences need float64")
    weights: list[Any] = []

    def weighted(arguments: list[Any]) -> Tensor:
        result = function(*arguments)
        outputs = [y for y in (result if isinstance(result, tuple) else (result,)) if y.is_floating]
        while len(weights) < len(outputs):
            weights.append(np.cos(np.arange(outputs[len(weights)].size) + len(weights)))
        total: Any = None
        for y, w in zip(outputs, weights, strict=True):
            part = (y * Tensor(w.reshape(y.shape), device=y.device)).sum()
            total = part if total is None else total + part
        return total  # type: ignore[no-any-return]

    exact = grad(weighted(inputs), [x for _, x in variables], allow_unused=True)
    for (i, x), g in zip(variables, exact, strict=True):
        values = np.array(x.numpy())
        found = np.zeros_like(values) if g is None else g.numpy()
        for place in np.ndindex(values.shape):
            sides = []
            for delta in (eps, -eps):
                moved = values.copy()
                moved[place] += delta
                arguments = [*inputs]
                arguments[i] = Tensor(moved, device=x.device, requires_grad=True)
                sides.append(weighted(arguments).item())
            numeric = (sides[0] - sides[1]) / (2 * eps)
            if not abs(found[place] - numeric) <= atol + rtol * abs(numeric):
                raise GraphError(
                    f"input {i}, element {place}: the gradient is {found[place]:.6g} but differences give {numeric:.6g}"
                )
    return True
