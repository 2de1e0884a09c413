"""Batch norm folded into what stands before it: the same network at inference, by kind of layer and by place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import assert_same

from jaxcnn.layers import (
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    DepthwiseConv,
    Flatten,
    Layer,
    Relu,
    branches,
    checkpointed,
    fold_batch_norm,
    frozen,
    output_shape,
    residual,
    serial,
    with_auxiliaries,
)

SHAPE = (5, 6, 4)
AFFINE = {
    "conv": Conv(6, 3, use_bias=False),
    "conv_bias": Conv(6, 3, stride=2, padding=1),
    "conv_grouped": Conv(6, 3, groups=2, use_bias=False),
    "depthwise": DepthwiseConv(3, multiplier=2, use_bias=False),
    "transpose": ConvTranspose(3, 2, stride=2),
    "transpose_grouped": ConvTranspose(6, 3, groups=2, use_bias=False),
    "dense": Dense(7, use_bias=False),
}


def drawn(layer, shape=SHAPE):
    """All values drawn: statistics, scales and biases, too; in float64."""
    trees = jax.eval_shape(lambda: layer.init(jax.random.key(0), shape))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        positive = path[-1].key in ("var", "scale")
        return jnp.asarray(rng.uniform(0.5, 2, leaf.shape) if positive else rng.standard_normal(leaf.shape))

    return jax.tree_util.tree_map_with_path(draw, trees)


def kinds(layer: Layer):
    """The leaves' kinds, in order."""
    if not layer.children:
        return [layer.kind]
    return [kind for child in layer.children.values() for kind in kinds(child)]


def check(layer, shape=SHAPE):
    """(folded layer, params, state), of the same values."""
    params, state = drawn(layer, shape)
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, *shape)))
    folded, new_params, new_state = fold_batch_norm(layer, params, state)
    y, _ = jax.jit(layer.apply)(params, state, x)
    assert_same(jax.jit(folded.apply)(new_params, new_state, x)[0], y)
    fresh = jax.eval_shape(lambda: folded.init(jax.random.key(0), shape))  # a layer like any other
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, (new_params, new_state))
    assert output_shape(folded, *fresh, shape) == y.shape[1:]
    return folded, new_params, new_state


@pytest.mark.parametrize("case", AFFINE)
@pytest.mark.usefixtures("float64")
def test_folding_into_each_kind_of_layer(case):
    folded, params, state = check(serial(AFFINE[case], BatchNorm(eps=0.1), Relu()))
    assert "batch_norm" not in kinds(folded) and state == {}
    assert set(next(iter(params.values()))) == {"kernel", "bias"}


@pytest.mark.usefixtures("float64")
def test_folding_at_any_depth():
    unit = serial(Conv(4, 3, padding=1, use_bias=False), BatchNorm(), Relu())
    net = serial(
        first=unit,
        block=residual(
            checkpointed(serial(unit, Conv(4, 1), BatchNorm())), serial(Conv(4, 1), BatchNorm()), jax.nn.relu
        ),
        wide=branches(unit, frozen(serial(DepthwiseConv(1), BatchNorm()))),
        flatten=Flatten(),
        last=serial(Dense(3), BatchNorm()),
    )
    folded, params, state = check(net)
    assert kinds(folded) == [kind for kind in kinds(net) if kind != "batch_norm"] and state == {}
    assert set(params["block"]["body"]) == {"serial1", "conv1"}  # names stay


@pytest.mark.usefixtures("float64")
def test_other_batch_norms_stay():
    """Before the convolution, after an activation, a second one, and one beside the convolution."""
    net = serial(
        BatchNorm(),
        Conv(3, 2),
        Relu(),
        BatchNorm(),
        Conv(3, 1),
        BatchNorm(),
        BatchNorm(),
        last=branches(Conv(2, 1), BatchNorm()),
    )
    folded, _, state = check(net)
    assert list(folded.children) == ["batch_norm1", "conv1", "relu1", "batch_norm2", "conv2", "batch_norm4", "last"]
    assert list(state) == ["batch_norm1", "batch_norm2", "batch_norm4", "last"]


@pytest.mark.usefixtures("float64")
def test_auxiliary_heads_are_folded_too():
    body = serial(Dense(4), BatchNorm(), Dense(3))
    net = with_auxiliaries(body, early=("batch_norm1", serial(Dense(2), BatchNorm())))
    params, state = drawn(net, (5,))
    folded, new_params, new_state = fold_batch_norm(net, params, state)
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, 5)))
    assert_same(folded.apply(new_params, new_state, x)[0], net.apply(params, state, x)[0])
    y, early = folded.apply(new_params, new_state, x, train=True)[0]
    hidden, _ = serial(*list(body.children.values())[:2]).apply(params, state, x)
    assert_same(early, net.children["early"].apply(params["early"], state["early"], hidden)[0])
    assert y.shape == (2, 3) and new_state == {}


def test_nothing_to_fold_leaves_everything():
    net = serial(Conv(3, 2), Relu())
    params, state = net.init(jax.random.key(0), SHAPE)
    folded, new_params, new_state = fold_batch_norm(net, params, state)
    assert list(folded.children) == list(net.children) and new_params["conv1"] is params["conv1"] and new_state == {}
    assert fold_batch_norm(Relu(), {}, {})[1:] == ({}, {})


def test_parameters_keep_their_dtype():
    net = serial(Conv(3, 2, use_bias=False), BatchNorm())
    params, state = net.init(jax.random.key(0), SHAPE)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    _, folded, _ = fold_batch_norm(net, params, state)
    assert {leaf.dtype for leaf in jax.tree.leaves(folded)} == {jnp.dtype(jnp.bfloat16)}


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="fold_batch_norm: `layer` must be a Layer; got None"):
        fold_batch_norm(None, {}, {})


@pytest.mark.parametrize("use_scale", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_norm_without_scale_or_bias_is_folded(use_scale, use_bias):
    net = serial(Conv(4, 3), BatchNorm(use_scale=use_scale, use_bias=use_bias))
    params, _ = net.init(jax.random.key(0), (5, 5, 2))
    state = {"batch_norm1": {"mean": jnp.arange(4.0), "var": jnp.arange(1.0, 5)}}
    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 2))
    folded, new_params, new_state = fold_batch_norm(net, params, state)
    assert new_state == {}
    np.testing.assert_allclose(folded.apply(new_params, {}, x)[0], net.apply(params, state, x)[0], rtol=1e-5, atol=1e-5)
