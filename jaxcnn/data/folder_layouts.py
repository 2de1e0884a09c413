"""Which folder of images is the training set, which is a class and which is neither, in the usual layouts.

Known layouts, in any case of letters, each also one or more folders further down (`archive/PetImages/cat/…`):
    cat/… dog/…                              one folder per class, images in it or in folders below it
    train/cat/… test/cat/…                   also training, train_set, Training, seg_train, flowers_train, …
    train/cat/… valid/cat/…                  also val, validation, dev
    train/cat/… test/7.jpg                   a test set without labels, as competitions have it: left out
    train/cat/…                              alone
    cat.0.jpg dog.1.jpg                      in place of class folders: the name before the number is the class
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from jaxcnn.data.errors import DataError, tell

__all__ = ["Labeled", "class_images", "labeled_parts"]

# Suffixes of images. Some of these formats cannot be read here: such a file is an error with a hint, not passed over.
_SUFFIXES = {
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".jxl", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".svg", ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip
_JUNK = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
_DEEPEST = 40  # folders below each other

_ROLES = {
    "train": "train", "training": "train",
    "test": "test", "testing": "test", "holdout": "test",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "eval": "validation", "evaluation": "validation",
}  # fmt: skip
_HELD_OUT = ("test", "validation")  # the first of these sets that has labels is the test set
_FILLERS = {"set", "data", "dataset", "images", "image", "imgs", "img", "photos", "seg", "split", "folder"}
_WORD = re.compile(rf"({'|'.join(sorted(_ROLES, key=len, reverse=True))})({'|'.join(_FILLERS)})?$")
_NUMBERED = re.compile(r"(?P<label>.+)\.\d+$")  # the stem of cat.0.jpg


@dataclass
class Tree:
    """A folder with the images and the folders in it, each sorted by name."""

    path: Path
    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    folders: "list[Tree]" = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    def below(self) -> list[Path]:
        """All images in the folder and in the folders below it."""
        return self.images + [image for folder in self.folders for image in folder.below()]

    def has_images(self) -> bool:
        return bool(self.images) or any(folder.has_images() for folder in self.folders)


class Labeled(NamedTuple):
    """The images of one set: the folder they are in, the classes, each image and its label."""

    folder: Path
    classes: tuple[str, ...]
    files: list[Path]
    labels: list[int]


def class_images(folder: Path) -> Labeled:
    """The images of one folder of class folders.

    Raises:
      DataError: no such folder, no classes, a class without images, or a folder of a training and a test set.
    """
    tree = _unwrapped(_scan(folder))
    train, held_out = _parts(tree)
    if train is not None and held_out:
        names = ", ".join(f"{part.name}/" for part in (train, *held_out))
        raise DataError(tree.path, "one folder per class", f"{names}: read_image_folders reads such sets, or name one")
    return _labeled(_unwrapped(train) if train is not None else tree)


def labeled_parts(folder: Path) -> tuple[Labeled, Labeled | None]:
    """The training set of a folder, and its test set or None.

    Raises:
      DataError: as `class_images`; fewer than two classes, two sets of different classes, or no training set.
    """
    tree = _unwrapped(_scan(folder))
    train_tree, held_out = _parts(tree)
    if train_tree is None:
        if held_out and all(part.folders for part in held_out) and len(held_out) == len(_with_images(tree)):
            names = ", ".join(f"{part.name}/" for part in held_out)
            raise DataError(tree.path, f"a folder train/ beside {names}", "none")
        return _two_classes(_labeled(tree)), None
    train = _two_classes(_labeled(_unwrapped(train_tree)))
    test_tree = next((part for part in held_out if _is_labeled(_unwrapped(part), train.classes)), None)
    test = None if test_tree is None else _labeled(_unwrapped(test_tree))
    if test is not None and test.classes != train.classes:
        wanted = f"the classes of {train_tree.name}/, {', '.join(train.classes)}"
        raise DataError(test.folder, wanted, ", ".join(test.classes))
    for other in _with_images(tree):
        if other not in (train_tree, test_tree):
            why = f"the test set is {test_tree.name}/" if test_tree else "it has no folders of the classes"
            tell(f"{other.path}: {_images(len(other.below()))} left out: {why}")
    return train, test


def _two_classes(part: Labeled) -> Labeled:
    if len(part.classes) < 2:
        raise DataError(part.folder, "at least two classes, one folder for each", f"one, {part.classes[0]}")
    return part


# ---- what is there


def _scan(folder: Path, above: tuple[str, ...] = ()) -> Tree:
    """The folder's tree without hidden and system files. Links to folders are followed unless they lead back up."""
    if not above and not folder.is_dir():
        found = "a file; an archive must be unpacked first" if folder.is_file() else "no such folder"
        raise DataError(folder, "a folder with one folder per class", found)
    if len(above) > _DEEPEST:
        raise DataError(folder, f"at most {_DEEPEST} folders below each other", "more")
    here = os.path.realpath(folder)
    tree = Tree(folder)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(folder, "a readable folder", error.strerror or str(error)) from None
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith(".") or entry.name.lower() in _JUNK:
            continue
        if _is_folder(entry):
            if os.path.realpath(path) not in (*above, here):
                tree.folders.append(_scan(path, (*above, here)))
        elif path.suffix.lower() in _SUFFIXES:
            tree.images.append(path)
        else:
            tree.others.append(path)
    return tree


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _with_images(tree: Tree) -> list[Tree]:
    return [folder for folder in tree.folders if folder.has_images()]


