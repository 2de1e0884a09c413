"""The oracle: convolution and pooling by NumPy loops in float64, from their definitions alone.

Nothing of jaxcnn and nothing of JAX is imported, and no array is padded, rotated or spread: each output position asks
which of its window's taps meet a pixel inside the input, and the gradients send a cotangent to the same meetings.

Arrays are channels-last with one batch axis, (N, *spatial, C), kernels (*window, C_in // groups, C_out). `stride` and
`dilation` take an int or one int per spatial axis, `pads` one (before, after) pair per spatial axis, of any size.
"""

import math

import numpy as np

# ------------------------------------------------------------------------------------------------------- geometry


def output_size(n, k, s, pads, d=1, ceil_mode=False):
    """How many windows of k taps, d apart, fit into n pixels with `pads` = (before, after), moving by s.

    `ceil_mode` lets in one more window that is cut off at the end, if it starts inside the input or the padding before.
    """
    before, after = pads
    last_start = before + n + after - (d * (k - 1) + 1)  # where in the padded input the last whole window starts
    out = last_start // s + 1
    if ceil_mode and last_start % s and out * s < before + n:
        out += 1
    if out < 1:
        raise ValueError(f"a window of {d * (k - 1) + 1} does not fit into {before} + {n} + {after}")
    return out


def pads_for(word, n, k, s, d=1):
    """The (before, after) pair of one axis that a padding word means."""
    extent = d * (k - 1) + 1
    if word == "VALID":
        return (0, 0)
    if word == "FULL":
        return (extent - 1, extent - 1)
    out = math.ceil(n / s)
    total = max((out - 1) * s + extent - n, 0)
    less, more = total // 2, total - total // 2
    return {"SAME": (less, more), "SAME_LOWER": (more, less)}[word]


def _per_axis(value, rank):
    return np.array([value] * rank if np.ndim(value) == 0 else list(value), dtype=int).reshape(rank)


def _no_pads(pads, rank):
    return ((0, 0),) * rank if pads is None else tuple(tuple(p) for p in pads)


def output_sizes(spatial, window, stride=1, pads=None, dilation=1, ceil_mode=False):
    """`output_size` of every spatial axis."""
    rank = len(window)
    s, d, sides = _per_axis(stride, rank).tolist(), _per_axis(dilation, rank).tolist(), _no_pads(pads, rank)
    return tuple(
        output_size(n, k, s[a], sides[a], d[a], ceil_mode) for a, (n, k) in enumerate(zip(spatial, window, strict=True))
    )


def _meetings(spatial, window, stride, pads, dilation, out):
    """For each output position: the pixels its window sees inside the input, and the taps that meet them.

    Both come as index tuples of m entries, in row-major order of the window.
    """
    rank = len(window)
    s, d = _per_axis(stride, rank)[:, None], _per_axis(dilation, rank)[:, None]
    before = np.array([p[0] for p in _no_pads(pads, rank)])[:, None]
    size = np.array(spatial)[:, None]
    taps = np.indices(window).reshape(rank, -1)  # (rank, taps)
    for position in np.ndindex(*out):
        pixels = np.array(position)[:, None] * s + taps * d - before
        inside = ((pixels >= 0) & (pixels < size)).all(axis=0)
        yield position, tuple(pixels[:, inside]), tuple(taps[:, inside])


# ---------------------------------------------------------------------------------------------------- convolution


def _groups(c_in, c_out, groups):
    """The slices of input and output channels of each group."""
    i, o = c_in // groups, c_out // groups
    return [(slice(g * i, (g + 1) * i), slice(g * o, (g + 1) * o)) for g in range(groups)]


