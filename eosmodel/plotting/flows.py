"""Figures of slow flows: sharpness, oscillation and floor loss, shaded by regime."""

from typing import TYPE_CHECKING, Any

import numpy as np

from eosmodel.plotting._canvas import new_figure
from eosmodel.theory.slow_solution import SlowRegime, SlowSolution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHADES = {
    SlowRegime.BELOW: "#e8f1e4",
    SlowRegime.CLAMPED: "#e3ecf7",
    SlowRegime.PINNED: "#fbe9d9",
    SlowRegime.NEUTRAL: "#efe6f3",
}
_EDGE: dict[str, Any] = {"color": "#3a3a3a", "linestyle": (0, (5, 1.5)), "linewidth": 1.2}


def slow_flow(solution: SlowSolution, *, axes: Any = None) -> "Figure":
    """λ with the edge 2/⟨η⟩, x² with 2α/β and L̄ against t, shaded by regime.

    Args:
        solution: from `theory.SlowFlow.solve`.
        axes: three axes to draw on; a new figure when None.
    """
    if axes is None:
        figure = new_figure(7.0, 6.5)
        panels = figure.subplots(3, 1, sharex=True)
    else:
        panels = np.asarray(axes, dtype=object).ravel()
        figure = panels[0].figure
    t = solution.time
    balance = 2 * solution.alpha / np.where(solution.beta > 0, solution.beta, np.nan)
    rows = (
        ("sharpness $\\lambda$", solution.sharpness, 2 / solution.stepsize, "edge $2/\\langle\\eta\\rangle$"),
        ("oscillation $x^2$", solution.oscillation, balance, "$2\\alpha/\\beta$"),
        ("floor loss $\\bar L$", solution.center_loss, None, ""),
    )
    for ax, (label, values, reference, name) in zip(panels, rows, strict=True):
        ax.plot(t, values, color="#0072B2", linewidth=2.0)
        limits = ax.get_ylim()
        if reference is not None:
            ax.plot(t, reference, label=name, **_EDGE)
            ax.legend(frameon=False, fontsize=9)
            low, high = limits
            # The limits are those of the curve, which a distant reference would flatten.
            ax.set_ylim(low - 0.25 * (high - low), high + 0.25 * (high - low))
        for regime, shade in _SHADES.items():
            here = solution.regime == regime
            span = ax.get_xaxis_transform()
            ax.fill_between(t, 0, here, step="post", transform=span, color=shade, linewidth=0, zorder=0)
        for time in solution.event_time:
            ax.axvline(time, color="#8a8a8a", linewidth=0.8)
        ax.set_ylabel(label)
        ax.margins(x=0.01)
        ax.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("step $t$")
    _regimes(figure, solution)
    return figure


def _regimes(figure, solution):
    from matplotlib.patches import Patch

    present = [regime for regime in _SHADES if (solution.regime == regime).any()]
    if present:
        handles = [Patch(facecolor=_SHADES[regime], edgecolor="#999999") for regime in present]
        names = [regime.name.lower() for regime in present]
        figure.legend(handles, names, loc="outside upper center", ncols=len(present), frameon=False, fontsize=9)
