"""Dates as people write them become ISO dates: an LSTM reads, another writes, and attention looks back.

python -m examples.learn.dates
"""

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import ArrayDataset
from chainrule.optim import schedules
from chainrule.train import LRScheduler, Timer

MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
LETTERS = "\0" + "".join(sorted(set("".join(MONTHS + DAYS).lower() + "0123456789 ,./" + "th st nd rd of")))
DIGITS = "0123456789-"
START = len(DIGITS)  # what the writer reads before its first digit


def pairs(n, seed):
    """``n`` dates of four centuries in many ways of writing them, and each in the one of ISO 8601."""
    rng = np.random.default_rng(seed)
    written, iso = [], []
    for days in rng.integers(-365 * 300, 365 * 100, n):
        date = (np.datetime64("2000-01-01") + days).item()
        month, weekday, d = MONTHS[date.month - 1], DAYS[date.weekday()], date.day
        nth = f"{d}{'th' if 10 < d < 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(d % 10, 'th')}"
        ways = (
            f"{d} {month} {date.year}",
            f"{month} {d}, {date.year}",
            f"{weekday}, {d} {month[:3]} {date.year}",
            f"{weekday} the {nth} of {month}, {date.year}",
            f"{month[:3]} {nth} {date.year}",
            f"{d}.{date.month}.{date.year}",
            f"{date.month}/{d}/{date.year}",
            f"{date.year} {month} {d}",
        )
        written.append(ways[rng.integers(len(ways))].lower())
        iso.append(date.isoformat())
    return written, iso


def encoded(written, iso):
    """What is read, padded with 0 (n, 40); what the writer sees at each step, and what it should write then (n, 10)."""
    source = np.array([[LETTERS.index(c) for c in text.ljust(40, "\0")] for text in written])
    target = np.array([[DIGITS.index(c) for c in text] for text in iso])
    before = np.concatenate([np.full((len(target), 1), START), target[:, :-1]], axis=1)
    return source, before, target


@nn.register
class Translator(nn.Module):
    """A two-way LSTM reads; the states of one that writes are the queries of attention to what was read."""

    def __init__(self, width=128):
        self.letters = nn.Embedding(len(LETTERS), 32)
        self.reader = nn.LSTM(32, width // 2, batch_first=True, bidirectional=True, return_sequences=True)
        self.digits = nn.Embedding(len(DIGITS) + 1, 32)
        self.writer = nn.LSTM(32, width, batch_first=True)
        self.attention = nn.MultiHeadAttention(width, 1)
        self.scores = nn.Linear(2 * width, len(DIGITS))

    def forward(self, source, before):
        return self.written(before, *self.read(source))[0].permute(0, 2, 1)  # (n, classes, steps), as losses have them

    def read(self, source):
        """What was read (n, s, width), and the mask of what is no padding."""
        mask = source != 0
        return self.reader(self.letters(source), mask=mask), mask

    def written(self, before, memory, mask, state=None):
        """Scores of the next digit after each of ``before`` (n, t, digits), and the state of the writer at the end."""
        h, state = self.writer(self.digits(before), state)
        seen = self.attention(h, memory, key_mask=mask)
        return self.scores(cr.concat(h, seen, axis=-1)), state

    @cr.no_grad()
    def translate(self, source):
        """The likeliest digit, ten times, each read by the writer before the next: (n, 10)."""
        memory = self.read(source)
        last, state, found = cr.full((len(source), 1), START, dtype="int64"), None, []
        for _ in range(10):
            scores, state = self.written(last, *memory, state=state)
            last = scores.argmax(axis=-1)
            found.append(last)
        return cr.concat(found, axis=1)


def learn(quick=False):
    """Train, and tell the share of new dates of which every digit is right."""
    n, epochs = (500, 1) if quick else (10_000, 4)
    train, test = pairs(n, seed=1), pairs(n // 10, seed=2)
    cr.manual_seed(0)
    model = Translator()
    optimizer = optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    model.compile("cross_entropy", optimizer, metrics=["accuracy"], clip_norm=1.0)
    schedule = schedules.OneCycle(optimizer, max_lr=4e-3, total=epochs * -(-n // 64))
    data = ArrayDataset(*encoded(*train))
    timer = Timer()
    history = model.fit(data, epochs=epochs, batch_size=64, callbacks=[LRScheduler(schedule, every="batch"), timer])

    source, _, target = encoded(*test)
    found = model.eval().translate(cr.tensor(source)).numpy()
    for text, digits in zip(test[0][:4], found, strict=False):
        print(f"{text:>40} is {''.join(DIGITS[d] for d in digits)}")
    return {
        "figure": float((found == target).all(axis=1).mean()),
        "model": model,
        "history": history,
        "samples": n,
        "seconds": timer.total,
    }


if __name__ == "__main__":
    print(f"{learn()['figure']:.2%} of new dates right")
