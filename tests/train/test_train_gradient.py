"""The gradient of a batch slice by slice: against that of the whole batch, in every transformation, and how many."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from tolerances import assert_same
from train_tiny import DIGITS, LINEAR, WHOLE, assert_same_bits, but_seconds

from jaxcnn import models
from jaxcnn.layers import Dense, Flatten, Layer, serial
from jaxcnn.models import Model
from jaxcnn.ops import machine
from jaxcnn.ops.bilinear import varying_like
from jaxcnn.train import TrainState, fit, make_step, value_and_grad
from jaxcnn.train import gradient as gradient_module
from jaxcnn.train import step as step_module

N, KEY = 8, jax.random.key(7)
slices_for = gradient_module.slices_for
every_count = pytest.mark.parametrize("count", [1, 2, 4])
on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere batches are taken whole")


def loss(params, batch, weights):
    """Of a mean over the examples; a tree and an array."""
    y = jnp.tanh(batch["x"] @ params["dense"]["kernel"] + params["dense"]["bias"])
    return params["scale"] * jnp.mean(weights * jnp.sum((y - batch["y"]) ** 2, axis=1))


def case():
    rng = np.random.default_rng(0)
    params = {"dense": {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}, "scale": np.array(1.5)}
    batch = {"x": rng.normal(size=(N, 3)), "y": rng.normal(size=(N, 2))}, rng.uniform(size=N)
    return jax.tree.map(jnp.asarray, (params, *batch))


def assert_trees_same(actual, expected, tolerance=1e-12):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert_same(a, b, tolerance)


# ------------------------------------------------------------------------------------------------------- value_and_grad


def in_scan(function):
    def descend(params, batch):
        value, gradient = function(params, *batch)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), value

    batches = functools.partial(jax.tree.map, lambda leaf: jnp.stack([leaf, -leaf, 2 * leaf]))
    return jax.jit(lambda params, *batch: lax.scan(descend, params, batches(batch)))


def of_an_ensemble(function):
    members = functools.partial(jax.tree.map, lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]))
    return lambda params, *batch: jax.vmap(function, in_axes=(0, None, None))(members(params), *batch)


def second_derivatives(function):
    return jax.jacfwd(lambda *arguments: function(*arguments)[1])


@every_count
@pytest.mark.parametrize("inside", [None, jax.jit, in_scan, of_an_ensemble, second_derivatives])
def test_it_is_that_of_the_whole_batch(float64, count, inside):
    sliced, whole = value_and_grad(loss, slices=count), jax.value_and_grad(loss)
    actual, expected = (inside(f)(*case()) if inside else f(*case()) for f in (sliced, whole))
    assert_trees_same(actual, expected)


@every_count
@pytest.mark.parametrize("own", [False, True], ids=["replicated", "own"])
def test_data_parallel_training(float64, count, own):
    """Inside shard_map, where what a loop carries must vary over the mesh as what it is fed does.
    By replicated parameters the gradient is the sum over the devices; by each device's own it is its own."""

    def share(params, *batch):
        if own:
            params = jax.tree.map(lambda leaf: varying_like(leaf, *jax.tree.leaves(batch)), params)
        value, gradient = value_and_grad(loss, slices=count)(params, *batch)
        mean = lax.pmean(gradient, "data") if own else jax.tree.map(lambda leaf: leaf / 2, gradient)
        return lax.pmean(value, "data"), mean

    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    mapped = jax.shard_map(share, mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P(), check_vma=True)
    assert_trees_same(jax.jit(mapped)(*case()), jax.value_and_grad(loss)(*case()))


@every_count
def test_the_loss_sees_one_slice_at_a_time(count):
    """Slice s has every S-th example, from s on; here the loss is of its first. Dtypes are the parameters'."""
    x, w = jnp.arange(1.0, 9.0), {"a": jnp.full((), 3, jnp.bfloat16), "b": jnp.ones(())}
    value, gradient = value_and_grad(lambda w, x: w["a"] * w["b"] * x[0], slices=count)(w, x)
    first = x[:count].mean()
    assert (value, gradient["a"], gradient["b"]) == (3 * first, first, 3 * first)
    assert (value.dtype, gradient["a"].dtype, gradient["b"].dtype) == (jnp.float32, jnp.bfloat16, jnp.float32)


X = np.ones((6, 2), np.float32)


