"""What goes on in a network that reads a picture: the maps of its first convolution, and the pixels that its answer hangs on.

Both run the model itself; while other threads use it, hold their lock, as ``DigitPredictor.feature_maps`` and
``DigitPredictor.saliency`` do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autograd import grad
from ..creation import from_numpy
from ..domain.errors import ArgumentError, DataError
from ..modes import no_grad
from ..nn import Conv2d, LogSoftmax, Module, Softmax
from ..nn.dropout import Noise
from ..nn.norm import BatchNorm
from ..nn.sample_norm import GroupNorm, LastAxes
from ..random import Generator
from ..tensor import Tensor
from ..train.batches import place
from ..train.mode import mode

BETWEEN = (BatchNorm, GroupNorm, LastAxes, Noise)  # what may stand between a convolution and its activation
SAMPLES, NOISE = 32, 0.15  # of SmoothGrad: copies of the picture, and the deviation of their noise
TINY = 1e-30  # a probability of 0 has a logarithm all the same


class FeatureMaps(NamedTuple):
    """What a layer makes of a picture."""

    layer: str  #: the layers by path and class, from the convolution to its activation
    maps: Any  #: float32 (channels, height, width)


def feature_maps(model: Module, picture: Any) -> FeatureMaps:
    """The maps of the first convolution that runs, after its normalization and activation where these are layers.

    ``picture`` is float (28, 28), or (channels, height, width) as the model takes it. Errors: ArgumentError for a model
    without a Conv2d, DataError for a picture of another rank.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(10))
    >>> found = feature_maps(model, np.eye(28))
    >>> found.layer, found.maps.shape, bool(found.maps.min() >= 0)
    ('0 Conv2d, 1 ReLU', (4, 26, 26), True)
    """
    x = batch_of(model, picture, 1)
    names: list[str] = []
    last: Any = None  # the newest output on the way from the convolution to its activation
    ended = False
    handles = []
    for path, module in model.named_modules():
        if any(True for _ in module.children()):
            continue

        def see(module: Any, inputs: Any, output: Any, path: str = path) -> None:
            nonlocal last, ended
            if ended or (last is None and not isinstance(module, Conv2d)):
                return
            if last is not None:
                if inputs[0] is not last:  # another branch
                    return
                ended = not isinstance(module, BETWEEN)
                if isinstance(module, Conv2d) or output.shape != last.shape:
                    return
            last = output
            names.append(f"{path} {type(module).__name__}".strip())

        handles.append(module.register_forward_hook(see))
    try:
        with no_grad(), mode(model, training=False):
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    if last is None:
        raise ArgumentError("[feature_maps] the model has no Conv2d, so there are no maps: give one with convolutions")
    return FeatureMaps(", ".join(names), last.detach().to(dtype="float32").numpy()[0])


def saliency(
    model: Module,
    picture: Any,
    label: int | None = None,
    *,
    samples: int = SAMPLES,
    noise: float = NOISE,
    seed: int = 0,
) -> Any:
    """How much each pixel moves the score of a class: float32 in the shape of the picture, from 0 to 1.

    SmoothGrad (Smilkov et al., 2017): abs(mean over k of dS(x + n_k) / dx), n_k normal with deviation ``noise``, divided by
    its maximum. S is the score of class ``label`` (by default the likeliest) before a softmax at the end of the model. With
    ``noise=0`` it is the plain gradient, abs(dS(x) / dx) (Simonyan et al., 2013). A picture that moves nothing gives zeros.
    Errors: ArgumentError for a label that is no class or fewer than 1 sample, DataError for a picture of another rank.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    >>> found = saliency(model, np.eye(28), label=3)
    >>> weights = np.abs(model[1].weight.numpy()[3]).reshape(28, 28)
    >>> np.allclose(found, weights / weights.max(), atol=1e-5)
    True
    """
    if samples < 1 or noise < 0:
        raise ArgumentError(f"[saliency] samples is {samples} and noise {noise}, expected 1 or more and 0 or more")
    x = batch_of(model, picture, 1)
    with mode(model, training=False):
        with no_grad():
            best = scores(model, x).numpy()[0]
        chosen = int(best.argmax()) if label is None else label
        if not 0 <= chosen < len(best):
            raise ArgumentError(f"[saliency] label is {label}, expected a class from 0 to {len(best) - 1}")
        if noise:
            x = batch_of(model, picture, samples)
            x = x + noise * Generator(seed).normal(x.shape).to(device=x.device, dtype=x.dtype)
        x = x.detach()
        x.requires_grad = True
        (gradient,) = grad(scores(model, x)[:, chosen].sum(), x)
    size = np.abs(gradient.to(dtype="float32").numpy().mean(axis=0))
    most = size.max()
    found = size / most if most > 0 else size
    return found[0] if np.ndim(picture) == 2 else found


def scores(model: Module, x: Tensor) -> Tensor:
    """The scores (n, classes) that a softmax makes probabilities of: what goes into one at the end of the model.

    Of a model that gives probabilities in another way they are its logarithms; of all others the output.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Softmax())
    >>> x = from_numpy(np.ones((1, 2), np.float32))
    >>> np.allclose(scores(model, x).softmax(axis=1).numpy(), model(x).numpy())
    True
    """
    kept: list[tuple[Module, Tensor, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda module, inputs, output: kept.append((module, inputs[0], output)))
        for module in model.modules()
        if isinstance(module, (Softmax, LogSoftmax))
    ]
    try:
        output: Tensor = model(x)
    finally:
        for handle in handles:
            handle.remove()
    if kept and kept[-1][2] is output:
        last, given, _ = kept[-1]
        return given / last.temperature if isinstance(last, Softmax) and last.temperature != 1 else given
    rows = output.detach().numpy()
    if (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1.0, atol=1e-4):
        return (output + TINY).log()
    return output


def batch_of(model: Module, picture: Any, count: int) -> Tensor:
    """A picture ``count`` times, as the model takes it."""
    array = np.asarray(picture)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.size == 0:
        raise DataError(
            f"[digits] the picture has shape {list(np.shape(picture))}, expected [h, w] or [channels, h, w]"
        )
    device, dtype = place(model)
    return from_numpy(np.repeat(array[None], count, axis=0).astype(np.float64)).to(device=device, dtype=dtype)
