"""The losses as objects, with their options and reductions; activations far out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from tests.prove.parity.draws import DRAWS, numbers
from tests.prove.parity.measure import Case, Row, run
from tests.prove.parity.peers import CONSTANT, PEERS

import chainrule as cr
from chainrule import losses

# Ours: the op that draws its arguments, PyTorch's class, the names of its options there.
LOSSES: dict[str, tuple[str, str, dict[str, str]]] = {
    "MSE": ("mse", "MSELoss", {}),
    "MAE": ("mae", "L1Loss", {}),
    "Huber": ("huber", "HuberLoss", {}),
    "SmoothL1": ("smooth_l1", "SmoothL1Loss", {}),
    "BCE": ("bce", "BCELoss", {}),
    "BCEWithLogits": ("bce_with_logits", "BCEWithLogitsLoss", {"pos_weight": "pos_weight"}),
    "CrossEntropy": ("cross_entropy", "CrossEntropyLoss", {"weight": "weight"}),
    "NLL": ("nll", "NLLLoss", {"weight": "weight"}),
    "KLDiv": ("kl_div", "KLDivLoss", {}),
    "PoissonNLL": ("poisson_nll", "PoissonNLLLoss", {}),
    "GaussianNLL": ("gaussian_nll", "GaussianNLLLoss", {}),
    "CosineEmbedding": ("cosine_embedding", "CosineEmbeddingLoss", {}),
    "TripletMargin": ("triplet_margin", "TripletMarginLoss", {}),
    "CTC": ("ctc", "CTCLoss", {}),
}
COMPOSED = {"LogCosh": "log_cosh", "Hinge": "hinge", "SquaredHinge": "squared_hinge", "Focal": "focal", "Dice": "dice",
            "Contrastive": "contrastive", "Cosine": "cosine_loss"}  # fmt: skip
DRAWN = 60


def cases(name: str, drawn: int) -> Iterator[Case]:
    op, peer, held = LOSSES[name]
    for i in range(drawn):
        args, params = DRAWS[op](np.random.default_rng(zlib.crc32(name.encode()) + i))
        weight = args.pop() if held else None  # what the object holds; a number of it for each class
        varied = [
            j for j, a in enumerate(args)
            if isinstance(a, np.ndarray) and a.dtype.kind == "f" and j not in CONSTANT.get(op, [])
        ]  # fmt: skip
        yield Case(
            called(lambda w, p=params: getattr(losses, name)(**p, **w), held, weight, cr.tensor, name == "CTC"),
            called(lambda w, p=params: getattr(torch.nn, peer)(**p, **w), held, weight, torch.tensor, name == "CTC"),
            args, varied, f"{name}{params}",
        )  # fmt: skip


def called(
    make: Callable[..., Any], held: Any, weight: Any, tensor: Callable[..., Any], scores: bool
) -> Callable[..., Any]:
    """Make the loss, with weights in the dtype of the prediction, and call it; CTC takes logarithms of shares."""

    def call(x: Any, *rest: Any) -> Any:
        kind = str(x.dtype).removeprefix("torch.")
        loss = make({} if weight is None else {next(iter(held)): tensor(weight.astype(kind))})
        return loss(x.log_softmax(2) if scores else x, *rest)

    return call


def composed(name: str, drawn: int) -> Iterator[Case]:
    op = COMPOSED[name]
    for i in range(drawn):
        args, params = DRAWS[op](np.random.default_rng(zlib.crc32(name.encode()) + i))
        varied = [j for j, a in enumerate(args) if a.dtype.kind == "f"]
        yield Case(
            lambda *a, p=params: getattr(losses, name)(**p)(*a),
            lambda *a, p=params: PEERS[op][0](*a, **p), args, varied, f"{name}{params}",
        )  # fmt: skip


def loss_rows(drawn: int = DRAWN) -> tuple[list[Row], dict[str, str]]:
    found = []
    for name in sorted([*LOSSES, *COMPOSED]):
        peer = f"`nn.{LOSSES[name][1]}`" if name in LOSSES else f"`{PEERS[COMPOSED[name]][1]}`"
        row = Row(f"`{name}`", peer, 64.0 if name == "CTC" else 16.0)
        for case in cases(name, drawn) if name in LOSSES else composed(name, drawn):
            run(row, case)
        found.append(row)
    for name, peer, ours, theirs in (
        ("SSE", "nn.MSELoss(reduction='sum')", losses.SSE(), torch.nn.MSELoss(reduction="sum")),
        ("CategoricalCrossEntropy", "nn.NLLLoss of the logarithm", losses.CategoricalCrossEntropy(),
         lambda x, t: torch.nn.NLLLoss()(x.log(), t)),
    ):  # fmt: skip
        row = Row(f"`{name}`", f"`{peer}`", 16.0)
        for i in range(drawn):
            random = np.random.default_rng(i)
            shares = numbers(random, 5, 4, span=(0.1, 1.0))
            target = numbers(random, 5, 4) if name == "SSE" else random.integers(0, 4, 5)
            run(row, Case(ours, theirs, [shares / shares.sum(1, keepdims=True), target], [0], name))
        found.append(row)
    return sorted(found, key=lambda r: r.name), {}


FAR = np.array([-1e4, -300.0, -100.0, -30.0, -1.0, -0.0, 0.0, 1.0, 30.0, 100.0, 300.0, 1e4])
SMOOTH = (
    "relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign softshrink hardshrink hardsigmoid hardswish hardtanh "
    "logsigmoid sigmoid tanh softmax log_softmax"
).split()


def far_rows() -> tuple[list[Row], dict[str, str]]:
    """Activations from -10 000 to 10 000, each number by itself, so that small ones are not measured by large ones."""
    found = []
    for name in SMOOTH:
        row = Row(f"`{name}`", f"`{PEERS[name][1]}`", 16.0)
        params = {"axis": 0} if name.endswith("softmax") else {}
        ours, theirs = getattr(cr, name), PEERS[name][0]
        for x in [np.array([a, b]) for a in FAR for b in FAR] if params else [np.array([a]) for a in FAR]:
            run(
                row,
                Case(lambda v, p=params, f=ours: f(v, **p), lambda v, p=params, f=theirs: f(v, **p), [x], [0], str(x)),
            )
        found.append(row)
    return found, {}
