"""Figures of phase diagrams: regimes by colour and label, other observables by a colour scale."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel.plotting._canvas import name_subject, new_figure
from eosmodel.results.regimes import Regime

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, with different lightness for neighbouring regimes; blues for periods.
_COLORS = {
    Regime.UNDECIDED: "#ffffff",
    Regime.CONVERGED: "#F0E442",
    Regime.SELF_STABILISED: "#009E73",
    Regime.CLAMPED_SHARPENING: "#E69F00",
    Regime.CLAMPED_FLATTENING: "#CC79A7",
    Regime.CATAPULT: "#56B4E9",
    Regime.CHAOTIC: "#D55E00",
    Regime.DIVERGED: "#bdbdbd",
    Regime.OUT_OF_RANGE: "#5c5c5c",
    Regime.BELOW_EDGE: "#F0E442",
}
_PERIODS = {1: "#b7d4ea", 2: "#6ea8d5", 4: "#0072B2", 8: "#004a75"}
_OTHER_PERIODS = "#002a44"
# Observables with a colour scale that is symmetric about 0.
_SIGNED = ("edge_exponent", "lyapunov", "drift", "log_s")


def phase_diagram(dataset: xr.Dataset, observable: str | None = None, *, axes: Any = None) -> "Figure":
    """A phase diagram: the regimes, with periodic orbits by period, or one observable by a colour scale.

    Regions that are large enough are labelled, so that the figure can be read without colour. The colour scale ends at
    the 1 % and 99 % quantiles of the values.

    Args:
        dataset: from `phase_diagram`.
        observable: name of the observable; "regime", or else the first one, when None.
        axes: axes to draw on; a new figure when None.

    Raises:
        ValueError: an observable that the dataset does not have.
    """
    known = [str(name) for name, of in dataset.data_vars.items() if name != "done" and of.ndim == 2]
    if observable is None:
        observable = "regime" if "regime" in known else known[0]
    if observable not in known:
        raise ValueError(f"phase_diagram: observable must be one of {', '.join(known)}, got {observable!r}")
    ax: Any = new_figure(7.2, 5.4).subplots() if axes is None else axes
    y, x = (dataset[name] for name in dataset[observable].dims)
    edges = [_edges(values.values) for values in (x, y)]
    (_regimes if observable == "regime" else _scale)(ax, dataset, observable, edges)
    for values, label, scale in ((x, ax.set_xlabel, ax.set_xscale), (y, ax.set_ylabel, ax.set_yscale)):
        label(values.attrs.get("symbol", values.name))
        scale("log" if _geometric(values.values) else "linear")
    ax.set_xlim(edges[0][0], edges[0][-1])
    ax.set_ylim(edges[1][0], edges[1][-1])
    if axes is None:
        name_subject(ax.figure, dataset)
    if "check_x" in dataset:
        _checks(ax, dataset, observable)
    return ax.figure


def _regimes(ax: "Axes", dataset: xr.Dataset, observable: str, edges) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    kinds = _kinds(dataset)
    present = [label for label, (_, where) in kinds.items() if where.any()]
    index = np.zeros(dataset[observable].shape, int)
    for i, label in enumerate(present):
        index[kinds[label][1]] = i
    colors = [kinds[label][0] for label in present]
    look: dict[str, Any] = {"vmin": -0.5, "vmax": len(present) - 0.5, "rasterized": True}
    ax.pcolormesh(*edges, index, cmap=ListedColormap(colors), **look)
    for i, label in enumerate(present):
        _name_region(ax, index == i, label, edges, colors[i])
    handles = [Patch(facecolor=kinds[label][0], edgecolor="#777777", label=label) for label in present]
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": min(len(handles), 4)}
    ax.legend(handles=handles, frameon=False, fontsize=9, **place)


def _checks(ax: "Axes", dataset: xr.Dataset, observable: str) -> None:
    """The points that were run for real, in the colours of the diagram, and how well it agrees with them."""
    x, y = dataset.check_x.values, dataset.check_y.values
    agree = dataset.check_regime.values == dataset.predicted_regime.values
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.abs(np.log(dataset.predicted_loss.values / dataset.check_loss.values))
    errors = errors[np.isfinite(errors)]
    look: dict[str, Any] = {"s": 60, "edgecolors": "black", "linewidths": 1.2, "zorder": 3}
    if observable == "regime":
        look["c"] = [_COLORS.get(Regime(code), "#ffffff") for code in dataset.check_regime.values]
    elif observable == "final_loss":
        image = ax.collections[0]
        look |= {"c": dataset.check_loss.values, "cmap": image.get_cmap(), "norm": image.norm, "plotnonfinite": True}
    else:
        look["c"] = "none"
    ax.scatter(x, y, **look)
    text = f"{len(x)} real runs (circles): same regime {agree.sum()} of {len(x)}"
    if errors.size:
        text += f", median |Δ ln L| {np.median(errors):.2f} of {errors.size}"
    ax.annotate(text, (0, -0.17), xycoords="axes fraction", fontsize=9, annotation_clip=False)


def _kinds(dataset: xr.Dataset) -> dict[str, tuple[str, np.ndarray]]:
    """Label, colour and positions of every kind of point."""
    regime, period = dataset.regime.values, dataset.period.values
    kinds = {code.label: (color, regime == code) for code, color in _COLORS.items()}
    periodic = regime == Regime.PERIODIC
    for k, color in _PERIODS.items():
        kinds[f"period {k}"] = (color, periodic & (period == k))
    kinds["other periods"] = (_OTHER_PERIODS, periodic & ~np.isin(period, list(_PERIODS)))
    return kinds


def _name_region(ax: "Axes", where: np.ndarray, label: str, edges, color: str) -> None:
    """Write the label where the region is widest, if there is enough space."""
    from matplotlib.colors import to_rgb
    from scipy.ndimage import distance_transform_edt

    # In fractions of the axes; the area outside the frame does not belong to a region.
    shape = np.array(where.shape)
    depth = distance_transform_edt(np.pad(where, 1), sampling=1 / shape)[1:-1, 1:-1]
    row, column = np.unravel_index(np.argmax(depth), where.shape)
    gaps = np.flatnonzero(~where[row])
    left, right = gaps[gaps < column].max(initial=-1), gaps[gaps > column].min(initial=shape[1])
    room = min(column - left, right - column) / shape[1]
    if depth[row, column] < 0.035 or room < 0.008 * len(label):
        return
    dark = np.dot(to_rgb(color), (0.299, 0.587, 0.114)) < 0.5
    x, y = (at[i : i + 2].mean() for at, i in ((edges[0], column), (edges[1], row)))
    ax.text(x, y, label, ha="center", va="center", fontsize=8.5, color="white" if dark else "black")


def _scale(ax: "Axes", dataset: xr.Dataset, observable: str, edges) -> None:
    from matplotlib.colors import LogNorm, Normalize

    values = dataset[observable].values.astype(float)
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [0.01, 0.99]) if finite.size else (0.0, 1.0)
    cmap, norm = "viridis", Normalize(low, high)
    if observable in _SIGNED:
        # The exponent of superstable cycles is −∞, which would dominate the scale.
        widest = high if high > 0.1 * abs(low) or low >= 0 else min(abs(low), max(high, 1.0))
        cmap, norm = "RdBu_r", Normalize(-max(widest, 1e-6), max(widest, 1e-6))
    elif low > 0 and high > 100 * low:
        norm = LogNorm(low, high)
    image = ax.pcolormesh(*edges, values, cmap=cmap, norm=norm, rasterized=True)
    # Points without a value, such as divergent orbits, are grey.
    ax.set_facecolor("#bdbdbd")
    attrs = dataset[observable].attrs
    bar = ax.figure.colorbar(image, ax=ax, extend="both", pad=0.02)
    symbol = attrs.get("symbol", observable)
    meaning = attrs.get("long_name", symbol)
    bar.set_label(meaning if symbol in meaning else f"{symbol}: {meaning}", fontsize=9)


def _geometric(values: np.ndarray) -> bool:
    """Whether values are evenly spaced in ln, and not evenly spaced."""
    if len(values) < 3 or values[0] <= 0:
        return False
    steps, ratios = np.diff(values), np.diff(np.log(values))
    return bool(np.allclose(ratios, ratios[0], rtol=1e-3) and not np.allclose(steps, steps[0], rtol=1e-3))


def _edges(values: np.ndarray) -> np.ndarray:
    """The borders of the cells around the values, half way between them, in ln if they are spaced so."""
    log = _geometric(values)
    at = np.log(values) if log else values
    middle = (at[1:] + at[:-1]) / 2
    edges = np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
    return np.exp(edges) if log else edges
