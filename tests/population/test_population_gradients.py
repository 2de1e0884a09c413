"""Gradients for every example, their norms and clipping: against closed forms, loops over examples, optax and NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from tolerances import ORACLE, assert_same

from jaxcnn.layers import Conv, Dense, Dropout, Flatten, GroupNorm, MaxPool, Relu, serial
from jaxcnn.population import clip_and_average, clipped_gradient, gradient_norms, per_example_gradients

N = 7
NETS = {
    "dense": serial(Flatten(), Dense(5), Relu(), Dense(3)),
    "conv": serial(Conv(4, 3), GroupNorm(2), Relu(), MaxPool(2), Flatten(), Dense(3)),
}


def loss_of(net):
    """Of one example."""

    def loss(params, image, label):
        logits, _ = net.apply(params, {}, image[None])
        return optax.softmax_cross_entropy_with_integer_labels(logits[0], label)

    return loss


def case(net, shape=(6, 6, 2), n=N, dtype=np.float64):
    """Parameters, none of them zero, and a batch."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda a: jnp.asarray(a + rng.normal(0, 0.1, a.shape), dtype), net.init(jax.random.key(0), shape)[0]
    )
    return params, jnp.asarray(rng.normal(size=(n, *shape)), dtype), jnp.asarray(rng.integers(0, 3, n))


def one_by_one(loss, params, *batch):
    """The same by a loop over examples."""
    gradient = jax.jit(jax.grad(loss))
    examples = [jax.tree.map(lambda a, n=n: a[n], batch) for n in range(len(jax.tree.leaves(batch)[0]))]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(gradient(params, *example) for example in examples))


@functools.cache
def loops_over(name):
    """`one_by_one` of the case of a net, in float64: computed once, asked for by several tests."""
    params, *batch = case(NETS[name])
    return one_by_one(loss_of(NETS[name]), params, *batch)


@functools.cache
def compiled(function, name):
    """`function(loss, …)` of the loss of a net."""
    return jax.jit(functools.partial(function, loss_of(NETS[name])))


def norms_by_numpy(gradients):
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradients)]
    return np.sqrt(sum((leaf.reshape(len(leaf), -1) ** 2).sum(axis=1) for leaf in leaves))


def global_norm(tree):
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree)))


def assert_trees_same(actual, expected, tolerance=ORACLE):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert_same(a, b, tolerance)


every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
every_way = pytest.mark.parametrize(("name", "jit"), [("dense", False), ("dense", True), ("conv", True)])


# ----------------------------------------------------------------------------------------------------------- gradients


def test_softmax_regression_has_the_gradient_of_the_books(float64):
    """∂/∂W = x ⊗ (p − l), ∂/∂b = p − l."""
    rng = np.random.default_rng(0)
    params = {"w": jnp.asarray(rng.normal(size=(4, 3))), "b": jnp.asarray(rng.normal(size=3))}
    x, labels = rng.normal(size=(N, 4)), rng.integers(0, 3, N)

    def loss(params, x, label):
        return optax.softmax_cross_entropy_with_integer_labels(x @ params["w"] + params["b"], label)

    p = np.exp(x @ np.asarray(params["w"]) + np.asarray(params["b"]))
    error = p / p.sum(axis=1, keepdims=True) - np.eye(3)[labels]
    gradients = per_example_gradients(loss, params, x, labels)
    assert_trees_same(gradients, {"w": x[:, :, None] * error[:, None, :], "b": error})
    assert_same(gradient_norms(gradients), np.sqrt(((x**2).sum(axis=1) + 1) * (error**2).sum(axis=1)))


@every_way
def test_gradients_are_those_of_the_examples_one_by_one(float64, name, jit):
    function = compiled(per_example_gradients, name)
    gradients = (function if jit else function.__wrapped__)(*case(NETS[name]))
    assert_trees_same(gradients, loops_over(name))


