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
# # 3. Digits
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxcnn/jaxcnn/blob/main/notebooks/3_digits.ipynb)
#
# You train a network from zero on real handwriting, look inside it, see its mistakes, save it, and show it a digit of
# your own.

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
from pathlib import Path

import jax
import numpy as np
import optax
from IPython.display import display
from PIL import Image, ImageDraw, ImageOps

import jaxcnn
from jaxcnn import data, models, train, viz, weights

SMALL = "JAXCNN_SMALL" in os.environ  # the tests run notebooks at small size

# %% [markdown]
# ## The images
#
# 1,797 digits, written by 13 people on forms, scanned, and reduced to 8×8 pixels. They come with scikit-learn, so
# nothing is downloaded. A fifth of them is the *test* set: the network is judged by it at the end, and must not see
# it before. A tenth of the rest is set aside to watch the training by (*validation*).

# %%
splits = data.load("digits")
training, validation = data.split(splits.train, 0.1)
test = splits.test
if SMALL:
    training, validation, test = training[:256], validation[:64], test[:96]
print(training, validation, test, sep="\n")

# %%
ROWS = 4
fig, axes = viz.style.figure(ROWS, 10, (9, ROWS * 0.95 + 0.3))
for digit, column in enumerate(axes.T):
    for ax, image in zip(column, training.images[training.labels == digit][:ROWS], strict=True):
        ax.imshow(image[..., 0], cmap="gray")
        ax.set_axis_off()
    column[0].set_title(training.classes[digit])
display(fig)

# %% [markdown]
# ## The network
#
# Three convolutions find strokes, corners and bows; a pool in between lets go of where exactly they are (notebook 1);
# two dense layers weigh the findings. The last layer has ten outputs, one for each digit, called *logits*.

# %%
model = models.create("digits_cnn")
print(jaxcnn.summary(model))

# %%
viz.architecture(model)

# %% [markdown]
# ## Before training
#
# The parameters start as small random numbers. So the network knows nothing, and should do no better than someone who
# draws lots: one in ten right, and a loss of $\ln 10 \approx 2.3$ (the loss is $-\ln p$, where $p$ is the probability
# that was given to the right answer).

# %%
fresh = train.TrainState(*model.init(jax.random.key(0)), loss=model.loss)
print("by lot:          ", {"loss": round(float(np.log(10)), 3), "accuracy": 0.1})
print("before training: ", {k: round(v, 3) for k, v in train.evaluate(model, fresh, test, batch_size=128).items()})

# %% [markdown]
# ## Training
#
# Each step takes 32 images, computes the loss, differentiates it by all 160,554 parameters (notebook 2), and moves
# them a little downhill. AdamW decides how far, and the learning rate first rises, then falls to zero. Every time an
# image is used it is shifted by up to one pixel, at random, so that no two epochs see the same pixels.

