"""Batch, layer and group normalization against NumPy, in float64; batches in several parts against the whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from tolerances import assert_same

from jaxcnn.layers import BatchNorm, GroupNorm, LayerNorm

EPS = 1e-5
SHAPE = (6, 3, 4, 4)  # images, height, width, channels


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def x():
    return 3 + 2 * np.random.default_rng(0).standard_normal(SHAPE)


@pytest.fixture
def params():
    rng = np.random.default_rng(1)
    return {"scale": rng.uniform(0.5, 2, 4), "bias": rng.standard_normal(4)}


@pytest.fixture
def state():
    rng = np.random.default_rng(2)
    return {"mean": rng.standard_normal(4), "var": rng.uniform(0.5, 2, 4)}


def apply(layer, params, state, x, **options):
    return jax.jit(functools.partial(layer.apply, **options))(params, state, jnp.asarray(x))


def normal(x, mean, var, params, eps=EPS):
    return (x - mean) / np.sqrt(var + eps) * params["scale"] + params["bias"]


# ------------------------------------------------------------------------------------------------------- batch norm


def test_batch_norm_starts_as_the_identity():
    params, state = BatchNorm().init(jax.random.key(0), (5, 5, 3))
    assert jax.tree.map(np.ndarray.tolist, jax.tree.map(np.asarray, (params, state))) == (
        {"scale": [1, 1, 1], "bias": [0, 0, 0]},
        {"mean": [0, 0, 0], "var": [1, 1, 1]},
    )


def test_batch_norm_in_training_uses_the_batch(x, params, state):
    y, _ = apply(BatchNorm(), params, state, x, train=True)
    assert_same(y, normal(x, x.mean((0, 1, 2)), x.var((0, 1, 2)), params))


def test_batch_norm_otherwise_uses_the_running_statistics(x, params, state):
    y, same = apply(BatchNorm(eps=0.1), params, state, x)
    assert_same(y, normal(x, state["mean"], state["var"], params, eps=0.1))
    jax.tree.map(np.testing.assert_array_equal, same, state)


def test_batch_norm_moves_nine_tenths_old_and_one_tenth_batch(x, params, state):
    """The variance is that of the batch itself, divided by n, not n − 1."""
    _, new = apply(BatchNorm(), params, state, x, train=True)
    n = x[..., 0].size
    batch_var = ((x - x.mean((0, 1, 2))) ** 2).sum((0, 1, 2)) / n
    assert_same(new["mean"], 0.9 * state["mean"] + 0.1 * x.mean((0, 1, 2)))
    assert_same(new["var"], 0.9 * state["var"] + 0.1 * batch_var)


def test_batch_norm_with_another_momentum(x, params, state):
    _, new = apply(BatchNorm(momentum=0.25), params, state, x, train=True)
    assert_same(new["mean"], 0.25 * state["mean"] + 0.75 * x.mean((0, 1, 2)))
    _, new = apply(BatchNorm(momentum=0), params, state, x, train=True)
    assert_same(new["var"], x.var((0, 1, 2)))


def test_batch_norm_of_features(params, state):
    x = np.random.default_rng(0).standard_normal((7, 4))
    y, new = apply(BatchNorm(), params, state, x, train=True)
    assert_same(y, normal(x, x.mean(0), x.var(0), params))
    assert_same(new["mean"], 0.9 * state["mean"] + 0.1 * x.mean(0))


def test_the_gradient_of_batch_norm_goes_through_the_statistics_of_the_batch(x, params, state):
    """By central differences; and no gradient goes through the running statistics."""
    weights = np.random.default_rng(3).standard_normal(SHAPE)

    def loss(x):
        return jnp.sum(weights * BatchNorm().apply(params, state, x, train=True)[0])

    dx = jax.jit(jax.grad(loss))(jnp.asarray(x))
    direction = np.random.default_rng(4).standard_normal(SHAPE)
    numeric = (loss(x + 1e-5 * direction) - loss(x - 1e-5 * direction)) / 2e-5
    assert_same(jnp.vdot(dx, direction), numeric, 1e-7)  # differences lose half of the digits
    assert_same(dx.sum((0, 1, 2)), np.zeros(4))  # a shift of a whole channel changes nothing

    def statistics(x):
        return sum(jnp.sum(leaf) for leaf in BatchNorm().apply(params, state, x, train=True)[1].values())

    assert not jax.grad(statistics)(jnp.asarray(x)).any()


def test_batch_norm_in_bfloat16_keeps_its_statistics_in_float32():
    """1000 + noise of 1: in bfloat16 sums the variance would be lost altogether."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((64, 3)) * 4 + 100, jnp.bfloat16)
    params, state = BatchNorm().init(jax.random.key(0), (3,))
    y, new = apply(BatchNorm(), params, state, x, train=True)
    exact = np.asarray(x, np.float64)
    assert y.dtype == jnp.bfloat16 and new["var"].dtype == jnp.float32
    assert_same(new["var"], 0.9 + 0.1 * exact.var(0), 1e-5)
    assert_same(new["mean"], 0.1 * exact.mean(0), 1e-5)


