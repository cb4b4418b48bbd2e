"""The weights that a run has kept, as what the objective was made of."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel._checks import check_integer
from eosmodel.experiment._arguments import as_objective
from eosmodel.objectives.batches import AbstractBatches


def kept_steps(run: xr.Dataset) -> np.ndarray:
    """The steps whose weights one run has kept; those after its end are blank and not among them."""
    if "weights" not in run:
        return np.zeros(0, int)
    return run.kept_step.values[np.isfinite(run.weights.values).all(axis=-1)]


def kept(owner: str, run: xr.Dataset, at: int | None = None) -> tuple[np.ndarray, int]:
    """The flat weights that one run has kept of a step, the last one by default, and the step.

    Raises:
        ValueError: several runs, none that are kept, or not of this step; the message names those that are.
    """
    if "weights" not in run:
        raise ValueError(f"{owner}: the run has no weights; keep_weights=50 keeps those of every 50 steps")
    if run.weights.ndim != 2:
        raise ValueError(
            f"{owner}: run must be one run (select one tuner and seed first), got {dict(run.weights.sizes)}"
        )
    steps = kept_steps(run)
    if at is None:
        at = int(steps[-1]) if steps.size else 0
    if at not in steps:
        raise ValueError(f"{owner}: the weights of step {at} were not kept; kept are those of {_listed(steps)}")
    return run.weights.sel(kept_step=at).values, at


def weights(run: xr.Dataset, objective: Any, at: int | None = None) -> Any:
    """The weights that a run has kept, as what its objective was made of.

    Args:
        run: one run from `simulate` or `predict` with `keep_weights`.
        objective: that of the run.
        at: a kept step, w_t after t updates; the last one when None.

    Returns:
        For `eos.objective(fn, w0)` a tree like w0, with its functions; for `eos.objectives.network(model, data)` the
        model, of one sample; for the networks of eosmodel a model of all samples at once; for a toy the flat array.

    Raises:
        ValueError: several runs, a step that was not kept, or weights of another objective.

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> start = {"a": jnp.asarray(1.0), "b": jnp.ones(2)}
        >>> bowl = eos.objective(lambda w: w["a"] ** 2 + jnp.sum(w["b"] ** 2), start)
        >>> run = eos.simulate(bowl, "constant:0.25", steps=4, keep_weights=2, progress=False)
        >>> float(weights(run, bowl, at=2)["a"])
        0.25
    """
    if at is not None:
        check_integer("weights", "at", at)
    of = as_objective("weights", objective)
    of = of.objective if isinstance(of, AbstractBatches) else of
    flat, _ = kept("weights", run, at)
    dim = of.initial().size
    if flat.size != dim:
        raise ValueError(f"weights: the run has {flat.size} weights, the objective {dim}")
    return of.as_given(jnp.asarray(flat))


def _listed(steps: np.ndarray) -> str:
    if steps.size == 0:
        return "no step"
    spacing = np.unique(np.diff(steps))
    if steps.size > 4 and spacing.size == 1:
        return f"steps {steps[0]}, {steps[1]}, … {steps[-1]}"
    return f"step{'s' * (steps.size > 1)} {', '.join(map(str, steps))}"
