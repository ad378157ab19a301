"""Which of nine men speaks: an LSTM reads recordings of unequal lengths (Japanese Vowels), and a mask hides the padding.

python -m examples.learn.vowels
"""

import numpy as np

import chainrule as cr
from chainrule import losses, nn, optim
from chainrule.data import load_japanese_vowels
from chainrule.optim import schedules
from chainrule.train import LRScheduler, Timer


def learn(quick=False):
    """Train on 270 recordings, and tell the accuracy on 370 others."""
    (x_train, lengths), y_train, (x_test, test_lengths), y_test = load_japanese_vowels(padded=True)
    epochs = 1 if quick else 60

    steps = np.arange(x_train.shape[1])
    real = x_train[steps < lengths[:, None]]  # (all moments, 12)
    mean, std = real.mean(axis=0), real.std(axis=0)
    x_train, x_test = (
        np.where((steps < n[:, None])[..., None], (x - mean) / std, 0)
        for x, n in ((x_train, lengths), (x_test, test_lengths))
    )

    cr.manual_seed(0)
    model = nn.Sequential(
        nn.Masking(),  # steps of zeros do not count
        nn.Bidirectional(nn.LSTM(12, 64, batch_first=True)),
        nn.Dropout(0.5),
        nn.Linear(128, 9),
    )
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    model.compile(losses.CrossEntropy(label_smoothing=0.1), optimizer, metrics=["accuracy"])
    schedule = schedules.OneCycle(optimizer, max_lr=3e-3, total=epochs * 9)
    timer = Timer()
    history = model.fit(
        x_train, y_train, epochs=epochs, batch_size=30, callbacks=[LRScheduler(schedule, every="batch"), timer]
    )
    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    return {"figure": accuracy, "model": model, "history": history, "samples": len(x_train), "seconds": timer.total}


if __name__ == "__main__":
    print(f"{learn()['figure']:.2%} of the test recordings right")
