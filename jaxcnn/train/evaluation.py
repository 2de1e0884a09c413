"""Scores, probabilities or plain outputs of a trained network for many images.

Compiled functions are kept as long as the model, and the last batch is filled up to a power of two. So a second call
compiles nothing or little, whatever its number of images.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxcnn.data import to_float
from jaxcnn.files.trees import flatten
from jaxcnn.ops.sharding import rows
from jaxcnn.train.compiled import kept, template
from jaxcnn.train.devices import Devices, devices_for, one_behind
from jaxcnn.train.examples import check_model, check_pixels, labeled_images, match_images
from jaxcnn.train.integers import whole
from jaxcnn.train.keywords import hinted
from jaxcnn.train.losses import LossFunction, meaning, probabilities
from jaxcnn.train.network import Network
from jaxcnn.train.precision import Policy
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import batch_sums, check_alive


@hinted(positional=3)
def evaluate(
    model: Network,
    train_state: TrainState,
    data: Any,
    *,
    batch_size: int,
    policy: Policy | None = None,
    mesh: Mesh | None = None,
) -> dict[str, float]:
    """Loss and accuracy on labeled images: exact means over all of them, however they are cut into batches.

    Args:
      model: as in `fit`.
      train_state: from `fit`, or `TrainState(params, state, loss=model.loss)`. If it keeps moving averages, those are
        evaluated.
      data: as in `fit`.
      batch_size: images at a time.
      policy: the dtypes, as in `fit`.
      mesh: the devices that share each batch; by default all accelerators of this process. Arrays that lie on several
        devices already stay there. If the mesh has devices of several processes, all call this with the same data.

    Returns:
        `{"loss": …, "accuracy": …}`; only the loss if that is a function of your own (see `losses.Classification`).

    Raises:
      ValueError, TypeError: as `fit`.
    """
    check_single("evaluate", model, train_state)
    pair = labeled_images("evaluate", model, data, "data", train_state.loss)
    devices = devices_for("evaluate", mesh, train_state.weights, pair)
    return scores(model, train_state, pair, batch_size, policy, devices)


def predict(
    model: Network,
    train_state: TrainState,
    x: Any,
    *,
    batch_size: int,
    policy: Policy | None = None,
    mesh: Mesh | None = None,
) -> np.ndarray:
    """Class probabilities of images; after a loss of your own, the plain outputs (see `losses.Classification`).

    Args:
      model, train_state, batch_size, policy, mesh: as in `evaluate`.
      x: images `(N, *input_shape)`, uint8 or floating.

    Returns:
      `(N, classes)` as a NumPy array; one sigmoid unit gives two columns.

    Raises:
      ValueError: images that are not of the model's shape, a train state that is not the model's.
    """
    check_single("predict", model, train_state)
    match_images("predict", model, x, "x")
    loss = train_state.loss

    def make(apply):
        apply = apply if policy is None else policy(apply)
        return jax.jit(lambda params, state, x: probabilities(loss, apply(params, state, to_float(x))[0]))

    function = kept(model.apply, ("predict", meaning(loss).activation, policy), make)
    devices = devices_for("predict", mesh, train_state.weights, x)
    return in_batches("predict", function, *train_state.weights, x, batch_size, devices)


def outputs(layer: Any, params: Any, state: Any, x: Any, *, batch_size: int) -> np.ndarray:
    """The outputs of a layer for many images: the features of a backbone (`models.features`), or the logits of a model.

    Args:
      layer: a `Layer` or a `Model`.
      params, state: the layer's; further entries are ignored.
      x: images `(N, H, W, C)`, uint8 (taken as 0 to 1) or floating, or any other arrays that the layer takes.
      batch_size: how many images at a time.

    Returns:
      `(N, …)` as a NumPy array.

    Raises:
      ValueError, TypeError: those of the layer.

    Example:
      >>> from jaxcnn import models
      >>> model, test = models.create("lenet5"), np.zeros((5, 28, 28, 1), np.uint8)
      >>> outputs(model, *model.init(jax.random.key(0)), test, batch_size=2).shape
      (5, 10)
    """
    check_alive("outputs", (params, state))
    if hasattr(layer, "input_shape"):
        check_pixels("outputs", x, "x")
    function = kept(layer.apply, "apply", lambda apply: jax.jit(lambda p, s, x: apply(p, s, to_float(x))[0]))
    return in_batches("outputs", function, params, state, x, batch_size, devices_for("outputs", None, params, state, x))


def scores(
    model: Network, train_state: TrainState, data: tuple, batch_size: int, policy: Policy | None, devices: Devices
) -> dict[str, float]:
    """Mean loss and, of a classification, accuracy."""
    loss = train_state.loss
    key = ("evaluate", loss, policy)
    sums = kept(model.apply, key, lambda apply: jax.jit(batch_sums(apply if policy is None else policy(apply), loss)))
    weights, total = devices.everywhere(train_state.weights), np.zeros(3)
    started = (sums(*weights, *arrays, use) for arrays, use, _ in _batches("evaluate", data, batch_size, devices))
    for of_batch in one_behind(started):
        total += np.asarray(of_batch, np.float64)
    return means(loss, *total)


def means(loss: str | LossFunction | None, total: float, right: float, count: float) -> dict[str, float]:
    """Loss and accuracy from sums over the examples that count; no accuracy if the loss is no classification's."""
    found = {"loss": float(total / max(count, 1))}
    return found if meaning(loss).activation is None else found | {"accuracy": float(right / max(count, 1))}


