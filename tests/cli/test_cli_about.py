"""What a notebook says first."""

import re

import jax
import pytest

from jaxcnn.cli.about import about


def test_versions_and_devices_in_one_line():
    said = about().splitlines()[0]
    assert re.fullmatch(rf"jaxcnn \S+, jax {re.escape(jax.__version__)}, on {jax.device_count()} × .+", said)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the accelerator is used")
def test_an_accelerator_that_is_not_used_is_one_line_more(monkeypatch):
    monkeypatch.setenv("COLAB_TPU_ADDR", "10.0.0.2:8470")
    _, note = about().splitlines()
    assert "TPU" in note and "COLAB_TPU_ADDR" in note
