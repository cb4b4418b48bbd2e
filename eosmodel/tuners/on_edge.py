"""The step size that is at the edge of stability at every step."""

from typing import Any, ClassVar

import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


class OnEdge(AbstractTuner):
    """η = σ/|λ|, λ the sharpness at the current weights; σ = 2 is the edge of stability of every step.

    The rule needs the sharpness at the iterate, which the run then tracks in addition to that at the oscillation's
    centre. A negative λ is replaced by |λ|; λ = 0 gives η = 0, reported as `failed`; a ray without a sharpness (NaN)
    gives NaN. Loss, slope and curvature are not used: ascent or NaN in them does not change the step.

    Args:
        sigma: normalised step σ = η|λ| > 0.

    Raises:
        ValueError: a σ that is not positive and finite.

    Source: Roulet, Agarwala & Pedregosa (arXiv 2312.00209).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = OnEdge()
        >>> float(tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2), sharpness=2.0), tuner.init())[0])
        1.0
    """

    sigma: Any = 2.0
    needs_sharpness: ClassVar[bool] = True

    def __check_init__(self):
        check_range("OnEdge", "sigma", self.sigma, 0, low_open=True, high_open=True)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        sharpness = jnp.abs(ray.sharpness)
        flat = sharpness == 0
        return jnp.where(flat, 0, self.sigma / jnp.where(flat, 1, sharpness)), state, no_evaluations(flat)
