"""The TPU kernels, interpreted: equal to XLA in float64, under every transformation; and lowered for a TPU."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from jaxcnn import ops
from jaxcnn.ops import machine
from jaxcnn.ops.algorithms import pallas_grid
from jaxcnn.ops.algorithms.pallas import PALLAS
from jaxcnn.ops.bilinear import Lowering
from jaxcnn.ops.plan import plan_output, problem_of

# images, size, window, stride, padding, dilation, groups, channels of a group, dtype
SMALL, STEP, ROUND = (5, 4), (1, 1), ((1, 1), (1, 1))
GEOMETRIES = {
    "images in the lanes": (128, SMALL, (3, 3), STEP, ROUND, STEP, 1, (8, 16), "float32"),
    "two columns of images": (256, SMALL, (3, 2), STEP, ((1, 2), (0, 1)), STEP, 1, (8, 8), "float32"),
    "channels that fill no tile": (128, SMALL, (3, 3), STEP, ROUND, STEP, 1, (6, 10), "bfloat16"),
    "few channels": (128, SMALL, (3, 3), STEP, ROUND, STEP, 1, (3, 16), "bfloat16"),
    "few channels, stride": (128, (6, 7), (3, 3), (2, 2), ROUND, STEP, 1, (1, 6), "float32"),
    "stride": (128, (7, 6), (3, 3), (2, 2), ROUND, STEP, 1, (8, 16), "float32"),
    "stride beyond the window": (128, (7, 8), (2, 1), (3, 2), ((1, 0), (0, 0)), STEP, 1, (8, 3), "float32"),
    "stride and dilation": (128, (9, 8), (3, 2), (2, 3), ((1, 2), (2, 1)), (2, 2), 1, (8, 8), "float32"),
    "images, then channels": (128, SMALL, (3, 3), (2, 2), ROUND, STEP, 1, (8, 128), "float32"),
    "channels, then images": (128, SMALL, (3, 3), STEP, ROUND, STEP, 1, (128, 8), "float32"),
    "channels in the lanes": (24, SMALL, (3, 3), STEP, ROUND, STEP, 1, (128, 128), "float32"),
    "channels, stride, dilation": (16, (4, 5), (3, 3), (2, 1), ((1, 1), (2, 2)), (1, 2), 1, (128, 128), "bfloat16"),
    "few images": (2, SMALL, (3, 2), STEP, ((1, 2), (0, 1)), STEP, 1, (128, 128), "float32"),
    "lanes filled in part": (16, SMALL, (3, 3), (2, 2), ROUND, STEP, 1, (40, 64), "float32"),
    "groups": (128, SMALL, (3, 3), (1, 2), ROUND, STEP, 2, (16, 16), "float32"),
    "groups of channels, 1-D": (8, (9,), (5,), (1,), ((2, 2),), (1,), 2, (128, 128), "float32"),
    "1-D": (128, (13,), (5,), (2,), ((2, 1),), (1,), 1, (8, 8), "float32"),
    "3-D": (128, (3, 4, 2), (2, 2, 3), (1, 2, 1), ((1, 1), (0, 1), (2, 2)), (1, 1, 1), 1, (8, 8), "float32"),
    "3-D, few channels": (
        128,
        (3, 3, 4),
        (2, 2, 1),
        (1, 1, 2),
        ((0, 1), (1, 1), (1, 0)),
        (1, 1, 1),
        1,
        (2, 8),
        "float32",
    ),
    "padding beyond the window": (128, (2, 3), (2, 3), STEP, ((3, 2), (4, 3)), STEP, 1, (8, 8), "float32"),
    "no padding": (128, (6, 5), (3, 3), STEP, ((0, 0), (0, 0)), STEP, 1, (8, 8), "float32"),
    "depthwise, images in the lanes": (128, SMALL, (3, 3), (2, 2), ROUND, STEP, 12, (1, 1), "bfloat16"),
    "depthwise, channels in the lanes": (16, SMALL, (3, 3), STEP, ROUND, STEP, 128, (1, 1), "float32"),
    "depthwise, lanes filled in part": (8, SMALL, (3, 2), (2, 1), ROUND, STEP, 40, (1, 1), "float32"),
}
ERROR = {"float32": 3e-6, "bfloat16": 1e-2}  # of the largest value
DAILY = {
    "channels that fill no tile",
    "few channels, stride",
    "stride and dilation",
    "images, then channels",
    "channels, stride, dilation",
    "lanes filled in part",
    "groups",
    "3-D",
    "depthwise, images in the lanes",
}


@pytest.fixture
def short_programs():
    """Few products written out one after the other: an interpreted kernel compiles for seconds otherwise."""
    with machine.assume(replace(machine.of(None), kernel_rows=256)):
        yield


def by_hours(geometries, daily):
    """The others run with the long tests: each compiles for seconds."""
    return [g if g in daily else pytest.param(g, marks=pytest.mark.long) for g in geometries]


def arrays(geometry):
    n, size, window, stride, padding, dilation, groups, (c, d), dtype = GEOMETRIES[geometry]
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.standard_normal((n, *size, c * groups)), dtype)
    w = jnp.asarray(draw.standard_normal((*window, c, d * groups)), dtype)
    return x, w, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def exact(x, w, stride, padding, dilation, groups):
    letters = "DHW"[3 - (x.ndim - 2) :]
    layout = f"N{letters}C", f"{letters}IO", f"N{letters}C"
    return lax.conv_general_dilated(
        x, w, stride, padding, rhs_dilation=dilation, dimension_numbers=layout, feature_group_count=groups
    )


def all_three(conv, x, w):
    y, pullback = jax.vjp(conv, x, w)
    return y, *pullback(y)


def assert_near(actual, expected, dtype):
    for a, e in zip(actual, expected, strict=True):
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        assert np.abs(a - e).max() <= ERROR[dtype] * np.abs(e).max()


def assert_right(geometry):
    x, w, options = arrays(geometry)
    conv = functools.partial(ops.conv, algorithm="pallas", **options)
    explained = ops.explain(x.shape, w.shape, algorithm="pallas", dtype=x.dtype, **options)
    assert {part.algorithm for part in (explained.forward, explained.dx, explained.dw)} == {"pallas"}
    y, dx, dw = all_three(conv, x, w)
    with jax.enable_x64(True):
        _, pullback = jax.vjp(functools.partial(exact, **options), np.asarray(x, float), np.asarray(w, float))
        value = exact(np.asarray(x, float), np.asarray(w, float), **options)
        expected = value, *pullback(np.asarray(y, float))
    assert_near((y, dx, dw), expected, str(x.dtype))


@pytest.mark.usefixtures("short_programs")
@pytest.mark.parametrize("geometry", by_hours(GEOMETRIES, DAILY))
def test_xla_in_float64(geometry):
    """The value and both gradients."""
    assert_right(geometry)


@pytest.mark.parametrize("geometry", by_hours(["few channels, stride", "channels in the lanes"], ()))
def test_as_many_at_once_as_on_a_tpu(geometry):
    with machine.assume(machine.of(None)):
        assert_right(geometry)


@pytest.mark.parametrize(
    "geometry", by_hours(["two columns of images", "stride", "few channels", "channels in the lanes"], {"stride"})
)
def test_bands_of_rows(geometry):
    """Of a chip with little memory, one or two rows at a time."""
    bands = {"two columns of images": 300, "stride": 250, "few channels": 300, "channels in the lanes": 3500}
    with machine.assume(replace(machine.of(None), kernel_bytes=bands[geometry] * 2**10, kernel_rows=128)):
        assert_right(geometry)


@pytest.mark.skipif(not hasattr(pltpu.InterpretParams(), "detect_races"), reason="this JAX detects no races")
@pytest.mark.parametrize(
    "geometry",
    by_hours(["two columns of images", "few channels", "depthwise, channels in the lanes"], {"two columns of images"}),
)
def test_no_step_reads_what_is_still_being_copied(geometry, monkeypatch, capfd):
    """By the simulation of a TPU's memories, which reports reads and writes in no order."""
    monkeypatch.setattr(pallas_grid, "INTERPRET", pltpu.InterpretParams(detect_races=True))
    x, w, options = arrays(geometry)
    problem = replace(problem_of("conv", x, w, **options, algorithm="pallas", precision=None), members=1)
    y, pullback = jax.vjp(functools.partial(ops.conv, algorithm="patches", **options), x, w)
    dx, dw = pullback(y)
    members, kernel = [a[None] for a in (x, y)], w[None].reshape(1, *w.shape[:-1], options["groups"], -1)
    chip = replace(machine.of(None), kernel_bytes=600 * 2**10, kernel_rows=128)
    p = (
        plan_output(members[0], w[None], problem=replace(problem, machine=chip), lowering=Lowering(None))
        .steps[0]
        .product
    )
    ours = PALLAS.product(members[0], kernel, p), PALLAS.input_gradient(members[1], kernel, p)
    ours = *ours, PALLAS.kernel_gradient(*members, p).reshape(1, *w.shape)
    assert_near([a[0] for a in ours], (y, dx, dw), "float32")
    assert "RACE" not in capfd.readouterr().out


