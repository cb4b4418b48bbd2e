"""Measuring a river, and keeping it in a file."""

import dataclasses
import json
import math
from collections.abc import Sequence
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
from eosmodel.theory.river import Flow, Place, River, RiverFlow, flow_of, moves, stacked

_ROWS = 10
# A flow that advances by less than this share of its time within `_ROWS` steps gets nowhere.
_LEAST = 1e-9
# Flow time without one given, in multiples of steps/λ at the start.
_LENGTH = RiverTheory().length

# The lowest caps on λ, in multiples of its first value; the ratio of the free flow's largest λ to these at least; and
# the largest ratio of one cap above them to the next: an expansion about a flow is good near its λ only.
_CAPS, _WELL_BELOW, _NEXT = (0.8, 1.2), 1.3, 2.0

_DIMS = {
    "loss": (),
    "sharpness": (),
    "root": ("mode", "mode_"),
    "pull": ("mode",),
    "climb": ("mode",),
    "gradient": ("spring",),
    "cross": ("spring", "pair"),
    "response": ("spring", "pair", "pair_"),
    "held": ("pair",),
    "recall": ("spring", "launch"),
}
_TABLE = {
    "rate": (),
    "length": (),
    "curvature": ("spring",),
    "log_loss": ("row",),
    "log_slope": ("row",),
    "launches": ("launch",),
}


