"""A training step of the CIFAR-10 network: jaxcnn against the same network on XLA's convolution and pooling.

Attains: one step 232 ms against 496 (ratio 0.47); two steps in a scan 422 ms against 10,719 (0.04).
Measured: 2 virtual cores of an AMD EPYC (AVX-512), Python 3.11.7, jax 0.10.2.
Command: python experiments/training_step.py

Both networks have the same parameters, layers and optimizer (Adam, batch 128, no dropout) and run in one process, turn
by turn (A B A B); a figure is the median of the rounds after one that is not counted, compilation apart. Each is timed
as a jitted step and as two steps inside `lax.scan`, where XLA:CPU compiles its convolution naively.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax import lax

from jaxcnn import models
from jaxcnn.train.run_folder import versions
from jaxcnn.weights.files import write_json

PADDINGS = {"conv1": "SAME", "conv2": "VALID", "conv3": "SAME", "conv4": "VALID"}


@dataclasses.dataclass(frozen=True)
class Config:
    """What is timed."""

    batch_size: int = 128
    """Images per step."""
    rounds: int = 7
    """How often each program is timed."""
    scan_rounds: int = 3
    """The same for the scans: one of XLA's convolution takes ten seconds or more."""
    result: Path | None = None
    """Where the figures are written as JSON."""


def lax_apply(params: dict, x: jax.Array) -> jax.Array:
    """The network on lax.conv_general_dilated and lax.reduce_window, with jaxcnn's parameters."""
    for name, padding in PADDINGS.items():
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        x = lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + bias)
        if name in ("conv2", "conv4"):
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = x.reshape(len(x), -1)
    x = jax.nn.relu(x @ params["dense1"]["kernel"] + params["dense1"]["bias"])
    return x @ params["dense2"]["kernel"] + params["dense2"]["bias"]


def make_step(apply: Callable, optimizer: optax.GradientTransformation) -> Callable:
    """A training step `((params, opt_state), (x, labels)) -> ((params, opt_state), loss)`."""

    def step(carry, batch):
        params, opt_state = carry
        x, labels = batch

        def loss(params):
            return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), labels).mean()

        value, gradients = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    return step


def main(config: Config) -> None:
    """Time the four programs and print the medians and ratios."""
    model = models.create("cifar10_cnn", dropout=False)
    params, _ = model.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1))
    x = jax.random.uniform(keys[0], (config.batch_size, *model.input_shape))
    labels = jax.random.randint(keys[1], (config.batch_size,), 0, model.num_classes)
    optimizer = optax.adam(1e-3)
    carry = params, optimizer.init(params)
    two = jax.tree.map(lambda a: jnp.stack([a, a]), (x, labels))

    networks = {"jaxcnn": lambda p, x: model.apply(p, {}, x)[0], "lax": lax_apply}
    logits = [jax.jit(apply)(params, x) for apply in networks.values()]
    print(f"largest difference of the logits: {float(jnp.abs(logits[0] - logits[1]).max()):.1e}")

    programs, compile_s = {}, {}
    for name, apply in networks.items():
        step = make_step(apply, optimizer)
        for place, function, batch in (
            ("jit", step, (x, labels)),
            ("scan", lambda carry, batches, step=step: lax.scan(step, carry, batches), two),
        ):
            start = time.perf_counter()
            programs[name, place] = jax.jit(function).lower(carry, batch).compile(), batch
            compile_s[f"{name} {place}"] = round(time.perf_counter() - start, 2)

    times: dict[tuple[str, str], list[float]] = {program: [] for program in programs}
    for place, rounds in (("jit", config.rounds), ("scan", config.scan_rounds)):
        for _ in range(rounds + 1):
            for name in networks:
                program, batch = programs[name, place]
                start = time.perf_counter()
                jax.block_until_ready(program(carry, batch))
                times[name, place].append(time.perf_counter() - start)

    ms = {f"{name} {place}": float(np.median(t[1:]) * 1e3) for (name, place), t in times.items()}
    ratios = {place: ms[f"jaxcnn {place}"] / ms[f"lax {place}"] for place in ("jit", "scan")}
    print(f"{'':22} {'jaxcnn':>10} {'lax':>10} {'ratio':>8}")
    for place, label in (("jit", "one step, ms"), ("scan", "two steps in scan, ms")):
        print(f"{label:22} {ms[f'jaxcnn {place}']:10.1f} {ms[f'lax {place}']:10.1f} {ratios[place]:8.3f}")
    print(f"compile seconds: {json.dumps(compile_s)}")
    if config.result:
        write_json(config.result, {"ms": ms, "ratios": ratios, "compile_s": compile_s, "versions": versions()})


if __name__ == "__main__":
    main(tyro.cli(Config))
