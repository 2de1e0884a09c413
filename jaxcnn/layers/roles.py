"""What a layer is to those who look at a network from outside: one word, so that nobody keeps lists of kinds.

A role promises something. A "convolution" and a "dense" layer have a kernel, and perhaps a bias, of the shapes of
ours; a "norm" has scale, bias, mean and var, or some of them; a "pool" takes windows of positions together, or
all of them; an "activation" acts on each value alone; "dropout" does nothing at inference; a "shape" layer only orders
values in another way; a "group" is made of other layers; of "other" layers nothing is known.
"""

from typing import Literal

Role = Literal["convolution", "dense", "norm", "pool", "activation", "dropout", "shape", "group", "other"]

AFFINE = ("convolution", "dense")  # y = product(x, kernel) + bias
WITH_ARRAYS = (*AFFINE, "norm")  # of which a file of weights holds something

ROLES: dict[str, Role] = {
    "conv": "convolution",
    "depthwise_conv": "convolution",
    "conv_transpose": "convolution",
    "dense": "dense",
    "batch_norm": "norm",
    "layer_norm": "norm",
    "group_norm": "norm",
    "max_pool": "pool",
    "avg_pool": "pool",
    "lp_pool": "pool",
    "global_max_pool": "pool",
    "global_avg_pool": "pool",
    "adaptive_avg_pool": "pool",
    "relu": "activation",
    "leaky_relu": "activation",
    "elu": "activation",
    "gelu": "activation",
    "silu": "activation",
    "tanh": "activation",
    "sigmoid": "activation",
    "softmax": "activation",
    "dropout": "dropout",
    "drop_path": "dropout",
    "flatten": "shape",
    "serial": "group",
    "residual": "group",
    "branches": "group",
}


def role_of(kind: str) -> Role:
    """The role of our layers of a kind; "other" for a kind that is not ours."""
    return ROLES.get(kind, "other")
