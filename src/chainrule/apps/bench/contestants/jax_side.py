"""JAX's side: every step one jitted function of parameters and optimizer state, whose memory it may reuse."""

from __future__ import annotations

import os

os.environ["JAX_PLATFORMS"] = "cpu"  # not a GPU that is there

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from .cases import GPT, Case, Job, data, weights


class Jax(Job):
    """Arrays that may still be computed."""

    def wait(self, result: Any) -> None:
        """Until it is computed."""
        jax.block_until_ready(result)

    def array(self, x: Any) -> Any:
        """See Job."""
        return np.asarray(x)


def version(spec: Any) -> str:
    """What runs."""
    if spec["dtype"] == "float64":
        jax.config.update("jax_enable_x64", True)
    return f"jax {jax.__version__}"


def dense(p: Any, name: str, x: Any) -> Any:
    """x Wᵀ + b."""
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def convolution(x: Any, w: Any) -> Any:
    """3 × 3 with a border of 1."""
    return lax.conv_general_dilated(x, w, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NCHW", "OIHW", "NCHW"))


def max_pool(x: Any) -> Any:
    """The largest of 2 × 2."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def avg_pool(x: Any) -> Any:
    """The mean of 2 × 2."""
    return lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") * 0.25


def layer_norm(p: Any, name: str, x: Any) -> Any:
    """Over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def mlp(p: Any, x: Any, key: Any) -> Any:
    """784-128-10."""
    return dense(p, "2", jax.nn.relu(dense(p, "0", x))), {}


def cnn_small(p: Any, x: Any, key: Any) -> Any:
    """Conv 8, ReLU, pool, Linear."""
    y = convolution(x, p["0.weight"]) + p["0.bias"][:, None, None]
    return dense(p, "4", max_pool(jax.nn.relu(y)).reshape(len(x), -1)), {}


def cnn_bn(p: Any, x: Any, key: Any) -> Any:
    """Two Conv-BN-ReLU-pool, Linear, Dropout, Linear; with the statistics of the norms."""
    statistics = {}
    for conv, norm in (("0", "1"), ("4", "5")):
        x = convolution(x, p[f"{conv}.weight"]) + p[f"{conv}.bias"][:, None, None]
        mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
        statistics[f"{norm}.mean"], statistics[f"{norm}.var"] = mean.ravel(), variance.ravel()
        scale = lax.rsqrt(variance + 1e-5) * p[f"{norm}.weight"][:, None, None]
        x = max_pool(jax.nn.relu((x - mean) * scale + p[f"{norm}.bias"][:, None, None]))
    y = jax.nn.relu(dense(p, "9", x.reshape(len(x), -1)))
    if key is not None:
        y = jnp.where(jax.random.bernoulli(key, 0.5, y.shape), y * 2, 0)
    return dense(p, "12", y), statistics


def lstm(p: Any, x: Any, key: Any) -> Any:
    """A scan over time; the projection of the inputs is one product."""
    gates = x @ p["0.weight_ih_l0"].T + p["0.bias_ih_l0"] + p["0.bias_hh_l0"]

    def step(state: Any, g: Any) -> Any:
        h, c = state
        i, f, n, o = jnp.split(g + h @ p["0.weight_hh_l0"].T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(n)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros((x.shape[1], 128), x.dtype)
    return dense(p, "1", lax.scan(step, (zeros, zeros), gates)[0][0]), {}


def transformer(name: str) -> Callable[..., Any]:
    """Pre-norm blocks of causal attention and a GELU layer of 4 d."""
    g = GPT[name]

    def forward(p: Any, tokens: Any, key: Any) -> Any:
        x = p["embedding.weight"][tokens] + p["positions.weight"]
        n, t, d = x.shape
        mask = jnp.tril(jnp.ones((t, t), bool))
        for i in range(g.layers):
            at = f"blocks.layers.{i}."
            y = layer_norm(p, f"{at}norm1", x)
            q, k, v = (
                dense(p, f"{at}self_attn.{c}_proj", y).reshape(n, t, g.heads, -1).transpose(0, 2, 1, 3) for c in "qkv"
            )
            scores = jnp.where(mask, q @ k.transpose(0, 1, 3, 2) * (d // g.heads) ** -0.5, -jnp.inf)
            y = (jax.nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(n, t, d)
            x = x + dense(p, f"{at}self_attn.out_proj", y)
            y = jax.nn.gelu(dense(p, f"{at}linear1", layer_norm(p, f"{at}norm2", x)), approximate=False)
            x = x + dense(p, f"{at}linear2", y)
        return (layer_norm(p, "blocks.norm", x) @ p["scores.weight"].T).reshape(n * t, -1), {}

    return forward


def cross_entropy(scores: Any, y: Any) -> Any:
    """The mean over a batch."""
    return -jnp.take_along_axis(jax.nn.log_softmax(scores), y[:, None], 1).mean()


def adam(p: Any, g: Any, m: Any, v: Any, t: Any) -> Any:
    """One step with the usual settings."""
    each = jax.tree.map
    m, v = each(lambda m, g: 0.9 * m + 0.1 * g, m, g), each(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    rate, correction = 1e-3 / (1 - 0.9**t), (1 - 0.999**t) ** 0.5
    return each(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / correction + 1e-8), p, m, v), m, v


def build(case: Case, spec: dict[str, Any], check: bool) -> Job:
    """The step of a case."""
    arrays = {name: jnp.asarray(a) for name, a in data(case, spec["scale"], spec["dtype"]).items()}
    if case.job == "train":
        return trained(case, arrays, spec["dtype"], check)
    arguments = tuple(arrays.values())
    if case.job == "grad":
        if case.what == "tiny":
            f: Callable[..., Any] = jax.grad(lambda x: (x * 2.0).sum())
        else:
            inner: Any = convolution if case.what == "conv2d" else lambda x, w, b: x @ w.T + b

            def f(*given: Any) -> Any:
                y, back = jax.vjp(inner, *given[:-1])
                return (y, *back(given[-1])) if case.what == "conv2d" else back(given[-1])
    else:
        f = {
            "conv2d": convolution, "max_pool2d": max_pool, "avg_pool2d": avg_pool, "softmax": jax.nn.softmax,
            "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        }.get(case.what) or getattr(jnp, case.what)  # fmt: skip
    run = jax.jit(f)
    return Jax(lambda: jax.block_until_ready(run(*arguments)))  # each call: they depend on nothing


def trained(case: Case, arrays: dict[str, Any], dtype: str, check: bool) -> Job:
    """Forward, cross-entropy, backward, Adam."""
    x, y = arrays["x"], arrays["y"]
    models: dict[str, Any] = {"mlp": mlp, "cnn_small": cnn_small, "cnn_bn": cnn_bn, "lstm": lstm}
    forward = models.get(case.what) or transformer(case.what)
    p = {name: jnp.asarray(a) for name, a in weights(case.what, dtype).items()}
    zeros = jax.tree.map(jnp.zeros_like, p)
    drops = case.what == "cnn_bn" and not check
    norms = (
        {n: jnp.zeros_like(p[f"{n[0]}.bias"]) for n in ("1.mean", "1.var", "5.mean", "5.var")} if "5.bias" in p else {}
    )
    state = (p, zeros, jax.tree.map(jnp.copy, zeros), norms, jnp.zeros((), dtype), jax.random.key(0))

    def step(state: Any, x: Any, y: Any) -> Any:
        p, m, v, norms, t, key = state
        key, now = jax.random.split(key) if drops else (key, None)

        def loss(p: Any) -> Any:
            scores, statistics = forward(p, x, now)
            return cross_entropy(scores, y), statistics

        (value, statistics), g = jax.value_and_grad(loss, has_aux=True)(p)
        norms = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, norms, statistics)
        p, m, v = adam(p, g, m, v, t + 1)
        return (p, m, v, norms, t + 1, key), value

    run = jax.jit(step, donate_argnums=0)

    def once() -> Any:
        nonlocal state
        state, value = run(state, x, y)
        return value

    return Jax(once)
