"""Products on a GPU beyond the table: sizes of several tiles, strides, batches, 16-bit floats, parts of k."""

import ctypes
from enum import IntEnum
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from tests.ops import test_gemm as on_any

import chainrule as cr
from chainrule import Tensor, backends
from chainrule.backends.cuda import cublas, driver, sources
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
        (d, gemm.tiles(d, *sizes, 1, 2).tile)
        for d in (*(np.dtype(d).name for d in HALF), "tf32", "int32")
        for sizes in ((129, 257, 33), (60, 60, 40), (5, 5, 5))
    }
    declared = {i for i in sources.INSTANCES["gemm"] if i.startswith("product<") and "int" not in i and "bool" not in i}
    assert {f"product<{sources.NAMES.get(d, d)}, {tile}>" for d, tile in chosen if d != "int32"} == declared


def test_many_rows_and_many_matrices():
    kind = "float32"
    assert gemm.tiles(kind, 1 << 23, 4, 3, 1, 132).blocks == 1 << 18
    assert gemm.tiles(kind, 3, 3, 3, 1 << 20, 132).blocks == 1 << 20
    with pytest.raises(ValueError, match="too large for a GPU"):
        gemm.tiles(kind, 1 << 30, 1 << 30, 3, 1, 132)


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
    assert gemm.tiles(a.dtype.name, 9, 7, 2000, 1, gpu.properties.multiprocessors).parts == 4
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


class Bindings:
    """cuBLASLt as its documentation says it is: column-major matrices, descriptions of them, an epilogue; on the host."""

    Epilogue, ReductionScheme = (
        IntEnum("Epilogue", {"DEFAULT": 1, "RELU": 2, "BIAS": 4, "RELU_BIAS": 6}),
        IntEnum("Scheme", {"COMPUTE_TYPE": 2}),
    )
    MatmulDescAttribute = IntEnum("Desc", "TRANSA TRANSB EPILOGUE BIAS_POINTER BIAS_DATA_TYPE", start=0)
    MatrixLayoutAttribute = IntEnum("Layout", "BATCH_COUNT STRIDED_BATCH_OFFSET", start=0)
    MatmulPreferenceAttribute = IntEnum(
        "Preference",
        "MAX_WORKSPACE_BYTES REDUCTION_SCHEME_MASK MIN_ALIGNMENT_A_BYTES MIN_ALIGNMENT_B_BYTES MIN_ALIGNMENT_C_BYTES "
        "MIN_ALIGNMENT_D_BYTES",
        start=0,
    )

    def __init__(self):
        self.made, self.memory, self.asked = [], {}, 0

    def object(self, *given):
        self.made.append([given, {}])
        return len(self.made) - 1

    create = matmul_desc_create = matrix_layout_create = matmul_preference_create = object

    def matmul_preference_destroy(self, preference):
        self.made[preference] = None

    def note(self, what, attribute, address, nbytes):
        self.made[what][1][attribute] = int.from_bytes(ctypes.string_at(address, nbytes), "little")

    def matmul_desc_set_attribute(self, *given):
        self.note(*given)

    def matrix_layout_set_attribute(self, *given):
        self.note(*given)

    def matmul_preference_set_attribute(self, *given):
        self.note(*given)

    def get_matmul_desc_attribute_dtype(self, attribute):
        return np.int64

    get_matrix_layout_attribute_dtype = get_matmul_preference_attribute_dtype = get_matmul_desc_attribute_dtype

    def MatmulHeuristicResult(self):  # noqa: N802
        return SimpleNamespace(ptr=77, workspace_size=0)

    def matmul_algo_get_heuristic(self, *given):
        self.asked += 1
        ctypes.c_int32.from_address(given[-1]).value = 1

    def matrices(self, pointer, layout, flipped):
        (_, rows, columns, pitch), more = self.made[layout]
        flat = self.memory[pointer]
        shape, size = (more[0], rows, columns), flat.itemsize
        y = np.lib.stride_tricks.as_strided(flat, shape, (more[1] * size, size, pitch * size))
        return y.swapaxes(1, 2) if flipped else y

    def matmul(
        self, handle, operation, alpha, a, of_a, b, of_b, beta, c, of_c, d, of_d, algorithm, workspace, nbytes, stream
    ):
        told = self.made[operation][1]
        y = self.matrices(a, of_a, told[0]).astype(float) @ self.matrices(b, of_b, told[1]).astype(float)
        if told[2] & 4:
            y = y + self.memory[told[3]].astype(float)[:, None]
        self.matrices(d, of_d, False)[...] = np.maximum(y, 0) if told[2] & 2 else y


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "a_order, b_order", [("rows", "rows"), ("rows", "columns"), ("columns", "rows"), ("columns", "columns")]
)
def test_what_the_library_is_asked(gpu, monkeypatch, a_order, b_order, dtype, relu):
    bindings = Bindings()
    monkeypatch.setattr(cublas, "import_module", lambda name: bindings)
    driver = SimpleNamespace(name="nvidia", at=lambda index: None, address_of=lambda stream: 5)
    machine = SimpleNamespace(driver=driver, index=0, stream=None, empty=gpu.empty)
    library = cublas.Library(machine)
    bias = random(6, dtype=dtype, seed=3)
    for seed, given_bias in ((0, None), (1, None), (2, bias), (3, bias)):
        a, b = random(5, 4, dtype=dtype, seed=seed), random(4, 6, dtype=dtype, seed=seed + 9)
        arrays = on_gpu(gpu, a, a_order), on_gpu(gpu, b, b_order)
        y, of_bias = gpu.empty((5, 6), a.dtype), None
        bindings.memory = {y.pointer: np.zeros(30, dtype)}
        for array, host, order in zip(arrays, (a, b), (a_order, b_order), strict=True):
            bindings.memory[array.pointer] = (host.T if order == "columns" else host).flatten()
        if given_bias is not None:
            of_bias = gpu.upload(bias)
            bindings.memory[of_bias.pointer] = bias
        library.multiply(machine, y, *arrays, tuple(cublas.matrices(x, ()) for x in arrays), of_bias, relu)
        expected = exact(a, b) + (0 if given_bias is None else np.float64(bias))
        found = bindings.memory[y.pointer].reshape(5, 6)
        np.testing.assert_array_equal(found, (np.maximum(expected, 0) if relu else expected).astype(dtype))
    assert bindings.asked <= 4


