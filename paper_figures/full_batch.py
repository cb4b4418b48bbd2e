"""Full batch: loss, η, λ and ηλ of constant, Armijo and Polyak steps on several networks, data sets and losses."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from eosmodel.judging import claims
from eosmodel.judging.verdicts import Claim, Verdict, combine
from eosmodel.objectives.recipes import network
from eosmodel.results import measures
from paper_figures._panels import ROWS, column
from paper_figures._parts import available, finished, pack, simulations, unpack
from paper_figures._style import DOUBLE, legend_above, letter, look, sheet, styled

CAPTION = """
Loss, step size, sharpness and their product (25-step moving averages) in full-batch training under the best of two
constant steps, Armijo's line search and Polyak's step with a cap, for several networks, data sets and losses; dashed
line: the edge, ηλ = 2. Data sets that are not installed are left out.
"""
SOURCES = ("2312.00209",)
DTYPE = "float32"

NETWORKS = {
    "MLP, digits, mse": (
        {"data": "digits", "samples": 1000, "width": 32, "init_scale": 0.5},
        ["constant:0.6", "constant:1", "armijo", "sps-max:c=1,max=3"],
    ),
    "CNN, digits, mse": (
        {"data": "digits", "net": "cnn", "samples": 300, "width": 8, "init_scale": 0.5},
        ["constant:0.5", "constant:0.8", "armijo", "sps-max:c=1,max=3"],
    ),
    "MLP, Fashion-MNIST, mse": (
        {"data": "fashion-mnist", "samples": 500, "width": 32, "init_scale": 0.25},
        ["constant:0.4", "constant:0.8", "armijo", "sps-max:c=1,max=3"],
    ),
    "MLP, Fashion-MNIST, ce": (
        {"data": "fashion-mnist", "samples": 1500, "width": 16, "init_scale": 0.25, "loss": "ce"},
        ["constant:0.1", "constant:0.2", "armijo", "sps-max:c=1,max=1"],
    ),
}
QUICK = {"MLP, digits, mse": ({"data": "digits", "samples": 200, "width": 8, "init_scale": 0.5}, ["constant:1"])}
TUNERS = {"constant": "best constant", "armijo": "Armijo", "sps-max": "Polyak, capped"}


def settings(quick: bool) -> dict[str, Any]:
    if quick:
        return {"networks": QUICK, "steps": 60, "modes": 2}
    networks = {name: (options, specs) for name, (options, specs) in NETWORKS.items() if available(options)}
    return {"networks": networks, "steps": 700, "modes": 2}


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    steps, modes = chosen["steps"], chosen["modes"]
    parts = {
        name: simulations(network(**options, seed=0), specs, steps, modes=modes, measure_every=0)
        for name, (options, specs) in chosen["networks"].items()
    }
    return pack(parts).assign_attrs(networks=list(parts))


def _networks(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    return {name: unpack(dataset, name) for name in np.atleast_1d(dataset.attrs["networks"]).tolist()}


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    """The claims of `eosmodel.judging.claims` about experiments, each over all networks."""
    by_network = {name: claims.evaluate(runs) for name, runs in _networks(dataset).items()}
    judged = []
    for same in zip(*by_network.values(), strict=True):
        tested = {
            name: claim for name, claim in zip(by_network, same, strict=True) if claim.verdict is not Verdict.NOT_TESTED
        }
        if tested:
            evidence = tuple(f"{name}: {claim.verdict}. {claim.explanation}." for name, claim in tested.items())
            whole = combine(claim.verdict for claim in tested.values())
            judged.append(dataclasses.replace(same[0], verdict=whole, evidence=evidence))
    return tuple(judged)


@styled
def draw(dataset: xr.Dataset):
    networks = _networks(dataset)
    figure = sheet(DOUBLE, 6.0)
    grid = figure.subplots(4, len(networks), sharex="col", squeeze=False)
    handles: dict[str, Any] = {}
    for axes, (name, runs) in zip(grid.T, networks.items(), strict=True):
        shown = {}
        for i, (rule, label) in enumerate(TUNERS.items()):
            mine = [runs.sel(tuner=spec) for spec in runs.tuner.values if str(spec).startswith(rule)]
            done = [run for run in mine if finished(run)] or mine
            if done:
                shown[label] = (min(done, key=lambda run: measures.final_mean(run, "loss")), look(i))
        handles |= column(axes, name.replace(", ", "\n", 1), shown)
    for ax, label in zip(grid[:, 0], ROWS.values(), strict=True):
        ax.set_ylabel(label)
    letter(grid[0])
    legend_above(figure, handles)
    return figure