@pytest.mark.parametrize(
    ("count", "batch", "words"),
    [
        *((count, (X,), f"`slices` must divide the batch of 6; got {count}") for count in (4, 12, 0, -2)),
        (2, (X, X[1:]), "`batch` must be arrays with one leading axis; got leading axes [(5,), (6,)]"),
        (2, (X, 1.0), "`batch` must be arrays with one leading axis; got leading axes [(), (6,)]"),
        (None, (1.0,), "`batch` must be arrays with one leading axis; got leading axes [()]"),
        (None, (), "`batch` must be arrays with one leading axis; got leading axes []"),
    ],
)
def test_what_does_not_fit_is_named(count, batch, words):
    with pytest.raises(ValueError) as caught:
        value_and_grad(lambda w, *batch: w, slices=count)(jnp.ones(()), *batch)
    assert words in str(caught.value)


# ------------------------------------------------------------------------------------------------------------- how many

WIDE = Model("wide", serial(Flatten(), Dense(2048), Dense(10)), (64, 64, 1), 10)
COUNTS = [("lenet5", 128, 2), ("mnist_cnn", 128, 4), ("mnist_cnn", 127, 1), ("mnist_cnn", 130, 2), ("mnist_cnn", 1, 1)]
COUNTS += [("cifar10_cnn", 128, 8), ("digits_cnn", 64, 1), ("cats_vs_dogs_cnn", 30, 1), ("wide", 512, 1)]


@on_cpu
@pytest.mark.parametrize(("name", "n", "count"), COUNTS)
def test_known_counts(name, n, count, monkeypatch):
    """Of a training step, traced only. Wide: 33 MB of parameters, which every slice would add up, for 10 of results."""
    counts = []

    def watched(*arguments):
        counts.append(slices_for(*arguments)(machine.CPU))
        return slices_for(*arguments)

    monkeypatch.setattr(step_module, "slices_for", watched)
    model = WIDE if name == "wide" else models.create(name)
    batch = np.zeros((n, *model.input_shape), np.uint8), np.zeros(n, int), np.ones(n, bool)
    jax.eval_shape(lambda: one_step(model, None, *batch))
    assert counts == [count]


# examples, MiB of results of each, slices: not below 32 examples; with more than 32 MiB in those, not below 16
LEAST = [(31, 1, 1), (63, 1, 1), (64, 1, 2), (127, 1, 1), (128, 1, 4), (1024, 1, 32)]
LEAST += [(63, 2, 1), (64, 2, 4), (96, 2, 4), (128, 2, 8), (1024, 2, 64)]


@on_cpu
@pytest.mark.parametrize(("n", "mebibytes", "count"), LEAST)
def test_slices_have_enough_examples(n, mebibytes, count):
    """However large an example is; and elsewhere than on a CPU there is but one slice."""
    x = jax.ShapeDtypeStruct((n, mebibytes * 2**17 - 1), np.float32)
    case = (lambda w, x: jnp.sum(jnp.sin(w * x))), np.float32(1), x
    assert slices_for(*case)(machine.CPU) == count
    assert slices_for(*case)(machine.of("cuda")) == 1


@on_cpu
def test_a_loss_under_jit_is_counted_by_what_is_inside():
    x = jax.ShapeDtypeStruct((128, 2**18 - 1), np.float32)

    def loss(w, x):
        return jnp.sum(jnp.sin(w * x))

    assert slices_for(jax.jit(loss), np.float32(1), x)(machine.CPU) == slices_for(loss, np.float32(1), x)(machine.CPU)
    assert slices_for(loss, np.float32(1), x)(machine.CPU) > 1


def test_each_platform_has_its_own_program():
    """Of a step lowered here for other devices, and of one that is exported for several."""
    model = models.create("mnist_cnn")
    arguments = train_state_of(model), np.zeros((128, 28, 28, 1), np.uint8), np.zeros(128, int), np.ones(128, bool), KEY
    traced = jax.jit(make_step(model.apply, DESCENT)).trace(*arguments)
    loops = {to: traced.lower(lowering_platforms=(to,)).as_text().count("stablehlo.while") for to in ("cpu", "tpu")}
    assert loops["cpu"] > loops["tpu"] == gradient_loops(model, *arguments)


def gradient_loops(model, *arguments):
    """Of a step that takes its batch whole."""
    traced = jax.jit(make_step(model.apply, DESCENT, slices=1)).trace(*arguments)
    return traced.lower(lowering_platforms=("tpu",)).as_text().count("stablehlo.while")


