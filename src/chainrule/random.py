"""Random numbers that can be repeated: counter-based generators (Philox4x32-10, Salmon et al., 2011).

A generator is a seed and a counter, held in a tensor that each draw advances in place. The numbers depend on these two
alone: not on the backend, nor on the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import index
from typing import Any

from . import backends
from .domain.device import Device
from .domain.errors import ArgumentError, DeviceError
from .ops import random as ops
from .tensor import Tensor


class Generator:
    """A stream of random numbers. ``state`` is an int64 tensor (seed, counter).

    >>> a, b = Generator(7), Generator(7)
    >>> bool((uniform((3,), generator=a) == uniform((3,), generator=b)).all())
    True
    """

    def __init__(self, seed: int = 0, *, device: str | Device | None = None) -> None:
        self.lock = threading.RLock()
        self.state = Tensor([0, 0], dtype="int64", device=device)
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Begin the stream of ``seed``, an integer of at most 63 bits."""
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= index(seed) < 2**63:
            raise ArgumentError(f"a seed is an integer from 0 to 2**63 - 1, not {seed!r}")
        self.set_state((index(seed), 0))
        return self

    def get_state(self) -> tuple[int, int]:
        """(seed, counter), enough to go on from here."""
        seed, counter = self.state.tolist()
        return seed, counter

    def set_state(self, state: tuple[int, int]) -> None:
        """Go on from a state that ``get_state`` gave."""
        with self.lock:
            self.state[0], self.state[1] = state  # numbers, which belong to no backend

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restored, (self.get_state(), str(self.state.device)))

    def fork(self) -> Generator:
        """A generator of its own whose seed is drawn from this one."""
        return Generator(int(self.integers(0, 2**31, (1,)).item()), device=self.state.device)

    def uniform(self, shape: Any, dtype: str = "float32") -> Tensor:
        """Numbers in [0, 1)."""
        return self._draw(ops.uniform, shape=tuple(shape), dtype=dtype)

    def normal(self, shape: Any, dtype: str = "float32") -> Tensor:
        """Numbers of the standard normal distribution."""
        return self._draw(ops.normal, shape=tuple(shape), dtype=dtype)

    def integers(self, low: int, high: int, shape: Any) -> Tensor:
        """Integers from ``low`` to ``high - 1``, int64."""
        if high <= low:
            raise ArgumentError(f"integers from {low} to {high - 1}: there are none; give low < high")
        return self._draw(ops.integers, low=low, high=high, shape=tuple(shape))

    def permutation(self, n: int) -> Tensor:
        """The integers below ``n`` in random order, int64."""
        return self._draw(ops.permutation, n=n)

    def bernoulli(self, p: float, shape: Any) -> Tensor:
        """True with probability ``p``."""
        return self._draw(ops.bernoulli, p=p, shape=tuple(shape))

    def reserve(self, words: int) -> Tensor:
        """A state of its own for ``words`` numbers of 32 bits, which this generator then leaves out.

        For ops that draw the same numbers again in their gradient, such as ``scaled_dot_product_attention``.

        >>> g = Generator(7)
        >>> g.reserve(5), g.get_state()
        (tensor([7, 0]), (7, 2))
        """
        with self.lock:
            state: Tensor = self.state.clone()
            self.state[1:].add_((words + 3) // 4)
        return state

    def _draw(self, op: Any, **params: Any) -> Tensor:
        with self.lock:
            drawn: Tensor = op(self.state, **params)
        return drawn


def _restored(state: tuple[int, int], device: str) -> Generator:
    """A generator from its pickle."""
    generator = Generator(0, device=device)
    generator.set_state(state)
    return generator


_default: dict[tuple[str, str, bool], Generator] = {}  # by backend, device, and whether it is of initial values
_lock = threading.Lock()
_seed = 0  # what manual_seed was given last


def default_generator(device: str | Device | None = None) -> Generator:
    """The generator that is used where none is given; it has a lock, for threads share it."""
    return _generator(device, initial=False)


def initial_generator(device: str | Device | None = None) -> Generator:
    """The generator of initial values: the default one's seed in a stream of its own.

    So a parameter that is drawn at its first use does not shift the numbers that follow, such as a dropout mask.
    """
    return _generator(device, initial=True)


def _generator(device: str | Device | None, initial: bool) -> Generator:
    backend = backends.get(device)
    name = str(backend), str(backend.device), initial
    with _lock:
        if name not in _default:
            _default[name] = Generator(device=device)
            _default[name].set_state(_start(_seed, initial))
        return _default[name]


def _start(seed: int, initial: bool) -> tuple[int, int]:
    """Where a default generator begins."""
    return ~seed if initial else seed, 0


def manual_seed(seed: int) -> Generator:
    """Seed the default generators of all devices, and with them those of initial values.

    >>> _ = manual_seed(3); a = uniform((2,))
    >>> _ = manual_seed(3); b = uniform((2,))
    >>> bool((a == b).all())
    True
    """
    global _seed
    generator = default_generator().manual_seed(seed)
    _seed = index(seed)
    for (*_, initial), known in [*_default.items()]:
        known.set_state(_start(_seed, initial))
    return generator


@contextmanager
def fork_rng(seed: int | None = None) -> Iterator[None]:
    """Put the default generators back at the end as they are now; inside, begin with ``seed`` if it is given.

    >>> _ = manual_seed(3); before = default_generator().get_state()
    >>> with fork_rng(7):
    ...     _ = uniform((2,))
    >>> default_generator().get_state() == before
    True
    """
    global _seed
    was = _seed
    with _lock:
        before = {name: generator.get_state() for name, generator in _default.items()}
    try:
        if seed is not None:
            manual_seed(seed)
        yield
    finally:
        _seed = was
        with _lock:
            for (*place, initial), generator in _default.items():
                generator.set_state(before.get((*place, initial), _start(was, initial)))  # type: ignore[arg-type]


def get_rng_state() -> dict[str, Any]:
    """Where all default generators stand, as JSON can hold it.

    >>> before = get_rng_state(); a = uniform((2,))
    >>> set_rng_state(before); b = uniform((2,))
    >>> bool((a == b).all())
    True
    """
    with _lock:
        return {"seed": _seed, "generators": [[*name, *one.get_state()] for name, one in _default.items()]}


def set_rng_state(state: dict[str, Any]) -> None:
    """Have all default generators go on from what ``get_rng_state`` gave; those that were not there then begin anew."""
    global _seed
    _seed = state["seed"]
    known: dict[Any, tuple[int, int]] = {}
    for backend, device, initial, seed, counter in state["generators"]:
        known[backend, device, initial] = seed, counter
        known.setdefault((device, initial), (seed, counter))  # for another backend, whose numbers are the same
        with suppress(DeviceError):
            _generator(device, initial)
    with _lock:
        for (backend, device, initial), generator in _default.items():
            anew = known.get((device, initial), _start(_seed, initial))
            generator.set_state(known.get((backend, device, initial), anew))


def uniform(shape: Any, *, dtype: str = "float32", generator: Generator | None = None) -> Tensor:
    """Numbers in [0, 1) from the default generator, or from ``generator``."""
    return (generator or default_generator()).uniform(shape, dtype)


def normal(shape: Any, *, dtype: str = "float32", generator: Generator | None = None) -> Tensor:
    """Standard normal numbers from the default generator, or from ``generator``."""
    return (generator or default_generator()).normal(shape, dtype)
