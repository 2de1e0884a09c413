"""Parameters: layers as (init, apply) pairs of pure functions, and the ways to put them together."""

from jaxcnn.layers.activation import Dropout, DropPath, Elu, Gelu, LeakyRelu, Relu, Sigmoid, Silu, Softmax, Tanh
from jaxcnn.layers.folding import fold_batch_norm
from jaxcnn.layers.layer import Layer, branches, output_shape, residual, serial, stateless, with_auxiliaries
from jaxcnn.layers.linear import Conv, ConvTranspose, Dense, DepthwiseConv, Flatten, SeparableConv
from jaxcnn.layers.normalization import BatchNorm, GroupNorm, LayerNorm
from jaxcnn.layers.pooling import AdaptiveAvgPool, AvgPool, GlobalAvgPool, GlobalMaxPool, LpPool, MaxPool
from jaxcnn.layers.summary import Summary, summary
from jaxcnn.layers.words import with_hints
from jaxcnn.layers.wrapping import checkpointed, frozen

__all__ = [
    "AdaptiveAvgPool",
    "AvgPool",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DepthwiseConv",
    "DropPath",
    "Dropout",
    "Elu",
    "Flatten",
    "Gelu",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "LeakyRelu",
    "LpPool",
    "MaxPool",
    "Relu",
    "SeparableConv",
    "Sigmoid",
    "Silu",
    "Softmax",
    "Summary",
    "Tanh",
    "branches",
    "checkpointed",
    "fold_batch_norm",
    "frozen",
    "output_shape",
    "residual",
    "serial",
    "stateless",
    "summary",
    "with_auxiliaries",
]

_MAKERS = [name for name in __all__ if name[0].isupper() and name not in ("Layer", "Summary")]
globals().update({name: with_hints(globals()[name]) for name in _MAKERS})
