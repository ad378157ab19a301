"""The profiler counts what runs, and what does not run natively."""

import threading

import chainrule as cr


def test_calls_times_and_fallbacks():
    x, n = cr.ones(4, requires_grad=True), cr.tensor([1, 2])
    with cr.profile() as p:
        (x * x).exp().sum().backward()
        n + n
        thread = threading.Thread(target=lambda: x.detach().log())
        thread.start()
        thread.join()
    assert p.calls["exp"] == 1 and p.calls["mul"] == 4 and "log" not in p.calls
    assert 0 < sum(p.seconds.values()) <= p.total
    assert p.fallbacks == {("cpu", "add"): 1}
    text = repr(p)
    assert "exp" in text and "declined by cpu: add × 1" in text
    x.detach().exp()
    assert p.calls["exp"] == 1
