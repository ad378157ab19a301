"""How far diabetes goes within a year, from ten measurements of each patient: regression on few samples.

python -m examples.learn.diabetes
"""

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import load_diabetes
from chainrule.train import Timer

FOLDS = 5


def fitted(x, y, x_test, y_test, epochs):
    """The R² on the test part, the model, its history and the seconds of training."""
    mean, std = y.mean(), y.std()
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 16), nn.SiLU(), nn.Dropout(0.1), nn.Linear(16, 1))
    model.compile("mse", optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1), metrics=["r2"])
    timer = Timer()
    history = model.fit(x, (y - mean) / std, epochs=epochs, batch_size=32, callbacks=timer, verbose=0)
    return model.evaluate(x_test, (y_test - mean) / std)["r2"], model, history, timer.total


def learn(quick=False):
    """Train on four fifths of the patients five times, and tell the R² on the fifth that was left out first, and the mean."""
    x, y = load_diabetes()
    x, y = x * np.float32(np.sqrt(len(x))), y[:, None]  # each column with the standard deviation 1
    order = np.random.default_rng(0).permutation(len(x))
    found = []
    for test in np.array_split(order, FOLDS):
        train = np.setdiff1d(order, test)
        found.append(fitted(x[train], y[train], x[test], y[test], 2 if quick else 60))
    scores = [r2 for r2, *_ in found]
    r2, model, history, seconds = found[0]
    note = f"mean of five folds {np.mean(scores):.3f}: " + ", ".join(f"{s:.3f}" for s in scores)
    return {"figure": r2, "model": model, "history": history, "samples": len(train), "seconds": seconds, "note": note}


if __name__ == "__main__":
    result = learn()
    print(f"R² {result['figure']:.3f} on the test fold; {result['note']}")
