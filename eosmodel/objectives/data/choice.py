"""Which samples of a data set: how many, of which classes, in which order, and which are held out."""

import operator
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from eosmodel._checks import check_count

UP_TO = 1000
"""Samples that `load` takes of a larger data set, unless it is told."""


class Choice(TypedDict, total=False):
    """Which samples of a data set, beside their number.

    Fields
        subset_seed: which samples, held-out ones included: None for the first ones, else the first of a random order
            that this seed draws. More samples of the same seed include the fewer.
        classes: only samples of these classes, as labels or as text, "0,1"; None for all.
        test_samples: number of samples that are held out, for `Data.test`: of the test set of the data set where it has
            one, else of the samples that follow those for training; "all" samples are then those not held out.
    """

    subset_seed: int | None
    classes: Sequence[Any] | str | None
    test_samples: int


def count_of(name: str, samples: int | str | None, available: int) -> int:
    """The number of samples asked for, of those available."""
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


def kept_classes(name: str, classes: Sequence[Any] | str | None, known: Sequence[Any]) -> np.ndarray:
    """The indices of the classes asked for among the labels that there are, in ascending order."""
    if classes is None:
        return np.arange(len(known))
    asked = [word.strip() for word in classes.split(",")] if isinstance(classes, str) else [*map(str, classes)]
    places = {str(label): i for i, label in enumerate(known)}
    for label in asked:
        if label not in places:
            raise ValueError(f"{name}: classes must be among {', '.join(places)}, got {label}")
    kept = np.unique([places[label] for label in asked])
    if len(kept) < 2:
        raise ValueError(f"{name}: classes must name at least two classes, got {', '.join(asked)}")
    return kept


def chosen(
    name: str,
    pool: np.ndarray,
    own_test: np.ndarray | None,
    samples: int | str | None,
    choice: Choice,
) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the samples for training, and of those held out.

    Args:
        name: of the data set.
        pool: indices of the samples that may be chosen.
        own_test: those of the data set's own test set; None without one.
        samples: number of samples, or all or up to so many of those that are not held out.
        choice: the seed, and how many are held out.
    """
    subset_seed, test_samples = choice.get("subset_seed"), choice.get("test_samples", 0)
    check_count(name, "test_samples", test_samples, 0)
    if subset_seed is not None:
        check_count(name, "subset_seed", subset_seed, 0)
    pool = pool if subset_seed is None else np.random.default_rng(subset_seed).permutation(pool)
    most = len(pool) - 1 if own_test is None else len(own_test)
    if test_samples > most:
        raise ValueError(f"{name}: test_samples must lie in [0, {most}], got {test_samples}")
    if own_test is None:
        count = count_of(name, samples, len(pool) - test_samples)
        return pool[:count], pool[count : count + test_samples]
    own_test = own_test if subset_seed is None else np.random.default_rng(subset_seed).permutation(own_test)
    return pool[: count_of(name, samples, len(pool))], own_test[:test_samples]
