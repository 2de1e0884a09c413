"""What a layer is, and how layers are put together.

A layer is a pair of pure functions. Gradients change the parameters; training also updates the state, such as running
statistics. Both are plain nested dicts, in which a layer without any has no entry.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

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
    """

    init: Callable[..., tuple[Tree, Tree]]
    apply: Callable[..., tuple[jax.Array, Tree]]
    kind: str = "layer"
    children: Mapping[str, "Layer"] = field(default_factory=lambda: MappingProxyType({}))
    chained: bool = False
    aside: frozenset[str] = frozenset()
    combine: Callable[[Mapping[str, "Layer"]], "Layer"] | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __repr__(self) -> str:
        names = list(self.children)
        more = [f"… {len(names) - 8} more"] if len(names) > 8 else []
        inside = f": {', '.join(names[:8] + more)}" if names else ""
        return f"Layer({self.kind!r}{inside})"


def stateless(kind: str, function: Callable[[jax.Array], jax.Array], **settings: Any) -> Layer:
    """A layer made of a function of x, without parameters and state, and the same in training and at inference.

    Args:
      kind: a word for what it does.
      function: of x, `(N, *input_shape)`.
      **settings: of the function, kept with the layer, so that files of weights can be compared with them. Those of a
        function that is a dataclass are its fields.
    """
    if is_dataclass(function) and not isinstance(function, type):
        settings = asdict(function) | settings
    return Layer(
        init=lambda key, input_shape: ({}, {}),
        apply=lambda params, state, x, *, train=False, key=None: (function(x), state),
        kind=kind,
        settings=settings,
    )


def along_channels(values: jax.Array, x: jax.Array) -> jax.Array:
    """One value per channel, with as many axes as x, as `jax_numpy_rank_promotion="raise"` demands."""
    return values.reshape((1,) * (x.ndim - values.ndim) + values.shape)


