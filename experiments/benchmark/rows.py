"""The rows of the benchmark: what is timed side by side, by name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark import windows
from benchmark.networks import CATS_VS_DOGS_CNN, CIFAR10_CNN, LENET5, NETWORKS, VGG16, Network, stack
from benchmark.peers import OWN
from benchmark.peers.on_jax import STEPS
from benchmark.timing import Program
from jaxcnn import models

MODELS = 10  # of an ensemble
GROWTH_BATCHES = (64, 128, 256, 512, 1024)
GROWTH_PIXELS = (32, 64, 128, 256)  # on a side
PIXELS_BATCH = 16
# labels of programs that only jaxcnn has, to compare it with itself
PLAIN_STEPS, MODEL_LOOP, PLAIN_GRADIENT = "jaxcnn plain steps", "jaxcnn model loop", "jaxcnn plain gradient"
WHOLE_BATCH = "jaxcnn whole batch"

Peers = Mapping[str, Any]
Programs = dict[str, Program]


@dataclass(frozen=True)
class Row:
    """What is timed side by side.

    Args:
      name: kind/case, and for layers /direction.
      programs: makes them, by label, from the libraries that take part.
      multiply_adds: of a program by its label, "" for all others; where matrix products bound the time.
      quick: whether it is in the short list.
    """

    name: str
    programs: Callable[[Peers], Programs]
    multiply_adds: Mapping[str, int] = field(default_factory=dict)
    quick: bool = False


def all_rows() -> list[Row]:
    """In the order in which they are run."""
    return [*_steps(), *_scans(), *_ensembles(), *_per_example(), *_layers(), *_inference(), *_growth()]


def batch_of(net: Network, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images `(*shape, H, W, C)` and labels `shape`."""
    draw = np.random.default_rng(0)
    images = draw.random((*shape, *net.input_shape), dtype=np.float32)
    return images, draw.integers(0, net.classes, shape, dtype=np.int32)


def _ask(peers: Peers, method: str, *arguments: Any) -> Programs:
    """One program of each library that offers the method."""
    return {label: getattr(peer, method)(*arguments) for label, peer in peers.items() if hasattr(peer, method)}


def _of_network(method: str, net: Network, *shape: int, beside: dict[str, str] | None = None) -> Callable:
    """A method of all libraries on one random batch; `beside` has labels and methods of jaxcnn alone."""

    def programs(peers: Peers) -> Programs:
        batch = batch_of(net, *shape)
        own = {label: getattr(peers[OWN], name)(net, *batch) for label, name in (beside or {}).items()}
        return _ask(peers, method, net, *batch) | own

    return programs


def _steps() -> Iterator[Row]:
    for net in NETWORKS:
        batch = 30 if net is CATS_VS_DOGS_CNN else 128
        floor = {"": net.multiply_adds(batch, training=True)}
        programs = _of_network("training_step", net, batch, beside={WHOLE_BATCH: "whole_step"})
        yield Row(f"step/{net.name}", programs, floor, net in (LENET5, CIFAR10_CNN))
    yield Row("step/resnet20", _asking("catalogue_step", "resnet20", 128))


def _scans() -> Iterator[Row]:
    for net in NETWORKS:
        batch = 30 if net is CATS_VS_DOGS_CNN else 128
        programs = _of_network("scan", net, batch, beside={PLAIN_STEPS: "steps"})
        yield Row(f"scan/{net.name}", programs, {"": STEPS * net.multiply_adds(batch, training=True)})


def _ensembles() -> Iterator[Row]:
    for net in NETWORKS:
        batch = 4 if net is CATS_VS_DOGS_CNN else 32
        programs = _of_network("ensemble", net, MODELS, batch, beside={MODEL_LOOP: "ensemble_loop"})
        floor = {"": net.multiply_adds(MODELS * batch, training=True)}
        yield Row(f"ensemble/{net.name}", programs, floor, net is LENET5)


def _per_example() -> Iterator[Row]:
    for net in NETWORKS:
        if net is not CATS_VS_DOGS_CNN:  # its gradients, 76 MB an example, measure memory alone
            programs = _of_network("per_example", net, 64, beside={PLAIN_GRADIENT: "gradient"})
            yield Row(f"per_example/{net.name}", programs, {"": net.multiply_adds(64, training=True)})


def _asking(method: str, *arguments: Any) -> Callable[[Peers], Programs]:
    return lambda peers: _ask(peers, method, *arguments)


def _layers() -> Iterator[Row]:
    for name, conv in windows.CONVOLUTIONS.items():
        floor = {"": conv.multiply_adds} if conv.groups == 1 else {}
        for direction in ("forward", "dx", "dw"):
            quick = (name, direction) == (windows.LARGE, "forward")
            yield Row(f"layer/{name}/{direction}", _asking(direction, conv), floor, quick)
    for name, pool in windows.POOLS.items():
        for direction in ("forward", "both"):
            yield Row(f"layer/{name}/{direction}", _asking(f"pool_{direction}", pool))
    floor = {"": windows.TURNS * windows.LOOP.multiply_adds}
    yield Row("layer/3x3 64-64 32x32/while_loop", _asking("loop", windows.LOOP), floor)


def _inference() -> Iterator[Row]:
    for net in (*NETWORKS, VGG16):
        for batch in (1, 16):
            programs = _asking("inference", net, batch_of(net, batch)[0])
            yield Row(f"inference/{net.name}/{batch}", programs, {"": net.multiply_adds(batch)})
    for name in ("resnet50", "squeezenet1_1"):
        for batch in (1, 16):
            if name in models.names():
                yield Row(f"inference/{name}/{batch}", _asking("catalogue_inference", name, batch))


def _growth() -> Iterator[Row]:
    """jaxcnn alone, in place of libraries the sizes."""

    def sizes(steps: dict[str, tuple[Network, int]]) -> Callable[[Peers], Programs]:
        def programs(peers: Peers) -> Programs:
            return {size: peers[OWN].training_step(net, *batch_of(net, n)) for size, (net, n) in steps.items()}

        return programs

    for name, steps in (
        ("batch", {str(n): (CIFAR10_CNN, n) for n in GROWTH_BATCHES}),
        ("pixels", {str(n): (stack(n), PIXELS_BATCH) for n in GROWTH_PIXELS}),
    ):
        floors = {size: net.multiply_adds(n, training=True) for size, (net, n) in steps.items()}
        yield Row(f"growth/{name}", sizes(steps), floors)
