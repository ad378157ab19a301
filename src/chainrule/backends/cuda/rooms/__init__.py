"""The rooms of the CUDA backend: what the host does for each kernel of ``native/<room>/cuda.cu``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Kernels(dict[str, Callable[..., Any]]):
    """Kernels by name: ``@KERNELS("add")`` above a function of a Gpu and of what the op takes."""

    def __call__(self, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def registered(function: Callable[..., Any]) -> Callable[..., Any]:
            for name in names:
                self[name] = function
            return function

        return registered
