"""The catalogue means what PyTorch means: values and gradients, also at hard points. Runs where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, backends, grad

torch = pytest.importorskip("torch")
F = torch.nn.functional

R = np.random.default_rng(0)
HARD = np.array([-100.0, -6.0, -3.5, -3.0, -1.0, -0.5, 0.0, 1e-30, 0.5, 1.0, 2.5, 3.0, 6.0, 9.0, 30.0, 100.0])
X = R.standard_normal((3, 4, 6))


def case(name, ours, theirs, *args, rtol=1e-11):
    return pytest.param(ours, theirs, args, rtol, id=name)


def both(name, theirs, *args, rtol=1e-10, **params):
    """One function with the same parameters in both."""
    ours = getattr(cr, name)
    return case(f"{name} {params}", lambda *x: ours(*x, **params), lambda *x: theirs(*x, **params), *args, rtol=rtol)


ACTIVATIONS = [
    *[both(name, getattr(F, name), HARD) for name in (
        "relu6 elu selu celu mish softplus softsign softshrink hardshrink hardswish hardtanh logsigmoid".split())],
    both("elu", F.elu, HARD, alpha=0.3),
    both("hardsigmoid", F.hardsigmoid, HARD, rtol=1e-7),  # here, and for alpha of celu, PyTorch has constants of float32
    both("celu", F.celu, HARD, alpha=0.3, rtol=1e-6),
    both("softplus", F.softplus, HARD, beta=2.0, threshold=5.0),
    both("softshrink", F.softshrink, HARD, lambd=1.0),
    both("hardshrink", F.hardshrink, HARD, lambd=1.0),
    both("hardtanh", F.hardtanh, HARD, min_val=-3.0, max_val=0.5),
    both("threshold", F.threshold, HARD, threshold=0.5, value=-2.0),
    both("glu", F.glu, X),
    both("glu", F.glu, X, dim=1),
    both("prelu", F.prelu, X, R.standard_normal(4)),
    both("prelu", F.prelu, X, R.standard_normal(1)),
    both("prelu", F.prelu, HARD, R.standard_normal(1)),
]  # fmt: skip
V, W, M = R.standard_normal(6), R.standard_normal(6), R.standard_normal((4, 6))
C = R.standard_normal(4)
NORMS = [
    case("layer_norm", lambda x, w, b: cr.layer_norm(x, w, b, normalized_shape=6),
         lambda x, w, b: F.layer_norm(x, (6,), w, b), X, V, W, rtol=1e-9),
    case("layer_norm of two axes", lambda x, w: cr.layer_norm(x, w, normalized_shape=(4, 6), eps=0.1),
         lambda x, w: F.layer_norm(x, (4, 6), w, None, 0.1), X, M, rtol=1e-9),
    case("rms_norm", lambda x, w: cr.rms_norm(x, w, normalized_shape=6), lambda x, w: F.rms_norm(x, (6,), w), X, V, rtol=1e-9),
    case("group_norm", lambda x, w, b: cr.group_norm(x, w, b, num_groups=2), lambda x, w, b: F.group_norm(x, 2, w, b),
         X, C, C[::-1].copy(), rtol=1e-9),
    case("instance_norm", lambda x: cr.group_norm(x, num_groups=4), F.instance_norm, X, rtol=1e-9),
]  # fmt: skip
IMAGES, LINES = R.standard_normal((2, 3, 9, 8)), R.standard_normal((2, 3, 11))
CEIL = [
    {"kernel_size": k, "stride": s, "padding": p, "ceil_mode": True}
    for k, s, p in ((2, 2, 0), (3, 2, 1), ((3, 2), (3, 5), 0), (2, 3, 1), (3, 4, 1), ((5, 4), (4, 3), (2, 2)))
]


def indices(pool, with_indices):
    """Values, and places as more of them; only the values have a gradient."""

    def both(x, **params):
        y, places = pool(x, **params) if with_indices else pool(x, return_indices=True, **params)
        concat = cr.concat if isinstance(y, Tensor) else torch.cat
        return concat([y, places.to(y.dtype)], 1)

    return both


POOLS = [
    *[both("max_pool2d", F.max_pool2d, IMAGES, **p) for p in CEIL],
    both("max_pool2d", F.max_pool2d, IMAGES, kernel_size=2, stride=2, dilation=3, ceil_mode=True),
    *[both("avg_pool2d", F.avg_pool2d, IMAGES, **p, count_include_pad=c) for p in CEIL for c in (True, False)],
    *[case(f"indices {p}", lambda x, p=p: indices(cr.max_pool2d_with_indices, True)(x, **p),
           lambda x, p=p: indices(F.max_pool2d, False)(x, **p), IMAGES) for p in (*CEIL, {"kernel_size": 2, "dilation": 2})],
    *[both(f"{name}_pool1d", getattr(F, f"{name}_pool1d"), LINES, kernel_size=3, stride=2, padding=1, ceil_mode=c)
      for name in ("max", "avg") for c in (True, False)],
    *[both("lp_pool2d", F.lp_pool2d, np.abs(IMAGES), norm_type=n, kernel_size=3, stride=2, ceil_mode=c)
      for n in (1, 2, 3.0) for c in (True, False)],
    both("lp_pool2d", F.lp_pool2d, np.zeros((1, 1, 4, 4)), norm_type=2, kernel_size=2),
    both("lp_pool1d", F.lp_pool1d, LINES, norm_type=2, kernel_size=3),
    *[both(f"adaptive_{name}_pool{d}d", getattr(F, f"adaptive_{name}_pool{d}d"), x, output_size=size)
      for name in ("avg", "max") for d, x, size in ((1, LINES, 4), (1, LINES, 1), (2, IMAGES, 4), (2, IMAGES, (3, 4)),
                                                    (2, IMAGES, (None, 5)), (2, IMAGES, (11, 8)))],
]  # fmt: skip
SHAPES = [
    *[both("interpolate", F.interpolate, IMAGES, **p) for p in (
        {"size": (13, 5)}, {"scale_factor": 2}, {"scale_factor": (1.5, 0.6)}, {"size": 12, "mode": "bilinear"},
        {"scale_factor": 2.5, "mode": "bilinear"}, {"size": (4, 17), "mode": "bilinear", "align_corners": True})],
    *[both("interpolate", F.interpolate, LINES, **p) for p in (
        {"size": 5}, {"scale_factor": 1.7, "mode": "linear"}, {"size": 1, "mode": "linear", "align_corners": True})],
    both("pixel_shuffle", F.pixel_shuffle, R.standard_normal((2, 18, 3, 4)), upscale_factor=3),
    both("pixel_unshuffle", F.pixel_unshuffle, R.standard_normal((2, 2, 6, 9)), downscale_factor=3),
    *[case(f"embedding {i}", lambda w, i=i: cr.embedding(Tensor([[0, 2], [2, 3]]), w, padding_idx=i),
           lambda w, i=i: F.embedding(torch.tensor([[0, 2], [2, 3]]), w, padding_idx=i), X[0]) for i in (None, 2, -1)],
]  # fmt: skip
K2, K1, B = R.standard_normal((3, 2, 3, 2)), R.standard_normal((3, 2, 4)), R.standard_normal(2)
CONVS = [
    *[both("conv_transpose2d", F.conv_transpose2d, IMAGES, K2, B, **p) for p in (
        {}, {"stride": 2, "padding": 1, "output_padding": 1}, {"stride": (3, 1), "dilation": (1, 2), "padding": (2, 0)},
        {"dilation": 3, "output_padding": (2, 1)})],
    both("conv_transpose2d", F.conv_transpose2d, IMAGES, K2, R.standard_normal(6), groups=3, stride=2),
    both("conv_transpose1d", F.conv_transpose1d, LINES, K1, B, stride=3, padding=1, output_padding=2),
    both("conv3d", F.conv3d, R.standard_normal((2, 3, 5, 6, 4)), R.standard_normal((4, 3, 2, 3, 2)), C, stride=2, padding=1),
    both("conv3d", F.conv3d, R.standard_normal((1, 4, 5, 6, 4)), R.standard_normal((4, 2, 2, 3, 2)), groups=2, dilation=2,
         padding=(0, 1, 0)),
    *[both("conv1d", F.conv1d, LINES, R.standard_normal((4, 3, 3)), C, **p) for p in (
        {}, {"stride": 2, "padding": 2, "dilation": 2})],
]  # fmt: skip


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize(("ours", "theirs", "args", "rtol"), [*ACTIVATIONS, *NORMS, *POOLS, *SHAPES, *CONVS])
def test_values_and_gradients(ours, theirs, args, rtol, backend):
    with backends.use(backend):
        mine = [Tensor(a, requires_grad=True) for a in args]
        peers = [torch.tensor(a, requires_grad=True) for a in args]
        y, e = ours(*mine), theirs(*peers)
        assert y.shape == tuple(e.shape) and str(y.dtype) == str(e.dtype).removeprefix("torch.")
        np.testing.assert_allclose(y.numpy(), e.detach().numpy(), rtol=rtol, atol=1e-12)
        weights = np.cos(np.arange(y.size)).reshape(y.shape)
        wanted = torch.autograd.grad((e * torch.tensor(weights)).sum(), peers)
        for g, w in zip(grad((y * Tensor(weights)).sum(), mine), wanted, strict=True):
            np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=rtol, atol=1e-10)
