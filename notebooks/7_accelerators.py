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
# # 7. Accelerators
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxcnn/jaxcnn/blob/main/notebooks/7_accelerators.ipynb)
#
# You learn what changes on a GPU or TPU: the precision of a product, the batch size that keeps the chip busy, one batch
# shared out over many devices, and how to see where the time goes.

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
import gzip
import importlib.util
import json
import os
import re
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from IPython.display import display
from jax.extend.backend import clear_backends
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn import data, inspect, models, ops, train, viz
from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten, MaxPool, Relu, serial
from jaxcnn.models import Model
from jaxcnn.viz.style import BLUE, ORANGE, figure

if jax.default_backend() == "cpu":  # shows itself as eight devices, so that sharing out can be tried on it
    clear_backends()
    jax.config.update("jax_num_cpu_devices", 8)
print(f"{jax.device_count()} × {jax.devices()[0].device_kind}")
SMALL = "JAXCNN_SMALL" in os.environ  # the tests run notebooks at small size

# %% [markdown]
# In Colab choose *Runtime → Change runtime type* and a GPU or TPU, then run all. No cell mentions the device it is to
# run on: `jit` compiles the same functions for what is there. What you read below was run on the device above.
#
# ## Precision
#
# Accelerators multiply in fewer bits than they add. On a TPU a product of two float32 arrays is, by default, *one* pass
# of the matrix unit with both rounded to bfloat16, 8 bits of which count. On recent NVIDIA GPUs it may be TF32, with
# 11. A CPU multiplies float32 with all its 24. `precision="highest"` asks for all of them everywhere, at a price;
# `"high"` is between.
#
# Against the same convolution in float64 by NumPy:

# %%
rng = np.random.default_rng(0)
N, SIDE, C_IN, C_OUT = (2, 16, 32, 32) if SMALL else (8, 32, 64, 64)
x = rng.normal(size=(N, SIDE, SIDE, C_IN))
kernel = rng.normal(size=(3, 3, C_IN, C_OUT))
windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))  # (N, H', W', C_in, 3, 3)
exact = np.einsum("nhwcij,ijcd->nhwd", windows, kernel, optimize=True)


