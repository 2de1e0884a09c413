"""Shared patches for GPUs: equal to XLA in float64, chosen for them alone, bounded; and what they compile to.

A program for CUDA is lowered on every machine; compiling it needs XLA's compiler for GPUs, and no GPU.
"""

import functools
import importlib.util
import math
import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcnn import ops
from jaxcnn.ops import machine
from jaxcnn.ops.algorithms import blocks
from jaxcnn.ops.bilinear import Lowering
from jaxcnn.ops.plan import plan_output, problem_of

CUDA = machine.of("cuda")
# x, kernel, options
CASES = {
    "a row shared by all": ((4, 8, 8, 6), (3, 3, 6, 5), {"padding": 1}),
    "stride": ((4, 9, 16, 6), (3, 3, 6, 5), {"padding": 1, "stride": 2}),
    "an odd row": ((4, 5, 7, 6), (3, 2, 6, 5), {"padding": ((1, 2), (1, 0))}),
    "dilated": ((4, 9, 8, 6), (3, 3, 6, 5), {"padding": 2, "dilation": 2}),
    "groups": ((4, 8, 8, 12), (3, 3, 6, 10), {"padding": 1, "groups": 2}),
    "one tap, stride": ((4, 8, 8, 6), (1, 1, 6, 5), {"stride": 2}),
    "few weights": ((4, 8, 8, 3), (3, 3, 3, 8), {"padding": 1}),
    "depthwise": ((4, 8, 8, 6), (3, 3, 1, 6), {"padding": 1, "groups": 6}),
    "1-D": ((4, 32, 6), (5, 6, 5), {"padding": 2}),
    "3-D": ((2, 4, 4, 4, 6), (3, 3, 3, 6, 5), {"padding": 1}),
}
BOUND = 2**14  # bytes: some patches of the cases have more
ERROR = 3e-6  # of the largest value


def all_three(conv, x, w):
    y, pullback = jax.vjp(conv, x, w)
    return y, *pullback(jnp.cos(y))


def exact(x, w, stride=1, padding=0, dilation=1, groups=1):
    rank = w.ndim - 2
    letters = "DHW"[3 - rank :]
    pairs = [(padding, padding)] * rank if isinstance(padding, int) else padding
    layout = f"N{letters}C", f"{letters}IO", f"N{letters}C"
    options = {"rhs_dilation": (dilation,) * rank, "dimension_numbers": layout, "feature_group_count": groups}
    return lax.conv_general_dilated(x, w, (stride,) * rank, pairs, **options)


def arrays(case):
    draw = np.random.default_rng(0)
    x, w, options = CASES[case]
    return jnp.asarray(draw.standard_normal(x), "float32"), jnp.asarray(draw.standard_normal(w), "float32"), options