@pytest.mark.parametrize("name", NETS)
def test_their_mean_is_the_gradient_of_the_batch(float64, name):
    params, images, labels = case(NETS[name])

    def mean_loss(params):
        logits, _ = NETS[name].apply(params, {}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    gradients = compiled(per_example_gradients, name)(params, images, labels)
    assert_trees_same(jax.tree.map(lambda g: g.mean(axis=0), gradients), jax.jit(jax.grad(mean_loss))(params))


# --------------------------------------------------------------------------------------------------------------- norms


def test_norms_are_those_of_numpy_for_large_layers():
    """Each kernel has over 32,768 parameters: where jaxlib's fusions went wrong, so compiled."""
    net = serial(Conv(64, 3), Relu(), Conv(64, 3), Relu(), Flatten(), Dense(40), Relu(), Dense(3))
    params, *batch = case(net, (8, 8, 8), 5, np.float32)
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    assert sum(size > 32_768 for size in sizes) == 2
    loss = loss_of(net)
    with jax.default_matmul_precision("highest"):
        norms = jax.jit(lambda *args: gradient_norms(per_example_gradients(loss, *args)))(params, *batch)
        expected = norms_by_numpy(one_by_one(loss, params, *batch))
    assert norms.dtype == jnp.float32
    np.testing.assert_allclose(norms, expected, rtol=1e-4)  # two programs' float32 gradients, of sums of 576 terms


MATRIX = np.random.default_rng(1).normal(size=(3, 3))


@pytest.mark.parametrize(
    ("dtype", "n"),
    [(np.float32, 32_769), (np.float32, 40_001), (np.float64, 16_385), (np.float64, 20_001)],
)
def test_norms_are_right_where_jaxlib_sums_wrongly(float64, dtype, n):
    """jax issue 39103: with the sum inside the mapped function, jaxlib 0.10.2 gets the last norms wrong on CPU."""
    matrix, x = jnp.asarray(MATRIX, dtype), np.random.default_rng(0).normal(size=(n, 3)).astype(dtype)
    expected = np.sqrt(((x.astype(np.float64) @ np.asarray(matrix, np.float64).T) ** 2).sum(axis=1))

    def loss(params, x):
        return jnp.vdot(params, matrix @ x)

    params = jnp.ones(3, dtype)
    with jax.default_matmul_precision("highest"):
        norms = jax.jit(lambda params, x: gradient_norms(per_example_gradients(loss, params, x)))(params, x)
        clipped = jax.jit(lambda params, x: clipped_gradient(loss, params, x, max_norm=jnp.inf)[1])(params, x)
    assert norms.dtype == clipped.dtype == dtype
    for actual in (norms, clipped):
        assert_same(actual / expected, np.ones(n), 1000 * np.finfo(dtype).eps)  # the matrix may cancel digits


def test_norms_are_summed_in_float32_at_least():
    """256 ones in bfloat16: each further one would be lost beyond 256."""
    gradients = {"w": jnp.ones((2, 1024), jnp.bfloat16)}
    norms = gradient_norms(gradients)
    assert norms.dtype == jnp.float32 and norms.tolist() == [32.0, 32.0]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (2, 2, 3, 4)])
def test_norms_of_leaves_of_any_rank(float64, shape):
    rng = np.random.default_rng(0)
    gradients = {"a": rng.normal(size=(N, *shape)), "b": rng.normal(size=(N, 2))}
    assert_same(gradient_norms(jax.tree.map(jnp.asarray, gradients)), norms_by_numpy(gradients))


# ------------------------------------------------------------------------------------------------------------ clipping


def some_gradients(scale=1.0):
    rng = np.random.default_rng(3)
    length = np.geomspace(0.1, 10, N)
    return {
        "kernel": jnp.asarray(scale * length[:, None, None] * rng.normal(size=(N, 4, 3))),
        "bias": jnp.asarray(scale * length[:, None] * rng.normal(size=(N, 3))),
    }


@pytest.mark.parametrize("max_norm", [1e-3, 2.0, 5.0, 1e6])
def test_clipping_is_that_of_optax(float64, max_norm):
    gradients = some_gradients()
    mean, norms = clip_and_average(gradients, max_norm)
    total, clipped = optax.per_example_global_norm_clip(gradients, max_norm)
    assert_trees_same(mean, jax.tree.map(lambda leaf: leaf / N, total))
    assert int((norms > max_norm).sum()) == int(clipped)
    assert_same(norms, norms_by_numpy(gradients))


