"""Image files as pixels. No other file decodes images, so training, prediction and pictures see the same pixels.

What becomes of the content of a file:
orientation    the image is turned upright by its EXIF (or TIFF) orientation, values 1 to 8
gray, color    converted to the channels asked for: gray is repeated, color is weighed by ITU-R BT.601 (Pillow's "L")
palettes       replaced by their colors
transparency   dropped; the color beneath it stays, as in the image folders of torchvision and Keras
CMYK, YCCK     converted to red, green, blue without a color profile; color profiles are ignored in all files
16 bits        reduced to 8: gray by round(v / 257), color to its upper byte, as Pillow does; these differ by at most 1
32 bits, float refused, because nothing says which value is white
more frames    only the first frame is read
"""

import operator
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.files.errors import DataError, require
from jaxcnn.files.first_bytes import POINTER, ZIP

__all__ = ["read_image"]

_MODES = {1: "L", 3: "RGB"}  # Pillow's words for gray and color

# The formats that are read. Pillow knows more, but some start another program (EPS) or tell their size only while they
# are decoded. HEIF and JXL can be read once a package such as pillow-heif has registered them.
_FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")

# EXIF 2.3 has the orientation in the tag 0x0112; the Pillow transposition of each value turns the image upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_BITS_PER_SAMPLE = 258  # the tag in TIFF 6.0

_warnings_lock = threading.Lock()  # warnings.catch_warnings changes a state that all threads share


def read_image(path: str | os.PathLike[str], shape: tuple[int | None, int | None, int]) -> np.ndarray:
    """Read an image file as pixels of a given shape: upright, with 8 bits per channel, resized.

    Images are resized bilinearly (with Pillow's antialiasing), and their proportions are not kept.
    The head of `jaxcnn/files/images.py` lists what becomes of palettes, transparency, CMYK, 16 bits and animations.

    Args:
      path: the file; AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM, QOI, TGA, TIFF or WebP, whatever its name.
      shape: (H, W, C) of the result, C 1 for gray or 3 for color; (None, None, C) for the image's own size.

    Returns:
      uint8 (H, W, C).

    Raises:
      DataError: the file is missing, damaged or no image; it has 32 bits per channel; or its header states more than
        `PIL.Image.MAX_IMAGE_PIXELS` pixels (89 megapixels unless you set it), in which case it is not decoded.
      ValueError: `shape` is not (H, W, C), a side is below 1, or C is neither 1 nor 3.
      ImportError: Pillow is not installed.

    Example:
      >>> import tempfile
      >>> from PIL import Image
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder, "red.png")
      ...     Image.new("RGB", (640, 480), "red").save(file)
      ...     read_image(file, (2, 2, 3))[0].tolist()
      [[255, 0, 0], [255, 0, 0]]
    """
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise ValueError(f"read_image: `shape` must be (height, width, channels); got {shape!r}")
    own_size = tuple(shape[:2]) == (None, None)
    height, width, channels = check_size("read_image", (1, 1) if own_size else shape[:2], shape[2])
    image_module = require("PIL.Image", "reading images")
    file = Path(path)
    if not file.is_file():
        raise DataError(file, "an image file", _what_stands_there(file))
    try:
        image = _upright(file).convert(_MODES[channels])
        width, height = image.size if own_size else (width, height)
        pixels = image.resize((width, height), image_module.Resampling.BILINEAR)
    except DataError:
        raise
    except image_module.UnidentifiedImageError:
        raise DataError(file, "a readable image", _what_it_holds(file)) from None
    except OSError as error:
        raise DataError(file, "a readable image", error.strerror or str(error)) from None
    except Exception as error:  # decoders raise many kinds: SyntaxError, struct.error, RecursionError, …
        raise DataError(file, "a readable image", f"{type(error).__name__}: {error}") from None
    return np.array(pixels).reshape(height, width, channels)  # a copy: Pillow's own array is read-only


