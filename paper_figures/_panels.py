"""Loss, η, λ and ηλ of runs against the step: one column of panels for each thing compared."""

from typing import Any

import numpy as np
import xarray as xr

from eosmodel.results import measures
from eosmodel.results.formatting import number
from paper_figures._style import EDGE

ROWS = {
    "loss": "loss $L$",
    "stepsize": "step size $\\eta$",
    "sharpness": "sharpness $\\lambda$",
    "product": "$\\eta\\lambda$",
}
Runs = dict[str, tuple[xr.Dataset, dict[str, Any]]]


def smooth(run: xr.Dataset, name: str) -> np.ndarray:
    """25-step moving average of a variable of one run, or of "product", ηλ."""
    values = run.stepsize * run.sharpness if name == "product" else run[name]
    return measures.moving_average(values.values, run.step.values)


def column(axes, title: str, runs: Runs, reference: str | None = None) -> dict[str, Any]:
    """Draw 25-step moving averages of runs down a column of four axes; a cross where one ended early.

    Args:
        axes: four, for `ROWS`.
        title: of the column.
        runs: run and line style by label.
        reference: the run that limits follow, so that one that runs away flattens nothing; all when None.

    Returns:
        A handle by label.
    """
    handles = {}
    for ax, name in zip(axes, ROWS, strict=True):
        shown = []
        for label, (run, style) in runs.items():
            values = smooth(run, name)
            known = np.isfinite(values) & (values > 0)
            if not known.any():
                continue
            step, values = run.step.values[known], values[known]
            (handles[label],) = ax.plot(step, values, **style)
            if not measures.status_of(run).ok:
                ax.plot(step[-1], values[-1], "x", color=style["color"], markersize=5, markeredgewidth=1.4)
            if reference in (None, label):
                shown.append(values)
        _scale(ax, name, np.concatenate(shown) if shown else np.ones(1))
    axes[0].set_title(title)
    axes[-1].set_xlabel("step")
    return handles


def _scale(ax, name: str, values: np.ndarray) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_yscale("log")
    low, high = np.log(np.quantile(values, [0.002, 0.998]))
    if name == "product":
        ax.axhline(2, **EDGE)
        low, high = min(low, np.log(0.8)), max(high, np.log(3))
    margin = max(0.1 * (high - low), 0.15)
    ends = np.exp([low - margin, high + margin])
    if ax.get_autoscaley_on() is False:  # the row shares its limits
        ends = min(ends[0], ax.get_ylim()[0]), max(ends[1], ax.get_ylim()[1])
    ax.set_ylim(*ends)
    decades = np.log10(ends[1] / ends[0])
    subs = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=9))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, "g")))
    ax.yaxis.set_minor_formatter(NullFormatter())
