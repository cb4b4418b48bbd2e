"""Loss and accuracy of training and of held-out samples."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel.plotting._canvas import name_subject, new_figure, tuner_style
from eosmodel.results.labels import label_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = {"loss": ("loss", "test_loss"), "accuracy": ("accuracy", "test_accuracy")}


def held_out(experiment: xr.Dataset, *, seed: int | None = None, axes: Any = None) -> "Figure":
    """Losses and accuracies of all tuners against the step: thin of the training samples, thick of those held out.

    Args:
        experiment: dataset over (tuner, seed, step), or one run, of a network with held-out samples.
        seed: which seed; the first when None.
        axes: array of two axes to draw on; a new figure when None.
    """
    from matplotlib.ticker import MaxNLocator

    experiment = label_runs(experiment)
    experiment = experiment.isel(seed=0) if seed is None else experiment.sel(seed=seed)
    if axes is None:
        figure = new_figure(width=10.5, height=4.2)
        name_subject(figure, experiment)
        grid = np.atleast_1d(figure.subplots(1, 2, sharex=True))
    else:
        grid = np.asarray(axes, dtype=object).ravel()
        figure = grid[0].figure
    for i, tuner in enumerate(experiment.tuner.values.tolist()):
        run, style = experiment.sel(tuner=tuner), tuner_style(i)
        for ax, (train, test) in zip(grid, _PANELS.values(), strict=True):
            for name, looks in ((train, {"linewidth": 0.7, "alpha": 0.6}), (test, {"linewidth": 1.8})):
                known = run[name].dropna("step") if name in run else run.step[:0]
                if known.size:
                    label = tuner if name == test else None
                    ax.plot(known.step.values, known.values, **(style | looks), label=label)
    for ax, name in zip(grid, _PANELS, strict=True):
        ax.set_ylabel(name)
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        ax.grid(True, color="#e6e6e6", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    grid[0].set_yscale("log")
    grid[1].set_ylim(-0.03, 1.03)
    grid[0].legend(fontsize=9, frameon=False)
    return figure
