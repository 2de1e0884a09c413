"""JSON for people, and what is no object."""

import json

import numpy as np
import pytest

from jaxcnn.files.json_files import as_json, read_json, write_json


def test_what_is_written_comes_back(tmp_path):
    value = {"classes": ["Übung", "猫"], "rate": 0.1, "none": None}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


def test_numbers_of_numpy_are_numbers(tmp_path):
    value = {"rate": np.float32(0.5), "sizes": np.arange(3)}
    assert json.loads(as_json(value)) == {"rate": 0.5, "sizes": [0, 1, 2]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == {"rate": 0.5, "sizes": [0, 1, 2]}


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", "no JSON"), (b"\xff", "no JSON"), (b"[" * 100_000, "no JSON"), (b"[1, 2]", r"list '\[1, 2\]'")],
)
def test_what_is_no_object_is_said_in_few_words(tmp_path, content, found):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{found}"):
        read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "nowhere.json")
