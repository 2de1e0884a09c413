"""What is computed once for a model and kept as long as the model: its compiled functions, the shapes of its outputs.

`jax.jit` of a new closure compiles anew at each call. Here a model's functions are found again by the model itself, and
hold it by a weak reference only: when the last other reference to it goes, so do they, and the memory they take.
"""

import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

T = TypeVar("T")

MOST = 32  # of one model: each new loss, for one, is another function
_kept: dict[int, tuple[weakref.ref, dict[Hashable, Any]]] = {}


def kept(apply: Callable, key: Hashable, make: Callable[[Callable], T]) -> T:
    """`make(apply)`, made once for each key and each `apply`, or each object that `apply` is a method of.

    Args:
      apply: of a model or a layer.
      key: what tells the results of one model apart.
      make: gets a function that does as `apply`, and is to be used while `apply` is there.
    """
    owner = getattr(apply, "__self__", apply)
    number = id(owner)
    try:
        weakly = _weakly(apply)
        if number not in _kept:
            _kept[number] = weakref.ref(owner, lambda _: _kept.pop(number, None)), {}
    except TypeError:  # not every object can be referred to weakly
        return make(apply)
    results = _kept[number][1]
    if key not in results:
        while len(results) >= MOST:
            results.pop(next(iter(results)), None)  # the oldest
        results[key] = make(weakly)
    return results[key]


def template(model: Any) -> tuple[Any, Any]:
    """Shapes and dtypes of a model's (params, state), to be read only; nothing is computed."""
    key = "template", jnp.result_type(float)  # which says whether 64 bits are on
    return kept(model.apply, key, lambda _: jax.eval_shape(model.init, jax.random.key(0)))


def _weakly(apply: Callable) -> Callable:
    reference = weakref.WeakMethod(apply) if hasattr(apply, "__self__") else weakref.ref(apply)

    def called(*arguments, **options):
        function: Any = reference()  # there while the caller, who has the model, is
        return function(*arguments, **options)

    return called
