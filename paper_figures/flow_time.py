"""Progress is flow time: the loss at the centre against the sum of the steps, for every rule on one curve."""

from typing import Any

import numpy as np
import xarray as xr

from eosmodel.experiment import measure_river, river_dataset
from eosmodel.judging.verdicts import Claim
from eosmodel.objectives.recipes import network
from eosmodel.results import measures
from paper_figures._parts import KEPT, claim, digits, pack, simulations, unpack
from paper_figures._style import DOUBLE, legend_above, letter, look, sheet, styled

CAPTION = """
A network on digits under eight rules. Left: the loss at the oscillation's centre against the step, where the rules fan
out. Middle: the same against the sum of the steps Σ η; grey: gradient flow from the same initial weights at that time,
measured without any rule. Right: the sharpness against Σ η. Whoever collects more flow time gets further, and by how
far a rule pushes the sharpness below gradient flow's its steps may be longer.
"""
SOURCES = ("2312.00209", "2410.05192")
DTYPE = "float32"

NEAR = 0.1
"""Median |Δ ln L̄| from gradient flow at the same flow time that counts as on the curve."""
FIRST = 20
"""Steps left out, in which the oscillation sets in."""
RIVER: dict[str, Any] = {"color": "#b3b3b3", "linewidth": 3.5, "zorder": 1}


def settings(quick: bool) -> dict[str, Any]:
    tuners = [
        "constant:0.1",
        "constant:0.3",
        "constant:0.6",
        "on-edge",
        "greedy",
        "armijo",
        "cdat:sigma=1.9",
        "sps-max",
    ]
    return {
        "network": digits(quick),
        "tuners": tuners[1:2] if quick else tuners,
        "steps": 60 if quick else 800,
        "modes": 1 if quick else 4,
    }


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    net = network(**chosen["network"], seed=0)
    steps, modes = chosen["steps"], chosen["modes"]
    keep = (*KEPT, "center_loss")
    runs = simulations(net, chosen["tuners"], steps, keep=keep, modes=modes, measure_every=0)
    river = river_dataset(measure_river(net, steps=steps, modes=modes, caps=())).isel(flow=0)
    return pack({"network": runs, "river": river.reset_coords("tau")[["tau", "loss", "sharpness"]].drop_vars("cap")})


def gaps(dataset: xr.Dataset) -> dict[str, float]:
    """Median over the run after the first steps of |ln L̄ − ln L of gradient flow| at the same Σ η, by rule."""
    runs, river = unpack(dataset, "network"), unpack(dataset, "river")
    found = {}
    for spec in runs.tuner.values.tolist():
        run = runs.sel(tuner=spec)
        tau = _flow_time(run)
        flow = np.interp(tau, river.tau.values, np.log(river.loss.values))
        known = np.isfinite(run.center_loss.values) & (run.step.values >= FIRST) & (tau <= river.tau.values[-1])
        found[spec] = float(np.median(np.abs(np.log(run.center_loss.values) - flow)[known]))
    return found


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    found = gaps(dataset)
    return (
        claim(
            "flow-time",
            "The loss at the centre is that of gradient flow at the same flow time, whatever the rule.",
            {spec: gap <= NEAR for spec, gap in found.items()},
            {spec: f"{gap:.3f}" for spec, gap in found.items()},
            f"the median of |Δ ln L̄| after step {FIRST} is at most {NEAR}",
        ),
    )


@styled
def draw(dataset: xr.Dataset):
    runs, river = unpack(dataset, "network"), unpack(dataset, "river")
    figure = sheet(DOUBLE, 2.7)
    panels = figure.subplots(1, 3)
    handles: dict[str, Any] = {}
    panels[1].plot(river.tau[1:], river.loss[1:], **RIVER)
    (handles["gradient flow"],) = panels[2].plot(river.tau[1:], river.sharpness[1:], **RIVER)
    for i, spec in enumerate(runs.tuner.values.tolist()):
        run = runs.sel(tuner=spec)
        tau = _flow_time(run)
        smooth = measures.moving_average(run.sharpness.values, run.step.values)
        panels[0].plot(run.step, run.center_loss, **look(i))
        panels[1].plot(tau[1:], run.center_loss[1:], **look(i))
        (handles[spec],) = panels[2].plot(tau[1:], smooth[1:], **look(i))
    for ax, across, up in zip(panels, ("step t", "Σ η", "Σ η"), ("loss at the centre", "", "λ"), strict=True):
        ax.set_xlabel(across)
        ax.set_ylabel(up)
        ax.set_yscale("log")
    longest = max(float(np.nansum(runs.sel(tuner=spec).stepsize)) for spec in runs.tuner.values)
    for ax in panels[1:]:
        ax.set_xscale("log")
        ax.set_xlim(0.1, 1.1 * longest)
    panels[1].set_ylim(panels[0].get_ylim())
    letter(panels)
    legend_above(figure, handles)
    return figure


def _flow_time(run: xr.Dataset) -> np.ndarray:
    """Σ η up to each row."""
    return np.concatenate([[0.0], np.cumsum(np.nan_to_num(run.stepsize.values.astype(float)))[:-1]])
