"""Walks over layers: which there are, where, of what shapes; one replaced; a value on its way through them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws_table import LAYERS, MODELS

from jaxcnn.layers import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool,
    Relu,
    branches,
    checkpointed,
    output_shape,
    residual,
    serial,
    with_auxiliaries,
)
from jaxcnn.layers.walk import at, flow, leaves, next_in_chain, put, replace, shapes, visit, whole

BODY = serial(
    stem=Conv(4, 3),
    block=residual(checkpointed(serial(Conv(4, 3, padding=1), BatchNorm(), Relu())), Conv(4, 1)),
    wide=branches(Conv(2, 1), MaxPool(3, stride=1, padding=1)),
    flat=Flatten(),
    top=Dense(3),
)
NET = with_auxiliaries(BODY, early=("stem", serial(Flatten(), Dense(3))))
SHAPE = (7, 6, 2)
KEY = jax.random.key(0)

every = pytest.mark.parametrize("entry", [*LAYERS, *MODELS], ids=lambda entry: entry.name)


@every
def test_every_array_of_a_network_is_at_the_place_of_one_layer(entry):
    params, state = entry.initial
    given = {id(leaf) for leaf in jax.tree.leaves((params, state))}
    found = [
        id(leaf)
        for place in leaves(entry.layer, params, state)
        for leaf in jax.tree.leaves((place.params, place.state))
    ]
    assert len(found) == len(set(found)) and set(found) == given


@every
def test_shapes_are_those_that_each_layer_computes(entry):
    """Each layer by itself, on an input of the shape that is said, gives the shape that is said."""
    params, state = entry.initial
    reached = shapes(entry.layer, entry.input_shape, params, state)
    places = list(visit(entry.layer, params, state))
    assert list(reached) == [place.path for place in places]
    assert reached[""].input == entry.input_shape
    for place in places:
        given, result = reached[place.path]
        assert output_shape(place.layer, place.params, place.state, given) == result, place.path


def test_visit_names_every_layer_before_its_parts():
    paths = [place.path for place in visit(NET)]
    assert paths[:5] == ["", "stem", "early", "early/flatten1", "early/dense1"]
    assert paths[5:9] == ["block", "block/body", "block/body/conv1", "block/body/batch_norm1"]
    assert [place.path for place in visit(NET) if place.training_only] == ["early", "early/flatten1", "early/dense1"]
    assert [place.path for place in visit(NET) if place.aside] == ["early"]
    assert [place.name for place in leaves(Conv(2, 3))] == ["conv"]


def test_shapes_of_what_inference_leaves_out_and_of_what_cannot_be_taken_apart():
    params, state = NET.init(KEY, SHAPE)
    reached = shapes(NET, SHAPE, params, state)
    assert reached["early/dense1"] == ((5 * 4 * 4,), (3,))
    assert reached["block/body/conv1"] == ((5, 4, 4), (5, 4, 4))
    closed = serial(first=dataclasses.replace(serial(Conv(4, 3), Conv(3, 2)), combine=None))
    params, state = closed.init(KEY, SHAPE)
    assert shapes(closed, SHAPE, params, state)["first/conv2"] == ((5, 4, 4), (4, 3, 3))


def test_a_network_is_traced_once_for_all_shapes():
    calls = []

    def apply(params, state, x, *, train=False, key=None):
        calls.append(x.shape)
        return x, state

    counted = Layer(lambda key, shape: ({}, {}), apply, "counted")
    shapes(serial(counted, residual(serial(counted, counted)), branches(counted)), SHAPE, {}, {})
    assert len(calls) == 4


def test_at_and_replace():
    assert at(NET, "block/body/conv1") is NET.children["block"].children["body"].children["conv1"]
    changed = replace(NET, "block/body/relu1", Dropout(0.5))
    assert at(changed, "block/body/relu1").kind == "dropout" and changed.aside == {"early"}
    assert at(changed, "stem") is at(NET, "stem")
    params, state = NET.init(KEY, SHAPE)
    x = jnp.ones((2, *SHAPE))
    y, _ = changed.apply(params, state, x)
    assert y.shape == (2, 3)
    same = replace(NET, "block/body/conv1", at(NET, "block/body/conv1"))
    np.testing.assert_array_equal(same.apply(params, state, x)[0], NET.apply(params, state, x)[0])
    assert "relu1" not in at(replace(NET, "block/body/relu1", None), "block/body").children


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "steam",
            "`path` must name a layer, but in 'steam' there is no 'steam'; those of this serial are stem, early,",
        ),
        ("stem/x", "in 'stem/x' there is no 'x'; it has none"),
        ("", "in '' there is no ''; those of this serial are stem"),
        ("block/body/", "in 'block/body/' there is no ''; those of this serial are conv1, batch_norm1, relu1"),
    ],
)
def test_a_path_that_leads_nowhere(path, words):
    for op, ask in (("at", lambda: at(NET, path)), ("replace", lambda: replace(NET, path, Relu()))):
        with pytest.raises(ValueError, match=f"{op}: ") as error:
            ask()
        assert words in str(error.value)


def test_other_paths_that_are_refused():
    with pytest.raises(ValueError, match="a layer that inference uses, but in 'early' there is no 'early'"):
        at(NET, "early", inference=True)
    closed = dataclasses.replace(BODY, combine=None)
    with pytest.raises(
        ValueError, match="replace: `path` leads into 'serial', which cannot be taken apart; got 'stem'"
    ):
        replace(closed, "stem", Relu())


def test_put_and_next_in_chain():
    tree = {"a": {"b": {"kernel": 1}, "c": {"kernel": 2}}}
    assert put(tree, "a/b", {"bias": 3}) == {"a": {"b": {"bias": 3}, "c": {"kernel": 2}}}
    assert put(put(tree, "a/b", {}), "a/c", {}) == {}
    assert put({}, "x/y", {"kernel": 1}) == {"x": {"y": {"kernel": 1}}}
    after = next_in_chain(NET)
    assert after["stem"] == "block" and after["block/body/conv1"] == "block/body/batch_norm1"
    assert "early" not in after and "block/body" not in after and "wide/conv1" not in after


def test_a_value_flows_through_a_network():
    """Counting layers: a chain adds up, ways side by side are joined, what stands aside leads nowhere."""
    noted = {}
    count = flow(
        whole(NET),
        0,
        lambda place, n: n + 1,
        lambda place, n, ways: max(ways),
        note=lambda p, n: noted.update({p.path: n}),
    )
    assert count == 1 + 3 + 1 + 2  # stem, the longer way of the block, wide, flat and top
    assert noted["early"] == 3 and noted["block/body"] == 4 and noted[""] == count
    assert flow(whole(NET), 0, lambda place, n: n + 1, lambda *_: 0, lambda place: place.path != "") == 5
