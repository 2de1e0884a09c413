"""A network of one's own by name."""

import jax
import numpy as np
import pytest

from jaxcnn import models, weights
from jaxcnn.layers import Dense, Flatten, serial
from jaxcnn.models import Model, catalogue


@pytest.fixture
def own(monkeypatch):
    """A registered network, gone after the test."""
    monkeypatch.setattr(catalogue, "MODELS", dict(catalogue.MODELS))

    @models.register
    def own_net(*, units=4, num_classes=3):
        return Model("some name", serial(Flatten(), Dense(units), Dense(num_classes)), (2, 2, 1), num_classes)

    return own_net


def test_its_files_make_it_again(own, tmp_path):
    model = models.create("own_net", units=5)
    params, state = model.init(jax.random.key(0))
    weights.save(tmp_path / "own.safetensors", model, params, state)
    again, loaded, _, about = weights.load_model(tmp_path / "own.safetensors")
    assert (again.name, again.options, about["model"]) == ("own_net", {"units": 5}, "own_net")
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert "own_net" in models.names() and models.published("own_net") is None


def test_what_is_refused(own):
    assert models.register(own) is own  # a module may be imported again
    with pytest.raises(ValueError, match="another network with the name 'lenet5'"):
        models.register(type("lenet5", (), {}))
    for wrong in (lambda: None, 3, "net"):
        with pytest.raises(TypeError, match="`make` must be a function with a name"):
            models.register(wrong)

    @models.register
    def no_net():
        return serial(Flatten())

    with pytest.raises(TypeError, match="no_net must return a Model; got Layer"):
        models.create("no_net")
