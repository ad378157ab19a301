"""Which of nine men is speaking? An LSTM reads recordings of unequal lengths; a mask hides the padding.

python examples/lstm.py [--quick]
"""

import sys

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import load_japanese_vowels

quick = "--quick" in sys.argv
(x_train, lengths), y_train, (x_test, test_lengths), y_test = load_japanese_vowels(padded=True)

# mean 0 and deviation 1, by what is no padding, which stays 0
steps = np.arange(x_train.shape[1])
real = x_train[steps < lengths[:, None]]


def scaled(x, lengths):
    return np.where((steps < lengths[:, None])[..., None], (x - real.mean(axis=0)) / real.std(axis=0), 0)


x_train, x_test = scaled(x_train, lengths), scaled(x_test, test_lengths)

cr.manual_seed(0)
model = nn.Sequential(
    nn.Masking(),  # steps of zeros do not count
    nn.Bidirectional(nn.LSTM(12, 32, batch_first=True)),
    nn.Dropout(0.5),
    nn.Linear(64, 9),
)
optimizer = optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
model.compile("cross_entropy", optimizer, metrics=["accuracy"], clip_norm=1.0)
model.fit(x_train, y_train, epochs=6 if quick else 30, batch_size=30)
accuracy = model.evaluate(x_test, y_test)["accuracy"]
print(f"{accuracy:.1%} of the test recordings right; a guess would get 11%")
if accuracy < 0.8:
    raise SystemExit("it learned little")
