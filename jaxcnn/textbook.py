"""The lectures' definitions, each with its derivative beside it: read this file first.

A convolutional network needs one idea, a small window that slides over an image, and a derivative rule for each thing
done to what the window shows (⊗ slides a filter without flipping it; dy is the gradient of the loss with respect to y):

    convolution       y = x ⊗ w                   dw = x ⊗ dy          dx = dy ⊗ rot180(w), full
    max pooling       y = max of the window       dx = dy at the first maximum of the window, 0 elsewhere
    average pooling   y = Σ x / m                 dx = dy / m at each of the window's m pixels
    L2 pooling        y = √(Σ x²)                 dx = x / y · dy
    dense             y = x w + b                 dw = xᵀ dy           dx = dy wᵀ           db = Σ dy
    ReLU              y = max(x, 0)               dx = dy where x > 0, 0 elsewhere
    softmax           p = e^z / Σ e^z             dz = p · (dp − Σ p dp)
    cross entropy     −(1/n) Σ l log p            dz = (p − l) / n

Slow on purpose: `jaxcnn.ops` has the same numbers fast, and the tests hold the two equal. Images are channels-last,
(..., H, W, C); any axes before are a batch. `jit`, `vmap` and `grad` work; for `jvp` and `hessian` take `jaxcnn.ops`.
"""

import jax
import jax.numpy as jnp

Pair = tuple[int, int]  # (down, right)
Size = int | Pair  # one int for both
Padding = str | int

# --------------------------------------------------------------------------------------------- the sliding window


def windows(x: jax.Array, size: Pair, stride: Pair = (1, 1)) -> jax.Array:
    """Slide a window over the image and keep what it shows: (..., H, W, C) -> (..., H', W', kh, kw, C).

    windows[i, j, a, b] = x[i·s + a, j·s + b] is pixel (a, b) of the window at output position (i, j).
    """
    (kh, kw), (sh, sw) = size, stride
    tops, lefts = range(0, x.shape[-3] - kh + 1, sh), range(0, x.shape[-2] - kw + 1, sw)
    strips = jnp.stack([x[..., i : i + kh, :, :] for i in tops], axis=-4)  # slide down:  (..., H', kh, W, C)
    return jnp.stack([strips[..., j : j + kw, :] for j in lefts], axis=-4)  # then right: (..., H', W', kh, kw, C)


def put_back(shares: jax.Array, image: Pair, stride: Pair) -> jax.Array:
    """Add each window's share of a gradient where the window stood: the way back of `windows`.

    dx[i·s + a, j·s + b] += shares[i, j, a, b], so that windows that overlap add up.
    """
    *batch, rows, cols, kh, kw, channels = shares.shape
    (height, width), (sh, sw) = image, stride
    strips = jnp.zeros((*batch, rows, kh, width, channels), shares.dtype)
    for j in range(cols):
        strips = strips.at[..., j * sw : j * sw + kw, :].add(shares[..., j, :, :, :])
    dx = jnp.zeros((*batch, height, width, channels), shares.dtype)
    for i in range(rows):
        dx = dx.at[..., i * sh : i * sh + kh, :, :].add(strips[..., i, :, :, :])
    return dx


# ---------------------------------------------------------------------------------------------------- convolution


