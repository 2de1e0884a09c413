"""What a notebook says first: versions, devices, and an accelerator that waits in vain."""

import jax
import jaxlib

from jaxcnn import __version__
from jaxcnn.cli.accelerators import plugins, seen, unused


def about() -> str:
    """Versions and devices in one line; in a second, where a GPU or TPU is there and JAX does not use it, what to do.

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
