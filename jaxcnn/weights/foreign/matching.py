"""Find what another library calls each layer: from a table of names, else by the layers' names, order or shapes.

Without a table, one of these is used only where it leaves no choice. In any case each array is checked afterwards.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from jaxcnn.files.errors import WeightsError
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.foreign.correspondence import Correspondence, assign, correspond
from jaxcnn.weights.foreign.dialects import DIALECTS, Dialect
from jaxcnn.weights.foreign.names import layer_names
from jaxcnn.weights.parts import Part, parts_of


def fill(
    model: Model,
    dialect: Dialect,
    arrays: Mapping[str, np.ndarray],
    *,
    names: Mapping[str, str] | None,
    order: Sequence[str] | None,
    where: str,
    check: Callable[[Mapping[str, str]], None] = lambda names: None,
    strict: bool = True,
) -> tuple[Tree, Tree]:
    """Make a model's (params, state) from another library's arrays.

    Args:
      model, dialect, arrays: the model to fill, the source's library, and the source's arrays by name.
      names: the library's name of each layer, by the layer's path; None finds them.
      order: the names of the library's layers in the order of computation, or None if it is not known.
      where: what messages call the source.
      check: a function of the names, called before any array is used; it raises if the layers do not fit.
      strict: False takes the arrays that fit, and warns about the others.

    Raises:
      Mismatch, WeightsError, ValueError: on the same conditions as in `from_torch`.
    """
    parts = parts_of(model)
    ignored: tuple[tuple[str, str], ...] = ()
    if names is None:
        layers = _grouped(arrays, dialect)
        known = layer_names(dialect.families, model, [part.path for part in parts], layers)
        names, ignored = known or (_match(model, parts, dialect, layers, order, where, strict), ())
    correspondence = correspond(model, parts, dialect, names, ignored, strict)
    check(names)
    return correspondence.fill(arrays, where, strict)


def expected_names(model: Model, dialect: Dialect, names: Mapping[str, str] | None) -> set[str]:
    """The names of arrays that a source may have: by `names`, or by the library's tables and by our own names."""
    parts = parts_of(model)
    paths = [part.path for part in parts]
    if names is None:
        tables = [{path: family.name(path) for path in paths} for family in dialect.families.get(model.name, ())]
        ways: list[Mapping[str, str | None]] = [*tables, _own_names(paths, dialect)]
    else:
        ways = [dict(names)]
    return {
        one.source
        for way in ways
        for part in parts
        if (name := way.get(part.path))
        for one in assign(part, dialect, name)
    }


def explain(model: Model, library: str) -> Correspondence:
    """Tell which array of another library becomes which array of a model, and why it is transposed; print the result.

    Args:
      model: any model. Where no table has its names, the library's layers are taken to be called as they are here.
      library: "torch", "keras" or "arrays".

    Returns:
      A `Correspondence`, whose `assignments` are the rows of the table. For Keras, it also prints the settings of the
      model's layers with which a source's configuration is compared.

    Raises:
      ValueError: a `library` that is none of the three.

    Example:
      >>> from jaxcnn import models
      >>> print(explain(models.create("zero_one"), "torch"))
      zero_one from PyTorch
      params/conv1/bias     conv1.bias
      params/conv1/kernel   conv1.weight   OIHW→HWIO
      params/dense1/bias    dense1.bias
      params/dense1/kernel  dense1.weight  OI→IO, CHW→HWC
      params/dense2/bias    dense2.bias
      params/dense2/kernel  dense2.weight  OI→IO
      OIHW→HWIO: PyTorch keeps a kernel as (out, in, *window)...
      OI→IO: PyTorch's dense layer multiplies by the transposed matrix...
      CHW→HWC: the map in front is flattened, in PyTorch channel by channel...
      ignored .*\\bnum_batches_tracked: PyTorch counts batches only for...
    """
    if library not in DIALECTS:
        raise ValueError(f"weights.explain: `library` must be one of {', '.join(DIALECTS)}; got {library!r}")
    dialect, parts = DIALECTS[library], parts_of(model)
    paths = [part.path for part in parts]
    names, ignored = layer_names(dialect.families, model, paths) or (_own_names(paths, dialect), ())
    return correspond(model, parts, dialect, names, ignored)


# ---------------------------------------------------------------------------------------------------------------------

