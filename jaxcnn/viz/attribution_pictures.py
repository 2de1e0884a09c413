"""Pictures of the pixels that raise the score of a class: saliency, SmoothGrad, Grad-CAM."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxcnn.inspect import class_scores, grad_cam_map, saliency_map, smooth_grad_map
from jaxcnn.inspect.images import check_rank
from jaxcnn.layers import Layer
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.viz.style import SEQUENTIAL, draw_image, figure

HEAT = "inferno"  # over a photo: its bright end stands out, and its order is seen in gray as well


def saliency(
    model: Model | Layer,
    params: Tree,
    state: Tree,
    image: Any,
    *,
    target: int | None = None,
    classes: Sequence[str] | None = None,
) -> Figure:
    """The image beside its `inspect.saliency_map`.

    Args:
      model, params, state, image, target: as in `inspect.saliency_map`.
      classes: their names, for the title.

    Returns:
      A figure with two axes and a color bar, which ends at the 99th percentile of the map.

    Raises:
      ValueError, TypeError: as `inspect.saliency_map`.
    """
    check_rank("viz.saliency", model, instead=": `inspect.saliency_map` gives the numbers")
    target, name = _class("viz.saliency", model, params, state, image, target, classes)
    values = saliency_map(model, params, state, image, target=target)
    return _beside(image, values, f"Saliency for {name}")


def smooth_grad(
    model: Model | Layer,
    params: Tree,
    state: Tree,
    image: Any,
    *,
    target: int | None = None,
    noise: float = 0.15,
    samples: int = 32,
    key: jax.Array,
    classes: Sequence[str] | None = None,
) -> Figure:
    """The image beside its `inspect.smooth_grad_map`.

    Args:
      model, params, state, image, target, noise, samples, key: as in `inspect.smooth_grad_map`.
      classes: their names, for the title.

    Returns:
      A figure with two axes and a color bar, which ends at the 99th percentile of the map.

    Raises:
      ValueError, TypeError: as `inspect.smooth_grad_map`.
    """
    check_rank("viz.smooth_grad", model, instead=": `inspect.smooth_grad_map` gives the numbers")
    target, name = _class("viz.smooth_grad", model, params, state, image, target, classes)
    values = smooth_grad_map(model, params, state, image, target=target, noise=noise, samples=samples, key=key)
    return _beside(image, values, f"SmoothGrad for {name}: {samples} samples, noise {noise:.0%}")


def grad_cam(
    model: Model | Layer,
    params: Tree,
    state: Tree,
    image: Any,
    *,
    layer: str,
    target: int | None = None,
    classes: Sequence[str] | None = None,
) -> Figure:
    """The image, and beside it the image under its `inspect.grad_cam_map`, enlarged to the image's size.

    Args:
      model, params, state, image, layer, target: as in `inspect.grad_cam_map`.
      classes: their names, for the title.

    Returns:
      A figure with two axes and a color bar.

    Raises:
      ValueError, TypeError: as `inspect.grad_cam_map`.
    """
    check_rank("viz.grad_cam", model, instead=": `inspect.grad_cam_map` gives the numbers")
    target, name = _class("viz.grad_cam", model, params, state, image, target, classes)
    values = grad_cam_map(model, params, state, image, layer=layer, target=target)
    heat = np.asarray(jax.image.resize(values, np.shape(image)[:2], "linear"))
    heat = heat / (heat.max() or 1)  # 0 where no pixel raises the score
    fig, axes = figure(1, 2, (7.4, 3.7))
    left, right = axes[0]
    for ax in (left, right):
        draw_image(ax, image)
        ax.set_axis_off()
    drawn = right.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.8 * np.sqrt(heat))  # transparent where it is 0
    fig.colorbar(drawn, ax=right, label="part of the largest value", shrink=0.85, alpha=0.8)
    left.set_title("Image")
    right.set_title(f"{layer}, {values.shape[0]} × {values.shape[1]}")
    fig.suptitle(f"Grad-CAM for {name}")
    return fig


# ---------------------------------------------------------------------------------------------------------------------


def _class(op: str, model, params, state, image, target, classes) -> tuple[int, str]:
    """The class that is explained, and its name."""
    chosen = int(class_scores(model, params, state, image).argmax()) if target is None else target
    if classes is None:
        name = f"class {chosen}"
    elif 0 <= chosen < len(classes):
        name = str(classes[chosen])
    else:
        raise ValueError(f"{op}: `classes` must have a name for class {chosen}; got {len(classes)} names")
    return chosen, f"{name} (predicted)" if target is None else name


def _beside(image: Any, values: jax.Array, title: str) -> Figure:
    fig, axes = figure(1, 2, (7.4, 3.7))
    left, right = axes[0]
    draw_image(left, image)
    left.set_axis_off()
    # a few pixels are far above the rest; scaled to them, the rest would be dark
    drawn = right.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=np.percentile(values, 99) or 1)
    fig.colorbar(drawn, ax=right, label="|∂score / ∂intensity| (logits)", extend="max", shrink=0.85)
    right.set_axis_off()
    left.set_title("Image")
    right.set_title("How much a pixel moves the score")
    fig.suptitle(title)
    return fig
