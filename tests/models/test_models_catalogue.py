"""The catalogue, and the nets of the lectures: pinned parameters, counts by hand, layer by layer."""

import jax
import pytest

from jaxcnn import models
from jaxcnn.models import catalogue

KERNELS = {  # every parameter of every model: a kernel of this shape, and a bias of its last axis
    "digits_cnn": {
        "conv1": (3, 3, 1, 32),
        "conv2": (3, 3, 32, 32),
        "conv3": (3, 3, 32, 64),
        "dense1": (1024, 128),
        "dense2": (128, 10),
    },
    "lenet5": {
        "conv1": (5, 5, 1, 6),
        "conv2": (5, 5, 6, 16),
        "dense1": (400, 120),
        "dense2": (120, 84),
        "dense3": (84, 10),
    },
    "mnist_cnn": {"conv1": (3, 3, 1, 32), "conv2": (3, 3, 32, 64), "dense1": (3136, 128), "dense2": (128, 10)},
    "mnist_baseline": {"conv1": (5, 5, 1, 32), "dense1": (4608, 128), "dense2": (128, 10)},
    "zero_one": {"conv1": (3, 3, 1, 5), "dense1": (845, 100), "dense2": (100, 2)},
    "cifar10_cnn": {
        "conv1": (3, 3, 3, 32),
        "conv2": (3, 3, 32, 32),
        "conv3": (3, 3, 32, 64),
        "conv4": (3, 3, 64, 64),
        "dense1": (2304, 512),
        "dense2": (512, 10),
    },
    "cats_vs_dogs_cnn": {
        "conv1": (3, 3, 3, 16),
        "conv2": (3, 3, 16, 64),
        "conv3": (3, 3, 64, 128),
        "dense1": (36992, 512),
        "dense2": (512, 1),
    },
}


def conv(window, channels, filters):
    """(w·h·C + 1)·D."""
    return (window * window * channels + 1) * filters


def dense(features, units):
    return (features + 1) * units


COUNTS = {  # by hand: what is left of the image before the first dense layer is in its first factor
    "digits_cnn": conv(3, 1, 32) + conv(3, 32, 32) + conv(3, 32, 64) + dense(4 * 4 * 64, 128) + dense(128, 10),
    "lenet5": conv(5, 1, 6) + conv(5, 6, 16) + dense(5 * 5 * 16, 120) + dense(120, 84) + dense(84, 10),
    "mnist_cnn": conv(3, 1, 32) + conv(3, 32, 64) + dense(7 * 7 * 64, 128) + dense(128, 10),
    "mnist_baseline": conv(5, 1, 32) + dense(12 * 12 * 32, 128) + dense(128, 10),
    "zero_one": conv(3, 1, 5) + dense(13 * 13 * 5, 100) + dense(100, 2),
    "cifar10_cnn": conv(3, 3, 32) + conv(3, 32, 32) + conv(3, 32, 64) + conv(3, 64, 64) + dense(6 * 6 * 64, 512)
    + dense(512, 10),
    "cats_vs_dogs_cnn": conv(3, 3, 16) + conv(3, 16, 64) + conv(3, 64, 128) + dense(17 * 17 * 128, 512) + dense(512, 1),
}  # fmt: skip
OF_THE_LECTURES = {
    "lenet5": 61_706,
    "mnist_cnn": 421_642,
    "mnist_baseline": 592_074,
    "cifar10_cnn": 1_250_858,
    "cats_vs_dogs_cnn": 19_024_513,
}
INPUTS = {  # input shape, number of classes, loss
    "digits_cnn": ((8, 8, 1), 10, "softmax_cross_entropy"),
    "lenet5": ((28, 28, 1), 10, "softmax_cross_entropy"),
    "mnist_cnn": ((28, 28, 1), 10, "softmax_cross_entropy"),
    "mnist_baseline": ((28, 28, 1), 10, "softmax_cross_entropy"),
    "zero_one": ((28, 28, 1), 2, "sigmoid_binary_cross_entropy"),
    "cifar10_cnn": ((32, 32, 3), 10, "softmax_cross_entropy"),
    "cats_vs_dogs_cnn": ((150, 150, 3), 2, "sigmoid_binary_cross_entropy"),
}
every_model = pytest.mark.parametrize("name", list(INPUTS))


def abstract(model):
    """(params, state) without numbers."""
    return jax.eval_shape(model.init, jax.random.key(0))


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def kinds(name, **options):
    """What the model is made of, in order: the names without their counts."""
    return [child.rstrip("0123456789") for child in models.create(name, **options).layer.children]


def test_the_tables_of_this_file_are_complete():
    assert list(KERNELS) == list(COUNTS) == list(INPUTS)
    assert models.names()[: len(INPUTS)] == list(INPUTS)  # test_models_families.py has the others


@every_model
def test_names_and_shapes_of_parameters_are_pinned(name):
    """Saved models are read by these names."""
    params, state = abstract(models.create(name))
    expected = {layer: {"kernel": shape, "bias": shape[-1:]} for layer, shape in KERNELS[name].items()}
    assert jax.tree.map(lambda leaf: leaf.shape, params) == expected
    assert state == {}


@every_model
def test_parameter_counts_are_those_by_hand(name):
    params, _ = abstract(models.create(name))
    assert size(params) == COUNTS[name]
    assert COUNTS[name] == OF_THE_LECTURES.get(name, COUNTS[name])


