"""Surfaces: the loss around the weights of a model, and what a model says of each point of a plane."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..creation import tensor
from ..domain.errors import ArgumentError, DataError
from ..modes import no_grad
from ..nn import Module
from ..tensor import Tensor
from ..train.batches import training_batches
from ..train.mode import mode
from ..train.plots import blank, written
from ..train.step import Step

Path = str | os.PathLike[str] | None


def direction(weights: dict[str, Any], generator: Any) -> dict[str, Any]:
    """A random direction in which each filter, or row, has the length it has in the model; vectors stay where they are."""
    found = {}
    for name, value in weights.items():
        if value.ndim < 2:
            found[name] = np.zeros_like(value)
            continue
        random = generator.standard_normal(value.shape).astype(value.dtype)
        axes = tuple(range(1, value.ndim))
        lengths = [np.sqrt((v.astype(np.float64) ** 2).sum(axis=axes, keepdims=True)) for v in (value, random)]
        found[name] = (random * lengths[0] / np.maximum(lengths[1], 1e-12)).astype(value.dtype)
    return found


def loss_landscape(
    model: Module,
    x: Any,
    y: Any = None,
    path: Path = None,
    *,
    span: float = 1.0,
    steps: int = 21,
    batch_size: int = 256,
    seed: int = 0,
) -> Any:
    """The loss of one batch of a compiled model on a plane of weights around those it has, and along its two axes.

    The plane has two random directions, in which each filter is as long as in the model (Li et al., 2018), from ``-span`` to
    ``span``; it takes ``steps``² passes of the batch. Data is given as to ``fit``; the model stays as it is. Errors:
    ArgumentError, those of ``fit``.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(4, 8), cr.nn.Tanh(), cr.nn.Linear(8, 1)).compile("mse")
    >>> figure = loss_landscape(model, cr.randn(16, 4), cr.randn(16, 1), steps=5)
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['loss around the weights', 'along two directions']
    """
    if steps < 3 or not span > 0:
        raise ArgumentError(
            f"[plots.loss_landscape] steps is {steps}, span {span}; expected at least 3, and more than 0"
        )
    batches, _ = training_batches(model, x, y, batch_size, shuffle=False)
    batch, step = next(iter(batches)), Step(model, "plots.loss_landscape", accumulate=1)
    if not model.is_built:
        with no_grad(), mode(model, training=False):
            step.measure(batch, training=False)
    named = dict(model.named_parameters())
    before = {name: p.detach().numpy().copy() for name, p in named.items()}
    generator = np.random.default_rng(seed)
    one, other = direction(before, generator), direction(before, generator)
    places = np.linspace(-span, span, steps | 1)
    losses = np.empty((len(places), len(places)))
    try:
        with no_grad(), mode(model, training=False):
            for i, a in enumerate(places):
                for j, b in enumerate(places):
                    for name, p in named.items():
                        if before[name].ndim > 1:
                            p.load(tensor(before[name] + np.float32(b) * one[name] + np.float32(a) * other[name]))
                    losses[i, j] = step.measure(batch, training=False).total.item()
    finally:
        for name, p in named.items():
            p.load(tensor(before[name]))
    figure = blank("plots.loss_landscape", 10.4, 4.2)
    left, right = figure.subplots(1, 2)
    shown = np.where(np.isfinite(losses), losses, np.nan)
    low, high = np.nanmin(shown), np.nanquantile(shown, 0.98)
    levels = np.linspace(low, high if high > low else low + 1, 24)
    drawn = left.contourf(places, places, shown, levels=levels, extend="max", cmap="viridis")
    left.contour(places, places, shown, levels=levels[::2], colors="white", linewidths=0.4)
    left.plot(0, 0, "x", color="red")
    left.set(title="loss around the weights", xlabel="direction 1", ylabel="direction 2", aspect="equal")
    figure.colorbar(drawn, ax=left, label="loss", format="%.3g")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(nbins=5)
    middle = len(places) // 2
    right.plot(places, losses[middle], label="direction 1")
    right.plot(places, losses[:, middle], label="direction 2")
    right.set(title="along two directions", xlabel="distance from the weights", ylabel="loss")
    right.grid(alpha=0.3)
    right.legend()
    return written(figure, path)


def decision_boundary(
    model: Module,
    x: Any,
    y: Any = None,
    path: Path = None,
    *,
    features: tuple[int, int] = (0, 1),
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    steps: int = 200,
) -> Any:
    """What a classifier says of each point of a plane, with the samples ``x`` (n, features) in the colours of their labels.

    Of more than two features the plane is through the mean of the others. Paler is less sure. A model of one output says yes
    above 0.5, or above 0 if it gives scores. Errors: DataError, ArgumentError.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 8), cr.nn.Tanh(), cr.nn.Linear(8, 3))
    >>> figure = decision_boundary(model, cr.randn(30, 2), np.arange(30) % 3, steps=20)
    >>> figure.axes[0].get_xlabel()
    'feature 0'
    """
    points = x.numpy() if isinstance(x, Tensor) else np.asarray(x, np.float32)
    if points.ndim != 2 or points.shape[1] < 2 or not len(points):
        raise DataError(f"[plots.decision_boundary] x has shape {points.shape}, expected (n, features) of two or more")
    if len(set(features)) != 2 or not all(0 <= k < points.shape[1] for k in features):
        raise ArgumentError(
            f"[plots.decision_boundary] features are {features}, expected two of 0 to {points.shape[1] - 1}"
        )
    one, other = features
    low, high = points.min(axis=0), points.max(axis=0)
    edge = np.where(high > low, 0.08 * (high - low), 1.0)
    across, up = (np.linspace(low[k] - edge[k], high[k] + edge[k], steps) for k in features)
    grid = np.tile(points.mean(axis=0).astype(np.float32), (steps * steps, 1))
    grid[:, one], grid[:, other] = np.tile(across, steps), np.repeat(up, steps)
    output: Any = model.predict(grid.astype(points.dtype))
    chances = output.reshape(len(grid), -1)
    if chances.shape[1] == 1:
        yes = chances.numpy()
        yes = yes if ((yes >= 0) & (yes <= 1)).all() else 1 / (1 + np.exp(-np.clip(yes, -500, 500)))
        shares = np.concatenate([1 - yes, yes], axis=1)
    else:
        rows = chances.numpy()
        sums = (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-4)
        shares = rows if sums else chances.softmax(axis=1).numpy()
    figure = blank("plots.decision_boundary", 5.6, 4.6)
    axes = figure.subplots()
    from matplotlib import colormaps

    n = shares.shape[1]
    colours = colormaps["tab10" if n <= 10 else "tab20"](np.arange(n) % 20)[:, :3]
    said = shares.argmax(axis=1)
    sure = np.clip((shares.max(axis=1) - 1 / n) / (1 - 1 / n), 0, 1)[:, None] * 0.6
    image = np.clip(colours[said] * sure + (1 - sure), 0, 1).reshape(steps, steps, 3)
    axes.imshow(image, origin="lower", extent=(across[0], across[-1], up[0], up[-1]), aspect="auto")
    labels = [*map(str, range(n))] if classes is None else [*classes]
    if y is not None:
        true = np.asarray(y.numpy() if isinstance(y, Tensor) else y).reshape(-1).astype(int)
        for c in np.unique(true):
            at = points[true == c]
            axes.scatter(
                at[:, one], at[:, other], s=16, color=colours[c % n], edgecolor="black", linewidth=0.4, label=labels[c]
            )
        axes.legend(fontsize=8)
    titles = [f"feature {k}" for k in features] if names is None else [names[k] for k in features]
    through = "" if points.shape[1] == 2 else "other features at their means"
    axes.set(xlabel=titles[0], ylabel=titles[1], title=through)
    return written(figure, path)
