# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Sliding windows
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxcnn/jaxcnn/blob/main/notebooks/1_sliding_windows.ipynb)
#
# You learn what a convolutional network computes: a small window slides over an image, and at each place it gives one
# number.

# %%
try:
    from jaxcnn.cli.about import about
except ImportError:
    from importlib.metadata import distributions

    # What is here of JAX keeps its version: it fits this machine's accelerator, and another might not.
    kept = " ".join(f"{each.name}=={each.version}" for each in distributions() if str(each.name).startswith("jax"))
    # %pip install -q {kept} "jaxcnn[cli] @ git+https://github.com/jaxcnn/jaxcnn"
    from jaxcnn.cli.about import about

print(about())

# %%
# %matplotlib inline
import os

import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import display
from sklearn.datasets import load_sample_image

from jaxcnn import data, layers, ops, textbook, viz

SMALL = "JAXCNN_SMALL" in os.environ  # the tests run notebooks at small size

jax.config.update("jax_default_matmul_precision", "highest")  # GPUs and TPUs round products; here we compare digits


# %% [markdown]
# ## One window
#
# Take an image $x$ of 5×5 pixels and a *filter* $w$ of 3×3 numbers. Lay the filter on the upper left corner of the
# image, multiply each pixel by the number that lies on it, and add up:

# %%
x = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]], np.float32)
w = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], np.float32)

seen = x[0:3, 0:3]
print(seen * w)
print("sum:", (seen * w).sum())

# %% [markdown]
# Now move the window by one pixel, and again, through every place where it fits. Each place gives one number of the
# output:
#
# $$y_{ij} = \sum_{a=0}^{k-1} \sum_{b=0}^{k-1} x_{i+a,\,j+b}\; w_{ab}, \qquad \text{for short} \quad y = x \otimes w .$$
#
# In Python these are two loops:


# %%
def slide(x, w):
    """y = x ⊗ w, by the definition."""
    k = len(w)
    y = np.zeros((x.shape[0] - k + 1, x.shape[1] - k + 1))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = (x[i : i + k, j : j + k] * w).sum()
    return y


def numbers(pictures):
    """Small arrays side by side, each pixel with its number, all pixels of one size."""
    side = max(max(np.shape(picture)) for picture in pictures.values())
    fig, axes = viz.style.figure(1, len(pictures), (0.42 * side * len(pictures) + 0.3, 0.42 * side + 0.4))
    for ax, (title, picture) in zip(axes[0], pictures.items(), strict=True):
        picture = np.asarray(picture)
        low, high = min(picture.min(), 0), picture.max()
        ax.imshow(picture, cmap=viz.style.SEQUENTIAL, vmin=low, vmax=high)
        for (i, j), value in np.ndenumerate(picture):
            dark = value < (low + high) / 2
            ax.text(j, i, f"{value:.3g}", ha="center", va="center", color="white" if dark else "black")
        middle = (len(picture) - 1) / 2
        ax.set(title=title, xlim=(middle - side / 2, middle + side / 2), ylim=(middle + side / 2, middle - side / 2))
        ax.set_axis_off()
    return fig


numbers({"image x": x, "filter w": w, "output y = x ⊗ w": slide(x, w)})

# %% [markdown]
# The library has the same operation twice. `textbook.conv2d` is written to be read. `ops.conv` is written to be fast,
# and it is what the layers use. Both want the axes that real images have: an image is (height, width, channels), and
# a filter is (height, width, channels in, channels out). With one channel of each:

# %%
image, kernel = x[:, :, None], w[:, :, None, None]
print("image", image.shape, "kernel", kernel.shape)
for name, conv in (("textbook.conv2d", textbook.conv2d), ("ops.conv", ops.conv)):
    y = conv(jnp.array(image), jnp.array(kernel))
    print(f"{name:16} output {y.shape}, largest difference from the loops: {abs(y[:, :, 0] - slide(x, w)).max()}")

# %% [markdown]
# Watch it move. Every frame is one pass through the inner loop:

# %%
viz.slide(image, kernel)

