"""Pictures of a training: curves, confusion, predictions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxcnn.train import History
from jaxcnn.viz.style import BLUE, GREEN, ORANGE, SEQUENTIAL, VERMILION, draw_image, figure


def curves(history: History) -> Figure:
    """Loss and accuracy over the epochs, of training and validation; only the loss if the history has no accuracy.

    Args:
      history: from `fit`, at least one epoch.

    Returns:
      A figure with two axes, or one.

    Raises:
      ValueError: an empty history.
    """
    if not len(history):
        raise ValueError("viz.curves: `history` must hold at least one epoch")
    units = (
        {"loss": "nats", "accuracy": "part of the images"}
        if "accuracy" in history.columns
        else {"loss": "in its own unit"}
    )
    fig, axes = figure(1, len(units), (4.5 * len(units), 3.6))
    for ax, (name, unit) in zip(axes[0], units.items(), strict=True):
        marker = "." if len(history) > 1 else "o"
        ax.plot(history["epoch"], history[name], color=BLUE, marker=marker, label="training")
        if f"validation_{name}" in history.columns:
            ax.plot(history["epoch"], history[f"validation_{name}"], color=ORANGE, marker=marker, label="validation")
        ax.set(title=name.capitalize(), xlabel="epoch", ylabel=f"{name} ({unit})")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(history) == 1:
            only = int(history["epoch"][0])
            ax.set(xlim=(only - 1, only + 1), xticks=[only], xlabel="epoch; a line needs more than this one")
        ax.legend()
    return fig


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """A confusion matrix: rows are the true classes, columns the predicted ones; the color is the share of the row.

    Args:
      matrix: counts `(classes, classes)`, from `jaxcnn.train.metrics.confusion_matrix`.
      classes: their names.

    Returns:
      A figure with one axes and its color bar.

    Raises:
      ValueError: a matrix that is not square or does not fit the names.
    """
    matrix = np.asarray(matrix)
    n = len(classes)
    if matrix.shape != (n, n):
        raise ValueError(f"viz.confusion: `matrix` must be ({n}, {n}) for {n} classes; got {matrix.shape}")
    part = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = max(3.6, 0.5 * n + 1.6)
    fig, axes = figure(1, 1, (side + 1, side))
    ax = axes[0, 0]
    ax.grid(False)
    image = ax.imshow(part, cmap=SEQUENTIAL, vmin=0, vmax=1)
    fig.colorbar(image, ax=ax, label="part of the true class")
    for row, column in np.ndindex(matrix.shape):
        if matrix[row, column]:
            dark = part[row, column] < 0.5
            text = f"{matrix[row, column]:,}"
            ax.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize="small")
    right = np.trace(matrix)
    ax.set(title=f"{right:,} of {matrix.sum():,} right", xlabel="predicted", ylabel="true")
    long = max(map(len, classes)) > 2
    ax.set_xticks(range(n), classes, rotation=45 if long else 0, ha="right" if long else "center")
    ax.set_yticks(range(n), classes)
    return fig


def samples(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], *, most: int = 24
) -> Figure:
    """Images with true:predicted labels. A wrong prediction is in orange, with its probability.

    Args:
      images: `(N, H, W, C)`, uint8 or 0 to 1, one or three channels.
      labels: integers `(N,)`.
      probabilities: `(N, classes)`, from `predict`.
      classes: their names.
      most: how many images are drawn: mistakes first, in up to half of the places, then the first that are right.

    Returns:
      A figure with one axes per image.

    Raises:
      ValueError: arrays of different lengths, or no images.
    """
    images, labels, probabilities = np.asarray(images), np.asarray(labels), np.asarray(probabilities)
    if images.ndim != 4:
        raise ValueError(f"viz.samples: `images` must be 2-D, (N, H, W, C); got {images.shape}")
    if not len(images) or not len(images) == len(labels) == len(probabilities):
        raise ValueError(
            "viz.samples: `images`, `labels` and `probabilities` must have one length, at least 1; "
            f"got {len(images)}, {len(labels)} and {len(probabilities)}"
        )
    predicted = probabilities.argmax(axis=-1)
    wrong, right = np.flatnonzero(predicted != labels), np.flatnonzero(predicted == labels)
    shown = np.concatenate([wrong[: max(most // 2, most - len(right))], right])[:most]
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    fig, axes = figure(rows, columns, (1.3 * columns, 1.6 * rows + 0.4))
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, i in zip(axes.flat, shown, strict=False):
        draw_image(ax, images[i])
        ok = predicted[i] == labels[i]
        says = "" if ok else f"\n{probabilities[i, predicted[i]]:.0%}"
        title = f"{classes[labels[i]]}:{classes[predicted[i]]}{says}"
        ax.set_title(title, fontsize="small", color=GREEN if ok else VERMILION)
    mistakes = " In red, with the probability that the prediction was given: mistakes." if len(wrong) else ""
    fig.suptitle(
        f"true class:predicted class. {len(wrong):,} of {len(images):,} wrong.{mistakes}", fontsize="medium", wrap=True
    )
    return fig