def conv2d(x: jax.Array, w: jax.Array, *, stride: Size = 1, padding: Padding = "VALID") -> jax.Array:
    """Slide D filters over an image, multiply each with what its window shows, and add up.

    y[i, j, d] = Σ_abc x[i·s + a, j·s + b, c] · w[a, b, c, d]. An axis of n pixels, with p zeros on each side, gives
    ⌊(n + 2p − k) / s⌋ + 1 of them.

    Args:
        x: images (..., H, W, C).
        w: filters (kh, kw, C, D), in the dtype of x.
        stride: pixels from one window to the next, at least 1.
        padding: "VALID": none; "SAME": up to ⌈n/s⌉ outputs, the odd zero after; "FULL": k − 1 on each side; or an int.
    Returns: (..., H', W', D). Add the bias to it.
    Raises: ValueError on a shape, dtype, stride or padding that does not fit.
    Derivative: dw = x ⊗ dy and dx = dy ⊗ rot180(w) full, with dy spread by the stride.

    >>> x = jnp.array([[7., 2, 3, 3, 8], [4, 5, 3, 8, 4], [3, 3, 2, 8, 4], [2, 8, 7, 2, 7], [5, 4, 4, 5, 4]])
    >>> vertical_edge = jnp.array([[1., 0, -1]] * 3)
    >>> conv2d(x[:, :, None], vertical_edge[:, :, None, None])[:, :, 0].tolist()
    [[6.0, -9.0, -8.0], [-3.0, -2.0, -3.0], [-3.0, 0.0, -2.0]]

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998, §II.A.
    """
    if jnp.ndim(w) != 4:
        raise ValueError(f"conv2d: `w` must have shape (kh, kw, C, D); w {jnp.shape(w)}.")
    x, _, steps = _prepare("conv2d", x, w.shape[:2], stride, padding)
    if x.shape[-1] != w.shape[2] or x.dtype != w.dtype:
        raise ValueError(
            f"conv2d: `w` expects {w.shape[2]} channels of {w.dtype} but `x` has {x.shape[-1]} of {x.dtype}; "
            f"w {w.shape}. Channels come last in x, and third in w; .astype changes a dtype."
        )
    y = _conv2d(jax.lax.collapse(x, 0, x.ndim - 3), w, steps)  # all axes before H as one batch axis N
    return y.reshape(x.shape[:-3] + y.shape[1:])


def _correlate(x, w, stride=(1, 1)):
    """x ⊗ w, valid: (N, H, W, C) ⊗ (kh, kw, C, D) -> (N, H', W', D)."""
    return jnp.tensordot(windows(x, w.shape[:2], stride), w, axes=3, precision="highest")


def _conv2d_backward(stride, saved, dy):
    x, w = saved
    (kh, kw), (height, width) = w.shape[:2], x.shape[1:3]
    # A stride keeps every s-th pixel of the stride-1 output: dy belongs to these, and the pixels between get 0.
    spread = jnp.zeros((len(dy), height - kh + 1, width - kw + 1, dy.shape[3]), dy.dtype)
    dy = spread.at[:, :: stride[0], :: stride[1]].set(dy)
    # dx = dy ⊗ rot180(w), full: pixel i met tap a in output i − a. Input and output channels change places.
    dx = _correlate(_pad(dy, (kh - 1, kh - 1), (kw - 1, kw - 1)), jnp.rot90(w, 2).swapaxes(2, 3))
    # dw = x ⊗ dy: tap a met pixel i + a in output i. What is summed is the batch: it takes the place of the channels.
    dw = _correlate(x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)).transpose(1, 2, 0, 3)
    return dx, dw


_conv2d = jax.custom_vjp(_correlate, nondiff_argnums=(2,))
_conv2d.defvjp(lambda x, w, stride: (_correlate(x, w, stride), (x, w)), _conv2d_backward)

# -------------------------------------------------------------------------------------------------------- pooling


def max_pool2d(x: jax.Array, window: Size, *, stride: Size | None = None, padding: Padding = "VALID") -> jax.Array:
    """Keep the largest pixel of each window, channel by channel.

    y[i, j, c] = max_ab x[i·s + a, j·s + b, c], where padding counts as −∞.

    Args:
        x: images (..., H, W, C).
        window: its size in pixels, at least 1.
        stride: pixels from one window to the next, at least 1; the size of the window where not given.
        padding: as for `conv2d`.
    Returns: (..., H', W', C).
    Raises: ValueError on a shape, dtype, window, stride or padding that does not fit.
    Derivative: dy goes to the switch, the first maximum of the window in reading order, and nowhere else.

    >>> x = jnp.array([[1., 2, 4, 5], [7, 9, 20, 3]])[:, :, None]
    >>> max_pool2d(x, 2)[:, :, 0].tolist()
    [[9.0, 20.0]]
    >>> jax.grad(lambda x: max_pool2d(x, 2).sum())(x)[:, :, 0].tolist()
    [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]]

    Source: Riesenhuber, Poggio, "Hierarchical models of object recognition in cortex", 1999.
    """
    return _max_pool(*_prepare("max_pool2d", x, window, stride, padding, -jnp.inf))


