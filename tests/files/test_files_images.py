"""The decoder of images: the right pixels of every kind of file, one clear error for what is none."""

import io
import os
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import DataError, read_image

RNG = np.random.default_rng(0)
UPRIGHT = RNG.integers(0, 256, (5, 7)).astype(np.uint8)
COLOR = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)


def saved(tmp_path, image, suffix=".png", **options):
    file = tmp_path / f"image{suffix}"
    image.save(file, **options)
    return file


# EXIF 2.3, Orientation: the sides of the upright picture where row 0 and column 0 of the stored one lie.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored(upright, orientation):
    """What a camera stores, from the definition."""
    down = -1 if "bottom" in SIDES[orientation] else 1
    along = -1 if "right" in SIDES[orientation] else 1
    turned = upright[::down, ::along]
    return turned.swapaxes(0, 1) if SIDES[orientation][0] in ("left", "right") else turned


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", SIDES)
def test_every_orientation_is_turned_upright(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored(COLOR, orientation)))
    file = saved(tmp_path, image, suffix, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(read_image(file, (5, 7, 3)), COLOR)


def test_a_damaged_exif_block_leaves_the_picture_as_stored(tmp_path):
    file = saved(tmp_path, Image.fromarray(UPRIGHT), ".png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(file, (5, 7, 1))[..., 0], UPRIGHT)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values, color_type, depth):
    """A PNG by its specification: Pillow does not write every kind."""
    height, width = values.shape[:2]
    rows = values.astype({8: ">u1", 16: ">u2"}[depth]).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def test_16_bits_of_gray_become_8(tmp_path):
    deep = np.array([[0, 128, 129, 257, 3000, 45_000, 65_406, 65_407, 65_535]])
    expected = [0, 0, 1, 1, 12, 175, 254, 255, 255]  # round(v / 257)
    (tmp_path / "a.png").write_bytes(png(deep, 0, 16))
    (tmp_path / "a.pgm").write_bytes(b"P5 9 1 65535\n" + deep.astype(">u2").tobytes())
    Image.fromarray(deep.astype(np.uint16)).save(tmp_path / "a.tif")
    for suffix in ("png", "pgm", "tif"):
        for channels in (1, 3):
            read = read_image(tmp_path / f"a.{suffix}", (1, 9, channels))
            np.testing.assert_array_equal(read, np.repeat(np.array(expected)[None, :, None], channels, 2))


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bits_of_color_become_8(tmp_path, color_type, channels):
    deep = RNG.integers(0, 2**16, (5, 7, channels))
    (tmp_path / "a.png").write_bytes(png(deep, color_type, 16))
    read = read_image(tmp_path / "a.png", (5, 7, 3)).astype(int)
    colors = deep[..., :3] if channels > 2 else deep[..., :1]
    assert np.abs(read - colors / 257).max() < 1


def test_12_bits_of_gray_become_8(tmp_path):
    # TIFF 6.0: two values in three bytes; Pillow reads this and does not write it.
    packed = bytes([0xFF, 0xF8, 0x00])  # 4095, 2048
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag == 273 else 3, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 12) + packed + b"\0"
    (tmp_path / "a.tif").write_bytes(head + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0")
    assert read_image(tmp_path / "a.tif", (1, 2, 1)).ravel().tolist() == [255, 128]


def gray(colors):
    """ITU-R BT.601."""
    return colors @ np.array([0.299, 0.587, 0.114])


def test_transparency_is_dropped(tmp_path):
    alpha = RNG.integers(0, 256, (5, 7, 1)).astype(np.uint8)
    file = saved(tmp_path, Image.fromarray(np.concatenate([COLOR, alpha], -1)))
    np.testing.assert_array_equal(read_image(file, (5, 7, 3)), COLOR)
    assert np.abs(read_image(file, (5, 7, 1))[..., 0] - gray(COLOR)).max() < 1
    file = saved(tmp_path, Image.frombytes("LA", (7, 5), np.concatenate([COLOR[..., :1], alpha], -1).tobytes()))
    np.testing.assert_array_equal(read_image(file, (5, 7, 1)), COLOR[..., :1])
    np.testing.assert_array_equal(read_image(file, (5, 7, 3)), np.repeat(COLOR[..., :1], 3, -1))


@pytest.mark.parametrize("transparency", [None, 1, bytes([0, 255, 128, 7])])
@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_a_palette_becomes_its_colors(tmp_path, transparency, suffix):
    palette = np.array([[1, 2, 3], [200, 100, 50], [9, 250, 30], [0, 0, 255]], np.uint8)
    places = RNG.integers(0, 4, (5, 7)).astype(np.uint8)
    image = Image.frombytes("P", (7, 5), places.tobytes())
    image.putpalette(palette.tobytes())
    known = transparency is not None and (suffix == ".png" or isinstance(transparency, int))
    file = saved(tmp_path, image, suffix, **({"transparency": transparency} if known else {}))
    np.testing.assert_array_equal(read_image(file, (5, 7, 3)), palette[places])
    assert np.abs(read_image(file, (5, 7, 1))[..., 0] - gray(palette[places])).max() < 1


def test_black_and_white_gray_and_color_to_the_channels_asked_for(tmp_path):
    bits = UPRIGHT > 99
    file = saved(tmp_path, Image.fromarray(bits))
    np.testing.assert_array_equal(read_image(file, (5, 7, 3)), np.repeat(bits[..., None] * np.uint8(255), 3, -1))
    file = saved(tmp_path, Image.fromarray(UPRIGHT))
    np.testing.assert_array_equal(read_image(file, (5, 7, 3)), np.repeat(UPRIGHT[..., None], 3, -1))
    file = saved(tmp_path, Image.fromarray(COLOR))
    assert np.abs(read_image(file, (5, 7, 1))[..., 0] - gray(COLOR)).max() < 1


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_cmyk_becomes_red_green_blue(tmp_path, suffix):
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0], inks[..., 3] = 255, 51  # cyan, darkened by a fifth
    file = saved(tmp_path, Image.frombytes("CMYK", (16, 16), inks.tobytes()), suffix)
    assert np.abs(read_image(file, (1, 1, 3)).ravel().astype(int) - (0, 204, 204)).max() <= 2


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".webp"])
def test_of_several_frames_the_first_is_read(tmp_path, suffix):
    first, second = (Image.new("RGB", (6, 4), color) for color in ((255, 0, 0), (0, 0, 255)))
    options = {"lossless": True} if suffix == ".webp" else {}
    file = saved(tmp_path, first, suffix, save_all=True, append_images=[second], **options)
    assert (read_image(file, (4, 6, 3)) == (255, 0, 0)).all()


