"""Shakespeare's works, one character after the other: an LSTM learns what follows, then writes.

python -m examples.learn.shakespeare
"""

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import load_shakespeare
from chainrule.optim import schedules
from chainrule.train import LRScheduler, Timer

STEPS = 128  # characters in a piece of text, each read with nothing known of what came before the piece


@nn.register
class CharacterModel(nn.Module):
    """From characters (n, t) to scores of the next one of each, (n, characters, t)."""

    def __init__(self, characters, width=256):
        self.characters = characters
        self.embedding = nn.Embedding(len(characters), 64)
        self.lstm = nn.LSTM(64, width, batch_first=True)
        self.scores = nn.Linear(width, len(characters))

    def forward(self, text):
        return self.step(text)[0].permute(0, 2, 1)

    def step(self, text, state=None):
        """Scores (n, t, characters), and the state of the LSTM after the last character."""
        h, state = self.lstm(self.embedding(text), state)
        return self.scores(h), state

    @cr.no_grad()
    def write(self, start, length, temperature=0.7):
        """Go on after ``start``, each character drawn by its probability."""
        text, state = start, None
        new = start
        for _ in range(length):
            scores, state = self.step(cr.tensor([[self.characters.index(c) for c in new]]), state)
            chances = cr.softmax(scores[0, -1] / temperature).numpy().cumsum()
            new = self.characters[int(np.searchsorted(chances / chances[-1], cr.random.uniform(()).item()))]
            text += new
        return text


def learn(quick=False):
    """Train on the first nine tenths, and tell the loss on the last tenth, in nats a character."""
    text = load_shakespeare()
    epochs = 2
    if quick:
        text, epochs = text[:20_000], 1
    characters = "".join(sorted(set(text)))
    number = {c: i for i, c in enumerate(characters)}
    data = np.array([number[c] for c in text])
    pieces = (len(data) - 1) // STEPS
    x, y = (data[i : i + pieces * STEPS].reshape(pieces, STEPS) for i in (0, 1))

    cr.manual_seed(0)
    model = CharacterModel(characters)
    optimizer = optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    model.compile("cross_entropy", optimizer, clip_norm=1.0)
    held = pieces // 10
    schedule = schedules.OneCycle(optimizer, max_lr=5e-3, total=epochs * -(-(pieces - held) // 16), up=0.1)
    timer = Timer()
    history = model.fit(
        x[:-held],
        y[:-held],
        epochs=epochs,
        batch_size=16,
        validation_data=(x[-held:], y[-held:]),
        callbacks=[LRScheduler(schedule, every="batch"), timer],
    )
    print(model.eval().write("HAMLET.\n", 20 if quick else 300))
    samples = (pieces - held) * STEPS
    return {
        "figure": history["val_loss"][-1],
        "model": model,
        "history": history,
        "samples": samples,
        "seconds": timer.total,
    }


if __name__ == "__main__":
    print(f"{learn()['figure']:.3f} nats a character on text that it has not seen")
