"""Every picture of a model for signals or volumes: drawn, or refused in one sentence that says what is drawn."""

import jax
import numpy as np
import pytest

from jaxcnn import inspect, viz
from jaxcnn.layers import Conv, Dense, Flatten, Relu, serial
from jaxcnn.models import Model

SHAPES = {1: (20, 2), 3: (5, 6, 7, 1)}
KEY = jax.random.key(0)


@pytest.fixture(scope="module", params=SHAPES)
def net(request):
    rank = request.param
    body = serial(Conv(3, (3,) * rank), Relu(), Flatten(), Dense(4))
    model = Model(f"net{rank}", body, SHAPES[rank], 4)
    image = np.random.default_rng(0).uniform(size=SHAPES[rank]).astype(np.float32)
    return rank, model, *model.init(KEY), image


ARRAYS = {
    "class_scores": (inspect.class_scores, {}),
    "saliency_map": (inspect.saliency_map, {}),
    "smooth_grad_map": (inspect.smooth_grad_map, {"key": KEY, "samples": 2}),
    "grad_cam_map": (inspect.grad_cam_map, {"layer": "relu1"}),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_numbers_are_had_of_any_rank(net, name):
    _rank, *arguments, image = net
    function, options = ARRAYS[name]
    shapes = {"class_scores": (4,), "grad_cam_map": tuple(n - 2 for n in image.shape[:-1])}
    values = function(*arguments, image, **options)
    assert values.shape == shapes.get(name, image.shape[:-1])
    assert np.isfinite(values).all()


def test_saliency_of_a_linear_model_is_its_kernel():
    model = Model("line", serial(Flatten(), Dense(2)), (6, 2), 2)
    params, state = model.init(KEY)
    expected = np.abs(np.asarray(params["dense1"]["kernel"])[:, 1].reshape(6, 2)).max(axis=-1)
    np.testing.assert_allclose(
        inspect.saliency_map(model, params, state, np.ones((6, 2)), target=1), expected, rtol=1e-6
    )


PICTURES = {
    "saliency": {},
    "smooth_grad": {"key": KEY},
    "grad_cam": {"layer": "relu1"},
    "feature_maps": {},
    "filter_path": {},
}


@pytest.mark.parametrize("name", PICTURES)
def test_what_draws_images_only_says_so(net, name):
    rank, model, params, state, image = net
    if (name, rank) == ("feature_maps", 1):
        return
    with pytest.raises(
        ValueError, match=rf"viz.{name}: draws .*2-D images; the input of net{rank} is {rank}-D, \("
    ) as e:
        getattr(viz, name)(model, params, state, image, **PICTURES[name])
    assert "\n" not in str(e.value)


def test_others_that_draw_images_only(net):
    rank, model, params, state, image = net
    sentence = rf"draws 2-D images; the input of net{rank} is {rank}-D"
    for call in (
        lambda: inspect.maximal_input(model, params, state, layer="conv1", channel=0, key=KEY),
        lambda: viz.activation_maximization(model, params, state, layer="conv1", key=KEY),
        lambda: viz.receptive_field(model, "conv1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
    with pytest.raises(ValueError, match=rf"viz.filters: `kernel` must be 2-D, .*; got a {rank}-D one"):
        viz.filters(params["conv1"]["kernel"])
    with pytest.raises(ValueError, match=r"viz.samples: `images` must be 2-D, \(N, H, W, C\); got"):
        viz.samples(image[None], np.zeros(1, int), np.ones((1, 4)), list("abcd"))


def test_what_is_of_any_rank_is_drawn(net):
    rank, model, params, state, _image = net
    assert viz.architecture(model).axes
    assert inspect.profile(model, params, state, batch_size=1, rounds=1).rows
    assert inspect.field_of_view(model, "conv1").size == (3,) * rank
    assert len(inspect.pixels_seen(model, "conv1")) == rank


def test_feature_maps_of_a_signal_are_lines_on_one_scale():
    model = Model("signal", serial(Conv(3, (3,)), Relu()), (20, 1), 0)
    params, state = model.init(KEY)
    x = np.random.default_rng(1).normal(size=(20, 1)).astype(np.float32)
    figure = viz.feature_maps(model, params, state, x, layers=["conv1"])
    expected = np.asarray(model.apply(params, state, x[None])[0][0])
    first, *cells = [ax for ax in figure.axes if ax.axison]
    np.testing.assert_allclose(first.lines[-1].get_ydata(), x[:, 0])
    for channel, ax in enumerate(cells):
        np.testing.assert_allclose(np.maximum(ax.lines[-1].get_ydata(), 0), expected[:, channel], atol=1e-6)
    assert len({ax.get_ylim() for ax in cells}) == 1


def test_a_signal_for_an_animation_is_told_to_be_a_row():
    with pytest.raises(ValueError, match=r"`x` must be \(H, W\).*x\[None\]"):
        viz.slide([1, 2, 3], [[1]])
