"""Native kernels equal the reference on random shapes, strides, dtypes and parameters: values, gradients, errors."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from tests.prove.fuzz import DTYPES, FLOATS, LAYOUTS, SIZES, agree, arrays, broadcastable, fuzzed, laid_out, shapes

from chainrule import _native

UNARY = (
    "abs acos asin atan ceil cos cosh erf exp expm1 floor isfinite log log1p logical_not neg relu round sigmoid sign silu "
    "sin sinh sqrt tan tanh gelu leaky_relu clone relu6 elu celu selu hardtanh hardshrink softshrink hardsigmoid hardswish "
    "softplus softsign logsigmoid contiguous square reciprocal rsqrt"
).split()
BINARY = (
    "add sub mul div floor_div remainder pow maximum minimum atan2 eq ne lt le gt ge logical_and logical_or logical_xor"
).split()
SMOOTH = {"float32", "float64", "float16", "bfloat16"}
NUMBERS = st.sampled_from([0, 1, 2, -3, 0.5, -1.5, True])


@given(st.data())
@fuzzed(3600)
def test_one_operand(data):
    name, dtype = data.draw(st.sampled_from(UNARY)), data.draw(st.sampled_from(DTYPES))
    special = data.draw(st.booleans())
    x = data.draw(arrays(data.draw(shapes()), dtype, span=(-3.0, 3.0), special=special))
    agree(name, [x], gradients=not special, scale=4)


@given(st.data())
@fuzzed(6000)
def test_two_operands(data):
    name = data.draw(st.sampled_from(BINARY))
    shape = data.draw(shapes())
    sides = [data.draw(broadcastable(shape)), shape]
    dtypes = [data.draw(st.sampled_from(FLOATS if data.draw(st.booleans()) else DTYPES)) for _ in sides]
    if data.draw(st.booleans()):
        dtypes[1] = dtypes[0]
    special = data.draw(st.integers(0, 2)) == 0 and name not in ("floor_div", "remainder")
    span = (0.2, 4.0) if name in ("div", "pow", "floor_div", "remainder", "atan2") else (-2.0, 2.0)
    args = [data.draw(arrays(s, d, span, special)) for s, d in zip(sides, dtypes, strict=True)]
    if name == "pow" and special:  # NumPy takes the root for 0.5, and has no root of -inf, though pow(-inf, 0.5) is inf
        args = [np.where(a == -np.inf, 2, a).astype(a.dtype) for a in args]
    if data.draw(st.integers(0, 4)) == 0:
        args[data.draw(st.integers(0, 1))] = data.draw(NUMBERS)
    if data.draw(st.booleans()):
        args.reverse()
    agree(name, args, gradients=not special, scale=4 + np.prod(shape) ** 0.5)  # gradients of what broadcasts are sums


@given(st.data())
@fuzzed(900)
def test_where(data):
    shape = data.draw(shapes())
    args = [data.draw(arrays(data.draw(broadcastable(shape)), "bool"))]
    for _ in range(2):
        number = data.draw(st.integers(0, 3)) == 0
        given_shape, dtype = data.draw(broadcastable(shape)), data.draw(st.sampled_from(DTYPES))
        args.append(data.draw(NUMBERS) if number else data.draw(arrays(given_shape, dtype)))
    agree("where", args, scale=4 + np.prod(shape) ** 0.5)


@given(st.data())
@fuzzed(600)
def test_cast(data):
    x = data.draw(arrays(data.draw(shapes()), data.draw(st.sampled_from(DTYPES))))
    if x.dtype.kind not in "biu":
        x = np.abs(x)  # a negative float has no uint8
    agree("cast", [x], {"dtype": data.draw(st.sampled_from(DTYPES))}, gradients=False, exact=True)


REDUCTIONS = "sum mean prod amax amin any all argmax argmin max min var std logsumexp norm cumsum cumprod".split()


@given(st.data())
@fuzzed(3600)
def test_reductions(data):
    name, dtype = data.draw(st.sampled_from(REDUCTIONS)), data.draw(st.sampled_from(DTYPES))
    shape = data.draw(shapes(least=1 if name in ("max", "min", "cumsum", "cumprod") else 0))
    span = (0.9, 1.1) if name in ("prod", "cumprod") else (-2.0, 2.0)
    layouts = LAYOUTS[:-1] if name in ("var", "std") else LAYOUTS  # of equal numbers both are all rounding
    x = data.draw(arrays(shape, dtype, span, layouts=layouts))
    axes = st.integers(-len(shape), len(shape) - 1) if shape else st.just(0)
    params = {"axis": data.draw(axes)}
    if name not in ("max", "min", "argmax", "argmin", "cumsum", "cumprod") and data.draw(st.booleans()):
        several = data.draw(st.lists(st.integers(0, max(len(shape) - 1, 0)), unique=True, max_size=len(shape)))
        params = data.draw(st.sampled_from([{}, {"axis": tuple(several)}]))
    if name not in ("cumsum", "cumprod"):
        params["keepdims"] = data.draw(st.booleans())
    ties = dtype in ("float16", "bfloat16") and name in ("var", "std", "logsumexp", "norm")  # rounded part by part
    agree(name, [x], params, scale=1 + x.size**0.5, gradients=not ties and x.size < 5000)


@given(st.data())
@fuzzed(1500)
def test_products_of_matrices(data):
    sizes = st.sampled_from([0, 1, 2, 3, 5, 8, 16, 17, 31, 33, 64, 70, 130])
    dtype = data.draw(st.sampled_from([*FLOATS, *FLOATS, *DTYPES]))
    m, k, n = (data.draw(sizes) for _ in range(3))
    if data.draw(st.booleans()):
        batch = data.draw(st.lists(st.integers(0, 3), max_size=2).map(tuple))
        a, b = (*data.draw(broadcastable(batch)), m, k), (*data.draw(broadcastable(batch)), k, n)
        a, b = (
            (a[-1:] if data.draw(st.integers(0, 5)) == 0 else a),
            (b[-2:-1] if data.draw(st.integers(0, 5)) == 0 else b),
        )
        agree("matmul", [data.draw(arrays(a, dtype)), data.draw(arrays(b, dtype))], scale=1 + k**0.5)
    else:
        x, w, b = (*data.draw(st.lists(st.integers(0, 5), max_size=2)), k), (n, k), (n,)
        args = [data.draw(arrays(s, dtype)) for s in (x, w, b)]
        agree("linear", [*args[:2], args[2] if data.draw(st.booleans()) else None], scale=1 + k**0.5)


@given(st.data())
@fuzzed(1200)
def test_softmax_and_cross_entropy(data):
    dtype = data.draw(st.sampled_from([*FLOATS, "float16", "bfloat16"]))
    shape = data.draw(shapes(least=1))
    name = data.draw(st.sampled_from(["softmax", "log_softmax", "cross_entropy"]))
    x = data.draw(arrays(shape, dtype, span=(-30.0, 30.0)))
    if name != "cross_entropy":
        agree(name, [x], {"axis": data.draw(st.integers(-len(shape), len(shape) - 1))}, scale=8)
        return
    rows, classes = data.draw(SIZES), data.draw(st.sampled_from([1, 2, 3, 10, 16, 17, 33, 100]))
    x = data.draw(arrays((rows, classes), dtype, span=(-30.0, 30.0)))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    target = random.integers(-1 if data.draw(st.booleans()) else 0, classes, rows)
    target = target.astype(data.draw(st.sampled_from(["int64", "int32"])))
    params = {
        "reduction": data.draw(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": data.draw(st.sampled_from([0.0, 0.0, 0.1])),
        "ignore_index": data.draw(st.sampled_from([-100, -1, 0])),
    }
    agree("cross_entropy", [x, laid_out(target, data.draw(st.sampled_from(LAYOUTS[:-1])), random)], params, scale=20)


@given(st.data())
@fuzzed(900)
def test_batch_normalization(data):
    dtype = data.draw(st.sampled_from(FLOATS))
    n, c = data.draw(st.sampled_from([1, 2, 3, 8])), data.draw(SIZES)
    shape = (n, c, *data.draw(st.lists(st.sampled_from([1, 2, 5, 7, 16]), max_size=2)))
    eps = data.draw(st.sampled_from([1e-5, 0.1]))
    x = data.draw(arrays(shape, dtype))
    affine = [data.draw(arrays((c,), dtype)) if data.draw(st.booleans()) else None for _ in range(2)]
    mean, var = data.draw(arrays((c,), dtype)), data.draw(arrays((c,), dtype, span=(0.5, 2.0)))
    agree("batch_norm_eval", [x, *affine, mean, var], {"eps": eps}, scale=30)
    if x.size > 3 * c and x.std() > 0.3:  # the variance of two almost equal numbers is all rounding
        momentum = data.draw(st.sampled_from([0.1, 0.5]))
        agree("batch_norm_train", [x, *affine, mean, var], {"momentum": momentum, "eps": eps}, scale=100, writes=(3, 4))


@given(st.data())
@fuzzed(600)
def test_optimizers(data):
    dtype, count = data.draw(st.sampled_from(FLOATS)), data.draw(st.integers(1, 3))
    each = [data.draw(shapes()) for _ in range(count)]
    adam = data.draw(st.booleans())
    tensors = [
        data.draw(arrays(shape, dtype, span=(0.0, 1.0))) for _ in range(4 if adam else 3) for shape in each
    ]  # parameters, gradients, and one or two states
    lr, decay = np.array(0.1, dtype), data.draw(st.sampled_from([0.0, 0.01]))
    if adam:
        params = {"count": count, "weight_decay": decay, "decoupled": data.draw(st.booleans())}
        step = np.array(float(data.draw(st.integers(0, 5))), dtype)
        written = [0, *range(2, 2 + count), *range(2 + 2 * count, 2 + 4 * count)]
        agree("adam_", [step, lr, *tensors], params, gradients=False, writes=written, scale=4)
        return
    momentum = data.draw(st.sampled_from([0.0, 0.9]))
    params = {"count": count, "momentum": momentum, "weight_decay": decay}
    params["nesterov"] = momentum > 0 and data.draw(st.booleans())
    params["dampening"] = 0.0 if params["nesterov"] else data.draw(st.sampled_from([0.0, 0.5]))
    given_ = tensors if momentum else tensors[: 2 * count]
    written = [*range(1, 1 + count), *range(1 + 2 * count, 1 + len(given_))]
    agree("sgd_", [lr, *given_], params, gradients=False, writes=written, scale=4)


@given(st.data())
@fuzzed(900)
def test_random_numbers(data):
    state = np.array([data.draw(st.integers(-(2**63), 2**63 - 1)), data.draw(st.integers(0, 2**62))])
    name = data.draw(st.sampled_from(["uniform", "normal", "integers", "bernoulli", "permutation", "dropout"]))
    shape, p = data.draw(shapes()), data.draw(st.sampled_from([0.0, 0.25, 0.3, 0.999, 1.0]))
    low = data.draw(st.integers(-(2**40), 2**40))
    params = {
        "uniform": {"shape": shape, "dtype": data.draw(st.sampled_from(FLOATS))},
        "normal": {"shape": shape, "dtype": data.draw(st.sampled_from(FLOATS))},
        "integers": {"shape": shape, "low": low, "high": low + data.draw(st.integers(1, 2**31))},
        "bernoulli": {"shape": shape, "p": p},
        "permutation": {"n": data.draw(st.integers(0, 300))},
        "dropout": {"p": min(p, 0.999)},
    }[name]
    x = [data.draw(arrays(shape, data.draw(st.sampled_from(FLOATS))))] if name == "dropout" else []
    threads = _native.get_num_threads()
    try:
        _native.set_num_threads(data.draw(st.integers(1, 4)))
        agree(name, [*x, state], params, gradients=name == "dropout", exact=True, writes=(len(x),))
    finally:
        _native.set_num_threads(threads)
