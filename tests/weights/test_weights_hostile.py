"""Files that would read other files, never end, or fill the memory: refused in one line, within bounds."""

import io
import json
import os
import resource
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.layers import Conv, Dense, GlobalAvgPool, serial
from jaxcnn.models import Model
from jaxcnn.weights import WeightsError, from_arrays, from_keras, from_torch
from jaxcnn.weights.foreign.keras import hdf5
from jaxcnn.weights.foreign.limits import ALLOWANCE

NET = Model("net", serial(Conv(4, 3), GlobalAvgPool(), Dense(3)), (6, 6, 2), 3)
SHAPES = {"conv2d/vars/0": (3, 3, 2, 4), "conv2d/vars/1": (4,), "dense/vars/0": (4, 3), "dense/vars/1": (3,)}
CONFIG = json.dumps({"class_name": "Functional", "config": {}})


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py", reason="the extra `parity` is not installed")


def written(h5py, path, without=()):
    """A .weights.h5 of NET, open, without some of the arrays."""
    file = h5py.File(path, "w")
    for name, shape in SHAPES.items():
        if name not in without:
            file[f"layers/{name}"] = np.ones(shape, np.float32)
    return file


def refused(call, path, words):
    with pytest.raises(WeightsError, match=words) as error:
        call(path, NET)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


KERNEL = "conv2d/vars/0"


