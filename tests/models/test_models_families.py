"""The deep networks: published counts, names of parameters, structure, options and what they refuse."""

import functools

import jax
import numpy as np
import pytest

from jaxcnn import models, summary
from jaxcnn.layers import branches, output_shape, serial
from jaxcnn.models import lectures, naive_inception, reduced_inception
from jaxcnn.models.inception import conv_relu

PARAMETERS = {  # as published, or as torchvision reports; of GoogLeNet without its auxiliary classifiers
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "alexnet": 61_100_840,
    "squeezenet1_1": 1_235_496,
    "googlenet": 6_624_904,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "mobilenet_v2": 3_504_872,
}
GIGA = {  # multiply-adds, as torchvision reports them (its "GFLOPS"); to the digits given
    "alexnet": 0.71,
    "squeezenet1_1": 0.35,
    "googlenet": 1.50,
    "vgg11": 7.61,
    "vgg13": 11.31,
    "vgg16": 15.47,
    "vgg19": 19.63,
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "resnet101": 7.80,
    "resnet152": 11.51,
    "mobilenet_v2": 0.30,
}
OTHERS = [  # name, options, parameters: torchvision's, keras.applications' (without Keras' biases before batch norm)
    ("vgg16", {"batch_norm": True}, 138_365_992),
    ("vgg19", {"batch_norm": True}, 143_678_248),
    ("googlenet", {"auxiliary": True}, 13_004_888),
    ("resnet50", {"form": "keras"}, 25_557_032),
    ("mobilenet_v2", {"form": "keras"}, 3_504_872),
    ("mobilenet_v2", {"width": 0.35, "form": "keras"}, 1_691_208 - 14_080),  # Keras counts statistics
    ("mobilenet_v2", {"width": 1.4, "form": "keras"}, 6_156_712 - 47_936),
]
LEAST = {"alexnet": 63, "squeezenet1_1": 17, "googlenet": 15, "vgg11": 32}
LEAST_OF_LECTURES = {
    "digits_cnn": 2,
    "lenet5": 12,
    "mnist_cnn": 4,
    "mnist_baseline": 6,
    "zero_one": 4,
    "cifar10_cnn": 10,
    "cats_vs_dogs_cnn": 22,
}
ONE_OF_EACH = ["resnet20", "alexnet", "squeezenet1_1", "googlenet", "vgg11", "resnet18", "mobilenet_v2"]
every_model = pytest.mark.parametrize("name", models.names())
every_family = pytest.mark.parametrize("name", ONE_OF_EACH)
lectures_and_families = pytest.mark.parametrize("name", [*LEAST_OF_LECTURES, *ONE_OF_EACH])


@functools.cache
def _abstract(name, options):
    model = models.create(name, **dict(options))
    return model, *jax.eval_shape(model.init, jax.random.key(0))


def abstract(name, **options):
    """(model, params, state) without numbers."""
    return _abstract(name, tuple(options.items()))


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes(tree):
    """{path: shape}"""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(entry.key for entry in path): leaf.shape for path, leaf in paths}


def under(tree, *path):
    """Shapes of the parameters of the layer there."""
    for name in path:
        tree = tree[name]
    return shapes(tree)


@functools.cache
def table(name, form=None):
    return summary(models.create(name, **({"form": form} if form else {})))


def rows(name, form=None):
    return {row.path: row for row in table(name, form).rows}


# ------------------------------------------------------------------------------------------------------------- counts


def test_the_tables_of_this_file_are_complete():
    assert set(models.names()) == PARAMETERS.keys() | LEAST_OF_LECTURES.keys()
    assert all(hasattr(lectures, name) for name in LEAST_OF_LECTURES)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_published(name):
    _, params, _ = abstract(name, **({"auxiliary": False} if name == "googlenet" else {}))
    assert size(params) == PARAMETERS[name]


@pytest.mark.parametrize(("name", "options", "parameters"), OTHERS)
def test_parameters_of_other_forms_are_those_published(name, options, parameters):
    assert size(abstract(name, **options)[1]) == parameters


