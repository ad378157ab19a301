"""The product in a few seconds: a tensor, a gradient, a training, a file, a prediction. Run first."""

import numpy as np

import chainrule as cr
from chainrule import nn


def test_a_tensor():
    x = cr.tensor([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal((x @ x + 1).numpy(), [[8, 11], [16, 23]])
    assert (x.shape, x.dtype, str(x.device)) == ((2, 2), "float32", "cpu")


def test_a_gradient():
    x = cr.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x**3).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [3, 12, 27], rtol=1e-6)


def test_a_model_is_trained_saved_loaded_and_used(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)  # two opposite quadrants
    model = nn.Sequential(nn.Linear(32), nn.ReLU(), nn.Linear(2), nn.Softmax())
    model.compile(loss="cross_entropy", optimizer=cr.optim.Adam(model.parameters(), lr=0.02), metrics=["accuracy"])
    history = model.fit(x, y, epochs=30, batch_size=20, verbose=0)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert model.evaluate(x, y)["accuracy"] > 0.95

    model.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    before, after = model.predict(x).numpy(), again.predict(x).numpy()
    np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=1e-5)
    assert ((after.argmax(axis=1) == y).mean()) > 0.95


def test_a_convolution_learns():
    x = np.zeros((60, 1, 8, 8), np.float32)
    y = np.arange(60) % 2
    for i in range(60):  # horizontal or vertical strokes, anywhere
        place = i // 2 % 8
        x[(i, 0, place) if y[i] else (i, 0, slice(None), place)] = 1.0
    model = nn.Sequential(nn.Conv2d(8, kernel_size=3), nn.ReLU(), nn.MaxPool2d(6), nn.Flatten(), nn.Linear(2))
    model.compile("cross_entropy", cr.optim.Adam(model.parameters(), lr=0.03), metrics="accuracy")
    history = model.fit(x, y, epochs=20, batch_size=10, verbose=0)
    assert history["accuracy"][-1] == 1.0
