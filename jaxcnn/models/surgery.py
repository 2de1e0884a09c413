"""Networks made from a given one, which is unchanged: with a new head, cut after a layer, or with frozen layers."""

import dataclasses
import operator
from typing import SupportsIndex

import jax

from jaxcnn.layers import Layer, frozen, serial
from jaxcnn.layers.given import layer_of, template
from jaxcnn.layers.layer import Tree
from jaxcnn.layers.walk import at, put, replace, visit
from jaxcnn.models.catalogue import create, names
from jaxcnn.models.model import Model


def with_head(model: Model, params: Tree, state: Tree, num_classes: int, *, key: jax.Array) -> tuple[Model, Tree, Tree]:
    """The network for other classes: arrays whose shape depends on their number are fresh, all others are those given.

    Those arrays are found by comparing the shapes of the model for `num_classes` and for one class more, so auxiliary
    classifiers get new heads, too.

    Args:
      model: from `models.create`, with an option `num_classes`. Freeze its layers afterwards (`with_frozen`).
      params, state: its own.
      num_classes: at least 2.
      key: the random key of the fresh values.

    Returns:
      (model, params, state); the backbone's arrays are those given.

    Raises:
      ValueError: a model that the catalogue cannot make again with other classes, arrays that are not its own, fewer
        than 2 classes.

    Example:
      >>> model = create("lenet5")
      >>> old, _ = model.init(jax.random.key(0))
      >>> model, params, state = with_head(model, old, {}, 3, key=jax.random.key(1))
      >>> params["dense3"]["kernel"].shape, params["conv1"]["kernel"] is old["conv1"]["kernel"]
      ((84, 3), True)
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, SupportsIndex) or operator.index(num_classes) < 2:
        raise ValueError(f"with_head: `num_classes` must be an integer of at least 2; got {num_classes!r}")
    num_classes = operator.index(num_classes)
    own = "For a network of your own, put `features(…, until=…)` and a new Dense into a `serial`."
    if model.name not in names() or _anatomy(create(model.name, **model.options).layer) != _anatomy(model.layer):
        raise ValueError(
            f"with_head: `model` must be one that models.create makes again by name and options; got {model.name!r} "
            f"with {dict(model.options)}. {own}"
        )
    try:
        new, other = (create(model.name, **{**model.options, "num_classes": n}) for n in (num_classes, num_classes + 1))
    except TypeError as error:
        raise ValueError(f"with_head: `model` must have an option num_classes; {error}. {own}") from None
    expected, larger = (jax.tree.leaves(template(each)) for each in (new, other))
    fresh = [leaf.shape != counterpart.shape for leaf, counterpart in zip(expected, larger, strict=True)]
    if not any(fresh):
        raise ValueError(f"with_head: `model` must have a head, but nothing in {model.name} depends on num_classes")

    given, structure = jax.tree.flatten((params, state))
    if jax.tree.map(lambda a: (a.shape, a.dtype), (params, state)) != jax.tree.map(
        lambda a: (a.shape, a.dtype), template(model)
    ):
        raise ValueError(f"with_head: `params` and `state` must be those of {model.name} {dict(model.options)}")

    @jax.jit  # so that only the fresh values are computed
    def head(key):
        return [leaf for leaf, is_fresh in zip(jax.tree.leaves(new.init(key)), fresh, strict=True) if is_fresh]

    made = iter(head(key))
    leaves = [next(made) if is_fresh else leaf for leaf, is_fresh in zip(given, fresh, strict=True)]
    return new, *jax.tree.unflatten(structure, leaves)


def features(model: Model | Layer, params: Tree, state: Tree, *, until: str) -> tuple[Layer, Tree, Tree]:
    """The network up to a layer, whose output it gives.

    Args:
      model: a `Model` or a `Layer`.
      params, state: its own; or their shapes.
      until: the path of a layer, names joined by slashes ("stage2/residual1/body/conv1"), as `jaxcnn.summary` shows
        them. A layer inside a residual block or a branch is reached by that way alone.

    Returns:
      (layer, params, state), with the arrays that it needs, under the names they had. `train.outputs` computes the
      features of many images; `frozen(layer)` is a backbone to put a head on.

    Raises:
      ValueError: no such layer, naming those there are.

    Example:
      >>> model = create("lenet5")
      >>> layer, params, state = features(model, *model.init(jax.random.key(0)), until="max_pool2")
      >>> list(params)
      ['conv1', 'conv2']
      >>> y, _ = layer.apply(params, state, jax.numpy.ones((1, 28, 28, 1)))
      >>> y.shape
      (1, 5, 5, 16)
    """
    layer = layer_of("features", model)
    at(layer, until, op="features", argument="until")
    return _cut(layer, params, state, until)


def with_frozen(model: Model, *paths: str) -> Model:
    """The model with some layers as at inference (see `jaxcnn.layers.frozen`).

    Running statistics of these layers stay, and no gradient reaches their parameters. Weight decay would still shrink
    the parameters: `train.group_params` with the same paths keeps the optimizer away from them.

    Args:
      model: any; its parameters keep their names.
      *paths: of layers, as in `features`.

    Returns:
      A Model of the same name, options and parameters.

    Raises:
      ValueError: no such layer, naming those there are; no paths.

    Example:
      >>> model = create("lenet5")
      >>> backbone = [name for name in model.layer.children if name != "dense3"]
      >>> with_frozen(model, *backbone).name
      'lenet5'
    """
    if not paths:
        raise ValueError("with_frozen: `paths` must name at least one layer")
    layer = model.layer
    for path in paths:
        part = at(layer, path, op="with_frozen", argument="paths")
        layer = replace(layer, path, frozen(part), op="with_frozen", argument="paths")
    return dataclasses.replace(model, layer=layer)


# ---------------------------------------------------------------------------------------------------------------------


def _cut(layer: Layer, params: Tree, state: Tree, path: str) -> tuple[Layer, Tree, Tree]:
    if not path:
        return layer, params, state
    name, _, rest = path.partition("/")
    last, *trees = _cut(layer.children[name], params.get(name, {}), state.get(name, {}), rest)
    order = list(layer.children)
    before = [n for n in order[: order.index(name)] if n not in layer.aside] if layer.chained else []
    children = {n: layer.children[n] for n in before} | {name: last}
    # `combine` keeps the wrapping of a chain. Another layer becomes the chain of the layers that lead to the chosen
    # one.
    combine = layer.combine if layer.chained and name not in layer.aside else None
    cut = combine(children) if combine else serial(**children)
    params, state = (
        put({n: whole[n] for n in before if n in whole}, name, part)
        for whole, part in zip((params, state), trees, strict=True)
    )
    return cut, params, state


def _anatomy(layer: Layer) -> list[tuple[str, str]]:
    """Paths and kinds all the way down: what two models made alike have in common."""
    return [(place.path, place.layer.kind) for place in visit(layer)]
