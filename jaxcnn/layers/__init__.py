"""Parameters: layers as (init, apply) pairs of pure functions, and the ways to put them together."""

from jaxcnn.layers.activation import Dropout, DropPath, Elu, Gelu, LeakyRelu, Relu, Sigmoid, Silu, Softmax, Tanh
from jaxcnn.layers.combining import branches, residual, serial, with_auxiliaries
from jaxcnn.layers.convolution import Conv, ConvTranspose, DepthwiseConv, SeparableConv
from jaxcnn.layers.dense import Dense, Flatten
from jaxcnn.layers.folding import fold_batch_norm
from jaxcnn.layers.layer import Layer, makes_layer, output_shape, stateless
from jaxcnn.layers.normalization import BatchNorm, GroupNorm, LayerNorm
from jaxcnn.layers.pooling import AdaptiveAvgPool, AvgPool, GlobalAvgPool, GlobalMaxPool, LpPool, MaxPool
from jaxcnn.layers.wrapping import checkpointed, frozen
from jaxcnn.moved import moved

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
    "with_auxiliaries",
]

__getattr__ = moved(__name__, {name: f"jaxcnn.inspect.{name}" for name in ("Summary", "summary")})
