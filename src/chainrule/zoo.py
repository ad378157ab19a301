"""Models by name, ready to train: ``zoo.create("resnet", outputs=10)``, or the functions themselves, ``zoo.resnet(10)``.

Input sizes are found at the first input, or by ``model.build``. A classifier ends in Softmax: ``fit`` trains the scores
before it, ``predict`` gives probabilities; ``softmax=False`` leaves it out, as for regression.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .domain.errors import ArgumentError, unknown
from .nn import (
    GRU,
    LSTM,
    AvgPool2d,
    BatchNorm2d,
    Bidirectional,
    ChannelsLast,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    Graph,
    Identity,
    Input,
    LayerNorm,
    LearnedPositions,
    Linear,
    Masking,
    MaxPool2d,
    Module,
    Permute,
    ReLU,
    Residual,
    Sequential,
    SinusoidalPositions,
    Softmax,
    Tanh,
    TransformerEncoder,
    TransformerEncoderLayer,
)

KINDS = ("images", "table", "sequences", "text")


def ended(layers: Sequence[Module], softmax: bool) -> Sequential:
    """Layers one after the other, and Softmax if it is wanted."""
    return Sequential(*layers, *([Softmax()] if softmax else []))


def linear(outputs: int = 10, *, softmax: bool = True) -> Sequential:
    """One linear layer: logistic regression, or linear regression with ``softmax=False``.

    >>> linear(3).build((None, 4)).summary().total
    15
    """
    return ended([Flatten(), Linear(outputs)], softmax)


def mlp(
    outputs: int = 10, *, hidden: Sequence[int] = (256, 128), dropout: float = 0.2, softmax: bool = True
) -> Sequential:
    """Linear layers with ReLU and dropout between them: about 98 % of MNIST.

    >>> mlp(10).build((None, 1, 28, 28)).summary().total
    235146
    """
    layers: list[Module] = [Flatten()]
    for width in hidden:
        layers += [Linear(width), ReLU(), Dropout(dropout)]
    return ended([*layers, Linear(outputs)], softmax)


def lenet(outputs: int = 10, *, softmax: bool = True) -> Sequential:
    """LeNet-5 (LeCun et al., 1998) with a padded first layer, full connections, and Softmax in place of its last units.

    >>> lenet(10).build((None, 1, 28, 28)).summary().total
    61706
    """
    layers = [
        *(Conv2d(6, kernel_size=5, padding=2), Tanh(), AvgPool2d(2)),
        *(Conv2d(16, kernel_size=5), Tanh(), AvgPool2d(2), Flatten()),
        *(Linear(120), Tanh(), Linear(84), Tanh(), Linear(outputs)),
    ]
    return ended(layers, softmax)


def cnn(
    outputs: int = 10,
    *,
    channels: Sequence[int] = (16, 32),
    hidden: int = 128,
    dropout: float = 0.25,
    softmax: bool = True,
) -> Sequential:
    """Convolutions with batch norm, each followed by pooling, then two linear layers: above 99 % of MNIST in a few epochs.

    >>> cnn(10).build((None, 1, 28, 28)).summary().total
    206970
    """
    layers = [layer for width in channels for layer in (*conv(width), MaxPool2d(2))]
    return ended([*layers, Flatten(), Linear(hidden), ReLU(), Dropout(dropout), Linear(outputs)], softmax)


def vgg(
    outputs: int = 10, *, channels: Sequence[int] = (32, 64, 128), dropout: float = 0.3, softmax: bool = True
) -> Sequential:
    """Stages of two 3×3 convolutions and a pooling (Simonyan and Zisserman, 2014), small, with batch norm.

    >>> vgg(10).build((None, 3, 32, 32)).summary().total
    288746
    """
    layers = [layer for width in channels for layer in (*conv(width), *conv(width), MaxPool2d(2), Dropout(dropout))]
    return ended([*layers, GlobalAvgPool2d(), Flatten(), Linear(outputs)], softmax)


def conv(channels: int, kernel_size: int = 3, stride: int = 1, *, relu: bool = True) -> list[Module]:
    """A convolution that keeps the size but for its stride, and batch norm, and ReLU."""
    layers: list[Module] = [
        Conv2d(channels, kernel_size=kernel_size, stride=stride, padding=kernel_size // 2, bias=False),
        BatchNorm2d(),
    ]
    return [*layers, ReLU()] if relu else layers


def block(channels: int, stride: int = 1, widened: bool = False) -> list[Module]:
    """A residual block of two 3×3 convolutions; a 1×1 convolution beside it where the shape changes."""
    body = Sequential(*conv(channels, 3, stride), *conv(channels, relu=False))
    shortcut = Sequential(*conv(channels, 1, stride, relu=False)) if widened or stride > 1 else Identity()
    return [Residual(body, shortcut), ReLU()]


def resnet(outputs: int = 10, *, depth: int = 20, width: int = 16, softmax: bool = True) -> Sequential:
    """The ResNet for small images (He et al., 2015, section 4.2): ``depth`` 6n + 2 layers, of ``width`` channels at first.

    >>> resnet(10).build((None, 3, 32, 32)).summary().total
    272474
    """
    if depth < 8 or (depth - 2) % 6:
        raise ArgumentError(f"[resnet] depth is {depth}, expected 6n + 2: 8, 14, 20, 32, 44, 56, 110")
    layers = conv(width)
    for stage in range(3):
        for number in range((depth - 2) // 6):
            layers += block(width << stage, stride=2 if stage and not number else 1)
    return ended([*layers, GlobalAvgPool2d(), Flatten(), Linear(outputs)], softmax)


def resnet18(outputs: int = 1000, *, width: int = 64, softmax: bool = True) -> Sequential:
    """ResNet-18 for photographs (He et al., 2015): a 7×7 convolution, then four stages of two blocks.

    >>> resnet18(1000).build((None, 3, 64, 64)).summary().total
    11689512
    """
    layers = [*conv(width, 7, 2), MaxPool2d(3, 2, padding=1)]
    for stage in range(4):
        layers += [*block(width << stage, stride=2 if stage else 1), *block(width << stage)]
    return ended([*layers, GlobalAvgPool2d(), Flatten(), Linear(outputs)], softmax)


def vit(
    outputs: int = 10,
    *,
    patch: int = 4,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    dropout: float = 0.1,
    softmax: bool = True,
) -> Sequential:
    """A vision transformer (Dosovitskiy et al., 2020), small: patches of the image are the words; their mean is classified.

    >>> vit(10).build((None, 1, 28, 28))(__import__("chainrule").zeros(2, 1, 28, 28)).shape
    (2, 10)
    """
    layers = [
        *(Conv2d(width, kernel_size=patch, stride=patch), Flatten(2), Permute((0, 2, 1)), LearnedPositions(1024)),
        *(encoder(width, depth, heads, dropout), ChannelsLast(GlobalAvgPool1d()), Flatten(), Linear(outputs)),
    ]
    return ended(layers, softmax)


def encoder(width: int, depth: int, heads: int, dropout: float) -> TransformerEncoder:
    """Transformer layers with norms before their parts, and one at the end."""
    layer = TransformerEncoderLayer(width, heads, 4 * width, dropout, "gelu", norm_first=True)
    return TransformerEncoder(layer, depth, LayerNorm(width))


def recurrent(
    layer: Callable[..., Any],
    outputs: int,
    width: int,
    layers: int,
    dropout: float,
    masking: bool,
    softmax: bool,
    text: bool,
) -> Sequential:
    """What ``lstm`` and ``gru`` make."""
    if text:
        cells = [layer(width, batch_first=True, return_sequences=True) for _ in range(layers)]
        return Sequential(Embedding(outputs, 64), *cells, Dropout(dropout), Linear(outputs), Permute((0, 2, 1)))
    cells = [Bidirectional(layer(width, batch_first=True, return_sequences=k < layers - 1)) for k in range(layers)]
    return ended([*masked(masking), *cells, Dropout(dropout), Linear(outputs)], softmax)


def masked(wanted: bool) -> list[Module]:
    """What has layers pass over steps of zeros, if it is wanted."""
    return [Masking()] if wanted else []


def lstm(
    outputs: int = 10,
    *,
    width: int = 64,
    layers: int = 1,
    dropout: float = 0.3,
    masking: bool = True,
    softmax: bool = True,
    text: bool = False,
) -> Sequential:
    """Sequences (n, steps, features) read both ways by LSTMs; with ``masking`` steps of zeros are padding.

    With ``text`` a language model, from characters (n, steps) to scores of the next ones, (n, outputs, steps).

    >>> import chainrule as cr
    >>> lstm(9)(cr.ones(2, 20, 12)).shape, lstm(65, text=True)(cr.zeros(2, 20, dtype="int64")).shape
    ((2, 9), (2, 65, 20))
    """
    return recurrent(LSTM, outputs, width, layers, dropout, masking, softmax, text)


def gru(
    outputs: int = 10,
    *,
    width: int = 64,
    layers: int = 1,
    dropout: float = 0.3,
    masking: bool = True,
    softmax: bool = True,
    text: bool = False,
) -> Sequential:
    """As ``lstm``, of GRUs.

    >>> import chainrule as cr
    >>> gru(9)(cr.ones(2, 20, 12)).shape
    (2, 9)
    """
    return recurrent(GRU, outputs, width, layers, dropout, masking, softmax, text)


def transformer(
    outputs: int = 10,
    *,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    dropout: float = 0.1,
    masking: bool = True,
    softmax: bool = True,
) -> Sequential:
    """Sequences (n, steps, features) through transformer layers; the mean over the steps is classified.

    >>> import chainrule as cr
    >>> transformer(9)(cr.ones(2, 20, 12)).shape
    (2, 9)
    """
    layers = [
        *(*masked(masking), Linear(width), SinusoidalPositions(), encoder(width, depth, heads, dropout)),
        *(ChannelsLast(GlobalAvgPool1d()), Flatten(), Linear(outputs)),
    ]
    return ended(layers, softmax)


def gpt(
    outputs: int = 256,
    *,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    context: int = 256,
    dropout: float = 0.1,
) -> Graph:
    """A decoder-only transformer (Radford et al., 2018): from tokens (n, steps) to scores of the next, (n, outputs, steps).

    ``context`` is the largest number of steps. Errors: ShapeError for more.

    >>> import chainrule as cr
    >>> gpt(65, width=32, depth=2, heads=2, context=16)(cr.zeros(2, 16, dtype="int64")).shape
    (2, 65, 16)
    """
    tokens = Input((None,), name="tokens", dtype="int64")
    x = Embedding(outputs, width, init={"name": "normal", "std": 0.02})(tokens, name="embedding")
    x = LearnedPositions(context, width)(x, name="positions")
    x = encoder(width, depth, heads, dropout)(x, is_causal=True, name="blocks")
    return Graph(tokens, Permute((0, 2, 1))(Linear(width, outputs, bias=False)(x, name="scores")))


class Entry(NamedTuple):
    """A model of the zoo: what makes it, the kinds of input it takes, a learning rate for Adam to begin with."""

    make: Callable[..., Module]
    takes: tuple[str, ...]
    lr: float = 2e-3

    @property
    def about(self) -> str:
        """The first sentence of what is said of it."""
        return (inspect.getdoc(self.make) or "").split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")

    @property
    def options(self) -> dict[str, Any]:
        """What can be chosen, with what it is if nothing is said."""
        fixed = ("outputs", "softmax", "text")
        return {k: p.default for k, p in inspect.signature(self.make).parameters.items() if k not in fixed}


MODELS = {
    "linear": Entry(linear, ("images", "table", "sequences"), 1e-2),
    "mlp": Entry(mlp, ("images", "table", "sequences")),
    "lenet": Entry(lenet, ("images",)),
    "cnn": Entry(cnn, ("images",)),
    "vgg": Entry(vgg, ("images",)),
    "resnet": Entry(resnet, ("images",)),
    "resnet18": Entry(resnet18, ("images",), 1e-3),
    "vit": Entry(vit, ("images",), 1e-3),
    "lstm": Entry(lstm, ("sequences", "text"), 3e-3),
    "gru": Entry(gru, ("sequences", "text"), 3e-3),
    "transformer": Entry(transformer, ("sequences",), 1e-3),
    "gpt": Entry(gpt, ("text",), 1e-3),
}


def create(name: str, outputs: int, *, kind: str | None = None, softmax: bool = True, **options: Any) -> Module:
    """The model ``name`` with so many outputs, for input of a ``kind``: "images" (n, channels, h, w), "table" (n, features),
    "sequences" (n, steps, features), "text" (n, steps); None is the first that the model takes.

    ``options`` are those of its function. Errors: ArgumentError for a name or an option that is not known, with the
    nearest, and for input that the model does not take.

    >>> create("mlp", 3, kind="table", hidden=[16], dropout=0.0).build((None, 4)).summary().total
    131
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    entry = MODELS[name]
    kind = entry.takes[0] if kind is None else kind
    if kind not in entry.takes:
        fitting = ", ".join(known for known, other in MODELS.items() if kind in other.takes)
        raise ArgumentError(f"[zoo] {name} takes {' or '.join(entry.takes)}, not {kind}; {fitting or 'none'} would")
    for option, value in options.items():
        if option not in entry.options:
            raise unknown(f"option of {name}", option, entry.options or ["none"])
        if not suits(value, entry.options[option]):
            default = entry.options[option]
            kinds = {tuple: "sizes, as [64, 32]", float: "a number", bool: "true or false", int: "a size"}
            raise ArgumentError(
                f"[zoo] {name}: {option} is {value!r}, expected {kinds[type(default)]}; {default!r} if it is left out"
            )
    fixed = {"softmax": softmax and kind != "text", "text": kind == "text"}
    taken = inspect.signature(entry.make).parameters
    return entry.make(outputs, **{k: v for k, v in fixed.items() if k in taken}, **options)


def suits(value: Any, default: Any) -> bool:
    """Whether a value is of the kind of a default: true or false, a size, several, or a number.

    >>> suits([3, 4], (5,)), suits(3, (5,)), suits(1, 0.5), suits(True, 0.5)
    (True, False, True, False)
    """
    if isinstance(default, tuple):
        return isinstance(value, (list, tuple)) and bool(value) and all(type(v) is int for v in value)
    return type(value) in (float, int) if isinstance(default, float) else type(value) is type(default)