def assert_near(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        assert np.abs(a - e).max() <= ERROR * np.abs(e).max()


@pytest.mark.parametrize("bound", [CUDA.tile_bytes, BOUND])
@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_definition(case, bound):
    x, w, options = arrays(case)
    with machine.assume(replace(CUDA, tile_bytes=bound)):
        ours = all_three(functools.partial(ops.conv, **options), x, w)
    assert_near(ours, all_three(functools.partial(exact, **options), x, w))


def test_members_of_an_ensemble_have_products_of_their_own():
    x, w, options = arrays("stride")
    xs, ws = jnp.stack([x, 2 - x]), jnp.stack([w, 1 + w])
    with machine.assume(replace(CUDA, tile_bytes=BOUND)):
        ours = jax.vmap(functools.partial(all_three, functools.partial(ops.conv, **options)))(xs, ws)
    expected = jax.vmap(functools.partial(all_three, functools.partial(exact, **options)))(xs, ws)
    assert_near(ours, expected)


def test_gpus_get_it_and_others_do_not():
    def chosen(platform, x, w, **options):
        told = ops.explain(x, w, platform=platform, **options)
        return [each.algorithm for each in (told.forward, told.dx, told.dw)]

    layer = (32, 28, 28, 64), (3, 3, 64, 64)
    assert chosen("cuda", *layer, padding=1) == chosen("rocm", *layer, padding=1) == ["blocks"] * 3
    assert "blocks" not in chosen("cpu", *layer, padding=1) + chosen("tpu", *layer, padding=1)
    assert chosen("cuda", (32, 28, 28, 64), (1, 1, 64, 64)) == ["blocks"] * 3
    assert chosen("cuda", (32, 28, 28, 64), (3, 3, 1, 64), groups=64) == ["depthwise"] * 3
    assert chosen("cuda", (32, 32, 32, 3), (3, 3, 3, 32), padding=1) == ["blocks", "channels_last", "blocks"]


def test_fewer_channels_share_more():
    """With few channels a product has time to multiply zeros while its operands are read; with many it has not."""

    def shared(channels):
        x = jax.ShapeDtypeStruct((32, 56, 56, channels), "float32")
        w = jax.ShapeDtypeStruct((3, 3, channels, channels), "float32")
        problem = problem_of("conv", x, w, 1, 1, 1, 1, "auto", None)
        (step,) = plan_output(x, w, problem=problem, lowering=Lowering("cuda")).steps
        return blocks.width(step.product)

    widths = [shared(channels) for channels in (16, 32, 64, 128, 512)]
    assert widths == sorted(widths, reverse=True) and widths[0] > 2 and widths[-1] == 1


@pytest.mark.parametrize("platform", ["cuda", "rocm"])
def test_no_array_of_the_program_is_larger_than_the_bound(platform):
    """x and y have 26 MB each; patches of all images would have 115, shared by four 89."""
    bound = 32 * 2**20
    x, w = jax.ShapeDtypeStruct((128, 56, 56, 16), "float32"), jax.ShapeDtypeStruct((5, 5, 16, 16), "float32")
    with machine.assume(replace(machine.of(platform), tile_bytes=bound)):
        program = jax.jit(functools.partial(all_three, functools.partial(ops.conv, padding=2))).trace(x, w)
    text = program.lower(lowering_platforms=(platform,)).as_text()
    shapes = [[int(n) for n in found.split("x")] for found in re.findall(r"tensor<([\dx]+)xf32>", text)]
    assert 25e6 < max(4 * math.prod(shape) for shape in shapes) <= bound


def test_too_many_taps_are_refused_by_name():
    x, w = jnp.ones((1, 9, 9, 1)), jnp.ones((8, 8, 1, 1))
    with pytest.raises(ValueError, match="takes at most 49 taps"):
        ops.conv(x, w, algorithm="blocks")


# ------------------------------------------------------------------------------------------------------ the compiler
has_compiler = importlib.util.find_spec("jax_plugins") and importlib.util.find_spec("jax_plugins.xla_cuda12")
TARGETS = Path(__file__).parents[2] / "experiments" / "gpu_targets.py"
LAYERS = {  # x, kernel, options, bytes moved over XLA's own: y on an H100, y and gradients on all; kernels of y
    "3×3": ((32, 56, 56, 64), (3, 3, 64, 64), {"padding": 1}, 5.6, 6.6, 3),
    "1×1": ((32, 56, 56, 256), (1, 1, 256, 64), {}, 1.01, 1.3, 1),
    "depthwise": ((32, 28, 28, 256), (3, 3, 1, 256), {"padding": 1, "groups": 256}, 1.01, 1.5, 1),
}


@pytest.mark.gpu_compiler
@pytest.mark.skipif(not has_compiler, reason="XLA's compiler for NVIDIA GPUs is not installed: .[accelerators-gpu]")
@pytest.mark.parametrize("gpu", ["t4", "a100", "h100"])
@pytest.mark.parametrize("layer", LAYERS)
def test_what_the_kernels_move(layer, gpu):
    spec = importlib.util.spec_from_file_location("gpu_targets", TARGETS)
    gpu_targets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpu_targets)
    x, w, options, most, most_in_all, kernels = LAYERS[layer]
    typed = jax.ShapeDtypeStruct(x, "float32"), jax.ShapeDtypeStruct(w, "float32")
    ours, xla = functools.partial(ops.conv, **options), functools.partial(exact, **options)

    def moved(function):
        return gpu_targets.traffic(gpu_targets.compile_for(gpu, function, *typed).as_text())

    own, other = moved(ours), moved(xla)
    assert own.bytes <= most * other.bytes and own.kernels <= kernels
    assert (
        moved(functools.partial(all_three, ours)).bytes <= most_in_all * moved(functools.partial(all_three, xla)).bytes
    )
