"""Several devices and other platforms: shard_map with its checks on, automatic sharding, and export. Float64.

tests/conftest.py asks for two CPU devices before JAX starts.
"""

import functools

import jax
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from ops_table import CASES, KERNEL_CASES, TILED_CASES, expected, loss, tiles_of
from tolerances import assert_same

every_op = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_kernel_op = pytest.mark.parametrize("case", KERNEL_CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def mesh():
    assert len(jax.devices()) >= 2, "tests/conftest.py came too late, or XLA_FLAGS asks for one device"
    return jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))


def specs(case):
    """The batch shared out, the kernel on every device."""
    return (P("data"), P())[: len(case.shapes)]


def shared_out(case, mesh):
    return jax.shard_map(case.function, mesh=mesh, in_specs=specs(case), out_specs=P("data"), check_vma=True)


def expected_parts(case):
    """The gradient of the loss, per argument."""
    e = expected(case.name)
    return e.unravel(e.gradient)


@every_op
def test_shard_map(case, mesh):
    y = jax.jit(shared_out(case, mesh))(*case.arguments())
    assert len(y.sharding.device_set) == 2
    assert_same(np.asarray(y).ravel(), expected(case.name).value)


@every_op
def test_gradient_through_shard_map(case, mesh):
    arguments = case.arguments()
    every = tuple(range(len(arguments)))
    gradients = jax.jit(jax.grad(functools.partial(loss, shared_out(case, mesh)), argnums=every))(*arguments)
    for actual, wanted in zip(gradients, expected_parts(case), strict=True):
        assert_same(actual, wanted)


@every_kernel_op
def test_gradient_of_a_replicated_kernel_inside_shard_map(case, mesh):
    """Data-parallel training: each device differentiates its share; the replicated kernel's gradient is the sum."""

    def kernel_gradient(x, kernel):
        return jax.grad(functools.partial(loss, case.function), argnums=1)(x, kernel)

    mapped = jax.shard_map(kernel_gradient, mesh=mesh, in_specs=(P("data"), P()), out_specs=P(), check_vma=True)
    assert_same(jax.jit(mapped)(*case.arguments()), expected_parts(case)[1])


@pytest.mark.parametrize("case", TILED_CASES, ids=lambda case: case.name)
def test_gradient_through_shard_map_in_tiles(case, mesh):
    """What a loop over tiles carries must vary over the mesh as what it is fed does."""
    with tiles_of(200):
        step = jax.jit(jax.grad(functools.partial(loss, shared_out(case, mesh)), argnums=(0, 1)))
        assert "stablehlo.while" in step.lower(*case.arguments()).as_text(), "the budget makes no tiles here"
        gradients = step(*case.arguments())
    for actual, wanted in zip(gradients, expected_parts(case), strict=True):
        assert_same(actual, wanted)


@every_op
def test_forward_mode_inside_shard_map(case, mesh):
    """Tangents vary over the mesh as their primals do, second derivatives too."""
    e = expected(case.name)

    def product(arguments, tangents):
        return jax.jvp(jax.grad(lambda a: loss(case.function, *a)), (arguments,), (tangents,))[1]

    spec = specs(case)
    mapped = jax.shard_map(product, mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=True)
    tangents = case.arguments(seed=1)
    actual = jax.jit(mapped)(tuple(case.arguments()), tuple(tangents))
    flat = np.concatenate([np.ravel(t) for t in tangents])
    for part, wanted in zip(actual, e.unravel(e.hessian @ flat), strict=True):
        assert_same(part, wanted)


@every_op
def test_automatic_sharding(case, mesh):
    """The same program, shared out by the compiler, forward and backward."""
    arguments = case.arguments()
    every = tuple(range(len(arguments)))
    places = tuple(NamedSharding(mesh, spec) for spec in specs(case))
    step = jax.jit(
        lambda *a: (case.function(*a), jax.grad(functools.partial(loss, case.function), argnums=every)(*a)),
        in_shardings=places,
    )
    y, gradients = step(*arguments)
    assert_same(np.asarray(y).ravel(), expected(case.name).value)
    for actual, wanted in zip(gradients, expected_parts(case), strict=True):
        assert_same(actual, wanted)


@every_op
def test_export(case):
    """Lowered for three platforms at once (which needs none of them), and called on this one."""
    arguments = case.arguments()
    every = tuple(range(len(arguments)))

    def step(*a):
        return case.function(*a), jax.grad(functools.partial(loss, case.function), argnums=every)(*a)

    exported = export.export(jax.jit(step), platforms=("cpu", "cuda", "tpu"))(*arguments)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    y, gradients = exported.call(*arguments)
    assert_same(np.asarray(y).ravel(), expected(case.name).value)
    for actual, wanted in zip(gradients, expected_parts(case), strict=True):
        assert_same(actual, wanted)
