"""The network that `chainrule draw` and `chainrule serve` read digits with, trained on MNIST from nothing in six CPU-minutes.

python examples/train_digits.py [--out digits.safetensors] [--quick]

Drawings are not like MNIST in everything: slant, size and pen vary, and not all are digits. So each image is turned,
slanted, scaled, shifted, its pen made thicker or thinner; and scribbles and patchworks of digits are learnt as "nothing I
know": one tenth for each digit. Held-out images then tell the temperature that makes probabilities honest.
"""

import argparse

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.apps.image import preprocess
from chainrule.data import ArrayDataset, Compose, DataLoader, RandomAffine, Transform, load_mnist
from chainrule.optim import schedules
from chainrule.train import AverageWeights, LRScheduler

HELD_OUT, SCRIBBLES = 4000, 4000


class RandomPen(Transform):
    """Each line thicker or thinner, by up to a share of what one pixel on each side would do."""

    def __init__(self, thicker, thinner):
        self.thicker, self.thinner = thicker, thinner

    def apply(self, images, generator):
        padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
        near = [
            padded[:, :, 1:-1, :-2],
            padded[:, :, 1:-1, 2:],
            padded[:, :, :-2, 1:-1],
            padded[:, :, 2:, 1:-1],
            images,
        ]
        amount = generator.uniform((len(images), 1, 1, 1)).numpy() * (self.thicker + self.thinner) - self.thinner
        changed = np.where(amount > 0, np.maximum.reduce(near), np.minimum.reduce(near))
        return images + np.abs(amount) * (changed - images)


class Patchwork(Transform):
    """Some of each batch become a quarter of each of four other images, in each other's corners: no digit."""

    def __init__(self, share):
        self.share = share

    def __call__(self, x, y, *, generator=None):
        n, few = len(x), int(len(x) * self.share)
        x, y = x.copy(), y.copy()
        for row, rows in enumerate((slice(0, 14), slice(14, 28))):
            for column, columns in enumerate((slice(0, 14), slice(14, 28))):
                donors = generator.integers(few, n, (few,)).numpy()
                x[:few, :, rows, columns] = np.roll(x[donors], (14 * (1 - row), 14 * column), (2, 3))[
                    :, :, rows, columns
                ]
        y[:few] = 0.1
        return x, y


def scribbles(count):
    """What is no digit: strokes that wander, corners at random, lines across one another, blots."""
    draw, images = np.random.default_rng(0), []
    across = np.arange(28) - 13.5
    for i in range(count):
        if i % 8 < 3:
            strokes = []
            for _ in range(draw.integers(1, 4)):
                turns = draw.normal(draw.normal(0, 0.15), draw.uniform(0.1, 1.2), draw.integers(10, 40))
                angles = draw.uniform(0, 2 * np.pi) + np.cumsum(turns)
                strokes.append(np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1), 0) + draw.normal(0, 3, 2))
        elif i % 8 < 6:
            strokes = [draw.random((draw.integers(6, 16), 2))]
        elif i % 8 < 7:
            strokes = list(draw.random((draw.integers(4, 8), 2, 2)))
        else:
            waves = draw.normal(0, 1, (6, 2)) / 3
            field = sum(np.sin(w[0] * across[:, None] + w[1] * across + draw.uniform(0, 6)) for w in waves)
            images.append(np.clip(field, 0, 1).astype(np.float32)[None] * (np.hypot(across[:, None], across) < 11))
            continue
        images.append(preprocess(strokes).image[None])
    return np.stack(images).astype(np.float32)


def block(channels):
    """3×3 convolution, batch norm, ReLU, and a maximum of each 2×2 pixels."""
    return nn.Sequential(
        nn.Conv2d(channels, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)
    )


def temperature(scores, labels):
    """What to divide the scores by, so that the likelihood of the labels is greatest."""
    found = []
    candidates = np.geomspace(0.3, 3, 200)
    for t in candidates:
        logs = scores / t - np.log(np.exp(scores / t).sum(axis=1, keepdims=True))
        found.append(logs[np.arange(len(labels)), labels].mean())
    return float(candidates[np.argmax(found)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="digits.safetensors")
    parser.add_argument("--epochs", type=int, default=11)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    x_train, y_train, x_test, y_test = load_mnist()
    held_x, held_y, x, y = x_train[-HELD_OUT:], y_train[-HELD_OUT:], x_train[:-HELD_OUT], y_train[:-HELD_OUT]
    count = SCRIBBLES
    if options.quick:
        held_x, held_y, x, y, x_test, y_test = held_x[:200], held_y[:200], x[:500], y[:500], x_test[:200], y_test[:200]
        options.epochs, count = 1, 20

    cr.manual_seed(0)
    targets = np.concatenate([np.eye(10, dtype=np.float32)[y], np.full((count, 10), 0.1, np.float32)])
    model = nn.Sequential(block(32), block(64), block(128), nn.Flatten(), nn.Linear(128), nn.ReLU(), nn.Dropout(0.3))
    model.append(nn.Linear(10))
    model.append(nn.Softmax())
    model.build((None, 1, 28, 28))
    move = RandomAffine(degrees=12, shear=15, scale=0.12, shift=1.5)
    loader = DataLoader(
        ArrayDataset(np.concatenate([x, scribbles(count)]), targets),
        batch_size=128,
        shuffle=True,
        seed=0,
        transform=Compose([move, RandomPen(0.7, 0.4), Patchwork(0.05)]),
    )
    optimizer = optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    model.compile("cross_entropy", optimizer, metrics=["accuracy"])
    schedule = schedules.OneCycle(optimizer, max_lr=4e-3, total=options.epochs * len(loader))
    average = AverageWeights(optim.EMA(model.parameters(), decay=0.99))
    model.fit(loader, epochs=options.epochs, callbacks=[LRScheduler(schedule, every="batch"), average])
    optim.update_bn(model, loader)

    model.eval()
    with cr.no_grad():
        moved = RandomAffine(degrees=8, shear=8, scale=0.08, shift=1)(held_x)  # drawings are looser than MNIST
        scores = model[:-1](cr.tensor(moved)).numpy().astype(np.float64)
        t = temperature(scores, held_y)
        last = model[len(model) - 2]
        last.weight.copy_(last.weight / t)
        last.bias.copy_(last.bias / t)
    accuracy = float((model.predict(x_test).numpy().argmax(axis=1) == y_test).mean())
    model.to("float16").save(options.out)
    print(f"temperature {t:.3f}, {accuracy:.2%} of the test digits right, saved in {options.out}")


if __name__ == "__main__":
    main()
