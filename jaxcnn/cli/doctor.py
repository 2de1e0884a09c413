"""`jaxcnn doctor`: does jaxcnn work here?"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib

from jaxcnn import ops, textbook
from jaxcnn.cli.accelerators import plugins, seen, unused
from jaxcnn.cli.arguments import Parser
from jaxcnn.cli.exit_codes import DONE, FAILED
from jaxcnn.cli.faults import FAULTS
from jaxcnn.cli.terminal import wrapped
from jaxcnn.cli.wording import plural
from jaxcnn.train.run_folder import versions

HELP = "Say whether jaxcnn works here: versions, devices, results against the textbook's, known faults of jaxlib."
TOLERANCE = 1e-4
AROUND = "which jaxcnn's own functions go around, and your own code may meet"


def arguments(parser: Parser) -> None:
    """`doctor` has no flags."""


def command(given: Mapping[str, Any]) -> int:
    """Print a verdict and its reasons; 1 if jaxcnn itself computes wrongly."""
    about = versions()
    errors = {name: check() for name, check in CHECKS.items()}
    wrong = {name: error for name, error in errors.items() if not error < TOLERANCE}
    backend = jax.default_backend()
    idle = unused(backend, seen(), plugins(), jaxlib.__version__)
    if wrong:
        said = ", ".join(f"{name} off by {error:.1e}" for name, error in wrong.items())
        print(wrapped(f"jaxcnn computes WRONGLY here: {said} of the textbook's on {about['device']}"))
    elif idle:
        print(wrapped(f"jaxcnn works here, on the CPU alone: {idle}"))
    else:
        print(
            wrapped(f"jaxcnn works here: {', '.join(errors)} are the textbook's, gradients too, on {about['device']}")
        )
    for name, value in about.items():
        print(wrapped(f"{name:12} {value}"))
    print(wrapped(f"{'devices':12} {', '.join(str(device) for device in jax.devices())}"))
    for name, version in plugins().items():
        print(wrapped(f"{name:12} {version}"))
    for name, error in errors.items():
        right = "WRONG" if name in wrong else "right"
        print(wrapped(f"{name:12} {right}: against the textbook, value and gradients to {error:.1e}"))
    found = {fault: fault.found() for fault in FAULTS}
    here = {fault: what for fault, what in found.items() if what}
    if here:
        print(wrapped(f"{plural(len(here), 'fault')} of this jaxlib, {AROUND}:", ""))
    for fault, what in here.items():
        print(wrapped(f"{fault.name:12} {what}: {fault.about}", "  "))
    gone = ", ".join(fault.name for fault, what in found.items() if not what)
    if gone:
        print(wrapped(f"not here are the faults of other versions: {gone}"))
    return FAILED if wrong else DONE


def convolution_error() -> float:
    """The largest relative difference of `ops.conv` and `textbook.conv2d`, in value and both gradients."""
    keys = jax.random.split(jax.random.key(0), 3)
    x, w = jax.random.normal(keys[0], (4, 12, 12, 5)), jax.random.normal(keys[1], (3, 3, 5, 7))
    return _error(
        lambda x, w: ops.conv(x, w, padding="SAME"),
        lambda x, w: textbook.conv2d(x, w, padding="SAME"),
        x,
        w,
        key=keys[2],
    )


def pooling_error() -> float:
    """The largest relative difference of `ops.max_pool` and `textbook.max_pool2d`, in value and gradient."""
    keys = jax.random.split(jax.random.key(1), 2)
    x = jax.random.normal(keys[0], (4, 12, 12, 5))
    return _error(lambda x: ops.max_pool(x, 2), lambda x: textbook.max_pool2d(x, 2), x, key=keys[1])


CHECKS = {"convolution": convolution_error, "pooling": pooling_error}


def _error(fast: Callable, slow: Callable, *arguments: jax.Array, key: jax.Array) -> float:
    """The largest relative difference of two functions, in full precision: some devices use fewer bits by default."""
    with jax.default_matmul_precision("highest"):
        y, of_fast = jax.vjp(fast, *arguments)
        expected, of_slow = jax.vjp(slow, *arguments)
        dy = jax.random.normal(key, y.shape)
        pairs = zip((y, *of_fast(dy)), (expected, *of_slow(dy)), strict=True)
        return max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in pairs)
