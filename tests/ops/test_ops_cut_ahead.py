"""The cut of a batch for compilers that cannot call back, tried on a CPU: cases of test_ops_sharding.py."""

import jax
import numpy as np
import pytest
from test_ops_sharding import CASES, KINDS, array, assert_close, gradients, mesh_of, moves, placed

from jaxcnn.ops import sharding


@pytest.fixture(autouse=True)
def no_callbacks(monkeypatch):
    def refuse(*given):
        raise AssertionError("a custom partitioning was asked for")

    jax.clear_caches()
    monkeypatch.setattr(sharding, "NO_CALLBACKS", {"cpu"})
    monkeypatch.setattr(sharding, "shared_out", refuse)
    yield
    jax.clear_caches()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", ["depthwise", "frames", "max_pool", "batch_norm"])
def test_a_sharded_batch(name, kind):
    """As with callbacks: nothing but sums is sent, and each gradient of w is one all-reduce."""
    function, x_shape, w_shape, forward, backward = CASES[name]
    x, w = array(*x_shape), array(*w_shape)
    expected = jax.jit(function)(x, w), jax.jit(gradients(function))(x, w)
    with mesh_of(kind, (4,)) as place:
        x, w = place(x, "d"), place(w)
        assert moves(function, x, w) == ({"all-reduce": forward} if forward else {})
        sent = moves(gradients(function), x, w)
        assert set(sent) == {"all-reduce"} and sent["all-reduce"] <= backward
        results = jax.jit(function)(x, w), jax.jit(gradients(function))(x, w)
        assert_close(results, expected)
        assert [placed(r) for r in jax.tree.leaves(results)] == [("d",), ("d",), ()]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("spec", [(("m", "d"),), ("d", None, None, "m"), ()], ids=str)
def test_any_other_placement_gives_the_same_values(spec, kind):
    function, x_shape, w_shape, *_ = CASES["patches"]
    x, w = array(*x_shape), array(*w_shape)
    expected = jax.jit(gradients(function))(x, w)
    with mesh_of(kind, (2, 2), ("m", "d")) as place:
        assert_close(jax.jit(gradients(function))(place(x, *spec), place(w)), expected)


def test_a_batch_that_does_not_divide():
    function = CASES["patches"][0]
    x, w = array(3, 6, 5, 4), array(3, 3, 4, 8)
    expected = jax.jit(gradients(function))(x, w)
    with mesh_of(KINDS[0], (4,)) as place:
        assert_close(jax.jit(gradients(function))(place(x), place(w)), expected)
        many = np.stack([x, x + 1, x - 1, 2 * x])
        mapped = jax.vmap(function, (0, None))
        assert_close(jax.jit(mapped)(place(many, "d"), place(w)), mapped(many, w))
