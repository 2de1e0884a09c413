"""New heads, features and frozen layers: what was given is kept to the bit, and what is cut computes what it did."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.layers import BatchNorm, Conv, Dense, Dropout, Flatten, Relu, branches, frozen, residual, serial
from jaxcnn.layers import with_auxiliaries as auxiliaries
from jaxcnn.models import Model
from jaxcnn.models.surgery import features, with_frozen, with_head

KEY = jax.random.key(0)


def named(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.asarray(a).tobytes() == np.asarray(b).tobytes()


# --------------------------------------------------------------------------------------------------------------- heads


@pytest.mark.parametrize(
    ("name", "options", "head"),
    [
        ("lenet5", {"classic": True}, ["dense3"]),
        ("cifar10_cnn", {"dropout": False}, ["dense2"]),
        ("resnet20", {}, ["top/dense1"]),
        ("squeezenet1_1", {"input_size": 32}, ["top/conv1"]),
        ("mobilenet_v2", {"input_size": 32, "width": 0.35}, ["top/dense1"]),
        ("googlenet", {"input_size": 32}, ["top/dense1", "auxiliary1/dense2", "auxiliary2/dense2"]),
        ("vgg11", {"input_size": 32, "batch_norm": True}, ["top/dense3"]),
    ],
)
def test_the_head_alone_is_new(name, options, head):
    """By shapes, which stand for the arrays: what is not made is what was given."""
    model = models.create(name, **options)
    given = jax.eval_shape(model.init, KEY)
    new, *trees = with_head(model, *given, 7, key=KEY)
    assert (new.name, new.num_classes, new.input_shape) == (name, 7, model.input_shape)
    assert new.options == {**options, "num_classes": 7}
    before, after = named(given), named(tuple(trees))
    made = {path for path in after if after[path] is not before[path]}
    leaves = [f"['{name.replace('/', chr(39) + '][' + chr(39))}']" for name in head]
    assert made == {f"[0]{layer}['{leaf}']" for layer in leaves for leaf in ("bias", "kernel")}
    expected = jax.tree.map(lambda a: (a.shape, a.dtype), jax.eval_shape(new.init, KEY))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), tuple(trees)) == expected


def test_the_backbone_is_kept_and_the_head_is_that_of_a_fresh_model():
    model = models.create("lenet5")
    params, state = model.init(KEY)
    new, new_params, new_state = with_head(model, params, state, 3, key=jax.random.key(4))
    fresh, _ = models.create("lenet5", num_classes=3).init(jax.random.key(4))
    for name in params:
        for leaf in ("kernel", "bias"):
            assert same_bits(new_params[name][leaf], (fresh if name == "dense3" else params)[name][leaf])
    assert params["dense3"]["kernel"].shape == (84, 10)  # the caller's are as they were
    assert new.apply(new_params, new_state, jnp.ones((2, 28, 28, 1)))[0].shape == (2, 3)


OWN = Model("mine", serial(Flatten(), Dense(10)), (28, 28, 1), 10)
CHANGED = Model("lenet5", models.create("lenet5", classic=True).layer, (28, 28, 1), 10)


@pytest.mark.parametrize(
    ("model", "classes", "words"),
    [
        (
            OWN,
            3,
            "`model` must be one that models.create makes again by name and options; got 'mine' with {}. For a net",
        ),
        (CHANGED, 3, "makes again by name and options; got 'lenet5' with {}"),
        (
            models.create("zero_one"),
            3,
            "`model` must have an option num_classes; models.create: zero_one has no option",
        ),
        (
            models.create("resnet20", include_top=False),
            3,
            "`model` must have a head, but nothing in resnet20 depends on num_classes",
        ),
        (models.create("lenet5"), 1, "with_head: `num_classes` must be an integer of at least 2; got 1"),
        (models.create("lenet5"), 3.0, "`num_classes` must be an integer of at least 2; got 3.0"),
        (models.create("lenet5"), True, "`num_classes` must be an integer of at least 2; got True"),
    ],
)
def test_heads_that_cannot_be_made(model, classes, words):
    with pytest.raises(ValueError) as error:
        with_head(model, *jax.eval_shape(model.init, KEY), classes, key=KEY)
    assert words in str(error.value)


def test_arrays_of_another_model_are_refused():
    model, other = models.create("lenet5"), models.create("lenet5", num_classes=4)
    with pytest.raises(ValueError, match=r"with_head: `params` and `state` must be those of lenet5 \{\}"):
        with_head(model, *jax.eval_shape(other.init, KEY), 3, key=KEY)


# ------------------------------------------------------------------------------------------------------------ features

BLOCK = serial(conv=Conv(4, 3, padding=1), norm=BatchNorm(), relu=Relu(), last=Conv(3, 1))
NET = auxiliaries(
    serial(
        stem=Conv(3, 3),
        block=residual(BLOCK, activation=jax.nn.relu),
        mixed=branches(one=serial(Conv(2, 1), BatchNorm()), two=Conv(2, 3, padding=1)),
        drop=Dropout(0.5),
        flatten=Flatten(),
        top=Dense(5),
    ),
    aside=("block", serial(Flatten(), Dense(5))),
)
TINY = Model("tiny", NET, (6, 6, 3), 5)
X = jax.random.normal(jax.random.key(9), (4, 6, 6, 3))


@pytest.fixture(scope="module")
def tiny():
    """Parameters, and statistics other than at the start."""
    params, state = TINY.init(KEY)
    return params, jax.tree.map(lambda a: a + 0.5, state)


def walked(params, state, train):
    """The net by hand, layer after layer: every value by the path of the layer that gives it."""
    seen = {}

    def run(path, layer, x):
        p, s = params, state
        for name in path.split("/"):
            p, s = p.get(name, {}), s.get(name, {})
        seen[path], _ = layer.apply(p, s, x, train=train)
        return seen[path]

    x = stem = run("stem", NET.children["stem"], X)
    for name, layer in BLOCK.children.items():
        x = run(f"block/body/{name}", layer, x)
    seen["block/body"] = x
    seen["block"] = x = jnp.maximum(x + stem, 0)
    aside = NET.children["aside"].children
    seen["aside"] = run("aside/dense1", aside["dense1"], run("aside/flatten1", aside["flatten1"], x))
    one = NET.children["mixed"].children["one"].children
    seen["mixed/one"] = run("mixed/one/batch_norm1", one["batch_norm1"], run("mixed/one/conv1", one["conv1"], x))
    two = run("mixed/two", NET.children["mixed"].children["two"], x)
    seen["mixed"] = x = jnp.concatenate([seen["mixed/one"], two], axis=-1)
    if not train:  # dropout, whose key is the whole net's
        seen["drop"] = x
        run("top", NET.children["top"], run("flatten", NET.children["flatten"], x))
    return seen


@pytest.mark.parametrize("train", [False, True])
def test_features_are_the_intermediate_values_of_the_net(tiny, train):
    values = walked(*tiny, train)
    assert len(values) > 12
    for path, expected in values.items():
        layer, params, state = features(TINY, *tiny, until=path)
        y, _ = layer.apply(params, state, X, train=train)
        np.testing.assert_array_equal(y, expected, err_msg=path)
    logits, _ = TINY.apply(*tiny, X)
    if not train:
        np.testing.assert_allclose(values["top"], logits, rtol=1e-6)


@pytest.mark.parametrize("path", ["block/body/norm", "aside", "mixed/one", "top"])
def test_features_take_what_they_need(tiny, path):
    """The same arrays, under the same names; the layer's own `init` makes the like, and in training counts on."""
    layer, params, state = features(TINY, *tiny, until=path)
    promised = jax.eval_shape(lambda key: layer.init(key, (6, 6, 3)), KEY)
    assert jax.tree.map(jnp.shape, (params, state)) == jax.tree.map(jnp.shape, promised)
    whole = named(tiny)
    assert all(leaf is whole[name] for name, leaf in named((params, state)).items())
    _, new = layer.apply(params, state, X, train=True, key=KEY)
    _, expected = TINY.apply(*tiny, X, train=True, key=KEY)
    expected = named(expected)
    for name, leaf in named(new).items():
        np.testing.assert_allclose(leaf, expected[name], rtol=1e-6)