def test_the_first_layers_by_hand():
    assert [conv(5, 1, 6), conv(5, 6, 16), dense(400, 120), dense(120, 84), dense(84, 10)] == [
        156, 2_416, 48_120, 10_164, 850,
    ]  # fmt: skip
    assert (COUNTS["digits_cnn"], COUNTS["zero_one"]) == (160_554, 84_852)


@every_model
def test_inputs_classes_and_losses(name):
    model = models.create(name)
    assert (model.name, model.input_shape, model.num_classes, model.loss) == (name, *INPUTS[name])


# ------------------------------------------------------------------------------------------------- layer by layer

CONV, POOL, DENSE = ["conv", "relu"], ["max_pool"], ["dense", "relu"]
LAYERS = {
    "digits_cnn": [*CONV, *CONV, *POOL, *CONV, "dropout", "flatten", *DENSE, "dropout", "dense"],
    "lenet5": [*CONV, *POOL, *CONV, *POOL, "flatten", *DENSE, *DENSE, "dense"],
    "mnist_cnn": [*CONV, *POOL, *CONV, *POOL, "flatten", *DENSE, "dense"],
    "mnist_baseline": [*CONV, *POOL, "dropout", "flatten", *DENSE, "dense"],
    "zero_one": ["conv", *POOL, "flatten", *DENSE, "dense"],
    "cifar10_cnn": [*([*CONV, *CONV, *POOL, "dropout"] * 2), "flatten", *DENSE, "dropout", "dense"],
    "cats_vs_dogs_cnn": [*CONV, *POOL, *CONV, *POOL, *CONV, *POOL, "flatten", *DENSE, "dense"],
}


@every_model
def test_the_layers_are_those_of_the_lectures(name):
    assert kinds(name) == LAYERS[name]


def test_lenet5_classic_has_tanh_and_average_pooling():
    other = {"relu": "tanh", "max_pool": "avg_pool"}
    assert kinds("lenet5", classic=True) == [other.get(kind, kind) for kind in LAYERS["lenet5"]]
    assert abstract(models.create("lenet5", classic=True)) == abstract(models.create("lenet5"))


def test_cifar10_cnn_without_dropout():
    assert kinds("cifar10_cnn", dropout=False) == [kind for kind in LAYERS["cifar10_cnn"] if kind != "dropout"]


@pytest.mark.parametrize("name", [name for name in INPUTS if INPUTS[name][1] == 10])
def test_other_numbers_of_classes(name):
    model = models.create(name, num_classes=7)
    params, _ = abstract(model)
    assert model.num_classes == 7
    assert list(params.values())[-1]["bias"].shape == (7,)


def test_zero_one_with_other_filters():
    params, _ = abstract(models.create("zero_one", filters=8))
    assert size(params) == conv(3, 1, 8) + dense(13 * 13 * 8, 100) + dense(100, 2)


def test_cats_vs_dogs_with_two_logits():
    model = models.create("cats_vs_dogs_cnn", logits=2)
    assert (model.num_classes, model.loss) == (2, "softmax_cross_entropy")
    assert abstract(model)[0]["dense2"]["bias"].shape == (2,)
    with pytest.raises(ValueError, match=r"cats_vs_dogs_cnn: `logits` must be 1 \(sigmoid\) or 2 \(softmax\); got 3"):
        models.create("cats_vs_dogs_cnn", logits=3)


# ------------------------------------------------------------------------------------------------------------- create


def test_a_model_remembers_its_options():
    """A saved model is created again from its name and these."""
    model = models.create("lenet5", classic=True, num_classes=7)
    assert model.options == {"classic": True, "num_classes": 7}
    assert models.create("lenet5").options == {}


@pytest.mark.parametrize("name", models.names())
def test_the_functions_of_the_room_are_the_catalogue(name):
    assert name in models.__all__
    assert catalogue.MODELS[name] is getattr(models, name)


def test_an_unknown_name_lists_the_known_ones():
    known = ", ".join(models.names())
    with pytest.raises(ValueError, match=rf"models.create: unknown model 'transformer'; known are {known}$"):
        models.create("transformer")
    with pytest.raises(ValueError, match=rf"models.published: unknown model 'transformer'; known are {known}$"):
        models.published("transformer")


def test_an_unknown_option_lists_the_known_ones():
    refused = (
        r"models.create: lenet5 has no option width, depth; its options are num_classes, in_channels, input_size, "
        r"include_top, classic$"
    )
    with pytest.raises(TypeError, match=refused):
        models.create("lenet5", width=2, classic=True, depth=3)


def test_a_new_list_of_names_each_time():
    models.names().clear()
    assert models.names()


@pytest.mark.parametrize("shape", [(2, 32, 32, 1), (2, 28, 28, 3), (28, 28, 1)])
def test_images_of_another_size_are_told_what_the_model_takes(shape):
    model = models.create("lenet5")
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    with pytest.raises(ValueError) as error:
        jax.eval_shape(model.apply, params, state, jax.ShapeDtypeStruct(shape, "float32"))
    assert f"lenet5 was made for `x` of shape (N, 28, 28, 1); got {shape}" in error.value.__notes__


def test_the_old_name_of_an_accuracy_works_and_says_the_new_one():
    with pytest.warns(DeprecationWarning, match=r"models\.Published is now jaxcnn\.models\.Accuracy") as warned:
        assert models.Published is models.Accuracy
    assert len(warned) == 1
