"""Mixed precision: what has which dtype, and that the small one is really computed in."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_tiny import CONV, DIGITS, LINEAR, WHOLE, assert_same_bits, differs

from jaxcnn import models
from jaxcnn.layers import Dense, Flatten, Layer, serial
from jaxcnn.models import Model
from jaxcnn.train import Policy, TrainState, evaluate, fit, make_step, predict
from jaxcnn.weights import load

TRAIN, TEST = DIGITS.train[:90], DIGITS.test[:40]
HALF = Policy(compute=jnp.bfloat16)
OPTIONS = {"epochs": 2, "batch_size": 32, "optimizer": optax.adam(1e-2), "validation": TEST}


def dtypes(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)}


def test_each_part_has_its_dtype():
    seen = {}

    def apply(params, state, x, *, train=False, key=None):
        seen["x"], seen["params"] = str(x.dtype), dtypes(params)
        return (x @ params["kernel"], x.sum(axis=1)), {"mean": x.mean(0).astype(jnp.float32)}

    params, state = {"kernel": jnp.ones((3, 2)), "index": jnp.arange(2)}, {"mean": jnp.zeros(3)}
    policy = Policy(compute=jnp.bfloat16, output=jnp.float16)
    outputs, new = policy(apply)(params, state, jnp.ones((4, 3)), train=True, key=None)
    assert seen == {"x": "bfloat16", "params": {"bfloat16"}}  # and the integers as they are
    assert dtypes(outputs) == {"float16"} and len(outputs) == 2 and dtypes(new) == {"float32"}
    gradient = jax.grad(
        lambda k: Policy(compute=jnp.bfloat16)(apply)({"kernel": k}, state, jnp.ones((4, 3)))[0][0].sum()
    )
    assert gradient(params["kernel"]).dtype == jnp.float32


@pytest.fixture(scope="module")
def plain():
    return fit(WHOLE, TRAIN, **OPTIONS)


def test_training_in_bfloat16_keeps_float32(plain):
    train_state, history = fit(WHOLE, TRAIN, policy=HALF, **OPTIONS)
    assert dtypes((train_state.params, train_state.state, train_state.opt_state)) == {"float32"}
    expected, expected_history = plain
    assert differs(train_state.params, expected.params)
    np.testing.assert_allclose(history["validation_loss"], expected_history["validation_loss"], rtol=0.05)
    # Parameters that bfloat16 has not: updates are added in float32.
    assert any((leaf != leaf.astype(jnp.bfloat16)).any() for leaf in jax.tree.leaves(train_state.params))


@pytest.mark.parametrize("model", [CONV, models.create("resnet20")], ids=lambda model: model.name)
def test_a_step_gives_every_array_the_dtype_it_had(model):
    """Else a compiled loop of steps could not run."""
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    optimizer = optax.adam(1e-2)
    train_state = TrainState(params, state, jax.eval_shape(optimizer.init, params), jnp.zeros((), jnp.int32))
    images = jax.ShapeDtypeStruct((4, *model.input_shape), jnp.uint8)
    step = make_step(HALF(model.apply), optimizer)
    new, _ = jax.eval_shape(step, train_state, images, np.zeros(4, int), np.ones(4, bool), jax.random.key(0))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), new) == jax.tree.map(lambda a: (a.shape, a.dtype), train_state)


def test_a_policy_of_float32_alone_changes_nothing(plain):
    assert_same_bits(fit(WHOLE, TRAIN, policy=Policy(), **OPTIONS)[0], plain[0])


def test_evaluation_and_prediction_follow_it():
    """Numbers that bfloat16 cannot tell apart: 64 and 64 + 2⁻³."""
    model = Model("m", serial(Flatten(), Dense(2, use_bias=False)), (1, 1, 1), 2)
    train_state = TrainState({"dense1": {"kernel": jnp.array([[64.0, 64.0 + 2**-3]])}}, {})
    data = np.full((3, 1, 1, 1), 1.0, np.float32), np.zeros(3, int)
    assert evaluate(model, train_state, data, batch_size=2)["loss"] > np.log(2) + 0.05
    assert evaluate(model, train_state, data, batch_size=2, policy=HALF)["loss"] == pytest.approx(np.log(2))
    assert evaluate(model, train_state, data, batch_size=2, policy=HALF)["accuracy"] == 1.0  # the first of equals
    p = predict(model, train_state, data[0], batch_size=2, policy=HALF)
    assert p.dtype == np.float32 and (p == 0.5).all()
    assert (predict(model, train_state, data[0], batch_size=2)[:, 1] > 0.5).all()


def test_parameters_in_bfloat16_are_saved_as_the_models_own(tmp_path):
    policy = Policy(param=jnp.bfloat16, compute=jnp.bfloat16)
    train_state, history = fit(WHOLE, TRAIN, policy=policy, run_dir=tmp_path, **OPTIONS)
    assert dtypes(train_state.params) == {"bfloat16"} and dtypes(train_state.state) == {"float32"}
    assert history["validation_loss"].argmin() == 1
    params, state = load(tmp_path / "model.safetensors", WHOLE)
    assert_same_bits(params, jax.tree.map(lambda a: a.astype(jnp.float32), train_state.params))
    assert_same_bits(state, train_state.state)


def test_averages_of_bfloat16_are_in_float32():
    """In bfloat16 a hundredth of a small difference would be lost."""
    policy = Policy(param=jnp.bfloat16, compute=jnp.bfloat16)
    options = {"epochs": 1, "batch_size": 90, "optimizer": optax.sgd(0.1)}
    train_state, _ = fit(LINEAR, TRAIN, policy=policy, ema=0.99, **options)
    assert dtypes(train_state.params) == {"bfloat16"} and dtypes(train_state.ema) == {"float32"}


def test_random_layers_get_their_key():
    def apply(params, state, x, *, train=False, key=None):
        return x.reshape(len(x), -1)[:, :10] + jax.random.uniform(key, (10,)) if train else x[:, 0, :, 0], state

    layer = Layer(lambda key, shape: ({}, {}), apply)
    y, _ = HALF(layer.apply)({}, {}, jnp.ones((2, 4, 4, 1)), train=True, key=jax.random.key(0))
    assert y.shape == (2, 10) and y.dtype == jnp.float32


@pytest.mark.parametrize("name", ["param", "compute", "output"])
@pytest.mark.parametrize("dtype", [jnp.int32, "half a float", None])
def test_other_dtypes_are_refused(name, dtype):
    if dtype is None:
        dtype = bool
    with pytest.raises(ValueError, match=rf"Policy: `{name}` must be a floating dtype, such as jnp\.bfloat16; got"):
        Policy(**{name: dtype})


def test_what_is_no_policy_is_refused():
    with pytest.raises(
        TypeError, match=r"fit: `policy` must be a Policy, such as Policy\(compute=jnp\.bfloat16\); got"
    ):
        fit(WHOLE, TRAIN, policy=jnp.bfloat16, **OPTIONS)
