"""What a network takes on a TPU: compiled programs read, and the TPU's compiler asked where it is installed."""

import importlib.util
import json
import subprocess
import sys

import pytest

from jaxcnn import inspect, models
from jaxcnn.inspect.compiled import Program, layer_of
from jaxcnn.ops import ALGORITHMS

TEXT = """HloModule jit_step, is_scheduled=true

%body.1 (p.1: (s32[], f32[8])) -> (s32[], f32[8]) {
  %f.1 = f32[8]{0} fusion(%p.1), metadata={op_name="jit(step)/while/body/add"}, backend_config={"estimated_cycles":"10"}
  ROOT %t.1 = (s32[], f32[8]) tuple(%f.1)
}

%condition.1 (p.2: (s32[], f32[8])) -> pred[] {
  %c.1 = s32[] constant(5)
  ROOT %l.1 = pred[] compare(%p.2, %c.1), direction=LT
}

%open.1 (p.3: (s32[], f32[8])) -> pred[] {
  ROOT %l.2 = pred[] compare(%p.3, %p.3), direction=LT
}

%cheap.1 (p.4: f32[8]) -> f32[8] {
  ROOT %f.2 = f32[8]{0} fusion(%p.4), backend_config={"estimated_cycles":"1"}
}

%dear.1 (p.5: f32[8]) -> f32[8] {
  ROOT %f.3 = f32[8]{0} fusion(%p.5), backend_config={"estimated_cycles":"100"}
}

ENTRY %main.1 (x: f32[8]) -> f32[8] {
  %w.1 = (s32[], f32[8]) while(%x), condition=%condition.1, body=%body.1
  %w.2 = (s32[], f32[8]) while(%x), condition=%condition.1, body=%body.1, backend_config={"known_trip_count":{"n":"3"}}
  %w.3 = (s32[], f32[8]) while(%x), condition=%open.1, body=%body.1
  %b.1 = f32[8] conditional(%x, %x, %x), branch_computations={%cheap.1, %dear.1}
  ROOT %k.1 = f32[8] custom-call(%x), CALL
}
""".replace(
    "CALL",
    'custom_call_target="tpu_custom_call", metadata={op_name="jit(step)/jvp(conv2)/pallas/pallas_call"}, '
    'backend_config={"cost_estimate":{"flops":"4000","bytes_accessed":"64"}}',
)


def test_loops_count_as_often_as_they_turn_and_the_dearest_branch_of_a_condition():
    program = Program.read(TEXT)
    ran = program.operations()
    assert [(r.times, r.cycles) for r in ran] == [(5, 10), (3, 10), (1, 10), (1, 100), (1, None)]
    assert (ran[-1].flops, ran[-1].bytes) == (4000, 64)
    assert program.endless == 1


def test_a_text_of_something_else_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        Program.read("module @jit_step {}")


@pytest.mark.parametrize(
    ("name", "layer"),
    {
        "jit(step)/transpose(jvp(stage1))/conv2/pallas/pallas_call": "stage1/conv2",
        "jit(step)/jvp(relu1)/jit(relu)/max": "relu1",
        "jit(step)/cond/branch_0_fun/jvp(conv1)/channels_last/dot_general": "conv1",
        "jit(step)/add": "",
        "": "",
    }.items(),
)
def test_the_layer_that_an_operation_comes_from(name, layer):
    assert layer_of(name, frozenset(ALGORITHMS)) == layer


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chip": "v9"}, "`chip` .*'v9'"),
        ({"dtype": "int8"}, "`dtype` .*'int8'"),
        ({"batch_size": 0}, "`batch_size` .*0"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        inspect.estimate(models.create("lenet5"), **options)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="the TPU's compiler is installed")
def test_without_the_compiler_the_error_names_the_extra():
    with pytest.raises(RuntimeError, match=r"pip install 'jaxcnn\[accelerators\]'"):
        inspect.estimate(models.create("lenet5"))


@pytest.mark.tpu_compiler
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="the TPU's compiler is not installed")
@pytest.mark.parametrize("flags", [["lenet5"], ["lenet5", "--train", "--chip", "v6e", "--dtype", "float32"]])
def test_the_command_compiles_for_a_tpu(flags):
    """In a process of its own: the compiler stays in a process until it ends."""
    run = [sys.executable, "-m", "jaxcnn", "estimate", *flags, "--json"]
    told = json.loads(subprocess.run(run, check=True, capture_output=True, text=True, timeout=300).stdout)
    names = {layer["name"] for layer in told["layers"]}
    assert {"conv1", "conv2", "max_pool1"} <= names  # XLA may put a small layer into the one beside it
    assert sum(layer["cycles"] for layer in told["layers"]) == told["cycles"] > 10_000
    assert 0 < told["share"] < 1
    assert told["endless"] == 0
    assert told["largest_batch"] > 128


@pytest.mark.tpu_compiler
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="the TPU's compiler is not installed")
def test_mosaic_compiles_every_kind_of_kernel():
    """Forward and both gradients; the programs have no temporary array of the size of an image batch."""
    code = """
import jax, jax.numpy as jnp
from jaxcnn import ops
from jaxcnn.inspect.estimates import CHIPS, place_of
place = place_of(CHIPS["v5e"])
def typed(*shape): return jax.ShapeDtypeStruct(shape, "bfloat16", sharding=place)
for x, w, options in [
    (typed(128, 14, 14, 64), typed(3, 3, 64, 64), dict(padding=1)),
    (typed(128, 14, 14, 64), typed(3, 3, 64, 128), dict(padding=1, stride=2)),
    (typed(32, 14, 14, 128), typed(3, 3, 128, 128), dict(padding=1)),
    (typed(128, 14, 14, 3), typed(3, 3, 3, 32), dict(padding=1)),
    (typed(128, 14, 14, 32), typed(3, 3, 1, 32), dict(padding=1, groups=32)),
]:
    def layer(x, w):
        y, pullback = jax.vjp(lambda x, w: ops.conv(x, w, **options), x, w)
        return y, *pullback(y)
    compiled = jax.jit(layer).trace(x, w).lower(lowering_platforms=("tpu",)).compile()
    temporary = compiled.memory_analysis().temp_size_in_bytes
    print(compiled.as_text().count('custom_call_target="tpu_custom_call"'), temporary)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=600)
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()[-5:]]
    assert [kernels for kernels, _ in rows] == [3] * 5
    assert max(temporary for _, temporary in rows) < 8 * 2**20
