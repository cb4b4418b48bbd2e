"""`--start`: the weights of an earlier folder from which runs go on."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from eosmodel.experiment import kept_weights
from eosmodel.results import record
from eosmodel.simulation import digest

EXPERIMENT = "experiment.nc"


class Stored(NamedTuple):
    """What `--start` names.

    Fields
        runs: of one tuner, over seed.
        step: whose weights are kept.
        plan: for `comparison.make_plan`: file, tuner, step, and a hash of the weights of every seed.
        written: the option again, whole and with the folder's whole path.
    """

    runs: xr.Dataset
    step: int
    plan: dict[str, Any]
    written: str


def read(spec: str, seeds: tuple[int, ...] = ()) -> Stored:
    """The runs and the step that RUN, RUN@STEP or RUN@STEP@TUNER names, of these seeds or of all.

    Raises:
        FileNotFoundError: a folder without runs.
        ValueError: a step that was not kept, with those that were; a tuner that the folder does not have, or none named
            of several; a seed that it does not have.
    """
    text, _, rest = (spec, "", "") if Path(spec).is_dir() else spec.partition("@")
    at, _, tuner = rest.partition("@")
    if at and not at.isdigit():
        raise ValueError(f"--start {spec}: the step after @ must be an integer, got {at!r}")
    file = Path(text).resolve() / EXPERIMENT
    if not file.is_file():
        raise FileNotFoundError(f"--start {spec}: {text} has no {EXPERIMENT} of `eosmodel train` or `compare`")
    runs = record.load(file)
    tuners, known = runs.tuner.values.tolist(), runs.seed.values.tolist()
    if tuner not in tuners and (tuner or len(tuners) > 1):
        named = f"no runs of {tuner}" if tuner else "runs of several tuners"
        raise ValueError(
            f"--start {spec}: {text} has {named}; name one, as RUN@STEP@TUNER (fork: --of), of {', '.join(tuners)}"
        )
    runs = runs.sel(tuner=tuner or tuners[0])
    if missing := [seed for seed in seeds if seed not in known]:
        raise ValueError(f"--start {spec}: no run of seed {missing[0]}; there are {', '.join(map(str, known))}")
    runs = runs.sel(seed=list(seeds) or known)
    owner = f"--start {spec}"
    step = int(at) if at else min(kept_weights(owner, runs.isel(seed=i))[1] for i in range(runs.sizes["seed"]))
    hashes = {
        str(seed): digest(kept_weights(owner, runs.sel(seed=seed), step)[0]) for seed in runs.seed.values.tolist()
    }
    plan = {"file": str(file), "tuner": runs.tuner.item(), "step": step, "weights": hashes}
    return Stored(runs, step, plan, f"{file.parent}@{step}@{runs.tuner.item()}")


def rest_of(trunk: xr.Dataset, at: int, last: int) -> xr.Dataset:
    """What a run did from step `at` on, its steps counted from there, up to step `last` of these."""
    rest = trunk.sel(step=slice(at, at + last))
    return rest.assign_coords(step=rest.step - at).assign(steps=np.clip(rest.steps - at, 0, last + 1))
