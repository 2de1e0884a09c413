"""A batch that devices share out stays shared out: values, gradients, placement, and what the compiled program moves.

On meshes of Auto and of Explicit axes, of 2 and of 4 devices; also two mesh axes (batch and members of an ensemble, or
channels), a batch that does not divide, spatial axes. tests/conftest.py asks for four CPU devices before JAX starts.
"""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn import ops
from jaxcnn.layers import BatchNorm

MOVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute")
KINDS = (AxisType.Auto, AxisType.Explicit)


def array(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def batch_norm(x, w):
    return BatchNorm().apply({"scale": w, "bias": w}, {"mean": 0 * w, "var": 0 * w + 1}, x, train=True)[0]


# name: (function, x, w, all-reduces forward, all-reduces of both gradients)
CASES = {
    "patches": (lambda x, w: ops.conv(x, w, padding="SAME", algorithm="patches"), (8, 6, 5, 4), (3, 3, 4, 8), 0, 1),
    "winograd": (lambda x, w: ops.conv(x, w, algorithm="winograd"), (8, 6, 5, 4), (3, 3, 4, 8), 0, 1),
    "fft": (lambda x, w: ops.conv(x, w, algorithm="fft"), (8, 6, 5, 4), (3, 3, 4, 8), 0, 1),
    "strided": (lambda x, w: ops.conv(x, w, stride=2), (8, 7, 5, 4), (3, 3, 4, 8), 0, 1),
    "one tap": (lambda x, w: ops.conv(x, w), (8, 4, 5, 4), (1, 1, 4, 8), 0, 1),
    "first layer": (lambda x, w: ops.conv(x, w), (8, 6, 5, 1), (3, 3, 1, 8), 0, 1),
    "groups": (lambda x, w: ops.conv(x, w, groups=2), (8, 6, 5, 4), (3, 3, 2, 8), 0, 1),
    "depthwise": (lambda x, w: ops.conv(x, w, groups=4, stride=2), (8, 6, 5, 4), (3, 3, 1, 4), 0, 1),
    "transpose": (lambda x, w: ops.conv_transpose(x, w, stride=2), (8, 4, 3, 4), (3, 3, 2, 4), 0, 1),
    "1-D": (lambda x, w: ops.conv(x, w), (8, 9, 4), (3, 4, 8), 0, 1),
    "3-D": (lambda x, w: ops.conv(x, w), (8, 4, 4, 3, 2), (2, 2, 2, 2, 4), 0, 1),
    "frames": (lambda x, w: ops.conv(x, w), (4, 3, 6, 5, 4), (3, 3, 4, 8), 0, 1),
    "max_pool": (lambda x, w: ops.max_pool(w * x, 2), (8, 6, 4, 4), (4,), 0, 1),
    "avg_pool": (lambda x, w: ops.avg_pool(w * x, 3, stride=2, padding=1), (8, 6, 4, 4), (4,), 0, 1),
    "lp_pool": (lambda x, w: ops.lp_pool(w * x, 2), (8, 6, 4, 4), (4,), 0, 1),
    "global_max_pool": (lambda x, w: ops.global_max_pool(w * x), (8, 6, 4, 4), (4,), 0, 1),
    "global_avg_pool": (lambda x, w: ops.global_avg_pool(w * x), (8, 6, 4, 4), (4,), 0, 1),
    "batch_norm": (batch_norm, (8, 6, 4, 4), (4,), 2, 6),
}


@contextlib.contextmanager
def mesh_of(kind, sizes=(2,), names=("d",)):
    """A function that places an array on a mesh; Explicit axes are those of the mesh that is set."""
    count = int(np.prod(sizes))
    mesh = jax.make_mesh(sizes, names, axis_types=(kind,) * len(sizes), devices=jax.devices()[:count])
    with jax.set_mesh(mesh) if kind == AxisType.Explicit else contextlib.nullcontext():
        yield lambda x, *spec: jax.device_put(x, NamedSharding(mesh, P(*spec)))


def moves(function, *arguments):
    """How many operations that send values between devices the compiled program has, by kind."""
    text = jax.jit(function).lower(*arguments).compile().as_text()
    return {kind: n for kind in MOVES if (n := len(re.findall(rf" {kind}(?:-start)?\(", text)))}


def gradients(function):
    return jax.grad(lambda *arguments: jnp.sum(function(*arguments) ** 3), (0, 1))


def placed(x):
    """The spec of a result, without the Nones at its end."""
    spec = list(x.sharding.spec)
    while spec and spec[-1] is None:
        spec.pop()
    return tuple(spec)


def assert_close(actual, expected):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("devices", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_a_sharded_batch(name, devices, kind):
    """Nothing of a layer's size is sent; a device does its share of the sums; each gradient of w is one all-reduce."""
    function, x_shape, w_shape, forward, backward = CASES[name]
    x, w = array(*x_shape), array(*w_shape)
    y, (dx, dw) = jax.jit(function)(x, w), jax.jit(gradients(function))(x, w)
    alone = jax.jit(gradients(function)).lower(x, w).compile().cost_analysis()["flops"]
    with mesh_of(kind, (devices,)) as place:
        x, w = place(x, "d"), place(w)
        assert moves(function, x, w) == ({"all-reduce": forward} if forward else {})
        sent = moves(gradients(function), x, w)
        assert set(sent) == {"all-reduce"}
        assert sent["all-reduce"] <= backward
        share = jax.jit(gradients(function)).lower(x, w).compile().cost_analysis()["flops"] / alone
        assert share * devices < (
            2 if name in ("fft", "winograd", "frames") else 1.1
        )  # each device transforms all of the kernel
        results = jax.jit(function)(x, w), jax.jit(gradients(function))(x, w)
        assert_close(results, (y, (dx, dw)))
        assert [placed(r) for r in jax.tree.leaves(results)] == [("d",), ("d",), ()]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
class TestTwoMeshAxes:
    """conv and max_pool together on a mesh of 2 × 2."""

    x, w = array(4, 6, 5, 4), array(3, 3, 4, 8)

    @staticmethod
    def function(x, w):
        return ops.max_pool(ops.conv(x, w, padding="SAME"), 2)

    @pytest.mark.parametrize("own_images", [True, False])
    def test_members_and_batch(self, kind, own_images):
        """An ensemble: the members lie on one mesh axis, the batch on the other."""
        step = jax.vmap(gradients(self.function), (0 if own_images else None, 0))
        w = np.stack([self.w, -self.w, 2 * self.w, self.w + 1])
        x = np.stack([self.x, self.x + 1, 2 * self.x, -self.x]) if own_images else self.x
        expected = step(x, w)
        with mesh_of(kind, (2, 2), ("m", "d")) as place:
            arguments = place(x, "m", "d") if own_images else place(x, "d"), place(w, "m")
            assert moves(step, *arguments) == {"all-reduce": 1}
            results = jax.jit(step)(*arguments)
            assert [placed(r) for r in results] == [("m", "d"), ("m",)]
        assert_close(results, expected)

    def test_one_kernel_of_images_on_two_axes(self, kind):
        """Batch axes are never merged across devices."""
        step = jax.vmap(gradients(self.function), (0, None))
        x = np.stack([self.x, self.x + 1])
        expected = step(x, self.w)
        with mesh_of(kind, (2, 2), ("m", "d")) as place:
            arguments = place(x, "m", "d"), place(self.w)
            assert moves(step, *arguments) == {"all-reduce": 1}
            assert_close(jax.jit(step)(*arguments), expected)

    def test_a_batch_over_both(self, kind):
        expected = gradients(self.function)(self.x, self.w)
        with mesh_of(kind, (2, 2), ("m", "d")) as place:
            arguments = place(self.x, ("m", "d")), place(self.w)
            assert moves(gradients(self.function), *arguments) == {"all-reduce": 1}
            assert_close(jax.jit(gradients(self.function))(*arguments), expected)

    def test_channels_on_the_other(self, kind):
        """A kernel cut by its output channels: the values of x are gathered nowhere."""
        expected = gradients(self.function)(self.x, self.w)
        with mesh_of(kind, (2, 2), ("m", "d")) as place:
            arguments = place(self.x, "d"), place(self.w, None, None, None, "m")
            assert moves(gradients(self.function), *arguments) == {"all-reduce": 2}  # dx over m, dw over d
            results = jax.jit(gradients(self.function))(*arguments)
            assert [placed(r) for r in results] == [("d",), (None, None, None, "m")]
        assert_close(results, expected)

    def test_a_kernel_cut_where_the_batch_is(self, kind):
        """Both ask for one mesh axis: the batch has it, the kernel is gathered."""
        expected = gradients(self.function)(self.x, self.w)
        with mesh_of(kind, (2,)) as place:
            results = jax.jit(gradients(self.function))(place(self.x, "d"), place(self.w, None, None, None, "d"))
        assert_close(results, expected)

    def test_spatial_axes(self, kind):
        """Right, whatever is sent; on Explicit axes a gradient lies as its argument does."""
        expected = gradients(self.function)(self.x, self.w)
        with mesh_of(kind, (2,)) as place:
            results = jax.jit(gradients(self.function))(place(self.x, None, "d"), place(self.w))
            if kind == AxisType.Explicit:
                assert [placed(r) for r in results] == [(None, "d"), ()]
        assert_close(results, expected)


def test_a_batch_that_does_not_divide():
    """Six images on four devices, which XLA would pad: the padding has no part in the sums."""
    x, w = array(8, 6, 5, 4), array(3, 3, 4, 8)

    def step(x, w):
        return gradients(TestTwoMeshAxes.function)(jnp.sin(x)[:6], w)

    with mesh_of(AxisType.Auto, (4,)) as place:
        results = jax.jit(step)(place(x, "d"), place(w))
    assert_close(results, step(x, w))


def test_inside_a_shard_map_of_some_axes():
    """The other axes are left to the partitioner."""
    x, w = array(4, 6, 5, 4), array(3, 3, 4, 8)
    step = gradients(TestTwoMeshAxes.function)
    mesh = jax.make_mesh((2, 2), ("m", "d"), axis_types=(AxisType.Auto,) * 2)
    specs = {"in_specs": (P("d"), P()), "out_specs": (P("d"), P())}
    mapped = jax.jit(jax.shard_map(step, mesh=mesh, axis_names={"d"}, **specs))
    assert_close(mapped(x, w), step(x, w))


def test_one_device_has_no_call_of_the_partitioner():
    """A program for one device is plain operations, and can be cached and exported."""
    lowered = jax.jit(TestTwoMeshAxes.function).lower(array(8, 6, 5, 4), array(3, 3, 4, 8))
    assert "CustomSPMDPartitioning" not in lowered.as_text()
