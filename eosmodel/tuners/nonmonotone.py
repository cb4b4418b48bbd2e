"""Nonmonotone line searches: Armijo's inequality with a reference above φ(0), so that the loss may rise at times."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from eosmodel._checks import check_count, check_range
from eosmodel.tuners._checks import check_warm_start
from eosmodel.tuners._search import backtrack_on
from eosmodel.tuners.base import AbstractTuner, TunerInfo


class ZhangHager(AbstractTuner):
    """Backtracking line search against a running average of the losses, φ(η) ≤ C + c·η·φ'(0).

        Q' = ζQ + 1,    C' = (ζQC + φ(0))/Q',    from Q = 0

    ζ = 0 is `Armijo`, ζ = 1 the mean of all losses so far. Trials, warm start and fallbacks are those of `Armijo`, for
    NaN and ascent too, with the reference in place of φ(0). In full batch C ≥ φ(0); where C < φ(0) (a new mini-batch at
    every step), φ(0) is the reference. A loss that is not finite refuses every trial and does not enter C.

    Response: that of `Armijo`, s = ξ·2(1 − c)(1 + r)/(κ + r), for a constant loss; while the loss falls, C is above it
    and s may be larger. Clamped.

    Args:
        c, factor, increase, initial, max, max_evaluations: as in `Armijo`.
        zeta: ζ in [0, 1].

    Raises:
        ValueError: a hyper-parameter out of its range.

    Source: Zhang & Hager (SIAM J. Optim. 14, 2004), a stochastic version in Galli et al. (arXiv 2306.12747).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = ZhangHager(factor=0.5, initial=8.0)
        >>> eta, state, info = tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())
        >>> float(eta), int(info.evaluations)
        (0.5, 5)
    """

    c: Any = 1e-4
    zeta: Any = 0.85
    factor: Any = 0.8
    increase: Any = 1.5
    initial: Any = 1.0
    max: Any = jnp.inf
    max_evaluations: int = eqx.field(static=True, default=50)

    def __check_init__(self):
        check_warm_start(self)
        check_range("ZhangHager", "zeta", self.zeta, 0, 1)

    def init(self, dtype=None):
        """The next trial before `max` is applied, Q and C."""
        trial = jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)
        return trial, jnp.zeros_like(trial), jnp.zeros_like(trial)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        trial, weight, average = state
        finite = jnp.isfinite(ray.value)
        old = self.zeta * weight
        average = jnp.where(finite, (old * average + ray.value) / (old + 1), average)
        weight = jnp.where(finite, old + 1, weight)
        step, trial, info = backtrack_on(self, ray, trial, jnp.maximum(average, ray.value))
        return step, (trial, weight, average), info


class WindowArmijo(AbstractTuner):
    """Backtracking line search against the largest of the last losses: φ(η) ≤ max(φ_t, …, φ_{t−window+1}) + c·η·φ'(0).

    window = 1 is `Armijo`. Trials, warm start and fallbacks are those of `Armijo`, for NaN and ascent too, with the
    reference in place of φ(0). A loss that is not finite refuses every trial and does not enter the window.

    Response: that of `Armijo`, s = ξ·2(1 − c)(1 + r)/(κ + r), for a constant loss; s may be larger while the window
    still holds larger losses. Clamped.

    Args:
        c, factor, increase, initial, max, max_evaluations: as in `Armijo`.
        window: number of losses kept, including the current one, an integer ≥ 1.

    Raises:
        ValueError: a hyper-parameter out of its range.

    Source: Grippo, Lampariello & Lucidi (SIAM J. Numer. Anal. 23, 1986).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = WindowArmijo(factor=0.5, initial=8.0, window=3)
        >>> eta, state, info = tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())
        >>> float(eta), int(info.evaluations)
        (0.5, 5)
    """

    c: Any = 1e-4
    window: int = eqx.field(static=True, default=10)
    factor: Any = 0.8
    increase: Any = 1.5
    initial: Any = 1.0
    max: Any = jnp.inf
    max_evaluations: int = eqx.field(static=True, default=50)

    def __check_init__(self):
        check_warm_start(self)
        check_count("WindowArmijo", "window", self.window)

    def init(self, dtype=None):
        """The next trial before `max`, the last losses, shape (window,), and whether there are any, 0 or 1."""
        trial = jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)
        return trial, jnp.zeros(self.window, trial.dtype), jnp.zeros_like(trial)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        trial, losses, started = state
        # The first loss fills the window, because a state with −inf for "no loss yet" would not be finite.
        shifted = jnp.where(started > 0, jnp.roll(losses, 1).at[0].set(ray.value), ray.value)
        finite = jnp.isfinite(ray.value)
        losses, started = jnp.where(finite, shifted, losses), jnp.where(finite, 1, started)
        reference = jnp.where(finite, jnp.max(losses), ray.value)
        step, trial, info = backtrack_on(self, ray, trial, reference)
        return step, (trial, losses, started), info
