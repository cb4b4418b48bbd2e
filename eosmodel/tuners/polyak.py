"""Polyak's step, and its variants for training with a cap or a limited growth."""

from typing import Any

import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel._units import per
from eosmodel.tuners._search import bounded
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


class Polyak(AbstractTuner):
    """η = min((φ(0) − f*)/(c·(−φ'(0))), max); for steepest descent (f − f*)/(c‖g‖²).

    With a finite `max` this is SPS_max. A loss at or below f* gives η = 0, and so does a slope that does not descend;
    a slope that ascends is reported as `failed`. A loss or a slope of NaN gives NaN; the curvature is not used.

    Args:
        c: > 0; 1 is Polyak's choice, ½ the one recommended with SPS_max. The oscillation is bounded for c > ¼. In the
            limit of a large remaining loss the fast map is stable for ¼ < c < ½. For a given A = λ(L̄ − f*)/G > 9/2
            and a constant bulk it is stable up to the flip at 4c² − (A + 3/2)c + A/2 = 0, about ½ + 1/(4A), which is
            lower by κ/2 where the bulk moves.
        f_star: lower bound of the loss, f*, finite.
        max: cap on η, > 0; none by default.

    Raises:
        ValueError: a hyper-parameter out of its range.

    Source: Polyak (1987); Loizou, Vaswani, Laradji & Lacoste-Julien (arXiv 2002.10542) for the cap.

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = Polyak(c=0.5)
        >>> float(tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())[0])
        0.5
    """

    c: Any = 1.0
    f_star: Any = 0.0
    max: Any = jnp.inf

    def __check_init__(self):
        check_range("Polyak", "c", self.c, 0, low_open=True, high_open=True)
        check_range("Polyak", "f_star", self.f_star, low_open=True, high_open=True)
        check_range("Polyak", "max", self.max, 0, low_open=True)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        # A slope of NaN does not count as idle: the result is NaN, so that the run ends with a status. The guards come
        # before the division, so that a batch of runs divides once and does not recompute the slope for its users.
        line, unit = ray.rescaled()
        idle = line.slope >= 0
        gap = jnp.maximum(ray.value - self.f_star, 0)
        step = per(jnp.where(idle, 0, gap) / jnp.where(idle, 1, -self.c * line.slope), unit)
        step = jnp.minimum(step, jnp.asarray(self.max, step.dtype))
        return step, state, no_evaluations(line.slope > 0)


def SPSPlus(f_star=0.0) -> Polyak:
    """SPS₊, η = max(φ(0) − f*, 0)/(−φ'(0)): `Polyak` with c = 1 and no cap, f* the loss at the solution.

    The loss of a mini-batch may be below its value at the solution, so the numerator is cut at 0. Arguments, errors and
    the answers to NaN and ascent are those of `Polyak`.

    Source: Garrigos, Gower & Schaipp (arXiv 2307.14528).

    Example:
        >>> SPSPlus(f_star=0.5).f_star
        0.5
    """
    return Polyak(f_star=f_star)


class SmoothedSPS(AbstractTuner):
    """η_t = min((φ(0) − f*)/(c·(−φ'(0))), growth·η_{t−1}), η_{−1} = `initial`: Polyak's step with limited growth.

    A loss at or below f* and a slope that does not descend give η = 0 (ascent is reported as `failed`); a loss or a
    slope of NaN gives NaN. In all these cases the state keeps the last positive step. The curvature is not used.

    Response: for constant r that of `Polyak`, Φ = (A + r/2)/(c(1 + r)); otherwise also s ≤ growth·s₋. Clamped for
    c > ¼ if A > 2c, as `Polyak`, self-stabilised for c < ¼.

    Args:
        c: > 0.
        f_star: lower bound of the loss, f*, finite.
        initial: η_{−1} > 0.
        growth: largest ratio of successive steps, ≥ 1; the source uses 2^{b/n} for batches of b out of n samples.

    Raises:
        ValueError: a hyper-parameter out of its range.

    Source: Loizou, Vaswani, Laradji & Lacoste-Julien (arXiv 2002.10542).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = SmoothedSPS(initial=0.125)
        >>> float(tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())[0])
        0.25
    """

    c: Any = 0.5
    f_star: Any = 0.0
    initial: Any = 1.0
    growth: Any = 2.0

    def __check_init__(self):
        check_range("SmoothedSPS", "initial", self.initial, 0, low_open=True, high_open=True)
        check_range("SmoothedSPS", "growth", self.growth, 1, high_open=True)
        check_range("SmoothedSPS", "c", self.c, 0, low_open=True, high_open=True)
        check_range("SmoothedSPS", "f_star", self.f_star, low_open=True, high_open=True)

    def init(self, dtype=None):
        """The last positive step."""
        return jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        step, _, info = Polyak(self.c, self.f_star, bounded(self.growth * state))(ray, ())
        return step, jnp.where(step > 0, bounded(step), state), info
