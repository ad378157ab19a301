"""What is inside a model: its filters, what its layers make of an image, its weights and gradients, where attention looks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autograd import grad
from ..creation import as_tensor
from ..domain.errors import ArgumentError, DataError, unknown
from ..modes import no_grad
from ..nn import Conv2d, Linear, Module, MultiHeadAttention
from ..tensor import Tensor
from ..train.batches import training_batches
from ..train.mode import mode
from ..train.plots import blank, written
from ..train.step import Step
from .sheet import put, sheet, tiled

Path = str | os.PathLike[str] | None
BINS = 60
CELL = 0.85  # inches of a map
DIVERGING = "RdBu_r"  # red above zero, blue below


def layer_of(name: str, model: Module, kinds: tuple[type[Module], ...], path: str | None) -> tuple[str, Any]:
    """The layer at a path, or the first of some kinds. Errors: ArgumentError."""
    found = {p: m for p, m in model.named_modules() if isinstance(m, kinds)}
    if not found:
        raise ArgumentError(f"[plots.{name}] the model has no {' or '.join(kind.__name__ for kind in kinds)}")
    if path is None:
        return next(iter(found.items()))
    if path not in found:
        raise unknown("layer", path, found)
    return path, found[path]


def image_of(name: str, x: Any) -> Tensor:
    """One image as a batch (1, channels, h, w), from (channels, h, w) or a batch, whose first it is."""
    tensor = as_tensor(x)
    tensor = tensor if tensor.ndim == 4 else tensor.reshape(1, *tensor.shape)
    if tensor.ndim != 4 or not tensor.size:
        raise DataError(
            f"[plots.{name}] x has shape {tuple(tensor.shape)}, expected an image (channels, height, width)"
        )
    return tensor[:1]


def filters(
    model: Module, layer: str | None = None, path: Path = None, *, shape: tuple[int, int] | None = None, most: int = 64
) -> Any:
    """The weights of a convolution as images, one for each output, with the same colours for the same numbers.

    ``layer`` is a path ("0.conv"); by default the first convolution, or without any the first linear layer, whose inputs are
    taken for a square image, or one of ``shape``. Kernels of three channels are shown in colour, of others the first channel.
    Errors: ArgumentError.

    >>> from chainrule import nn
    >>> len(filters(nn.Sequential(nn.Conv2d(1, 8, 5))).axes[0].images)
    8
    """
    some = any(isinstance(m, Conv2d) for m in model.modules()) and layer is None
    where, chosen = layer_of("filters", model, (Conv2d,) if some else (Conv2d, Linear), layer)
    weight = chosen.weight.detach().to(dtype="float32").numpy()
    if weight.ndim == 2:
        side = round(weight.shape[1] ** 0.5)
        size = (side, side) if shape is None else shape
        if size[0] * size[1] != weight.shape[1]:
            raise ArgumentError(
                f"[plots.filters] layer {where!r} has {weight.shape[1]} inputs, which are no square image: give shape=(h, w)"
            )
        weight = weight.reshape(-1, 1, *size)
    images = weight[:most]
    limit = float(np.abs(images).max()) or 1.0
    columns = min(len(images), 16 if len(images) > 32 else 8)
    shown = f", {most} of {len(weight)}" if len(weight) > most else ""
    title = f"{where or type(chosen).__name__}: filters {tuple(chosen.weight.shape)}{shown}"
    images = images / (2 * limit) + 0.5 if images.shape[1] == 3 else images[:, :1]
    options: dict[str, Any] = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}
    return written(tiled("plots.filters", images, title, cell=0.72, columns=columns, **options), path)


def feature_maps(
    model: Module, x: Any, path: Path = None, *, layers: Sequence[str] | None = None, most: int = 12, rows: int = 8
) -> Any:
    """What layers make of an image (channels, h, w): a row for each layer, its first ``most`` channels, and the image first.

    ``layers`` are paths; by default all that give maps, at most ``rows`` of them, evenly taken. Errors: ArgumentError for a
    model that makes no maps, DataError.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2))
    >>> figure = feature_maps(model, cr.rand(1, 8, 8))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['image', '0 Conv2d', '1 ReLU']
    """
    image = image_of("feature_maps", x)
    found: list[tuple[str, Any]] = []
    known = {p: m for p, m in model.named_modules() if p}
    for wanted in layers or ():
        if wanted not in known:
            raise unknown("layer", wanted, known)
    chosen = {p: m for p, m in known.items() if (p in layers if layers else not any(True for _ in m.children()))}
    handles = []
    for name, module in chosen.items():

        def keep(module: Any, inputs: Any, output: Any, name: str = name) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                found.append((f"{name} {type(module).__name__}", output.detach().to(dtype="float32").numpy()[0]))

        handles.append(module.register_forward_hook(keep))
    try:
        with no_grad(), mode(model, training=False):
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ArgumentError("[plots.feature_maps] no layer of the model gives maps (n, channels, height, width)")
    if len(found) > rows and layers is None:
        found = [found[k] for k in np.unique(np.linspace(0, len(found) - 1, rows).round().astype(int))]
    lines = [("image", image.to(dtype="float32").numpy()[0]), *found]
    columns = min(most, max(len(maps) for _, maps in found))
    left = 0.4 + 0.065 * max(len(name) for name, _ in lines)
    figure, axes = sheet("plots.feature_maps", left + CELL * columns + 0.1, CELL * len(lines) + 0.1)
    for row, (name, maps) in enumerate(lines):
        y = 0.05 + CELL * row
        colour = row == 0 and len(maps) == 3
        for k, one in enumerate([np.clip(maps.transpose(1, 2, 0), 0, 1)] if colour else maps[:columns]):
            put(axes, one, left + CELL * k, y, CELL - 0.06, CELL - 0.06, cmap="viridis" if row else "gray")
        axes.text(left - 0.12, y + CELL / 2, name, ha="right", va="center", fontsize=8)
    return written(figure, path)


def histograms(name: str, title: str, values: dict[str, Any], path: Path) -> Any:
    """A panel for each name: how its values are spread."""
    columns = min(len(values), 4)
    lines = -(-len(values) // columns)
    figure = blank(f"plots.{name}", 2.7 * columns, 1.7 * lines + 0.4)
    figure.suptitle(title, fontsize=10)
    for k, (label, array) in enumerate(values.items()):
        axes = figure.add_subplot(lines, columns, k + 1)
        flat = array.reshape(-1).astype(np.float64)
        finite = flat[np.isfinite(flat)]
        axes.hist(finite, bins=BINS if finite.size > 1 else 1, color="#4477aa")
        axes.set_title(label, fontsize=8)
        bad = flat.size - finite.size
        spread = f"mean {finite.mean():.2g}, std {finite.std():.2g}" if finite.size else "no finite number"
        axes.set_xlabel(spread + (f", {bad} not finite" if bad else ""), fontsize=7)
        axes.tick_params(labelsize=6)
        axes.set_yticks([])
    return written(figure, path)


def ending(name: str, most: int = 26) -> str:
    """A long path without its beginning."""
    return name if len(name) <= most else f"…{name[-most:]}"


def weights(model: Module, path: Path = None, *, most: int = 24) -> Any:
    """How the values of each parameter are spread: a histogram for each, those of matrices and filters first.

    >>> from chainrule import nn
    >>> [axes.get_title() for axes in weights(nn.Sequential(nn.Linear(3, 2))).axes]
    ['0.weight (2, 3)', '0.bias (2,)']
    """
    parameters = sorted(model.named_parameters(), key=lambda item: item[1].ndim < 2)[:most]
    if not parameters:
        raise ArgumentError("[plots.weights] the model has no parameters")
    found = {f"{ending(name)} {tuple(p.shape)}": p.detach().to(dtype="float32").numpy() for name, p in parameters}
    return histograms("weights", "weights", found, path)


def training_loss(name: str, model: Module, x: Any, y: Any, batch_size: int) -> Tensor:
    """The loss of the first batch as training has it, on the tape; buffers, as statistics of batch norms, stay as they are."""
    batches, _ = training_batches(model, x, y, batch_size, shuffle=False)
    batch, step = next(iter(batches)), Step(model, name, accumulate=1)
    if not model.is_built:
        with no_grad(), mode(model, training=False):
            step.measure(batch, training=False)
    kept = [(buffer, buffer.clone()) for _, buffer in model.named_buffers()]
    with mode(model, training=True):
        loss: Tensor = step.measure(batch).total
    with no_grad():
        for buffer, before in kept:
            buffer[...] = before
    return loss


def gradients(model: Module, x: Any, y: Any = None, path: Path = None, *, batch_size: int = 64) -> Any:
    """How large the gradients of each parameter are, of the loss of one batch of a compiled model, from the first layer to
    the last: the median, and from the 5th to the 95th of 100. Gradients that vanish, explode or are 0 are seen at once.

    Data is given as to ``fit``. The model stays as it is. Errors: those of ``fit``.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(4, 8), cr.nn.ReLU(), cr.nn.Linear(8, 1)).compile("mse")
    >>> figure = gradients(model, cr.randn(16, 4), cr.randn(16, 1))
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    loss = training_loss("plots.gradients", model, x, y, batch_size)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    found = grad(loss, [p for _, p in named], allow_unused=True)
    arrays = [None if g is None else np.abs(g.to(dtype="float32").numpy().reshape(-1)) for g in found]
    figure = blank("plots.gradients", 7.2, max(2.2, 0.24 * len(named) + 1.1))
    axes = figure.subplots()
    for k, values in enumerate(arrays):
        positive = np.zeros(0) if values is None else values[np.isfinite(values) & (values > 0)]
        if positive.size:
            low, middle, high = np.quantile(positive, (0.05, 0.5, 0.95))
            axes.plot([low, high], [k, k], color="#4477aa", linewidth=5, alpha=0.5, solid_capstyle="butt")
            axes.plot([middle], [k], "|", color="#4477aa", markersize=11, markeredgewidth=2)
        bad = 0 if values is None else int((~np.isfinite(values)).sum())
        zero = 1.0 if values is None else 1 - (positive.size + bad) / max(values.size, 1)
        notes = ["no gradient"] if values is None else [f"{zero:.0%} are 0"] if zero > 0.01 else []
        notes += [f"{bad} not finite"] if bad else []
        axes.annotate(", ".join(notes), (1.01, k), xycoords=("axes fraction", "data"), fontsize=7, va="center")
    axes.set_yticks(range(len(named)), [ending(name, 40) for name, _ in named], fontsize=8)
    axes.invert_yaxis()
    axes.set(
        xscale="log",
        xlabel="size of the gradient: median, 5th to 95th of 100",
        title=f"gradients of a batch, loss {loss.item():.4g}",
    )
    axes.grid(alpha=0.3, axis="x")
    return written(figure, path)