def _max_of_windows(x, size, stride):
    return windows(x, size, stride).max(axis=(-3, -2))


def _max_pool_backward(size, stride, x, dy):
    seen = windows(x, size, stride)
    line = seen.reshape(*seen.shape[:-3], size[0] * size[1], seen.shape[-1])  # each window in reading order
    switch = line.argmax(axis=-2, keepdims=True)  # where several are largest, argmax takes the first
    shares = jnp.where(jnp.arange(size[0] * size[1])[:, None] == switch, dy[..., None, :], 0)
    return (put_back(shares.reshape(seen.shape), x.shape[-3:-1], stride),)


_max_pool = jax.custom_vjp(_max_of_windows, nondiff_argnums=(1, 2))
_max_pool.defvjp(lambda x, size, stride: (_max_of_windows(x, size, stride), x), _max_pool_backward)


def avg_pool2d(x: jax.Array, window: Size, *, stride: Size | None = None, padding: Padding = "VALID") -> jax.Array:
    """Average the pixels of each window, channel by channel.

    y[i, j, c] = (1/m) Σ_ab x[i·s + a, j·s + b, c], over the m pixels of the window that are not padding.

    Args, Returns, Raises: as for `max_pool2d`.
    Derivative: dy / m at each of the m pixels.

    >>> x = jnp.array([[2., 3, 3], [1, 2, 2], [2, 3, 1]])[:, :, None]
    >>> avg_pool2d(x, 2, stride=1)[:, :, 0].tolist()
    [[2.0, 2.5], [2.0, 2.0]]

    Source: LeCun et al., 1998, §II.A: the subsampling layers.
    """
    padded, size, steps = _prepare("avg_pool2d", x, window, stride, padding)
    pixels, *_ = _prepare("avg_pool2d", jnp.ones_like(x), window, stride, padding)  # 1 for a pixel, 0 for padding
    m = windows(pixels, size, steps).sum(axis=(-3, -2))
    return _avg_pool(padded, jnp.maximum(m, 1), size, steps)  # nothing but padding averages to 0


def _mean_of_windows(x, m, size, stride):
    return windows(x, size, stride).sum(axis=(-3, -2)) / m


def _avg_pool_backward(size, stride, saved, dy):
    x, m = saved
    shares = jnp.broadcast_to((dy / m)[..., None, None, :], (*dy.shape[:-1], *size, dy.shape[-1]))
    return put_back(shares, x.shape[-3:-1], stride), None  # None: m only counts


_avg_pool = jax.custom_vjp(_mean_of_windows, nondiff_argnums=(2, 3))
_avg_pool.defvjp(lambda x, m, size, stride: (_mean_of_windows(x, m, size, stride), (x, m)), _avg_pool_backward)


def l2_pool2d(x: jax.Array, window: Size, *, stride: Size | None = None, padding: Padding = "VALID") -> jax.Array:
    """Take the length of each window as a vector, channel by channel.

    y[i, j, c] = √(Σ_ab x[i·s + a, j·s + b, c]²), where padding counts as 0.

    Args, Returns, Raises: as for `max_pool2d`.
    Derivative: the power rule x / y · dy; 0 where the window is all zero, the one point where y has a kink.

    >>> l2_pool2d(jnp.array([[3., 4], [0, 0]])[:, :, None], 2)[:, :, 0].tolist()
    [[5.0]]

    Source: Sermanet, Chintala, LeCun, "Convolutional neural networks applied to house numbers digit classification".
    """
    return _l2_pool(*_prepare("l2_pool2d", x, window, stride, padding))


def _length_of_windows(x, size, stride):
    return jnp.sqrt(jnp.square(windows(x, size, stride)).sum(axis=(-3, -2)))


