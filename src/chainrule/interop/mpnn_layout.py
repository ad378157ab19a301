"""What the files of MPNeuralNetwork say: one ``.npz`` with two texts, ``architecture`` and ``model_config``, and arrays.

``architecture`` is a list of ``{"type", ...}``; ``model_config`` has ``loss``, ``optimizer``, and in ``optimizer_globals`` the
steps of Adam, ``t``. Arrays: ``layer_{i}_weights`` (in, out), ``_biases`` (1, out) or (out,), ``_kernels`` (out, in, k, k),
``_gamma`` and ``_beta`` (1, features) or (1, channels, 1, 1); ``layer_{i}_state_cache_m`` and ``_v`` are running statistics; an
optimizer has ``optimizer_{momentums|velocities|cache}_layer_{i}_{name}``. Images have their channels first.
"""

from __future__ import annotations

from .. import nn
from .entries import POSITIVE, RATE, SIZE, Said, flag, is_number, is_share, is_size, one_of

NUMBER = Said("a number from 0 on", is_number)
NORM = {
    "momentum": Said("a number from 0 to 1", is_share, 0.9),
    "epsilon": POSITIVE._replace(default=1e-8),
}
SIDE = Said("a size, or nothing", lambda v: v is None or is_size(v), None)
WORD = Said("a word", lambda v: isinstance(v, str), "auto")
POOL = {"pool_size": SIDE, "strides": SIDE}  # which their own files lack
IMAGE = Said(
    "three sizes, or nothing",
    lambda v: v is None or isinstance(v, list) and len(v) == 3 and all(map(is_size, v)),
    None,
)
PADDING = Said(
    "'valid', 'same' or a number",
    lambda v: v in ("valid", "same") if isinstance(v, str) else v == 0 and type(v) is int or is_size(v),
    "valid",
)
LAYERS: dict[str, dict[str, Said]] = {
    "Dense": {"output_size": SIZE, "input_size": SIDE, "initialization": WORD, "no_bias": flag(False)},
    "Convolutional": {
        "output_depth": SIZE,
        "kernel_size": SIZE,
        "input_shape": IMAGE,
        "initialization": WORD,
        "no_bias": flag(False),
        "padding": PADDING,
        "stride": SIZE._replace(default=1),
    },
    "BatchNormalization": NORM,
    "BatchNormalization2D": NORM,
    "MaxPooling2D": POOL,
    "AveragePooling2D": POOL,
    "Dropout": {"probability": RATE},
    "Flatten": {},
    "PReLU": {"alpha": Said("a number from 0 to 1", is_share, 0.01)},
    "Softmax": {"temperature": POSITIVE._replace(default=1.0), "epsilon": NUMBER._replace(default=1e-8)},
    "ReLU": {},
    "Sigmoid": {},
    "Tanh": {},
    "Swish": {},
}
ACTIVATIONS = {"ReLU": nn.ReLU, "Sigmoid": nn.Sigmoid, "Tanh": nn.Tanh, "Swish": nn.SiLU}
HEADS = {"CategoricalCrossEntropy": ("Softmax", nn.Softmax), "BinaryCrossEntropy": ("Sigmoid", nn.Sigmoid)}

COMMON = {
    "learning_rate": NUMBER,
    "regularization": one_of(["L1", "L2"], "L2"),
    "weight_decay": NUMBER._replace(default=0.001),
}
BETA = Said("a number from 0 to below 1", RATE.holds)
EPSILON = NUMBER._replace(default=1e-8)
OPTIMIZERS: dict[str, dict[str, Said]] = {
    "SGD": {**COMMON, "learning_rate": NUMBER._replace(default=0.01), "momentum": NUMBER._replace(default=0.1)},
    "RMSprop": {**COMMON, "decay_rate": NORM["momentum"], "epsilon": EPSILON},
    "Adam": {
        **COMMON,
        "beta1": BETA._replace(default=0.9),
        "beta2": BETA._replace(default=0.999),
        "epsilon": EPSILON,
        "no_bias_correction": Said("false", lambda v: v is False, False),
    },
}
LOSSES: dict[str, dict[str, Said]] = {"MSE": {}, "BinaryCrossEntropy": {}, "CategoricalCrossEntropy": {}}
STATES = {  # what an optimizer of theirs remembers, and ours
    "SGD": {"velocities": "momentum_buffer"},
    "RMSprop": {"cache": "square_avg"},
    "Adam": {"momentums": "exp_avg", "velocities": "exp_avg_sq"},
}
CONFIG = {
    "loss": Said("a dictionary", lambda v: isinstance(v, dict)),
    "optimizer": Said("a dictionary or a name", lambda v: isinstance(v, (dict, str))),
    "optimizer_globals": Said("a dictionary", lambda v: isinstance(v, dict), {}),
}
GLOBALS = {"t": Said("a number of steps", lambda v: type(v) is int and 0 <= v < 1 << 53, 0)}
