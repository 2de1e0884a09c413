"""`geometry.py`: integers only, from words to pairs, sizes, the adjoint window and the counts; against enumeration."""

import ast
import inspect
import itertools

import oracles
import pytest

from jaxcnn.ops import geometry
from jaxcnn.ops.geometry import Window, sliding_window

# n, window, stride, before, after, dilation: every combination where the window fits.
AXES = [
    (n, k, s, before, after, d)
    for n, k, s, before, after, d in itertools.product((1, 2, 5, 8), (1, 2, 3), (1, 2, 3), (0, 1, 4), (0, 2), (1, 2))
    if n + before + after >= d * (k - 1) + 1
]


def window(n, k, s, before, after, d, **options):
    return sliding_window("op", (n,), window=(k,), stride=s, padding=((before, after),), dilation=d, **options)


def meetings(n, k, s, before, after, d, outputs):
    """Which (output, tap, pixel) meet, by the definition."""
    return {
        (o, tap, s * o + d * tap - before)
        for o in range(outputs)
        for tap in range(k)
        if 0 <= s * o + d * tap - before < n
    }


def test_imports_no_jax():
    """So that it can be read, and tested, as arithmetic."""
    tree = ast.parse(inspect.getsource(geometry))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or "."])
    }
    assert imported <= {"itertools", "math", "operator", "collections", "dataclasses", "typing"}


def test_output_size_is_the_number_of_places():
    """A place is a start, a multiple of the stride, from which the whole window is inside the padded input."""
    assert len(AXES) > 300
    for n, k, s, before, after, d in AXES:
        span = before + n + after
        places = sum(start + d * (k - 1) < span for start in range(0, span, s))
        assert window(n, k, s, before, after, d).output_size((n,)) == (places,)


def test_ceil_mode_adds_a_partial_window_that_starts_before_the_padding_after():
    added = 0
    for n, k, s, before, after, d in AXES:
        whole = window(n, k, s, before, after, d).output_size((n,))[0]
        ceiled = window(n, k, s, before, after, d, ceil_mode=True)
        (out,) = ceiled.output_size((n,))
        assert out == oracles.output_size(n, k, s, (before, after), d, ceil_mode=True)
        assert ceiled.padding[0][0] == before
        added += out - whole
    assert added > 20, "no axis here is changed by ceil_mode"


def test_adjoint_window_meets_the_same_pairs():
    """Sliding over the cotangent spread by the stride, the rotated window sees output o from pixel i through tap k
    exactly if the forward window sees pixel i from output o through tap k."""
    for n, k, s, before, after, d in AXES:
        forward = window(n, k, s, before, after, d)
        (outputs,) = forward.output_size((n,))
        back = forward.adjoint((n,))
        spread = (outputs - 1) * s + 1
        assert back.stride == (1,)
        assert back.output_size((spread,)) == (n,)
        seen = set()
        for pixel, turned in itertools.product(range(n), range(k)):
            position = pixel + d * turned - back.padding[0][0]
            if 0 <= position < spread and position % s == 0:
                seen.add((position // s, k - 1 - turned, pixel))
        assert seen == meetings(n, k, s, before, after, d, outputs)


def test_counts_are_the_taps_inside():
    for n, k, s, before, after, d in AXES:
        forward = window(n, k, s, before, after, d)
        (outputs,) = forward.output_size((n,))
        met = meetings(n, k, s, before, after, d, outputs)
        assert forward.counts((n,), ((0, 0),)) == [[sum(o == out for o, *_ in met) for out in range(outputs)]]
        assert forward.counts((n,), ((before, after),)) == [[k] * outputs]


@pytest.mark.parametrize("word", geometry.PADDING_WORDS)
def test_padding_words(word):
    for n, k, s, d in itertools.product((4, 5, 8), (1, 2, 3), (1, 2, 3), (1, 2)):
        if word == "VALID" and d * (k - 1) + 1 > n:
            continue
        result = sliding_window("op", (n,), window=(k,), stride=s, padding=word, dilation=d)
        assert result.padding == (oracles.pads_for(word, n, k, s, d),)
        if word.startswith("SAME"):
            assert result.output_size((n,)) == (-(-n // s),)


def test_one_int_stands_for_every_axis():
    one = sliding_window("op", (7, 8, 9), window=(2, 3, 2), stride=2, padding=1, dilation=3)
    assert one == Window((2, 3, 2), (2, 2, 2), ((1, 1),) * 3, (3, 3, 3))
    assert hash(one) == hash(
        sliding_window("op", (7, 8, 9), window=[2, 3, 2], stride=(2, 2, 2), padding=[[1, 1]] * 3, dilation=[3, 3, 3])
    ), "one static value however it was written"


def test_taps_and_offsets_in_row_major_order():
    result = sliding_window("op", (9, 9), window=(2, 3), stride=1, padding=0, dilation=(4, 2))
    assert result.taps == 6
    assert result.extent == (5, 5)
    assert list(result.offsets()) == [(0, 0), (0, 2), (0, 4), (4, 0), (4, 2), (4, 4)]


def test_ceil_mode_takes_a_window_larger_than_the_input():
    """A partial window counts if it starts in the input, so the check whether it fits comes after."""
    taken = refused = 0
    for n, k, s, before, d in itertools.product(range(1, 6), range(1, 8), range(1, 7), range(3), (1, 2)):
        try:
            out = oracles.output_size(n, k, s, (before, before), d, ceil_mode=True)
        except ValueError:
            with pytest.raises(ValueError, match="must fit into the padded input"):
                window(n, k, s, before, before, d, ceil_mode=True)
            refused += 1
        else:
            assert window(n, k, s, before, before, d, ceil_mode=True).output_size((n,)) == (out,)
            taken += d * (k - 1) + 1 > n + 2 * before
    assert taken > 20 and refused > 20
