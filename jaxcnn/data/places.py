"""Where the files of a dataset lie in the user's folder: as published, as torchvision or Kaggle lay them out."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxcnn.data.errors import DataError

__all__ = ["Place", "plain"]

_SHOWN = 10  # names that a message lists


def plain(name: str) -> str:
    """A name by its letters and digits alone: "Fashion-MNIST" and "fashion_mnist" are the same.

    >>> plain("Fashion-MNIST")
    'fashionmnist'
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class Place:
    """A folder that the user gave, or one file, and the dataset that is looked for in it.

    Args:
        given: the folder or the file.
        dataset: its name.
    """

    given: Path
    dataset: str

    def folders(self) -> list[Path]:
        """Folders of the dataset's name in the given one, then the given one; each with what others put into it."""
        if not self.given.is_dir():
            return []
        subfolders = sorted(path for path in self.given.iterdir() if path.is_dir())
        named = [folder for folder in subfolders if plain(folder.name) == plain(self.dataset)]
        tops = [*named, self.given]
        # torchvision has MNIST/raw, EMNIST's archive gzip/, Kaggle emnist_source_files/.
        inner = [Path(), Path("raw"), Path("gzip"), Path("raw", "gzip"), Path("emnist_source_files")]
        return [folder for top in tops for part in inner if (folder := top / part).is_dir()]

    def find(self, *names: str) -> Path | None:
        """The first file of these names; also one in a folder of its own name, as Kaggle unpacks them."""
        if self.given.is_file():
            return self.given if self.given.name in names else None
        for folder in self.folders():
            for name in names:
                for path in (folder / name, folder / name / name):
                    if path.is_file():
                        return path
        return None

    def find_folder(self, name: str, holding: str) -> Path | None:
        """A folder of this name, or any folder, that holds a file."""
        for folder in self.folders():
            for path in (folder / name, folder):
                if (path / holding).is_file():
                    return path
        return None

    def find_like(self, suffix: str, fits: Callable[[Path], bool]) -> Path | None:
        """The first file of this suffix that fits; one that was given itself always does."""
        if self.given.is_file():
            return self.given if self.given.suffix.lower() == suffix else None
        files = (path for folder in self.folders() for path in sorted(folder.iterdir()) if path.is_file())
        return next((path for path in files if path.suffix.lower() == suffix and fits(path)), None)

    def find_npz(self) -> Path | None:
        """The .npz of the dataset's name."""
        return self.find_like(".npz", lambda path: plain(path.stem) == plain(self.dataset))

    def nothing(self, wanted: str) -> DataError:
        """The error that says what was looked for here and what is here instead."""
        if self.given.is_file():
            return DataError(self.given, f"a file of {self.dataset}: {wanted}", "another one")
        names = sorted(path.name + "/" * path.is_dir() for path in self.given.iterdir() if path.name[0] != ".")
        here = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
        return DataError(
            self.given,
            f"the files of {self.dataset} here or in {self.dataset}/: {wanted}",
            f"{here or 'an empty folder'}. Without a data folder they would be fetched",
        )