def test_without_a_bound_it_is_the_mean(float64):
    gradients = some_gradients()
    for max_norm in (np.inf, float(norms_by_numpy(gradients).max()) * (1 + 1e-12)):
        mean, _ = clip_and_average(gradients, max_norm)
        assert_trees_same(mean, jax.tree.map(lambda leaf: leaf.mean(axis=0), gradients))


def test_a_low_bound_leaves_the_directions(float64):
    """All are shortened to exactly max_norm; the scale of the gradients is not seen any more."""
    gradients = some_gradients()
    norms = norms_by_numpy(gradients)
    mean, _ = clip_and_average(gradients, 1e-3)
    units = jax.tree.map(lambda leaf: np.moveaxis(np.moveaxis(leaf, 0, -1) / norms, -1, 0), gradients)
    assert_trees_same(mean, jax.tree.map(lambda leaf: 1e-3 * leaf.mean(axis=0), units))
    assert_trees_same(clip_and_average(some_gradients(1e3), 1e-3)[0], mean)


def test_no_example_weighs_more_than_the_bound(float64):
    """What privacy rests on: another example in its place moves the sum by at most twice max_norm."""
    gradients = some_gradients()
    other = jax.tree.map(lambda leaf: leaf.at[-1].multiply(-1e6), gradients)
    moved = jax.tree.map(lambda a, b: N * (a - b), clip_and_average(gradients, 2.0)[0], clip_and_average(other, 2.0)[0])
    assert float(global_norm(moved)) == pytest.approx(4.0)


def test_a_gradient_of_zero_stays_zero():
    mean, norms = clip_and_average({"w": jnp.array([[0.0, 0.0], [6.0, 8.0]])}, 1.0)
    assert norms.tolist() == [0.0, 10.0]
    np.testing.assert_allclose(mean["w"], [0.3, 0.4], rtol=1e-6)
    mean, norms = clipped_gradient(jnp.vdot, jnp.ones(2), jnp.zeros((3, 2)), max_norm=np.inf)
    assert not mean.any() and not norms.any()


@every_way
@pytest.mark.parametrize("max_norm", [1e-2, 5.0, np.inf])
def test_both_ways_of_clipping_agree(float64, name, jit, max_norm):
    function = compiled(clipped_gradient, name)
    mean, norms = (function if jit else function.__wrapped__)(*case(NETS[name]), max_norm=max_norm)
    gradients = loops_over(name)
    expected = norms_by_numpy(gradients)
    assert max_norm in (1e-2, np.inf) or expected.min() < max_norm < expected.max()  # else it would show little
    assert_same(norms, expected)
    weights = np.minimum(1, max_norm / expected)
    assert_trees_same(mean, jax.tree.map(lambda leaf: np.tensordot(weights, leaf, 1) / N, gradients))
    assert_trees_same(clip_and_average(gradients, max_norm), (mean, norms))


def test_the_clipped_gradient_of_a_large_dense_layer_is_never_stored():
    net = serial(Flatten(), Dense(256), Relu(), Dense(3))
    params, *batch = case(net, (16, 16, 4), 64, np.float32)
    loss, bytes_of_all = loss_of(net), 4 * 64 * sum(leaf.size for leaf in jax.tree.leaves(params))

    def temporary(function):
        return jax.jit(function).lower(params, *batch).compile().memory_analysis().temp_size_in_bytes

    if jax.default_backend() != "cpu":
        pytest.skip("a statement about XLA on CPU")
    if jax.__version_info__ < (0, 10):
        pytest.skip("the XLA of JAX 0.8.2 stores it; that of 0.10.2 fuses the norm into the product")
    assert temporary(lambda *args: clip_and_average(per_example_gradients(loss, *args), 1.0)) > 0.9 * bytes_of_all
    assert temporary(lambda *args: clipped_gradient(loss, *args, max_norm=1.0)) < 0.1 * bytes_of_all


