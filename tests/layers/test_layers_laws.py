"""Laws: what holds for every layer and every model, whatever it computes."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws_table import LAYERS, MODELS, random_key
from tolerances import assert_same

from jaxcnn import layers, models
from jaxcnn.layers import Layer, Relu, Tanh, output_shape, serial
from jaxcnn.models import lectures

ROUNDING = 2e-5  # float32, sums of up to some thousand terms in another order, relative to outputs of size about 1
FORBIDDEN = ("conv_general_dilated", "reduce_window", "select_and_scatter")
STABLEHLO = ("stablehlo.convolution", "stablehlo.reduce_window", "stablehlo.select_and_scatter")

ADDRESS = re.compile(r"0x[0-9a-f]+")  # of a function that a jaxpr mentions

EVERYTHING = [*LAYERS, *MODELS]


def over(entries):
    return pytest.mark.parametrize("entry", entries, ids=lambda entry: entry.name)


every_layer, every_model, everything = over(LAYERS), over(MODELS), over(EVERYTHING)
with_kernel = over([entry for entry in EVERYTHING if "Conv" in entry.name or "Dense" in entry.name or entry.model])
with_state = over(  # that training changes
    [e for e in LAYERS if e.factory is not layers.frozen and e.layer.init(random_key(0), e.input_shape)[1]]
)
combined = over([entry for entry in LAYERS if entry.layer.combine])


def leaves(tree):
    """{path: leaf}, for messages and comparisons."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def assert_identical(actual, expected):
    """The same names, dtypes and bits."""
    actual, expected = leaves(actual), leaves(expected)
    assert actual.keys() == expected.keys()
    for path, leaf in actual.items():
        assert leaf.dtype == expected[path].dtype, path
        np.testing.assert_array_equal(leaf, expected[path], err_msg=path)


def forms(tree):
    """The tree with (shape, dtype) in place of arrays."""
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def first(y):
    """The output proper, where training gives those of auxiliary classifiers too."""
    return y[0] if isinstance(y, tuple) else y


def test_the_table_has_every_layer_and_every_model():
    public = [getattr(layers, name) for name in layers.__all__]
    factories = {f for f in public if inspect.isfunction(f) and f.__annotations__.get("return") is Layer}
    assert len(factories) > 25
    assert factories == {entry.factory for entry in LAYERS}
    assert {entry.model.name for entry in MODELS} == {name for name in models.names() if hasattr(lectures, name)}
    assert len({entry.name for entry in EVERYTHING}) == len(EVERYTHING)


# ------------------------------------------------------------------------------------------------------------- shapes


@everything
def test_init_promises_the_shape_that_apply_returns(entry):
    params, state = entry.initial
    promised = output_shape(entry.layer, params, state, entry.input_shape)
    y, _ = entry.inference(params, state, entry.x)
    assert y.shape == (2, *promised)
    trained, _ = jax.eval_shape(entry.training_step, params, state, entry.x)
    assert first(trained).shape == y.shape and {part.dtype for part in jax.tree.leaves(trained)} == {y.dtype}
    assert y.dtype == entry.x.dtype
    if entry.model:
        units = 1 if entry.model.num_classes == 2 and entry.name.endswith("dogs_cnn") else entry.model.num_classes
        assert promised == (units,)


@everything
def test_an_empty_batch_gives_an_empty_batch(entry):
    params, state = entry.initial
    y, _ = jax.eval_shape(entry.layer.apply, params, state, entry.x[:0])
    assert y.shape == (0, *output_shape(entry.layer, params, state, entry.input_shape))


# ---------------------------------------------------------------------------------------------------- transformations


@every_layer
def test_jit_is_eager(entry):
    """In training, with dropout: the masks are the same too."""
    arguments = (*entry.initial, entry.x)
    eager, compiled = entry.training_step(*arguments), entry.training(*arguments)
    jax.tree.map(lambda a, b: assert_same(a, b, ROUNDING), compiled, eager)
    assert jax.tree.structure(compiled) == jax.tree.structure(eager)


@every_model
def test_jit_is_eager_for_models(entry):
    arguments = (*entry.initial, entry.x)
    assert_same(entry.inference(*arguments)[0], entry.layer.apply(*arguments)[0], ROUNDING)


