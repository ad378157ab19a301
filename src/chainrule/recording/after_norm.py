"""Batch norm, relu and max pooling as one pass over the pixels, and one on the way back."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .engine import NATIVE
from .passes import Uses, flat, roots
from .recorder import Call, Kind
from .rewrite import parts

TILED = {
    "kernel_size": (2, 2),
    "stride": (2, 2),
    "padding": (0, 0),
    "dilation": (1, 1),
    "ceil_mode": False,
}  # the pooling that the kernels do

LEAST = 512  # pixels of a row-major plane: the gradients of smaller ones are found sooner many planes at a time


def after_batch_norm(calls: list[Call], values: list[Any], kinds: dict[int, Kind], kept: set[int]) -> list[Call]:
    """Do what follows batch norm with it: relu, or 2×2 max pooling and perhaps relu; and the gradients of pooling.

    Where one of the arrays between is wanted by somebody else, or the images are not dense, nothing is changed.
    """
    if not hasattr(NATIVE, "_batch_norm_and_vjp"):  # there is no native module, or it was built without these kernels
        return calls
    found: dict[Call, list[Call]] = {}
    uses, where = Uses(calls, kept), {call: number for number, call in enumerate(calls)}
    for norm in calls:
        if norm.name in ("batch_norm_train", "batch_norm_eval") and norm.backend.name == "cpu":
            rows = Rows(norm, uses, values, kinds)
            if rows.found and rows.undisturbed(rows.there, calls, where):
                found.update(rows.forward())
                if rows.back and rows.undisturbed(rows.back, calls, where):
                    found.update(rows.backward())
    return [new for call in calls for new in found.get(call, [call])]


class Rows:
    """The calls that follow a batch norm: ``there``, itself the first, and ``back``, the gradients of these, itself the last.

    ``found`` if there are any to be joined; ``back`` is empty where gradients are done one by one.
    """

    def __init__(self, norm: Call, uses: Uses, values: list[Any], kinds: dict[int, Kind]) -> None:
        self.norm, self.uses, self.values, self.kinds = norm, uses, values, kinds
        self.relu: Call | None = None
        self.pool: Call | None = None
        self.index, (self.result, self.saved) = -1, parts(norm.results)
        self.found = self.fits() and self.follow()
        self.there = [call for call in (norm, self.pool, self.relu) if call is not None]
        self.back: list[Call] = self.gradients() if self.found else []

    def fits(self) -> bool:
        """Whether batch norm's arrays are dense images of one dtype that the kernels take."""
        given = [self.kinds[place] for place in self.norm.arguments if place in self.kinds]
        x = given[0]
        if len(x.shape) != 4 or x.shape[1] < 2 or 0 in x.shape or x.dtype not in ("float32", "float64"):
            return False
        _, c, h, w = x.shape
        dense = {(c * h * w, 1, w * c, c), (c * h * w, h * w, w, 1)}
        strides = tuple(stride // x.dtype.itemsize for stride in x.strides)
        return strides in dense and all(kind.dtype == x.dtype for kind in given)

    def follow(self) -> bool:
        """Find what follows; False if it is something else."""
        y = self.result
        users = self.uses.only(y, "max_pool2d", "relu")
        if users is None or users.count(None) != 1:
            return False
        self.pool, self.relu = users
        if self.pool is not None:
            _, params = self.pool.parted([self.values[place] for place in self.pool.arguments])
            _, _, h, w = self.kinds[y].shape
            if h % 2 or w % 2 or any(params.get(name, value) != value for name, value in TILED.items()):
                return False
            self.result, saved = parts(self.pool.results)
            if saved is not None:
                self.index, size = saved
                self.values[size] = np.array([h, w])
            users = self.uses.only(self.result, "relu")
            self.relu = users[0] if users is not None else None
        if self.relu is not None:
            self.result = flat(self.relu.results)[0]
        return True

    def gradients(self) -> list[Call]:
        """The gradients from the last to batch norm's, if they follow one another and it pays to do them at once."""
        x = self.kinds[self.norm.arguments[0]]
        if self.pool is None or (x.strides[3] == x.dtype.itemsize and x.shape[2] * x.shape[3] < LEAST):
            return []
        pools = self.uses.only(self.index, "max_pool2d_vjp") if self.index >= 0 else None
        pool_vjp = pools[0] if pools is not None else None
        if pool_vjp is None or pool_vjp.arguments[1] != self.index:
            return []
        norms = self.uses.only(flat(pool_vjp.results)[0], f"{self.norm.name}_vjp")
        norm_vjp = norms[0] if norms is not None else None
        wanted = [flat(pool_vjp.results)[0], self.norm.arguments[0], *flat(self.saved)[1:4]]
        if norm_vjp is None or norm_vjp.arguments[:5] != wanted or norm_vjp.results[0] == -1:
            return []
        if self.relu is None:
            return [pool_vjp, norm_vjp]
        makers = [call for call in self.uses.users.get(self.result, []) if pool_vjp.arguments[0] in flat(call.results)]
        if len(makers) != 1 or makers[0].name != "relu_vjp" or makers[0].arguments[1] != self.result:
            return []
        return [makers[0], pool_vjp, norm_vjp] if self.uses.only(pool_vjp.arguments[0], "max_pool2d_vjp") else []

    def undisturbed(self, row: list[Call], calls: list[Call], where: dict[Call, int]) -> bool:
        """Whether nobody writes meanwhile to what is now read sooner or later than before."""
        root = roots(self.kinds)
        read = {root(place) for call in row for place in call.arguments if place in self.kinds}
        between = set(calls[where[row[0]] + 1 : where[row[-1]]]).difference(row)
        return not any(root(place) in read for call in between for place in call.written)

    def forward(self) -> dict[Call, list[Call]]:
        """One call in the place of batch norm, none in those of what follows."""
        made = self.made(self.there, [*self.norm.arguments], self.norm.names)
        made.function = partial(getattr(NATIVE, f"_{self.norm.name}_and"), **self.flags)
        made.results = (self.result, -1 if self.saved is None else self.saved, self.index)
        made.writes, made.written = self.norm.writes, self.norm.written
        return {**dict.fromkeys(self.there, []), self.norm: [made]}

    def backward(self) -> dict[Call, list[Call]]:
        """One call in the place of batch norm's gradient."""
        last = self.back[-1]
        given, params = last.parted(last.arguments)
        self.values.append(None)
        y = self.result if self.relu is not None else len(self.values) - 1
        made = self.made(self.back, [self.back[0].arguments[0], y, self.index, *given[1:], params["needs"]], ("needs",))
        made.function = partial(NATIVE._batch_norm_and_vjp, batch=self.norm.name == "batch_norm_train", **self.flags)
        made.results = last.results
        return {**dict.fromkeys(self.back, []), last: [made]}

    @property
    def flags(self) -> dict[str, bool]:
        return {"relu": self.relu is not None, "pool": self.pool is not None}

    def made(self, row: list[Call], arguments: list[int], names: tuple[str, ...]) -> Call:
        """A call instead of several."""
        return Call(" ".join(call.name for call in row), self.norm.backend, arguments, names, row[0].line)
