"""Workers of a loader: threads and processes, order, errors, death, time-outs, shared memory."""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import ArrayDataset, DataLoader, GaussianNoise, IterableDataset, pad_collate, processes
from chainrule.data.prefetch import mapped
from chainrule.domain.errors import ArgumentError, WorkerError

KIND = pytest.mark.parametrize("worker", ["thread", "process"])
X = np.arange(40 * 3072, dtype=np.float32).reshape(40, 3, 32, 32)
# a module that worker processes import; a test file has no name they know
MODULE = Path(__file__).parent / "fixtures" / "worker_data.py"
sys.path.append(str(MODULE.parent))
import worker_data  # type: ignore[import-not-found]  # noqa: E402


@pytest.fixture(autouse=True)
def nothing_stays() -> Any:
    shared = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    yield
    if threading.active_count() > 1 or multiprocessing.active_children():
        gc.collect()  # what a caught error still holds
    assert [t for t in threading.enumerate() if t.name.startswith("chainrule")] == []
    assert multiprocessing.active_children() == []
    if os.path.isdir("/dev/shm"):
        assert {n for n in os.listdir("/dev/shm") if n.startswith(("psm_", "cr_"))} <= shared


def content(loader: DataLoader) -> list[list[Any]]:
    return [[part.numpy().copy() for part in batch] for batch in loader]


def same(a: list[list[Any]], b: list[list[Any]]) -> bool:
    return len(a) == len(b) and all(
        p.dtype == q.dtype and np.array_equal(p, q)
        for x, y in zip(a, b, strict=True)
        for p, q in zip(x, y, strict=True)
    )


def test_order_and_random_numbers_do_not_depend_on_workers() -> None:
    def epochs(workers: int, worker: str = "thread", prefetch: int = 2) -> list[list[list[Any]]]:
        data = ArrayDataset(X, np.arange(40))
        options: Any = {"workers": workers, "worker": worker, "prefetch": prefetch}
        loader = DataLoader(data, 7, shuffle=True, seed=3, transform=GaussianNoise(1.0), **options)
        found = [content(loader) for _ in range(2)]
        loader.close()
        return found

    expected = epochs(0, prefetch=0)
    assert not same(expected[0], expected[1])
    for workers, worker in [(3, "thread"), (2, "process")]:
        for mine, theirs in zip(epochs(workers, worker), expected, strict=True):
            assert same(mine, theirs), (workers, worker)


def test_batches_are_the_programs_own() -> None:
    """Memory that workers write into is used again: what was given must not change."""
    loader = DataLoader(ArrayDataset(X), 2, workers=2, worker="process", prefetch=1)
    batches = [batch for (batch,) in loader]
    for k, batch in enumerate(batches):
        np.testing.assert_array_equal(batch.numpy(), X[2 * k : 2 * k + 2])
    batches[0] += 1  # and can be written to
    for stop in (1, 3):  # batches that were under way when an epoch was left
        iterator = iter(loader)
        for _ in range(stop):
            next(iterator)
        del iterator
        assert same(content(loader), [[X[k : k + 2]] for k in range(0, 40, 2)])
    fresh = DataLoader(ArrayDataset(X), 2, workers=2, worker="process", prefetch=3)
    next(iter(fresh))
    gc.collect()
    assert same(content(fresh), [[X[k : k + 2]] for k in range(0, 40, 2)])
    loader.close()
    fresh.close()


def test_sequences_and_sizes_that_grow() -> None:
    data = [(np.full((n, 50), n, np.float32), n) for n in (3, 500, 4, 900, 2, 2000)]
    loader = DataLoader(data, 1, collate_fn=pad_collate, workers=2, worker="process")  # type: ignore[arg-type]
    for n, (x, lengths, y) in zip((3, 500, 4, 900, 2, 2000), loader, strict=True):
        assert x.shape == (1, n, 50) and (x == n).all() and lengths.item() == y.item() == n
    loader.close()


@KIND
def test_an_error_is_raised_in_its_place_with_its_sample(worker: str) -> None:
    loader = DataLoader(worker_data.Numbers(20, fails_at=11), 2, workers=3, worker=worker)
    iterator = iter(loader)
    assert [next(iterator)[0].tolist() for _ in range(5)] == [[2 * k, 2 * k + 1] for k in range(5)]
    with pytest.raises(KeyError, match="number 11 is broken") as caught:
        next(iterator)
    notes = "\n".join(caught.value.__notes__)
    assert "in sample 11 of Numbers" in notes
    assert "__getitem__" in notes or worker == "thread", "the traceback of the process"
    with pytest.raises(KeyError):
        list(loader)  # the workers are still there
    loader.close()


