"""Step sizes from a secant: the change of the gradient over the last step as an estimate of the curvature."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel._units import per
from eosmodel.tuners._secant import read_secant, usable_step
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


class BarzilaiBorwein(AbstractTuner):
    """η = s·s/s·y (long, BB1) or s·y/y·y (short, BB2), s and y the last changes of the weights and of the gradient.

    On a quadratic the long step is the greedy step of the previous iterate. Where s·y ≤ 0 (negative curvature), or the
    quotient is not a positive finite number, the last step is repeated and reported as `failed`. It is repeated without
    failure where there is no secant: at the start, with `initial`, and after a step of 0. A slope that ascends gives
    η = 0 and is reported as `failed`. Only the sign of the slope is used; a loss, slope or curvature of NaN does not
    change the step. A secant that is not finite counts as unusable.

    Response, r₋ the r of the previous step: long s = (1 + r₋)/(κ + r₋), short s = (κ + r₋)/(κ² + r₋). For constant r
    both fall from 1/κ to 1 and clamp for κ < ½, at r* = 1 − 2κ and κ(1 − 2κ). Because of the delay,
    ln r' = ln r + 2 ln|1 − s(r₋)| is a two-dimensional map. For both rules the product of its multipliers at r* is
    2(1 − 2κ)/(1 − κ): an unstable spiral for κ < ⅓. r then varies over orders of magnitude, and the bulk makes most of
    its progress in rare steps of up to 1/(κλ).

    Args:
        initial: η before the first secant, > 0.
        long: whether to take the long step.

    Raises:
        ValueError: an initial step that is not positive and finite.

    Source: Barzilai & Borwein (IMA J. Numer. Anal. 8, 1988).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import Secant, ray
        >>> tuner = BarzilaiBorwein(long=False)
        >>> along = ray(lambda w: jnp.sum(w**2), jnp.ones(2), secant=Secant(1.0, 2.0, 5.0))
        >>> round(float(tuner(along, tuner.init())[0]), 6)
        0.4
    """

    initial: Any = 0.01
    long: bool = eqx.field(static=True, default=True)
    needs_secant: ClassVar[bool] = True

    def __check_init__(self):
        check_range("BarzilaiBorwein", "initial", self.initial, 0, low_open=True, high_open=True)

    def init(self, dtype=None):
        """The last step."""
        return jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        ss, sy, yy, exists = read_secant(ray)
        numerator, denominator = (ss, sy) if self.long else (sy, yy)
        step = per(numerator / jnp.where(denominator > 0, denominator, 1), ray.secant_unit())
        usable = (sy > 0) & (denominator > 0) & usable_step(step)
        step = jnp.where(usable, step, state)
        ascends = ray.rescaled()[0].slope > 0
        return jnp.where(ascends, 0, step), step, no_evaluations((exists & ~usable) | ascends)


def BB1(initial=0.01) -> BarzilaiBorwein:
    """`BarzilaiBorwein` with the long step s·s/s·y. Arguments and errors as there.

    Example:
        >>> BB1().long
        True
    """
    return BarzilaiBorwein(initial)


def BB2(initial=0.01) -> BarzilaiBorwein:
    """`BarzilaiBorwein` with the short step s·y/y·y. Arguments and errors as there.

    Example:
        >>> BB2().long
        False
    """
    return BarzilaiBorwein(initial, long=False)


class AdGD(AbstractTuner):
    """η_t = min(√(1 + θ_{t−1}) η_{t−1}, √(s·s)/(2√(y·y))), θ_t = η_t/η_{t−1}, θ_0 = ∞.

    The second term is half the inverse of the curvature along the last step; the first one limits the growth of the
    step. Without a secant the last step is repeated (`initial` at the start). It is also repeated, and reported as
    `failed`, where the minimum is not a positive finite number (a secant that is not finite, or y = 0 at the second
    step). A slope that ascends gives η = 0, leaves the state unchanged and is reported as `failed`. Only the sign of
    the slope is used; a loss, slope or curvature of NaN does not change the step.

    Response: s ≤ ½√((1 + r₋)/(κ² + r₋)), r₋ the r of the previous step, with equality where the first term does not
    bind, as for constant r. It falls from 1/(2κ) to ½: clamped for κ < ¼, at r* = (1 − 16κ²)/15, else below the edge.

    Args:
        initial: η_0 > 0.

    Raises:
        ValueError: an initial step that is not positive and finite.

    Source: Malitsky & Mishchenko (arXiv 1910.09529).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import Secant, ray
        >>> tuner = AdGD()
        >>> along = ray(lambda w: jnp.sum(w**2), jnp.ones(2), secant=Secant(1.0, 2.0, 4.0))
        >>> round(float(tuner(along, tuner.init())[0]), 6)
        0.25
    """

    initial: Any = 0.01
    needs_secant: ClassVar[bool] = True

    def __check_init__(self):
        check_range("AdGD", "initial", self.initial, 0, low_open=True, high_open=True)

    def init(self, dtype=None):
        """The last two steps, the latest first; 0 where there was none."""
        last = jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)
        return last, jnp.zeros_like(last)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        last, before = state
        ss, _, yy, exists = read_secant(ray)
        growth = jnp.where(before > 0, jnp.sqrt(1 + last / jnp.where(before > 0, before, 1)) * last, jnp.inf)
        # √ss/√yy and not √(ss/yy): the quotient of the squares overflows or underflows sooner.
        curved = yy != 0
        local = per(0.5 * jnp.sqrt(ss) / jnp.sqrt(jnp.where(curved, yy, 1)), ray.secant_unit())
        local = jnp.where(curved, local, jnp.inf)
        step = jnp.minimum(growth, local)
        ascends, usable = ray.rescaled()[0].slope > 0, exists & usable_step(step)
        state = tuple(jnp.where(usable & ~ascends, *pair) for pair in ((step, last), (last, before)))
        step = jnp.where(usable, step, last)
        return jnp.where(ascends, 0, step), state, no_evaluations((exists & ~usable) | ascends)
