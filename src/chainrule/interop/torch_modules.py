"""Modules of PyTorch as modules of ours, with their weights, and the other way. PyTorch is imported here alone.

Most layers are a line of a table, because their names and arguments are one: LAYERS. The others are functions.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from .. import nn
from ..domain.errors import ArgumentTypeError, ChainruleError, MissingDependencyError, NotSupportedError
from ..io.checkpoint import filled
from ..io.loading import packed
from ..nn.state import places

CONV = "in_channels out_channels kernel_size stride padding dilation groups bias? padding_mode"
TRANSPOSED = "in_channels out_channels kernel_size stride padding output_padding groups bias? dilation"
NORM = "num_features eps momentum affine track_running_stats"
MAX_POOL = "kernel_size stride padding dilation return_indices ceil_mode"
AVG_POOL = "kernel_size stride padding ceil_mode count_include_pad"
RECURRENT = "input_size hidden_size num_layers bias batch_first dropout bidirectional"
LAYERS = f"""
Linear: in_features out_features bias?
Conv1d Conv2d Conv3d: {CONV}
ConvTranspose1d ConvTranspose2d: {TRANSPOSED}
BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d: {NORM}
LayerNorm: normalized_shape eps elementwise_affine bias?
RMSNorm: normalized_shape eps elementwise_affine
GroupNorm: num_groups num_channels eps affine
MaxPool1d MaxPool2d: {MAX_POOL}
AvgPool1d AvgPool2d: {AVG_POOL}
LPPool1d LPPool2d: norm_type kernel_size stride ceil_mode
AdaptiveAvgPool1d AdaptiveAvgPool2d: output_size
AdaptiveMaxPool1d AdaptiveMaxPool2d: output_size return_indices
ReLU ReLU6 Sigmoid Tanh SELU SiLU Mish Softsign LogSigmoid Identity Hardsigmoid/HardSigmoid Hardswish/HardSwish:
LeakyReLU: negative_slope
GELU: approximate
Softmax LogSoftmax GLU: dim/axis
ELU CELU: alpha
Softplus: beta threshold
Hardtanh/HardTanh: min_val max_val
Threshold: threshold value
Softshrink Hardshrink: lambd
PReLU: num_parameters
Dropout Dropout1d Dropout2d AlphaDropout: p
Flatten: start_dim/start_axis end_dim/end_axis
Unflatten: dim/axis unflattened_size/sizes
PixelShuffle: upscale_factor
PixelUnshuffle: downscale_factor
Embedding: num_embeddings embedding_dim padding_idx
RNN: nonlinearity {RECURRENT}
LSTM GRU: {RECURRENT}
"""
THEIR_OPTIONS: dict[str, dict[str, Any]] = {  # what these have to be, because ours have nothing like them
    "AvgPool2d": {"divisor_override": None},
    "Embedding": {"max_norm": None, "scale_grad_by_freq": False},
    **dict.fromkeys(("RNN", "LSTM", "GRU"), {"proj_size": 0}),
    "MultiheadAttention": {"bias_k": None, "add_zero_attn": False},
}
OUR_OPTIONS: dict[str, dict[str, Any]] = {
    "Linear": {"activation": None},
    "Softmax": {"temperature": 1.0},
    "Embedding": {"mask_zero": False},
    "GRU": {"reset_after": True},
    **dict.fromkeys(("TransformerEncoderLayer", "TransformerDecoderLayer", "MultiHeadAttention"), {"rotary": False}),
}
POOLS = {f"Global{kind}Pool{n}d": f"Adaptive{kind}Pool{n}d" for kind in ("Avg", "Max") for n in (1, 2)}
RECURRENTS = ("RNN", "LSTM", "GRU")
BLOCKS = ("TransformerEncoderLayer", "TransformerDecoderLayer")
STACKS = ("TransformerEncoder", "TransformerDecoder")
BLOCK_ARGUMENTS = "d_model nhead dim_feedforward dropout activation layer_norm_eps batch_first norm_first bias"
ATTENTION_ARGUMENTS = "embed_dim num_heads dropout kdim vdim batch_first"


class Kind(NamedTuple):
    """A layer that both have: its names, and the arguments that it is made with, (theirs, ours)."""

    theirs: str
    ours: str
    arguments: list[tuple[str, str]]


def _kinds() -> list[Kind]:
    kinds = []
    for line in LAYERS.strip().splitlines():
        names, _, arguments = line.partition(":")
        for name in names.split():
            theirs, _, ours = name.partition("/")
            pairs = [(a.partition("/")[0], a.partition("/")[2] or a) for a in arguments.split()]
            kinds.append(Kind(theirs, ours or theirs, pairs))
    return kinds


THEIRS = {kind.theirs: kind for kind in _kinds()}
OURS = {kind.ours: kind for kind in _kinds()}


def from_torch(module: Any) -> nn.Module:
    """The module of chainrule that computes what a ``torch.nn`` module does, with its weights (copied), mode and dtypes.

    Known are Sequential, ModuleList and ModuleDict of known layers, linear, convolution, norm, pool, activation, dropout,
    embedding and recurrent layers, attention and transformer layers and stacks. Names of weights stay, but attention has its
    three projections apart. Three things differ in use: a recurrent layer in a Sequential gives its sequence without its
    state, attention gives its output alone unless ``need_weights=True``, and bool masks are True where a query may look.

    Errors: NotSupportedError, which names all layers that have no counterpart: a class of your own, or an option that ours
    lacks. Write such a model as a ``nn.Module`` with the same names: ``model.load_weights`` reads its weights.
    ArgumentTypeError for anything but a module; MissingDependencyError without PyTorch.
    """
    torch = _torch("from_torch")
    if not isinstance(module, torch.nn.Module):
        raise ArgumentTypeError(f"[from_torch] a {type(module).__name__} is no torch.nn.Module; load_torch reads files")
    work = FromTorch("[from_torch]")
    model: nn.Module = work.all_of(module)
    arrays = {name: _array(tensor) for name, tensor in module.state_dict().items()}
    arrays = {re.sub(r"\b([qkv])_proj_weight$", r"\1_proj.weight", name): array for name, array in arrays.items()}
    owners, ours = dict(model.named_modules(repeated=True)), dict(places(model, repeated=True))
    for name, parts in [*packed({name: array.shape for name, array in arrays.items()}, ours)]:
        whole = arrays.pop(name)
        arrays |= {part: whole[rows] for part, rows in parts.items()}
    first: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        owner, _, leaf = name.rpartition(".")
        if name in ours and first.setdefault(id(parameter), name) != name:
            setattr(owners[owner], leaf, ours[first[id(parameter)]])  # one tensor in two places
    filled(model, arrays, work.where, None)
    theirs = dict(module.named_parameters(remove_duplicate=False))
    for name, own in model.named_parameters():
        own.requires_grad = theirs[_their_name(name, theirs)].requires_grad
    return model.train(module.training)


def to_torch(model: nn.Module) -> Any:
    """The ``torch.nn`` module that computes what a model of chainrule does, with its weights (copied), mode and dtypes.

    It is the opposite of ``from_torch``, for the same layers. A recurrent layer that gives its output alone, as in a
    Sequential, is made a subclass of PyTorch's that does so. Errors: NotSupportedError, NotBuiltError for a model that has
    not seen an input, ArgumentTypeError, MissingDependencyError.
    """
    torch = _torch("to_torch")
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(f"[to_torch] a {type(model).__name__} is no Module of chainrule")
    model.state_dict()  # draws the values, or says what is not built
    module = ToTorch("[to_torch]", torch).all_of(model)
    ours = dict(places(model, repeated=True))
    theirs = {*module.state_dict()}
    parts: dict[str, list[Any]] = {}
    for name, value in ours.items():
        parts.setdefault(_their_name(name, theirs), []).append(value.detach().numpy())
    state = {name: _tensor(torch, np.concatenate(found) if found[1:] else found[0]) for name, found in parts.items()}
    module.load_state_dict(state, assign=True)
    first: dict[int, str] = {}
    for name, value in ours.items():
        owner, _, leaf = name.rpartition(".")
        if name in theirs and first.setdefault(id(value), name) != name:
            setattr(module.get_submodule(owner), leaf, module.get_parameter(first[id(value)]))
    frozen = {_their_name(name, theirs) for name, own in model.named_parameters() if not own.requires_grad}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return module.train(model.training)


class Work:
    """A conversion: modules that stand in several places are made once, and all that cannot be made is told at once."""

    advice = ""

    def __init__(self, where: str) -> None:
        self.where = where
        self.made: dict[int, Any] = {}
        self.problems: list[tuple[str, str]] = []

    def all_of(self, module: Any) -> Any:
        """The whole module. Errors: NotSupportedError."""
        made = self.of(module, "", alone=True)
        if self.problems:
            kinds: dict[str, list[str]] = {}
            for path, what in self.problems:
                kinds.setdefault(what, []).append(path or "the model itself")
            lines = [f"{len(paths)} x {what} ({', '.join(paths[:5])})" for what, paths in kinds.items()]
            raise NotSupportedError(f"{self.where} has no counterpart of {'; '.join(lines)}: {self.advice}")
        return made

    def of(self, module: Any, path: str, alone: bool = False) -> Any:
        """The counterpart of a module at ``path``; not ``alone`` in a Sequential. None if there is a problem."""
        if id(module) not in self.made:
            try:
                self.made[id(module)] = self.make(module, path, alone)
            except (ChainruleError, TypeError, ValueError) as error:
                self.problem(path, f"{type(module).__name__} as it is made: {error}")
                self.made[id(module)] = None
        return self.made[id(module)]

    def make(self, module: Any, path: str, alone: bool) -> Any:
        """Make a counterpart."""
        raise NotImplementedError

    def problem(self, path: str, what: str) -> None:
        """Note what cannot be converted."""
        self.problems.append((path, what))

    def inside(self, pairs: Iterable[tuple[str, Any]], path: str, alone: bool = False) -> dict[str, Any]:
        """The counterparts of the modules in a container."""
        return {name: self.of(child, f"{path}.{name}" if path else name, alone) for name, child in pairs}

    def fits(self, module: Any, options: Mapping[str, Any], path: str) -> None:
        """Note the options of a module that its counterpart does not have."""
        for name, value in options.items():
            if getattr(module, name, value) != value:
                self.problem(path, f"{type(module).__name__} with {name}={getattr(module, name)!s:.40}")


class FromTorch(Work):
    """Makes modules of ours."""

    advice = "write the model as a nn.Module with the same names, and model.load_weights reads its weights"

    def make(self, module: Any, path: str, alone: bool) -> Any:
        """Make a module of ours."""
        name = type(module).__name__
        hooks = module._forward_hooks or module._forward_pre_hooks
        if not type(module).__module__.startswith("torch.nn.modules.") or hooks:
            return self.problem(path, f"{name} with hooks" if hooks else name)
        self.fits(module, THEIR_OPTIONS.get(name, {}), path)
        if name in ("Sequential", "ModuleList", "ModuleDict"):
            children = self.inside(module._modules.items(), path)  # named_children leaves out what comes again
            if None in children.values():
                return None
            return nn.ModuleList(children.values()) if name == "ModuleList" else getattr(nn, name)(children)
        if name in BLOCKS:
            return self.block(module, path)
        if name in STACKS:
            layer = self.of(module.layers[0], f"{path}.layers.0")
            norm = None if module.norm is None else self.of(module.norm, f"{path}.norm")
            return None if self.problems else getattr(nn, name)(layer, module.num_layers, norm)
        if name == "MultiheadAttention":
            biased = module.in_proj_bias is not None
            return nn.MultiHeadAttention(**_taken(module, ATTENTION_ARGUMENTS), bias=biased)
        if name not in THEIRS:
            return self.problem(path, name)
        kind, options = THEIRS[name], {}
        for theirs, ours in kind.arguments:
            options[ours.removesuffix("?")] = _value(module, theirs, name)
        if name in RECURRENTS and not alone:
            options["return_sequences"] = True
        return getattr(nn, kind.ours)(**options)

    def block(self, module: Any, path: str) -> Any:
        """A layer of a transformer."""
        activation = getattr(module.activation, "__name__", type(module.activation).__name__).lower()
        attention = module.self_attn
        return getattr(nn, type(module).__name__)(
            attention.embed_dim,
            attention.num_heads,
            module.linear1.out_features,
            module.dropout.p,
            activation,
            module.norm1.eps,
            attention.batch_first,
            module.norm_first,
            module.linear1.bias is not None,
        )


class ToTorch(Work):
    """Makes modules of PyTorch's."""

    advice = "save_torch writes the weights for a torch.nn.Module of your own with the same names"

    def __init__(self, where: str, torch: Any) -> None:
        super().__init__(where)
        self.torch = torch

    def make(self, module: Any, path: str, alone: bool) -> Any:
        """Make a module of PyTorch's."""
        name, theirs = type(module).__name__, self.torch.nn
        if type(module) is not getattr(nn, name, None):
            return self.problem(path, name)
        self.fits(module, OUR_OPTIONS.get(name, {}), path)
        if name in ("Sequential", "ModuleList", "ModuleDict"):
            children = self.inside(module.named_children(), path)
            if None in children.values():
                return None
            if name == "Sequential":
                return theirs.Sequential(OrderedDict(children))
            return theirs.ModuleList(children.values()) if name == "ModuleList" else theirs.ModuleDict(children)
        if name in POOLS:
            return getattr(theirs, POOLS[name])(1)
        if name in BLOCKS or name == "MultiHeadAttention":
            return self.attending(module, name, path)
        if name in STACKS:
            layer = self.of(module.layers[0], f"{path}.layers.0")
            norm = None if module.norm is None else self.of(module.norm, f"{path}.norm")
            return None if self.problems else getattr(theirs, name)(layer, len(module.layers), norm)
        if name not in OURS:
            return self.problem(path, name)
        kind = OURS[name]
        options = {theirs.removesuffix("?"): _value(module, ours, name) for theirs, ours in kind.arguments}
        made = getattr(theirs, kind.theirs)
        if name in RECURRENTS:
            self.fits(module, {"return_state": module.return_state and None, "keras_compat": True}, path)
            if not alone or module.return_sequences is not None:
                made = _outputs(self.torch, made, bool(module.return_sequences))
        return made(**options)

    def attending(self, module: Any, name: str, path: str) -> Any:
        """Attention, or a layer of a transformer."""
        heads = module.num_heads if name == "MultiHeadAttention" else module.nhead
        self.fits(module, {"num_kv_heads": heads}, path)
        if name == "MultiHeadAttention":
            return self.torch.nn.MultiheadAttention(**_taken(module, ATTENTION_ARGUMENTS), bias=module.bias)
        options = _taken(module, BLOCK_ARGUMENTS)
        named = getattr(self.torch.nn.functional, module.activation, None)
        options["activation"] = self.torch.tanh if module.activation == "tanh" else named
        return getattr(self.torch.nn, name)(**options)


