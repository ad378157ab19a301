"""Layers and models.

>>> import chainrule as cr
>>> from chainrule import nn
>>> model = nn.Sequential(nn.Conv2d(8, kernel_size=3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(10))
>>> model(cr.zeros(2, 1, 28, 28)).shape
(2, 10)
"""

from . import init
from .activation import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .adaptive_pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    GlobalMaxPool1d,
    GlobalMaxPool2d,
)
from .arrange import Dot, Flip, Pad, RepeatVector, Rescaling, SameAvgPool, SamePad, TimeDistributed
from .attention import KVCache, MultiHeadAttention
from .bidirectional import Bidirectional
from .cells import GRUCell, LSTMCell, RNNCell
from .containers import ChannelsLast, Merge, ModuleDict, ModuleList, Parallel, Residual
from .conv import Conv1d, Conv2d, Conv3d
from .conv_transpose import ConvTranspose1d, ConvTranspose2d
from .dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, DropPath
from .embedding import Embedding
from .gated import GatedGRU, GatedLSTM
from .graph import Graph
from .linear import Linear
from .masking import Masking
from .module import Module, Parameters
from .node import Input
from .norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d
from .parameter import LazyTensor, Parameter
from .piecewise import Hardshrink, HardSigmoid, HardSwish, HardTanh, PReLU, ReLU6, Softshrink, Threshold
from .pool import AvgPool2d, LPPool2d, MaxPool2d
from .pool1d import AvgPool1d, LPPool1d, MaxPool1d
from .position import LearnedPositions, RotaryEmbedding, SinusoidalPositions
from .registry import REGISTRY, create, describe, register
from .resize import PixelShuffle, PixelUnshuffle, Upsample
from .rnn import GRU, LSTM, RNN
from .sample_norm import GroupNorm, LayerNorm, RMSNorm
from .separable import DepthwiseConv1d, DepthwiseConv2d, SeparableConv1d, SeparableConv2d
from .sequential import Sequential
from .shape import Flatten, Identity, Lambda, Permute, Reshape, Unflatten, register_function
from .smooth import CELU, ELU, GLU, SELU, LogSigmoid, Maxout, Mish, SiLU, Softplus, Softsign, SwiGLU, Swish
from .transformer import TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AlphaDropout",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bidirectional",
    "CELU",
    "ChannelsLast",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "DepthwiseConv1d",
    "DepthwiseConv2d",
    "Dot",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "ELU",
    "Embedding",
    "Flatten",
    "Flip",
    "GELU",
    "GLU",
    "GRU",
    "GRUCell",
    "GatedGRU",
    "GatedLSTM",
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GlobalMaxPool1d",
    "GlobalMaxPool2d",
    "Graph",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "HardTanh",
    "Hardshrink",
    "Identity",
    "Input",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "KVCache",
    "LPPool1d",
    "LPPool2d",
    "LSTM",
    "LSTMCell",
    "Lambda",
    "LayerNorm",
    "LazyTensor",
    "LeakyReLU",
    "LearnedPositions",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "Masking",
    "MaxPool1d",
    "MaxPool2d",
    "Maxout",
    "Merge",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiHeadAttention",
    "PReLU",
    "Pad",
    "Parallel",
    "Parameter",
    "Parameters",
    "Permute",
    "PixelShuffle",
    "PixelUnshuffle",
    "REGISTRY",
    "RMSNorm",
    "RNN",
    "RNNCell",
    "ReLU",
    "ReLU6",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Residual",
    "RotaryEmbedding",
    "SELU",
    "SameAvgPool",
    "SamePad",
    "SeparableConv1d",
    "SeparableConv2d",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SinusoidalPositions",
    "Softmax",
    "Softplus",
    "Softshrink",
    "Softsign",
    "SwiGLU",
    "Swish",
    "Tanh",
    "Threshold",
    "TimeDistributed",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Unflatten",
    "Upsample",
    "create",
    "describe",
    "init",
    "register",
    "register_function",
]