def conv(x, w, stride=1, pads=None, dilation=1, groups=1):
    """y[o] = Σ over taps k of x[s·o + d·k − before] · w[k], where the pixel is inside x."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    spatial, window = x.shape[1:-1], w.shape[:-2]
    out = output_sizes(spatial, window, stride, pads, dilation)
    y = np.zeros((len(x), *out, w.shape[-1]))
    for o, pixels, taps in _meetings(spatial, window, stride, pads, dilation, out):
        for cs, ds in _groups(x.shape[-1], w.shape[-1], groups):
            seen, kernel = x[:, *pixels][..., cs], w[taps][..., ds]  # (N, m, C), (m, C, D)
            y[:, *o][:, ds] = np.einsum("nmc,mcd->nd", seen, kernel)
    return y


def conv_input_gradient(dy, w, x_shape, stride=1, pads=None, dilation=1, groups=1):
    """dx: each output position sends its cotangent, times each tap, back to the pixel which that tap met."""
    dy, w = np.asarray(dy, np.float64), np.asarray(w, np.float64)
    dx = np.zeros(x_shape)
    for o, pixels, taps in _meetings(x_shape[1:-1], w.shape[:-2], stride, pads, dilation, dy.shape[1:-1]):
        for cs, ds in _groups(x_shape[-1], w.shape[-1], groups):
            dx[:, *pixels, cs] += np.einsum("nd,mcd->nmc", dy[:, *o][:, ds], w[taps][..., ds])
    return dx


def conv_kernel_gradient(x, dy, w_shape, stride=1, pads=None, dilation=1, groups=1):
    """dw: each output position sends its cotangent, times each pixel, to the tap which that pixel met."""
    x, dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    dw = np.zeros(w_shape)
    for o, pixels, taps in _meetings(x.shape[1:-1], w_shape[:-2], stride, pads, dilation, dy.shape[1:-1]):
        for cs, ds in _groups(x.shape[-1], w_shape[-1], groups):
            dw[*taps, :, ds] += np.einsum("nmc,nd->mcd", x[:, *pixels][..., cs], dy[:, *o][:, ds])
    return dw


def conv_transpose_sizes(spatial, window, stride=1, pads=None, dilation=1, output_padding=0):
    """(n − 1)s + d(k − 1) + 1 − before − after + output_padding, on every spatial axis."""
    rank = len(window)
    s, d, extra = (_per_axis(value, rank).tolist() for value in (stride, dilation, output_padding))
    sides = _no_pads(pads, rank)
    return tuple(
        (n - 1) * s[a] + d[a] * (k - 1) + 1 - sum(sides[a]) + extra[a]
        for a, (n, k) in enumerate(zip(spatial, window, strict=True))
    )


def conv_transpose(x, w, stride=1, pads=None, dilation=1, groups=1, output_padding=0):
    """The adjoint of `conv` with these arguments; w is in that conv's layout, (*window, C_out // groups, C_in)."""
    sizes = conv_transpose_sizes(np.shape(x)[1:-1], np.shape(w)[:-2], stride, pads, dilation, output_padding)
    y_shape = (len(x), *sizes, np.shape(w)[-2] * groups)
    return conv_input_gradient(x, w, y_shape, stride, pads, dilation, groups)


# -------------------------------------------------------------------------------------------------------- pooling
#
# `stride` is the window's size where it is None. Padding is never looked at: a window sees the pixels inside the input.


def _pool_windows(spatial, window, stride, pads, dilation, ceil_mode):
    stride = window if stride is None else stride
    out = output_sizes(spatial, window, stride, pads, dilation, ceil_mode)
    return out, _meetings(spatial, window, stride, pads, dilation, out)


def max_pool(x, window, stride=None, pads=None, dilation=1, ceil_mode=False):
    """The largest pixel of each window; −∞ where it sees none."""
    x = np.asarray(x, np.float64)
    out, meetings = _pool_windows(x.shape[1:-1], window, stride, pads, dilation, ceil_mode)
    y = np.full((len(x), *out, x.shape[-1]), -np.inf)
    for o, pixels, _ in meetings:
        if len(pixels[0]):
            y[:, *o] = x[:, *pixels].max(axis=1)
    return y


def max_pool_switches(x, window, stride=None, pads=None, dilation=1, ceil_mode=False):
    """The flat index, within x's spatial axes, of the first maximum of each window in row-major order; −1 for none."""
    x = np.asarray(x, np.float64)
    spatial = x.shape[1:-1]
    out, meetings = _pool_windows(spatial, window, stride, pads, dilation, ceil_mode)
    switches = np.full((len(x), *out, x.shape[-1]), -1)
    for o, pixels, _ in meetings:
        if len(pixels[0]):
            switches[:, *o] = np.ravel_multi_index(pixels, spatial)[x[:, *pixels].argmax(axis=1)]
    return switches


