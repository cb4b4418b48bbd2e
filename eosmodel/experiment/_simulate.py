"""`simulate`: run an objective under a tuner."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from eosmodel._checks import as_arrays, check_count, check_range, one_line
from eosmodel.curvature import AbstractTracker, Tracker
from eosmodel.dynamics import Descent, StochasticDescent
from eosmodel.experiment._arguments import as_direction, as_objective, as_progress, as_tracked, check_counts
from eosmodel.experiment._devices import as_mesh, for_batch
from eosmodel.experiment._evaluated import as_evaluated
from eosmodel.experiment._labels import label
from eosmodel.experiment._provenance import provenance, source_of
from eosmodel.experiment._running import Settings, run_to_dataset
from eosmodel.experiment._starts import as_start, seeded_start, weights_of
from eosmodel.logs import Log
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.batches import AbstractBatches
from eosmodel.tuners.base import AbstractTuner
from eosmodel.tuners.registry import as_tuner

MEASURE_EVERY = 10
DIVERGED_AT = 1e6


def simulate(
    objective: AbstractObjective | AbstractBatches | str,
    tuner: AbstractTuner | str,
    steps: int = 1000,
    *,
    direction: Any = None,
    seeds: Any = None,
    start: Any = None,
    track: str | Sequence[str] = "sharpness",
    modes: int = 3,
    tracker: AbstractTracker | None = None,
    track_every: int = 1,
    record_every: int = 1,
    measure_every: int = MEASURE_EVERY,
    keep_weights: int = 0,
    diverged_at: float = DIVERGED_AT,
    test_every: int = 1,
    stop_loss: float | None = None,
    stop_accuracy: float | None = None,
    progress: bool | str = True,
    checkpoint: str | Path | None = None,
    throw: bool = False,
    log: Log | None = None,
    mesh: Mesh | int | None = None,
) -> xr.Dataset:
    """Descent on `objective` under `tuner`, with the sharpness followed at the oscillation's centre.

    Args:
        objective: the loss and where it starts; `MiniBatches` and the like, for steps that see only a batch; or the
            specification of a toy, as "valley:gamma=0.5".
        tuner: the step-size rule, or its specification, as "armijo:c=0.1" (see `eosmodel list`). A hyper-parameter
            given as a vector makes one run of each entry. The dimension has its name ("tuner_step" for a `step`, for
            "step" is that of the updates), or is "run" where several vary.
        steps: number of updates, at least 1.
        direction: None for steepest descent, a `Direction` or its specification, as "momentum:0.9", or any optax
            transformation that makes a direction of the gradient (its edge of stability is then not known, and edge
            products are NaN).
        seeds: None for the objective's own start, an integer for one other start, or several for a batch of runs
            in one call (dimension "seed"). A seed also fixes which batches are drawn; None draws those of seed 0.
        start: starting weights instead, shape (dim,), or a tree with the shapes of `objective.tree`; or a run with
            `keep_weights` and a step that it has kept, (run, 300), to go on from there, or a run alone to go on from
            the last. The tuner and the direction start afresh and steps are counted from 0; batches are the following
            ones.
        track: what is tracked beside the run: "sharpness", the leading eigenpairs, at their centre; "critical", the
            critical sharpness λ_c = 2/η_c (`critical_sharpness`), η_c the smallest step along the update that does not
            lower the loss of the step, from four evaluations of that loss and no product with the Hessian; both, as
            ("sharpness", "critical"); or () for neither. Without the first λ is NaN.
        modes: number of leading Hessian eigenpairs followed.
        tracker: how they are followed; None for `curvature.Tracker(modes)`. `curvature.BlockTracker(modes)` does the
            same work at every step, for accelerators.
        track_every: track every that many steps (NaN in between); of a stochastic run also the full loss.
        record_every: keep a row every that many steps.
        measure_every: measure α, β, κ and G every that many steps, and at every step of the first two such
            stretches, where everything changes at once; 0 for never.
        keep_weights: keep the weights of every so many steps, from step 0 on and with those after the last, as
            `weights` over (kept_step, weight); `eos.weights` makes of them what the objective was made of. 0 keeps
            none. A warning says how much it is where it is a gigabyte or more.
        diverged_at: a run has diverged when its loss exceeds this multiple, > 1, of the larger of |L(w₀)| and
            ½λ‖w₀‖², the rise of the loss over a distance as large as the weights; inf for only when it is not finite.
        test_every: evaluate a network every that many steps, where it has samples that are held out (`accuracy`,
            `test_loss` and `test_accuracy`, NaN in between) or an accuracy is waited for.
        stop_loss: a run ends with the status "reached", which is a success, after the first step whose `loss` is at
            most this. That is the full loss, with the weight decay, at the iterate before the update, looked at in
            every step whether its row is kept or not; of a stochastic run in every `track_every`-th, where it is known,
            and never a batch's loss, which may be low by chance. None for no such end.
        stop_accuracy: the same for an `accuracy` on the training samples of at least this; in (0, 1].
        progress: show a progress bar; a string is its label. "plot" instead draws the rows so far below the cell of a
            notebook, after every chunk (`plotting.live`; needs IPython).
        checkpoint: file to write after every chunk and to go on from if it exists.
        throw: raise RuntimeError if a run ends early, instead of saying so in `status`.
        log: called with every chunk of 100 rows as soon as it is computed, a dataset like the result's. `eosmodel.logs`
            has those that write lines of JSON, and to TensorBoard and Weights & Biases.
        mesh: the devices to run on, or the number of them; None for jax's default one. A batch of runs that they divide
            is divided among them, otherwise the samples are, which they must divide.

    Returns:
        Dataset over step (and over the hyper-parameter or the seed where batched) of loss, stepsize, sharpness and the
        others of `eosmodel.names.VARIABLES`; `status` and `steps` say how each run ended and after how many steps. Row
        t is the state at w_t, before the update, and the step size taken from there. The coordinates `tuner` (its
        specification), `seed` and the hyper-parameters that vary say which run is which, and attributes what was run:
        objective, data, tuner, direction, seeds, steps, dtype, versions.

    Raises:
        ValueError: a specification or an argument that is not allowed; the message names it.
        RuntimeError: with `throw`, a run that ended early.

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> bowl = eos.objective(lambda w: 0.5 * jnp.sum(jnp.array([2.0, 1.0]) * w**2), jnp.ones(2))
        >>> result = eos.simulate(bowl, eos.tuners.Constant(0.5), steps=20, progress=False)
        >>> float(result.sharpness[-1])
        2.0
    """
    check_counts("simulate", steps, modes=modes, track_every=track_every, record_every=record_every)
    check_count("simulate", "measure_every", measure_every, 0)
    check_count("simulate", "keep_weights", keep_weights, 0)
    check_range("simulate", "diverged_at", diverged_at, 1, low_open=True)
    loss, tuner = as_objective("simulate", objective), as_tuner("simulate", tuner)
    direction = as_direction("simulate", direction)
    tracked = as_tracked("simulate", track)
    if tracker is not None and not isinstance(tracker, AbstractTracker):
        raise ValueError(
            f"simulate: tracker must be None or a tracker, as curvature.Tracker(3), got {one_line(tracker)}"
        )
    shown_tracker = {} if tracker is None else {"tracker": one_line(tracker)}
    critical, tracker = "critical" in tracked, (tracker or Tracker(modes)) if "sharpness" in tracked else None
    if tracker is None and tuner.needs_sharpness:
        raise ValueError(f"simulate: tuner {type(tuner).__name__} needs the sharpness; track must include it")
    # Coefficients are only measured where the eigenpairs are, and only on rows that are kept.
    due = int(np.lcm.reduce([measure_every, track_every, record_every])) if measure_every and tracker else 0
    config: dict[str, Any] = {"steps": steps, "modes": modes, "track_every": track_every, "record_every": record_every}
    config |= {"diverged_at": diverged_at, "track": list(tracked)} | shown_tracker
    config |= {"stop_loss": stop_loss} if stop_loss is not None else {}
    config |= {"stop_accuracy": stop_accuracy} if stop_accuracy is not None else {}
    given, seeds, first = as_start("simulate", start, seeds)
    devices = as_mesh("simulate", mesh)
    loss = for_batch(loss, tuner, seeds, devices)
    evaluated = as_evaluated(loss, record_every, test_every, stop_loss, stop_accuracy)
    shown, bar, log = as_progress("simulate", progress, type(tuner).__name__, log)
    rows = None if log is None else lambda rows: log(label(rows, tuner, seeds))
    settings = Settings(record_every, config, shown, bar, checkpoint, throw, rows, keep_weights, devices)
    if isinstance(loss, AbstractBatches):
        seeded = seeded_start(loss, seeds, given)
        weights = seeded.weights
        rule = as_arrays(tuner, weights.dtype)
        begun = jnp.asarray(first, jnp.int32)
        noisy = StochasticDescent(loss, rule, tracker, track_every, due, diverged_at, direction, critical, begun)
        result = run_to_dataset(evaluated(noisy), seeded, steps, settings)
    else:
        weights = weights_of(loss, seeds, given)
        rule = as_arrays(tuner, weights.dtype)
        dynamics = Descent(loss, rule, tracker, track_every, due, diverged_at, direction=direction, critical=critical)
        result = run_to_dataset(evaluated(dynamics), weights, steps, settings)
    result = label(result.assign(edge=2.0 if direction is None else direction.edge), rule, seeds)
    return result.assign_attrs(provenance(source_of(loss, weights, seeds), result, rule, steps, direction))
