"""Figures of maps: orbit diagrams, branches with bifurcations, phase portraits and basins of attraction."""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel.plotting._canvas import name_subject, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette; each kind of bifurcation has a marker and a colour.
_BLUE, _RED, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#3a3a3a"
_MARKERS: dict[str, dict[str, Any]] = {
    "fold": {"marker": "s", "color": "#E69F00", "label": "fold"},
    "branch": {"marker": "D", "color": "#56B4E9", "label": "branch point"},
    "flip": {"marker": "o", "color": _RED, "label": "flip"},
    "neimark-sacker": {"marker": "^", "color": "#CC79A7", "label": "Neimark–Sacker"},
}
_BASINS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00", "#999933")
_UNDECIDED, _ESCAPED = "#ffffff", "#c4c4c4"


def orbit_diagram(dataset: xr.Dataset, *, component: int = 0, axes: Any = None) -> "Figure":
    """Orbits against the parameter, and below the largest Lyapunov exponent; grey where orbits escape.

    Args:
        dataset: from `analysis.orbit_diagram`.
        component: index of the component of the orbit.
        axes: two axes to draw on; a new figure when None.
    """
    if axes is None:
        figure = new_figure(7.5, 6.0)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    else:
        top, bottom = np.asarray(axes, dtype=object).ravel()
        figure = top.figure
    p, orbit = dataset.p.values, dataset.orbit.isel(component=component).values
    # Transparent dots show the structure of dense orbits.
    alpha = float(np.clip(60 / orbit.shape[1], 0.08, 1.0))
    # A few values would leave thin columns of dust, and many would run into each other.
    size = float(np.clip(600 / len(p), 1.2, 4.0))
    dots = {"marker": ".", "markersize": size, "markeredgewidth": 0, "linestyle": "none", "rasterized": True}
    top.plot(np.repeat(p, orbit.shape[1]), orbit.ravel(), color="black", alpha=alpha, **dots)
    first = dataset.orbit.attrs.get("first") if component == 0 else None
    top.set_ylabel(first or f"$z_{{{component + 1}}}$ on the orbit")
    if axes is None:
        name_subject(figure, dataset)
    exponent = dataset.lyapunov.isel(exponent=0).values
    bottom.axhline(0, color="black", linewidth=0.8)
    bottom.fill_between(p, 0, np.fmax(exponent, 0), color=_RED, alpha=0.75, linewidth=0)
    bottom.fill_between(p, np.fmin(exponent, 0), 0, color=_BLUE, alpha=0.75, linewidth=0)
    finite = exponent[np.isfinite(exponent)]
    if finite.size:
        # The exponent of a superstable cycle is −∞, and is cut off.
        low, high = float(np.quantile(finite, 0.02)), float(finite.max())
        margin = 0.1 * max(high - low, 1e-3)
        bottom.set_ylim(min(low, 0) - margin, max(high, 0) + margin)
    bottom.set_ylabel("Lyapunov\nexponent")
    bottom.set_xlabel(dataset.p.attrs["symbol"])
    escaped = dataset.escaped.values.astype(float)
    for ax in (top, bottom):
        span = ax.get_xaxis_transform()
        ax.fill_between(p, 0, escaped, step="mid", transform=span, color="#e4e4e4", linewidth=0, zorder=0)
        _dress(ax)
    return figure


def branch(dataset: xr.Dataset, *, component: int = 0, axes: Any = None) -> "Figure":
    """A branch against its parameter: solid where stable, dashed where unstable, with markers at bifurcations.

    The marker of a bifurcation that was not located accurately is hollow.

    Args:
        dataset: from `analysis.branch`.
        component: index of the component of the cycle.
        axes: axes to draw on; a new figure when None. Several branches may share them.
    """
    figure, ax = _one(axes, 7.0, 4.6)
    p, z = dataset.p.values, dataset.z.isel(component=component).values
    stable = dataset.stable.values
    # A segment next to a bifurcation is stable if its other end is.
    solid = stable[1:] | stable[:-1]
    styles: dict[bool, dict[str, Any]] = {
        True: {"color": _BLUE, "linewidth": 2.0, "label": "stable"},
        False: {"color": _GREY, "linewidth": 1.3, "linestyle": (0, (4, 2.5)), "label": "unstable"},
    }
    # Consecutive segments of the same stability form one line, because dashes restart with every line.
    ends = [0, *(np.flatnonzero(np.diff(solid)) + 1), len(solid)]
    runs = [slice(begin, end + 1) for begin, end in itertools.pairwise(ends) if begin < end]
    for run in sorted(runs, key=lambda run: not solid[run.start]):
        ax.plot(p[run], z[run], **styles[bool(solid[run.start])])
    for kind, style in _MARKERS.items():
        for sound in (True, False):
            here = (dataset.kind.values == kind) & (dataset.converged.values == sound)
            if here.any():
                x, y = np.repeat(p[here], z.shape[1]), z[here].ravel()
                face = style["color"] if sound else "white"
                label = style["label"] if sound else f"{style['label']}, not converged"
                look = {"markersize": 8, "markeredgewidth": 1.4, "linestyle": "none", "zorder": 4}
                ax.plot(x, y, **(style | look | {"markerfacecolor": face, "label": label}))
    ax.set_xlabel(dataset.p.attrs["symbol"])
    ax.set_ylabel(f"$z_{{{component + 1}}}$")
    _legend(ax)
    _dress(ax)
    return figure