def _l2_pool_backward(size, stride, saved, dy):
    x, y = saved
    slope = jnp.where(y > 0, dy / jnp.where(y > 0, y, 1), 0)  # dy / y without a division by zero
    return (put_back(windows(x, size, stride) * slope[..., None, None, :], x.shape[-3:-1], stride),)


_l2_pool = jax.custom_vjp(_length_of_windows, nondiff_argnums=(1, 2))
_l2_pool.defvjp(lambda x, size, stride: (y := _length_of_windows(x, size, stride), (x, y)), _l2_pool_backward)

# ------------------------------------------------------------------------------------------------ the dense network


def flatten(x: jax.Array) -> jax.Array:
    """Lay each image out in reading order, for the dense layers: y[(i·W + j)·C + c] = x[i, j, c].

    Args: x, images (..., H, W, C).
    Returns: (..., H·W·C).
    Raises: ValueError where x has fewer than three axes.
    Derivative: dy in the shape of x.

    >>> flatten(jnp.zeros((8, 5, 5, 16))).shape
    (8, 400)

    Source: the CNN lectures.
    """
    if jnp.ndim(x) < 3:
        raise ValueError(f"flatten: `x` must have shape (..., H, W, C); x {jnp.shape(x)}.")
    return jax.lax.collapse(x, x.ndim - 3)


