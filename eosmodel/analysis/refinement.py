"""Refinement of a phase diagram: cells whose corners differ are halved repeatedly."""

import itertools
from collections.abc import Iterator

import numpy as np
import xarray as xr

from eosmodel.results.regimes import Regime


def levels(dataset: xr.Dataset, refine: int) -> Iterator[np.ndarray]:
    """Flat indices of the points to compute, level by level: first every 2^refine-th along both axes, then in each cell
    whose corners differ in regime or period the five points that halve it.

    A level depends only on the results of the previous levels in the dataset, so that a resumed diagram computes the
    same points in the same order.
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
    """Fill the points that were not computed from the nearest computed one, with `done` = 2."""
    from scipy.ndimage import distance_transform_edt

    left_out = dataset.done.values != 1
    if left_out.any():
        nearest = tuple(distance_transform_edt(left_out, return_distances=False, return_indices=True))
        for name in dataset.data_vars:
            dataset[name].values[...] = dataset[name].values[nearest]
        dataset.done.values[left_out] = 2


def _mixed(dataset, known, every):
    """The cells of a level whose corners are all computed and not all equal."""
    regime, period, known = (a[::every, ::every] for a in (dataset.regime.values, dataset.period.values, known))
    # Only for periodic orbits does a different period count as a difference.
    code = np.where(regime == Regime.PERIODIC, len(Regime) + period, regime)
    corners = [*itertools.product((np.s_[:-1], np.s_[1:]), repeat=2)]
    whole = np.all([known[corner] for corner in corners], axis=0)
    return whole & np.any([code[corner] != code[corners[0]] for corner in corners], axis=0)
