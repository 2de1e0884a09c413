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
# # 6. Many at once
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxcnn/jaxcnn/blob/main/notebooks/6_many_at_once.ipynb)
#
# You train ten networks as one array program, sweep a learning rate in one go, take a gradient for every single image,
# and learn why `jax.vmap` costs here what it should.

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
import functools
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from IPython.display import display
from jax import lax

from jaxcnn import data, ops, population, train, viz
from jaxcnn.layers import Conv, Dense, Flatten, MaxPool, Relu, serial
from jaxcnn.models import Model
from jaxcnn.population import ensemble
from jaxcnn.viz.style import BLUE, GREEN, ORANGE, VERMILION, figure

SMALL = "JAXCNN_SMALL" in os.environ  # the tests run notebooks at small size

# %% [markdown]
# ## An ensemble is a model with one more axis
#
# A model's parameters are plain dicts of arrays. Give every array a leading axis, the members', and `jax.vmap` of the
# ordinary training step trains them all. `jaxcnn.population.ensemble` does that book-keeping; the step is the one of
# `jaxcnn.train`.

# %%
MEMBERS, BATCH = 3 if SMALL else 10, 32
EPOCHS = 2 if SMALL else 6
training, test = data.load("digits")
if SMALL:
    training, test = training[:320], test[:64]
layers = serial(Conv(16, 3), Relu(), MaxPool(2), Conv(32, 3, padding="SAME"), Relu(), Flatten(), Dense(10))
model = Model("little", layers, training.input_shape, num_classes=10)
optimizer = optax.sgd(0.1, momentum=0.9)
one_step = train.make_step(model.apply, optimizer)
start = ensemble.start(model, jax.random.key(0), MEMBERS, optimizer)
print(jax.tree.map(jnp.shape, start.params["conv1"]))


# %%
def trained(steps, train_state, key, epochs=EPOCHS):
    """The train state after some epochs, and the mean loss in each of them: (epochs,) or (epochs, members)."""
    train_state = jax.tree.map(jnp.copy, train_state)  # `steps` reuses its buffers
    losses = []
    for epoch in range(epochs):
        indices, mask = data.epoch_plan(len(training), BATCH, seed=0, epoch=epoch)
        images, labels = jnp.asarray(training.images), jnp.asarray(training.labels)
        train_state, sums = steps(train_state, images, labels, indices, mask, len(indices), key)
        losses.append(np.asarray(sums[..., 0].sum(-1) / sums[..., 2].sum(-1)))
    return train_state, np.array(losses)


key = jax.random.key(1)
steps_of_all = ensemble.make_steps(one_step)
together, losses = trained(steps_of_all, start, key)
print(f"training loss by epoch, mean over {MEMBERS} members:", losses.mean(axis=1).round(3))

# %% [markdown]
# Is that the same as training them one by one? Member 2 alone, from its own start and with its own key:

# %%
steps_of_one, own_key = train.make_steps(one_step), jax.random.split(key, MEMBERS)[2]
for epochs in (1, EPOCHS):
    alone = trained(steps_of_one, ensemble.member(start, 2), own_key, epochs)[0].params
    among = ensemble.member(trained(steps_of_all, start, key, epochs)[0], 2).params
    differences = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), alone, among)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(alone))
    print(f"after epoch {epochs}: largest difference of a parameter {max(jax.tree.leaves(differences)):.0e}, ", end="")
    print(f"largest parameter {largest:.2f}")

# %% [markdown]
# The two differ by rounding: sums of 32-bit numbers are taken in another order, and each training step hands the
# difference on.
#
# ## What ten know that one does not
#
# The members agree where the images are clear, and err each in its own way. So their mean probability is right more
# often than most of them, and where they disagree, none should be trusted.

# %%
mean, each = ensemble.predict(model, together, test.images, batch_size=128)
own = (each.argmax(axis=-1) == test.labels).mean(axis=1)
own_loss = -np.log(np.take_along_axis(each, test.labels[None, :, None], -1)).mean(axis=(1, 2))
mean_loss = -np.log(np.take_along_axis(mean, test.labels[:, None], -1)).mean()
print(f"accuracy: members {own.mean():.2%} ({own.min():.2%} to {own.max():.2%}), ", end="")
print(f"their mean {(mean.argmax(axis=-1) == test.labels).mean():.2%}")
print(f"loss:     members {own_loss.mean():.4f} ({own_loss.min():.4f} to {own_loss.max():.4f}), ", end="")
print(f"their mean {mean_loss:.4f}")

# %%
votes = (each.argmax(axis=-1) == mean.argmax(axis=-1)).mean(axis=0)
torn = np.argsort(votes, kind="stable")[:16]
print("share of the members that vote with the majority:", votes[torn].round(1))
viz.samples(test.images[torn], test.labels[torn], mean[torn], test.classes, most=16)

# %% [markdown]
# ## A sweep is an ensemble whose members differ in a number
#
# `optax.inject_hyperparams` makes the learning rate a part of the optimizer's state, an array like any other. So each
# member can have its own, and 24 trainings, eight rates with three seeds each, are one compiled program.

