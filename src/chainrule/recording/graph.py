"""A recorded step on a GPU: its calls become one CUDA graph, which a replay starts with one call of the driver.

The first replay runs the calls one by one and notes how much memory they take at once. The second captures them, with
inputs in places of their own and with memory that nobody else is lent; from then on a replay copies the inputs there and
starts the graph. What it gives lies in the same memory each time: if somebody still holds what an earlier replay gave, that is
copied away before, so a result never changes under its owner.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any
from weakref import ref

from .engine import Engine


class GraphEngine:
    """Runs calls as ``Engine`` does, of which they have the form.

    ``fixed`` are the values that places begin with; where a run has another array, that is an input. ``kept`` are the
    places that are looked at after a run. A step that writes to an input is run call by call, and so is any by another thread
    than the one that recorded it: all replays have the same memory.
    """

    def __init__(
        self,
        gpu: Any,
        calls: list[Any],
        declined: Callable[[int, list[Any]], Any],
        fixed: list[Any],
        kept: set[int],
        written: set[int],
    ) -> None:
        self.gpu, self.fixed, self.kept, self.written = gpu, fixed, kept, written
        self.eager = Engine(calls, declined)
        self.thread = get_ident()
        self.stream: Any = None  # of the last replay
        self.used = {place for _, places, *_ in calls for place in places}
        self.rehearsal: Any = None
        self.graph: Any = None
        self.pool: Any = None
        self.varying: set[int] = set()  # places that come with a run, the same each time: inputs, gradients from before
        self.inputs: dict[int, Any] = {}  # by place: where an input lies while the graph runs
        self.results: dict[int, Any] = {}  # by place: where the graph leaves what is kept
        self.handed: list[Any] = []  # weak references to the memory of what the last replay gave

    def run(self, values: list[Any]) -> None:
        """Do it on a list of values, which has a place for each."""
        if get_ident() != self.thread:
            self.eager.run(values)
            return
        if self.graph is not None:
            self.replay(values)
            return
        self.varying = {p for p, v in enumerate(values) if hasattr(v, "memory") and v is not self.fixed[p]}
        if not self.varying.isdisjoint(self.written | self.kept):
            self.eager.run(values)
        elif self.rehearsal is None:
            self.rehearsal = self.gpu.rehearsal()
            with self.gpu.memory_from(self.rehearsal):
                self.eager.run(values)
        else:
            self.capture(values)
            self.replay(values)

    def capture(self, values: list[Any]) -> None:
        """Make the graph. Errors: those of the calls, which then were not done."""
        gpu = self.gpu
        self.inputs = {place: gpu.twin(values[place]) for place in self.varying & self.used}
        self.rehearsal.empty()
        self.pool = self.rehearsal.stocked(gpu.stream)
        mine = [self.inputs.get(place, v) for place, v in enumerate(values)]
        with gpu.memory_from(self.pool), gpu.captured() as graph:
            self.eager.run(mine)
        self.graph = graph[0]
        self.results = {place: mine[place] for place in self.kept}

    def replay(self, values: list[Any]) -> None:
        """Start the graph on these inputs."""
        gpu, stream = self.gpu, self.gpu.stream
        if self.stream is not None and self.stream is not stream:
            gpu.driver.wait(stream, gpu.driver.record(self.stream))
        self.stream = stream
        for place, own in self.inputs.items():
            gpu.copy_into(own, values[place])
        for place in self.varying:
            values[place] = None  # an old gradient, perhaps, that nobody needs any more
        for known in self.handed:
            memory = known()
            if memory is not None:
                gpu.moved(memory)
        gpu.driver.replay(self.graph, stream)
        lent: dict[int, Any] = {}
        for place, result in self.results.items():
            values[place] = gpu.handed_out(result, lent)
        self.handed = [ref(memory) for memory in lent.values()]
