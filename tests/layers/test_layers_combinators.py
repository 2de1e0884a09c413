"""Putting layers together: names, keys, order, dropout, and errors that say where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import assert_same

from jaxcnn.layers import (
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    DepthwiseConv,
    Dropout,
    DropPath,
    Flatten,
    MaxPool,
    Relu,
    SeparableConv,
    Tanh,
    branches,
    residual,
    serial,
    stateless,
    with_auxiliaries,
)

KEY = jax.random.key(0, impl="rbg")  # XLA's own generator, whose programs compile in a third of the time
double, add_one = stateless("double", lambda x: 2 * x), stateless("add_one", lambda x: x + 1)


def value(layer, x, **options):
    params, state = layer.init(KEY, x.shape[1:])
    return layer.apply(params, state, x, **options)[0]


# ------------------------------------------------------------------------------------------------------------- serial


def test_layers_are_named_by_kind_and_count():
    net = serial(Conv(2, 3), Relu(), Conv(2, 1), MaxPool(2), Relu(), Flatten(), Dense(3), head=Dense(2))
    assert list(net.children) == ["conv1", "relu1", "conv2", "max_pool1", "relu2", "flatten1", "dense1", "head"]
    params, state = net.init(KEY, (6, 6, 1))
    assert list(params) == ["conv1", "conv2", "dense1", "head"]  # what has no parameters has no entry
    assert state == {}


def test_serial_applies_its_layers_in_order():
    x = jnp.ones((1, 2))
    assert value(serial(double, add_one), x).tolist() == [[3, 3]]
    assert value(serial(add_one, last=double), x).tolist() == [[4, 4]]
    assert value(serial(), x).tolist() == [[1, 1]]


def test_serial_in_serial():
    inner = serial(Conv(3, 3), BatchNorm())
    params, state = serial(inner, Flatten(), serial(Dense(4), Relu()), top=serial(Dense(2))).init(KEY, (5, 5, 1))
    assert jax.tree.map(jnp.shape, params) == {
        "serial1": {
            "conv1": {"kernel": (3, 3, 1, 3), "bias": (3,)},
            "batch_norm1": {"scale": (3,), "bias": (3,)},
        },
        "serial2": {"dense1": {"kernel": (27, 4), "bias": (4,)}},
        "top": {"dense1": {"kernel": (4, 2), "bias": (2,)}},
    }
    assert jax.tree.map(jnp.shape, state) == {"serial1": {"batch_norm1": {"mean": (3,), "var": (3,)}}}


def test_the_state_of_inner_layers_is_theirs():
    net = serial(double, BatchNorm(momentum=0), inner=serial(add_one, BatchNorm(momentum=0)))
    x = jnp.array([[1.0], [3.0]])
    params, state = net.init(KEY, (1,))
    y, state = net.apply(params, state, x, train=True)
    assert state["batch_norm1"]["mean"].tolist() == [4]  # of 2 and 6
    assert state["inner"]["batch_norm1"]["mean"].tolist() == [1]  # of −1 and 1, plus 1
    assert_same(y[:, 0], np.array([-1.0, 1.0]), 1e-4)  # eps


def test_equal_layers_under_other_names_have_other_values():
    params, _ = serial(Dense(3), Dense(3), Dense(3)).init(KEY, (3,))
    kernels = [params[f"dense{i}"]["kernel"] for i in (1, 2, 3)]
    assert not any(np.array_equal(a, b) for a, b in [kernels[:2], kernels[1:], kernels[::2]])


def test_equal_dropouts_under_other_names_have_other_masks():
    net = branches(Dropout(0.5), Dropout(0.5))
    y = value(net, jnp.ones((1, 100)), train=True, key=KEY)
    assert not np.array_equal(y[:, :100], y[:, 100:])


def test_a_layer_in_front_does_not_change_the_dropout_behind():
    x = jnp.ones((1, 100))
    alone = value(serial(Dropout(0.5)), x, train=True, key=KEY)
    np.testing.assert_array_equal(value(serial(Relu(), Dropout(0.5)), x, train=True, key=KEY), alone)


# ------------------------------------------------------------------------------------------------- residual, branches


def test_residual_adds_its_input_or_its_shortcut():
    x = jnp.array([[1.0, 5.0]])
    assert value(residual(double), x).tolist() == [[3, 15]]
    assert value(residual(double, shortcut=add_one), x).tolist() == [[4, 16]]


def test_residual_names_its_parts():
    layer = residual(serial(Conv(4, 3, stride=2, padding=1), BatchNorm()), Conv(4, 1, stride=2))
    params, state = layer.init(KEY, (6, 6, 2))
    assert jax.tree.map(jnp.shape, params) == {
        "body": {
            "conv1": {"kernel": (3, 3, 2, 4), "bias": (4,)},
            "batch_norm1": {"scale": (4,), "bias": (4,)},
        },
        "shortcut": {"kernel": (1, 1, 2, 4), "bias": (4,)},
    }
    assert list(state) == ["body"]


def test_branches_stand_side_by_side_in_the_channels():
    x = jnp.array([[[1.0, 5.0]]])
    assert value(branches(double, same=add_one), x).tolist() == [[[2, 10, 2, 6]]]
    params, _ = branches(Conv(3, 1), Conv(2, 3, padding="SAME"), wide=Conv(1, 1)).init(KEY, (4, 4, 2))
    assert list(params) == ["conv1", "conv2", "wide"]


def test_an_activation_acts_on_the_sum():
    x = jnp.array([[1.0, -5.0]])
    assert value(residual(double, activation=jax.nn.relu), x).tolist() == [[3, 0]]
    assert value(residual(double, add_one, jax.nn.relu), x).tolist() == [[4, 0]]


# -------------------------------------------------------------------------------------------------------- auxiliaries


def test_auxiliaries_take_the_value_at_their_place_in_training_only():
    net = with_auxiliaries(serial(double, add_one, last=double), first=("double1", add_one), end=("last", double))
    x = jnp.array([[1.0, 5.0]])
    y, first, end = value(net, x, train=True)
    assert (y.tolist(), first.tolist(), end.tolist()) == ([[6, 22]], [[3, 11]], [[12, 44]])
    assert value(net, x).tolist() == [[6, 22]]
    assert list(net.children) == ["double1", "first", "add_one1", "last", "end"]


def test_auxiliaries_stand_beside_the_layers_of_the_body():
    body = serial(Dense(4), Dense(3))
    net = with_auxiliaries(body, early=("dense1", serial(BatchNorm(), Dense(2))))
    params, state = net.init(KEY, (5,))
    assert jax.tree.map(jnp.shape, params["early"]) == {
        "batch_norm1": {"scale": (4,), "bias": (4,)},
        "dense1": {"kernel": (4, 2), "bias": (2,)},
    }
    alone, _ = body.init(KEY, (5,))
    jax.tree.map(np.testing.assert_array_equal, {name: params[name] for name in alone}, alone)
    x = jnp.arange(10.0).reshape(2, 5)
    _, after = net.apply(params, state, x, train=True)
    assert np.any(after["early"]["batch_norm1"]["mean"] != state["early"]["batch_norm1"]["mean"])
    y, kept = net.apply(params, state, x)
    assert kept["early"]["batch_norm1"] is state["early"]["batch_norm1"]
    np.testing.assert_array_equal(y, body.apply(alone, {}, x)[0])
    assert "early" not in str(jax.make_jaxpr(lambda x: net.apply(params, state, x)[0])(x))


def test_the_loss_of_an_auxiliary_reaches_what_stands_before_it_alone():
    net = with_auxiliaries(serial(Dense(4), Dense(3)), early=("dense1", Dense(2)))
    params, state = net.init(KEY, (5,))
    gradient = jax.grad(lambda p: net.apply(p, state, jnp.ones((2, 5)), train=True)[0][1].sum())(params)
    reached = {name: bool(np.any(p["kernel"])) for name, p in gradient.items()}
    assert reached == {"dense1": True, "early": True, "dense2": False}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: with_auxiliaries(Dense(3)), TypeError, "with_auxiliaries: `body` must be a Layer made by serial; got"),
        (
            lambda: with_auxiliaries(branches(double)),
            TypeError,
            "with_auxiliaries: `body` must be a Layer made by serial",
        ),
        (
            lambda: with_auxiliaries(serial(Dense(3)), early=("dense2", Dense(2))),
            ValueError,
            "`early` must stand after a layer of the body .*; got 'dense2', and the body has dense1",
        ),
        (
            lambda: with_auxiliaries(serial(Dense(3)), dense1=("dense1", Dense(2))),
            ValueError,
            "with_auxiliaries: `dense1` must stand after a layer of the body under a name of its own",
        ),
    ],
)
def test_auxiliaries_without_a_place_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ------------------------------------------------------------------------------------------------------------ dropout


def test_drop_path_drops_whole_examples():
    """A third of them, and scales what is left by 3/2."""
    n = 10_000
    y = np.asarray(value(DropPath(1 / 3), jnp.full((n, 2, 3), 2.0), train=True, key=jax.random.key(1)))
    examples = {tuple(example.ravel()) for example in y.round(5)}
    assert examples == {(0.0,) * 6, (3.0,) * 6}
    assert abs((y[:, 0, 0] == 0).mean() - 1 / 3) < 5 * np.sqrt(2 / 9 / n)


def test_drop_path_does_nothing_in_inference_and_needs_a_key_in_training():
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(value(DropPath(0.5), x, key=KEY), x)
    with pytest.raises(ValueError, match="DropPath: `key` must be given in training; call apply"):
        value(DropPath(0.5), x, train=True)
    with pytest.raises(ValueError, match=r"DropPath: `rate` is the probability .* must be in \[0, 1\); got 1"):
        DropPath(1)
    with pytest.raises(TypeError, match="DropPath: `rate` must be a number; got 'half'"):
        DropPath("half")


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_rate_and_scales_the_rest(rate):
    n = 40_000
    y = np.asarray(value(Dropout(rate), jnp.full((4, n // 4), 3.0), train=True, key=jax.random.key(1)))
    dropped = (y == 0).mean()
    assert abs(dropped - rate) < 5 * np.sqrt(rate * (1 - rate) / n)  # five standard errors
    assert_same(y[y != 0], np.full((y != 0).sum(), 3 / (1 - rate)), 1e-6)


def test_dropout_masks_come_from_the_key():
    x = jnp.ones((4, 50))
    first, again, other = (value(Dropout(0.5), x, train=True, key=jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({tuple(row.tolist()) for row in first}) == 4  # every image its own mask


def test_dropout_does_nothing_in_inference_and_at_rate_0():
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(value(Dropout(0.5), x, key=KEY), x)
    np.testing.assert_array_equal(value(Dropout(0), x, train=True), x)


def test_the_gradient_of_dropout_is_its_mask():
    x = jnp.arange(1.0, 101).reshape(1, 100)
    layer = Dropout(0.25)
    dx = jax.grad(lambda x: layer.apply({}, {}, x, train=True, key=KEY)[0].sum())(x)
    assert_same(dx * x, value(layer, x, train=True, key=KEY), 1e-6)


def test_dropout_in_training_needs_a_key_wherever_it_stands():
    with pytest.raises(ValueError, match=r"Dropout: `key` must be given in training; call apply") as e:
        value(serial(Relu(), inner=serial(Dropout(0.5))), jnp.ones((2, 3)), train=True)
    assert [note for note in e.value.__notes__ if note.startswith("in layer")] == [
        "in layer 'dropout1', whose input is (3,)",
        "in layer 'inner', whose input is (3,)",
    ]


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(ValueError, match=r"Dropout: `rate` is the probability .* must be in \[0, 1\); got"):
        Dropout(rate)


# ------------------------------------------------------------------------------------------------------------- errors


def test_a_name_that_occurs_twice_is_refused():
    with pytest.raises(ValueError, match="serial: the name 'conv1' occurs twice; layers without a name take kind and"):
        serial(Conv(2, 3), conv1=Conv(2, 3))
    with pytest.raises(ValueError, match="branches: the name 'relu2' occurs twice"):
        branches(Relu(), Relu(), relu2=Relu())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: serial(Relu(), jnp.tanh), "serial: argument 1 must be a Layer"),
        (lambda: serial(Relu), "serial: argument 0 must be a Layer"),  # forgotten parentheses
        (lambda: serial(head=3), "serial: `head` must be a Layer; got 3"),
        (lambda: branches(None), "branches: argument 0 must be a Layer; got None"),
        (lambda: residual(3), "residual: `body` must be a Layer; got 3"),
        (lambda: residual(Relu(), 3), "residual: `shortcut` must be a Layer; got 3"),
        (lambda: Conv(4, 2.5), "Conv: `kernel_size` must be an int or a sequence; got 2.5"),
        (lambda: Conv(4, None), "Conv: `kernel_size` must be an int or a sequence; got None"),
        (lambda: Conv("4", 3), "Conv: `out_channels` must be an int"),
        (lambda: Conv(4, 3, groups="2"), "Conv: `groups` must be an int"),
        (lambda: Dense(2.0), "Dense: `out_features` must be an int"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused_where_it_is_made(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Conv(0, 3), "Conv: `out_channels` must be at least 1; got 0"),
        (lambda: Conv(4, (3, 0)), r"Conv: `kernel_size` must be at least 1; got \(3, 0\)"),
        (lambda: Conv(4, ()), r"Conv: `kernel_size` needs one int per spatial axis .* got \(\)"),
        (lambda: Conv(4, 3, groups=0), "Conv: `groups` must be at least 1; got 0"),
        (lambda: ConvTranspose(-1, 3), "ConvTranspose: `out_channels` must be at least 1; got -1"),
        (lambda: ConvTranspose(4, 3, groups=-2), "ConvTranspose: `groups` must be at least 1; got -2"),
        (lambda: DepthwiseConv(3, multiplier=0), "DepthwiseConv: `multiplier` must be at least 1; got 0"),
        (lambda: SeparableConv(4, 0), "SeparableConv: `kernel_size` must be at least 1; got 0"),
        (lambda: Dense(0), "Dense: `out_features` must be at least 1; got 0"),
        (lambda: branches(), "branches: `layers` must not be empty"),
        (
            lambda: Conv(4, 3).init(KEY, (28, 28)),
            r"conv: `input_shape` must have 2 spatial axes and a channel axis; got \(28, 28\)",
        ),
    ],
)
def test_sizes_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_residual_refuses_shapes_that_differ_and_says_what_would_help():
    refused = r"residual: body and input must have one shape; got body \(6, 6, 4\), input \(6, 6, 2\)\. A shortcut"
    with pytest.raises(ValueError, match=refused):
        residual(Conv(4, 1)).init(KEY, (6, 6, 2))
    with pytest.raises(ValueError, match=r"residual: body and shortcut .* got body \(4, 4, 2\), shortcut \(6, 6, 2\)"):
        residual(Conv(2, 3), Conv(2, 1)).init(KEY, (6, 6, 2))
    column = stateless("column", lambda x: x[..., :1])
    with pytest.raises(ValueError, match="residual: body and input"):  # nothing is broadcast
        value(residual(column), jnp.ones((1, 2, 3)))


def test_branches_refuse_outputs_of_other_sizes():
    refused = r"branches: outputs must agree in all axes but the channels; got conv1 \(6, 6, 3\), wide \(4, 4, 3\)"
    with pytest.raises(ValueError, match=refused):
        branches(Conv(3, 1), wide=Conv(3, 3)).init(KEY, (6, 6, 2))


@pytest.mark.parametrize("jit", [False, True])
def test_notes_of_an_error_name_the_layer(jit):
    net = serial(Relu(), body=residual(serial(Tanh(), deep=Dense(3))))
    params, state = net.init(KEY, (3,))
    apply = jax.jit(net.apply) if jit else net.apply
    with pytest.raises(ValueError, match=r"dense: `kernel` expects 3 input features but `x` has 4") as error:
        apply(params, state, jnp.ones((2, 4)))
    assert [note for note in error.value.__notes__ if note.startswith("in layer")] == [
        "in layer 'deep', whose input is (4,)",
        "in layer 'body', whose input is (4,)",  # the residual's
        "in layer 'body', whose input is (4,)",  # the residual itself
    ]


def test_notes_of_an_error_at_init_name_the_layer():
    net = serial(Conv(3, 3), inner=serial(Relu(), too_wide=Conv(4, 7)))
    with pytest.raises(ValueError, match="conv: `kernel` must fit into the padded input") as error:
        net.init(KEY, (5, 5, 2))
    assert [note for note in error.value.__notes__ if note.startswith("in layer")] == [
        "in layer 'too_wide', whose input is (3, 3, 3)",
        "in layer 'inner', whose input is (3, 3, 3)",
    ]


def test_groups_that_do_not_divide_are_refused_at_init():
    with pytest.raises(ValueError, match=r"conv: `groups` must divide the channels of `x` \(3\)") as error:
        serial(Conv(3, 3), Conv(4, 3, groups=2)).init(KEY, (9, 9, 1))
    assert "in layer 'conv2', whose input is (7, 7, 3)" in error.value.__notes__
