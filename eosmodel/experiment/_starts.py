"""Where runs and predictions begin: weights, of one run or of a batch, and the seeds of a stochastic run's draws."""

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from eosmodel.dynamics import SeededStart
from eosmodel.experiment._arguments import as_weights
from eosmodel.experiment._weights import kept
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.batches import AbstractBatches

# Relative change of the start between the members of an ensemble.
_TINY = 1e-4


class Start(NamedTuple):
    """Where a run begins, as the arguments `start` and `seeds` say.

    Fields
        given: weights, flat or as a tree; None for the objective's own or those of the seeds.
        seeds: of the weights and the draws: one, several, or None.
        step: of the run that is continued; 0 where none is.
    """

    given: Any
    seeds: int | list[int] | None
    step: int = 0


def as_start(owner: str, start: Any, seeds: Any) -> Start:
    """A start from the weights that a run has kept, as (run, step), or run for the last of them; from weights; or from
    seeds.

    Raises:
        ValueError: both a start and seeds, or a step whose weights were not kept.
    """
    of_run = isinstance(start, xr.Dataset) or (isinstance(start, tuple) and start and isinstance(start[0], xr.Dataset))
    seeds = as_seeds(seeds)
    if start is not None and seeds is not None:
        raise ValueError("seeds and start cannot both be given: a start has no seed")
    if not of_run:
        return Start(start, seeds)
    run, step = start if isinstance(start, tuple) and len(start) == 2 else (start, None)
    if not isinstance(run, xr.Dataset):
        raise ValueError(f"{owner}: start must be (run, step), got {len(start)} values")
    weights, step = kept(owner, run, step)
    return Start(weights, int(run.seed) if "seed" in run.coords else None, step)


def weights_of(objective: AbstractObjective, seeds: Any, given: Any) -> Array:
    """Starting weights, shape (dim,), or (seeds, dim) for several seeds; seeds do not count where they are given."""
    if given is not None:
        return as_weights(objective, given)
    if seeds is None or isinstance(seeds, int):
        return objective.initial(seeds)
    return jnp.stack([objective.initial(seed) for seed in seeds])


def as_seeds(seeds: Any) -> int | list[int] | None:
    """Seeds as integers: one, several, or None."""
    if seeds is None:
        return None
    try:
        if np.ndim(seeds) == 0:
            return operator.index(seeds)
        several = [operator.index(seed) for seed in seeds]
    except TypeError:
        raise ValueError(f"seeds must be an integer or several, got {seeds!r}") from None
    if not several:
        raise ValueError("seeds must name at least one seed, got none")
    if len({*several}) < len(several):
        raise ValueError(f"seeds must differ from each other, got {several}")
    return several


def seeded_start(batches: AbstractBatches, seeds: Any, given: Any) -> SeededStart:
    """Starting weights, and the seeds of the draws: those of the weights, 0 where there is none."""
    weights = weights_of(batches.objective, seeds, given)
    drawn = jnp.zeros(weights.shape[:-1], jnp.int32) if seeds is None else jnp.asarray(seeds, jnp.int32)
    return SeededStart(weights, drawn)


def nearby(start: Float[Array, " dim"], members: int) -> Float[Array, "members dim"]:
    """Starts that differ from one by 1e-4 of its root mean square: those of the members of `predict`."""
    start = copies(start, members)
    spread = _TINY * jnp.sqrt(jnp.mean(start**2, axis=-1, keepdims=True))
    return start + spread * jax.random.normal(jax.random.key(0), start.shape, start.dtype)


def copies(start: Float[Array, " dim"], members: int) -> Float[Array, "members dim"]:
    """One start for every member of an ensemble."""
    if start.ndim != 1:
        raise ValueError("predict: members and several seeds cannot both be batched; loop over the seeds")
    return jnp.broadcast_to(start, (members, *start.shape))
