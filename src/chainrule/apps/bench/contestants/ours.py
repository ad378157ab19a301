"""chainrule's side: each case eagerly, or recorded by ``cr.jit``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chainrule as cr
from chainrule import losses, nn, optim

from .cases import BATCH, CHARACTERS, GPT, Case, Job, UnavailableError, data, weights


class Ours(Job):
    """Tensors, on the tape or not."""

    def array(self, x: Any) -> Any:
        """See Job."""
        return x.detach().numpy() if isinstance(x, cr.Tensor) else x


def version(spec: Any) -> str:
    """What runs. Errors: UnavailableError if it is not of the folder that is to race."""
    found = Path(cr.__file__).resolve().parent.parent
    if found != Path(spec["root"]).resolve():
        raise UnavailableError(f"chainrule was imported from {found}, not from {spec['root']}")
    return f"chainrule {cr.__version__}"


def recorded(f: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """``f``, recorded if that is the mode. Errors: UnavailableError where there is no ``cr.jit``."""
    if mode != "jit":
        return f
    jit: Any = getattr(cr, "jit", None)
    if not callable(jit):
        raise UnavailableError("recorded steps (cr.jit) are not there")
    return jit(f)  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Token and position embeddings, pre-norm blocks of causal attention with a GELU layer of 4 d, scores."""

    def __init__(self, name: str) -> None:
        g = GPT[name]
        self.embedding = nn.Embedding(CHARACTERS, g.width)
        self.positions = nn.LearnedPositions(g.length, g.width)
        block = nn.TransformerEncoderLayer(g.width, g.heads, 4 * g.width, 0.0, "gelu", norm_first=True)
        self.blocks = nn.TransformerEncoder(block, g.layers, nn.LayerNorm(g.width))
        self.scores = nn.Linear(g.width, CHARACTERS, bias=False)

    def forward(self, tokens: Any) -> Any:
        y = self.blocks(self.positions(self.embedding(tokens)), is_causal=True)
        return self.scores(y).reshape((-1, CHARACTERS))


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
        model = nn.Sequential(nn.LSTM(64, 128), nn.Linear(128, 10))
    else:
        model = Transformer(what)
    model.to(dtype)
    model.load_state_dict(weights(what, dtype), strict=False)  # what is left are statistics of norms
    return model


def build(case: Case, spec: dict[str, Any], check: bool) -> Job:
    """The step of a case."""
    dtype, mode = spec["dtype"], spec["mode"]
    arrays = data(case, spec["scale"], dtype)
    if case.job == "fit":
        return fitted(case, arrays, dtype, mode, check)
    tensors = {name: cr.tensor(a) for name, a in arrays.items()}
    if case.job == "train":
        return trained(case, tensors, dtype, mode, check)
    if case.job == "grad":
        return gradients(case, tensors, mode)
    f: Any = {
        "conv2d": lambda x, w: cr.conv2d(x, w, padding=1),
        "max_pool2d": lambda x: cr.max_pool2d(x, 2),
        "avg_pool2d": lambda x: cr.avg_pool2d(x, 2),
    }.get(case.what) or getattr(cr, case.what)
    f, arguments = recorded(f, mode), tuple(tensors.values())
    return Ours(lambda: f(*arguments))


def trained(case: Case, tensors: dict[str, Any], dtype: str, mode: str, check: bool) -> Job:
    """Forward, cross-entropy, backward, Adam."""
    x, y = tensors["x"], tensors["y"]
    model, loss = network(case.what, dtype, check), losses.CrossEntropy()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    run = recorded(step, mode)
    return Ours(lambda: run(x, y))


def gradients(case: Case, tensors: dict[str, Any], mode: str) -> Job:
    """Gradients of a function; of the tape that is there already where only they are wanted."""
    if case.what == "tiny":
        x = tensors["x"].requires_grad_()

        def tiny() -> Any:
            x.grad = None
            (x * 2.0).sum().backward()
            return x.grad

        if mode == "jit":
            f = recorded(lambda a: cr.grad((a * 2.0).sum(), [a])[0], mode)
            return Ours(lambda: f(x))
        return Ours(tiny)
    *inputs, g = tensors.values()
    for t in inputs:
        t.requires_grad_()

    def both(*arguments: Any) -> Any:
        *given, g = arguments
        y = cr.conv2d(*given, padding=1) if case.what == "conv2d" else cr.linear(*given)
        found = cr.grad(y, given, g)
        return (y, *found) if case.what == "conv2d" else found

    if mode == "jit" or case.what == "conv2d":
        run = recorded(both, mode)
        return Ours(lambda: run(*inputs, g))
    y = cr.linear(*inputs)
    return Ours(lambda: cr.grad(y, inputs, g, retain_graph=True))


def fitted(case: Case, arrays: dict[str, Any], dtype: str, mode: str, check: bool) -> Job:
    """An epoch through ``fit``, with metrics and a progress bar."""
    model = network(case.what, dtype, check)
    options: dict[str, Any] = {}
    if "jit" in inspect.signature(model.compile).parameters:
        options["jit"] = mode == "jit"
    elif mode == "jit":
        raise UnavailableError("compile takes no jit yet")
    model.compile(
        loss="cross_entropy", optimizer=optim.Adam(model.parameters(), lr=1e-3), metrics=["accuracy"], **options
    )
    x, y = (a[: 10 * BATCH[case.what]] if check else a for a in (arrays["x"], arrays["y"]))

    def epoch() -> Any:
        history = model.fit(x, y, batch_size=BATCH[case.what], shuffle=not check, verbose=0 if check else 1)
        return [history.history["loss"][-1]]

    return Ours(epoch)