@pytest.mark.usefixtures("short_programs")
@pytest.mark.parametrize(
    "geometry", by_hours(["images in the lanes", "groups", "depthwise, lanes filled in part"], {"groups"})
)
def test_members_each_with_a_kernel_of_its_own(geometry):
    """An axis of the grid: the same as one after the other."""
    x, w, options = arrays(geometry)
    conv = functools.partial(ops.conv, algorithm="pallas", **options)
    xs, ws = jnp.stack([x, 2 * x, x[::-1]]), jnp.stack([w, w[::-1], -w])
    together = jax.vmap(functools.partial(all_three, conv))(xs, ws)
    apart = [all_three(conv, x, w) for x, w in zip(xs, ws, strict=True)]
    for number, own in enumerate(apart):
        assert_near([part[number] for part in together], own, "float32")


@pytest.mark.usefixtures("short_programs")
@pytest.mark.parametrize("geometry", by_hours(GEOMETRIES, {"few channels, stride", "lanes filled in part", "1-D"}))
def test_weights_that_are_not_finite_meet_no_zero_of_the_full_padding(geometry):
    """dx is finite where its definition is: as by another algorithm, whose borders are tested against loops."""
    x, w, options = arrays(geometry)
    w = w.at[(0,) * (w.ndim - 1)].set(np.inf)
    w = w.at[(-1,) * (w.ndim - 1)].set(np.nan)
    dy = jnp.ones_like(exact(x, w, **options))
    ours, other = (
        jax.vjp(functools.partial(ops.conv, algorithm=name, **options), x, w)[1](dy)[0]
        for name in ("pallas", "patches")
    )
    assert not np.isfinite(ours).all()
    np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(other))


