"""Coordinates that say which run is which: the tuner, its hyper-parameters and the seed."""

from typing import Any

import xarray as xr

from eosmodel.results import record
from eosmodel.results.names import VARIABLES
from eosmodel.tuners._labels import members_of, spec_of, vectors_of
from eosmodel.tuners.base import AbstractTuner

RUN = "run"


def axis_of(tuner: AbstractTuner) -> str | None:
    """The dimension of the runs of a tuner whose hyper-parameters are vectors: the name of the hyper-parameter, "run"
    where several vary together, and None where none does."""
    names = [_free(name) for name in vectors_of(tuner)]
    return None if not names else names[0] if len(names) == 1 else RUN


def label(
    dataset: xr.Dataset, tuner: AbstractTuner, seeds: int | list[int] | None, theory: str | None = None
) -> xr.Dataset:
    """A result with the coordinates `tuner`, the hyper-parameters that vary, `seed` and `theory`.

    They are scalars of a single run. Without seeds there is none, for the start is the objective's own or the user's.
    """
    coords: dict[str, Any] = {}
    dim = axis_of(tuner)
    if dim is None:
        coords["tuner"] = spec_of(tuner)
    elif dim in dataset.dims:  # a theory may give the same prediction for all
        coords |= {
            _free(name): (dim, values, {"long_name": f"hyper-parameter {name} of the tuner"})
            for name, values in vectors_of(tuner).items()
        }
        coords["tuner"] = (dim, [spec_of(member) for member in members_of(tuner)])
    if seeds is not None:
        coords["seed"] = seeds if isinstance(seeds, int) else ("seed", seeds)
    if theory is not None:
        coords["theory"] = theory
    return record.describe(dataset.assign_coords(coords))


def _free(name: str) -> str:
    """A hyper-parameter's name, or one with "tuner_" in front where a variable or a dimension has that name."""
    return f"tuner_{name}" if name in VARIABLES or name == RUN else name
