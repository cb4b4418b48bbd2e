"""The edge alone, η = 2/λ, against the joint model, against the network."""

from typing import Any

import xarray as xr

from eosmodel.judging import claims
from eosmodel.judging.verdicts import Claim
from eosmodel.objectives.recipes import network
from paper_figures._panels import ROWS, column
from paper_figures._parts import digits, pack, predictions, simulations, unpack
from paper_figures._style import BLUE, DOUBLE, GREEN, RED, legend_above, letter, sheet, styled

CAPTION = """
Loss, step size, sharpness and their product for a network on digits under four rules (thick), with two predictions
from the same initial weights in which nothing is fitted: the joint model of centre and oscillation, in which η and λ
evolve together (solid), and the edge alone, a gradient flow with η = 2/λ whatever the rule does (dotted). Dashed: one
mode with coefficients measured along the run, from a tenth of it on. Curves are 25-step moving averages; a cross
marks where a theory left its range, if it is in the panel.
"""
SOURCES = ("2312.00209",)
DTYPE = "float32"

THEORIES = {
    "oscillation": ("joint model", {"color": BLUE, "linestyle": "-"}),
    "valley": ("one measured mode", {"color": RED, "linestyle": (0, (4, 1.5))}),
    "edge-only": ("edge alone", {"color": GREEN, "linestyle": (0, (1, 1))}),
}
NETWORK: dict[str, Any] = {"color": "#b3b3b3", "linewidth": 3.0}


def settings(quick: bool) -> dict[str, Any]:
    tuners = ["constant:0.6", "armijo", "sps-max", "cdat:sigma=1.9"]
    return {
        "network": digits(quick),
        "tuners": tuners[1:2] if quick else tuners,
        "steps": 60 if quick else 800,
        "theories": ["oscillation", "edge-only"] if quick else list(THEORIES),
    }


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    net = network(**chosen["network"], seed=0)
    specs, steps = chosen["tuners"], chosen["steps"]
    coefficients = ("alpha", "beta", "kappa", "bulk_gradient_sq", "center_loss", "amplitude")
    kept = ("loss", "stepsize", "sharpness", "status", "steps", *coefficients)
    runs = simulations(net, specs, steps, keep=kept)
    predicted = [predictions(net, specs, steps, name, runs) for name in chosen["theories"]]
    theory = xr.concat(predicted, xr.IndexVariable("theory", chosen["theories"]))
    return pack({"network": runs.drop_vars(coefficients), "theory": theory})


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    judged = claims.evaluate(unpack(dataset, "network"), unpack(dataset, "theory"))
    return tuple(claim for claim in judged if claim.id == "5")


@styled
def draw(dataset: xr.Dataset):
    runs, theory = unpack(dataset, "network"), unpack(dataset, "theory")
    tuners = runs.tuner.values.tolist()
    figure = sheet(DOUBLE, 6.0)
    grid = figure.subplots(4, len(tuners), sharex=True, sharey="row", squeeze=False)
    handles: dict[str, Any] = {}
    for axes, spec in zip(grid.T, tuners, strict=True):
        shown = {"network": (runs.sel(tuner=spec), NETWORK)}
        for name in reversed(theory.theory.values.tolist()):
            label, style = THEORIES[name]
            shown[label] = (theory.sel(theory=name, tuner=spec), style)
        handles |= column(axes, spec, shown, reference="network")
    for ax, label in zip(grid[:, 0], ROWS.values(), strict=True):
        ax.set_ylabel(label)
    letter(grid[0])
    legend_above(
        figure, {name: handles[name] for name in ("network", *(x for x, _ in THEORIES.values())) if name in handles}
    )
    return figure
