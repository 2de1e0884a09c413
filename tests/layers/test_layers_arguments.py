"""Arguments of layers: refused when the layer is made, hints at other libraries' words, numbers of NumPy, ranks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import layers
from jaxcnn.layers import AvgPool, Conv, GlobalAvgPool, GlobalMaxPool, LpPool, MaxPool, serial

WINDOWED = {
    "Conv": lambda **options: Conv(4, 3, **options),
    "ConvTranspose": lambda **options: layers.ConvTranspose(4, 3, **options),
    "DepthwiseConv": lambda **options: layers.DepthwiseConv(3, **options),
    "SeparableConv": lambda **options: layers.SeparableConv(4, 3, **options),
    "MaxPool": lambda **options: MaxPool(2, **options),
    "AvgPool": lambda **options: AvgPool(2, **options),
    "LpPool": lambda **options: LpPool(2, **options),
}


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("stride", 0),
        ("stride", (1, 2, 3)),
        ("stride", 1.5),
        ("dilation", 0),
        ("dilation", "2"),
        ("padding", "same"),
        ("padding", -1),
        ("padding", ((1, 1),)),
        ("padding", 1.5),
    ],
)
def test_a_bad_argument_is_refused_when_the_layer_is_made(name, argument, value):
    with pytest.raises((ValueError, TypeError), match=f"`{argument}`"):
        WINDOWED[name](**{argument: value})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LpPool(2, p=0.5), "LpPool: `p` must be at least 1 and finite; got 0.5"),
        (lambda: LpPool(2, p="2"), "LpPool: `p` must be a number; got '2'"),
        (lambda: MaxPool(0), "MaxPool: `window` must be at least 1; got 0"),
        (lambda: GlobalAvgPool(0), "GlobalAvgPool: `spatial_rank` must be at least 1; got 0"),
        (lambda: layers.ConvTranspose(2, 2, output_padding=-1), "ConvTranspose: `output_padding` must be at least 0"),
        (lambda: layers.LeakyRelu("steep"), "LeakyRelu: `negative_slope` must be a number; got 'steep'"),
        (lambda: layers.Elu(None), "Elu: `alpha` must be a number; got None"),
        (lambda: Conv(8, 3, padding="same"), "got 'same'; write 'SAME'"),
    ],
)
def test_messages(make, message):
    with pytest.raises((ValueError, TypeError)) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: Conv(8, 3, activation="relu"), "Conv: there is no argument `activation`; put the activation after it"),
        (lambda: Conv(8, 3, strides=2), "Conv: there is no argument `strides`; write `stride`"),
        (lambda: Conv(filters=8, kernel_size=3), "write `out_channels`"),
        (lambda: Conv(8, kernel=3), "write `kernel_size`"),
        (lambda: Conv(8, 3, kernel_initializer="zeros"), "write `kernel_init`"),
        (lambda: Conv(8, 3, input_shape=(28, 28, 1)), "given to `init`, or to a Model"),
        (lambda: layers.Dense(units=10), "write `out_features`"),
        (lambda: layers.Dense(features=10), "write `out_features`"),
        (lambda: MaxPool(pool_size=2), "write `window`"),
        (lambda: layers.BatchNorm(epsilon=1e-3), "write `eps`"),
        (lambda: layers.BatchNorm(center=False), "write `use_bias`"),
        (lambda: layers.Dropout(p=0.5), "write `rate`"),
        (lambda: layers.Flatten(axis=1), "it takes none"),
        (lambda: Conv(8, 3, strid=2), "write `stride`"),
        (lambda: Conv(3, 8, 3), "`out_channels` and `kernel_size` may be given without a name; got 3 arguments. What"),
        (lambda: layers.Dense(128, 10), "What a layer takes in is known at `init`"),
        (lambda: layers.Flatten(1), "nothing may be given without a name"),
        (lambda: serial([Conv(8, 3)]), "layers are arguments of their own: serial(first, second)"),
        (lambda: serial(Conv(8, 3), layers.Relu), "call it: Relu(…)"),
        (lambda: serial(act=jax.nn.relu), "a function of x becomes one by stateless("),
    ],
)
def test_words_of_other_libraries_get_a_hint(make, hint):
    with pytest.raises(TypeError) as error:
        make()
    assert hint in str(error.value)


def test_every_word_that_a_hint_gives_exists():
    import inspect

    from jaxcnn.layers import words

    known = {
        name
        for public in layers.__all__
        if inspect.isfunction(getattr(layers, public))
        for name in inspect.signature(getattr(layers, public)).parameters
    }
    assert {ours for meant in words.OURS.values() for ours in meant} <= known


def test_integers_of_numpy():
    layer = Conv(np.int64(6), (np.int32(3), np.int8(3)), stride=np.int64(2), padding=np.int64(1), groups=np.int64(2))
    params, _ = layer.init(jax.random.key(0), (8, 8, 4))
    assert params["kernel"].shape == (3, 3, 2, 6)
    pool = MaxPool(np.int64(2), stride=np.int32(2))
    assert pool.apply({}, {}, jnp.ones((1, 4, 4, 1)))[0].shape == (1, 2, 2, 1)
    assert layers.Dropout(np.float32(0.5)).kind == "dropout"


@pytest.mark.parametrize("pool", [MaxPool, AvgPool, LpPool], ids=lambda pool: pool.__name__)
def test_a_window_of_another_rank_is_refused_at_init(pool):
    """Over a volume or a signal a 2-D window would take other axes for the images, without a word."""
    for shape, better in (((8, 8, 8, 2), "(2, 2, 2)"), ((8, 2), "(2,)")):
        with pytest.raises(ValueError, match="is a 2-D window, but the input") as error:
            serial(pool(2)).init(jax.random.key(0), shape)
        assert f"use {pool.__name__}({better})" in str(error.value)
    assert pool((2, 2, 2)).init(jax.random.key(0), (8, 8, 8, 2)) == ({}, {})


@pytest.mark.parametrize("shape", [(8, 8, 8, 2), (8, 2)])
def test_a_kernel_of_another_rank_is_refused_at_init(shape):
    with pytest.raises(ValueError, match="conv: `input_shape` must have 2 spatial axes"):
        Conv(4, 3).init(jax.random.key(0), shape)


@pytest.mark.parametrize("pool", [GlobalMaxPool, GlobalAvgPool], ids=lambda pool: pool.__name__)
def test_a_global_pool_takes_all_spatial_axes(pool):
    for shape in ((9, 3), (4, 5, 3), (4, 5, 6, 3)):
        layer = pool()
        layer.init(jax.random.key(0), shape)
        x = jnp.ones((2, *shape))
        assert layer.apply({}, {}, x)[0].shape == (2, 3)
    assert pool(1).apply({}, {}, jnp.ones((2, 4, 5, 3)))[0].shape == (2, 4, 3)
    with pytest.raises(ValueError, match="the input must have some spatial axes; got"):
        pool().init(jax.random.key(0), (3,))


def test_matmul_precision_reaches_dense():
    dense = layers.Dense(3)
    params, _ = dense.init(jax.random.key(0), (2,))
    with jax.default_matmul_precision("highest"):
        text = jax.jit(lambda x: dense.apply(params, {}, x)[0]).lower(jnp.ones((4, 2))).as_text()
    assert "HIGHEST" in text