def test_errors_that_cannot_be_sent() -> None:
    loader = DataLoader(worker_data.Odd(4), 2, workers=1, worker="process")
    with pytest.raises(WorkerError, match="OddError: two words") as caught:
        list(loader)
    assert "in sample 0 of Odd" in "\n".join(caught.value.__notes__)
    loader.close()


def test_a_killed_worker_is_told() -> None:
    loader = DataLoader(worker_data.Numbers(20, dies_at=8), 2, workers=2, worker="process", prefetch=1)
    iterator, start = iter(loader), time.monotonic()
    for _ in range(4):
        next(iterator)
    with pytest.raises(
        WorkerError, match=r"worker 0 .* was killed by signal 9 \(SIGKILL\) at the batch of samples 8, 9"
    ):
        next(iterator)
    assert time.monotonic() - start < 20
    with pytest.raises(WorkerError, match="samples 8, 9"):
        list(loader)  # new workers, the same fate
    loader.close()


@KIND
def test_time_out(worker: str) -> None:
    data = worker_data.Numbers(4, sleeps_at=2)
    loader = DataLoader(data, 1, workers=1, worker=worker, timeout=0.1)
    iterator = iter(loader)
    next(iterator)
    next(iterator)
    with pytest.raises(WorkerError, match=r"gave no batch within 0.1 s"):
        next(iterator)
    loader.close()
    for thread in threading.enumerate():  # one that hangs is left alone, and ends with its sample
        if thread.name.startswith("chainrule"):
            thread.join()


def test_an_own_time_out_error_is_not_ours() -> None:
    def make(n: int) -> int:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        list(mapped(make, range(3), 2, 2, timeout=5))


@KIND
def test_leaving_early_and_beginning_anew(worker: str) -> None:
    loader = DataLoader(worker_data.Numbers(30), 2, workers=2, worker=worker)
    for batch in loader:
        assert batch[0].tolist() == [0, 1]
        break
    pool = loader._pool
    assert len(content(loader)) == 15
    assert loader._pool is pool, "processes persist"
    pairs = [(a[0][0].item(), b[0][0].item()) for a, b in zip(loader, loader, strict=True)]
    assert pairs == [(n, n) for n in range(0, 30, 2)], "two epochs beside each other"
    loader.close()


def test_workers_that_do_not_persist() -> None:
    loader = DataLoader(worker_data.Numbers(4), 2, workers=1, worker="process", persistent_workers=False)
    for _ in range(2):
        assert len(content(loader)) == 2
        assert multiprocessing.active_children() == []


def test_each_batch_seeds_the_generators_of_its_worker() -> None:
    def drawn(workers: int, seed: int) -> list[Any]:
        loader = DataLoader(worker_data.Draws(8), 2, workers=workers, worker="process", seed=seed)
        found = [row for _ in range(2) for batch in loader for row in batch[0].tolist()]
        loader.close()
        return found

    random.seed(1)
    before = random.getstate()
    one = drawn(1, 5)
    assert one == drawn(3, 5) != drawn(1, 6)
    assert len({value for row in one for value in row}) == 16 * 3, "nothing is drawn twice"
    assert random.getstate() == before, "the program's own generators are left alone"


def test_what_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    here = types.ModuleType("only_here")
    monkeypatch.setitem(sys.modules, "only_here", here)
    here.Numbers = type("Numbers", (worker_data.Numbers,), {"__module__": "only_here"})  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match=r"No module named 'only_here'. Use functions and classes of a file"):
        list(DataLoader(here.Numbers(4), workers=1, worker="process"))  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match=r"are sent by pickle: .*lambda.*worker=\"thread\""):
        list(DataLoader(worker_data.Numbers(4), 2, transform=lambda x: x, workers=1, worker="process"))
    with pytest.raises(ArgumentError, match='worker is \'fork\', expected "thread" or "process"'):
        DataLoader(worker_data.Numbers(4), worker="fork")
    with pytest.raises(ArgumentError, match="workers is -1"):
        DataLoader(worker_data.Numbers(4), workers=-1)
    with pytest.raises(ArgumentError, match="timeout is -1"):
        DataLoader(worker_data.Numbers(4), timeout=-1)


@KIND
def test_resuming_inside_an_epoch(worker: str) -> None:
    def loader(workers: int) -> DataLoader:
        data = ArrayDataset(np.arange(20.0).reshape(20, 1, 1, 1))
        return DataLoader(data, 3, shuffle=True, seed=1, transform=GaussianNoise(1.0), workers=workers, worker=worker)

    stopped, other = loader(2), loader(1)
    whole = content(loader(0)) if worker == "thread" else content(stopped)
    first = loader(2)
    iterator = iter(first)
    taken = [[p.numpy().copy() for p in next(iterator)] for _ in range(4)]
    other.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert same(taken + content(other), whole)
    for used in (stopped, other, first):
        used.close()