def measure_river(
    objective: AbstractObjective,
    time: float | None = None,
    *,
    steps: int = 1000,
    seed: int | None = None,
    start: Any = None,
    modes: int = 8,
    caps: Sequence[float] | None = None,
    progress: bool | str = True,
    checkpoint: str | Path | None = None,
) -> River:
    """Measure the river of a network: its gradient flow, and what the sharpness along it answers to. No tuner is run.

    The flow is measured as it is and again with λ held below each of some caps: tuners with long steps keep near one of
    these.

    Args:
        objective: the loss.
        time: flow time Σ η that the river must reach, > 0. Predictions end where it does.
        steps: without a time, the number of steps that are to be predicted: the river then reaches 4·steps/λ, λ at the
            start, twice what so many steps at the edge take while λ is what it was.
        seed: of the initial weights; None for the objective's own start.
        start: initial weights instead, shape (dim,).
        modes: number of leading modes that may oscillate; at most one less than there are weights.
        caps: on λ, increasing; () for gradient flow alone. None for 0.8 and 1.2 times its first value where gradient
            flow rises well above these, and from there to its largest λ as many as make steps of a factor 2 at most.
        progress: show a progress bar over the flow time; a string is its label.
        checkpoint: file to write as the flow goes on, and to go on from if it exists, also to a longer time; capped
            flows have theirs beside it. Where λ has risen further on the longer river, some caps are others and their
            flows are measured anew: it is the river that one measurement to that time gives.

    Returns:
        A `River`, for `predict`.

    Raises:
        ValueError: time ≤ 0, steps < 1, both a seed and weights, a single weight, or caps that are not > 0, finite
            and increasing.
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
    if caps is not None:
        check_range("measure_river", "caps", caps, 0, low_open=True, high_open=True)
        if np.ndim(caps) != 1 or not np.all(np.diff(caps) > 0):
            raise ValueError(f"measure_river: caps must be a list of increasing numbers, got {caps!r}")
    if start is not None and seed is not None:
        raise ValueError("measure_river: seed and start cannot both be given")
    start = objective.initial(seed) if start is None else jnp.asarray(start)
    if start.size < 2:
        raise ValueError("measure_river: one weight has no river: what is displaced lies off the leading mode")
    found = river_from(objective, start, modes, time, _LENGTH * steps, progress, checkpoint, caps)
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
    caps: Sequence[float] | None = None,
) -> River | Status:
    """The river from some weights up to a flow time, by default `multiple`/λ at the start; or how the flow ended."""
    if start.size < 2:
        return Status.OUT_OF_RANGE
    modes = min(modes, start.size - 1)
    label = progress if isinstance(progress, str) else "river"
    with tqdm(total=1.0, desc=label, disable=not progress, leave=False, bar_format="{l_bar}{bar}| {elapsed}") as bar:

        def flow(index, cap, time):
            path = None if checkpoint is None else _checkpoint(Path(checkpoint), cap)

            def show(share):
                bar.update(index + share - bar.n)

            return _flow_from(objective, start, modes, cap, time, multiple, show, path)

        free = flow(0, float("inf"), time)
        if isinstance(free, Status):
            return free
        sharpness = free.places.sharpness
        if caps is None:
            caps = caps_below(float(sharpness[0]), float(jnp.max(sharpness)))
        bar.total = 1.0 + len(caps)
        capped = [flow(i, cap, float(free.length)) for i, cap in enumerate(caps, 1)]
    # A flow that cannot be held at its cap leaves the others.
    held = [one for one in capped if isinstance(one, Flow)]
    return stacked([*held, free], source_of(objective, start, None))


def _checkpoint(path: Path, cap: float) -> Path:
    """The checkpoint of a flow of a river: the river's own for the free one, and others beside it.

    By the cap, as a longer river can have others: its caps are those that it would have been measured with at once.
    """
    return path if math.isinf(cap) else path.with_name(f"{path.name}.cap{cap:.9g}")


def caps_below(first: float, largest: float) -> list[float]:
    """Caps on λ: multiples of its first value, where they lie well below its largest one, and equal ratios up to that.

    Example:
        >>> caps_below(2.0, 2.5)
        [1.6]
        >>> [round(cap, 6) for cap in caps_below(1.0, 2.7)]
        [0.8, 1.2, 1.8]
    """
    caps = [multiple * first for multiple in _CAPS if multiple * first < largest / _WELL_BELOW]
    if len(caps) < len(_CAPS):
        return caps
    steps = math.ceil(math.log(largest / caps[-1], _NEXT))
    return caps + [caps[-1] * (largest / caps[-1]) ** (i / steps) for i in range(1, steps)]


def _flow_from(objective, start, modes, cap, time, multiple, show, checkpoint) -> Flow | Status:
    flow = RiverFlow(objective, modes, cap=jnp.asarray(cap, start.dtype))
    latest: list[Progress] = []
    if checkpoint is not None:
        known = identity(flow, start, None, rows=_ROWS, every=1)
        found = load(checkpoint, template(flow, start), known)
        latest = [] if found is None else [found]

    def after_chunk(now: Progress) -> None:
        latest[:] = [now]
        if checkpoint is not None:
            save(checkpoint, now, known)

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
            show(min(reached / time, 1.0))
            if reached >= time:
                return flow_of(rows, modes, cap, dtype=start.dtype) if moves(rows) else Status.STALLED
        run(
            flow,
            start,
            done + _ROWS,
            rows_per_chunk=_ROWS,
            resume=latest[0] if latest else None,
            after_chunk=after_chunk,
        )


def save_river(river: River, path: str | Path) -> None:
    """Write a river to netCDF, atomically: a labelled dataset over flow, row, mode, spring, pair and launch."""
    record.save(river_dataset(river), Path(path))


def load_river(path: str | Path) -> River:
    """Read a river that `save_river` has written."""
    river = river_in(record.load(Path(path)))
    if isinstance(river, Status):
        raise ValueError(f"load_river: {path} holds no river: {river.describe()}")
    return river


def river_dataset(river: River | Status) -> xr.Dataset:
    """A river as a labelled dataset over flow, row, mode, spring, pair and launch; or how its free flow ended, alone.

    `cap` labels the flows, infinite for the free one, which comes last; `tau` are the flow times of the rows of each.
    """
    if isinstance(river, Status):
        return xr.Dataset({"status": int(river)})
    flows = river.flows
    data: dict[str, Any] = {
        name: (("flow", "row", *dims), np.asarray(getattr(flows.places, name))) for name, dims in _DIMS.items()
    }
    for name, dims in _TABLE.items():
        data[name] = (("flow", *dims), np.asarray(getattr(flows, name)))
    data["status"] = ((), int(Status.OK))
    tau = np.stack([flow.times for flow in river.each()])
    dataset = xr.Dataset(data, {"tau": (("flow", "row"), tau), "cap": ("flow", np.asarray(flows.cap))})
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
    flows = Flow(places=places, **{name: array(name) for name in (*_TABLE, "cap")})
    return River(flows, Origin(**json.loads(dataset.attrs.get("origin", "{}"))))
