"""Attention layers, positions and transformer stacks: values, gradients, masks, caches, files, learning, errors."""

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, grad, losses, nn, optim


def normal(*shape, seed=0, dtype="float64"):
    return Tensor(np.random.default_rng((seed, *shape)).standard_normal(shape), dtype=dtype)


def attention(size=12, **options):
    return nn.MultiHeadAttention(size, 4, dtype="float64", **options)


def by_hand(layer, query, key, value, allowed):
    """Head after head, in NumPy. ``allowed`` is (n, t, s)."""
    weights = {name: p.numpy() for name, p in layer.state_dict().items()}

    def project(x, name):
        return x.numpy() @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)

    q, k, v = project(query, "q_proj"), project(key, "k_proj"), project(value, "v_proj")
    size, group = layer.head_dim, layer.num_heads // layer.num_kv_heads
    found = []
    for h in range(layer.num_heads):
        own, shared = slice(h * size, (h + 1) * size), slice(h // group * size, (h // group + 1) * size)
        scores = np.where(allowed, q[..., own] @ k[..., shared].swapaxes(1, 2) / size**0.5, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        found.append(e / e.sum(-1, keepdims=True) @ v[..., shared])
    return np.concatenate(found, -1) @ weights["out_proj.weight"].T + weights.get("out_proj.bias", 0)


@pytest.mark.parametrize("options", [{}, {"num_kv_heads": 2}, {"num_kv_heads": 1, "bias": False}])
@pytest.mark.parametrize("is_causal", [False, True])
def test_self_attention(options, is_causal):
    layer, x = attention(**options), normal(3, 5, 12)
    for p in layer.parameters():
        p.load(normal(*p.shape, seed=1))
    allowed = np.broadcast_to(np.tri(5, dtype=bool) if is_causal else np.ones((5, 5), bool), (3, 5, 5))
    np.testing.assert_allclose(
        layer(x, is_causal=is_causal).numpy(), by_hand(layer, x, x, x, allowed), rtol=1e-12, atol=1e-12
    )


def test_cross_attention_with_sizes_of_its_own():
    layer = attention(kdim=7, vdim=3)
    x, k, v = normal(2, 5, 12), normal(2, 6, 7), normal(2, 6, 3)
    np.testing.assert_allclose(
        layer(x, k, v).numpy(), by_hand(layer, x, k, v, np.ones((2, 5, 6), bool)), rtol=1e-12, atol=1e-12
    )


def test_masks():
    layer, x = attention(), normal(2, 5, 12)
    rng = np.random.default_rng(0)
    mask, each = rng.random((5, 5)) < 0.7, rng.random((2, 5, 5)) < 0.7
    keys = np.array([[True] * 5, [True, True, True, False, False]])
    mask[:, 0] = each[:, :, 0] = True
    for given, allowed in (
        ({"mask": Tensor(mask)}, np.broadcast_to(mask, (2, 5, 5))),
        ({"mask": Tensor(each)}, each),
        ({"mask": Tensor(each).unsqueeze(1)}, each),
        ({"mask": Tensor(np.where(mask, 0.0, -np.inf))}, np.broadcast_to(mask, (2, 5, 5))),
        ({"key_mask": Tensor(keys)}, np.broadcast_to(keys[:, None], (2, 5, 5))),
        ({"key_mask": Tensor(keys), "mask": Tensor(mask)}, mask & keys[:, None]),
        ({"key_mask": Tensor(keys), "mask": Tensor(np.where(mask, 0.0, -np.inf))}, mask & keys[:, None]),
        ({"key_mask": Tensor(keys), "is_causal": True}, np.tri(5, dtype=bool) & keys[:, None]),
    ):
        np.testing.assert_allclose(layer(x, **given).numpy(), by_hand(layer, x, x, x, allowed), rtol=1e-12, atol=1e-12)


def test_padding_is_not_seen():
    """What stands where the key mask says padding changes nothing elsewhere."""
    layer, x = attention(), normal(2, 5, 12)
    keys = Tensor([[True] * 5, [True, True, True, False, False]])
    other = x.clone()
    other[1, 3:] = 1e3
    assert (layer(x, key_mask=keys) == layer(other, key_mask=keys))[:, :3].all()


def test_one_sequence_and_time_first():
    layer, x = attention(), normal(2, 5, 12)
    y = layer(x)
    np.testing.assert_allclose(layer(x[0]).numpy(), y[0].numpy(), rtol=1e-12, atol=1e-12)
    turned = nn.MultiHeadAttention(12, 4, batch_first=False, dtype="float64")
    turned.load_state_dict(layer.state_dict())
    np.testing.assert_allclose(turned(x.permute((1, 0, 2))).numpy(), y.numpy().swapaxes(0, 1), rtol=1e-12, atol=1e-12)
    memory = normal(2, 7, 12)
    found = turned(x.permute((1, 0, 2)), memory.permute((1, 0, 2))).numpy()
    np.testing.assert_allclose(found, layer(x, memory).numpy().swapaxes(0, 1), rtol=1e-12, atol=1e-12)


def test_gradients():
    layer, x, memory = attention(num_kv_heads=2), normal(2, 4, 12), normal(2, 3, 12)
    x.requires_grad = memory.requires_grad = True
    assert cr.gradcheck(layer, [x, memory])
    weights = normal(2, 4, 12, seed=5)
    parameters = [*layer.parameters()]
    gradients = grad((layer(x, memory) * weights).sum(), parameters)
    for p, g in zip(parameters, gradients, strict=True):
        values, direction = p.numpy().copy(), np.random.default_rng(3).standard_normal(p.shape)
        sides = []
        for step in (1e-6, -1e-6):
            p.load(values + step * direction)
            sides.append((layer(x, memory) * weights).sum().item())
        p.load(values)
        assert (g.numpy() * direction).sum() == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6, abs=1e-7)


def test_dropout_of_weights():
    layer, x = attention(dropout=0.5), normal(2, 6, 12)
    cr.manual_seed(1)
    a = layer(x)
    b = layer(x)
    cr.manual_seed(1)
    assert (layer(x) == a).all() and not (a == b).any()
    assert (layer.eval()(x) == layer(x)).all()
    kept = np.mean([layer.train()(x).numpy() for _ in range(400)], 0)
    assert np.abs(kept - layer.eval()(x).numpy()).max() < 0.3


@pytest.mark.parametrize("options", [{}, {"num_kv_heads": 2}, {"size": 16, "rotary": True}])
@pytest.mark.parametrize("pieces", [[1] * 9, [4, 1, 1, 3], [9], [1, 8]])
def test_a_cache_gives_what_the_whole_gives(options, pieces):
    layer, cache = attention(**options), nn.KVCache()
    x = normal(2, 9, layer.embed_dim)
    whole, found, at = layer(x, is_causal=True), [], 0
    for n in pieces:
        found.append(layer(x[:, at : at + n], is_causal=True, cache=cache))
        at += n
        assert len(cache) == cache.length(layer) == at
    np.testing.assert_allclose(cr.concat(found, 1).numpy(), whole.numpy(), rtol=1e-12, atol=1e-14)


def test_a_cache_with_padding():
    layer, x, cache = attention(), normal(2, 6, 12), nn.KVCache()
    keys = Tensor([[True] * 6, [False, False, True, True, True, True]])
    whole = layer(x, is_causal=True, key_mask=keys)
    first = layer(x[:, :3], is_causal=True, key_mask=keys[:, :3], cache=cache)
    rest = layer(x[:, 3:], is_causal=True, key_mask=keys, cache=cache)
    np.testing.assert_allclose(cr.concat([first, rest], 1).numpy(), whole.numpy(), rtol=1e-12, atol=1e-14)


def test_a_cache_of_a_stack_and_of_a_decoder():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 2, 24, rotary=True, dtype="float64"), 3).eval()
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(12, 4, 24, dtype="float64"), 2).eval()
    x, memory = normal(2, 6, 12), normal(2, 5, 12)
    cache, other = nn.KVCache(), nn.KVCache()
    steps = [encoder(x[:, i : i + 1], is_causal=True, cache=cache) for i in range(6)]
    np.testing.assert_allclose(cr.concat(steps, 1).numpy(), encoder(x, is_causal=True).numpy(), rtol=1e-11, atol=1e-13)
    steps = [decoder(x[:, i : i + 1], memory, tgt_is_causal=True, cache=other) for i in range(6)]
    whole = decoder(x, memory, tgt_is_causal=True)
    np.testing.assert_allclose(cr.concat(steps, 1).numpy(), whole.numpy(), rtol=1e-11, atol=1e-13)


