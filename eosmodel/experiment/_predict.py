"""`simulate` and `predict`: run an objective, or a theory of it, under a tuner, and get a labelled dataset."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from tqdm.auto import tqdm

from eosmodel._checks import as_arrays, check_range
from eosmodel._status import Status
from eosmodel.directions import Direction
from eosmodel.dynamics import AbstractDynamics, Descent, StochasticDescent
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.batches import AbstractBatches
from eosmodel.results import record
from eosmodel.simulation import Progress, fingerprint, load, run, save, template
from eosmodel.theory import (
    CentralFlow,
    Coefficients,
    DrivenValley,
    EdgeFlow,
    GradientFlow,
    RodFlow,
    center_oscillation,
    parse,
    valley_at,
)
from eosmodel.tuners import OnEdge
from eosmodel.tuners.base import AbstractTuner

MEASURE_EVERY = 10
# A theory's draws are other ones than those of any run that it is held against.
_OTHER_DRAWS = 1 << 20
# Relative change of the start between the members of an ensemble.
_TINY = 1e-4


# The theories of the whole objective: all that they need is the objective, the tuner and the number of modes.
_OF_THE_WHOLE: dict[str, Callable[..., AbstractDynamics]] = {
    "oscillation": center_oscillation,
    "central-flow": CentralFlow,
    "edge-flow": lambda objective, tuner, modes: EdgeFlow(objective, tuner),
    "rod-flow": RodFlow,
    "edge-only": GradientFlow,
    "gradient-flow": GradientFlow,
}


def simulate(
    objective: AbstractObjective | AbstractBatches,
    tuner: AbstractTuner,
    steps: int = 1000,
    *,
    direction: Any = None,
    seeds: int | Sequence[int] | None = None,
    w0: Any = None,
    modes: int = 3,
    track_every: int = 1,
    record_every: int = 1,
    measure_every: int = MEASURE_EVERY,
    progress: bool | str = True,
    checkpoint: str | Path | None = None,
    throw: bool = False,
) -> xr.Dataset:
    """Descent on `objective` under `tuner`, with the sharpness followed at the oscillation's centre.

    Args:
        objective: the loss and where it starts; or `MiniBatches` and the like, for steps that see only a batch.
        tuner: the step-size rule. A hyper-parameter given as a vector makes one run of each entry (dimension "run").
        steps: number of updates, at least 1.
        direction: None for steepest descent, a `Direction`, or any optax transformation that makes a direction of the
            gradient (its edge of stability is then not known, and edge products are NaN).
        seeds: None for the objective's own start, an integer for one other start, or several for a batch of runs
            in one call (dimension "seed"). A seed also fixes which batches are drawn; None draws those of seed 0.
        w0: starting weights instead, shape (dim,).
        modes: number of leading Hessian eigenpairs followed.
        track_every: solve for them every that many steps (NaN in between); of a stochastic run also the full loss.
        record_every: keep a row every that many steps.
        measure_every: measure α, β, κ and G every that many steps, and at every step of the first two such
            stretches, where everything changes at once; 0 for never.
        progress: show a progress bar; a string is its label.
        checkpoint: file to write after every chunk and to go on from if it exists.
        throw: raise RuntimeError if a run ends early, instead of saying so in `status`.

    Returns:
        Dataset over step (with run and seed where batched) of loss, stepsize, sharpness and the others of
        `eosmodel.names.VARIABLES`; `status` and `steps` say how each run ended and after how many steps. Row t is
        the state at w_t, before the update, and the step size taken from there.

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> bowl = eos.objective(lambda w: 0.5 * jnp.sum(jnp.array([2.0, 1.0]) * w**2), jnp.ones(2))
        >>> result = eos.simulate(bowl, eos.tuners.Constant(0.5), steps=20, progress=False)
        >>> float(result.sharpness[-1])
        2.0
    """
    for name, value in {"modes": modes, "track_every": track_every, "record_every": record_every}.items():
        check_range("simulate", name, value, 1)
    check_range("simulate", "measure_every", measure_every, 0)
    # Coefficients are only measured where the eigenpairs are, and only on rows that are kept.
    due = int(np.lcm.reduce([measure_every, track_every, record_every])) if measure_every else 0
    if direction is not None and not isinstance(direction, Direction):
        direction = Direction(direction, understood=False)
    config = {"steps": steps, "modes": modes, "track_every": track_every, "record_every": record_every}
    label = progress if isinstance(progress, str) else type(tuner).__name__
    settings = (steps, record_every, config, label, bool(progress), checkpoint, throw)
    if isinstance(objective, AbstractBatches):
        start, drawn = _noisy_starts(objective, seeds, w0)
        rule = as_arrays(tuner, start.dtype)
        noisy = StochasticDescent(objective, rule, modes, track_every, due, direction=direction)
        result = _run(noisy, (start, drawn), *settings)
    else:
        start = _starts(objective, seeds, w0)
        dynamics = Descent(objective, as_arrays(tuner, start.dtype), modes, track_every, due, direction=direction)
        result = _run(dynamics, start, *settings)
    return record.describe(result.assign(edge=2.0 if direction is None else direction.edge))


def predict(
    objective: AbstractObjective | AbstractBatches,
    tuner: AbstractTuner,
    steps: int = 1000,
    *,
    theory: str = "oscillation",
    experiment: xr.Dataset | None = None,
    seeds: int | Sequence[int] | None = None,
    w0: Any = None,
    modes: int = 3,
    record_every: int = 1,
    members: int | None = None,
    progress: bool | str = True,
    checkpoint: str | Path | None = None,
    throw: bool = False,
) -> xr.Dataset:
    """What a theory says that `simulate` with the same arguments will give: the same variables, from the same start.

    Args:
        objective, tuner, steps, seeds, w0, modes, record_every, progress, checkpoint, throw: as in `simulate`. Of a
            stochastic objective the theory knows the mean and the covariance over samples, not which batches the run
            will see (`surrogate`); only "oscillation" has one.
        theory: "oscillation", "valley", "valley-frozen", "central-flow", "edge-flow", "rod-flow", "edge-only" or
            "gradient-flow" (see `theory.THEORIES`), perhaps with parameters as in "oscillation:modes=6,force=cubic"
            (see `theory.parse` and `theory.Ingredients`).
        experiment: the run that "valley" takes its coefficients from, one run with `measure_every` > 0; made here
            when not given. The other theories need none.
        members: so many runs of the theory (dimension "member", see `measures.band` and `measures.coverage`): of a
            stochastic objective with other draws of the noise, of another from starts that differ by 1e-4 of the
            weights' size, which shows how far a chaotic run can be known.

    Returns:
        Dataset over step, as from `simulate`; both valleys begin at a tenth of the run, past its first
        transient, and have NaN before; of a run that ended earlier they say nothing (status NOT_RUN), nor do they
        where no curvature is positive (OUT_OF_RANGE).
    """
    check_range("predict", "modes", modes, 1)
    check_range("predict", "record_every", record_every, 1)
    if members is not None:
        check_range("predict", "members", members, 1)
    config = {"steps": steps, "modes": modes, "record_every": record_every, "theory": theory}
    theory, options = parse(theory)
    modes = options.pop("modes", modes)
    label = progress if isinstance(progress, str) else f"{theory}, {type(tuner).__name__}"
    settings = (record_every, config, label, bool(progress), checkpoint, throw)
    lead = None if members is None else ("member",)
    if isinstance(objective, AbstractBatches):
        if theory != "oscillation":
            raise ValueError(f"predict: a stochastic objective has the theory 'oscillation' alone, got {theory!r}")
        start, drawn = _noisy_starts(objective, seeds, w0)
        if members is not None:
            start = _copies(start, members)
            drawn = drawn + jnp.arange(members, dtype=jnp.int32)
        noisy = center_oscillation(objective.surrogate(), as_arrays(tuner, start.dtype), modes, **options)
        return _run(noisy, (start, drawn + _OTHER_DRAWS), steps, *settings, lead)
    start = _starts(objective, seeds, w0)
    tuner = as_arrays(OnEdge(sigma=2.0) if theory == "edge-only" else tuner, start.dtype)
    if theory in _OF_THE_WHOLE:
        if members is not None:
            start = nearby(start, members)
        return _run(_OF_THE_WHOLE[theory](objective, tuner, modes, **options), start, steps, *settings, lead)
    if members is not None:
        raise ValueError(f"predict: members is for theories of the whole objective, not for {theory!r}")
    if start.ndim != 1 or any(jnp.ndim(leaf) for leaf in jax.tree.leaves(tuner)):
        raise ValueError(
            f"predict: theory {theory!r} takes one run at a time; give seeds as one integer and tuners single numbers"
        )
    if theory == "valley":
        if experiment is None:
            experiment = simulate(objective, tuner, steps, w0=start, modes=modes, progress=False)
        moment = _moment(steps, record_every)
        if int(experiment.steps) <= moment:
            return _blank(steps, record_every, Status.NOT_RUN)
        measured = coefficients(experiment, start.dtype, at=moment)
        result = _run(DrivenValley(measured, tuner), start, steps - moment, *settings)
        return _shift(result, moment, steps, record_every)
    return _frozen(objective, tuner, start, steps, modes, settings)


def _frozen(objective, tuner, start, steps, modes, settings):
    record_every = settings[0]
    moment = _moment(steps, record_every)
    # The same settings as a default run's, so that nothing is compiled again for the way there.
    dynamics = Descent(objective, tuner, modes, 1, MEASURE_EVERY)
    if moment:
        reached = run(dynamics, start, moment).carry
        if int(reached.status) != int(Status.OK):
            return _blank(steps, record_every, Status.NOT_RUN)
        state = reached.state
    else:
        state = dynamics.init(start)
    if not float(state.center.values[0]) > 0:
        return _blank(steps, record_every, Status.OUT_OF_RANGE)
    valley = valley_at(objective, state.weights, state.center)
    # The tuner goes on from the memory that it had reached, as it would in the run.
    reduced = Descent(valley, tuner, 1, 1, 0, tuner_state=state.tuner.state)
    result = _run(reduced, valley.initial(), steps - moment, *settings)
    result = _end_where_negative(result)
    return _shift(result, moment, steps, record_every)


def _moment(steps, record_every):
    """Where the low-dimensional theories begin: a tenth of the run, past the first transient, on a recorded row."""
    return (steps // 10) // record_every * record_every


def _shift(result, moment, steps, record_every):
    """Place a prediction that begins at `moment` on the steps of the run, blank before it."""
    shifted = result.assign_coords(step=result.step + moment).assign(steps=result.steps + moment)
    return shifted.reindex(step=np.arange(0, steps, record_every))


def _blank(steps, record_every, status):
    """A prediction that says nothing, and why: the run ended before the theory begins, or there is no valley there."""
    rows = np.arange(0, steps, record_every)
    blank = {name: ("step", np.full(rows.shape, np.nan)) for name in ("loss", "stepsize", "sharpness", "center_loss")}
    ended = {"status": int(status), "steps": 0, "seconds_per_step": np.nan, "compile_seconds": np.nan}
    return record.describe(xr.Dataset(blank | {name: ((), value) for name, value in ended.items()}, {"step": rows}))


def _end_where_negative(result):
    """Both losses that networks have are never negative: a frozen valley whose loss is has been followed too far."""
    below = np.flatnonzero(result.loss.values < 0)
    if below.size == 0:
        return result
    kept = result.isel(step=slice(0, below[0])).reindex(step=result.step)
    ended = {"status": int(Status.OUT_OF_RANGE), "steps": int(result.step[below[0]])}
    return kept.assign({name: result[name].copy(data=value) for name, value in ended.items()})


def coefficients(experiment: xr.Dataset, dtype=None, *, at: int = 0) -> Coefficients:
    """The slow coefficients measured along one run, against its flow time τ = Σ η.

    Args:
        experiment: one run from `simulate` with every step recorded and `measure_every` > 0.
        dtype: floating type of the result; jax's default when None.
        at: step to begin at; the first measured row from there on is used.
    """
    if "alpha" not in experiment or experiment.loss.ndim != 1:
        raise ValueError("coefficients: experiment must be one run of `simulate` (select one tuner and seed first)")
    if experiment.sizes["step"] > 1 and int(experiment.step[1] - experiment.step[0]) != 1:
        raise ValueError("coefficients: experiment must have every step recorded (record_every=1), to sum its steps")
    measured = np.isfinite(experiment.alpha.values) & np.isfinite(experiment.amplitude.values[:, 0])
    rows = np.flatnonzero(measured & (experiment.step.values >= at))
    if rows.size == 0:
        raise ValueError(f"coefficients: no measured rows from step {at} on; simulate with measure_every > 0")
    elapsed = np.concatenate([[0.0], np.cumsum(np.nan_to_num(experiment.stepsize.values))[:-1]])
    dtype = jnp.result_type(float) if dtype is None else dtype

    def array(values):
        return jnp.asarray(values, dtype)

    first = rows[0]
    return Coefficients(
        time=array(elapsed[rows] - elapsed[first]),
        **{name: array(experiment[name].values[rows]) for name in ("alpha", "beta", "kappa", "bulk_gradient_sq")},
        sharpness=array(experiment.sharpness.values[first]),
        center_loss=array(experiment.center_loss.values[first]),
        amplitude=array(experiment.amplitude.values[first, 0]),
    )


def _starts(objective, seeds, w0):
    if w0 is not None:
        if seeds is not None:
            raise ValueError("seeds and w0 cannot both be given: a start has no seed")
        return jnp.asarray(ravel_pytree(w0)[0])
    if seeds is None or isinstance(seeds, int | np.integer):
        return objective.initial(None if seeds is None else int(seeds))
    if not seeds:
        raise ValueError("seeds must name at least one seed, got none")
    return jnp.stack([objective.initial(int(seed)) for seed in seeds])


def nearby(start: Float[Array, " dim"], members: int) -> Float[Array, "members dim"]:
    """Starts that differ from one by 1e-4 of its root mean square: those of the members of `predict`."""
    start = _copies(start, members)
    spread = _TINY * jnp.sqrt(jnp.mean(start**2, axis=-1, keepdims=True))
    return start + spread * jax.random.normal(jax.random.key(0), start.shape, start.dtype)


def _copies(start, members):
    if start.ndim != 1:
        raise ValueError("predict: members and several seeds cannot both be batched; loop over the seeds")
    return jnp.broadcast_to(start, (members, *start.shape))


def _noisy_starts(batches, seeds, w0):
    """Starting weights, and the seeds of the draws: those of the weights, 0 where there is none."""
    start = _starts(batches.objective, seeds, w0)
    return start, jnp.zeros(start.shape[:-1], jnp.int32) if seeds is None else jnp.asarray(seeds, jnp.int32)


def _axes(dynamics, start):
    """Batch axes of (dynamics, start) and their names: tuner parameters given as vectors, then starts."""
    start = jax.tree.leaves(start)[0]
    vectors = [leaf.shape for leaf in jax.tree.leaves(dynamics.tuner) if eqx.is_array(leaf) and leaf.ndim == 1]
    if len(set(vectors)) > 1:
        raise ValueError(f"vector hyper-parameters of a tuner must have one length, got {sorted(set(vectors))}")
    if vectors and start.ndim == 2:
        raise ValueError("seeds and vector hyper-parameters cannot both be batched; loop over one of them")
    if not vectors and start.ndim == 1:
        return None, ()
    is_batched = eqx.tree_at(
        lambda d: d.tuner,
        jax.tree.map(lambda _: None, dynamics),
        jax.tree.map(lambda leaf: 0 if eqx.is_array(leaf) and leaf.ndim == 1 else None, dynamics.tuner),
        is_leaf=lambda x: x is None,
    )
    return ((is_batched, None), ("run",)) if vectors else ((None, 0), ("seed",))


def _run(dynamics, start, steps, record_every, config, label, show, checkpoint, throw, lead=None):
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    axes, batched = _axes(dynamics, start)
    lead = batched if lead is None else lead
    rows_per_chunk = 100
    resume, tag = None, ""
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        tag = fingerprint(dynamics, start, {"rows": rows_per_chunk, "every": record_every, "steps": steps})
        resume = load(checkpoint, template(dynamics, start, axes), tag)
    with tqdm(total=steps, desc=label, unit="step", disable=not show, leave=False, dynamic_ncols=True) as bar:

        def after_chunk(progress: Progress) -> None:
            if checkpoint is not None:
                save(checkpoint, progress, tag)
            bar.update(int(np.max(np.asarray(progress.carry.t))) - bar.n)

        progress = run(
            dynamics,
            start,
            steps,
            record_every=record_every,
            rows_per_chunk=rows_per_chunk,
            axes=axes,
            resume=resume,
            after_chunk=after_chunk,
        )
    result = record.to_dataset(progress, record_every, lead)
    result.attrs = record.provenance(
        config | {"dynamics": type(dynamics).__name__, "dtype": str(jax.tree.leaves(start)[0].dtype)}
    )
    if throw:
        ended = Status(int(np.max(result.status.values)))
        if ended != Status.OK:
            raise RuntimeError(f"{label}: {ended.label} at step {int(result.steps.min())}: {ended.describe()}")
    return result
