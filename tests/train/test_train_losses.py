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


# ------------------------------------------------------------------------------- labels and logits at their limits


INF = np.inf


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "labels", [np.array([2, 0]), np.array([2, 0], np.uint8), np.eye(3)[[2, 0]], np.array([[0.0, 0, 1], [0.5, 0, 0.5]])]
)
def test_a_masked_class_is_one_that_is_not_there(labels, jit):
    """A logit of −∞: the loss and its gradient are those of the other classes alone."""
    logits = np.array([[1.0, -INF, 2.0], [0.5, -INF, -3.0]])
    loss = jax.jit(softmax_cross_entropy) if jit else softmax_cross_entropy
    value, gradient = value_and_gradient(loss, logits, labels)
    others = np.array([1, 0]) if labels.ndim == 1 else labels[:, [0, 2]]
    expected, expected_gradient = value_and_gradient(softmax_cross_entropy, logits[:, [0, 2]], others)
    assert_same(value, expected)
    assert_same(gradient, np.insert(expected_gradient, 1, 0, axis=1))


def test_a_masked_class_that_is_the_label_is_infinitely_wrong():
    logits = jnp.array([[1.0, -INF]])
    assert softmax_cross_entropy(logits, jnp.array([1])).tolist() == [INF]
    assert softmax_cross_entropy(logits, jnp.array([0]), label_smoothing=0.1).tolist() == [INF]


def test_units_that_are_certain():
    logits = jnp.array([[INF], [-INF], [INF], [-INF]])
    assert sigmoid_binary_cross_entropy(logits, jnp.array([1, 0, 0, 1])).tolist() == [0, 0, INF, INF]
    gradient = jax.grad(lambda z: sigmoid_binary_cross_entropy(z, jnp.array([1, 0])).sum())(logits[:2])
    assert gradient.tolist() == [[0], [0]]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("loss", [softmax_cross_entropy, sigmoid_binary_cross_entropy])
def test_a_label_is_one_class_whatever_its_dtype(loss, dtype):
    """1,000 classes in 8 bits: 5 is not 261, 517 and 773 too."""
    logits = RNG.normal(size=(2, 1000))
    expected = value_and_gradient(loss, logits, np.eye(1000)[[5, 117]])
    for actual, wanted in zip(value_and_gradient(loss, logits, np.array([5, 117], dtype)), expected, strict=True):
        assert_same(actual, wanted)


@pytest.mark.parametrize("loss", [softmax_cross_entropy, sigmoid_binary_cross_entropy])
def test_labels_of_four_bits(loss):
    labels = np.array([5, 1])
    assert_same(loss(LOGITS[:2].repeat(2, 1), labels.astype(jnp.int4)), loss(LOGITS[:2].repeat(2, 1), labels))


@pytest.mark.parametrize("bad", [-1, -100, 10, 255, 2**40])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"ignore_label": -7}])
def test_labels_out_of_range_have_no_loss(bad, options):
    labels = np.array([3, bad])
    with pytest.raises(ValueError, match=r"integer labels must be 0 to 9 for logits of 10; got .*ignore_label=-1"):
        softmax_cross_entropy(jnp.zeros((2, 10)), labels, **options)
    if abs(bad) < 2**31:  # what is traced has no value to look at
        traced = jax.jit(functools.partial(softmax_cross_entropy, **options))(jnp.zeros((2, 10)), labels)
        assert np.isnan(traced).tolist() == [False, True]


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (np.zeros((2, 1)), np.array([0, 2]), "integer labels must be 0 to 1"),
        (np.zeros((2, 3)), np.array([0, 3]), "integer labels must be 0 to 2"),
        (np.zeros((2, 3)), np.full((2, 3), -1.0), "labels of units must be 0 to 1; got -1.0 to -1.0"),
        (np.zeros((2, 3)), np.full((2, 3), 2), "labels of units must be 0 to 1; got 2 to 2"),
    ],
)
def test_labels_of_units_have_a_range(logits, labels, words):
    with pytest.raises(ValueError, match=words):
        sigmoid_binary_cross_entropy(jnp.asarray(logits), labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("ignored", "dtype"), [(-1, np.int32), (-100, np.int8), (255, np.uint8), (3, np.int64)])
def test_an_ignored_label_has_neither_loss_nor_gradient(ignored, dtype, smoothing):
    """Not even where its logits are no numbers."""
    options = {"label_smoothing": smoothing, "ignore_label": ignored}
    labels = np.array([1, ignored, 2, ignored, 0, 1], dtype)
    kept = labels != np.array(ignored, dtype)
    logits = LOGITS.copy()
    logits[3] = np.nan
    value, gradient = value_and_gradient(softmax_cross_entropy, logits, labels, **options)
    with jax.enable_x64(True):
        expected = softmax_cross_entropy(jnp.asarray(LOGITS[kept]), labels[kept], label_smoothing=smoothing)
    assert_same(value[kept], expected)
    assert (value[~kept] == 0).all() and (gradient[~kept] == 0).all() and (gradient[kept] != 0).all()


def test_an_ignored_unit_has_no_part_in_the_average():
    labels = np.array([[1, -1, 0], [-1, -1, -1]])
    value, gradient = value_and_gradient(sigmoid_binary_cross_entropy, LOGITS[:2, :3], labels, ignore_label=-1)
    p = sigmoid(LOGITS[0, [0, 2]])
    assert_same(value, [-(np.log(p[0]) + np.log(1 - p[1])) / 2, 0])
    assert (gradient[1] == 0).all() and gradient[0, 1] == 0
    assert_same(gradient[0, [0, 2]], (p - [1, 0]) * COTANGENT[0] / 2)
    with pytest.raises(ValueError, match=r"`ignore_label` is for integer labels \(N,\); got labels \(2, 3\)"):
        softmax_cross_entropy(jnp.zeros((2, 3)), jnp.zeros((2, 3)), ignore_label=-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_halves_are_summed_in_float32(dtype, smoothing):
    """1,000 classes: the result is rounded once."""
    logits = jnp.asarray(RNG.normal(size=(64, 1000)) * 3, dtype)
    labels = RNG.integers(0, 1000, 64)
    p = softmax(np.asarray(logits, np.float64))
    exact = -((1 - smoothing) * np.log(p[np.arange(64), labels]) + smoothing * np.log(p).mean(axis=1))
    loss = softmax_cross_entropy(logits, labels, label_smoothing=smoothing)
    np.testing.assert_allclose(np.asarray(loss, np.float64), exact, rtol=float(jnp.finfo(dtype).eps))


def test_what_a_loss_says_of_its_logits():
    assert losses.meaning("softmax_cross_entropy") == ("softmax", None)
    assert losses.meaning(functools.partial(sigmoid_binary_cross_entropy, ignore_label=-1)) == ("sigmoid", -1)
    assert losses.meaning(jax.jit(functools.partial(softmax_cross_entropy, ignore_label=255))) == ("softmax", 255)
    assert losses.meaning(losses.Classification(len, "sigmoid", ignore_label=3)) == ("sigmoid", 3)
    assert losses.meaning(len) == (None, None) == losses.meaning(None)
    with pytest.raises(ValueError, match=r"`activation` must be .* got 'tanh'"):
        losses.Classification(len, "tanh")
    with pytest.raises(TypeError, match="Classification: `function` must be"):
        losses.Classification("softmax_cross_entropy")