@pytest.mark.parametrize(
    "name", ["alexnet", "squeezenet1_1", "googlenet", "vgg16", "resnet18", "resnet50", "mobilenet_v2"]
)
def test_multiply_adds_are_those_published(name):
    at_inference = [row for row in table(name).rows if not row.training_only]
    assert round(sum(row.multiply_adds for row in at_inference) / 1e9, 2) == GIGA[name]
    assert sum(row.parameters for row in at_inference) == PARAMETERS[name]
    assert at_inference[-1].output_shape == (1000,)


@every_model
def test_published_accuracy_comes_with_its_data_and_source(name):
    known = models.published(name)
    if name in lectures.__dict__:
        assert known is None
        return
    assert 50 < known.top1 < 100 and known.source
    assert known.dataset == ("CIFAR-10" if models.create(name).num_classes == 10 else "ImageNet-1k")


# -------------------------------------------------------------------------------------------------- names of parameters

CONV_NORM = ["batch_norm1/bias", "batch_norm1/scale", "conv1/kernel"]


def test_names_of_alexnet_and_vgg():
    """Saved models are read by these names, and other libraries' weights are brought to them."""
    _, params, state = abstract("alexnet")
    assert sorted(params) == ["conv1", "conv2", "conv3", "conv4", "conv5", "top"] and state == {}
    assert under(params, "top") == {
        "dense1/bias": (4096,), "dense1/kernel": (6 * 6 * 256, 4096),
        "dense2/bias": (4096,), "dense2/kernel": (4096, 4096),
        "dense3/bias": (1000,), "dense3/kernel": (4096, 1000),
    }  # fmt: skip
    _, params, _ = abstract("vgg16")
    assert [(name, list(part)) for name, part in params.items()] == [
        ("stage1", ["conv1", "conv2"]),
        ("stage2", ["conv1", "conv2"]),
        *((f"stage{i}", ["conv1", "conv2", "conv3"]) for i in (3, 4, 5)),
        ("top", ["dense1", "dense2", "dense3"]),
    ]
    assert under(params, "stage5", "conv3") == {"bias": (512,), "kernel": (3, 3, 512, 512)}
    assert params["top"]["dense1"]["kernel"].shape == (7 * 7 * 512, 4096)
    _, params, state = abstract("vgg16", batch_norm=True)
    assert sorted(params["stage2"]) == ["batch_norm1", "batch_norm2", "conv1", "conv2"]
    assert under(state, "stage2") == {f"batch_norm{i}/{word}": (128,) for i in (1, 2) for word in ("mean", "var")}


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("resnet18", (2, 2, 2, 2)), ("resnet50", (3, 4, 6, 3)), ("resnet152", (3, 8, 36, 3)), ("resnet20", (3, 3, 3)),
     ("resnet110", (18, 18, 18))],
)  # fmt: skip
def test_names_of_residual_networks(name, blocks):
    _, params, state = abstract(name)
    stages = [f"stage{i}" for i in range(1, len(blocks) + 1)]
    assert params.keys() == {"conv1", "batch_norm1", *stages, "top"} and state.keys() == {"batch_norm1", *stages}
    assert [set(params[s]) for s in stages] == [{f"block{i}" for i in range(1, n + 1)} for n in blocks]
    convolutions = 3 if name in ("resnet50", "resnet152") else 2
    body = {f"{kind}{i}" for i in range(1, convolutions + 1) for kind in ("conv", "batch_norm")}
    parts = [part for stage in stages for part in params[stage].values()]
    assert all(part["body"].keys() == body for part in parts)
    shortcuts = [part["shortcut"] for part in parts if "shortcut" in part]
    assert len(shortcuts) == {"resnet18": 3, "resnet50": 4, "resnet152": 4}.get(name, 0)
    assert all(sorted(shapes(shortcut)) == CONV_NORM for shortcut in shortcuts)
    assert not [path for path in shapes(params) if path.endswith("bias") and "/conv" in path]
    assert sorted(under(params, "top")) == ["dense1/bias", "dense1/kernel"]


