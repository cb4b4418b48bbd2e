"""Line searches along a ray: backtracking from a trial step, and bracketing it from both sides."""

import jax
import jax.numpy as jnp

from eosmodel.tuners.base import TunerInfo

# Rounding in φ, in units of its own spacing: below this two values cannot be told apart.
_SLACK = 4


def slack(ray):
    """The difference in φ that rounding alone can make."""
    return _SLACK * jnp.finfo(ray.value.dtype).eps * jnp.abs(ray.value)


def bounded(stepsize):
    """A step as the next trial: neither 0 nor infinity would ever change again."""
    limits = jnp.finfo(stepsize.dtype)
    return jnp.clip(stepsize, limits.tiny, limits.max)


def backtrack(ray, trial, c, factor, max_evaluations, reference=None):
    """The first of trial, factor·trial, factor²·trial, … with φ(η) ≤ reference + c·η·φ'(0), the reference φ(0) if None.

    Returns the step, the last trial, whether that trial met the inequality, and the info. The step is 0 only where no
    trial was acceptable; a trial whose loss is not finite is not acceptable, so it shortens the step like any other
    refusal. Along a line that does not descend nothing is tried, and the last trial is the first.
    """
    reference = ray.value if reference is None else reference
    descending, room = ray.slope < 0, slack(ray)

    def unfinished(carry):
        _, _, accepted, count = carry
        return descending & ~accepted & (count < max_evaluations)

    def attempt(carry):
        stepsize, _, _, count = carry
        stepsize = jnp.where(count == 0, stepsize, stepsize * factor)
        value = ray.evaluate(stepsize)
        accepted = jnp.isfinite(value) & (value <= reference + c * stepsize * ray.slope + room)
        return stepsize, value, accepted, count + 1

    start = (trial, ray.value, jnp.asarray(False), jnp.asarray(0, jnp.int32))
    last, value, accepted, count = jax.lax.while_loop(unfinished, attempt, start)
    usable = accepted | (jnp.isfinite(value) & (value <= reference))
    step = jnp.where(descending & usable, last, 0)
    # Written so that a slope that is NaN has failed too.
    failed = ~accepted & (ray.slope != 0)
    return step, last, accepted, TunerInfo(count, failed)


def backtrack_on(tuner, ray, trial, reference=None):
    """`backtrack` with a tuner's constants from a trial kept from the last step: (step, next trial, info)."""
    first = jnp.minimum(trial, jnp.asarray(tuner.max, trial.dtype))
    step, last, accepted, info = backtrack(ray, first, tuner.c, tuner.factor, tuner.max_evaluations, reference)
    following = jnp.where(accepted, last * tuner.increase, last * tuner.factor)
    return step, bounded(jnp.where(ray.slope < 0, following, trial)), info


def bracket(ray, trial, judge, looks, max_evaluations):
    """A step that is neither too long nor too short, between the longest too short and the shortest too long.

    The trial doubles until one is too long, and then halves the bracket. `judge` takes a step and returns whether it
    is too long, whether it is too short, and the evaluations spent, at most `looks`; a step that is too short must
    have met sufficient decrease.

    Returns the step, the next trial and the info. Out of evaluations the step is the longest too short one, 0 if there
    is none, and the next search goes on with the trial that this one did not come to.
    """
    descending = ray.slope < 0

    def unfinished(carry):
        *_, accepted, count = carry
        return descending & ~accepted & (count + looks <= max_evaluations)

    def attempt(carry):
        low, high, stepsize, _, count = carry
        long, short, spent = judge(stepsize)
        low, high = jnp.where(short, stepsize, low), jnp.where(long, stepsize, high)
        following = bounded(jnp.where(jnp.isfinite(high), low + 0.5 * (high - low), 2 * stepsize))
        accepted = ~(long | short)
        return low, high, jnp.where(accepted, stepsize, following), accepted, count + spent

    zero = jnp.zeros_like(trial)
    start = (zero, zero + jnp.inf, trial, jnp.asarray(False), jnp.asarray(0, jnp.int32))
    low, _, last, accepted, count = jax.lax.while_loop(unfinished, attempt, start)
    return jnp.where(accepted, last, low), last, TunerInfo(count, ~accepted & (ray.slope != 0))
