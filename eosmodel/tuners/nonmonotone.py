"""Armijo's inequality against a reference above φ(0): backtracking that lets the loss rise now and then."""

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

    ζ = 0 is `Armijo`, ζ = 1 the mean of all losses so far. Trials, warm start and fallbacks are those of `Armijo`, the
    reference in the place of φ(0). In full batch C ≥ φ(0); where it is not (a loss drawn anew at every step) φ(0)
    stands for it. A loss that is not finite refuses every trial and does not enter C.

    Response: that of `Armijo`, s = ξ·2(1 − c)(1 + r)/(κ + r), for a loss that stands still; while it falls C lies
    above it and s may be larger. Clamped.

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
        """The next trial before the cap, Q and C."""
        trial = jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)
        return trial, jnp.zeros_like(trial), jnp.zeros_like(trial)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        trial, weight, average = state
        known = jnp.isfinite(ray.value)
        old = self.zeta * weight
        average = jnp.where(known, (old * average + ray.value) / (old + 1), average)
        weight = jnp.where(known, old + 1, weight)
        step, trial, info = backtrack_on(self, ray, trial, jnp.maximum(average, ray.value))
        return step, (trial, weight, average), info


class WindowArmijo(AbstractTuner):
    """Backtracking line search against the largest of the last losses: φ(η) ≤ max(φ_t, …, φ_{t−window+1}) + c·η·φ'(0).

    window = 1 is `Armijo`. Trials, warm start and fallbacks are those of `Armijo`, the reference in the place of φ(0).
    A loss that is not finite refuses every trial and does not enter the window.

    Response: that of `Armijo`, s = ξ·2(1 − c)(1 + r)/(κ + r), for a loss that stands still; after larger losses s may
    be larger for as long as the window remembers them. Clamped.

    Args:
        c, factor, increase, initial, max, max_evaluations: as in `Armijo`.
        window: number of losses remembered, this one included, an integer ≥ 1.

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
        """The next trial before the cap, the losses remembered, shape (window,), and whether there are any, 0 or 1."""
        trial = jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)
        return trial, jnp.zeros(self.window, trial.dtype), jnp.zeros_like(trial)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        trial, losses, begun = state
        # The first loss fills the window: −inf for "none" would be no state to do arithmetic on.
        seen = jnp.where(begun > 0, jnp.roll(losses, 1).at[0].set(ray.value), ray.value)
        known = jnp.isfinite(ray.value)
        losses, begun = jnp.where(known, seen, losses), jnp.where(known, 1, begun)
        reference = jnp.where(known, jnp.max(losses), ray.value)
        step, trial, info = backtrack_on(self, ray, trial, reference)
        return step, (trial, losses, begun), info
