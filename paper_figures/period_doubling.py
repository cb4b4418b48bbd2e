"""Period doubling of Polyak's step in c: fast map, valley and network, with the Lyapunov exponents."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel import analysis, experiment
from eosmodel.analysis.parameters import Family, find
from eosmodel.judging.cells import DISTANCE
from eosmodel.judging.criteria import SHARE
from eosmodel.judging.verdicts import Claim
from eosmodel.objectives import Valley, data, mlp
from eosmodel.rays import ray
from eosmodel.results import measures
from eosmodel.results.formatting import number
from eosmodel.theory import FastMap
from eosmodel.tuners import Polyak
from paper_figures._parts import claim, flips, pack, unpack
from paper_figures._style import BLACK, BLUE, DOUBLE, EDGE, GREY, RED, letter, sheet, styled

CAPTION = """
The normalised step s = ηλ on orbits of Polyak's rule against its constant c, after a transient, and below the largest
Lyapunov exponent per step (red above 0). Left: the fast map at A = λL̄/G = 20. Middle: descent on a valley of that A,
whose bulk is moved by the large steps beyond the flip, which the fast map neglects. Then a network on digits, whose A
varies, and the model of centre and oscillation of it, from the same initial weights. Dotted: the flip of the fast map,
with a fixed bulk, c = ½ + 1/(4A) + …, and for the network c = ½. The thin line below is the fast map's exponent again;
the network's cannot be much below 0, because it has directions that neither grow nor shrink. Below the model: the
distance of its law of s from the network's (Kolmogorov–Smirnov; dashed: 0.1), and in grey that of a perturbed copy of
the network's run.
"""
SOURCES = ("2312.00209", "2206.04172")
DTYPE = "float64"

PARTS = {"fast": "fast map", "valley": "valley", "network": "network", "model": "model of the network"}
A = 20.0
# A valley's A is λ/2μ, and stays so while λ does. Its loss shrinks by a factor a step, which bounds their number.
SHARPNESS, B = 20.0, 1e-4
# Standard deviation of ln s on an orbit above which it is no fixed point.
SPREAD = 0.1
# The fast map's exponent, and one more run of the network.
BESIDE: dict[str, Any] = {"color": GREY, "linewidth": 0.6}


def settings(quick: bool) -> dict[str, Any]:
    return {
        "A": A,
        "c": [0.3, 1.2, 30 if quick else 600],
        "burn_in": 100,
        "keep": 64,
        "lyapunov_steps": 250,
        "valley": {"sharpness": SHARPNESS, "b": B},
        "network": {
            "data": "digits",
            "samples": 100 if quick else 400,
            "width": 8 if quick else 16,
            "init_scale": 0.5,
            "c": [0.3, 1.2, 4 if quick else 46],
            "steps": 80 if quick else 600,
            "rows": 40 if quick else 200,
            "modes": 3,
        },
    }


class ValleyRatio(eqx.Module):
    """(ln r, ln |z|), c ↦ the next: descent on a valley of one bulk mode under Polyak's step.

    In these coordinates the decay of the loss is a drift of the second, and the exponents are those of r and 0.
    """

    valley: Valley

    def weights(self, point):
        z = -jnp.exp(point[1])
        sharpness = self.valley.sharpness(jnp.stack([z, z]))
        return jnp.stack([jnp.exp(point[0] / 2) * self.valley.mu[0] * jnp.abs(z) / sharpness, z])

    def product(self, point, c):
        weights = self.weights(point)
        return _step(self.valley, weights, c)[0] * self.valley.sharpness(weights)

    def __call__(self, point, c):
        new = _step(self.valley, self.weights(point), c)[1]
        ratio = jnp.abs(self.valley.sharpness(new) * new[0] / (self.valley.mu[0] * new[1]))
        return jnp.stack([2 * jnp.log(ratio), jnp.log(jnp.abs(new[1]))])


class PolyakStep(eqx.Module):
    """w, c ↦ the next: one step of descent on any loss."""

    loss: Any

    def __call__(self, weights, c):
        return _step(self.loss, weights, c)[1]


def _step(loss, weights, c):
    """η, and the weights after it."""
    line, tuner = ray(loss, weights), Polyak(c)
    eta = tuner(line, tuner.init(weights.dtype))[0]
    return eta, weights + eta * line.direction


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    values = np.linspace(*chosen["c"])
    options = {name: chosen[name] for name in ("burn_in", "keep", "lyapunov_steps")}
    probe = analysis.probe(FastMap(Polyak(), A=A))
    family = Family(probe, find(probe, "c"))
    fast = analysis.orbit_diagram(family, values, probe.init(), **options)
    r, c = np.exp(fast.orbit.isel(component=0)), fast.p
    fast = fast[["period"]].assign(s=(A + r / 2) / (c * (1 + r)), lyapunov=fast.lyapunov.sum("exponent"))

    valley = ValleyRatio(Valley(SHARPNESS, B, [1.0], [SHARPNESS / (2 * A)], [0.1, -1.0]))
    diagram = analysis.orbit_diagram(valley, values, [0.0, 0.0], **options)
    products = jax.vmap(jax.vmap(valley.product, (0, None)))(jnp.asarray(diagram.orbit.values), jnp.asarray(values))
    on_valley = xr.Dataset({"s": (("p", "sample"), np.asarray(products))}, {"p": fast.p})
    on_valley = on_valley.assign(lyapunov=diagram.lyapunov.sum("exponent"))
    network, model = _network(chosen["network"])
    return pack({"fast": fast, "valley": on_valley, "network": network, "model": model})


def _network(chosen) -> tuple[xr.Dataset, xr.Dataset]:
    """Runs of the network and of the model; distances of the laws of s of the model and of perturbed copies."""
    values = np.linspace(*chosen["c"])
    net = mlp(data.load(chosen["data"], chosen["samples"]), width=chosen["width"], init_scale=chosen["init_scale"])
    tuner, steps = Polyak(jnp.asarray(values)), chosen["steps"]
    starts = net.initial(), experiment.nearby(net.initial(), 1)[0]
    runs = [experiment.simulate(net, tuner, steps, start=w0, modes=1, measure_every=0) for w0 in starts]
    runs.append(experiment.predict(net, tuner, steps, modes=chosen["modes"]))
    s, of_copy, of_model = ((rows.stepsize * rows.sharpness).values[:, -chosen["rows"] :] for rows in runs)
    step, start = PolyakStep(net), starts[0]
    rows = {"steps": chosen["rows"], "burn_in": chosen["steps"] - chosen["rows"], "count": 1}
    exponents = [float(analysis.lyapunov(step, start, args=(c,), **rows).exponents[0]) for c in jnp.asarray(values)]
    # What ended early has no law there, and the largest distance.
    distance, of_copies = (
        [measures.law_distance(a, b) if np.isfinite(b).all() else 1.0 for a, b in zip(s, other, strict=True)]
        for other in (of_model, of_copy)
    )
    network = xr.Dataset({"s": (("p", "sample"), s), "lyapunov": ("p", exponents)}, {"p": values})
    compared = {"s": (("p", "sample"), of_model), "distance": ("p", distance), "copy_distance": ("p", of_copies)}
    return network, xr.Dataset(compared, {"p": values})


def onset(part: xr.Dataset) -> float:
    """The least c from which on ln s spreads over an orbit by over 0.1; NaN if it never does."""
    spread = np.log(np.abs(part.s)).std("sample").values > SPREAD
    still = np.flatnonzero(~spread)
    first = still[-1] + 1 if len(still) else 0
    return float(part.p[first]) if first < len(spread) else np.nan


def flip() -> float:
    """c at the flip of the fast map."""
    return float(flips("polyak", A)[0])


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    met: dict[str, bool | None] = {}
    numbers = {}
    for key in ("fast", "valley", "network"):
        part, name = unpack(dataset, key), PARTS[key]
        # The network's A is large at first and moves, and c = ½ is the limit of large A.
        predicted, bound = (0.5, 0.1) if key == "network" else (flip(), 0.02)
        start, top = onset(part), float(part.lyapunov.max())
        met[name] = abs(start - predicted) < bound and top > 0.05
        numbers[name] = (
            f"fluctuates from c = {number(start, '.3f')} on against {number(predicted, '.3f')}, "
            f"largest exponent {number(top, '.2f')}"
        )
    network, model = unpack(dataset, "network"), unpack(dataset, "model")
    near, copies = model.distance.values <= DISTANCE, model.copy_distance.values <= DISTANCE
    starts, between = (onset(network), onset(model)), float(np.diff(model.p).max())
    return (
        claim(
            "doubling",
            "Polyak's step leaves its fixed point near c = ½ in fast map, valley and network, and is chaotic beyond.",
            met,
            numbers,
            "onset of fluctuations of s within 0.02 of the flip (network: 0.1 of ½), and a Lyapunov exponent over 0.05",
        ),
        claim(
            "model",
            "The model of centre and oscillation, shown nothing of the runs, has the network's orbit diagram over c.",
            {"onset": abs(starts[0] - starts[1]) < 1.5 * between, "laws of s": near.mean() >= SHARE},
            {
                "onset": f"network {number(starts[0], '.3f')}, model {number(starts[1], '.3f')}",
                "laws of s": f"{near.sum()} of {near.size} within {number(DISTANCE)}, "
                f"median {number(np.median(model.distance), '.3f')}; "
                f"one more run of the network {copies.sum()}, median {number(np.median(model.copy_distance), '.3f')}",
            },
            "onsets at most one c of the grid apart; "
            f"Kolmogorov–Smirnov distance of at most {number(DISTANCE)} at {number(SHARE, '.0%')} of c",
        ),
    )


@styled
def draw(dataset: xr.Dataset):
    figure = sheet(DOUBLE, 3.6)
    grid = figure.subplots(2, 4, sharex=True, sharey="row", height_ratios=[2, 1])
    fast = unpack(dataset, "fast")
    for (top, bottom), (key, name) in zip(grid.T, PARTS.items(), strict=True):
        part, on_network = unpack(dataset, key), key in ("network", "model")
        c, s = part.p.values, part.s.values
        dots: dict[str, Any] = {"marker": ".", "markeredgewidth": 0, "linestyle": "none", "rasterized": True}
        size, alpha = (2.5, 0.35) if on_network else (1.2, 0.3)
        top.plot(np.repeat(c, s.shape[1]), s.ravel(), color=BLACK, markersize=size, alpha=alpha, **dots)
        top.axhline(2, **EDGE)
        if key == "model":
            bottom.plot(c, part.copy_distance, **BESIDE)
            bottom.plot(c, part.distance, color=BLUE, marker=".", markersize=3)
            bottom.axhline(DISTANCE, **EDGE)
        else:
            exponent = part.lyapunov.values
            bottom.plot(fast.p, fast.lyapunov, **BESIDE)
            bottom.fill_between(c, 0, np.fmax(exponent, 0), color=RED, linewidth=0, alpha=0.85)
            bottom.fill_between(c, np.fmin(exponent, 0), 0, color=BLUE, linewidth=0, alpha=0.85)
        bottom.axhline(0, color=BLACK, linewidth=0.6)
        for ax in (top, bottom):
            ax.axvline(0.5 if on_network else flip(), color=BLACK, linewidth=0.9, linestyle=(0, (1, 1.5)))
        top.set_title(name)
        bottom.set_xlabel("$c$")
    top.set_yscale("log")
    top.set_ylim(0.3, 60)
    bottom.set_ylim(-0.8, 0.8)
    bottom.set_xlim(fast.p[0], fast.p[-1])
    grid[0, 0].set_ylabel("normalised step $s = ηλ$")
    grid[1, 0].set_ylabel("Lyapunov\nexponent")
    bottom.set_title("distance of the laws of $s$", fontsize="small", loc="left")
    letter(grid[0])
    return figure
