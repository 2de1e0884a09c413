"""The profile's bytes and shapes are those of the arrays, its times those of a clock."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.inspect import Cost, Profile, profile, summary
from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten, MaxPool, Relu, branches, frozen, residual, serial
from jaxcnn.layers import with_auxiliaries as auxiliaries

NET = auxiliaries(
    serial(
        conv=Conv(4, 3, padding="SAME"),
        block=residual(serial(Conv(4, 1, use_bias=False), BatchNorm(), Relu())),
        fork=frozen(branches(left=Conv(2, 1), right=MaxPool(3, stride=1, padding="SAME"))),
        flat=Flatten(),
        out=Dense(5),
    ),
    early=("conv", serial(Flatten(), Dense(5))),
)
SHAPE, BATCH = (6, 6, 3), 2


@pytest.fixture(scope="module")
def measured():
    return profile(NET, batch_size=BATCH, rounds=3, input_shape=SHAPE)


def test_rows_are_the_layers_of_inference_with_the_bytes_of_their_arrays(measured):
    weights = {"conv": 27 * 4 + 4, "block/body/conv1": 16, "block/body/batch_norm1": 4 * 4, "fork/left": 4 * 2 + 2}
    outputs = {
        "conv": (6, 6, 4),
        "block/body/conv1": (6, 6, 4),
        "block/body/batch_norm1": (6, 6, 4),
        "block/body/relu1": (6, 6, 4),
        "fork/left": (6, 6, 2),
        "fork/right": (6, 6, 4),
        "flat": (6 * 6 * 6,),
        "out": (5,),
    }
    weights["out"] = 6 * 6 * 6 * 5 + 5
    assert {row.path: row.output_shape for row in measured.rows} == outputs
    assert {row.path: row.parameter_bytes for row in measured.rows} == {p: 4 * weights.get(p, 0) for p in outputs}
    assert all(row.output_bytes == 4 * BATCH * np.prod(outputs[row.path]) for row in measured.rows)
    assert all(row.temporary_bytes >= 0 for row in (*measured.rows, measured.whole))


def test_multiply_adds_are_those_of_the_summary_for_the_batch(measured):
    per_image = {row.path: row.multiply_adds for row in summary(NET, SHAPE).rows if not row.training_only}
    assert {row.path: row.multiply_adds for row in measured.rows} == {p: BATCH * n for p, n in per_image.items()}
    assert measured.whole.multiply_adds == BATCH * sum(per_image.values())


def test_the_whole_network_is_measured_as_one(measured):
    assert (measured.whole.path, measured.whole.output_shape) == ("", (5,))
    assert measured.whole.parameter_bytes == sum(row.parameter_bytes for row in measured.rows)
    assert measured.whole.output_bytes == 4 * BATCH * 5
    assert all(row.milliseconds > 0 for row in (*measured.rows, measured.whole))


def test_times_are_the_medians_of_each_program_and_leave_the_first_call_out(monkeypatch):
    seconds = [[1, 10, 4], [2, 20, 5], [9, 30, 3]]  # rounds of: first layer, second layer, network
    moments = iter(np.cumsum([[7, each] for turn in seconds for each in turn]))  # 7 between them
    monkeypatch.setattr("time.perf_counter", lambda: next(moments))
    table = profile(serial(Relu(), Relu()), batch_size=1, rounds=3, input_shape=(4,))
    assert [row.milliseconds for row in (*table.rows, table.whole)] == [2000, 20000, 4000]


def test_layers_that_are_alike_are_compiled_once(monkeypatch):
    compiled = []
    compile = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda self: compiled.append(self) or compile(self))
    net = serial(Dense(4), Relu(), Dense(4), Relu(), Dense(5))
    table = profile(net, batch_size=1, rounds=1, input_shape=(4,))
    assert (len(table.rows), len(compiled)) == (5, 4), "two kinds of dense, one of ReLU, the network"


def test_given_parameters_are_those_that_run():
    layer = serial(Dense(3))
    params = {"dense1": {"kernel": jnp.ones((4, 3), jnp.bfloat16), "bias": jnp.zeros(3, jnp.bfloat16)}}
    table = profile(layer, params, {}, batch_size=1, rounds=1, input_shape=(4,))
    assert table.rows[0].parameter_bytes == 2 * 15


def rows(*milliseconds):
    return tuple(
        Cost(f"conv{i}", "conv", (2, 2, 1), ms, 10**6, 1024, 2048, None if i == 1 else 512)
        for i, ms in enumerate(milliseconds, start=1)
    )


TABLE = Profile("net", 8, "cpu", rows(0.5, 4.0, 1.0), Cost("", "serial", (10,), 5.0, 3 * 10**6, 3072, 80, 2560))


def test_the_table_says_it_all():
    assert str(TABLE).splitlines() == [
        "net, a batch of 8 at inference, cpu",
        "─" * 88,
        "layer               output shape     ms  GFLOP/s  weights KiB  output KiB  temporary KiB",
        "─" * 88,
        "conv1 (conv)        2 × 2 × 1     0.500      4.0          1.0         2.0",
        "conv2 (conv)        2 × 2 × 1     4.000      0.5          1.0         2.0            0.5",
        "conv3 (conv)        2 × 2 × 1     1.000      2.0          1.0         2.0            0.5",
        "─" * 88,
        "layers, one by one                5.500      1.1          3.0         6.0",
        "whole network       10            5.000      1.2          3.0         0.1            2.5",
    ]


def test_a_model_knows_its_input():
    model = models.Model("mine", serial(Flatten(), Dense(2)), SHAPE, 2)
    table = profile(model, batch_size=np.int64(1), rounds=np.int32(1))
    assert (table.name, table.whole.output_shape) == ("mine", (2,))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "`batch_size` must be an integer of at least 1; got 0"),
        ({"rounds": 1.5}, ValueError, "`rounds` must be an integer of at least 1; got 1.5"),
        ({"input_shape": None}, ValueError, "`input_shape` must be given for a Layer"),
        ({"model": "lenet5"}, TypeError, "`model` must be a Model or a Layer; got 'lenet5'"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        profile(**{"model": Relu(), "input_shape": (4,), **arguments})