def output_shape(layer: Layer, params: Tree, state: Tree, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, without the batch axis, that `apply` gives for an input of `input_shape`; nothing is computed."""
    x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    y, _ = jax.eval_shape(lambda p, s, x: layer.apply(p, s, x), params, state, x)
    return y.shape[1:]


def serial(*layers: Layer, **named_layers: Layer) -> Layer:
    """Layers one after the other.

    Args:
      *layers: named by their kind and its count: conv1, relu1, conv2, …
      **named_layers: after those, under the names given.

    Returns:
      A Layer with parameters `{name: …}`. A layer's initial values depend on its name and the key only, so putting
      another layer in front does not change them.

    Raises:
      ValueError: a name that occurs twice. TypeError: something that is not a Layer.

    Example:
      >>> from jaxcnn.layers import Conv, Dense, Flatten, Relu
      >>> net = serial(Conv(6, 5), Relu(), Flatten(), Dense(10))
      >>> params, state = net.init(jax.random.key(0), (28, 28, 1))
      >>> jax.tree.map(jnp.shape, params)
      {'conv1': {'bias': (6,), 'kernel': (5, 5, 1, 6)}, 'dense1': {'bias': (10,), 'kernel': (3456, 10)}}
    """
    return _chain(_name("serial", layers, named_layers))


def with_auxiliaries(body: Layer, **heads: tuple[str, Layer]) -> Layer:
    """Layers one after the other, some of whose values also go to a classifier of their own, in training only.

    Args:
      body: made by `serial`.
      **heads: by name, after which layer of the body it stands, and the classifier.

    Returns:
      A Layer with the parameters of the body's layers and of the heads, side by side. In training `apply` gives the
      tuple (output of the body, output of the first head, …), and each head has random numbers of its own. Otherwise it
      gives the output of the body, and the heads are not computed.

    Raises:
      ValueError: a place that the body does not have, a name that it has already. TypeError: a body that is no chain.

    Example:
      >>> from jaxcnn.layers import Dense
      >>> net = with_auxiliaries(serial(Dense(4), Dense(3)), early=("dense1", Dense(3)))
      >>> params, state = net.init(jax.random.key(0), (8,))
      >>> [y.shape for y in net.apply(params, state, jnp.ones((2, 8)), train=True)[0]]
      [(2, 3), (2, 3)]
      >>> net.apply(params, state, jnp.ones((2, 8)))[0].shape
      (2, 3)

    Source: Szegedy et al., Going deeper with convolutions (2014), section 5.
    """
    if not (isinstance(body, Layer) and body.chained):
        raise TypeError(f"with_auxiliaries: `body` must be a Layer made by serial; got {body!r}")
    for name, (place, _) in heads.items():
        if place not in body.children or name in body.children:
            raise ValueError(
                f"with_auxiliaries: `{name}` must stand after a layer of the body under a name of its own; got "
                f"{place!r}, and the body has {', '.join(body.children)}"
            )
    children: dict[str, Layer] = {}
    for name, layer in body.children.items():
        children[name] = layer
        children |= {head: layer for head, (place, layer) in heads.items() if place == name}
    return _chain(MappingProxyType(children), frozenset(heads))


def _chain(children: Mapping[str, Layer], aside: frozenset[str] = frozenset()) -> Layer:
    def init(key, input_shape):
        params, state = {}, {}
        for name, layer in children.items():
            p, s = _init_child(name, layer, key, input_shape, params, state)
            if name not in aside:
                with _noting(name, input_shape):
                    input_shape = output_shape(layer, p, s, input_shape)
        return params, state

    def apply(params, state, x, *, train=False, key=None):
        new_state: Tree = {}
        outputs = []
        for name, layer in children.items():
            if name not in aside:
                x = _apply_child(name, layer, params, state, x, train, key, new_state)
            elif train:
                outputs.append(_apply_child(name, layer, params, state, x, train, key, new_state))
            elif name in state:
                new_state[name] = state[name]
        return (x, *outputs) if outputs else x, new_state

    def combine(children):
        return _chain(MappingProxyType(dict(children)), aside & children.keys())

    return Layer(init, apply, "serial", children, chained=True, aside=aside, combine=combine)


def residual(
    body: Layer, shortcut: Layer | None = None, activation: Callable[[jax.Array], jax.Array] | None = None
) -> Layer:
    """body(x) + shortcut(x); without a shortcut, body(x) + x.

    Args:
      body: a layer.
      shortcut: a layer whose output has the body's shape, such as a strided 1×1 convolution.
      activation: a function of the sum, such as `jax.nn.relu`; None leaves it as it is.

    Returns:
      A Layer with the parameters of its parts under "body" and "shortcut".

    Raises:
      ValueError: at init or apply, when the two shapes differ.

    Source: He et al., Deep residual learning for image recognition (2015), equations 1 and 2.
    """
    children = _name("residual", (), {"body": body} | ({"shortcut": shortcut} if shortcut else {}))

    def apply(params, state, x, *, train=False, key=None):
        new_state: Tree = {}
        parts = [_apply_child(name, layer, params, state, x, train, key, new_state) for name, layer in children.items()]
        straight = parts[1] if shortcut else x
        if parts[0].shape != straight.shape:
            raise ValueError(
                f"residual: body and {'shortcut' if shortcut else 'input'} must have one shape; got body "
                f"{parts[0].shape[1:]}, {'shortcut' if shortcut else 'input'} {straight.shape[1:]}. A shortcut layer "
                "(a 1×1 convolution with the body's stride and channels) makes them equal."
            )
        total = parts[0] + straight
        return (activation(total) if activation else total), new_state

    def combine(children):
        return residual(children["body"], children.get("shortcut"), activation)

    settings = {"activation": getattr(activation, "__name__", "function") if activation else None}
    return Layer(_parallel_init(children, apply), apply, "residual", children, combine=combine, settings=settings)


def branches(*layers: Layer, **named_layers: Layer) -> Layer:
    """All layers on the same input, their outputs side by side in the channels.

    Args:
      *layers, **named_layers: named as by `serial`; outputs differ in the last axis at most.

    Returns:
      A Layer with parameters `{name: …}`.

    Raises:
      ValueError: a name that occurs twice, no layers; at init or apply, outputs of different spatial shapes.

    Source: Szegedy et al., Going deeper with convolutions (2014), figure 2.
    """
    children = _name("branches", layers, named_layers)
    if not children:
        raise ValueError("branches: `layers` must not be empty")

    def apply(params, state, x, *, train=False, key=None):
        new_state: Tree = {}
        parts = [_apply_child(name, layer, params, state, x, train, key, new_state) for name, layer in children.items()]
        if len({y.shape[:-1] for y in parts}) > 1:
            shapes = ", ".join(f"{name} {y.shape[1:]}" for name, y in zip(children, parts, strict=True))
            raise ValueError(f"branches: outputs must agree in all axes but the channels; got {shapes}")
        return jnp.concatenate(parts, axis=-1), new_state

    return Layer(
        _parallel_init(children, apply), apply, "branches", children, combine=lambda children: branches(**children)
    )


# ---------------------------------------------------------------------------------------------------------------------


def fold_name(key: jax.Array | None, name: str) -> jax.Array | None:
    """The key of the part called `name`."""
    return None if key is None else jax.random.fold_in(key, zlib.crc32(name.encode()))


def _cure(op: str, given: Any) -> str:
    """A hint for an argument that is no layer."""
    if isinstance(given, list | tuple):
        return f"; layers are arguments of their own: {op}(first, second), or {op}(*layers)"
    if isinstance(getattr(given, "layer", None), Layer):
        return "; of a Model take its `layer`"
    if callable(given) and str(getattr(given, "__module__", "")).startswith(__package__):
        return f"; call it: {given.__name__}(…)"
    if callable(given):
        return '; a function of x becomes one by stateless("name", function)'
    return ""


def _name(op: str, layers: tuple[Layer, ...], named_layers: Mapping[str, Layer]) -> Mapping[str, Layer]:
    children: dict[str, Layer] = {}
    counts: Counter[str] = Counter()
    for position, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"{op}: argument {position} must be a Layer; got {layer!r}{_cure(op, layer)}")
        counts[layer.kind] += 1
        children[f"{layer.kind}{counts[layer.kind]}"] = layer
    for name, layer in named_layers.items():
        if not isinstance(layer, Layer):
            raise TypeError(f"{op}: `{name}` must be a Layer; got {layer!r}{_cure(op, layer)}")
        if name in children:
            raise ValueError(f"{op}: the name {name!r} occurs twice; layers without a name take kind and count")
        children[name] = layer
    return MappingProxyType(children)


def _parallel_init(children: Mapping[str, Layer], apply: Callable) -> Callable:
    def init(key, input_shape):
        params, state = {}, {}
        for name, layer in children.items():
            _init_child(name, layer, key, input_shape, params, state)
        x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
        jax.eval_shape(lambda p, s, x: apply(p, s, x), params, state, x)  # shapes that do not fit are refused now
        return params, state

    return init


def _init_child(name, layer, key, input_shape, params, state) -> tuple[Tree, Tree]:
    with _noting(name, input_shape):
        p, s = layer.init(fold_name(key, name), input_shape)
    if p:
        params[name] = p
    if s:
        state[name] = s
    return p, s


def _apply_child(name, layer, params, state, x, train, key, new_state) -> jax.Array:
    with _noting(name, x.shape[1:]), jax.named_scope(name):
        y, s = layer.apply(params.get(name, {}), state.get(name, {}), x, train=train, key=fold_name(key, name))
    if s:
        new_state[name] = s
    return y


class _noting:
    """A context that adds to an error the name of the layer in which it was raised."""

    def __init__(self, name: str, input_shape: tuple[int, ...]):
        self.note = f"in layer {name!r}, whose input is {tuple(input_shape)}"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, ValueError | TypeError):
            error.add_note(self.note)
        return False
