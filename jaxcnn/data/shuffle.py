"""Seeded orders that stay the same from one NumPy release to the next."""

import numpy as np

__all__ = ["permutation"]


def permutation(n: int, *seeds: int) -> np.ndarray:
    """The numbers 0 to n − 1 in an order fixed by the seeds.

    NumPy promises its bit generators' raw streams for good but `Generator.permutation` only within a release (NEP 19),
    so the order comes from sorting raw 64-bit numbers. Splits that results are reported on must not move.

    Args:
        n: how many, at least 0.
        *seeds: non-negative integers; another value of any of them gives another order.

    Returns:
        int64 array (n,).

    Raises:
        ValueError: a seed is negative or not an integer.

    >>> permutation(5, 0)
    array([3, 2, 1, 0, 4])
    """
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"seed must be an integer of at least 0; got {seed!r}.")
    return np.argsort(np.random.PCG64(list(seeds)).random_raw(n), kind="stable")
