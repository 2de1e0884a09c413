"""One table of every layer and every model, for the tests that are laws over all of them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import models
from jaxcnn.layers import (
    AdaptiveAvgPool,
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    DepthwiseConv,
    Dropout,
    DropPath,
    Elu,
    Flatten,
    Gelu,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyRelu,
    LpPool,
    MaxPool,
    Relu,
    SeparableConv,
    Sigmoid,
    Silu,
    Softmax,
    Tanh,
    branches,
    checkpointed,
    frozen,
    residual,
    serial,
    stateless,
    with_auxiliaries,
)
from jaxcnn.models import lectures

LINE, IMAGE, VOLUME = (9, 4), (6, 5, 4), (4, 5, 3, 4)  # 1-D, 2-D and 3-D inputs of 4 channels, no two sizes alike


def random_key(seed: int) -> jax.Array:
    """A key of XLA's own generator, whose programs compile in a third of the time; other tests take the default."""
    return jax.random.key(seed, impl="rbg")


@dataclass(frozen=True, eq=False)
class Entry:
    """A layer or model, what made it, and an input it takes."""

    name: str
    factory: Callable
    layer: Layer
    input_shape: tuple[int, ...]
    model: models.Model | None = None

    def init(self, seed: int = 0):
        key = random_key(seed)
        return self.model.init(key) if self.model else self.layer.init(key, self.input_shape)

    @functools.cached_property
    def initial(self):
        """(params, state) of seed 0."""
        return self.init()

    @functools.cached_property
    def x(self) -> jax.Array:
        """Two inputs."""
        values = np.random.default_rng(0).standard_normal((2, *self.input_shape))
        return jnp.asarray(values, jnp.float32)

    def cast(self, dtype):
        """(params, state, x), with the dtype in the parameters and x; statistics stay as they are."""
        params, state = self.initial
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params), state, self.x.astype(dtype)

    @functools.cached_property
    def training(self) -> Callable:
        """(params, state, x) -> (y, state) of a training step, compiled; always with one dropout key."""
        return jax.jit(self.training_step)

    def training_step(self, params, state, x):
        return self.layer.apply(params, state, x, train=True, key=random_key(7))

    @functools.cached_property
    def inference(self) -> Callable:
        """(params, state, x) -> (y, state), compiled."""
        return jax.jit(self.layer.apply)

    def loss(self, params, state, x):
        """A scalar that every output has a part in."""
        y, _ = self.training_step(params, state, x)
        return sum(jnp.sum(jnp.square(part.astype(jnp.float32))) for part in jax.tree.leaves(y))


def _each(factory, layers, *shapes):
    """One entry per shape; a function in place of a layer is called with the spatial rank."""
    for shape in shapes:
        rank = len(shape) - 1
        yield Entry(f"{factory.__name__}_{rank}d", factory, layers(rank), shape)


def _one(name, factory, layer, shape=IMAGE):
    yield Entry(name, factory, layer, shape)


def _nested():
    body = serial(Conv(4, 3, padding="SAME"), BatchNorm(), Relu(), Dropout(0.25))
    inner = branches(Conv(2, 1), wide=Conv(3, 3, padding="SAME", use_bias=False))
    return serial(residual(body), inner, MaxPool(2), Flatten(), Dropout(0.5), head=Dense(3))


def _with_auxiliaries():
    body = serial(Conv(4, 3), Relu(), Conv(3, 1), BatchNorm(), Flatten(), Dense(3))
    return with_auxiliaries(
        body, early=("relu1", serial(Flatten(), BatchNorm(), Dense(2))), late=("flatten1", Dense(3))
    )


