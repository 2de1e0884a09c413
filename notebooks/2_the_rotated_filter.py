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
# # 2. The rotated filter
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxcnn/jaxcnn/blob/main/notebooks/2_the_rotated_filter.ipynb)
#
# You learn how a convolution is differentiated: on paper, in loops, as a rule for JAX, and what becomes of it in the
# compiler. Each time you see that it is right.

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
import collections
import functools
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import display

from jaxcnn import ops, textbook, viz

SMALL = "JAXCNN_SMALL" in os.environ  # the tests run notebooks at small size

jax.config.update("jax_enable_x64", True)  # numbers of 16 digits, so that a wrong rule cannot pass for rounding
jax.config.update("jax_default_matmul_precision", "highest")

# %% [markdown]
# ## On paper
#
# A convolution slides a filter $w$ of $k \times k$ numbers over an image $x$ (notebook 1):
#
# $$y = x \otimes w: \qquad y_{ij} = \sum_{a,b} x_{i+a,\,j+b}\; w_{ab}.$$
#
# Somewhere behind $y$ a network computes a loss $L$, and backpropagation hands us $dy$, short for
# $\partial L / \partial y$: for each output, how much the loss grows when that output grows. We owe it two answers:
# $dw$, to improve the filter, and $dx$, to hand on to the layer before.
#
# ### The filter's gradient
#
# The chain rule sums over everything that $w_{ab}$ has a part in, which is every output, and there its factor is a
# pixel:
#
# $$dw_{ab} = \sum_{ij} dy_{ij}\, \frac{\partial y_{ij}}{\partial w_{ab}} = \sum_{ij} x_{i+a,\,j+b}\; dy_{ij}.$$
#
# Compare this with the definition of $y$. It is the same sum, with $dy$ in the place of the filter and $a, b$ in the
# place of $i, j$. So it *is* a convolution:
#
# $$\boxed{\,dw = x \otimes dy\,}$$
#
# With numbers: the upper left weight met the four pixels 2, 3, 7 and 11, in the outputs with $dy$ = 29, 31, 37 and
# 41.

# %%
x = np.array([[2.0, 3, 5], [7, 11, 13], [17, 19, 23]])
dy = np.array([[29.0, 31], [37, 41]])


def slide(x, w):
    """y = x ⊗ w, by the definition."""
    kh, kw = w.shape
    y = np.zeros((x.shape[0] - kh + 1, x.shape[1] - kw + 1))
    for i, j in np.ndindex(y.shape):
        y[i, j] = (x[i : i + kh, j : j + kw] * w).sum()
    return y


print("by hand, the upper left:", 2 * 29 + 3 * 31 + 7 * 37 + 11 * 41)
print("dw = x ⊗ dy:")
print(slide(x, dy))

# %% [markdown]
# ### The image's gradient
#
# Pixel $x_{pq}$ is seen by output $y_{ij}$ if it lies in that window, through the weight $w_{p-i,\,q-j}$. So
#
# $$dx_{pq} = \sum_{ij} dy_{ij}\; w_{p-i,\,q-j} = \sum_{ab} dy_{p-a,\,q-b}\; w_{ab},$$
#
# where $dy$ counts as 0 outside of its borders. This is almost a convolution, but for the minus signs: as $a$ goes up
# through the filter, $p-a$ goes *down* through $dy$. One can see why: as the window slides to the right, a pixel in
# it moves to the left: it is met first by the filter's last column, and last by its first.
#
# To get a plain sum, read the filter from its end. With $a = k-1-a'$ and $b = k-1-b'$,
#
# $$dx_{pq} = \sum_{a'b'} dy_{\,p-(k-1)+a',\;q-(k-1)+b'}\;\; w_{k-1-a',\;k-1-b'} .$$
#
# The weights are those of the filter turned by 180°. And the window over $dy$ starts $k-1$ places before the border,
# and ends as many after it: $dy$ has a frame of $k-1$ zeros, which is full padding. So
#
# $$\boxed{\,dx = dy \otimes \operatorname{rot180}(w), \text{ full}\,}$$

