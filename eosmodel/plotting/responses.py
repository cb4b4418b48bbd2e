"""Figures of response functions with their edge equilibria and classes."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel.plotting._canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHADES = {
    "below-edge": "#e8f1e4",
    "clamped": "#e3ecf7",
    "self-stabilised": "#fbe9d9",
    "undecided": "#efefef",
}
# Okabe and Ito's palette.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#3a3a3a")


def response(dataset: xr.Dataset, *, axes: Any = None) -> "Figure":
    """Φ(r) against ln r with the edge at 2, one panel per tuner, shaded and titled by its class.

    Filled markers are stable equilibria, hollow ones unstable, both with their multiplier m. Grey diamonds are
    equilibria without a multiplier (Φ jumps through 2, or the tuner's memory matters). The band is the range of s at
    constant r.

    Args:
        dataset: from `analysis.response_curve`.
        axes: one axes for each tuner; a new figure when None.
    """
    count = dataset.sizes["tuner"]
    if axes is None:
        columns = min(count, 3)
        rows = -(-count // columns)
        figure: Any = new_figure(4.0 * columns + 0.8, 3.2 * rows + 0.4)
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
        for ax in grid[count:]:
            ax.remove()
        panels = grid[:count]
    else:
        panels = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
        figure = panels[0].figure
    for i, ax in enumerate(panels):
        one = dataset.isel(tuner=i)
        ax.set_facecolor(_SHADES[one.label.item()])
        _curve(ax, one, _COLORS[0], None)
        drift = {1.0: ", dλ/dt > 0", 0.0: ", dλ/dt = 0", -1.0: ", dλ/dt < 0"}.get(float(one.trend), "")
        q = f", q = {float(one.q):.3g}" if np.isfinite(one.q) else ""
        ax.set_title(f"{one.tuner.item()}: {one.label.item()}{q}{drift}", fontsize=10)
        _dress(ax, dataset)
    return figure


def responses(dataset: xr.Dataset, *, axes: Any = None) -> "Figure":
    """Φ(r) of several tuners on shared axes, class and multipliers in the legend; markers as in `response`.

    Args:
        dataset: from `analysis.response_curve`.
        axes: axes to draw on; a new figure when None.
    """
    ax: Any = new_figure(6.6, 4.4).subplots() if axes is None else axes
    for i in range(dataset.sizes["tuner"]):
        one = dataset.isel(tuner=i)
        multipliers = [f", m = {m:.2g}" for m in one.multiplier.values if np.isfinite(m)]
        label = f"{one.tuner.item()}: {one.label.item()}{''.join(multipliers)}"
        _curve(ax, one, _COLORS[i % len(_COLORS)], label)
    _dress(ax, dataset)
    ax.legend(frameon=False, fontsize=9, loc="upper right")
    return ax.figure


def _curve(ax, one, color, label):
    r = one.r.values
    ax.plot(r, one.s.values, color=color, linewidth=1.9, label=label, zorder=3)
    ax.fill_between(r, one.s_low.values, one.s_high.values, color=color, alpha=0.2, linewidth=0)
    visible = (one.r_star.values >= r[0]) & (one.r_star.values <= r[-1])
    for r_star, m, stable in zip(
        one.r_star.values[visible], one.multiplier.values[visible], one.stable.values[visible], strict=True
    ):
        smooth = bool(np.isfinite(m))
        style: dict[str, Any] = {
            "marker": "o" if smooth else "D",
            "markersize": 8 if smooth else 6,
            "markeredgewidth": 1.5,
            "zorder": 5,
        }
        face = color if stable else ("white" if smooth else "#9a9a9a")
        ax.plot([r_star], [2.0], color=color, markerfacecolor=face, linestyle="none", **style)
        if smooth and label is None:
            offset: dict[str, Any] = {"textcoords": "offset points", "xytext": (7, 7)}
            ax.annotate(f"m = {m:.2g}", (r_star, 2.0), fontsize=9, color=color, **offset)


def _dress(ax, dataset):
    ax.set_xscale("log")
    ax.axhline(2.0, color="black", linewidth=0.9, linestyle=(0, (5, 3)), zorder=2)
    # For a small oscillation and a flat bulk Φ is of order 100, but the interesting range is around 2.
    ax.set_ylim(0, 6)
    ax.set_xlim(float(dataset.r[0]), float(dataset.r[-1]))
    ax.set_xlabel("$r = λ^2x^2/G$")
    ax.set_ylabel("s = Φ(r)")
    ax.spines[["top", "right"]].set_visible(False)
