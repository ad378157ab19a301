"""Modes belong to threads."""

import threading

import numpy as np
import pytest
from tests.listeners import Heard

import chainrule as cr
from chainrule.modes import listen, listening


def leaf():
    return cr.tensor([1.0, 2.0], requires_grad=True)


def test_no_grad_and_back():
    x = leaf()
    with cr.no_grad():
        assert not (x * 2).requires_grad and not cr.is_grad_enabled()
        with cr.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @cr.no_grad()
    def f(n):
        return (x * 2).requires_grad if n == 0 else f(n - 1)

    assert f(3) is False and cr.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), cr.no_grad():
        1 / 0  # noqa: B018
    assert cr.is_grad_enabled()


def test_a_thread_has_modes_of_its_own():
    x, seen = leaf(), []
    with cr.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_one_thread_trains_while_others_predict():
    w = cr.tensor(np.ones((8, 8), np.float32), requires_grad=True)
    failures = []

    def predict():
        try:
            for _ in range(200):
                with cr.no_grad():
                    assert not (w @ w).requires_grad
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        w.grad = None
        (w @ w).sum().backward()
        assert np.array_equal(w.grad.numpy(), np.full((8, 8), 16.0))
    for thread in threads:
        thread.join()
    assert not failures


def test_a_listener_hears_every_kernel_of_its_thread():
    x = leaf()
    with listen(Heard(forbids_reading=True)) as heard:
        y = (x * 2.0).sum()
        threading.Thread(target=lambda: x.exp()).start()
        y.backward()
        with pytest.raises(RuntimeError, match="while a step is recorded"):
            y.item()
    assert heard.names[:3] == ["mul", "sum", "full"] and "exp" not in heard.names
    assert not listening
    assert y.item() == 6
