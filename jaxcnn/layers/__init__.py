"""Parameters: layers as (init, apply) pairs of pure functions, and the ways to put them together."""

from jaxcnn.layers.activation import Dropout, Elu, Gelu, LeakyRelu, Relu, Sigmoid, Silu, Softmax, Tanh
from jaxcnn.layers.layer import Layer, branches, output_shape, residual, serial, stateless
from jaxcnn.layers.linear import Conv, ConvTranspose, Dense, DepthwiseConv, Flatten, SeparableConv
from jaxcnn.layers.normalization import BatchNorm, GroupNorm, LayerNorm
from jaxcnn.layers.pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, LpPool, MaxPool
from jaxcnn.layers.summary import Summary, summary

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DepthwiseConv",
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
    "output_shape",
    "residual",
    "serial",
    "stateless",
    "summary",
]