@KIND
@pytest.mark.parametrize("workers", [1, 3])
def test_streams_are_shared_out(worker: str, workers: int) -> None:
    stream = IterableDataset(worker_data.count_to_20).shuffle(6, seed=2)
    loader = DataLoader(stream, 3, workers=workers, worker=worker)
    epochs = [[int(v) for batch in loader for v in batch[0].tolist()] for _ in range(3)]
    assert all(sorted(e) == list(range(20)) for e in epochs), "each sample once"
    assert epochs[0] != epochs[1] != epochs[2]
    for stop in (1, 5):
        again, other = (DataLoader(stream, 3, workers=workers, worker=worker) for _ in range(2))
        list(again)
        iterator = iter(again)
        taken = [int(v) for _ in range(stop) for v in next(iterator)[0].tolist()]
        other.load_state_dict(json.loads(json.dumps(again.state_dict())))
        assert taken + [int(v) for batch in other for v in batch[0].tolist()] == epochs[1]
        assert [int(v) for batch in other for v in batch[0].tolist()] == epochs[2]
        iterator.close()  # type: ignore[attr-defined]
        again.close()
        other.close()
    loader.close()


@KIND
def test_an_error_in_a_stream(worker: str) -> None:
    loader = DataLoader(IterableDataset(worker_data.breaks_at_7), 2, workers=2, worker=worker)
    with pytest.raises(ValueError, match="line 7") as caught:
        list(loader)
    assert "after 3 samples of IterableDataset, part 1 of 2" in "\n".join(caught.value.__notes__)
    loader.close()


def test_control_c_ends_a_program_with_workers() -> None:
    program = (
        "import sys; sys.path.append(sys.argv[1]); import worker_data; from chainrule.data import DataLoader\n"
        "if __name__ == '__main__':\n"
        "    loader = DataLoader(worker_data.Numbers(9, sleeps_at=1, seconds=60), 1, workers=1, worker='process')\n"
        "    it = iter(loader); next(it); print('begun', flush=True); next(it)\n"
    )
    command = [sys.executable, "-c", program, str(MODULE.parent)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        assert not Path("/proc/self/stat").exists() or len(session(process.pid)) >= 3
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        _, errors = process.communicate(timeout=30)
        assert process.returncode != 0 and errors.rstrip().endswith("KeyboardInterrupt"), errors
    limit = time.monotonic() + 10
    while session(process.pid) and time.monotonic() < limit:
        time.sleep(0.02)
    assert session(process.pid) == [], "no process stays"


def session(leader: int) -> list[str]:
    """The processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            found += [stat.parent.name] if int(fields[3]) == leader and fields[0] != "Z" else []
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_control_c_does_not_wait_for_threads(workers: int) -> None:
    loader = DataLoader(worker_data.Numbers(9, sleeps_at=1, seconds=1.5), 1, workers=workers)
    iterator = iter(loader)
    next(iterator)
    timer, start = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)), time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert time.monotonic() - start < 1.4
    for thread in threading.enumerate():
        if thread.name.startswith("chainrule"):
            thread.join()


def test_no_room_in_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize = 10, 4096

    monkeypatch.setattr(processes, "SHARED", "/")
    monkeypatch.setattr(os, "statvfs", lambda path: Full)
    with pytest.raises(WorkerError, match="0 MB of shared memory are needed, but / has 0 MB left: enlarge it"):
        list(DataLoader(ArrayDataset(X), 2, workers=1, worker="process"))


def test_tensors_come_through() -> None:
    loader = DataLoader(worker_data.Numbers(6), 2, collate_fn=worker_data.tensors, workers=1, worker="process")
    assert [b[0].tolist() for b in loader] == [[0, 1], [2, 3], [4, 5]]
    loader.close()


def test_the_length_of_a_stream_with_workers() -> None:
    class Known(IterableDataset):
        def __init__(self, n: int) -> None:
            self.n = n

        def __len__(self) -> int:
            return self.n

        def __iter__(self) -> Any:
            return iter(range(self.n))

    for n in (1, 5, 12, 13):
        for workers in (0, 1, 2, 3):
            for drop_last in (False, True):
                loader = DataLoader(Known(n), 2, workers=workers, drop_last=drop_last)
                assert len(loader) == len(list(loader)), (n, workers, drop_last)


def test_the_default_generator_is_not_touched_by_threads() -> None:
    cr.manual_seed(1)
    expected = cr.rand(3).tolist()
    cr.manual_seed(1)
    content(DataLoader(ArrayDataset(X), 8, workers=2))
    assert cr.rand(3).tolist() == expected
