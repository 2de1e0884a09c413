"""Folders of images: every layout that people have, nothing dropped in silence, bad files told together."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxcnn import data
from jaxcnn.data import DataError, read_image_folder, read_image_folders

RNG = np.random.default_rng(0)
RED, GREEN = (255, 0, 0), (0, 255, 0)


def write_photos(folder, **classes):
    for name, colors in classes.items():
        (folder / name).mkdir(parents=True)
        for i, color in enumerate(colors):
            Image.new("RGB", (6, 4), color).save(folder / name / f"{i}.png")


def photo(file, value=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (3, 3), value).save(file, format="PNG")


def values(dataset):
    """(gray value, class name) of each image."""
    classes = np.array(dataset.classes)[dataset.labels]
    return list(zip(dataset.images[:, 0, 0, 0].tolist(), classes.tolist(), strict=True))


# ---- one set


def test_classes_are_the_folders_in_alphabetical_order(tmp_path):
    write_photos(tmp_path, dogs=[GREEN] * 2, cats=[RED])
    photos = read_image_folder(tmp_path, size=(3, 5))
    assert photos.classes == ("cats", "dogs") and photos.labels.tolist() == [0, 1, 1]
    assert photos.images.shape == (3, 3, 5, 3)  # (H, W), not Pillow's (W, H)
    assert (photos.images[0] == RED).all() and (photos.images[1:] == GREEN).all()


def test_images_deeper_in_a_class_folder_belong_to_the_class(tmp_path):
    photo(tmp_path / "cat" / "b.png", 1)
    photo(tmp_path / "cat" / "kittens" / "young" / "a.png", 2)
    photo(tmp_path / "dog" / "poodles" / "c.png", 3)
    for read in (
        read_image_folder(tmp_path, size=(2, 2)),
        read_image_folders(str(tmp_path), size=(2, 2), fraction=0.5).train,
    ):
        assert set(values(read)) <= {(1, "cat"), (2, "cat"), (3, "dog")} and read.classes == ("cat", "dog")
    assert values(read_image_folder(str(tmp_path), size=(2, 2))) == [(1, "cat"), (2, "cat"), (3, "dog")]


def test_system_files_and_files_that_are_no_images_are_passed_over(tmp_path):
    for name in ("cat", "dog"):
        photo(tmp_path / name / "1.JPEG")
        photo(tmp_path / name / ".ipynb_checkpoints" / "1-checkpoint.jpg")
        for junk in (".DS_Store", "Thumbs.db", "desktop.ini", "._1.JPEG", "notes.txt", "labels.csv"):
            (tmp_path / name / junk).write_text("no image")
    for folder in (".git", "__MACOSX/cat", "__pycache__", "@eaDir"):
        photo(tmp_path / folder / "2.png")
    (tmp_path / "README.md").write_text("about")
    photos = read_image_folder(tmp_path, size=(2, 2))
    assert len(photos) == 2 and photos.classes == ("cat", "dog")


def test_names_of_any_kind(tmp_path):
    photo(tmp_path / "Kätzchen" / "日本 (1).PNG", 1)
    photo(tmp_path / "10 dogs" / "x.TiF", 2)
    photo(tmp_path / "9 dogs" / "é.jfif", 3)
    assert values(read_image_folder(tmp_path, size=(2, 2))) == [(2, "10 dogs"), (3, "9 dogs"), (1, "Kätzchen")]


def test_links_are_followed_and_loops_end(tmp_path):
    photo(tmp_path / "store" / "kept" / "1.png", 1)
    photo(tmp_path / "set" / "dog" / "2.png", 2)
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "dog" / "up").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "dog" / "self").symlink_to(tmp_path / "set" / "dog" / "self")
    assert values(read_image_folder(tmp_path / "set", size=(2, 2))) == [(1, "cat"), (2, "dog")]


def test_a_link_to_nothing_is_told(tmp_path):
    write_photos(tmp_path, cats=[RED], dogs=[RED])
    (tmp_path / "cats" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg: expected an image file; found no such file"):
        read_image_folder(tmp_path, size=(2, 2))


def test_transparent_images_and_turned_photos(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "a" / "0.png")
    turned = Image.fromarray(np.array([[0, 255]], np.uint8).repeat(8, 0).repeat(8, 1))  # dark left, bright right
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright (EXIF 2.3, Orientation)
    turned.save(tmp_path / "a" / "2.jpg", exif=exif)
    images = read_image_folder(tmp_path, size=(16, 8)).images
    assert images[0, 0, 0].tolist() == [10, 20, 30]
    assert images[1, :6].mean() < 30 and images[1, -6:].mean() > 225
    assert read_image_folder(tmp_path, size=(16, 8), channels=1).images.shape == (2, 16, 8, 1)


# ---- a training and a test set

ROLES = [
    ("train", "test"), ("train", "val"), ("train", "valid"), ("train", "validation"), ("training", "validation"),
    ("Train", "Test"), ("TRAIN", "VALID"), ("Training", "Testing"), ("training_set", "test_set"),
    ("seg_train", "seg_test"), ("Train-Data", "Test-Data"), ("trainset", "testset"), ("flowers_train", "flowers_valid"),
    ("train_images", "val_images"), ("train", "dev"), ("train", "eval"), ("Train", "holdout_set"),
]  # fmt: skip


@pytest.mark.parametrize("wrapped", ["", "archive", "archive/set"])
@pytest.mark.parametrize(("train", "held_out"), ROLES)
def test_usual_names_of_a_training_and_a_test_set(tmp_path, train, held_out, wrapped):
    write_photos(tmp_path / wrapped / train, cats=[RED] * 3, dogs=[GREEN])
    write_photos(tmp_path / wrapped / held_out, cats=[RED], dogs=[GREEN])
    (tmp_path / "README.txt").write_text("about")
    read = data.load("image_folder", data_dir=str(tmp_path), size=(4, 4))
    assert read.train.labels.tolist() == [0, 0, 0, 1] and read.test.labels.tolist() == [0, 1]
    assert read.train.classes == read.test.classes == ("cats", "dogs") and read.train.name == tmp_path.name


def test_inner_folders_of_the_same_name(tmp_path):
    for part in ("seg_train", "seg_test"):
        write_photos(tmp_path / part / part, forest=[GREEN] * 2, sea=[RED])
    photo(tmp_path / "seg_pred" / "seg_pred" / "1.jpg")
    train, test = read_image_folders(tmp_path, size=(4, 4))
    assert train.classes == ("forest", "sea") and len(train) == len(test) == 3


def test_the_test_set_is_taken_before_the_validation_set_and_the_rest_told(tmp_path, capsys):
    for i, part in enumerate(("train", "valid", "test")):
        write_photos(tmp_path / part, a=[RED] * (i + 1), b=[RED])
    assert len(read_image_folders(tmp_path, size=(4, 4)).test) == 4
    assert "valid: 3 images are left out: the test set is test/" in capsys.readouterr().err


@pytest.mark.parametrize("unlabeled", ["test/7.jpg", "test/unknown/7.jpg", "test1/7.jpg", "Test/test/7.jpg"])
def test_a_test_set_without_labels_is_left_out_and_told(tmp_path, capsys, unlabeled):
    write_photos(tmp_path / "train", cats=[RED] * 5, dogs=[GREEN] * 5)
    photo(tmp_path / unlabeled)
    train, test = read_image_folders(tmp_path, size=(4, 4))
    assert np.bincount(train.labels).tolist() == [4, 4] and np.bincount(test.labels).tolist() == [1, 1]
    assert "1 image is left out" in capsys.readouterr().err
    write_photos(tmp_path / "valid", cats=[RED], dogs=[GREEN] * 2)
    assert read_image_folders(tmp_path, size=(4, 4)).test.labels.tolist() == [0, 1, 1]


def test_a_training_set_alone_and_wrapped_classes_are_divided(tmp_path):
    write_photos(tmp_path / "a" / "train", cats=[RED] * 5, dogs=[GREEN] * 5)
    (tmp_path / "a" / "test").mkdir()
    write_photos(tmp_path / "b" / "PetImages", cats=[RED] * 5, dogs=[GREEN] * 5)
    photo(tmp_path / "b" / "__MACOSX" / "1.png")
    for folder in (tmp_path / "a", tmp_path / "b", tmp_path / "a" / "train"):
        train, test = read_image_folders(folder, size=(4, 4))
        assert np.bincount(train.labels).tolist() == [4, 4] and np.bincount(test.labels).tolist() == [1, 1]
        assert train.classes == ("cats", "dogs")


def test_loose_images_are_left_out_and_told(tmp_path, capsys):
    write_photos(tmp_path / "set", cats=[RED] * 5, dogs=[GREEN] * 5)
    photo(tmp_path / "cover.jpg")
    photo(tmp_path / "set" / "sample.jpg")
    assert len(read_image_folder(tmp_path, size=(4, 4))) == 10
    message = capsys.readouterr().err
    assert "1 image is left out, beside set/" in message
    assert "1 image is left out, beside the class folders" in message


def test_names_that_look_like_parts_may_be_classes(tmp_path):
    write_photos(tmp_path, bus=[RED], car=[RED], train=[GREEN])
    photo(tmp_path / "train" / "steam" / "1.png")
    photo(tmp_path / "train" / "electric" / "1.png")
    photos = read_image_folder(tmp_path, size=(4, 4))
    assert photos.classes == ("bus", "car", "train") and photos.labels.tolist() == [0, 1, 2, 2, 2]
    write_photos(tmp_path / "other", valid=[RED] * 2, invalid=[GREEN] * 2)
    assert read_image_folders(tmp_path / "other", size=(4, 4), fraction=0.5).test.classes == ("invalid", "valid")


def test_sets_of_unusual_names_are_not_taken_for_classes(tmp_path, capsys):
    for part in ("train", "unseen"):
        write_photos(tmp_path / part, cats=[RED], dogs=[GREEN])
    for read in (read_image_folder, read_image_folders):
        with pytest.raises(DataError, match=r"called test/ or val/ .*; found train/, unseen/.* cats, dogs"):
            read(tmp_path, size=(4, 4))
    (tmp_path / "train").rename(tmp_path / "seen")
    assert read_image_folder(tmp_path, size=(4, 4)).classes == ("seen", "unseen")
    assert "the classes are seen/, unseen/, which all hold the folders cats, dogs" in capsys.readouterr().err


@pytest.mark.parametrize("place", [".", "train", "train/train"])
def test_numbered_names_are_classes(tmp_path, place):
    for i in range(4):
        photo(tmp_path / place / f"cat.{i}.jpg", i)
        photo(tmp_path / place / f"dog.{i}.jpg", 10 + i)
    photo(tmp_path / "test1" / "1.jpg", 99) if place != "." else None
    train, test = read_image_folders(tmp_path, size=(2, 2), fraction=0.25)
    assert sorted(values(train) + values(test)) == [
        *((i, "cat") for i in range(4)),
        *((10 + i, "dog") for i in range(4)),
    ]
    assert np.bincount(test.labels).tolist() == [1, 1]


def test_one_folder_is_divided_by_seed_as_split_does(tmp_path):
    write_photos(tmp_path, cats=[(i, 0, 0) for i in range(10)], dogs=[(i, 1, 0) for i in range(10)])
    seen = [set(read_image_folders(tmp_path, size=(4, 4), seed=s).test.images[:, 0, 0, 0].tolist()) for s in range(9)]
    again = read_image_folders(tmp_path, size=(4, 4), seed=0)
    assert set(again.test.images[:, 0, 0, 0].tolist()) == seen[0] and len(set(map(frozenset, seen))) > 1
    assert np.bincount(again.test.labels).tolist() == [2, 2] and len(again.train) == 16
    by_split = data.split(read_image_folder(tmp_path, size=(4, 4)), 0.2, seed=0)
    for ours, theirs in zip(again, by_split, strict=True):
        np.testing.assert_array_equal(ours.images, theirs.images)


# ---- what is wrong


def spoil(folder):
    """Ten whole images, three that are none."""
    write_photos(folder, cats=[RED] * 5, dogs=[RED] * 5)
    noise = Image.fromarray(RNG.integers(0, 256, (20, 20)).astype(np.uint8))
    noise.save(folder / "cats" / "whole.png")
    content = (folder / "cats" / "whole.png").read_bytes()
    (folder / "cats" / "whole.png").unlink()
    (folder / "cats" / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "cats" / "empty.jpg").write_bytes(b"")
    (folder / "dogs" / "page.jpg").write_bytes(b"<html>")


def test_all_bad_files_are_told_at_once(tmp_path):
    spoil(tmp_path)
    for read in (read_image_folder, read_image_folders):
        with pytest.raises(DataError, match="skip_unreadable") as caught:
            read(tmp_path, size=(4, 4))
        message = str(caught.value)
        assert "3 of 13" in message and "\n" not in message
        for part in (os.path.join("cats", "cut.png"), "empty.jpg (an empty file)", "page.jpg (a web page"):
            assert part in message


def test_bad_files_are_skipped_if_asked_and_told(tmp_path, capsys):
    spoil(tmp_path)
    photos = read_image_folder(tmp_path, size=(4, 4), skip_unreadable=True)
    assert photos.labels.tolist() == [0] * 5 + [1] * 5 and (photos.images == RED).all()
    message = capsys.readouterr().err
    assert all(name in message for name in ("cut.png", "empty.jpg", "page.jpg"))
    assert "3 of 13 images cannot be read, and are left out: " in message and "skip_unreadable" not in message
    train, test = data.load("image_folder", data_dir=tmp_path, size=(4, 4), skip_unreadable=True)
    assert len(train) + len(test) == 10
    for file in (tmp_path / "cats").glob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"one readable image per class; found none in cats"):
        read_image_folder(tmp_path, size=(4, 4), skip_unreadable=True)


def test_of_many_bad_files_some_are_named_and_all_are_counted(tmp_path):
    write_photos(tmp_path, cats=[RED], dogs=[RED])
    for i in range(25):
        (tmp_path / "cats" / f"bad{i:02}.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"25 of 27 .*bad09\.jpg.*and 15 more") as caught:
        read_image_folder(tmp_path, size=(4, 4))
    assert "bad10" not in str(caught.value)


def photos(**classes):
    return lambda folder: write_photos(folder, **classes)


def one_bad(content, name="1.jpg"):
    def write(folder):
        write_photos(folder, cats=[RED], dogs=[RED])
        (folder / "cats" / name).write_bytes(content)

    return write


def two_sets(train, held_out, classes):
    def write(folder):
        write_photos(folder / train, cats=[RED], dogs=[RED])
        write_photos(folder / held_out, **classes)

    return write


def texts(folder):
    write_photos(folder, cats=[RED], dogs=[RED])
    (folder / "labels").mkdir()
    (folder / "labels" / "a.xml").write_text("")


def loose_with_a_table(folder):
    loose(folder)
    (folder / "labels.csv").write_text("IMG_1,cat")


def loose(folder):
    photo(folder / "IMG_1.jpg")
    photo(folder / "DSC_2.jpg")


@pytest.mark.parametrize(
    ("write", "file", "message"),
    [
        (lambda folder: None, "photos", "one folder per class; found no folders"),
        (loose, "photos", "one folder per class; found 2 images and no folders"),
        (loose_with_a_table, "photos", "2 images and no folders; labels in a table, labels.csv, are not read"),
        (photos(cats=[RED], dogs=[], wolves=[]), "dogs", "at least one image; found none; nor is there one in wolves"),
        (photos(cats=[RED] * 9), "photos", "at least two classes, one folder for each; found one, cats"),
        (lambda folder: write_photos(folder / "train", cats=[RED]), "train", "at least two classes"),
        (texts, "labels", "at least one image; found none, but files with .xml"),
        (one_bad(b""), "1.jpg", "a readable image; found an empty file. The option skip_unreadable"),
        (one_bad(b"\0\0\0\x18ftypheic\0\0\0\0", "1.HEIC"), "1.HEIC", "pillow-heif"),
        (one_bad(b"<svg>", "1.svg"), "1.svg", "SVG"),
        (two_sets("train", "val", {"cats": [RED], "wolves": [RED]}), "val", "cats, dogs; found cats, wolves"),
        (two_sets("Train", "test", {"dogs": [RED]}), "test", "the classes of Train/, cats, dogs; found dogs"),
        (two_sets("train", "test", {"cats": [RED], "dogs": []}), "dogs", "at least one image"),
        (two_sets("test", "valid", {"cats": [RED], "dogs": [RED]}), "photos", "a folder train/ beside test/, valid/"),
    ],
)
def test_a_folder_that_is_wrong_is_named(tmp_path, write, file, message):
    folder = tmp_path / "photos"
    folder.mkdir()
    write(folder)
    with pytest.raises(DataError) as caught:
        data.load("image_folder", data_dir=folder, size=(4, 4))
    assert caught.value.file.endswith(file) and message in str(caught.value) and caught.value.__cause__ is None


def test_what_is_no_folder_and_a_folder_of_two_sets(tmp_path):
    with pytest.raises(DataError, match="found no such folder"):
        read_image_folders(tmp_path / "absent", size=(4, 4))
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="a file; an archive must be unpacked first"):
        read_image_folder(tmp_path / "photos.zip", size=(4, 4))
    two_sets("train", "test", {"cats": [RED], "dogs": [RED]})(tmp_path)
    with pytest.raises(DataError, match=r"found train/, test/: read_image_folders reads such sets"):
        read_image_folder(tmp_path, size=(4, 4))
    assert len(read_image_folder(tmp_path / "test", size=(4, 4))) == 2


def test_more_than_fits_into_memory_is_said_before_anything_is_read(tmp_path):
    write_photos(tmp_path, cats=[RED] * 5, dogs=[RED] * 5)
    for side in (2**22, 2**40):
        with pytest.raises(DataError, match=r"images that fit into memory; found 8 of .* GB: choose a smaller size"):
            read_image_folders(tmp_path, size=(side, side))


def test_folders_too_deep_are_refused(tmp_path):
    deep = tmp_path.joinpath("cat", *"a" * 60)
    photo(deep / "1.png")
    with pytest.raises(DataError, match="at most 40 folders"):
        read_image_folder(tmp_path, size=(4, 4))


@pytest.mark.parametrize(
    "bad", [{"size": 4}, {"size": (0, 4)}, {"size": (4, 4), "channels": 2}, {"size": (4, 4), "fraction": 1.5}]
)
def test_bad_options_of_image_folder(tmp_path, bad):
    spoil(tmp_path)
    with pytest.raises(ValueError, match=r"size|channels|fraction"):
        data.load("image_folder", data_dir=tmp_path, **bad)