# %% [markdown]
# ### Nothing is flipped
#
# What mathematicians call a convolution turns the filter by 180° before it slides; what we do here they would call a
# *cross-correlation*. Networks learn their filters, and would learn a turned filter just as well, so the field leaves
# the turn out. (It comes back by itself in the gradient: that is notebook 2.)
#
# The filter below subtracts what is on the right from what is on the left: it finds vertical edges. Turned by 180° it
# subtracts left from right, and every sign changes:

# %%
x = np.array([[7, 2, 3, 3, 8], [4, 5, 3, 8, 4], [3, 3, 2, 8, 4], [2, 8, 7, 2, 7], [5, 4, 4, 5, 4]], np.float32)
vertical = np.array([[1, 0, -1]] * 3, np.float32)
numbers({"image": x, "slid as it is": slide(x, vertical), "turned by 180°": slide(x, np.rot90(vertical, 2))})

# %% [markdown]
# ## Filters on a real picture
#
# Four filters, nine numbers each, and four very different pictures. The two edge filters sum to 0, so an even surface
# gives 0, whatever its brightness. So does the third one, which compares a pixel with its eight neighbors. The last
# is their average, and sums to 1.

# %%
# %config InlineBackend.figure_formats = ["jpeg"]
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": "tight", "pil_kwargs": {"quality": 75}}

photo = load_sample_image("china.jpg")[:: 4 if SMALL else 2, :: 4 if SMALL else 2]
print("photo", photo.shape, photo.dtype, "· by danielbuechele on Flickr, CC BY 2.0")
for name, rows in viz.LECTURE_FILTERS.items():
    print(f"{name:16} sum {np.sum(rows):.0f}")

# %%
viz.photo_filters(photo)

# %% [markdown]
# A bright square on a dark ground shows how each comes about. Read the numbers along its edges and at its corners:
# the edge filters answer to *one* direction, and the corners answer most to the third filter, because a corner pixel
# has the fewest bright neighbors.

# %%
square = np.pad(np.ones((4, 4), np.float32), 2)


def same(x, rows):
    """One filter on one channel, with the output as large as the input."""
    return ops.conv(jnp.array(x)[:, :, None], jnp.array(rows, jnp.float32)[:, :, None, None], padding="SAME")[:, :, 0]


around = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])
numbers({"square": square, "left − right": same(square, vertical), "pixel − neighbours": same(square, around)})

# %% [markdown]
# ## Padding
#
# A filter of $k$ pixels fits into a row of $n$ at $n-k+1$ places: the output shrinks. A frame of zeros around the
# image makes room:
#
# | padding | zeros on each side | outputs |
# |---|---|---|
# | `"VALID"` | none | $n-k+1$: only whole views of the image |
# | `"SAME"` | $(k-1)/2$ | $n$: as many as pixels |
# | `"FULL"` | $k-1$ | $n+k-1$: every view of at least one pixel |
#
# The zeros are not free: they are seen. Below, a filter of nine ones counts the pixels in view, over an image of
# nothing but ones. Where the window hangs over the edge it counts fewer, and a picture that has no edges at all gets
# some:

# %%
ones, count = np.ones((6, 6, 1), np.float32), np.ones((3, 3, 1, 1), np.float32)
numbers({padding: ops.conv(ones, count, padding=padding)[:, :, 0] for padding in ("VALID", "SAME", "FULL")})

# %% [markdown]
# ## Stride
#
# With stride $s$ the window jumps by $s$ pixels. It is as if one computed every output and kept each $s$-th, at
# $1/s^2$ of the work:

# %%
rows = jax.random.normal(jax.random.key(0), (9, 9, 1))
kernel = jax.random.normal(jax.random.key(1), (3, 3, 1, 1))
every = ops.conv(rows, kernel)
for stride in (2, 3):
    jumped = ops.conv(rows, kernel, stride=stride)
    difference = abs(jumped - every[::stride, ::stride]).max()
    print(f"stride {stride}: {every.shape} becomes {jumped.shape}, largest difference {difference:.1e}")

# %% [markdown]
# ## Output sizes
#
# All of it in one formula, for each axis:
#
# $$\text{outputs} = \left\lfloor \frac{n + p_\text{before} + p_\text{after} - k}{s} \right\rfloor + 1 .$$
#
# `jax.eval_shape` says what shape a computation would have, without computing. The formula and the library agree:

