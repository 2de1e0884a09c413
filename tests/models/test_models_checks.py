"""What a Model refuses and how it is shown: outputs that are no logits, a missing batch axis, numbers of NumPy."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import layers, models
from jaxcnn.layers import Conv, Dense, Flatten, GlobalAvgPool, MaxPool, serial
from jaxcnn.models import Model


def test_an_output_that_is_no_row_of_logits_is_refused_at_init():
    """Such as that of a volume whose global pool was told to take two axes of three."""
    net = serial(Conv(8, (3, 3, 3)), MaxPool((2, 2, 2)), GlobalAvgPool(2), Dense(2))
    with pytest.raises(ValueError, match=r"volumes: `layer` must give 2 logits per image, \(2,\).* it gives \(7, 2\)"):
        Model("volumes", net, (16, 16, 16, 1), 2).init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"must give 4 logits per image.* it gives \(3,\)"):
        Model("three", serial(Flatten(), Dense(3)), (8, 8, 1), 4).init(jax.random.key(0))


@pytest.mark.parametrize(
    ("layer", "num_classes"),
    [
        (serial(Flatten(), Dense(3)), 3),
        (serial(Flatten(), Dense(1)), 2),  # one logit tells two classes apart
        (Conv(3, 3, padding="SAME"), 3),  # one row per pixel
        (Conv(5, 3), 0),
    ],
)
def test_outputs_that_are_logits_or_said_not_to_be(layer, num_classes):
    Model("own", layer, (8, 8, 1), num_classes).init(jax.random.key(0))


def test_a_missing_batch_axis_is_named():
    model = models.create("lenet5")
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    with pytest.raises(ValueError, match=r"lenet5: `x` lacks the batch axis; for one image write x\[None\]") as error:
        model.apply(params, state, jnp.ones((28, 28, 1)))
    assert "lenet5 was made for `x` of shape (N, 28, 28, 1); got (28, 28, 1)" in error.value.__notes__
    with pytest.raises(ValueError, match="lenet5: `x` must have 4 axes; got 2"):
        model.apply(params, state, jnp.ones((2, 784)))


def test_numbers_of_numpy_are_kept_as_pythons_own():
    model = models.create("lenet5", num_classes=np.int64(3), input_size=(np.int32(28), 28), classic=np.bool_(True))
    assert json.loads(json.dumps(model.options)) == {"num_classes": 3, "input_size": [28, 28], "classic": True}
    wide = models.create("mobilenet_v2", width=np.float32(1.5), input_size=32)
    assert json.loads(json.dumps(wide.options)) == {"width": 1.5, "input_size": 32}
    own = Model("own", serial(Flatten(), Dense(3)), [np.int64(8), 8, 1], np.int64(3))
    assert own.input_shape == (8, 8, 1) and type(own.input_shape[0]) is int and type(own.num_classes) is int
    params, state = model.init(jax.random.key(0))
    assert models.with_head(model, params, state, np.int64(5), key=jax.random.key(1))[0].num_classes == 5


@pytest.mark.parametrize(("shape", "classes"), [((8, 0, 1), 2), ((8.5, 8, 1), 2), ((8, 8, 1), -1), ((8, 8, 1), "2")])
def test_shapes_and_classes_are_integers(shape, classes):
    with pytest.raises((ValueError, TypeError), match=r"own: `(input_shape|num_classes)` must be"):
        Model("own", serial(Flatten(), Dense(2)), shape, classes)


def test_what_is_no_layer_is_refused_when_the_model_is_made():
    with pytest.raises(TypeError, match=r"own: `layer` must be a Layer, such as serial\(…\); got \[Dense\(2\)\]"):
        Model("own", [Dense(2)], (8, 8, 1), 2)
    with pytest.raises(TypeError, match="of a Model take its `layer`"):
        serial(models.create("lenet5"), Dense(2))


@pytest.mark.parametrize(
    ("name", "meant"), [("resnet-50", "resnet50"), ("MobileNetV2", "mobilenet_v2"), ("lenet", "lenet5")]
)
def test_a_name_that_is_nearly_known_is_told(name, meant):
    with pytest.raises(ValueError, match=rf"unknown model '{name}'; did you mean '{meant}'\? Known are digits_cnn"):
        models.create(name)


def test_a_model_is_shown_as_the_code_that_makes_it_and_in_a_notebook_as_its_summary():
    model = models.create("digits_cnn")
    assert repr(eval(repr(model), {**vars(layers), "Model": Model})) == repr(model)
    assert "conv1" in model._repr_html_() and model._repr_html_().startswith("<pre>")
    own = Model("own", serial(Conv(5, 3)), (8, 8, 1), 0)
    assert repr(own) == "Model('own', serial(Conv(5, 3)), input_shape=(8, 8, 1), num_classes=0)"
