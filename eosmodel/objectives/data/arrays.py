"""A data set, and how arrays of the user's own become one."""

import dataclasses
import hashlib
import pathlib
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np

from eosmodel.objectives.data.choice import Choice, chosen, kept_classes

# How many channels images have; an axis of another length is not one of channels.
_CHANNELS = (1, 3, 4)


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
        test: samples that are held out, with inputs shifted and scaled as x is; None without any.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    classes: int | None
    labels: tuple[Any, ...] | None = None
    test: "Data | None" = None

    def __post_init__(self):
        if self.x.ndim < 2 or self.y.ndim not in (2, 3) or len(self.x) != len(self.y):
            raise ValueError(
                "Data: x must have shape (samples, *features) and y (samples, [positions,] outputs), as many samples, "
                f"got {self.x.shape} and {self.y.shape}; `from_arrays` brings arrays into this form"
            )

    @property
    def sha256(self) -> str:
        """A hash of the numbers in x and y, and in those of `test`, whatever they are called."""
        hashed = hashlib.sha256()
        for array in (self.x, self.y, *(() if self.test is None else (self.test.x, self.test.y))):
            hashed.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()

    def __repr__(self) -> str:
        kind = "regression" if self.classes is None else f"{self.classes} classes"
        held_out = "" if self.test is None else f", {len(self.test.x)} held out"
        samples = f"{len(self.x)} samples{held_out}"
        return f"Data({self.name!r}, {samples}, x {self.x.shape[1:]}, y {self.y.shape[1:]}, {kind})"


def from_arrays(x, y, name: str = "arrays", samples: int | str | None = None, **choice: Unpack[Choice]) -> Data:
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
        choice: `subset_seed`, `classes` and `test_samples`, see `Choice`.

    Raises:
        ValueError: unequal lengths, a single class (also among the samples chosen), more than ten classes that are
            more than half of the samples, NaN or infinity, or a `samples` that is not available.

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
    features = x.reshape(len(x), -1) if x.ndim == 1 else _channels_last(x)
    labels = _labels_of(name, y)
    if labels is not None:
        numbers, known = _numbered(name, labels)
        return labelled(name, numbers, features.__getitem__, known, samples, choice)
    if y.ndim > 2:
        raise ValueError(f"{name}: float y must have shape (samples,) or (samples, outputs), got {y.shape}")
    if choice.get("classes") is not None:
        raise ValueError(f"{name}: classes are those of labels, and y holds regression targets")
    parts = chosen(name, np.arange(len(y)), None, samples, choice)
    targets = y[:, None] if y.ndim == 1 else y
    train, held_out = ((features[part], _finite(name, "y", targets[part])) for part in parts)
    return _standardised(name, train, held_out, None, None)


def from_npz(path, samples: int | str | None = None, **choice: Unpack[Choice]) -> Data:
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
    return from_arrays(arrays["x"], arrays["y"], name=path.stem, samples=samples, **choice)


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


def _numbered(name: str, labels: np.ndarray) -> tuple[np.ndarray, list[Any]]:
    """The number of every sample's class, and the labels of the classes."""
    values, index = np.unique(labels, return_inverse=True)
    classes = len(values)
    if classes == 1:
        raise ValueError(f"{name}: all labels in y are {values[0]}: there is nothing to tell apart")
    if classes > max(10, len(labels) // 2):
        raise ValueError(
            f"{name}: y has {classes} different labels in {len(labels)} samples; for regression pass y as floats"
        )
    return index, (values.astype(int) if values.dtype.kind == "b" else values).tolist()


def labelled(
    name: str,
    numbers: np.ndarray,
    read: Callable[[np.ndarray], np.ndarray],
    known: Sequence[Any],
    samples: int | str | None,
    choice: Choice,
    own_test: tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]] | None = None,
) -> Data:
    """A data set of samples with labels.

    Args:
        name: its name.
        numbers: number of the class of every sample there is.
        read: the inputs of the samples of some indices.
        known: label of every class.
        samples, choice: as in `from_arrays`.
        own_test: numbers and inputs of a test set that the data set has.
    """
    kept = kept_classes(name, choice.get("classes"), known)
    column = np.full(len(known), -1)
    column[kept] = np.arange(len(kept))
    pool = np.flatnonzero(column[numbers] >= 0)
    rest, read_rest = (numbers, read) if own_test is None else own_test
    tested = None if own_test is None else np.flatnonzero(column[rest] >= 0)
    train, held_out = chosen(name, pool, tested, samples, choice)
    if len(train) > 1 and np.ptp(numbers[train]) == 0:
        label, other = known[numbers[train[0]]], "a random subset, subset_seed=0"
        raise ValueError(f"{name}: the {len(train)} samples chosen are all {label}; take more of them, or {other}")
    one_hot = np.eye(len(kept))
    labels = [known[i] for i in kept]
    return _standardised(
        name,
        (read(train), one_hot[column[numbers[train]]]),
        (read_rest(held_out), one_hot[column[rest[held_out]]]) if len(held_out) else None,
        len(kept),
        None if labels == [*range(len(kept))] else tuple(labels),
    )


def _channels_last(x: np.ndarray) -> np.ndarray:
    """Images (samples, channels, height, width) as (samples, height, width, channels); everything else as it is."""
    first = x.ndim == 4 and x.shape[1] in _CHANNELS and x.shape[3] not in _CHANNELS
    return np.moveaxis(x, 1, 3) if first else x


def _finite(name: str, key: str, array: np.ndarray) -> np.ndarray:
    array = array.astype(np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name}: {key} must be finite, got {bad.sum()} NaN or infinite values, the first at {first}")
    return array


def _standardised(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray] | None,
    classes: int | None,
    labels: tuple[Any, ...] | None,
) -> Data:
    """A data set of inputs and targets; what is held out is shifted and scaled by the numbers of what is not."""
    x = _finite(name, "x", train[0])
    scaled = _standardiser(x)
    test = None
    if held_out is not None and len(held_out[0]):
        test = Data(name, scaled(_finite(name, "x", held_out[0])), held_out[1], classes, labels)
    return Data(name, scaled(x), train[1], classes, labels, test)


def _standardiser(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function that gives x mean 0 and variance 1 per feature, and 0 where x is constant."""
    constant = x.max(axis=0) == x.min(axis=0)  # exact, unlike a test of the rounded standard deviation
    # Squares of very large or small numbers overflow or underflow, so each feature is first scaled by a power of 2.
    _, exponent = np.frexp(np.abs(x).max(axis=0))
    x = np.ldexp(x, -exponent)
    mean, scale = x.mean(axis=0), np.where(constant, 1.0, x.std(axis=0))
    scale = np.where(scale > 0, scale, 1.0)
    return lambda x: np.where(constant, 0.0, (np.ldexp(x, -exponent) - mean) / scale)
