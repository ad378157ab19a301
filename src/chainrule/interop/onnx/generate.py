"""The operators of ONNX that make tensors."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from ... import ops
from ...creation import full, rand, randn
from ...random import Generator
from ...tensor import Tensor
from .operators import constant, dtype_of, integers, operator, sized


@operator("ConstantOfShape")
def constant_of_shape(shape: Any, *, value: Any = None) -> Any:
    """One value everywhere; 0 of float32 unless given."""
    number = Tensor([0.0]) if value is None else value
    return full(sized(integers(shape)), number.reshape(-1).numpy()[0].item(), dtype=number.dtype, device=shape.device)


@operator("Range")
def numbers(start: Any, limit: Any, delta: Any) -> Any:
    """From a number in equal steps, up to a limit."""
    first, end, step = (v.numpy().reshape(-1)[0].item() for v in (start, limit, delta))
    n = max(ceil((end - first) / step), 0)
    sized([n])
    return constant(first + np.arange(n) * step, start, start.dtype)


@operator("EyeLike")
def eye_like(x: Any, *, dtype: int | None = None, k: int = 0) -> Any:
    """1 on a diagonal, in the shape of a matrix."""
    return constant(np.eye(x.shape[0], x.shape[1], k=k), x, x.dtype if dtype is None else dtype_of(dtype))


def generator(seed: float | None) -> Generator | None:
    """One of its own for a seed, else the default."""
    return None if seed is None else Generator(int(seed))


@operator("RandomNormal")
def random_normal(
    *, dtype: int = 1, mean: float = 0.0, scale: float = 1.0, seed: float | None = None, shape: Any
) -> Any:
    """Normally distributed numbers."""
    return randn(*sized(shape), dtype=dtype_of(dtype), generator=generator(seed)) * scale + mean


@operator("RandomNormalLike")
def random_normal_like(
    x: Any, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Any:
    """Normally distributed numbers in the shape of another."""
    chosen = x.dtype if dtype is None else dtype_of(dtype)
    return randn(*x.shape, dtype=chosen, device=x.device, generator=generator(seed)) * scale + mean


@operator("RandomUniform")
def random_uniform(
    *, dtype: int = 1, high: float = 1.0, low: float = 0.0, seed: float | None = None, shape: Any
) -> Any:
    """Equally distributed numbers."""
    return rand(*sized(shape), dtype=dtype_of(dtype), generator=generator(seed)) * (high - low) + low


@operator("RandomUniformLike")
def random_uniform_like(
    x: Any, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Any:
    """Equally distributed numbers in the shape of another."""
    chosen = x.dtype if dtype is None else dtype_of(dtype)
    return rand(*x.shape, dtype=chosen, device=x.device, generator=generator(seed)) * (high - low) + low


@operator("Bernoulli")
def bernoulli(x: Any, *, dtype: int | None = None, seed: float | None = None) -> Any:
    """1 with the probability that x gives, else 0."""
    drawn = rand(*x.shape, device=x.device, generator=generator(seed)) < x.to(dtype="float32")
    return drawn.to(dtype=x.dtype if dtype is None else dtype_of(dtype))


def window(name: str, *cosines: float) -> None:
    """A window that is a sum of cosines."""

    @operator(name)
    def call(size: Any, *, output_datatype: int = 1, periodic: int = 1) -> Any:
        n = integers(size)[0]
        sized([n])
        angle = 2 * np.pi * np.arange(n) / (n if periodic else n - 1)
        values = sum(c * np.cos(i * angle) for i, c in enumerate(cosines))
        return constant(values, size, dtype_of(output_datatype))


window("HannWindow", 0.5, -0.5)
window("HammingWindow", 25 / 46, -21 / 46)
window("BlackmanWindow", 0.42, -0.5, 0.08)


@operator("DequantizeLinear")
def dequantize_linear(
    x: Any, scale: Any, zero: Any = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Any:
    """``(x - zero) scale``: of the whole tensor, of each place of an axis, or of blocks along it."""
    if scale.ndim == 1 and scale.shape[0] > 1 or scale.ndim == 1 and x.ndim > 1 and scale.size == x.shape[axis]:
        shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]
        scale, zero = scale.reshape(*shape), None if zero is None else zero.reshape(*shape)
    elif block_size:
        places = constant(np.arange(x.shape[axis]) // block_size, x)
        key = (*(slice(None),) * (axis % x.ndim), places)
        scale, zero = scale[key], None if zero is None else zero[key]
    y = x.to(dtype=scale.dtype)
    return ops.mul(y if zero is None else y - zero.to(dtype=scale.dtype), scale)
