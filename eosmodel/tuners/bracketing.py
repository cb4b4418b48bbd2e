"""Line searches that also refuse steps that are too short: the Goldstein and the strong Wolfe conditions."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners._checks import check_first_trial, check_order
from eosmodel.tuners._search import bracket, slack
from eosmodel.tuners.base import AbstractTuner, TunerInfo


def _decreases(ray, value, c, stepsize):
    """Whether a loss is finite and satisfies Armijo's inequality."""
    return jnp.isfinite(value) & (value <= ray.value + _fall(ray, c * stepsize) + slack(ray))


def _fall(ray, stepsize):
    """ηφ'(0)."""
    line, unit = ray.rescaled()
    return stepsize * unit * line.slope


class Goldstein(AbstractTuner):
    """The Goldstein conditions, a decrease within two bounds: φ(0) + (1 − c)ηφ'(0) ≤ φ(η) ≤ φ(0) + cηφ'(0).

    The first trial is the last step, or `initial` at the start. A trial that violates the upper bound, or whose loss is
    not finite, is too long; one that violates the lower bound is too short. The next trial is twice the longest one
    that was too short, or the middle of the bracket once a trial was too long. A tolerance of a few units in the last
    place of φ(0) prevents rounding errors from refusing steps near convergence.

    When the evaluations run out, the step is the longest trial that satisfied the upper bound, or 0 if there was none.
    It is reported as `failed`, and the next search continues from where this one stopped; the trial stays positive and
    finite. A loss φ(0) that is not finite refuses every trial. A slope that ascends or is NaN gives η = 0 without an
    evaluation, leaves the trial unchanged, and is reported as `failed`; so does a slope of exactly 0, which is not
    reported.

    Response: 2c ≤ s(κ + r)/(1 + r) ≤ 2(1 − c); within these bounds the step does not change. Clamped for κ < c: between
    refusals the rule acts as a constant step, and r goes up and down.

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
            short = ~long & (value < ray.value + _fall(ray, (1 - self.c) * stepsize) - slack(ray))
            return long, short, 1

        return bracket(ray, state, judge, 1, self.max_evaluations)


class StrongWolfe(AbstractTuner):
    """The strong Wolfe conditions, φ(η) ≤ φ(0) + c1·ηφ'(0) and |φ'(η)| ≤ c2·|φ'(0)|.

    A trial is too long if it violates the first condition, has a loss or a slope that is not finite, or has
    φ'(η) > c2·|φ'(0)|; it is too short if φ'(η) < −c2·|φ'(0)|. Trials, warm start, tolerance and fallbacks are those of
    `Goldstein`, for NaN and ascent too. A slope φ'(η) counts as one evaluation; it is computed only for trials that
    satisfy the first condition.

    Response: 1 − c2 ≤ s(κ + r)/(1 + r) ≤ min(1 + c2, 2(1 − c1)); within these bounds the step does not change. Clamped
    for κ < (1 − c2)/2, as `Goldstein`.

    Args:
        c1: constant of the sufficient-decrease condition, 0 < c1 < c2; dimensionless.
        c2: constant of the curvature condition, c1 < c2 < 1; dimensionless.
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
        line, unit = ray.rescaled()
        largest = self.c2 * jnp.abs(line.slope)

        def judge(stepsize):
            high = ~_decreases(ray, ray.evaluate(stepsize), self.c1, stepsize)
            slope = jax.lax.cond(high, jnp.zeros_like, lambda eta: line.slope_at(eta * unit), stepsize)
            long = high | ~(slope <= largest)  # a slope of NaN counts as too long
            return long, ~long & (slope < -largest), jnp.where(high, 1, 2).astype(jnp.int32)

        return bracket(ray, state, judge, 2, self.max_evaluations)