def test_shapes_of_residual_blocks():
    _, params, _ = abstract("resnet50")
    block = under(params, "stage2", "block1")
    assert {path: shape for path, shape in block.items() if path.endswith("kernel")} == {
        "body/conv1/kernel": (1, 1, 256, 128),
        "body/conv2/kernel": (3, 3, 128, 128),
        "body/conv3/kernel": (1, 1, 128, 512),
        "shortcut/conv1/kernel": (1, 1, 256, 512),
    }
    _, params, _ = abstract("resnet20")
    assert {path: shape for path, shape in under(params, "stage3", "block1").items() if "kernel" in path} == {
        "body/conv1/kernel": (3, 3, 32, 64),
        "body/conv2/kernel": (3, 3, 64, 64),
    }


def test_names_of_googlenet():
    model, params, state = abstract("googlenet")
    modules = [f"inception{m}" for m in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
    stem = [name for i in (1, 2, 3) for name in (f"conv{i}", f"batch_norm{i}")]
    auxiliaries = ["auxiliary1", "auxiliary2"]
    assert params.keys() == {*stem, *modules, *auxiliaries, "top"}
    assert state.keys() == params.keys() - {"conv1", "conv2", "conv3", "top"}
    for module in modules:
        assert {branch: sorted(part) for branch, part in params[module].items()} == {
            "one": ["batch_norm1", "conv1"],
            "three": ["batch_norm1", "batch_norm2", "conv1", "conv2"],
            "five": ["batch_norm1", "batch_norm2", "conv1", "conv2"],
            "pool": ["batch_norm1", "conv1"],
        }
    kernels = {path: shape for path, shape in under(params, "inception4a").items() if path.endswith("kernel")}
    assert kernels == {
        "one/conv1/kernel": (1, 1, 480, 192),
        "three/conv1/kernel": (1, 1, 480, 96),
        "three/conv2/kernel": (3, 3, 96, 208),
        "five/conv1/kernel": (1, 1, 480, 16),
        "five/conv2/kernel": (3, 3, 16, 48),
        "pool/conv1/kernel": (1, 1, 480, 64),
    }
    assert all(sorted(params[name]) == ["batch_norm1", "conv1", "dense1", "dense2"] for name in auxiliaries)
    assert [params[name]["conv1"]["kernel"].shape for name in auxiliaries] == [(1, 1, 512, 128), (1, 1, 528, 128)]
    order = list(model.layer.children)
    assert (
        order[order.index("auxiliary1") - 1] == "inception4a" and order[order.index("auxiliary2") - 1] == "inception4d"
    )
    _, without, _ = abstract("googlenet", auxiliary=False)
    assert shapes(without) == {path: s for path, s in shapes(params).items() if not path.startswith("auxiliary")}


def test_names_of_squeezenet_and_mobilenet():
    _, params, state = abstract("squeezenet1_1")
    assert params.keys() == {"conv1", *(f"fire{i}" for i in range(2, 10)), "top"} and state == {}
    assert under(params, "fire4") == {
        "squeeze/bias": (32,), "squeeze/kernel": (1, 1, 128, 32),
        "expand/one/bias": (128,), "expand/one/kernel": (1, 1, 32, 128),
        "expand/three/bias": (128,), "expand/three/kernel": (3, 3, 32, 128),
    }  # fmt: skip
    assert under(params, "top") == {"conv1/bias": (1000,), "conv1/kernel": (1, 1, 512, 1000)}

    _, params, state = abstract("mobilenet_v2")
    assert params.keys() == {"stem", *(f"stage{i}" for i in range(1, 8)), "last", "top"}
    assert [len(params[f"stage{i}"]) for i in range(1, 8)] == [1, 2, 3, 4, 3, 3, 1]
    assert sorted(params["stage1"]["block1"]["body"]) == ["depthwise", "project"]
    assert {path: shape for path, shape in under(params, "stage2", "block2", "body").items() if "kernel" in path} == {
        "expand/conv1/kernel": (1, 1, 24, 144),
        "depthwise/depthwise_conv1/kernel": (3, 3, 1, 144),
        "project/conv1/kernel": (1, 1, 144, 24),
    }
    assert sorted(under(params, "stem")) == CONV_NORM == sorted(under(params, "last"))
    assert state.keys() == params.keys() - {"top"}


# ---------------------------------------------------------------------------------------------------------- structure


def test_sizes_on_the_way():
    """Of the maps after each stage, as in the papers' tables."""
    ends = {
        "alexnet": {"max_pool1": (27, 27, 64), "max_pool2": (13, 13, 192), "max_pool3": (6, 6, 256)},
        "googlenet": {"max_pool1": (56, 56, 64), "max_pool2": (28, 28, 192), "max_pool3": (14, 14, 480)},
        "squeezenet1_1": {"max_pool1": (55, 55, 64), "max_pool2": (27, 27, 128), "max_pool3": (13, 13, 256)},
        "resnet50": {"max_pool1": (56, 56, 64), "stage4/block3/body/conv3": (7, 7, 2048)},
        "resnet20": {"stage1/block3/body/conv2": (32, 32, 16), "stage3/block3/body/conv2": (8, 8, 64)},
        "mobilenet_v2": {"stem/conv1": (112, 112, 32), "last/conv1": (7, 7, 1280)},
    }
    for name, expected in ends.items():
        found = rows(name)
        assert {path: found[path].output_shape for path in expected} == expected


def test_where_a_bottleneck_strides():
    torch, keras = rows("resnet50"), rows("resnet50", "keras")
    first, second = "stage2/block1/body/conv1", "stage2/block1/body/conv2"
    assert (torch[first].output_shape[0], torch[second].output_shape[0]) == (56, 28)
    assert (keras[first].output_shape[0], keras[second].output_shape[0]) == (28, 28)
    assert torch.keys() == keras.keys()
    assert shapes(abstract("resnet50")[1]) == shapes(abstract("resnet50", form="keras")[1])


def test_the_shortcut_without_parameters_takes_every_other_pixel_and_pads_the_channels():
    block = models.create("resnet20").layer.children["stage2"].children["block1"]
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 16)).astype(np.float32)
    expected = np.zeros((2, 3, 3, 32), np.float32)
    expected[..., 8:24] = x[:, [0, 2, 4]][:, :, [0, 2, 4]]
    np.testing.assert_array_equal(block.children["shortcut"].apply({}, {}, x)[0], expected)


