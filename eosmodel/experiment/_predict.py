"""`predict`: run a theory of an objective under a tuner."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from eosmodel._checks import as_arrays, check_count, check_range, one_line
from eosmodel._status import Status
from eosmodel.curvature import Tracker
from eosmodel.dynamics import Descent, SeededStart
from eosmodel.experiment._arguments import as_objective, as_progress, as_theory, check_counts
from eosmodel.experiment._coefficients import coefficients
from eosmodel.experiment._devices import as_mesh, for_batch, has_samples
from eosmodel.experiment._labels import label
from eosmodel.experiment._on_river import predict_on
from eosmodel.experiment._provenance import provenance, source_of
from eosmodel.experiment._river import river_from
from eosmodel.experiment._running import Settings, run_to_dataset
from eosmodel.experiment._simulate import DIVERGED_AT, MEASURE_EVERY, simulate
from eosmodel.experiment._starts import as_start, copies, nearby, seeded_start, weights_of
from eosmodel.logs import Log
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.batches import AbstractBatches
from eosmodel.results import record
from eosmodel.simulation import run
from eosmodel.theory import THEORIES, AbstractTheory, Problem
from eosmodel.theory.registry import spec_of
from eosmodel.theory.river import River
from eosmodel.tuners.base import AbstractTuner
from eosmodel.tuners.registry import as_tuner

# A theory's draws are other ones than those of any run that it is held against.
_OTHER_DRAWS = 1 << 20


def predict(
    objective: AbstractObjective | AbstractBatches | River | str,
    tuner: AbstractTuner | str,
    steps: int = 1000,
    *,
    theory: str | AbstractTheory = "oscillation",
    experiment: xr.Dataset | None = None,
    river: River | Status | None = None,
    seeds: Any = None,
    start: Any = None,
    at: Any = None,
    modes: int = 3,
    record_every: int = 1,
    members: int | None = None,
    keep_weights: int = 0,
    diverged_at: float = DIVERGED_AT,
    progress: bool | str = True,
    checkpoint: str | Path | None = None,
    throw: bool = False,
    log: Log | None = None,
    mesh: Mesh | int | None = None,
) -> xr.Dataset:
    """What a theory says that `simulate` with the same arguments will give: the same variables, from the same start.

    Args:
        objective, tuner, steps, seeds, start, modes, record_every, diverged_at: as in `simulate`. On a `River` (see
            `measure_river`) any tuner is predicted within milliseconds; only tuner, steps, at, diverged_at and throw
            apply. Of a stochastic objective the theory knows the mean and the covariance over samples, not which
            batches the run will see (`surrogate`).
        keep_weights, progress, checkpoint, throw, log, mesh: as in `simulate`; weights are the modelled ones, of
            theories that have some. A theory without samples stays on one device, and so does all that precedes a
            theory's own steps.
        theory: a specification, as "oscillation" or "oscillation:modes=6,force=cubic" (names, parameters and meanings
            are in `theory.THEORIES` and `eosmodel list`), or an `AbstractTheory`.
        experiment: the run that a theory with `needs_run` takes its coefficients from, one run with `measure_every` >
            0; made here when not given. The other theories need none.
        river: the river that a theory with `needs_river` predicts on, from the same weights, or the status with which
            its flow ended; measured here when not given.
        at: on a river, where the prediction begins: (run, step), a run from the river's weights by any tuner with
            every step recorded and as many modes, to go on from its step under this tuner, which starts afresh there
            (`steps` are those that follow; in the result they are numbered and counted as in the run); or a
            `theory.river.RiverStart`. None for the river's own start.
        members: so many runs of the theory (dimension "member", see `measures.band` and `measures.coverage`): of a
            stochastic objective with other draws of the noise, of another from starts that differ by 1e-4 of the
            weights' size, which shows how far a chaotic run can be known.

    Returns:
        Dataset over step, as from `simulate`. Some theories begin later, as both valleys do at a tenth of the run, past
        its first transient: they have NaN before, and say nothing of a run that ended earlier (status NOT_RUN) or where
        no curvature is positive (OUT_OF_RANGE).

    Raises:
        ValueError: a specification or an argument that is not allowed, or a problem that the theory is not made for:
            noise, batches or members.
    """
    check_counts("predict", steps, modes=modes, record_every=record_every)
    check_range("predict", "diverged_at", diverged_at, 1, low_open=True)
    tuner = as_tuner("predict", tuner)
    if isinstance(objective, River):
        return predict_on(objective, tuner, steps, at, diverged_at, throw)
    if at is not None:
        raise ValueError("predict: at is for a river, see `measure_river`")
    objective = as_objective("predict", objective)
    if members is not None:
        check_count("predict", "members", members)
    if experiment is not None and not isinstance(experiment, xr.Dataset):
        raise ValueError(f"predict: experiment must be a run from `simulate`, got {one_line(experiment)}")
    devices = as_mesh("predict", mesh)
    asked = as_theory("predict", theory)
    spec = theory if isinstance(theory, str) else spec_of(theory)
    name = spec.partition(":")[0]
    config = {"steps": steps, "modes": modes, "record_every": record_every, "theory": spec}
    config["diverged_at"] = diverged_at
    given, seeds, _ = as_start("predict", start, seeds)
    objective = for_batch(objective, tuner, seeds, devices, members)
    check_count("predict", "keep_weights", keep_weights, 0)
    if keep_weights and not asked.has_weights:
        known = ", ".join(known for known, entry in THEORIES.items() if entry.factory.has_weights)
        raise ValueError(f"predict: theory {name!r} has no weights to keep; {known} have")
    shown, bar, log = as_progress("predict", progress, f"{name}, {type(tuner).__name__}", log)
    settings = Settings(record_every, config, shown, bar, checkpoint, throw, keep_weights=keep_weights)
    problem = _problem(
        objective, tuner, steps, seeds, given, modes, record_every, members, experiment, river, diverged_at
    )
    _check(asked, name, problem, members)
    setup = asked.setup(problem)
    if isinstance(setup, Status):
        result = _blank(steps, record_every, setup).assign_attrs(record.provenance(config))
    else:
        dims = None if members is None else ("member",)
        dynamics = setup.dynamics.diverging_at(diverged_at)
        settings = settings._replace(mesh=devices if has_samples(dynamics) else None)
        if log is not None:
            first = setup.first
            settings = settings._replace(
                log=lambda rows: log(label(rows.assign_coords(step=rows.step + first), problem.tuner, seeds, spec))
            )
        result = run_to_dataset(dynamics, setup.start, steps - setup.first, settings, dims)
        result = _shift(result, setup.first, steps, record_every) if setup.first else result
    result = label(result, problem.tuner, seeds, spec)
    whole: Any = objective.objective if isinstance(objective, AbstractBatches) else objective
    source = source_of(objective, weights_of(whole, seeds, given), seeds)
    return result.assign_attrs(provenance(source, result, problem.tuner, steps, theory=spec))


def _problem(
    objective, tuner, steps, seeds, given, modes, record_every, members, experiment, river, diverged_at
) -> Problem:
    if isinstance(objective, AbstractBatches):
        weights, seed = seeded_start(objective, seeds, given)
        if members is not None:
            weights = copies(weights, members)
            seed = seed + jnp.arange(members, dtype=jnp.int32)
        start: Any = SeededStart(weights, seed + _OTHER_DRAWS)
        objective = objective.surrogate()
    else:
        start = weights = weights_of(objective, seeds, given)
        if members is not None:
            start = nearby(start, members)
    rule = as_arrays(tuner, weights.dtype)

    def measured(t):
        made = experiment
        if made is None:
            made = simulate(objective, rule, steps, start=weights, modes=modes, diverged_at=diverged_at, progress=False)
        return coefficients(made, weights.dtype, at=t) if int(made.steps) > t else None

    def descent_of(followed):
        # The same settings as a default run's, so that nothing is compiled again for the way there.
        return Descent(objective, rule, Tracker(followed), 1, MEASURE_EVERY, diverged_at)

    def reached(t):
        descent = descent_of(modes)
        if t == 0:
            return descent.init(weights)
        carry = run(descent, weights, t).carry
        return carry.state if int(carry.status) == int(Status.OK) else None

    def begun(t, followed):
        descent = descent_of(followed)
        before = run(descent, weights, t, rows_per_chunk=t)
        if int(before.carry.status) != int(Status.OK):
            return None
        after = run(descent, weights, t + 1, rows_per_chunk=t, resume=before)
        return after.rows, before.carry.state.tuner.state

    def river_for(theory):
        if river is not None:
            return river
        return river_from(objective, weights, theory.modes, None, theory.length * steps)

    return Problem(objective, rule, start, steps, modes, record_every, measured, reached, begun, river_for)


def _check(theory: AbstractTheory, name: str, problem: Problem, members: int | None) -> None:
    """What the theory is not made for."""
    if isinstance(problem.start, SeededStart) and not theory.knows_noise:
        known = ", ".join(known for known, entry in THEORIES.items() if entry.factory.knows_noise)
        raise ValueError(f"predict: theory {name!r} knows no noise; of a stochastic objective ask {known}")
    if not theory.one_run_only:
        return
    if members is not None:
        raise ValueError(f"predict: theory {name!r} takes one run at a time and has no members")
    if problem.start.ndim != 1 or any(jnp.ndim(leaf) for leaf in jax.tree.leaves(problem.tuner)):
        raise ValueError(
            f"predict: theory {name!r} takes one run at a time; give seeds as one integer and tuners single numbers"
        )


def _shift(result: xr.Dataset, first: int, steps: int, record_every: int) -> xr.Dataset:
    """Place a prediction that begins at step `first` on the steps of the run, blank before it."""
    shifted = result.assign_coords(step=result.step + first).assign(steps=result.steps + first)
    blank = {np.dtype(bool): False, np.dtype(np.int32): -1}
    fill = {name: blank.get(variable.dtype, np.nan) for name, variable in shifted.data_vars.items()}
    return shifted.reindex(step=np.arange(0, steps, record_every), fill_value=fill)


def _blank(steps: int, record_every: int, status: Status) -> xr.Dataset:
    """A prediction that says nothing, and why."""
    rows = np.arange(0, steps, record_every)
    blank = {name: ("step", np.full(rows.shape, np.nan)) for name in ("loss", "stepsize", "sharpness", "center_loss")}
    ended = {"status": int(status), "steps": 0, "seconds_per_step": np.nan, "compile_seconds": np.nan}
    return record.describe(xr.Dataset(blank | {name: ((), value) for name, value in ended.items()}, {"step": rows}))