@pytest.mark.parametrize("how", ["external link", "soft link", "link to a group", "external storage", "virtual"])
def test_what_lies_in_another_file_is_not_read(tmp_path, h5py, how):
    shape, path, other = SHAPES[KERNEL], tmp_path / "a.weights.h5", tmp_path / "secret.h5"
    with h5py.File(other, "w") as file:
        file["values"], file["layers/vars/0"] = np.full(shape, 7, np.float32), np.full(shape, 7, np.float32)
    np.full(shape, 7, np.float32).tofile(tmp_path / "secret.bin")
    with written(h5py, path, [KERNEL]) as file:
        place = f"layers/{KERNEL}"
        if how == "external link":
            file[place] = h5py.ExternalLink(str(other), "/values")
        elif how == "soft link":
            file["elsewhere"] = h5py.ExternalLink(str(other), "/values")
            file[place] = h5py.SoftLink("/elsewhere")
        elif how == "link to a group":
            del file["layers/dense"]
            file["layers/dense"] = h5py.ExternalLink(str(other), "/layers")
        elif how == "external storage":
            stored = [(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset(place, shape, np.float32, external=stored)
        else:
            layout = h5py.VirtualLayout(shape, np.float32)
            layout[:] = h5py.VirtualSource(str(other), "values", shape=shape)
            file.create_virtual_dataset(place, layout)
    if how != "link to a group":  # such a file works, and gives what the other holds
        with h5py.File(path) as file:
            assert (file[f"layers/{KERNEL}"][()] == 7).all()
    before = os.stat(other).st_atime_ns
    refused(from_keras, path, "Link, which may lead to another file|the values of .* lie in another file")
    assert os.stat(other).st_atime_ns == before


def test_groups_in_a_circle_end(tmp_path, h5py):
    path = tmp_path / "a.weights.h5"
    with written(h5py, path) as file:
        file["layers/conv2d/layers"] = file["layers"]
    refused(from_keras, path, "nested without end")


def test_arrays_of_objects_are_refused(tmp_path, h5py):
    path = tmp_path / "a.weights.h5"
    with written(h5py, path, [KERNEL]) as file:
        file[f"layers/{KERNEL}"] = np.array([b"text"] * 4, h5py.string_dtype())
    refused(from_keras, path, "holds no numbers but object")


def test_what_never_ends_is_ended(tmp_path, h5py, monkeypatch):
    """With less time than Python takes to start: what becomes of a program that the library keeps for ever."""
    path = tmp_path / "a.weights.h5"
    written(h5py, path).close()
    monkeypatch.setattr(hdf5, "SECONDS", 0.001)
    monkeypatch.setattr(hdf5, "BYTES_PER_SECOND", 1 << 60)
    start = time.monotonic()
    refused(from_keras, path, "did not come to an end within 0 s")
    assert time.monotonic() - start < 30


# ---------------------------------------------------------------------------------------------------------------- bombs


@pytest.fixture
def bounded():
    """An address space that a bomb would not fit into, where it were unpacked here."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 2 * ALLOWANCE, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


HUGE = 4 * ALLOWANCE


def test_a_small_hdf5_file_of_large_arrays(tmp_path, h5py):
    path = tmp_path / "a.weights.h5"
    with written(h5py, path, [KERNEL]) as file:
        file.create_dataset(f"layers/{KERNEL}", (HUGE // 4,), np.float32, chunks=(1 << 20,), compression="gzip")
    assert path.stat().st_size < 1 << 20
    refused(from_keras, path, "state 1,073,741,824 bytes")


def test_a_chunk_that_is_larger_than_all_of_the_file(tmp_path, h5py):
    path = tmp_path / "a.weights.h5"
    with written(h5py, path, [KERNEL]) as file:
        file.create_dataset(
            f"layers/{KERNEL}", (4,), np.float32, maxshape=(None,), chunks=(HUGE // 8,), compression="gzip"
        )
    refused(from_keras, path, "state .* bytes")


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_a_zip_bomb_of_keras(tmp_path, h5py, member):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("config.json", "model.weights.h5"):
            with archive.open(name, "w") as file:
                for _ in range(ALLOWANCE + (64 << 20) >> 20 if name == member else 1):
                    file.write(bytes(1 << 20) if name == member else CONFIG.encode())
    refused(from_keras, path, f"{member} unpacks to more than")


def test_a_zip_bomb_of_numpy(tmp_path, bounded):
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2 * ALLOWANCE,)})
        for _ in range(2 * ALLOWANCE >> 20):
            file.write(bytes(1 << 20))
    refused(from_arrays, path, "state 536,870,912|state 536,871,040")


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 31, 1 << 31, 4), (-1,), (3, -4)])
def test_a_header_that_states_more_than_there_is(tmp_path, bounded, shape):
    header, path = io.BytesIO(), tmp_path / "a.npz"
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("conv1/kernel.npy", header.getvalue() + bytes(48))
    refused(from_arrays, path, r"conv1/kernel\.npy states \(.*\) values of float32, and holds")


def test_an_archive_of_very_many_arrays(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(10_001):
            archive.writestr(f"{i}.npy", b"")
    refused(from_arrays, path, "its 10,001 arrays state 0 bytes")


def test_a_zip_bomb_of_pytorch(tmp_path, bounded):
    pytest.importorskip("torch", reason="the extra `parity` is not installed")
    path = tmp_path / "a.pth"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a/data/0", "w") as file,
    ):
        for _ in range(2 * ALLOWANCE >> 20):
            file.write(bytes(1 << 20))
    refused(from_torch, path, "unpacks to more than 268,4")


def test_a_flipped_bit_of_a_pytorch_file_is_noticed(tmp_path):
    """The archive has checksums, which PyTorch's reader does not compare."""
    torch = pytest.importorskip("torch", reason="the extra `parity` is not installed")
    path, arrays = tmp_path / "a.pth", {"conv1.weight": torch.rand(4, 2, 3, 3), "conv1.bias": torch.rand(4)}
    arrays |= {"dense1.weight": torch.rand(3, 4), "dense1.bias": torch.rand(3)}
    torch.save(arrays, path)
    whole = bytearray(path.read_bytes())
    from_torch(path, NET)
    whole[whole.index(struct.pack("<f", float(arrays["conv1.bias"][0]))) + 1] ^= 4
    path.write_bytes(whole)
    refused(from_torch, path, "the checksum of .* is wrong|Bad CRC")


# ----------------------------------------------------------------------------------------------------------------- fuzz


def sources(h5py, folder):
    """A whole file of each kind, and its reader."""
    written(h5py, folder / "a.weights.h5").close()
    with zipfile.ZipFile(folder / "a.keras", "w") as archive:
        archive.writestr("config.json", CONFIG)
        archive.writestr("model.weights.h5", (folder / "a.weights.h5").read_bytes())
    arrays = {"conv1/kernel": (3, 3, 2, 4), "conv1/bias": (4,), "dense1/kernel": (4, 3), "dense1/bias": (3,)}
    np.savez_compressed(folder / "a.npz", **{name: np.ones(shape, np.float32) for name, shape in arrays.items()})
    return {"a.weights.h5": (from_keras, 12), "a.keras": (from_keras, 12), "a.npz": (from_arrays, 150)}


@pytest.mark.filterwarnings("ignore:from_keras:UserWarning")
@pytest.mark.parametrize("name", ["a.weights.h5", "a.keras", "a.npz"])
def test_damaged_files_load_or_are_named_in_one_line(tmp_path, h5py, name):
    call, cases = sources(h5py, tmp_path)[name]
    path, rng = tmp_path / name, np.random.default_rng(0)
    whole = path.read_bytes()
    call(path, NET)
    for case in range(cases):
        damaged = bytearray(whole)
        start, size = int(rng.integers(len(whole))), int(rng.integers(1, 40))
        match case % 4:
            case 0:
                damaged[start] ^= 1 << int(rng.integers(8))
            case 1:
                damaged[start : start + size] = rng.integers(0, 256, size, np.uint8).tobytes()
            case 2:
                del damaged[start : start + size]
            case 3:
                del damaged[start:]
        path.write_bytes(damaged)
        try:
            call(path, NET)
        except WeightsError as error:
            assert str(path) in str(error) and "\n" not in str(error)
