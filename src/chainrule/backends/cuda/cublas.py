"""Large products by NVIDIA's library, cuBLASLt, on NVIDIA's GPUs: through the bindings of nvmath-python, if they are installed.

``CHAINRULE_CUDA_LIBRARIES=0`` leaves everything to the kernels of this project. Sources: the documentation of cuBLASLt, and of
``nvmath.bindings.cublasLt``. Its matrices are column-major: what is row-major here is transposed there, so y' = b' a' is asked.
"""

from __future__ import annotations

import math
import os
import threading
import warnings
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ...modes import matmul_precision
from .array import DeviceArray
from .gpu import Gpu, spread

WORKSPACE = 32 << 20  # bytes at most, as the library advises for sm_90
LARGE = 1 << 21  # multiplications from which it is asked: below, the launch is what costs
DTYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType_t
COMPUTE = {"float32": 68, "float64": 70, "float16": 68, "bfloat16": 68}  # cublasComputeType_t: of float32 and float64
TF32 = 77


class Matrices(NamedTuple):
    """Matrices as the library wants them: whether row-major ones are ``flipped``, rows ``pitch`` apart, a batch ``apart``."""

    flipped: bool
    pitch: int
    apart: int
    aligned: int  # to so many bytes, at most 256


class Plan(NamedTuple):
    """What the library was told of a product, and the algorithm it found; kept for the next product like it."""

    operation: int
    layouts: tuple[int, int, int]  # of b, a, y
    found: Any  # the library's answer, which begins with the algorithm
    workspace: int


class Library:
    """cuBLASLt on one GPU. Errors: whatever its bindings raise, if it is not there."""

    def __init__(self, gpu: Gpu) -> None:
        self.api = import_module("nvmath.bindings.cublasLt")
        gpu.driver.at(gpu.index)
        self.handle = self.api.create()
        self.plans: dict[Any, Plan] = {}
        self.lock = threading.Lock()  # the bias of a call is noted in its plan
        self.broken = False  # whether a call failed
        self.one, self.nothing = {}, {}
        for name, kind in (("float32", np.float32), ("float64", np.float64)):
            self.one[name], self.nothing[name] = np.ones(1, kind), np.zeros(1, kind)

    def multiply(
        self, gpu: Gpu, y: DeviceArray, a: DeviceArray, b: DeviceArray, given: Any, bias: Any, relu: bool
    ) -> None:
        """y = a b + bias, of matrices that lie as ``given`` says."""
        key = (
            y.dtype,
            y.shape,
            a.shape[-1],
            given,
            aligned(y),
            bias is not None and aligned(bias),
            relu,
            matmul_precision[0],
        )
        scalar = "float64" if y.dtype.name == "float64" else "float32"
        with self.lock:
            gpu.driver.at(gpu.index)
            plan = self.plans.get(key)
            if plan is None:
                plan = self.plans[key] = self.planned(y, a.shape[-1], given, bias, relu)
            elif bias is not None:
                self.tell(self.api.matmul_desc_set_attribute, plan.operation, "BIAS_POINTER", bias.pointer)
            workspace = gpu.empty((plan.workspace,), np.dtype(np.uint8))
            of_b, of_a, of_y = plan.layouts
            self.api.matmul(
                self.handle, plan.operation, self.one[scalar].ctypes.data, b.pointer, of_b, a.pointer, of_a,
                self.nothing[scalar].ctypes.data, y.pointer, of_y, y.pointer, of_y, plan.found.ptr,
                workspace.pointer if plan.workspace else 0, plan.workspace, gpu.driver.address_of(gpu.stream),
            )  # fmt: skip

    def planned(self, y: DeviceArray, k: int, given: tuple[Matrices, Matrices], bias: Any, relu: bool) -> Plan:
        """Tell the library of a product, and ask for its best algorithm."""
        api, name = self.api, y.dtype.name
        (m, n), batch = y.shape[-2:], math.prod(y.shape[:-2])
        compute = TF32 if name == "float32" and matmul_precision[0] == "high" else COMPUTE[name]
        operation = api.matmul_desc_create(compute, DTYPES["float64" if name == "float64" else "float32"])
        a, b = given
        self.tell(api.matmul_desc_set_attribute, operation, "TRANSA", int(b.flipped))
        self.tell(api.matmul_desc_set_attribute, operation, "TRANSB", int(a.flipped))
        kinds = api.Epilogue
        kind = (kinds.RELU_BIAS if relu else kinds.BIAS) if bias is not None else kinds.RELU if relu else kinds.DEFAULT
        self.tell(api.matmul_desc_set_attribute, operation, "EPILOGUE", int(kind))
        if bias is not None:
            self.tell(api.matmul_desc_set_attribute, operation, "BIAS_POINTER", bias.pointer)
            self.tell(api.matmul_desc_set_attribute, operation, "BIAS_DATA_TYPE", DTYPES[name])
        layouts = []
        for rows, columns, pitch, apart in (
            (*((k, n) if b.flipped else (n, k)), b.pitch, b.apart),
            (*((m, k) if a.flipped else (k, m)), a.pitch, a.apart),
            (n, m, n, m * n),
        ):
            layout = api.matrix_layout_create(DTYPES[name], rows, columns, pitch)
            self.tell(api.matrix_layout_set_attribute, layout, "BATCH_COUNT", batch)
            self.tell(api.matrix_layout_set_attribute, layout, "STRIDED_BATCH_OFFSET", apart)
            layouts.append(layout)
        preference = api.matmul_preference_create()
        try:
            self.tell(api.matmul_preference_set_attribute, preference, "MAX_WORKSPACE_BYTES", WORKSPACE)
            # parts of a sum are kept as they are computed, and added in order
            self.tell(
                api.matmul_preference_set_attribute,
                preference,
                "REDUCTION_SCHEME_MASK",
                int(api.ReductionScheme.COMPUTE_TYPE),
            )
            for letter, nbytes in zip("ABCD", (b.aligned, a.aligned, aligned(y), aligned(y)), strict=True):
                self.tell(api.matmul_preference_set_attribute, preference, f"MIN_ALIGNMENT_{letter}_BYTES", nbytes)
            found, count = api.MatmulHeuristicResult(), np.zeros(1, np.int32)
            api.matmul_algo_get_heuristic(
                self.handle, operation, *layouts, layouts[2], preference, 1, found.ptr, count.ctypes.data
            )
        finally:
            api.matmul_preference_destroy(preference)
        if not count[0]:
            raise RuntimeError(f"cuBLASLt has no algorithm for a product of {y.shape} over {k}, {name}")
        return Plan(operation, (layouts[0], layouts[1], layouts[2]), found, int(found.workspace_size))

    def tell(self, set_attribute: Any, what: int, name: str, value: int) -> None:
        """Set an attribute of an object of the library."""
        kind = set_attribute.__name__.replace("_set_attribute", "")
        enum = {"matmul_desc": "MatmulDescAttribute", "matrix_layout": "MatrixLayoutAttribute",
                "matmul_preference": "MatmulPreferenceAttribute"}[kind]  # fmt: skip
        attribute = int(getattr(getattr(self.api, enum), name))
        data = np.array([value], getattr(self.api, f"get_{kind}_attribute_dtype")(attribute))
        set_attribute(what, attribute, data.ctypes.data, data.nbytes)


