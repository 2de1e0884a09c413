"""Pictures of a network's filters, and of its feature maps for an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcnn.inspect.images import image_of
from jaxcnn.layers import Layer, walk
from jaxcnn.layers.given import layer_of
from jaxcnn.layers.layer import Tree
from jaxcnn.layers.roles import AFFINE
from jaxcnn.layers.walk import Place, leaves, shapes
from jaxcnn.models import Model
from jaxcnn.viz.style import BLUE, SEQUENTIAL, figure

SIGNED = "PuOr"  # orange below zero, violet above: told apart by color-blind people


def filters(kernel: Any, *, most: int = 64, title: str = "Learned filters") -> Figure:
    """The filters of a convolution as small images, all on one scale around 0.

    Args:
      kernel: (kh, kw, C_in, C_out). Filters on three channels are drawn in red, green and blue, with gray for 0 (for a
        network that takes BGR, give `kernel[:, :, ::-1]`). Filters on one channel are colored by sign. Filters on
        another number of channels have a row each, with their first channels as columns.
      most: how many images are drawn at most.
      title: the title above the images.

    Returns:
      A figure with an axes for each image, and a color bar unless they are in color.

    Raises:
      ValueError: another shape; a `most` below 1.

    Example:
      >>> figure = filters(np.ones((5, 5, 1, 6)))
      >>> [ax.get_title() for ax in figure.axes[:6]]
      ['0', '1', '2', '3', '4', '5']
    """
    kernel = np.asarray(kernel, float)
    if kernel.ndim in (3, 5) and kernel.size:
        raise ValueError(
            f"viz.filters: `kernel` must be 2-D, (kh, kw, C_in, C_out); got a {kernel.ndim - 2}-D one, {kernel.shape}"
        )
    if kernel.ndim != 4 or not kernel.size:
        raise ValueError(f"viz.filters: `kernel` must be (kh, kw, C_in, C_out); got {kernel.shape}")
    if most < 1:
        raise ValueError(f"viz.filters: `most` must be at least 1; got {most}")
    channels, outputs = kernel.shape[2:]
    top = float(np.abs(kernel).max()) or 1.0
    per_filter = 1 if channels in (1, 3) else channels
    columns = min(8, most, per_filter if per_filter > 1 else outputs)
    shown = min(outputs, most if per_filter == 1 else most // columns)
    rows = -(-shown // columns) if per_filter == 1 else shown
    fig, axes = figure(rows, columns, (1.0 * columns + 1.6, 1.15 * rows + 0.9))
    image = None
    for place, ax in enumerate(axes.flat):
        row, column = divmod(place, columns)
        which, channel = (place, 0) if per_filter == 1 else (row, column)
        if which >= shown:
            ax.set_axis_off()
        elif channels == 3:
            _draw(ax, 0.5 + kernel[..., which] / (2 * top))
        else:
            image = _draw(ax, kernel[:, :, channel, which], cmap=SIGNED, vmin=-top, vmax=top)
        if per_filter == 1:
            ax.set_title(str(place) if place < shown else "", fontsize="small")
        else:
            ax.set_title(f"channel {channel}" if row == 0 else "", fontsize="small")
            if column == 0:
                ax.set_ylabel(f"filter {which}", fontsize="small")
    if image is not None:
        fig.colorbar(image, ax=axes, label="weight", shrink=min(1.0, 2.5 / (1.15 * rows)))
    parts = [title]
    if shown < outputs:
        parts.append(f"{shown} of {outputs} filters")
    if columns < per_filter:
        parts.append(f"{columns} of {channels} channels")
    if channels == 3:
        parts.append("gray is 0")
    fig.suptitle(", ".join(parts), fontsize="large")
    return fig


def feature_maps(
    model: Model | Layer,
    params: Tree,
    state: Tree,
    image: Any,
    *,
    layers: Sequence[str] | None = None,
    most: int = 12,
) -> Figure:
    """The first channels of the outputs of layers for an image, a row for each layer.

    Args:
      model, params, state: a `Model` or a `Layer`, and its own.
      image: (H, W, C), or a signal (L, C) that is drawn as lines, as the network takes it: uint8 (taken as 0 to 1) or
        floating. To show a photo as it is, not as
        published weights want it, put their preprocessing first: `serial(first=stateless("preprocessing",
        about.preprocessing), net=model.layer)` with params `{"net": params}`.
      layers: paths, as in `models.features`; by default all convolutions and pools.
      most: how many channels of each layer are drawn at most.

    Returns:
      A figure with an axes per channel and one for the image. The channels of a row are drawn on one scale, and the
      row's label has their least and largest value.

    Raises:
      ValueError: an image or layers that do not fit, a `most` below 1. TypeError: neither a Model nor a Layer.
    """
    whole = layer_of("viz.feature_maps", model)
    image = np.asarray(image_of("viz.feature_maps", model, image, ranks=(1, 2)))
    if most < 1:
        raise ValueError(f"viz.feature_maps: `most` must be at least 1; got {most}")
    if layers is None:
        roles = _roles(whole, params, state, image)
        layers = [path for path, role in roles.items() if role in ("convolution", "pool")]
        if not layers:
            raise ValueError("viz.feature_maps: `model` has no convolution or pool; name the `layers`")
    if not layers:
        raise ValueError("viz.feature_maps: `layers` must name at least one")
    maps = _outputs("feature_maps", whole, params, state, image, layers)
    for path, values in maps.items():
        if values.ndim != image.ndim:
            maps_are = "maps (H, W, C)" if image.ndim == 3 else "signals (L, C)"
            raise ValueError(
                f"viz.feature_maps: `layers` must give {maps_are}; {path!r} gives {values.shape}, without "
                f"{'rows and columns' if image.ndim == 3 else 'positions'}"
            )
    columns = min(most, max(values.shape[-1] for values in maps.values()))
    fig, axes = figure(len(maps) + 1, columns, (1.05 * columns + 2.0, 1.2 * (len(maps) + 1) + 0.5))
    for ax in axes.flat:
        ax.set_axis_off()
    signal = image.ndim == 2
    if signal:
        _draw_signal(axes[0, 0], image)
    else:
        _draw(axes[0, 0], _as_picture(image))
    _label(axes[0, 0], "signal\n" * signal + "image\n" * (not signal) + " × ".join(map(str, image.shape[:-1])))
    for row, (path, values) in zip(axes[1:], maps.items(), strict=True):
        drawn = values[..., :columns]
        scale = _scale(drawn)
        for channel, ax in zip(range(drawn.shape[-1]), row, strict=False):
            if signal:
                _draw_signal(ax, drawn[:, channel], ylim=(drawn.min(), drawn.max()))
            else:
                _draw(ax, drawn[..., channel], **scale)
            ax.set_title(str(channel), fontsize="small", pad=2)
        size = " × ".join(map(str, values.shape))
        _label(row[0], f"{path}\n{size}\n{_number(drawn.min())} to {_number(drawn.max())}")
    meaning = "" if signal else "; 0 is dark, or white between orange (−) and violet (+)"
    fig.suptitle(f"Feature maps by channel, a row on one scale{meaning}", fontsize="large")
    return fig


def filter_path(
    model: Model | Layer,
    params: Tree,
    state: Tree,
    image: Any,
    *,
    channel: int = 0,
    conv: str | None = None,
    pool: str | None = None,
) -> Figure:
    """One filter's path in three panels: the image, the output of the convolution, the output of the pool.

    The second panel shows the convolution's output after the layers before the pool (batch norm, ReLU), which its title
    names.

    Args:
      model, params, state, image: as in `feature_maps`.
      channel: the filter, from 0.
      conv: the path of a convolution; by default the last one before the pool.
      pool: the path of a pool; by default the first one after the convolution, or of all.

    Returns:
      A figure with three axes and two color bars, of one scale.

    Raises:
      ValueError: no such convolution followed by a pool, another convolution between them, a channel that is not there,
        an image that does not fit. TypeError: neither a Model nor a Layer.
    """
    whole = layer_of("viz.filter_path", model)
    image = np.asarray(image_of("viz.filter_path", model, image))
    roles = _roles(whole, params, state, image)
    order = list(roles)
    conv, pool = _ends("filter_path", roles, conv, pool)
    between = order[order.index(conv) : order.index(pool)]
    maps = _outputs("filter_path", whole, params, state, image, [between[-1], pool])
    if not 0 <= channel < maps[pool].shape[-1]:
        raise ValueError(
            f"viz.filter_path: `channel` must be one of the {maps[pool].shape[-1]} filters of {conv!r}, from 0; got "
            f"{channel}"
        )
    fig, axes = figure(1, 3, (11, 3.8))
    _draw(axes[0, 0], _as_picture(image))
    axes[0, 0].set(title="image", xlabel=f"{image.shape[0]} × {image.shape[1]} pixels")
    panels = zip(axes[0, 1:], (between[-1], pool), (" → ".join(between), pool), strict=True)
    scale = _scale(np.concatenate([values[..., channel].ravel() for values in maps.values()]))
    for ax, path, title in panels:
        values = maps[path][..., channel]
        drawn = _draw(ax, values, **scale)
        ax.set(title=f"after {title}", xlabel=f"{values.shape[0]} × {values.shape[1]} values")
        fig.colorbar(drawn, ax=ax, label="activation", shrink=0.8)
    fig.suptitle(f"The path of filter {channel} of {conv}", fontsize="large")
    return fig


# ---------------------------------------------------------------------------------------------------------------------


def _roles(whole: Layer, params: Tree, state: Tree, image: np.ndarray) -> dict[str, str]:
    """The role of each layer that is made of no others, but for those of training only; a global pool's is "other"."""
    reached = shapes(whole, image.shape, params, state)
    roles = {}
    for place in leaves(whole):
        if place.path and not place.training_only:
            gives_map = len(reached[place.path].output) == image.ndim
            roles[place.path] = str(place.layer.role) if gives_map or place.layer.role != "pool" else "other"
    return roles


