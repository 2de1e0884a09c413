"""Trees of arrays on disk: every dtype exactly, every fault named, and never half a file."""

import errno
import gc
import itertools
import json
import os
import resource
import stat
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401  (NumPy learns the name bfloat16)
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import save_file

from jaxcnn.files import tensors
from jaxcnn.files.json_files import write_json
from jaxcnn.files.whole import remove_temporaries, replacing
from jaxcnn.weights import WeightsError

DTYPES = ["float32", "bfloat16", "float16", "int32", "uint32", "int16", "uint16", "int8", "uint8", "bool", "complex64"]
TREE = {"a": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.zeros(3)}, "step": jnp.array(7, jnp.int32)}


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert isinstance(a, jax.Array) and (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_comes_back(tmp_path, dtype):
    """Random bits: NaN with payloads, infinities and subnormal numbers among them."""
    size = np.dtype(dtype).itemsize
    random = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, 60 * size, np.uint8)
    tree = {"some": random.view(dtype).reshape(3, 4, 5), "none": np.zeros((0, 2), dtype), "one": np.ones((), dtype)}
    tree = jax.tree.map(jnp.asarray, tree)
    tensors.write(tmp_path / "a.safetensors", tree, {})
    assert_same_bits(tensors.read(tmp_path / "a.safetensors", tree), tree)


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64"])
def test_every_bit_comes_back_in_64(tmp_path, dtype):
    with jax.enable_x64(True):
        tree = {"a": jnp.asarray(np.random.default_rng(0).integers(0, 256, 80, np.uint8).view(dtype))}
        tensors.write(tmp_path / "a.safetensors", tree, {})
        assert_same_bits(tensors.read(tmp_path / "a.safetensors", tree), tree)


def test_a_random_key_comes_back(tmp_path):
    tree = {"default": jax.random.key(3), "rbg": jax.random.split(jax.random.key(4, impl="rbg"), 2)}
    tensors.write(tmp_path / "a.safetensors", tree, {})
    back = tensors.read(tmp_path / "a.safetensors", tree)
    for name, key in tree.items():
        assert back[name].dtype == key.dtype
        assert (jax.random.key_data(back[name]) == jax.random.key_data(key)).all()


def test_shapes_are_template_enough(tmp_path):
    tensors.write(tmp_path / "a.safetensors", TREE, {})
    template = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), TREE)
    assert_same_bits(tensors.read(tmp_path / "a.safetensors", template), TREE)


def test_metadata_comes_back(tmp_path):
    about = {"model": "lenet5", "classes": ["Katze", "Übung", "猫"], "none": None, "history": [{"loss": 0.1 + 0.2}]}
    tensors.write(tmp_path / "a.safetensors", TREE, about)
    assert tensors.metadata(tmp_path / "a.safetensors") == about


def test_equal_trees_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        tensors.write(tmp_path / f"{name}.safetensors", TREE, {str(i): i for i in range(9)})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "weights.safetensors"
    tensors.write(path, TREE, {"model": "none"})
    return path.read_bytes()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_truncated_file_is_named(whole, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "cut.safetensors"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    for call in (lambda: tensors.read(path, TREE), lambda: tensors.metadata(path)):
        with pytest.raises(WeightsError, match=r"cut\.safetensors: expected a safetensors file, found \d+ bytes"):
            call()


@pytest.mark.parametrize("content", [b"", b"not safetensors" * 99, b"\x00" * 64, b"\xff" * 64, b"PK\x03\x04" * 9])
def test_what_is_no_safetensors_file_is_named(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"other\.safetensors: expected a safetensors file, found {len(content)} b"):
        tensors.read(path, TREE)


def test_a_file_with_more_than_it_says_is_named(whole, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(whole + b"more")
    with pytest.raises(WeightsError, match=r"a\.safetensors: expected a safetensors file"):
        tensors.read(tmp_path / "a.safetensors", TREE)


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "nowhere.safetensors", tmp_path):  # a folder is no file either
        for call in (lambda path=path: tensors.read(path, TREE), lambda path=path: tensors.metadata(path)):
            with pytest.raises(FileNotFoundError) as error:
                call()
            assert f"{path}: no such weights file" in str(error.value)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"a": np.ones(3, "f4")}, ["1 missing: b"]),
        ({"a": np.ones(3, "f4"), "b": np.ones(2, "f4"), "c": np.ones(1), "d": np.ones(1)}, ["2 unknown: c, d"]),
        ({"a": np.ones(3, "f4"), "x": np.ones(2, "f4")}, ["1 missing: b", "1 unknown: x"]),
        ({"a": np.ones((3, 1), "f4"), "b": np.ones(2, "f4")}, ["a expects F32[3] but has F32[3, 1]"]),
        ({"a": np.ones(3, "f2"), "b": np.ones(2, "i4")}, ["a expects F32[3] but has F16[3]", "b expects F32[2] but"]),
        # JAX would take these as float32 without a word.
        ({"a": np.ones(3, "f8"), "b": np.ones(2, "f4")}, ["a expects F32[3] but has F64[3]"]),
        ({}, ["2 missing: a, b"]),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, found, words):
    path = tmp_path / "other.safetensors"
    save_file(found, path)
    with pytest.raises(WeightsError) as error:
        tensors.read(path, {"a": jnp.zeros(3), "b": jnp.zeros(2)})
    for word in [str(path), *words]:
        assert word in str(error.value)
    assert "\n" not in str(error.value) and error.value.__cause__ is None