# %%
RATES = np.geomspace(1e-3, 1, 4 if SMALL else 8)
SEEDS = 1 if SMALL else 3
sweepable = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9)
runs = ensemble.start(model, jax.random.key(2), len(RATES) * SEEDS, sweepable)
runs = ensemble.sweep(runs, learning_rate=np.repeat(RATES, SEEDS))
_, losses = trained(ensemble.make_steps(train.make_step(model.apply, sweepable)), runs, key, epochs=2 if SMALL else 4)
final = losses[-1].reshape(len(RATES), SEEDS)

fig, axes = figure(1, 1, (6.4, 3.6))
ax = axes[0, 0]
ax.plot(RATES, final, "o", color=BLUE, alpha=0.6)
ax.plot(RATES, np.median(final, axis=1), color=ORANGE, label="median of the seeds")
ax.set(xscale="log", yscale="log", xlabel="learning rate, momentum 0.9", ylabel="training loss (nats)")
ax.set_title(f"{len(RATES) * SEEDS} runs in one program, after {len(losses)} epochs")
ax.legend()
display(fig)

# %%
best = np.median(final, axis=1).argmin()
print(f"best: learning rate {RATES[best]:.2g}, loss {np.median(final[best]):.3f}")

# %% [markdown]
# ## A gradient for every image
#
# The gradient that training uses is a mean over the batch. `vmap` of `grad` gives the terms of that mean: how would
# *this* image alone change the network? Write the loss for one example; the rest is one call.

# %%
fitted = ensemble.member(together, 0)


def loss(params, image, label):
    logits, _ = model.apply(params, {}, image[None])
    return train.losses.softmax_cross_entropy(logits, label[None])[0]


N = 32 if SMALL else 128
images, labels = data.to_float(jnp.asarray(test.images[:N])), jnp.asarray(test.labels[:N])
of_each = jax.jit(functools.partial(population.per_example_gradients, loss))
gradients = of_each(fitted.params, images, labels)
print(gradients["conv1"]["kernel"].shape)

whole = jax.jit(jax.grad(lambda p: jax.vmap(loss, (None, 0, 0))(p, images, labels).mean()))(fitted.params)
errors = jax.tree.map(lambda g, w: float(jnp.abs(g.mean(axis=0) - w).max()), gradients, whole)
print("their mean against the gradient of the batch, largest difference:", max(jax.tree.leaves(errors)))

# %% [markdown]
# The norm of an image's gradient says how much the network would have to change to please it. That finds wrong labels.
# Here six of the labels are made wrong; look who has the largest norms.

# %%
rng = np.random.default_rng(0)
wrong = rng.choice(N, 6, replace=False)
noisy = np.array(labels)
noisy[wrong] = (noisy[wrong] + rng.integers(1, 10, len(wrong))) % 10

gradients = of_each(fitted.params, images, jnp.asarray(noisy))
norms = np.asarray(population.gradient_norms(gradients))
order = np.argsort(-norms)
print(f"of the 6 wrong labels, {np.isin(order[:6], wrong).sum()} are among the 6 largest norms of {N}")

fig, axes = figure(1, 1, (6.4, 3.2))
ax = axes[0, 0]
is_wrong = np.isin(order, wrong)
places = np.arange(1, N + 1)
ax.semilogy(places[~is_wrong], norms[order][~is_wrong], "o", color=BLUE, markersize=4, label="label as it was")
ax.semilogy(places[is_wrong], norms[order][is_wrong], "D", color=VERMILION, label="label made wrong")
ax.set(xlabel="images, sorted", ylabel="norm of the gradient", title="One wrong label outweighs many right ones")
ax.legend()
display(fig)

# %% [markdown]
# In the mean, one such image outweighs dozens of others. Clipping bounds what any image can do; it is also the first
# half of differentially private training, whose second half is Gaussian noise of standard deviation
# `noise_multiplier * max_norm / N` on every number of the clipped mean. `clipped_gradient` clips in one forward and one
# backward pass, without the memory for a gradient per image:

# %%
MAX_NORM = float(np.median(norms))
clipped, _ = jax.jit(functools.partial(population.clipped_gradient, loss, max_norm=MAX_NORM))(
    fitted.params, images, jnp.asarray(noisy)
)
weights = np.minimum(1, MAX_NORM / norms)
by_hand = jax.tree.map(lambda g: jnp.tensordot(weights, g, 1) / N, gradients)
errors = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), clipped, by_hand)
print("clipped in one pass against clipped one by one, largest difference:", max(jax.tree.leaves(errors)))
print(f"a gradient per image: {sum(g.nbytes for g in jax.tree.leaves(gradients)) / 2**20:.0f} MiB for {N} images")
share = norms[wrong].sum() / norms.sum(), (weights * norms)[wrong].sum() / (weights * norms).sum()
print(f"the six wrong labels' share of all norms: {share[0]:.0%} before, {share[1]:.0%} after clipping")

