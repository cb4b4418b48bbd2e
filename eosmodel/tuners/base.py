"""What a tuner is: a rule that looks along a ray and returns a step size."""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from eosmodel.rays import AbstractRay, FunctionRay, Secant


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

    Class variables
        needs_sharpness: whether `ray.sharpness` is used; it costs the run an eigenvalue solve a step.
        needs_secant: whether `ray.secant` is used; it costs the run the memory of the last gradient and direction.
    """

    needs_sharpness: ClassVar[bool] = False
    needs_secant: ClassVar[bool] = False

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


class Past(NamedTuple):
    """The step before: its gradient and direction, shape (dim,), and its size, 0 before the first."""

    gradient: Array
    direction: Array
    stepsize: Array


class Memory(eqx.Module):
    """What a run carries for its tuner from step to step: the rule's own state, and the past if the rule needs it."""

    state: Any
    past: Past | None


def init_memory(tuner: AbstractTuner, weights: Float[Array, " dim"], state: Any = None) -> Memory:
    """The memory before the first step from `weights`; `state` goes on from one that the rule reached elsewhere."""
    state = tuner.init(weights.dtype) if state is None else state
    nothing = jnp.zeros_like(weights)
    past = Past(nothing, nothing, jnp.zeros((), weights.dtype)) if tuner.needs_secant else None
    return Memory(state, past)


def gradient_change(fn: Any, weights: Float[Array, " dim"], gradient: Float[Array, " dim"], memory: Memory, scale=None):
    """y and P⁻¹y of the last step on the loss of this one, P⁻¹ = diag(scale²); None for rules that need no secant.

    Where every step has another loss, this is what a rule that goes by secants must see: the gradients of two losses
    differ by noise, which it would take for curvature. It costs a second gradient.
    """
    if memory.past is None:
        return None
    before = weights - memory.past.stepsize * memory.past.direction
    change = gradient - jax.grad(fn)(before)
    return change, change if scale is None else scale**2 * change


def select_stepsize(
    tuner: AbstractTuner, line: FunctionRay, memory: Memory, gradient: Float[Array, " dim"], change=None
):
    """The tuner's step along a line, with the secant of the step before put on it: (η, memory, info).

    `change` is `gradient_change` where the loss is another one at every step; by default y is the difference of the two
    steps' gradients.
    """
    if memory.past is None:
        stepsize, state, info = tuner(line, memory.state)
        return stepsize, Memory(state, None), info
    old = memory.past
    y, bent = (gradient - old.gradient, old.direction - line.direction) if change is None else change
    # In the metric of the direction: d = −P⁻¹g gives s·Ps = −η² g·d and y·P⁻¹y = −y·(d − d₋).
    secant = Secant(
        ss=-(old.stepsize**2) * jnp.vdot(old.gradient, old.direction),
        sy=old.stepsize * jnp.vdot(old.direction, y),
        yy=jnp.where(old.stepsize == 0, 0, jnp.vdot(y, bent)),
    )
    line = eqx.tree_at(lambda r: r.secant, line, secant)
    stepsize, state, info = tuner(line, memory.state)
    return stepsize, Memory(state, Past(gradient, line.direction, stepsize)), info
