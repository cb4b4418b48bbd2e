"""Where runs and predictions begin: weights, of one run or of a batch, and the seeds of a stochastic run's draws."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from eosmodel.dynamics import SeededStart
from eosmodel.experiment._arguments import as_weights
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.batches import AbstractBatches

# Relative change of the start between the members of an ensemble.
_TINY = 1e-4


def weights_of(objective: AbstractObjective, seeds: Any, w0: Any) -> Array:
    """Starting weights, shape (dim,), or (seeds, dim) for several seeds."""
    if w0 is not None:
        if seeds is not None:
            raise ValueError("seeds and w0 cannot both be given: a start has no seed")
        return as_weights(objective, w0)
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


def seeded_start(batches: AbstractBatches, seeds: Any, w0: Any) -> SeededStart:
    """Starting weights, and the seeds of the draws: those of the weights, 0 where there is none."""
    weights = weights_of(batches.objective, seeds, w0)
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
