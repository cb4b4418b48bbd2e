"""The quadratically greedy step and CDAT: σ times the minimiser of the quadratic model along the ray."""

from typing import Any

import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


class CDAT(AbstractTuner):
    """η = σ·n/(h + ε·n), n = max(−φ'(0), 0), h = |φ''(0)|; for steepest descent σ‖g‖²/(|gᵀHg| + ε‖g‖²).

    σ = 1 minimises the quadratic model of φ and is the greedy rule; σ = 2 is on the edge of stability. With `ema` > 0,
    n and h are replaced by their exponential moving averages with that decay; the bias corrections of the two are equal
    and cancel. ε is a lower bound for the curvature along the ray: unlike an absolute constant in the denominator it
    does not dominate when gradients vanish, and it bounds η by σ/ε (with ε = 0, η is infinite on a line without
    curvature). n = 0 gives η = 0. A slope that ascends counts as n = 0 and is reported as `failed`; with `ema` > 0 the
    step may still be positive. The loss is not used; a slope or a curvature of NaN gives NaN.

    Args:
        sigma: σ > 0.
        eps: ε ≥ 0, in units of curvature.
        ema: decay in [0, 1); 0 for no averaging.

    Raises:
        ValueError: a hyper-parameter out of its range.

    Source: Roulet et al. (arXiv 2407.06183).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = CDAT(sigma=2.0)
        >>> round(float(tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())[0]), 4)
        1.0
    """

    sigma: Any = 2.0
    eps: Any = 1e-5
    ema: Any = 0.0

    def __check_init__(self):
        check_range("CDAT", "sigma", self.sigma, 0, low_open=True, high_open=True)
        check_range("CDAT", "eps", self.eps, 0, high_open=True)
        check_range("CDAT", "ema", self.ema, 0, 1, high_open=True)

    def init(self, dtype=None):
        """The moving averages of n and h, initially 0."""
        zero = jnp.zeros((), jnp.result_type(float) if dtype is None else dtype)
        return zero, zero

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        line, unit = ray.rescaled()
        descent, curvature = jnp.maximum(-line.slope, 0), jnp.abs(line.curvature())
        # In memory they are in the ray's own units, in which they may overflow; without averaging that does not matter.
        before = (jnp.where(jnp.isfinite(old), old, 0) for old in (state[0] / unit, state[1] / unit / unit))
        n, h = (self.ema * old + (1 - self.ema) * now for old, now in zip(before, (descent, curvature), strict=True))
        # σ/(h/n + ε) rather than σn/(h + εn): ε·n would underflow along with the gradient.
        none = n == 0
        step = jnp.where(none, 0, self.sigma / (h / jnp.where(none, 1, n) * unit + self.eps))
        return step, (n * unit, h * unit * unit), no_evaluations(line.slope > 0)


def Greedy(sigma=1.0, eps=1e-5, ema=0.0) -> CDAT:
    """The quadratically greedy rule: `CDAT` with σ = 1, the exact minimiser of the quadratic model along the ray.

    Arguments and errors as in `CDAT`.

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = Greedy()
        >>> round(float(tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())[0]), 4)
        0.5
    """
    return CDAT(sigma, eps, ema)
