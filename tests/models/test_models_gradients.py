"""The models' numbers against NumPy loops, and what their training gradients compile to."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from tolerances import assert_same

from jaxcnn import models

FORBIDDEN = ("conv_general_dilated", "reduce_window", "select_and_scatter")
FORBIDDEN_HLO = re.compile(r'\b(convolution|reduce-window|select-and-scatter)\(|custom_call_target="[^"]*[cC]onv')


def drawn(model, dtype):
    """Parameters of the size that init would give them, without compiling it, and one or two images."""
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    fill = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), params)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf / np.sqrt(leaf[..., 0].size), dtype), fill)
    return params, state, jnp.asarray(rng.uniform(size=(2, *model.input_shape)), dtype)


def gradient_of(model):
    def gradient(params, state, x, key):
        """Of the squared logits of a training step, by the parameters."""

        def loss(params):
            y, new_state = model.apply(params, state, x, train=True, key=key)
            return jnp.sum(y**2), new_state

        return jax.grad(loss, has_aux=True)(params)[0]

    return jax.jit(gradient)


@pytest.mark.parametrize("name", models.names())
def test_training_gradients_compile_without_a_convolution_of_xla(name):
    """And give finite numbers, the same for the same dropout key, none of a parameter all zero."""
    model = models.create(name)
    params, state, x = drawn(model, "float32")
    traced = gradient_of(model).trace(params, state, x, jax.random.key(1, impl="rbg"))
    assert [word for word in FORBIDDEN if word in str(traced.jaxpr)] == []
    compiled = traced.lower().compile()
    assert FORBIDDEN_HLO.findall(compiled.as_text()) == []

    first, again, other = (compiled(params, state, x, jax.random.key(seed, impl="rbg")) for seed in (1, 1, 2))
    for path, leaf in jax.tree_util.tree_leaves_with_path(first):
        assert np.isfinite(leaf).all() and np.any(leaf), path
    jax.tree.map(np.testing.assert_array_equal, first, again)
    dropout = any(child.startswith("dropout") for child in model.layer.children)
    assert np.array_equal(first["dense1"]["kernel"], other["dense1"]["kernel"]) != dropout


def test_the_search_for_convolutions_of_xla_finds_them():
    def through_xla(x, kernel):
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID").sum()

    compiled = jax.jit(jax.grad(through_xla)).trace(jnp.ones((1, 4, 4, 1)), jnp.ones((2, 2, 1, 1))).lower().compile()
    # XLA:CPU turns select-and-scatter into a loop before it gets here; the jaxpr is where it would be seen
    assert set(FORBIDDEN_HLO.findall(compiled.as_text())) >= {"convolution", "reduce-window"}


# --------------------------------------------------------------------------------------------------- numbers by hand


def by_loops(kinds, params, x, *, padding):
    """The logits of a net without state, by NumPy; `padding` is that of each convolution in turn."""
    padding = list(padding)
    for name, kind in kinds.items():
        p = params.get(name)
        if kind == "conv":
            side = padding.pop(0)
            x = oracles.conv(x, p["kernel"], pads=((side, side), (side, side))) + p["bias"]
        elif kind == "dense":
            x = x @ np.asarray(p["kernel"]) + p["bias"]
        elif kind == "flatten":
            x = x.reshape(len(x), -1)
        elif kind == "dropout":
            pass
        else:
            x = {
                "relu": lambda x: np.maximum(x, 0),
                "tanh": np.tanh,
                "max_pool": lambda x: oracles.max_pool(x, (2, 2)),
                "avg_pool": lambda x: oracles.avg_pool(x, (2, 2)),
            }[kind](np.asarray(x))
    assert not padding
    return x


@pytest.mark.parametrize(
    ("name", "options", "padding"),
    [
        ("digits_cnn", {}, [1, 1, 1]),
        ("lenet5", {}, [2, 0]),
        ("lenet5", {"classic": True}, [2, 0]),
        ("zero_one", {}, [0]),
        ("cifar10_cnn", {}, [1, 0, 1, 0]),
    ],
)
def test_logits_are_those_of_the_loops(name, options, padding):
    with jax.enable_x64(True):
        model = models.create(name, **options)
        params, state, x = drawn(model, "float64")
        y, _ = jax.jit(model.apply)(params, state, x)
        kinds = {child: layer.kind for child, layer in model.layer.children.items()}
        assert_same(y, by_loops(kinds, params, x, padding=padding))
