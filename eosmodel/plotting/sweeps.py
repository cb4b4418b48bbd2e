"""Pictures of sweeps: maps over tuner and batch size, and sharpness along the runs."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel._status import SUCCESSES
from eosmodel.plotting._canvas import name_subject, new_figure
from eosmodel.results.formatting import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette; further tuners repeat the colours with another line style.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", (0, (4, 1.5)), (0, (1, 1)))


def sweep_map(sweep: xr.Dataset, name: str = "final_loss", *, axes: Any = None) -> "Figure":
    """One number of a sweep by tuner and batch size: the median over seeds, written and as a colour on a log scale.

    Runs that ended early count as infinite, and their number is written; a cell with an infinite median has no colour.
    A frame marks the lowest value of every batch size. Accuracies are the other way round: the highest is the best,
    and runs that ended early count as −∞; their colours are on a linear scale.

    Args:
        sweep: dataset over (tuner, batch_size, seed).
        name: a positive variable of it, or an accuracy.
        axes: axes to draw on; a new figure when None.

    Raises:
        ValueError: the sweep does not have this variable for every run.
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.patches import Rectangle

    known = [str(key) for key, var in sweep.data_vars.items() if var.dims == ("tuner", "batch_size", "seed")]
    if name not in known:
        raise ValueError(f"sweep_map: name must be one of {', '.join(known)}, got {name!r}")
    ended = ~np.isin(sweep.status, SUCCESSES)
    share = name.endswith("accuracy")
    median = np.median(np.where(ended, -np.inf if share else np.inf, sweep[name].values), axis=-1)
    values = np.where(np.isfinite(median) & (share | (median > 0)), median, np.nan)
    rows, columns = values.shape
    ax: Any = new_figure(3.2 + 1.0 * columns, 1.4 + 0.36 * rows).subplots() if axes is None else axes
    known_values = values[np.isfinite(values)]
    low, high = (known_values.min(), known_values.max()) if known_values.size else (1.0, 10.0)
    norm = Normalize(low, max(high, low + 0.01)) if share else LogNorm(low, max(high, low * 1.01))
    image = ax.imshow(values, norm=norm, cmap="viridis", aspect="auto")
    ax.set_facecolor("#dddddd")
    for i, j in np.ndindex(rows, columns):
        early = int(ended[i, j].sum())
        text = number(float(values[i, j]))
        if early:
            text += f"\n{early} of {ended.shape[-1]} ended early"
        light = np.isfinite(values[i, j]) and norm(values[i, j]) < 0.6
        ax.text(j, i, text, ha="center", va="center", fontsize=6 if early else 9, color="white" if light else "black")
    for j in range(columns):
        if np.isfinite(values[:, j]).any():
            best = np.nanargmax(values[:, j]) if share else np.nanargmin(values[:, j])
            ax.add_patch(Rectangle((j - 0.47, best - 0.46), 0.94, 0.92, fill=False, edgecolor="#D55E00", linewidth=1.8))
    ax.set_xticks(range(columns), _sizes(sweep))
    ax.set_yticks(range(rows), [str(label) for label in sweep.tuner.values])
    ax.set_xlabel("batch size $B$")
    attrs = sweep[name].attrs
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02)
    if not share:
        _plain_numbers(bar.ax.yaxis)
    bar.set_label(f"{attrs.get('symbol', name)}, median over {sweep.sizes['seed']} seeds", fontsize=9)
    ax.set_title(name.replace("_", " "), fontsize=10)
    if axes is None:
        name_subject(ax.figure, sweep)
    return ax.figure


def sweep_trajectories(sweep: xr.Dataset, name: str = "sharpness", *, axes: Any = None) -> "Figure":
    """Sharpness, loss or step size against the step: a panel per batch size, a line per tuner, medians over seeds.

    A line ends where half of the seeds have ended early.

    Args:
        sweep: dataset over (tuner, batch_size, seed, step).
        name: "sharpness", "loss", "stepsize" or "test_loss".
        axes: as many axes as there are batch sizes; a new figure when None.

    Raises:
        ValueError: the sweep does not have this variable along its runs.
    """
    known = [str(key) for key, var in sweep.data_vars.items() if "step" in var.dims]
    if name not in known:
        raise ValueError(f"sweep_trajectories: name must be one of {', '.join(known)}, got {name!r}")
    count, alone = sweep.sizes["batch_size"], axes is None
    if axes is None:
        wide = min(count, 4)
        axes = new_figure(3.1 * wide + 0.6, 2.9 * -(-count // wide) + 0.8).subplots(
            -(-count // wide), wide, sharex=True, sharey=True, squeeze=False
        )
    axes = np.ravel(axes)
    values = np.where(np.isfinite(sweep[name].values), sweep[name].values, np.inf)
    median = np.median(values, axis=sweep[name].dims.index("seed"))
    median = np.where(np.isfinite(median), median, np.nan)
    for j, size in enumerate(_sizes(sweep)):
        for i, label in enumerate(sweep.tuner.values):
            style = {"color": _COLORS[i % len(_COLORS)], "linestyle": _LINES[i // len(_COLORS) % len(_LINES)]}
            axes[j].plot(sweep.step, median[i, j], label=str(label), linewidth=1.4, **style)
        axes[j].set_title(f"$B$ = {size}", fontsize=10)
        axes[j].set_yscale("log")
        _plain_numbers(axes[j].yaxis)
        axes[j].grid(alpha=0.25, which="both", linewidth=0.5)
        axes[j].set_xlabel("step")
    for ax in axes[count:]:
        ax.set_axis_off()
    attrs = sweep[name].attrs
    axes[0].set_ylabel(f"{name.replace('_', ' ')} {attrs.get('symbol', '')}")
    figure = axes[0].figure
    if alone:
        name_subject(figure, sweep)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False, fontsize=9)
    return figure


def _plain_numbers(axis: Any) -> None:
    """Labels the ticks of a log axis of one or two decades with 2, 3, 4, not with powers of ten; with as many digits as
    it takes to tell them apart."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def format_ticks(self, values):
            labelled = [bool(text) for text in super().format_ticks(values)]
            known = [value for value, shown in zip(values, labelled, strict=True) if shown]
            digits = next((d for d in range(1, 9) if len({f"{value:.{d}g}" for value in known}) == len(known)), 9)
            return [number(v, f".{digits}g") if shown else "" for v, shown in zip(values, labelled, strict=True)]

    axis.set_major_formatter(Plain(labelOnlyBase=False))
    axis.set_minor_formatter(Plain(labelOnlyBase=False, minor_thresholds=(2, 0.5)))


def _sizes(sweep: xr.Dataset) -> list[str]:
    full = sweep.attrs.get("samples")
    return [f"full ({size})" if size == full else str(size) for size in sweep.batch_size.values.tolist()]