# %%
w = np.array([[1.0, 1], [0, 1]])
dy = np.array([[0.2, 0.1, 0.1], [0.1, 0.2, 0.2], [0.2, 0.1, 0.2]])

print("rot180(w):")
print(np.rot90(w, 2))
print("dx = dy ⊗ rot180(w), full:")
print(slide(np.pad(dy, 1), np.rot90(w, 2)).round(12))

# %% [markdown]
# Now as a film. First the convolution itself. Then $dy$ slides over the image and fills $dw$. Then the filter turns,
# slides over $dy$ and its frame of zeros, and fills $dx$:

# %%
image = np.arange(16).reshape(4, 4) % 5
viz.slide_backward(image, w, dy)

# %% [markdown]
# ## In loops
#
# There is a way to get both gradients without any thought about rotation. Each output is a sum of products pixel ×
# weight, and the derivative of a product is the other factor. So walk through the forward pass once more, and
# wherever a pixel met a weight, give both their share.
#
# Real layers have channels and a stride: $C$ channels in, $D$ filters, windows $s$ pixels apart. The shares do not
# mind:


# %%
def forward(x, w, s):
    """x (H, W, C), w (kh, kw, C, D) → y (H', W', D)."""
    kh, kw = w.shape[:2]
    y = np.zeros(((x.shape[0] - kh) // s + 1, (x.shape[1] - kw) // s + 1, w.shape[3]))
    for i, j, d in np.ndindex(y.shape):
        y[i, j, d] = (x[i * s : i * s + kh, j * s : j * s + kw] * w[..., d]).sum()
    return y


def backward(x, w, s, dy):
    """(dx, dw): every product gives its share to both of its factors."""
    kh, kw = w.shape[:2]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, d in np.ndindex(dy.shape):
        window = slice(i * s, i * s + kh), slice(j * s, j * s + kw)
        dx[window] += dy[i, j, d] * w[..., d]
        dw[..., d] += dy[i, j, d] * x[window]
    return dx, dw


# %% [markdown]
# And the two rules. Two things are new. With a stride, $y$ keeps every $s$-th output of the plain convolution, so
# $dy$ is *spread*: its values are put $s$ apart, with zeros between them, for the outputs that were never computed
# had no effect. And on the way back the channels change places: what went from $C$ to $D$ goes from $D$ to $C$.


# %%
def rules(x, w, s, dy):
    """(dx, dw) by dx = dy ⊗ rot180(w), full, and dw = x ⊗ dy."""
    (height, width, channels), (kh, kw, _, filters) = x.shape, w.shape
    spread = np.zeros((height - kh + 1, width - kw + 1, filters))
    spread[::s, ::s] = dy
    framed = np.pad(spread, ((kh - 1, kh - 1), (kw - 1, kw - 1), (0, 0)))
    dx = forward(framed, np.rot90(w, 2).swapaxes(2, 3), 1)
    # Each channel of x is an image of its own here, and each channel of dy a filter.
    dw = np.stack([forward(x[..., c, None], spread[:, :, None], 1) for c in range(channels)], axis=2)
    return dx, dw


def apart(a, b):
    """The largest difference, as a part of the largest value."""
    return float(abs(np.asarray(a) - np.asarray(b)).max() / abs(np.asarray(b)).max())


SIDE = 8 if SMALL else 12
random = np.random.default_rng(0)
x, w = random.normal(size=(SIDE, SIDE, 3)), random.normal(size=(3, 3, 3, 4))
for s in (1, 2, 3):
    dy = random.normal(size=forward(x, w, s).shape)
    (dx, dw), (dx_rule, dw_rule) = backward(x, w, s, dy), rules(x, w, s, dy)
    print(f"stride {s}: rules against shares, dx {apart(dx_rule, dx):.1e}, dw {apart(dw_rule, dw):.1e}")

# %% [markdown]
# ## As a rule for JAX
#
# JAX differentiates any program by itself. But we may tell it a better way: a function marked `jax.custom_vjp` brings
# its own backward pass. Its parts are the function, a forward pass that also says what to keep, and a backward pass
# that turns $dy$ into the gradients of the inputs.
#
# For speed the loop now runs over the few taps of the filter rather than the many windows: tap $(a, b)$ multiplies
# the image, moved by $(a, b)$, for all windows at once.


# %%
def correlate(x, w):
    """x (H, W, C) ⊗ w (kh, kw, C, D) → (H', W', D)."""
    kh, kw = w.shape[:2]
    rows, cols = x.shape[0] - kh + 1, x.shape[1] - kw + 1
    return sum(x[a : a + rows, b : b + cols] @ w[a, b] for a in range(kh) for b in range(kw))


def conv_forward(x, w):
    return correlate(x, w), (x, w)


def conv_backward(saved, dy):
    x, w = saved
    frame = [(k - 1, k - 1) for k in w.shape[:2]]
    dx = correlate(jnp.pad(dy, (*frame, (0, 0))), jnp.rot90(w, 2).swapaxes(2, 3))
    dw = jax.vmap(lambda plane: correlate(plane[..., None], dy[:, :, None]), in_axes=2, out_axes=2)(x)
    return dx, dw


conv = jax.custom_vjp(correlate)
conv.defvjp(conv_forward, conv_backward)

# %% [markdown]
# ### Against autograd
#
# `correlate` itself is made of slices, products and sums, and JAX knows how to differentiate those; it has never
# heard of a rotated filter. Its gradients, our rule's, those of the loops, and the library's two convolutions:


# %%
def gradients(function, x, w, dy):
    """(dx, dw) by way of jax.vjp."""
    return jax.vjp(function, x, w)[1](dy)


dy = random.normal(size=forward(x, w, 1).shape)
reference = backward(x, w, 1, dy)
x, w, dy = jnp.array(x), jnp.array(w), jnp.array(dy)
print("relative error against the loops      dx       dw")
for name, function in (
    ("autograd of correlate", correlate),
    ("custom_vjp, the rule", conv),
    ("textbook.conv2d", textbook.conv2d),
    ("ops.conv", ops.conv),
):
    dx, dw = jax.jit(gradients, static_argnums=0)(function, x, w, dy)
    print(f"{name:33} {apart(dx, reference[0]):8.1e} {apart(dw, reference[1]):8.1e}")

# %% [markdown]
# All four are as close as 16 digits allow. What does a *wrong* rule look like? Forget the rotation:


# %%
def forgetful(saved, dy):
    _, w = saved
    dx = correlate(jnp.pad(dy, ((2, 2), (2, 2), (0, 0))), w.swapaxes(2, 3))
    return dx, conv_backward(saved, dy)[1]


wrong = jax.custom_vjp(correlate)
wrong.defvjp(conv_forward, forgetful)
dx, dw = gradients(wrong, x, w, dy)
print(f"without the rotation: dx {apart(dx, reference[0]):.1e}, dw {apart(dw, reference[1]):.1e}")

# %% [markdown]
# The shapes fit, nothing complains, a network would even learn something. Only a comparison tells.
#
# ### Against finite differences
#
# The most honest check knows no calculus. Move the filter a little, by $\varepsilon v$ in a random direction $v$, and
# see what the loss does:
#
# $$\frac{L(w + \varepsilon v) - L(w - \varepsilon v)}{2 \varepsilon} \approx \langle dw, v \rangle .$$
#
# How small should $\varepsilon$ be? In general there are two enemies. The curvature of $L$ makes an error of about
# $\varepsilon^2$; rounding makes one of about $10^{-16} / \varepsilon$. The error is smallest somewhere in between.
# But a convolution is *linear* in $w$, and has no curvature: there the difference is exact at **any** step, and the
# larger the better. (The tests of this library use $\varepsilon = 1$.)

# %%
direction = jnp.array(random.normal(size=w.shape))
losses = {
    "linear: ⟨dy, conv(x, w)⟩": lambda w: jnp.sum(dy * conv(x, w)),
    "curved: Σ tanh(conv(x, w))": lambda w: jnp.sum(jnp.tanh(conv(x, w))),
}
steps = 10.0 ** np.arange(-10, 3)
fig, axes = viz.style.figure(1, 1, (6.5, 3.8))
ax = axes[0, 0]
for (name, loss), color in zip(losses.items(), (viz.style.BLUE, viz.style.ORANGE), strict=True):
    slope = jnp.vdot(jax.grad(loss)(w), direction)
    between = jax.jit(lambda step, loss=loss: (loss(w + step * direction) - loss(w - step * direction)) / (2 * step))
    errors = np.array([abs(between(step) / slope - 1) for step in steps])
    print(f"{name:28} error " + ", ".join(f"{errors[i]:.1e} at ε = {steps[i]:g}" for i in (0, 5, 10)))
    ax.loglog(steps, np.maximum(errors, 1e-17), color=color, marker="o", label=name)
ax.set(xlabel="step ε", ylabel="relative error", title="Finite differences against the rule", ylim=(1e-18, 1e2))
ax.legend()
display(fig)

# %% [markdown]
# ## The adjoint identity
#
# There is a check that needs no other program at all. Put $y = x \otimes w$ and $dy$ together into one number:
#
# $$T = \langle dy,\, x \otimes w \rangle = \sum dy_{ij}\; x_{i+a,\,j+b}\; w_{ab}.$$
#
# Every term has one factor of each array, so $T$ is linear in each of the three. Collect the terms by pixel, and what
# stands with $x_{pq}$ is $dx_{pq}$. Collect them by weight, and what stands with $w_{ab}$ is $dw_{ab}$. It is three
# times the same sum:
#
# $$\langle dy,\, x \otimes w \rangle = \langle dx,\, x \rangle = \langle dw,\, w \rangle .$$
#
# It must hold for any $x$, $w$ and $dy$, and to the last digits. A missing rotation, a pad on the wrong side, a
# stride applied twice: all break it.

# %%
options = (
    {},
    {"padding": "SAME"},
    {"stride": 2, "padding": "FULL"},
    {"stride": (2, 3), "padding": ((0, 2), (1, 0))},
    {"dilation": 2, "padding": "SAME"},
)


def three_products(key, x, w, **chosen):
    """⟨dy, y⟩, ⟨dx, x⟩ and ⟨dw, w⟩ for a random dy."""
    y, pull_back = jax.vjp(functools.partial(ops.conv, **chosen), x, w)
    dy = jax.random.normal(key, y.shape)
    dx, dw = pull_back(dy)
    return jnp.stack([jnp.vdot(dy, y), jnp.vdot(dx, x), jnp.vdot(dw, w)])


print("     ⟨dy, y⟩      ⟨dx, x⟩      ⟨dw, w⟩  largest relative difference")
for chosen in options[: 2 if SMALL else None]:
    three = np.array(jax.jit(functools.partial(three_products, **chosen))(jax.random.key(1), x, w))
    numbers = " ".join(f"{number:12.6f}" for number in three)
    print(f"{numbers}  {np.ptp(three) / abs(three).max():.1e}  {chosen or 'no options'}")
dx, dw = gradients(wrong, x, w, jnp.ones_like(conv(x, w)))
print(f"without the rotation: ⟨dy, y⟩ {conv(x, w).sum():.3f}, but ⟨dx, x⟩ {jnp.vdot(dx, x):.3f}")

# %% [markdown]
# ## What the compiler sees
#
# $T$ is linear in three arrays, and its three derivatives are products of two of them: $y$ from $x$ and $w$, $dx$
# from $dy$ and $w$, $dw$ from $x$ and $dy$. Differentiate one of those again, and you get the other two. The family
# is closed: these three products are all one ever needs.
#
# That is how `jaxcnn.ops` is built: three primitives that know each other as derivatives. A *jaxpr* is what JAX makes
# of a Python function before it compiles it, one primitive a line. Here are the names in it, for a loss, for its
# gradients, and for derivatives of those. No new one appears:


# %%
def loss(x, w):
    return jnp.sum(ops.conv(x, w) ** 2)


def names(function):
    """Of the primitives with "conv" in a jaxpr."""
    lines = jax.make_jaxpr(function)(*small).eqns
    return ", ".join(sorted({line.primitive.name for line in lines if "conv" in line.primitive.name}))


def along_x(function):
    """The derivative of a function of (x, w) by x, in the direction of x: a number to differentiate again."""
    return lambda x, w: jnp.vdot(jax.grad(function)(x, w), x)


small = jnp.ones((6, 6, 1)), jnp.ones((3, 3, 1, 2))
print("the loss:       ", names(loss))
print("its gradients:  ", names(jax.grad(loss, argnums=(0, 1))))
print("their gradients:", names(jax.grad(along_x(loss), argnums=(0, 1))))
print("and of those:   ", names(jax.grad(along_x(along_x(loss)), argnums=(0, 1))))

# %% [markdown]
# Below the primitives is XLA, the compiler, with an instruction `convolution` of its own. This library does not use
# it: on a CPU its own products are faster. Count the instructions of the compiled programs, the gradients included,
# and compare with `lax.conv_general_dilated`, which is that instruction:


# %%
def instructions(function, *arguments):
    """How often each instruction stands in the compiled program."""
    compiled = jax.jit(lambda x, w, dy: gradients(function, x, w, dy)).lower(*arguments).compile().as_text()
    names = re.findall(r"^\s*(?:ROOT )?%?[\w.\-]+ = .*?[\]})] ([a-z][a-z0-9\-]*)\(", compiled, re.M)
    calls = re.findall(r'custom_call_target="([^"]*conv[^"]*)"', compiled)
    return collections.Counter(names), len(calls)


def lax_conv(x, w):
    return jax.lax.conv_general_dilated(x[None], w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))[0]


arguments = [a.astype(jnp.float32) for a in (x, w, dy)]
for name, function in (("ops.conv", ops.conv), ("custom_vjp above", conv), ("lax", lax_conv)):
    counts, calls = instructions(function, *arguments)
    own = counts["convolution"] + calls
    print(f"{name:17} {own} convolutions among {counts.total()} instructions; matrix products: {counts['dot']}")

# %% [markdown]
# What stands there instead depends on the shapes. `ops.explain` says which algorithm computes each of the three
# products, and why:

# %%
print(ops.explain((128, 32, 32, 32), (3, 3, 32, 64), padding="SAME"))

# %% [markdown]
# ### Why not `custom_vjp` everywhere?
#
# Because it only goes backward. Forward mode, and with it Hessians, is closed to it. The primitives go both ways, and
# since a convolution is a product, its forward derivative is the product rule:
# $\dot y = \dot x \otimes w + x \otimes \dot w$.

# %%
dots = jnp.array(random.normal(size=x.shape)), jnp.array(random.normal(size=w.shape))
try:
    jax.jvp(conv, (x, w), dots)
except TypeError as error:
    print("custom_vjp:", str(error).split(".")[0])

_, y_dot = jax.jvp(ops.conv, (x, w), dots)
print("ops.conv, against the product rule:", apart(y_dot, ops.conv(dots[0], w) + ops.conv(x, dots[1])))

# %% [markdown]
# ## Exercises
#
# 1. A layer adds a bias: $y = x \otimes w + b$, one number for each filter. Derive $db$, add it to `conv`, and
#    compare with autograd.
# 2. With dilation $\delta$ the taps lie $\delta$ pixels apart:
#    $y_{ij} = \sum x_{i + \delta a,\,j + \delta b}\, w_{ab}$. Derive $dx$ and $dw$ on paper. Where does $\delta$
#    appear? Check your answer by `ops.conv(…, dilation=2)`.
# 3. Write max pooling as a `custom_vjp`: $dy$ goes to the largest pixel of the window, and nowhere else. Compare with
#    `textbook.max_pool2d`, also where two pixels are equally large. Why do finite differences fail there?