def test_auxiliary_classifiers_are_said_to_be_of_training():
    marked = {row.path.split("/")[0] for row in table("googlenet").rows if row.training_only}
    assert marked == {"auxiliary1", "auxiliary2"}
    assert sum("in training)" in line for line in str(table("googlenet")).splitlines()) == 2 * 9
    assert models.create("googlenet").auxiliary_weight == 0.3  # of each, as in the lecture


@pytest.mark.parametrize(
    ("name", "blocks"), [("resnet18", 8), ("resnet20", 9), ("vgg11", 5), ("googlenet", 9), ("mobilenet_v2", 17)]
)
def test_remat_checkpoints_every_block_and_changes_no_parameter(name, blocks):
    model, params, state = abstract(name, remat=True)
    plain, *expected = abstract(name)
    assert shapes(params) == shapes(expected[0]) and shapes(state) == shapes(expected[1])
    x = jax.ShapeDtypeStruct((1, *model.input_shape), "float32")
    programs = [jax.make_jaxpr(lambda *a, m=m: m.apply(*a)[0])(params, state, x) for m in (model, plain)]
    names = [[eqn.primitive.name for eqn in program.eqns] for program in programs]
    assert [sum(name in ("remat", "remat2", "checkpoint") for name in each) for each in names] == [blocks, 0]


