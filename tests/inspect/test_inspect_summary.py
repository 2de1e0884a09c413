"""The table of a network: every number of it by the formulas of the lectures."""

import jax.numpy as jnp
import pytest

from jaxcnn import models
from jaxcnn.inspect import summary
from jaxcnn.layers import (
    AdaptiveAvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    DepthwiseConv,
    Dropout,
    Flatten,
    GroupNorm,
    MaxPool,
    Relu,
    SeparableConv,
    Softmax,
    branches,
    checkpointed,
    frozen,
    residual,
    serial,
    with_auxiliaries,
)


def only_row(layer, input_shape):
    (row,) = summary(layer, input_shape).rows
    return row


# layer, input shape, output shape, parameters, multiply-adds: each output value of a convolution sums over its window
# and the channels of its group; biases are additions only
ROWS = {
    "conv": (Conv(16, 3), (32, 30, 3), (30, 28, 16), (3 * 3 * 3 + 1) * 16, 30 * 28 * 16 * (3 * 3 * 3)),
    "conv_same": (Conv(8, (5, 3), padding="SAME"), (9, 9, 2), (9, 9, 8), (5 * 3 * 2 + 1) * 8, 9 * 9 * 8 * (5 * 3 * 2)),
    "conv_no_bias": (Conv(8, 3, use_bias=False), (9, 9, 2), (7, 7, 8), 3 * 3 * 2 * 8, 7 * 7 * 8 * (3 * 3 * 2)),
    "strided": (Conv(8, 3, stride=2), (9, 9, 2), (4, 4, 8), (3 * 3 * 2 + 1) * 8, 4 * 4 * 8 * (3 * 3 * 2)),
    "grouped": (Conv(8, 3, groups=2), (9, 9, 4), (7, 7, 8), (3 * 3 * 2 + 1) * 8, 7 * 7 * 8 * (3 * 3 * 2)),
    "dilated_1d": (Conv(5, (3,), dilation=2), (9, 4), (5, 5), (3 * 4 + 1) * 5, 5 * 5 * (3 * 4)),
    "conv_3d": (Conv(5, (2, 2, 2)), (3, 4, 5, 1), (2, 3, 4, 5), (8 + 1) * 5, 2 * 3 * 4 * 5 * 8),
    "depthwise": (DepthwiseConv(3, multiplier=2), (9, 9, 4), (7, 7, 8), (3 * 3 + 1) * 8, 7 * 7 * 8 * (3 * 3)),
    # each input value is multiplied with the window and the output channels of its group
    "conv_transpose": (
        ConvTranspose(6, 3, stride=2), (5, 5, 4), (11, 11, 6), 3 * 3 * 4 * 6 + 6, 5 * 5 * 4 * (3 * 3 * 6),
    ),
    "conv_transpose_grouped": (
        ConvTranspose(6, 2, stride=2, groups=2), (5, 5, 4), (10, 10, 6), 2 * 2 * 4 * 3 + 6, 5 * 5 * 4 * (2 * 2 * 3),
    ),
    "dense": (Dense(10), (84,), (10,), (84 + 1) * 10, 84 * 10),
    "dense_on_positions": (Dense(10), (5, 4, 3), (5, 4, 10), (3 + 1) * 10, 5 * 4 * 3 * 10),
    "max_pool": (MaxPool(2), (9, 9, 4), (4, 4, 4), 0, 0),
    "adaptive_pool": (AdaptiveAvgPool(4), (9, 9, 4), (4, 4, 4), 0, 0),
    "flatten": (Flatten(), (3, 4, 5), (60,), 0, 0),
    "softmax": (Softmax(), (7,), (7,), 0, 0),
    "group_norm": (GroupNorm(2), (5, 5, 4), (5, 5, 4), 8, 0),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_a_row_is_by_the_formulas(case):
    layer, input_shape, output_shape, parameters, multiply_adds = ROWS[case]
    row = only_row(layer, input_shape)
    assert (row.path, row.kind) == (layer.kind, layer.kind)
    assert row.output_shape == output_shape
    assert (row.parameters, row.statistics, row.multiply_adds) == (parameters, 0, multiply_adds)
    assert row.parameter_bytes == 4 * parameters
    assert row.output_bytes == 4 * int(jnp.prod(jnp.array(output_shape)))


def test_statistics_are_not_trainable():
    row = only_row(BatchNorm(), (5, 5, 3))
    assert (row.parameters, row.statistics, row.parameter_bytes) == (6, 6, 48)
    table = summary(serial(Conv(3, 1), BatchNorm(), BatchNorm()), (5, 5, 3))
    assert (table.total("parameters"), table.total("statistics")) == (12 + 6 + 6, 6 + 6)
    assert str(table).splitlines()[-1] == "trainable 24 · not trainable 12"


def test_lenet5():
    table = summary(models.create("lenet5"))
    assert [(row.path, row.output_shape, row.parameters, row.multiply_adds) for row in table.rows] == [
        ("conv1", (28, 28, 6), 156, 28 * 28 * 6 * 25),
        ("relu1", (28, 28, 6), 0, 0),
        ("max_pool1", (14, 14, 6), 0, 0),
        ("conv2", (10, 10, 16), 2_416, 10 * 10 * 16 * 150),
        ("relu2", (10, 10, 16), 0, 0),
        ("max_pool2", (5, 5, 16), 0, 0),
        ("flatten1", (400,), 0, 0),
        ("dense1", (120,), 48_120, 48_000),
        ("relu3", (120,), 0, 0),
        ("dense2", (84,), 10_164, 10_080),
        ("relu4", (84,), 0, 0),
        ("dense3", (10,), 850, 840),
    ]
    assert table.total("parameters") == 61_706
    assert table.total("multiply_adds") == 117_600 + 240_000 + 48_000 + 10_080 + 840
    assert table.total("parameter_bytes") == 4 * 61_706
    assert (table.name, table.input_shape) == ("lenet5", (28, 28, 1))


def test_nested_layers_have_their_path():
    body = serial(Conv(4, 3, padding="SAME"), BatchNorm())
    net = serial(
        Conv(4, 3, stride=2),
        residual(body, shortcut=Conv(4, 1)),
        branches(SeparableConv(2, 3, padding="SAME"), Conv(3, 1), pool=MaxPool(3, stride=1, padding="SAME")),
        Dropout(0.5),
        top=serial(Flatten(), Dense(2)),
    )
    table = summary(net, (9, 9, 1))
    assert [(row.path, row.output_shape, row.parameters, row.multiply_adds) for row in table.rows] == [
        ("conv1", (4, 4, 4), 40, 16 * 4 * 9),
        ("residual1/body/conv1", (4, 4, 4), 148, 16 * 4 * 36),
        ("residual1/body/batch_norm1", (4, 4, 4), 8, 0),
        ("residual1/shortcut", (4, 4, 4), 20, 16 * 4 * 4),
        ("branches1/serial1/depthwise", (4, 4, 4), 36, 16 * 4 * 9),  # all branches see the same input
        ("branches1/serial1/pointwise", (4, 4, 2), 10, 16 * 2 * 4),
        ("branches1/conv1", (4, 4, 3), 15, 16 * 3 * 4),
        ("branches1/pool", (4, 4, 4), 0, 0),
        ("dropout1", (4, 4, 9), 0, 0),
        ("top/flatten1", (144,), 0, 0),
        ("top/dense1", (2,), 290, 288),
    ]
    assert table.total("statistics") == 8


def test_auxiliary_classifiers_stand_at_their_place_as_of_training():
    body = serial(Conv(4, 3), Flatten(), Dense(3))
    net = with_auxiliaries(body, early=("conv1", serial(MaxPool(2), Flatten(), Dense(2))))
    table = summary(net, (6, 6, 1))
    assert [(row.path, row.output_shape, row.multiply_adds, row.training_only) for row in table.rows] == [
        ("conv1", (4, 4, 4), 16 * 4 * 9, False),
        ("early/max_pool1", (2, 2, 4), 0, True),
        ("early/flatten1", (16,), 0, True),
        ("early/dense1", (2,), 32, True),
        ("flatten1", (64,), 0, False),  # takes what conv1 gives
        ("dense1", (3,), 192, False),
    ]
    assert str(table).count("in training)") == 3 and "early/dense1 (dense, in training)" in str(table)


def test_a_layer_run_differently_has_the_rows_of_the_layer():
    body = serial(Conv(4, 3), BatchNorm())
    plain = summary(body, (6, 6, 1)).rows
    assert summary(checkpointed(body), (6, 6, 1)).rows == summary(frozen(body), (6, 6, 1)).rows == plain
    assert only_row(checkpointed(Conv(4, 3)), (6, 6, 1)).multiply_adds == 16 * 4 * 9


def test_a_model_may_be_seen_at_another_input():
    table = summary(models.create("lenet5"), (32, 32, 1))
    assert table.input_shape == (32, 32, 1)
    assert table.rows[0].output_shape == (32, 32, 6)


def test_the_printed_table():
    net = serial(Conv(8, 3), BatchNorm(), Relu(), Flatten(), head=Dense(300))
    expected = """
serial, input 28 × 28 × 1, per image
────────────────────────────────────────────────────────────────────────────────────
layer                     output shape  parameters  multiply-adds   weights   output
────────────────────────────────────────────────────────────────────────────────────
conv1 (conv)              26 × 26 × 8           80         48,672     320 B  21.1 KiB
batch_norm1 (batch_norm)  26 × 26 × 8           32              0     128 B  21.1 KiB
relu1 (relu)              26 × 26 × 8            0              0       0 B  21.1 KiB
flatten1 (flatten)        5408                   0              0       0 B  21.1 KiB
head (dense)              300            1,622,700      1,622,400   6.2 MiB   1.2 KiB
────────────────────────────────────────────────────────────────────────────────────
total                                    1,622,812      1,671,072   6.2 MiB  85.7 KiB
trainable 1,622,796 · not trainable 16
"""
    printed, wanted = str(summary(net, (28, 28, 1))).splitlines(), expected.strip().splitlines()
    assert [line.split() for line in printed if "─" not in line] == [line.split() for line in wanted if "─" not in line]
    rules = [i for i, line in enumerate(printed) if set(line) == {"─"}]
    assert rules == [1, 3, 9]
    rows = [printed[2], *printed[4:9], printed[10]]
    assert {len(line) for line in [*rows, printed[1]]} == {len(printed[1])}  # columns stand under one another
    assert not any(line != line.rstrip() for line in printed)


def test_a_layer_needs_an_input_shape():
    with pytest.raises(ValueError, match="summary: `input_shape` must be given for a Layer; only a Model knows"):
        summary(serial(Conv(8, 3)))


def test_an_input_that_does_not_fit_is_refused_with_the_place():
    with pytest.raises(ValueError, match="must fit into the padded input") as error:
        summary(models.create("lenet5"), (8, 8, 1))
    assert "in layer 'conv2', whose input is (4, 4, 6)" in error.value.__notes__
