"""Layers run differently: computed again for the gradient, or left alone by training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import assert_same

from jaxcnn.layers import BatchNorm, Conv, Dense, Dropout, Flatten, Relu, checkpointed, frozen, residual, serial

KEY = jax.random.key(0, impl="rbg")
SHAPE = (6, 5, 2)
X = jnp.asarray(np.random.default_rng(0).standard_normal((3, *SHAPE)), jnp.float32)


def block():
    return serial(residual(serial(Conv(2, 3, padding=1), BatchNorm(), Relu(), Dropout(0.5))), Flatten(), Dense(3))


def gradient(layer):
    """(gradients, (outputs, state)) of a training step, as a function of the parameters."""

    def loss(params, state):
        y, state = layer.apply(params, state, X, train=True, key=KEY)
        return jnp.sum(y**2), (y, state)

    return jax.grad(loss, has_aux=True)


def residuals(layer, params, state):
    """How many arrays the forward pass keeps for the gradient, parameters and input apart."""
    _, vjp = jax.vjp(lambda params: layer.apply(params, state, X, train=True, key=KEY)[0], params)
    given = {leaf.unsafe_buffer_pointer() for leaf in [X, *jax.tree.leaves(params)]}
    kept = [leaf for leaf in jax.tree.leaves(vjp) if isinstance(leaf, jax.Array) and leaf.size > 10]
    return sum(leaf.unsafe_buffer_pointer() not in given for leaf in kept)


def test_a_checkpointed_layer_has_the_values_and_gradients_of_the_layer():
    """Its dropout masks too, though they are drawn twice."""
    layer = block()
    params, state = layer.init(KEY, SHAPE)
    again = checkpointed(layer).init(KEY, SHAPE)
    jax.tree.map(np.testing.assert_array_equal, again, (params, state))
    plain, checked = (jax.jit(gradient(each))(params, state) for each in (layer, checkpointed(layer)))
    jax.tree.map(lambda a, b: assert_same(a, b, 1e-5), checked, plain)


def test_a_checkpointed_layer_keeps_its_input_only():
    layer = block()
    params, state = layer.init(KEY, SHAPE)
    assert residuals(layer, params, state) > 3
    assert residuals(checkpointed(layer), params, state) == 0


def test_a_checkpointed_layer_shows_what_it_is_made_of():
    layer = block()
    assert checkpointed(layer).children == layer.children and checkpointed(layer).chained
    other = checkpointed(layer).combine({**layer.children, "dense1": Dense(7)})
    params, state = other.init(KEY, SHAPE)
    assert params["dense1"]["bias"].shape == (7,)
    assert residuals(other, params, state) == 0  # what it is wrapped in stays


def test_training_leaves_a_frozen_layer_alone():
    net = serial(before=Conv(2, 1), body=frozen(serial(Conv(3, 3), BatchNorm(), Dropout(0.9))), head=Dense(2))
    params, state = net.init(KEY, SHAPE)
    state = {"body": {"batch_norm1": {"mean": jnp.full(3, 0.5), "var": jnp.full(3, 4.0)}}}
    gradients, (y, new_state) = gradient(net)(params, state)
    assert new_state == state
    np.testing.assert_array_equal(y, net.apply(params, state, X)[0])  # as at inference: nothing is dropped
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients["body"]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves((gradients["before"], gradients["head"])))


def test_a_frozen_layer_passes_the_gradient_on_to_its_input():
    layer = serial(Conv(3, 3), BatchNorm())
    params, state = layer.init(KEY, SHAPE)
    weights = jnp.asarray(np.random.default_rng(1).standard_normal((3, 4, 3, 3)), jnp.float32)
    frozen_dx, dx = (
        jax.grad(lambda x, each=each: jnp.sum(each.apply(params, state, x)[0] * weights))(X)
        for each in (frozen(layer), layer)
    )
    assert_same(frozen_dx, dx, 1e-5)


def test_layers_put_into_a_frozen_one_are_frozen():
    layer = frozen(serial(Dense(3))).combine({"dense1": Dense(3), "dense2": Dense(2)})
    params, _ = layer.init(KEY, (4,))
    gradients = jax.grad(lambda p: layer.apply(p, {}, jnp.ones((1, 4)), train=True)[0].sum())(params)
    assert sorted(gradients) == ["dense1", "dense2"]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("wrap", [checkpointed, frozen])
def test_what_is_no_layer_is_refused(wrap):
    with pytest.raises(TypeError, match=rf"{wrap.__name__}: `layer` must be a Layer; got <function"):
        wrap(Relu)
