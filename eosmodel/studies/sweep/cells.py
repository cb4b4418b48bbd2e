"""A block of a sweep: one tuner at one batch size, all seeds in one batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.experiment import simulate
from eosmodel.logs import Log
from eosmodel.objectives import MiniBatches
from eosmodel.objectives.recipes import network
from eosmodel.results import measures, record
from eosmodel.results.names import VARIABLES, Variable
from eosmodel.studies.blocks import Block, plain
from eosmodel.tuners.registry import from_spec

FULL = "full"
"""The full batch, as a batch size."""

ROWS = 60
"""Rows of a trajectory that a block keeps, at most."""

TRAJECTORIES = ("loss", "stepsize", "sharpness", "residual")
"""What a block keeps of every seed along its runs; with held-out samples also what they are evaluated by."""
SCALARS: dict[str, Variable] = {
    "final_loss": Variable("L", f"full-batch loss, mean over the tracked rows of the last {measures.WINDOW} steps"),
    "initial_sharpness": Variable("λ₀", "sharpness at the first tracked row"),
    "final_sharpness": Variable("λ", f"sharpness, mean over the tracked rows of the last {measures.WINDOW} steps"),
    "max_sharpness": Variable("max λ", "largest sharpness on any tracked row"),
    "median_edge_product": Variable("median ηλ", "median of ηλ over the tracked rows of the last half"),
    "edge_exponent": Variable("Λ", "mean of ln|1 − ηλ| over the tracked rows of the last half"),
    "mean_stepsize": Variable("⟨η⟩", "mean step size over the last half"),
    "median_stepsize": Variable("median η", "median step size over the last half"),
    "failed_share": Variable("failed", "share of the steps in which the tuner could not meet its rule"),
    "residual_share": Variable("r > 0.1", "share of the tracked rows whose leading eigenpair has a residual above 0.1"),
}
"""What a block keeps of every seed, beside `status` and `steps`."""

HELD_OUT: dict[str, Variable] = {
    f"final_{name}": Variable(
        VARIABLES[name].symbol,
        f"{VARIABLES[name].meaning}; mean over the tracked rows of the last {measures.WINDOW} steps",
    )
    for name in ("accuracy", "test_loss", "test_accuracy")
}
"""What a block keeps of every seed of a network with held-out samples; the accuracies, where there are classes."""


def make_block(network: Mapping[str, Any], tuner: str, batch_size: int | str, **run: Any) -> Block:
    """A block of a sweep.

    Args:
        network: arguments of `objectives.recipes.network`, the seed left out; with `test_samples` runs are evaluated on
            held-out samples at every tracked row.
        tuner: specification of the tuner.
        batch_size: number of samples, or "full".
        run: `steps`, `seeds`, `modes`, `track_every` and perhaps `mesh` of `simulate`.
    """
    config = plain(**network, tuner=tuner, batch_size=batch_size, **run)
    return Block(compute, config, f"{tuner}, B = {batch_size}", checkpoints=True, logs=True)


def compute(
    config: Mapping[str, Any],
    *,
    checkpoint: Path | None = None,
    progress: bool | str = False,
    log: Log | None = None,
) -> xr.Dataset:
    """What a block of a sweep computes.

    A function of the configuration alone: jax's precision is set for it, whatever it is outside. Processes on
    machines of one kind agree bit for bit.

    Args:
        config: of a block, from `make_block`.
        checkpoint, progress, log: as in `simulate`.

    Returns:
        Dataset over seed of the variables of `SCALARS`, `status` and `steps`; over (seed, step) of loss, step size,
        sharpness and its residual on at most 60 tracked rows. With held-out samples, also the variables of `HELD_OUT`,
        and the accuracies and the held-out loss on these rows.
    """
    options = dict(config)
    tuner, size, dtype = options.pop("tuner"), options.pop("batch_size"), options["dtype"]
    run = {name: options.pop(name) for name in ("steps", "seeds", "modes", "track_every")} | {
        "mesh": options.pop("mesh", None)
    }
    with jax.enable_x64(dtype == "float64"):
        net = network(**options, seed=run["seeds"][0])
        objective = net if size == FULL else MiniBatches(net, size)
        shown: dict[str, Any] = {"checkpoint": checkpoint, "progress": progress, "log": log}
        evaluated = {"test_every": run["track_every"]}
        runs = simulate(objective, from_spec(tuner), **run, **evaluated, measure_every=0, **shown)
    return _summary(runs.assign_coords(seed=run["seeds"]), run["track_every"])


def ended(block: xr.Dataset) -> str:
    """How a block ended."""
    codes, counts = np.unique(block.status.values, return_counts=True)
    ends = ", ".join(f"{n} {Status(int(code)).label}" for code, n in zip(codes, counts, strict=True))
    loss, sharpness = (float(np.median(block[name])) for name in ("final_loss", "final_sharpness"))
    return f"{ends}, loss {loss:.3g}, λ {sharpness:.3g} (medians), {block.attrs['seconds']:.1f} s"


def _summary(run: xr.Dataset, track_every: int) -> xr.Dataset:
    # Full-batch runs know the loss on every row, stochastic ones on tracked rows: the same rows of both.
    tracked = run.isel(step=slice(None, None, track_every))
    evaluated = [name for name in HELD_OUT if name.removeprefix("final_") in run]
    numbers = [_numbers(run.sel(seed=seed), tracked.sel(seed=seed), evaluated) for seed in run.seed]
    kept = SCALARS | {name: HELD_OUT[name] for name in evaluated}
    data: dict[str, Any] = {name: ("seed", [n[name] for n in numbers], kept[name].attrs()) for name in kept}
    thin = tracked.isel(step=slice(None, None, -(-tracked.sizes["step"] // ROWS)))
    along = *TRAJECTORIES, *(name.removeprefix("final_") for name in evaluated)
    data |= {name: (("seed", "step"), thin[name].values) for name in along}
    data |= {name: ("seed", run[name].values) for name in ("status", "steps")}
    seed = ("seed", run.seed.values, VARIABLES["seed"].attrs())
    return record.describe(xr.Dataset(data, {"seed": seed, "step": thin.step.values}))


def _numbers(run: xr.Dataset, tracked: xr.Dataset, evaluated: Sequence[str]) -> dict[str, float]:
    taken = measures.steps_of(run)
    known = tracked.sharpness.values[np.isfinite(tracked.sharpness.values)]
    products = measures.edge_products(tracked)
    (sizes,) = measures.last_half(run, "stepsize")
    residual = tracked.residual.values[np.isfinite(tracked.residual.values)]
    return {
        "final_loss": measures.final_mean(tracked, "loss"),
        "initial_sharpness": _or_nan(lambda x: x[0], known),
        "final_sharpness": measures.final_mean(tracked, "sharpness"),
        "max_sharpness": _or_nan(np.max, known),
        "median_edge_product": _or_nan(np.median, products),
        "edge_exponent": measures.edge_exponent(tracked),
        "mean_stepsize": _or_nan(np.mean, sizes),
        "median_stepsize": _or_nan(np.median, sizes),
        "failed_share": _or_nan(np.mean, run.search_failed.values[:taken]),
        "residual_share": _or_nan(np.mean, residual > 0.1),
        **{name: measures.final_mean(tracked, name.removeprefix("final_")) for name in evaluated},
    }


def _or_nan(statistic, values) -> float:
    return float(statistic(values)) if values.size else float("nan")
