"""Convolution and pooling of arrays, and their derivatives, without parameters, names or randomness."""

from jaxcnn.ops.algorithms import NAMES as ALGORITHMS
from jaxcnn.ops.convolution import conv, conv_transpose
from jaxcnn.ops.explanation import explain, explain_program
from jaxcnn.ops.pool import avg_pool, global_avg_pool, global_max_pool, lp_pool, max_pool

__all__ = [
    "ALGORITHMS",
    "avg_pool",
    "conv",
    "conv_transpose",
    "explain",
    "explain_program",
    "global_avg_pool",
    "global_max_pool",
    "lp_pool",
    "max_pool",
]
