"""Bad arguments: each a ValueError or TypeError that names operation, argument, relation and what was received.

All are refused from static shapes and dtypes, so also while jit traces. One row per kind and operation.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops

CONVOLUTIONS = {"conv": ops.conv, "conv_transpose": ops.conv_transpose}
POOLS = {"max_pool": ops.max_pool, "avg_pool": ops.avg_pool, "lp_pool": ops.lp_pool}
GLOBAL = {"global_max_pool": ops.global_max_pool, "global_avg_pool": ops.global_avg_pool}

X, KERNEL = np.ones((2, 6, 5, 4), np.float32), np.ones((3, 2, 4, 4), np.float32)

# kind: (options, error, argument named, what else the message must hold). For convolutions and pools alike.
GEOMETRY = {
    "zero stride": ({"stride": 0}, ValueError, "stride", "at least 1; got 0"),
    "negative stride": ({"stride": (1, -2)}, ValueError, "stride", "got (1, -2)"),
    "float stride": ({"stride": 2.0}, TypeError, "stride", "must be an int or a sequence; got 2.0"),
    "one float stride": ({"stride": (2, 1.5)}, TypeError, "stride", "must be an int or 2 ints; got (2, 1.5)"),
    "bool stride": ({"stride": True}, TypeError, "stride", "got True"),
    "three strides": ({"stride": (1, 1, 1)}, ValueError, "stride", "one int per spatial axis (2); got (1, 1, 1)"),
    "zero dilation": ({"dilation": 0}, ValueError, "dilation", "at least 1; got 0"),
    "negative dilation": ({"dilation": (-1, 1)}, ValueError, "dilation", "got (-1, 1)"),
    "float dilation": ({"dilation": 1.0}, TypeError, "dilation", "got 1.0"),
    "unknown word": ({"padding": "same"}, ValueError, "padding", "SAME_LOWER, FULL, an int or pairs; got 'same'"),
    "negative padding": ({"padding": -1}, ValueError, "padding", "must not be negative; got -1"),
    "negative pair": ({"padding": ((0, 0), (2, -1))}, ValueError, "padding", "must not be negative; got ((0, 0)"),
    "float padding": ({"padding": 1.0}, TypeError, "padding", "got 1.0"),
    "bool padding": ({"padding": True}, TypeError, "padding", "got True"),
    "one pair": ({"padding": ((1, 1),)}, ValueError, "padding", "got 1 pairs for 2 spatial axes: ((1, 1),)"),
    "three pairs": ({"padding": ((1, 1),) * 3}, ValueError, "padding", "got 3 pairs for 2 spatial axes"),
    "ints for pairs": ({"padding": (1, 1)}, ValueError, "padding", "one (before, after) pair of ints per spatial axis"),
    "triple": ({"padding": ((1, 1), (1, 1, 1))}, ValueError, "padding", "got ((1, 1), (1, 1, 1))"),
    "pair of floats": ({"padding": ((1, 1), (1, 0.5))}, ValueError, "padding", "got ((1, 1), (1, 0.5))"),
}

# (operation, kind): (call, arrays, error, argument, text)
ROWS = {}
for kind, (options, error, argument, text) in GEOMETRY.items():
    for op, function in CONVOLUTIONS.items():
        ROWS[op, kind] = (functools.partial(function, **options), (X, KERNEL), error, argument, text)
    for op, function in POOLS.items():
        ROWS[op, kind] = (functools.partial(function, **{"window": 2} | options), (X,), error, argument, text)

for op, function in CONVOLUTIONS.items():
    bad = {
        "missing channel axis": (X[0, 0], KERNEL, ValueError, "x", "x (5, 4), kernel (3, 2, 4, 4). Is the"),
        "kernel without a window": (X, KERNEL[0, 0], ValueError, "kernel", "at least one window axis"),
        "kernel of no taps": (X, KERNEL[:0], ValueError, "kernel", "at least 1; got (0, 2)"),
        "bool x": (X > 0, KERNEL, TypeError, "x", "real and numeric; got dtype bool"),
        "bool kernel": (X, KERNEL > 0, TypeError, "kernel", "got dtype bool"),
        "complex x": (X * 1j, KERNEL, TypeError, "x", "got dtype complex"),
        "complex kernel": (X, KERNEL * 1j, TypeError, "kernel", "got dtype complex"),
        "string x": ("cat.png", KERNEL, TypeError, "x", "got dtype <U7"),
        "string kernel": (X, "3×3", TypeError, "kernel", "got dtype <U3"),
        "no x": (None, KERNEL, TypeError, "x", "got dtype object"),
        "mixed dtypes": (X, KERNEL.astype(np.float16), TypeError, "kernel", "got `x` float32, `kernel` float16"),
        "int and float": (X.astype(np.int32), KERNEL, TypeError, "x", "got `x` int32, `kernel` float32"),
    }
    for kind, (x, kernel, error, argument, text) in bad.items():
        ROWS[op, kind] = (function, (x, kernel), error, argument, text)
    options = {
        "zero groups": ({"groups": 0}, ValueError, "groups", "at least 1; got 0"),
        "negative groups": ({"groups": -2}, ValueError, "groups", "got -2"),
        "float groups": ({"groups": 2.0}, TypeError, "groups", "must be an int; got 2.0"),
        "bool groups": ({"groups": True}, TypeError, "groups", "must be an int; got True"),
        "groups not dividing": ({"groups": 3}, ValueError, "groups", "must divide the channels of `x` (4)"),
    }
    for kind, (more, error, argument, text) in options.items():
        ROWS[op, kind] = (functools.partial(function, **more), (X, KERNEL), error, argument, text)

for op, function in POOLS.items():
    options = {
        "zero window": (0, ValueError, "at least 1; got 0"),
        "negative window": ((2, -1), ValueError, "got (2, -1)"),
        "float window": (2.5, TypeError, "must be an int or a sequence; got 2.5"),
        "bool window": (True, TypeError, "got True"),
        "no window": (None, TypeError, "got None"),
        "string window": ("2", TypeError, "got '2'"),
        "empty window": ((), ValueError, "got ()"),
        "window larger than the input": ((7, 2), ValueError, "spatial axis 0 it spans 7 and the input has 6 + 0 + 0"),
    }
    for kind, (window, error, text) in options.items():
        ROWS[op, kind] = (functools.partial(function, window=window), (X,), error, "window", text)
    two = functools.partial(function, window=2)
    ROWS[op, "dilated window larger than the padded input"] = (
        functools.partial(two, dilation=(1, 8), padding=1),
        (X,),
        ValueError,
        "window",
        "spatial axis 1 it spans 9 and the input has 5 + 1 + 1; input (6, 5), window (2, 2), dilation (1, 8)",
    )
    ROWS[op, "missing channel axis"] = (two, (X[0, 0],), ValueError, "x", "got x (5, 4). Is the channel axis")
    ROWS[op, "bool x"] = (two, (X > 0,), TypeError, "x", "got dtype bool")
    ROWS[op, "complex x"] = (two, (X * 1j,), TypeError, "x", "got dtype complex")
    ROWS[op, "string x"] = (two, ("cat.png",), TypeError, "x", "got dtype <U7")

for op, function in GLOBAL.items():
    ROWS[op, "missing channel axis"] = (function, (X[0, 0],), ValueError, "x", "a channel axis; got x (5, 4)")
    ROWS[op, "no positions"] = (function, (X[:, :0],), ValueError, "x", "no positions to pool; got x (2, 0, 5, 4)")
    ROWS[op, "bool x"] = (function, (X > 0,), TypeError, "x", "got dtype bool")
    ROWS[op, "complex x"] = (function, (X * 1j,), TypeError, "x", "got dtype complex")
    ROWS[op, "string x"] = (function, ("cat.png",), TypeError, "x", "got dtype <U7")
    for rank, error in ((0, ValueError), (-1, ValueError), (1.0, TypeError)):
        ROWS[op, f"spatial_rank {rank}"] = (
            functools.partial(function, spatial_rank=rank),
            (X,),
            error,
            "spatial_rank",
            f"got {rank}",
        )

for op in ("avg_pool", "lp_pool"):
    call = functools.partial(POOLS[op], window=2)
    ROWS[op, "integer x"] = (call, (X.astype(np.int32),), TypeError, "x", "must be floating-point; got dtype int32")
ROWS["global_avg_pool", "integer x"] = (
    ops.global_avg_pool,
    (X.astype(np.int32),),
    TypeError,
    "x",
    "must be floating-point; got dtype int32",
)
for p, error in (
    (0.5, ValueError),
    (0, ValueError),
    (-2, ValueError),
    (np.inf, ValueError),
    (np.nan, ValueError),
    ("2", TypeError),
    (True, TypeError),
    (None, TypeError),
):
    ROWS["lp_pool", f"p = {p!r}"] = (functools.partial(ops.lp_pool, window=2, p=p), (X,), error, "p", f"got {p!r}")

ROWS |= {
    ("conv", "window larger than the padded input"): (
        functools.partial(ops.conv, padding=((0, 0), (1, 0)), dilation=(1, 6)),
        (X, KERNEL),
        ValueError,
        "kernel",
        "spatial axis 1 it spans 7 and the input has 5 + 1 + 0; input (6, 5), window (3, 2), dilation (1, 6)",
    ),
    ("conv", "channel mismatch"): (ops.conv, (X[..., :3], KERNEL), ValueError, "kernel", "x (2, 6, 5, 3), kernel ("),
    ("conv", "channel mismatch in groups"): (
        functools.partial(ops.conv, groups=2),
        (X, KERNEL),
        ValueError,
        "kernel",
        "expects 8 input channels but `x` has 4; x (2, 6, 5, 4), kernel (3, 2, 4, 4), groups 2.",
    ),
    ("conv_transpose", "channel mismatch"): (
        ops.conv_transpose,
        (X[..., :3], KERNEL),
        ValueError,
        "kernel",
        "expects 4 input channels but `x` has 3; x (2, 6, 5, 3), kernel (3, 2, 4, 4), groups 1.",
    ),
    ("conv", "unknown algorithm"): (
        functools.partial(ops.conv, algorithm="magic"),
        (X, KERNEL),
        ValueError,
        "algorithm",
        "one of auto, blocks, channels_last, depthwise, fft, overlap, pallas, patches, taps, winograd; got 'magic'",
    ),
    ("conv", "unknown precision"): (
        functools.partial(ops.conv, precision="best"),
        (X, KERNEL),
        ValueError,
        "precision",
        "got 'best'",
    ),
    ("conv_transpose", "output_padding not below the stride"): (
        functools.partial(ops.conv_transpose, stride=(2, 3), output_padding=(1, 3)),
        (X, KERNEL),
        ValueError,
        "output_padding",
        "must be below the stride; got (1, 3), stride (2, 3)",
    ),
    ("conv_transpose", "negative output_padding"): (
        functools.partial(ops.conv_transpose, stride=2, output_padding=-1),
        (X, KERNEL),
        ValueError,
        "output_padding",
        "at least 0; got -1",
    ),
    ("conv_transpose", "output_padding beside SAME"): (
        functools.partial(ops.conv_transpose, stride=2, output_padding=1, padding="SAME"),
        (X, KERNEL),
        ValueError,
        "output_padding",
        "'SAME'",
    ),
    ("conv_transpose", "padding that leaves nothing"): (
        functools.partial(ops.conv_transpose, padding=4),
        (X, KERNEL),
        ValueError,
        "padding",
        "the output would be (0, -2); x (2, 6, 5, 4), kernel (3, 2, 4, 4), stride (1, 1), padding 4",
    ),
}

UNFIT = {  # a name's product that it cannot compute, and what it says it takes
    "depthwise": ({}, (X, KERNEL), "groups of one channel in and one out, and at most 100 taps; got float32, window"),
    "overlap": ({"stride": (1, 2)}, (X, KERNEL), "stride 1; got float32, window (3, 2), stride (1, 2)"),
    "taps": ({}, (X[..., :3], np.ones((6, 2, 3, 4), np.float32)), "at most 32 weights per output channel; got"),
    "winograd": ({"precision": "high"}, (X, KERNEL), "per group, precision high"),
}
for name, (options, arrays, text) in UNFIT.items():
    text = f"'{name}' cannot compute this product: it takes .*{re.escape(text)}"
    call = functools.partial(ops.conv, algorithm=name, **options)
    ROWS["conv", f"{name} that cannot"] = (call, arrays, ValueError, "algorithm", re.compile(text))

parametrize_rows = pytest.mark.parametrize("row", ROWS, ids=": ".join)


@parametrize_rows
def test_refused(row):
    call, arrays, error, argument, text = ROWS[row]
    check(row[0], error, argument, text, lambda: call(*arrays))


@parametrize_rows
def test_refused_under_jit(row):
    """The arrays traced, where they are arrays."""
    call, arrays, error, argument, text = ROWS[row]
    traced = [i for i, a in enumerate(arrays) if isinstance(a, np.ndarray)]

    def program(*values):
        every = dict(enumerate(arrays)) | dict(zip(traced, values, strict=True))
        return call(*every.values())

    check(row[0], error, argument, text, lambda: jax.jit(program)(*(arrays[i] for i in traced)))


def check(op, error, argument, text, call):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{op}: "), message
    assert f"`{argument}`" in message, message
    assert re.search(text, message) if isinstance(text, re.Pattern) else text in message, message


def test_channel_mismatch_word_for_word():
    """The design's example of a good message."""
    with pytest.raises(ValueError) as caught:
        ops.conv(jnp.ones((8, 32, 32, 3)), jnp.ones((5, 5, 4, 8)))
    assert str(caught.value) == (
        "conv: `kernel` expects 4 input channels but `x` has 3; x (8, 32, 32, 3), kernel (5, 5, 4, 8), groups 1."
    )


