"""Data sets as numpy arrays: scikit-learn's digits, Fashion-MNIST and CIFAR-10 from files, sorting, and user arrays.

Nothing is downloaded and nothing is unpickled. A missing data set raises an error that says how to get it.
"""

import dataclasses
import functools
import gzip
import hashlib
import operator
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from eosmodel._checks import check_count

_SYSTEM = pathlib.Path("/usr/share/datasets")
_FASHION = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
_CIFAR = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
# How many channels images have; an axis of another length is not one of channels.
_CHANNELS = (1, 3, 4)
UP_TO = 1000
"""Samples that `load` takes of a larger data set, unless it is told."""
_CIFAR_RECORD = 1 + 32 * 32 * 3  # one byte of label, then the red, green and blue planes


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """A supervised data set, ready for a network.

    Args:
        name: its name in plots and records.
        x: inputs, float64, shape (samples, *features), mean 0 and variance 1 per feature over these samples;
            constant features are 0. Images are (samples, height, width, channels).
        y: one-hot labels or regression targets, float64, shape (samples, outputs), or (samples, positions, outputs)
            with a target for each position of a sequence.
        classes: number of classes; None for regression.
        labels: the label of each class, in the order of y's columns; None for labels 0, 1, … and for regression.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    classes: int | None
    labels: tuple[Any, ...] | None = None

    def __post_init__(self):
        if self.x.ndim < 2 or self.y.ndim not in (2, 3) or len(self.x) != len(self.y):
            raise ValueError(
                "Data: x must have shape (samples, *features) and y (samples, [positions,] outputs), as many samples, "
                f"got {self.x.shape} and {self.y.shape}; `from_arrays` brings arrays into this form"
            )

    @property
    def sha256(self) -> str:
        """A hash of the numbers in x and y, whatever they are called."""
        hashed = hashlib.sha256()
        for array in (self.x, self.y):
            hashed.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()

    def __repr__(self) -> str:
        kind = "regression" if self.classes is None else f"{self.classes} classes"
        return f"Data({self.name!r}, {len(self.x)} samples, x {self.x.shape[1:]}, y {self.y.shape[1:]}, {kind})"


def from_arrays(x, y, name: str = "arrays", samples: int | str | None = None) -> Data:
    """A data set from two arrays: x is standardised per feature, labels become one-hot.

    Args:
        x: inputs, shape (samples, *features) or (samples,), real. Images may have their channels (1, 3 or 4) first or
            last; they are stored with the channels last.
        y: labels (integers, booleans or strings of shape (samples,) or (samples, 1), or one-hot rows of shape
            (samples, classes)), which become one-hot over the labels that occur, in ascending order; or floating-point
            regression targets of shape (samples,) or (samples, outputs), kept as they are. Rows of floats that are all
            one-hot are labels.
        name: the data set's name.
        samples: number of samples, the first ones; None for all.

    Raises:
        ValueError: unequal lengths, a single class, more than ten classes that are more than half of the
            samples, NaN or infinity, or a `samples` that is not available.

    Example:
        >>> from eosmodel.objectives import data
        >>> pair = data.from_arrays([[1.0, 5.0], [3.0, 5.0], [1.0, 5.0], [3.0, 5.0]], ["cat", "dog", "cat", "dog"])
        >>> pair.x[:2].tolist(), pair.y[:2].tolist(), pair.labels
        ([[-1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], ('cat', 'dog'))
    """
    x, y = _array(name, "x", x), _array(name, "y", y)
    _check_array(name, "x", x, "biuf")
    _check_array(name, "y", y, "biufUS")
    if len(x) != len(y):
        raise ValueError(f"{name}: x and y must have the same length, got {len(x)} and {len(y)}")
    count = _count(name, samples, len(x))
    labels = _labels_of(name, y)
    if labels is None:
        if y.ndim > 2:
            raise ValueError(f"{name}: float y must have shape (samples,) or (samples, outputs), got {y.shape}")
        classes, names, targets = None, None, _finite(name, "y", y[:count].reshape(count, -1))
    else:
        classes, names, targets = _classes(name, labels, count)
    features = x[:count].reshape(count, -1) if x.ndim == 1 else _channels_last(x[:count])
    return Data(name, _standardised(_finite(name, "x", features)), targets, classes, names)


def _array(name: str, key: str, value: Any) -> np.ndarray:
    """As an array; a column of strings, which pandas keeps as objects, as one of strings."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: {key} is not an array ({error})") from None
    if array.dtype.kind == "O" and array.size and all(isinstance(entry, str) for entry in array.flat):
        return array.astype(str)
    return array


