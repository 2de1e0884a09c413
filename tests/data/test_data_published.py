"""Published datasets by name, in every layout in which people have them; what a folder lacks is said, and nothing is
fetched in its place."""

import gzip
import io
import string
import tarfile
import zipfile

import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 28, 28)).astype(np.uint8)
LABELS = np.array([5, 0, 4, 1, 9, 2, 1, 3], np.uint8)
FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    """Nobody listens there: what asks the network fails, and says so."""
    monkeypatch.setenv("JAXCNN_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))


def idx(values):
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


def idx_files(images=IMAGES, labels=LABELS):
    """Five training and three test images."""
    return [idx(part) for part in (images[:5], labels[:5], images[5:], labels[5:])]


def write(folder, names, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(names, contents, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def check(splits, images=IMAGES, labels=LABELS):
    for part, pixels, numbers in zip(splits, np.split(images, [5]), np.split(labels, [5]), strict=True):
        np.testing.assert_array_equal(part.images, pixels[..., None] if pixels.ndim == 3 else pixels)
        assert part.labels.tolist() == numbers.tolist()


# ---- MNIST and its namesakes


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
@pytest.mark.parametrize(
    "layout",
    ["", "{name}", "{torchvision}/raw", "{torchvision}", "raw", "{hyphen}"],
)
def test_idx_files_in_the_layouts_of_others(tmp_path, name, layout):
    torchvision = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}[name]
    folder = tmp_path / layout.format(name=name, torchvision=torchvision, hyphen=name.replace("_", "-").title())
    write(folder, FILES, idx_files())
    for given in (tmp_path, str(folder)):
        splits = data.load(name, data_dir=given)
        check(splits)
        assert splits.train.name == name and splits.train.classes == data.load(name, data_dir=folder).test.classes


@pytest.mark.parametrize(
    "rename",
    [
        lambda file: file.replace("-idx", ".idx"),
        lambda file: f"{file}/{file}",
        lambda file: f"{file.replace('-idx', '.idx')}/{file.replace('-idx', '.idx')}",
    ],
    ids=["dots", "folders", "dots and folders"],
)
def test_kaggles_names_of_idx_files(tmp_path, rename):
    write(tmp_path, [rename(file) for file in FILES], idx_files())
    check(data.load("MNIST", data_dir=tmp_path))


@pytest.mark.parametrize("spelling", ["mnist", "MNIST", "Mnist"])
def test_names_in_any_spelling(tmp_path, spelling):
    write(tmp_path, FILES, idx_files())
    assert data.load(spelling, data_dir=tmp_path).train.name == "mnist"
    for said, name in (("Fashion-MNIST", "fashion_mnist"), ("CIFAR-10", "cifar10"), ("Cifar100", "cifar100")):
        assert data.describe(said).name == name
    assert data.describe("EMNIST/letters").name == "emnist_letters"


def test_namesakes_are_not_taken_for_each_other(tmp_path):
    write(tmp_path / "FashionMNIST" / "raw", FILES, idx_files())
    with pytest.raises(DataError, match=r"a file of mnist; found one of fashion_mnist"):
        data.load("mnist", data_dir=tmp_path / "FashionMNIST")
    with pytest.raises(DataError, match="the files of mnist here"):
        data.load("mnist", data_dir=tmp_path)
    write(tmp_path / "MNIST" / "raw", FILES, idx_files(IMAGES[::-1], LABELS[::-1]))
    check(data.load("mnist", data_dir=tmp_path), IMAGES[::-1], LABELS[::-1])
    check(data.load("fashion-mnist", data_dir=tmp_path))


def test_a_bare_name_of_a_table_is_mnists_unless_its_folder_says_otherwise(tmp_path):
    for name in ("train.csv", "test.csv"):
        write(tmp_path, [name, f"kmnist/{name}"], [table(IMAGES[:5], LABELS[:5]).encode()] * 2)
    assert len(data.load("mnist", data_dir=tmp_path).train) == 5
    assert data.load("kmnist", data_dir=tmp_path / "kmnist").train.name == "kmnist"
    for name, folder in (("fashion_mnist", tmp_path), ("mnist", tmp_path / "kmnist")):
        with pytest.raises(DataError, match=f"the files of {name} here"):
            data.load(name, data_dir=folder)


def test_a_folder_of_ones_own_name_says_nothing(tmp_path):
    write(tmp_path / "mnist" / "fashion", FILES, idx_files())
    assert data.load("fashion_mnist", data_dir=tmp_path / "mnist" / "fashion").train.name == "fashion_mnist"


def test_a_namesakes_file_is_known_by_its_content(tmp_path, monkeypatch):
    import hashlib

    from jaxcnn.data import mnist

    contents = [gzip.compress(content, mtime=0) for content in idx_files()]
    write(tmp_path, [f"{file}.gz" for file in FILES], contents)
    check(data.load("mnist", data_dir=tmp_path))
    monkeypatch.setitem(mnist._OWNERS, hashlib.md5(contents[0]).hexdigest(), "kmnist")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: expected a file of mnist; found one of kmnist"):
        data.load("mnist", data_dir=tmp_path)


def test_what_a_folder_lacks_is_said_and_nothing_is_fetched(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "holiday.jpg").write_bytes(b"")
    for name, wanted in (
        (
            "mnist",
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte.*mnist.npz.*mnist_train.csv",
        ),
        ("kmnist", "the files of kmnist here or in kmnist/: train-images-idx3-ubyte"),
        ("emnist_letters", "emnist-letters-train-images-idx3-ubyte.*emnist_letters_train.csv"),
        ("cifar10", "cifar-10-batches-bin/ with test_batch.bin; or cifar-10-binary.tar.gz"),
        ("cifar100", "cifar-100-binary/ with test.bin"),
        ("svhn", "train_32x32.mat, test_32x32.mat"),
    ):
        with pytest.raises(DataError, match=rf"set: expected .*{wanted}.*found holiday\.jpg\. Without") as caught:
            data.load(name, data_dir=tmp_path / "set")
        assert "no connection" not in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()
    write(tmp_path / "set", FILES[:3], idx_files()[:3])
    with pytest.raises(DataError, match=r"kmnist/: t10k-labels-idx1-ubyte \(also \.gz\); found"):
        data.load("kmnist", data_dir=tmp_path / "set")


# ---- .npz


def arrays(names, labels=LABELS, images=IMAGES):
    parts = (images[:5], labels[:5], images[5:], labels[5:])
    return dict(zip(names, parts, strict=True))


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train_x", "train_y", "test_x", "test_y"),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_as_keras_has_it(tmp_path, names, save):
    save(tmp_path / "mnist.npz", **arrays(names))
    check(data.load("mnist", data_dir=tmp_path))
    check(data.load("mnist", data_dir=tmp_path / "mnist.npz"))
    splits = data.read_npz(str(tmp_path / "mnist.npz"))
    check(splits)
    assert splits.train.name == "mnist" and splits.train.classes == tuple(map(str, range(10)))


def test_npz_of_other_types_and_axes(tmp_path):
    color = RNG.integers(0, 256, (8, 32, 32, 3))
    np.savez(tmp_path / "cifar10.npz", **arrays(("x_train", "y_train", "x_test", "y_test"), LABELS[:, None], color))
    check(data.load("cifar10", data_dir=tmp_path), color)
    fortran = np.asfortranarray(IMAGES)
    np.savez(tmp_path / "own.npz", images=fortran, labels=LABELS.astype(np.int64))
    train, test = data.read_npz(tmp_path / "own.npz", fraction=0.5, classes=tuple("abcdefghij"), name="own set")
    assert len(train) + len(test) == 8 and train.name == "own set" and train.classes[3] == "d"
    for part in (train, test):
        for image, label in zip(part.images[..., 0], part.labels, strict=True):
            position = np.flatnonzero((image == IMAGES).all((1, 2)))
            assert LABELS[position].tolist() == [label]


def test_npz_of_one_array_each_as_kmnist_has_it(tmp_path):
    for kind, array in (("imgs", IMAGES), ("labels", LABELS)):
        np.savez_compressed(tmp_path / f"kmnist-train-{kind}.npz", array[:5])
        np.savez_compressed(tmp_path / f"kmnist-test-{kind}.npz", array[5:])
    check(data.load("kmnist", data_dir=tmp_path))
    np.savez(tmp_path / "kmnist-test-labels.npz", LABELS[5:], LABELS[5:])
    with pytest.raises(DataError, match=r"kmnist-test-labels\.npz: expected one array; found 2"):
        data.load("kmnist", data_dir=tmp_path)


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


def bad_npz(file, **changes):
    np.savez(file, **arrays(("x_train", "y_train", "x_test", "y_test")) | changes)


def lying_npz(file):
    """A header that promises 4 TiB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**11, 2**11)}
    )
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", header.getvalue() + b"\0" * 100)


def bomb_npz(file):
    """300 MiB of zeros that tell the truth, in 300 kB."""
    header = io.BytesIO()
    shape = (300, 1024, 1024)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x_train.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(shape[0]):
                member.write(b"\0" * 2**20)
        for name in ("y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", b"")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: file.write_bytes(b""), "a whole .npz file"),
        (lambda file: file.write_bytes(b"<html>"), "a whole .npz file"),
        (lambda file: np.savez(file, weights=np.ones(3)), "arrays called x_train.*found weights"),
        (lambda file: bad_npz(file, x_train=IMAGES[:5] / 255), r"images of uint8 in x_train; found float64.*astype"),
        (lambda file: bad_npz(file, x_test=np.array([Evil()] * 3)), "Python objects"),
        (lambda file: bad_npz(file, y_test=np.array([Evil()] * 3)), "Python objects"),
        (lambda file: bad_npz(file, y_test=LABELS[:2]), "3 labels in y_test, one per image; found 2"),
        (lambda file: bad_npz(file, y_test=np.eye(10)[LABELS[5:]]), r"integers \(N,\) in y_test.*argmax"),
        (lambda file: bad_npz(file, y_test=np.array([0, -1, 2])), "label -1 at position 1"),
        (lambda file: bad_npz(file, y_test=np.array([0, 11, 2])), "labels 0 to 9; found label 11 at position 1"),
        (lambda file: bad_npz(file, x_train=IMAGES[:5].astype(int) - 1), "pixels of 0 to 255; found -1"),
        (lambda file: bad_npz(file, x_train=IMAGES[:5, :8], x_test=IMAGES[5:, :8]), "images of 28×28, gray"),
        (lambda file: bad_npz(file, x_train=IMAGES[:5, :8]), "training and test images of one size"),
        (lambda file: bad_npz(file, x_train=np.zeros((5, 3, 8, 8), np.uint8)), r"channels first.*transpose"),
        (lying_npz, "bytes for the shape .1048576, 2048, 2048. of x_train.npy; found 100"),
        (bomb_npz, "at most 100 bytes of data out of each packed one"),
    ],
)
def test_npz_that_is_wrong_is_named(tmp_path, capsys, make, message):
    file = tmp_path / "mnist.npz"
    make(file)
    with pytest.raises(DataError, match=message) as caught:
        data.load("mnist", data_dir=tmp_path)
    assert caught.value.file == str(file) and "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


# ---- CSV


def table(images, labels, *, header=None, label_last=False, number="{}"):
    rows = [[label, *image.ravel().tolist()] for label, image in zip(labels.tolist(), images, strict=True)]
    rows = [row[1:] + row[:1] if label_last else row for row in rows]
    lines = [header] if header else []
    return "\n".join(lines + [",".join(number.format(value) for value in row) for row in rows]) + "\n"


PIXELS = ",".join(f"pixel{i}" for i in range(784))


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("mnist", ("mnist_train.csv", "mnist_test.csv")),
        ("mnist", ("train.csv", "test.csv")),
        ("mnist", ("mnist/train.csv", "mnist/test.csv")),
        ("fashion_mnist", ("fashion-mnist_train.csv", "fashion-mnist_test.csv")),
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"header": "label," + PIXELS},
        {"header": "\ufefflabel," + PIXELS},
        {"header": '"' + '","'.join(["label", *PIXELS.split(",")]) + '"'},
        {"header": PIXELS + ",class", "label_last": True},
        {"number": "{}.0"},
    ],
    ids=["bare", "kaggle", "bom", "quoted", "label last", "floats"],
)
def test_tables_with_and_without_a_header(tmp_path, name, names, form):
    parts = [table(IMAGES[:5], LABELS[:5], **form), table(IMAGES[5:], LABELS[5:], **form)]
    write(tmp_path, names, [text.encode() for text in parts])
    check(data.load(name, data_dir=tmp_path))


def test_kaggles_test_table_has_no_labels(tmp_path, capsys):
    labels = np.repeat(np.arange(2, dtype=np.uint8), 5)
    images = RNG.integers(0, 256, (10, 28, 28)).astype(np.uint8)
    (tmp_path / "train.csv").write_text(table(images, labels, header="label," + PIXELS))
    (tmp_path / "test.csv").write_text(PIXELS + "\n" + ",".join(["0"] * 784) + "\n")
    train, test = data.load("mnist", data_dir=tmp_path)
    assert np.bincount(train.labels).tolist() == [4, 4] and np.bincount(test.labels).tolist() == [1, 1]
    assert "test.csv has no labels" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"test\.csv: expected a column of labels, called `label`; found 784"):
        data.read_csv(tmp_path / "test.csv")


def test_read_csv_finds_the_shape(tmp_path):
    color = RNG.integers(0, 256, (3, 4, 4, 3))
    (tmp_path / "own.csv").write_text(table(color, LABELS[:3]))
    own = data.read_csv(str(tmp_path / "own.csv"), classes=tuple("abcdef"), name="own")
    np.testing.assert_array_equal(own.images, color)
    assert own.labels.tolist() == [5, 0, 4] and own.classes[5] == "f" and own.name == "own"
    (tmp_path / "wide.csv").write_text(table(color[:, :2], LABELS[:3]))
    np.testing.assert_array_equal(data.read_csv(tmp_path / "wide.csv", shape=(2, 4, 3)).images, color[:, :2])
    with pytest.raises(DataError, match="24 pixels: give `shape`"):
        data.read_csv(tmp_path / "wide.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"\n\n", "an empty first line"),
        (b"label,a,b,c,d\n", "a header alone"),
        (b"label,a,b,c,d\n1,2,3,4\n", "5 columns, as in its header; found 4"),
        (b"1,2,3,4,5\n1,2,3,4,256\n", "a label and pixels of 0 to 255 in each row; found .*'256'"),
        (b"1,2,3,4,5\n1,2,3,4,0.5\n", "'0.5'"),
        (b"1,2,3,4,5\n1,2,3,4,-1\n", "'-1'"),
        (b"1,2,3,4,5\n1,2,3,,5\n", "pixels of 0 to 255"),
        (b"1,2,3,4,5\n1,2,3,4\n", "the number of columns changed"),
        (b"1,2,3,4,5\nnan,2,3,4,5\n", "'nan'"),
        (b"1,2,3\n", "2 pixels: give `shape`"),
        (b"\xff\xfe\x00", "bytes that are no text"),
        (b"<html>", "CSV|header alone|columns"),
        (b"PK\3\4\x80\xff", "no text"),
    ],
)
def test_a_table_that_is_wrong_is_named(tmp_path, content, message):
    file = tmp_path / "own.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        data.read_csv(file)
    assert caught.value.file == str(file) and "\n" not in str(caught.value)


def test_labels_without_a_class_are_named(tmp_path):
    (tmp_path / "mnist_train.csv").write_text(table(IMAGES[:2], np.array([3, 10])))
    with pytest.raises(DataError, match=r"mnist_train\.csv: expected labels 0 to 9; found label 10"):
        data.load("mnist", data_dir=tmp_path)


# ---- EMNIST

PARTS = {
    "balanced": string.digits + string.ascii_uppercase + "abdefghnqrt",
    "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "bymerge": string.digits + string.ascii_uppercase + "abdefghnqrt",
    "letters": string.ascii_lowercase,
    "digits": string.digits,
    "mnist": string.digits,
}


def emnist(part):
    """Names and contents as published: every image transposed, the letters labeled from 1."""
    labels = LABELS + 1 if part == "letters" else LABELS
    names = [file.replace("train-", f"emnist-{part}-train-").replace("t10k-", f"emnist-{part}-test-") for file in FILES]
    return names, idx_files(np.ascontiguousarray(IMAGES.transpose(0, 2, 1)), labels)


@pytest.mark.parametrize("layout", ["", "emnist", "EMNIST/raw", "gzip", "emnist_source_files"])
@pytest.mark.parametrize("part", PARTS)
def test_emnist_is_turned_upright_and_labeled_from_0(tmp_path, part, layout):
    names, contents = emnist(part)
    write(tmp_path / layout, [f"{name}.gz" for name in names], [gzip.compress(content) for content in contents])
    for splits in (data.load(f"emnist_{part}", data_dir=tmp_path), data.load("emnist", data_dir=tmp_path, split=part)):
        check(splits)
        assert "".join(splits.train.classes) == PARTS[part] and splits.train.name == f"emnist_{part}"
    if part == "balanced":
        check(data.load("emnist", data_dir=tmp_path))


@pytest.mark.parametrize("given", ["", "gzip.zip"])
def test_emnist_is_read_out_of_its_archive(tmp_path, given):
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w") as archive:
        for part in ("letters", "balanced"):
            for name, content in zip(*emnist(part), strict=True):
                archive.writestr(f"gzip/{name}.gz", gzip.compress(content))
    before = sorted(tmp_path.iterdir())
    check(data.load("emnist_letters", data_dir=tmp_path / given))
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(DataError, match=r"gzip\.zip: expected a file emnist-digits-train-images-idx3-ubyte\.gz in"):
        data.load("emnist_digits", data_dir=tmp_path)
    (tmp_path / "gzip.zip").write_bytes((tmp_path / "gzip.zip").read_bytes()[:-30])
    with pytest.raises(DataError, match="a whole zip archive"):
        data.load("emnist_letters", data_dir=tmp_path)


def test_emnist_tables_are_transposed_too(tmp_path):
    turned = IMAGES.transpose(0, 2, 1)
    (tmp_path / "emnist-letters-train.csv").write_text(table(turned[:5], LABELS[:5] + 1))
    (tmp_path / "emnist-letters-test.csv").write_text(table(turned[5:], LABELS[5:] + 1))
    check(data.load("emnist-letters", data_dir=tmp_path))
    (tmp_path / "emnist-letters-test.csv").write_text(table(turned[5:], LABELS[5:] * 0))
    with pytest.raises(DataError, match="labels from 1; found label 0 at position 0"):
        data.load("emnist-letters", data_dir=tmp_path)


def test_an_unknown_split_of_emnist(tmp_path):
    with pytest.raises(ValueError, match=r"`split` must be one of balanced.*got 'words'"):
        data.load("emnist", data_dir=tmp_path, split="words")


# ---- CIFAR

COLOR = RNG.integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)


def records(images, *labels):
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([np.stack(labels, 1).astype(np.uint8), planes], axis=1).tobytes()


CIFAR100 = {
    "train.bin": records(COLOR[:5], LABELS[:5], LABELS[:5] + 90),
    "test.bin": records(COLOR[5:], LABELS[5:], LABELS[5:] + 90),
}


@pytest.mark.parametrize("form", ["folder", "inside", "bare", "archive", "file"])
def test_cifar100_by_its_fine_labels(tmp_path, form):
    given = tmp_path
    if form in ("archive", "file"):
        with tarfile.open(tmp_path / "cifar-100-binary.tar.gz", "w:gz") as archive:
            for name, content in CIFAR100.items():
                member = tarfile.TarInfo(f"cifar-100-binary/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        given = tmp_path / "cifar-100-binary.tar.gz" if form == "file" else tmp_path
    else:
        folder = tmp_path / {"folder": "cifar-100-binary", "inside": "cifar-100-binary", "bare": "CIFAR100"}[form]
        write(folder, CIFAR100, CIFAR100.values())
        given = folder if form == "inside" else tmp_path
    splits = data.load("cifar100", data_dir=given)
    check(splits, COLOR, LABELS + 90)
    assert len(splits.train.classes) == 100 and list(splits.train.classes) == sorted(splits.train.classes)
    assert splits.train.classes[90] == "train" and splits.train.classes[99] == "worm"
    if form == "archive":
        check(data.read_cifar100(str(tmp_path / "cifar-100-binary.tar.gz")), COLOR, LABELS + 90)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("form", ["folder", "inside", "archive", "file", "renamed"])
def test_cifars_pickles_are_explained_and_not_read(tmp_path, name, form):
    number = name.removeprefix("cifar")
    folder = {"10": "cifar-10-batches-py", "100": "cifar-100-python"}[number]
    archive = f"cifar-{number}-python.tar.gz"
    names = {"10": ["batches.meta", "data_batch_1", "test_batch"], "100": ["meta", "train", "test"]}[number]
    if form in ("folder", "inside"):
        write(tmp_path / folder, names, [b"cos\nsystem\n"] * 3)
    else:
        with tarfile.open(
            tmp_path / (archive if form != "renamed" else f"cifar-{number}-binary.tar.gz"), "w:gz"
        ) as tar:
            for file in names:
                tar.addfile(tarfile.TarInfo(f"{folder}/{file}"))
    given = {"inside": folder, "file": archive}.get(form, "")
    with pytest.raises(DataError, match=rf"the binary version of {name}.*pickles: they can run code.*Get https://"):
        data.load(name, data_dir=tmp_path / given)
    if form == "inside" and name == "cifar10":
        with pytest.raises(DataError, match="pickles"):
            data.read_cifar10(str(tmp_path / folder))


def test_links_in_a_circle_in_an_archive_are_refused(tmp_path):
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name, target in (("data_batch_1.bin", "b"), ("b", "data_batch_1.bin")):
            link = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: expected"):
        data.load("cifar10", data_dir=tmp_path)


# ---- SVHN


@pytest.mark.parametrize("compress", [True, False])
def test_svhn_and_its_label_of_zero(tmp_path, compress):
    matlab = pytest.importorskip("scipy.io")
    labels = np.where(LABELS == 0, 10, LABELS)[:, None]
    for name, part in (("train", slice(5)), ("test", slice(5, 8))):
        arrays = {"X": COLOR[part].transpose(1, 2, 3, 0), "y": labels[part]}
        matlab.savemat(tmp_path / f"{name}_32x32.mat", arrays, do_compression=compress)
    check(data.load("SVHN", data_dir=tmp_path), COLOR)
    content = (tmp_path / "test_32x32.mat").read_bytes()
    for damaged in (b"", content[:-200], content[:130], b"<html>"):
        (tmp_path / "test_32x32.mat").write_bytes(damaged)
        with pytest.raises(DataError, match=r"test_32x32\.mat: expected"):
            data.load("svhn", data_dir=tmp_path)
    matlab.savemat(tmp_path / "test_32x32.mat", {"X": COLOR, "y": labels})
    with pytest.raises(DataError, match=r"an array X \(32, 32, 3, N\)"):
        data.load("svhn", data_dir=tmp_path)


def test_svhns_files_are_read_or_refused_and_never_anything_else(tmp_path):
    """SciPy's own reader crashes on some of these, and Python with it."""
    matlab = pytest.importorskip("scipy.io")
    rng, file = np.random.default_rng(0), tmp_path / "train_32x32.mat"
    for compress in (True, False):
        matlab.savemat(file, {"X": COLOR[:2].transpose(1, 2, 3, 0), "y": [[1.0], [10.0]]}, do_compression=compress)
        content = file.read_bytes()
        (tmp_path / "test_32x32.mat").write_bytes(content)
        assert data.load("svhn", data_dir=tmp_path).train.labels.tolist() == [1, 0]
        for i in range(150):
            damaged = bytearray(content)
            start = 0 if i % 2 else len(content) - 300
            for place in start + rng.integers(100, 300, rng.integers(1, 4)):
                damaged[place] = rng.integers(256)
            file.write_bytes(damaged if i % 5 else damaged[: rng.integers(len(damaged))])
            try:
                data.load("svhn", data_dir=tmp_path)
            except DataError as error:
                assert error.file == str(file) and "\n" not in str(error)