def _ends(op: str, roles: Mapping[str, str], conv: str | None, pool: str | None) -> tuple[str, str]:
    """The convolution and the pool, those not given found: nothing else with filters lies between them."""
    order = list(roles)
    for argument, path, wanted in (("conv", conv, "convolution"), ("pool", pool, "pool")):
        there = [each for each, role in roles.items() if role == wanted]
        if path not in (None, *there):
            raise ValueError(f"viz.{op}: `{argument}` must be one of {', '.join(there) or 'none'}; got {path!r}")
    start = order.index(conv) if conv else -1
    pools = [pool] if pool else [path for path in order[start + 1 :] if roles[path] == "pool"]
    for end in pools[:1]:
        before = order[: order.index(end)]
        with_filters = [path for path in before if roles[path] in AFFINE]
        if with_filters and roles[with_filters[-1]] != "dense" and conv in (None, with_filters[-1]):
            return with_filters[-1], end
    raise ValueError(
        f"viz.{op}: `conv` and `pool` must be a convolution and a pool after it, with no other convolution between "
        f"them; got {conv!r} and {pool!r} of {', '.join(order)}"
    )


def _outputs(
    op: str, layer: Layer, params: Tree, state: Tree, image: np.ndarray, paths: Sequence[str]
) -> dict[str, np.ndarray]:
    """The outputs of layers for an image, without the batch axis, all from one pass."""

    def holds(place: Place) -> bool:
        """Whether what is asked for lies inside of the layer."""
        return any(path != place.path and path.startswith(f"{place.path}/" * bool(place.path)) for path in paths)

    def applied(place: Place, x: jax.Array, *_: Any) -> jax.Array:
        return place.layer.apply(place.params, place.state, x)[0]  # what is computed twice so, XLA computes once

    @jax.jit
    def run(params, state, x):
        found: dict[str, jax.Array] = {}

        def note(place: Place, value: jax.Array) -> None:
            if place.path in paths:
                found[place.path] = value

        network = walk.whole(layer, params, state)
        walk.flow(network, x, applied, applied, lambda place: not holds(place), note)
        return found

    found = run(params, state, image[None])
    for path in paths:
        if path not in found:
            raise ValueError(f"viz.{op}: `layers` must name layers of the model; there is no {path!r}")
    return {path: np.asarray(found[path][0], np.float32) for path in paths}