ZERO = {
    "conv": lambda x: ops.conv(x, jnp.ones((3, 2, 4, 6))),
    "grouped conv": lambda x: ops.conv(x, jnp.ones((3, 2, 2, 6)), groups=2),
    "depthwise conv": lambda x: ops.conv(x, jnp.ones((3, 2, 1, 8)), groups=4),
    "conv_transpose": lambda x: ops.conv_transpose(x, jnp.ones((3, 2, 3, 4)), stride=2),
    "max_pool": lambda x: ops.max_pool(x, 2),
    "avg_pool": lambda x: ops.avg_pool(x, 2),
    "lp_pool": lambda x: ops.lp_pool(x, 2),
    "global_max_pool": ops.global_max_pool,
    "global_avg_pool": ops.global_avg_pool,
}


@pytest.mark.parametrize("batch", [(0,), (3, 0)], ids=str)
@pytest.mark.parametrize("op", ZERO)
def test_a_batch_of_nothing_is_no_error(op, batch):
    """Its result and gradient are as empty; the shapes are those of a batch of one but for the batch."""
    x, one = jnp.ones((*batch, 6, 5, 4)), jnp.ones((6, 5, 4))
    y, pull = jax.vjp(ZERO[op], x)
    assert y.shape == (*batch, *jax.eval_shape(ZERO[op], one).shape)
    assert pull(y)[0].shape == x.shape
