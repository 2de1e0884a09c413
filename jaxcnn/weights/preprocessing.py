"""How images are prepared for a published network, whose weights mean nothing without this preparation."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Preprocessing:
    """The preparation of images for a network: they are resized and cropped, and then normalized.

        y = (pixel · scale − mean) / std

    It is a pure function of arrays: `jaxcnn.layers.stateless("preprocessing", preprocessing)` makes it the first layer
    of a network. That network then takes plain images, and a file of its weights says how they are prepared.

    Args:
      size: (height, width) of the network's input.
      resize: the length to which the shorter side is brought before the middle is cropped to `size`; with None, images
        are resized to `size` itself, whatever their aspect ratio.
      channels: the order of the network's channels; images are always given as RGB.
      scale: the factor on pixels, which go from 0 to 255.
      mean, std: one value per channel, in the order of the network's channels, on the scale after `scale`.

    Raises:
      TypeError: values that are not finite numbers, or a `resize` that is no int.
      ValueError: a size below 1, a `resize` smaller than the crop, an unknown order of channels, or not three means and
        three positive stds.

    Example:
      >>> images = jnp.full((1, 300, 400, 3), 128, jnp.uint8)
      >>> x = Preprocessing((224, 224), resize=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(images)
      >>> x.shape, round(float(x.max()), 4)
      ((1, 224, 224, 3), 0.0039)
    """

    size: tuple[int, int]
    resize: int | None = None
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        numbers = {"size": self.size, "mean": self.mean, "std": self.std, "scale": (self.scale,)}
        for name, values in numbers.items():
            if isinstance(values, str) or not hasattr(values, "__len__") or not all(map(_is_number, values)):
                raise TypeError(f"Preprocessing: `{name}` must hold finite numbers; got {getattr(self, name)!r}")
        if not all(map(_is_whole, self.size)):
            raise TypeError(f"Preprocessing: `size` must hold ints; got {self.size!r}")
        if self.resize is not None and not _is_whole(self.resize):
            raise TypeError(f"Preprocessing: `resize` must be an int or None; got {self.resize!r}")
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"Preprocessing: `size` must be (height, width), both positive; got {self.size}")
        if self.resize is not None and self.resize < max(self.size):
            raise ValueError(f"Preprocessing: `resize` ({self.resize}) must cover the crop of {self.size}")
        if self.channels not in ("RGB", "BGR"):
            raise ValueError(f"Preprocessing: `channels` must be 'RGB' or 'BGR'; got {self.channels!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"Preprocessing: `mean` and `std` must have a value for each of three channels, std positive; got "
                f"{self.mean} and {self.std}"
            )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Prepare images.

        Args:
          images: (N, H, W, 3), RGB; uint8 from 0 to 255, or floating from 0 to 1.

        Returns:
          The network's input (N, *size, 3), float32.

        Raises:
          TypeError: the images have another dtype. ValueError: the images have another shape.
        """
        floating = jnp.issubdtype(images.dtype, jnp.floating)
        if not floating and images.dtype != jnp.uint8:
            raise TypeError(f"Preprocessing: `images` must be uint8, 0 to 255, or floating, 0 to 1; got {images.dtype}")
        if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape[1:]:
            raise ValueError(f"Preprocessing: `images` must be (N, H, W, 3); got {images.shape}")
        x = self._cropped(jnp.asarray(images, jnp.float32) * (255 if floating else 1))
        if self.channels == "BGR":
            x = x[..., ::-1]
        return (x * self.scale - jnp.asarray(self.mean)) / jnp.asarray(self.std)

    def _cropped(self, x: jax.Array) -> jax.Array:
        (n, *sides, channels), size = x.shape, tuple(self.size)
        resized = size if self.resize is None else tuple(self.resize * side // min(sides) for side in sides)
        if resized != tuple(sides):
            # Bilinear, averaging where it shrinks, as Pillow does; but Pillow rounds to whole pixel values.
            x = jax.image.resize(x, (n, *resized, channels), "linear", antialias=True)
        top, left = (round((whole - part) / 2) for whole, part in zip(resized, size, strict=True))
        return x[:, top : top + size[0], left : left + size[1]]

    def to_json(self) -> dict[str, Any]:
        """The settings as a dict of plain values, for the metadata of a file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The `Preprocessing` of a dict from `to_json`, tuples or lists in it; else TypeError or ValueError."""
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}
        return cls(**plain)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__float__") and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and hasattr(value, "__index__")
