"""The readers, on small made files: what is whole is read exactly, what is damaged is named."""

import gzip
import io
import tarfile
import zlib

import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data import DataError, read_cifar10, read_idx

RNG = np.random.default_rng(0)


def idx_bytes(values):
    codes = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
    header = bytes([0, 0, codes[values.dtype.str[1:]], values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


# ---- IDX


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_idx_is_read_in_every_type_compressed_or_not(tmp_path, dtype, compress):
    values = RNG.integers(0, 100, (3, 4, 2)).astype(dtype)
    (tmp_path / "file").write_bytes(compress(idx_bytes(values)))
    read = read_idx(tmp_path / "file")
    assert read.dtype == values.dtype and read.dtype.isnative
    np.testing.assert_array_equal(read, values)


def test_idx_longer_than_one_chunk(tmp_path):
    values = RNG.integers(0, 256, (3, 1000, 1000)).astype(np.uint8)
    (tmp_path / "file").write_bytes(idx_bytes(values))
    np.testing.assert_array_equal(read_idx(tmp_path / "file"), values)


WHOLE = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
PACKED = gzip.compress(WHOLE, mtime=0)  # bytes that stay the same: they are in the tests' names


@pytest.mark.parametrize(
    ("content", "expected", "found"),
    [
        (b"", "IDX magic number", "an empty file"),
        (b"\x89PNG" + WHOLE[4:], "IDX magic number such as 00 00 08 03", "89 50 4e 47"),
        (b"\0\0\x0a\x03" + WHOLE[4:], "IDX magic number", "00 00 0a 03"),  # 0x0A is no type of the format
        (WHOLE[:9], "3 axis lengths", "5 bytes"),
        (WHOLE[:-1], "24 bytes", "23 bytes"),
        (WHOLE + b"\0", "24 bytes", "more"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"\0" * 5, "bytes of values", "5 bytes"),  # 2^96 bytes stated
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\0", "at most 32 axes", "255 axes"),
        (b"\0\0\x08\x04" + b"\0" * 4 + b"\xff" * 12, "a shape that an array can have", "(0, 4294967295"),
        (PACKED[:-12], "whole gzip data", "damaged data"),
        (PACKED[:-8] + b"\0" * 4 + PACKED[-4:], "whole gzip data", "CRC"),
        (PACKED[:10] + b"\xff" * 20, "whole gzip data", "damaged data"),
        (gzip.compress(WHOLE + b"\0", mtime=0), "24 bytes", "more"),
    ],
)
def test_damaged_idx_is_named(tmp_path, content, expected, found):
    (tmp_path / "the-file.gz").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(tmp_path / "the-file.gz")
    assert "the-file.gz" in caught.value.file and expected in caught.value.expected and found in caught.value.found
    assert caught.value.__cause__ is None


def test_an_empty_axis_is_an_empty_array(tmp_path):
    (tmp_path / "file").write_bytes(b"\0\0\x08\x03" + b"\0" * 4 + b"\0\0\0\x1c" * 2)
    assert read_idx(tmp_path / "file").shape == (0, 28, 28)


def test_a_bomb_that_tells_the_truth_is_refused_by_its_header(tmp_path):
    """2.5 GiB of zeros in 2.5 MB: the header alone is read."""
    pack = zlib.compressobj(9, wbits=31)
    head = b"\0\0\x08\x03" + np.array([2560, 1024, 1024], ">u4").tobytes()
    content = pack.compress(head) + pack.flush(zlib.Z_FULL_FLUSH)
    block = pack.compress(b"\0" * 2**20) + pack.flush(zlib.Z_FULL_FLUSH)  # the same bytes each time, after a full flush
    (tmp_path / "bomb.gz").write_bytes(content + block * 2560)
    with pytest.raises(DataError, match=r"bomb\.gz: expected at most 100 bytes of data out of each packed one"):
        read_idx(tmp_path / "bomb.gz")


def test_mnists_size_is_asked_of_the_header(tmp_path):
    """Of 4 GiB of other images not one is read."""
    write_mnist(tmp_path)
    with (tmp_path / "train-images-idx3-ubyte").open("wb") as file:
        file.write(b"\0\0\x08\x03" + np.array([4096, 1024, 1024], ">u4").tobytes())
        file.truncate(16 + 2**32)  # a hole: it takes no room on the disk
    with pytest.raises(DataError, match=r"images \(N, 28, 28\); found uint8 \(4096, 1024, 1024\)"):
        data.load("mnist", data_dir=tmp_path)


def test_absent_idx_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent.*No such file"):
        read_idx(tmp_path / "absent")


# ---- MNIST, four IDX files


def write_mnist(folder, *, labels=(5, 0, 4), images=None, suffix="", compress=bytes):
    folder.mkdir(parents=True, exist_ok=True)
    images = RNG.integers(0, 256, (3, 28, 28)).astype(np.uint8) if images is None else images
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(compress(idx_bytes(images)))
        (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(compress(idx_bytes(np.array(labels, np.uint8))))
    return images


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("subfolder", [True, False])
@pytest.mark.parametrize(("suffix", "compress"), [("", bytes), (".gz", gzip.compress)])
def test_mnist_is_found_in_the_folder_or_its_subfolder(tmp_path, name, subfolder, suffix, compress):
    images = write_mnist(tmp_path / name if subfolder else tmp_path, suffix=suffix, compress=compress)
    train, test = data.load(name, data_dir=str(tmp_path))
    np.testing.assert_array_equal(train.images, images[..., None])
    assert train.labels.tolist() == test.labels.tolist() == [5, 0, 4]
    assert train.name == name and len(train.classes) == 10 and train.input_shape == (28, 28, 1)


@pytest.mark.parametrize(
    ("change", "file", "expected", "found"),
    [
        ({"labels": (5, 0)}, "train-labels", "3 labels", "2"),
        ({"labels": (5, 10, 4)}, "train-labels", "labels 0 to 9", "label 10 at position 1"),
        ({"images": np.zeros((3, 8, 8), np.uint8)}, "train-images", "(N, 28, 28)", "(3, 8, 8)"),
        ({"images": np.zeros((3, 28, 28), np.int16)}, "train-images", "uint8", "int16"),
    ],
)
def test_mnist_files_that_disagree_are_named(tmp_path, change, file, expected, found):
    write_mnist(tmp_path, **change)
    with pytest.raises(DataError) as caught:
        data.load("mnist", data_dir=tmp_path)
    assert file in caught.value.file and expected in caught.value.expected and found in caught.value.found


# ---- CIFAR-10

CIFAR_FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
CIFAR_IMAGES = RNG.integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
CIFAR_LABELS = np.arange(12) % 10


def cifar_files():
    planes = CIFAR_IMAGES.transpose(0, 3, 1, 2).reshape(12, -1)
    records = np.concatenate([CIFAR_LABELS[:, None].astype(np.uint8), planes], axis=1)
    return {name: part.tobytes() for name, part in zip(CIFAR_FILES, np.split(records, 6), strict=True)}


def write_archive(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_folder(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("place", [".", "cifar10"])
@pytest.mark.parametrize("form", ["tar.gz", "tar", "folder", "inside"])
def test_cifar10_is_found_in_every_form(tmp_path, form, place):
    home = tmp_path / place
    home.mkdir(exist_ok=True)
    if form.startswith("tar"):
        write_archive(home / f"cifar-10-binary.{form}", cifar_files(), "w:gz" if form == "tar.gz" else "w")
    else:
        write_folder(home / "cifar-10-batches-bin", cifar_files())
    before = sorted(tmp_path.rglob("*"))
    train, test = data.load("cifar10", data_dir=home / "cifar-10-batches-bin" if form == "inside" else tmp_path)
    np.testing.assert_array_equal(train.images, CIFAR_IMAGES[:10])
    np.testing.assert_array_equal(test.images, CIFAR_IMAGES[10:])
    np.testing.assert_array_equal(train.labels, CIFAR_LABELS[:10])
    assert train.classes[3] == "cat" and sorted(tmp_path.rglob("*")) == before  # nothing is unpacked onto the disk


@pytest.mark.parametrize("form", ["archive", "folder"])
@pytest.mark.parametrize(
    ("content", "expected", "found"),
    [
        (b"", "records of 3,073 bytes", "0 bytes"),
        (b"\0" * 3072, "records of 3,073 bytes", "3,072 bytes"),
        (b"\0" * 3074, "records of 3,073 bytes", "3,074 bytes"),
        (b"\0" * 10_001 * 3073, "1 to 10,000 records", "more than 30,730,000 bytes"),
        (b"\x0a" + b"\0" * 3072, "labels 0 to 9", "label 10 at position 0"),
        (None, "data_batch_3.bin", ""),
    ],
)
def test_damaged_cifar10_is_named(tmp_path, form, content, expected, found):
    files = cifar_files() | {"data_batch_3.bin": content}
    if content is None:
        del files["data_batch_3.bin"]
    source = tmp_path / "source"
    write_archive(source, files, "w") if form == "archive" else write_folder(source, files)
    with pytest.raises(DataError) as caught:
        read_cifar10(source)
    assert "data_batch_3.bin" in str(caught.value) and expected in str(caught.value) and found in caught.value.found


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_cut_archive_is_named(tmp_path, keep):
    write_archive(tmp_path / "whole.tar.gz", cifar_files())
    content = (tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=r"cut\.tar\.gz: expected"):
        read_cifar10(tmp_path / "cut.tar.gz")


def test_an_archive_member_that_is_no_file_is_refused(tmp_path):
    files = cifar_files()
    del files["test_batch.bin"]
    write_archive(tmp_path / "odd.tar", files, "w")
    with tarfile.open(tmp_path / "odd.tar", "a") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match=r"test_batch\.bin"):
        read_cifar10(tmp_path / "odd.tar")


# ---- every reader, on damaged files


def whole_files(folder):
    """A small file of each format, and what reads it."""
    write_archive(folder / "a.tar.gz", cifar_files())
    write_archive(folder / "a.tar", cifar_files(), "w")
    images, labels = CIFAR_IMAGES[..., 0], CIFAR_LABELS
    (folder / "a.idx").write_bytes(WHOLE)
    (folder / "a.idx.gz").write_bytes(PACKED)
    np.savez(folder / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    np.savez_compressed(folder / "b.npz", x=images, y=labels % 2)
    (folder / "a.csv").write_text("label,a,b,c,d\n" + "3,0,255,7,8\n1,2,3,4,5\n" * 5)
    return {
        "a.tar.gz": read_cifar10,
        "a.tar": read_cifar10,
        "a.idx": read_idx,
        "a.idx.gz": read_idx,
        "a.npz": data.read_npz,
        "b.npz": data.read_npz,
        "a.csv": data.read_csv,
    }


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar", "a.idx", "a.idx.gz", "a.npz", "b.npz", "a.csv"])
def test_damaged_files_are_read_or_refused_by_name_and_never_anything_else(tmp_path, name):
    read, rng = whole_files(tmp_path)[name], np.random.default_rng(0)
    file, content = tmp_path / name, (tmp_path / name).read_bytes()
    read(file)
    for i in range(60):
        damaged = bytearray(content)
        start = 0 if i % 2 else max(0, len(content) - 400)  # headers lie at one end or the other
        for place in start + rng.integers(0, min(len(content), 400), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        if rng.random() < 0.2:
            del damaged[rng.integers(len(damaged)) :]
        file.write_bytes(damaged)
        try:
            read(file)
        except DataError as error:
            assert name in error.file and "\n" not in str(error)
