"""Recorded steps on a GPU: one graph, the same bits as call by call, and results that stay what they were."""

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim


def trained(jit, steps=7, hold=True):
    """Losses and gradients of a small training, all held to the end, and its step."""
    w = cr.tensor(np.arange(6.0).reshape(2, 3) / 10, requires_grad=True, device="cuda", dtype="float32")
    total = cr.zeros(1, device="cuda")

    def step(x):
        w.grad = None
        y = (x @ w).exp()
        loss = (y * y).sum()
        loss.backward()
        with cr.no_grad():
            w.sub_(w.grad * 0.001)
            total.add_(loss.detach())
        return loss, y.detach()

    f = cr.jit(step) if jit else step
    held = []
    for i in range(steps):
        loss, y = f(cr.tensor(np.full((4, 2), i / 10.0, np.float32), device="cuda"))
        held.append((loss, y, w.grad, w.detach().clone()))
    return [x.numpy() for several in held for x in several] + [total.numpy()], f


def engine(f):
    (program,) = f.programs
    return program.plan.engine


def test_a_graph_is_the_step(gpu):
    wanted, _ = trained(False)
    found, f = trained(True)
    assert engine(f).graph is not None
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_replay_waits_for_nothing_and_copies_the_inputs_alone(gpu):
    _, f = trained(True)
    x = cr.tensor(np.ones((4, 2), np.float32), device="cuda")
    before, launches = {**gpu.copies}, gpu.driver.launches
    f(x)
    assert gpu.copies == before and gpu.driver.launches == launches


def test_strided_inputs_stay_strided(gpu):
    f = cr.jit(lambda x: (x * 2.0).sum(axis=0))
    data = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    for _ in range(5):
        x = cr.tensor(data, device="cuda")
        np.testing.assert_array_equal(f(x.T[::2]).numpy(), (data.T[::2] * 2).sum(axis=0))
    assert engine(f).graph is not None


def test_an_input_that_is_written_to(gpu):
    f = cr.jit(lambda x: x.add_(1.0))
    for i in range(5):
        x = cr.tensor([float(i)], device="cuda")
        f(x)
        assert x.tolist() == [i + 1.0]
    assert engine(f).graph is None


def test_gradients_that_add_up(gpu):
    w = cr.ones(3, device="cuda", requires_grad=True)

    @cr.jit
    def step(x):
        (w * x).sum().backward()

    for _ in range(6):
        step(cr.tensor([1.0, 2.0, 3.0], device="cuda"))
    assert w.grad.tolist() == [6.0, 12.0, 18.0]


def test_random_numbers_go_on(gpu):
    found = []
    for jit in (False, True):
        g = cr.Generator(7, device="cuda")
        draw = lambda x, g=g: x * g.uniform((4,))  # noqa: E731
        f = cr.jit(draw) if jit else draw
        found.append([f(cr.ones(4, device="cuda")).tolist() for _ in range(5)])
    assert found[0] == found[1] and found[0][3] != found[0][4]


def test_an_optimizer(gpu):
    found = []
    for jit in (False, True):
        w = cr.ones(3, device="cuda", requires_grad=True)
        adam = optim.Adam([w], lr=0.1)

        def step(x, w=w, adam=adam):
            adam.zero_grad()
            loss = ((w - x) ** 2).sum()
            loss.backward()
            adam.step()
            return loss.detach()

        f = cr.jit(step) if jit else step
        found.append([f(cr.tensor([0.5, 2.0, i], device="cuda")).item() for i in range(6)] + w.tolist())
    assert found[0] == pytest.approx(found[1], abs=0)


def test_a_program_explains_itself(gpu):
    _, f = trained(True)
    assert "matmul" in str(f.programs[0].explain())


def test_results_outlive_the_step_and_its_memory_goes_with_them(gpu, monkeypatch):
    held = {}  # bytes of the driver's, by address

    def allocate(index, nbytes):
        address = plain[0](index, nbytes)
        held[address] = nbytes
        return address

    def free(index, address):
        held.pop(address, None)
        plain[1](index, address)

    cr.cuda.empty_cache()
    x = cr.arange(1000, device="cuda", dtype="float32")
    plain = gpu.driver.allocate, gpu.driver.free
    monkeypatch.setattr(gpu.driver, "allocate", allocate)
    monkeypatch.setattr(gpu.driver, "free", free)
    step = cr.jit(lambda: x * 2 + 1)
    for _ in range(4):
        y = step()
    part = y[10:13]
    assert held
    del step, y
    gc.collect()
    cr.cuda.empty_cache()
    cr.zeros(5000, device="cuda")
    assert part.tolist() == [21, 23, 25]
    del part
    gc.collect()
    cr.cuda.empty_cache()
    assert not held


def test_the_precision_of_products_is_part_of_it(gpu):
    r = np.random.default_rng(0)
    x, w = (cr.tensor(r.standard_normal(shape).astype(np.float32), device="cuda") for shape in ((8, 30), (30, 16)))
    step = cr.jit(lambda x: x @ w)
    found = {}
    try:
        for precision in ("highest", "high", "highest", "high"):
            cr.cuda.set_float32_matmul_precision(precision)
            for _ in range(4):
                found.setdefault(precision, set()).add(step(x).numpy().tobytes())
    finally:
        cr.cuda.set_float32_matmul_precision("highest")
    assert [len(same) for same in found.values()] == [1, 1] and found["highest"] != found["high"]
    assert len(step.programs) == 2


def test_threads_and_streams_replay_one_program(gpu):
    step = cr.jit(lambda x: (x * 2.0).cumsum(axis=0) + 1.0)
    xs = [cr.tensor(np.full(500, float(i), np.float32), device="cuda") for i in range(3)]
    wanted = [step.function(x).numpy() for x in xs]
    for _ in range(4):
        step(xs[0])
    assert engine(step).graph is not None
    wrong, streams = [], [cr.cuda.current_stream(), cr.cuda.current_stream(), cr.cuda.Stream()]
    streams[2].wait_stream(streams[0])

    def work(i):
        try:
            with cr.cuda.stream(streams[i]):
                for _ in range(40):
                    if not np.array_equal(step(xs[i]).numpy(), wanted[i]):
                        wrong.append(i)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    [t.start() for t in threads]
    for i in (0, 2, 0):
        work(i)
    [t.join() for t in threads]
    assert not wrong


def test_the_end_of_the_process_is_quiet(gpu):
    """Arrays that end after the globals of modules are gone do nothing any more."""
    program = """
import builtins, sys, threading
import chainrule as cr
class Holder: ...
x = cr.ones(1000, device="cuda")
held = Holder()
held.itself, held.x = held, x * 2
step = cr.jit(lambda x: x + 1)
threading.held = held, x, step, [step(x) for _ in range(5)]
builtins.held = threading, [module for name, module in sys.modules.items() if name.startswith("chainrule")]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
