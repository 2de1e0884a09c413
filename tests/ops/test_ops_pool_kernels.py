"""The TPU kernels of pooling, interpreted: on a CPU the same values as the definition; and lowered for a TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from jaxcnn.ops import machine, pool_kernels
from jaxcnn.ops.geometry import Window

# images, size, window, channels, dtype
GEOMETRIES = {
    "images in the lanes": (128, (6, 4), (2, 2), 6, "float32"),
    "inputs in no window": (256, (5, 7), (2, 3), 3, "bfloat16"),
    "channels in the lanes": (32, (4, 5), (3, 2), 128, "bfloat16"),
    "1-D": (128, (9,), (2,), 5, "float32"),
    "3-D": (128, (4, 2, 3), (2, 1, 3), 2, "float32"),
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_same_as_the_definition(geometry):
    """Among the values are equal ones, infinite ones and NaN: the first maximum gets the cotangent."""
    n, size, taps, channels, dtype = GEOMETRIES[geometry]
    draw = np.random.default_rng(0)
    x = np.round(draw.standard_normal((n, *size, channels)), 1)
    x.reshape(-1)[draw.integers(x.size, size=40)] = np.repeat([np.nan, np.inf, -np.inf, 0.0], 10)
    x = jnp.asarray(x, dtype)
    window = Window(taps, taps, ((0, 0),) * len(taps), (1,) * len(taps))
    y, pullback = jax.vjp(lambda x: ops.max_pool(x, taps), x)
    dy = jnp.asarray(draw.standard_normal(y.shape), dtype)
    here = machine.of(None)
    switches = pool_kernels.switches(x, window, jnp.dtype("uint8"), here)
    assert switches.dtype == "uint8"
    assert_equal(pool_kernels.maximum(x, window, here), y)
    assert_equal(pool_kernels.give(dy, switches, window, size, here), *pullback(dy))


def assert_equal(ours, expected):
    np.testing.assert_array_equal(ours.astype(jnp.float32), expected.astype(jnp.float32))


def kernels(shape, window, dtype="float32", **options):
    """How many kernels a TPU's program for a pool and its gradient has."""

    def pooled(x):
        y, pullback = jax.vjp(lambda x: ops.max_pool(x, window, **options), x)
        return y, pullback(y)

    program = jax.jit(pooled).trace(jax.ShapeDtypeStruct(shape, dtype))
    assert "custom_call" not in program.lower(lowering_platforms=("cuda",)).as_text()
    return program.lower(lowering_platforms=("tpu",)).as_text().count("tpu_custom_call")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_tpu_gets_the_kernels_by_itself(dtype):
    assert kernels((128, 28, 28, 6), 2, dtype) == 3
    assert kernels((4, 32, 13, 13, 64), 2, dtype) == 3
    assert kernels((32, 14, 14, 256), 2, dtype) == 3


def test_other_windows_images_and_types_have_none():
    assert kernels((128, 28, 28, 6), 3, stride=2) == 0
    assert kernels((128, 28, 28, 6), 2, padding=1) == 0
    assert kernels((100, 28, 28, 6), 2) == 0
    assert kernels((128, 28, 28, 6), 2, "float16") == 0
    assert kernels((128, 512, 512, 64), 2) == 0
