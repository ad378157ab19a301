"""Files that Keras writes are read to the same predictions: ``.keras``, ``.h5`` and weights alone. Runs where Keras is.

Models have weights drawn at random, running statistics too, so that nothing is left at its first value.
"""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import chainrule as cr
from chainrule import interop, nn
from chainrule.domain.errors import NotSupportedError

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
L = keras.layers
R = np.random.default_rng(0)


def drawn(model):
    """The model with other weights: positive ones where they are variances."""
    for weight in model.weights:
        values = R.normal(0, 0.5, weight.shape)
        positive = any(part in weight.path for part in ("variance", "gamma"))
        weight.assign(abs(values) + 0.5 if positive else values)
    return model


def compared(model, folder, inputs, formats=("keras", "h5"), tolerance=2e-5):
    wanted = model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
    wanted = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    for kind in formats:
        path = folder / f"model.{kind}"
        model.save(path)
        ours = interop.from_keras(path)
        with cr.no_grad():
            got = ours(*[cr.tensor(x) for x in inputs])
        got = got if isinstance(got, tuple) else (got,)
        assert len(got) == len(wanted)
        for a, b in zip(got, wanted, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a.numpy(), b, rtol=tolerance, atol=tolerance)
        again = nn.create(json.loads(json.dumps(nn.describe(ours)))).eval()
        again.to(dtype=inputs[0].dtype.name if inputs[0].dtype.kind == "f" else "float32")
        again.load_state_dict(ours.state_dict())
        with cr.no_grad():
            kept = again(*[cr.tensor(x) for x in inputs])
        kept = kept if isinstance(kept, tuple) else (kept,)
        for a, b in zip(got, kept, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    return ours


IMAGE, STEPS, FLAT, WORDS = (9, 8, 4), (7, 6), (6,), "words"
LAYERS = [
    (FLAT, lambda: L.Dense(5)), (FLAT, lambda: L.Dense(5, use_bias=False, activation="softmax")),
    (STEPS, lambda: L.Dense(5, activation="relu")),
    *[(FLAT, lambda a=a: L.Activation(a)) for a in (
        "linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "log_softmax", "log_sigmoid", "elu", "celu", "selu", "gelu",
        "silu", "mish", "softplus", "softsign", "leaky_relu", "hard_sigmoid", "hard_silu", "hard_tanh", "hard_shrink",
        "soft_shrink")],
    (FLAT, lambda: L.ReLU()), (FLAT, lambda: L.ReLU(6.0)), (FLAT, lambda: L.ReLU(2.5)), (FLAT, lambda: L.ReLU(threshold=0.5)),
    (FLAT, lambda: L.ReLU(negative_slope=0.2)), (FLAT, lambda: L.LeakyReLU(0.1)), (FLAT, lambda: L.ELU(0.5)),
    (IMAGE, lambda: L.Softmax(axis=-1)), (IMAGE, lambda: L.Softmax(axis=1)), (FLAT, lambda: L.PReLU()),
    (IMAGE, lambda: L.PReLU(shared_axes=[1, 2])), (STEPS, lambda: L.PReLU(shared_axes=[1])),
    (IMAGE, lambda: L.Conv2D(3, 3)), (IMAGE, lambda: L.Conv2D(3, (3, 2), padding="same", activation="relu")),
    (IMAGE, lambda: L.Conv2D(3, 3, strides=2, padding="same")), (IMAGE, lambda: L.Conv2D(3, 2, strides=(3, 2), padding="same")),
    (IMAGE, lambda: L.Conv2D(4, 3, groups=2, use_bias=False)), (IMAGE, lambda: L.Conv2D(3, 3, dilation_rate=2)),
    (IMAGE, lambda: L.Conv2D(3, 4, padding="same", dilation_rate=2)),
    (IMAGE, lambda: L.Conv2D(3, 1, strides=3, padding="same")),
    (STEPS, lambda: L.Conv1D(3, 3)), (STEPS, lambda: L.Conv1D(3, 3, padding="causal", dilation_rate=2)),
    (STEPS, lambda: L.Conv1D(3, 2, padding="same", strides=2)), (STEPS, lambda: L.Conv1D(3, 2, padding="causal", strides=2)),
    ((5, 6, 7, 2), lambda: L.Conv3D(3, 2)), ((5, 6, 7, 2), lambda: L.Conv3D(3, 3, strides=2, padding="same")),
    (IMAGE, lambda: L.DepthwiseConv2D(3)), (IMAGE, lambda: L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)),
    (STEPS, lambda: L.DepthwiseConv1D(3, depth_multiplier=2)), (IMAGE, lambda: L.SeparableConv2D(5, 3, activation="relu")),
    (IMAGE, lambda: L.SeparableConv2D(5, 3, strides=2, padding="same", depth_multiplier=2)),
    (STEPS, lambda: L.SeparableConv1D(5, 3, use_bias=False)),
    (IMAGE, lambda: L.Conv2DTranspose(3, 3)), (IMAGE, lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same")),
    (IMAGE, lambda: L.Conv2DTranspose(3, 4, strides=2, padding="same")), (IMAGE, lambda: L.Conv2DTranspose(3, 2, strides=3)),
    (IMAGE, lambda: L.Conv2DTranspose(3, 3, strides=2, output_padding=1)),
    (IMAGE, lambda: L.Conv2DTranspose(3, 2, strides=3, padding="same")),
    (STEPS, lambda: L.Conv1DTranspose(3, 3, strides=2, padding="same")),
    (IMAGE, lambda: L.MaxPooling2D()), (IMAGE, lambda: L.MaxPooling2D(3, 2, padding="same")),
    (IMAGE, lambda: L.MaxPooling2D((2, 3), (1, 2))), (IMAGE, lambda: L.MaxPooling2D(2, 1, padding="same")),
    (IMAGE, lambda: L.AveragePooling2D(2)), (IMAGE, lambda: L.AveragePooling2D(3, 2, padding="same")),
    (IMAGE, lambda: L.AveragePooling2D(2, 1, padding="same")), (STEPS, lambda: L.MaxPooling1D(2)),
    (STEPS, lambda: L.MaxPooling1D(3, 2, padding="same")), (STEPS, lambda: L.AveragePooling1D(3, 2, padding="same")),
    (IMAGE, lambda: L.GlobalAveragePooling2D()), (IMAGE, lambda: L.GlobalMaxPooling2D(keepdims=True)),
    (STEPS, lambda: L.GlobalAveragePooling1D(keepdims=True)), (STEPS, lambda: L.GlobalMaxPooling1D()),
    (FLAT, lambda: L.BatchNormalization()), (STEPS, lambda: L.BatchNormalization(scale=False)),
    (IMAGE, lambda: L.BatchNormalization(epsilon=0.1, center=False)), (IMAGE, lambda: L.BatchNormalization(axis=1)),
    (IMAGE, lambda: L.BatchNormalization(scale=False, center=False)), (IMAGE, lambda: L.LayerNormalization()),
    (IMAGE, lambda: L.LayerNormalization(axis=[1, 2, 3])), (STEPS, lambda: L.LayerNormalization(scale=False, epsilon=0.1)),
    (STEPS, lambda: L.LayerNormalization(center=False)), (STEPS, lambda: L.LayerNormalization(center=False, scale=False)),
    (IMAGE, lambda: L.GroupNormalization(2)), (STEPS, lambda: L.GroupNormalization(-1)),
    (IMAGE, lambda: L.GroupNormalization(2, scale=False)), (FLAT, lambda: L.GroupNormalization(3, center=False)),
    (STEPS, lambda: L.LSTM(5)), (STEPS, lambda: L.LSTM(5, return_sequences=True, use_bias=False)),
    (STEPS, lambda: L.LSTM(5, go_backwards=True, return_sequences=True)), (STEPS, lambda: L.LSTM(5, unit_forget_bias=False)),
    (STEPS, lambda: L.GRU(5)), (STEPS, lambda: L.GRU(5, reset_after=False, return_sequences=True)),
    (STEPS, lambda: L.GRU(5, go_backwards=True, use_bias=False)), (STEPS, lambda: L.SimpleRNN(5)),
    (STEPS, lambda: L.SimpleRNN(5, activation="relu", return_sequences=True)),
    (STEPS, lambda: L.LSTM(5, recurrent_activation="hard_sigmoid")), (STEPS, lambda: L.LSTM(5, activation="relu")),
    (STEPS, lambda: L.GRU(5, recurrent_activation="hard_sigmoid", reset_after=False, return_sequences=True)),
    (STEPS, lambda: L.Bidirectional(L.GRU(5, recurrent_activation="hard_sigmoid", activation="softsign"))),
    (STEPS, lambda: L.Bidirectional(L.LSTM(5))), (STEPS, lambda: L.Bidirectional(L.GRU(5, return_sequences=True), "sum")),
    (STEPS, lambda: L.Bidirectional(L.SimpleRNN(5), "mul")), (STEPS, lambda: L.Bidirectional(L.LSTM(5), "ave")),
    (STEPS, lambda: L.Bidirectional(L.GRU(5, reset_after=False))),
    (WORDS, lambda: L.Embedding(11, 4)), (STEPS, lambda: L.TimeDistributed(L.Dense(3, activation="tanh"))),
    ((3, 9, 8, 4), lambda: L.TimeDistributed(L.Conv2D(3, 3, activation="relu"))),
    ((3, 9, 8, 4), lambda: L.TimeDistributed(L.Flatten())), ((3, 9, 8, 4), lambda: L.TimeDistributed(L.BatchNormalization())),
    (IMAGE, lambda: L.Flatten()), (IMAGE, lambda: L.Reshape((-1, 4))), (IMAGE, lambda: L.Permute((3, 1, 2))),
    (FLAT, lambda: L.RepeatVector(3)), (IMAGE, lambda: L.ZeroPadding2D(((1, 2), (0, 3)))), (IMAGE, lambda: L.ZeroPadding2D(1)),
    (STEPS, lambda: L.ZeroPadding1D((1, 2))), (IMAGE, lambda: L.Cropping2D(((1, 2), (0, 3)))), (STEPS, lambda: L.Cropping1D(1)),
    (IMAGE, lambda: L.UpSampling2D((2, 3))), (IMAGE, lambda: L.UpSampling2D(2, interpolation="bilinear")),
    (STEPS, lambda: L.UpSampling1D(3)), (FLAT, lambda: L.Dropout(0.5)), (IMAGE, lambda: L.SpatialDropout2D(0.5)),
    (FLAT, lambda: L.AlphaDropout(0.3)), (FLAT, lambda: L.GaussianNoise(0.3)), (IMAGE, lambda: L.Rescaling(1 / 255, 0.5)),
    (FLAT, lambda: L.Normalization(mean=[1, 2, 3, 4, 5, 6.0], variance=[1, 2, 3, 1, 2, 3.0])),
    (STEPS, lambda: L.Identity()),
]  # fmt: skip


def batch(shape):
    if shape == WORDS:
        return R.integers(0, 11, (3, 7)).astype("int32")
    return R.standard_normal((3, *shape)).astype("float32")


def begun(shape):
    return keras.Input((7,), dtype="int32") if shape == WORDS else keras.Input(shape)


@pytest.mark.parametrize(("shape", "make"), LAYERS)
def test_layers(shape, make, tmp_path):
    compared(drawn(keras.Sequential([begun(shape), make()])), tmp_path, [batch(shape)])


def test_normalization_that_has_adapted(tmp_path):
    layer = L.Normalization()
    layer.adapt(batch((6,)) * 3 + 1)
    compared(keras.Sequential([keras.Input((6,)), layer]), tmp_path, [batch((6,))])


def network():
    x = keras.Input((12, 12, 3), name="image")
    h = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    h = L.BatchNormalization()(h)
    h = L.ReLU(6.0)(h)
    y = L.SeparableConv2D(8, 3, padding="same", activation="swish")(h)
    h = L.Add()([h, y])
    gate = L.Dense(8, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(h))
    h = L.Multiply()([h, gate])
    h = L.Concatenate()([L.MaxPooling2D(2)(h), L.AveragePooling2D(2)(h)])
    shared = L.Dense(6, activation="tanh", name="shared")
    a, b = shared(L.Flatten()(h)), shared(L.Flatten()(L.Conv2D(16, 1)(h)))
    both = [
        L.Subtract()([a, b]),
        L.Average()([a, b]),
        L.Maximum()([a, b]),
        L.Minimum()([a, b]),
        L.Dot(-1, normalize=True)([a, b]),
    ]
    h = L.Concatenate()([*both, a * 2.0 + b])
    inner = keras.Sequential([keras.Input((31,)), L.Dense(7, activation="relu"), L.BatchNormalization()], name="inner")
    return keras.Model(
        x, {"digit": L.Dense(10, activation="softmax", name="digit")(inner(h)), "size": L.Dense(1, name="size")(h)}
    )


def test_a_functional_network(tmp_path):
    model = drawn(network())
    x = R.standard_normal((3, 12, 12, 3)).astype("float32")
    wanted = model.predict(x, verbose=0)
    for kind in ("keras", "h5"):
        model.save(tmp_path / f"model.{kind}")
        ours = interop.from_keras(tmp_path / f"model.{kind}")
        with cr.no_grad():
            got = dict(zip(ours.output_names, ours(cr.tensor(x)), strict=True))
        for name in wanted:
            np.testing.assert_allclose(got[name].numpy(), wanted[name], rtol=2e-5, atol=2e-5)


def test_sequence_to_sequence(tmp_path):
    for cell in ("LSTM", "GRU"):
        source, target = (
            keras.Input((None,), dtype="int32", name="source"),
            keras.Input((None,), dtype="int32", name="target"),
        )
        kind = getattr(L, cell)
        _, *state = kind(6, return_state=True, name="encoder")(L.Embedding(11, 5)(source))
        y, *_ = kind(6, return_sequences=True, return_state=True, name="decoder")(
            L.Embedding(11, 4)(target), initial_state=state
        )
        model = drawn(keras.Model([source, target], L.Dense(11, activation="softmax")(y)))
        words = [R.integers(0, 11, (3, n)).astype("int32") for n in (7, 5)]
        compared(model, tmp_path, words)


def test_attention(tmp_path):
    x, memory = keras.Input((7, 8)), keras.Input((5, 3))
    h = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True))
    h = L.MultiHeadAttention(4, 2, use_bias=False)(h, memory)
    compared(drawn(keras.Model([x, memory], h)), tmp_path, [batch((7, 8)), batch((5, 3))])


