"""The TPU kernel, interpreted: equal to XLA in float64, under every transformation; and lowered for a TPU."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from jaxcnn import ops
from jaxcnn.ops import machine
from jaxcnn.ops.algorithms import choice
from jaxcnn.ops.algorithms.pallas import PALLAS

# images, size, window, padding, dilation, groups, dtype
GEOMETRIES = {
    "few images": (2, (5, 4), (3, 2), ((1, 2), (0, 1)), (1, 1), 1, "float32"),
    "many images, dilated": (16, (4, 5), (3, 3), ((1, 1), (2, 2)), (1, 2), 1, "float32"),
    "half precision": (32, (4, 3), (2, 3), ((1, 0), (1, 1)), (1, 1), 1, "bfloat16"),
    "1-D, groups": (8, (9,), (5,), ((2, 2),), (1,), 2, "float32"),
    "3-D": (3, (3, 4, 2), (2, 2, 3), ((1, 1), (0, 1), (2, 2)), (1, 1, 1), 1, "float32"),
    "one tap": (8, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1, "float32"),
    "padding beyond the window": (8, (2, 3), (2, 3), ((3, 2), (4, 3)), (1, 1), 1, "float32"),
    "no padding": (8, (6, 5), (3, 3), ((0, 0), (0, 0)), (1, 1), 1, "float32"),
}
X_STRIDED, W_STRIDED = (8, 9, 8, 128), (3, 4, 128, 128)
ERROR = {"float32": 3e-6, "bfloat16": 1e-2}  # of the largest value


def arrays(geometry):
    n, size, window, padding, dilation, groups, dtype = GEOMETRIES[geometry]
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.standard_normal((n, *size, 128 * groups)), dtype)
    w = jnp.asarray(draw.standard_normal((*window, 128, 128 * groups)), dtype)
    return x, w, {"padding": padding, "dilation": dilation, "groups": groups}


def exact(x, w, padding, dilation, groups):
    letters = "DHW"[3 - (x.ndim - 2) :]
    layout = f"N{letters}C", f"{letters}IO", f"N{letters}C"
    return lax.conv_general_dilated(
        x, w, (1,) * len(letters), padding, rhs_dilation=dilation, dimension_numbers=layout, feature_group_count=groups
    )


def all_three(conv, x, w):
    y, pullback = jax.vjp(conv, x, w)
    return y, *pullback(y)


def assert_near(actual, expected, dtype):
    for a, e in zip(actual, expected, strict=True):
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        assert np.abs(a - e).max() <= ERROR[dtype] * np.abs(e).max()


@pytest.mark.parametrize("rows", [1, 4096])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_xla_in_float64(geometry, rows):
    """The value and both gradients, in steps of one row and of all rows that fit."""
    x, w, options = arrays(geometry)
    with machine.assume(replace(machine.of(None), kernel_rows=rows)):
        conv = functools.partial(ops.conv, algorithm="pallas", **options)
        assert ops.explain(x.shape, w.shape, algorithm="pallas", **options).dw.algorithm == "pallas"
        y, dx, dw = all_three(conv, x, w)
    with jax.enable_x64(True):
        _, pullback = jax.vjp(functools.partial(exact, **options), np.asarray(x, float), np.asarray(w, float))
        value = exact(np.asarray(x, float), np.asarray(w, float), **options)
        expected = value, *pullback(np.asarray(y, float))
    assert_near((y, dx, dw), expected, str(x.dtype))


def test_members_each_with_a_kernel_of_its_own():
    """An axis of the grid: the same as one after the other."""
    x, w, options = arrays("few images")
    conv = functools.partial(ops.conv, algorithm="pallas", **options)
    xs, ws = jnp.stack([x, 2 * x, x[::-1]]), jnp.stack([w, w[::-1], -w])
    together = jax.vmap(functools.partial(all_three, conv))(xs, ws)
    apart = [all_three(conv, x, w) for x, w in zip(xs, ws, strict=True)]
    for number, own in enumerate(apart):
        assert_near([part[number] for part in together], own, "float32")


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("geometry", ["few images", "many images, dilated", "1-D, groups", "no padding"])
def test_weights_that_are_not_finite_meet_no_zero_of_the_full_padding(geometry, bad):
    """dx is finite where its definition is: as by another algorithm, whose borders are tested against loops."""
    x, w, options = arrays(geometry)
    w = w.at[(0,) * (w.ndim - 1)].set(bad)
    dy = jnp.ones_like(exact(x, w, **options))
    ours, other = (
        jax.vjp(functools.partial(ops.conv, algorithm=name, **options), x, w)[1](dy)[0]
        for name in ("pallas", "patches")
    )
    assert not np.isfinite(ours).all()
    np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(other))


def test_tangents_and_second_derivatives():
    x, w, options = arrays("few images")

    def loss(algorithm, x, w):
        return jnp.sum(jnp.sin(ops.conv(x, w, algorithm=algorithm, **options) / 40))

    results = [
        jax.jvp(jax.grad(functools.partial(loss, algorithm), (0, 1)), (x, w), (x[::-1], w[::-1]))
        for algorithm in ("pallas", "patches")
    ]
    assert_near(*map(jax.tree.leaves, results), "float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_tpu_gets_the_kernel_by_itself(dtype):
    """Three calls of Mosaic in the program of a layer and its gradients; no other platform has one."""
    typed = jax.ShapeDtypeStruct
    x, w = typed((128, 28, 28, 128), dtype), typed((3, 3, 128, 256), dtype)
    program = jax.jit(functools.partial(all_three, functools.partial(ops.conv, padding=1))).trace(x, w)
    calls = {p: program.lower(lowering_platforms=(p,)).as_text().count("tpu_custom_call") for p in ("tpu", "cuda")}
    assert calls == {"tpu": 3, "cuda": 0}


def test_inside_a_shard_map():
    """Its result varies over the same devices as its operands, else JAX refuses the program."""
    mesh = AbstractMesh((2,), ("d",))
    layer = functools.partial(all_three, functools.partial(ops.conv, padding=1))
    in_parts = jax.shard_map(layer, mesh=mesh, in_specs=(P("d"), P()), out_specs=(P("d"), P("d"), P()))
    typed = jax.ShapeDtypeStruct
    program = jax.jit(in_parts).trace(typed((32, 9, 9, 128), "float32"), typed((3, 3, 128, 128), "float32"))
    assert program.lower(lowering_platforms=("tpu",)).as_text().count("tpu_custom_call") == 3


def test_a_number_of_images_that_is_open_has_no_grid():
    """A kernel for an assumed number would compute so many images, whatever comes."""
    (n,) = export.symbolic_shape("n")
    x, w = jax.ShapeDtypeStruct((n, 6, 6, 128), "float32"), jax.ShapeDtypeStruct((3, 3, 128, 128), "float32")
    assert "tpu_custom_call" not in export.export(jax.jit(ops.conv), platforms=["tpu"])(x, w).mlir_module()


def test_phases_of_a_strided_gradient(monkeypatch):
    """On a TPU each phase is a product for the kernel; here its rule is taken on this platform, too."""
    everywhere = replace(PALLAS, platforms=None)
    monkeypatch.setattr(choice, "RULES", (choice.Rule(everywhere, "to try it"), *choice.RULES))
    x, w = (jnp.asarray(np.random.default_rng(0).standard_normal(shape), "float32") for shape in (X_STRIDED, W_STRIDED))
    with machine.assume(replace(machine.of(None), kernel_rows=64)):
        conv = functools.partial(ops.conv, stride=(2, 3), padding=((1, 2), (0, 1)))
        assert ops.explain(x.shape, w.shape, stride=(2, 3), padding=((1, 2), (0, 1))).dx.algorithm == "phases, pallas"
        ours = all_three(conv, x, w)
    expected = all_three(functools.partial(conv, algorithm="patches"), x, w)
    assert_near(ours, expected, "float32")


def test_what_does_not_fit_goes_another_way():
    def chosen(x_shape, kernel_shape, **options):
        return ops.explain(x_shape, kernel_shape, platform="tpu", **options).forward.algorithm

    assert chosen((16, 28, 28, 128), (3, 3, 128, 128)) == "pallas"
    assert chosen((16, 28, 28, 64), (3, 3, 64, 128)) == "channels_last"
    assert chosen((16, 28, 28, 128), (3, 3, 128, 128), stride=2) == "channels_last"
    assert chosen((17, 28, 28, 128), (3, 3, 128, 128)) == "channels_last"
    assert chosen((16, 512, 512, 128), (3, 3, 128, 128)) == "channels_last"
    assert chosen((16, 28, 28, 128), (3, 3, 128, 128), dtype="float16") == "channels_last"
