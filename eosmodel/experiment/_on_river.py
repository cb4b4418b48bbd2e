"""What a river is asked: any tuner, from its start or from a step of a run; which tuner wins; which hyper-parameter."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from eosmodel._checks import as_arrays, check_count
from eosmodel._status import Status
from eosmodel.experiment._labels import axis_of, label
from eosmodel.experiment._provenance import provenance
from eosmodel.experiment._running import batch_axes
from eosmodel.experiment._simulate import DIVERGED_AT
from eosmodel.results import measures, record
from eosmodel.results.formatting import aligned, number
from eosmodel.simulation import run
from eosmodel.theory.river import River, RiverMap, RiverStart, at_step, at_weights
from eosmodel.tuners.base import AbstractTuner
from eosmodel.tuners.registry import as_tuner

# Of a chunk: enough that the way from one to the next does not count, and the same for any number of steps, so that
# nothing is compiled again for another one.
_ROWS = 250

_MEANINGS = {
    "final_center_loss": "mean of the predicted loss at the centre over the last 25 steps; NaN if one is not predicted",
    "final_loss": "that of the predicted loss",
    "late_loss": "mean of the predicted loss over the last quarter of the steps",
    "final_sharpness": "mean of the predicted λ over the last 25 steps",
    "flow_time": "Ση over the predicted steps",
    "status": "how the prediction ended",
    "steps": "predicted steps",
}


def predict_on(
    river: River,
    tuner: AbstractTuner,
    steps: int,
    at: Any = None,
    diverged_at: float = DIVERGED_AT,
    throw: bool = False,
) -> xr.Dataset:
    """`predict` on a river."""
    rule = as_arrays(tuner, river.dtype)
    dynamics = RiverMap(river, rule, divergence=diverged_at)
    start, first = _start(river, at)
    axes, dims = batch_axes(dynamics, start)
    progress = run(dynamics, start, steps, rows_per_chunk=_ROWS, axes=axes)
    result = record.to_dataset(progress, 1, dims)
    result = result.assign_coords(step=result.step.copy(data=result.step.values + first))
    result = result.assign(steps=result.steps.copy(data=result.steps.values + first))
    result = label(result, rule, river.origin.facts.get("seeds"), "river")
    result.attrs = record.provenance(
        {"steps": steps, "dynamics": "RiverMap", "dtype": str(river.dtype), "modes": river.modes, "pairs": river.pairs}
    )
    result.attrs |= provenance(river.origin, result, rule, steps, theory="river")
    if throw and int(np.max(result.status.values)) != int(Status.OK):
        ended = Status(int(np.max(result.status.values)))
        raise RuntimeError(f"predict: {ended.label} at step {int(result.steps.min())}: {ended.describe()}")
    return result


def _start(river: River, at: Any) -> tuple[RiverStart, int]:
    if at is None:
        return at_weights(river), 0
    if isinstance(at, RiverStart):
        return at, 0
    if not (isinstance(at, tuple) and len(at) == 2 and isinstance(at[0], xr.Dataset)):
        raise ValueError("predict: at must be (a run from `simulate`, a step of it) or a RiverStart")
    rows, step = at
    check_count("predict", "the step of at", step, 0)
    taken = measures.steps_of(rows)
    if rows.loss.ndim != 1 or measures.row_spacing(rows.step.values) != 1 or not step < taken:
        raise ValueError(f"predict: at needs one run with a row at every step, and a step of its {taken}, got {step}")
    needed = ("stepsize", "eigenvalues", "amplitude", "center_loss")
    known = [name for name in needed if name in rows]
    if len(known) < len(needed) or not all(np.isfinite(rows[name].values[: step + 1]).all() for name in needed):
        raise ValueError(f"predict: at needs a run with {', '.join(needed)} at every step up to {step} (track_every=1)")
    if rows.sizes["mode"] < river.modes:
        need = f"the river has {river.modes} modes, the run only {rows.sizes['mode']}"
        raise ValueError(f"predict: {need}: simulate(…, modes={river.modes}), or measure_river(…, modes=) with fewer")
    return at_step(river, {name: rows[name].values for name in needed}, step), step


_SHOWN = ("final_center_loss", "final_loss", "final_sharpness", "flow_time")


class Ranking(NamedTuple):
    """Tuners by their predicted final loss at the oscillation's centre. Made by `rank`; printing it gives a table.

    Fields
        dataset: over tuner, the best first, those whose prediction ended early last: `order` from 1 (0 for those that
            ended), `final_center_loss`, `final_loss` and `late_loss` (NaN for those), `final_sharpness`, `flow_time`,
            `status`, `steps`.
    """

    dataset: xr.Dataset

    def __str__(self) -> str:
        lines = [("", "tuner", "L at centre", "L", "λ", "Ση", "status", "steps")]
        for i, name in enumerate(self.dataset.tuner.values.tolist()):
            row = self.dataset.isel(tuner=i)
            numbers = (number(float(row[key])) for key in _SHOWN)
            order = str(int(row.order)) if row.order else "–"
            lines.append((order, name, *numbers, Status(int(row.status)).label, str(int(row.steps))))
        return aligned(lines, left=(1, 6))


def rank(river: River, tuners: Sequence[str] | Mapping[str, AbstractTuner], steps: int = 1000) -> Ranking:
    """Which tuner will win on a network, before any is run on it.

    Tuners are ordered by the predicted loss at the centre of the oscillation, L̄, which is how far they get; by how much
    the last steps lie above it is a matter of the moment, which no theory of large steps predicts.

    Args:
        river: of the network, from `measure_river`.
        tuners: specifications, or tuners by name.
        steps: updates that each would take.

    Returns:
        `Ranking`, which prints as a table. The theory says nothing of the final loss of a tuner whose prediction ends
        early (status OUT_OF_RANGE, RIVER_ENDED, DIVERGED); it stands below the others with its status, out of the
        order.

    Raises:
        ValueError: no tuner, or a specification that is not allowed.

    Example:
        >>> import eosmodel as eos
        >>> net = eos.objectives.mlp(eos.data.digits(50), width=4, depth=1, init_scale=0.5)
        >>> river = eos.measure_river(net, steps=20, modes=2, progress=False)
        >>> eos.rank(river, ["constant:0.01", "constant:0.1"], steps=20).dataset.tuner.values.tolist()
        ['constant:0.1', 'constant:0.01']
    """
    check_count("rank", "steps", steps)
    named: dict[str, Any] = dict(tuners) if isinstance(tuners, Mapping) else {str(spec): spec for spec in tuners}
    if not named:
        raise ValueError("rank: tuners needs at least one tuner")
    rules = {name: as_tuner("rank", tuner) for name, tuner in named.items()}
    parts = [_ended(predict_on(river, rule, steps)) for rule in rules.values()]
    whole = xr.concat(parts, xr.IndexVariable("tuner", list(rules)))
    whole = whole.isel(tuner=np.argsort(whole.final_center_loss.values, kind="stable"))
    known = np.isfinite(whole.final_center_loss.values)
    order = np.where(known, np.cumsum(known), 0)
    meaning = "place by predicted final loss, 0 for a prediction that ended early"
    return Ranking(whole.assign(order=("tuner", order, {"long_name": meaning})))


class Tuned(NamedTuple):
    """A hyper-parameter chosen on a river. Made by `tune`.

    Fields
        tuner: the rule with the value chosen.
        value: it.
        dataset: over the hyper-parameter, the variables of `Ranking` without the order.
    """

    tuner: AbstractTuner
    value: float
    dataset: xr.Dataset


def tune(river: River, tuner: Any, steps: int = 1000, **values: Any) -> Tuned:
    """The value of a hyper-parameter with the least predicted loss, averaged over the last quarter of the steps.

    Nothing is trained. The energy of the oscillation grows with the steps, so that the loss itself decides and not that
    at the centre; it comes in bursts, so that it is averaged.

    Args:
        river: of the network, from `measure_river`.
        tuner: the rule, or its specification; its other hyper-parameters stay.
        steps: updates of the training that is meant.
        values: one hyper-parameter by its name: (low, high, count) spaced evenly in the logarithm, or an array.

    Returns:
        `Tuned`. Values whose predictions end early are not chosen; its `status` says how each ended.

    Warns:
        UserWarning: a prediction ends with the river. A longer one may have chosen that value.

    Raises:
        ValueError: not one hyper-parameter, one that the rule does not have or does not allow, or a range in which no
            prediction takes all steps.

    Example:
        >>> import eosmodel as eos
        >>> net = eos.objectives.mlp(eos.data.digits(50), width=4, depth=1, init_scale=0.5)
        >>> river = eos.measure_river(net, steps=20, modes=2, progress=False)
        >>> round(eos.tune(river, "constant:0.1", steps=20, step=(0.01, 0.1, 3)).value, 3)
        0.1
    """
    rule = as_tuner("tune", tuner)
    check_count("tune", "steps", steps)
    known = [field.name for field in dataclasses.fields(rule)]
    if len(values) != 1 or not {*values} <= {*known}:
        raise ValueError(
            f"tune: name one hyper-parameter of {type(rule).__name__}: {', '.join(known)}; got {[*values]}"
        )
    ((name, given),) = values.items()
    ranged = isinstance(given, tuple) and len(given) == 3 and isinstance(given[2], int)
    grid = np.geomspace(*given) if ranged else np.asarray(given, float).ravel()
    batch = as_arrays(dataclasses.replace(rule, **{name: grid}), river.dtype)
    said = predict_on(river, batch, steps)
    parts = [_ended(said.isel({axis_of(batch): i})) for i in range(grid.size)]
    whole = xr.concat(parts, xr.IndexVariable(name, grid))
    losses = whole.late_loss.values
    if not np.isfinite(losses).any():
        raise ValueError(f"tune: no value of {name} from {grid.min():g} to {grid.max():g} is predicted to the end")
    short = int(np.sum(whole.status.values == int(Status.RIVER_ENDED)))
    if short:
        many = f"{short} of {grid.size} values of {name}"
        end = f"more flow time than the river's {float(river.length):.4g}"
        warnings.warn(f"tune: {many} need {end}: measure_river(time=…) for a longer one", stacklevel=2)
    best = float(grid[np.nanargmin(losses)])
    return Tuned(dataclasses.replace(rule, **{name: best}), best, whole)


def _ended(said: xr.Dataset) -> xr.Dataset:
    """The numbers of `_MEANINGS` of a prediction."""
    finished = int(said.status) == int(Status.OK)
    values = {
        "final_center_loss": measures.final_mean(said, "center_loss") if finished else np.nan,
        "final_loss": measures.final_mean(said, "loss") if finished else np.nan,
        "late_loss": measures.late_mean(said, "loss") if finished else np.nan,
        "final_sharpness": measures.final_mean(said, "sharpness"),
        "flow_time": float(said.stepsize.sum()),
        "status": int(said.status),
        "steps": int(said.steps),
    }
    return xr.Dataset({name: ((), value, {"long_name": _MEANINGS[name]}) for name, value in values.items()})
