"""Files of arrays in our own layout."""

import jax
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.weights import Mismatch, WeightsError, explain, from_arrays

MODEL = models.create("zero_one")


def source(model):
    rng = np.random.default_rng(0)
    return {row.source: rng.random(row.shape).astype(np.float32) for row in explain(model, "arrays").assignments}


def test_squeezenet_by_the_names_of_its_caffe_model(tmp_path):
    model = models.create("squeezenet1_1", num_classes=3)
    arrays = source(model)
    assert "fire2/squeeze1x1/kernel" in arrays and "fire9/expand3x3/bias" in arrays and "conv10/bias" in arrays
    np.savez(tmp_path / "a.npz", **arrays)
    params, state = from_arrays(tmp_path / "a.npz", model)
    assert not state and jax.tree.structure(params) == jax.tree.structure(
        jax.eval_shape(model.init, jax.random.key(0))[0]
    )
    for place, name in (
        (("fire9", "expand", "three"), "fire9/expand3x3"),
        (("fire9", "expand", "one"), "fire9/expand1x1"),
        (("fire2", "squeeze"), "fire2/squeeze1x1"),
        (("top", "conv1"), "conv10"),
    ):
        part = params
        for step in place:
            part = part[step]
        np.testing.assert_array_equal(part["kernel"], arrays[f"{name}/kernel"])
    cut = models.create("squeezenet1_1", include_top=False)
    assert "top" not in from_arrays(arrays, cut)[0]


def test_halves_become_the_models_floats_exactly():
    arrays = source(MODEL)
    arrays["dense2/kernel"] = arrays["dense2/kernel"].astype(np.float16)
    params, _ = from_arrays(arrays, MODEL)
    assert params["dense2"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(params["dense2"]["kernel"], arrays["dense2/kernel"].astype(np.float32))


def test_names_of_the_callers_own():
    arrays = {name.replace("conv1", "first"): value for name, value in source(MODEL).items()}
    names = {"conv1": "first", "dense1": "dense1", "dense2": "dense2"}
    params, _ = from_arrays(arrays, MODEL, names=names)
    np.testing.assert_array_equal(params["conv1"]["bias"], arrays["first/bias"])
    with pytest.raises(Mismatch, match="missing: conv1/bias"):
        from_arrays(arrays, MODEL, names={name: name for name in names})


@pytest.mark.parametrize("kept", [0, 3, 500, -1])
def test_a_truncated_file_is_named(tmp_path, kept):
    path = tmp_path / "a.npz"
    np.savez(path, **source(MODEL))
    path.write_bytes(path.read_bytes()[:kept])
    size = path.stat().st_size
    with pytest.raises(WeightsError, match=rf"a\.npz: expected an \.npz file of arrays, found {size:,} bytes: "):
        from_arrays(path, MODEL)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **source(MODEL))
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 64] = bytes(64)
    path.write_bytes(bytes(damaged))
    with pytest.raises(WeightsError, match=r"a\.npz: expected an \.npz file of arrays"):
        from_arrays(path, MODEL)


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **source(MODEL) | {"conv1/kernel": np.array([{}], object)})
    with pytest.raises(WeightsError, match=r"a\.npz: expected an \.npz file of arrays, .*allow_pickle"):
        from_arrays(tmp_path / "a.npz", MODEL)


def test_nan_and_other_files_are_named(tmp_path):
    arrays = source(MODEL)
    arrays["conv1/kernel"][0, 0, 0, 0] = np.nan
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(WeightsError, match=r"a\.npz: conv1/kernel holds NaN or infinity in 1 of 45 values"):
        from_arrays(tmp_path / "a.npz", MODEL)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz: no such weights file"):
        from_arrays(tmp_path / "nowhere.npz", MODEL)
    with pytest.raises(ValueError, match=r"`source` must be a dict of arrays or end in \.npz; got a\.h5"):
        from_arrays("a.h5", MODEL)
