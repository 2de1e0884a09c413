"""Seeded random orders that stay the same from one NumPy release to the next."""

import numpy as np

__all__ = ["permutation"]


def permutation(n: int, *seeds: int) -> np.ndarray:
    """The numbers 0 to n − 1 in an order fixed by the seeds.

    NumPy keeps the raw numbers of its bit generators for good, but `Generator.permutation` only within a release
    (NEP 19). So the order comes from sorting raw 64-bit numbers: a split that results are reported on must not change.

    Args:
      n: how many numbers, at least 0.
      *seeds: integers of at least 0; every tuple of seeds has an order of its own.

    Returns:
      int64 array (n,).

    Raises:
      ValueError: a seed is negative or not an integer.

    Example:
      >>> permutation(5, 0)
      array([3, 2, 1, 0, 4])
    """
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"permutation: a seed must be an integer of at least 0; got {seed!r}")
    return np.argsort(np.random.PCG64(list(seeds)).random_raw(n), kind="stable")