@pytest.mark.parametrize("functional", [False, True])
def test_masks(functional, tmp_path):
    words = R.integers(1, 11, (4, 7)).astype("int32")
    for row, n in enumerate((7, 3, 5, 1)):
        words[row, n:] = 0
    layers = [
        L.Embedding(11, 4, mask_zero=True),
        L.Bidirectional(L.LSTM(5, return_sequences=True)),
        L.GRU(4),
        L.Dense(2),
    ]
    model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
    if functional:
        x = h = keras.Input((7,), dtype="int32")
        for layer in layers:
            h = layer(h)
        model = keras.Model(x, h)
    compared(drawn(model), tmp_path, [words])
    x = batch((7, 3))
    x[1, 4:] = 0
    masked = keras.Sequential(
        [keras.Input((7, 3)), L.Masking(), L.LSTM(4, return_sequences=True), L.GlobalAveragePooling1D()]
    )
    compared(drawn(masked), tmp_path, [x])


def test_padded_sequences_go_on_to_onnx(tmp_path):
    """Keras, a file, chainrule, ONNX, onnxruntime: words with padding at the end, before, between, and nothing else."""
    runtime = pytest.importorskip("onnxruntime")
    layers = [keras.Input((None,), dtype="int32"), L.Embedding(9, 5, mask_zero=True)]
    layers += [L.Bidirectional(L.LSTM(4, return_sequences=True)), L.GRU(6), L.Dense(3, activation="softmax")]
    model, random = keras.Sequential(layers), np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    words = np.array([[3, 4, 2, 7, 1], [5, 2, 0, 0, 0], [0, 0, 6, 7, 0], [5, 0, 6, 0, 1], [0, 0, 0, 0, 0]])
    wanted = model.predict(words, verbose=0)
    assert np.abs(wanted[:-1] - wanted[-1]).max() > 0.05
    model.save(tmp_path / "padded.keras")
    proto = interop.to_onnx(interop.from_keras(tmp_path / "padded.keras"), None, (None, None))
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": words})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        interop.from_onnx(proto)(cr.tensor(words)).detach().numpy(), wanted, rtol=1e-5, atol=1e-6
    )


