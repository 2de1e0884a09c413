"""The parts of a network that are no sliding windows: dense layers, activations and losses."""

import jax
import jax.numpy as jnp


def flatten(x: jax.Array) -> jax.Array:
    """Lay each image out in reading order, for the dense layers: y[(i·W + j)·C + c] = x[i, j, c].

    Args:
      x: images `(..., H, W, C)`.

    Returns:
      `(..., H·W·C)`.

    Raises:
      ValueError: x has fewer than three axes.

    Derivative:
      dx is dy in the shape of x.

    Example:
      >>> flatten(jnp.zeros((8, 5, 5, 16))).shape
      (8, 400)

    Source: the CNN lectures.
    """
    if jnp.ndim(x) < 3:
        raise ValueError(f"flatten: `x` must have shape (..., H, W, C); x {jnp.shape(x)}")
    return jax.lax.collapse(x, x.ndim - 3)


def dense(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    """Connect every input to every output: y = x w + b.

    Args:
      x: rows `(..., F)`.
      w: weights `(F, U)`, in the dtype of x.
      b: biases `(U,)`, in the dtype of x.

    Returns:
      `(..., U)`.

    Raises:
      ValueError: shapes or dtypes that do not fit.

    Derivative:
      dx = dy wᵀ. dw = xᵀ dy and db = Σ dy, over all rows.

    Example:
      >>> dense(jnp.array([1., 2]), jnp.array([[1., 0, 3], [0, 1, 4]]), jnp.array([0., 0, 5])).tolist()
      [1.0, 2.0, 16.0]

    Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986.
    """
    shapes = f"x {jnp.shape(x)}, w {jnp.shape(w)}, b {jnp.shape(b)}"
    if jnp.ndim(x) < 1 or jnp.ndim(w) != 2 or x.shape[-1] != w.shape[0] or jnp.shape(b) != w.shape[1:]:
        raise ValueError(f"dense: `x` (..., F), `w` (F, U) and `b` (U,) must agree on F and U; {shapes}")
    if not x.dtype == w.dtype == b.dtype:
        raise ValueError(f"dense: `x` is {x.dtype}, `w` {w.dtype} and `b` {b.dtype}; cast with .astype; {shapes}")
    return _dense(jax.lax.collapse(x, 0, x.ndim - 1), w, b).reshape(*x.shape[:-1], w.shape[1])


def _rows_times(x, w):
    return jnp.matmul(x, w, precision="highest")


def _dense_backward(saved, dy):
    x, w = saved
    return _rows_times(dy, w.T), _rows_times(x.T, dy), dy.sum(axis=0)


_dense = jax.custom_vjp(lambda x, w, b: _rows_times(x, w) + b)
_dense.defvjp(lambda x, w, b: (_rows_times(x, w) + b, (x, w)), _dense_backward)


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """Let what is positive through: y = max(x, 0).

    Args:
      x: any shape.

    Returns:
      The same shape.

    Derivative:
      dx = dy where x > 0, else 0. At x = 0, where the slope jumps, it is 0.

    Example:
      >>> relu(jnp.array([-2., 0, 3])).tolist()
      [0.0, 0.0, 3.0]

    Source: Nair, Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    """
    return jnp.maximum(x, 0)


relu.defvjp(lambda x: (relu(x), x), lambda x, dy: (jnp.where(x > 0, dy, 0),))


@jax.custom_vjp
def sigmoid(z: jax.Array) -> jax.Array:
    """Turn a logit into the probability of "yes": p = 1 / (1 + e^−z).

    Where e^−z overflows to infinity, p is 0, as it should be; the derivative is computed from p alone.

    Args:
      z: logits of any shape.

    Returns:
      Probabilities of the same shape.

    Derivative:
      dz = p (1 − p) dp.

    Example:
      >>> sigmoid(jnp.array([-1e4, 0, 1e4])).tolist()
      [0.0, 0.5, 1.0]

    Source: the CNN lectures.
    """
    return 1 / (1 + jnp.exp(-z))


sigmoid.defvjp(lambda z: (p := sigmoid(z), p), lambda p, dp: (p * (1 - p) * dp,))


@jax.custom_vjp
def softmax(z: jax.Array) -> jax.Array:
    """Turn the logits of K classes into probabilities: p_k = e^(z_k) / Σ_j e^(z_j).

    The largest z is subtracted from all of them first, which changes no quotient, so that no exponential overflows.

    Args:
      z: logits `(..., K)`.

    Returns:
      Probabilities `(..., K)`, which sum to 1.

    Derivative:
      dz = p (dp − Σ_j p_j dp_j).

    Example:
      >>> softmax(jnp.array([1e4, 1e4, -1e4])).tolist()
      [0.5, 0.5, 0.0]

    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.
    """
    e = jnp.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


softmax.defvjp(lambda z: (p := softmax(z), p), lambda p, dp: (p * (dp - (p * dp).sum(axis=-1, keepdims=True)),))


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Average over n images how surprised softmax(logits) is by the label: −(1/n) Σ lᵀ log p.

    log p_k = z_k − log Σ_j e^(z_j), after the largest z is subtracted, is finite even where p_k itself rounds to 0.

    Args:
      logits: z `(..., K)`; n is the product of the axes before K.
      labels: l `(..., K)`, one-hot.

    Returns:
      The loss in nats, a scalar.

    Raises:
      ValueError: the shapes differ.

    Derivative:
      dz = (p − l) / n; for the labels −log p / n.

    Example:
      >>> cross_entropy(jnp.array([[1e4, -1e4], [1e4, -1e4]]), jnp.array([[1., 0], [0, 1]])).item()
      10000.0

    Source: Bishop, "Pattern recognition and machine learning", 2006, §4.3.4.
    """
    if jnp.ndim(logits) < 1 or jnp.shape(logits) != jnp.shape(labels):
        shapes = f"logits {jnp.shape(logits)}, labels {jnp.shape(labels)}"
        raise ValueError(f"cross_entropy: `labels` must be one-hot, in the shape of `logits`; {shapes}")
    return _cross_entropy(*_arrays(logits, labels))


def _arrays(logits, labels):
    """Logits and labels as JAX arrays of the logits' dtype.

    JAX before 0.9 gives a derivative rule a NumPy array in a wrapping that has no `sum` and no minus.
    """
    logits = jnp.asarray(logits)
    return logits, jnp.asarray(labels, logits.dtype)


def _log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - jnp.log(jnp.exp(z).sum(axis=-1, keepdims=True))


def _cross_entropy_backward(saved, g):
    z, labels = saved
    n = z.size // z.shape[-1]
    p = softmax(z) * labels.sum(axis=-1, keepdims=True)  # Σ l is 1, or 0 in a row that is masked out
    return g * (p - labels) / n, -g * _log_softmax(z) / n


_cross_entropy = jax.custom_vjp(lambda z, labels: -(labels * _log_softmax(z)).sum() / (z.size // z.shape[-1]))
_cross_entropy.defvjp(lambda z, labels: (_cross_entropy(z, labels), (z, labels)), _cross_entropy_backward)


def log_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Average over n answers how surprised sigmoid(logits) is by "yes" or "no": −(1/n) Σ l log p + (1 − l) log(1 − p).

    It is computed as (1/n) Σ max(z, 0) − l z + log(1 + e^−|z|), in which nothing overflows.

    Args:
      logits: z, n numbers in any shape.
      labels: l, 0 or 1, in the shape of the logits.

    Returns:
      The loss in nats, a scalar.

    Raises:
      ValueError: the shapes differ.

    Derivative:
      dz = (p − l) / n; for the labels −z / n.

    Example:
      >>> log_loss(jnp.array([1e4, -1e4]), jnp.array([1., 1])).item()
      5000.0

    Source: Bishop, "Pattern recognition and machine learning", 2006, §4.3.2.
    """
    if jnp.shape(logits) != jnp.shape(labels):
        shapes = f"logits {jnp.shape(logits)}, labels {jnp.shape(labels)}"
        raise ValueError(f"log_loss: `labels` must have the shape of `logits`; {shapes}")
    return _log_loss(*_arrays(logits, labels))


@jax.custom_vjp
def _log_loss(z, labels):
    return (jnp.maximum(z, 0) - labels * z + jnp.log1p(jnp.exp(-jnp.abs(z)))).sum() / z.size


def _log_loss_backward(saved, g):
    z, labels = saved
    return g * (sigmoid(z) - labels) / z.size, -g * z / z.size


_log_loss.defvjp(lambda z, labels: (_log_loss(z, labels), (z, labels)), _log_loss_backward)
