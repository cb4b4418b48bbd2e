"""Critical sharpness: the curvature that a step meets, from a few evaluations of the loss along it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel.rays import AbstractRay

EVALUATIONS = 4
"""Evaluations of the loss that one measurement takes."""

# The next trial is at most that many times longer; between two that differ by more it is their geometric mean.
_STRIDE = 16.0
# A trial is near the critical step, which interpolation then gives, where |ψ| is below this share of |ψ(0)|: along a
# parabola, that is how far off it is.
_NEAR = 0.1


def critical_step(ray: AbstractRay, guess: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The critical step η_c, the smallest η > 0 with φ(η) ≥ φ(0), and the guess for the next step of a run.

    η_c is the zero of ψ(η) = (φ(η) − φ(0))/η, and ψ(0) = φ'(0) is known. The first trial is the guess; the following
    ones extrapolate from the last two (secant) until the zero is between two of them, and then interpolate (false
    position, Illinois variant). Where φ is a parabola ψ is a straight line, so that the second trial is η_c itself. A
    line that falls below φ(0) again after a first rise may be measured at a later crossing. Where four trials do not
    come near the zero, the next step of the run goes on from them.

    Args:
        ray: the loss along the update.
        guess: η_c of the last step, or any other scale of steps, > 0.

    Returns:
        η_c, NaN where the line does not descend or no trial comes near η_c; and a guess, > 0.
    """
    line, unit = ray.rescaled()
    slope, zero = line.slope, jnp.zeros_like(line.slope)

    def attempt(_, carry):
        before, low, high, trial, was_high, weight = carry
        value = (line.evaluate(trial) - line.value) / trial
        is_high = ~(value < 0)  # a loss that is not finite is too far
        weight = jnp.where(is_high == was_high, 0.5 * weight, 1)
        tried = jnp.stack([trial, value])
        before, low = jnp.where(is_high, before, low), jnp.where(is_high, low, tried)
        high = jnp.where(is_high, tried, high)
        # An end that stays twice counts for less and less, so that the other one moves too.
        of_low, of_high = jnp.where(is_high, weight, 1), jnp.where(is_high, 1, weight)
        trial = _bounded(_next(slope, before, low, high, of_low, of_high))
        return before, low, high, trial, is_high, weight

    origin = jnp.stack([zero, slope])
    nothing = jnp.stack([zero + jnp.inf, zero + jnp.nan])
    start = (origin, origin, nothing, _bounded(guess * unit), jnp.asarray(False), zero + 1)
    before, low, high, trial, *_ = jax.lax.fori_loop(0, EVALUATIONS, attempt, start)
    reached = (slope < 0) & (_is_near(slope, low) | _is_near(slope, high))
    step = jnp.where(reached, _next(slope, before, low, high), jnp.nan) / unit
    return step, jnp.where(jnp.isnan(step), jnp.where(slope < 0, trial / unit, guess), step)


def _is_near(slope, tried):
    return jnp.abs(tried[1]) < _NEAR * jnp.abs(slope)


def _next(slope, before, low, high, of_low=1, of_high=1):
    """The next trial, from pairs (η, ψ): the two longest ones that lower the loss, and the shortest that does not."""
    at_low, at_high = of_low * low[1], of_high * high[1]
    inside = low[0] + (high[0] - low[0]) * at_low / (at_low - at_high)
    halved = jnp.where(low[0] > 0, jnp.sqrt(low[0]) * jnp.sqrt(high[0]), high[0] / _STRIDE)
    near = _is_near(slope, low) | _is_near(slope, high)
    wide = ~jnp.isfinite(at_high) | ((low[0] > 0) & (high[0] > _STRIDE * low[0]) & ~near)
    rise = (low[1] - before[1]) / (low[0] - before[0])
    beyond = low[0] - low[1] / jnp.where(rise > 0, rise, 1)
    beyond = jnp.where(rise > 0, jnp.minimum(beyond, _STRIDE * low[0]), _STRIDE * low[0])
    return jnp.where(jnp.isfinite(high[0]), jnp.where(wide, halved, inside), beyond)


def _bounded(step):
    limits = jnp.finfo(step.dtype)
    return jnp.clip(step, limits.tiny, limits.max)
