"""Attention and transformers mean what PyTorch means: values and gradients. Runs where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, backends, grad, nn
from chainrule.ops import scaled_dot_product_attention

torch = pytest.importorskip("torch")

R = np.random.default_rng(0)
PLAIN = [(2, 4, 5, 6), (2, 4, 7, 6), (2, 4, 7, 3)]
GROUPED = [(2, 6, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4)]
LONG = [(1, 2, 300, 16), (1, 2, 300, 16), (1, 2, 300, 16)]
MASKS = [
    R.random((5, 7)) < 0.6, R.random((2, 1, 5, 7)) < 0.6, R.random((4, 1, 7)) < 0.6, R.random((2, 1, 1, 7)) < 0.6,
    R.standard_normal((5, 7)), R.standard_normal((2, 4, 5, 7)), R.standard_normal((4, 5, 1)),
    np.where(R.random((5, 7)) < 0.6, R.standard_normal((5, 7)), -np.inf),
    np.arange(5)[:, None] * np.ones(7) != 2,  # query 2 may look nowhere
    np.zeros((5, 7), bool),
]  # fmt: skip
CASES = [
    (PLAIN, {}), (PLAIN, {"is_causal": True}), (PLAIN, {"scale": 0.3}), (LONG, {"is_causal": True}), (LONG, {}),
    (GROUPED, {}), (GROUPED, {"is_causal": True}), ([(3, 5, 6), (3, 7, 6), (3, 7, 2)], {}),
    *[(PLAIN, {"mask": m}) for m in MASKS],
]  # fmt: skip


def theirs(arrays, dtype, params):
    leaves = [torch.tensor(a, dtype=getattr(torch, dtype), requires_grad=True) for a in arrays]
    params = dict(params)
    mask = params.pop("mask", None)
    if mask is not None:
        mask = torch.tensor(mask) if mask.dtype == bool else torch.tensor(mask, dtype=getattr(torch, dtype))
    grouped = leaves[0].shape[-3] != leaves[1].shape[-3]
    y = torch.nn.functional.scaled_dot_product_attention(*leaves, attn_mask=mask, enable_gqa=grouped, **params)
    return y, torch.autograd.grad((y * weights(y)).sum(), leaves)


def weights(y):
    return torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape).to(y.dtype)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-11), ("float32", 3e-5)])
@pytest.mark.parametrize(("shapes", "params"), CASES)
def test_scaled_dot_product_attention(shapes, params, dtype, rtol, backend):
    arrays = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate(shapes)]
    wanted, gradients = theirs(arrays, dtype, params)
    with backends.use(backend):
        leaves = [Tensor(a, dtype=dtype, requires_grad=True) for a in arrays]
        params = dict(params)
        mask = params.pop("mask", None)
        if mask is not None:
            mask = Tensor(mask) if mask.dtype == bool else Tensor(mask, dtype=dtype)
        y = scaled_dot_product_attention(*leaves, mask, **params)
        found = grad((y * Tensor(weights(wanted).numpy(), dtype=dtype)).sum(), leaves)
    for ours, reference in zip((y, *found), (wanted, *gradients), strict=True):
        np.testing.assert_allclose(ours.numpy(), reference.detach().numpy(), rtol=rtol, atol=rtol)


def loaded(theirs, ours, sizes):
    """Give our module the weights of theirs; both draw their own first."""
    state = {}
    for name, value in theirs.state_dict().items():
        values = torch.as_tensor(np.random.default_rng(len(state)).standard_normal(value.shape) * 0.3)
        value.copy_(values)
        path, _, last = name.rpartition(".")
        if last.startswith("in_proj_"):
            for part, piece in zip(("q", "k", "v"), np.split(values.numpy(), 3), strict=True):
                state[f"{path}.{part}_proj.{last[8:]}".lstrip(".")] = piece
        elif last.endswith("_proj_weight"):
            state[f"{path}.{last[0]}_proj.weight".lstrip(".")] = values.numpy()
        else:
            state[name] = values.numpy()
    ours.load_state_dict(state)
    return [R.standard_normal(s) for s in sizes]


def same(theirs, ours, inputs, their_options, our_options):
    xs = [torch.tensor(x, requires_grad=True) for x in inputs]
    wanted = theirs(*xs, **their_options)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    ys = [Tensor(x, requires_grad=True) for x in inputs]
    found = ours(*ys, **our_options)
    np.testing.assert_allclose(found.numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-11)
    gradients = grad((found * Tensor(weights(wanted).numpy())).sum(), ys)
    for g, w in zip(gradients, torch.autograd.grad((wanted * weights(wanted)).sum(), xs), strict=True):
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-8, atol=1e-10)


PADDED = np.array([[False] * 5, [False, False, False, True, True]])
FUTURE = np.triu(np.ones((5, 5), bool), 1)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 6, "vdim": 10}])
def test_multi_head_attention(options, batch_first):
    """PyTorch's layer has its bool masks the other way round."""
    peer = torch.nn.MultiheadAttention(8, 2, batch_first=batch_first, dtype=torch.float64, **options).requires_grad_(
        False
    )
    layer = nn.MultiHeadAttention(8, 2, batch_first=batch_first, dtype="float64", **options)
    inputs = loaded(peer, layer, [(2, 5, 8), (2, 5, options.get("kdim", 8)), (2, 5, options.get("vdim", 8))])
    given = {"key_padding_mask": torch.tensor(PADDED), "attn_mask": torch.tensor(FUTURE), "need_weights": False}
    if not batch_first:
        inputs = [x.swapaxes(0, 1).copy() for x in inputs]
    same(peer, layer, inputs, given, {"key_mask": Tensor(~PADDED), "mask": Tensor(~FUTURE)})
    same(peer, layer, inputs, {"need_weights": False}, {})


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder(norm_first, activation):
    options = {"dropout": 0.0, "activation": activation, "norm_first": norm_first, "batch_first": True}
    one = torch.nn.TransformerEncoderLayer(8, 2, 12, dtype=torch.float64, **options)
    peer = torch.nn.TransformerEncoder(one, 2, torch.nn.LayerNorm(8, dtype=torch.float64), enable_nested_tensor=False)
    peer.requires_grad_(False)
    layer = nn.TransformerEncoderLayer(8, 2, 12, dtype="float64", **options)
    model = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8, dtype="float64"))
    inputs = loaded(peer, model, [(2, 5, 8)])
    same(peer, model, inputs, {}, {})
    given = {"mask": torch.tensor(FUTURE), "src_key_padding_mask": torch.tensor(PADDED)}
    same(peer, model, inputs, given, {"is_causal": True, "key_mask": Tensor(~PADDED)})


@pytest.mark.parametrize("norm_first", [False, True])
def test_decoder(norm_first):
    options = {"dropout": 0.0, "norm_first": norm_first, "batch_first": True}
    peer = torch.nn.TransformerDecoder(torch.nn.TransformerDecoderLayer(8, 2, 12, dtype=torch.float64, **options), 2)
    peer.requires_grad_(False)
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12, dtype="float64", **options), 2)
    inputs = loaded(peer, model, [(2, 4, 8), (2, 5, 8)])
    given = {"tgt_mask": torch.tensor(FUTURE[:4, :4]), "memory_key_padding_mask": torch.tensor(PADDED)}
    same(peer, model, inputs, given, {"tgt_is_causal": True, "memory_key_mask": Tensor(~PADDED)})


def test_bfloat16():
    arrays = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate(PLAIN)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*(torch.tensor(a, dtype=torch.bfloat16) for a in arrays))
    found = cr.scaled_dot_product_attention(*(Tensor(a, dtype="bfloat16") for a in arrays))
    assert found.dtype == "bfloat16"
    np.testing.assert_allclose(found.numpy().astype(float), wanted.double().numpy(), atol=0.02)
