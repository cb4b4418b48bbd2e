"""The simple joint model of η and λ: paths, y = ηλ − 2 and nullclines, for a constant step and for tuners."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel import analysis
from eosmodel.judging.verdicts import Claim
from eosmodel.results.formatting import number
from eosmodel.theory import FastMap
from eosmodel.tuners.base import AbstractTuner
from eosmodel.tuners.registry import from_spec
from paper_figures._parts import claim, pack, unpack
from paper_figures._style import BLACK, BLUE, DOUBLE, EDGE, RED, legend_above, letter, sheet, styled

CAPTION = """
The simple joint model, x' = (1 − ηλ)x and λ' = λ + η(α − ½βx²) with α = μ(λ_∞ − λ), G, κ and the loss of the floor held
fixed, and η from the rule itself. (a) Sharpness λ (solid) and the edge 2/η (dashed, a moving average). (b) y = ηλ − 2.
(c) The plane of λ and x², with the nullclines of x (solid) and of λ (dashed, x² = 2α/β), the path (grey, from the open
circle) and fixed points (filled: stable). With a constant step the nullcline of x is the line λ = 2/η, and the path
spirals into the crossing. With a clamped rule it is the curve x² = r*G/λ²: the path follows it, y vanishes at once, and
λ rises to the end of sharpening. CDAT at σ = 2 has no such curve: x² grows until λ responds.
"""
SOURCES = ("2407.06183", "2209.15594")
DTYPE = "float64"

# λ = 20 is the edge of the constant step; its balance is stable, since ηλ_∞ < 5/2.
FROZEN = {"mu": 0.5, "limit": 23.5, "beta": 4.0, "kappa": 0.05, "bulk_gradient_sq": 0.1, "center_loss": 0.5}
START = {"sharpness": 16.0, "square": 0.01}
SHOWN = {"sharpness": (15.0, 25.0), "square": (3e-4, 20.0)}
WINDOW = 5


class JointModel(eqx.Module):
    """(λ, ln x²) ↦ the next: the fast map with a sharpness that moves, the rest frozen.

    The sharpness is stepped in its logarithm, which agrees to first order and keeps it positive.
    """

    tuner: AbstractTuner
    mu: Any
    limit: Any
    beta: Any
    kappa: Any
    bulk_gradient_sq: Any
    center_loss: Any

    def look(self, z):
        """η and x² at a state."""
        sharpness, square, bulk = z[0], jnp.exp(z[1]), self.bulk_gradient_sq
        fast = FastMap(self.tuner, sharpness * self.center_loss / bulk, self.kappa, sharpness, bulk)
        return fast.observe(fast.init(sharpness**2 * square / bulk)).stepsize, square

    def __call__(self, z):
        eta, square = self.look(z)
        sharpness = z[0] * jnp.exp(eta * (self.mu * (self.limit - z[0]) - 0.5 * self.beta * square) / z[0])
        gain = jnp.maximum(jnp.abs(1 - eta * z[0]), jnp.finfo(z.dtype).eps)
        return jnp.stack([sharpness, jnp.maximum(z[1] + 2 * jnp.log(gain), -30)])


def settings(quick: bool) -> dict[str, Any]:
    tuners = ["constant:0.1", "cdat:1.5", "polyak:0.35", "cdat:2"]
    return {
        "tuners": tuners[:2] if quick else tuners,
        "frozen": FROZEN,
        "start": START,
        "window": SHOWN,
        "steps": 1000,
        "resolution": 61 if quick else 161,
    }


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    parts = {}
    for spec in chosen["tuners"]:
        model = JointModel(from_spec(spec), **{name: jnp.asarray(value) for name, value in FROZEN.items()})
        low, high = np.log(SHOWN["square"])
        size = chosen["resolution"]
        window = analysis.portrait(model, SHOWN["sharpness"], (low, high), resolution=(size, size))
        path, eta = _path(model, jnp.asarray([START["sharpness"], np.log(START["square"])]), chosen["steps"])
        path = np.asarray(path)
        data = {"sharpness": path[:, 0], "square": np.exp(path[:, 1]), "stepsize": np.asarray(eta)}
        keep = ["x_nullcline", "y_nullcline", "fixed_point", "fixed_stable"]
        # The portrait's x is λ: on its x-nullcline λ stands still, on its y-nullcline the oscillation does.
        parts[spec] = window[keep].assign({name: ("step", values) for name, values in data.items()})
    return pack(parts).assign_attrs(tuners=chosen["tuners"])


@eqx.filter_jit
def _path(model, z, steps):
    def step(z, _):
        return model(z), (z, model.look(z)[0])

    return jax.lax.scan(step, z, None, length=steps)[1]


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    """What is held of the last half of the paths."""
    balanced: dict[str, bool | None] = {}
    clamped: dict[str, bool | None] = {}
    numbers = {}
    for spec in np.atleast_1d(dataset.attrs["tuners"]).tolist():
        one = unpack(dataset, spec)
        late = one.isel(step=slice(one.sizes["step"] // 2, None))
        q = float((FROZEN["beta"] * late.square / (2 * FROZEN["mu"] * (FROZEN["limit"] - late.sharpness))).median())
        s, last = float((late.stepsize * late.sharpness).mean()), float(late.sharpness[-1])
        numbers[spec] = f"q = βx²/2α = {number(q)}, ⟨ηλ⟩ = {number(s, '.3f')}, λ ends at {number(last, '.2f')}"
        if spec.startswith("constant"):
            balanced[spec] = abs(q - 1) < 0.1 and abs(s - 2) < 0.02 and abs(last - 20) < 0.2
        elif spec == "cdat:2":
            balanced[spec] = abs(q - 1) < 0.1 and abs(s - 2) < 0.02
        else:
            clamped[spec] = abs(s - 2) < 0.02 and last > 21
    return (
        claim(
            "balanced",
            "With a constant step, and with CDAT at σ = 2, the oscillation grows until it balances sharpening, and the "
            "constant step ends at λ = 2/η.",
            balanced,
            {name: numbers[name] for name in balanced},
            "median of q within 10 % of 1 and ⟨ηλ⟩ within 1 % of 2; with the constant step λ within 1 % of 20",
        ),
        claim(
            "clamped",
            "Under a clamping rule ηλ = 2 while λ passes the constant step's edge on its way to λ_∞.",
            clamped,
            {name: numbers[name] for name in clamped},
            "⟨ηλ⟩ within 1 % of 2 and a last λ above 21",
        ),
    )


@styled
def draw(dataset: xr.Dataset):
    tuners = np.atleast_1d(dataset.attrs["tuners"]).tolist()
    figure = sheet(DOUBLE, 5.2)
    grid = figure.subplots(3, len(tuners), sharey="row", squeeze=False, height_ratios=[1, 0.8, 1.4])
    handles: dict[str, Any] = {}
    for i, (column, spec) in enumerate(zip(grid.T, tuners, strict=True)):
        one = unpack(dataset, spec)
        step, sharpness, product = one.step.values, one.sharpness.values, (one.stepsize * one.sharpness).values
        above, middle, plane = column
        # The first column's titles are where `letter` looks for them.
        above.set_title(spec, loc="left" if i else "center")
        (handles["sharpness $\\lambda$"],) = above.plot(step, sharpness, color=BLUE)
        edge = np.convolve(2 / one.stepsize.values, np.ones(WINDOW) / WINDOW, "valid")
        style: dict[str, Any] = {"color": RED, "linestyle": (0, (3, 1.5)), "linewidth": 1.0}
        (handles["edge $2/\\eta$"],) = above.plot(step[WINDOW // 2 : WINDOW // 2 + len(edge)], edge, **style)
        above.set_ylim(*SHOWN["sharpness"])
        middle.plot(step, product - 2, color=BLACK, linewidth=0.7)
        middle.axhline(0, **EDGE)
        middle.set_ylim(-1, 1)
        middle.set_xlabel("step")
        _plane(plane, one, handles)
    for ax, label in zip(grid[:, 0], ("$\\lambda$, $2/\\eta$", "$y = \\eta\\lambda - 2$", "$x^2$"), strict=True):
        ax.set_ylabel(label)
    letter(grid[:, 0])
    legend_above(figure, handles, 6)
    return figure


def _plane(ax, one: xr.Dataset, handles) -> None:
    def line(vertices, **style):
        return ax.plot(vertices[:, 0], np.exp(vertices[:, 1]), **style)[0]

    ax.plot(one.sharpness, one.square, color="#b0b0b0", linewidth=0.6, marker=".", markersize=2, zorder=1)
    ax.plot(one.sharpness[0], one.square[0], "o", color="#707070", markerfacecolor="white", markersize=4)
    handles["nullcline of $x$"] = line(one.y_nullcline.values, color=BLUE, linewidth=1.6)
    handles["of $\\lambda$"] = line(one.x_nullcline.values, color=RED, linestyle=(0, (3, 1.5)), linewidth=1.6)
    for stable, face in ((True, BLACK), (False, "white")):
        points = one.fixed_point.values[one.fixed_stable.values == stable]
        if len(points):
            line(points, marker="o", linestyle="none", color=BLACK, markerfacecolor=face, markersize=5, zorder=4)
    ax.set_yscale("log")
    ax.set_xlim(*SHOWN["sharpness"])
    ax.set_ylim(*SHOWN["square"])
    ax.set_xlabel("$\\lambda$")
