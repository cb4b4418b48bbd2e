"""Measuring a river, and keeping it in a file."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from eosmodel._checks import check_range
from eosmodel._origin import Origin
from eosmodel._status import Status
from eosmodel.experiment._provenance import source_of
from eosmodel.objectives.base import AbstractObjective
from eosmodel.results import record
from eosmodel.simulation import Progress, identity, load, run, save, template
from eosmodel.theory import RiverTheory
from eosmodel.theory.river import Place, River, RiverFlow, moves, river_of

_ROWS = 10
# A flow that advances by less than this share of its time within `_ROWS` steps gets nowhere.
_LEAST = 1e-9
# Flow time without one given, in multiples of steps/λ at the start.
_LENGTH = RiverTheory().length

_DIMS = {
    "loss": (),
    "sharpness": (),
    "root": ("mode", "mode_"),
    "pull": ("mode",),
    "climb": ("mode",),
    "gradient": ("spring",),
    "cross": ("spring", "pair"),
    "response": ("spring", "pair", "pair_"),
    "recall": ("spring", "launch"),
}


def measure_river(
    objective: AbstractObjective,
    time: float | None = None,
    *,
    steps: int = 1000,
    seed: int | None = None,
    start: Any = None,
    modes: int = 8,
    progress: bool | str = True,
    checkpoint: str | Path | None = None,
) -> River:
    """Measure the river of a network: its gradient flow, and what the sharpness along it answers to. No tuner is run.

    Args:
        objective: the loss.
        time: flow time Σ η that the river must reach, > 0. Predictions end where it does.
        steps: without a time, the number of steps that are to be predicted: the river then reaches 4·steps/λ, λ at the
            start, twice what so many steps at the edge take while λ is what it was.
        seed: of the initial weights; None for the objective's own start.
        start: initial weights instead, shape (dim,).
        modes: number of leading modes that may oscillate; at most one less than there are weights.
        progress: show a progress bar over the flow time; a string is its label.
        checkpoint: file to write as the flow goes on, and to go on from if it exists, also to a longer time.

    Returns:
        A `River`, for `predict`.

    Raises:
        ValueError: time ≤ 0, steps < 1, both a seed and weights, or a single weight.
        RuntimeError: the flow met a loss that is not finite, or no positive curvature at the top.

    Example:
        >>> import eosmodel as eos
        >>> net = eos.objectives.mlp(eos.data.digits(50), width=4, depth=1, init_scale=0.5)
        >>> river = eos.measure_river(net, time=5.0, modes=2, progress=False)
        >>> run = eos.predict(river, eos.tuners.Constant(0.1), steps=40)
        >>> run.sizes["step"], int(run.status)
        (40, 0)
    """
    if time is not None:
        check_range("measure_river", "time", time, 0, low_open=True, high_open=True)
    check_range("measure_river", "steps", steps, 1)
    if start is not None and seed is not None:
        raise ValueError("measure_river: seed and start cannot both be given")
    start = objective.initial(seed) if start is None else jnp.asarray(start)
    if start.size < 2:
        raise ValueError("measure_river: one weight has no river: what is displaced lies off the leading mode")
    found = river_from(objective, start, modes, time, _LENGTH * steps, progress, checkpoint)
    if isinstance(found, Status):
        raise RuntimeError(f"measure_river: {found.describe()}")
    return dataclasses.replace(found, origin=source_of(objective, start, seed))


def river_from(
    objective: AbstractObjective,
    start: Any,
    modes: int,
    time: float | None,
    multiple: float,
    progress: bool | str = False,
    checkpoint: str | Path | None = None,
) -> River | Status:
    """The river from some weights up to a flow time, by default `multiple`/λ at the start; or how the flow ended."""
    if start.size < 2:
        return Status.OUT_OF_RANGE
    modes = min(modes, start.size - 1)
    flow = RiverFlow(objective, modes)
    known = identity(flow, start, None, rows=_ROWS, every=1)
    latest: list[Progress] = []
    if checkpoint is not None:
        found = load(Path(checkpoint), template(flow, start), known)
        latest = [] if found is None else [found]

    def after_chunk(now: Progress) -> None:
        latest[:] = [now]
        if checkpoint is not None:
            save(Path(checkpoint), now, known)

    label = progress if isinstance(progress, str) else "river"
    with tqdm(total=1.0, desc=label, disable=not progress, leave=False, bar_format="{l_bar}{bar}| {elapsed}") as bar:
        while True:
            done = len(latest[0].seconds) * _ROWS if latest else 0
            if latest:
                rows = latest[0].rows
                status = int(latest[0].carry.status)
                if status != int(Status.OK):
                    return Status(status)
                if time is None:
                    time = multiple / float(rows["eigenvalues"][0, 0])
                reached = float(rows["tau"][-1])
                if done > _ROWS and not reached > float(rows["tau"][-1 - _ROWS]) + _LEAST * time:
                    return Status.STALLED
                bar.update(min(reached / time, 1.0) - bar.n)
                if reached >= time:
                    if not moves(rows):
                        return Status.STALLED
                    river = river_of(rows, modes, dtype=start.dtype)
                    return dataclasses.replace(river, origin=source_of(objective, start, None))
            run(
                flow,
                start,
                done + _ROWS,
                rows_per_chunk=_ROWS,
                resume=latest[0] if latest else None,
                after_chunk=after_chunk,
            )


def save_river(river: River, path: str | Path) -> None:
    """Write a river to netCDF, atomically: a labelled dataset over row, mode, spring, pair and launch."""
    record.save(river_dataset(river), Path(path))


def load_river(path: str | Path) -> River:
    """Read a river that `save_river` has written."""
    river = river_in(record.load(Path(path)))
    if isinstance(river, Status):
        raise ValueError(f"load_river: {path} holds no river: {river.describe()}")
    return river


def river_dataset(river: River | Status) -> xr.Dataset:
    """A river as a labelled dataset over row, mode, spring, pair and launch; or how its flow ended, alone."""
    if isinstance(river, Status):
        return xr.Dataset({"status": int(river)})
    data: dict[str, Any] = {
        name: (("row", *dims), np.asarray(getattr(river.places, name))) for name, dims in _DIMS.items()
    }
    for name in ("log_loss", "log_slope"):
        data[name] = ("row", np.asarray(getattr(river, name)))
    data["curvature"] = ("spring", np.asarray(river.curvature))
    data["launches"] = ("launch", np.asarray(river.launches))
    for name in ("rate", "length"):
        data[name] = ((), np.asarray(getattr(river, name)))
    steps = np.linspace(0, np.log1p(float(river.rate * river.length)), river.log_loss.size)
    data["status"] = ((), int(Status.OK))
    dataset = xr.Dataset(data, {"tau": ("row", np.expm1(steps) / float(river.rate))})
    facts = river.origin.facts
    described = {name: facts[name] for name in ("objective", "dtype") if name in facts}
    described |= {"data": json.dumps(facts["data"], sort_keys=True)} if "data" in facts else {}
    origin = {"origin": json.dumps(dict(facts), sort_keys=True)} if facts else {}
    return dataset.assign_attrs(record.provenance({"river": river.modes}) | described | origin)


def river_in(dataset: xr.Dataset) -> River | Status:
    """The river of a dataset from `river_dataset`, or how its flow ended."""
    if int(dataset.get("status", Status.OK)) != int(Status.OK):
        return Status(int(dataset.status))

    def array(name):
        return jnp.asarray(dataset[name].values)

    places = Place(**{name: array(name) for name in _DIMS})
    return River(
        places=places,
        origin=Origin(**json.loads(dataset.attrs.get("origin", "{}"))),
        **{name: array(name) for name in ("rate", "length", "curvature", "log_loss", "log_slope", "launches")},
    )
