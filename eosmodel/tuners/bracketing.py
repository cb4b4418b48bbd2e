"""Line searches that refuse steps that are too short as well: the conditions of Goldstein and of Wolfe."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners._checks import check_first_trial, check_order
from eosmodel.tuners._search import bracket, slack
from eosmodel.tuners.base import AbstractTuner, TunerInfo


def _decreases(ray, value, c, stepsize):
    """Whether a loss is finite and small enough for Armijo's inequality."""
    return jnp.isfinite(value) & (value <= ray.value + c * stepsize * ray.slope + slack(ray))


class Goldstein(AbstractTuner):
    """A step of neither too much nor too little decrease: φ(0) + (1 − c)ηφ'(0) ≤ φ(η) ≤ φ(0) + cηφ'(0).

    The first trial is the last step taken, `initial` before there is one. A trial above the upper line, or whose loss
    is not finite, is too long; one below the lower line is too short. The next trial is the double of the longest too
    short one, or the middle of the bracket once there is one that is too long. A slack of a few units in the last
    place of φ(0) keeps rounding from refusing steps near convergence.

    Out of evaluations the longest step that met the upper inequality is taken, 0 if there was none; it is reported as
    `failed`, and the next search goes on where this one stopped: the trial stays positive and finite. A slope that
    does not descend gives step 0 without a single evaluation and leaves the trial alone; it is reported as `failed`
    unless it is exactly 0. A loss φ(0) that is not finite refuses every trial.

    Response: 2c ≤ s(κ + r)/(1 + r) ≤ 2(1 − c), and in between the step keeps the value it had. Clamped for κ < c:
    between refusals it acts as a constant step, and r goes up and down.

    Args:
        c: in (0, ½), dimensionless.
        initial: first trial, > 0.
        max_evaluations: φ evaluations per step, an integer ≥ 1.

    Raises:
        ValueError: a hyper-parameter out of its range.

    Source: Goldstein (1965); Nocedal & Wright, Numerical Optimization (2006), section 3.1.

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = Goldstein(initial=8.0)
        >>> eta, state, info = tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())
        >>> float(eta), int(info.evaluations)
        (0.5, 5)
    """

    c: Any = 0.1
    initial: Any = 1.0
    max_evaluations: int = eqx.field(static=True, default=50)

    def __check_init__(self):
        check_range("Goldstein", "c", self.c, 0, 0.5, low_open=True, high_open=True)
        check_first_trial(self)

    def init(self, dtype=None):
        """The next trial."""
        return jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        def judge(stepsize):
            value = ray.evaluate(stepsize)
            long = ~_decreases(ray, value, self.c, stepsize)
            short = ~long & (value < ray.value + (1 - self.c) * stepsize * ray.slope - slack(ray))
            return long, short, 1

        return bracket(ray, state, judge, 1, self.max_evaluations)


class StrongWolfe(AbstractTuner):
    """A step of enough decrease that leaves little slope: φ(η) ≤ φ(0) + c1·ηφ'(0) and |φ'(η)| ≤ c2·|φ'(0)|.

    A trial that fails the first inequality, or is not finite, or ends where φ climbs by more than c2·|φ'(0)|, is too
    long; one where φ still falls by more is too short. Trials, warm start, slack and fallbacks are those of
    `Goldstein`. A slope φ'(η) counts as one evaluation; a trial that fails the first inequality is spared it.

    Response: 1 − c2 ≤ s(κ + r)/(1 + r) ≤ min(1 + c2, 2(1 − c1)), and in between the step keeps the value it had.
    Clamped for κ < (1 − c2)/2, as `Goldstein`.

    Args:
        c1: constant of sufficient decrease, 0 < c1 < c2.
        c2: constant of curvature, c1 < c2 < 1; dimensionless, both.
        initial: first trial, > 0.
        max_evaluations: evaluations of φ and φ' per step, an integer ≥ 2.

    Raises:
        ValueError: a hyper-parameter out of its range.

    Source: Wolfe (1969); Nocedal & Wright, Numerical Optimization (2006), section 3.1.

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = StrongWolfe(initial=8.0)
        >>> eta, state, info = tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())
        >>> float(eta), int(info.evaluations)
        (0.5, 6)
    """

    c1: Any = 1e-4
    c2: Any = 0.9
    initial: Any = 1.0
    max_evaluations: int = eqx.field(static=True, default=100)

    def __check_init__(self):
        check_range("StrongWolfe", "c1", self.c1, 0, 1, low_open=True, high_open=True)
        check_range("StrongWolfe", "c2", self.c2, 0, 1, low_open=True, high_open=True)
        check_order("StrongWolfe", "c1", self.c1, "c2", self.c2)
        check_first_trial(self, evaluations=2)

    def init(self, dtype=None):
        """The next trial."""
        return jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        steep = self.c2 * jnp.abs(ray.slope)

        def judge(stepsize):
            high = ~_decreases(ray, ray.evaluate(stepsize), self.c1, stepsize)
            slope = jax.lax.cond(high, jnp.zeros_like, lambda eta: ray.slope_at(eta), stepsize)
            long = high | ~(slope <= steep)  # a slope that is NaN is too long as well
            return long, ~long & (slope < -steep), jnp.where(high, 1, 2).astype(jnp.int32)

        return bracket(ray, state, judge, 2, self.max_evaluations)
