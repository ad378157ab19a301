"""Callbacks of your own: gradient norms layer by layer, and a mean of the weights of the last epochs.

python examples/custom_callback.py [--quick]
"""

import sys

import chainrule as cr
from chainrule import nn
from chainrule.data import load_digits
from chainrule.train import Callback


class GradientNorms(Callback):
    """The length of each parameter's gradient in the last batch of an epoch; where it is tiny, nothing is learnt."""

    def on_train_begin(self, logs):
        self.rows = []

    def on_epoch_end(self, epoch, logs):
        named = self.model.named_parameters()
        self.rows.append({name: p.grad.norm().item() for name, p in named if p.grad is not None})


class MeanOfLast(Callback):
    """At the end the model has the mean of its weights over the last ``n`` epochs."""

    def __init__(self, n):
        self.n, self.kept = n, []

    def on_epoch_end(self, epoch, logs):
        self.kept = [*self.kept, {name: p.detach().clone() for name, p in self.model.named_parameters()}][-self.n :]

    def on_train_end(self, logs):
        with cr.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(sum(state[name] for state in self.kept) / len(self.kept))


x, y = load_digits()
cr.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
model.compile("cross_entropy", "adam", metrics=["accuracy"])
norms = GradientNorms()
epochs = 6 if "--quick" in sys.argv else 20
model.fit(x[:1400], y[:1400], epochs=epochs, callbacks=[norms, MeanOfLast(3)], verbose=0)
for epoch in (0, epochs - 1):
    print(f"epoch {epoch + 1}:", {name: round(value, 3) for name, value in norms.rows[epoch].items()})
print(model.evaluate(x[1400:], y[1400:]))
if len(norms.rows) != epochs or set(norms.rows[0]) != {"1.weight", "1.bias", "3.weight", "3.bias"}:
    raise SystemExit("the callback was not told of every epoch")
