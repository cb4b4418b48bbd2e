"""Line searches along a ray: backtracking, and bracketing by bisection."""

import jax
import jax.numpy as jnp

from eosmodel.tuners.base import TunerInfo

# Rounding error of φ in units of machine epsilon; smaller differences in φ are not significant.
_SLACK = 4


def slack(ray):
    """The tolerance for rounding errors in a comparison of two values of φ."""
    return _SLACK * jnp.finfo(ray.value.dtype).eps * jnp.abs(ray.value)


def bounded(stepsize):
    """A step clipped to positive finite numbers: a trial of 0 or infinity would never change again."""
    limits = jnp.finfo(stepsize.dtype)
    return jnp.clip(stepsize, limits.tiny, limits.max)


def backtrack(ray, trial, c, factor, max_evaluations, reference=None):
    """The first η among trial, factor·trial, factor²·trial, … with φ(η) ≤ reference + c·η·φ'(0).

    `reference` is φ(0) by default. Returns the step, the last trial, whether that trial satisfied the inequality, and
    the info. A trial with a loss that is not finite is refused. If all trials are refused the step is the last one if
    it does not raise the loss above the reference, else 0. If φ'(0) < 0 does not hold, no trial is made: the step is 0,
    and the last trial is `trial`.
    """
    reference = ray.value if reference is None else reference
    line, unit = ray.rescaled()
    descending, room = line.slope < 0, slack(ray)

    def unfinished(carry):
        _, _, accepted, count = carry
        return descending & ~accepted & (count < max_evaluations)

    def attempt(carry):
        stepsize, _, _, count = carry
        stepsize = jnp.where(count == 0, stepsize, stepsize * factor)
        value = ray.evaluate(stepsize)
        accepted = jnp.isfinite(value) & (value <= reference + c * stepsize * unit * line.slope + room)
        return stepsize, value, accepted, count + 1

    start = (trial, ray.value, jnp.asarray(False), jnp.asarray(0, jnp.int32))
    last, value, accepted, count = jax.lax.while_loop(unfinished, attempt, start)
    usable = accepted | (jnp.isfinite(value) & (value <= reference))
    step = jnp.where(descending & usable, last, 0)
    # A slope of NaN is different from 0, so it counts as failed.
    failed = ~accepted & (line.slope != 0)
    return step, last, accepted, TunerInfo(count, failed)


def backtrack_on(tuner, ray, trial, reference=None):
    """`backtrack` with the constants of `tuner` from a stored trial: (step, next trial, info)."""
    first = jnp.minimum(trial, jnp.asarray(tuner.max, trial.dtype))
    step, last, accepted, info = backtrack(ray, first, tuner.c, tuner.factor, tuner.max_evaluations, reference)
    following = jnp.where(accepted, last * tuner.increase, last * tuner.factor)
    return step, bounded(jnp.where(ray.rescaled()[0].slope < 0, following, trial)), info


def bracket(ray, trial, judge, cost, max_evaluations):
    """A step that is neither too long nor too short.

    The bracket runs from the longest trial that was too short to the shortest one that was too long. The trial doubles
    until one is too long; from then on it is the middle of the bracket. `judge` takes a step and returns whether it is
    too long, whether it is too short, and how many evaluations it made, at most `cost`. A step that is too short must
    satisfy the condition of sufficient decrease.

    Returns the step, the next trial and the info. When the evaluations run out, the step is the longest one that was
    too short, or 0 if there is none, and the next search starts from the trial that was next in turn.
    """
    slope = ray.rescaled()[0].slope
    descending = slope < 0

    def unfinished(carry):
        *_, accepted, count = carry
        return descending & ~accepted & (count + cost <= max_evaluations)

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
    return jnp.where(accepted, last, low), last, TunerInfo(count, ~accepted & (slope != 0))
