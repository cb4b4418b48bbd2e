"""Trajectories of experiments and theories, run by run, and the matrix of errors."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel._status import SUCCESS, SUCCESSES, Status
from eosmodel.plotting._canvas import error_map, new_figure, subject, theory_styles, tuner_style
from eosmodel.results.formatting import number
from eosmodel.results.labels import ERRORS, label_pair, label_runs
from eosmodel.results.measures import edge_of, moving_average, status_of, steps_of
from eosmodel.results.names import VARIABLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_EXPERIMENT: dict[str, Any] = {"color": "#3a3a3a", "linewidth": 2.6}
_RAW: dict[str, Any] = {"color": "#b8b8b8", "linewidth": 0.5}

_PRODUCT = "product"
_ROWS = ("loss", "stepsize", "sharpness", _PRODUCT, "alignment")
_TITLES = {
    "loss": "loss $L$",
    "stepsize": "step size $\\eta$",
    "sharpness": "sharpness $\\lambda$",
    _PRODUCT: "$\\eta\\lambda$ (edge at 2)",
    "alignment": "alignment\n$|u\\cdot g|\\,/\\,\\|g\\|$",
}
_CRITICAL_TITLES = {
    "sharpness": "critical sharpness $\\lambda_c$",
    _PRODUCT: "$\\eta\\lambda_c$ (edge at 2)",
}
# ηλ is drawn linearly up to here and logarithmically above, where a few tuners jump by decades.
_LINEAR_TO = 4.0


def trajectories(
    experiment: xr.Dataset, theory: xr.Dataset | None = None, *, seed: int | None = None, axes: Any = None
) -> "Figure":
    """Loss, η, λ, ηλ and alignment against the step, one column per tuner, experiment and theories together; λ_c for λ
    where that alone was tracked, without theories, which are about λ.

    Thin light lines are the experiment as recorded, the others 25-step moving averages; a cross marks a run that
    ended early. A theory that gives an uncertainty of λ has a band. The axes have the limits of the experiment, so that
    a theory that diverges does not flatten the rest.

    Args:
        experiment: dataset over (tuner, seed, step), or one run.
        theory: dataset over (theory, tuner, seed, step), or None.
        seed: which seed; the first when None.
        axes: array of axes (5, tuners) to draw on; a new figure when None.
    """
    experiment, theory = label_pair(experiment, theory)
    experiment = _one_seed(experiment, seed)
    titles = _titles(experiment)
    tuners = [str(label) for label in experiment.tuner.values]
    if axes is None:
        figure = new_figure(width=max(2.3 * len(tuners) + 0.9, 4.8), height=10.5)
        grid = figure.subplots(len(_ROWS), len(tuners), sharex=True, sharey="row", squeeze=False)
    else:
        grid = np.asarray(axes, dtype=object).reshape(len(_ROWS), len(tuners))
        figure = grid[0, 0].figure
    styles = theory_styles([] if theory is None else map(str, theory.theory.values))
    drawn: dict[str, Any] = {}
    shown: dict[str, list[np.ndarray]] = {name: [] for name in _ROWS}
    for column, tuner in enumerate(tuners):
        run = experiment.sel(tuner=tuner)
        for ax, name in zip(grid[:, column], _ROWS, strict=True):
            raw = _line(ax, run, name, smooth=False, **_RAW)
            line = _line(ax, run, name, **_EXPERIMENT)
            if line is not None:
                drawn.setdefault("experiment", line)
                drawn.setdefault("experiment, every row", raw)
                shown[name].append(line.get_ydata())
            # The first theory is drawn last, on top of the others.
            for kind, style in reversed(styles.items()):
                prediction = _prediction(theory, kind, tuner, run.seed.item())
                if prediction is None or (name in _CRITICAL_TITLES and _tracked(prediction) != _tracked(run)):
                    continue
                line = _line(ax, prediction, name, linewidth=1.5, **style)
                if line is not None:
                    drawn.setdefault(kind, line)
                    if name == "sharpness" and "sharpness_uncertainty" in prediction:
                        _band(ax, line, prediction)
        grid[0, column].set_title(_title(tuner, run), fontsize=10.5)
        grid[-1, column].set_xlabel("step")
    for axis_row, name in zip(grid, _ROWS, strict=True):
        _scale(axis_row[0], name, shown[name])
        axis_row[0].set_ylabel(titles[name])
        for ax in axis_row:
            _dress(ax, name)
    # Theories in the registry's order, whichever was drawn first.
    names = [n for n in ("experiment", *styles, "experiment, every row") if n in drawn]
    if axes is None:
        _legend(figure, {name: drawn[name] for name in names}, subject(figure, experiment))
    return figure


def summary(experiment: xr.Dataset, *, seed: int | None = None, axes: Any = None) -> "Figure":
    """Loss, η, λ and ηλ of all tuners together (25-step moving averages), with 2/η of the constant steps.

    The axes have the limits of the runs that did not end early, if there are any: one that diverges leaves them.

    Args:
        experiment: dataset over (tuner, seed, step), or one run.
        seed: which seed; the first when None.
        axes: array of four axes to draw on; a new figure when None.
    """
    experiment = _one_seed(label_runs(experiment), seed)
    titles = _titles(experiment)
    if axes is None:
        figure = new_figure(width=10.5, height=7.0)
        grid = figure.subplots(2, 2, sharex=True).ravel()
    else:
        grid = np.asarray(axes, dtype=object).ravel()
        figure = grid[0].figure
    handles: dict[str, Any] = {}
    shown: dict[str, list[np.ndarray]] = {name: [] for name in _ROWS}
    well = np.isin(experiment.status, SUCCESSES)
    for i, tuner in enumerate(str(label) for label in experiment.tuner.values):
        run = experiment.sel(tuner=tuner)
        style = tuner_style(i) | {"linewidth": 1.8}
        for ax, name in zip(grid, _ROWS[:4], strict=True):
            line = _line(ax, run, name, **style)
            if line is not None:
                handles.setdefault(tuner, line)
                if well[i] or not well.any():
                    shown[name].append(line.get_ydata())
        eta = run.stepsize.values[np.isfinite(run.stepsize.values)]
        if tuner.partition(":")[0] == "constant" and eta.size:
            limit = grid[2].axhline(edge_of(run) / eta[0], color=style["color"], linewidth=1.0, linestyle=(0, (2, 2)))
            handles["2/η of the constant step"] = limit
    handles = {name: handles[name] for name in sorted(handles, key=lambda name: name.startswith("2/η"))}
    for ax, name in zip(grid, _ROWS[:4], strict=True):
        _scale(ax, name, shown[name])
        ax.set_ylabel(titles[name])
        _dress(ax, name)
    for ax in grid[2:]:
        ax.set_xlabel("step")
    if axes is None:
        _legend(figure, handles, subject(figure, experiment))
    return figure


def fork(experiment: xr.Dataset, trunk: xr.Dataset, *, seed: int | None = None, axes: Any = None) -> "Figure":
    """Branches of a run together with the run itself, as `summary` draws runs; the dotted line is where they part.

    Args:
        experiment: the branches over (tuner, seed, step), their steps counted from the fork.
        trunk: the run over step, or (seed, step); its attribute `forked_at` is the step of the fork.
        seed, axes: as in `summary`.
    """
    at = int(trunk.attrs["forked_at"])
    branches = label_runs(experiment)
    branches = branches.assign_coords(step=branches.step + at).assign(steps=branches.steps + at)
    run = trunk.drop_vars("tuner").expand_dims(tuner=[f"{trunk.tuner.item()} (the run itself)"])
    both = xr.concat([label_runs(run), branches], "tuner", join="outer", combine_attrs="override")
    figure = summary(both, seed=seed, axes=axes)
    for ax in np.asarray(figure.axes if axes is None else axes, dtype=object).ravel()[:4]:
        ax.axvline(at, color="black", linewidth=0.9, linestyle=":")
    return figure


def errors(rows: Sequence[Mapping[str, Any]], *, axes: Any = None) -> "Figure":
    """Heat maps, theory × tuner, of the errors of λ, η and L; the median where there are several seeds.

    Args:
        rows: scoreboard rows, from `Comparison.rows`. A dagger marks theories that ended early for some seed.
        axes: three axes to draw on; a new figure when None.
    """
    tuners = list(dict.fromkeys(row["tuner"] for row in rows))
    theories = list(dict.fromkeys(name for row in rows for name in row["theories"]))
    if axes is None:
        figure = new_figure(width=2.6 + 2.4 * max(len(tuners), 2) * 0.85, height=1.3 + 0.42 * max(len(theories), 2))
        grid = np.atleast_1d(figure.subplots(1, len(ERRORS), sharey=True))
    else:
        grid = np.asarray(axes, dtype=object).ravel()
        figure = grid[0].figure
    image = None
    for ax, (error, variable) in zip(grid, ERRORS.items(), strict=True):
        values, early = _error_matrix(rows, theories, tuners, error)
        image = error_map(ax, values, np.where(early, "†", ""), theories, [_wrap(tuner, 18) for tuner in tuners])
        ax.set_title(f"error of {VARIABLES[variable].symbol}", fontsize=11)
    if axes is None and image is not None:
        bar = figure.colorbar(image, ax=list(grid), pad=0.01, aspect=14, extend="both")
        bar.set_label("median |Δ ln|", fontsize=9)
        bar.ax.tick_params(labelsize=8)
    return figure


def _titles(experiment: xr.Dataset) -> dict[str, str]:
    return _TITLES | (_CRITICAL_TITLES if _tracked(experiment) == "critical_sharpness" else {})


def _tracked(run: xr.Dataset) -> str:
    """The sharpness; the critical sharpness where that alone was tracked."""
    return "critical_sharpness" if "critical_sharpness" in run and run.sharpness.isnull().all() else "sharpness"


def _legend(figure: "Figure", handles: Mapping[str, Any], title: str) -> None:
    """One legend above the panels, in as many columns as fit the width, below what is shown."""
    if not handles:
        return
    names = [textwrap.shorten(name.replace(",", ", "), 44, placeholder=" …") for name in handles]
    width, inches = figure.get_size_inches()[0], [0.75 + 0.08 * len(name) for name in names]
    columns = len(names) if sum(inches) <= width else max(1, int(width / max(inches)))
    figure.legend(
        list(handles.values()),
        names,
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize=10.5,
        handlelength=2.6,
        title=title or None,
        title_fontsize=10,
    )


def _one_seed(experiment: xr.Dataset, seed: int | None) -> xr.Dataset:
    seeds = experiment.seed.values.tolist()
    if seed is not None and seed not in seeds:
        raise ValueError(f"plotting: seed must be one of {', '.join(map(str, seeds))}, got {seed}")
    return experiment.sel(seed=seeds[0] if seed is None else seed)


def _prediction(theory: xr.Dataset | None, kind: str, tuner: str, seed: Any) -> xr.Dataset | None:
    if theory is None or tuner not in theory.tuner.values or seed not in theory.seed.values:
        return None
    return theory.sel(theory=kind, tuner=tuner, seed=seed)


def _line(ax: "Axes", run: xr.Dataset, name: str, smooth: bool = True, **style: Any):
    """Draw one quantity of one run where it is recorded; None if it is not recorded at all."""
    sharpness = _tracked(run)
    name = sharpness if name == "sharpness" else name
    if name == _PRODUCT:
        values = run.stepsize.values.astype(float) * run[sharpness].values.astype(float) * (2 / edge_of(run))
    elif name in run:
        values = run[name].values.astype(float)
    else:
        return None
    step = run.step.values
    if smooth:
        values = moving_average(values, step)
    known = np.isfinite(values)
    if not known.any():
        return None
    (line,) = ax.plot(step[known], values[known], solid_capstyle="round", **style)
    if smooth and not status_of(run).ok:
        ax.plot(step[known][-1], values[known][-1], "x", color=line.get_color(), markersize=8, markeredgewidth=2)
    return line


def _band(ax: "Axes", line: Any, prediction: xr.Dataset) -> None:
    """λ e^{±u} about the line of a theory that gives an uncertainty u of ln λ."""
    step, values = line.get_data()
    unsure = prediction.sharpness_uncertainty.sel(step=step).values
    edges = values * np.exp(-unsure), values * np.exp(unsure)
    ax.fill_between(step, *edges, color=line.get_color(), alpha=0.15, linewidth=0)


def _scale(ax: "Axes", name: str, shown: Sequence[np.ndarray]) -> None:
    """Scale and limits from quantiles of the smoothed experiment."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = np.concatenate(shown) if shown else np.array([])
    if name == "alignment":
        ax.set_ylim(-0.03, 1.03)
    elif name == _PRODUCT:
        top = float(np.quantile(values, 0.995)) if values.size else 0.0
        if top > _LINEAR_TO:
            ax.set_yscale("symlog", linthresh=_LINEAR_TO, linscale=1.0)
            decades = 10.0 ** np.arange(1, np.ceil(np.log10(min(top, 1e6))) + 1)
            ax.set_yticks([0, 2, *decades], ["0", "2", *(number(d, "g") for d in decades)])
            ax.set_yticks([1, 3, 4], minor=True)
        ax.set_ylim(0, min(max(1.25 * top, 3.0), 1e6))
    else:
        ax.set_yscale("log")
        values = values[values > 0]
        if values.size:
            low, high = np.log(np.quantile(values, [0.002, 0.998]))
            margin = max(0.15 * (high - low), 0.2)
            ax.set_ylim(np.exp(low - margin), np.exp(high + margin))
            # Over few decades, label ticks between the powers of ten, and as plain numbers.
            decades = (high - low + 2 * margin) / np.log(10)
            choices = {0.9: (1, 1.5, 2, 3, 4, 6, 8), 1.8: (1, 2, 5), 3.0: (1, 3), np.inf: (1,)}
            subs = next(subs for most, subs in choices.items() if decades < most)
            ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=9))
            if decades < 6:
                ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, "g")))
        ax.yaxis.set_minor_formatter(NullFormatter())


def _dress(ax: "Axes", name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    if name == _PRODUCT:
        ax.axhline(2, color="black", linewidth=0.9, linestyle=(0, (4, 3)), zorder=3)
    # A label at the very end would run into the next column's.
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, prune="upper"))
    ax.grid(True, color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.01)


def _title(tuner: str, run: xr.Dataset) -> str:
    status = status_of(run)
    return _wrap(tuner, 22) + ("" if status is Status.OK else f"\n({status.label} at step {steps_of(run)})")


def _wrap(label: str, width: int) -> str:
    return textwrap.fill(label.replace(",", ", "), width)


def _error_matrix(rows, theories, tuners, error) -> tuple[np.ndarray, np.ndarray]:
    values, early = np.full((len(theories), len(tuners)), np.nan), np.zeros((len(theories), len(tuners)), dtype=bool)
    for i, theory in enumerate(theories):
        for j, tuner in enumerate(tuners):
            entries = [row["theories"][theory] for row in rows if row["tuner"] == tuner and theory in row["theories"]]
            known = [entry[error] for entry in entries if entry[error] is not None]
            values[i, j] = np.median(known) if known else np.nan
            early[i, j] = any(entry["status"] not in SUCCESS for entry in entries)
    return values, early
