"""A program of its own: reads a file of Keras and writes what is in it to the standard output.

It runs apart from whoever asked, because a hostile HDF5 file can keep the C library busy for ever or crash it. Nothing
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

CONFIG_LIMIT = 64 << 20  # bytes of a configuration or a list of names
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
    """Through the groups of a file; arrays are noted, not read."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes, self.objects = limit, 0, 0
        self.arrays: list[h5py.Dataset] = []
        self.on_the_way: list[int] = []  # the places of the groups that are being walked through

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
    """The texts that say what a group is; long lists of names stand in parts, layer_names0 and so on."""
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
    """Keras writes bfloat16, which HDF5 does not know, as two bytes and says so beside them."""
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
    """What the address space may grow to: the libraries, and some copies of what may be read."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limits on this system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 * limit + (4 << 30),) * 2)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except Exception as error:  # whatever h5py and zipfile raise for whatever bytes; the caller says it in one line
        sys.stderr.write(f"{str(error) or type(error).__name__}\n")
        sys.exit(3)