def max_pool_gradient(dy, x, window, stride=None, pads=None, dilation=1, ceil_mode=False):
    """dx: the whole cotangent of a window to its switch."""
    dy, x = np.asarray(dy, np.float64), np.asarray(x, np.float64)
    switches = max_pool_switches(x, window, stride, pads, dilation, ceil_mode)
    dx = np.zeros((len(x), math.prod(x.shape[1:-1]), x.shape[-1]))
    for n, *o, c in np.ndindex(*dy.shape):
        if switches[n, *o, c] >= 0:
            dx[n, switches[n, *o, c], c] += dy[n, *o, c]
    return dx.reshape(x.shape)


def avg_pool_counts(spatial, window, stride=None, pads=None, dilation=1, ceil_mode=False, count_include_pad=False):
    """The number that each window's sum is divided by, (*out): its pixels inside the input or, with
    `count_include_pad`, inside the padded input too, but not what `ceil_mode` adds beyond the padding."""
    rank = len(window)
    sides = _no_pads(pads, rank)
    if count_include_pad:  # the same windows over an input that owns its padding; ceil_mode's decision is the old one's
        out, _ = _pool_windows(spatial, window, stride, pads, dilation, ceil_mode)
        padded = tuple(n + before + after for n, (before, after) in zip(spatial, sides, strict=True))
        meetings = _meetings(padded, window, window if stride is None else stride, None, dilation, out)
    else:
        out, meetings = _pool_windows(spatial, window, stride, pads, dilation, ceil_mode)
    counts = np.zeros(out)
    for o, pixels, _ in meetings:
        counts[o] = len(pixels[0])
    return counts


def avg_pool(x, window, stride=None, pads=None, dilation=1, ceil_mode=False, count_include_pad=False):
    """The sum of each window divided by its count; 0 where it sees nothing."""
    x = np.asarray(x, np.float64)
    spatial = x.shape[1:-1]
    out, meetings = _pool_windows(spatial, window, stride, pads, dilation, ceil_mode)
    counts = avg_pool_counts(spatial, window, stride, pads, dilation, ceil_mode, count_include_pad)
    y = np.zeros((len(x), *out, x.shape[-1]))
    for o, pixels, _ in meetings:
        if len(pixels[0]):
            y[:, *o] = x[:, *pixels].sum(axis=1) / counts[o]
    return y


def avg_pool_gradient(
    dy, x_shape, window, stride=None, pads=None, dilation=1, ceil_mode=False, count_include_pad=False
):
    """dx: the cotangent of a window, divided by its count, to each pixel it sees."""
    dy = np.asarray(dy, np.float64)
    spatial = x_shape[1:-1]
    _, meetings = _pool_windows(spatial, window, stride, pads, dilation, ceil_mode)
    counts = avg_pool_counts(spatial, window, stride, pads, dilation, ceil_mode, count_include_pad)
    dx = np.zeros(x_shape)
    for o, pixels, _ in meetings:
        if len(pixels[0]):
            dx[:, *pixels] += dy[:, *o][:, None] / counts[o]
    return dx


def lp_pool(x, window, p=2, stride=None, pads=None, dilation=1, ceil_mode=False):
    """(Σ |x|^p)^(1/p) of each window; 0 where it sees nothing."""
    x = np.asarray(x, np.float64)
    out, meetings = _pool_windows(x.shape[1:-1], window, stride, pads, dilation, ceil_mode)
    y = np.zeros((len(x), *out, x.shape[-1]))
    for o, pixels, _ in meetings:
        y[:, *o] = (np.abs(x[:, *pixels]) ** p).sum(axis=1) ** (1 / p)
    return y


def lp_pool_gradient(dy, x, window, p=2, stride=None, pads=None, dilation=1, ceil_mode=False):
    """dx: the cotangent of a window times sign(x) (|x| / y)^(p − 1) to each pixel; 0 where y = 0."""
    dy, x = np.asarray(dy, np.float64), np.asarray(x, np.float64)
    y = lp_pool(x, window, p, stride, pads, dilation, ceil_mode)
    _, meetings = _pool_windows(x.shape[1:-1], window, stride, pads, dilation, ceil_mode)
    dx = np.zeros(x.shape)
    for o, pixels, _ in meetings:
        length = y[:, *o][:, None]
        ratio = np.abs(x[:, *pixels]) / np.where(length > 0, length, 1)
        slope = np.where(length > 0, np.sign(x[:, *pixels]) * ratio ** (p - 1), 0)
        dx[:, *pixels] += dy[:, *o][:, None] * slope
    return dx