def in_batches(
    op: str, function: Callable, params: Any, state: Any, x: Any, batch_size: int, devices: Devices
) -> np.ndarray:
    """`function(params, state, x)` for many x, computed a batch at a time."""
    params, state = devices.everywhere((params, state))
    batches = _batches(op, (x,), batch_size, devices)
    started = ((function(params, state, batch), count) for (batch,), _, count in batches)
    parts = [devices.fetched(result)[:count] for result, count in one_behind(started)]
    if parts:
        return np.concatenate(parts)
    promised = jax.eval_shape(function, params, state, jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype))
    return np.zeros((0, *promised.shape[1:]), promised.dtype)


def check_single(op: str, model: Network, train_state: TrainState) -> None:
    """ValueError or TypeError unless it is a train state of this model, of no ensemble, with its arrays still there."""
    check_model(op, model)
    if not isinstance(train_state, TrainState):
        raise TypeError(
            f"{op}: `train_state` must be a TrainState; got {type(train_state).__name__}. Parameters and statistics "
            "become one by train.TrainState(params, state, loss=model.loss)"
        )
    check_alive(op, train_state.weights)
    own, given = (
        {path: jnp.shape(leaf) for path, leaf in flatten(tree).items()}
        for tree in (template(model), train_state.weights)
    )
    if own and given != own and {path: shape[1:] for path, shape in given.items()} == own:
        members = next(iter(given.values()))[0]
        raise ValueError(
            f"{op}: `train_state` must be that of one {model.name}; got an ensemble's, of {members} members: "
            "use ensemble.predict, or one of them by ensemble.member(train_state, index)"
        )
    for path, shape in own.items():
        if given.get(path) != shape:
            part = ("params", "state")[int(path[0])] + path[1:]
            found = f"is {given[path]}" if path in given else "is not there"
            raise ValueError(
                f"{op}: `train_state` must be that of {model.name}, whose {part} is {shape}; here it {found}"
            )


# ---------------------------------------------------------------------------------------------------------------------


def _batches(op: str, arrays: tuple, batch_size: int, devices: Devices) -> Iterator[tuple[tuple, Any, int]]:
    """Batches of arrays with one leading axis, which of their examples are real, and how many.

    The last batch is filled up with copies of an example to the next power of two, or to a whole batch if that is less;
    and each batch to a size that the devices divide.
    """
    batch_size = whole(op, "batch_size", batch_size, 1)
    arrays = tuple(map(_on_host, arrays))
    n = len(arrays[0])
    for first in range(0, n, batch_size):
        count = min(batch_size, n - first)
        size = devices.filled(min(batch_size, 1 << (count - 1).bit_length()))
        chosen = slice(first, first + count) if size == count else np.minimum(np.arange(first, first + size), n - 1)
        batch, use = tuple(rows(array, chosen) for array in arrays), np.arange(size) < count
        yield *devices.shared((batch, use)), count


def _on_host(array: Any) -> Any:
    """An array of one device as a NumPy array, because JAX would compile the indexing anew for every length."""
    return np.asarray(array) if isinstance(array, jax.Array) and len(array.sharding.device_set) == 1 else array