def dense(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    """Connect every input to every output: y = x w + b.

    Args: x, rows (..., F); w, weights (F, U); b, biases (U,); all of one dtype.
    Returns: (..., U).
    Raises: ValueError on shapes or dtypes that do not fit.
    Derivative: dx = dy wᵀ; dw = xᵀ dy and db = Σ dy over all rows.

    >>> dense(jnp.array([1., 2]), jnp.array([[1., 0, 3], [0, 1, 4]]), jnp.array([0., 0, 5])).tolist()
    [1.0, 2.0, 16.0]

    Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986.
    """
    shapes = f"x {jnp.shape(x)}, w {jnp.shape(w)}, b {jnp.shape(b)}"
    if jnp.ndim(x) < 1 or jnp.ndim(w) != 2 or x.shape[-1] != w.shape[0] or jnp.shape(b) != w.shape[1:]:
        raise ValueError(f"dense: `x` (..., F), `w` (F, U) and `b` (U,) must agree on F and U; {shapes}.")
    if not x.dtype == w.dtype == b.dtype:
        raise ValueError(f"dense: `x` is {x.dtype}, `w` {w.dtype} and `b` {b.dtype}; cast with .astype; {shapes}.")
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

    Args: x, of any shape.
    Returns: the same shape.
    Derivative: dy where x > 0, else 0, and 0 at x = 0 too.

    >>> relu(jnp.array([-2., 0, 3])).tolist()
    [0.0, 0.0, 3.0]

    Source: Nair, Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    """
    return jnp.maximum(x, 0)


relu.defvjp(lambda x: (relu(x), x), lambda x, dy: (jnp.where(x > 0, dy, 0),))


@jax.custom_vjp
def sigmoid(z: jax.Array) -> jax.Array:
    """Turn a logit into the probability of "yes": p = 1 / (1 + e^−z).

    Where e^−z overflows to infinity p is 0, as it should be, and the rule below needs p alone.

    Args: z, logits of any shape.
    Returns: probabilities of the same shape.
    Derivative: dz = p (1 − p) dp.

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

    Args: z, logits (..., K).
    Returns: probabilities (..., K), which sum to 1.
    Derivative: dz = p (dp − Σ_j p_j dp_j).

    >>> softmax(jnp.array([1e4, 1e4, -1e4])).tolist()
    [0.5, 0.5, 0.0]

    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.
    """
    e = jnp.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


softmax.defvjp(lambda z: (p := softmax(z), p), lambda p, dp: (p * (dp - (p * dp).sum(axis=-1, keepdims=True)),))

# --------------------------------------------------------------------------------------------------------- losses


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Average over n images how surprised softmax(logits) is by the label: −(1/n) Σ lᵀ log p.

    log p_k = z_k − log Σ_j e^(z_j), again after subtracting the largest z: finite also where p itself rounds to 0.

    Args: logits z (..., K), where n is the product of the axes before K; labels (..., K), one-hot.
    Returns: the loss in nats, a scalar.
    Raises: ValueError where the shapes differ.
    Derivative: dz = (p − l) / n, and −log p / n for the labels.

    >>> cross_entropy(jnp.array([[1e4, -1e4], [1e4, -1e4]]), jnp.array([[1., 0], [0, 1]])).item()
    10000.0

    Source: Bishop, "Pattern recognition and machine learning", 2006, §4.3.4.
    """
    if jnp.ndim(logits) < 1 or jnp.shape(logits) != jnp.shape(labels):
        shapes = f"logits {jnp.shape(logits)}, labels {jnp.shape(labels)}"
        raise ValueError(f"cross_entropy: `labels` must be one-hot, in the shape of `logits`; {shapes}.")
    return _cross_entropy(logits, labels.astype(logits.dtype))


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

    Args: logits z, n numbers in any shape; labels in the same shape, 0 or 1.
    Returns: the loss in nats, a scalar.
    Raises: ValueError where the shapes differ.
    Derivative: dz = (p − l) / n, and −z / n for the labels.

    >>> log_loss(jnp.array([1e4, -1e4]), jnp.array([1., 1])).item()
    5000.0

    Source: Bishop, "Pattern recognition and machine learning", 2006, §4.3.2.
    """
    if jnp.shape(logits) != jnp.shape(labels):
        shapes = f"logits {jnp.shape(logits)}, labels {jnp.shape(labels)}"
        raise ValueError(f"log_loss: `labels` must have the shape of `logits`; {shapes}.")
    return _log_loss(logits, labels.astype(logits.dtype))


@jax.custom_vjp
def _log_loss(z, labels):
    return (jnp.maximum(z, 0) - labels * z + jnp.log1p(jnp.exp(-jnp.abs(z)))).sum() / z.size


def _log_loss_backward(saved, g):
    z, labels = saved
    return g * (sigmoid(z) - labels) / z.size, -g * z / z.size


_log_loss.defvjp(lambda z, labels: (_log_loss(z, labels), (z, labels)), _log_loss_backward)

# ---------------------------------------------------------------------------------------------- padding and checks


def _prepare(op, x, window, stride, padding, fill=0):
    """Check what slides over what: the padded image, and the window's size and stride as pairs."""
    size = _pair(op, "window", window)
    steps = size if stride is None else _pair(op, "stride", stride)
    if jnp.ndim(x) < 3:
        raise ValueError(f"{op}: `x` must have shape (..., H, W, C), channels last; x {jnp.shape(x)}.")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{op}: `x` must be floating point, not {x.dtype}; cast it with .astype(jnp.float32).")
    padded = _pad(x, *(_pads(op, padding, *nks) for nks in zip(x.shape[-3:-1], size, steps, strict=True)), fill)
    if padded.shape[-3] < size[0] or padded.shape[-2] < size[1]:
        raise ValueError(f"{op}: the window {size} is larger than the padded image; x {x.shape}, padding {padding!r}.")
    return padded, size, steps


def _pair(op, name, value):
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(type(v) is not int or v < 1 for v in pair):
        raise ValueError(f"{op}: `{name}` must be an int of at least 1 or a pair of them, not {value!r}.")
    return pair


def _pads(op, padding, n, k, s):
    """The zeros before and after an axis of n pixels, over which a window of k moves by s."""
    if padding == "VALID":
        return 0, 0
    if padding == "FULL":
        return k - 1, k - 1
    if padding == "SAME":
        total = max((-(-n // s) - 1) * s + k - n, 0)  # window number ⌈n/s⌉ starts at (⌈n/s⌉ − 1) s, and must end
        return total // 2, total - total // 2
    if type(padding) is int and padding >= 0:
        return padding, padding
    raise ValueError(f'{op}: `padding` must be "VALID", "SAME", "FULL" or an int of at least 0, not {padding!r}.')


def _pad(x, rows, cols, fill=0):
    """Put a frame around the image. Its derivative, which JAX knows, takes the frame off."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [rows, cols, (0, 0)], constant_values=fill)
