"""Response functions Φ(r) of all step-size rules, with their class."""

from typing import Any

import numpy as np
import xarray as xr

from eosmodel import analysis, plotting
from eosmodel.judging.verdicts import Claim
from eosmodel.results.formatting import number
from eosmodel.theory import Kind
from eosmodel.tuners.registry import REGISTRY, from_spec
from paper_figures._parts import claim
from paper_figures._style import DOUBLE, fit_text, sheet, styled

CAPTION = """
Every step-size rule as a function s = Φ(r) of the energy ratio r = λ²x²/G of an oscillation that is held fixed, with
the edge at s = 2 (dashed). Where Φ falls through 2 the rule bounds the oscillation itself (clamped, blue); where it
does not, the sharpness must respond (self-stabilised, orange); below 2 the oscillation decays (green). Filled circles
are stable equilibria of the fast map, open ones unstable, with their multiplier m; diamonds are equilibria of rules
with memory. The band is the range of s at fixed r. Steps are in units of 1/λ.
"""
SOURCES = ("2312.00209", "2407.06183")
DTYPE = "float64"

# Rules with a scale of their own, at values that show what they can do; the others with their defaults.
SCALED = {
    "constant": ("constant:2.02",),
    "schedule": ("schedule:constant_schedule,value=0.8",),
    "armijo-restart": ("armijo-restart:initial=30",),
    "polyak": ("polyak:0.35", "polyak:1"),
    "sps-max": ("sps-max:c=1,max=2.02",),
    "normalized": ("normalized:4",),
    "clipping": ("clipping:step=2.02,max_norm=2",),
    "rmsprop": ("rmsprop:4",),
    "adagrad-norm": ("adagrad-norm:100",),
    "cdat": ("cdat:1.9", "cdat:2"),
}
QUICK = ("constant", "polyak")

# Closed forms of these rules, for A = 10 and κ = 0.05.
EXPECTED = {
    "constant:2.02": (Kind.SELF_STABILISED, None),
    "schedule:constant_schedule,value=0.8": (Kind.BELOW_EDGE, None),
    "polyak:0.35": (Kind.CLAMPED, lambda A, kappa: (A - 0.7) / 0.2),
    "polyak:1": (Kind.CLAMPED, lambda A, kappa: (A - 2) / 1.5),
    "cdat:2": (Kind.SELF_STABILISED, None),
    "cdat:1.9": (Kind.CLAMPED, lambda A, kappa: (1.9 - 2 * kappa) / 0.1),
    "greedy": (Kind.CLAMPED, lambda A, kappa: 1 - 2 * kappa),
}


def settings(quick: bool) -> dict[str, Any]:
    rules = QUICK if quick else REGISTRY
    return {"tuners": [spec for name in rules for spec in SCALED.get(name, (name,))], "A": 10.0, "kappa": 0.05}


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    tuners = {spec: from_spec(spec) for spec in chosen["tuners"]}
    return analysis.response_curve(tuners, A=chosen["A"], kappa=chosen["kappa"])


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    met: dict[str, bool | None] = {}
    numbers = {}
    for spec in dataset.tuner.values.tolist():
        if spec not in EXPECTED:
            continue
        kind, formula = EXPECTED[spec]
        one = dataset.sel(tuner=spec)
        met[spec], numbers[spec] = bool(int(one.kind) == kind), one.label.item()
        if formula is not None:
            r, expected = float(one.r_star[0]), formula(dataset.attrs["A"], dataset.attrs["kappa"])
            met[spec] &= bool(abs(np.log(r / expected)) < 0.01)
            numbers[spec] += f", r* = {number(r, '.4g')} against {number(expected, '.4g')}"
    counts = {Kind(int(k)).label: int((dataset.kind == k).sum()) for k in np.unique(dataset.kind)}
    return (
        claim(
            "classes",
            "A rule's class is read off its response: "
            + ", ".join(f"{n} {label}" for label, n in counts.items())
            + ".",
            met,
            numbers,
            "class as expected, and r* within 1 % of its formula, for the rules that have one in closed form",
        ),
    )


@styled
def draw(dataset: xr.Dataset):
    count = dataset.sizes["tuner"]
    columns = min(4, count)
    rows = -(-count // columns)
    figure = sheet(DOUBLE, 1.35 * rows + 0.3)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = grid.ravel()[:count]
    plotting.response(dataset, axes=panels)
    for i, ax in enumerate(panels):
        one = dataset.isel(tuner=i)
        spec = one.tuner.item().replace("constant_schedule,", "")
        ax.set_title(f"{spec}\n{one.label.item()}", fontsize=7)
        ax.grid(False)
        for line in ax.lines:
            line.set_markersize(min(line.get_markersize(), 5))
        ax.label_outer()
    for ax in grid.ravel()[count:]:
        ax.remove()
    # The panel above a gap carries the axis of its column.
    for ax in panels[count - columns :]:
        ax.set_xlabel("$r = λ^2x^2/G$")
        ax.tick_params(labelbottom=True)
    fit_text(figure)
    return figure
