"""A primitive's rules for JAX's optional interpreters: `checkify`, which finds NaNs, and `jet`, for Taylor series."""

import functools
from collections.abc import Callable

from jax._src import checkify
from jax.experimental import jet
from jax.extend.core import Primitive


def look_for_nan(primitive: Primitive) -> None:
    """Let `checkify.float_checks` say where a primitive makes a NaN."""
    checkify.error_checks[primitive] = functools.partial(checkify.nan_error_check, primitive)


def bilinear_series(primitive: Primitive) -> None:
    """The Taylor series of an operation that is linear in each of two operands: a product of their series."""
    jet.jet_rules[primitive] = functools.partial(jet._bilinear_taylor_rule, primitive)


def linear_series(primitive: Primitive, tangent: Callable) -> None:
    """The Taylor series of an operation that maps each term of x by `tangent(term, x, *constants, **static)`."""

    def rule(primals, series, **static):
        x, *constants = primals
        terms = [tangent(term, x, *constants, **static) for term in series[0]]
        return primitive.bind(*primals, **static), terms

    rules: dict[Primitive, Callable] = jet.jet_rules
    rules[primitive] = rule


def series_of(primitive: Primitive, function: Callable) -> None:
    """The Taylor series that `jet` finds for `function(x, *constants, **static)`, in x alone."""

    def rule(primals, series, **static):
        x, *constants = primals
        _, terms = jet.jet(lambda x: function(x, *constants, **static), (x,), (series[0],), factorial_scaled=False)
        return primitive.bind(*primals, **static), terms

    rules: dict[Primitive, Callable] = jet.jet_rules
    rules[primitive] = rule
