"""The criteria for one cell of a validation, which is a run of one tuner, network, loss and seed.

Each run is repeated from weights perturbed by a relative 1e-4. If the two agree to 0.05 in the errors of λ, η and L,
the run is *predictable*, and the theory must agree with it as well, step by step; otherwise the run is *chaotic*, and
the theory must agree with its statistics over the last half. A theory that ended early does not meet the criteria.
"""

from dataclasses import dataclass
from functools import reduce
from operator import and_

import numpy as np
import xarray as xr

from eosmodel.judging.quantities import NEAR, STATISTICS
from eosmodel.results.formatting import number
from eosmodel.results.labels import ERRORS

MEAN, DISTANCE, EXPONENT, COVERAGE = 0.1, 0.1, 0.05, 0.8
"""Bounds on the relative error of mean λ, the distance of the laws of s, the error of Λ, and the coverage of a band."""
COVERAGES = ("sharpness_coverage", "stepsize_coverage", "loss_coverage")


@dataclass(frozen=True)
class Criterion:
    """One criterion for cells.

    Attributes:
        text: the criterion.
        values: the number that is judged, cell by cell; NaN where it is not known.
        met: whether the criterion is met.
    """

    text: str
    values: xr.DataArray
    met: xr.DataArray


def criteria(theory: xr.Dataset) -> dict[str, Criterion]:
    """The criteria for a theory: "steps" for predictable runs, the others for chaotic ones.

    Args:
        theory: one theory of a validation, over any cells.
    """
    covered = theory[list(COVERAGES)].to_array().min("variable", skipna=False)
    return {
        "steps": Criterion(
            f"|Δ ln λ|, |Δ ln η|, |Δ ln L| ≤ {number(NEAR)} each", largest_error(theory), is_near(theory)
        ),
        **statistical(theory),
        "band": Criterion(f"90 % band covers ≥ {number(COVERAGE, '.0%')} of λ, η and L", covered, covered >= COVERAGE),
    }


def statistical(other: xr.Dataset) -> dict[str, Criterion]:
    """The criteria on `STATISTICS`, for a theory or for the perturbed copy of the run."""
    mean, distance, exponent = (abs(other[name]) for name in STATISTICS)
    return {
        "mean": Criterion("mean λ within 10 %", mean, mean <= np.log1p(MEAN)),
        "law": Criterion(f"KS distance of s ≤ {number(DISTANCE)}", distance, distance <= DISTANCE),
        "exponent": Criterion(f"edge exponent within {number(EXPONENT)}", exponent, exponent <= EXPONENT),
    }


def statistics_of(cells: xr.Dataset, prefix: str) -> xr.Dataset:
    """The variables `{prefix}_{name}` for the names of `STATISTICS`, without the prefix."""
    return cells[[f"{prefix}_{name}" for name in STATISTICS]].rename({f"{prefix}_{name}": name for name in STATISTICS})


def has_bands(theory: xr.Dataset) -> bool:
    """Whether there are ensembles at all; a band that is missing where others have one does not meet its criterion."""
    return bool(theory[COVERAGES[0]].notnull().any())


def largest_error(theory: xr.Dataset) -> xr.DataArray:
    """The largest of the errors of λ, η and L; NaN where one is not known."""
    return theory[[*ERRORS]].to_array().max("variable", skipna=False)


def is_near(theory: xr.Dataset) -> xr.DataArray:
    """Whether the errors of λ, η and L are all within the bound of predictable runs."""
    return largest_error(theory) <= NEAR


def lasted(theory: xr.Dataset) -> xr.DataArray:
    """Whether the theory went on to the last step that is judged."""
    return theory.theory_steps >= theory.judged_steps


def meets_criteria(validation: xr.Dataset) -> xr.DataArray:
    """Whether the first theory meets all criteria that hold for a cell.

    Args:
        validation: dataset over (workload, loss_function, tuner, seed, theory).
    """
    theory = validation.isel(theory=0, drop=True)
    met = {key: criterion.met for key, criterion in criteria(theory).items()}
    step_by_step = met.pop("steps")
    if not has_bands(theory):
        del met["band"]
    return xr.where(validation.chaotic == 1, reduce(and_, met.values()), step_by_step) & lasted(theory)