def test_a_cache_is_for_one_batch():
    layer, cache = attention(), nn.KVCache()
    layer(normal(2, 1, 12), is_causal=True, cache=cache)
    with pytest.raises(ValueError, match=r"holds 2 sequences, but 3 came: make a KVCache\(\) for each batch"):
        layer(normal(3, 1, 12), is_causal=True, cache=cache)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.MultiHeadAttention(10, 4), "embed_dim 10 is not a multiple of num_heads 4"),
        (lambda: nn.MultiHeadAttention(12, 4, num_kv_heads=3), "num_heads 4 is not a multiple of num_kv_heads 3"),
        (lambda: nn.MultiHeadAttention(12, 4, dropout=2.0), "dropout is 2.0, expected a probability"),
        (lambda: nn.MultiHeadAttention(12, 4, rotary=True), "a head has 3: an odd number"),
        (lambda: nn.MultiHeadAttention(12, 0), "num_heads is 0"),
        (lambda: attention()(normal(12)), r"the query has shape \(12,\), expected \(n, t, 12\)"),
        (lambda: attention()(normal(2, 3, 12), key_mask=Tensor([True])), r"key_mask has shape \(1,\), expected \(2, 3\)"),
        (lambda: attention()(normal(2, 3, 12), key_mask=Tensor([1.0] * 3)), "key_mask is float32, expected bool"),
        (lambda: attention()(normal(2, 3, 12), normal(2, 3, 12), is_causal=True, cache=nn.KVCache()), "for self-attention"),
        (lambda: nn.TransformerEncoderLayer(12, 4, activation="rleu"), "did you mean 'relu'"),
        (lambda: nn.TransformerEncoder(nn.Linear(3), 2), "repeats a TransformerEncoderLayer, not Linear"),
        (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 4), 0), "num_layers is 0"),
        (lambda: nn.SinusoidalPositions()(normal(2, 3)), "go in pairs: an even number"),
        (lambda: nn.SinusoidalPositions(0.5), "base is 0.5"),
        (lambda: nn.RotaryEmbedding()(normal(3)), "expected"),
        (lambda: nn.LearnedPositions(4)(normal(5, 3)), r"positions 0 to 4 \(axis -2 of \(5, 3\)\), and the layer knows 0 to 3"),
        (lambda: nn.LearnedPositions(4, 2)(normal(3, 3)), r"expected \(..., t, 2\)"),
    ],
)  # fmt: skip
def test_errors(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_sinusoidal_positions():
    x = nn.SinusoidalPositions(100.0)(cr.zeros(5, 6, dtype="float64"), offset=2).numpy()
    for position in range(5):
        for i in range(3):
            angle = (position + 2) * 100 ** (-2 * i / 6)
            assert x[position, 2 * i : 2 * i + 2] == pytest.approx([np.sin(angle), np.cos(angle)], rel=1e-12)


def test_rotary_embedding_of_parts_is_that_of_the_whole():
    layer, x = nn.RotaryEmbedding(), normal(2, 7, 8)
    parts = cr.concat([layer(x[:, :3]), layer(x[:, 3:], offset=3)], 1)
    np.testing.assert_array_equal(parts.numpy(), layer(x).numpy())
    turned = nn.MultiHeadAttention(8, 2, rotary=True, dtype="float64")
    assert not np.allclose(turned(x).numpy(), turned(x.flip(axis=1)).flip(axis=1).numpy())  # order counts


def test_learned_positions():
    layer = nn.LearnedPositions(10)
    y = layer(cr.zeros(2, 4, 3), offset=5)
    assert layer.features == 3 and (y[1] == layer.weight[5:9]).all()
    (g,) = grad(y.sum(), layer.weight)
    assert g[:, 0].tolist() == [0, 0, 0, 0, 0, 2, 2, 2, 2, 0]


MODELS = {
    "attention": lambda: nn.MultiHeadAttention(12, 4, 0.1, False, 7, 3, num_kv_heads=2),
    "rotary": lambda: nn.MultiHeadAttention(16, 4, rotary=True),
    "learned": lambda: nn.LearnedPositions(9, 12),
    "sinusoidal": lambda: nn.SinusoidalPositions(500.0),
    "encoder layer": lambda: nn.TransformerEncoderLayer(12, 4, 24, 0.0, "gelu", norm_first=True),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 4, 24), 2, nn.LayerNorm(12)),
    "decoder": lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(12, 4, 24, bias=False), 2),
    "sequential": lambda: nn.Sequential(nn.LearnedPositions(9), nn.TransformerEncoderLayer(12, 4, 24), nn.Linear(5)),
}
INPUTS = {"attention": [(2, 5, 12), (2, 6, 7), (2, 6, 3)], "rotary": [(2, 5, 16)], "decoder": [(2, 5, 12), (2, 6, 12)]}
EXAMPLES = [(part, None) for make in MODELS.values() for part in make().modules()]  # of each layer
EXAMPLES.append((nn.RotaryEmbedding(), None))