def _draw(ax: Axes, values: np.ndarray, **options: Any) -> Any:
    ax.set_axis_on()
    ax.grid(False)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax.imshow(values, **options)


def _draw_signal(ax: Axes, values: np.ndarray, *, ylim: tuple[float, float] | None = None) -> None:
    """Lines over positions, with 0 in gray."""
    ax.set_axis_on()
    ax.grid(False)
    ax.set(xticks=[], yticks=[])
    ax.axhline(0, color="#AAAAAA", linewidth=0.6)
    ax.plot(values, linewidth=0.8, color=BLUE if values.ndim == 1 or values.shape[-1] == 1 else None)
    if ylim and ylim[0] < ylim[1]:
        margin = 0.05 * (ylim[1] - ylim[0])
        ax.set_ylim(ylim[0] - margin, ylim[1] + margin)


def _scale(values: np.ndarray) -> dict[str, Any]:
    """Colors in which 0 is always the same."""
    size = np.abs(values)
    top = float(np.percentile(size, 99.5) or size.max()) or 1.0  # not what a few outliers need
    signed = values.min() < 0
    return {"cmap": SIGNED if signed else SEQUENTIAL, "vmin": -top if signed else 0, "vmax": top}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def _label(ax: Axes, text: str) -> None:
    ax.set_ylabel(text, rotation=0, ha="right", va="center", fontsize="small")


def _as_picture(image: np.ndarray) -> np.ndarray:
    """Values for imshow: what a network was given beyond 0 to 1 is stretched to that."""
    low, high = min(float(image.min()), 0.0), max(float(image.max()), 1.0)
    scaled = (image - low) / (high - low)
    return scaled if image.shape[-1] == 3 else scaled.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
