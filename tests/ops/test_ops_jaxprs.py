"""Programs are read by the facts beside each primitive, never by its name, and all that is inside of them counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxcnn import ops
from jaxcnn.ops import bilinear, convolution, jaxprs
from jaxcnn.ops.geometry import Window
from jaxcnn.ops.plan import Problem

PROBLEM = Problem(Window((3, 2), (2, 1), ((0, 0), (0, 0)), (1, 2)), (9, 8), 2, "auto", None)  # nothing is padded
X, W, Y = (2, 9, 8, 4), (3, 2, 2, 6), (2, 4, 6, 6)
PRODUCTS = {
    convolution.output_product: (X, W),
    convolution.input_gradient: (Y, W),
    convolution.kernel_gradient: (X, Y),
}
TERMS = np.prod(Y) * 3 * 2 * 2


def counted(function, *shapes):
    return jaxprs.multiply_adds(jax.make_jaxpr(function)(*map(jnp.ones, shapes)))


def named(operation):
    return operation.primitive.name


# ------------------------------------------------------------------------------------------------- facts of primitives


def test_every_product_says_how_many_multiply_adds_it_takes():
    saying = {op for op in bilinear.OPERATIONS.values() if op.multiply_adds}
    assert saying == set(PRODUCTS), "each has a case below"
    silent = bilinear.Operation(
        "silent", shape=lambda x, y: x.shape, compute=lambda x, y, lowering: x * y, axes=lambda x, y: ()
    )
    with pytest.raises(TypeError, match="silent: a product must say how many multiply-adds"):
        bilinear.bilinear(silent, lambda ct, y: ct * y, lambda ct, x: ct * x)
    del bilinear.OPERATIONS[silent.primitive]


@pytest.mark.parametrize("product", PRODUCTS, ids=named)
def test_a_product_of_ones_is_the_number_of_its_multiply_adds(product):
    operands = [jnp.ones(shape) for shape in PRODUCTS[product]]
    assert product(*operands, problem=PROBLEM).sum() == TERMS
    assert counted(lambda *operands: product(*operands, problem=PROBLEM), *PRODUCTS[product]) == TERMS


@pytest.mark.parametrize("mapped", [(0, None), (None, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("product", PRODUCTS, ids=named)
def test_each_member_counts_once_under_vmap(product, mapped):
    def shapes(n):
        given = zip(PRODUCTS[product], mapped, strict=True)
        return [shape if axis is None else (*n, *shape) for shape, axis in given]

    once = jax.vmap(lambda *operands: product(*operands, problem=PROBLEM), mapped)
    assert counted(once, *shapes((5,))) == 5 * TERMS
    assert counted(jax.vmap(once, mapped), *shapes((3, 5))) == 15 * TERMS


def test_a_primitive_by_another_name_is_counted_all_the_same(monkeypatch):
    for product in PRODUCTS:
        monkeypatch.setattr(product.primitive, "name", "renamed")
    assert counted(lambda x, w: convolution.output_product(x, w, problem=PROBLEM), X, W) == TERMS
    gradients = jax.grad(lambda x, w: convolution.output_product(x, w, problem=PROBLEM).sum(), (0, 1))
    assert counted(gradients, X, W) == 3 * TERMS


def test_a_padded_convolution_counts_the_taps_on_padding():
    assert counted(lambda x, w: ops.conv(x, w, padding="SAME"), (1, 4, 4, 1), (3, 3, 1, 2)) == 16 * 2 * 9


# ------------------------------------------------------------------------------------------------ what is inside counts


def product(x):
    return x @ x  # 27 multiply-adds of 3 × 3


@jax.custom_jvp
def own_jvp(x):
    return product(x)


own_jvp.defjvp(lambda primals, tangents: (product(*primals), product(*tangents)))


@jax.custom_vjp
def own_vjp(x):
    return product(x)


own_vjp.defvjp(lambda x: (product(x), x), lambda x, ct: (product(ct),))


@jax.custom_batching.custom_vmap
def own_vmap(x):
    return product(x)


own_vmap.def_vmap(lambda size, mapped, x: (jax.vmap(product)(x), mapped[0]))


def on_one_device(x):
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(product, mesh=mesh, in_specs=P(), out_specs=P())(x)


INSIDE = {
    "jit": (jax.jit(product), 1),
    "jit in jit": (jax.jit(lambda x: jax.jit(product)(x) + product(x)), 2),
    "checkpoint": (jax.checkpoint(product), 1),
    "custom_jvp": (own_jvp, 1),
    "custom_vjp": (own_vjp, 1),
    "custom_vmap": (own_vmap, 1),
    "shard_map": (on_one_device, 1),
    "scan": (lambda x: lax.scan(lambda c, _: (product(c), None), x, None, length=7)[0], 7),
    "map": (lambda x: lax.map(lambda _: product(x), jnp.arange(4)), 4),
    "scan in scan": (
        lambda x: lax.fori_loop(0, 3, lambda i, c: lax.fori_loop(0, 2, lambda i, c: product(c), c), x),
        6,
    ),
    "cond, the largest branch": (lambda x: lax.cond(x[0, 0] > 0, product, lambda x: product(product(x)), x), 2),
    "while, once": (lambda x: lax.while_loop(lambda c: product(c)[0, 0] < 9, lambda c: product(product(c)), x), 3),
    "platform_dependent": (lambda x: lax.platform_dependent(x, cpu=product, default=lambda x: x), 1),
    "nothing": (lambda x: jnp.sort(x).at[0].add(1.0).sum(), 0),
}


@pytest.mark.parametrize("name", INSIDE)
def test_what_is_inside_counts_as_often_as_it_runs(name):
    function, times = INSIDE[name]
    assert counted(function, (3, 3)) == 27 * times


def test_the_program_of_a_reduction_or_scatter_is_not_called_with_its_operands():
    reduction = jax.make_jaxpr(lambda x: lax.reduce(x, 0.0, lambda a, b: a * b + 1, (0,)))(jnp.ones((4, 5)))
    assert jaxprs.called(reduction.eqns[-1]) is None
    scatter = jax.make_jaxpr(lambda x: x.at[jnp.array([1])].add(x[:1]))(jnp.ones((4, 5)))
    (added,) = (e for e in scatter.eqns if e.primitive.name.startswith("scatter"))
    assert jaxprs.called(added) is None


# -------------------------------------------------------------------------------------------------------- step by step


def test_a_program_is_evaluated_equation_by_equation_with_its_calls_opened():
    constant = np.arange(3.0, dtype=np.float32)

    def function(x, y):
        return jax.jit(lambda x: jnp.sin(x) * 2.0 + constant)(x) - y, jax.nn.relu(y), x

    x, y = jnp.ones(3), jnp.arange(3.0)
    seen = []

    def each(equation, operands):
        seen.append(equation.primitive.name)
        result = equation.primitive.bind(*operands, **equation.params)
        return result if equation.primitive.multiple_results else [result]

    results = jaxprs.evaluated(jax.make_jaxpr(function)(x, y), [x, y], each)
    jax.tree.map(np.testing.assert_array_equal, results, list(function(x, y)))
    assert {"sin", "mul", "max"} <= set(seen) and not {"jit", "pjit", "custom_jvp_call"} & set(seen)


def test_calls_may_stay_closed():
    program = jax.make_jaxpr(jax.jit(lambda x: x + 1.0))(1.0)
    assert jaxprs.evaluated(program, [1.0], lambda equation, operands: ["closed"], lambda _: None) == ["closed"]
