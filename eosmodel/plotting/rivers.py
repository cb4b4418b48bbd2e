"""Pictures of rivers: the gradient flow of a network, and the tuners that drive along it."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel.plotting._canvas import name_subject, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#882255")
_RIVER: dict[str, Any] = {"color": "#b3b3b3", "linewidth": 4.0, "zorder": 1}
_CAPPED: dict[str, Any] = {"color": "#d0d0d0", "linewidth": 1.5, "zorder": 1}


def river(dataset: xr.Dataset, runs: xr.Dataset | None = None, *, axes: Any = None) -> "Figure":
    """The loss and the sharpness against flow time τ = Σ η: of gradient flow, and of runs or predictions of them.

    If progress is flow time, the losses of all tuners lie on the river's; their sharpness lies below it where the
    oscillation pushes it down.

    Args:
        dataset: a river, from `experiment.river_dataset`.
        runs: dataset over (tuner, step), from the river's start; `center_loss` is drawn, and `loss` where it lacks.
        axes: two axes to draw on; a new figure when None.
    """
    above, below = new_figure(9.5, 4.2).subplots(1, 2) if axes is None else axes
    for i in range(dataset.sizes["flow"] - 1):
        capped = dataset.isel(flow=i)
        look = _CAPPED | ({"label": "with λ held below a cap"} if i == 0 else {})
        above.plot(capped.tau[1:], capped.loss[1:], **look)
        below.plot(capped.tau[1:], capped.sharpness[1:], **look)
    free = dataset.isel(flow=-1)
    tau, loss, sharpness = (free[name].values for name in ("tau", "loss", "sharpness"))
    above.plot(tau[1:], loss[1:], label="gradient flow", **_RIVER)
    below.plot(tau[1:], sharpness[1:], label="gradient flow", **_RIVER)
    if runs is not None:
        for i, tuner in enumerate(runs.tuner.values.tolist()):
            one = runs.sel(tuner=tuner)
            name = "center_loss" if "center_loss" in one else "loss"
            elapsed = np.concatenate([[0.0], np.cumsum(one.stepsize.values)[:-1]])
            look = {"color": _COLORS[i % len(_COLORS)], "linewidth": 1.3, "label": tuner}
            for ax, values in ((above, one[name]), (below, one.sharpness)):
                ax.plot(elapsed[1:], values[1:], **look)
    for ax, label in ((above, "loss at the centre"), (below, "sharpness λ")):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("flow time Σ η")
        ax.set_ylabel(label)
        ax.set_xlim(left=tau[1:][tau[1:] > 0.02 / sharpness[0]][0])
    above.legend(fontsize=8, frameon=False)
    if axes is None:
        name_subject(above.figure, dataset)
    return above.figure


def river_response(dataset: xr.Dataset, *, axes: Any = None) -> "Figure":
    """What the sharpness along gradient flow answers with: spectral weights of ∇ ln H, the trace over pairs of modes.

    Args:
        dataset: a river, from `experiment.river_dataset`.
        axes: axes to draw on; a new figure when None.
    """
    from matplotlib import colormaps

    ax: Any = new_figure(6.0, 4.2).subplots() if axes is None else axes
    free = dataset.isel(flow=-1)
    weights = np.einsum("tbii->tb", free.response.values)
    tau, curvature = free.tau.values, free.curvature.values
    bands = np.cumsum(weights, axis=1)
    shades = colormaps["viridis"](np.linspace(0, 0.95, len(curvature)))
    base = np.zeros_like(tau)
    for b, value in enumerate(curvature):
        ax.fill_between(tau[1:], base[1:], bands[1:, b], color=shades[b], label=f"{value:.2g}", linewidth=0)
        base = bands[:, b]
    ax.set_xscale("log")
    ax.set_xlabel("flow time τ")
    ax.set_ylabel("‖∇ ln H‖² off the modes")
    ax.legend(title="at curvature μ", fontsize=7, title_fontsize=8, frameon=False, ncols=2)
    return ax.figure
