"""Layers and models.

>>> import chainrule as cr
>>> from chainrule import nn
>>> model = nn.Sequential(nn.Conv2d(8, kernel_size=3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(10))
>>> model(cr.zeros(2, 1, 28, 28)).shape
(2, 10)
"""

from . import init
from .activation import GELU, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from .conv import Conv2d
from .dropout import Dropout
from .linear import Linear
from .module import Module, Parameters
from .norm import BatchNorm1d, BatchNorm2d
from .parameter import LazyTensor, Parameter
from .pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .registry import REGISTRY, create, describe, register
from .sequential import Sequential
from .shape import Flatten, Identity

__all__ = [
    "REGISTRY",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GELU",
    "GlobalAvgPool2d",
    "Identity",
    "LazyTensor",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Module",
    "Parameter",
    "Parameters",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "create",
    "describe",
    "init",
    "register",
]