def test_parts_under_vmap_are_normalized_as_one_batch(x, params, state):
    whole, whole_state = apply(BatchNorm(), params, state, x, train=True)

    def part(x):
        return BatchNorm(axis_name="parts").apply(params, state, x, train=True)

    y, new = jax.jit(jax.vmap(part, axis_name="parts"))(x.reshape(3, 2, *SHAPE[1:]))
    assert_same(y.reshape(SHAPE), whole)
    jax.tree.map(lambda parts, one: assert_same(parts, np.stack([one] * 3)), new, whole_state)


def test_parts_without_axis_name_are_normalized_each_for_itself(x, params, state):
    parts = x.reshape(3, 2, *SHAPE[1:])
    y, _ = jax.jit(jax.vmap(lambda x: BatchNorm().apply(params, state, x, train=True)))(parts)
    assert_same(y[1], normal(parts[1], parts[1].mean((0, 1, 2)), parts[1].var((0, 1, 2)), params))


def test_parts_on_two_devices_are_normalized_as_one_batch(x, params, state):
    """Forward, state and gradient; the state comes out the same on both devices, which shard_map checks."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))

    def step(layer, params, x):
        def loss(params, x):
            y, new = layer.apply(params, state, x, train=True)
            return jnp.sum(y**3), (y, new)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

    mapped = jax.shard_map(
        functools.partial(step, BatchNorm(axis_name="data")),
        mesh=mesh,
        in_specs=(P(), P("data")),
        out_specs=((P(), P("data")), (P("data"), P())),
        check_vma=True,
    )
    whole = jax.jit(functools.partial(step, BatchNorm()))(params, x)
    jax.tree.map(lambda a, b: assert_same(a, b, 1e-8), jax.jit(mapped)(params, x), whole)


# ------------------------------------------------------------------------------------------------ layer and group norm


@pytest.mark.parametrize("eps", [EPS, 0.3])
def test_layer_norm_is_over_the_channels_of_each_position(x, params, eps):
    y, _ = apply(LayerNorm(eps), params, {}, x, train=True)
    assert_same(y, normal(x, x.mean(-1, keepdims=True), x.var(-1, keepdims=True), params, eps))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [SHAPE, (3, 5, 4), (2, 3, 2, 2, 4), (5, 4)])
def test_group_norm_is_over_each_group_of_each_image(params, groups, shape):
    x = 3 + 2 * np.random.default_rng(0).standard_normal(shape)
    expected = np.empty(shape)
    size = 4 // groups
    for n in range(shape[0]):
        for g in range(groups):
            part = slice(g * size, (g + 1) * size)  # neighboring channels
            seen = x[n, ..., part]
            expected[n, ..., part] = (seen - seen.mean()) / np.sqrt(seen.var() + EPS)
    y, _ = apply(GroupNorm(groups), params, {}, x)
    assert_same(y, expected * params["scale"] + params["bias"])


@pytest.mark.parametrize("layer", [LayerNorm(), GroupNorm(2)], ids=lambda layer: layer.kind)
def test_norms_without_a_batch_do_the_same_in_training(layer, x, params):
    (y, state), (trained, _) = (apply(layer, params, {}, x, train=train) for train in (False, True))
    np.testing.assert_array_equal(y, trained)
    assert state == {}


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BatchNorm(momentum=1), r"BatchNorm: `momentum` .* in \[0, 1\); got 1"),
        (lambda: BatchNorm(momentum=-0.1), r"BatchNorm: `momentum` .* got -0.1"),
        (lambda: BatchNorm(momentum="most"), r"BatchNorm: `momentum` .* got 'most'"),
        (lambda: LayerNorm(eps=None), "LayerNorm: `eps` must be positive and finite; got None"),
        (lambda: BatchNorm(eps=0), "BatchNorm: `eps` must be positive and finite; got 0"),
        (lambda: LayerNorm(eps=-1.0), "LayerNorm: `eps` must be positive and finite; got -1.0"),
        (lambda: GroupNorm(2, eps=float("nan")), "GroupNorm: `eps` must be positive and finite; got nan"),
        (lambda: GroupNorm(0), "GroupNorm: `groups` must be at least 1; got 0"),
        (
            lambda: GroupNorm(3).init(jax.random.key(0), (5, 5, 4)),
            r"GroupNorm: `groups` \(3\) must divide the channels; got input \(5, 5, 4\)",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_groups_that_are_no_int_are_refused():
    with pytest.raises(TypeError, match="GroupNorm: `groups` must be an int"):
        GroupNorm("two")


def test_a_batch_without_values_leaves_the_statistics():
    norm = BatchNorm()
    params, state = norm.init(jax.random.key(0), (4, 4, 2))
    y, new = norm.apply(params, state, jnp.ones((0, 4, 4, 2)), train=True)
    assert y.shape == (0, 4, 4, 2)
    np.testing.assert_array_equal(new["mean"], state["mean"])
    np.testing.assert_array_equal(new["var"], state["var"])


@pytest.mark.parametrize("layer", [BatchNorm(), GroupNorm(1), LayerNorm()], ids=lambda layer: layer.kind)
@pytest.mark.parametrize("value", [1234.567, 1e5, 1e10])
def test_a_constant_far_from_zero_becomes_zero(layer, value):
    """The sum of many is off by a few millionths of the value, a thousand times what eps makes of the spread."""
    x = jnp.full((4, 10, 10, 4), value, jnp.float32)
    y, _ = layer.apply(*layer.init(jax.random.key(0), x.shape[1:]), x, train=True)
    assert abs(y).max() < 1e-3


@pytest.mark.parametrize("mean", [0, 100, 1e4])
def test_a_small_spread_far_from_zero_is_kept(mean):
    x = np.random.default_rng(0).normal(mean, 0.1, (4, 28, 28, 8)).astype(np.float32)
    layer = GroupNorm(2)
    y, _ = layer.apply(*layer.init(jax.random.key(0), x.shape[1:]), jnp.asarray(x))
    wide = x.astype(np.float64).reshape(4, 28, 28, 2, 4)
    spread = np.sqrt(wide.var((1, 2, 4), keepdims=True) + 1e-5)
    expected = ((wide - wide.mean((1, 2, 4), keepdims=True)) / spread).reshape(x.shape)
    # what is left is the rounding of the mean itself, half of a unit in its last place
    np.testing.assert_allclose(y, expected, atol=2e-5 + 10 * np.spacing(np.float32(mean)))


@pytest.mark.parametrize("factory", [BatchNorm, LayerNorm, lambda **options: GroupNorm(2, **options)])
@pytest.mark.parametrize("use_scale", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_without_scale_or_bias_there_is_no_such_parameter(factory, use_scale, use_bias):
    layer, both = factory(use_scale=use_scale, use_bias=use_bias), factory()
    params, state = layer.init(jax.random.key(0), (3, 3, 4))
    assert ("scale" in params, "bias" in params) == (use_scale, use_bias)
    own = {"scale": jnp.arange(1.0, 5), "bias": jnp.arange(4.0)}
    neutral = {"scale": jnp.ones(4), "bias": jnp.zeros(4)}
    x = jax.random.normal(jax.random.key(1), (2, 3, 3, 4))
    for train in (True, False):
        y, _ = layer.apply({name: own[name] for name in params}, state, x, train=train)
        expected, _ = both.apply(neutral | {name: own[name] for name in params}, state, x, train=train)
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


def test_numbers_of_numpy():
    layer = BatchNorm(momentum=np.float32(0.5), eps=np.float64(1e-3))
    assert layer.kind == "batch_norm" and LayerNorm(np.float32(1e-3)) and GroupNorm(np.int64(2))


@pytest.mark.parametrize("layer", [BatchNorm(), LayerNorm(), GroupNorm(2)], ids=lambda layer: layer.kind)
def test_a_variance_beyond_the_numbers_makes_no_nan(layer):
    """It is infinite, and what is divided by it is 0; so is every gradient."""
    params, state = layer.init(jax.random.key(0), (4, 4, 4))
    x = 1e30 * jax.random.normal(jax.random.key(1), (3, 4, 4, 4), jnp.float32)
    (y, new), pull = jax.vjp(lambda x: layer.apply(params, state, x, train=True), x)
    assert (y == 0).all()
    assert not state or (jnp.isposinf(new["var"]).all() and jnp.isfinite(new["mean"]).all())
    (dx,) = pull((jnp.ones_like(y), jax.tree.map(jnp.zeros_like, new)))
    assert (dx == 0).all()