def test_a_model_at_every_step(tmp_path):
    inner = keras.Sequential([keras.Input((6, 6, 2)), L.Conv2D(3, 3), L.BatchNormalization(), L.Flatten()])
    x = keras.Input((4, 6, 6, 2))
    model = keras.Model(x, L.LSTM(3)(L.TimeDistributed(inner)(x)))
    compared(drawn(model), tmp_path, [batch((4, 6, 6, 2))])


def test_weights_alone(tmp_path):
    model = drawn(network())
    for kind in ("keras", "h5"):
        model.save(tmp_path / f"model.{kind}")
    model.save_weights(tmp_path / "model.weights.h5")
    x = R.standard_normal((3, 12, 12, 3)).astype("float32")
    wanted = model.predict(x, verbose=0)["digit"]
    drawn(model).save(tmp_path / "other.keras")
    for name in ("model.weights.h5", "model.h5", "model.keras"):
        ours = interop.from_keras(tmp_path / "other.keras")
        found = interop.load_keras_weights(ours, tmp_path / name)
        assert found.missing == found.unexpected == []
        with cr.no_grad():
            got = dict(zip(ours.output_names, ours(cr.tensor(x)), strict=True))["digit"]
        np.testing.assert_allclose(got.numpy(), wanted, rtol=2e-5, atol=2e-5)