# -------------------------------------------------------------------------------------------------- inception modules


def count(layer, input_shape):
    params, _ = jax.eval_shape(lambda: layer.init(jax.random.key(0), input_shape))
    return size(params)


def test_the_lectures_counts_of_a_chain_and_of_an_inception_module():
    """32 kernels of each size on one channel: (1·1·1 + 1)·32 + (3·3·32 + 1)·32 + … against (k·k·1 + 1)·32 each."""
    chain = serial(*conv_relu(32, 1), *conv_relu(32, 3), *conv_relu(32, 5))
    assert count(chain, (28, 28, 1)) == 34_944
    module = naive_inception(32)
    params, _ = jax.eval_shape(lambda: module.init(jax.random.key(0), (28, 28, 1)))
    assert [size(params[name]) for name in ("one", "three", "five")] == [64, 320, 832]
    assert count(module, (28, 28, 1)) == 1_216


def test_the_lectures_counts_with_and_without_reduction():
    assert count(naive_inception(8), (28, 28, 256)) == 2_056 + 18_440 + 51_208 == 71_704
    params, _ = jax.eval_shape(lambda: reduced_inception(8).init(jax.random.key(0), (28, 28, 256)))
    parts = {"one": 2_056, "three": 2_056 + 584, "five": 2_056 + 1_608, "pool": 2_056}
    assert {name: size(part) for name, part in params.items()} == parts and sum(parts.values()) == 10_416


def test_channels_of_inception_modules():
    """The naive one passes all its input's channels on."""
    for module, channels in [(naive_inception((1, 2, 3)), 1 + 2 + 3 + 5), (reduced_inception((1, 2, 3, 4, 5, 6)), 15)]:
        params, state = jax.eval_shape(lambda module=module: module.init(jax.random.key(0), (9, 8, 5)))
        assert output_shape(module, params, state, (9, 8, 5)) == (9, 8, channels)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: naive_inception((1, 2)),
            ValueError,
            r"naive_inception: `filters` must be an int or 3 of them; got \(1, 2\)",
        ),
        (lambda: reduced_inception((1, 2, 3)), ValueError, "reduced_inception: `filters` must be an int or 6 of them"),
        (lambda: naive_inception(0), ValueError, "naive_inception: `filters` must be at least 1; got 0"),
        (lambda: naive_inception("8"), TypeError, "naive_inception: `filters` must be an int; got '8'"),
    ],
)
def test_wrong_filters_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_branches_of_the_naive_module_see_the_same_input():
    assert naive_inception(1).kind == branches(serial()).kind == reduced_inception(1).kind


# ------------------------------------------------------------------------------------------------------------ options


@every_family
def test_other_numbers_of_classes(name):
    model, params, _ = abstract(name, num_classes=7)
    assert model.num_classes == 7
    classifier = params["top"][max(params["top"])]
    assert classifier["bias"].shape == (7,) and classifier["kernel"].shape[-1] == 7
    _, usual, _ = abstract(name)
    changed = {path for path, shape in shapes(params).items() if shapes(usual)[path] != shape}
    heads = {path.split("/")[0] for path in changed}
    assert heads == ({"top", "auxiliary1", "auxiliary2"} if name == "googlenet" else {"top"})


@lectures_and_families
def test_other_channels_change_the_first_kernel_only(name):
    usual, params, _ = abstract(name)
    model, other, _ = abstract(name, in_channels=5)
    assert model.input_shape == (*usual.input_shape[:2], 5)
    before, after = shapes(params), shapes(other)
    changed = [path for path in before if before[path] != after[path]]
    assert len(changed) == 1 and after[changed[0]] == (*before[changed[0]][:2], 5, before[changed[0]][3])