def portrait(dataset: xr.Dataset, *, arrows: int = 22, axes: Any = None) -> "Figure":
    """The direction of a step over a window, the two nullclines, and the fixed points, filled if stable.

    All arrows have the same length; their shade, from light to dark, is the logarithm of the length of the step.

    Args:
        dataset: from `analysis.portrait`.
        arrows: approximate number of arrows along each axis.
        axes: axes to draw on; a new figure when None.
    """
    from matplotlib.colors import LogNorm

    figure, ax = _one(axes, 6.4, 5.2)
    thin = {axis: slice(None, None, max(1, dataset.sizes[axis] // arrows)) for axis in ("x", "y")}
    field = dataset[["dx", "dy"]].isel(thin)
    x, y = dataset.x.values, dataset.y.values
    # Lengths in units of the window, as they appear in the figure.
    across, up = field.dx.values / (x[-1] - x[0]), field.dy.values / (y[-1] - y[0])
    length = np.hypot(across, up)
    visible = np.isfinite(length) & (length > 0)
    position = np.meshgrid(field.x.values, field.y.values)
    if visible.any():
        low, high = np.quantile(length[visible], [0.05, 0.95])
        ax.quiver(
            *(grid[visible] for grid in position),
            across[visible] / length[visible],
            up[visible] / length[visible],
            length[visible],
            norm=LogNorm(float(low), float(high), clip=True) if low < high else None,
            cmap=_shades(),
            pivot="mid",
            scale=1.35 * arrows,
            width=0.0028,
            zorder=1,
        )
    for which, color, dash in (("x", _BLUE, "-"), ("y", _RED, (0, (5, 1.5)))):
        line = dataset[f"{which}_nullcline"].values
        label = f"no step along {dataset[which].attrs['symbol']}"
        ax.plot(line[:, 0], line[:, 1], color=color, linestyle=dash, linewidth=1.8, label=label)
    for stable, face, label in ((True, "black", "stable fixed point"), (False, "white", "unstable fixed point")):
        points = dataset.fixed_point.values[dataset.fixed_stable.values == stable]
        if len(points):
            look: dict[str, Any] = {"markerfacecolor": face, "markeredgewidth": 1.4, "markersize": 8, "zorder": 4}
            ax.plot(points[:, 0], points[:, 1], "o", markeredgecolor="black", label=label, **look)
    _window(ax, dataset)
    _legend(ax)
    return figure


def basins(dataset: xr.Dataset, *, axes: Any = None) -> "Figure":
    """Basins of attraction by colour, with the points of the attractors; grey points escape, white ones are undecided.

    Args:
        dataset: from `analysis.basins`.
        axes: axes to draw on; a new figure when None.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    figure, ax = _one(axes, 6.4, 5.2)
    count = int(dataset.member_of.max()) + 1
    colors = [_ESCAPED, _UNDECIDED, *(_BASINS[i % len(_BASINS)] for i in range(count))]
    x, y, basin = dataset.x.values, dataset.y.values, dataset.basin.values
    ax.pcolormesh(
        x, y, basin, cmap=ListedColormap(colors), vmin=-2.5, vmax=count - 0.5, shading="nearest", rasterized=True
    )
    names = ["escapes", "undecided", *(f"attractor {i + 1}" for i in range(count))]
    present = [code for code in range(-2, count) if (basin == code).any()]
    handles: dict[str, Any] = {
        names[code + 2]: Patch(facecolor=colors[code + 2], edgecolor="#777777") for code in present
    }
    members = dataset.attractor_point.values
    dots: dict[str, Any] = {"markeredgecolor": "white", "markerfacecolor": "black", "markersize": 7, "zorder": 4}
    handles["points of the attractors"] = ax.plot(members[:, 0], members[:, 1], "o", **dots)[0]
    _window(ax, dataset)
    _legend(ax, handles)
    return figure


def _one(axes: Any, width: float, height: float) -> tuple[Any, "Axes"]:
    ax = new_figure(width, height).subplots() if axes is None else axes
    return ax.figure, ax


def _shades() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shades", ["#d9d9d9", "#4d4d4d"])


def _window(ax: "Axes", dataset: xr.Dataset) -> None:
    for axis, limits, label in (("x", ax.set_xlim, ax.set_xlabel), ("y", ax.set_ylim, ax.set_ylabel)):
        limits(float(dataset[axis][0]), float(dataset[axis][-1]))
        label(dataset[axis].attrs["symbol"])


def _legend(ax: "Axes", entries: dict[str, Any] | None = None) -> None:
    """A legend above the axes, with one entry per label."""
    if entries is None:
        handles, labels = ax.get_legend_handles_labels()
        entries = dict(zip(labels, handles, strict=True))
    look: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "frameon": False, "fontsize": 9}
    if entries:
        ax.legend(list(entries.values()), list(entries), ncols=min(len(entries), 3), **look)


def _dress(ax: "Axes") -> None:
    ax.grid(True, color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.01)