@everything
def test_vmap_over_single_images_is_the_batch(entry):
    params, state = entry.initial

    def single(image):
        return entry.layer.apply(params, state, image[None])[0][0]

    y, _ = entry.inference(params, state, entry.x)
    assert_same(jax.jit(jax.vmap(single))(entry.x), y, ROUNDING)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@everything
def test_gradients_have_the_names_shapes_and_dtypes_of_the_parameters(entry, dtype):
    with jax.enable_x64(dtype == "float64"):
        params, state, x = entry.cast(dtype)
        gradients, dx = jax.eval_shape(jax.grad(entry.loss, argnums=(0, 2)), params, state, x)
        assert forms(gradients) == forms(params)
        assert (dx.shape, dx.dtype) == (x.shape, jnp.dtype(dtype))
        y, new_state = jax.eval_shape(entry.training_step, params, state, x)
        assert {part.dtype for part in jax.tree.leaves(y)} == {jnp.dtype(dtype)}
        assert forms(new_state) == forms(state)  # statistics keep their float32, so a loop can carry them


@everything
def test_no_convolution_of_xla_in_the_gradient(entry):
    """Neither in the jaxpr nor in what our primitives are lowered to; tests/models reads the compiled program too."""
    gradient = jax.jit(jax.grad(entry.loss, argnums=(0, 2)))
    traced = gradient.trace(*entry.initial, entry.x)
    jaxpr, lowered = str(traced.jaxpr), traced.lower().as_text()
    assert "stablehlo." in lowered
    assert [word for word in FORBIDDEN if word in jaxpr] == []
    assert [word for word in STABLEHLO if word in lowered] == []


def test_the_search_for_convolutions_of_xla_finds_them():
    x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((2, 2, 1, 1))

    def through_xla(x, kernel):
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID").sum()

    traced = jax.jit(jax.grad(jax.checkpoint(through_xla))).trace(x, kernel)
    jaxpr, lowered = str(traced.jaxpr), traced.lower().as_text()
    assert all(word in jaxpr for word in FORBIDDEN)
    assert all(word in lowered for word in STABLEHLO[::2])


# --------------------------------------------------------------------------------------------------------- parameters


@everything
def test_parameters_and_state_are_plain_nested_dicts(entry):
    """Of float32 arrays, under the words of the field; what has none has no entry."""

    def check(tree, words, top=True):
        assert type(tree) is dict and (top or tree)
        for name, value in tree.items():
            assert type(name) is str and name.isidentifier()
            if isinstance(value, dict):
                check(value, words, top=False)
            else:
                assert name in words
                assert isinstance(value, jax.Array) and value.dtype == jnp.float32 and not value.weak_type

    params, state = entry.initial
    check(params, {"kernel", "bias", "scale"})
    check(state, {"mean", "var"})


@everything
def test_parameters_are_float32_under_x64_too(entry):
    with jax.enable_x64(True):
        abstract = jax.eval_shape(lambda: entry.init())
    assert {leaf.dtype for leaf in jax.tree.leaves(abstract)} <= {jnp.dtype("float32")}


@everything
def test_the_same_key_gives_the_same_parameters(entry):
    assert_identical(entry.init(seed=0), entry.initial)


@with_kernel
def test_another_key_gives_other_kernels(entry):
    kernels = {path: leaf for path, leaf in leaves(entry.initial[0]).items() if path.endswith("['kernel']")}
    others = leaves(entry.init(seed=1)[0])
    assert kernels
    assert all(not np.array_equal(leaf, others[path]) for path, leaf in kernels.items())


@over([entry for entry in LAYERS if "Conv" in entry.name or entry.factory in (layers.Dense, layers.residual)])
def test_a_layer_in_front_does_not_reseed_what_follows(entry):
    def init(*layers, **named_layers):
        return serial(*layers, **named_layers).init(random_key(0), entry.input_shape)

    assert_identical(init(Relu(), Tanh(), entry.layer), init(entry.layer))
    assert_identical(init(Relu(), Tanh(), named=entry.layer), init(named=entry.layer))


@everything
def test_parameters_and_state_can_be_donated_together(entry):
    """No array stands in two places, which a training step that donates its buffers would refuse."""
    initial = entry.layer.init(random_key(0), entry.input_shape) if not entry.model else entry.init()
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(initial)]
    assert len(set(pointers)) == len(pointers)


