"""What a layer is, what is known of it, and how one is made.

A layer is a pair of pure functions. Gradients change the parameters; training also updates the state, such as running
statistics. Both are plain nested dicts, in which a layer without any has no entry.
"""

import functools
import inspect
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from types import MappingProxyType
from typing import Any, ParamSpec, get_args

import jax
import jax.numpy as jnp

from jaxcnn.layers.config import Config, call, keywords, recorded
from jaxcnn.layers.roles import Role, role_of
from jaxcnn.layers.words import check_words

P = ParamSpec("P")
Tree = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """A pair of pure functions, and what it is made of.

    Args:
      init: `(key, input_shape) -> (params, state)`, input_shape without the batch axis.
      apply: `(params, state, x, *, train=False, key=None) -> (y, state)`, x `(N, *input_shape)`. `train` says whether
        this is a training step (dropout drops, batch norm uses the batch); `key` is for what is random then.
      kind: a word for what it does; `serial` names its layers by it ("conv" gives conv1, conv2, …).
      children: the layers it is made of, by name; their parameters and state stand under these names.
      chained: whether each child takes the output of the one before; else all take this layer's input.
      aside: children used in training alone, whose output leaves the chain; the next child gets the same input.
      combine: the same combination of other children, given by name; None for a layer without children.
      settings: the arguments that say what it computes ("stride", "eps", …), as plain values; files of weights are
        compared with them.
      role: what it is to those who look at a network from outside: "convolution", "dense", "norm", "pool",
        "activation", "dropout", "shape", "group" or "other"; by default that of our layers of this kind, else "group"
        for one with children and "other" for one without.
      config: what it was made with; `makes_layer` sets it.

    Raises:
      ValueError: an unknown role, or no kind.
    """

    init: Callable[..., tuple[Tree, Tree]]
    apply: Callable[..., tuple[jax.Array, Tree]]
    kind: str = "layer"
    children: Mapping[str, "Layer"] = field(default_factory=lambda: MappingProxyType({}))
    chained: bool = False
    aside: frozenset[str] = frozenset()
    combine: Callable[[Mapping[str, "Layer"]], "Layer"] | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    role: Role = field(default="", compare=False)  # type: ignore[arg-type]  # until it is known
    config: Config | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or not self.kind:
            raise ValueError(f"Layer: `kind` must be a word, by which `serial` names the layer; got {self.kind!r}")
        if not self.role:
            own = role_of(self.kind)
            object.__setattr__(self, "role", "group" if own == "other" and self.children else own)
        elif self.role not in get_args(Role):
            raise ValueError(f"Layer: `role` must be one of {', '.join(get_args(Role))}; got {self.role!r}")

    def __repr__(self) -> str:
        """The code that makes it."""
        if self.config:
            return repr(self.config)
        children = {"children": dict(self.children)} if self.children else {}
        return call("Layer", ["init", "apply", *keywords({"kind": self.kind, **children})])


def makes_layer(make: Callable[P, Layer]) -> Callable[P, Layer]:
    """Said of a function that returns a layer: the layer then knows what it was made with, and its `repr` says it.

    Args:
      make: a function of any arguments.

    Returns:
      The same function. An argument that it does not have is answered with the one that is meant, where other libraries
      use that word.

    Example:
      >>> @makes_layer
      ... def Twice(times: int = 1) -> Layer:
      ...     return stateless("twice", lambda x: 2**times * x)
      >>> Twice(), Twice(3), Twice(3).config.arguments["times"]
      (Twice(), Twice(times=3), 3)
    """
    parameters = inspect.signature(make).parameters

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> Layer:
        check_words(make.__name__, parameters, args, kwargs)
        layer = make(*args, **kwargs)
        return replace(layer, config=recorded(made, args, kwargs))

    return made


@makes_layer
def stateless(kind: str, function: Callable[[jax.Array], jax.Array], **settings: Any) -> Layer:
    """A layer made of a function of x, without parameters and state, and the same in training and at inference.

    Args:
      kind: a word for what it does.
      function: of x, `(N, *input_shape)`.
      **settings: of the function, kept with the layer, so that files of weights can be compared with them. Those of a
        function that is a dataclass are its fields.

    Returns:
      A Layer, whose role is that of our layers of this kind, or "other".

    Raises:
      ValueError: no kind. TypeError: a function that is none.
    """
    if not callable(function):
        raise TypeError(f"stateless: `function` must be a function of x; got {function!r}")
    if is_dataclass(function) and not isinstance(function, type):
        settings = asdict(function) | settings
    return Layer(
        init=lambda key, input_shape: ({}, {}),
        apply=lambda params, state, x, *, train=False, key=None: (function(x), state),
        kind=kind,
        settings=settings,
    )


def fold_name(key: jax.Array | None, name: str) -> jax.Array | None:
    """The key of the part called `name`."""
    return None if key is None else jax.random.fold_in(key, zlib.crc32(name.encode()))


def along_channels(values: jax.Array, x: jax.Array) -> jax.Array:
    """One value per channel, with as many axes as x, as `jax_numpy_rank_promotion="raise"` demands."""
    return values.reshape((1,) * (x.ndim - values.ndim) + values.shape)


def output_shape(layer: Layer, params: Tree, state: Tree, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, without the batch axis, that `apply` gives for an input of `input_shape`; nothing is computed."""
    x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    y, _ = jax.eval_shape(lambda p, s, x: layer.apply(p, s, x), params, state, x)
    return y.shape[1:]