# %%
print(" n  k  s  padding  formula  ops.conv")
for n, k, s, padding, (before, after) in (
    (5, 3, 3, "VALID", (0, 0)),
    (7, 3, 2, 1, (1, 1)),
    (8, 3, 2, 1, (1, 1)),  # rounded down: the last pixel is never in a window's last column
    (6, 3, 1, "VALID", (0, 0)),
    (6, 3, 1, "FULL", (2, 2)),
    (6, 3, 1, "SAME", (1, 1)),
    (6, 4, 1, "SAME", (1, 2)),  # an even filter cannot be centered: the odd zero goes after
):
    formula = (n + before + after - k) // s + 1
    found = jax.eval_shape(
        lambda x, w, s=s, padding=padding: ops.conv(x, w, stride=s, padding=padding),
        np.ones((n, n, 1), np.float32),
        np.ones((k, k, 1, 1), np.float32),
    ).shape[0]
    print(f"{n:2} {k:2} {s:2}  {padding!s:8} {formula:6} {found:9}")

# %% [markdown]
# ## Channels
#
# A color photo has three numbers per pixel, and the window is then a small *box*: it sees all channels at once, and
# adds everything up into one number. One filter is $k \times k \times C$ numbers and gives **one** output channel;
# $D$ filters give $D$ of them.
#
# $$y_{ijd} = \sum_{a,b,c} x_{i+a,\,j+b,\,c}\; w_{abcd}$$
#
# So a filter on three channels is the sum of three filters, one on each:

# %%
color = jnp.array(photo, jnp.float32) / 255
kernel = jax.random.normal(jax.random.key(2), (3, 3, 3, 4))  # 4 filters of 3×3 on 3 channels
together = ops.conv(color, kernel)
apart = sum(ops.conv(color[:, :, c : c + 1], kernel[:, :, c : c + 1]) for c in range(3))
print(f"{color.shape} ⊗ {kernel.shape} → {together.shape}; largest difference {abs(together - apart).max():.1e}")

# %% [markdown]
# Even a filter of 1×1 is of use: it mixes channels, pixel by pixel. Red minus the average of green and blue shows
# where the photo is red, whatever the brightness:

# %%
redness = ops.conv(color, jnp.array([1, -0.5, -0.5]).reshape(1, 1, 3, 1))[:, :, 0]
fig, axes = viz.style.figure(1, 2, (9, 3.2))
for ax, picture, title in zip(axes[0], (color, redness), ("photo", "red − (green + blue) / 2"), strict=True):
    shown = ax.imshow(picture, cmap=viz.style.SEQUENTIAL, vmin=0)
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
fig.colorbar(shown, ax=axes[0, 1], label="difference (0 to 1)")
display(fig)

# %% [markdown]
# A layer adds one *bias* per filter, so it has $(k_h k_w C + 1)\,D$ parameters, whatever the size of the image. A
# dense layer from this photo to an output of the same size would have billions.

# %%
for (height, width), channels, filters in (((5, 5), 1, 6), ((5, 5), 6, 16), ((3, 3), 3, 32), ((3, 2), 4, 5)):
    layer = layers.Conv(filters, (height, width))
    params, _ = jax.eval_shape(lambda key, layer=layer, c=channels: layer.init(key, (28, 28, c)), jax.random.key(0))
    formula = (height * width * channels + 1) * filters
    counted = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{filters:2} filters {height}×{width} on {channels} channels: formula {formula:5,}, layer {counted:5,}")
print(f"dense, from the photo to one channel of its size: {photo.size * photo.shape[0] * photo.shape[1]:,}")

# %% [markdown]
# ## Pooling
#
# A pooling window slides too, but it has nothing to learn: it keeps the maximum of what it sees, or the average, or
# the length (L2). It usually moves by its own size, so that windows do not overlap, and every channel is on its own.

# %%
x = np.array([[1, 3, 5, 7], [4, 5, 11, 3], [4, 1, 21, 6], [13, 15, 1, 2]], np.float32)[:, :, None]
pools = {"max": ops.max_pool, "average": ops.avg_pool, "L2": ops.lp_pool}
numbers({"image": x[:, :, 0]} | {f"{name} 2×2": pool(x, 2)[:, :, 0] for name, pool in pools.items()})

