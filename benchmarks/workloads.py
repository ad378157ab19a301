"""The standard workloads. Each gives one training step (or call) of ours and of the peer's, on the same arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Step = Callable[[], Any]


class Workload:
    """What is raced. ``flops`` are the floating-point operations a step cannot do without."""

    flops = 0.0

    def chainrule(self) -> Step:
        """Our step."""
        raise NotImplementedError

    def torch(self) -> Step:
        """The peer's step."""
        raise NotImplementedError


class TinyAutograd(Workload):
    """``(x * 2.0).sum().backward()`` on 2 × 3 numbers: the cost of a call."""

    def chainrule(self) -> Step:
        import chainrule as cr

        x = cr.ones(2, 3, requires_grad=True)

        def step() -> None:
            x.grad = None
            (x * 2.0).sum().backward()

        return step

    def torch(self) -> Step:
        import torch

        x = torch.ones(2, 3, requires_grad=True)

        def step() -> None:
            x.grad = None
            (x * 2.0).sum().backward()

        return step


class Training(Workload):
    """One step of a model on one batch: forward, cross-entropy, backward, Adam."""

    batch = 64
    shape: tuple[int, ...] = (1, 28, 28)

    def data(self) -> tuple[Any, Any]:
        """A batch of random pictures and labels."""
        r = np.random.default_rng(0)
        return r.standard_normal((self.batch, *self.shape)).astype(np.float32), r.integers(0, 10, self.batch)

    def ours(self, nn: Any) -> Any:
        """Our model."""
        raise NotImplementedError

    def theirs(self, nn: Any) -> Any:
        """The peer's model."""
        raise NotImplementedError

    def chainrule(self) -> Step:
        import chainrule as cr
        from chainrule import losses, nn, optim

        x, y = (cr.tensor(a) for a in self.data())
        model, loss = self.ours(nn), losses.CrossEntropy()
        optimizer = optim.Adam(model.parameters(), lr=1e-3)

        def step() -> None:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()

        return step

    def torch(self) -> Step:
        import torch
        from torch import nn

        x, y = (torch.from_numpy(a) for a in self.data())
        model, loss = self.theirs(nn), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

        def step() -> None:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()

        return step


class Mlp(Training):
    """784-128-10 with ReLU."""

    shape = (784,)

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.flops = 2.0 * batch * (2 * 784 * 128 + 3 * 128 * 10)

    def ours(self, nn: Any) -> Any:
        return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))

    theirs = ours


class CnnSmall(Training):
    """Conv 1→8 3×3, ReLU, max-pool, Linear 10; batch 64."""

    flops = 2.0 * 64 * (2 * 28 * 28 * 8 * 9 + 3 * 1568 * 10)

    def ours(self, nn: Any) -> Any:
        conv = nn.Conv2d(1, 8, 3, padding=1)
        return nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1568, 10))

    theirs = ours


class CnnBn(Training):
    """Conv 32, BN, ReLU, pool, Conv 64, BN, ReLU, pool, Linear 128, Dropout, Linear 10; batch 64."""

    flops = 2.0 * 64 * (2 * 28 * 28 * 32 * 9 + 3 * 14 * 14 * 64 * 288 + 3 * 3136 * 128 + 3 * 1280)

    def ours(self, nn: Any) -> Any:
        return nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
        )  # fmt: skip

    theirs = ours


class Lstm(Training):
    """LSTM 64→128 over 64 steps, the last one to Linear 10; batch 32, time first."""

    batch = 32
    flops = 2.0 * 64 * 32 * 512 * (2 * 64 + 3 * 128) + 2.0 * 32 * 3 * 1280

    def data(self) -> tuple[Any, Any]:
        """Random sequences and labels."""
        r = np.random.default_rng(0)
        return r.standard_normal((64, self.batch, 64)).astype(np.float32), r.integers(0, 10, self.batch)

    def ours(self, nn: Any) -> Any:
        return nn.Sequential(nn.LSTM(64, 128), nn.Linear(128, 10))

    def theirs(self, nn: Any) -> Any:
        class Last(nn.Module):  # type: ignore[misc, name-defined]  # a class of the peer's
            def __init__(self) -> None:
                super().__init__()
                self.lstm, self.head = nn.LSTM(64, 128), nn.Linear(128, 10)

            def forward(self, x: Any) -> Any:
                return self.head(self.lstm(x)[0][-1])

        return Last()


