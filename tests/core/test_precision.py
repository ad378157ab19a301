"""Autocast: which dtype each op takes, what the gradients are, and that nothing else changes."""

import threading

import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, DTypeError
from chainrule.launch import fallbacks
from chainrule.ops._op import OPS
from chainrule.precision import LOW, WIDE, WITHIN


def rounded(x, dtype=ml_dtypes.bfloat16):
    return np.asarray(x).astype(dtype).astype(np.float64)


def test_every_name_of_the_lists_is_an_op_and_in_one_list():
    assert set(OPS) >= LOW | WIDE | WITHIN
    assert not (LOW & WIDE or LOW & WITHIN or WIDE & WITHIN)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_products_are_of_rounded_numbers_and_gradients_of_the_dtype_of_the_parameter(dtype):
    half = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    a, b = cr.randn(5, 7), cr.randn(7, 3)
    a.requires_grad = b.requires_grad = True
    with cr.autocast(dtype):
        y = a @ b
    assert y.dtype == dtype
    wanted = rounded(a.detach(), half) @ rounded(b.detach(), half)
    assert np.array_equal(y.detach().numpy(), wanted.astype(np.float32).astype(half))
    y.sum().backward()
    assert a.grad.dtype == b.grad.dtype == "float32"
    wanted = rounded(np.ones((5, 3)) @ rounded(b.detach(), half).T, half)
    assert np.abs(a.grad.numpy() - wanted).max() <= 2.0**-7 * np.abs(wanted).max()


def test_what_needs_range_takes_float32_and_the_rest_follows():
    x = cr.randn(4, 6).to("bfloat16")
    with cr.autocast():
        for f in (cr.exp, cr.softmax, cr.log_softmax, cr.sum, cr.mean, cr.logsumexp, lambda x: x**2, cr.var):
            assert f(x).dtype == "float32"
        for f in (cr.relu, cr.gelu, cr.tanh, lambda x: x * 2, lambda x: x + x, cr.neg, lambda x: x.reshape(6, 4)):
            assert f(x).dtype == "bfloat16"
        assert (x + cr.ones(6)).dtype == "float32"
        assert cr.cross_entropy(x, cr.tensor([0, 1, 2, 3])).dtype == "float32"
        assert cr.layer_norm(x, normalized_shape=(6,)).dtype == "float32"
    assert cr.softmax(x).dtype == "bfloat16"


def test_batch_norm_keeps_the_dtype_and_its_statistics_are_of_float32():
    norm, x = nn.BatchNorm2d(3), cr.randn(8, 3, 5, 5) * 3 + 1
    with cr.autocast():
        y = norm(x.to("bfloat16"))
    assert y.dtype == "bfloat16" and norm.running_mean.dtype == "float32"
    wanted = 0.1 * rounded(x).mean(axis=(0, 2, 3))
    assert np.allclose(norm.running_mean.numpy(), wanted, rtol=1e-5, atol=1e-7)


def test_float64_stays_float64():
    a, b = cr.randn(3, 4, dtype="float64"), cr.randn(4, 2, dtype="float64")
    with cr.autocast("float16"):
        assert (a @ b).dtype == "float64" and (a @ b.to("float32")).dtype == "float64"
        assert cr.softmax(a).dtype == "float64"
        assert np.allclose((a @ b).numpy(), a.numpy() @ b.numpy(), rtol=1e-13)


def test_contexts_nest_and_end_also_by_an_error():
    a = cr.ones(2, 2)
    with cr.autocast("bfloat16"):
        with cr.autocast("float16"):
            assert (a @ a).dtype == "float16"
        with cr.autocast(enabled=False):
            assert (a @ a).dtype == "float32"
        assert (a @ a).dtype == "bfloat16"
        with pytest.raises(ZeroDivisionError), cr.autocast("float16"):
            raise ZeroDivisionError
        assert (a @ a).dtype == "bfloat16"
    assert (a @ a).dtype == "float32"

    @cr.autocast("float16")
    def f(depth):
        y = a @ a
        return f(depth - 1) if depth else y

    assert f(3).dtype == "float16" and (a @ a).dtype == "float32"


def test_each_thread_has_its_own():
    found, a = [], cr.ones(2, 2)
    with cr.autocast():
        thread = threading.Thread(target=lambda: found.append((a @ a).dtype))
        thread.start()
        thread.join()
        assert (a @ a).dtype == "bfloat16"
    assert found == ["float32"]


def test_other_dtypes_are_errors():
    with pytest.raises(DTypeError, match="float32, expected bfloat16 or float16"):
        cr.autocast("float32")
    with pytest.raises(ArgumentError, match="unknown dtype 'bf16'"):
        cr.autocast("bf16")


@pytest.mark.parametrize("backend", ["cpu", "numpy"])  # kernels, and rules, whose ops would be cast
def test_a_backward_inside_is_the_same_as_outside(backend):
    def gradients(inside):
        cr.manual_seed(3)
        model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3))
        x, y = cr.randn(5, 6), cr.tensor([0, 1, 2, 0, 1])
        with cr.autocast():
            loss = cr.cross_entropy(model(x), y)
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        return [p.grad.numpy() for p in model.parameters()]

    with cr.backends.use(backend):
        for a, b in zip(gradients(True), gradients(False), strict=True):
            assert a.dtype == np.float32 and np.array_equal(a, b)


