"""Random weights that a parity test can trust, and the small models of these tests."""

import numpy as np

from jaxcnn.layers import BatchNorm, Conv, Dense, DepthwiseConv, Flatten, MaxPool, Relu, serial
from jaxcnn.models import Model

RELATIVE = 1e-4  # of the largest logit, as docs/design.md#how-it-is-proved says; measured 1e-7 to 3e-6


def random_weights(name, shape, rng, gain=1.0, inputs=slice(0, -1)):
    """Values of another library's array, by its name: kernels keep the size of the signal, the rest moves it.

    `inputs` are a kernel's axes that are summed over; `gain` is a batch norm's, below 1 where many blocks are added up.
    """
    leaf = name.replace("/", ".").rpartition(".")[2]
    if leaf in ("running_var", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) > 1:
        summed = 9 if "depthwise" in name else np.prod(shape[inputs])
        return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / summed))
    if leaf in ("gamma", "weight"):
        return rng.uniform(0.8 * gain, 1.2 * gain, shape).astype(np.float32)
    return rng.normal(0, 0.3, shape).astype(np.float32)


def assert_parity(actual, expected):
    """Equal to 1e-4 of the largest value, on logits that tell their two images apart."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape and len(expected) == 2
    largest = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 100 * RELATIVE * largest
    assert np.abs(actual - expected).max() < RELATIVE * largest


def flattening() -> Model:
    """Each kind of layer that foreign weights know, a map that is neither square nor of few channels flattened."""
    layer = serial(
        Conv(4, 3, use_bias=False),
        BatchNorm(),
        Relu(),
        DepthwiseConv(2, multiplier=2),
        MaxPool(2),
        Flatten(),
        BatchNorm(),
        Dense(6),
        Relu(),
        Dense(3),
    )
    return Model("flattening", layer, (9, 11, 2), 3)


def sequential_weights(seed=0):
    """The state dict of the same network as an nn.Sequential."""
    rng = np.random.default_rng(seed)
    shapes = {
        "0.weight": (4, 2, 3, 3),
        **{f"1.{leaf}": (4,) for leaf in ("weight", "bias", "running_mean", "running_var")},
        "1.num_batches_tracked": (),
        "3.weight": (8, 1, 2, 2),
        "3.bias": (8,),
        **{f"6.{leaf}": (96,) for leaf in ("weight", "bias", "running_mean", "running_var")},
        "6.num_batches_tracked": (),
        "7.weight": (6, 96),
        "7.bias": (6,),
        "9.weight": (3, 6),
        "9.bias": (3,),
    }
    return {
        name: np.array(7) if name.endswith("tracked") else random_weights(name, shape, rng, inputs=slice(1, None))
        for name, shape in shapes.items()
    }