@pytest.mark.parametrize(("platform", "sliced"), [("cpu", True), ("tpu", False)])
def test_an_assumed_machine_decides(platform, sliced):
    function = value_and_grad(lambda w, x: jnp.mean(jnp.sin(w * x)))
    with machine.assume(machine.of(platform)):
        program = str(jax.make_jaxpr(function)(jnp.ones(()), jnp.ones((64, 2**17))))
    assert ("scan" in program) == sliced and "platform_index" not in program


def test_a_given_count_is_not_looked_for(monkeypatch):
    """It would be missed."""
    for module in (gradient_module, step_module):
        monkeypatch.delattr(module, "slices_for")
    for function in (
        lambda count: value_and_grad(lambda w, x: jnp.mean(w * x), slices=count)(jnp.ones(()), jnp.ones(4)),
        lambda count: one_step(LINEAR, count),
    ):
        function(1), function(2)
        with pytest.raises(NameError, match="slices_for"):
            function(None)


# ------------------------------------------------------------------------------------------------------- training steps

IMAGES, LABELS = jnp.asarray(DIGITS.train.images[:16]), jnp.asarray(DIGITS.train.labels[:16])
UNEVEN = np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0], bool)  # 4, 0, 3 and 1 of the four slices
DESCENT = optax.sgd(0.5, momentum=0.9)


def one_step(model, count, images=IMAGES, labels=LABELS, mask=UNEVEN, augment=None):
    """Of a fresh model."""
    step = jax.jit(make_step(model.apply, DESCENT, augment, slices=count))
    return step(train_state_of(model), images, labels, mask, KEY)


def train_state_of(model):
    params, state = model.init(jax.random.key(0))
    return TrainState(params, state, DESCENT.init(params), jnp.zeros((), jnp.int32), model.loss)


@every_count
@pytest.mark.parametrize("mask", [UNEVEN, np.ones(16, bool)], ids=["uneven", "all"])
def test_a_step_in_slices_is_one_of_the_whole_batch(count, mask):
    """Of the mean over the examples that the mask leaves, not of the slices' means; augmented before it is sliced."""
    seen = []

    def mixed(key, images):
        seen.append(images.shape)
        return (images + images[::-1]) / 2

    new, sums = one_step(LINEAR, count, mask=mask, augment=mixed)
    x = np.float32(IMAGES) / 255
    assert_trees_same((new, sums), one_step(LINEAR, 1, (x + x[::-1]) / 2, mask=mask), 2e-6)  # sums in another order
    assert seen == [IMAGES.shape] and sums[2] == mask.sum()


def test_batch_statistics_are_of_the_whole_batch(monkeypatch):
    with pytest.raises(ValueError, match=r"make_step: `slices` must be 1 for a model with state; got 2"):
        one_step(WHOLE, 2)
    monkeypatch.setattr(step_module, "slices_for", lambda *arguments: lambda here: 2)
    assert_same_bits(one_step(WHOLE, None), one_step(WHOLE, 1))


@every_count
def test_every_slice_drops_anew(count):
    """Of each slice, the loss is a number drawn from its key."""

    def apply(params, state, x, *, train=False, key=None):
        return params * jnp.full((len(x), 10), jax.random.uniform(key) if train else 1.0), state

    layer = Layer(lambda key, input_shape: (jnp.ones(()), {}), apply, "drawing")
    drawing = Model("drawing", layer, (8, 8, 1), 10, lambda logits, labels: logits[:, 0])
    _, (total, *_) = one_step(drawing, count, mask=np.ones(16, bool))
    key = jax.random.split(KEY)[1]
    drawn = [float(jax.random.uniform(jax.random.fold_in(key, s))) for s in range(count)]
    assert len(set(drawn)) == count and float(total) == pytest.approx(16 * np.mean(drawn))


def test_training_in_slices_is_reproducible_and_that_of_whole_batches(monkeypatch):
    def trained(count):
        monkeypatch.setattr(step_module, "slices_for", lambda *arguments: lambda here: count)
        return fit(LINEAR, DIGITS.train[:90], epochs=2, batch_size=32, optimizer=DESCENT, seed=3)

    (first, history), (again, again_history), (whole, _) = trained(2), trained(2), trained(1)
    assert_same_bits(again, first)
    assert but_seconds(again_history) == but_seconds(history)
    assert_trees_same(first.params, whole.params, 1e-4)  # six steps, each from the rounding of the last
