"""The NumPy loops that everything is compared with, against XLA in float64 and numbers worked out by hand."""

import numpy as np
import oracles
import pytest
from jax import lax
from textbook_tools import close, normal, run

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "dilation", "pads", "groups"),
    [(1, 1, (0, 0), 1), (2, 1, (1, 2), 2), (3, 2, (5, 0), 1), (2, 2, (0, 7), 2)],
)
def test_the_loops_agree_with_lax_in_float64(rank, stride, dilation, pads, groups):
    x, w = normal(2, *(7, 6, 5)[:rank], 4), normal(*(3, 2, 2)[:rank], 4 // groups, 6)
    letters = "HWD"[:rank]
    dy, y, dx, dw = run(
        lambda x, w: lax.conv_general_dilated(
            x,
            w,
            (stride,) * rank,
            (pads,) * rank,
            rhs_dilation=(dilation,) * rank,
            dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
            feature_group_count=groups,
        ),
        x,
        w,
    )
    how = (stride, (pads,) * rank, dilation, groups)
    close(oracles.conv(x, w, *how), y)
    close(oracles.conv_input_gradient(dy, w, x.shape, *how), dx)
    close(oracles.conv_kernel_gradient(x, dy, w.shape, *how), dw)


def test_the_loops_pool_with_ceil_mode_and_counts_as_pytorch_documents():
    x = np.arange(1.0, 6).reshape(1, 5, 1)  # 1 2 3 4 5, padded by one: 0 | 1 2 3 4 5 | 0
    pooled = {"window": (3,), "stride": 3, "pads": ((1, 1),)}
    assert oracles.avg_pool(x, **pooled).ravel().tolist() == [1.5, 4]  # (1+2)/2, (3+4+5)/3
    assert oracles.avg_pool(x, **pooled, count_include_pad=True).ravel().tolist() == [1, 4]
    assert oracles.max_pool(x, (2,), 2).ravel().tolist() == [2, 4]
    assert oracles.max_pool(x, (2,), 2, ceil_mode=True).ravel().tolist() == [2, 4, 5]
    # With ceil_mode the last window holds a 5 and one pixel that is neither input nor padding: it counts 1, not 2.
    assert oracles.avg_pool(x, (2,), 2, ceil_mode=True, count_include_pad=True).ravel().tolist() == [1.5, 3.5, 5]
    # Here it holds a 4, one pixel of padding and one beyond: it counts 2 of 3. The windows: 0 1 2, 2 3 4, 4 0 and none.
    last = oracles.avg_pool(x[:, :4], (3,), 2, ((1, 1),), ceil_mode=True, count_include_pad=True)
    assert last.ravel().tolist() == [1, 3, 2]
    # The second window starts at the last pixel of four, but of three it would start in the padding: dropped.
    assert oracles.output_size(4, 3, 4, (1, 1), ceil_mode=True) == 2
    assert oracles.output_size(3, 3, 4, (1, 1), ceil_mode=True) == 1
    # A window of nothing but padding.
    assert oracles.max_pool(x, (1,), 7, ((2, 0),)).ravel().tolist() == [-np.inf]
    assert oracles.avg_pool(x, (1,), 7, ((2, 0),)).ravel().tolist() == [0]


@pytest.mark.parametrize(
    ("word", "pads"), [("VALID", (0, 0)), ("SAME", (1, 2)), ("SAME_LOWER", (2, 1)), ("FULL", (4, 4))]
)
def test_the_loops_padding_words(word, pads):
    assert oracles.pads_for(word, 6, 5, 2) == pads  # three outputs: 2·2 + 5 − 6 = 3 to pad
    assert oracles.pads_for(word, 6, 3, 2, d=2) == pads  # a window of 3 that looks at every second pixel spans 5 too
