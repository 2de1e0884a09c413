"""The lectures' nets: their numbers against NumPy loops, and what their training gradients compile to."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from tolerances import assert_same

from jaxcnn import models
from jaxcnn.models import lectures

LECTURES = [name for name in models.names() if hasattr(lectures, name)]
FORBIDDEN = ("conv_general_dilated", "reduce_window", "select_and_scatter")
FORBIDDEN_STABLEHLO = re.compile(r"stablehlo\.(convolution|dynamic_conv|reduce_window|select_and_scatter)\b")
FORBIDDEN_HLO = re.compile(r'\b(convolution|reduce-window|select-and-scatter)\(|custom_call_target="[^"]*[cC]onv')

# XLA:CPU itself sums more than 32 numbers along an axis (a bias gradient, of images of that size) in two stages, and
# writes the first as a reduce-window whose windows do not overlap. It may carry no metadata, but what it applies, an
# addition, still does: `reduce_sum`, JAX's plain sum, where pooling through XLA has `reduce_window_sum`. So it does, in
# jax 0.7, with `reduce_or`: whether any value is not finite.
PLAIN_SUM = re.compile(
    r'^%(\S+) \(.*\{\n(?:  %.* parameter\(.*\n)*  ROOT .* (?:add|or)\(.*op_name="(?:[^"]*/)?reduce_(?:sum|or)"', re.M
)
SUM_IN_STAGES = re.compile(r"\breduce-window\(.*window=\{size=(\S+) stride=\1[ }].*to_apply=%([^\s,]+)")


def forbidden_in(hlo):
    """Every convolution or window of XLA's in a compiled program but for the stages of a plain sum."""
    sums = set(PLAIN_SUM.findall(hlo))
    lines = [line for line in hlo.splitlines() if FORBIDDEN_HLO.search(line)]
    stages = [line for line in lines if (found := SUM_IN_STAGES.search(line)) and found[2] in sums]
    return [FORBIDDEN_HLO.search(line)[0] for line in lines if line not in stages]


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


@pytest.mark.parametrize("name", LECTURES)
def test_training_gradients_compile_without_a_convolution_of_xla(name):
    """And give finite numbers, the same for the same dropout key, none of a parameter all zero."""
    model = models.create(name)
    params, state, x = drawn(model, "float32")
    traced = gradient_of(model).trace(params, state, x, jax.random.key(1, impl="rbg"))
    assert [word for word in FORBIDDEN if word in str(traced.jaxpr)] == []
    lowered = traced.lower()
    assert FORBIDDEN_STABLEHLO.findall(lowered.as_text()) == []
    compiled = lowered.compile()
    assert forbidden_in(compiled.as_text()) == []

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

    lowered = jax.jit(jax.value_and_grad(through_xla)).lower(jnp.ones((1, 4, 4, 1)), jnp.ones((2, 2, 1, 1)))
    assert set(FORBIDDEN_STABLEHLO.findall(lowered.as_text())) == {"convolution", "reduce_window", "select_and_scatter"}
    # XLA:CPU turns select-and-scatter into a loop before it gets here
    assert set(forbidden_in(lowered.compile().as_text())) >= {"convolution(", "reduce-window("}


@pytest.mark.parametrize("window", [2, 64])
def test_the_search_tells_pooling_by_addition_from_a_plain_sum(window):
    """Windows that do not overlap, of every size: the sum over all of an image is pooling, too."""

    def pooled(x):
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, window, window, 1), (1, window, window, 1), "VALID")

    x = jnp.ones((2, 128, 128, 4))
    assert "reduce-window(" in forbidden_in(jax.jit(pooled).lower(x).compile().as_text())
    assert forbidden_in(jax.jit(lambda x: x.sum((0, 1, 2))).lower(x).compile().as_text()) == []


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