def test_all_layers_that_cannot_be_converted_are_named(tmp_path):
    x = keras.Input((6, 6, 2))
    h = L.Lambda(lambda v: v * 2, name="doubled")(x)
    model = keras.Model(x, L.Dense(2)(L.Flatten()(L.UnitNormalization(name="unit")(h))))
    model.save(tmp_path / "model.keras")
    with pytest.raises(NotSupportedError, match=r"2 layers(.|\n)*Lambda 'doubled'(.|\n)*UnitNormalization 'unit'"):
        interop.from_keras(tmp_path / "model.keras")


LAST = nn.ChannelsLast
OURS = [  # a model, the shape of a sample
    (lambda: [nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3, activation="tanh"),
              nn.Softmax()], (6,)),
    (lambda: [LAST(nn.Conv2d(3, 4, 3, padding="same")), nn.GELU(), LAST(nn.MaxPool2d(2)), LAST(nn.BatchNorm2d(4)), nn.Flatten(),
              nn.Linear(64, 2)], (9, 8, 3)),
    (lambda: [LAST(nn.Sequential(nn.SamePad(3, 2), nn.Conv2d(3, 4, 3, 2))), nn.LeakyReLU(0.1), LAST(nn.Conv2d(4, 6, 3, 2, 1)),
              LAST(nn.Sequential(nn.SamePad(2, 1, value=-3.4028234663852886e38), nn.MaxPool2d(2, 1))),
              LAST(nn.Sequential(nn.GlobalAvgPool2d(), nn.Flatten())), nn.Linear(6, 2)], (9, 8, 3)),
    (lambda: [LAST(nn.DepthwiseConv2d(3, 3, depth_multiplier=2)), nn.SiLU(), LAST(nn.SeparableConv2d(6, 4, 3)),
              LAST(nn.GroupNorm(2, 4)), LAST(nn.ConvTranspose2d(4, 3, 3, 2, "same")), LAST(nn.AvgPool2d(2)),
              LAST(nn.Upsample(scale_factor=2)), nn.LayerNorm(3)], (9, 8, 3)),
    (lambda: [nn.Pad((0, 0, 1, 2, 3, 0)), nn.Pad((0, 0, -1, -2, -1, 0)), LAST(nn.Pad((1, 0, 2, 1)))], (9, 8, 3)),
    (lambda: [LAST(nn.Conv1d(3, 4, 3, dilation=2)), nn.ELU(), nn.GRU(4, 5, batch_first=True, return_sequences=True),
              nn.Bidirectional(nn.LSTM(5, 3, batch_first=True, return_sequences=True)), nn.TimeDistributed(nn.Linear(6, 4)),
              nn.RNN(4, 3, batch_first=True, nonlinearity="relu")], (9, 3)),
    (lambda: [nn.GRU(3, 4, batch_first=True, reset_after=False), nn.RepeatVector(3), nn.Permute((0, 2, 1)), nn.Reshape((-1, 2)),
              nn.Rescaling(2.0, -1.0), nn.Sequential(nn.Linear(2, 3), nn.Mish())], (9, 3)),
]  # fmt: skip


