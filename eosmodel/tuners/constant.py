"""Step sizes that do not depend on the ray: a constant, and any optax schedule."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners._checks import check_schedule
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


class Constant(AbstractTuner):
    """η_t = step, whatever the ray, a line that ascends and NaN included.

    Args:
        step: η > 0.

    Raises:
        ValueError: a step that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = Constant(0.3)
        >>> eta, state, info = tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2)), tuner.init())
        >>> round(float(eta), 3)
        0.3
    """

    step: Any = 0.1

    def __check_init__(self):
        check_range("Constant", "step", self.step, 0, low_open=True)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        return jnp.asarray(self.step, ray.value.dtype), state, no_evaluations()


def scheduled(schedule, ray):
    """The value of a schedule at the step of a ray, in the dtype of the ray."""
    # optax's schedules mix integers and floats, so promotion is allowed here and the result is cast.
    with jax.numpy_dtype_promotion("standard"):
        value = schedule(ray.step)
    return jnp.asarray(value, ray.value.dtype)


class Schedule(AbstractTuner):
    """η_t = schedule(t), t the index of the update, whatever the ray, a line that ascends and NaN included.

    Args:
        schedule: function of the integer step, such as any optax schedule; its values are cast to the dtype of the run.

    Raises:
        ValueError: a schedule that cannot be called.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from eosmodel.rays import ray
        >>> tuner = Schedule(optax.linear_schedule(1.0, 0.0, transition_steps=4))
        >>> eta, _, _ = tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2), step=1), tuner.init())
        >>> float(eta)
        0.75
    """

    schedule: Callable = eqx.field(static=True)

    def __check_init__(self):
        check_schedule("Schedule", self.schedule)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        return scheduled(self.schedule, ray), state, no_evaluations()
