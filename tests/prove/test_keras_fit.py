"""``fit`` reports what Keras reports and learns what it learns. Runs where Keras and PyTorch are installed."""

import os

import numpy as np
import pytest

from chainrule import nn, optim

pytest.importorskip("torch")
os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of Keras and PyTorch

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(50, 4)).astype("f"), RNG.normal(size=(50, 3)).astype("f")
Y = {"kind": RNG.integers(0, 3, 50), "size": RNG.normal(size=(50, 1)).astype("f")}
W = RNG.uniform(size=50).astype("f")
LOSSES = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
METRICS = {"kind": ["accuracy"], "size": ["mae"]}
CLASSES = {0: 1.0, 1: 2.0, 2: 0.5}


def theirs():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    dense = keras.layers.Dense
    h = keras.layers.Activation("tanh")(keras.layers.Add()([dense(5, name="left")(a), dense(5, name="right")(b)]))
    outputs = {"kind": dense(3, activation="softmax", name="kind")(h), "size": dense(1, name="size")(h)}
    return keras.Model({"a": a, "b": b}, outputs)


def ours(peer):
    """The same model with the same weights."""
    layers = {}
    for name, sizes in (("left", (4, 5)), ("right", (3, 5)), ("kind", (5, 3)), ("size", (5, 1))):
        layers[name] = nn.Linear(*sizes)
        weight, bias = peer.get_layer(name).get_weights()
        layers[name].weight.load(weight.T)
        layers[name].bias.load(bias)
    a, b = nn.Input((4,), name="a"), nn.Input((3,), name="b")
    h = nn.Tanh()(layers["left"](a) + layers["right"](b))
    return nn.Graph([a, b], {"kind": nn.Softmax()(layers["kind"](h)), "size": layers["size"](h)})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sample_weight": {"kind": W, "size": W}},
        {"validation_split": 0.3},
        {"validation_data": ({"a": A, "b": B}, Y, {"kind": W, "size": W}), "validation_batch_size": 7},
    ],
)
def test_two_inputs_and_two_outputs(options):
    peer = theirs()
    model = ours(peer)
    peer.compile(
        keras.optimizers.SGD(0.1, momentum=0.9), LOSSES, loss_weights={"kind": 1.0, "size": 0.3}, metrics=METRICS
    )
    model.compile(LOSSES, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), METRICS, loss_weights={"size": 0.3})
    given = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": 0, **options}
    expected = peer.fit({"a": A, "b": B}, Y, **given).history
    found = model.fit({"a": A, "b": B}, Y, **given).history
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    kind, size = model.predict({"a": A, "b": B})
    wanted = peer.predict({"a": A, "b": B}, verbose=0)
    np.testing.assert_allclose(kind.numpy(), wanted["kind"], atol=1e-5)
    np.testing.assert_allclose(size.numpy(), wanted["size"], atol=1e-5)


def test_weights_of_classes_and_of_validation():
    peer = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model = nn.Sequential(nn.Linear(4, 3), nn.Softmax())
    weight, bias = peer.layers[0].get_weights()
    model[0].weight.load(weight.T)
    model[0].bias.load(bias)
    peer.compile(keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    model.compile("sparse_categorical_crossentropy", optim.SGD(model.parameters(), lr=0.1))
    given = {"class_weight": CLASSES, "validation_data": (A, Y["kind"], W)}
    given |= {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": 0}
    expected, found = (made.fit(A, Y["kind"], **given).history for made in (peer, model))
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
