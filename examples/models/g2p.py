"""How English words are said that stand in no dictionary: one GRU reads the letters, another writes phonemes.

python -m examples.models.g2p chainrule shakespeare

The weights are those of g2p-en 2.1.0 (Kyubyong Park and Jongseok Kim, Apache-2.0), a file of NumPy.
"""

import sys

import numpy as np
from examples.models.files import fetched

import chainrule as cr
from chainrule import nn
from chainrule.data.fetch import RemoteData
from chainrule.data.packages import PypiPackage
from chainrule.data.sources import RemoteFile

DATA = RemoteData(
    "g2p-en",
    files=(
        RemoteFile("checkpoint20.npz", 3342298, "b8af35e4596d8dd5836dfd3fe9b2ba4f97b9c311efe8879544cbcfcbd566d8c6"),
    ),
    sources=(PypiPackage("g2p-en", "2.1.0", 3_117_464, "g2p_en"),),
    terms="3 MB; Kyubyong Park and Jongseok Kim, Apache-2.0",
)
PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<s>", "</s>"
LETTERS = [PAD, UNKNOWN, END, *"abcdefghijklmnopqrstuvwxyz"]
PHONEMES = [PAD, UNKNOWN, START, END]
PHONEMES += """
    AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2
    F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH
""".split()
RENAME = {
    "^enc_emb": "letters.weight",
    "^dec_emb": "phonemes.weight",
    "^enc_w": "reader.weight",
    "^enc_b": "reader.bias",
    "^dec_w": "writer.weight",
    "^dec_b": "writer.bias",
    "h$": "h_l0",  # the first layer of a GRU, and the only one
    "^fc_w": "scores.weight",
    "^fc_b": "scores.bias",
}


@nn.register
class Speller(nn.Module):
    """Letters (n, s) and the phonemes so far (n, t) become scores of the next phoneme (n, t, 74)."""

    def __init__(self, width=256):
        self.letters = nn.Embedding(len(LETTERS), width)
        self.reader = nn.GRU(width, width, batch_first=True)
        self.phonemes = nn.Embedding(len(PHONEMES), width)
        self.writer = nn.GRU(width, width, batch_first=True)
        self.scores = nn.Linear(width, len(PHONEMES))

    def forward(self, letters, before):
        return self.written(before, self.read(letters))[0]

    def read(self, letters):
        """What the reader knows behind the last letter: (1, n, width)."""
        return self.reader(self.letters(letters), mask=letters != 0)[1]

    def written(self, before, state):
        """Scores of what follows each of the phonemes, and the state of the writer."""
        h, state = self.writer(self.phonemes(before), state)
        return self.scores(h), state

    @cr.no_grad()
    def say(self, words, most=20):
        """The phonemes of each word, the likeliest first, in ARPAbet."""
        state = self.read(cr.tensor(encoded(words)))
        last, found = cr.full((len(words), 1), PHONEMES.index(START), dtype="int64"), []
        for _ in range(most):
            scores, state = self.written(last, state)
            last = scores.argmax(axis=-1)
            found.append(last)
        rows = cr.concat(found, axis=1).numpy()
        return [" ".join(PHONEMES[p] for p in row).partition(END)[0].strip() for row in rows]


def encoded(words):
    """The letters as numbers, padded with 0: (n, longest + 1)."""
    longest = max(map(len, words)) + 1
    known = {letter: i for i, letter in enumerate(LETTERS)}
    rows = [[known.get(c, known[UNKNOWN]) for c in word.lower()] + [known[END]] for word in words]
    return np.array([row + [known[PAD]] * (longest - len(row)) for row in rows])


def load():
    """The network with the published weights."""
    model = Speller().eval()
    model.load_weights(fetched(DATA) / "checkpoint20.npz", rename=RENAME)
    return model


if __name__ == "__main__":
    words = sys.argv[1:] or ["framework", "tensor", "shakespeare", "chainrule"]
    for word, phonemes in zip(words, load().say(words), strict=True):
        print(f"{word:>16}  {phonemes}")
