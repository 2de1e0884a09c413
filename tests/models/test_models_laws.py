"""Laws of the deep networks, on the smallest member of each family without some of its modules that are alike: nearly
all of the time is compiling, and one test does all for a network. Whole networks meet other libraries' in
tests/weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models_gradients import FORBIDDEN, FORBIDDEN_STABLEHLO, forbidden_in
from tolerances import assert_same

from jaxcnn import models
from jaxcnn.layers import Layer, fold_batch_norm, output_shape, stateless
from jaxcnn.models.surgery import features

MEMBERS = {  # with the dense layers of AlexNet and VGG they would have 61 and 133 million parameters
    "resnet20": {"input_size": 8},
    "alexnet": {"input_size": 63, "include_top": False},
    "squeezenet1_1": {"input_size": 32, "num_classes": 10},
    "googlenet": {"input_size": 32, "num_classes": 10},
    "vgg11": {"input_size": 32, "include_top": False, "batch_norm": True},
    "resnet18": {"input_size": 32, "num_classes": 10},
    "mobilenet_v2": {"input_size": 32, "num_classes": 10, "width": 0.25},
}
LONG = ("googlenet", "vgg11", "mobilenet_v2")
LEFT_OUT = {
    "resnet20": ["stage3"],
    "squeezenet1_1": ["fire4", "fire5", "fire6", "fire7", "fire8"],
    "googlenet": ["inception3b", "inception4b", "inception4c", "inception4e", "inception5b"],
    "resnet18": ["stage3", "stage4"],
    "mobilenet_v2": ["stage4", "stage5", "stage6"],
}
FIRST = {  # as far as this there is every kind of layer but the last, so as far as this they are run in several ways
    "resnet20": "stage2/block1",
    "alexnet": "max_pool2",
    "squeezenet1_1": "fire3",
    "googlenet": "inception3a",
    "vgg11": "stage2",
    "resnet18": "stage2/block1",
    "mobilenet_v2": "stage2",
}
ROUNDING = 1e-9  # in float64, relative to the largest value: through dozens of batch norms of 4 images
QUICK = {"xla_backend_optimization_level": 0}  # compiles in two thirds of the time
KEY = jax.random.key(0, impl="rbg")


def compiled(function, *arguments):
    return jax.jit(function).lower(*arguments).compile(compiler_options=QUICK)


def assert_near(actual, expected):
    scale = np.abs(expected).max()
    assert scale > 0 and np.isfinite(scale)
    assert_same(actual / scale, expected / scale, ROUNDING)


def without_dropout(layer: Layer) -> Layer:
    """The layer with nothing dropped in training: it is then to agree with inference."""
    if layer.kind == "dropout":
        return stateless("dropout", lambda x: x)
    if layer.combine is None:
        return layer
    return layer.combine({name: without_dropout(child) for name, child in layer.children.items()})


def shortened(model):
    """Convolutions take their input's channels as they come, so that any modules fit together."""
    left_out = LEFT_OUT.get(model.name, [])
    assert set(left_out) <= model.layer.children.keys()
    kept = {name: child for name, child in model.layer.children.items() if name not in left_out}
    return dataclasses.replace(model, layer=model.layer.combine(kept))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in MEMBERS]
)
def test_a_member_of_each_family_keeps_the_laws(name):
    model = shortened(models.create(name, **MEMBERS[name]))
    params, state = model.init(KEY)
    initial_values(model, params, state)
    promised = output_shape(model.layer, params, state, model.input_shape)
    with jax.enable_x64(True):
        params, state = jax.tree.map(lambda leaf: np.asarray(leaf, "float64"), (params, state))
        x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (4, *model.input_shape)))
        state, trained = training(model, params, state, x)
        y = inference(model, params, state, x)
        assert y.shape == (4, *promised) and promised[-1] == (model.num_classes or promised[-1])
        if state:  # with the statistics of the batch
            assert_near(y, trained)
            folding_changes_nothing(model, params, state, x, y)
        first = features(model, params, state, until=FIRST[name])
        jit_is_eager_and_vmap_is_a_loop(*first, x)


def initial_values(model, params, state):
    """The same key, the same values, each in an array of its own; another key, other kernels."""
    again, other = model.init(KEY), model.init(jax.random.key(1, impl="rbg"))
    jax.tree.map(np.testing.assert_array_equal, again, (params, state))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        assert leaf.dtype == jnp.float32
        if path[-1].key == "kernel":
            counterpart = other[0]
            for entry in path:
                counterpart = counterpart[entry.key]
            assert not np.array_equal(leaf, counterpart), path
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((params, state))]
    assert len(set(pointers)) == len(pointers)


def inference(model, params, state, x):
    """Always the same logits; the statistics stay."""
    forward = compiled(model.apply, params, state, x)
    y, after = forward(params, state, x)
    assert np.isfinite(y).all() and (np.ptp(y, axis=0) > 1e-3 * np.abs(y).max()).any()  # images make a difference
    np.testing.assert_array_equal(forward(params, state, x)[0], y)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    return y


def folding_changes_nothing(model, params, state, x, y):
    layer, params, state = fold_batch_norm(model.layer, params, state)
    assert state == {} and "batch_norm" not in str(jax.tree.structure(params))
    assert_near(compiled(layer.apply, params, state, x)(params, state, x)[0], y)


def jit_is_eager_and_vmap_is_a_loop(layer, params, state, x):
    y, _ = compiled(layer.apply, params, state, x)(params, state, x)
    assert_near(layer.apply(params, state, x)[0], y)
    single = jax.vmap(lambda image: layer.apply(params, state, image[None])[0][0])
    assert_near(compiled(single, x)(x), y)


def training(model, params, state, x):
    """Gradients reach every parameter, through nothing of XLA's. The running statistics, and the output of training."""
    layer = without_dropout(model.layer)

    def loss(params, state, x):
        y, state = layer.apply(params, state, x, train=True, key=KEY)
        return sum(jnp.sum(part**2) for part in jax.tree.leaves(y)), (y, state)

    state = jax.tree.map(np.zeros_like, state)  # new = 0.9 · 0 + 0.1 batch
    traced = jax.jit(jax.grad(loss, has_aux=True)).trace(params, state, x)
    assert [word for word in FORBIDDEN if word in str(traced.jaxpr)] == []
    lowered = traced.lower()
    assert FORBIDDEN_STABLEHLO.findall(lowered.as_text()) == []
    step = lowered.compile(compiler_options=QUICK)
    assert forbidden_in(step.as_text()) == []

    gradients, (y, after) = step(params, state, x)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and np.any(leaf), path
    y, *auxiliaries = y if isinstance(y, tuple) else (y,)
    assert [part.shape for part in auxiliaries] == [y.shape] * len(model.layer.aside)
    return jax.tree.map(lambda new: np.asarray(new) / 0.1, after), y
