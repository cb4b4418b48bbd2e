"""Several datasets as one, which is what a figure caches, and the runs that they are made of."""

import json
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel import experiment
from eosmodel.analysis.symbolic import RESPONSES
from eosmodel.judging.verdicts import Claim, combine
from eosmodel.objectives.data import load
from eosmodel.results import measures
from eosmodel.tuners.registry import from_spec

KEPT = ("loss", "stepsize", "sharpness", "status", "steps")


def digits(quick: bool) -> dict[str, Any]:
    """The network on digits of the figures of one network."""
    return {
        "data": "digits",
        "samples": 200 if quick else 1000,
        "width": 8 if quick else 32,
        "init_scale": 0.5,
    }


def pack(parts: dict[str, xr.Dataset]) -> xr.Dataset:
    """One dataset that holds several: variables, coordinates and dimensions of each under `part.name`."""
    renamed = [
        part.drop_attrs(deep=False).rename({str(name): f"{key}.{name}" for name in {*part.variables, *part.dims}})
        for key, part in parts.items()
    ]
    attrs = {f"attrs.{key}": json.dumps(part.attrs, default=_plain) for key, part in parts.items()}
    return xr.merge(renamed).assign_attrs(attrs)


def unpack(dataset: xr.Dataset, key: str) -> xr.Dataset:
    """One of the datasets that `pack` put together."""
    lead = f"{key}."
    mine = [name for name in dataset.variables if str(name).startswith(lead)]
    part = dataset[[name for name in mine if name in dataset.data_vars]]
    part = part.assign_coords({name: dataset[name] for name in mine if name in dataset.coords})
    part = part.rename({str(name): str(name).removeprefix(lead) for name in {*part.variables, *part.dims}})
    part.attrs = json.loads(dataset.attrs[f"attrs.{key}"])
    return part


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def flips(rule: str, values: Any) -> np.ndarray:
    """Flips of a rule in its first parameter at values of its second, as sympy finds them: rising, NaN without one."""
    return np.sort([np.asarray(flip(jnp.asarray(values))) for flip in RESPONSES[rule].compile().flip], axis=0)


def available(options: dict[str, Any]) -> bool:
    """Whether the data of a network are on this machine."""
    try:
        load(options["data"], samples=1)
    except FileNotFoundError:
        return False
    return True


def simulations(objective, specs: Sequence[str], steps: int, keep=KEPT, **options) -> xr.Dataset:
    """Runs of several tuners, over (tuner, step)."""
    options = {"progress": True} | options
    runs = [experiment.simulate(objective, from_spec(spec), steps, **options)[list(keep)] for spec in specs]
    return xr.concat(runs, xr.IndexVariable("tuner", list(specs)))


def predictions(objective, specs: Sequence[str], steps: int, theory: str, runs: xr.Dataset | None = None, **options):
    """Predictions of a theory for these runs, over (tuner, step)."""

    def one(spec):
        run = None if runs is None else runs.sel(tuner=spec)
        prediction = experiment.predict(objective, from_spec(spec), steps, theory=theory, experiment=run, **options)
        return prediction[list(KEPT)]

    return xr.concat([one(spec) for spec in specs], xr.IndexVariable("tuner", list(specs)))


def claim(id: str, text: str, met: dict[str, bool | None], numbers: dict[str, str], criterion: str) -> Claim:
    """A claim that is tested on several things: the numbers of each, and whether it is met there (None: not tested)."""
    words = {True: "yes", False: "no", None: "not tested"}
    evidence = tuple(f"{name}: {text} ({words[met[name]]})" for name, text in numbers.items())
    return Claim(id, text, criterion, combine(met.values()), evidence)


def finished(run: xr.Dataset) -> bool:
    return measures.status_of(run).ok
