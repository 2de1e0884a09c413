"""The first lines of a notebook: versions, devices, and a hint if an accelerator is not used."""

import jax
import jaxlib

from jaxcnn import __version__
from jaxcnn.cli.accelerators import plugins, seen, unused


def about() -> str:
    """Versions and devices in one line and, if a GPU or TPU is not used, what to do about it in a second line.

    Returns:
      Text to print.

    Example:
        >>> print(about())
        jaxcnn ..., jax ..., on ... × ...
    """
    devices = jax.devices()
    here = f"jaxcnn {__version__}, jax {jax.__version__}, on {len(devices)} × {devices[0].device_kind}"
    idle = unused(devices[0].platform, seen(), plugins(), jaxlib.__version__)
    return f"{here}\nNote: {idle}" if idle else here