def test_gradients_have_the_dtype_of_their_parameters():
    params = {"w": jnp.ones(3, jnp.bfloat16), "b": jnp.ones((), jnp.float32)}
    x = jnp.ones((4, 3), jnp.bfloat16)

    def loss(params, x):
        return (params["w"] @ x).astype(jnp.float32) * params["b"]

    wanted = {"w": jnp.bfloat16, "b": jnp.float32}
    gradients = per_example_gradients(loss, params, x)
    assert jax.tree.map(lambda leaf: leaf.dtype, gradients) == wanted
    for mean, norms in (clip_and_average(gradients, 1.0), clipped_gradient(loss, params, x, max_norm=1.0)):
        assert jax.tree.map(lambda leaf: leaf.dtype, mean) == wanted
        assert norms.dtype == jnp.float32


# ----------------------------------------------------------------------------------------------------- transformations


def test_clipped_descent_inside_scan(float64):
    """Steps in a compiled loop are the steps one after the other, by hand."""
    net = NETS["conv"]
    params, *batch = case(net)
    loss, rate, bounds = loss_of(net), 0.5, [0.3, 1.0, 3.0]

    def step(params, max_norm):
        mean, norms = clipped_gradient(loss, params, *batch, max_norm=max_norm)
        return jax.tree.map(lambda p, g: p - rate * g, params, mean), norms

    actual = jax.jit(lambda params: lax.scan(step, params, jnp.array(bounds)))(params)
    all_norms = []
    for bound in bounds:
        gradients = compiled(per_example_gradients, "conv")(params, *batch)
        norms = norms_by_numpy(gradients)
        weights = np.minimum(1, bound / norms) / N
        params = jax.tree.map(lambda p, g, w=weights: p - rate * np.tensordot(w, g, 1), params, gradients)
        all_norms.append(norms)
    assert_trees_same(actual, (params, np.stack(all_norms)), 1e-9)


def test_many_bounds_at_once(float64):
    params, *batch = case(NETS["dense"])
    bounds = jnp.array([0.1, 1.0, 10.0])
    clip = functools.partial(clipped_gradient, loss_of(NETS["dense"]))
    together = jax.vmap(lambda max_norm: clip(params, *batch, max_norm=max_norm))(bounds)
    alone = [clip(params, *batch, max_norm=float(bound)) for bound in bounds]
    assert_trees_same(together, jax.tree.map(lambda *leaves: np.stack(leaves), *alone))


def test_a_clipped_gradient_can_be_differentiated(float64):
    """The derivative of the norm of the clipped mean by one parameter, against a difference quotient."""
    params, *batch = case(NETS["dense"])

    def f(bias):
        mean, _ = clipped_gradient(
            loss_of(NETS["dense"]), params | {"dense2": params["dense2"] | {"bias": bias}}, *batch, max_norm=1.0
        )
        return global_norm(mean)

    bias, direction = params["dense2"]["bias"], jnp.array([1.0, -2.0, 0.5])
    quotient = (f(bias + 1e-6 * direction) - f(bias - 1e-6 * direction)) / 2e-6
    assert float(jnp.vdot(jax.grad(f)(bias), direction)) == pytest.approx(float(quotient), rel=1e-6)


def test_batches_are_trees_and_keys_a_part_of_them(float64):
    """Dropout: each example its own key, and the same in the norms and in the mean."""
    net = serial(Flatten(), Dropout(0.5), Dense(3))
    params, images, labels = case(net)
    batch = {"image": images, "label": labels}, jax.random.split(jax.random.key(1), N)

    def loss(params, example, key):
        logits, _ = net.apply(params, {}, example["image"][None], train=True, key=key)
        return optax.softmax_cross_entropy_with_integer_labels(logits[0], example["label"])

    gradients = per_example_gradients(loss, params, *batch)
    assert_trees_same(gradients, one_by_one(loss, params, *batch))
    dropped = np.asarray(gradients["dense1"]["kernel"] == 0).all(axis=2)
    assert len(np.unique(dropped, axis=0)) == N
    assert_trees_same(clipped_gradient(loss, params, *batch, max_norm=1.0), clip_and_average(gradients, 1.0))


