"""What a program is lowered to is what `explain` says, and a new algorithm is one value and one rule."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import inspect, models, ops, train
from jaxcnn.ops import machine
from jaxcnn.ops.algorithms import ARRANGED, Algorithm, Rule, choice
from jaxcnn.ops.algorithms.choice import ALGORITHMS

# x, kernel, and what else `conv` is told.
CASES = {
    "winograd": ((32, 16, 16, 32), (3, 3, 32, 32), {"padding": 1}),
    "winograd, few images": ((2, 16, 16, 32), (3, 3, 32, 32), {"padding": 1}),
    "first layer": ((32, 16, 16, 1), (3, 3, 1, 32), {}),
    "1×1": ((8, 6, 6, 4), (1, 1, 4, 5), {}),
    "strided": ((8, 13, 13, 16), (3, 3, 16, 16), {"stride": 2, "padding": 1}),
    "strided and dilated": ((8, 13, 14, 16), (3, 2, 16, 16), {"stride": (2, 3), "dilation": (3, 2)}),
    "strided 1×1": ((8, 9, 9, 16), (1, 1, 16, 16), {"stride": 2}),
    "depthwise": ((8, 9, 9, 6), (3, 3, 1, 6), {"groups": 6}),
    "depthwise, strided": ((8, 9, 9, 6), (3, 3, 1, 6), {"groups": 6, "stride": 2}),
    "depthwise, many taps": ((2, 14, 14, 2), (11, 11, 1, 2), {"groups": 2, "stride": 2}),
    "depthwise, many taps, not strided": ((2, 20, 20, 4), (13, 13, 1, 4), {"groups": 4, "padding": 6}),
    "groups": ((9, 9, 9, 16), (5, 5, 8, 16), {"groups": 2, "padding": "SAME"}),
    "fft": ((2, 32, 32, 16), (15, 15, 16, 16), {"padding": "SAME"}),
    "1-D": ((8, 40, 32), (5, 32, 48), {"padding": "SAME"}),
    "3-D": ((8, 6, 6, 6, 8), (3, 3, 3, 8, 8), {"padding": 1}),
    "few out of many": ((16, 10, 10, 16), (5, 5, 16, 6), {"padding": "FULL"}),
    "asked for": ((8, 9, 9, 16), (3, 3, 16, 16), {"algorithm": "overlap"}),
    "asked for, not of the gradient": ((8, 9, 9, 1), (3, 3, 1, 32), {"algorithm": "taps"}),
    "128 channels": ((16, 6, 6, 128), (3, 3, 128, 128), {"padding": 1}),
    "precise": ((8, 9, 9, 16), (3, 3, 16, 16), {"precision": "highest"}),
}


def lowered(function, *arguments, platform="cpu"):
    """The names of algorithms in the scopes of a program's operations."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text(debug_info=True)
    return {name for name in ALGORITHMS if re.search(rf'["/]{name}[/"]', text)}


def said(part):
    """The algorithms in an explanation, with the one that waits for values that are not finite."""
    names = set(part.algorithm.removeprefix("phases, ").split(" and "))
    return names | ({"patches"} if "they do it where" in part.why else set())


@pytest.mark.parametrize(("platform", "members"), [("cpu", 1), ("cpu", 3), ("tpu", 1), ("cuda", 3)])
@pytest.mark.parametrize("name", CASES)
def test_lowered_is_explained(name, platform, members):
    x_shape, kernel_shape, options = CASES[name]
    x, w = jnp.zeros(x_shape), jnp.zeros(kernel_shape)

    def conv(x, w):
        return ops.conv(x, w, **options)

    y = jax.eval_shape(conv, x, w)
    functions = {
        "forward": (conv, x, w),
        "dx": (lambda w, dy: jax.vjp(lambda x: conv(x, w), x)[1](dy), w, jnp.zeros(y.shape)),
        "dw": (lambda x, dy: jax.vjp(lambda w: conv(x, w), w)[1](dy), x, jnp.zeros(y.shape)),
    }
    told = ops.explain(x_shape, kernel_shape, platform=platform, members=members, **options)
    for part, (function, *arguments) in functions.items():
        if members > 1:
            function, arguments = jax.vmap(function), [jnp.stack([a] * members) for a in arguments]
        assert lowered(function, *arguments, platform=platform) == said(getattr(told, part)), part


def test_the_cases_meet_every_algorithm():
    met = {name for x, kernel, options in CASES.values() for part in parts(x, kernel, options) for name in said(part)}
    assert met == ALGORITHMS.keys()


def parts(x_shape, kernel_shape, options):
    for platform in ("cpu", "tpu", "cuda"):
        told = ops.explain(x_shape, kernel_shape, platform=platform, **options)
        yield from (told.forward, told.dx, told.dw)