@lectures_and_families
def test_without_its_top_a_model_gives_a_feature_map(name):
    _, params, _ = abstract(name)
    model, part, state = abstract(name, include_top=False)
    assert model.num_classes == 0 and model.options == {"include_top": False}
    assert shapes(part).items() <= shapes(params).items()
    missing = {path.split("/")[0].rstrip("0123456789") for path in shapes(params).keys() - shapes(part).keys()}
    assert missing == (
        {"dense"} if hasattr(lectures, name) else {"top", "auxiliary"} if name == "googlenet" else {"top"}
    )
    x = jax.ShapeDtypeStruct((2, *model.input_shape), "float32")
    y, _ = jax.eval_shape(lambda *a: model.apply(*a, train=True, key=jax.random.key(0)), part, state, x)
    assert len(y.shape) == 4 and y.shape[0] == 2


@lectures_and_families
def test_the_least_input_size_is_the_least_that_works(name):
    least = LEAST.get(name, LEAST_OF_LECTURES.get(name, 1))
    model, params, state = abstract(name, input_size=(least, least + 3))
    assert model.input_shape[:2] == (least, least + 3)
    assert len(output_shape(model.layer, params, state, model.input_shape)) == 1
    for wrong in (least - 1, (least + 5, least - 1)):
        with pytest.raises(ValueError, match=rf"^{name}: `input_size` must be at least {least} × {least}; got"):
            models.create(name, input_size=wrong)
    if least > 1:
        with pytest.raises(ValueError, match=r"must fit into the padded input|has no positions|none empty"):
            jax.eval_shape(lambda: model.layer.init(jax.random.key(0), (least - 1, 99, model.input_shape[2])))


@pytest.mark.parametrize("name", ["lenet5", *ONE_OF_EACH])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_classes": 0}, ValueError, "`num_classes` must be at least 1; got 0"),
        ({"num_classes": 2.5}, TypeError, "`num_classes` must be an int; got 2.5"),
        ({"in_channels": -3}, ValueError, "`in_channels` must be at least 1; got -3"),
        ({"in_channels": "rgb"}, TypeError, "`in_channels` must be an int; got 'rgb'"),
        ({"input_size": "large"}, TypeError, "`input_size` must be an int or two; got 'large'"),
        ({"input_size": (224, 224, 3)}, ValueError, r"`input_size` must be an int or \(height, width\); got"),
        ({"input_size": (224,)}, ValueError, r"`input_size` must be an int or \(height, width\); got"),
        ({"input_size": ()}, ValueError, r"`input_size` must be an int or \(height, width\); got \(\)"),
        ({"input_size": True}, TypeError, "`input_size` must be an int or two; got True"),
    ],
)
def test_wrong_options_are_refused_with_the_models_name(name, options, error, message):
    with pytest.raises(error, match=rf"^{name}: {message}"):
        models.create(name, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: models.create("resnet50", form="flax"),
            "resnet50: `form` must be one of 'torch', 'keras'; got 'flax'",
        ),
        (lambda: models.create("mobilenet_v2", form=1), "mobilenet_v2: `form` must be one of 'torch', 'keras'; got 1"),
        (lambda: models.create("mobilenet_v2", width=0), "mobilenet_v2: `width` must be a positive number; got 0"),
        (lambda: models.create("mobilenet_v2", width="1"), "mobilenet_v2: `width` must be a positive number; got '1'"),
        (lambda: models.vgg(12), "vgg: `depth` must be one of 11, 13, 16, 19; got 12"),
        (lambda: models.resnet(20), "resnet: `depth` must be one of 18, 34, 50, 101, 152; got 20"),
        (lambda: models.cifar_resnet(18), "cifar_resnet: `depth` must be one of 20, 32, 44, 56, 110; got 18"),
    ],
)
def test_wrong_forms_are_refused_with_the_known_ones(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()


def test_a_depth_of_the_catalogue_is_no_option():
    with pytest.raises(
        TypeError, match=r"models\.create: resnet18 has no option depth; its options are num_classes, in_c"
    ):
        models.create("resnet18", depth=34)
