"""Augmentations: known pictures, laws, and every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.data import to_float
from jaxcnn.data.augment import chain, crop, cutout, flip, normalize, per_image, shift

IMAGE = jnp.arange(1.0, 6 * 5 * 2 + 1).reshape(6, 5, 2)
KEYS = jax.random.split(jax.random.key(0), 200)

ALL = {
    "flip": flip(),
    "shift": shift(2),
    "crop to a size": crop(1, size=(4, 3)),
    "cutout": cutout(3),
    "normalize": normalize([0.4, 0.5], [0.2, 0.3]),
    "chain": chain(flip(), shift(1), cutout(2), normalize(0.5, 0.2)),
}
each = pytest.mark.parametrize("augment", ALL.values(), ids=ALL)


def many(augment):
    return np.asarray(jax.jit(jax.vmap(augment, (0, None)))(KEYS, IMAGE))


@each
def test_pure_under_jit_vmap_and_scan(augment):
    eager = np.stack([augment(key, IMAGE) for key in KEYS[:3]])
    mapped = jax.jit(jax.vmap(augment, (0, None)))(KEYS[:3], IMAGE)
    scanned = jax.jit(lambda keys: jax.lax.scan(lambda _, key: (None, augment(key, IMAGE)), None, keys)[1])(KEYS[:3])
    np.testing.assert_allclose(mapped, eager, rtol=1e-6)
    np.testing.assert_allclose(scanned, eager, rtol=1e-6)


@each
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_type_is_kept(augment, dtype):
    assert jax.eval_shape(augment, KEYS[0], IMAGE.astype(dtype)).dtype == dtype


@pytest.mark.parametrize("augment", [ALL["flip"], ALL["crop to a size"], ALL["normalize"]])
def test_per_image_gives_each_image_its_own_key(augment):
    images = jnp.stack([IMAGE] * 64)
    varied = np.asarray(jax.jit(per_image(augment))(KEYS[0], images))
    keys = jax.random.split(KEYS[0], 64)
    for i in (0, 63):
        np.testing.assert_allclose(varied[i], augment(keys[i], IMAGE), rtol=1e-6)
    if augment is not ALL["normalize"]:
        assert len({image.tobytes() for image in varied}) > 1
    assert jax.eval_shape(per_image(augment), KEYS[0], images[:0]).shape == (0, *varied.shape[1:])


@each
def test_bytes_and_batches_are_refused(augment):
    with pytest.raises(TypeError, match="`to_float`"):
        augment(KEYS[0], IMAGE.astype(jnp.uint8))
    with pytest.raises(ValueError, match="`per_image`"):
        augment(KEYS[0], IMAGE[None])


def test_old_style_keys_work():
    assert flip()(jax.random.PRNGKey(0), IMAGE).shape == IMAGE.shape


def test_flip_mirrors_left_and_right_as_often_as_asked():
    assert (many(flip(1.0)) == IMAGE[:, ::-1]).all() and (many(flip(0.0)) == IMAGE).all()
    varied = many(flip(0.25))
    mirrored = (varied == IMAGE[:, ::-1]).all((1, 2, 3))
    assert (mirrored | (varied == IMAGE).all((1, 2, 3))).all()
    assert abs(mirrored.mean() - 0.25) < 3 * np.sqrt(0.25 * 0.75 / len(KEYS))


@pytest.mark.parametrize(
    ("augment", "mode"), [(shift(1), "edge"), (shift(1, fill="zero"), "constant"), (crop(1), "constant")]
)
def test_shift_gives_every_move_and_no_other(augment, mode):
    padded = np.pad(IMAGE, ((1, 1), (1, 1), (0, 0)), mode)
    moves = {padded[row : row + 6, column : column + 5].tobytes() for row in range(3) for column in range(3)}
    assert {image.tobytes() for image in many(augment)} == moves


def test_crop_to_a_size_gives_every_window():
    windows = {
        np.asarray(IMAGE[row : row + 5, column : column + 3]).tobytes() for row in range(2) for column in range(3)
    }
    assert {image.tobytes() for image in many(crop(0, size=(5, 3)))} == windows


@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_cutout_blanks_one_square_cut_at_the_border(size):
    for image in many(cutout(size, value=-1.0)):
        blank = (image == -1).all(-1)
        rows, columns = np.flatnonzero(blank.any(1)), np.flatnonzero(blank.any(0))
        assert blank.sum() == rows.size * columns.size and 1 <= rows.size <= size and 1 <= columns.size <= size
        assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all()
        for places, length in ((rows, 6), (columns, 5)):  # shorter only where it reaches over the border
            assert places.size == size or places[0] == 0 or places[-1] == length - 1
        assert (image[~blank] == np.asarray(IMAGE)[~blank]).all()


def test_every_pixel_is_the_center_of_a_cutout():
    def extents(size):
        blank = (many(cutout(size)) == 0).all(-1)
        return {(*np.flatnonzero(b.any(1))[[0, -1]], *np.flatnonzero(b.any(0))[[0, -1]]) for b in blank}

    for size, before, after in ((1, 0, 0), (3, 1, 1), (4, 2, 1)):
        centers = [(row, column) for row in range(6) for column in range(5)]
        assert extents(size) == {
            (max(r - before, 0), min(r + after, 5), max(c - before, 0), min(c + after, 4)) for r, c in centers
        }


def test_normalize_is_per_channel():
    result = normalize([1.0, 2.0], [2.0, 4.0])(KEYS[0], IMAGE)
    np.testing.assert_allclose(result, (np.asarray(IMAGE) - [1, 2]) / [2, 4], rtol=1e-6)


def test_chain_gives_each_part_its_own_key():
    both = many(chain(shift(1), shift(1)))
    keys = [jax.random.fold_in(KEYS[0], part) for part in range(2)]
    np.testing.assert_array_equal(both[0], shift(1)(keys[1], shift(1)(keys[0], IMAGE)))
    assert not jnp.array_equal(*map(jax.random.key_data, keys))
    np.testing.assert_array_equal(chain()(KEYS[0], IMAGE), IMAGE)


def test_bytes_to_augmented_batch_in_one_jit():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 5, 2)).astype(np.uint8)
    augment = per_image(ALL["chain"])
    together = jax.jit(lambda key, pixels: augment(key, to_float(pixels)))(KEYS[0], pixels)
    np.testing.assert_allclose(together, jax.jit(augment)(KEYS[0], to_float(pixels)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: flip(1.5), "`probability`"),
        (lambda: shift(-1), "`padding`"),
        (lambda: shift(1, fill="mirror"), "zero, edge"),
        (lambda: crop(0, size=(0, 3)), "`size`"),
        (lambda: crop(0, size=3), "`size` must be .height, width."),
        (lambda: crop(0, size=(3, 2.5)), "`size` must be a whole number"),
        (lambda: crop(2.0), "`padding` must be a whole number of pixels, at least 0; got 2.0"),
        (lambda: crop("2"), "`padding`.*got '2'"),
        (lambda: cutout(True), "`size`"),
        (lambda: crop(0, size=(7, 3))(KEYS[0], IMAGE), r"larger than the image \(6, 5, 2\)"),
        (lambda: cutout(0), "`size`"),
        (lambda: normalize(0.0, 0.0), "std above 0"),
        (lambda: normalize([0.0] * 3, 1.0)(KEYS[0], IMAGE), "per channel"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_numpys_integers_are_integers():
    for ours, theirs in (
        (crop(2, size=(3, 4)), crop(np.int64(2), size=np.array([3, 4]))),
        (cutout(3), cutout(np.uint8(3))),
        (shift(1), shift(np.int32(1))),
    ):
        np.testing.assert_array_equal(ours(KEYS[0], IMAGE), theirs(KEYS[0], IMAGE))
