"""The step that is always at the edge: a probe of what the edge alone does."""

from typing import Any, ClassVar

import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


class OnEdge(AbstractTuner):
    """η = σ/|λ|, λ the sharpness at the current weights; σ = 2 is the edge of stability of every step.

    It needs the sharpness, so a run tracks it at the iterate as well as at the oscillation's centre. Where the
    largest eigenvalue is negative its size is used; where it is 0 there is no edge, and the step is 0 and `failed`. A
    ray without a sharpness gives NaN.

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
        size = jnp.abs(ray.sharpness)
        flat = size == 0
        return jnp.where(flat, 0, self.sigma / jnp.where(flat, 1, size)), state, no_evaluations(flat)