@pytest.mark.usefixtures("short_programs")
def test_tangents_and_second_derivatives():
    x, w, options = arrays("stride")

    def loss(algorithm, x, w):
        return jnp.sum(jnp.sin(ops.conv(x, w, algorithm=algorithm, **options) / 40))

    results = [
        jax.jvp(jax.grad(functools.partial(loss, algorithm), (0, 1)), (x, w), (x[::-1], w[::-1]))
        for algorithm in ("pallas", "patches")
    ]
    assert_near(*map(jax.tree.leaves, results), "float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if "in part" not in g])
def test_a_tpu_gets_the_kernels_by_itself(geometry, dtype):
    """Three calls of Mosaic in the program of a layer and its gradients; no other platform has one."""
    x, w, options = arrays(geometry)
    layer = functools.partial(all_three, functools.partial(ops.conv, **options))
    program = jax.jit(layer).trace(x.astype(dtype), w.astype(dtype))
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


def test_what_does_not_fit_goes_another_way():
    def chosen(x_shape, kernel_shape, **options):
        return ops.explain(x_shape, kernel_shape, platform="tpu", **options).forward.algorithm

    assert chosen((16, 28, 28, 128), (3, 3, 128, 128)) == "pallas"
    assert chosen((128, 28, 28, 3), (3, 3, 3, 8)) == "pallas"
    assert chosen((16, 28, 28, 128), (3, 3, 128, 128), stride=2) == "pallas"
    assert chosen((16, 28, 28, 3), (3, 3, 3, 8)) == "channels_last"
    assert chosen((17, 28, 28, 30), (3, 3, 30, 128)) == "channels_last"
    assert chosen((16, 28, 28, 128), (1, 1, 128, 128)) == "channels_last"
    assert chosen((16, 28, 2**16, 128), (3, 3, 128, 128)) == "channels_last"
    assert chosen((16, 28, 28, 128), (3, 3, 128, 128), dtype="float16") == "channels_last"
