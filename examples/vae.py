"""A variational autoencoder: digits become two numbers, and points of a plane become digits.

python examples/vae.py [--quick]
"""

import sys

import chainrule as cr
from chainrule import losses, nn, optim
from chainrule.data import load_digits


class VAE(nn.Module):
    """x (n, 64) from 0 to 1 → the mean and log-variance of a place in the plane → x again (Kingma and Welling, 2014)."""

    def __init__(self, hidden=64, size=2):
        self.encoder = nn.Sequential(nn.Linear(64, hidden), nn.Tanh())
        self.mean, self.log_variance = nn.Linear(hidden, size), nn.Linear(hidden, size)
        self.decoder = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, 64))

    def forward(self, x):
        return self.decoder(self.mean(self.encoder(x))).sigmoid()

    def train_step(self, batch):
        (x,) = batch
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        place = mean + (log_variance / 2).exp() * cr.randn(*mean.shape)
        rebuilt = losses.bce_with_logits(self.decoder(place), x, reduction="sum") / len(x)
        apart = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum() / len(x)  # KL to the normal distribution
        loss = rebuilt + apart
        self.compiled.optimizer.zero_grad()
        loss.backward()
        self.compiled.optimizer.step()
        return {"loss": loss, "rebuilt": rebuilt, "apart": apart}


x = load_digits()[0].reshape(-1, 64)
cr.manual_seed(0)
model = VAE()
model.compile(optimizer=optim.Adam(model.parameters(), lr=3e-3))
history = model.fit(x, epochs=8 if "--quick" in sys.argv else 100, batch_size=64, verbose=0)
print(history)

with cr.no_grad():
    corners = cr.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
    images = model.decoder(corners).sigmoid().numpy().reshape(3, 8, 8)
for row in range(8):
    print("   ".join("".join(" .:*#"[int(4.99 * v)] * 2 for v in image[row]) for image in images))
if history["loss"][-1] > 0.9 * history["loss"][0]:
    raise SystemExit("it learned nothing")
