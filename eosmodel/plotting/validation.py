"""Pictures of a validation: the errors of a theory over the matrix, and runs with their theories."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel.plotting._canvas import error_map, new_figure, subject, theory_styles
from eosmodel.results.formatting import number
from eosmodel.results.names import VARIABLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = ("sharpness", "stepsize", "loss")


def validation_map(dataset: xr.Dataset, theory: str | None = None, *, axes: Any = None) -> "Figure":
    """Errors of λ, η and L of one theory, network and loss by tuner, medians over seeds.

    A circle marks cells with a chaotic run, which no theory can predict step by step; a dagger marks cells where the
    theory ended early.

    Args:
        dataset: over (workload, loss_function, tuner, seed, theory), from `eosmodel validate`.
        theory: its name; the first one when None.
        axes: three axes to draw on; a new figure when None.
    """
    theory = str(dataset.theory.values[0]) if theory is None else theory
    cells = dataset.sel(theory=theory).stack(net=("workload", "loss_function")).transpose("net", "tuner", ...)
    names = [" · ".join(key) for key in cells.net.values]
    tuners = [str(tuner) for tuner in dataset.tuner.values]
    if axes is None:
        figure = new_figure(2.2 + 1.6 * max(len(tuners), 3), 1.5 + 0.34 * max(len(names), 2))
        axes = figure.subplots(1, 3, sharey=True)
    axes = np.ravel(axes)
    chaotic = (cells.chaotic > 0).any("seed").values
    early = (cells.theory_steps < cells.judged_steps).any("seed").values
    marks = np.char.add(np.where(chaotic, "○", ""), np.where(early, "†", ""))
    for ax, name in zip(axes, _SHOWN, strict=True):
        median = cells[f"{name}_error"].median("seed").values
        image = error_map(ax, median, marks, names, tuners)
        ax.set_title(f"{theory}: error of {VARIABLES[name].symbol}", fontsize=10.5)
    bar = axes[0].figure.colorbar(image, ax=list(axes), pad=0.01, aspect=20, extend="both")
    bar.set_label("median |Δ ln|", fontsize=9)
    return axes[0].figure


def validation_trajectories(dataset: xr.Dataset, *, axes: Any = None) -> "Figure":
    """Sharpness, step size and loss of the first seed, experiment and theories, one column per tuner.

    Curves are moving averages over 25 steps, at the 60 rows that are kept of each run. A circle marks chaotic runs.

    Args:
        dataset: one network and loss of a validation, over (tuner, seed, source, row).
        axes: axes of shape (3, tuners); a new figure when None.
    """
    tuners = [str(tuner) for tuner in dataset.tuner.values]
    if axes is None:
        axes = new_figure(1.75 * len(tuners) + 1.0, 5.6).subplots(3, len(tuners), sharex="col", squeeze=False)
    axes = np.reshape(axes, (3, len(tuners)))
    run, *theories = (str(source) for source in dataset.source.values)
    styles = theory_styles(theories)
    drawn: dict[str, Any] = {}
    for column, tuner in zip(axes.T, tuners, strict=True):
        one = dataset.sel(tuner=tuner).isel(seed=0)
        for ax, name in zip(column, _SHOWN, strict=True):
            for source in (run, *reversed(styles)):
                series = one.sel(source=source)
                if not series[name].notnull().any():
                    continue
                style = {"color": "#3a3a3a", "linewidth": 2.6} if source == run else {"linewidth": 1.2} | styles[source]
                (drawn[source],) = ax.plot(series.step, series[name], **style)
            _range(ax, one.sel(source=run)[name].values)
        column[0].set_title(f"{tuner} ○" if int(one.chaotic) else tuner, fontsize=9.5)
        column[-1].set_xlabel("step")
    for ax, name in zip(axes[:, 0], _SHOWN, strict=True):
        ax.set_ylabel(f"{name} {VARIABLES[name].symbol}")
    order = [source for source in (run, *styles) if source in drawn]
    figure = axes[0, 0].figure
    look: dict[str, Any] = {"loc": "outside upper center", "ncols": len(order), "frameon": False}
    figure.legend([drawn[source] for source in order], order, title=subject(figure, dataset) or None, **look)
    return figure


def _range(ax: Any, run: np.ndarray) -> None:
    """A log axis on which the run fills most of the height; theories that leave it are cut off."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, "g")))
    ax.yaxis.set_minor_formatter(NullFormatter())
    known = run[np.isfinite(run) & (run > 0)]
    if known.size:
        low, high = known.min(), known.max()
        margin = max((high / low) ** 0.15, 1.15)
        ax.set_ylim(low / margin, high * margin)
        decades = np.log10(high / low * margin**2)
        subs = [0.5 * k for k in range(2, 20)] if decades < 0.3 else [*range(1, 10)] if decades < 0.6 else [1, 2, 5]
        ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    ax.tick_params(labelsize=7.5, which="both")
    ax.grid(alpha=0.25, linewidth=0.5)
