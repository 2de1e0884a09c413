"""Losses against their formulas in NumPy float64, their gradients, and where float32 would overflow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import assert_same

from jaxcnn.train import losses
from jaxcnn.train.losses import sigmoid_binary_cross_entropy, softmax_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)) * 3
INTEGERS = RNG.integers(0, 4, 6)
ONE_HOT = np.eye(4)[INTEGERS]
SOFT = RNG.dirichlet(np.ones(4), 6)
COTANGENT = RNG.normal(size=6)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def value_and_gradient(loss, logits, labels, **options):
    """Per example losses, and the gradient of their sum weighted by COTANGENT, in float64."""
    with jax.enable_x64(True):
        logits, labels = jnp.asarray(logits), jnp.asarray(labels)
        value, pullback = jax.vjp(lambda z: loss(z, labels, **options), logits)
        return np.asarray(value), np.asarray(pullback(jnp.asarray(COTANGENT[: len(value)]))[0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize(("labels", "targets"), [(INTEGERS, ONE_HOT), (ONE_HOT, ONE_HOT), (SOFT, SOFT)])
def test_softmax_cross_entropy_is_its_formula(labels, targets, smoothing):
    targets = (1 - smoothing) * targets + smoothing / 4
    value, gradient = value_and_gradient(softmax_cross_entropy, LOGITS, labels, label_smoothing=smoothing)
    p = softmax(LOGITS)
    assert_same(value, -(targets * np.log(p)).sum(axis=1))
    assert_same(gradient, (p - targets) * COTANGENT[:, None])


BITS = RNG.integers(0, 2, 6)
CHANCES = RNG.uniform(size=(6, 4))


@pytest.mark.parametrize(
    ("logits", "labels", "targets"),
    [
        pytest.param(LOGITS[:, :1], BITS, BITS[:, None], id="one unit, integers"),
        pytest.param(LOGITS[:, :1], BITS.astype(float), BITS[:, None], id="one unit, floats"),
        pytest.param(LOGITS[:, :1], BITS[:, None], BITS[:, None], id="one unit, a column"),
        pytest.param(LOGITS, INTEGERS, ONE_HOT, id="a unit per class, integers"),
        pytest.param(LOGITS, CHANCES, CHANCES, id="a unit per class, probabilities"),
    ],
)
def test_sigmoid_binary_cross_entropy_is_its_formula(logits, labels, targets):
    value, gradient = value_and_gradient(sigmoid_binary_cross_entropy, logits, labels)
    p = sigmoid(logits)
    assert_same(value, -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(axis=1))
    assert_same(gradient, (p - targets) * COTANGENT[:, None] / logits.shape[1])


def test_softmax_cross_entropy_is_exact_at_ten_thousand():
    """In float32, where exp(1e4) is infinite."""
    logits, labels = jnp.array([[1e4, 0.0, -1e4]] * 3), jnp.arange(3)
    assert softmax_cross_entropy(logits, labels).tolist() == [0.0, 1e4, 2e4]
    gradient = jax.grad(lambda z: softmax_cross_entropy(z, labels).sum())(logits)
    np.testing.assert_array_equal(gradient, np.array([1.0, 0, 0]) - np.eye(3))


def test_sigmoid_binary_cross_entropy_is_exact_at_ten_thousand():
    logits, labels = jnp.array([[1e4], [1e4], [-1e4], [-1e4]]), jnp.array([0, 1, 0, 1])
    assert sigmoid_binary_cross_entropy(logits, labels).tolist() == [1e4, 0.0, 0.0, 1e4]
    gradient = jax.grad(lambda z: sigmoid_binary_cross_entropy(z, labels).sum())(logits)
    assert gradient.ravel().tolist() == [1.0, 0.0, 0.0, -1.0]


@pytest.mark.parametrize("loss", [softmax_cross_entropy, sigmoid_binary_cross_entropy])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtype_is_that_of_the_logits(loss, dtype):
    logits = jnp.ones((2, 3), dtype)
    assert loss(logits, jnp.array([0, 1])).dtype == dtype
    assert jax.grad(lambda z: loss(z, jnp.array([0, 1])).sum().astype(jnp.float32))(logits).dtype == dtype


@pytest.mark.parametrize(
    ("loss", "logits", "labels", "words"),
    [
        (softmax_cross_entropy, np.zeros((4, 3)), np.zeros(5, int), ["`labels`", "(5,)", "(4, 3)"]),
        (softmax_cross_entropy, np.zeros((4, 3)), np.zeros(1, int), ["`labels`", "(1,)", "(4, 3)"]),
        (softmax_cross_entropy, np.zeros((4, 3)), np.zeros((4, 2)), ["`labels`", "(4, 2)", "(4, 3)"]),
        (softmax_cross_entropy, np.zeros((4, 3)), np.zeros(4), ["`labels`", "integers", "float", "(4,)"]),
        (softmax_cross_entropy, np.zeros((4, 1)), np.zeros(4, int), ["`logits`", "(4, 1)", "sigmoid"]),
        (softmax_cross_entropy, np.zeros(4), np.zeros(4, int), ["`logits`", "(4,)"]),
        (sigmoid_binary_cross_entropy, np.zeros(4), np.zeros(4, int), ["`logits`", "(4,)"]),
        (sigmoid_binary_cross_entropy, np.zeros((4, 3)), np.zeros((4, 2)), ["`labels`", "(4, 2)", "(4, 3)"]),
        (sigmoid_binary_cross_entropy, np.zeros((4, 1)), np.zeros(3, int), ["`labels`", "(3,)", "(4, 1)"]),
        # One label would broadcast over all logits.
        (sigmoid_binary_cross_entropy, np.zeros((4, 1)), np.zeros(1, int), ["`labels`", "(1,)", "(4, 1)"]),
    ],
)
def test_shapes_that_do_not_fit_are_named(loss, logits, labels, words):
    with pytest.raises(ValueError) as error:
        jax.jit(loss)(jnp.asarray(logits, jnp.float32), jnp.asarray(labels))
    for word in [loss.__name__, *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_label_smoothing_has_a_range(smoothing):
    with pytest.raises(ValueError, match=r"softmax_cross_entropy: `label_smoothing` must be in \[0, 1\); got"):
        softmax_cross_entropy(jnp.zeros((2, 3)), jnp.zeros(2, int), label_smoothing=smoothing)


def test_a_loss_by_name_or_itself():
    assert losses.loss_function("softmax_cross_entropy") is softmax_cross_entropy
    assert losses.loss_function("sigmoid_binary_cross_entropy") is sigmoid_binary_cross_entropy
    assert losses.loss_function(len) is len
    with pytest.raises(ValueError, match="one of softmax_cross_entropy, sigmoid_binary_cross_entropy; got 'hinge'"):
        losses.loss_function("hinge")


def test_probabilities_follow_the_loss():
    logits = jnp.asarray(LOGITS, jnp.float32)
    near = functools.partial(np.testing.assert_allclose, rtol=1e-5)  # float32 exponentials
    near(losses.probabilities("softmax_cross_entropy", logits), softmax(LOGITS))
    near(losses.probabilities(functools.partial(softmax_cross_entropy, label_smoothing=0.1), logits), softmax(LOGITS))
    near(losses.probabilities(losses.Classification(lambda logits, labels: logits[:, 0]), logits), softmax(LOGITS))
    for own in (lambda logits, labels: logits[:, 0], None):
        np.testing.assert_array_equal(losses.probabilities(own, logits), logits)
    near(losses.probabilities("sigmoid_binary_cross_entropy", logits), sigmoid(LOGITS))
    one = sigmoid(LOGITS[:, :1])
    near(losses.probabilities("sigmoid_binary_cross_entropy", logits[:, :1]), np.hstack([1 - one, one]))
    partial = functools.partial(sigmoid_binary_cross_entropy)
    near(losses.probabilities(partial, logits[:, :1]), np.hstack([1 - one, one]))
    extreme = losses.probabilities("softmax_cross_entropy", jnp.array([[1e4, -1e4]]))
    assert extreme.tolist() == [[1.0, 0.0]]


def test_the_name_of_a_loss_holds_no_address():
    """`repr` of a function changes from process to process, and a run could never be resumed."""
    assert losses.name_of("softmax_cross_entropy") == "softmax_cross_entropy"
    assert losses.name_of(softmax_cross_entropy) == "softmax_cross_entropy"
    smoothed = functools.partial(softmax_cross_entropy, label_smoothing=0.1)
    assert losses.name_of(smoothed) == "softmax_cross_entropy(label_smoothing=0.1)"

    class Scaled:
        def __call__(self, logits, labels):
            return 2 * softmax_cross_entropy(logits, labels)

    assert losses.name_of(Scaled()).endswith("Scaled")
