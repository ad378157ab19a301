"""Products on a GPU beyond the table: sizes of several tiles, strides, batches, 16-bit floats, parts of k."""

import ml_dtypes
import numpy as np
import pytest
from tests.ops import test_gemm as on_any

import chainrule as cr
from chainrule import Tensor, backends
from chainrule.backends.cuda import driver, sources
from chainrule.backends.cuda.rooms import gemm

HALF = {
    np.float16: 2.0**-11,
    ml_dtypes.bfloat16: 2.0**-8,
    np.float32: 2.0**-24,
    np.float64: 2.0**-53,
}  # of a last place


def random(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def on_gpu(gpu, x, order):
    """``x`` on the GPU, its elements in row-major order, in the other, backwards, or with gaps."""
    if order == "rows":
        return gpu.upload(x)
    if order == "columns":
        y = gpu.upload(np.ascontiguousarray(x.T))
        return y.view(x.shape, y.strides[::-1])
    n, m = x.shape
    if order == "backwards":
        y = gpu.upload(np.ascontiguousarray(x[::-1, ::-1]))
        return y.view(x.shape, tuple(-s for s in y.strides), y.nbytes - y.itemsize)
    wide = np.zeros((n, 3 * m + 1), x.dtype)
    wide[:, 1::3] = x
    y = gpu.upload(wide)
    return y.view(x.shape, (y.strides[0], 3 * y.itemsize), y.itemsize)


def exact(a, b):
    return a.astype(np.float64) @ b.astype(np.float64)


def near(y, a, b, bias=0.0):
    """That ``y`` is ``a @ b + bias`` but for one rounding of its own, and one of each sum on the way, none in float64."""
    a, b = np.float64(a), np.float64(b)
    own, sums = HALF[y.dtype.type], HALF[np.float64 if y.dtype == np.float64 else np.float32]
    expected = a @ b + bias
    limit = own * np.abs(expected) + (a.shape[-1] + 2) * sums * (np.abs(a) @ np.abs(b) + np.abs(bias))
    limit += 2.0**-25 * (y.dtype == np.float16)  # below 2**-14 its last place does not become smaller
    assert y.shape == expected.shape
    assert (np.abs(np.float64(y) - expected) <= (1.01 if own > sums else 2) * limit).all()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("right", ["rows", "columns", "gaps"])
@pytest.mark.parametrize("left", ["rows", "columns", "backwards"])
def test_strides(gpu, left, right, dtype):
    a, b = random(67, 40, dtype=dtype), random(40, 72, dtype=dtype, seed=1)
    y = gemm.multiplied(gpu, on_gpu(gpu, a, left), on_gpu(gpu, b, right))
    near(gpu.download(y), a, b)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(
    "m, k, n", [(1, 1, 1), (1, 300, 5), (33, 17, 2), (5, 3, 131), (129, 33, 257), (2, 0, 3), (0, 4, 3)]
)
def test_sizes(gpu, m, k, n, dtype):
    a, b = random(m, k, dtype=dtype), random(k, n, dtype=dtype, seed=1)
    y = gemm.multiplied(gpu, gpu.upload(a), gpu.upload(b))
    near(gpu.download(y), a, b)


def test_every_tile_is_used():
    chosen = {
        (np.dtype(d).name, gemm.tiles(np.dtype(d), *sizes, 1, 2).tile)
        for d in (*HALF, np.int32)
        for sizes in ((129, 257, 33), (60, 60, 40), (5, 5, 5))
    }
    declared = {i for i in sources.INSTANCES["gemm"] if i.startswith("product<") and "int" not in i and "bool" not in i}
    assert {f"product<{sources.c_name(np.dtype(d))}, {tile}>" for d, tile in chosen if d != "int32"} == declared


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_unaligned_views(gpu, dtype):
    x = random(70 * 70 + 1, dtype=dtype)
    flat = gpu.upload(x)
    a = flat.view((70, 70), (70 * flat.itemsize, flat.itemsize), flat.itemsize)
    near(gpu.download(gemm.multiplied(gpu, a, a)), *[x[1:].reshape(70, 70)] * 2)


@pytest.mark.parametrize(
    "a, b", [((3, 1, 5, 4), (2, 4, 6)), ((7, 5, 4), (4, 6)), ((5, 4), (2, 3, 4, 6)), ((0, 5, 4), (4, 6))]
)
def test_batches(gpu, a, b):
    a, b = random(*a), random(*b, seed=1)
    y = gpu.download(gemm.multiplied(gpu, gpu.upload(a), gpu.upload(b)))
    near(y, a, b)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "bool"])
