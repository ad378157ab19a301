"""A small language model that writes one character after the other, learned from chainrule's own source text.

python examples/char_gpt.py [--quick] [TEXT_FILE]
"""

import sys
from pathlib import Path

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import CharVocabulary, DataLoader, TextDataset
from chainrule.train import LRScheduler

quick = "--quick" in sys.argv
files = [a for a in sys.argv[1:] if a != "--quick"] or sorted(Path(cr.__file__).parent.rglob("*.py"))
text = "".join(c for f in files for c in Path(f).read_text(encoding="utf-8") if c.isascii())
width, heads, depth, context, batch, steps = (32, 2, 2, 32, 8, 60) if quick else (128, 4, 4, 64, 12, 3000)


class CharGPT(nn.Module):
    """A decoder-only transformer: from characters (n, steps) to scores of the next one, (n, characters, steps)."""

    def __init__(self, size):
        self.embedding, self.positions = nn.Embedding(size, width), nn.LearnedPositions(context, width)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", norm_first=True)
        self.blocks, self.scores = nn.TransformerEncoder(block, depth, nn.LayerNorm(width)), nn.Linear(width, size)

    def forward(self, ids, cache=None):
        x = self.positions(self.embedding(ids), offset=0 if cache is None else len(cache))
        return self.scores(self.blocks(x, is_causal=True, cache=cache)).permute(0, 2, 1)


@cr.no_grad()
def write(model, ids, length, temperature=0.8):
    """Go on after ``ids``, each character drawn by its probability; the cache spares reading the text again."""
    ids, cache, new = list(ids), nn.KVCache(), ids
    for _ in range(length):
        if len(cache) + len(new) > context:  # begin again with the last half of what can be seen
            cache, new = nn.KVCache(), ids[-context // 2 :]
        scores = model(cr.tensor([new]), cache)[0, :, -1] / temperature
        noise = -(-cr.random.uniform(scores.shape).clip(min=1e-9).log()).log()  # Gumbel: the greatest is a fair draw
        new = [int((scores + noise).argmax().item())]
        ids += new
    return ids


cr.manual_seed(0)
vocabulary = CharVocabulary(text)
ids = vocabulary.encode(text)
held, cut = TextDataset(ids[-20 * batch * context :], context), len(ids) * 9 // 10
train = DataLoader(TextDataset(ids[:cut], context, random=True), batch_size=batch, seed=0)
model = CharGPT(len(vocabulary))
optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
schedule = LRScheduler(optim.schedules.OneCycle(optimizer, max_lr=3e-3, total=steps), every="batch")
model.compile("cross_entropy", optimizer, clip_norm=1.0)
history = model.fit(train, epochs=6, steps_per_epoch=steps // 6, validation_data=held, callbacks=schedule)
print(vocabulary.decode(write(model.eval(), vocabulary.encode("def "), 40 if quick else 400)))
if history["val_loss"][-1] > history["val_loss"][0] - 0.5:
    raise SystemExit("it learned nothing")
