"""Backtracking line search: the two Armijo rules, which are two dynamical systems."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners.base import AbstractTuner, TunerInfo

# Rounding in φ, in units of its own spacing: below this two values cannot be told apart.
_SLACK = 4


def _backtrack(ray, trial, c, factor, max_evaluations):
    """The first of trial, factor·trial, factor²·trial, … that satisfies Armijo's inequality.

    Returns the step, the last trial, and the info. The step is 0 only where no trial was acceptable; a trial whose
    loss is not finite is not acceptable, so it shortens the step like any other refusal.
    """
    dtype = ray.value.dtype
    slack = _SLACK * jnp.finfo(dtype).eps * jnp.abs(ray.value)

    def evaluate(stepsize):
        value = ray.evaluate(stepsize)
        return value, value <= ray.value + c * stepsize * ray.slope + slack

    def unfinished(carry):
        _, _, accepted, count = carry
        return ~accepted & (count < max_evaluations)

    def shorten(carry):
        stepsize, _, _, count = carry
        shorter = stepsize * factor
        return (shorter, *evaluate(shorter), count + 1)

    descending = ray.slope < 0
    start = (trial, *evaluate(trial), jnp.asarray(1, jnp.int32))
    stepsize, value, accepted, count = jax.lax.while_loop(
        lambda carry: descending & unfinished(carry), shorten, start
    )
    usable = accepted | (jnp.isfinite(value) & (value <= ray.value))
    zero = jnp.zeros((), dtype)
    step = jnp.where(descending & usable, stepsize, zero)
    failed = jnp.where(descending, ~accepted, ray.slope > 0) | jnp.isnan(ray.slope)
    return step, stepsize, TunerInfo(count, failed)


class Armijo(AbstractTuner):
    """Backtracking line search that starts from an increase of the last step.

    The largest η in {τ, factor·τ, factor²·τ, …} with φ(η) ≤ φ(0) + c·η·φ'(0), where the trial τ is `initial` at the
    first step and increase × (last accepted step) after it, at most `max`. On a quadratic ηλ then runs through a
    sawtooth in [factor, 1]·2(1 − c). A slack of a few units in the last place of φ(0) keeps rounding from refusing
    steps near convergence.

    If `max_evaluations` trials are all refused, the last one is taken if it does not raise the loss, else the step
    is 0 for once; both are reported as `failed`, and the next search starts from `increase` × the last trial, so the
    search goes on shortening where it stopped and can grow again: it never sticks at 0. A slope that does not
    descend gives step 0, reported as `failed` unless it is exactly 0.

    Args:
        c: sufficient-decrease constant c₁ in (0, 1).
        factor: backtracking factor in (0, 1).
        increase: growth of the trial from one step to the next, ≥ 1.
        initial: first trial, > 0.
        max: largest trial, > 0.
        max_evaluations: trials per step, ≥ 1.

    Source: Armijo (1966); the warm start as in Roulet, Agarwala & Pedregosa (arXiv 2312.00209).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = Armijo(factor=0.5, initial=8.0)
        >>> eta, state, info = tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())
        >>> float(eta), int(info.evaluations)
        (0.5, 5)
    """

    c: Any = 1e-4
    factor: Any = 0.8
    increase: Any = 1.5
    initial: Any = 1.0
    max: Any = jnp.inf
    max_evaluations: int = eqx.field(static=True, default=50)

    def __check_init__(self):
        check_range("Armijo", "c", self.c, 0, 1, low_open=True, high_open=True)
        check_range("Armijo", "factor", self.factor, 0, 1, low_open=True, high_open=True)
        check_range("Armijo", "increase", self.increase, 1)
        check_range("Armijo", "initial", self.initial, 0, low_open=True, high_open=True)
        check_range("Armijo", "max", self.max, 0, low_open=True)
        check_range("Armijo", "max_evaluations", self.max_evaluations, 1)

    def init(self, dtype=None):
        """The next trial, before the cap."""
        return jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        trial = jnp.minimum(state, jnp.asarray(self.max, state.dtype))
        step, last, info = _backtrack(ray, trial, self.c, self.factor, self.max_evaluations)
        # The smallest positive number survives any number of failures; 0 would not grow again.
        grown = jnp.maximum(last, jnp.finfo(state.dtype).tiny) * self.increase
        return step, grown, info


class ArmijoRestart(AbstractTuner):
    """Backtracking line search that starts every step from the same trial: η_t = initial·factorᵏ with the least k
    for which φ(η) ≤ φ(0) + c·η·φ'(0). Fallbacks and slack as in `Armijo`.

    Args:
        c: sufficient-decrease constant c₁ in (0, 1).
        factor: backtracking factor in (0, 1).
        initial: trial of every step, > 0.
        max_evaluations: trials per step, ≥ 1.

    Source: Armijo (1966).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = ArmijoRestart(factor=0.5, initial=2.0)
        >>> float(tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())[0])
        0.5
    """

    c: Any = 1e-4
    factor: Any = 0.8
    initial: Any = 1.0
    max_evaluations: int = eqx.field(static=True, default=60)

    def __check_init__(self):
        check_range("ArmijoRestart", "c", self.c, 0, 1, low_open=True, high_open=True)
        check_range("ArmijoRestart", "factor", self.factor, 0, 1, low_open=True, high_open=True)
        check_range("ArmijoRestart", "initial", self.initial, 0, low_open=True, high_open=True)
        check_range("ArmijoRestart", "max_evaluations", self.max_evaluations, 1)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        trial = jnp.asarray(self.initial, ray.value.dtype)
        step, _, info = _backtrack(ray, trial, self.c, self.factor, self.max_evaluations)
        return step, state, info