def test_the_size_is_height_and_width_and_resizing_averages(tmp_path):
    columns = np.repeat(np.array([[0, 255]], np.uint8), 64, 1).repeat(32, 0)  # (32, 128), dark left, bright right
    file = saved(tmp_path, Image.fromarray(columns))
    read = read_image(file, (np.int64(2), np.int32(4), np.int64(1)))
    assert read.shape == (2, 4, 1) and read.dtype == np.uint8 and read.flags.c_contiguous and read.flags.writeable
    assert read[0, 0, 0] < 15 and read[0, 3, 0] > 240
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))  # finer than the result can show: their mean
    assert np.abs(read_image(saved(tmp_path, Image.fromarray(stripes)), (4, 4, 1)).astype(int) - 127.5).max() < 10


def test_an_image_at_its_own_size(tmp_path):
    file = saved(tmp_path, Image.fromarray(COLOR))
    np.testing.assert_array_equal(read_image(file, (None, None, 3)), COLOR)
    with pytest.raises(ValueError, match="`size` must be"):
        read_image(file, (None, 4, 3))


def test_a_path_may_be_a_string_and_a_name_may_be_anything(tmp_path):
    file = tmp_path / "Bild ÄÖ 日本.JPEG.txt"
    Image.fromarray(UPRIGHT).save(file, format="PNG")
    np.testing.assert_array_equal(read_image(str(file), [5, 7, 1])[..., 0], UPRIGHT)