def varied(model):
    """The model with other values everywhere: running statistics too."""
    for name, value in model.state_dict().items():
        if value.is_floating:
            values = R.normal(0, 0.5, value.shape).astype("float32")
            value.copy_(cr.tensor(abs(values) + 0.5 if "var" in name else values))
    return model.eval()


def returned(model, path, inputs, **options):
    """A file of ours predicts the same in Keras, and read again by us; so do its weights alone."""
    interop.to_keras(model, path, **options)
    peer = keras.models.load_model(path)
    interop.to_keras(model, path.with_suffix(".weights.h5"), **options)
    again = interop.from_keras(path)
    with cr.no_grad():
        wanted = model(*[cr.tensor(x) for x in inputs])

    def agree():
        got = peer.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
        with cr.no_grad():
            ours = again(*[cr.tensor(x) for x in inputs])
        for a, b, c in zip(*[v if isinstance(v, (tuple, list)) else (v,) for v in (wanted, got, ours)], strict=True):
            np.testing.assert_allclose(b, a.numpy(), rtol=2e-5, atol=2e-5)
            np.testing.assert_allclose(c.numpy(), a.numpy(), rtol=1e-6, atol=1e-6)

    agree()
    if peer.weights:
        drawn(peer).load_weights(path.with_suffix(".weights.h5"))
        for value in again.state_dict().values():
            value.copy_(cr.zeros_like(value))
        interop.load_keras_weights(again, path.with_suffix(".weights.h5"))
        agree()


