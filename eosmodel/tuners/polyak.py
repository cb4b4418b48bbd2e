"""Polyak's step, and its capped version for training."""

from typing import Any

import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


class Polyak(AbstractTuner):
    """η = min((φ(0) − f*)/(c·(−φ'(0))), max); for steepest descent (f − f*)/(c‖g‖²).

    With a finite `max` this is SPS_max. A loss below f* and a slope that does not descend both give η = 0.

    Args:
        c: > 0; 1 is Polyak's own, ½ the setting recommended with SPS_max. The oscillation it allows is bounded for
            c > ¼; for a large loss left on the floor its fast map is stable for ¼ < c < ½ (for a given
            A = λ(L̄ − f*)/G > 9/2 up to the flip at 4c² − (A + 3/2)c + A/2 = 0, about ½ + 1/(4A)).
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
