"""A small language model that writes one character after the other, learned from chainrule's own source text.

python examples/char_gpt.py [--quick] [TEXT_FILE]
"""

import sys
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import losses, nn, optim

quick = "--quick" in sys.argv
files = [a for a in sys.argv[1:] if a != "--quick"] or sorted(Path(cr.__file__).parent.rglob("*.py"))
text = "\n".join(Path(f).read_text(encoding="utf-8") for f in files)
text = "".join(c for c in text if c.isascii())

width, heads, depth, context, batch, steps = (32, 2, 2, 32, 8, 60) if quick else (128, 4, 4, 64, 12, 3000)


@nn.register
class CharGPT(nn.Module):
    """A decoder-only transformer: from characters to scores of the next one."""

    def __init__(self, characters: str, width: int, heads: int, depth: int, context: int, dropout: float = 0.0) -> None:
        self.characters, self.context = characters, context
        self.embedding = nn.Embedding(len(characters), width)
        self.positions = nn.LearnedPositions(context, width)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, "gelu", norm_first=True)
        self.blocks = nn.TransformerEncoder(block, depth, nn.LayerNorm(width))
        self.scores = nn.Linear(width, len(characters), bias=False)

    def forward(self, tokens: cr.Tensor, cache: nn.KVCache | None = None) -> cr.Tensor:
        x = self.positions(self.embedding(tokens), offset=0 if cache is None else len(cache))
        return self.scores(self.blocks(x, is_causal=True, cache=cache))

    def encode(self, text: str) -> list[int]:
        return [self.characters.index(c) for c in text]

    @cr.no_grad()
    def write(self, start: str, length: int, temperature: float = 0.8) -> str:
        """Go on after ``start``, each character drawn by its probability."""
        tokens = self.encode(start)
        cache, new = nn.KVCache(), tokens[-self.context // 2 :]
        for _ in range(length):
            if len(cache) + len(new) > self.context:  # begin again with the last half of what can be seen
                cache, new = nn.KVCache(), tokens[-self.context // 2 :]
            scores = self(cr.tensor([new]), cache)[0, -1] / temperature
            noise = -(
                -cr.random.uniform(scores.shape).clip(min=1e-9).log()
            ).log()  # Gumbel: the greatest is a fair draw
            new = [int((scores + noise).argmax().item())]
            tokens += new
        return "".join(self.characters[t] for t in tokens)


cr.manual_seed(0)
model = CharGPT("".join(sorted(set(text))), width, heads, depth, context)
data = np.array(model.encode(text))
train, held = data[: len(data) * 9 // 10], data[len(data) * 9 // 10 :]
print(f"{len(text)} characters, {len(model.characters)} different ones")

loss_fn, rng = losses.CrossEntropy(), np.random.default_rng(0)


def batch_loss(source: np.ndarray) -> cr.Tensor:
    """The loss on random pieces: each character is to be found from those before it in its piece."""
    starts = rng.integers(0, len(source) - context, batch)
    pieces = source[starts[:, None] + np.arange(context + 1)]
    scores = model(cr.tensor(pieces[:, :-1]))
    return loss_fn(scores.reshape((-1, len(model.characters))), cr.tensor(pieces[:, 1:].reshape(-1)))


def held_loss() -> float:
    """The mean loss on text that it does not learn from."""
    model.eval()
    with cr.no_grad():
        found = np.mean([batch_loss(held).item() for _ in range(20)])
    model.train()
    return float(found)


first = held_loss()
optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
schedule = optim.schedules.OneCycle(optimizer, max_lr=3e-3, total=steps)
for step in range(steps):
    optimizer.zero_grad()
    batch_loss(train).backward()
    optim.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step + 1 < steps:
        schedule.step()
    if step % (steps // 6) == 0:
        print(f"step {step}: {held_loss():.3f} nats a character on held-out text")

last = held_loss()
print(f"from {first:.3f} to {last:.3f} nats a character\n")
print(model.eval().write("def ", 40 if quick else 400))
if last > first - 0.5:
    raise SystemExit("it learned nothing")
