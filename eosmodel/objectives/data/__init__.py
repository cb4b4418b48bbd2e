"""Data sets as numpy arrays: scikit-learn's digits, images from files, generated sequences, and user arrays.

Nothing is downloaded, and nothing in a file is run. A missing data set raises an error that says how to get it.
"""

import functools
import os
from collections.abc import Callable
from typing import Unpack

from eosmodel.objectives.data.arrays import Data, from_arrays, from_npz
from eosmodel.objectives.data.choice import Choice
from eosmodel.objectives.data.generated import markov, sorting
from eosmodel.objectives.data.images import cifar10, cifar100, digits, fashion_mnist, svhn

DATASETS: dict[str, tuple[Callable[..., Data], str]] = {
    "digits": (digits, "1797 handwritten digits, 8×8 pixels, 10 classes; part of scikit-learn"),
    "fashion-mnist": (fashion_mnist, "60000 pieces of clothing, 28×28 pixels, 10 classes; from files"),
    "cifar10": (cifar10, "50000 photographs, 32×32×3 pixels, 10 classes; from files"),
    "cifar100": (cifar100, "50000 photographs, 32×32×3 pixels, 100 classes; from files"),
    "svhn": (svhn, "73257 house numbers, 32×32×3 pixels, 10 classes; from files"),
    "sorting": (sorting, "sequences of 8 random tokens to be sorted, for a transformer; generated"),
    "markov": (markov, "sequences of 16 tokens, each of a Markov chain of its own, with the next ones; generated"),
}
"""Name -> (function, one-line description) of the data sets of `load`."""


def load(spec: str | os.PathLike, samples: int | str | None = None, **choice: Unpack[Choice]) -> Data:
    """A data set by its name in `DATASETS`, or the path of an .npz file with arrays x and y.

    Args:
        spec: name or path.
        samples: number of samples, the first ones; "all" for all; "up-to-1000" for at most 1000; None for the default
            of the data set: all of the digits and of an .npz file, the first 1000 of the others.
        choice: `subset_seed`, `classes` and `test_samples`, see `Choice`.

    Raises:
        ValueError: an unknown name, or a number of samples that is not available.
        FileNotFoundError: a data set whose files do not exist.
    """
    known = isinstance(spec, str) and spec in DATASETS
    if not known and not os.fspath(spec).endswith(".npz"):
        names = ", ".join(DATASETS)
        raise ValueError(f"spec: unknown data set {os.fspath(spec)!r}; known are {names}, or the path of an .npz file")
    make = DATASETS[str(spec)][0] if known else functools.partial(from_npz, spec)
    return make(**choice) if samples is None else make(samples=samples, **choice)


__all__ = [
    "DATASETS",
    "Choice",
    "Data",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "from_arrays",
    "from_npz",
    "load",
    "markov",
    "sorting",
    "svhn",
]
