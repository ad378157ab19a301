"""A layer of your own: saved, loaded and trained as any other.

python examples/custom_layer.py [--quick]
"""

import sys

import numpy as np

import chainrule as cr
from chainrule import nn, optim


@nn.register  # files name it by its class
class RBF(nn.Module):
    """Bumps: how near x (n, features) is to each of some centres, ``exp(-width · |x - centre|²)``."""

    def __init__(self, features, bumps, width=4.0):  # plain values: what save writes
        self.centres = nn.Parameter(shape=(bumps, features), init={"name": "uniform", "low": -1.0, "high": 1.0})
        self.width = nn.Parameter(shape=(bumps,), init={"name": "constant", "value": width})

    def forward(self, x):
        apart = x.unsqueeze(1) - self.centres  # (n, bumps, features)
        return (-self.width * (apart * apart).sum(axis=2)).exp()


x = np.random.default_rng(0).uniform(-1, 1, (500, 2)).astype("float32")
y = np.sin(3 * x[:, :1]) * np.cos(3 * x[:, 1:])

cr.manual_seed(0)
model = nn.Sequential(RBF(2, 40), nn.Linear(40, 1))
assert cr.gradcheck(RBF(2, 3).to("float64"), cr.tensor(x[:4], dtype="float64", requires_grad=True))

model.compile("mse", optim.Adam(model.parameters(), lr=0.02), metrics=["r2"])
model.fit(x, y, epochs=20 if "--quick" in sys.argv else 100, verbose=0)
r2 = model.evaluate(x, y)["r2"]
print(f"{r2:.1%} of the variance explained")

model.save("bumps.safetensors")
assert (cr.load("bumps.safetensors").predict(x) == model.predict(x)).all()
if r2 < 0.8:
    raise SystemExit("the bumps do not fit")
