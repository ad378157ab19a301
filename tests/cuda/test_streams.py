"""Several streams and threads: work in the right order, memory that is not given away too soon, the same bits."""

import gc
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule.domain.errors import DeviceError


def test_two_streams_in_turns():
    side = cr.cuda.Stream()
    x = cr.zeros(1000, device="cuda")
    for _ in range(10):
        x = x + 1
        side.wait_stream(cr.cuda.current_stream())
        with cr.cuda.stream(side):
            x = x * 2
        cr.cuda.current_stream().wait_stream(side)
    assert x.tolist() == [2046.0] * 1000


def test_memory_goes_back_to_the_stream_that_lent_it():
    """What was made on one stream and dropped is not handed to another, which might write before the first has read."""
    side = cr.cuda.Stream()
    with cr.cuda.stream(side):
        x = cr.ones(5000, device="cuda")
        address = x.array.pointer
        del x
    y = cr.zeros(5000, device="cuda")
    assert y.array.pointer != address
    with cr.cuda.stream(side):
        assert cr.ones(5000, device="cuda").array.pointer == address


def test_threads_share_a_gpu():
    found, errors = {}, []

    def work(seed):
        try:
            x = cr.tensor(np.random.default_rng(seed).standard_normal((64, 32)), device="cuda")
            for _ in range(5):
                w = (x.T @ x).requires_grad_()
                (w * w).sum().backward()
            found[seed] = w.grad.numpy()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for seed, g in found.items():
        x = np.random.default_rng(seed).standard_normal((64, 32))
        np.testing.assert_allclose(g, 2 * x.T @ x, rtol=1e-10)


def test_a_thread_has_a_stream_of_its_own_where_it_says_so(gpu):
    seen = []
    side = cr.cuda.Stream()

    def work():
        with cr.cuda.stream(side):
            seen.append(gpu.stream)
        seen.append(gpu.stream)

    with cr.cuda.stream(cr.cuda.Stream()) as mine:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert gpu.stream is mine.handle
    assert seen == [side.handle, gpu.default_stream] and gpu.stream is gpu.default_stream


def test_events():
    first = cr.cuda.Event().record()
    side = cr.cuda.Stream()
    with cr.cuda.stream(side):
        side.wait_event(first)
        x = cr.ones(100, device="cuda") * 3
    last = side.record_event()
    last.synchronize()
    assert x.sum().item() == 300 and first.elapsed_time(cr.cuda.Event().record()) >= 0
    with pytest.raises(DeviceError, match="not recorded yet"):
        side.wait_event(cr.cuda.Event())
    assert "cuda:0" in repr(side) and side.device == "cuda:0"


def test_what_is_lent_and_given_back_again_and_again():
    """Arrays of many sizes that come and go: every one keeps its values, and nothing is left in the end."""
    gc.collect()
    before = cr.cuda.memory_stats()["in_use"]
    random, kept = np.random.default_rng(0), {}
    for i in range(300):
        n = int(random.integers(1, 1 << int(random.integers(1, 16))))
        kept[i] = cr.full((n,), i, device="cuda")
        for old in random.choice([*kept], min(len(kept), 2), replace=False).tolist():
            if random.random() < 0.6:
                x = kept.pop(old)
                assert (x[0].item(), x[-1].item()) == (old, old)
    assert all((x == i).all().item() for i, x in kept.items())
    del x
    kept.clear()
    gc.collect()
    assert cr.cuda.memory_stats()["in_use"] == before
    cr.cuda.empty_cache()


@pytest.mark.parametrize("jit", [False, True])
def test_a_training_gives_the_same_bits_again(jit):
    def trained():
        cr.manual_seed(3)
        random = np.random.default_rng(0)
        w = [cr.tensor(random.standard_normal(s).astype(np.float32) / 4, device="cuda") for s in ((8, 12), (3, 8))]
        for p in w:
            p.requires_grad_()
        adam = cr.optim.Adam(w, 1e-2)

        def step(x, y):
            adam.zero_grad()
            loss = cr.losses.cross_entropy(cr.linear(cr.linear(x, w[0]).relu(), w[1]), y)
            loss.backward()
            adam.step()
            return loss

        f = cr.jit(step) if jit else step
        for _ in range(5):
            x = cr.tensor(random.standard_normal((16, 12)).astype(np.float32), device="cuda")
            loss = f(x, cr.tensor(random.integers(0, 3, 16), device="cuda"))
        return [t.detach().numpy() for t in (loss, *w)]

    for a, b in zip(trained(), trained(), strict=True):
        np.testing.assert_array_equal(a, b)
