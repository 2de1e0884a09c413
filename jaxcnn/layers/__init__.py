"""Parameters: layers as (init, apply) pairs of pure functions, and the ways to put them together."""

from jaxcnn.layers.activation import Dropout, DropPath, Elu, Gelu, LeakyRelu, Relu, Sigmoid, Silu, Softmax, Tanh
from jaxcnn.layers.combining import branches, residual, serial, with_auxiliaries
from jaxcnn.layers.convolution import Conv, ConvTranspose, DepthwiseConv, SeparableConv
from jaxcnn.layers.dense import Dense, Flatten
from jaxcnn.layers.folding import fold_batch_norm
from jaxcnn.layers.layer import Layer, makes_layer, output_shape, stateless
from jaxcnn.layers.normalization import BatchNorm, GroupNorm, LayerNorm
from jaxcnn.layers.pooling import AdaptiveAvgPool, AvgPool, GlobalAvgPool, GlobalMaxPool, LpPool, MaxPool
from jaxcnn.layers.summary import Summary, summary
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
    "makes_layer",
    "output_shape",
    "residual",
    "serial",
    "stateless",
    "summary",
    "with_auxiliaries",
]
