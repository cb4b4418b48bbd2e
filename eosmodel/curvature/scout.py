"""What a tracker sees outside its modes."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel.curvature.ritz import RANK_FLOOR

# Share of a random vector in each look: nothing is forgotten for ever, and little is blurred.
_FRESH = 0.03


class Scout(eqx.Module):
    """What a tracker has seen outside its modes: two terms of a Chebyshev recurrence.

    v_{j+1} = 2Av_j − v_{j−1}, A = (H − c)/e with c ± e the ends of [−λ_k, λ_k] (or lower, where H is), leaves what H
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


def new_scout(weights):
    updates = jnp.asarray(0, jnp.int32)
    return Scout(_random(weights, updates), jnp.zeros_like(weights), jnp.zeros((), weights.dtype), updates)


def _random(like, number):
    """A unit vector drawn from an integer."""
    dim, dtype = like.shape[0], like.dtype
    signs = jax.random.rademacher(jax.random.fold_in(jax.random.key(1), number), (dim,), dtype)
    return signs / jnp.sqrt(jnp.asarray(dim, dtype))


def look_later(scout, *_):
    return eqx.tree_at(lambda s: s.updates, scout, scout.updates + 1)


def look_on(scout, outside, product, values, vectors, unit):
    """The scout one term further; its interval reaches at least as low as the spread of H along it does."""
    product = product - (vectors @ product) @ vectors
    level = outside @ product
    spread = jnp.linalg.norm(product - level * outside)
    low = jnp.minimum(0.9995 * scout.low / unit, 1.2 * (level - spread))
    high, low = values[-1], jnp.minimum(low, -jnp.abs(values[-1]))
    center, half = 0.5 * (high + low), jnp.maximum(0.5 * (high - low), RANK_FLOOR * jnp.abs(values[0]))
    last = jnp.linalg.norm(scout.last) * outside
    bent = jnp.linalg.norm(scout.last) * (product - center * outside) / jnp.where(half > 0, half, 1)
    following = 2 * bent - scout.before
    following, last = (v - (vectors @ v) @ vectors for v in (following, last))
    scale = jnp.sqrt(jnp.sum(following**2) + jnp.sum(last**2))
    scale = 1 / jnp.where(scale > 0, scale, 1)
    updates = scout.updates + 1
    return Scout(scale * following + _FRESH * _random(following, updates), scale * last, low * unit, updates)