def test_which_matrices_the_library_can_be_given(gpu):
    x = gpu.upload(np.zeros((3, 2, 8, 4), np.float32))
    assert cublas.matrices(x, (3, 2))[:3] == (False, 4, 32)
    assert cublas.matrices(gemm.flipped(x.view((8, 4), (16, 4))), ())[:3] == (True, 4, 0)
    assert cublas.matrices(x.view((8, 4), (16, 4)), (3, 2))[:3] == (False, 4, 0)  # one matrix for all of a batch
    assert cublas.matrices(x.view((8, 2), (16, 8)), ()) is None
    assert cublas.matrices(x.view((2, 3, 8, 4), (128, 256, 16, 4)), (2, 3)) is None
    assert cublas.matrices(x.view((8, 4), (0, 4)), ()) is None
    assert cublas.matrices(x.view((1, 4), (0, 4)), ())[:3] == (False, 4, 0)


def test_a_library_that_fails_is_left_alone(gpu, monkeypatch):
    def fail(*_):
        raise RuntimeError("no")

    broken = SimpleNamespace(broken=False, multiply=fail)
    monkeypatch.setattr(cublas, "library", lambda gpu: broken)
    monkeypatch.setattr(cublas, "LARGE", 1)
    monkeypatch.setattr(gpu.driver, "name", "nvidia")
    a = gpu.upload(random(6, 6))
    with pytest.warns(UserWarning, match=r"cuBLASLt failed \(no\)"):
        y = gemm.multiplied(gpu, a, a)
    near(gpu.download(y), random(6, 6), random(6, 6))
    gemm.multiplied(gpu, a, a)  # and nothing is said


@pytest.fixture
def high():
    """Products of float32 in TF32."""
    cr.cuda.set_float32_matmul_precision("high")
    yield
    cr.cuda.set_float32_matmul_precision("highest")


def in_tf32(x):
    """What is left of float32 with 10 bits of fraction, ties away from zero."""
    return ((x.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)


@pytest.mark.parametrize("m, k, n", [(1, 1, 1), (1, 300, 5), (33, 17, 2), (129, 33, 257), (9, 2000, 7), (2, 0, 3)])
def test_tf32_is_float32_of_rounded_factors(gpu, high, m, k, n):
    a, b, bias = random(m, k), random(k, n, seed=1), random(n, seed=2)
    given = gpu.upload(a), gpu.upload(b), gpu.upload(bias)
    near(gpu.download(gemm.multiplied(gpu, *given[:2])), in_tf32(a), in_tf32(b))
    y = gpu.download(gemm.multiplied(gpu, *given, "relu"))
    expected = np.maximum(exact(in_tf32(a), in_tf32(b)) + bias, 0)
    np.testing.assert_allclose(y, expected, 1e-5, 1e-6 * max(k, 1) ** 0.5)
    gpu.driver.shuffle(3)
    again = gpu.download(gemm.multiplied(gpu, *given, "relu"))
    gpu.driver.shuffle(0)
    np.testing.assert_array_equal(again, y)


def test_tf32_of_transposed_matrices_and_of_what_is_not_finite(gpu, high):
    a, b = random(40, 33), random(40, 33, seed=1)
    a[3, 32], b[39, 0], a[1, 1] = np.nan, np.inf, 3.4e38
    across = gpu.upload(a.T.copy()).view(a.shape, (4, 160))
    y = gpu.download(gemm.multiplied(gpu, across, gemm.flipped(gpu.upload(b))))
    with np.errstate(invalid="ignore"):
        expected = exact(in_tf32(np.where(np.isnan(a), 0, a).astype(np.float32)), in_tf32(b).T)
        expected[3] = np.nan
    fine = np.isfinite(expected) & (np.arange(40) != 1)[:, None]
    np.testing.assert_allclose(y[fine], expected[fine], 1e-5, 1e-5)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))


def test_the_precision_of_float32(gpu):
    a, b = random(20, 30), random(30, 20, seed=1)
    found = []
    for precision in ("highest", "high", "highest"):
        cr.cuda.set_float32_matmul_precision(precision)
        assert cr.cuda.get_float32_matmul_precision() == precision
        found.append(gpu.download(gemm.multiplied(gpu, gpu.upload(a), gpu.upload(b))))
    np.testing.assert_array_equal(found[0], found[2])
    assert 1e-5 < np.abs(found[0] - found[1]).max() < 1e-2
    with pytest.raises(ValueError, match="precision of float32 products"):
        cr.cuda.set_float32_matmul_precision("hgih")
