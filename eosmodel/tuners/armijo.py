"""Backtracking line search with a warm start and with a restart: two rules with different dynamics."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from eosmodel.tuners._checks import check_backtracking, check_warm_start
from eosmodel.tuners._search import backtrack, backtrack_on
from eosmodel.tuners.base import AbstractTuner, TunerInfo


class Armijo(AbstractTuner):
    """Backtracking line search that starts from an increase of the last step.

    The largest η in {τ, factor·τ, factor²·τ, …} with φ(η) ≤ φ(0) + c·η·φ'(0), where the trial τ is `initial` at the
    first step and increase × (last accepted step) afterwards, at most `max`. On a quadratic, ηλ then follows a sawtooth
    in [factor, 1]·2(1 − c). A tolerance of a few units in the last place of φ(0) prevents rounding errors from refusing
    steps near convergence.

    If `max_evaluations` trials are all refused, the last one is taken if it does not raise the loss; otherwise this
    step is 0. Both cases are reported as `failed`. The next search then continues from factor × the last trial, and
    grows again by `increase` as soon as a trial is accepted: the trial stays positive and finite, so the step can
    neither stay at 0 nor shrink for ever. A trial with a loss that is not finite is refused, and a loss φ(0) of NaN
    refuses every trial. A slope that ascends or is NaN gives η = 0 without an evaluation, leaves the trial unchanged,
    and is reported as `failed`; so does a slope of exactly 0, which is not reported.

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
        check_warm_start(self)

    def init(self, dtype=None):
        """The next trial, before `max` is applied."""
        return jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        return backtrack_on(self, ray, state)


class ArmijoRestart(AbstractTuner):
    """Backtracking line search that starts every step from the same trial: η_t = initial·factorᵏ with the smallest k
    for which φ(η) ≤ φ(0) + c·η·φ'(0). Fallbacks, tolerance and errors are those of `Armijo`, for NaN and ascent too.

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
        check_backtracking(self)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        trial = jnp.asarray(self.initial, ray.value.dtype)
        step, _, _, info = backtrack(ray, trial, self.c, self.factor, self.max_evaluations)
        return step, state, info
