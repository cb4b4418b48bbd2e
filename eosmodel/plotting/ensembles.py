"""The band of a stochastic theory against the runs that it predicts."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel.plotting._canvas import new_figure, subject
from eosmodel.results.measures import band, coverage, moving_average
from eosmodel.results.names import VARIABLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = ("loss", "stepsize", "sharpness")


def ensemble(runs: xr.Dataset, theory: xr.Dataset, *, level: float = 0.9, axes: Any = None) -> "Figure":
    """Loss, η and λ of runs against the band of an ensemble, as 25-step moving averages.

    Args:
        runs: from `simulate` on mini-batches, one run or several seeds.
        theory: from `predict` with `members`, from the same start.
        level: probability of the central band. The title of each panel is the fraction of the runs' steps inside it.
        axes: three axes to draw on; a new figure when None.
    """
    if axes is None:
        figure = new_figure(width=10.5, height=3.6)
        grid = np.atleast_1d(figure.subplots(1, len(SHOWN)))
    else:
        grid = np.asarray(axes, dtype=object).ravel()
        figure = grid[0].figure
    for ax, name in zip(grid, SHOWN, strict=True):
        predicted, measured = _smooth(theory[name]), _smooth(runs[name])
        low, high = band(predicted, level)
        valid = low.notnull().values
        step = predicted.step.values[valid]
        ax.fill_between(step, low.values[valid], high.values[valid], color="#0072B2", alpha=0.3, linewidth=0)
        ax.plot(step, predicted.median("member").values[valid], color="#0072B2", label="theory, median and band")
        each = (
            [measured]
            if "seed" not in measured.dims
            else [measured.isel(seed=i) for i in range(measured.sizes["seed"])]
        )
        for i, run in enumerate(each):
            valid = run.notnull().values
            label = "runs" if i == 0 else None
            ax.plot(run.step.values[valid], run.values[valid], color="#3a3a3a", linewidth=1.2, label=label)
        inside = np.mean([coverage(run, predicted, level) for run in each])
        ax.set_title(f"{inside:.0%} inside the {level:.0%} band", fontsize=10)
        ax.set_yscale("log")
        ax.set_ylabel(f"{VARIABLES[name].symbol}  ({'step size' if name == 'stepsize' else name})")
        ax.set_xlabel("step")
        ax.grid(True, color="#e6e6e6", linewidth=0.6)
    if axes is None:
        title = subject(figure, runs) or None
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=2, frameon=False, fontsize=9, title=title)
    else:
        grid[0].legend(frameon=False, fontsize=9)
    return figure


def _smooth(values: xr.DataArray) -> xr.DataArray:
    """25-step moving averages along the steps."""
    step = values.step.values
    return xr.apply_ufunc(
        lambda rows: np.apply_along_axis(moving_average, -1, rows, step),
        values,
        input_core_dims=[["step"]],
        output_core_dims=[["step"]],
    )