@pytest.mark.parametrize("name", MODELS)
def test_files(name, tmp_path):
    model = MODELS[name]().eval()
    inputs = [normal(*s, dtype="float32") for s in INPUTS.get(name, [(2, 5, 12)])]
    y = model(*inputs)
    model.save(tmp_path / "model.safetensors")
    loaded = cr.load(tmp_path / "model.safetensors").eval()
    assert (loaded(*inputs) == y).all() and repr(loaded) == repr(model)
    assert nn.describe(nn.create(nn.describe(model))) == nn.describe(model)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (copied(*inputs) == y).all()


def test_every_layer_of_a_stack_has_weights_of_its_own():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 4, 24), 2)
    a, b = (layer.linear1.weight for layer in model.layers)
    assert a is not b and not (a == b).any()
    assert "layers.1.self_attn.q_proj.weight" in model.state_dict()


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_learns_to_reverse(norm_first):
    """Eight tokens in the opposite order, which needs every position to look at another one."""
    rng, tokens, t = np.random.default_rng(0), 6, 8
    model = nn.Sequential(
        nn.Linear(tokens, 32), nn.LearnedPositions(t, std=0.5),
        nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", norm_first=norm_first), nn.LayerNorm(32), nn.Linear(32, tokens),
    )  # fmt: skip
    optimizer, loss = optim.Adam(model.parameters(), lr=5e-3), losses.CrossEntropy()
    for _ in range(150):
        data = rng.integers(0, tokens, (32, t))
        x = Tensor(np.eye(tokens, dtype=np.float32)[data])
        value = loss(model(x).reshape((-1, tokens)), Tensor(data[:, ::-1].reshape(-1).copy()))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value.item() < 0.05


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"key_mask": True}, {"dropout": True}])
def test_weights_are_what_the_values_are_gathered_by(options):
    options = dict(options)
    layer = nn.MultiHeadAttention(8, 4, 0.5 if options.pop("dropout", False) else 0.0, num_kv_heads=2, dtype="float64")
    x = Tensor(np.random.default_rng(0).standard_normal((2, 5, 8)))
    if options.pop("key_mask", False):
        options["key_mask"] = Tensor(np.arange(5) < np.array([[5], [3]]))
    y, weights = layer(x, need_weights=True, average_attn_weights=False, **options)
    assert weights.shape == (2, 4, 5, 5)
    values = layer.v_proj(x).detach().numpy().reshape(2, 5, 2, 2).transpose(0, 2, 1, 3).repeat(2, axis=1)
    gathered = (weights.detach().numpy() @ values).transpose(0, 2, 1, 3).reshape(2, 5, 8)
    np.testing.assert_allclose(layer.out_proj(Tensor(gathered)).detach().numpy(), y.detach().numpy(), rtol=1e-10)
    if not layer.dropout:
        np.testing.assert_allclose(weights.detach().numpy().sum(-1), 1.0)
        mean = layer(x, need_weights=True, **options)[1]
        np.testing.assert_allclose(mean.detach().numpy(), weights.detach().numpy().mean(1))
    assert layer(x[0], need_weights=True)[1].shape == (5, 5)
