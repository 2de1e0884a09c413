"""A cache of each model's compiled functions and output shapes, which lives as long as the model.

`jax.jit` of a new closure compiles again at each call, so `predict` and `evaluate` look their functions up here, by the
model. The cache has only a weak reference to the model: when the last other reference is gone, so are the functions.
"""

import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxcnn.train.network import Network

T = TypeVar("T")

MOST = 32  # functions kept per model: each new loss, for example, needs another
_kept: dict[int, tuple[weakref.ref, dict[Hashable, Any]]] = {}


def kept(apply: Callable, key: Hashable, make: Callable[[Callable], T]) -> T:
    """The result of `make(apply)`, made once for each key and each model.

    Args:
      apply: the function, or the bound method, of a model or a layer.
      key: tells different results of one model apart.
      make: is given a function that does what `apply` does, as long as the model exists.
    """
    owner = getattr(apply, "__self__", apply)
    number = id(owner)
    try:
        weakly = _weakly(apply)
        if number not in _kept:
            _kept[number] = weakref.ref(owner, lambda _: _kept.pop(number, None)), {}
    except TypeError:  # not every object can have a weak reference
        return make(apply)
    results = _kept[number][1]
    if key not in results:
        while len(results) >= MOST:
            results.pop(next(iter(results)), None)  # the oldest
        results[key] = make(weakly)
    return results[key]


def template(model: Network) -> tuple[Any, Any]:
    """Shapes and dtypes of a model's (params, state), to be read only; nothing is computed."""
    key = "template", jnp.result_type(float)  # which says whether 64 bits are on
    return kept(model.apply, key, lambda _: jax.eval_shape(model.init, jax.random.key(0)))


def _weakly(apply: Callable) -> Callable:
    reference = weakref.WeakMethod(apply) if hasattr(apply, "__self__") else weakref.ref(apply)

    def called(*arguments, **options):
        function: Any = reference()  # not None: the caller has the model
        return function(*arguments, **options)

    return called