def test_a_new_algorithm_is_one_value_and_one_rule(monkeypatch):
    """It takes the place of the others where its rule says so, by name and on its own, and is gone without it."""

    def product(x, w, p):
        return 2 * ALGORITHMS["patches"].product(x, w, p)  # to be told from theirs

    toy = Algorithm("toy", "takes windows of 2", ARRANGED, fits=lambda p: set(p.window.size) == {2}, product=product)
    x, w = np.ones((2, 5, 5, 3), np.float32), np.ones((2, 2, 3, 4), np.float32)
    expected = ops.conv(x, w, algorithm="patches")
    jax.clear_caches()
    with monkeypatch.context() as patch:
        patch.setitem(choice.ALGORITHMS, "toy", toy)
        patch.setattr(choice, "NAMES", ("auto", *choice.ALGORITHMS))
        patch.setattr(choice, "RULES", (Rule(toy, "to try it"), *choice.RULES))
        np.testing.assert_array_equal(ops.conv(x, w), 2 * expected)
        np.testing.assert_array_equal(ops.conv(x, w, algorithm="toy"), 2 * expected)
        told = ops.explain(x.shape, w.shape, platform="cpu")
        assert (told.forward.algorithm, told.forward.why, told.dw.algorithm) == ("toy", "to try it", "patches")
        with pytest.raises(ValueError, match=r"it takes windows of 2; got float32, window \(3, 3\)"):
            ops.conv(x, np.ones((3, 3, 3, 4), np.float32), algorithm="toy")
    jax.clear_caches()
    np.testing.assert_array_equal(ops.conv(x, w), expected)
    with pytest.raises(ValueError, match="`algorithm` must be one of"):
        ops.conv(x, w, algorithm="toy")


def test_an_assumed_machine_is_part_of_what_is_compiled():
    """Two machines, two programs of one function call, without clearing anything."""
    other = replace(machine.CPU, least_winograd_saving=100.0)
    x, w = jnp.ones((8, 16, 16, 8)), jnp.ones((3, 3, 8, 8))
    with machine.assume(other):
        assert ops.explain(x.shape, w.shape, platform="cpu").forward.algorithm == "patches"
        assert lowered(lambda x, w: ops.conv(x, w), x, w) == {"patches"}
    assert lowered(lambda x, w: ops.conv(x, w), x, w) == {"winograd"}


def step_and_arguments(name, batch):
    """A training step of a model, jitted, and the types of its arguments."""
    model, optimizer = models.create(name), optax.sgd(0.1)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    typed = jax.ShapeDtypeStruct
    train_state = train.TrainState(
        params=params, state=state, opt_state=jax.eval_shape(optimizer.init, params), step=typed((), "int32")
    )
    batch_of = typed((batch, *model.input_shape), "float32"), typed((batch,), "int32"), typed((batch,), bool)
    arguments = train_state, *batch_of, jax.random.key(0)
    return model, jax.jit(train.make_step(model.apply, optimizer)), arguments


@pytest.mark.parametrize(("platform", "slices"), [("cpu", 4), ("tpu", 1)])
def test_a_training_step_is_explained_with_its_slices(platform, slices):
    """Each convolution of the layers once in each slice, with the multiply-adds that the summary counts."""
    model, step, arguments = step_and_arguments("mnist_cnn", 128)
    told = ops.explain_program(step, *arguments, platform=platform).convolutions
    assert {each.runs for each in told} == {slices}
    assert {each.shapes[0][-4] for each in told} == {128 // slices}
    assert [each.explained.name for each in told] == ["forward", "forward", "dw", "dx", "dw"]
    adds = sum(each.runs * each.explained.definition for each in told if each.explained.name == "forward")
    rows = [row for row in inspect.summary(model).rows if "conv" in row.path]
    assert adds == 128 * sum(row.multiply_adds for row in rows) > 0


def test_a_training_step_is_lowered_to_what_is_explained():
    _, step, arguments = step_and_arguments("cifar10_cnn", 128)
    told = ops.explain_program(step, *arguments, platform="cpu").convolutions
    assert lowered(step, *arguments) == set().union(*(said(each.explained) for each in told))


def test_members_taken_in_turn_are_explained_so():
    """Ten networks under vmap: on a CPU one after the other, elsewhere together."""
    _, step, (state, *batch) = step_and_arguments("cifar10_cnn", 32)
    members = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((10, *leaf.shape), leaf.dtype), state)

    def steps(states, *batch):
        return jax.vmap(step, (0, *[None] * len(batch)))(states, *batch)

    runs = {
        platform: {each.runs for each in ops.explain_program(steps, members, *batch, platform=platform).convolutions}
        for platform in ("cpu", "tpu")
    }
    assert runs == {"cpu": {10}, "tpu": {1}}


def test_a_printed_program_has_a_line_for_each_convolution():
    x, w = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 4))
    told = ops.explain_program(lambda x, w: ops.conv(ops.conv(x, w), w), x, w, platform="cpu")
    head, *lines = str(told).splitlines()
    assert head.split()[:3] == ["runs", "operands", "algorithm"] and len(lines) == 2
    assert lines[0].startswith("     1  forward 2×8×8×4 and 3×3×4×4") and told.platform == "cpu"
    assert str(ops.explain_program(jnp.sin, 1.0, platform="cpu")).splitlines()[0].split()[0] == "runs"
