"""A separate program that reads a Keras file and writes its content to the standard output.

It runs in a process of its own, because a hostile HDF5 file can make the C library hang or crash. Nothing
outside of the file is read: links, external storage and virtual datasets are refused, as is what states a size above
the limit. It needs NumPy and h5py alone, so that it starts quickly.

    python extract.py PATH LIMIT    ->    one line of JSON, then the bytes of the arrays in its order
"""

import contextlib
import io
import json
import math
import sys
import zipfile

import h5py  # type: ignore[import-untyped]
import numpy as np

CONFIG_LIMIT = 64 << 20  # the most bytes of a configuration or a list of names
MEMBERS, OBJECTS, DEPTH = 10_000, 100_000, 60
NAMES = ("layer_names", "weight_names", "model_config", "name")
TRAINING = ("optimizer_weights", "optimizer", "_optimizer", "metrics", "compile_metrics", "_compile_metrics")


def main(path: str, limit: int) -> None:
    """Write the content of the file at `path`, at most `limit` bytes of arrays."""
    _bound_memory(limit)
    config, source = None, None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > MEMBERS:
                raise ValueError(f"the archive has {len(archive.infolist()):,} members")
            config = _member(archive, "config.json", CONFIG_LIMIT).decode()
            source = io.BytesIO(_member(archive, "model.weights.h5", limit))
    with h5py.File(source or path, "r") as file:
        walk = Walk(limit)
        tree = walk.group(file, 0)
        about = {"config": config, "tree": tree, "arrays": [(_dtype(array), array.shape) for array in walk.arrays]}
        output = sys.stdout.buffer
        output.write(json.dumps(about).encode() + b"\n")
        for array in walk.arrays:
            output.write(np.ravel(np.asarray(array[()], order="C")).view(np.uint8).data)
        output.flush()


class Walk:
    """A walk through the groups of a file. It notes the arrays and does not read them."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes, self.objects = limit, 0, 0
        self.arrays: list[h5py.Dataset] = []
        self.on_the_way: list[int] = []  # the addresses of the groups that the walk is inside of

    def group(self, group, depth: int) -> dict:
        """The attributes, groups and numbers of the arrays in a group."""
        place = h5py.h5o.get_info(group.id).addr
        if depth > DEPTH or place in self.on_the_way:
            raise ValueError(f"the groups are nested without end at {group.name}")
        self.on_the_way.append(place)
        found: dict = {"attributes": _attributes(group), "groups": {}, "arrays": {}}
        for name in group:
            self.objects += 1
            if self.objects > OBJECTS:
                raise ValueError(f"more than {OBJECTS:,} groups and arrays")
            if depth == 0 and name in TRAINING:
                continue
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{group.name}: {name} is a {type(link).__name__}, which may lead to another file")
            member = group[name]
            if isinstance(member, h5py.Group):
                found["groups"][name] = self.group(member, depth + 1)
            elif isinstance(member, h5py.Dataset):
                found["arrays"][name] = self.array(member)
        self.on_the_way.pop()
        return found

    def array(self, array) -> int:
        """The number of an array that may be read."""
        if array.is_virtual or array.external:
            raise ValueError(f"the values of {array.name} lie in another file")
        if array.shape is None or not (array.dtype.kind in "fiub" or _dtype(array) == "bfloat16"):
            raise ValueError(f"{array.name} holds no numbers but {array.dtype}")
        self.bytes += math.prod(array.shape) * array.dtype.itemsize
        chunk = math.prod(array.chunks or (0,)) * array.dtype.itemsize
        if max(self.bytes, chunk) > self.limit:
            raise ValueError(f"{array.name} and what is before it state {max(self.bytes, chunk):,} bytes")
        self.arrays.append(array)
        return len(self.arrays) - 1


def _attributes(group) -> dict[str, list[str]]:
    """The attributes that describe a group. Long lists of names are stored in parts: layer_names0 and so on."""
    found = {}
    for name in group.attrs:
        if name.rstrip("0123456789") in NAMES:
            stated = group.attrs.get_id(name)
            if math.prod(stated.shape) * stated.dtype.itemsize > CONFIG_LIMIT:
                raise ValueError(f"the attribute {name} of {group.name} is too long")
            value = group.attrs[name]
            values = [value] if isinstance(value, str | bytes) else np.ravel(value).tolist()
            found[name] = [part.decode() if isinstance(part, bytes) else str(part) for part in values]
    return found


def _dtype(array) -> str:
    """The dtype of an array. HDF5 has no bfloat16: Keras writes two bytes, and an attribute that says so."""
    if array.dtype.kind == "V" and array.dtype.itemsize == 2 and array.attrs.get("dtype") == "bfloat16":
        return "bfloat16"
    return array.dtype.str


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with archive.open(name) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{name} unpacks to more than {limit:,} bytes")
    return content


def _bound_memory(limit: int) -> None:
    """Bound the address space: room for the libraries, and for some copies of the largest content allowed."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # this system has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 * limit + (4 << 30),) * 2)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except Exception as error:  # damaged bytes raise all kinds of errors; the caller prints one line
        sys.stderr.write(f"{str(error) or type(error).__name__}\n")
        sys.exit(3)
