"""Every transformation of every operation: what JAX derives from our rules is what the reference's derivatives say.

All in float64, to 1e-10. The reference's value, Jacobian and Hessian (ops_table.expected) predict every derivative.
"""

import jax
import jax.numpy as jnp
import pytest
from ops_table import CASES, TILED_CASES, direction, expected, loss, tiles_of
from tolerances import assert_same

every_op = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def prepared(case):
    """The expected numbers, the op from vector to vector, the loss of it, and a direction in its domain."""
    e = expected(case.name)
    f = e.flat(case.function)
    return e, f, lambda flat: loss(f, flat), direction(e.at.size, seed=1)


@every_op
def test_value_under_jit(case):
    e, f, _, _ = prepared(case)
    assert_same(jax.jit(f)(e.at), e.value)


@every_op
def test_grad(case):
    e, _, scalar, _ = prepared(case)
    assert_same(jax.jit(jax.grad(scalar))(e.at), e.gradient)


@every_op
def test_eager_grad(case):
    """Outside jit every primitive is dispatched on its own."""
    e, _, scalar, _ = prepared(case)
    assert_same(jax.grad(scalar)(e.at), e.gradient)


@every_op
def test_grad_of_grad(case):
    e, _, scalar, v = prepared(case)
    twice = jax.grad(lambda a: jnp.vdot(jax.grad(scalar)(a), v))
    assert_same(jax.jit(twice)(e.at), e.hessian @ v)


@every_op
def test_jvp(case):
    e, f, _, v = prepared(case)
    y, dy = jax.jit(lambda a, t: jax.jvp(f, (a,), (t,)))(e.at, v)
    assert_same(y, e.value)
    assert_same(dy, e.jacobian @ v)


@every_op
def test_jacfwd(case):
    e, f, _, _ = prepared(case)
    assert_same(jax.jit(jax.jacfwd(f))(e.at), e.jacobian)


@every_op
def test_jacrev(case):
    e, f, _, _ = prepared(case)
    assert_same(jax.jit(jax.jacrev(f))(e.at), e.jacobian)


@every_op
def test_linearize_and_its_transpose(case):
    e, f, _, v = prepared(case)
    ct = direction(e.value.size, seed=2)

    @jax.jit
    def both(a):
        y, push = jax.linearize(f, a)
        (pulled,) = jax.linear_transpose(push, a)(ct)
        return y, push(v), pulled

    y, pushed, pulled = both(e.at)
    assert_same(y, e.value)
    assert_same(pushed, e.jacobian @ v)
    assert_same(pulled, e.jacobian.T @ ct)


@every_op
def test_hessian(case):
    e, _, scalar, _ = prepared(case)
    assert_same(jax.jit(jax.hessian(scalar))(e.at), e.hessian)


@every_op
def test_hessian_vector_products_both_ways(case):
    e, _, scalar, v = prepared(case)

    @jax.jit
    def both(a):
        forward_over_reverse = jax.jvp(jax.grad(scalar), (a,), (v,))[1]
        reverse_over_forward = jax.grad(lambda a: jax.jvp(scalar, (a,), (v,))[1])(a)
        return forward_over_reverse, reverse_over_forward

    for product in both(e.at):
        assert_same(product, e.hessian @ v)


@every_op
def test_checkpoint(case):
    e, f, _, _ = prepared(case)
    once_more = jax.checkpoint(f)
    assert_same(jax.jit(jax.grad(lambda a: loss(once_more, a)))(e.at), e.gradient)


@every_op
def test_scan(case):
    """Two steps over two inputs, the second the negative of the first; and the gradient through the loop."""
    e, f, scalar, _ = prepared(case)

    def summed(stack):
        total, values = jax.lax.scan(lambda total, a: (total + scalar(a), f(a)), 0.0, stack)
        return total, values

    stack = jnp.stack([e.at, -e.at])
    (_, values), gradient = jax.jit(jax.value_and_grad(summed, has_aux=True))(stack)
    assert_same(values[0], e.value)
    assert_same(values[1], e.flat(case.reference)(-e.at))
    assert_same(gradient[0], e.gradient)


@every_op
def test_while_loop(case):
    """Σ i·f(a) for i = 0, 1, 2 is 3 f(a); forward mode passes a while loop, reverse mode never does."""
    e, f, _, v = prepared(case)

    def weighted(a):
        return jax.lax.while_loop(
            lambda carry: carry[0] < 3, lambda carry: (carry[0] + 1, carry[1] + carry[0] * f(a)), (0, 0 * f(a))
        )[1]

    y, dy = jax.jit(lambda a: jax.jvp(weighted, (a,), (v,)))(e.at)
    assert_same(y, 3 * e.value)
    assert_same(dy, 3 * e.jacobian @ v)


@every_op
def test_fori_loop(case):
    """The same with a fixed number of steps, which reverse mode passes too."""
    e, _, scalar, _ = prepared(case)

    def weighted(a):
        return jax.lax.fori_loop(0, 3, lambda i, total: total + i * scalar(a), 0.0)

    assert_same(jax.jit(jax.grad(weighted))(e.at), 3 * e.gradient)


@pytest.mark.parametrize("case", TILED_CASES, ids=lambda case: case.name)
def test_hessian_of_a_convolution_in_tiles(case):
    """The loops over tiles are inside the primitives; no derivative is taken of a loop."""
    e, _, scalar, _ = prepared(case)
    with tiles_of(200):
        assert_same(jax.jit(jax.hessian(scalar))(e.at), e.hessian)


@every_op
def test_jit_can_be_switched_off(case):
    """`jax.disable_jit` is how users step through a program with a debugger."""
    e, f, _, _ = prepared(case)
    with jax.disable_jit():
        assert_same(f(e.at), e.value)
