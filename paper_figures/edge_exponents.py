"""The edge exponent Λ of step-size rules, on the fast map, a valley and a network; large oscillations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel import simulation
from eosmodel._checks import as_arrays
from eosmodel.analysis.class_check import probe_valley
from eosmodel.dynamics import Descent
from eosmodel.judging.conditions import EXPONENT, NEAR
from eosmodel.judging.verdicts import Claim
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.recipes import network
from eosmodel.results import measures, record
from eosmodel.results.formatting import number
from eosmodel.theory import FastMap, held
from eosmodel.tuners.registry import from_spec
from paper_figures._parts import claim, finished, pack, unpack
from paper_figures._style import BLACK, DOUBLE, EDGE, GREY, legend_above, letter, look, sheet, styled

CAPTION = """
(a) The edge exponent Λ = ⟨ln|1 − s|⟩, s = ηλ with λ at the centre of the oscillation, over the last half of orbits of
the fast map (rules that bound it), of descent on a valley with a harmonic sharp direction, and of a network on digits;
the band is |Λ| ≤ 0.05. (b) The normalised steps s of the same rules on digits: median, the range of 80 % of the steps,
and the mean. (c) The effect of a large oscillation. The mode is subject to the mean curvature λ̂ = u·∇L/x between the
iterate and the minimum along u, and with δ = λ̂/λ − 1 an oscillation of period two at its edge, ηλ̂ = 2, has Λ = ln((1
− δ)/(1 + δ)) (line). Triangles: valleys whose sharp direction softens with the amplitude, under a constant step, or
hardens, under CDAT with σ = 1.5. Squares: the network at the median δ; crosses: rules whose steps fluctuate, for which
the line is not valid. (d) δ on digits, medians of tenths of the steps sorted by the excess (L − L̄)/L̄ of the loss over
its value at the centre.
"""
SOURCES = ("2312.00209", "2407.06183")
DTYPE = "float64"

# Of each rule what puts it at the edge of a valley with λ = 1, and of networks, where most need no scale.
RULES = {
    "constant": ("constant:2.02", "constant:0.6"),
    "CDAT, σ = 2": ("cdat:2", "cdat:2"),
    "on-edge": ("on-edge:2", "on-edge:2"),
    "Armijo": ("armijo:initial=0.3", "armijo"),
    "CDAT, σ = 1.5": ("cdat:1.5", "cdat:1.5"),
    "greedy": ("greedy", "greedy"),
    "CDAT, σ = ½": ("cdat:0.5", "cdat:0.5"),
    "Polyak, c = 0.35": ("polyak:0.35", "polyak:0.35"),
    "Polyak, c = 1": ("polyak:1", "polyak:1"),
    "Polyak, capped": ("sps-max:c=1,max=2.02", "sps-max:c=1,max=1"),
    "normalised": ("normalized:4", "normalized:0.1"),
    "BB2": ("bb2", "bb2"),
}
QUICK = ("greedy",)
NETWORKS = {"digits": {"data": "digits", "samples": 500, "width": 32, "init_scale": 0.5}}
# α, β, κ of the harmonic valley in units in which λ = G = 1, and the energy that it starts with: weak enough that the
# swing under Polyak's step, which holds a share of the whole loss, does not throw it out of its valley.
VALLEY = {"alpha": 3e-6, "beta": 1e-9, "kappa": 3e-4, "start_ratio": 1.0}
FROZEN = {"A": 10.0, "kappa": 0.05}
# Valleys whose sharp direction softens by k, under a constant step, and such as harden by γ, under a rule that bounds
# the oscillation: under a constant step it would run away, as what is larger is stiffer and grows faster.
SOFT = {"tuner": "constant:0.1", "limit": 22.0, "b": 4.0, "mu": 0.5}
SOFTENING, HARDENING = (0.4, 2.5), (0.005, 0.1)
HARD_TUNER = "cdat:1.5"
KEPT = ("loss", "stepsize", "sharpness", "center_loss", "secant", "status", "steps")
TOYS = {"fast": "fast map", "valley": "valley"}
MARKS = {"fast": 0, "valley": 2, "digits": 1}
# The ratio r at which a rule that bounds the oscillation must shrink it.
_LARGE = 1e6
# A rule whose ln s has a larger standard deviation fluctuates.
STEADY = 0.1
# s this near 2 has reached it: a steady rule comes to it from below.
REACHED = 0.01
TENTHS = 10
SHOWN = ("constant", "CDAT, σ = 2", "Polyak, c = 0.35", "Armijo", "Polyak, c = 1")


class Line(Descent):
    """Descent that also finds the curvature λ̂ that its leading mode feels: λ̂ = u·∇L(w)/x, u·∇L(w − xu) = 0.

    x is found by Newton's steps with the curvature at the centre, the first of which is the x of `Descent`.
    """

    def step(self, state, t):
        new, row, status = super().step(state, t)
        u, sharpness = new.center.vectors[0], row["sharpness"]

        def slope(x):
            return u @ jax.grad(self.objective)(state.weights - x * u)

        here = slope(jnp.zeros_like(sharpness))
        x = jax.lax.fori_loop(0, 3, lambda _, x: x + slope(x) / sharpness, here / sharpness)
        return new, row | {"secant": here / x}, status


class SofteningValley(AbstractObjective):
    """f = λ(z) ln cosh(kx)/k² + ½μz², λ = λ_∞ + √b z: a valley whose sharp direction softens with the swing."""

    k: Any
    limit: Any
    b: Any
    mu: Any

    def loss(self, weights):
        x, z = weights
        size = jnp.abs(self.k * x)
        # ln cosh, without overflow.
        soft = (size + jnp.log1p(jnp.exp(-2 * size)) - jnp.log(2.0)) / self.k**2
        return (self.limit + jnp.sqrt(self.b) * z) * soft + 0.5 * self.mu * z**2

    def initial(self, seed=None):
        del seed
        return jnp.asarray([0.1, -3.0])


def settings(quick: bool) -> dict[str, Any]:
    small = {"samples": 100, "width": 8}
    return {
        "rules": {name: specs for name, specs in RULES.items() if not quick or name in QUICK},
        "networks": {name: options | (small if quick else {}) for name, options in NETWORKS.items()},
        "valley": VALLEY,
        "frozen": FROZEN,
        "soft": SOFT,
        "softening": [0.5] if quick else np.geomspace(*SOFTENING, 5).tolist(),
        "hard": HARD_TUNER,
        "hardening": [] if quick else np.geomspace(*HARDENING, 5).tolist(),
        "steps": 100 if quick else 500,
        "modes": 1 if quick else 3,
        "toy_steps": 100 if quick else 1600,
    }


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    rules = chosen["rules"]
    index = xr.IndexVariable("tuner", list(rules))
    floor = probe_valley(**{name: jnp.asarray(value) for name, value in VALLEY.items()})
    parts = {
        "fast": xr.concat([_orbit(toy, chosen["toy_steps"]) for toy, _ in rules.values()], index),
        "valley": xr.concat([_follow(floor, toy, chosen["toy_steps"], 1) for toy, _ in rules.values()], index),
        "bent": _bent(chosen),
    }
    for name, options in chosen["networks"].items():
        net = network(**options, seed=0)
        runs = [_follow(net, spec, chosen["steps"], chosen["modes"]) for _, spec in rules.values()]
        parts[name] = xr.concat(runs, index)
    return pack(parts).assign_attrs(networks=list(chosen["networks"]))


def _follow(loss, spec, steps, modes) -> xr.Dataset:
    start = loss.initial()
    # As arrays, so that rules which differ by a number alone are compiled once.
    dynamics = Line(loss, as_arrays(from_spec(spec), start.dtype), modes, measure_every=0)
    return record.to_dataset(simulation.run(dynamics, start, steps), 1)[list(KEPT)]


def _orbit(spec, steps) -> xr.Dataset:
    """s on an orbit of the fast map, in the form of a run with λ = 1; NaN of rules that do not bound it."""
    fast = as_arrays(FastMap(from_spec(spec), FROZEN["A"], FROZEN["kappa"]), jnp.result_type(float))
    bounded = float(held(fast, _LARGE).growth) < -1e-3
    s = np.asarray(_normalised(fast, fast.init(), steps)) if bounded else np.full(steps, np.nan)
    return xr.Dataset({"stepsize": ("step", s), "sharpness": ("step", np.ones(steps)), "status": 0, "steps": steps})


@eqx.filter_jit
def _normalised(fast, z, steps):
    return jax.lax.scan(lambda z, _: (fast(z), fast.observe(z).s), z, None, length=steps)[1]


def _bent(chosen) -> xr.Dataset:
    """Runs on valleys that soften and on valleys that harden with the swing."""
    soft = dict(chosen["soft"])
    tuner = soft.pop("tuner")
    numbers = [jnp.asarray(value) for value in soft.values()]
    toys: list[tuple[AbstractObjective, str]] = [
        (SofteningValley(jnp.asarray(k), *numbers), tuner) for k in chosen["softening"]
    ]
    floor = {name: jnp.asarray(value) for name, value in chosen["valley"].items()}
    toys += [(probe_valley(**floor, gamma=jnp.asarray(gamma)), chosen["hard"]) for gamma in chosen["hardening"]]
    runs = [_follow(toy, spec, chosen["toy_steps"], 1) for toy, spec in toys]
    return xr.concat(runs, xr.IndexVariable("point", np.arange(len(runs))))


def softening(run: xr.Dataset) -> np.ndarray:
    """δ = λ̂/λ − 1 over the last half."""
    sharpness, secant = measures.last_half(run, "sharpness", "secant")
    return secant / sharpness - 1


def exponent_felt(run: xr.Dataset) -> float:
    """⟨ln|1 − ηλ̂|⟩ over the last half."""
    return measures.edge_exponent(run.assign(sharpness=run.secant))


def expected(delta):
    """Λ of an oscillation of period two at ηλ̂ = 2."""
    return np.log((1 - delta) / (1 + delta))


def at_edge(run: xr.Dataset) -> bool:
    """Whether a run finished, and s comes within 1 % of 2 or exceeds it at some step of its last half."""
    return finished(run) and bool(np.any(measures.edge_products(run) > 2 * (1 - REACHED)))


def steady(run: xr.Dataset) -> bool:
    return float(np.std(np.log(measures.edge_products(run)))) < STEADY


def _networks(dataset: xr.Dataset) -> list[str]:
    return np.atleast_1d(dataset.attrs["networks"]).tolist()


def _runs(dataset: xr.Dataset, keys) -> dict[str, xr.Dataset]:
    """Runs at the edge by rule and where, in words."""
    names = TOYS | {key: key for key in _networks(dataset)}
    parts = {key: unpack(dataset, key) for key in keys}
    each = {f"{t}, {names[key]}": part.sel(tuner=t) for key, part in parts.items() for t in part.tuner.values}
    return {name: run for name, run in each.items() if at_edge(run)}


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    networks = _networks(dataset)
    toys, nets = _runs(dataset, TOYS), _runs(dataset, networks)
    exponents = {name: measures.edge_exponent(run) for name, run in (toys | nets).items()}
    written = {name: f"Λ = {value:+.3f}" for name, value in exponents.items()}
    zero: dict[str, bool | None] = {name: abs(value) <= EXPONENT for name, value in exponents.items()}
    elsewhere: dict[str, bool | None] = {}
    words = {}
    for name, run in (toys | nets).items():
        s = measures.edge_products(run)
        median, mean = float(np.median(s)), float(np.mean(s))
        if max(abs(median / 2 - 1), abs(mean / 2 - 1)) > NEAR and not steady(run):
            elsewhere[name] = zero[name]
            words[name] = f"median s {number(median, '.2f')}, mean {number(mean)}, {written[name]}"
    felt: dict[str, bool | None] = {}
    line: dict[str, bool | None] = {}
    felt_words, line_words = {}, {}
    for name, run in nets.items():
        delta, value = float(np.median(softening(run))), exponent_felt(run)
        felt[name] = abs(value) <= EXPONENT
        felt_words[name] = f"{written[name]}, with λ̂ {value:+.3f}"
        if steady(run):
            line[name] = abs(exponents[name] - expected(delta)) <= EXPONENT
            line_words[name] = f"δ = {delta:+.3f}, {written[name]} against {expected(delta):+.3f}"
    bent = unpack(dataset, "bent")
    for i, run in ((i, bent.sel(point=i)) for i in bent.point.values):
        delta, value, name = float(np.median(softening(run))), measures.edge_exponent(run), f"bent valley {i + 1}"
        line[name] = finished(run) and abs(value - expected(delta)) <= EXPONENT
        line_words[name] = f"δ = {delta:+.3f}, Λ = {value:+.3f} against {expected(delta):+.3f}"
    bound = f"|Λ| ≤ {number(EXPONENT)} over the last half"
    reached = number(REACHED, ".0%")
    when = f"for runs that finished and whose s comes within {reached} of 2 or exceeds it at some of these steps"
    return (
        claim(
            "zero-on-toys",
            "On the fast map and on a harmonic valley Λ = 0 for every rule at the edge.",
            {name: zero[name] for name in toys},
            {name: written[name] for name in toys},
            f"{bound}, {when}",
        ),
        claim(
            "zero-on-networks",
            "On networks Λ = 0 for every rule at the edge.",
            {name: zero[name] for name in nets},
            {name: written[name] for name in nets},
            f"{bound}, {when}",
        ),
        claim(
            "zero-elsewhere",
            "Λ = 0 also where s is not 2: rules whose step fluctuates are at the edge on average only.",
            elsewhere,
            words,
            f"{bound}, where the median or the mean of s is over 10 % off 2 and ln s spreads by over {number(STEADY)}",
        ),
        claim(
            "felt",
            "With the curvature λ̂ that the mode feels in place of λ the exponent is 0 on networks too; of a stationary "
            "oscillation of one mode about a floor at rest it is so by construction.",
            felt,
            felt_words,
            f"|⟨ln|1 − ηλ̂|⟩| ≤ {number(EXPONENT)}, {when}",
        ),
        claim(
            "softening",
            "Where the step is steady, Λ is ln((1 − δ)/(1 + δ)), by the softening δ of the mode at its amplitude.",
            line,
            line_words,
            f"Λ within {number(EXPONENT)} of it at the median δ, where ln s spreads by at most {number(STEADY)}",
        ),
    )


@styled
def draw(dataset: xr.Dataset):
    figure = sheet(DOUBLE, 6.4)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.35, 1], squeeze=False).ravel()
    left, right = upper.subplots(1, 2, sharey=True)
    handles = _rows(left, right, dataset)
    below = lower.subplots(1, 2)
    _bend(below[0], dataset, handles)
    _excess(below[1], unpack(dataset, "digits"))
    letter([left, right, *below])
    legend_above(figure, handles, len(handles))
    return figure


def _rows(left, right, dataset) -> dict[str, Any]:
    names = TOYS | {key: key for key in _networks(dataset)}
    handles: dict[str, Any] = {}
    left.axvspan(-EXPONENT, EXPONENT, color="#e3e3e3", linewidth=0)
    left.axvline(0, **EDGE)
    tuners = unpack(dataset, "digits").tuner.values.tolist()
    for shift, (key, name) in zip(np.linspace(-0.27, 0.27, len(names)), names.items(), strict=True):
        part = unpack(dataset, key)
        exponents = [(t, measures.edge_exponent(run)) for t in part.tuner.values if at_edge(run := part.sel(tuner=t))]
        rows, values = [tuners.index(t) + shift for t, _ in exponents], [value for _, value in exponents]
        style = look(MARKS[key], marker=True)
        (handles[name],) = left.plot(values, rows, linestyle="none", markersize=4, **style)
    part = unpack(dataset, "digits")
    for i, tuner in enumerate(tuners):
        s = measures.edge_products(part.sel(tuner=tuner))
        right.plot(np.quantile(s, [0.1, 0.9]), [i, i], color=GREY, linewidth=3, solid_capstyle="butt")
        (median,) = right.plot(np.median(s), i, "o", color=BLACK, markersize=4)
        (mean,) = right.plot(np.mean(s), i, "D", color=BLACK, markerfacecolor="white", markersize=4)
    right.axvline(2, **EDGE)
    right.set_xscale("log")
    right.legend([median, mean], ["median", "mean"], loc="upper right")
    left.set_yticks(range(len(tuners)), tuners)
    left.set_ylim(len(tuners) - 0.5, -0.5)
    left.set_xlabel("edge exponent $Λ$")
    right.set_xlabel("normalised step $s$ on digits")
    return handles


def _bend(ax, dataset, handles) -> None:
    bent = unpack(dataset, "bent")
    runs = [bent.sel(point=i) for i in bent.point.values]
    points = [(np.median(softening(run)), measures.edge_exponent(run)) for run in runs if finished(run)]
    ax.plot(*np.transpose(points), "v", color=BLACK, markerfacecolor="white", markersize=5, label="bent valleys")
    ends = [x for x, _ in points]
    for key in _networks(dataset):
        part = unpack(dataset, key)
        for tuner in part.tuner.values:
            run = part.sel(tuner=tuner)
            if at_edge(run):
                style = look(MARKS[key], marker=True)
                if not steady(run):
                    style |= {"marker": "x"}
                x = float(np.median(softening(run)))
                ax.plot(x, measures.edge_exponent(run), linestyle="none", markersize=4, **style)
                ends.append(x)
    delta = np.linspace(min(*ends, -0.15) - 0.02, max(*ends, 0.15) + 0.02, 100)
    ax.plot(delta, expected(delta), color=BLACK, linewidth=0.9, zorder=1)
    ax.axhline(0, **EDGE)
    ax.set_xlabel("softening $δ = \\hatλ/λ - 1$")
    ax.set_ylabel("edge exponent $Λ$")
    ax.legend(loc="upper right")


def _excess(ax, part) -> None:
    tuners = part.tuner.values.tolist()
    for i, tuner in enumerate([name for name in SHOWN if name in tuners] or tuners):
        run = part.sel(tuner=tuner)
        loss, centre, sharpness, secant = measures.last_half(run, "loss", "center_loss", "sharpness", "secant")
        excess, delta = loss / centre - 1, secant / sharpness - 1
        order = np.array_split(np.argsort(excess), TENTHS)
        x, y = ([np.median(values[part]) for part in order] for values in (excess, delta))
        ax.plot(x, y, markersize=3, linewidth=0.8, label=tuner, **look(i) | look(i, marker=True))
    ax.axhline(0, **EDGE)
    ax.set_xscale("symlog", linthresh=1e-2)
    ax.set_xlabel("excess of the loss $L/\\bar L - 1$")
    ax.set_ylabel("softening $δ$")
    ax.legend(loc="best")
