"""What a training step says to the compilers of accelerators: the dtypes and the precision of its products, and which
buffers it reuses. Lowered here, without a TPU or a GPU."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_tiny import DIGITS

from jaxcnn import data, train
from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten, Relu, serial
from jaxcnn.models import Model

MODEL = Model("conv", serial(Conv(8, 3), BatchNorm(), Relu(), Flatten(), Dense(10)), (8, 8, 1), 10)
OPTIMIZER = optax.adam(0.01)
PLATFORMS = ("tpu", "cuda", "cpu")
# of StableHLO: the precision of a product, and the dtypes of its operands
PRECISION = r"(?:dot_general|stablehlo\.convolution).*?(?:precision = \[|<precision )(\w+)"
PRODUCT = PRECISION + r".*: \(tensor<([^>]*)>, tensor<([^>]*)>"


def lowered(platform, policy=None):
    """Many steps in one dispatch, as text."""
    params, state = MODEL.init(jax.random.key(0))
    train_state = train.TrainState(params, state, OPTIMIZER.init(params), jnp.int32(0), MODEL.loss)
    apply = MODEL.apply if policy is None else policy(MODEL.apply)
    steps = train.make_steps(train.make_step(apply, OPTIMIZER))
    images, labels = DIGITS.train.images[:32], DIGITS.train.labels[:32]
    arguments = train_state, images, labels, *data.epoch_plan(32, 16), 2, jax.random.key(1)
    text = steps.trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    return text, len(jax.tree.leaves(train_state))


def products(text):
    """How many products there are of each precision and dtypes."""
    found = re.findall(PRODUCT, text)
    return collections.Counter((word, *(shape.split("x")[-1] for shape in shapes)) for word, *shapes in found)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("word", [None, "default", "high", "highest"])
def test_every_product_has_the_precision_that_was_asked_for(word, platform):
    with jax.default_matmul_precision(word):
        found = products(lowered(platform)[0])
    assert {kind[0] for kind in found} == {(word or "default").upper()}
    assert found.total() >= 4  # of a first layer with few weights a GPU has sums and no product


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_every_product_of_mixed_precision_has_bfloat16_operands(platform):
    both = {kind[1:] for kind in products(lowered(platform, train.Policy(compute=jnp.bfloat16))[0])}
    assert both == {("bf16", "bf16")}
    assert {kind[1:] for kind in products(lowered(platform)[0])} == {("f32", "f32")}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_buffer_of_the_train_state_is_reused(platform):
    text, leaves = lowered(platform)
    (main,) = re.findall(r"func\.func public @main\((.*)", text)
    assert main.count("tf.aliasing_output") + main.count("jax.buffer_donor") == leaves


def test_mixed_precision_keeps_what_is_updated_in_float32():
    fitted, history = train.fit(
        MODEL,
        DIGITS.train[:64],
        epochs=4,
        batch_size=16,
        optimizer=OPTIMIZER,
        policy=train.Policy(compute=jnp.bfloat16),
        progress=False,
    )
    assert {leaf.dtype for leaf in jax.tree.leaves((fitted.params, fitted.state))} == {np.dtype("float32")}
    losses = history["loss"]
    assert losses[-1] < losses[0]
