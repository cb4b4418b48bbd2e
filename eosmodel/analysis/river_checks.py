"""Points of a phase diagram of a river that are run for real on the network, and how well the two agree."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from eosmodel._checks import check_count
from eosmodel._status import Status
from eosmodel.analysis.parameters import Parameter
from eosmodel.analysis.probes import AbstractProbe, RiverProbe
from eosmodel.analysis.regimes import decide_training
from eosmodel.analysis.streams import Features
from eosmodel.experiment import simulate
from eosmodel.results import measures


def checked(
    dataset: xr.Dataset,
    probe: AbstractProbe,
    axes: tuple[Parameter, Parameter],
    network: Any,
    seed: int | None,
    steps: int,
    checks: int,
    progress: bool | str = True,
) -> xr.Dataset:
    """A diagram with real runs at some points of its grid.

    Args:
        dataset: the diagram, with regime and final loss.
        probe: of the river under a tuner.
        axes: the parameters of the tuner across and up.
        network: the objective that the river was measured on.
        seed: of its initial weights; None for its own.
        steps: updates.
        checks: number of points, drawn at random without repetition.
        progress: show a progress bar.

    Returns:
        The dataset with, over the dimension check, the places `check_x` and `check_y`; what the runs did,
        `check_regime` and `check_loss`; and what the diagram says there, `predicted_regime` and `predicted_loss`.

    Raises:
        ValueError: a system that is no river, or a dataset without regime and final loss.
    """
    check_count("phase_diagram", "checks", checks)
    if not isinstance(probe, RiverProbe):
        raise ValueError("phase_diagram: checks are for a river")
    if not {"regime", "final_loss"} <= {*dataset.data_vars}:
        raise ValueError("phase_diagram: checks need the regime and the final loss among the observables")
    y, x = (dataset[name].values for name in dataset.regime.dims)
    count = min(checks, dataset.regime.size)
    rows, columns = np.divmod(np.random.default_rng(0).permutation(dataset.regime.size)[:count], len(x))
    regimes, losses = [], []
    for row, column in tqdm(list(zip(rows, columns, strict=True)), desc="runs", disable=not progress, leave=False):
        placed: Any = axes[1].put(axes[0].put(probe, float(x[column])), float(y[row]))
        rule = placed.river_map.tuner
        run = simulate(
            network, rule, steps, seeds=seed, modes=probe.river_map.river.modes, measure_every=0, progress=False
        )
        regimes.append(int(decide_training(training_features(run))))
        finished = int(run.status) == int(Status.OK)
        losses.append(float(run.loss[-1]) if finished else np.nan)
    found = {
        "check_x": (x[columns], "place of a real run across"),
        "check_y": (y[rows], "its place up"),
        "check_regime": (np.asarray(regimes, np.int32), "regime of the real run; see flag_meanings of regime"),
        "check_loss": (np.asarray(losses), "loss before its last step"),
        "predicted_regime": (dataset.regime.values[rows, columns], "regime that the diagram has there"),
        "predicted_loss": (dataset.final_loss.values[rows, columns], "final loss that the diagram has there"),
    }
    return dataset.assign({name: ("check", values, {"long_name": text}) for name, (values, text) in found.items()})


def training_features(run: xr.Dataset) -> Features:
    """What `decide_training` asks of a training, of one real run; the other features are NaN."""
    taken = measures.steps_of(run)
    loss = run.loss.values[:taken]
    sharpness, stepsize = measures.last_half(run, "sharpness", "stepsize")
    s = sharpness * stepsize
    half = len(s) // 2
    known = half > 0 and bool(np.isfinite(s).all())
    values = dict.fromkeys(Features._fields, np.nan) | {
        "diverged": int(run.status) in (Status.DIVERGED, Status.NONFINITE),
        "lost": False,
        "peak": np.max(np.abs(loss)) / abs(loss[0]) if taken else np.nan,
    }
    if known:
        with np.errstate(invalid="ignore", divide="ignore"):  # steps of 0, or no positive curvature
            values |= {
                "highest_s": s.max(),
                "stepsize_spread": np.log(stepsize.max() / stepsize.min()),
                "drift": 2 * np.log(sharpness[half:].mean() / sharpness[:half].mean()),
            }
    return Features(**{name: jnp.asarray(value) for name, value in values.items()})
