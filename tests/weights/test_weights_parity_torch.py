"""Logits equal to PyTorch's, with random weights; torchvision's networks written out in torch_modules.py."""

import jax
import numpy as np
import pytest
from weights_tools import assert_parity, flattening, random_weights, sequential_weights

from jaxcnn import models
from jaxcnn.weights import WeightsError, from_torch, to_torch

torch = pytest.importorskip("torch", reason="the extra `parity` is not installed")
import torch_modules  # noqa: E402

SIZE = {"alexnet": 72, "googlenet": 64, "vgg11": 32, "squeezenet1_1": 40, "mobilenet_v2": 40}  # pixels; else 32


def state_dict(network, gain=1.0):
    """Random weights of a network, which takes them on."""
    rng = np.random.default_rng(0)
    arrays = {
        name: random_weights(name, tuple(value.shape), rng, gain, inputs=slice(1, None))
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    network.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    return network.eval().state_dict()


def images(size, channels=3):
    return np.random.default_rng(1).standard_normal((2, size, size, channels), np.float32)


def torch_outputs(network, x):
    with torch.no_grad():
        found = network(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))
    found = found if isinstance(found, tuple) else (found,)
    return tuple(y.numpy().transpose(0, 2, 3, 1) if y.ndim == 4 else y.numpy() for y in found)


def all_outputs(model):
    """The logits, and those of auxiliary classifiers, as at inference."""

    @jax.jit
    def apply(params, state, x):
        aside = []
        for name, child in model.layer.children.items():
            y, _ = child.apply(params.get(name, {}), state.get(name, {}), x)
            if name in model.layer.aside:
                aside.append(y)
            else:
                x = y
        return x, *aside

    return apply


@pytest.mark.parametrize(
    ("name", "options", "make", "gain"),
    [
        ("alexnet", {"num_classes": 5}, lambda: torch_modules.alexnet(5), 1.0),
        (
            "vgg11",
            {"include_top": False, "batch_norm": True},
            lambda: torch_modules.Features((1, 1, 2, 2, 2), True),
            1.0,
        ),
        ("googlenet", {"num_classes": 5}, lambda: torch_modules.GoogLeNet(5), 1.0),
        ("resnet18", {"num_classes": 5}, lambda: torch_modules.resnet18(5), 0.5),
        ("resnet50", {"num_classes": 5}, lambda: torch_modules.resnet50(5), 0.5),
        ("resnet20", {"num_classes": 5}, lambda: torch_modules.resnet20(5), 0.5),
        ("squeezenet1_1", {"num_classes": 5}, lambda: torch_modules.SqueezeNet(5), 1.0),
        ("mobilenet_v2", {"num_classes": 5}, lambda: torch_modules.MobileNetV2(5), 1.0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_logits_are_pytorchs(name, options, make, gain):
    size = SIZE.get(name, 32)
    network, x = make(), images(size)
    source = state_dict(network, gain)
    model = models.create(name, input_size=size, **options)
    params, state = from_torch(source, model)
    outputs = all_outputs(model)(params, state, x)
    expected = torch_outputs(network, x)
    assert len(outputs) == len(expected)
    for actual, theirs in zip(outputs, expected, strict=True):
        assert_parity(actual, theirs)

    back = {key: torch.from_numpy(value) for key, value in to_torch(params, state, model).items()}
    for key, value in back.items():
        assert torch.equal(value, source[key])
    network.load_state_dict(back)  # strict: no name too many, none missing


def test_a_sequential_with_a_flattening():
    nn = torch.nn
    network = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 8, 2, groups=4), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.BatchNorm1d(96), nn.Linear(96, 6), nn.ReLU(), nn.Linear(6, 3)),
    )
    source = {name: torch.from_numpy(value) for name, value in sequential_weights().items()}
    network.load_state_dict(source)
    x = np.random.default_rng(1).standard_normal((2, 9, 11, 2), np.float32)
    model = flattening()
    params, state = from_torch(source, model)
    assert_parity(model.apply(params, state, x)[0], torch_outputs(network.eval(), x)[0])


# --------------------------------------------------------------------------------------------------------- .pth files

RESNET = models.create("resnet20")


@pytest.fixture(scope="module")
def resnet():
    return state_dict(torch_modules.resnet20(10))


@pytest.mark.parametrize(
    ("suffix", "zipped", "inside"),
    [
        (".pth", True, None),
        (".pt", False, None),  # as PyTorch wrote them before 1.6
        (".th", True, "state_dict"),
        (".bin", True, "model"),
    ],
)
def test_files_of_torch_save(tmp_path, resnet, suffix, zipped, inside):
    content = resnet if inside is None else {inside: resnet, "epoch": 7, "best": 0.5}
    torch.save(content, tmp_path / f"a{suffix}", _use_new_zipfile_serialization=zipped)
    params, _ = from_torch(tmp_path / f"a{suffix}", RESNET)
    kernel = resnet["layer3.2.conv2.weight"].numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(params["stage3"]["block3"]["body"]["conv2"]["kernel"], kernel)


def test_half_precision(resnet):
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        source = {name: value.to(dtype) if value.is_floating_point() else value for name, value in resnet.items()}
        params, _ = from_torch(source, RESNET)
        kernel = params["conv1"]["kernel"]
        expected = source["conv1.weight"].float().numpy().transpose(2, 3, 1, 0)
        assert kernel.dtype == np.float32
        np.testing.assert_array_equal(kernel, expected)


def test_parameters_with_gradients_are_read(resnet):
    network = torch_modules.resnet20(10)
    network.load_state_dict(resnet)
    from_torch(dict(network.named_parameters()) | dict(network.named_buffers()), RESNET)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_named(tmp_path, resnet, zipped):
    path = tmp_path / "a.pth"
    torch.save(resnet, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for kept in (0, 1, 100, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:kept])
        with pytest.raises(WeightsError, match=rf"a\.pth: expected PyTorch weights, found {kept:,} bytes that are dam"):
            from_torch(path, RESNET)


class Tripwire:
    """Unpickling it leaves a file."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (self.folder / "ran").touch, ()


def test_a_pickle_that_is_not_weights_is_refused_and_not_run(tmp_path, resnet):
    path = tmp_path / "a.pth"
    for content in (Tripwire(tmp_path), resnet | {"extra": Tripwire(tmp_path)}, torch_modules.resnet20(10)):
        torch.save(content, path)
        with pytest.raises(
            WeightsError, match=r"a\.pth: expected PyTorch weights, .* hold more than tensors; torch\.load"
        ):
            from_torch(path, RESNET)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2, 3], "a.pth: expected a state dict, found list"),
        (7, "a.pth: expected a state dict, found int"),
        ({"lr": 0.1, "name": "adam"}, "a.pth: expected arrays by name, found lr: float"),
    ],
)
def test_other_pickles_are_named(tmp_path, content, words):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=words):
        from_torch(tmp_path / "a.pth", RESNET)