LAYERS = [
    *_each(Conv, lambda rank: Conv(3, (3, 2, 2)[:rank], stride=2, padding="SAME"), LINE, IMAGE, VOLUME),
    *_one("Conv_grouped", Conv, Conv(6, 3, groups=2, dilation=2, padding=((2, 1), (0, 2)), use_bias=False)),
    *_each(ConvTranspose, lambda rank: ConvTranspose(3, (3, 2, 2)[:rank], stride=2), LINE, IMAGE, VOLUME),
    *_one("ConvTranspose_grouped", ConvTranspose, ConvTranspose(6, 3, stride=2, groups=2, padding=1, output_padding=1)),
    *_each(DepthwiseConv, lambda rank: DepthwiseConv((3, 2, 2)[:rank], multiplier=2), LINE, IMAGE, VOLUME),
    *_each(SeparableConv, lambda rank: SeparableConv(3, (3, 2, 2)[:rank], padding="SAME"), LINE, IMAGE, VOLUME),
    *_each(Dense, lambda rank: Dense(3), (7,), IMAGE),
    *_each(Flatten, lambda rank: Flatten(), (7,), LINE, IMAGE, VOLUME),
    *_each(MaxPool, lambda rank: MaxPool((2, 3, 2)[:rank], padding="SAME"), LINE, IMAGE, VOLUME),
    *_each(AvgPool, lambda rank: AvgPool((2, 3, 2)[:rank], ceil_mode=True), LINE, IMAGE, VOLUME),
    *_each(LpPool, lambda rank: LpPool((2, 3, 2)[:rank], p=3, stride=1), LINE, IMAGE, VOLUME),
    *_each(AdaptiveAvgPool, lambda rank: AdaptiveAvgPool((4, 7, 3)[:rank]), LINE, IMAGE, VOLUME),
    *_each(GlobalMaxPool, GlobalMaxPool, LINE, IMAGE, VOLUME),
    *_each(GlobalAvgPool, GlobalAvgPool, LINE, IMAGE, VOLUME),
    *(Entry(f.__name__, f, f(), IMAGE) for f in (Relu, LeakyRelu, Elu, Gelu, Silu, Tanh, Sigmoid, Softmax)),
    *_one("Relu_6", Relu, Relu(6)),
    *_each(Dropout, lambda rank: Dropout(0.3), (7,), IMAGE),
    *_each(DropPath, lambda rank: DropPath(0.3), (7,), IMAGE),
    *_each(BatchNorm, lambda rank: BatchNorm(), (7,), LINE, IMAGE, VOLUME),
    *_one("BatchNorm_without_scale", BatchNorm, BatchNorm(use_scale=False)),
    *_one("BatchNorm_without_both", BatchNorm, BatchNorm(use_scale=False, use_bias=False)),
    *_one("LayerNorm_without_bias", LayerNorm, LayerNorm(use_bias=False)),
    *_one("GroupNorm_without_both", GroupNorm, GroupNorm(2, use_scale=False, use_bias=False)),
    *_each(LayerNorm, lambda rank: LayerNorm(), (7,), IMAGE),
    *_each(GroupNorm, lambda rank: GroupNorm(2), (8,), LINE, IMAGE, VOLUME),
    *_one("stateless", stateless, stateless("cube", lambda x: x**3)),
    *_one("serial", serial, serial(Conv(3, 3), Relu(), Conv(2, 2), BatchNorm(), Flatten(), out=Dense(3))),
    *_one("serial_of_nothing", serial, serial()),
    *_one("residual", residual, residual(Conv(4, 3, padding="SAME"))),
    *_one("residual_shortcut", residual, residual(DepthwiseConv(3, stride=2, padding=1), Conv(4, 1, stride=2))),
    *_one("residual_relu", residual, residual(Conv(4, 3, padding="SAME"), activation=jax.nn.relu)),
    *_one("branches", branches, branches(Conv(2, 1), Conv(3, 1), MaxPool(3, stride=1, padding="SAME"))),
    *_one("nested", serial, _nested()),
    *_one("checkpointed", checkpointed, checkpointed(serial(Conv(3, 3), BatchNorm(), Relu()))),
    *_one("frozen", frozen, serial(Conv(3, 3), frozen(serial(Conv(2, 1), BatchNorm(), Dropout(0.5))), Dense(3))),
    *_one("with_auxiliaries", with_auxiliaries, _with_auxiliaries()),
]

MODELS = [  # tests/models has the laws of the deeper ones
    Entry(f"model_{name}", models.create, model.layer, model.input_shape, model)
    for name, model in ((name, models.create(name)) for name in models.names() if hasattr(lectures, name))
]