# %% [markdown]
# ## Why it is fast here
#
# An ensemble's convolution has a kernel for each member. JAX's own convolution has no such thing, so `vmap` turns the
# members into *groups* of one large grouped convolution, and few backends are good at those. This is what it makes of
# it (`feature_group_count` counts the groups):

# %%
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def lax_conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=DIMENSIONS)


def our_conv(x, kernel):
    return ops.conv(x, kernel, padding="SAME")


random = np.random.default_rng(0)
x = jnp.asarray(random.normal(size=(MEMBERS, 32, 16, 16, 16)), jnp.float32)
kernels = jnp.asarray(random.normal(size=(MEMBERS, 3, 3, 16, 32)), jnp.float32)
for name, conv in (("lax", lax_conv), ("jaxcnn", our_conv)):
    primitives = [e for e in jax.make_jaxpr(jax.vmap(conv))(x, kernels).eqns if "conv" in e.primitive.name]
    groups = [e.params.get("feature_group_count", "none of its own: a product for each member") for e in primitives]
    print(f"{name:7} {[e.primitive.name for e in primitives]}, groups: {groups}")
print("largest difference:", float(jnp.abs(jax.vmap(lax_conv)(x, kernels) - jax.vmap(our_conv)(x, kernels)).max()))

# %% [markdown]
# jaxcnn's convolution is a primitive with a batching rule of its own: where kernels are mapped, each member stays an
# ordinary product of matrices. And an algorithm that is no call into a library compiles inside a loop as it does
# outside. `explain` tells which algorithm is chosen for one member, and why:

# %%
print(ops.explain(x.shape[1:], kernels.shape[1:], padding="SAME"))


# %% [markdown]
# A measurement, in turns so that both meet the same machine: gradients of a convolution with respect to image and
# kernel, of one model, of all members under `vmap`, and of ten steps in `lax.scan`.


# %%
def milliseconds(programs, *arguments, rounds=2 if SMALL else 7):
    """The median time of each, compiled before, one after the other in every round."""
    for program in programs:
        jax.block_until_ready(program(*arguments))
    times = []
    for _ in range(rounds):
        for program in programs:
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            times.append(time.perf_counter() - start)
    return 1e3 * np.median(np.reshape(times, (rounds, -1)), axis=0)


def gradient(conv):
    return jax.grad(lambda x, k: (conv(x, k) ** 2).mean(), argnums=(0, 1))


def in_loop(conv):
    def step(carry, _):
        dx, dk = gradient(conv)(*carry)
        return (carry[0] - 1e-3 * dx, carry[1] - 1e-3 * dk), None

    return lambda x, k: lax.scan(step, (x, k), length=2 if SMALL else 10)[0]


both = (our_conv, lax_conv)
rows = {
    "one model": milliseconds([jax.jit(gradient(conv)) for conv in both], x[0], kernels[0]),
    f"{MEMBERS} models, vmap": milliseconds([jax.jit(jax.vmap(gradient(conv))) for conv in both], x, kernels),
    "a loop of steps": milliseconds([jax.jit(in_loop(conv)) for conv in both], x[0], kernels[0]),
}
print(f"{'':20}{'jaxcnn':>10}{'lax':>10}   milliseconds")
for name, (ours, theirs) in rows.items():
    print(f"{name:20}{ours:10.2f}{theirs:10.2f}   lax takes {theirs / ours:.1f} times as long")

# %%
fig, axes = figure(1, 1, (6.4, 2.4))
ax = axes[0, 0]
ours, theirs = zip(*rows.values(), strict=True)
ax.hlines(list(rows), ours, theirs, color="#999999", zorder=1)
ax.plot(ours, list(rows), "o", color=GREEN, markersize=8, label="jaxcnn")
ax.plot(theirs, list(rows), "D", color=ORANGE, markersize=7, label="lax")
ax.set(xscale="log", xlabel="time (ms)", title=f"Gradients of a convolution, {jax.devices()[0].device_kind}")
ax.margins(y=0.3)
ax.invert_yaxis()
ax.legend()
display(fig)

# %% [markdown]
# One small layer on one machine. In the first line lax may win: a convolution that is called alone pays here for
# bringing its arrays into the order in memory that the layers of a network share. On two CPU cores, whole networks give
# (`python experiments/bench.py`): a training step of ten `mnist_cnn` under `vmap` takes 81 ms here and 634 ms on lax,
# one of ten `cifar10_cnn` 355 and 2053 ms; two steps of `cifar10_cnn` inside `lax.scan` 273 and 11,230 ms. On a GPU or
# TPU the differences are others; run the cell there.
#
# ## Exercises
#
# 1. Give each member its own order of the images (`make_steps(…, own_batches=True)`, an `epoch_plan` for each with its
#    own seed). Does the ensemble become better, and do its members?
# 2. Sweep two numbers at once: the learning rate and the `momentum`, every pair of them, and draw the losses as a map.
# 3. Which images of the *training* set have the largest gradient norms at the end? Draw twelve with `viz.samples`.
#    Would you have labeled them as they are?