@pytest.mark.parametrize(("make", "shape"), OURS)
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_models_of_ours_are_read_by_keras(make, shape, kind, tmp_path):
    returned(varied(nn.Sequential(make())), tmp_path / f"ours.{kind}", [batch(shape)], input_shape=shape)


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_channels_first_and_words(kind, tmp_path):
    layers = [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 2),
    ]
    returned(varied(nn.Sequential(layers)), tmp_path / f"a.{kind}", [batch((3, 8, 6))], input_shape=(3, 8, 6))
    layers = [nn.Embedding(11, 4, mask_zero=True), nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)]
    returned(varied(nn.Sequential(layers)), tmp_path / f"b.{kind}", [R.integers(0, 11, (3, 7))], input_shape=(7,))


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_graphs_of_ours_are_read_by_keras(kind, tmp_path):
    x, y = nn.Input((7, 8), name="x"), nn.Input((7, 4), name="y")
    shared = nn.Linear(8, 8)
    a = shared(x, name="shared")
    b = nn.Linear(4, 8)(y) - a
    h = nn.MultiHeadAttention(8, 2)(shared(a), b)
    h = nn.LayerNorm(8)(h * 0.5 + b)
    h = nn.Merge("concat", -1)(h, nn.Merge("max")(a, b), -a + 1.0)
    p, q = nn.Linear(24, 3)(h), nn.Linear(24, 8)(h) * a
    graph = varied(nn.Graph([x, y], {"p": nn.Softmax()(p), "q": nn.Linear(8, 1)(nn.Linear(8, 8)(q))}))
    returned(graph, tmp_path / f"graph.{kind}", [batch((7, 8)), batch((7, 4))])
