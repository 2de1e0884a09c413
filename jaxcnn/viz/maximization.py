"""Pictures of the images that excite channels of a layer the most."""

from collections.abc import Sequence

import jax
from matplotlib.figure import Figure

from jaxcnn.inspect.maximization import maximized
from jaxcnn.layers import Layer
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.viz.style import draw_image, figure


def activation_maximization(
    model: Model | Layer,
    params: Tree,
    state: Tree,
    *,
    layer: str,
    channels: Sequence[int] = (0, 1, 2, 3),
    steps: int = 128,
    key: jax.Array,
    input_shape: tuple[int, int, int] | None = None,
) -> Figure:
    """The `inspect.maximal_input` of several channels, each with the mean that the channel reaches.

    Args:
      model, params, state, layer, steps, key, input_shape: as in `inspect.maximal_input`.
      channels: at least one.

    Returns:
      A figure with an axes per channel, at most eight in a row.

    Raises:
      ValueError, TypeError: as `inspect.maximal_input`; no channels.
    """
    op = "viz.activation_maximization"
    if not len(channels):
        raise ValueError(f"{op}: `channels` must not be empty")
    results = [maximized(op, model, params, state, layer, c, steps, key, input_shape) for c in channels]
    columns = min(8, len(results))
    rows = -(-len(results) // columns)
    fig, axes = figure(rows, columns, (2.0 * columns, 2.4 * rows + 0.2))
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, channel, (image, mean) in zip(axes.flat, channels, results, strict=False):
        draw_image(ax, image)
        ax.set_title(f"channel {channel}\nmean {float(mean):.3g}", fontsize="small")
    fig.suptitle(f"What excites {layer} most ({steps} steps)", fontsize="medium")
    return fig
