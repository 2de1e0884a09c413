"""The metrics of each epoch, as arrays and as a CSV file."""

import csv
import os
from pathlib import Path

import numpy as np

from jaxcnn.files.whole import replacing


class History:
    """One row of numbers per epoch.

    Its columns are epoch (from 1), loss and accuracy (means over the epoch's training batches, each before its step),
    validation_loss and validation_accuracy (after the epoch, if there is validation data), and seconds. Only a
    classification has accuracies; a loss function of your own has none (see `jaxcnn.train.fit`).

    Example:
      >>> history = History()
      >>> history.append({"epoch": 1, "loss": 2.0})
      >>> history.append({"epoch": 2, "loss": 1.0})
      >>> history["loss"]
      array([2., 1.])
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def append(self, row: dict[str, float]) -> None:
        """Add an epoch; ValueError unless it has the columns of the epochs before."""
        if self.rows and row.keys() != self.rows[0].keys():
            raise ValueError(f"History: a row must have the columns {list(self.rows[0])}; got {list(row)}")
        self.rows.append(row)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.rows[0]) if self.rows else []

    def __getitem__(self, column: str) -> np.ndarray:
        """One column as an array; KeyError if there is none of that name."""
        if column not in self.columns:
            raise KeyError(f"no column {column!r}; there are {self.columns}")
        return np.array([row[column] for row in self.rows])

    def __repr__(self) -> str:
        return f"<History: {len(self)} epochs of {', '.join(self.columns)}>"

    def to_csv(self, path: str | os.PathLike) -> None:
        """Write the table, whole or not at all; reading it gives back exactly the same numbers."""
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)

    @classmethod
    def from_csv(cls, path: str | os.PathLike) -> "History":
        """Read a table that `to_csv` wrote; a ValueError names the file and the row that is wrong."""
        history = cls()
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file with the history of a training")
        try:
            with Path(path).open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: expected a table of numbers, found no text of that kind: {error}") from None
        for row in rows:
            try:
                history.append({name: float(value) for name, value in row.items()} | {"epoch": int(row["epoch"])})
            except (TypeError, ValueError, KeyError):
                raise ValueError(f"{path}: expected a row of numbers with an epoch, found {row!s:.200}") from None
        return history
