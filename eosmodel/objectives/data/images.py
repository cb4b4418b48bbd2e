"""Images: scikit-learn's digits, and Fashion-MNIST, CIFAR and SVHN from files."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple, Unpack

import numpy as np

from eosmodel.objectives.data.arrays import Data, from_arrays, labelled
from eosmodel.objectives.data.choice import UP_TO, Choice
from eosmodel.objectives.data.files import find_folder, read_batch, read_idx, read_mat, read_records

_SYSTEM = pathlib.Path("/usr/share/datasets")
FASHION = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
_FASHION_TEST = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
_PIXELS = 32 * 32 * 3  # the red, green and blue planes


def digits(samples: int | str | None = None, **choice: Unpack[Choice]) -> Data:
    """The 1797 handwritten digits of scikit-learn (8×8 pixels, 10 classes), x of shape (samples, 8, 8, 1).

    Args:
        samples: number of samples, the first ones; None for all.
        choice: `subset_seed`, `classes` and `test_samples`, see `Choice`.

    Example:
        >>> from eosmodel.objectives import data
        >>> data.digits(100).x.shape
        (100, 8, 8, 1)
        >>> data.digits(100, classes=(3, 8), subset_seed=1, test_samples=50)
        Data('digits', 100 samples, 50 held out, x (8, 8, 1), y (2,), 2 classes)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return from_arrays(bunch.images[..., None], bunch.target, name="digits", samples=samples, **choice)


def fashion_mnist(samples: int | str | None = UP_TO, path=None, **choice: Unpack[Choice]) -> Data:
    """Training images of Fashion-MNIST (28×28, 10 classes), x of shape (samples, 28, 28, 1).

    Args:
        samples: number of samples, the first ones; None for all 60000.
        path: the folder of the gzipped idx files, or its parent. None looks in the folder that the environment
            variable EOSMODEL_DATA names, then in /usr/share/datasets/fashion-mnist.
        choice: `subset_seed`, `classes` and `test_samples`, see `Choice`; the last of its test set where that exists.

    Source: Xiao, Rasul & Vollgraf, arXiv 1708.07747.
    """
    name = "fashion-mnist"
    get = "install the Debian package dataset-fashion-mnist, or put the four idx .gz files in a folder"
    folder, _ = find_folder(name, [(name, FASHION[0])], path, system=_SYSTEM / name, get=get)

    def part(files):
        images, labels = (folder / file for file in files)
        available, _ = read_idx(images, 3, 0)
        count, numbers = read_idx(labels, 1)
        if available != count:
            raise ValueError(
                f"{name}: there are {available} images and {count} labels; the files do not belong together"
            )
        return numbers, lambda chosen: read_idx(images, 3, int(chosen.max(initial=-1)) + 1)[1][chosen][..., None]

    has_test = all((folder / file).is_file() for file in _FASHION_TEST)
    tested = part(_FASHION_TEST) if has_test and choice.get("test_samples") else None
    return _images(name, 10, part(FASHION), samples, tested, choice)


class _Cifar(NamedTuple):
    """A form in which CIFAR is distributed.

    Fields
        folder: name of its folder.
        train: its files for training, of which the first must exist.
        test: its file for tests.
        labels: bytes of labels in a record of a binary file, or the name of the labels in a pickled one.
    """

    folder: str
    train: tuple[str, ...]
    test: str
    labels: int | str

    def read(self, name: str, file: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(self.labels, int):
            return read_records(name, file, self.labels, _PIXELS)
        return read_batch(name, file, self.labels, _PIXELS)


_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))
_CIFAR10 = (
    _Cifar("cifar-10-batches-bin", tuple(f"{batch}.bin" for batch in _BATCHES), "test_batch.bin", 1),
    _Cifar("cifar-10-batches-py", _BATCHES, "test_batch", "labels"),
)
_CIFAR100 = (
    _Cifar("cifar-100-binary", ("train.bin",), "test.bin", 2),
    _Cifar("cifar-100-python", ("train",), "test", "fine_labels"),
)


