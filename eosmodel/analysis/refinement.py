"""Refinement of a phase diagram: cells whose corners differ are halved, and halved again."""

import itertools
from collections.abc import Iterator

import numpy as np
import xarray as xr

from eosmodel.results.regimes import Regime


def levels(dataset: xr.Dataset, refine: int) -> Iterator[np.ndarray]:
    """Flat indices of the points to compute, level by level: every 2^refine-th along both axes, then in each cell whose
    corners differ in regime or period the five points that halve it.

    A level follows from what the dataset holds once the levels before it are computed, so that a resumed diagram goes
    through the same points in the same order.
    """
    shape = dataset.done.shape
    every = 2**refine
    known = np.zeros(shape, bool)
    known[::every, ::every] = True
    yield np.flatnonzero(known)
    while every > 1:
        rows, columns = np.nonzero(_mixed(dataset, known, every))
        new = np.zeros(shape, bool)
        for down, along in itertools.product((0, every // 2, every), repeat=2):
            new[rows * every + down, columns * every + along] = True
        new &= ~known
        if new.any():
            yield np.flatnonzero(new)
        known, every = known | new, every // 2


def spread(dataset: xr.Dataset) -> None:
    """Give the points left out the values of the nearest computed one, and `done` = 2."""
    from scipy.ndimage import distance_transform_edt

    left_out = dataset.done.values != 1
    if left_out.any():
        nearest = tuple(distance_transform_edt(left_out, return_distances=False, return_indices=True))
        for name in dataset.data_vars:
            dataset[name].values[...] = dataset[name].values[nearest]
        dataset.done.values[left_out] = 2


def _mixed(dataset, known, every):
    """The cells of a level of which all corners are known and not all alike."""
    regime, period, known = (a[::every, ::every] for a in (dataset.regime.values, dataset.period.values, known))
    # Between other orbits a period is no difference of kind.
    code = np.where(regime == Regime.PERIODIC, len(Regime) + period, regime)
    corners = [*itertools.product((np.s_[:-1], np.s_[1:]), repeat=2)]
    whole = np.all([known[corner] for corner in corners], axis=0)
    return whole & np.any([code[corner] != code[corners[0]] for corner in corners], axis=0)