def _check_array(name: str, key: str, array: np.ndarray, kinds: str) -> None:
    if array.dtype.kind not in kinds:
        allowed = "real numbers" if "U" not in kinds else "real numbers or strings"
        raise ValueError(f"{name}: {key} must hold {allowed}, got dtype {array.dtype}")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name}: {key} must hold at least one sample and one feature, got shape {array.shape}")


def _labels_of(name: str, y: np.ndarray) -> np.ndarray | None:
    """The label of every sample, shape (samples,); None where y holds regression targets."""
    one_hot = y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "biuf"
    if one_hot and ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
        return y.argmax(axis=1)
    if y.dtype.kind == "f":
        return None
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"{name}: integer y must have shape (samples,) or be one-hot rows, got {y.shape}; for regression pass "
            "floats"
        )
    return y


def _classes(name: str, labels: np.ndarray, count: int) -> tuple[int, tuple[Any, ...] | None, np.ndarray]:
    """Number of classes, their labels (None for 0, 1, …), and the one-hot targets of the first samples."""
    values, index = np.unique(labels, return_inverse=True)
    classes = len(values)
    if classes == 1:
        raise ValueError(f"{name}: all labels in y are {values[0]}: there is nothing to tell apart")
    if classes > max(10, len(labels) // 2):
        raise ValueError(
            f"{name}: y has {classes} different labels in {len(labels)} samples; for regression pass y as floats"
        )
    plain = labels.dtype.kind in "biu" and np.array_equal(values, np.arange(classes))
    return classes, None if plain else tuple(values.tolist()), _one_hot(index[:count], classes)


def _channels_last(x: np.ndarray) -> np.ndarray:
    """Images (samples, channels, height, width) as (samples, height, width, channels); everything else as it is."""
    first = x.ndim == 4 and x.shape[1] in _CHANNELS and x.shape[3] not in _CHANNELS
    return np.moveaxis(x, 1, 3) if first else x


def from_npz(path, samples: int | str | None = None) -> Data:
    """The arrays `x` and `y` of an .npz file (never a pickle), through `from_arrays`."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in ("x", "y") if key not in archive]
            arrays = {} if missing else {key: archive[key] for key in ("x", "y")}
            keys = ", ".join(archive) or "none"
    except (ValueError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"path: {path} is not an .npz file of plain arrays ({str(error).splitlines()[0]})") from None
    if missing:
        raise ValueError(f"path: {path} must hold the keys x and y, lacks {' and '.join(missing)}; keys: {keys}")
    return from_arrays(arrays["x"], arrays["y"], name=path.stem, samples=samples)


def digits(samples: int | str | None = None) -> Data:
    """The 1797 handwritten digits of scikit-learn (8×8 pixels, 10 classes), x of shape (samples, 8, 8, 1).

    Example:
        >>> from eosmodel.objectives import data
        >>> data.digits(100).x.shape
        (100, 8, 8, 1)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return from_arrays(bunch.images[..., None], bunch.target, name="digits", samples=samples)


def fashion_mnist(samples: int | str | None = UP_TO, path=None) -> Data:
    """The first training images of Fashion-MNIST (28×28, 10 classes), x of shape (samples, 28, 28, 1).

    Args:
        samples: number of samples, the first ones; None for all 60000.
        path: the folder of the gzipped idx files, or its parent. None looks in the folder that the environment
            variable EOSMODEL_DATA names, then in /usr/share/datasets/fashion-mnist.

    Source: Xiao, Rasul & Vollgraf, arXiv 1708.07747.
    """
    folder = _folder(
        "fashion-mnist",
        _FASHION,
        path,
        "fashion-mnist",
        system=_SYSTEM / "fashion-mnist",
        get="install the Debian package dataset-fashion-mnist, or put the four idx .gz files in a folder",
    )
    images, labels = (folder / file for file in _FASHION)
    x, y = _read_idx(images, 3, samples), _read_idx(labels, 1, samples)
    return _images("fashion-mnist", x[..., None], y)


def cifar10(samples: int | str | None = UP_TO, path=None) -> Data:
    """The first training images of CIFAR-10 (32×32, 10 classes), x of shape (samples, 32, 32, 3).

    Reads the "binary version", those of the files data_batch_1.bin to data_batch_5.bin that exist.

    Args:
        samples: number of samples, the first ones; None for all in the files.
        path: the folder of the files, or its parent. None looks in the folder that EOSMODEL_DATA names.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
    """
    folder = _folder(
        "cifar10",
        _CIFAR[:1],
        path,
        "cifar-10-batches-bin",
        system=None,
        get='unpack the "CIFAR-10 binary version" (cifar-10-binary.tar.gz, www.cs.toronto.edu/~kriz/cifar.html)',
    )
    files = [folder / name for name in _CIFAR if (folder / name).is_file()]
    for file in files:
        if file.stat().st_size % _CIFAR_RECORD or not file.stat().st_size:
            raise ValueError(f"cifar10: {file} is damaged: its size is not a multiple of {_CIFAR_RECORD} bytes")
    count = _count("cifar10", samples, sum(file.stat().st_size for file in files) // _CIFAR_RECORD)
    raw, wanted = b"", count * _CIFAR_RECORD
    for file in files:
        with file.open("rb") as stream:
            raw += stream.read(wanted - len(raw))
    records = np.frombuffer(raw, np.uint8).reshape(count, _CIFAR_RECORD)
    return _images("cifar10", records[:, 1:].reshape(count, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0])


def sorting(samples: int | str | None = UP_TO, length: int = 8, tokens: int = 8) -> Data:
    """Sequences to be sorted: random tokens x, the same in order y, both one-hot (samples, length, tokens).

    Args:
        samples: number of samples; None for 1000. A smaller number gives the first of these.
        length: number of tokens in a sequence.
        tokens: number of different tokens; they are drawn uniformly.

    Example:
        >>> from eosmodel.objectives import data
        >>> pairs = data.sorting(2, length=4)
        >>> pairs.x.argmax(-1)[0].tolist(), pairs.y.argmax(-1)[0].tolist()
        ([6, 5, 4, 2], [2, 4, 5, 6])
    """
    count = _generated("sorting", samples, length, tokens)
    drawn = np.random.default_rng(0).integers(tokens, size=(count, length))
    one_hot = np.eye(tokens)
    return Data("sorting", one_hot[drawn], one_hot[np.sort(drawn, axis=1)], tokens)


def markov(samples: int | str | None = UP_TO, length: int = 16, tokens: int = 4) -> Data:
    """Sequences of Markov chains x and their next tokens y, both one-hot (samples, length, tokens).

    Every sequence has a chain of its own, whose transition probabilities from each token are uniform on the simplex: a
    model has to learn how often one token has followed another earlier in the sequence.

    Args:
        samples: number of samples; None for 1000. A smaller number gives the first of these.
        length: number of tokens in a sequence.
        tokens: number of different tokens.

    Example:
        >>> from eosmodel.objectives import data
        >>> chains = data.markov(2, length=6)
        >>> bool((chains.x[:, 1:] == chains.y[:, :-1]).all())
        True

    Source: Edelman et al., arXiv 2402.11004.
    """
    count = _generated("markov", samples, length, tokens)
    drawn = np.random.default_rng(0).random((count, tokens**2 + length + 1))
    steps = -np.log1p(-drawn[:, : tokens**2]).reshape(count, tokens, tokens)  # exponential: normalised, uniform
    upto = np.cumsum(steps / steps.sum(axis=2, keepdims=True), axis=2)
    chances, rows = drawn[:, tokens**2 :], np.arange(count)
    chain = [np.minimum((chances[:, 0] * tokens).astype(int), tokens - 1)]
    for chance in chances[:, 1:].T:
        below = (upto[rows, chain[-1]] <= chance[:, None]).sum(axis=1)
        chain.append(np.minimum(below, tokens - 1))
    one_hot = np.eye(tokens)[np.stack(chain, axis=1)]
    return Data("markov", one_hot[:, :-1], one_hot[:, 1:], tokens)


DATASETS: dict[str, tuple[Callable[..., Data], str]] = {
    "digits": (digits, "1797 handwritten digits, 8×8 pixels, 10 classes; part of scikit-learn"),
    "fashion-mnist": (fashion_mnist, "60000 pieces of clothing, 28×28 pixels, 10 classes; from files"),
    "cifar10": (cifar10, "50000 photographs, 32×32×3 pixels, 10 classes; from files"),
    "sorting": (sorting, "sequences of 8 random tokens to be sorted, for a transformer; generated"),
    "markov": (markov, "sequences of 16 tokens, each of a Markov chain of its own, with the next ones; generated"),
}
"""Name -> (function, one-line description) of the data sets of `load`."""


def load(spec: str | os.PathLike, samples: int | str | None = None) -> Data:
    """A data set by its name in `DATASETS`, or the path of an .npz file with arrays x and y.

    Args:
        spec: name or path.
        samples: number of samples, the first ones; "all" for all; "up-to-1000" for at most 1000; None for the default
            of the data set: all of the digits and of an .npz file, the first 1000 of the others.

    Raises:
        ValueError: an unknown name, or a number of samples that is not available.
        FileNotFoundError: a data set whose files do not exist.
    """
    known = isinstance(spec, str) and spec in DATASETS
    if not known and not os.fspath(spec).endswith(".npz"):
        names = ", ".join(DATASETS)
        raise ValueError(f"spec: unknown data set {os.fspath(spec)!r}; known are {names}, or the path of an .npz file")
    make = DATASETS[str(spec)][0] if known else functools.partial(from_npz, spec)
    return make() if samples is None else make(samples=samples)


def _generated(name: str, samples: int | str | None, length: int, tokens: int) -> int:
    """The number of samples of a generated data set, whose sizes are checked."""
    count = _count(name, samples, UP_TO) if samples is None or isinstance(samples, str) else samples
    for key, value in (("samples", count), ("length", length), ("tokens", tokens)):
        check_count(name, key, value)
    return count


def _count(name: str, samples: int | str | None, available: int) -> int:
    if samples is None or samples in ("all", "none"):
        return available
    if samples == f"up-to-{UP_TO}":
        return min(UP_TO, available)
    try:
        count = operator.index(samples)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{name}: samples must be an integer, 'all' or None, got {samples!r}") from None
    if not 1 <= count <= available:
        raise ValueError(f"{name}: samples must lie in [1, {available}] ({available} are available), got {samples}")
    return count


def _finite(name: str, key: str, array: np.ndarray) -> np.ndarray:
    array = array.astype(np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name}: {key} must be finite, got {bad.sum()} NaN or infinite values, the first at {first}")
    return array


def _standardised(x: np.ndarray) -> np.ndarray:
    constant = x.max(axis=0) == x.min(axis=0)  # exact, unlike a test of the rounded standard deviation
    # Squares of very large or small numbers overflow or underflow, so each feature is first scaled by a power of 2.
    _, exponent = np.frexp(np.abs(x).max(axis=0))
    x = np.ldexp(x, -exponent)
    scale = np.where(constant, 1.0, x.std(axis=0))
    return np.where(constant, 0.0, (x - x.mean(axis=0)) / np.where(scale > 0, scale, 1.0))


def _one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    one_hot = np.zeros((len(labels), classes))
    one_hot[np.arange(len(labels)), labels.astype(np.int64)] = 1.0
    return one_hot


def _images(name: str, x: np.ndarray, labels: np.ndarray) -> Data:
    """Images with ten classes, labels 0 to 9, even if not all of them occur in these samples."""
    if len(x) != len(labels):
        raise ValueError(
            f"{name}: there are {len(x)} images and {len(labels)} labels; the files do not belong together"
        )
    if labels.max() > 9:
        raise ValueError(f"{name}: labels must lie in [0, 9], got {labels.max()}; the file is damaged")
    return Data(name, _standardised(x.astype(np.float64)), _one_hot(labels, 10), 10)


def _folder(name: str, files: tuple[str, ...], path, subfolder: str, *, system, get: str) -> pathlib.Path:
    """The first folder that contains `files`. If a path is given, no other folder is searched."""
    if path is not None:
        bases = [pathlib.Path(path)]
    else:
        bases = [pathlib.Path(os.environ["EOSMODEL_DATA"])] if os.environ.get("EOSMODEL_DATA") else []
    places = [folder for base in bases for folder in (base / subfolder, base)]
    if path is None and system is not None:
        places.append(system)
    for folder in places:
        if all((folder / file).is_file() for file in files):
            return folder
    looked = ", ".join(map(str, places)) or "no folder (EOSMODEL_DATA is not set)"
    raise FileNotFoundError(f"{name}: no {files[0]} in {looked}; {get} and point EOSMODEL_DATA, or path, to the folder")


def _read_idx(file: pathlib.Path, dimensions: int, samples: int | str | None) -> np.ndarray:
    """The first samples of a gzipped idx file of bytes: magic number, shape (big-endian), data."""
    try:
        with gzip.open(file) as stream:
            magic, *shape = struct.unpack(f">{1 + dimensions}I", stream.read(4 + 4 * dimensions))
            if magic != 0x0800 + dimensions:
                raise gzip.BadGzipFile("wrong magic number")
            count = _count("fashion-mnist", samples, shape[0]) if shape[0] else 0
            size = count * int(np.prod(shape[1:], dtype=np.int64))
            raw = stream.read(size)
            if not size or len(raw) != size:
                raise EOFError("too short")
    except (gzip.BadGzipFile, EOFError, struct.error, zlib.error) as error:
        raise ValueError(f"{file} is damaged ({error}): not a gzipped idx file of {dimensions} dimensions") from None
    return np.frombuffer(raw, np.uint8).reshape(count, *shape[1:])
