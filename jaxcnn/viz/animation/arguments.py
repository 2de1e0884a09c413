"""Checks of the animations' arguments, small arrays of numbers."""

import numpy as np

MOST_FRAMES = 200


def array(function: str, argument: str, value: object, shapes: dict[int, str]) -> np.ndarray:
    """`value` as a float array with as many axes as the longest of `shapes`; missing last axes are added with length 1.

    Args:
      shapes: for each number of axes that is allowed, the words for such an array.

    Raises:
      ValueError: another number of axes, no values, values that are no finite numbers.
    """
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"viz.{function}: `{argument}` must hold numbers; got {value!r}") from None
    if numbers.ndim not in shapes:
        row = f"; a signal is an image of one row: {argument}[None]" if numbers.ndim == 1 else ""
        raise ValueError(
            f"viz.{function}: `{argument}` must be {' or '.join(shapes.values())}; got {numbers.shape}{row}"
        )
    if not numbers.size or not np.isfinite(numbers).all():
        raise ValueError(f"viz.{function}: `{argument}` must hold finite numbers, at least one; got {value!r}")
    return numbers.reshape(numbers.shape + (1,) * (max(shapes) - numbers.ndim))


def check_frames(function: str, count: int) -> None:
    """ValueError where an animation would be too long to watch."""
    if count > MOST_FRAMES:
        raise ValueError(
            f"viz.{function}: `x` would give {count} frames, and at most {MOST_FRAMES} are drawn; take a part of it, "
            "such as x[:8, :8]"
        )
