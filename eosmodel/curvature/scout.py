"""What a tracker sees outside its modes."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel.curvature.ritz import RANK_FLOOR

# How low the interval reaches in any case, in multiples of −|λ_k|: the spectrum of a network reaches less far below 0,
# and an interval that is longer than need be takes longer to bring out what lies above it.
_LOW = 0.25
# Share of a random vector in each look: nothing is forgotten for ever, and little is blurred.
_FRESH = 0.03


class Scout(eqx.Module):
    """What a tracker has seen outside its modes: two terms of a Chebyshev recurrence.

    v_{j+1} = 2Av_j − v_{j−1}, A = (H − c)/e with c ± e the ends of [−λ_k/4, λ_k] (or lower, where H is), leaves what H
    has within the interval as large as it is, and multiplies what lies above, at λ, by up to x + √(x² − 1) each time,
    x = (λ − c)/e. No other recurrence of one product each brings it out as fast.

    Fields
        last, before: v_j and v_{j−1}, shape (dim,), at right angles to the modes.
        low: lower end of the interval.
        updates: updates so far; random numbers are drawn from it, so that a run that is resumed draws the same.
    """

    last: Float[Array, " dim"]
    before: Float[Array, " dim"]
    low: Float[Array, ""]
    updates: Int[Array, ""]


@jax.jit
def new_scout(weights):
    updates = jnp.asarray(0, jnp.int32)
    return Scout(_random(weights, updates), jnp.zeros_like(weights), jnp.zeros((), weights.dtype), updates)


def _random(like, number):
    """A unit vector drawn from an integer."""
    dim, dtype = like.shape[0], like.dtype
    # Every bit is a sign: a number drawn for each would take as long as a sixth of a gradient.
    words = jax.random.bits(jax.random.fold_in(jax.random.key(1), number), (-(-dim // 32), 1), jnp.uint32)
    bits = (words >> jnp.arange(32, dtype=jnp.uint32)) & 1
    return (1 - 2 * bits.ravel()[:dim].astype(dtype)) / jnp.sqrt(jnp.asarray(dim, dtype))


def lowest(values, low):
    """The lower end of the interval, where H is known to reach down to `low`."""
    return jnp.minimum(low, -_LOW * jnp.abs(values[-1]))


def look_later(scout, *_):
    return eqx.tree_at(lambda s: s.updates, scout, scout.updates + 1)


def look_on(scout, outside, product, solution, unit):
    """The scout one term further; its interval reaches at least as low as the spread of H along it does."""
    values, vectors = solution.values, solution.rows[: len(solution.values)]
    rows = jnp.stack([outside, product, scout.before])
    overlap = rows @ vectors.T
    # Inner products of what the rows have off the modes.
    inner = rows @ rows.T - overlap @ overlap.T
    level = inner[0, 1]
    spread = jnp.sqrt(jnp.maximum(inner[1, 1] - 2 * level * level + level * level * inner[0, 0], 0))
    low = lowest(values, jnp.minimum(0.9995 * scout.low / unit, 1.2 * (level - spread)))
    high = values[-1]
    center, half = 0.5 * (high + low), jnp.maximum(0.5 * (high - low), RANK_FLOOR * jnp.abs(values[0]))
    last = jnp.linalg.norm(scout.last)
    bent = 2 * last / jnp.where(half > 0, half, 1)
    zero = jnp.zeros_like(last)
    terms = jnp.stack([jnp.stack([-center * bent, bent, zero - 1]), jnp.stack([last, zero, zero])])
    scale = jnp.sqrt(jnp.maximum(jnp.sum((terms @ inner) * terms), 0))
    terms = terms * jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1), 0)
    following, last = terms @ rows - (terms @ overlap) @ vectors
    updates = scout.updates + 1
    return Scout(following + _FRESH * _random(following, updates), last, low * unit, updates)
