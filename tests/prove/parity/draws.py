"""Drawn arguments and options of ops that have a geometry or several options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Random = np.random.Generator
Drawn = tuple[list[Any], dict[str, Any]]


def numbers(random: Random, *shape: int, span: tuple[float, float] = (-2.0, 2.0)) -> np.ndarray:
    return np.asarray(random.uniform(*span, shape))


def pick(random: Random, *options: Any) -> Any:
    return options[random.integers(len(options))]


def shape(random: Random, least: int = 0, most: int = 4) -> tuple[int, ...]:
    """Small sizes; sometimes one that is long."""
    found = [int(pick(random, 1, 2, 3, 4, 5, 8, 17)) for _ in range(random.integers(least, most + 1))]
    if found and random.random() < 0.25:
        found = [min(n, 4) for n in found]
        found[random.integers(len(found))] = int(pick(random, 33, 100, 257))
    return tuple(found)


def alone(span: tuple[float, float], **options: Any) -> Callable[[Random], Drawn]:
    """One argument of any shape; each option is a list of values, or a span of numbers."""

    def draw(random: Random) -> Drawn:
        params = {k: pick(random, *v) if isinstance(v, list) else float(random.uniform(*v)) for k, v in options.items()}
        return [numbers(random, *shape(random), span=span)], params

    return draw


def pairs(span: tuple[float, float]) -> Callable[[Random], Drawn]:
    """Two arguments that broadcast."""

    def draw(random: Random) -> Drawn:
        whole = shape(random)
        part = tuple(1 if random.random() < 0.25 else n for n in whole[random.integers(len(whole) + 1) :])
        sides = [numbers(random, *s, span=span) for s in (whole, part)]
        return (sides if random.random() < 0.5 else sides[::-1]), {}

    return draw


def wholes(least: int, most: int, kind: str = "int64") -> Callable[[Random], Drawn]:
    """Two arguments of whole numbers, or of yes and no."""
    return lambda random: ([random.integers(least, most, (3, 4)).astype(kind) for _ in range(2)], {})


def reduction(several: bool = True, span: tuple[float, float] = (-2.0, 2.0), needs_axis: bool = False,
              **options: list[Any]) -> Callable[[Random], Drawn]:  # fmt: skip
    """An argument, an axis or several, ``keepdims``."""

    def draw(random: Random) -> Drawn:
        sizes = shape(random, 1)
        kinds = ["one"] if needs_axis else ["one", "none", *(["some"] if several else [])]
        kind, n = pick(random, *kinds), len(sizes)
        axis = {"one": int(random.integers(-n, n)), "none": None,
                "some": tuple(map(int, random.permutation(n)[: random.integers(1, n + 1)]))}[kind]  # fmt: skip
        params = {"axis": axis, "keepdims": bool(random.integers(2))}
        return [numbers(random, *sizes, span=span)], {**params, **{k: pick(random, *v) for k, v in options.items()}}

    return draw


def along(
    span: tuple[float, float] = (-2.0, 2.0), even: bool = False, **options: list[Any]
) -> Callable[[Random], Drawn]:
    """An argument and one axis of it, of even size if wanted."""

    def draw(random: Random) -> Drawn:
        sizes = list(shape(random, 1))
        axis = int(random.integers(len(sizes)))
        sizes[axis] *= 1 + even
        signed = axis - len(sizes) if random.random() < 0.5 else axis
        return [numbers(random, *sizes, span=span)], {
            "axis": signed,
            **{k: pick(random, *v) for k, v in options.items()},
        }

    return draw


def matmul(random: Random) -> Drawn:
    m, k, n = (int(pick(random, 1, 2, 3, 8, 17, 33)) for _ in range(3))
    batch = shape(random, 0, 2)
    left = batch[random.integers(len(batch) + 1) :]
    return [numbers(random, *left, m, k), numbers(random, *batch, k, n)], {}


def linear(random: Random) -> Drawn:
    k, n = (int(pick(random, 1, 3, 8, 17, 33)) for _ in range(2))
    bias = numbers(random, n) if random.random() < 0.7 else None
    return [numbers(random, *shape(random, 0, 2), k), numbers(random, n, k), bias], {}


def window(random: Random, axes: int, conv: bool) -> tuple[dict[str, Any], tuple[int, ...], list[int]]:
    """Options of a window over ``axes`` axes, its size, and how many places it spans along each."""

    def each(*options: int) -> tuple[int, ...]:
        return tuple(int(pick(random, *options)) for _ in range(axes))

    k, dilation = each(1, 2, 3, 3), each(1, 1, 2)
    padding = each(0, 1, 2) if conv else tuple(int(random.integers(n // 2 + 1)) for n in k)
    params = {"stride": each(1, 1, 2, 3), "padding": padding, "dilation": dilation}
    if axes == 1:
        params = {name: v[0] for name, v in params.items()}
    return params, k, [d * (n - 1) + 1 for n, d in zip(k, dilation, strict=True)]


def conv(axes: int) -> Callable[[Random], Drawn]:
    def draw(random: Random) -> Drawn:
        params, k, reach = window(random, axes, True)
        groups, depth, filters = (int(pick(random, *v)) for v in ((1, 1, 2, 3), (1, 2, 5), (1, 2, 4)))
        x = numbers(random, int(pick(random, 1, 2, 3)), depth * groups, *[r + int(random.integers(6)) for r in reach])
        bias = numbers(random, filters * groups) if random.random() < 0.7 else None
        return [x, numbers(random, filters * groups, depth, *k), bias], {**params, "groups": groups}

    return draw


def conv_transpose(axes: int) -> Callable[[Random], Drawn]:
    def draw(random: Random) -> Drawn:
        params, k, reach = window(random, axes, True)
        groups, depth, filters = (int(pick(random, *v)) for v in ((1, 1, 2, 3), (1, 2, 5), (1, 2, 4)))
        pads = np.atleast_1d(params["padding"]) // 2  # what is left must not be empty
        steps = np.maximum(np.atleast_1d(params["stride"]), np.atleast_1d(params["dilation"]))
        extra = [int(random.integers(s)) for s in steps]
        params["padding"], params["output_padding"] = [
            tuple(map(int, v)) if axes > 1 else int(v[0]) for v in (pads, extra)
        ]
        x = numbers(random, int(pick(random, 1, 2)), depth * groups, *[3 + int(random.integers(4)) for _ in k])
        bias = numbers(random, filters * groups) if random.random() < 0.7 else None
        return [x, numbers(random, depth * groups, filters, *k), bias], {**params, "groups": groups}

    return draw


def pool(axes: int, kind: str) -> Callable[[Random], Drawn]:
    def draw(random: Random) -> Drawn:
        params, k, reach = window(random, axes, False)
        if kind != "max":
            del params["dilation"]
            reach = list(k)
        if kind == "avg":
            params["count_include_pad"] = bool(random.integers(2))
        if kind == "lp":
            del params["padding"]
            params["norm_type"] = float(pick(random, 1, 2, 3))
        params.update(kernel_size=k if axes > 1 else k[0], ceil_mode=bool(random.integers(2)))
        sizes = [r + int(random.integers(6)) for r in reach]
        span = (0.1, 2.0) if kind == "lp" else (-2.0, 2.0)
        return [numbers(random, int(pick(random, 1, 2)), int(pick(random, 1, 3)), *sizes, span=span)], params

    return draw


def adaptive(axes: int) -> Callable[[Random], Drawn]:
    def draw(random: Random) -> Drawn:
        sizes = [int(random.integers(1, 12)) for _ in range(axes)]
        wanted = tuple(int(random.integers(1, 9)) for _ in range(axes))
        return [numbers(random, 2, 3, *sizes)], {"output_size": wanted if axes > 1 else wanted[0]}

    return draw


def resized(random: Random) -> Drawn:
    axes = int(pick(random, 1, 2))
    mode = pick(random, "nearest", ("linear", "bilinear")[axes - 1])
    x = numbers(random, 2, 3, *[int(random.integers(2, 8)) for _ in range(axes)])
    params: dict[str, Any] = {"mode": mode}
    if random.random() < 0.5:
        params["size"] = tuple(int(random.integers(1, 15)) for _ in range(axes))
    else:
        params["scale_factor"] = tuple(float(pick(random, 0.5, 1.5, 2, 3)) for _ in range(axes))
    if mode != "nearest" and random.random() < 0.5:
        params["align_corners"] = True
    return [x], params


def normed(random: Random) -> Drawn:
    sizes = (*shape(random, 0, 2), *[int(pick(random, 3, 8, 17)) for _ in range(random.integers(1, 3))])
    last = sizes[-int(random.integers(1, min(len(sizes), 2) + 1)) :]
    affine = [numbers(random, *last) if random.random() < 0.7 else None for _ in range(2)]
    return [numbers(random, *sizes), *affine], {"normalized_shape": last, "eps": float(pick(random, 1e-5, 1e-3))}


def rms(random: Random) -> Drawn:
    (x, weight, _), params = normed(random)
    return [x, weight], params


def grouped(random: Random) -> Drawn:
    groups, each = int(pick(random, 1, 2, 3)), int(pick(random, 1, 2, 4))
    c = groups * each
    x = numbers(random, 2, c, *[int(pick(random, 3, 4, 7)) for _ in range(random.integers(1, 3))])
    affine = [numbers(random, c) if random.random() < 0.7 else None for _ in range(2)]
    return [x, *affine], {"num_groups": groups}


def batch_norm(random: Random) -> Drawn:
    c = int(pick(random, 1, 3, 8))
    x = numbers(random, int(pick(random, 5, 9, 16)), c, *[int(pick(random, 2, 5)) for _ in range(random.integers(3))])
    affine = [numbers(random, c) if random.random() < 0.7 else None for _ in range(2)]
    return [x, *affine, numbers(random, c), numbers(random, c, span=(0.5, 2.0))], {
        "eps": float(pick(random, 1e-5, 0.1))
    }


def attention(random: Random) -> Drawn:
    n, heads, t, s, d, e = (int(pick(random, *v)) for v in ((1, 2), (2, 4), (1, 5, 33), (4, 7, 65), (4, 8, 17), (4, 8)))
    kv = int(pick(random, heads, heads // 2))
    mask: Any = pick(random, None, None, "bool", "float")
    if mask == "bool":
        mask = random.random((t, s)) < 0.7
        mask[:, 0] = True
    elif mask == "float":
        mask = numbers(random, t, s)
    params: dict[str, Any] = {"is_causal": mask is None and bool(random.integers(2))}
    if random.random() < 0.3:
        params["scale"] = 0.3
    return [numbers(random, n, h, m, w) for h, m, w in ((heads, t, d), (kv, s, d), (kv, s, e))] + [mask], params


def recurrent(blocks: int, states: int, once: bool, **options: list[Any]) -> Callable[[Random], Drawn]:
    def draw(random: Random) -> Drawn:
        t, n, d, h = (int(pick(random, 1, 2, 3, 5, 9)) for _ in range(4))
        x = numbers(random, n, d) if once else numbers(random, t, n, d)
        weights = [numbers(random, blocks * h, size, span=(-0.7, 0.7)) for size in (d, h)]
        biases = [numbers(random, blocks * h)] * 2 if random.random() < 0.7 else [None] * 2
        first = [numbers(random, n, h) if random.random() < 0.6 else None] * states
        params = {k: pick(random, *v) for k, v in options.items()}
        if once:
            return [x, *weights, *biases, *first], params
        mask = random.random((t, n)) < 0.7 if random.random() < 0.4 else None
        return [x, *weights, *biases, *first, mask], {**params, "reverse": bool(random.integers(2))}

    return draw


def loss(
    kind: str = "numbers", span: tuple[float, float] = (-2.0, 2.0), **options: list[Any]
) -> Callable[[Random], Drawn]:
    """A loss of elements: the prediction, the target of some kind, a reduction, other options."""

    def draw(random: Random) -> Drawn:
        sizes = (int(pick(random, 1, 3, 8)), int(pick(random, 2, 4, 33)))
        target = {
            "numbers": lambda: numbers(random, *sizes, span=span),
            "positive": lambda: numbers(random, *sizes, span=(0.1, 3.0)),
            "chances": lambda: numbers(random, *sizes, span=(0.05, 0.95)),
            "signs": lambda: random.choice([-1, 1], sizes),
            "bits": lambda: random.integers(0, 2, sizes),
        }[kind]()
        params = {"reduction": pick(random, "mean", "sum", "none"), **{k: pick(random, *v) for k, v in options.items()}}
        return [numbers(random, *sizes, span=span), target], params

    return draw


def with_third(
    draw: Callable[[Random], Drawn], third: Callable[[Random, np.ndarray], Any]
) -> Callable[[Random], Drawn]:
    def more(random: Random) -> Drawn:
        args, params = draw(random)
        return [*args, third(random, args[0])], params

    return more


def of_pairs(**options: list[Any]) -> Callable[[Random], Drawn]:
    def draw(random: Random) -> Drawn:
        n, d = int(pick(random, 1, 3, 8)), int(pick(random, 2, 4, 33))
        params = {"reduction": pick(random, "mean", "sum", "none"), **{k: pick(random, *v) for k, v in options.items()}}
        return [numbers(random, n, d), numbers(random, n, d), random.choice([-1, 1], n)], params

    return draw


def triplets(random: Random) -> Drawn:
    n, d = int(pick(random, 1, 3, 8)), int(pick(random, 2, 4, 33))
    params = {"reduction": pick(random, "mean", "sum", "none"), "margin": float(pick(random, 0.5, 1.0, 3.0)),
              "p": float(pick(random, 1.0, 2.0, 3.0)), "swap": bool(random.integers(2))}  # fmt: skip
    return [numbers(random, n, d) for _ in range(3)], params


def classes(named: bool) -> Callable[[Random], Drawn]:
    """cross_entropy and nll: labels of rows or of places, class weights, an ignored class, smoothing."""

    def draw(random: Random) -> Drawn:
        n, c = int(pick(random, 2, 5, 8)), int(pick(random, 2, 4, 33))
        places = tuple(int(pick(random, 2, 3)) for _ in range(random.integers(3)))
        target = random.integers(0, c, (n, *places))
        params = {"reduction": pick(random, "mean", "sum", "none")}
        if random.random() < 0.4:
            target.flat[0] = params["ignore_index"] = int(pick(random, -100, 1))
            target.flat[-1] = 0  # something is left
        if named and random.random() < 0.4:
            params["label_smoothing"] = 0.1
        x = numbers(random, n, c, *places, span=(-4.0, 0.0 if not named else 4.0))
        weight = numbers(random, c, span=(0.5, 2.0)) if random.random() < 0.5 else None
        return [x, target, weight], params

    return draw


def sequences(random: Random) -> Drawn:
    t, n, c, most = (int(pick(random, *v)) for v in ((8, 15), (1, 3), (4, 6), (2, 4)))
    lengths = random.integers(0 if most == 4 else 1, most + 1, n)
    target, times = random.integers(1, c, (n, most)), random.integers(2 * most, t + 1, n)
    params = {"reduction": pick(random, "mean", "sum", "none")}
    return [numbers(random, t, n, c), target, times, lengths], params


def assigned(random: Random) -> Drawn:
    n, m = int(pick(random, 2, 4, 9)), int(pick(random, 1, 3))
    places = random.permutation(n)[: random.integers(1, n + 1)]
    return [numbers(random, n, m), numbers(random, len(places), m), places], {"pattern": ("tensor", ...)}


BOTH, UP = (-2.0, 2.0), (0.2, 3.0)
DRAWS: dict[str, Callable[[Random], Drawn]] = {
    **dict.fromkeys("abs neg sign floor ceil round exp expm1 square sin cos atan sinh cosh tanh erf sigmoid relu relu6 "
                    "selu mish softsign hardswish hardsigmoid logsigmoid silu isfinite isnan isinf clone contiguous".split(),
                    alone((-4.0, 8.0))),
    **dict.fromkeys("log log2 log10 log1p sqrt rsqrt reciprocal".split(), alone((0.05, 9.0))),
    **dict.fromkeys(["asin", "acos"], alone((-0.99, 0.99))),
    "tan": alone((-1.4, 1.4)),
    "clip": alone(BOTH, min=(-1.5, 0.0), max=(0.2, 1.5)),
    "leaky_relu": alone(BOTH, negative_slope=(0.0, 1.2)),
    "elu": alone((-4.0, 4.0), alpha=(0.2, 2.0)), "celu": alone((-4.0, 4.0), alpha=(0.2, 2.0)),
    "gelu": alone((-4.0, 4.0), approximate=["none", "tanh"]),
    "softplus": alone((-4.0, 9.0), beta=(0.5, 3.0), threshold=(5.0, 20.0)),
    "softshrink": alone(BOTH, lambd=(0.1, 1.0)), "hardshrink": alone(BOTH, lambd=(0.1, 1.0)),
    "hardtanh": alone(BOTH, min_val=(-1.5, 0.0), max_val=(0.2, 1.5)),
    "threshold": alone(BOTH, threshold=(-1.0, 1.0), value=(-3.0, 3.0)),
    **dict.fromkeys("add sub mul maximum minimum atan2 eq ne lt le gt ge".split(), pairs(BOTH)),
    **dict.fromkeys("div pow floor_div remainder".split(), pairs(UP)),
    **dict.fromkeys(["logical_and", "logical_or", "logical_xor"], wholes(0, 2)),
    **dict.fromkeys(["bitwise_and", "bitwise_or", "bitwise_xor"], wholes(-99, 99)),
    "bitwise_not": lambda random: (wholes(-99, 99)(random)[0][:1], {}),
    "logical_not": lambda random: (wholes(0, 2)(random)[0][:1], {}),
    **dict.fromkeys("sum mean amax amin logsumexp any all".split(), reduction()),
    "norm": reduction(ord=[1, 2, np.inf]), "prod": reduction(span=(0.5, 1.5)),
    **dict.fromkeys(["argmax", "argmin"], reduction(several=False)),
    **dict.fromkeys(["max", "min"], reduction(needs_axis=True)),
    **dict.fromkeys(["var", "std", "var_mean"], reduction(correction=[0])),
    "cumsum": along(), "cumprod": along((0.5, 1.5)), "softmax": along((-5.0, 5.0)), "log_softmax": along((-5.0, 5.0)),
    "glu": along(even=True), "swiglu": along(even=True), "maxout": along(even=True, pieces=[2]),
    "sort": along(descending=[True, False]), "argsort": along(descending=[True, False]),
    "topk": along(k=[1], largest=[True, False]), "flip": along(),
    "assign": assigned, "unique": lambda random: ([random.integers(-5, 5, shape(random, 1, 3))], {}),
    "matmul": matmul, "linear": linear,
    "linear_activation": lambda random: (linear(random)[0], {"activation": pick(random, "relu", "sigmoid", "tanh")}),
    **{f"conv{d}d": conv(d) for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": conv_transpose(d) for d in (1, 2)},
    **{f"{kind}_pool{d}d": pool(d, kind) for d in (1, 2) for kind in ("max", "avg", "lp")},
    **{f"max_pool{d}d_with_indices": pool(d, "max") for d in (1, 2)},
    **{f"adaptive_{kind}_pool{d}d": adaptive(d) for d in (1, 2) for kind in ("avg", "max")},
    **{f"adaptive_max_pool{d}d_with_indices": adaptive(d) for d in (1, 2)},
    "interpolate": resized, "layer_norm": normed, "rms_norm": rms, "group_norm": grouped,
    "batch_norm_train": batch_norm, "batch_norm_eval": batch_norm,
    "scaled_dot_product_attention": attention,
    "rnn": recurrent(1, 1, False, nonlinearity=["tanh", "relu"]), "gru": recurrent(3, 1, False),
    "lstm": recurrent(4, 2, False), "rnn_cell": recurrent(1, 1, True, nonlinearity=["tanh", "relu"]),
    "gru_cell": recurrent(3, 1, True), "lstm_cell": recurrent(4, 2, True),
    "mse": loss(), "mae": loss(), "log_cosh": loss(), "huber": loss(delta=[0.3, 1.0, 2.0]),
    "smooth_l1": loss(beta=[0.0, 0.3, 1.0]), "bce": loss("chances", (0.05, 0.95)),
    "bce_with_logits": with_third(loss("chances", (-8.0, 8.0)),
                                  lambda random, x: pick(random, None, numbers(random, x.shape[1], span=UP))),
    "poisson_nll": loss("positive", (0.2, 3.0), log_input=[True, False], full=[True, False]),
    "gaussian_nll": with_third(loss(full=[True, False]), lambda random, x: numbers(random, *x.shape, span=UP)),
    "kl_div": loss("chances", (-3.0, -0.1), reduction=["mean", "sum", "none", "batchmean"]),
    "hinge": loss("signs"), "squared_hinge": loss("signs"),
    "focal": loss("bits", alpha=[None, 0.25, 0.7], gamma=[0.5, 2.0]),
    "dice": loss("bits", (0.05, 0.95), smooth=[0.1, 1.0]), "cosine_loss": loss(),
    "cosine_embedding": of_pairs(margin=[0.0, 0.2]), "contrastive": of_pairs(margin=[1.0, 5.0]),
    "triplet_margin": triplets, "cross_entropy": classes(True), "nll": classes(False), "ctc": sequences,
}  # fmt: skip