Layers = Mapping[str, Mapping[str, np.ndarray]]  # arrays by the library's layer, then by the array's whole name


def _own_names(paths: Iterable[str], dialect: Dialect) -> dict[str, str]:
    """Our own names of the layers, joined by the sign that the library puts between names."""
    return {path: path.replace("/", dialect.joint) for path in paths}


def _match(
    model: Model,
    parts: Sequence[Part],
    dialect: Dialect,
    layers: Layers,
    order: Sequence[str] | None,
    where: str,
    strict: bool,
) -> dict[str, str]:
    own = _own_names([part.path for part in parts], dialect)
    if set(own.values()) == set(layers) or (not strict and set(own.values()) & set(layers)):
        return own
    if order is not None:
        return _by_order(model, parts, layers, order, where)
    return _by_shape(model, parts, dialect, layers, where)


def _grouped(arrays: Mapping[str, np.ndarray], dialect: Dialect) -> dict[str, dict[str, np.ndarray]]:
    """The library's arrays, grouped by layer, without those that the dialect ignores."""
    ignored = [re.compile(pattern) for pattern, _ in dialect.ignored]
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, value in arrays.items():
        if not any(pattern.fullmatch(name) for pattern in ignored):
            layers.setdefault(name.rpartition(dialect.joint)[0], {})[name] = value
    return layers


def _by_order(model: Model, parts: Sequence[Part], layers: Layers, order: Sequence[str], where: str) -> dict[str, str]:
    """Match layers by their order within each kind: the first convolution with the first convolution, and so on."""
    names: dict[str, str] = {}
    for kind in ("convolution", "dense", "norm"):
        ours = [part.path for part in parts if part.role == kind]
        theirs = [name for name in order if name in layers and _kind(layers[name]) == kind]
        if len(ours) != len(theirs):
            raise WeightsError(
                f"{where}: the arrays do not fit {model.name}; the model has {len(ours)} layers of the kind {kind} "
                f"({', '.join(ours) or 'none'}), the source {len(theirs)} ({', '.join(theirs) or 'none'})"
            )
        names |= dict(zip(ours, theirs, strict=True))
    return names


def _by_shape(model: Model, parts: Sequence[Part], dialect: Dialect, layers: Layers, where: str) -> dict[str, str]:
    """Match each part with the only layer whose arrays have its names and shapes; raise if there is none or several."""
    names = {part.path: [name for name in layers if _fits(part, dialect, name, layers[name])] for part in parts}
    left = [name for name in layers if [name] not in names.values()]
    unsure = [part for part in parts if len(names[part.path]) != 1]
    if unsure or left:
        needed = [f"{p.path} ({', '.join(names[p.path]) or f'none; it needs {_needed(p, dialect)}'})" for p in unsure]
        there = [f"{name} {_shapes(layers[name])}" for name in left]
        said = (("layers that fit none or several of the source's: ", needed), ("not matched: ", there))
        advice = "Say which by names={path here: name there}"
        if any(not names[part.path] for part in unsure):
            advice = "Where none fits, make the model with the shapes of the source"
        raise WeightsError(
            f"{where}: no table has the names of {model.name}, and shapes alone do not tell which layer is which; "
            + "; ".join(what + ", ".join(found) for what, found in said if found)
            + f". {advice}"
        )
    return {path: found[0] for path, found in names.items()}


def _needed(part: Part, dialect: Dialect) -> str:
    """The names and shapes of a part's arrays in the library's layout, for messages."""
    return " ".join(
        f"{one.source.rpartition(dialect.joint)[2]} {one.source_shape}" for one in assign(part, dialect, "")
    )


def _shapes(arrays: Mapping[str, np.ndarray]) -> str:
    return " ".join(f"{re.split(r'[./]', name)[-1]} {np.shape(value)}" for name, value in arrays.items())


def _fits(part: Part, dialect: Dialect, name: str, arrays: Mapping[str, np.ndarray]) -> bool:
    assignments = assign(part, dialect, name)
    if {one.source for one in assignments} != set(arrays):
        return False
    return all(one.shape_from(np.shape(arrays[one.source])) == one.shape for one in assignments)


def _kind(arrays: Mapping[str, np.ndarray]) -> str:
    most = max(np.ndim(value) for value in arrays.values())
    return {0: "norm", 1: "norm", 2: "dense"}.get(most, "convolution")
