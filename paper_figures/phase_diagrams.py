"""Phase diagrams: parameters of the rules, sharpening against self-stabilisation, and the catapult."""

from typing import Any

import numpy as np
import xarray as xr

from eosmodel import analysis, plotting
from eosmodel.analysis import Regime, phase_diagram
from eosmodel.judging.verdicts import Claim
from eosmodel.objectives.two_layer import TwoLayerScalar
from eosmodel.results.formatting import number
from eosmodel.theory import FastMap
from eosmodel.tuners.registry import from_spec
from paper_figures._parts import claim, flips, pack, unpack
from paper_figures._style import BLACK, DOUBLE, fit_text, letter, sheet, styled

CAPTION = """
(a) Polyak's rule on its fast map, with a fixed bulk, over c and A = λL̄/G, with the flip 4c² − (A + 3/2)c + A/2 = 0.
(b) CDAT on its fast map over σ and the curvature κ of the bulk, with the flip σ² − (1 + 3κ)σ + 4κ = 0, which is σ = 1
at κ = 0. (c) Armijo's rule on its fast map over c₁ and the backtracking factor: the mean of s. (d) The two-layer net
u·v on one sample with target 0 over its initial weights, η = 1: below ηλ₀ = 2 (inner circle) it converges, beyond it
catapults, and far beyond it diverges; the outer circle is ηλ₀ = 4, the border of wide nets. (e–h) Valleys over the
strength of sharpening α and of self-stabilisation β, in units in which λ = G = 1, under four rules: the measured q =
βx²/2α, by which sharpness rises (blue, q < 1) or falls (red). Line: predicted q = 1. Grey: the oscillation threw the
run out of its valley at once.
"""
SOURCES = ("2312.00209", "2407.06183", "2003.02218", "2209.15594")
DTYPE = "float64"

# α and β, in units of λ² and λ⁴/G. Polyak's oscillation holds a share of the whole loss, and any larger β breaks it.
STRENGTHS = {
    "polyak:0.35": ((1e-6, 1e-5), (1.1e-10, 1e-7)),
    "cdat:1.5": ((1e-5, 1e-3), (1.1e-6, 1e-2)),
    "armijo:initial=0.3": ((1e-5, 1e-3), (1.1e-6, 1e-2)),
    "constant:2.02": ((1e-5, 1e-3), (1.1e-6, 1e-2)),
}
TITLES = {
    "polyak": "Polyak's rule, fast map",
    "cdat": "CDAT, fast map",
    "armijo": "Armijo's rule, fast map",
    "catapult": "two-layer net, constant step",
}
REFERENCE = {"A": 10.0, "kappa": 0.05, "step": 1.0}