def check_size(name: str, size: Any, channels: Any) -> tuple[int, int, int]:
    """(H, W, C) as Python ints; ValueError if a side is not at least 1 pixel, or if there are not 1 or 3 channels."""
    if channels not in _MODES:
        raise ValueError(f"{name}: `channels` must be 1 (gray) or 3 (color); got {channels!r}")
    try:
        height, width = (operator.index(n) for n in size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise ValueError(f"{name}: `size` must be (height, width) in pixels, each at least 1; got {size!r}")
    return height, width, int(channels)


def _upright(file: Path) -> Any:
    """The decoded image, turned upright, with 8 bits per channel."""
    from PIL import Image

    with _opened(file) as image:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise DataError(
                file,
                f"at most {limit // 10**6} megapixels (`PIL.Image.MAX_IMAGE_PIXELS`)",
                f"{image.width:,} × {image.height:,}, {image.width * image.height / 1e6:,.0f} megapixels",
            )
        image.load()  # decodes the first frame
        turn = None if image.format == "TIFF" else _UPRIGHT.get(_orientation(image))  # Pillow has turned TIFFs already
        eight_bits = _eight_bits(image, file)
    return eight_bits.transpose(Image.Transpose[turn]) if turn else eight_bits


def _opened(file: Path) -> Any:
    """The image with only its header read. Pillow's warnings are silenced: odd metadata do not change the pixels."""
    from PIL import Image

    Image.init()
    known = [name for name in _FORMATS if name in Image.OPEN]
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Image.open(file, formats=known)
        except Image.DecompressionBombError as error:  # Pillow refuses more than twice its limit
            raise DataError(
                file,
                f"at most {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels",
                str(error).partition(" exceeds")[0],
            ) from None


def _orientation(image: Any) -> int:
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return image.getexif().get(_ORIENTATION, 1)
        except Exception:  # only the EXIF block is damaged: like viewers, show the pixels as they are stored
            return 1


def _eight_bits(image: Any, file: Path) -> Any:
    from PIL import Image

    if image.mode in ("P", "PA"):
        return image.convert("RGBA")  # palettes have several kinds of transparency, and only RGBA takes them all
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if sixteen:
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0] if image.format == "TIFF" else 16  # 12 occurs, too
        table = np.round(np.arange(2**16) * (255 / (2**bits - 1))).clip(0, 255).astype(np.uint8)
        return Image.fromarray(table[np.asarray(image)])
    if image.mode.startswith(("I", "F")):
        raise DataError(
            file,
            "8 or 16 bits per channel",
            f"32 (Pillow's mode {image.mode}), and nothing says which value is white: save it with 8 bits",
        )
    return image


def _what_stands_there(path: Path) -> str:
    """What is at a path where an image file was expected, in words for a message."""
    if path.is_dir():
        return "a folder"
    if path.parts[:1] in (("http:",), ("https:",)):
        return "a web address: download the file first"
    return "something that is no regular file" if path.exists() else "no such file"


def _what_it_holds(file: Path) -> str:
    """What a file holds that cannot be read as an image, told from its first bytes in words for a message."""
    with file.open("rb") as stream:
        start = stream.read(512)
    text, brand = start.lstrip().lower(), start[8:12]
    if not start:
        return "an empty file"
    if text.startswith(POINTER):
        return "a pointer of Git LFS in place of the file: `git lfs pull` fetches it"
    if b"<svg" in text:
        return "an SVG drawing, which has no pixels: export it as PNG"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page in place of the image"
    if start[4:8] == b"ftyp" and brand in (b"avif", b"avis"):
        return "an AVIF image, damaged or unknown to this Pillow (11.3 and newer read them): save it as JPEG or PNG"
    if start[4:8] == b"ftyp" and brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return (
            "a HEIC photo: save it as JPEG, or `pip install pillow-heif` and call `pillow_heif.register_heif_opener()`"
        )
    if start[4:8] == b"ftyp":
        return "a video"
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            return what
    return "no image, or an image of a format that jaxcnn does not read"


_OTHERS = {
    b"\xff\x0a": "a JPEG XL image: save it as JPEG or PNG",
    b"\0\0\0\x0cJXL ": "a JPEG XL image: save it as JPEG or PNG",
    b"8BPS": "a Photoshop file: export it as PNG",
    b"%PDF": "a PDF document: export its picture as PNG",
    b"%!PS": "a PostScript drawing: export it as PNG",
    ZIP: "a zip archive: unpack it first",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"\x93NUMPY": "a NumPy array: pass the array itself",
    b"\x89PNG": "a damaged PNG",
    b"\xff\xd8\xff": "a damaged JPEG",
    b"GIF8": "a damaged GIF",
    b"II*\0": "a damaged TIFF",
    b"MM\0*": "a damaged TIFF",
    b"RIFF": "a damaged WebP",
    b"BM": "a damaged BMP",
}