def cifar10(samples: int | str | None = UP_TO, path=None, **choice: Unpack[Choice]) -> Data:
    """Training images of CIFAR-10 (32×32, 10 classes), x of shape (samples, 32, 32, 3).

    Reads the "binary version" (those of data_batch_1.bin to data_batch_5.bin that exist) or the "python version"
    (data_batch_1 to data_batch_5), whose pickles are read as plain arrays and run nothing.

    Args:
        samples: number of samples, the first ones; None for all in the files.
        path: the folder of the files, or its parent. None looks in the folder that EOSMODEL_DATA names.
        choice: `subset_seed`, `classes` and `test_samples`, see `Choice`; the last of the test batch where that exists.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
    """
    get = 'unpack the "CIFAR-10 binary version" or "python version" (www.cs.toronto.edu/~kriz/cifar.html)'
    return _cifar("cifar10", 10, _CIFAR10, path, get, samples, **choice)


def cifar100(samples: int | str | None = UP_TO, path=None, **choice: Unpack[Choice]) -> Data:
    """Training images of CIFAR-100 (32×32, 100 classes), x of shape (samples, 32, 32, 3), from train.bin or train.

    Arguments and source as for `cifar10`.
    """
    get = 'unpack the "CIFAR-100 binary version" or "python version" (www.cs.toronto.edu/~kriz/cifar.html)'
    return _cifar("cifar100", 100, _CIFAR100, path, get, samples, **choice)


def _cifar(name: str, number: int, forms: Sequence[_Cifar], path, get: str, samples, **choice: Unpack[Choice]) -> Data:
    folder, which = find_folder(name, [(form.folder, form.train[0]) for form in forms], path, get=get)
    form = forms[which]

    def part(files):
        labels, pixels = zip(*(form.read(name, file) for file in files), strict=True)
        starts = np.cumsum([0, *map(len, labels)])

        def read(chosen):
            planes = np.empty((len(chosen), _PIXELS), np.uint8)
            for rows, first, end in zip(pixels, starts, starts[1:], strict=False):  # of one file each
                here = (chosen >= first) & (chosen < end)
                planes[here] = rows[chosen[here] - first]
            return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

        return np.concatenate(labels), read

    tested = (folder / form.test).is_file() and choice.get("test_samples")
    files = [folder / file for file in form.train if (folder / file).is_file()]
    return _images(name, number, part(files), samples, part([folder / form.test]) if tested else None, choice)


def svhn(samples: int | str | None = UP_TO, path=None, **choice: Unpack[Choice]) -> Data:
    """Training images of the Street View House Numbers, cropped (32×32, 10 classes), x of shape (samples, 32, 32, 3).

    Args:
        samples: number of samples, the first ones; None for all 73257.
        path: the folder of train_32x32.mat, or its parent. None looks in the folder that EOSMODEL_DATA names.
        choice: `subset_seed`, `classes` and `test_samples`, see `Choice`; the last of test_32x32.mat where that exists.

    Source: Netzer et al., "Reading digits in natural images with unsupervised feature learning" (2011).
    """
    get = 'get train_32x32.mat and test_32x32.mat ("cropped digits", ufldl.stanford.edu/housenumbers)'
    folder, _ = find_folder("svhn", [("svhn", "train_32x32.mat")], path, get=get)

    def part(file):
        labels, images = read_mat("svhn", folder / file)
        return labels, images.__getitem__

    tested = (folder / "test_32x32.mat").is_file() and choice.get("test_samples")
    test = part("test_32x32.mat") if tested else None
    return _images("svhn", 10, part("train_32x32.mat"), samples, test, choice)


def _images(name: str, number: int, train, samples: int | str | None, test, choice: Choice) -> Data:
    """Images with labels 0, 1, …, even if not all of them occur in these samples; `train` and `test` are the labels and
    what reads the images of some indices."""
    for labels, _ in (train, *(() if test is None else (test,))):
        if labels.max() >= number:
            raise ValueError(f"{name}: labels must lie in [0, {number - 1}], got {labels.max()}")
    numbers, read = train
    return labelled(name, numbers, read, range(number), samples, choice, test)