@everything
def test_a_layer_is_shown_as_the_code_that_makes_it(entry):
    shown = repr(entry.layer)
    if "<lambda>" in shown or "stateless('zero_padded'" in shown:  # what only its author can write
        return
    again = eval(shown, {**vars(layers), "relu": jax.nn.relu})
    assert repr(again) == shown
    assert forms(entry.initial) == forms(jax.eval_shape(lambda: again.init(random_key(0), entry.input_shape)))


@every_layer
def test_a_layer_knows_what_it_was_made_with_and_its_role(entry):
    if entry.factory not in (layers.frozen,):  # which is inside of this one
        assert entry.layer.config.name == entry.factory.__name__
        assert entry.layer.config.make is entry.factory
    assert (entry.layer.role == "other") == (entry.factory is layers.stateless)
    assert (entry.layer.role == "group") == (entry.layer.combine is not None)


@combined
def test_a_layer_combined_of_its_own_children_is_the_same(entry):
    """In what it draws, keeps and computes; what it is wrapped in included."""
    again = entry.layer.combine(dict(entry.layer.children))
    assert (again.kind, again.chained, again.aside) == (entry.layer.kind, entry.layer.chained, entry.layer.aside)
    assert list(again.children) == list(entry.layer.children)
    assert_identical(again.init(random_key(0), entry.input_shape), entry.initial)
    programs = [
        str(
            jax.make_jaxpr(lambda *a, layer=layer: layer.apply(*a, train=True, key=random_key(7)))(
                *entry.initial, entry.x
            )
        )
        for layer in (again, entry.layer)
    ]
    assert ADDRESS.sub("", programs[0]) == ADDRESS.sub("", programs[1])


# --------------------------------------------------------------------------------------------------- training or not


@everything
def test_inference_is_deterministic_and_leaves_the_state(entry):
    params, state = entry.initial
    y, new_state = entry.inference(params, state, entry.x)
    again, _ = entry.inference(params, state, entry.x)
    np.testing.assert_array_equal(again, y)
    assert_identical(new_state, state)
    jaxpr = jax.make_jaxpr(lambda key: entry.layer.apply(params, state, entry.x, key=key))(random_key(0))
    assert "random_bits" not in str(jaxpr)  # nothing is drawn with a key that is given


@every_layer
def test_training_changes_the_state_only(entry):
    """What comes in stays as it was, dicts included; the same key gives the same result; the state keeps its form."""
    params, state = entry.initial
    before = jax.tree.map(np.array, (params, state))
    y, new_state = entry.training(params, state, entry.x)
    assert_identical((params, state), before)
    assert forms(new_state) == forms(state)
    jax.tree.map(np.testing.assert_array_equal, entry.training(params, state, entry.x)[0], y)

    given = jax.tree.map(lambda leaf: leaf, (params, state))  # dicts of this test's own; a trace could change them
    jax.make_jaxpr(lambda x: entry.training_step(*given, x))(entry.x)
    assert_identical(given, before)


@with_state
def test_running_statistics_converge_to_those_of_the_batch(entry):
    """After 300 steps on one batch 0.9³⁰⁰ ≈ 2e-14 of the first statistics is left: inference is then as training."""
    params, state = entry.initial
    layer = entry.layer

    @jax.jit
    def converged(params, state, x):
        def step(_, state):
            return layer.apply(params, state, x, train=True, key=random_key(7))[1]

        return jax.lax.fori_loop(0, 300, step, state)

    last = converged(params, state, entry.x)
    _, after = entry.training(params, last, entry.x)
    jax.tree.map(lambda a, b: assert_same(a, b, ROUNDING), after, last)  # a fixed point: the batch's own
    changed = [not np.allclose(a, b) for a, b in zip(jax.tree.leaves(last), jax.tree.leaves(state), strict=True)]
    assert all(changed)
    if "nested" not in entry.name:  # where nothing is dropped
        y, _ = entry.training(params, last, entry.x)
        assert_same(entry.inference(params, last, entry.x)[0], first(y), 10 * ROUNDING)


@everything
def test_nothing_is_broadcast_to_more_axes(entry):
    """So every layer works under `jax_numpy_rank_promotion="raise"`, training and inference, forward and gradient."""
    arguments = *entry.initial, entry.x
    with jax.numpy_rank_promotion("raise"):
        jax.jit(jax.grad(entry.loss, argnums=(0, 2))).lower(*arguments)
        jax.jit(entry.layer.apply).lower(*arguments)