def test_integers_wrap_around(gpu, dtype):
    r = np.random.default_rng(0)
    a, b = (r.integers(0, 2 if dtype == "bool" else 120, s).astype(dtype) for s in ((34, 19), (19, 40)))
    y = gpu.download(gemm.multiplied(gpu, gpu.upload(a), gpu.upload(b)))
    assert y.dtype == a.dtype
    np.testing.assert_array_equal(y, a @ b)


def test_not_a_number_goes_where_it_belongs(gpu):
    for dtype in (np.float32, np.float16):
        a, b = random(40, 33, dtype=dtype), random(33, 40, dtype=dtype, seed=1)
        a[3, 32], b[0, 39] = np.nan, np.inf
        y = gpu.download(gemm.multiplied(gpu, gpu.upload(a), gpu.upload(b)))
        with np.errstate(invalid="ignore"):
            expected = exact(a, b)
        np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))


@pytest.mark.parametrize("dtype", HALF)
def test_a_long_k_is_done_in_parts(gpu, dtype):
    a, b, bias = random(9, 2000, dtype=dtype), random(2000, 7, dtype=dtype, seed=1), random(7, dtype=dtype, seed=2)
    assert gemm.tiles(a.dtype, 9, 7, 2000, 1, gpu.properties.multiprocessors).parts == 4
    given = gpu.upload(a), gpu.upload(b), gpu.upload(bias)
    y = gpu.download(gemm.multiplied(gpu, *given))
    near(y, a, b, np.float64(bias))
    np.testing.assert_array_equal(gpu.download(gemm.multiplied(gpu, *given)), y)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("size", [70, 130])
def test_the_order_of_threads_does_not_count(gpu, dtype, size):
    if driver.connected().name != "emulated":
        pytest.skip("a GPU has an order of its own")
    a, b = (gpu.upload(random(size, size, dtype=dtype, seed=s)) for s in (0, 1))
    y = gpu.download(gemm.multiplied(gpu, a, b))
    try:
        driver.connected().shuffle(5)
        np.testing.assert_array_equal(gpu.download(gemm.multiplied(gpu, a, b)), y)
    finally:
        driver.connected().shuffle(0)


@pytest.mark.parametrize("activation", [None, "relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_linear_map_and_its_gradient(dtype, activation):
    x, w, b = random(2, 19, 37), random(70, 37, seed=1) / 6, random(70, seed=2)
    found = []
    for device in ("cuda", "cpu"):
        with backends.use(device):
            given = [Tensor(v, dtype=dtype, requires_grad=True) for v in (x, w, b)]
            y = cr.linear(*given, activation=activation)
            (y * y).sum().backward()
            found.append([v.numpy().astype(np.float64) for v in (y.detach(), *(v.grad for v in given))])
    for one, other in zip(*found, strict=True):
        limit = {"float32": 2e-5, "float64": 1e-12, "bfloat16": 2.0**-6}[dtype]
        np.testing.assert_allclose(one, other, rtol=limit, atol=limit * np.abs(other).max())


@pytest.mark.parametrize("test", [on_any.test_broadcast_batches_get_summed_gradients,
                                  on_any.test_einsum_takes_a_list_and_spaces,
                                  on_any.test_a_plain_linear_does_not_hold_its_result_for_the_gradient])  # fmt: skip
def test_as_elsewhere(test):
    with backends.use("cuda"):
        test()
