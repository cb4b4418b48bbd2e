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

    Returns the step, the last trial, whether that trial met the inequality, and the info. The step is 0 only where no
    trial was acceptable; a trial whose loss is not finite is not acceptable, so it shortens the step like any other
    refusal. Along a line that does not descend nothing is tried, and the last trial is the first.
    """
    slack = _SLACK * jnp.finfo(ray.value.dtype).eps * jnp.abs(ray.value)
    descending = ray.slope < 0

    def unfinished(carry):
        _, _, accepted, count = carry
        return descending & ~accepted & (count < max_evaluations)

    def attempt(carry):
        stepsize, _, _, count = carry
        stepsize = jnp.where(count == 0, stepsize, stepsize * factor)
        value = ray.evaluate(stepsize)
        accepted = jnp.isfinite(value) & (value <= ray.value + c * stepsize * ray.slope + slack)
        return stepsize, value, accepted, count + 1

    start = (trial, ray.value, jnp.asarray(False), jnp.asarray(0, jnp.int32))
    last, value, accepted, count = jax.lax.while_loop(unfinished, attempt, start)
    usable = accepted | (jnp.isfinite(value) & (value <= ray.value))
    step = jnp.where(descending & usable, last, 0)
    # Written so that a slope that is NaN has failed too.
    failed = ~accepted & (ray.slope != 0)
    return step, last, accepted, TunerInfo(count, failed)


def _check_search(tuner):
    """The checks that both rules share."""
    owner = type(tuner).__name__
    check_range(owner, "c", tuner.c, 0, 1, low_open=True, high_open=True)
    check_range(owner, "factor", tuner.factor, 0, 1, low_open=True, high_open=True)
    check_range(owner, "initial", tuner.initial, 0, low_open=True, high_open=True)
    check_range(owner, "max_evaluations", tuner.max_evaluations, 1)
    if not isinstance(tuner.max_evaluations, int):
        raise ValueError(f"{owner}: max_evaluations must be an integer, got {tuner.max_evaluations!r}")


class Armijo(AbstractTuner):
    """Backtracking line search that starts from an increase of the last step.

    The largest η in {τ, factor·τ, factor²·τ, …} with φ(η) ≤ φ(0) + c·η·φ'(0), where the trial τ is `initial` at the
    first step and increase × (last accepted step) after it, at most `max`. On a quadratic ηλ then runs through a
    sawtooth in [factor, 1]·2(1 − c). A slack of a few units in the last place of φ(0) keeps rounding from refusing
    steps near convergence.

    If `max_evaluations` trials are all refused, the last one is taken if it does not raise the loss, else the step
    is 0 for once; both are reported as `failed`. The next search then goes on where this one stopped, from factor ×
    the last trial, and grows again by `increase` as soon as a trial is accepted: the trial stays positive and finite,
    so the search neither sticks at 0 nor shortens for ever. A slope that does not descend gives step 0 without a
    single evaluation and leaves the trial alone; it is reported as `failed` unless it is exactly 0.

    Args:
        c: sufficient-decrease constant c₁ in (0, 1); dimensionless, as are `factor` and `increase`.
        factor: backtracking factor in (0, 1).
        increase: growth of the trial from one step to the next, ≥ 1.
        initial: first trial, > 0.
        max: largest trial, > 0.
        max_evaluations: trials per step, an integer ≥ 1.

    Raises:
        ValueError: a hyper-parameter out of its range.

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
        _check_search(self)
        check_range("Armijo", "increase", self.increase, 1, high_open=True)
        check_range("Armijo", "max", self.max, 0, low_open=True)

    def init(self, dtype=None):
        """The next trial, before the cap."""
        return jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        limits = jnp.finfo(state.dtype)
        trial = jnp.minimum(state, jnp.asarray(self.max, state.dtype))
        step, last, accepted, info = _backtrack(ray, trial, self.c, self.factor, self.max_evaluations)
        following = jnp.where(accepted, last * self.increase, last * self.factor)
        following = jnp.where(ray.slope < 0, following, state)
        # Neither 0 nor infinity would ever change again.
        return step, jnp.clip(following, limits.tiny, limits.max), info


class ArmijoRestart(AbstractTuner):
    """Backtracking line search that starts every step from the same trial: η_t = initial·factorᵏ with the least k
    for which φ(η) ≤ φ(0) + c·η·φ'(0). Fallbacks, slack and errors as in `Armijo`.

    Args:
        c: sufficient-decrease constant c₁ in (0, 1).
        factor: backtracking factor in (0, 1).
        initial: trial of every step, > 0.
        max_evaluations: trials per step, an integer ≥ 1.

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
        _check_search(self)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        trial = jnp.asarray(self.initial, ray.value.dtype)
        step, _, _, info = _backtrack(ray, trial, self.c, self.factor, self.max_evaluations)
        return step, state, info
