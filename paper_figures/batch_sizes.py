"""Batch sizes: loss, η, λ and ηλ of constant, Armijo and Polyak steps on mini-batches, down from the full batch."""

from typing import Any

import numpy as np
import xarray as xr

from eosmodel.judging.verdicts import Claim
from eosmodel.results.formatting import number
from paper_figures._batches import best, common, final, judged, over_seeds, swept
from paper_figures._panels import ROWS, column
from paper_figures._parts import claim
from paper_figures._style import DOUBLE, EDGE, letter, look, sheet, styled

CAPTION = """
(a–d) Full-batch loss, step size, full-batch sharpness and their product under the best constant step of each batch
size, Armijo's line search and Polyak's step with a cap, for a network on digits that sees batches of B samples, drawn
without replacement (geometric means over seeds of rows smoothed over 25 steps; a cross where a seed ended early;
dashed: ηλ = 2, the edge of the full batch). All runs have the same number of steps. (e, f) Final loss over that of the
best constant step, and final sharpness, against the batch size: medians and ranges over seeds.
"""
SOURCES = ("2312.00209",)
DTYPE = "float32"

RULES = {"constant": "best constant", "armijo": "Armijo", "sps-max": "Polyak, capped"}


def settings(quick: bool) -> dict[str, Any]:
    if quick:
        return common(quick) | {"tuners": ["constant:{0.25,0.5}"], "sizes": [16]}
    return common(quick) | {"tuners": ["constant:{0.25,0.5,1}", "armijo", "sps-max:c=1,max=3"]}


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    return swept(chosen, chosen["tuners"], chosen["sizes"])


def _rules(runs: xr.Dataset) -> dict[str, list[str]]:
    """Tuners of every rule that was run; one or several, whose best stands for it."""
    specs = {rule: runs.tuner.values[runs.rule.values == rule].tolist() for rule in RULES}
    return {rule: chosen for rule, chosen in specs.items() if chosen}


def _chosen(runs: xr.Dataset) -> dict[str, xr.Dataset]:
    """The runs of every rule, its best tuner at every batch size, without the dimension of tuners."""
    chosen = {}
    for rule, specs in _rules(runs).items():
        mine = [runs.sel(tuner=specs, batch_size=size) for size in runs.batch_size]
        at_sizes = [one.sel(tuner=best(one)).reset_coords().drop_vars("batch_size") for one in mine]
        chosen[rule] = xr.concat(at_sizes, runs.batch_size)
    return chosen


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    sizes = dataset.batch_size.values
    falls: dict[str, bool | None] = {}
    rank: dict[str, bool | None] = {}
    sharpness, ranks = {}, {}
    for spec in dataset.tuner.values.tolist():
        values = dataset.final_sharpness.sel(tuner=spec).median("seed").values
        falls[spec] = bool(np.all(np.diff(values) > 0)) if len(sizes) > 1 else None
        sharpness[spec] = "λ = " + ", ".join(map(number, values))
    losses = {rule: final(runs).median("seed").values for rule, runs in _chosen(dataset).items()}
    if "armijo" in losses:
        table = np.stack(list(losses.values()))
        place = 1 + (table < losses["armijo"]).sum(axis=0)
        # Sizes rise, and the last is the full batch.
        rank["Armijo"] = bool(place[-1] == len(table) and place[:-1].min() < len(table))
        rows = zip(sizes, place, losses["armijo"] / losses["constant"], strict=True)
        ranks["Armijo"] = ", ".join(f"{at} of {len(table)} at B = {size} (loss {number(q)})" for size, at, q in rows)
    return (
        judged(dataset, "a"),
        judged(dataset, "b"),
        claim(
            "attenuated",
            "The sharpness that a rule ends at rises with the batch size.",
            falls,
            sharpness,
            f"medians over seeds rise from every batch size, {', '.join(map(str, sizes))}, to the next larger one",
        ),
        claim(
            "rank",
            "Armijo's line search is the last of the rules in full batch, and is not at some smaller batch.",
            rank,
            ranks,
            "place by median final loss among the best constant step, Armijo and Polyak; losses over the constant's",
        ),
    )


@styled
def draw(dataset: xr.Dataset):
    sizes = dataset.batch_size.values.tolist()
    chosen = _chosen(dataset)
    figure = sheet(DOUBLE, 7.6)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.2, 1]).ravel()
    grid = upper.subplots(4, len(sizes), sharex=True, sharey="row", squeeze=False)
    handles: dict[str, Any] = {}
    for axes, size in zip(grid.T, sizes, strict=True):
        shown = {
            RULES[rule]: (over_seeds(runs.sel(batch_size=size)), look(list(RULES).index(rule)))
            for rule, runs in chosen.items()
        }
        step = chosen["constant"].tuner.sel(batch_size=size).item().partition(":")[2]
        handles |= column(axes, f"$B$ = {_size(dataset, size)}\nbest constant {step}", shown)
    for ax, label in zip(grid[:, 0], ROWS.values(), strict=True):
        ax.set_ylabel(label)
    upper.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=len(handles))
    panels = lower.subplots(1, 2)
    _over_sizes(panels, dataset, chosen)
    letter([*grid[0], *panels])
    return figure


def _size(runs: xr.Dataset, size: int) -> str:
    return "all" if size == runs.attrs["samples"] else str(size)


def _over_sizes(panels, dataset: xr.Dataset, chosen: dict[str, xr.Dataset]) -> None:
    """Final loss over the best constant step's and final sharpness against the batch size, with ranges over seeds."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    sizes = dataset.batch_size.values
    reference = final(chosen["constant"])
    panels[0].axhline(1, **EDGE)
    for rule, runs in chosen.items():
        i = list(RULES).index(rule)
        for ax, values in zip(panels, (final(runs) / reference, final(runs, "final_sharpness")), strict=True):
            if ax is panels[0] and rule == "constant":
                continue
            known = values.where(np.isfinite(values))
            middle = known.median("seed")
            ends = np.abs(np.stack([known.min("seed") - middle, known.max("seed") - middle]))
            # Side by side, so that the bars of two rules do not hide each other.
            style = look(i) | look(i, marker=True) | {"markersize": 3, "capsize": 1.5, "elinewidth": 0.8}
            ax.errorbar(sizes * 1.05 ** (i - 1), middle, ends, **style)
    for ax, title in zip(panels, ("final loss over the best constant's", "final $\\lambda$"), strict=True):
        ax.set(title=title, xscale="log", yscale="log", xlabel="batch size $B$")
        ax.set_xticks(sizes, [_size(dataset, size) for size in sizes])
        ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, "g")))
        ax.yaxis.set_minor_formatter(NullFormatter())