class Gpt(Training):
    """A decoder-only transformer over 65 characters: pre-norm blocks of causal attention and a GELU layer of 4 d."""

    characters = 65

    def __init__(self, layers: int, heads: int, width: int, length: int, batch: int) -> None:
        self.layers, self.heads, self.width, self.length, self.batch = layers, heads, width, length, batch
        dense = layers * 12 * width**2 + width * self.characters
        self.flops = 2.0 * batch * length * (3 * dense + 3.5 * layers * length * width)

    def data(self) -> tuple[Any, Any]:
        """A batch of random characters, and what follows each."""
        r = np.random.default_rng(0)
        x, y = (r.integers(0, self.characters, (self.batch, self.length)) for _ in range(2))
        return x, y.reshape(-1)

    def ours(self, nn: Any) -> Any:
        class Model(nn.Module):  # type: ignore[misc]
            def __init__(self, job: Gpt) -> None:
                self.characters = job.characters
                self.embedding = nn.Embedding(job.characters, job.width)
                self.positions = nn.LearnedPositions(job.length, job.width)
                block = nn.TransformerEncoderLayer(job.width, job.heads, 4 * job.width, 0.0, "gelu", norm_first=True)
                self.blocks = nn.TransformerEncoder(block, job.layers, nn.LayerNorm(job.width))
                self.scores = nn.Linear(job.width, job.characters, bias=False)

            def forward(self, tokens: Any) -> Any:
                y = self.blocks(self.positions(self.embedding(tokens)), is_causal=True)
                return self.scores(y).reshape((-1, self.characters))

        return Model(self)

    def theirs(self, nn: Any) -> Any:
        class Block(nn.Module):  # type: ignore[misc]
            def __init__(self, job: Gpt) -> None:
                super().__init__()
                self.heads = job.heads
                self.norm1, self.norm2 = nn.LayerNorm(job.width), nn.LayerNorm(job.width)
                self.qkv, self.out = nn.Linear(job.width, 3 * job.width), nn.Linear(job.width, job.width)
                self.wide, self.narrow = nn.Linear(job.width, 4 * job.width), nn.Linear(4 * job.width, job.width)

            def forward(self, x: Any) -> Any:
                n, t, d = x.shape
                q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
                y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
                x = x + self.out(y.transpose(1, 2).reshape(n, t, d))
                return x + self.narrow(nn.functional.gelu(self.wide(self.norm2(x))))

        class Model(nn.Module):  # type: ignore[misc]
            def __init__(self, job: Gpt) -> None:
                super().__init__()
                self.embedding, self.positions = nn.Embedding(65, job.width), nn.Embedding(job.length, job.width)
                self.blocks = nn.Sequential(*(Block(job) for _ in range(job.layers)))
                self.norm, self.scores = nn.LayerNorm(job.width), nn.Linear(job.width, job.characters, bias=False)

            def forward(self, tokens: Any) -> Any:
                x = self.embedding(tokens) + self.positions.weight
                return self.scores(self.norm(self.blocks(x))).flatten(0, 1)

        return Model(self)


class Gemm(Workload):
    """The product of two square matrices."""

    def __init__(self, n: int) -> None:
        self.n, self.flops = n, 2.0 * n**3

    def data(self) -> tuple[Any, Any]:
        """Two random matrices."""
        r = np.random.default_rng(0)
        return tuple(r.standard_normal((self.n, self.n)).astype(np.float32) for _ in range(2))  # type: ignore[return-value]

    def chainrule(self) -> Step:
        import chainrule as cr

        a, b = (cr.tensor(x) for x in self.data())
        return lambda: a @ b

    def torch(self) -> Step:
        import torch

        a, b = (torch.from_numpy(x) for x in self.data())
        return lambda: a @ b


class MnistEpoch(Mlp):
    """One epoch of 60,000 digits through ``fit`` (shuffling, metrics), and through a PyTorch DataLoader loop."""

    def __init__(self, model: Training) -> None:
        self.model, self.batch, self.shape = model, model.batch, model.shape
        self.flops = model.flops * 60_000 / model.batch

    def data(self) -> tuple[Any, Any]:
        """As many pictures as MNIST has."""
        r = np.random.default_rng(0)
        return r.standard_normal((60_000, *self.shape)).astype(np.float32), r.integers(0, 10, 60_000)

    def chainrule(self) -> Step:
        from chainrule import nn

        x, y = self.data()
        model = self.model.ours(nn)
        model.compile(loss="cross_entropy", optimizer="adam", metrics=["accuracy"])
        return lambda: model.fit(x, y, epochs=1, batch_size=self.batch, verbose=0)

    def torch(self) -> Step:
        import torch
        from torch import nn

        x, y = (torch.from_numpy(a) for a in self.data())
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=self.batch, shuffle=True)
        model, loss = self.model.theirs(nn), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

        def epoch() -> None:
            total = correct = 0.0
            for xb, yb in loader:
                optimizer.zero_grad()
                logits = model(xb)
                value = loss(logits, yb)
                value.backward()
                optimizer.step()
                total += value.item() * len(xb)
                correct += (logits.argmax(1) == yb).sum().item()

        return epoch


WORKLOADS: dict[str, Workload] = {
    "tiny_autograd": TinyAutograd(),
    "mlp_b32": Mlp(32),
    "mlp_b128": Mlp(128),
    "mlp_b1024": Mlp(1024),
    "cnn_small": CnnSmall(),
    "cnn_bn": CnnBn(),
    "lstm": Lstm(),
    "gpt_nano": Gpt(4, 4, 128, 64, 12),
    "gpt_mid": Gpt(6, 6, 384, 256, 4),
    "gemm_2048": Gemm(2048),
    "mnist_epoch_mlp": MnistEpoch(Mlp(128)),
    "mnist_epoch_cnn": MnistEpoch(CnnSmall()),
}