# %%
EPOCHS, BATCH_SIZE = 2 if SMALL else 30, 32
steps = EPOCHS * -(-len(training) // BATCH_SIZE)
train_state, history = train.fit(
    model,
    training,
    validation=validation,
    epochs=EPOCHS,
    batch_size=BATCH_SIZE,
    optimizer=optax.adamw(optax.cosine_onecycle_schedule(steps, 2e-3), weight_decay=1e-2),
    augment=data.augment.shift(1),
)

# %% [markdown]
# For many epochs the network does better in validation than in training, which may surprise. While it trains, it has
# to work with shifted images and with a part of its units switched off (dropout). In validation it has neither.

# %%
viz.curves(history)

# %% [markdown]
# ## The test
#
# Now the images it has never met. With so few of them the result is a bit of luck too: one mistake more or less moves
# the accuracy by a whole image, and the same training from other random numbers makes other mistakes.

# %%
probabilities = train.predict(model, train_state, test.images, batch_size=128)  # (images, 10)
predicted = probabilities.argmax(axis=1)
accuracy = np.mean(predicted == test.labels)
print(f"{accuracy:.2%} of {len(test)} test images right; one image is {1 / len(test):.2%}")
print(f"standard error {(accuracy * (1 - accuracy) / len(test)) ** 0.5:.2%}")

# %%
viz.confusion(train.metrics.confusion_matrix(predicted, test.labels, model.num_classes), test.classes)

# %% [markdown]
# What do the mistakes look like? They stand first, in orange, as *true:predicted*, with how sure the network was. Would
# you have read them?

# %%
viz.samples(test.images, test.labels, probabilities, test.classes, most=16)

# %% [markdown]
# A network that is wrong can at least be unsure. Are the mistakes among its least certain answers?

# %%
certainty = probabilities.max(axis=1)
least = np.argsort(certainty)[: len(test) // 10]
wrong = predicted != test.labels
print(f"certainty: median {np.median(certainty):.1%}, of the mistakes {np.round(certainty[wrong][:8], 2)}")
print(f"{wrong[least].sum()} of {wrong.sum()} mistakes are among the {len(least)} least certain answers")

# %% [markdown]
# ## Look inside
#
# **The filters** of the first layer: 32 windows of 3×3. Nobody told them what to look for.

# %%
viz.filters(train_state.params["conv1"]["kernel"])

# %% [markdown]
# **What they find.** The first twelve channels of each convolution and pool, for one image. Early maps look like the
# digit, seen through the filter. Later ones are coarse: they say that something is there, and roughly where.

# %%
image = test.images[int(np.argmax(test.labels == 3))]
viz.feature_maps(model, train_state.params, train_state.state, image)

# %% [markdown]
# **The path of one filter**: image, convolution, pool.

# %%
viz.filter_path(model, train_state.params, train_state.state, image)

# %% [markdown]
# **What counted.** The gradient of the winning logit by the pixels, the same derivative that trains the network,
# taken one step further, down to the image: where would a little more ink change the answer most?

# %%
viz.saliency(model, train_state.params, train_state.state, image)

# %% [markdown]
# ## Save and load
#
# The parameters go into a `.safetensors` file, and beside it a small text file says which model they belong to. So
# one line loads both, and the loaded network answers the same, bit for bit.

# %%
path = Path("digits.safetensors")
weights.save(path, model, train_state.params, train_state.state, classes=test.classes)
print(f"{path}: {path.stat().st_size:,} bytes = {model.name}, 4 bytes for each of 160,554 parameters, and a header")

loaded, params, state, about = weights.load_model(path)
again = train.predict(loaded, train.TrainState(params, state, loss=about["loss"]), test.images, batch_size=128)
print("the same probabilities:", np.array_equal(again, probabilities))

# %% [markdown]
# ## A digit of your own
#
# Draw one: `#` is ink, `+` is half as much. Change it and run the cell again.

# %%
DRAWING = """
..####..
.##..##.
.....##.
...###..
.....##.
......#+
.#...##.
..####..
"""


def from_text(drawing):
    """(8, 8, 1), 0 to 1."""
    ink = {".": 0.0, "+": 0.5, "#": 1.0}
    return np.array([[ink[sign] for sign in line] for line in drawing.split()], np.float32)[..., None]


@jax.jit
def probabilities_of(image):
    """A model is a function of parameters, state and images: here of one image."""
    logits, _ = model.apply(train_state.params, train_state.state, image[None])
    return jax.nn.softmax(logits[0])


def ask(image):
    """The image, and what the network makes of it."""
    answer = probabilities_of(image)
    fig, axes = viz.style.figure(1, 2, (7, 2.6), width_ratios=[1, 2])
    axes[0, 0].imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    axes[0, 0].set_axis_off()
    axes[0, 1].bar(test.classes, answer, color=viz.style.BLUE)
    axes[0, 1].set(title=f"a {test.classes[answer.argmax()]}, {answer.max():.1%} sure")
    axes[0, 1].set(xlabel="digit", ylabel="probability", ylim=(0, 1))
    return fig


ask(from_text(DRAWING))

# %% [markdown]
# ### From an image file
#
# A network only knows what its training images look like: white ink on black, and the digit fills the frame from top
# to bottom. A photo of your handwriting is none of this, so it has to be brought into that form: gray, turned to
# white on black, cut out, and averaged down to 8×8. To have a file at all, the next cell paints a 7 of 200×200
# pixels, in blue ink on white paper. Put the name of your own file in its place (in Colab, upload it by the folder
# symbol on the left).


# %%
def from_file(path):
    """(8, 8, 1), 0 to 1, from a picture of one digit on even ground."""
    gray = Image.fromarray(data.read_image(path, (None, None, 1))[..., 0])  # upright, as the phone held it
    pixels = np.asarray(gray, np.float32)
    if np.median(pixels) > 127:  # dark ink on bright paper
        gray = ImageOps.invert(gray)
    gray = ImageOps.autocontrast(gray)
    inked = gray.point(lambda value: 255 * (value > 96)).getbbox()
    left, top, right, bottom = inked
    side = max(right - left, bottom - top)
    square = Image.new("L", (side, side))
    square.paste(gray.crop(inked), ((side - (right - left)) // 2, (side - (bottom - top)) // 2))
    small = square.resize((8, 8), Image.Resampling.BOX)  # averages
    return np.asarray(small, np.float32)[..., None] / 255


paper = Image.new("RGB", (200, 200), "white")
ImageDraw.Draw(paper).line([(62, 45), (140, 45), (95, 160)], fill=(20, 40, 140), width=16, joint="curve")
ImageDraw.Draw(paper).line([(88, 102), (136, 102)], fill=(20, 40, 140), width=14)
paper.save("my_digit.png")

own = from_file("my_digit.png")
display(paper, ask(own))

# %% [markdown]
# And what did it look at?

# %%
viz.saliency(model, train_state.params, train_state.state, own)

# %% [markdown]
# ## Exercises
#
# 1. Move the drawn digit by one and by two pixels to each side (`np.roll`) and ask again. When does the answer break?
#    Train with `data.augment.shift(2)` and see whether it helps.
# 2. Take the pool out: build the network by `layers.serial(…)` without it, wrap it as
#    `models.Model(name, layer, input_shape, num_classes)`, and train it with the seeds 0, 1 and 2. How many
#    parameters are there now? Is the difference in accuracy larger than that between the seeds?
# 3. Choose one random order of the 64 pixels and apply it to all images, training and test. Train again. What happens
#    to the accuracy, and what would have happened to a network of dense layers alone?