# ---- what it means


def _unwrapped(tree: Tree) -> Tree:
    """Go down while all images lie in one folder that has folders, or images with numbered names, in it."""
    while len(full := _with_images(tree)) == 1:
        beside = [folder for folder in tree.folders if folder is not full[0] and not folder.others]
        if beside or not (full[0].folders or _numbered(full[0])):
            break  # beside it is an empty class folder, or it is a class folder itself
        if tree.images:
            tell(f"{tree.path}: {_images(len(tree.images))} left out, beside {full[0].name}/ and so of no class")
        tree = full[0]
    return tree


def _parts(tree: Tree) -> tuple[Tree | None, list[Tree]]:
    """The training set among the folders of a tree or None, and the test and validation sets, the test set first.

    A folder "train" beside class folders, without a test or validation set, is a class: trains are vehicles, too.
    """
    groups: dict[tuple[str, ...], dict[str, Tree]] = {}
    for folder in _with_images(tree):
        role, rest = _role(folder.name)
        if role:
            groups.setdefault(rest, {}).setdefault(role, folder)
    for rest, group in sorted(groups.items()):
        train, held_out = group.get("train"), [group[role] for role in _HELD_OUT if role in group]
        alone = not rest and len(_with_images(tree)) == 1
        if train is not None and (held_out or alone):
            return train, held_out
        if train is None and held_out and not rest:
            return None, held_out
    return None, []


def _role(name: str) -> tuple[str, tuple[str, ...]]:
    """The role that a folder's name states ("" for none), and the other words of the name.

    Example:
      >>> _role("Training_Set"), _role("testset"), _role("flowers-valid"), _role("trainer")
      (('train', ()), ('test', ()), ('validation', ('flowers',)), ('', ('trainer',)))
    """
    role, rest = "", []
    for word in re.findall(r"[^\W\d_]+", name.lower()):
        match = _WORD.match(word)
        if match and not role:
            role = _ROLES[match[1]]
        elif word not in _FILLERS:
            rest.append(word)
    return role, tuple(rest)


def _numbered(tree: Tree) -> bool:
    """Whether the names of its images are a class and a number, such as cat.0.jpg and dog.1.jpg."""
    return bool(tree.images) and all(_NUMBERED.match(image.stem) for image in tree.images)


def _is_labeled(tree: Tree, classes: tuple[str, ...]) -> bool:
    names = {folder.name for folder in _with_images(tree)}
    return len(names) > 1 or bool(names & set(classes)) or _numbered(tree)


def _labeled(tree: Tree) -> Labeled:
    if not tree.folders and _numbered(tree):
        by_name = [(_NUMBERED.match(image.stem)["label"], image) for image in tree.images]  # type: ignore[index]
        classes = tuple(sorted({label for label, _ in by_name}))
        return Labeled(tree.path, classes, tree.images, [classes.index(label) for label, _ in by_name])
    if not tree.folders:
        tables = [path.name for path in tree.others if path.suffix.lower() == ".csv"]
        count = len(tree.images)
        found = f"{count:,} image{'' if count == 1 else 's'} and no folders" if tree.images else "no folders"
        found += f"; labels in a table, {tables[0]}, are not read" if tables and tree.images else ""
        raise DataError(tree.path, "one folder per class", found)
    empty = [folder for folder in tree.folders if not folder.has_images()]
    if empty:
        names = ", ".join(folder.name for folder in empty[1:])
        also = f"; nor is there one in {names}" if names else ""
        raise DataError(empty[0].path, "at least one image", _instead(empty[0]) + also)
    _check_apart(tree)
    if tree.images:
        tell(f"{tree.path}: {_images(len(tree.images))} left out, beside the class folders and so of no class")
    files = [folder.below() for folder in tree.folders]
    labels = [label for label, members in enumerate(files) for _ in members]
    return Labeled(
        tree.path,
        tuple(folder.name for folder in tree.folders),
        [file for members in files for file in members],
        labels,
    )


def _images(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"


def _check_apart(tree: Tree) -> None:
    """Folders that all hold folders of the same names may be sets of classes: an error or a printed line."""
    inner = [{folder.name for folder in _with_images(one)} for one in tree.folders]
    if len(inner) < 2 or len(inner[0]) < 2 or any(names != inner[0] for names in inner):
        return
    sets = ", ".join(f"{folder.name}/" for folder in tree.folders)
    found = f"{sets}, which all hold the folders {', '.join(sorted(inner[0]))}"
    if any(_role(folder.name)[0] == "train" for folder in tree.folders):
        raise DataError(tree.path, "a test set called test/ or val/ beside the training set", found)
    tell(f"{tree.path}: the classes are {found}. If those are the classes, call the sets train/ and test/")


def _instead(tree: Tree) -> str:
    """What an empty class folder holds in place of images."""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in tree.others)
    return f"none, but files with {', '.join(sorted(kinds))}" if kinds else "none"
