"""Sweeps over step-size rules and batch sizes for the figures: computed as one dataset, averaged over seeds, judged."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from eosmodel._status import SUCCESSES
from eosmodel.judging.verdicts import Claim, Verdict, combine
from eosmodel.studies import sweep as sweeps
from eosmodel.studies.plans import run_plan


def common(quick: bool) -> dict[str, Any]:
    """The settings that the figures over batch sizes share."""
    small = {"samples": 60, "width": 4, "depth": 1} if quick else {}
    return {
        "network": {"data": "digits", "samples": 500, "width": 32, "init_scale": 0.5, "dtype": "float32"} | small,
        "sizes": [16, 64, 256, sweeps.FULL],
        "seeds": [0, 1] if quick else [*range(5)],
        "steps": 66 if quick else 660,
        "modes": 1,
        "track_every": 11,
    }


def swept(chosen: dict[str, Any], tuners: Sequence[str], sizes: Sequence[int | str]) -> xr.Dataset:
    """Runs of tuners × batch sizes × seeds, from `network`, `seeds`, `steps`, `modes`, `track_every` of settings."""
    net = chosen["network"]
    run = {name: chosen[name] for name in ("seeds", "steps", "modes", "track_every")}
    return run_plan(sweeps.make_plan(net, net["samples"], tuners, sizes, **run))


def over_seeds(runs: xr.Dataset) -> xr.Dataset:
    """Geometric means over seeds, by which that of ηλ is the product of those of η and λ, until a seed ends early."""
    values = runs[["loss", "stepsize", "sharpness"]]
    mean = np.exp(np.log(values.where(values > 0)).mean("seed", skipna=False))
    return mean.assign(status=runs.status.max("seed"), steps=runs.steps.min("seed"))


def final(runs: xr.Dataset, name: str = "final_loss") -> xr.DataArray:
    """A number of every run, ∞ where the run ended early."""
    return runs[name].where(runs.status.isin(SUCCESSES), np.inf)


def best(runs: xr.Dataset) -> str:
    """The tuner of lowest final loss, as median over seeds."""
    losses = final(runs).median("seed")
    return str(losses.tuner[int(losses.argmin("tuner"))].item())


def judged(runs: xr.Dataset, id: str) -> Claim:
    """One of the claims of `sweeps.evaluate`.

    Its ratios are many here, tuners by sizes, and few seeds leave some undecided. These count as not tested, so that
    the claim is supported if all decided ratios are, where `sweeps.evaluate` would say partly.
    """
    (claim,) = (claim for claim in sweeps.evaluate(runs) if claim.id == id)
    verdicts = [ratio.verdict for ratio in claim.evidence]
    criterion = f"{claim.criterion}; by 90 % intervals over seeds; one that contains 1 decides nothing"
    whole = combine(verdict for verdict in verdicts if verdict is not Verdict.UNDECIDED)
    return dataclasses.replace(claim, criterion=criterion, verdict=whole)
