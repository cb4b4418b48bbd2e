"""Modifiers of the step of any rule: a cap and a floor, and a schedule."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from eosmodel._checks import check_count, check_range
from eosmodel.tuners._checks import check_order, check_schedule
from eosmodel.tuners.base import AbstractTuner, TunerInfo, ask, check_tuner
from eosmodel.tuners.constant import scheduled


class AbstractModifier(AbstractTuner):
    """A rule that wraps another rule and changes its step.

    The inner rule continues from its own, unmodified step: its state is what it would be alone on these rays. A secant
    is that of the modified step. An extension supplies the field `tuner` and the method `modify`.
    """

    tuner: eqx.AbstractVar[AbstractTuner]

    @property
    def needs_sharpness(self) -> bool:  # type: ignore[override]
        """As the inner rule."""
        return self.tuner.needs_sharpness

    @property
    def needs_secant(self) -> bool:  # type: ignore[override]
        """As the inner rule."""
        return self.tuner.needs_secant

    def init(self, dtype=None):
        """The state of the inner rule."""
        return self.tuner.init(dtype)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        stepsize, state, info = ask(self.tuner, ray, state)
        return self.modify(stepsize, ray), state, info

    @abc.abstractmethod
    def modify(self, stepsize, ray) -> Any:
        """The step taken instead of `stepsize`, the step of the inner rule."""


class Bounded(AbstractModifier):
    """η = min(max(η, floor), cap), η the step of any rule.

    The floor raises only positive steps: a step of 0, as from a line search that failed, stays 0, and NaN stays NaN.
    The report of the rule is not changed.

    Response: Φ between floor·λ and cap·λ. With a cap below 2/λ every rule is below the edge; with a floor above it no
    rule can clamp.

    Args:
        tuner: any step-size rule.
        floor: smallest positive step, ≥ 0 and finite.
        cap: largest step, > floor.

    Raises:
        ValueError: a hyper-parameter out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> from eosmodel.tuners import Polyak
        >>> tuner = Bounded(Polyak(), cap=0.125)
        >>> float(tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())[0])
        0.125
    """

    tuner: AbstractTuner
    floor: Any = 0.0
    cap: Any = jnp.inf

    def __check_init__(self):
        check_tuner("Bounded", self.tuner)
        check_range("Bounded", "floor", self.floor, 0, high_open=True)
        check_range("Bounded", "cap", self.cap, 0, low_open=True)
        check_order("Bounded", "floor", self.floor, "cap", self.cap)

    def modify(self, stepsize, ray):
        low, high = (jnp.asarray(value, stepsize.dtype) for value in (self.floor, self.cap))
        return jnp.where(stepsize > 0, jnp.clip(stepsize, low, high), stepsize)


class Scheduled(AbstractModifier):
    """η = schedule(t)·η, η the step of any rule and t the index of the update.

    Response: schedule(t)·Φ(r), the schedule frozen at `FastMap.step`.

    Args:
        tuner: any step-size rule.
        schedule: function of the integer step, such as an optax schedule or `WarmupCosine`.

    Raises:
        ValueError: a schedule that cannot be called.

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> from eosmodel.tuners import Polyak
        >>> tuner = Scheduled(Polyak(c=0.5), WarmupCosine(warmup=4))
        >>> float(tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())[0])
        0.125
    """

    tuner: AbstractTuner
    schedule: Callable = eqx.field(static=True)

    def __check_init__(self):
        check_tuner("Scheduled", self.tuner)
        check_schedule("Scheduled", self.schedule)

    def modify(self, stepsize, ray):
        return stepsize * scheduled(self.schedule, ray)


@dataclass(frozen=True)
class WarmupCosine:
    """Factors 1/warmup, 2/warmup, … 1, then ½(1 + cos(πt/decay_steps)), t counted from the end of the warm-up, then 0.

    Args:
        warmup: steps until the factor is 1, an integer ≥ 0.
        decay_steps: steps of the decay, an integer ≥ 0; 0 for none.

    Raises:
        ValueError: a number of steps that is negative or not an integer.

    Example:
        >>> [round(float(WarmupCosine(2, 4)(t)), 3) for t in range(7)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    warmup: int = 0
    decay_steps: int = 0

    def __post_init__(self):
        check_count("WarmupCosine", "warmup", self.warmup, 0)
        check_count("WarmupCosine", "decay_steps", self.decay_steps, 0)

    def __call__(self, step):
        warmup = jnp.minimum(1.0, (step + 1) / max(self.warmup, 1))
        if not self.decay_steps:
            return warmup
        progress = jnp.clip((step - self.warmup) / self.decay_steps, 0.0, 1.0)
        return warmup * 0.5 * (1 + jnp.cos(jnp.pi * progress))
