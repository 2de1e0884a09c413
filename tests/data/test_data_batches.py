"""The plan of an epoch: every example once, metrics exact, orders reproducible."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.data import Dataset, batches, epoch_plan, to_float

counts = st.integers(0, 300)
sizes = st.integers(1, 400)
seeds = st.none() | st.integers(0, 2**40)


@settings(deadline=None)
@given(counts, sizes, seeds, st.integers(0, 100))
def test_every_example_is_there_once_under_the_mask(n, batch_size, seed, epoch):
    indices, mask = epoch_plan(n, batch_size, seed=seed, epoch=epoch)
    assert indices.dtype == np.int32 and mask.dtype == bool
    assert indices.shape == mask.shape == (-(-n // batch_size), batch_size)
    assert sorted(indices[mask].tolist()) == list(range(n))
    assert ((indices >= 0) & (indices < max(n, 1))).all()  # what fills the last batch is real too
    order = indices.ravel()
    np.testing.assert_array_equal(order[n:], np.resize(order[:n], order.size)[n:])  # from the start of the order


@settings(deadline=None)
@given(st.integers(1, 300), sizes, seeds)
def test_a_mean_weighted_by_the_mask_is_the_mean(n, batch_size, seed):
    values = np.arange(n) ** 2 % 97  # integers, so that equal means exactly equal
    indices, mask = epoch_plan(n, batch_size, seed=seed)
    per_batch = (values[indices] * mask).sum(axis=1)
    assert per_batch.sum() / mask.sum() == values.mean()


def test_order_follows_seed_and_epoch():
    def order(seed, epoch):
        return epoch_plan(100, 10, seed=seed, epoch=epoch)[0].ravel().tolist()

    assert order(None, 3) == list(range(100))
    assert order(0, 3) == order(0, 3)
    different = [order(0, 0), order(0, 1), order(1, 0), list(range(100))]
    assert len(set(map(tuple, different))) == 4


def test_shuffle_is_uniform():
    """Each example comes first about equally often: 3 standard deviations of a binomial."""
    first = np.array([epoch_plan(5, 5, seed=seed)[0][0, 0] for seed in range(2000)])
    assert np.abs(np.bincount(first, minlength=5) - 400).max() < 3 * np.sqrt(2000 * 0.2 * 0.8)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"n": -1, "batch_size": 2}, "n"),
        ({"n": 3, "batch_size": 0}, "batch_size"),
        ({"n": 3, "batch_size": 2.0}, "batch_size"),
        ({"n": 3, "batch_size": True}, "batch_size"),
        ({"n": 3, "batch_size": 2, "epoch": -1}, "epoch"),
        ({"n": 3, "batch_size": 2, "seed": -1}, "seed"),
        ({"n": 3, "batch_size": 2, "seed": 0.5}, "seed"),
    ],
)
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        epoch_plan(**arguments)


def test_batches_carry_the_examples():
    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    dataset = Dataset(images, np.arange(7), tuple("abcdefg"), "made")
    for data in (dataset, (images, dataset.labels)):
        seen = list(batches(data, 3, seed=1, epoch=2))
        assert [batch.images.shape for batch in seen] == [(3, 2, 2, 1)] * 3
        for batch, indices in zip(seen, epoch_plan(7, 3, seed=1, epoch=2)[0], strict=True):
            assert batch.labels.tolist() == batch.images[:, 0, 0, 0].tolist() == indices.tolist()
        assert sum(batch.mask.sum() for batch in seen) == 7


def test_batches_refuses_before_the_first_batch():
    with pytest.raises(TypeError, match="`data`"):
        batches(np.zeros((3, 2)), 2)
    with pytest.raises(ValueError, match="batch_size"):
        batches((np.zeros((3, 2)), np.zeros(3)), 0)


# ---- floats


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_bytes_become_zero_to_one(dtype):
    pixels = np.arange(256, dtype=np.uint8)
    floats = to_float(pixels, dtype)
    assert floats.dtype == dtype and floats[0] == 0 and floats[255] == 1
    exact = np.asarray(pixels / 255.0)
    np.testing.assert_allclose(np.asarray(floats, np.float64), exact, rtol=jnp.finfo(dtype).eps)
    np.testing.assert_array_equal(floats, jax.jit(to_float, static_argnums=1)(pixels, dtype))


def test_floats_keep_their_values():
    values = np.array([-1.5, 0.25, 300.0], np.float32)
    np.testing.assert_array_equal(to_float(values), values)
    assert to_float(values, jnp.bfloat16).dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.bool_, np.complex64])
def test_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match="`images` must be uint8 or floating"):
        to_float(np.zeros(3, dtype))
    with pytest.raises(TypeError, match="`dtype` must be floating"):
        to_float(np.zeros(3, np.uint8), dtype)
    with pytest.raises(TypeError, match=r"`images` must be an array; got list: np\.asarray"):
        to_float([1, 2])
