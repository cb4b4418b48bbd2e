"""Bands of a stochastic theory against the runs that it speaks of."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel.plotting._canvas import new_figure
from eosmodel.results.measures import band, coverage, moving_average
from eosmodel.results.names import VARIABLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = ("loss", "stepsize", "sharpness")


def ensemble(runs: xr.Dataset, theory: xr.Dataset, *, level: float = 0.9, axes: Any = None) -> "Figure":
    """Loss, η and λ of runs against the band of an ensemble, 25-step moving averages of both.

    Args:
        runs: from `simulate` on mini-batches, one run or several seeds.
        theory: from `predict` with `members`, of the same start.
        level: of the central band. Each panel's title says which share of the steps of the runs lies inside.
        axes: three axes to draw on; a new figure when None.
    """
    if axes is None:
        figure = new_figure(width=10.5, height=3.2)
        grid = np.atleast_1d(figure.subplots(1, len(SHOWN)))
    else:
        grid = np.asarray(axes, dtype=object).ravel()
        figure = grid[0].figure
    for ax, name in zip(grid, SHOWN, strict=True):
        said, made = _smooth(theory[name]), _smooth(runs[name])
        low, high = band(said, level)
        known = low.notnull().values
        step = said.step.values[known]
        ax.fill_between(step, low.values[known], high.values[known], color="#0072B2", alpha=0.3, linewidth=0)
        ax.plot(step, said.median("member").values[known], color="#0072B2", label="theory, median and band")
        each = [made] if "seed" not in made.dims else [made.isel(seed=i) for i in range(made.sizes["seed"])]
        for i, run in enumerate(each):
            there = run.notnull().values
            label = "runs" if i == 0 else None
            ax.plot(run.step.values[there], run.values[there], color="#3a3a3a", linewidth=1.2, label=label)
        inside = np.mean([coverage(run, said, level) for run in each])
        ax.set_title(f"{inside:.0%} inside the {level:.0%} band", fontsize=10)
        ax.set_yscale("log")
        ax.set_ylabel(f"{VARIABLES[name].symbol}  ({'step size' if name == 'stepsize' else name})")
        ax.set_xlabel("step")
        ax.grid(True, color="#e6e6e6", linewidth=0.6)
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
