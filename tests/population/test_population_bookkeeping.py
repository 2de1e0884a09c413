"""Clipping in one pass: whatever a loss does with its parameters, the same as from the gradients of all examples."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.interpreters.partial_eval import dce_jaxpr
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from tolerances import assert_same

from jaxcnn.layers import Conv, Dense, Flatten, MaxPool, Relu, serial
from jaxcnn.ops.bilinear import varying_like
from jaxcnn.population import clip_and_average, clipped_gradient, per_example_gradients

N = 7


def twice(params, x):
    """A function compiled once and called two times, so that its equations appear with the same variables."""
    layer = jax.jit(lambda params, x: jnp.tanh(x @ params["w"] + params["b"]))
    return jnp.sum(layer(params, layer(params, x)))


LOSSES = {
    "a layer": lambda p, x: jnp.sum(jnp.tanh(x @ p["w"] + p["b"])),
    "kernel on the left": lambda p, x: jnp.sum(jnp.tanh(p["w"] @ x)),
    "many rows": lambda p, x: jnp.sum(jnp.tanh(jnp.outer(x, x) @ p["w"])),
    "one kernel in two layers": lambda p, x: jnp.sum(jnp.tanh(jnp.tanh(x @ p["w"] + p["b"]) @ p["w"]) ** 2),
    "and its transpose": lambda p, x: jnp.sum(jnp.tanh(x @ p["w"]) @ p["w"].T * p["b"]),
    "parameters with each other": lambda p, x: jnp.sum(x @ (p["w"] * p["b"])),
    "one twice in an equation": lambda p, x: jnp.sum(p["b"] * p["b"] * x),
    "jit": lambda p, x: jax.jit(lambda p, x: jnp.sum(jax.jit(jnp.tanh)(x @ p["w"])))(p, x),
    "jit, twice the same": twice,
    "checkpoint": lambda p, x: jnp.sum(jax.checkpoint(lambda p, x: jnp.tanh(x @ p["w"]) + p["b"] ** 2)(p, x)),
    "scan": lambda p, x: jnp.sum(lax.scan(lambda c, _: (jnp.tanh(c @ p["w"] + p["b"]), None), x, None, length=3)[0]),
    "fori_loop": lambda p, x: jnp.sum(lax.fori_loop(0, 3, lambda i, c: jnp.tanh(c @ p["w"]), x)),
    "cond": lambda p, x: jnp.sum(lax.cond(x.sum() > 0, lambda: x @ p["w"], lambda: x * p["b"])),
    "custom derivatives": lambda p, x: jnp.sum(jax.nn.relu(p["w"] @ x) * jax.nn.silu(p["b"])),
    "where": lambda p, x: jnp.sum(jnp.where(p["w"] > 0, p["w"], 0.1 * p["w"]) @ x),
    "results without a derivative": lambda p, x: jnp.sort(x * p["b"])[2] * jnp.argsort(x * p["b"])[1],
    "rows by index": lambda p, x: jnp.sum(p["w"][(jnp.abs(x) * 2).astype(int) % 5] * x[:, None]),
    "a penalty": lambda p, x: jnp.sum(x @ p["w"]) + 0.5 * sum(jnp.vdot(a, a) for a in jax.tree.leaves(p)),
    "parameters alone": lambda p, x: jnp.vdot(p["b"], p["b"]),
    "a parameter itself": lambda p, x: p["b"][0],
    "the example alone": lambda p, x: jnp.sum(x**2),
}


def case():
    rng = np.random.default_rng(0)
    return {"w": jnp.asarray(rng.normal(size=(5, 5))), "b": jnp.asarray(rng.normal(size=5))}, rng.normal(size=(N, 5))


def assert_both_ways_agree(loss, params, x):
    function = jax.jit(lambda params, x: clipped_gradient(loss, params, x, max_norm=1.0))
    expected = clip_and_average(per_example_gradients(loss, params, x), 1.0)
    for actual, wanted in zip(jax.tree.leaves(function(params, x)), jax.tree.leaves(expected), strict=True):
        assert_same(actual, wanted)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_it_agrees_with_the_gradients_of_all_examples(float64, loss):
    assert_both_ways_agree(loss, *case())


@pytest.mark.parametrize("wrapped", [lambda f: f, jax.jit], ids=["as it is", "jit"])
def test_nothing_of_the_network_is_computed_twice(wrapped):
    """Three convolutions: a product each, for each a kernel gradient, for all but the first an input gradient."""
    net = serial(*(Conv(4, 3, padding="SAME"), Relu()) * 3, MaxPool(2), Flatten(), Dense(3))
    params, _ = net.init(jax.random.key(0), (6, 6, 2))

    def loss(params, image):
        return net.apply(params, {}, image[None])[0].sum()

    jaxpr = jax.make_jaxpr(lambda *args: clipped_gradient(wrapped(loss), *args, max_norm=1.0))(
        params, jnp.ones((N, 6, 6, 2))
    )
    needed, _ = dce_jaxpr(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))
    counts = collections.Counter(equation.primitive.name for equation in needed.eqns)
    names = ("conv", "conv_kernel_gradient", "conv_input_gradient")
    assert [counts[name] for name in names] == [3, 3, 2]


def test_the_norm_of_a_dense_layer_takes_no_outer_products():
    """|x dyᵀ|² = |x|² |dy|²: as many operations as a plain gradient has, not N times the kernel's size more."""
    params = {"kernel": jnp.ones((256, 256))}
    x = jnp.ones((64, 256))

    def loss(params, x):
        return jnp.sum(jnp.tanh(x @ params["kernel"]) ** 2)

    def operations(function):
        return jax.jit(function).lower(params, x).compile().cost_analysis()["flops"]

    plain = operations(jax.grad(lambda params, x: jax.vmap(loss, (None, 0))(params, x).mean()))
    assert operations(lambda *args: clipped_gradient(loss, *args, max_norm=1.0)) < 1.1 * plain


def test_examples_over_devices(float64):
    """Under `shard_map`, each device its own examples, with parameters that vary: the sum of the means' parts."""
    params, x = case()
    x = x[:6]
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))

    def clipped(params, x):
        params = jax.tree.map(lambda leaf: varying_like(leaf, x), params)
        mean, norms = clipped_gradient(LOSSES["a layer"], params, x, max_norm=1.0)
        return jax.tree.map(lambda leaf: lax.pmean(leaf, "data"), mean), norms

    sharded = jax.jit(jax.shard_map(clipped, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P(), P("data"))))
    expected = clipped_gradient(LOSSES["a layer"], params, x, max_norm=1.0)
    for a, b in zip(jax.tree.leaves(sharded(params, x)), jax.tree.leaves(expected), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("params", [{"w": jnp.ones((5, 5), int)}, {"w": jnp.ones((5, 5), bool)}])
def test_parameters_must_have_a_derivative(params):
    with pytest.raises(TypeError, match="clipped_gradient: `params` must be floating-point arrays; got"):
        clipped_gradient(lambda p, x: jnp.sum(p["w"] @ x), params, jnp.ones((N, 5)), max_norm=1.0)