@every_net
def test_a_batch_of_no_examples(net):
    params, images, labels = case(net, dtype=np.float32)
    gradients = per_example_gradients(loss_of(net), params, images[:0], labels[:0])
    assert jax.tree.map(lambda g: g.shape, gradients) == jax.tree.map(lambda p: (0, *p.shape), params)
    zero = jax.tree.map(jnp.zeros_like, params), jnp.zeros(0)
    assert_trees_same(clip_and_average(gradients, 1.0), zero)
    assert_trees_same(clipped_gradient(loss_of(net), params, images[:0], labels[:0], max_norm=1.0), zero)


# -------------------------------------------------------------------------------------------------------------- errors

X = jnp.ones((4, 2))
G = {"w": X}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: per_example_gradients(jnp.vdot, X[0]),
            "per_example_gradients: `batch` must be arrays with one leading axis, the examples'; got shapes []",
        ),
        (lambda: per_example_gradients(jnp.vdot, X[0], 1.0), "per_example_gradients: `batch` must be arrays with one"),
        (
            lambda: per_example_gradients(lambda p, x, y: 0.0, X[0], X, X[1:]),
            "`batch` must be arrays with one leading axis, the examples'; got shapes [(4, 2), (3, 2)]",
        ),
        (
            lambda: per_example_gradients(lambda p, x: p * x, X[0], X),
            "per_example_gradients: `loss` must give a single number for one example, shape (); got (2,)",
        ),
        (lambda: gradient_norms({}), "gradient_norms: `gradients` must be arrays with one leading axis"),
        (lambda: gradient_norms({"a": X, "b": X[1:]}), "gradient_norms: `gradients` must be arrays with one leading"),
        (lambda: gradient_norms({"a": jnp.ones(())}), "gradient_norms: `gradients` must be arrays with one leading"),
        (lambda: clip_and_average({"a": X, "b": X[1:]}, 1.0), "clip_and_average: `gradients` must be arrays with one"),
        (lambda: clip_and_average(G, 0.0), "clip_and_average: `max_norm` must be above 0; got 0.0"),
        (lambda: clip_and_average(G, np.float32("nan")), "clip_and_average: `max_norm` must be above 0; got"),
        (
            lambda: clipped_gradient(jnp.vdot, X[0], X, max_norm=-1),
            "clipped_gradient: `max_norm` must be above 0; got -1",
        ),
        (lambda: clipped_gradient(jnp.vdot, X[0], max_norm=1.0), "clipped_gradient: `batch` must be arrays with one"),
        (
            lambda: clipped_gradient(lambda p, x: p * x, X[0], X, max_norm=1.0),
            "clipped_gradient: `loss` must give a single number for one example, shape (); got (2,)",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)


def test_what_is_said_of_private_training():
    """Our clipped mean with the noise of the docstring, and optax's transformation on the gradients of all examples."""
    n, max_norm, multiplier = 8, 0.5, 1.5
    params = {"w": jnp.zeros((300, 40)), "b": jnp.zeros(40)}
    x, y = jax.random.normal(jax.random.key(0), (n, 300)), jax.random.normal(jax.random.key(1), (n, 40))

    def loss(params, x, y):
        return jnp.sum((x @ params["w"] + params["b"] - y) ** 2)

    gradients = per_example_gradients(loss, params, x, y)
    mean, norms = clipped_gradient(loss, params, x, y, max_norm=max_norm)
    assert (norms > max_norm).all()
    silent = optax.contrib.differentially_private_aggregate(max_norm, 0.0, jax.random.key(2))
    theirs, _ = silent.update(gradients, silent.init(params))
    for a, b in zip(jax.tree.leaves(mean), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)

    noisy = optax.contrib.differentially_private_aggregate(max_norm, multiplier, jax.random.key(2))
    theirs, _ = noisy.update(gradients, noisy.init(params))
    noise = np.asarray(theirs["w"] - mean["w"])
    assert noise.std() == pytest.approx(multiplier * max_norm / n, rel=0.03)  # of 12,000 draws
    assert abs(noise.mean()) < 5 * noise.std() / noise.size**0.5