def test_what_is_computed_again_in_a_backward_is_computed_alike():
    cr.manual_seed(0)
    layer, x = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)), cr.randn(4, 6)
    found = []
    for run in (layer, lambda x: cr.checkpoint(layer, x)):
        layer.zero_grad()
        with cr.autocast():
            loss = run(x).sum()
        loss.backward()
        found.append([p.grad.numpy() for p in layer.parameters()])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    "layer, shape",
    [
        (lambda: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 8, 8)),
        (lambda: nn.Conv1d(3, 4, 3), (2, 3, 9)),
        (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2), (2, 3, 5, 5)),
        (lambda: nn.LSTM(5, 4), (3, 6, 5)),
        (lambda: nn.GRU(5, 4), (3, 6, 5)),
        (lambda: nn.MultiHeadAttention(8, 2), (2, 5, 8)),
        (lambda: nn.Sequential(nn.Linear(8, 8), nn.RMSNorm(8), nn.PReLU()), (4, 8)),
    ],
)
def test_layers_are_near_float32_and_their_gradients_are_float32(layer, shape):
    cr.manual_seed(1)
    made, x = layer(), cr.randn(*shape)
    made(x)
    found = []
    for enabled in (False, True):
        made.zero_grad()
        with cr.autocast("bfloat16", enabled=enabled):
            y = made(x)
            y = y[0] if isinstance(y, tuple) else y
            (y * y).mean().backward()
        found.append([y.detach().float().numpy(), *(p.grad.numpy() for p in made.parameters())])
    largest = max(np.abs(g).max() for g in found[0][1:])  # of the gradients: some are zero but for rounding
    for i, (exact, mixed) in enumerate(zip(*found, strict=True)):
        assert mixed.dtype == np.float32
        assert np.abs(mixed - exact).max() <= 2.0**-6 * (largest if i else np.abs(exact).max())
    assert any(not np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_kernels_run_natively_on_16_bit_floats():
    x, w = cr.randn(2, 3, 8, 8).to("bfloat16"), cr.randn(4, 3, 3, 3).to("bfloat16")
    w.requires_grad = True
    fallbacks.clear()
    cr.conv2d(x, w).sum().backward()
    assert {name for _, name in fallbacks} <= {"clone", "full"} and w.grad.dtype == "bfloat16"


def test_what_is_saved_for_the_gradient_is_small():
    x, w = cr.randn(64, 32), cr.randn(16, 32)
    w.requires_grad = True
    with cr.autocast():
        y = cr.linear(x, w)
    saved = [s for s in y.edge[0].call.saved if hasattr(s, "array")]
    assert saved and all(s.array.dtype.itemsize == 2 for s in saved)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_step_of_an_optimizer_is_not_cast(dtype):
    found = []
    for enabled in (False, True):
        cr.manual_seed(0)
        layer = nn.Linear(6, 4, bias=False)
        optimizer = cr.optim.Muon(layer.parameters(), lr=0.1)
        layer(cr.randn(8, 6)).square().sum().backward()
        with cr.autocast(dtype, enabled=enabled):
            optimizer.step()
        found.append(layer.weight.detach().numpy())
    assert np.array_equal(*found)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_both_backends_agree(dtype):
    x, found = np.random.default_rng(0).standard_normal((4, 2, 6, 6)).astype(np.float32), []
    for backend in ("cpu", "numpy"):
        with cr.backends.use(backend):
            cr.manual_seed(0)
            model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
            with cr.autocast(dtype):
                loss = cr.cross_entropy(model(cr.tensor(x)), cr.tensor([0, 1, 1, 0]))
            loss.backward()
            found.append([loss.detach().numpy(), *(p.grad.numpy() for p in model.parameters())])
    largest = max(np.abs(g).max() for g in found[0][1:])
    for a, b in zip(*found, strict=True):
        assert np.abs(a - b).max() < (2.0**-7 if dtype == "bfloat16" else 2.0**-10) * largest


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_of_16_bits_learns(dtype):
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)).to(dtype)
    x = cr.randn(64, 4).to(dtype)
    y = (x[:, :1] * x[:, 1:2]).detach()
    optimizer = cr.optim.Adam(model.parameters(), lr=0.01, eps=1e-4)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = cr.mse(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert loss.dtype == dtype and losses[-1] < 0.5 * losses[0]
    assert all(p.dtype == dtype for p in model.parameters())


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)], ids=str)
def test_the_native_cast_gives_the_bits_of_numpy(dtype):
    cast = cr.backends.named("cpu").kernels["cast"]
    halves = np.arange(2**16, dtype=np.uint16).view(dtype)  # all there are
    draws = np.random.default_rng(0).integers(0, 2**32, 2**16, dtype=np.uint32)
    upper = np.arange(2**16, dtype=np.uint32) << 16
    near = [upper + k for k in (0, 1, 0xFFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]
    with np.errstate(all="ignore"):
        assert np.array_equal(cast(halves, dtype="float32").view(np.uint32), halves.astype(np.float32).view(np.uint32))
        for bits in (draws, *near):
            x = bits.view(np.float32)
            assert np.array_equal(cast(x, dtype=dtype.name).view(np.uint16), x.astype(dtype).view(np.uint16))
    x = np.random.default_rng(1).standard_normal((6, 4, 5)).astype(np.float32)
    for view in (x.T, x[::2, :, ::-1], x[:0], x[0, 0, 0:1], x.transpose(0, 2, 1)):
        half = cast(view, dtype=dtype.name)
        assert np.array_equal(half, view.astype(dtype))
        assert np.array_equal(cast(half[..., ::-1], dtype="float32"), half[..., ::-1].astype(np.float32))
