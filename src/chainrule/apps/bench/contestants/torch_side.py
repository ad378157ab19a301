"""PyTorch's side: eager, or the model through ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .cases import BATCH, CHARACTERS, GPT, Case, Gpt, Job, data, weights


class Torch(Job):
    """Tensors, on the tape or not."""

    def array(self, x: Any) -> Any:
        """See Job."""
        return x.detach().numpy() if isinstance(x, torch.Tensor) else x


def version(spec: Any) -> str:
    """What runs."""
    torch.set_num_threads(spec["threads"])
    return f"torch {torch.__version__}"


class Block(nn.Module):
    """A pre-norm block of causal attention and a GELU layer of 4 d, with q, k, v in one product."""

    def __init__(self, g: Gpt) -> None:
        super().__init__()
        d = g.width
        self.heads = g.heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.wide, self.narrow = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Any) -> Any:
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, d))
        return x + self.narrow(functional.gelu(self.wide(self.norm2(x))))

    def take(self, state: Any, at: str) -> None:
        """Copy the weights of block ``at``."""
        q, k, v = (f"{at}self_attn.{p}_proj." for p in "qkv")
        for part in ("weight", "bias"):
            getattr(self.qkv, part).copy_(torch.cat([state[q + part], state[k + part], state[v + part]]))
            for mine, theirs in (("out", "self_attn.out_proj"), ("wide", "linear1"), ("narrow", "linear2")):
                getattr(getattr(self, mine), part).copy_(state[f"{at}{theirs}.{part}"])
            for norm in ("norm1", "norm2"):
                getattr(getattr(self, norm), part).copy_(state[f"{at}{norm}.{part}"])


class Transformer(nn.Module):
    """Token and position embeddings, blocks, scores."""

    def __init__(self, name: str) -> None:
        super().__init__()
        g = GPT[name]
        self.embedding, self.positions = nn.Embedding(CHARACTERS, g.width), nn.Embedding(g.length, g.width)
        self.blocks = nn.Sequential(*(Block(g) for _ in range(g.layers)))
        self.norm, self.scores = nn.LayerNorm(g.width), nn.Linear(g.width, CHARACTERS, bias=False)

    def forward(self, tokens: Any) -> Any:
        x = self.embedding(tokens) + self.positions.weight
        return self.scores(self.norm(self.blocks(x))).flatten(0, 1)

    def take(self, state: Any) -> None:
        """Copy the weights that all begin with."""
        for name in ("embedding", "positions", "scores"):
            getattr(self, name).weight.copy_(state[f"{name}.weight"])
        self.norm.weight.copy_(state["blocks.norm.weight"])
        self.norm.bias.copy_(state["blocks.norm.bias"])
        for i, block in enumerate(self.blocks):
            block.take(state, f"blocks.layers.{i}.")


class Last(nn.Module):
    """An LSTM, of which the last step goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(64, 128)

    def forward(self, x: Any) -> Any:
        return self.lstm(x)[0][-1]


def network(what: str, dtype: str, check: bool) -> Any:
    """The model of a case, with the weights that all begin with; without Dropout if results are compared."""
    if what == "mlp":
        model: Any = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    elif what == "cnn_small":
        conv = nn.Conv2d(1, 8, 3, padding=1)
        model = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1568, 10))
    elif what == "cnn_bn":
        model = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Dropout(0.0 if check else 0.5), nn.Linear(128, 10),
        )  # fmt: skip
    elif what == "lstm":
        model = nn.Sequential(Last(), nn.Linear(128, 10))
    else:
        model = Transformer(what)
    model.to(getattr(torch, dtype))
    state = {name: torch.from_numpy(a) for name, a in weights(what, dtype).items()}
    with torch.no_grad():
        if isinstance(model, Transformer):
            model.take(state)
        else:
            named = {name.replace(".lstm.", "."): p for name, p in model.named_parameters()}
            for name, value in state.items():
                named[name].copy_(value)
    return model


def compiled(f: Any, mode: str) -> Any:
    """``f`` through ``torch.compile`` if that is the mode."""
    return torch.compile(f, dynamic=False) if mode == "compile" else f


def build(case: Case, spec: dict[str, Any], check: bool) -> Job:
    """The step of a case."""
    dtype, mode = spec["dtype"], spec["mode"]
    tensors = {name: torch.from_numpy(a) for name, a in data(case, spec["scale"], dtype).items()}
    if case.job == "fit":
        return fitted(case, tensors, dtype, mode, check)
    if case.job == "train":
        return trained(case, tensors, dtype, mode, check)
    if case.job == "grad":
        return gradients(case, tensors, mode)
    f: Callable[..., Any] = {
        "conv2d": lambda x, w: functional.conv2d(x, w, padding=1),
        "max_pool2d": lambda x: functional.max_pool2d(x, 2),
        "avg_pool2d": lambda x: functional.avg_pool2d(x, 2),
        "softmax": lambda x: torch.softmax(x, -1),
        "gelu": functional.gelu,
    }.get(case.what) or getattr(torch, case.what)
    run, arguments = compiled(f, mode), tuple(tensors.values())
    return Torch(lambda: run(*arguments))


def trained(case: Case, tensors: dict[str, Any], dtype: str, mode: str, check: bool) -> Job:
    """Forward, cross-entropy, backward, Adam in one kernel."""
    x, y = tensors["x"], tensors["y"]
    model = network(case.what, dtype, check)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss = compiled(lambda x, y: functional.cross_entropy(model(x), y), mode)

    def step() -> Any:
        optimizer.zero_grad()
        value = loss(x, y)
        value.backward()
        optimizer.step()
        return value

    return Torch(step)


def gradients(case: Case, tensors: dict[str, Any], mode: str) -> Job:
    """Gradients of a function; of the tape that is there already where only they are wanted."""
    if case.what == "tiny":
        x = tensors["x"].requires_grad_()
        total = compiled(lambda x: (x * 2.0).sum(), mode)

        def tiny() -> Any:
            x.grad = None
            total(x).backward()
            return x.grad

        return Torch(tiny)
    *inputs, g = tensors.values()
    for t in inputs:
        t.requires_grad_()
    if case.what == "conv2d":
        conv = compiled(lambda x, w: functional.conv2d(x, w, padding=1), mode)

        def both() -> Any:
            y = conv(*inputs)
            return (y, *torch.autograd.grad(y, inputs, g))

        return Torch(both)
    y = compiled(functional.linear, mode)(*inputs)
    return Torch(lambda: torch.autograd.grad(y, inputs, g, retain_graph=mode != "compile"))


def fitted(case: Case, tensors: dict[str, Any], dtype: str, mode: str, check: bool) -> Job:
    """An epoch of a DataLoader loop, with loss and accuracy."""
    x, y = (t[: 10 * BATCH[case.what]] if check else t for t in (tensors["x"], tensors["y"]))
    pairs = torch.utils.data.TensorDataset(x, y)
    loader: Any = torch.utils.data.DataLoader(pairs, batch_size=BATCH[case.what], shuffle=not check)
    model = network(case.what, dtype, check)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def forward(x: Any, y: Any) -> Any:
        scores = model(x)
        return scores, functional.cross_entropy(scores, y)

    run = compiled(forward, mode)

    def epoch() -> Any:
        total = correct = 0.0
        for xb, yb in loader:
            optimizer.zero_grad()
            scores, value = run(xb, yb)
            value.backward()
            optimizer.step()
            total += value.item() * len(xb)
            correct += (scores.argmax(1) == yb).sum().item()
        return [total / len(x)]

    return Torch(epoch)