def _outputs(torch: Any, base: Any, sequences: bool) -> Any:
    """A recurrent layer of PyTorch's that gives its sequence, or the last output, without its state."""

    def forward(self: Any, x: Any) -> Any:
        y, state = base.forward(self, x)
        h = state[0] if isinstance(state, tuple) else state
        return y if sequences else torch.cat([*h[-1 - self.bidirectional :]], -1)

    return type(base.__name__, (base,), {"forward": forward})


def _taken(module: Any, names: str) -> dict[str, Any]:
    """Attributes that are arguments, too."""
    return {name: getattr(module, name) for name in names.split()}


def _value(module: Any, attribute: str, name: str) -> Any:
    """An argument of a layer from its attribute; ``NAME?`` is whether there is such a tensor."""
    if attribute.endswith("?"):
        return getattr(module, attribute[:-1]) is not None
    value = getattr(module, attribute)
    if attribute == "dim" and value is None:
        raise ValueError("dim is None, which depends on the number of axes; say which it is")
    if isinstance(value, tuple):
        return value[0] if name.endswith("1d") and len(value) == 1 else tuple(value)
    return value


def _their_name(name: str, theirs: Iterable[str]) -> str:
    """The name that PyTorch has for a parameter of ours: that of attention's projections is another."""
    packed = re.sub(r"\b[qkv]_proj\.(weight|bias)$", r"in_proj_\1", name)
    return next((n for n in (name, packed, name.replace("_proj.weight", "_proj_weight")) if n in theirs), name)


def _array(tensor: Any) -> Any:
    """The values of a tensor of PyTorch's."""
    tensor = tensor.detach().cpu().contiguous()
    if str(tensor.dtype) == "torch.bfloat16":
        return tensor.view(_torch("from_torch").uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _tensor(torch: Any, array: Any) -> Any:
    """A tensor of PyTorch's with values of its own."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.uint16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def _torch(function: str) -> Any:
    try:
        return import_module("torch")
    except ImportError as error:
        raise MissingDependencyError(
            f"[{function}] modules of PyTorch need PyTorch: pip install torch; its files are read without it by load_torch"
        ) from error
