"""Labels that a comparison needs and a dataset may lack: tuner, seed, status and steps."""

import json
from typing import Any

import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.results.measures import row_spacing
from eosmodel.results.sources import check_kinds, check_same

ERRORS = {"sharpness_error": "sharpness", "stepsize_error": "stepsize", "loss_error": "loss"}
"""Name of each error in the scoreboard -> the variable of which it is the error."""


def label_runs(dataset: xr.Dataset, what: str = "experiment", like: xr.Dataset | None = None) -> xr.Dataset:
    """Give a dataset the dimensions tuner and seed, and `status` and `steps`, where it lacks them.

    A missing tuner or seed is that of `like` if this has a single one. The dimension of vector hyper-parameters becomes
    the tuner.
    """
    for name in (*ERRORS.values(), "step"):
        if name not in dataset:
            raise ValueError(f"compare: {what} has no {name!r}; it has {', '.join(map(str, dataset.variables))}")
    if "tuner" in dataset.coords and dataset.tuner.ndim == 1 and "tuner" not in dataset.dims:
        dataset = dataset.swap_dims({dataset.tuner.dims[0]: "tuner"})
    if "run" in dataset.dims and "tuner" not in dataset.dims:
        dataset = dataset.rename(run="tuner")
        dataset = dataset.assign_coords(tuner=[f"run {i}" for i in range(dataset.sizes["tuner"])])
    defaults: dict[str, Any] = {"seed": 0, "tuner": "run"}
    for name, value in defaults.items():
        if name in dataset.dims:
            if name not in dataset.coords:
                dataset = dataset.assign_coords({name: np.arange(dataset.sizes[name])})
            continue
        if name not in dataset.coords:
            if like is not None and like.sizes[name] > 1:
                raise ValueError(f"compare: {what} does not say its {name}, and experiment has several")
            dataset = dataset.assign_coords({name: value if like is None else like[name].values[0]})
        dataset = dataset.expand_dims(name)
    for name in defaults:
        if not dataset.indexes[name].is_unique:
            twice = dataset.indexes[name][dataset.indexes[name].duplicated()][0]
            raise ValueError(f"compare: {what} has the {name} {twice} twice")
    if "steps" not in dataset:
        kept = dataset.loss.notnull()
        spacing = row_spacing(dataset.step.values)
        dataset = dataset.assign(steps=((dataset.step + spacing) * kept).max("step"))
    if "status" not in dataset:
        dataset = dataset.assign(status=xr.where(dataset.steps > 0, int(Status.OK), int(Status.NOT_RUN)))
    return dataset


def label_pair(experiment: xr.Dataset, theory: xr.Dataset | None) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Runs over (tuner, seed, step) and the theories of them over (theory, tuner, seed, step).

    A theory of a run that stopped where it was to has no rows after that: there is nothing to compare them with.

    Raises:
        ValueError: a variable is missing; the first is no run, or the second no prediction of it, by what they say that
            they are of; or the two have no tuner, seed or step in common.
    """
    check_kinds(experiment, theory)
    if theory is None:
        return label_runs(experiment, "experiment"), None
    check_same(experiment, theory)
    # What one of the two does not say is as the other says.
    named = {*experiment.coords, *experiment.dims} | ({"tuner"} if "run" in experiment.dims else set())
    known = [name for name in ("tuner", "seed") if name in theory.coords and theory[name].size == 1]
    experiment = experiment.assign_coords({name: theory[name].item() for name in known if name not in named})
    experiment = label_runs(experiment, "experiment")
    if "theory" not in theory.dims:
        if "theory" not in theory.coords:
            name = json.loads(theory.attrs.get("config", "{}")).get("theory", "theory")
            theory = theory.assign_coords(theory=name)
        theory = theory.expand_dims("theory")
    theory = label_runs(theory, "theory", experiment)
    for name in ("tuner", "seed", "step"):
        if not np.isin(theory[name], experiment[name]).any():
            values = [", ".join(map(str, d[name].values[:6])) for d in (experiment, theory)]
            raise ValueError(f"compare: no {name} in common; experiment has {values[0]}, theory has {values[1]}")
    return experiment, _up_to_stops(experiment, theory)


def _up_to_stops(experiment: xr.Dataset, theory: xr.Dataset) -> xr.Dataset:
    """Theories without the rows after the end of a run with the status REACHED; those that went on ended well."""
    reached = experiment.status == int(Status.REACHED)
    if not reached.any():
        return theory
    end = experiment.steps.where(reached, np.inf).reindex(tuner=theory.tuner, seed=theory.seed, fill_value=np.inf)
    blank = {"b": False, "i": -1}
    cut = {
        name: values.where(theory.step < end, blank.get(values.dtype.kind, np.nan))
        for name, values in theory.data_vars.items()
        if "step" in values.dims
    }
    within = theory.steps <= end
    ends = {"steps": theory.steps.where(within, end), "status": theory.status.where(within, int(Status.OK))}
    return theory.assign(cut | ends)