def test_features_draw_as_the_net_does(tiny):
    """Dropout's key is that of its name, wherever the net ends."""
    layer, params, state = features(TINY, *tiny, until="top")
    y, _ = layer.apply(params, state, X, train=True, key=KEY)
    np.testing.assert_array_equal(y, TINY.apply(*tiny, X, train=True, key=KEY)[0][0])


def test_features_of_a_layer_and_of_what_is_wrapped(tiny):
    layer, params, state = features(frozen(NET), *tiny, until="block/body/norm")
    y, new = layer.apply(params, state, X, train=True)
    np.testing.assert_array_equal(y, walked(*tiny, False)["block/body/norm"])  # frozen still
    assert new is state


@pytest.mark.parametrize("name", ["googlenet", "squeezenet1_1", "resnet18", "mobilenet_v2", "alexnet", "vgg16"])
def test_the_features_before_the_top_are_the_model_without_it(name):
    whole, bare = models.create(name, input_size=64), models.create(name, input_size=64, include_top=False)
    until = list(bare.layer.children)[-1]
    layer, params, state = features(whole, *jax.eval_shape(whole.init, KEY), until=until)
    template = jax.eval_shape(bare.init, KEY)
    assert jax.tree.map(jnp.shape, (params, state)) == jax.tree.map(jnp.shape, template)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = [jax.eval_shape(lambda p, s, x, l=l: l.apply(p, s, x)[0], params, state, x).shape for l in (layer, bare)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "conv9",
            "in 'conv9' there is no 'conv9'; those of this serial are stem, block, aside, mixed, drop, flatten, top",
        ),
        ("block/conv", "in 'block/conv' there is no 'conv'; those of this residual are body"),
        ("stem/kernel", "in 'stem/kernel' there is no 'kernel'; it has none"),
        ("", "in '' there is no ''; those of this serial are stem"),
        ("block/", "in 'block/' there is no ''; those of this residual are body"),
    ],
)
def test_layers_that_there_are_not(tiny, path, words):
    with pytest.raises(ValueError) as error:
        features(TINY, *tiny, until=path)
    assert f"features: `until` must name a layer, but {words}" in str(error.value)
    with pytest.raises(ValueError) as error:
        with_frozen(TINY, "stem", path)
    assert f"with_frozen: `paths` must name a layer, but {words}" in str(error.value)


