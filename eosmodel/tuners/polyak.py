"""Polyak's step, and its versions for training: capped, or slow to grow."""

from typing import Any

import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners._search import bounded
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


class Polyak(AbstractTuner):
    """η = min((φ(0) − f*)/(c·(−φ'(0))), max); for steepest descent (f − f*)/(c‖g‖²).

    With a finite `max` this is SPS_max. A loss below f* and a slope that does not descend both give η = 0.

    Args:
        c: > 0; 1 is Polyak's own, ½ the setting recommended with SPS_max. The oscillation it allows is bounded for
            c > ¼; for a large loss left on the floor its fast map is stable for ¼ < c < ½ (for a given
            A = λ(L̄ − f*)/G > 9/2 and the bulk held, up to the flip at 4c² − (A + 3/2)c + A/2 = 0, about
            ½ + 1/(4A); less by κ/2 where the bulk moves).
        f_star: the least value of the loss, f*, finite.
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
        # A slope of NaN is not idle: it comes out as NaN, so that the run ends with a status. The guards stand before
        # the division, so that in a batch, which divides once, its users need not compute the slope again.
        idle = ray.slope >= 0
        gap = jnp.maximum(ray.value - self.f_star, 0)
        step = jnp.where(idle, 0, gap) / jnp.where(idle, 1, -self.c * ray.slope)
        step = jnp.minimum(step, jnp.asarray(self.max, step.dtype))
        return step, state, no_evaluations(ray.slope > 0)


def SPSPlus(f_star=0.0) -> Polyak:
    """SPS₊, η = max(φ(0) − f*, 0)/(−φ'(0)): `Polyak` with c = 1 and no cap, f* the loss at the solution.

    A loss per batch may be below its value at the solution, which is why the numerator is cut at 0. Arguments and
    errors as in `Polyak`.

    Source: Garrigos, Gower & Schaipp (arXiv 2307.14528).

    Example:
        >>> SPSPlus(f_star=0.5).f_star
        0.5
    """
    return Polyak(f_star=f_star)


class SmoothedSPS(AbstractTuner):
    """η_t = min((φ(0) − f*)/(c·(−φ'(0))), growth·η_{t−1}), η_{−1} = `initial`: Polyak's step that grows no faster.

    A loss at or below f* and a slope that does not descend give η = 0 (ascent is reported as `failed`), a slope or a
    loss of NaN gives NaN; the memory then keeps the last positive step.

    Response: that of `Polyak`, Φ = (A + r/2)/(c(1 + r)), with r held; in motion s ≤ growth·s₋. Clamped for c > ¼ if
    A > 2c, as `Polyak`, self-stabilised for c < ¼.

    Args:
        c: > 0.
        f_star: the least value of the loss, f*, finite.
        initial: η_{−1} > 0.
        growth: ≥ 1; τ^{b/n} for batches of b among n samples there, with τ = 2.

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
