"""CDAT: σ near 2 against constant and scheduled steps in full batch, and the best σ over batch sizes."""

from typing import Any

import numpy as np
import xarray as xr

from eosmodel import plotting
from eosmodel.judging.verdicts import Claim
from eosmodel.results.formatting import number
from eosmodel.studies.sweep import FULL
from paper_figures._batches import best, common, final, judged, over_seeds, swept
from paper_figures._panels import ROWS, column
from paper_figures._parts import claim, pack, unpack
from paper_figures._style import DOUBLE, fit_text, letter, look, sheet, styled

CAPTION = """
(a–d) Loss, step size, sharpness and their product of a network on digits in full batch under CDAT, whose step is σ
times the minimiser of the parabola along the gradient, under the best of several constant steps, and under the best of
several schedules of linear warm-up and cosine decay (geometric means over seeds of rows smoothed over 25 steps; a cross
where a seed ended early; dashed: ηλ = 2). (e) Final full-batch loss of CDAT over σ and the batch size B: median over
seeds, with a frame around the lowest of every batch size; below it how many seeds ended early, and a dash where the
median one did. All runs have the same number of steps, so that small batches see the data fewer times.
"""
SOURCES = ("2407.06183", "2312.00209")
DTYPE = "float32"

SHOWN = (1, 1.9, 2, 2.06)
REFERENCES = {"constant": "best constant", "schedule": "warm-up, cosine"}


def settings(quick: bool) -> dict[str, Any]:
    if quick:
        small = {"cdat": "cdat:sigma={1,2}", "sizes": [FULL], "references": {"constant": "constant:0.5"}}
        return common(quick) | small
    steps = common(quick)["steps"]
    references = {
        "constant": "constant:{0.5,0.75,1,1.25,1.5}",
        "schedule": f"constant:step={{1,1.5,2,3}},warmup={steps // 10},decay_steps={steps - steps // 10}",
    }
    return common(quick) | {"cdat": "cdat:sigma={0.5,0.75,1,1.5,1.9,2,2.06}", "references": references}


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    parts = {name: swept(chosen, [grid], [FULL]) for name, grid in chosen["references"].items()}
    return pack({"cdat": swept(chosen, [chosen["cdat"]], chosen["sizes"])} | parts)


def _full(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    """Full-batch runs by name: CDAT at the σ that are shown, the best constant step and the best schedule."""
    cdat = unpack(dataset, "cdat").isel(batch_size=-1)
    shown = {
        f"CDAT, σ = {number(x, 'g')}": cdat.isel(tuner=i) for i, x in enumerate(cdat.tuner_sigma.values) if x in SHOWN
    }
    return shown | {label: one.sel(tuner=best(one)) for label, one in _references(dataset).items()}


def _references(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    known = [name for name in REFERENCES if f"attrs.{name}" in dataset.attrs]
    return {REFERENCES[name]: unpack(dataset, name).isel(batch_size=0) for name in known}


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    cdat, full = unpack(dataset, "cdat"), _full(dataset)
    losses = {name: float(final(one).median("seed")) for name, one in full.items()}
    references = {label: losses.pop(label) for label in _references(dataset)}
    met: dict[str, bool | None] = {}
    numbers = {}
    for name, loss in losses.items():
        # σ = 1 is the greedy rule, of which the opposite is claimed.
        met[name] = all((loss > reference) == name.endswith("= 1") for reference in references.values())
        over = ", ".join(
            f"{number(loss / reference)} of the {full[label].tuner.item()}'s" for label, reference in references.items()
        )
        numbers[name] = f"final loss {number(loss)}, {over}"
    sigma, table = cdat.tuner_sigma.values, final(cdat).median("seed").values
    scopes = {"all σ": sigma > 0, "σ ≥ 1": sigma >= 1}
    lowest = {name: sigma[scope][table[scope].argmin(axis=0)] for name, scope in scopes.items()}
    several = cdat.sizes["batch_size"] > 1
    return (
        claim(
            "full batch",
            "In full batch CDAT near the edge ends below the best constant step and schedule; the greedy rule, σ = 1, "
            "falls behind both.",
            met,
            numbers,
            "median final loss below that of the best constant step and of the best schedule, of σ = 1 above both",
        ),
        judged(cdat, "c"),
        claim(
            "medians",
            "The σ of lowest median loss falls with the batch size.",
            {name: _falls(sigmas) if several else None for name, sigmas in lowest.items()},
            {name: "σ = " + ", ".join(number(x, "g") for x in sigmas) for name, sigmas in lowest.items()},
            f"at B = {', '.join(map(str, cdat.batch_size.values))}: never larger at a smaller batch, and smaller at "
            "the smallest than at the largest",
        ),
    )


def _falls(sigma: np.ndarray) -> bool:
    """Batch sizes rise."""
    return bool(np.all(np.diff(sigma) >= 0) and sigma[0] < sigma[-1])


@styled
def draw(dataset: xr.Dataset):
    cdat, full = unpack(dataset, "cdat"), _full(dataset)
    figure = sheet(DOUBLE, 4.0)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.2, 1]).ravel()
    axes = left.subplots(2, 2, sharex=True).ravel()
    shown = {name: (over_seeds(one), look(i)) for i, (name, one) in enumerate(full.items())}
    handles = column(axes, "", shown)
    for ax, label in zip(axes, ROWS.values(), strict=True):
        ax.set_title(label)
    axes[2].set_xlabel("step")
    left.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=3)
    ax = right.subplots()
    _map(ax, cdat)
    letter([*axes, ax])
    fit_text(figure)
    return figure


def _map(ax, cdat: xr.Dataset) -> None:
    from matplotlib.patheffects import withStroke

    plotting.sweep_map(cdat, axes=ax)
    ax.grid(False)
    ax.set_title("final loss of CDAT")
    ax.set_yticks(range(cdat.sizes["tuner"]), [number(sigma, "g") for sigma in cdat.tuner_sigma.values])
    ax.set_ylabel("$\\sigma$")
    sizes = ["all" if size == cdat.attrs["samples"] else str(size) for size in cdat.batch_size.values.tolist()]
    ax.set_xticks(range(len(sizes)), sizes)
    # The cells of a column are too narrow for the words, which the caption says.
    for text in ax.texts:
        text.set_text(text.get_text().replace(" ended early", ""))
        text.set_fontsize(7)
    # A frame of one colour would be lost in grey.
    for patch in ax.patches:
        patch.set(edgecolor="white", path_effects=[withStroke(linewidth=3.2, foreground="black")])
    ax.images[0].colorbar.ax.yaxis.set_major_formatter("{x:g}")
    ax.images[0].colorbar.ax.yaxis.set_minor_formatter("{x:g}")
    ax.images[0].colorbar.set_label("")