@cache
def library(gpu: Gpu) -> Library | None:
    """The library of a GPU; None if it is not to be used, or not there."""
    if gpu.driver.name != "nvidia" or os.environ.get("CHAINRULE_CUDA_LIBRARIES") == "0":
        return None
    try:
        return Library(gpu)
    except Exception:
        return None


def aligned(x: DeviceArray) -> int:
    """To how many bytes the first element is aligned, at most 256."""
    return math.gcd(x.pointer, 256)


def matrices(x: DeviceArray, batch: tuple[int, ...]) -> Matrices | None:
    """How the matrices of ``x``, broadcast to a batch, lie; None if the library has no words for it."""
    (rows, columns), (row, column) = x.shape[-2:], x.steps[-2:]
    if column == 1 and (rows == 1 or row >= columns):
        flipped, pitch = False, row if rows > 1 else columns
    elif row == 1 and (columns == 1 or column >= rows):
        flipped, pitch = True, column if columns > 1 else rows
    else:
        return None
    apart = 0
    steps = [(n, s) for n, s in zip(batch, spread(x.view(x.shape[:-2], x.strides[:-2]), batch), strict=True) if n > 1]
    if steps:
        apart = steps[-1][1]
        if apart < 0 or any(s != step * n for (_, s), (n, step) in zip(steps, steps[1:], strict=False)):
            return None
    return Matrices(flipped, pitch, apart, math.gcd(aligned(x), apart * x.itemsize, 256))


def multiplied(gpu: Gpu, y: DeviceArray, a: DeviceArray, b: DeviceArray, bias: Any, activation: str | None) -> bool:
    """Write the activation of ``a @ b + bias`` to ``y``; False if that is left to the kernels of this project."""
    if gpu.driver.name != "nvidia" or y.size * a.shape[-1] < LARGE or y.dtype.name not in DTYPES:
        return False
    known = library(gpu)
    if known is None or known.broken or activation not in (None, "relu"):
        return False
    given = matrices(a, y.shape[:-2]), matrices(b, y.shape[:-2])
    if given[0] is None or given[1] is None:
        return False
    try:
        known.multiply(gpu, y, a, b, given, bias, activation == "relu")
    except Exception as error:
        known.broken = True
        warnings.warn(f"cuBLASLt failed ({error}): products are left to slower kernels from now on", stacklevel=2)
        return False
    return True