# ---- what is none


def bomb(width, height):
    """A PNG whose header promises more than its data hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def whole(suffix):
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(stream, suffix)
    return stream.getvalue()


FLOATS = io.BytesIO()
Image.fromarray(np.ones((2, 2), np.float32)).save(FLOATS, "TIFF")
INTEGERS = io.BytesIO()
Image.fromarray(np.ones((2, 2), np.int32)).save(INTEGERS, "TIFF")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html><body>404", "a web page"),
        (b"\n  <HTML>", "a web page"),
        (b'<?xml version="1.0"?><svg width="4">', "SVG.*export it as PNG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC.*pillow-heif"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF.*JPEG or PNG"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"%PDF-1.7", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript drawing"),
        (b"PK\3\4", "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"just some text", "no image"),
        (b"\x89PNG\r\n\x1a\nrubbish", "a damaged PNG"),
        (bomb(13_000, 13_000), r"at most 89 megapixels.*found 13,000 × 13,000, 169 megapixels"),
        (bomb(20_000, 20_000), r"at most 89 megapixels.*found Image size \(400000000 pixels\)$"),
        (bomb(2**31 - 1, 2**31 - 1), "megapixels"),
        (bomb(500, 500), "a readable image"),
        (FLOATS.getvalue(), "8 or 16 bits per channel.*mode F"),
        (INTEGERS.getvalue(), "8 or 16 bits per channel.*mode I"),
        *((whole(kind)[:-200], "a readable image") for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_image_is_said_in_one_line_with_the_file(tmp_path, content, message):
    file = tmp_path / "the-file.jpg"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_image(file, (4, 4, 3))
    assert caught.value.file == str(file) and "\n" not in str(caught.value) and caught.value.__cause__ is None


def test_the_limit_of_pixels_is_pillows(tmp_path, monkeypatch):
    file = saved(tmp_path, Image.fromarray(UPRIGHT))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 34)
    with pytest.raises(DataError, match="found 7 × 5"):
        read_image(file, (5, 7, 1))
    for limit in (35, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        np.testing.assert_array_equal(read_image(file, (5, 7, 1))[..., 0], UPRIGHT)


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.png: expected an image file; found no such file"):
        read_image(tmp_path / "absent.png", (4, 4, 3))
    with pytest.raises(DataError, match="found a web address: download"):
        read_image("https://example.org/cat.jpg", (4, 4, 3))
    with pytest.raises(DataError, match="found a folder"):
        read_image(tmp_path, (4, 4, 3))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(DataError, match="no regular file"):
            read_image(tmp_path / "pipe.png", (4, 4, 3))


@pytest.mark.parametrize("shape", [4, (4, 4), (0, 4, 3), (4, 4, 2), (4.0, 4, 3), "abc", (4, 4, 3, 1)])
def test_a_bad_shape_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"read_image: `(shape|size|channels)` must be"):
        read_image(saved(tmp_path, Image.fromarray(UPRIGHT)), shape)


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxcnn\[data\]'"):
        read_image(tmp_path, (4, 4, 3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_damaged_images_are_read_or_refused_and_never_anything_else(tmp_path, kind):
    rng, content, file = np.random.default_rng(1), whole(kind), tmp_path / "image"
    for _ in range(40):
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(damaged), 300), rng.integers(1, 6)):
            damaged[place] = rng.integers(256)
        file.write_bytes(damaged[: rng.integers(1, len(damaged) + 1)] if rng.random() < 0.3 else damaged)
        try:
            assert read_image(file, (4, 4, 3)).shape == (4, 4, 3)
        except DataError as error:
            assert error.file == str(file) and "\n" not in str(error)
