"""PyTorch, eager, on the CPU: contiguous arrays and channels last, of which a report takes the faster."""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from benchmark.networks import Network, Shape
from benchmark.peers.on_jax import CLIP_NORM, check_parameters
from benchmark.peers.torch_models import NAMED
from benchmark.timing import Program
from benchmark.windows import TURNS, Convolution, MaxPool
from jaxcnn import models

torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class Torch:
    """PyTorch.

    Args:
      channels_last: whether images and kernels lie channels last in memory.
    """

    def __init__(self, channels_last: bool = False) -> None:
        self.channels_last = channels_last

    def training_step(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """Loss, backward and Adam on one batch."""
        step, batch = _trainer(self._model(net)), (self._images(x), torch.from_numpy(labels).long())
        return Program(lambda: step(*batch))

    def ensemble(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """A training step of each model in turn: x `(models, N, H, W, C)`."""
        steps = [_trainer(self._model(net)) for _ in x]
        batches = [(self._images(a), torch.from_numpy(b).long()) for a, b in zip(x, labels, strict=True)]
        return Program(lambda: [step(*batch) for step, batch in zip(steps, batches, strict=True)])

    def per_example(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """`torch.func.vmap(grad)`, clipped by the norm over all parameters, and the mean."""
        model = self._model(net)
        params = {name: value.detach() for name, value in model.named_parameters()}

        def loss(params, image, label):
            return nn.functional.cross_entropy(functional_call(model, params, (image[None],)), label[None])

        gradients_of = vmap(grad(loss), in_dims=(None, 0, 0))
        images, targets = self._images(x), torch.from_numpy(labels).long()

        def run():
            gradients = gradients_of(params, images, targets)
            norms = sum(g.flatten(1).square().sum(1) for g in gradients.values()).sqrt()
            scale = (CLIP_NORM / norms).clamp(max=1)
            return {name: torch.tensordot(scale, g, 1) / len(images) for name, g in gradients.items()}, norms

        return Program(run)

    def inference(self, net: Network, x: np.ndarray) -> Program:
        """Logits of a batch."""
        model, images = self._model(net).eval(), self._images(x)

        def run():
            with torch.inference_mode():
                return model(images)

        return Program(run)

    def catalogue_inference(self, name: str, batch: int) -> Program:
        """Logits of a model that jaxcnn has by name."""
        model = self._named(name).eval()
        x = self._normal((batch, 224, 224, 3))

        def run():
            with torch.inference_mode():
                return model(x)

        return Program(run)

    def catalogue_step(self, name: str, batch: int) -> Program:
        """Loss, backward and Adam of a model that jaxcnn has by name, for CIFAR."""
        step = _trainer(self._named(name))
        x, labels = self._normal((batch, 32, 32, 3)), torch.arange(batch) % 10
        return Program(lambda: step(x, labels))

    def forward(self, layer: Convolution) -> Program:
        """y."""
        x, kernel, _, call = self._convolution(layer)
        return Program(lambda: torch.ops.aten.convolution(x, kernel, None, *call))

    def dx(self, layer: Convolution) -> Program:
        """The input gradient alone."""
        return self._backward(layer, [True, False, False], 0)

    def dw(self, layer: Convolution) -> Program:
        """The kernel gradient alone."""
        return self._backward(layer, [False, True, False], 1)

    def pool_forward(self, layer: MaxPool) -> Program:
        """y."""
        x = self._normal(layer.x)
        return Program(lambda: nn.functional.max_pool2d(x, layer.window, layer.stride))

    def pool_both(self, layer: MaxPool) -> Program:
        """y, and the input gradient for a cotangent."""
        x = self._normal(layer.x).requires_grad_()
        out = nn.functional.max_pool2d(x, layer.window, layer.stride)
        dy = torch.randn_like(out)

        def run():
            y = nn.functional.max_pool2d(x, layer.window, layer.stride)
            return torch.autograd.grad(y, x, dy)

        return Program(run)

    def loop(self, layer: Convolution) -> Program:
        """Convolutions, each of the one before."""
        x, kernel, _, call = self._convolution(layer)
        kernel = kernel / (layer.kernel[-2] ** 0.5 * 3)

        def run():
            y = x
            for _ in range(TURNS):
                y = torch.ops.aten.convolution(y, kernel, None, *call)
            return y

        return Program(run)

    def _model(self, net: Network) -> nn.Module:
        model = nn.Sequential(*(_layer(layer, shape) for layer, shape, _ in net.shapes()))
        return self._checked(net.name, net.parameters(), model)

    def _named(self, name: str) -> nn.Module:
        params, _ = jax.eval_shape(models.create(name).init, jax.random.key(0))
        return self._checked(name, sum(leaf.size for leaf in jax.tree.leaves(params)), NAMED[name]())

    def _checked(self, name: str, parameters: int, model: nn.Module) -> nn.Module:
        """In its place in memory, once its parameters are counted."""
        check_parameters(name, parameters, sum(p.numel() for p in model.parameters()), "PyTorch")
        return model.to(memory_format=torch.channels_last) if self.channels_last else model

    def _images(self, x: np.ndarray) -> torch.Tensor:
        return self._placed(torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))))

    def _normal(self, shape: Shape) -> torch.Tensor:
        """Random, of a channels-last shape."""
        return self._placed(torch.randn(shape[0], shape[-1], *shape[1:-1]))

    def _placed(self, x: torch.Tensor) -> torch.Tensor:
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        return x.contiguous(memory_format=formats[x.ndim]) if self.channels_last and x.ndim in formats else x

    def _convolution(self, layer: Convolution) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple]:
        """x, kernel, dy, and the other arguments."""
        *window, inner, outer = layer.kernel  # a transposed kernel is (*window, out, in), torch's (in, out, *window)
        kernel = self._placed(torch.randn(outer, inner, *window))
        stride, padding, ones, zeros = ([n] * layer.rank for n in (layer.stride, layer.padding, 1, 0))
        call = stride, padding, ones, layer.transposed, zeros, layer.groups
        return self._normal(layer.x), kernel, self._normal(layer.y), call

    def _backward(self, layer: Convolution, mask: list[bool], which: int) -> Program:
        x, kernel, dy, call = self._convolution(layer)
        return Program(lambda: torch.ops.aten.convolution_backward(dy, x, kernel, None, *call, mask)[which])


def _trainer(model: nn.Module) -> Callable:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step(images, labels):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _layer(layer: tuple, shape: Shape) -> Any:
    match layer:
        case ("conv", channels, window, padding):
            return nn.Conv2d(shape[-1], channels, window, padding=padding.lower())
        case ("relu",):
            return nn.ReLU()
        case ("pool", window):
            return nn.MaxPool2d(window)
        case ("flatten",):
            return nn.Flatten()
        case ("dense", features):
            return nn.Linear(shape[-1], features)
    raise ValueError(f"no such layer: {layer}")
