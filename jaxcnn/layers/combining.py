"""Layers put together: one after the other, added up, side by side."""

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.layers.config import brief
from jaxcnn.layers.layer import Layer, Tree, fold_name, makes_layer, output_shape


@makes_layer
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


@makes_layer
def with_auxiliaries(body: Layer, **heads: tuple[str, Layer]) -> Layer:
    """Layers one after the other, some of whose values also go to a classifier of their own, in training only.

    Args:
      body: made by `serial`.
      **heads: by name, after which layer of the body it stands, and the classifier.

    Returns:
      A Layer with the parameters of the body's layers and of the heads, side by side. In training `apply` gives the
      tuple (output of the body, output of the first head, …), each head having drawn nothing from the others' keys;
      otherwise the output of the body alone, and the heads are not computed.

    Raises:
      ValueError: a place that the body does not have, a name that it has already. TypeError: a body that is no chain, a
        head that is no such pair.

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
        raise TypeError(f"with_auxiliaries: `body` must be a Layer made by serial; got {brief(body)}")
    for name, head in heads.items():
        if not isinstance(head, tuple) or len(head) != 2 or not isinstance(head[1], Layer):
            raise TypeError(
                f"with_auxiliaries: `{name}` must be (the name of a layer of the body, a Layer); got {brief(head)}"
            )
        place, _ = head
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
        heads, place = {}, None
        for name, layer in children.items():
            if name in aside:
                heads[name] = place, layer
            else:
                place = name
        body = serial(**{name: layer for name, layer in children.items() if name not in heads})
        return with_auxiliaries(body, **heads) if heads else body

    return Layer(init, apply, "serial", children, chained=True, aside=aside, combine=combine)


@makes_layer
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
      ValueError: at init or apply, when the two shapes differ. TypeError: parts that are no layers, an activation that
        is no function.

    Source: He et al., Deep residual learning for image recognition (2015), equations 1 and 2.
    """
    children = _name("residual", (), {"body": body} | ({"shortcut": shortcut} if shortcut else {}))
    if not (activation is None or callable(activation)):
        cure = "; a layer can follow the residual in a serial" if isinstance(activation, Layer) else ""
        raise TypeError(f"residual: `activation` must be a function of the sum, or None; got {brief(activation)}{cure}")

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


@makes_layer
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


def _cure(op: str, given: Any) -> str:
    """What was meant by that which is no layer."""
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
            raise TypeError(f"{op}: argument {position} must be a Layer; got {brief(layer)}{_cure(op, layer)}")
        counts[layer.kind] += 1
        children[f"{layer.kind}{counts[layer.kind]}"] = layer
    for name, layer in named_layers.items():
        if not isinstance(layer, Layer):
            raise TypeError(f"{op}: `{name}` must be a Layer; got {brief(layer)}{_cure(op, layer)}")
        if not name or "/" in name:
            raise ValueError(f"{op}: the name {name!r} must be a word without a slash, by which paths join names")
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
    """Says in which layer an error arose."""

    def __init__(self, name: str, input_shape: tuple[int, ...]):
        self.note = f"in layer {name!r}, whose input is {tuple(input_shape)}"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, ValueError | TypeError):
            error.add_note(self.note)
        return False