@contextmanager
def watched(model: Module) -> Iterator[list[tuple[str, Any]]]:
    """Inside, what each attention layer of the model takes from where is kept: (path, weights (n, heads, t, s))."""
    kept: list[tuple[str, Any]] = []
    layers = [(p, m) for p, m in model.named_modules() if isinstance(m, MultiHeadAttention)]
    if not layers:
        raise ArgumentError("[plots.attention] the model has no MultiHeadAttention")
    for name, layer in layers:

        def forward(*inputs: Any, layer: Any = layer, name: str = name, **named: Any) -> Any:
            options = {**named, "need_weights": True, "average_attn_weights": False}
            y, found = type(layer).forward(layer, *inputs, **options)
            kept.append((name, found.detach().to(dtype="float32").numpy()))
            return (y, found) if named.get("need_weights") else y

        vars(layer)["forward"] = forward
    try:
        yield kept
    finally:
        for _, layer in layers:
            del vars(layer)["forward"]


def attention(model: Module, x: Any, tokens: Sequence[str] | None = None, path: Path = None, *, heads: int = 8) -> Any:
    """Where each attention layer looks, for one sequence: a row for each layer, a panel for each of its first heads.

    ``x`` is what the model takes for it, with or without the batch; ``tokens`` are written at the axes. Rows of a panel are
    queries, columns keys; darker is more, up to the share in the title. Errors: ArgumentError for a model without attention.

    >>> import chainrule as cr
    >>> model = cr.zoo.create("gpt", 30, width=16, depth=2, heads=2, context=8)
    >>> figure = attention(model, np.arange(8), tokens="deep nets")
    >>> len(figure.axes)
    4
    """
    given = as_tensor(x)
    alone = given.ndim == 1 if not given.is_floating else given.ndim == 2
    batch = given.reshape(1, *given.shape) if alone else given[:1]
    with watched(model) as kept, no_grad(), mode(model, training=False):
        model(batch)
    columns = min(heads, max(found.shape[1] for _, found in kept))
    side = 2.0 if tokens is None or len(tokens) <= 16 else 2.8
    figure = blank("plots.attention", side * columns + 0.4, side * len(kept) + 0.3)
    grid = figure.subplots(len(kept), columns, squeeze=False)
    for row, (name, found) in zip(grid, kept, strict=True):
        for head, axes in enumerate(row):
            if head >= found.shape[1]:
                axes.set_visible(False)
                continue
            matrix = found[0, head]
            axes.imshow(matrix, cmap="Blues", vmin=0)
            axes.set_title(f"{ending(name)}, head {head + 1}, to {matrix.max():.0%}", fontsize=7)
            axes.tick_params(labelsize=6)
            axes.locator_params(integer=True)
            if tokens is not None:
                queries, keys = (list(tokens)[:n] for n in matrix.shape)
                axes.set_xticks(range(len(keys)), [repr(t)[1:-1] if t.isspace() else t for t in keys])
                axes.set_yticks(range(len(queries)), [repr(t)[1:-1] if t.isspace() else t for t in queries])
    figure.supxlabel("key", fontsize=8)
    figure.supylabel("query", fontsize=8)
    return written(figure, path)
