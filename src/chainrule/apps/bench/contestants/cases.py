"""The standard cases: arrays, weights, and what a step costs at least. The same for every contestant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, Any]
CHARACTERS = 65


class UnavailableError(Exception):
    """A contestant that cannot run, or does not know the case; says why."""


@dataclass
class Job:
    """A step, and how its result is read."""

    step: Callable[[], Any]

    def wait(self, result: Any) -> None:
        """Until a result is there; on the CPU most have it when the step returns."""

    def array(self, x: Any) -> Any:
        """One part of a result, as NumPy has it."""
        return x

    def values(self, result: Any) -> list[Any]:
        """The arrays of a result."""
        return [self.array(x) for x in (result if isinstance(result, (tuple, list)) else [result])]


@dataclass(frozen=True)
class Gpt:
    """The sizes of a decoder-only transformer."""

    layers: int
    heads: int
    width: int
    length: int


GPT = {"gpt_nano": Gpt(4, 4, 128, 64), "gpt_mid": Gpt(6, 6, 384, 256)}


@dataclass(frozen=True)
class Case:
    """One race. ``job`` is "train" (forward, loss, backward, Adam), "fit" (an epoch), "call" or "grad" (of functions).

    ``size`` is the batch, or the rows of a call, that ``scale`` multiplies. ``flops`` and ``moved`` (numbers read and
    written) are what one step at scale 1 cannot do without, and grow as ``growth`` says: "batch" evenly with the size,
    "cube" as its third power. ``goal`` is the ratio to the best peer with 2 threads that the design asks for.
    """

    name: str
    about: str
    job: str
    what: str
    size: int
    flops: float = 0.0
    moved: float = 0.0
    goal: float | None = None
    growth: str = "batch"

    def scaled(self, scale: float) -> int:
        """The size at ``scale``, at least 1."""
        return max(1, round(self.size * scale))

    def cost(self, scale: float) -> tuple[float, float]:
        """Operations, and numbers moved, of a step at ``scale``."""
        k = self.scaled(scale) / self.size
        return self.flops * (k**3 if self.growth == "cube" else k), self.moved * (k**2 if self.growth == "cube" else k)


def mlp(batch: int) -> float:
    """Operations of a step of 784-128-10: no gradient for the pictures."""
    return 2.0 * batch * (2 * 784 * 128 + 3 * 128 * 10)


def gpt(name: str, batch: int) -> float:
    """Operations of a step of a transformer; causal attention needs half of its square."""
    g = GPT[name]
    dense = g.layers * 12 * g.width**2 + g.width * CHARACTERS
    return 2.0 * batch * g.length * (3 * dense + 3.5 * g.layers * g.length * g.width)


CNN_BN = 2.0 * (2 * 28 * 28 * 32 * 9 + 3 * 14 * 14 * 64 * 288 + 3 * 3136 * 128 + 3 * 1280)  # of one picture
CNN_SMALL = 2.0 * (2 * 28 * 28 * 8 * 9 + 3 * 1568 * 10)
LSTM = 2.0 * 64 * 512 * (2 * 64 + 3 * 128) + 2.0 * 3 * 1280
CONV = 2.0 * 112 * 112 * 128 * 64 * 9
PLANE = 112 * 112


def elementwise(name: str, arguments: int, goal: float) -> Case:
    """One op on 512 × 512 numbers."""
    return Case(f"{name}_512", f"{name} of 512 × 512 numbers", "call", name, 512, 0, (arguments + 1) * 512 * 512, goal)


CASES = {
    case.name: case
    for case in [
        Case("tiny_autograd", "(x * 2.0).sum().backward() of 2 × 3 numbers", "grad", "tiny", 2, goal=2.0),
        Case("mlp_b32", "784-128-10, ReLU, Adam, batch 32", "train", "mlp", 32, mlp(32), goal=3.5),
        Case("mlp_b128", "the same, batch 128", "train", "mlp", 128, mlp(128), goal=2.4),
        Case("mlp_b1024", "the same, batch 1024", "train", "mlp", 1024, mlp(1024), goal=2.2),
        Case("cnn_small", "Conv 8, ReLU, pool, Linear; batch 64", "train", "cnn_small", 64, 64 * CNN_SMALL, goal=12),
        Case("cnn_bn", "two Conv-BN-ReLU-pool, Linear, Dropout; batch 64", "train", "cnn_bn", 64, 64 * CNN_BN, goal=5),
        Case("lstm", "LSTM 64→128 of 64 steps, batch 32", "train", "lstm", 32, 32 * LSTM, goal=1.6),
        Case("gpt_nano", "4 layers of 128, 64 steps, batch 12", "train", "gpt_nano", 12, gpt("gpt_nano", 12), goal=2.6),
        Case("gpt_mid", "6 layers of 384, 256 steps, batch 4", "train", "gpt_mid", 4, gpt("gpt_mid", 4), goal=2.4),
        Case("conv_big_fwd", "3×3, 64→128, 8 × 112 × 112", "call", "conv2d", 8, 8 * CONV, 8 * 192 * PLANE, 1.5),
        Case("conv_big_fwdbwd", "the same, and both gradients", "grad", "conv2d", 8, 24 * CONV, goal=2.5),
        Case("max_8_32_64", "2×2 max-pool of 8×32×64×64", "call", "max_pool2d", 8, 0, 8 * 32 * 64 * 64 * 1.25, 25),
        Case("avg_16_64_56", "2×2 mean-pool of 16×64×56×56", "call", "avg_pool2d", 16, 0, 16 * 64 * 56 * 56 * 1.25, 12),
        Case("linear_bwd_1024", "gradients of Linear 1024³", "grad", "linear", 1024, 4.0 * 1024**3, 6 * 2**20, 2.1),
        elementwise("add", 2, 1.2), elementwise("exp", 1, 3), elementwise("tanh", 1, 6),
        elementwise("softmax", 1, 2), elementwise("gelu", 1, 1.1),
        Case("add_64M", "a + b of 2²⁶ numbers", "call", "add", 1 << 14, 0, 3 << 26, 3),
        Case("gemm_2048", "matrix product", "call", "matmul", 2048, 2.0 * 2048**3, 3 * 2048**2, 0.97, "cube"),
        Case("mnist_epoch_mlp", "fit, 60,000 pictures, batch 128", "fit", "mlp", 60_000, 60_000 / 128 * mlp(128), goal=3),
        Case("mnist_epoch_cnn", "cnn_bn, fit, 6,400 pictures, batch 64", "fit", "cnn_bn", 6_400, 6_400 * CNN_BN, goal=3),
    ]
}  # fmt: skip
BATCH = {"mlp": 128, "cnn_bn": 64}  # of fit
ORIGINALS = ("keydnn", "convnet", "mpneuralnetwork")  # earlier systems


def unable(side: str, case: Case, dtype: str) -> str:
    """Why ``side`` has no such case; nothing if it has.

    >>> unable("keras", CASES["add_512"], "float32"), unable("jax", CASES["lstm"], "float64")
    ('Keras races in mlp, cnn_small and cnn_bn alone', '')
    """
    if side == "keras" and (case.job not in ("train", "fit") or case.what not in ("mlp", "cnn_small", "cnn_bn")):
        return "Keras races in mlp, cnn_small and cnn_bn alone"
    if side == "jax" and case.job == "fit":
        return "JAX has no fit; Keras on JAX has"
    if side == "numpy" and (case.job != "call" or not hasattr(np, case.what)):
        return "NumPy has no such function"
    if side in ORIGINALS and (case.job != "train" or case.what not in ("mlp", "cnn_small") or dtype != "float32"):
        return f"{side} races in mlp and cnn_small alone, in float32"
    return ""


def data(case: Case, scale: float, dtype: str) -> Arrays:
    """The arrays of a step: ``x`` and the labels ``y``, or the arguments of a function in order."""
    r, n = np.random.default_rng(0), case.scaled(scale)

    def numbers(*shape: int) -> Any:
        return r.standard_normal(shape, np.float32).astype(dtype, copy=False)

    if case.job in ("train", "fit"):
        if case.what in GPT:
            g = GPT[case.what]
            x, y = (r.integers(0, CHARACTERS, (n, g.length)) for _ in range(2))
            return {"x": x, "y": y.reshape(-1)}
        shape = {"mlp": (n, 784), "lstm": (64, n, 64)}.get(case.what, (n, 1, 28, 28))
        return {"x": numbers(*shape), "y": r.integers(0, 10, n)}
    if case.name == "add_64M":
        return {"a": numbers(n, 1 << 12), "b": numbers(n, 1 << 12)}
    make: dict[str, Callable[[], Arrays]] = {
        "tiny": lambda: {"x": np.ones((n, 3), dtype)},
        "conv2d": lambda: {"x": numbers(n, 64, 112, 112), "w": numbers(128, 64, 3, 3) / 24},
        "max_pool2d": lambda: {"x": numbers(n, 32, 64, 64)},
        "avg_pool2d": lambda: {"x": numbers(n, 64, 56, 56)},
        "linear": lambda: {"x": numbers(n, 1024), "w": numbers(1024, 1024) / 32, "b": numbers(1024)},
        "matmul": lambda: {"a": numbers(n, n), "b": numbers(n, n)},
        "add": lambda: {"a": numbers(n, 512), "b": numbers(n, 512)},
    }
    arrays = make.get(case.what, lambda: {"a": numbers(n, 512)})()
    if case.job == "grad" and case.what != "tiny":
        arrays["g"] = numbers(n, *((128, 112, 112) if case.what == "conv2d" else (1024,)))
    return arrays


def shapes(model: str) -> dict[str, tuple[int, ...]]:
    """The parameters of a model by their names in PyTorch; of a transformer as q, k, v apart."""
    if model == "mlp":
        return {"0.weight": (128, 784), "0.bias": (128,), "2.weight": (10, 128), "2.bias": (10,)}
    if model == "cnn_small":
        return {"0.weight": (8, 1, 3, 3), "0.bias": (8,), "4.weight": (10, 1568), "4.bias": (10,)}
    if model == "cnn_bn":
        convolutions = {"0.weight": (32, 1, 3, 3), "0.bias": (32,), "1.weight": (32,), "1.bias": (32,)}
        convolutions |= {"4.weight": (64, 32, 3, 3), "4.bias": (64,), "5.weight": (64,), "5.bias": (64,)}
        return convolutions | {"9.weight": (128, 3136), "9.bias": (128,), "12.weight": (10, 128), "12.bias": (10,)}
    if model == "lstm":
        recurrent = {"0.weight_ih_l0": (512, 64), "0.weight_hh_l0": (512, 128), "0.bias_ih_l0": (512,)}
        return recurrent | {"0.bias_hh_l0": (512,), "1.weight": (10, 128), "1.bias": (10,)}
    g = GPT[model]
    d = g.width
    found: dict[str, tuple[int, ...]] = {"embedding.weight": (CHARACTERS, d), "positions.weight": (g.length, d)}
    for i in range(g.layers):
        at = f"blocks.layers.{i}."
        for name, shape in {
            **{f"self_attn.{p}_proj": (d, d) for p in ("q", "k", "v", "out")},
            "linear1": (4 * d, d), "linear2": (d, 4 * d),
        }.items():  # fmt: skip
            found |= {f"{at}{name}.weight": shape, f"{at}{name}.bias": shape[:1]}
        found |= {f"{at}{norm}.{part}": (d,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
    return found | {"blocks.norm.weight": (d,), "blocks.norm.bias": (d,), "scores.weight": (CHARACTERS, d)}


def weights(model: str, dtype: str) -> Arrays:
    """Parameters to begin with: small numbers, ones for the scales of norms, zeros for biases."""
    r, found = np.random.default_rng(1), {}
    for name, shape in shapes(model).items():
        if len(shape) > 1:
            bound = float(np.prod(shape[1:])) ** -0.5
            value = r.uniform(-bound, bound, shape)
        else:
            value = np.full(shape, float(name.endswith("weight")))
        found[name] = value.astype(dtype)
    return found