# %% [markdown]
# Filter, ReLU, pool: this is the unit all classical networks are made of. Here it is as a network of three layers,
# with a filter put in by hand. After the pool the picture has a sixteenth of the numbers, and the edges are still
# there:

# %%
network = layers.serial(layers.Conv(1, 3), layers.Relu(), layers.MaxPool(4))
params, state = network.init(jax.random.key(0), photo.shape)
edges = jnp.repeat(jnp.array(vertical)[:, :, None, None] / 3, 3, axis=2)  # the same on red, green and blue
params = {"conv1": {"kernel": edges, "bias": jnp.zeros(1)}}
viz.filter_path(network, params, state, photo)

# %% [markdown]
# ## What moves, and what stays
#
# **A convolution moves with the image.** Shift the image by a pixel, and the output shifts by a pixel and is
# otherwise the same: the network finds an edge by the same nine numbers wherever it is. This is called
# *equivariance*.

# %%
splits = data.load("digits")
digits = splits.test.images[: 32 if SMALL else None].astype(np.float32) / 255
roomy = np.pad(digits, ((0, 0), (4, 4), (4, 4), (0, 0)))  # 16×16, so that nothing is pushed out of the picture
edge_filter = jnp.array(vertical)[:, :, None, None]


def shifted(images, pixels):
    """Moved to the right."""
    return jnp.roll(images, pixels, axis=-2)


moved = ops.conv(shifted(roomy, 2), edge_filter, padding="SAME")
print("largest difference:", abs(moved - shifted(ops.conv(roomy, edge_filter, padding="SAME"), 2)).max())

# %% [markdown]
# **Pooling forgets where.** A maximum does not change when it moves inside its window. The larger the window, the
# less of a shift is left in the output; a window as large as the image forgets the place altogether, which is called
# *invariance*. Measured on the digits: how much do the outputs change, relative to their length, when the image moves
# by 1, 2 or 3 pixels?


# %%
WINDOWS = (1, 2, 4, 8, 16)


@jax.jit
def change(images, pixels):
    """|f(shifted) − f(image)| / |f(image)|, averaged over the images; one number for each window of the pool."""
    before, after = (jax.nn.relu(ops.conv(i, edge_filter, padding="SAME")) for i in (images, shifted(images, pixels)))
    pooled = [[ops.max_pool(i, size).reshape(len(images), -1) for i in (before, after)] for size in WINDOWS]
    return jnp.stack([jnp.mean(jnp.linalg.norm(b - a, axis=1) / jnp.linalg.norm(a, axis=1)) for a, b in pooled])


fig, axes = viz.style.figure(1, 1, (6, 3.6))
ax = axes[0, 0]
for pixels, color in zip((1, 2, 3), (viz.style.BLUE, viz.style.ORANGE, viz.style.GREEN), strict=True):
    changes = change(roomy, pixels)
    print(f"shifted by {pixels}:", ", ".join(f"{c:.0%} at {n}×{n}" for n, c in zip(WINDOWS, changes, strict=True)))
    ax.plot(WINDOWS, changes, color=color, marker="o", label=f"shifted by {pixels} pixel{'s' * (pixels > 1)}")
ax.set(
    xlabel="window of the pool (pixels)", ylabel="change (share of the output's length)", xscale="log", xticks=WINDOWS
)
ax.set(title="The larger the pool, the less a shift is felt", xticklabels=WINDOWS, ylim=(0, None))
ax.minorticks_off()
ax.legend()
display(fig)

# %% [markdown]
# A network has both: filters that find a thing anywhere, and pools that step by step let go of where it was.
#
# ## Exercises
#
# 1. Write a filter that finds edges running from the lower left to the upper right, and one that leaves the image as
#    it is. Try both on the photo with `viz.photo_filters(photo, {"diagonal": …, "same": …})`.
# 2. `ops.conv` has an argument `dilation`. With `dilation=2` a 3×3 filter looks at every second pixel. What is its
#    output size? Find the 5×5 filter that gives the same numbers without dilation, and print the largest difference.
# 3. Replace `ops.max_pool` in the last experiment by `ops.avg_pool`. Which of the two forgets a shift faster, and
#    why?