def test_a_long_list_is_cut(tmp_path):
    save_file({}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"40 missing: 00, 01, 02, 03, 04, …$"):
        tensors.read(tmp_path / "a.safetensors", {f"{i:02}": jnp.zeros(1) for i in range(40)})


def test_another_programs_file_is_named(tmp_path):
    path = tmp_path / "torch.safetensors"
    save_file({"a": np.ones(3, "f4")}, path, metadata={"format": "pt"})
    for call in (lambda: tensors.read(path, {"a": jnp.zeros(3)}), lambda: tensors.metadata(path)):
        with pytest.raises(WeightsError, match=r"torch\.safetensors: expected a file that jaxcnn wrote, found .*'pt'"):
            call()


def test_a_failed_write_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors.write(path, TREE, {"model": "old"})
    before = path.read_bytes()
    for tree, about, error in (
        ({"a": jnp.ones(2), "b": jnp.ones(2, "int4")}, {}, SafetensorError),  # a dtype that the format has not
        ({"a": jnp.ones(2), "b": "no array"}, {}, TypeError),
        (TREE, {"model": object()}, TypeError),
    ):
        with pytest.raises(error):
            tensors.write(path, tree, about)
        assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.safetensors"]


def test_a_failure_midway_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old")
    for error in (OSError("disk full"), KeyboardInterrupt()):
        with pytest.raises(type(error)), replacing(path) as temporary:
            temporary.write_text("half of the n")
            assert sorted(os.listdir(tmp_path)) == sorted([temporary.name, "note.txt"])  # beside it: one file system
            raise error
        assert path.read_text() == "old" and os.listdir(tmp_path) == ["note.txt"]


def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    """A limit on the size of files stands for it: the kernel refuses the write when half of it is done."""
    path = tmp_path / "a.safetensors"
    tensors.write(path, TREE, {})
    before = path.read_bytes()
    large = {"a": np.zeros(1 << 20, np.uint8)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, hard))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            tensors.write(path, large, {})
        assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.safetensors"]


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(IsADirectoryError):
        tensors.write(tmp_path / "a.safetensors", TREE, {})
    assert os.listdir(tmp_path) == ["a.safetensors"] and not os.listdir(tmp_path / "a.safetensors")
    (tmp_path / "file").touch()
    with pytest.raises((NotADirectoryError, FileExistsError)):
        tensors.write(tmp_path / "file" / "a.safetensors", TREE, {})
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "file"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_get_ordinary_permissions(tmp_path, umask):
    """Those of any new file, not those of a temporary one, which nobody else may read."""
    old = os.umask(umask)
    try:
        tensors.write(tmp_path / "new" / "a.safetensors", TREE, {})
        write_json(tmp_path / "new" / "a.json", {})
        for name in ("a.safetensors", "a.json"):
            assert stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) == 0o666 & ~umask
        assert os.umask(umask) == umask  # finding it out did not change it
    finally:
        os.umask(old)


@pytest.fixture
def small_heap():
    """What is there already is left out of garbage collections, which would take a second each."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning")  # interrupted between `open` and `with`
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_line_leaves_the_old_file_or_the_new_one(tmp_path, small_heap):
    """Signals arrive between two lines of Python: here before each that runs until the file is written, in turn."""
    path, old = tmp_path / "a.json", {"of": "before"}
    for line in itertools.count():
        write_json(path, old)
        left = line

        def interrupt(frame, event, argument):
            nonlocal left
            left -= event == "line"
            if left < 0:
                raise KeyboardInterrupt
            return interrupt

        try:
            sys.settrace(interrupt)
            write_json(path, {"line": line})
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        gc.collect()  # a block that was interrupted before it began ends with its context
        assert os.listdir(tmp_path) == ["a.json"], line
        if left >= 0:  # nothing was left to interrupt
            break
        assert json.loads(path.read_text()) in (old, {"line": line})
    assert line > 50


def test_json_is_for_people(tmp_path):
    write_json(tmp_path / "a.json", {"classes": ["Übung", "猫"]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "classes": [\n    "Übung",\n    "猫"\n  ]\n}\n'
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"classes": object()})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"classes": ["Übung", "猫"]}


def test_what_a_killed_writer_leaves_can_be_told_and_removed(tmp_path):
    """A kill in the middle runs no cleanup: the names alone say what such files are."""
    script = (
        "import os, sys\nfrom jaxcnn.files.whole import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n    temporary.write_text('half'); os._exit(9)\n"
    )
    for name in ("checkpoint.safetensors", "config.json"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / name)], check=False, timeout=120)
    write_json(tmp_path / "kept.json", {})
    (tmp_path / ".hidden").touch()
    assert len(os.listdir(tmp_path)) == 4
    assert len(remove_temporaries(tmp_path)) == 2
    assert sorted(os.listdir(tmp_path)) == [".hidden", "kept.json"]


def test_content_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    """The order of the system calls; that a disk then keeps its word cannot be tested here."""
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real, name=name: (calls.append(name), real(*a))[1])
    write_json(tmp_path / "a.json", {})
    assert calls == ["fsync", "replace", "fsync"]  # the content, its name, the folder that holds the name