def milliseconds(function, *arguments, rounds=3 if SMALL else 15):
    """The median, compiled before."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - begin)
    return 1e3 * np.median(times)


print(f"{'dtype':10}{'precision':>10}{'largest error':>15}{'time':>10}")
for dtype, precision in (
    ("float32", None),
    ("float32", "high"),
    ("float32", "highest"),
    ("bfloat16", None),
    ("float16", None),
):
    conv = jax.jit(functools.partial(ops.conv, precision=precision))
    arguments = jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)
    y = np.asarray(conv(*arguments), np.float64)
    error = np.abs(y - exact).max() / np.abs(exact).max()
    print(f"{dtype:10}{precision or 'default':>10}{error:15.1e}{milliseconds(conv, *arguments):7.1f} ms")

# %% [markdown]
# The error is a share of the largest value. Read it as digits: 1e-7 is what 24 bits can give, 3e-3 what 8 can. On a CPU
# even `precision` matters a little, since it turns off the algorithms that save multiplications by rounding more:

# %%
for platform in ("cpu", "cuda", "tpu"):
    chosen = ops.explain(x.shape, kernel.shape, platform=platform).forward
    print(f"{platform:5} by default: {chosen.algorithm:9} ({chosen.why})")
print("cpu   highest:   ", ops.explain(x.shape, kernel.shape, platform="cpu", precision="highest").forward.algorithm)

# %% [markdown]
# For a whole network, put the call into `with jax.default_matmul_precision("highest"):`, the first time too, when it is
# compiled. Training hardly ever needs that. Comparing with another library, second derivatives and physics do.
#
# ## bfloat16
#
# Half the bytes to move, and products at the matrix unit's full speed. bfloat16 has the range of float32 with fewer
# digits, and that tells where it may be used: images, weights inside the network, yes; the parameters that are updated,
# no. An update below 1/256 of a parameter is lost:

# %%
one = jnp.ones((), jnp.bfloat16)
for update in (0.01, 0.003, 0.001):
    print(f"1 + {update} = {float(one + jnp.bfloat16(update))} in bfloat16")

# %% [markdown]
# So `train.Policy(compute=jnp.bfloat16)` keeps parameters, sums and losses in float32 and casts on the way into the
# layers. The same network, seed and batches, both ways:

# %%
training, test = data.load("digits")
if SMALL:
    training, test = training[:256], test[:64]
layers = serial(
    Conv(32, 3, padding="SAME", use_bias=False),
    BatchNorm(),
    Relu(),
    MaxPool(2),
    Conv(64, 3, padding="SAME"),
    Relu(),
    Flatten(),
    Dense(10),
)
model = Model("small", layers, training.input_shape, num_classes=10)
results = {}
for name, policy in (("float32", None), ("bfloat16", train.Policy(compute=jnp.bfloat16))):
    print(f"compute in {name}")
    fitted, history = train.fit(
        model,
        training,
        validation=test,
        epochs=1 if SMALL else 4,
        batch_size=64,
        optimizer=optax.adam(2e-3),
        policy=policy,
    )
    results[name] = float(history["validation_accuracy"][-1])
    print(f"   parameters are {fitted.params['conv1']['kernel'].dtype}")
print("validation accuracies:", results)

# %% [markdown]
# On a CPU there is little to gain in time. That the result is as good carries over to where there is much.
#
# ## Batch size
#
# A step has costs that do not grow with the batch: launching the program, reading the parameters. Small batches leave
# an accelerator idle, and there is a size from which a larger one no longer helps. But first: JAX returns *before* the
# work is done, so a measurement must wait.

# %%
optimizer = optax.sgd(0.05, momentum=0.9)
step = jax.jit(train.make_step(model.apply, optimizer))
params, state = model.init(jax.random.key(0))
start = train.TrainState(params, state, optimizer.init(params), jnp.int32(0), model.loss)


def batch_of(size):
    chosen = np.arange(size) % len(training)
    return jnp.asarray(training.images[chosen]), jnp.asarray(training.labels[chosen]), jnp.ones(size, bool)


key = jax.random.key(1)
batch = batch_of(256)
jax.block_until_ready(step(start, *batch, key))  # compiles
begin = time.perf_counter()
result = step(start, *batch, key)
returned = time.perf_counter() - begin
jax.block_until_ready(result)
print(f"returned after {1e3 * returned:.2f} ms, done after {1e3 * (time.perf_counter() - begin):.2f} ms")

# %%
SIZES = (64, 256) if SMALL else (8, 16, 32, 64, 128, 256, 512, 1024)
speeds = [1e3 * size / milliseconds(step, start, *batch_of(size), key) for size in SIZES]
fig, axes = figure(1, 1, (6.4, 3.4))
ax = axes[0, 0]
ax.plot(SIZES, speeds, "o-", color=BLUE)
ax.set_xscale("log", base=2)
ax.set(xlabel="images per step", ylabel="images per second", ylim=(0, 1.1 * max(speeds)))
ax.set(title=f"Speed of a training step, {jax.devices()[0].device_kind}")
ax.set_xticks(SIZES, SIZES)
display(fig)

# %% [markdown]
# A CPU is full with a few images, so its curve is flat, or falls where a batch leaves the cache; an accelerator's
# rises far before it bends. Take the size where it bends, not the largest that fits: fewer steps per epoch mean fewer
# updates. If you do enlarge the batch, raise the learning rate with it and warm it up.
#
# Each new *shape* is a new compilation. That is why `train.fit` fills an epoch's last batch and masks what was added,
# and why it keeps the images on the device and runs many steps in one dispatch.
#
# ## Before you have the chip
#
# Colab lends a TPU v5e or a T4, for a while. What a network will take on the TPU can be asked before: its compiler
# runs on any machine (`pip install 'jaxcnn[accelerators]'`) and says how many cycles it expects. `jaxcnn estimate
# mnist_cnn --train` prints this for one network, layer by layer; here are a few batch sizes, both dtypes. Without the
# compiler you see what it said when this was written, with jax 0.10.2.

# %%
TOLD = {  # milliseconds of a training step on a v5e, share of the matrix units' peak
    ("float32", 32): (0.309, 0.013),
    ("float32", 128): (0.293, 0.055),
    ("float32", 512): (1.225, 0.053),
    ("bfloat16", 32): (0.378, 0.011),
    ("bfloat16", 128): (0.240, 0.068),
    ("bfloat16", 512): (0.835, 0.078),
}
print(f"{'dtype':10}{'batch':>6}{'a step':>11}{'images a second':>17}{'of the peak':>13}")
for (dtype, size), (time_of_step, share) in TOLD.items():
    if not SMALL and importlib.util.find_spec("libtpu"):
        told = inspect.estimate(models.create("mnist_cnn"), batch_size=size, dtype=dtype, train=True)
        time_of_step, share = told.milliseconds, told.share
    print(f"{dtype:10}{size:6}{time_of_step:8.3f} ms{1e3 * size / time_of_step:17,.0f}{share:13.1%}")

# %% [markdown]
# Two things to read off. 32 images take as long as 128: a TPU works on 128 at a time, so a batch is best a multiple of
# that. And a small network never comes near the peak, because its layers have few channels; memory bounds it, which is
# why bfloat16, half the bytes, helps from 512 images on.
#
# ## One batch over all devices
#
# Parameters on every device, the batch cut in as many parts as there are devices: each computes the gradient of its
# part, and the sum of the parts is the gradient of the batch. In JAX you say where arrays lie, and the compiler finds
# where a sum over devices is needed. A Colab TPU may have eight cores, a GPU machine one device; this runs on any
# number.

# %%
devices = jax.device_count()
mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
shared_out, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
batch = batch_of(32 * devices)
parts = jax.device_put(batch, shared_out)
for shard in parts[0].addressable_shards:
    print(f"{shard.device}: images {shard.index[0].start or 0:3} on, {shard.data.shape}")

# %% [markdown]
# The step is the same function as before. On eight devices and on one it must give the same parameters, batch
# normalization included: its mean and variance are those of the whole batch, since that is what the function says.

# %%
on_one, _ = step(start, *batch, key)
step_on_all = jax.jit(train.make_step(model.apply, optimizer), out_shardings=everywhere)  # results lie on each device
on_all, sums = step_on_all(jax.device_put(start, everywhere), *parts, key)
differences = jax.tree.map(
    lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()),
    (on_one.params, on_one.state),
    (on_all.params, on_all.state),
)
print("parameters lie on", len(on_all.params["conv1"]["kernel"].sharding.device_set), "devices")
print("largest difference of a parameter or statistic:", max(jax.tree.leaves(differences)))
program = step_on_all.lower(jax.device_put(start, everywhere), *parts, key).compile().as_text()
print("sums over the devices in the compiled program:", len(re.findall(r" all-reduce(?:-start)?\(", program)))

# %% [markdown]
# Training is the same loop as ever, with one line that puts the batch in its places. `train.fit(…,
# mesh=train.device_mesh())` and `jaxcnn train --devices all` do that by themselves.

# %%
train_state = jax.device_put(start, everywhere)
for epoch in range(1 if SMALL else 10):
    total = np.zeros(3)
    for images, labels, mask in data.batches(training, 32 * devices, seed=0, epoch=epoch):
        parts = jax.device_put((images, labels, mask), shared_out)
        train_state, sums = step_on_all(train_state, *parts, jax.random.fold_in(key, train_state.step))
        total += np.array([float(value) for value in sums])
    print(f"epoch {epoch + 1}: loss {total[0] / total[2]:.4f}, accuracy {total[1] / total[2]:.4f}")
print(train.evaluate(model, jax.device_get(train_state), test, batch_size=128))

# %% [markdown]
# Eight devices that are one CPU's cores are not faster; here only the result counts. On real ones, keep the part of
# each device at the size where the curve above bends, so that it has enough to do between the sums.
#
# ## Where the time goes
#
# First by layers: `inspect.profile` runs each on its own, and tells its time and its bytes.

# %%
profile = inspect.profile(model, batch_size=32 if SMALL else 256)
print(profile)

# %%
viz.profile_picture(profile)

# %% [markdown]
# That leaves out what the compiler does across layers, and the way back. A *trace* records the program as it runs, on
# any device. `jax.profiler.trace` writes a folder for TensorBoard or [xprof](https://openxla.org/xprof); its
# `*.trace.json.gz` also opens in <https://ui.perfetto.dev>, with no installation. Warm up first, record a few steps,
# wait for the end inside the block.

# %%
folder = Path(tempfile.mkdtemp())
batch = batch_of(64 if SMALL else 256)
result = jax.block_until_ready(step(start, *batch, key))  # compiles, which is not to be recorded
STEPS = 3
with jax.profiler.trace(str(folder)):
    for _ in range(STEPS):
        result = step(start, *batch, key)
    jax.block_until_ready(result)
(trace,) = folder.rglob("*.trace.json.gz")
print(f"{trace.relative_to(folder).name}: {trace.stat().st_size / 1024:.0f} KiB")

# %% [markdown]
# Inside are events with names like `fusion.12`: the compiler has merged operations. The compiled program says where
# each came from, and jaxcnn's layers put their names there. So the events can be added up by layer, both ways:

# %%
program = step.lower(start, *batch, key).compile().as_text()
origin = dict(re.findall(r'^\s*(?:ROOT )?%?([\w.-]+) = (?:.*op_name="([^"]*)")?', program, re.MULTILINE))
names = [*layers.children, "other"]
times = {name: collections.Counter() for name in ("forward", "backward")}
for event in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]:
    operation = event.get("args", {}).get("hlo_op", event.get("name", ""))
    if event.get("ph") == "X" and operation in origin and not operation.startswith(("while", "call", "conditional")):
        path = origin[operation]  # a loop's own event is left out: what it runs has events too
        layer = next((name for name in names if re.search(rf"\b{name}\b", path)), "other")
        times["backward" if "transpose(" in path else "forward"][layer] += event["dur"] / 1e3 / STEPS

fig, axes = figure(1, 1, (6.4, 3.6))
ax = axes[0, 0]
left = np.zeros(len(names))
for (way, of_layers), color in zip(times.items(), (BLUE, ORANGE), strict=True):
    widths = np.array([of_layers[name] for name in names])
    ax.barh(names, widths, left=left, color=color, label=way)
    left += widths
ax.invert_yaxis()
ax.set(xlabel="time per step (ms, summed over threads)", title=f"A training step by layers, {len(batch[0])} images")
ax.legend()
display(fig)

# %% [markdown]
# "Other" is what belongs to no layer: the loss, the optimizer, copies, and what the compiler made without saying from
# what. What to look for in a trace:
#
# - **Gaps** in the device's row: it waits for Python or for data. Run more steps in a dispatch (`train.make_steps`),
#   put the data on the device.
# - **Copies and transposes** with large shares: layouts do not agree. On a GPU or TPU, channels in multiples of 128
#   (8 at least) fill the matrix unit.
# - **all-reduce** at the end of a step, with nothing beside it: the parts per device are too small.
# - **A compilation in the middle**: some shape has changed.
#
# ## Exercises
#
# 1. Repeat the table of precisions with `ops.conv(…, algorithm="patches")` on a CPU. Which of its rows change, and why?
# 2. Give `train.Policy` bfloat16 for `param` as well, and train ten epochs with a small learning rate. When does the
#    loss stop falling, and what has that to do with 1/256?
# 3. With `Conv(128, 3)` and `Conv(256, 3)` in the network, where does the curve of the batch sizes bend?
