"""Phase diagrams of a network: four rules on its river, with real runs at random points."""

from typing import Any

import numpy as np
import xarray as xr

from eosmodel import plotting
from eosmodel.analysis import Regime, phase_diagram
from eosmodel.experiment import measure_river, river_dataset
from eosmodel.judging.verdicts import Claim
from eosmodel.objectives.recipes import network
from eosmodel.tuners import CDAT, AbstractTuner, Armijo, Polyak
from eosmodel.tuners.base import no_evaluations
from paper_figures._parts import claim, digits, pack, unpack
from paper_figures._style import DOUBLE, fit_text, letter, sheet, styled

CAPTION = """
A network on digits, by its river, which is measured once and without any rule. (a) SPS_max over its cap and c.
(b) Armijo's rule over c₁ and the backtracking factor. (c) CDAT over σ and the decay of its moving averages. (d) A
constant step over its size and the length of a linear warm-up. Circles: twelve points drawn at random at which the
network was trained for real, in the colour of the regime that was found; titles: at how many the diagram has that
regime.
"""
SOURCES = ("2312.00209", "2407.06183")
DTYPE = "float32"

SAME = 5 / 6
"""Share of the real runs whose regime the diagram must have."""
TITLES = {"sps-max": "SPS_max", "armijo": "Armijo", "cdat": "CDAT", "constant": "warm-up"}


class Warmup(AbstractTuner):
    """η_t = step·min(1, (t + 1)/length)."""

    step: Any = 0.1
    length: Any = 1.0

    def __call__(self, ray, state):
        return self.step * (1.0 * ray.step + 1).clip(max=self.length) / self.length, state, no_evaluations()


def settings(quick: bool) -> dict[str, Any]:
    size = 3 if quick else 40
    scaled = {
        "sps-max": {"max": [0.3, 6.0, size, "log"]},
        "constant": {"step": [0.3, 10.0, size, "log"]},
    }
    axes = {
        "sps-max": {"c": [0.3, 3.0, size, "log"]},
        "armijo": {"c": [0.01, 0.9, size], "factor": [0.1, 0.95, size]},
        "cdat": {"sigma": [0.3, 2.4, size], "ema": [0.0, 0.95, size]},
        "constant": {"length": [1.0, 200.0, size, "log"]},
    }
    return {
        "network": digits(quick),
        "times_inverse_sharpness": {"sps-max": scaled["sps-max"]} if quick else scaled,
        "axes": {"sps-max": axes["sps-max"]} if quick else axes,
        "trial": 4.0,
        "steps": 64 if quick else 600,
        "modes": 1 if quick else 8,
        "checks": 2 if quick else 12,
    }


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    net, steps = network(**chosen["network"], seed=0), chosen["steps"]
    river = measure_river(net, steps=steps, modes=chosen["modes"])
    inverse = 1 / float(river_dataset(river).isel(flow=0).sharpness[0])
    rules = {
        "sps-max": Polyak(),
        "armijo": Armijo(initial=chosen["trial"] * inverse),
        "cdat": CDAT(),
        "constant": Warmup(),
    }
    parts = {}
    for name, others in chosen["axes"].items():
        scaled = chosen["times_inverse_sharpness"].get(name, {})
        axes: dict[str, Any] = {
            key: (inverse * low, inverse * high, *rest) for key, (low, high, *rest) in scaled.items()
        }
        axes |= {key: tuple(values) for key, values in others.items()}
        made = phase_diagram(river, rules[name], axes, steps=steps, checks=chosen["checks"], network=net, progress=name)
        parts[name] = made.dataset
    return pack(parts).assign_attrs(rules=list(parts))


def _parts(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    return {name: unpack(dataset, name) for name in np.atleast_1d(dataset.attrs["rules"]).tolist()}


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    met, numbers = {}, {}
    for name, part in _parts(dataset).items():
        same = (part.check_regime == part.predicted_regime).values
        off = np.abs(np.log(part.predicted_loss / part.check_loss)).values
        off = off[np.isfinite(off)]
        met[name] = bool(same.mean() >= SAME)
        unknown = int((part.predicted_regime == Regime.OUT_OF_RANGE).sum())
        numbers[name] = f"{same.sum()} of {same.size}" + (f", {unknown} out of range" if unknown else "")
        numbers[name] += f", median |Δ ln L| {np.median(off):.2f} of {off.size}" if off.size else ""
    criterion = "the diagram has the regime of the real run at five sixths of the points"
    text = "A network's phase diagram can be computed from its river."
    return (claim("regimes", text, met, numbers, criterion),)


@styled
def draw(dataset: xr.Dataset):
    from matplotlib.text import Annotation
    from matplotlib.ticker import NullFormatter

    parts = _parts(dataset)
    figure = sheet(DOUBLE, 6.6)
    panels = figure.subplots(2, 2).ravel()
    legends: dict[str, Any] = {}
    for ax, (name, part) in zip(panels, parts.items(), strict=False):
        plotting.phase_diagram(part, axes=ax)
        legend = ax.get_legend()
        legends |= {text.get_text(): handle for text, handle in zip(legend.texts, legend.legend_handles, strict=True)}
        legend.remove()
        ax.grid(False)
        # The agreement is too long a line for a panel of this size; the title says it.
        for line in [text for text in ax.texts if isinstance(text, Annotation)]:
            line.remove()
        # Ranges of little more than a decade would have a label at every tick.
        for axis in (ax.xaxis, ax.yaxis):
            if axis.get_scale() == "log":
                axis.set_minor_formatter(NullFormatter())
        same = int((part.check_regime == part.predicted_regime).sum())
        ax.set_title(f"{TITLES[name]}: {same} of {part.sizes['check']} runs as predicted")
    for ax in panels[len(parts) :]:
        ax.remove()
    figure.legend(list(legends.values()), list(legends), loc="outside upper center", ncols=5)
    letter(panels[: len(parts)])
    fit_text(figure)
    return figure
