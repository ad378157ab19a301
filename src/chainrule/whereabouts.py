"""Which layer of a model is at work, for those that listen to kernels."""

from __future__ import annotations

from typing import Any


class Whereabouts:
    """``stack`` has the layers of ``model`` whose forward is running, outer first; ``paths`` says what each is called.

    Hooks tell it; ``close`` takes them away. Without a model the stack stays empty.
    """

    def __init__(self, model: Any = None) -> None:
        self.model = model
        self.stack: list[Any] = []
        self.paths: dict[Any, str] = {}
        self._handles: list[Any] = []
        for path, module in () if model is None else model.named_modules():
            self.paths[module] = path
            self._handles += [module.register_forward_pre_hook(self.enter), module.register_forward_hook(self.leave)]

    def enter(self, module: Any, inputs: Any) -> None:
        """A layer begins."""
        if module is self.model:
            self.stack = []  # an error may have left some
        self.stack.append(module)

    def leave(self, module: Any, inputs: Any, output: Any) -> None:
        """A layer ends."""
        while self.stack and self.stack.pop() is not module:
            pass

    def path(self) -> str | None:
        """What the layer at work is called, "" for the model itself; None if there is none."""
        return self.paths[self.stack[-1]] if self.stack else None

    def close(self) -> None:
        """Hear no more."""
        for handle in self._handles:
            handle.remove()
