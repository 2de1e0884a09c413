"""The old names of what has moved still work, with a warning that says the new name."""

import importlib

import pytest

from jaxcnn import data, viz

NAMES = {
    "data.augment.normalise": "data.augment.normalize",
    "viz.activation_maximisation": "viz.activation_maximization",
    "train.label_params": "train.group_params",
    "weights.labels": "weights.class_names",
    **{f"layers.{name}": f"inspect.{name}" for name in ("Summary", "summary")},
    **{f"viz.{name}": f"inspect.{name}" for name in viz.NUMBERS},
}


def value(name):
    module, _, attribute = f"jaxcnn.{name}".rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize(("old", "new"), NAMES.items())
def test_an_old_name_works_and_says_the_new_one(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is now jaxcnn.{new}") as warned:
        found = value(old)
    assert found is value(new)
    assert len(warned) == 1


def test_an_old_field_works_and_says_the_new_one():
    source = data.describe("mnist")
    with pytest.warns(DeprecationWarning, match=r"Source\.licence is now data\.Source\.license"):
        found = source.licence
    assert found == source.license


def test_what_never_was_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'normal'"):
        value("data.augment.normal")
