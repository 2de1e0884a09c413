"""Take a PyTorch state dict out of what wraps it: other dictionaries, and prefixes of names."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn.files.errors import WeightsError

DEPTH = 20  # the most levels of nesting to search
OPTIMIZERS = re.compile(r"(?i).*(optim|sched|scaler|callback|loops|rng).*")  # keys whose tensors are not weights
WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")  # before any module's name
BESIDE = re.compile(r"n_averaged|.*\b_extra_state")  # entries of wrappers and modules that are no weights
Way = tuple[str | int, ...]  # the keys and positions that lead to a state dict


def arrays_in(source: Mapping[str, Any], where: str, opening: str) -> dict[str, np.ndarray]:
    """The arrays, by name, of the only state dict in a source, at any depth.

    Args:
      source: a checkpoint, as nested dicts and lists.
      where: what messages call the source.
      opening: the Python expression that opens the source, for messages.

    Raises:
      WeightsError: no state dict, several of them, or a tensor whose values cannot be read as a plain array.
    """
    if not source:
        return {}
    found = dict(_state_dicts(source, (), []))
    if len(found) > 1:
        listed = ", ".join(f"{opening}{_subscripts(way)} with {len(one)} arrays" for way, one in found.items())
        raise WeightsError(f"{where}: holds {len(found)} state dicts; give one of them as `source`: {listed}")
    if not found:
        held = ", ".join(f"{name}: {type(value).__name__}" for name, value in list(source.items())[:8])
        raise WeightsError(f"{where}: expected arrays by name, found {held}")
    (tensors,) = found.values()
    kept = {WRAPPERS.sub("", name): value for name, value in tensors.items() if not BESIDE.fullmatch(name)}
    return {name: _array(name, value, where) for name, value in kept.items()}


def without_prefix(arrays: Mapping[str, np.ndarray], expected: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays, their names without the prefix whose removal gives the most expected names; unchanged if none does.

    If no expected name is found, a prefix of all names is removed where it leaves names that begin with a number, as in
    an nn.Sequential inside a module.
    """
    parts = [name.split(".") for name in arrays]
    prefixes = dict.fromkeys(".".join([*way[:i], ""]) if i else "" for way in parts for i in range(len(way)))
    if expected:
        wanted = set(expected)

        def hits(prefix: str) -> int:
            return sum(name.removeprefix(prefix) in wanted for name in arrays)

        best = max(prefixes, key=lambda prefix: (hits(prefix), -len(prefix)), default="")
        if hits(best):
            return {name.removeprefix(best): value for name, value in arrays.items()}
    for prefix in sorted(prefixes, key=len):
        left = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
        if len(left) == len(arrays) and all(re.match(r"\d+\.", name) for name in left):
            return left
    return dict(arrays)


def _state_dicts(value: Any, way: Way, above: list[int]) -> Iterator[tuple[Way, Mapping[str, Any]]]:
    """Every mapping of names to tensors that may be a network's weights, with the way that leads to it."""
    if len(above) > DEPTH or id(value) in above:
        return
    inner: list[tuple[str | int, Any]]
    if isinstance(value, Mapping):
        plain = {name: one for name, one in value.items() if not (isinstance(name, str) and BESIDE.fullmatch(name))}
        if plain and all(isinstance(name, str) and _is_tensor(one) for name, one in plain.items()):
            if way == () or any(_is_nested(one) or len(one.shape) > 1 for one in plain.values()):
                yield way, plain
            return
        inner = [(name, one) for name, one in value.items() if isinstance(name, str) and not OPTIMIZERS.fullmatch(name)]
    elif isinstance(value, list | tuple):
        inner = list(enumerate(value))
    else:
        return
    for name, one in inner:
        yield from _state_dicts(one, (*way, name), [*above, id(value)])


def _is_nested(value: Any) -> bool:
    """Whether a value is a nested tensor; it has no shape, and reading `shape` raises an error."""
    return bool(getattr(value, "is_nested", False))


def _is_tensor(value: Any) -> bool:
    return _is_nested(value) or (
        hasattr(value, "shape")
        and hasattr(value, "dtype")
        and (hasattr(value, "detach") or hasattr(value, "__array__"))
    )


def _subscripts(way: Way) -> str:
    return "".join(f"[{step!r}]" for step in way)


def _array(name: str, value: Any, where: str) -> np.ndarray:
    if not hasattr(value, "detach"):
        return np.asarray(value)
    kind = next(
        (kind for kind in ("sparse", "meta", "quantized", "nested") if getattr(value, f"is_{kind}", False)), None
    )
    if kind or str(getattr(value, "layout", "torch.strided")) != "torch.strided":
        raise WeightsError(f"{where}: {name} is a {kind or value.layout} tensor; only plain (dense) ones can be read")
    value = value.detach().cpu()
    try:
        if str(value.dtype) == "torch.bfloat16":  # NumPy has no bfloat16, and float32 holds every bfloat16
            return value.float().numpy().astype(jnp.bfloat16)
        return (value.float() if "float8" in str(value.dtype) else value).resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        raise WeightsError(f"{where}: {name} cannot be read: {str(error).splitlines()[0]}") from None
