"""Files of data sets in the formats that they are distributed in: found, and read without running anything in them."""

import gzip
import os
import pathlib
import pickle
import struct
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

_RECONSTRUCT = np.zeros(0).__reduce__()[0]


def find_folder(
    name: str, layouts: Sequence[tuple[str, str]], path, *, system: pathlib.Path | None = None, get: str
) -> tuple[pathlib.Path, int]:
    """The first folder that holds the data set, and the number of its layout.

    Args:
        name: of the data set.
        layouts: a subfolder and a file in it, for each form of the data set.
        path: of the folder or of its parent. If it is given, no other folder is searched; None looks in the folder that
            the environment variable EOSMODEL_DATA names, then in `system`.
        system: the folder of the operating system's copy, in the first layout.
        get: how to get the data set, for the error.
    """
    if path is not None:
        bases = [pathlib.Path(path)]
    else:
        bases = [pathlib.Path(os.environ["EOSMODEL_DATA"])] if os.environ.get("EOSMODEL_DATA") else []
    places = [
        (folder, layout)
        for base in bases
        for layout, (subfolder, _) in enumerate(layouts)
        for folder in (base / subfolder, base)
    ]
    if path is None and system is not None:
        places.append((system, 0))
    for folder, layout in places:
        if (folder / layouts[layout][1]).is_file():
            return folder, layout
    looked = ", ".join(dict.fromkeys(str(folder) for folder, _ in places)) or "no folder (EOSMODEL_DATA is not set)"
    files = " or ".join(dict.fromkeys(file for _, file in layouts))
    raise FileNotFoundError(f"{name}: no {files} in {looked}; {get} and point EOSMODEL_DATA, or path, to the folder")


def read_idx(file: pathlib.Path, dimensions: int, count: int | None = None) -> tuple[int, np.ndarray]:
    """The number of samples in a gzipped idx file of bytes (magic number, shape (big-endian), data), and the first
    ones; None for all."""
    try:
        with gzip.open(file) as stream:
            magic, *shape = struct.unpack(f">{1 + dimensions}I", stream.read(4 + 4 * dimensions))
            if magic != 0x0800 + dimensions:
                raise gzip.BadGzipFile("wrong magic number")
            count = shape[0] if count is None else count
            size = count * int(np.prod(shape[1:], dtype=np.int64))
            raw = stream.read(size)
            if not shape[0] or len(raw) != size:
                raise EOFError("too short")
    except (gzip.BadGzipFile, EOFError, struct.error, zlib.error) as error:
        raise ValueError(f"{file} is damaged ({error}): not a gzipped idx file of {dimensions} dimensions") from None
    return shape[0], np.frombuffer(raw, np.uint8).reshape(count, *shape[1:])


def read_records(name: str, file: pathlib.Path, labels: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and pixels of a binary file of records, each of some bytes of labels, the last of which counts, and of so
    many pixels."""
    length = labels + size
    size_of_file = file.stat().st_size
    if size_of_file % length or not size_of_file:
        raise ValueError(f"{name}: {file} is damaged: its size is not a multiple of {length} bytes")
    # Only what is taken of it is read.
    records = np.memmap(file, np.uint8, mode="r", shape=(size_of_file // length, length))
    return records[:, labels - 1], records[:, labels:]


class _Plain(pickle.Unpickler):
    """Reads arrays, texts, numbers, lists and tables, and refuses everything else that a pickle could make or run."""

    _KNOWN: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
        # Bytes, as Python 3 writes them for Python 2.
        ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} in it is no data")
        return self._KNOWN[module, name]


def read_batch(name: str, file: pathlib.Path, key: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and pixels of a pickled batch: a table with `data`, bytes of shape (samples, size), and labels."""
    try:
        with file.open("rb") as stream:
            table = _Plain(stream, encoding="bytes").load()
        table = {key.decode() if isinstance(key, bytes) else key: value for key, value in table.items()}
        pixels, labels = np.asarray(table["data"]), np.asarray(table[key])
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), size) or labels.dtype.kind not in "iu":
            raise ValueError(f"data are {pixels.dtype} {pixels.shape}, labels {labels.dtype} {labels.shape}")
    except (pickle.UnpicklingError, EOFError, KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: {file} is damaged, or no batch of images: {error!r}") from None
    return labels, pixels


def read_mat(name: str, file: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and images (samples, height, width, channels) of a file of MATLAB with X and y, in which 10 is a 0."""
    from scipy.io import loadmat  # slow to import

    try:
        content = loadmat(file, variable_names=("X", "y"))
        images, labels = content["X"], content["y"].ravel()
        if images.ndim != 4 or images.shape[3] != len(labels) or images.dtype != np.uint8:
            raise ValueError(f"X is {images.dtype} {images.shape}, y {labels.shape}")
    except Exception as error:  # scipy raises many kinds
        raise ValueError(f"{name}: {file} is damaged, or no file of MATLAB with X and y: {error!r}") from None
    return labels % 10, images.transpose(3, 0, 1, 2)
