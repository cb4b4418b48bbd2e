"""What a tuner is: a rule that looks along a ray and returns a step size."""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from eosmodel.rays import AbstractRay


class TunerInfo(NamedTuple):
    """What a tuner reports of one step; recorded, never carried.

    Fields
        evaluations: φ evaluations made on top of the value at η = 0.
        failed: the rule could not be met (for example a line search that ran out of trials) and the documented
            fallback was used.
    """

    evaluations: Int[Array, ""]
    failed: Bool[Array, ""]


class AbstractTuner(eqx.Module):
    """A step-size rule: (ray, state) → (η, state, info).

    The least an extension supplies is `__call__`; a rule with memory also supplies `init`. Hyper-parameters are
    fields, given as Python numbers (or arrays of one number a run, to batch runs) and checked in `__check_init__`.
    """

    needs_sharpness: ClassVar[bool] = False

    def init(self, dtype=None) -> Any:
        """The state before the first step: an empty tuple for a rule without memory.

        Args:
            dtype: floating type of the run; jax's default when None.
        """
        del dtype
        return ()

    @abc.abstractmethod
    def __call__(self, ray: AbstractRay, state: Any) -> tuple[Float[Array, ""], Any, TunerInfo]:
        """The step size along `ray`, the next state and what to record."""


def no_evaluations(failed=False) -> TunerInfo:
    """The report of a rule that looks nowhere but at η = 0."""
    return TunerInfo(jnp.asarray(0, jnp.int32), jnp.asarray(failed))