# -------------------------------------------------------------------------------------------------------------- frozen


def test_frozen_layers_have_no_gradient_and_keep_their_statistics(tiny):
    model = with_frozen(TINY, "stem", "block/body/norm", "mixed", "drop")
    assert (model.name, model.num_classes, model.options) == ("tiny", 5, {})
    assert jax.tree.map(jnp.shape, jax.eval_shape(model.init, KEY)) == jax.tree.map(jnp.shape, tiny)

    def loss(params):
        (logits, aside), state = model.apply(params, tiny[1], X, train=True, key=KEY)
        return (logits**2).sum() + (aside**2).sum(), (logits, state)

    gradient, (logits, state) = jax.grad(loss, has_aux=True)(tiny[0])
    still = {name for name, leaf in named(gradient).items() if not np.any(leaf)}
    held = ("['stem']", "['block']['body']['norm']", "['mixed']")
    # The bias before the frozen norm has a gradient, as it has not before one that subtracts the batch's mean.
    assert still == {name for name in named(gradient) if name.startswith(held)}
    assert all(same_bits(a, b) for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(tiny[1]), strict=True))
    np.testing.assert_allclose(logits, TINY.apply(*tiny, X)[0], rtol=1e-5, atol=1e-5)  # nothing is dropped either


def test_frozen_needs_a_path():
    with pytest.raises(ValueError, match="with_frozen: `paths` must name at least one layer"):
        with_frozen(TINY)


def test_what_cannot_be_taken_apart_is_said(tiny):
    whole = dataclasses.replace(NET.children["block"], combine=None)
    with pytest.raises(ValueError, match="`paths` leads into 'residual', which cannot be taken apart; got 'body'"):
        with_frozen(Model("whole", whole, (6, 6, 3), 5), "body")
