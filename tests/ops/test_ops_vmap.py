"""vmap of every operation, over its input, its kernel and both, against a Python loop over the reference. Float64."""

import functools

import jax
import jax.numpy as jnp
import pytest
from ops_table import CASES, KERNEL_CASES, loss
from tolerances import assert_same

every_op = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_kernel_op = pytest.mark.parametrize("case", KERNEL_CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


@functools.cache
def reference(name):
    """The reference and its gradients, compiled once for all loops."""
    (case,) = (case for case in CASES if case.name == name)
    every = tuple(range(len(case.shapes)))
    return jax.jit(case.reference), jax.jit(jax.grad(functools.partial(loss, case.reference), argnums=every))


def loop(function, n, *stacks):
    """`function` of each of the n slices, stacked; a stack that is None is not sliced."""
    return jnp.stack([function(*(s[i] if mapped else s for s, mapped in stacks)) for i in range(n)])


@every_op
def test_over_x(case):
    """The cheap case: the mapped axis is folded into the batch."""
    value, _ = reference(case.name)
    xs, *kernel = case.arguments(lead=((3,), ()))
    y = jax.jit(jax.vmap(case.function, in_axes=(0, *[None] * len(kernel))))(xs, *kernel)
    assert_same(y, loop(value, 3, (xs, True), *((k, False) for k in kernel)))


@every_op
def test_over_an_axis_that_is_not_the_first(case):
    value, _ = reference(case.name)
    xs, *kernel = case.arguments(lead=((3,), ()))
    y = jax.jit(jax.vmap(case.function, in_axes=(2, *[None] * len(kernel)), out_axes=-1))(
        jnp.moveaxis(xs, 0, 2), *kernel
    )
    assert_same(jnp.moveaxis(y, -1, 0), loop(value, 3, (xs, True), *((k, False) for k in kernel)))


@every_op
def test_of_gradient_over_everything(case):
    """Per-example gradients where each example has its own arguments."""
    _, gradients = reference(case.name)
    stacks = case.arguments(lead=((3,), (3,)))
    every = tuple(range(len(stacks)))
    mapped = jax.jit(jax.vmap(jax.grad(functools.partial(loss, case.function), argnums=every)))(*stacks)
    for argument in every:
        expected = loop(lambda *a, argument=argument: gradients(*a)[argument], 3, *((s, True) for s in stacks))
        assert_same(mapped[argument], expected)


@every_op
def test_of_gradient_over_x(case):
    """The input's gradient alone: pooling's transposes, and a convolution's with one kernel for all."""
    _, gradients = reference(case.name)
    xs, *kernel = case.arguments(lead=((2,), ()))
    unmapped = [None] * len(kernel)
    mapped = jax.jit(jax.vmap(jax.grad(functools.partial(loss, case.function)), (0, *unmapped)))(xs, *kernel)
    assert_same(mapped, loop(lambda *a: gradients(*a)[0], 2, (xs, True), *((k, False) for k in kernel)))


@every_op
def test_nested(case):
    """x by the outer map (along axis 1) and by the inner; the kernel by the outer only."""
    value, _ = reference(case.name)
    arguments = case.arguments(lead=((2, 3), (2,)))
    more = len(arguments) - 1
    inner = jax.vmap(case.function, in_axes=(0, *[None] * more))
    outer = jax.jit(jax.vmap(inner, in_axes=(1, *[0] * more)))
    y = outer(jnp.moveaxis(arguments[0], 0, 1), *arguments[1:])
    rows = [loop(value, 3, (arguments[0][i], True), *((k[i], False) for k in arguments[1:])) for i in range(2)]
    assert_same(y, jnp.stack(rows))


@every_op
def test_of_jvp_over_tangents(case):
    """What jacfwd is made of: the primal unmapped, its tangent mapped, and the tangent's axis not the first."""
    arguments = case.arguments()
    tangents = case.arguments(seed=1, lead=((3,), (3,)))

    def push(function, *tangent):
        return jax.jvp(function, arguments, list(tangent))[1]

    mapped = jax.jit(jax.vmap(functools.partial(push, case.function), in_axes=1))(
        *(jnp.moveaxis(t, 0, 1) for t in tangents)
    )
    one = jax.jit(functools.partial(push, case.reference))
    assert_same(mapped, loop(one, 3, *((t, True) for t in tangents)))


@every_kernel_op
def test_over_kernels(case):
    """An ensemble: one input, many kernels."""
    value, _ = reference(case.name)
    x, kernels = case.arguments(lead=((), (3,)))
    y = jax.jit(jax.vmap(case.function, in_axes=(None, 0)))(x, kernels)
    assert_same(y, loop(value, 3, (x, False), (kernels, True)))


@every_kernel_op
def test_over_kernels_along_their_last_axis(case):
    value, _ = reference(case.name)
    x, kernels = case.arguments(lead=((), (3,)))
    y = jax.jit(jax.vmap(case.function, in_axes=(None, -1)))(x, jnp.moveaxis(kernels, 0, -1))
    assert_same(y, loop(value, 3, (x, False), (kernels, True)))


@every_kernel_op
def test_over_both(case):
    value, _ = reference(case.name)
    xs, kernels = case.arguments(lead=((3,), (3,)))
    assert_same(jax.jit(jax.vmap(case.function))(xs, kernels), loop(value, 3, (xs, True), (kernels, True)))


@every_kernel_op
def test_per_example_gradients(case):
    """One kernel, and its gradient for every example apart."""
    _, gradients = reference(case.name)
    xs, kernel = case.arguments(lead=((3,), ()))
    mapped = jax.jit(jax.vmap(jax.grad(functools.partial(loss, case.function), argnums=1), (0, None)))(xs, kernel)
    assert_same(mapped, loop(lambda x, w: gradients(x, w)[1], 3, (xs, True), (kernel, False)))


@every_kernel_op
def test_gradient_of_an_ensemble_on_one_input(case):
    """x is shared, so its gradient is the sum over the ensemble; each kernel has its own."""
    _, gradients = reference(case.name)
    x, kernels = case.arguments(lead=((), (3,)))
    ensemble = jax.vmap(case.function, in_axes=(None, 0))
    dx, dk = jax.jit(jax.grad(functools.partial(loss, ensemble), argnums=(0, 1)))(x, kernels)
    assert_same(dx, loop(lambda x, w: gradients(x, w)[0], 3, (x, False), (kernels, True)).sum(0))
    assert_same(dk, loop(lambda x, w: gradients(x, w)[1], 3, (x, False), (kernels, True)))


@pytest.mark.parametrize("case", [CASES[0], CASES[6]], ids=lambda case: case.name)
def test_over_single_images_is_the_batched_call(case):
    """`vmap(conv)` over single images and `conv` on a batch are one computation."""
    x, *kernel = case.arguments()
    one_by_one = jax.vmap(case.function, in_axes=(0, *[None] * len(kernel)))(x, *kernel)
    assert_same(one_by_one, case.function(x, *kernel), 0)


@every_op
def test_over_nothing(case):
    """A map of length 0 is as empty, whether it is folded into the batch or counts kernels; its gradient too."""
    stacks = case.arguments(lead=((0,), (0,)))
    y, pull = jax.vjp(jax.vmap(case.function), *stacks)
    assert y.shape == (0, *jax.eval_shape(case.function, *case.arguments()).shape)
    assert [g.shape for g in pull(y)] == [s.shape for s in stacks]
