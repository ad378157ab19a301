"""An operation with a gradient of your own: it is forward what it is, and backward what you say.

A step function has the gradient 0 everywhere, so nothing before it can learn. The straight-through estimator (Bengio et
al., 2013) lets the gradient pass where |x| <= 1: so a network with layers of plus and minus ones is trained.

python examples/custom_op.py [--quick]
"""

import sys

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import load_digits


class Sign(cr.Function):
    """1 where x is not negative, else -1."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return cr.where(x >= 0, cr.ones_like(x), -cr.ones_like(x))

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return cr.where(x.abs() <= 1, g, cr.zeros_like(g))


class Binary(nn.Module):
    """Gives plus and minus ones."""

    def forward(self, x):
        return Sign.apply(x)


t = cr.tensor([-2.0, -0.5, 0.5, 2.0], requires_grad=True)
Sign.apply(t).sum().backward()
print("forward", Sign.apply(t).tolist(), "backward", t.grad.tolist())

x, y = load_digits()
cr.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), Binary(), nn.Linear(64, 10))
model.compile("cross_entropy", optim.Adam(model.parameters(), lr=0.01), metrics=["accuracy"])
model.fit(x[:1400], y[:1400], epochs=4 if "--quick" in sys.argv else 15, verbose=0)
accuracy = model.evaluate(x[1400:], y[1400:])["accuracy"]
print(f"{accuracy:.1%} of the test digits right, through 64 bits")
if accuracy < 0.75:
    raise SystemExit("no gradient came through")
