"""Arguments of layers: refused when the layer is made, hints at other libraries' words, numbers of NumPy, ranks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import layers
from jaxcnn.layers import AvgPool, Conv, GlobalAvgPool, GlobalMaxPool, Layer, LpPool, MaxPool, Relu, serial

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
        (lambda: Conv(0, 3), "Conv: `out_channels` must be at least 1; got 0"),
        (lambda: Conv(8.0, 3), "Conv: `out_channels` must be an int"),
        (lambda: Conv(8, (3, 0)), "Conv: `kernel_size` must be at least 1; got (3, 0)"),
        (lambda: Conv(8, 3, groups=3), "Conv: `groups` must divide `out_channels`; got 3 and 8"),
        (lambda: Conv(8, 3, groups=0), "Conv: `groups` must be at least 1; got 0"),
        (lambda: Conv(8, 3, use_bias="no"), "Conv: `use_bias` must be True or False; got 'no'"),
        (lambda: Conv(8, 3, kernel_init="xavier"), "Conv: `kernel_init` must be a function or one of he_normal,"),
        (lambda: Conv(8, 3, kernel_init=[0.1]), "Conv: `kernel_init` must be a function or one of he_normal,"),
        (lambda: Conv(8, 3, bias_init=0), "Conv: `bias_init` must be a function or one of zeros,"),
        (lambda: Conv(8, 3, algorithm="cudnn"), "Conv: `algorithm` must be one of auto,"),
        (lambda: Conv(8, 3, precision="exact"), "Conv: `precision` must be None or one of default,"),
        (
            lambda: layers.ConvTranspose(8, 3, groups=3),
            "ConvTranspose: `groups` must divide `out_channels`; got",
        ),
        (
            lambda: layers.ConvTranspose(8, 3, stride=2, output_padding=2),
            "ConvTranspose: `output_padding` must be",
        ),
        (
            lambda: layers.ConvTranspose(8, 3, stride=2, padding="SAME", output_padding=1),
            "ConvTranspose: `output_padding` has no place beside padding 'SAME'; got 1",
        ),
        (lambda: layers.DepthwiseConv(3, multiplier=0), "DepthwiseConv: `multiplier` must be at least 1; got 0"),
        (lambda: layers.DepthwiseConv(3, precision="exact"), "DepthwiseConv: `precision` must be None or one of"),
        (lambda: layers.SeparableConv(0, 3), "SeparableConv: `out_channels` must be at least 1; got 0"),
        (lambda: layers.SeparableConv(8, 3, multiplier=0), "SeparableConv: `multiplier` must be at least 1; got 0"),
        (lambda: layers.SeparableConv(8, 3, stride=0), "SeparableConv: `stride` must be at least 1; got 0"),
        (lambda: layers.Dense(0), "Dense: `out_features` must be at least 1; got 0"),
        (lambda: layers.Dense(True), "Dense: `out_features` must be an int"),
        (lambda: layers.Dense(3, use_bias=0), "Dense: `use_bias` must be True or False; got 0"),
        (lambda: MaxPool(2, ceil_mode="yes"), "MaxPool: `ceil_mode` must be True or False; got 'yes'"),
        (lambda: AvgPool(2, count_include_pad=None), "AvgPool: `count_include_pad` must be True or False; got None"),
        (lambda: layers.AdaptiveAvgPool(0), "AdaptiveAvgPool: `output_size` must be at least 1; got 0"),
        (lambda: GlobalMaxPool(1.5), "GlobalMaxPool: `spatial_rank` must be an int"),
        (lambda: layers.Relu("6"), "Relu: `max_value` must be a number or None; got '6'"),
        (lambda: layers.Gelu("tanh"), "Gelu: `approximate` must be True or False; got 'tanh'"),
        (lambda: layers.Dropout(1), "Dropout: `rate` is the probability of dropping and must be in [0, 1); got 1"),
        (lambda: layers.DropPath("half"), "DropPath: `rate` must be a number; got 'half'"),
        (lambda: layers.BatchNorm(1.0), "BatchNorm: `momentum` is the part kept and must be in [0, 1); got 1.0"),
        (lambda: layers.BatchNorm(eps=0), "BatchNorm: `eps` must be positive and finite; got 0"),
        (lambda: layers.BatchNorm(use_scale=None), "BatchNorm: `use_scale` must be True or False; got None"),
        (lambda: layers.LayerNorm(float("inf")), "LayerNorm: `eps` must be positive and finite; got inf"),
        (lambda: layers.LayerNorm(use_bias=1), "LayerNorm: `use_bias` must be True or False; got 1"),
        (lambda: layers.GroupNorm(0), "GroupNorm: `groups` must be at least 1; got 0"),
        (lambda: layers.stateless("cube", 3), "stateless: `function` must be a function of x; got 3"),
        (lambda: layers.stateless("", abs), "Layer: `kind` must be a word, by which `serial` names the layer; got ''"),
        (lambda: Layer(None, None, role="conv"), "Layer: `role` must be one of convolution, dense, norm,"),
        (lambda: serial(**{"a/b": Relu()}), "serial: the name 'a/b' must be a word without a slash"),
        (lambda: layers.branches(), "branches: `layers` must not be empty"),
        (lambda: layers.residual(Relu(), 3), "residual: `shortcut` must be a Layer; got 3"),
        (
            lambda: layers.residual(Relu(), activation=Relu()),
            "residual: `activation` must be a function of the sum",
        ),
        (lambda: layers.residual(serial, activation="relu"), "residual: `body` must be a Layer"),
        (
            lambda: layers.with_auxiliaries(serial(Relu()), head=Relu()),
            "with_auxiliaries: `head` must be (the name of a layer of the body, a Layer); got Relu()",
        ),
        (lambda: layers.frozen("all"), "frozen: `layer` must be a Layer; got 'all'"),
        (lambda: layers.checkpointed(None), "checkpointed: `layer` must be a Layer; got None"),
        (
            lambda: layers.residual(Relu(), shortcutt=Relu()),
            "there is no argument `shortcutt`; write `shortcut`",
        ),
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


def test_a_layer_says_how_its_products_are_computed():
    for make in (Conv, layers.SeparableConv):
        layer = make(4, 3, precision="highest")
        params, _ = layer.init(jax.random.key(0), (6, 6, 4))
        text = jax.jit(lambda x, a=layer.apply, p=params: a(p, {}, x)[0]).lower(jnp.ones((2, 6, 6, 4))).as_text()
        assert "HIGHEST" in text
    for asked in (Conv(4, 3, algorithm="patches"), layers.DepthwiseConv(3, algorithm="patches")):
        params, _ = asked.init(jax.random.key(0), (6, 6, 4))
        assert "algorithm='patches'" in str(jax.make_jaxpr(asked.apply)(params, {}, jnp.ones((2, 6, 6, 4))))


def test_a_layer_is_shown_as_the_code_that_makes_it():
    assert repr(Conv(16, 3)) == "Conv(16, 3)"
    assert repr(Conv(out_channels=16, kernel_size=[np.int64(3), 2], stride=1, groups=2)) == "Conv(16, (3, 2), groups=2)"
    assert repr(Conv(8, 3, kernel_init=jax.nn.initializers.ones)) == "Conv(8, 3, kernel_init=ones)"
    assert repr(layers.BatchNorm(0.9, 1e-3)) == "BatchNorm(eps=0.001)"
    assert repr(serial(Conv(8, 3), Relu())) == "serial(Conv(8, 3), Relu())"
    net = serial(
        Conv(8, 3),
        Relu(),
        Conv(8, 3, padding="SAME"),
        layers.residual(Conv(8, 1), activation=jax.nn.relu),
        classes=layers.Dense(10),
    )
    lines = [
        "serial(",
        "    Conv(8, 3),",
        "    Relu(),",
        "    Conv(8, 3, padding='SAME'),",
        "    residual(Conv(8, 1), activation=relu),",
        "    classes=Dense(10),",
    ]
    assert repr(serial(net, net)).splitlines()[1:7] == [f"    {line}" for line in lines]
    assert repr(layers.frozen(Relu(6))) == "frozen(Relu(max_value=6))"
    assert repr(Layer(None, None, kind="scale")) == "Layer(init, apply, kind='scale')"
    assert repr(serial(**{"0": Relu()})) == "serial(**{'0': Relu()})"


def test_a_layer_of_ones_own():
    @layers.makes_layer
    def Scaled(by: float, *, where: str = "here") -> Layer:
        return layers.stateless("scaled", lambda x: by * x, by=by)

    layer = Scaled(2.0, where="there")
    assert repr(serial(layer, Scaled(3.0))) == "serial(Scaled(2.0, where='there'), Scaled(3.0))"
    assert layer.config.name == "Scaled" and dict(layer.config.arguments) == {"by": 2.0, "where": "there"}
    assert layer.role == "other" and layers.stateless("softmax", abs).role == "activation"
    assert Layer(None, None, "mine", role="norm").role == "norm"
    assert Layer(None, None, "mine", {"a": layer}).role == "group"
    with pytest.raises(TypeError, match="Scaled: there is no argument `wher`; write `where`"):
        Scaled(2.0, wher="there")
    assert layer != Scaled(2.0, where="there")  # they are compared as functions are