def settings(quick: bool) -> dict[str, Any]:
    size = 24 if quick else 160
    return {
        "polyak": {"c": [0.26, 1.2, size], "A": [3.0, 100.0, size, "log"]},
        "cdat": {"sigma": [0.3, 2.2, size], "kappa": [0.0, 0.6, size]},
        "armijo": {"c": [0.01, 0.9, size // 2], "factor": [0.1, 0.95, size // 2]},
        "catapult": {"start[0]": [-2.6, 2.6, size], "start[1]": [-2.6, 2.6, size]},
        "strengths": {"cdat:1.5": STRENGTHS["cdat:1.5"]} if quick else STRENGTHS,
        "points": 3 if quick else 15,
        "steps": 200 if quick else 1000,
        "reference": REFERENCE,
    }


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    reference = {"A": REFERENCE["A"], "kappa": REFERENCE["kappa"]}
    systems: dict[str, Any] = {
        "polyak": (FastMap(from_spec("polyak"), **reference), None),
        "cdat": (FastMap(from_spec("cdat:eps=0"), **reference), None),
        "armijo": (FastMap(from_spec("armijo:initial=0.3"), **reference), None),
        "catapult": (TwoLayerScalar([1.0, 1.0]), from_spec(f"constant:{REFERENCE['step']}")),
    }
    parts = {}
    for name, system in systems.items():
        axes = {axis: tuple(values) for axis, values in chosen[name].items()}
        keep = ("s",) if name == "armijo" else ("regime",)
        parts[name] = phase_diagram(*system, axes, steps=chosen["steps"], observables=keep, progress=name).dataset
    for spec, ranges in chosen["strengths"].items():
        grid = [np.geomspace(*ends, chosen["points"]) for ends in ranges]
        parts[spec] = analysis.check_classes(*grid, [spec], steps=400 if quick else 1600).isel(tuner=0)
    return pack(parts).assign_attrs(tuners=list(chosen["strengths"]))


def _tuners(dataset: xr.Dataset) -> list[str]:
    return np.atleast_1d(dataset.attrs["tuners"]).tolist()


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    polyak, catapult = unpack(dataset, "polyak"), unpack(dataset, "catapult")
    met: dict[str, bool | None] = {}
    numbers = {}
    # The flip is a line, and points within two cells of it belong to neither side.
    stable = (polyak.period == 1).where(polyak.A > 4.5)
    flip = polyak.A.copy(data=flips("polyak", polyak.A.values)[0])
    away = np.abs(polyak.c - flip) > 2 * float(polyak.c[1] - polyak.c[0])
    agree = float((stable == (polyak.c < flip)).where(away & (polyak.A > 4.5)).mean())
    met["(a)"] = agree > 0.95
    numbers["(a)"] = f"{number(agree, '.1%')} of the points on the side of the flip that is predicted"
    u, v = catapult["start[0]"], catapult["start[1]"]
    kernel = REFERENCE["step"] * (u**2 + v**2)
    shares = {}
    for name, inside, wanted in (
        ("below 2", kernel < 1.95, [Regime.CONVERGED]),
        ("from 2 to 4", (kernel > 2.05) & (kernel < 3.95), [Regime.CATAPULT, Regime.CONVERGED]),
    ):
        shares[name] = float(catapult.regime.isin([int(code) for code in wanted]).where(inside).mean())
    met["(d)"] = all(share > 0.95 for share in shares.values())
    rose = float((catapult.regime == Regime.CATAPULT).where((kernel > 2.05) & (kernel < 3.95)).mean())
    texts = [f"{number(share, '.1%')} end as predicted for ηλ₀ {name}" for name, share in shares.items()]
    numbers["(d)"] = ", ".join(texts) + f", {number(rose, '.1%')} of the latter after a catapult"
    for spec in _tuners(dataset):
        one = unpack(dataset, spec)
        decided = (one.trend_predicted.notnull() & one.trend_measured.notnull()).values
        agree = int((one.trend_predicted == one.trend_measured).values[decided].sum())
        met[spec] = agree > 0.8 * decided.sum() if decided.any() else None
        numbers[spec] = f"sign of dλ/dt as predicted at {agree} of {int(decided.sum())} points"
    criterion = "over 95 % of the points of (a) and (d), and over 80 % of those of (e–h) where both are known"
    return (claim("borders", "Borders between regimes lie where the theory puts them.", met, numbers, criterion),)


@styled
def draw(dataset: xr.Dataset):
    from matplotlib.colors import LogNorm

    tuners = _tuners(dataset)
    figure = sheet(DOUBLE, 8.2)
    upper, lower = figure.subfigures(2, 1, height_ratios=[2.45, 1])
    grid = upper.subplots(2, 2)
    legends: dict[str, Any] = {}
    for ax, name in zip(grid.ravel(), ("polyak", "cdat", "armijo", "catapult"), strict=True):
        part = unpack(dataset, name)
        plotting.phase_diagram(part, axes=ax)
        legend = ax.get_legend()
        if legend is not None:
            legends |= {
                text.get_text(): handle for text, handle in zip(legend.texts, legend.legend_handles, strict=True)
            }
            legend.remove()
        ax.grid(False)
        ax.set_title(TITLES[name])
    grid[1, 0].set_xlabel("$c_1$")
    grid[1, 1].set(xlabel="initial $u$", ylabel="initial $v$", aspect="equal")
    _borders(grid)
    upper.legend(list(legends.values()), list(legends), loc="outside upper center", ncols=5)
    bottom = np.atleast_1d(lower.subplots(1, len(tuners)))
    for ax, spec in zip(bottom, tuners, strict=True):
        one = unpack(dataset, spec).transpose("beta", "alpha")
        values = np.clip(one.q_measured.values, 1e-3, 1e3)
        image = ax.pcolormesh(one.alpha, one.beta, values, norm=LogNorm(0.05, 20), cmap="RdBu_r", rasterized=True)
        ax.set_facecolor("#bdbdbd")
        # Below the edge q = 0, which has no logarithm.
        log_q = np.log(np.clip(one.q_predicted.values, 1e-6, 1e6))
        predicted = np.ma.masked_invalid(np.where(np.isfinite(values), log_q, np.nan))
        # Where λ is pinned q = 1 all over, and there is no line.
        if predicted.count() and predicted.min() < 0 < predicted.max():
            ax.contour(one.alpha, one.beta, predicted, [0.0], colors=BLACK, linewidths=1.2)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.grid(False)
        ax.set_title(spec)
        ax.set_xlabel("sharpening $α/λ^2$")
    bottom[0].set_ylabel("self-stabilisation $βG/λ^4$")
    bar = lower.colorbar(image, ax=list(bottom), extend="both", pad=0.01)
    bar.set_label("measured $q = βx^2/2α$")
    letter([*grid.ravel(), *bottom])
    fit_text(figure)
    return figure


def _borders(grid) -> None:
    """The borders by theory."""
    line: dict[str, Any] = {"color": "white", "linewidth": 2.4}
    dashes: dict[str, Any] = {"color": BLACK, "linewidth": 1.1, "linestyle": (0, (4, 2))}
    A = np.geomspace(4.5, 100, 200)
    kappa = np.linspace(0, 1 / 9, 200)
    circle = np.linspace(0, 2 * np.pi, 200)
    for style in (line, dashes):
        grid[0, 0].plot(flips("polyak", A)[0], A, **style)
        for sigma in flips("cdat", kappa):
            grid[0, 1].plot(sigma, kappa, **style)
        for size in (2, 4):
            radius = np.sqrt(size / REFERENCE["step"])
            grid[1, 1].plot(radius * np.cos(circle), radius * np.sin(circle), **style)
