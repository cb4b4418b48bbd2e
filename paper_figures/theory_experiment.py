"""Theory against experiment with nothing fitted: trajectories and the error matrix."""

from typing import Any

import numpy as np
import xarray as xr

from eosmodel import plotting
from eosmodel.judging.verdicts import Claim
from eosmodel.studies import validation
from eosmodel.studies.plans import run_plan
from paper_figures._style import DOUBLE, fit_text, sheet, styled

CAPTION = """
Top: sharpness, step size and loss of a tanh network on digits with squared loss (thick grey) and of theories that start
from the same weights and see nothing of the run: the model of centre and oscillation (solid), the edge alone, a
gradient flow with η = 2/λ (dotted), and gradient flow clocked by the tuner's step. Moving averages over 25 steps;
theories that leave the panel are cut off. Bottom: the error of the model of centre and oscillation, the median over
steps of |Δ ln|, for all tuners and two losses. A circle marks a chaotic run: repeated from weights perturbed by a
relative 1e-4 it differs by more than 0.05 in the same measure, so no theory can be near it step by step.
"""
SOURCES = ("2312.00209", "2410.24206")
DTYPE = "float32"


def settings(quick: bool) -> dict[str, Any]:
    tuners = ["constant", "armijo", "polyak", "greedy", "cdat", "on-edge", "rmsprop"]
    return {
        "workloads": ["digits-tanh"],
        "losses": ["mse"] if quick else ["mse", "ce"],
        "tuners": tuners[:1] if quick else tuners,
        "theories": ["oscillation", "edge-only"] + ([] if quick else ["gradient-flow"]),
        "seeds": [21],
        "steps": 20 if quick else 300,
        "members": 1 if quick else 8,
    }


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    lists = [chosen.pop(name) for name in ("workloads", "losses", "tuners", "theories")]
    return run_plan(validation.make_plan(*lists, **chosen, dtype=DTYPE))


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    return tuple(claim for claim in validation.judge(dataset) if claim.id in ("steps", "mean", "ahead-edge-only"))


@styled
def draw(dataset: xr.Dataset):
    figure = sheet(DOUBLE, 7.4)
    top, bottom = figure.subfigures(2, 1, height_ratios=[2, 1])
    grid = top.subplots(3, dataset.sizes["tuner"], sharex="col", squeeze=False)
    plotting.validation_trajectories(dataset.isel(workload=0, loss_function=0), axes=grid)
    plotting.validation_map(dataset, axes=bottom.subplots(3, 1, sharex=True))
    fit_text(figure, 7)
    for ax in np.ravel(grid):
        ax.tick_params(labelsize=6)
    return figure
