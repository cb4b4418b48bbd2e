"""The interface of a tuner: a rule that takes a ray and returns a step size."""

import abc
import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from eosmodel._checks import one_line, refused
from eosmodel._units import unit_of
from eosmodel.rays import AbstractRay, FunctionRay, NotDeclaredError, Secant


class TunerInfo(NamedTuple):
    """What a tuner reports about one step. It is recorded and not carried to the next step.

    Fields
        evaluations: number of evaluations of φ, not counting φ(0).
        failed: whether the rule could not be satisfied (for example, a line search ran out of trials), so that its
            documented fallback was used.
    """

    evaluations: Int[Array, ""]
    failed: Bool[Array, ""]


class AbstractTuner(eqx.Module):
    """A step-size rule: (ray, state) → (η, state, info).

    An extension must supply `__call__`; a rule with memory also supplies `init`. Hyper-parameters are fields. They are
    Python numbers, or arrays with one entry per run for a batch of runs, and are checked in `__check_init__`.

    The docstring of a rule says how it answers a line that ascends (φ'(0) > 0) and a loss, slope or curvature that is
    NaN. A step size of NaN ends the run with a status; the state need not be finite after it.

    Class variables
        needs_sharpness: whether the rule uses `ray.sharpness`, which costs the run one eigenvalue solve per step.
        needs_secant: whether the rule uses `ray.secant`, for which the run stores the last gradient and direction.
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
        """The step size along `ray`, the next state, and the report of the step."""


def no_evaluations(failed=False) -> TunerInfo:
    """The report of a rule that evaluates φ only at η = 0."""
    return TunerInfo(jnp.asarray(0, jnp.int32), jnp.asarray(failed))


def check_tuner(owner: str, tuner: Any) -> AbstractTuner:
    """The tuner, or a ValueError for anything else."""
    if isinstance(tuner, AbstractTuner):
        return tuner
    hint = "a rule of your own is a subclass of eos.tuners.AbstractTuner"
    if isinstance(tuner, int | float):
        hint = f'for a constant step write "constant:{tuner}"'
    elif hasattr(tuner, "update"):
        hint = "an optax transformation is a direction, direction=…"
    raise refused(owner, "tuner", 'a step-size rule or a specification, as "armijo:c=0.1"', tuner, hint)


def init_state(tuner: AbstractTuner, dtype) -> Any:
    """The tuner's own state before the first step, its numbers as arrays."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype if isinstance(leaf, float) else None), tuner.init(dtype))


def ask(tuner: AbstractTuner, ray: AbstractRay, state: Any) -> tuple[Float[Array, ""], Any, TunerInfo]:
    """tuner(ray, state), with every number in its type: η in that of the ray, the state in that of the last one.

    Raises:
        ValueError: an answer that is not (η, state, info), a state of another form than the last one, or a rule that
            uses the sharpness or the secant and does not declare it.
    """
    name = type(tuner).__name__
    try:
        answer = tuner(ray, state)
    except NotDeclaredError as error:
        part = error.args[0]
        raise ValueError(
            f"tuner {name}: uses ray.{part}, which is computed only for rules that declare it; "
            f"add needs_{part}: ClassVar[bool] = True to its class"
        ) from None
    if not isinstance(answer, tuple) or len(answer) != 3 or not isinstance(answer[2], TunerInfo):
        given = ", ".join(type(part).__name__ for part in answer) if isinstance(answer, tuple) else ""
        raise ValueError(
            f"tuner {name}: __call__ must return a tuple (η, state, TunerInfo), got "
            + (f"({given})" if isinstance(answer, tuple) else one_line(answer))
        )
    stepsize, new, info = answer
    if jnp.shape(stepsize) != jnp.shape(ray.slope):
        raise ValueError(f"tuner {name}: η must be one number, got shape {jnp.shape(stepsize)}")
    if jax.tree.structure(new) != jax.tree.structure(state):  # type: ignore[operator]
        raise ValueError(
            f"tuner {name}: the state that __call__ returns must have the form of the state that it is given, "
            f"got {one_line(new)} for {one_line(state)}"
        )
    new = jax.tree.map(partial(_in_type_of, f"tuner {name}: the state"), new, state)
    info = TunerInfo(jnp.asarray(info.evaluations, jnp.int32), jnp.asarray(info.failed, jnp.bool_))
    return jnp.asarray(stepsize, jnp.result_type(ray.slope)), new, info


def _in_type_of(owner: str, new: Any, old: Any) -> Any:
    if jnp.shape(new) != jnp.shape(old):
        raise ValueError(f"{owner} must keep its shapes, got {jnp.shape(new)} for {jnp.shape(old)}")
    return jnp.asarray(new, jnp.result_type(old))


class Past(NamedTuple):
    """The previous step: its gradient and direction, shape (dim,), and its step size, 0 before the first step."""

    gradient: Array
    direction: Array
    stepsize: Array


class Memory(eqx.Module):
    """What a run carries for its tuner: the rule's own state, and the previous step if the rule needs it."""

    state: Any
    past: Past | None


def init_memory(tuner: AbstractTuner, weights: Float[Array, " dim"], state: Any = None) -> Memory:
    """The memory before the first step from `weights`. `state` continues from a given state of the rule."""
    state = init_state(tuner, weights.dtype) if state is None else state
    nothing = jnp.zeros_like(weights)
    past = Past(nothing, nothing, jnp.zeros((), weights.dtype)) if tuner.needs_secant else None
    return Memory(state, past)


def gradient_change(fn: Any, weights: Float[Array, " dim"], gradient: Float[Array, " dim"], memory: Memory, scale=None):
    """y and P⁻¹y of the last step, evaluated on the loss of this step; P⁻¹ = diag(scale²). None for rules that need no
    secant.

    Needed where each step has its own loss (mini-batches): the gradients of two different losses differ by noise,
    which a secant rule would mistake for curvature. It costs a second gradient.
    """
    if memory.past is None:
        return None
    before = weights - memory.past.stepsize * memory.past.direction
    change = gradient - jax.grad(fn)(before)
    return change, change if scale is None else scale**2 * change


def select_stepsize(
    tuner: AbstractTuner, line: FunctionRay, memory: Memory, gradient: Float[Array, " dim"], change=None
):
    """The tuner's step along a line, to which the secant of the previous step is added: (η, memory, info).

    `change` is the result of `gradient_change` where each step has its own loss. By default y is the difference of the
    gradients of the two steps.
    """
    if not tuner.needs_sharpness:
        line = dataclasses.replace(line, given_sharpness=None)
    if memory.past is None:
        stepsize, state, info = ask(tuner, dataclasses.replace(line, given_secant=None), memory.state)
        return stepsize, Memory(state, None), info
    old = memory.past
    y, bent = (gradient - old.gradient, old.direction - line.direction) if change is None else change
    # In the metric of the direction: d = −P⁻¹g gives s·Ps = −η² g·d and y·P⁻¹y = −y·(d − d₋).
    # s, Ps, y and P⁻¹y each in a unit of its own, those of s·s, s·y and y·y in a geometric sequence: all 1 but for
    # losses so small or so large that their squares are not representable.
    of_d, of_g, of_y = unit_of(old.direction), unit_of(old.gradient), unit_of(y)
    s, ps = old.stepsize * of_d, old.stepsize * of_g
    of_s, of_ps = unit_of(s), unit_of(ps)
    s, ps = s / of_s, ps / of_ps
    secant = Secant(
        ss=-(s * ps) * jnp.vdot(old.gradient / of_g, old.direction / of_d),
        sy=s * jnp.vdot(old.direction / of_d, y / of_y),
        yy=jnp.where(old.stepsize == 0, 0, jnp.vdot(y / of_y, bent / (of_y * (of_s / of_ps)))),
    )
    line = dataclasses.replace(line, given_secant=secant, given_secant_unit=of_y / of_ps)
    stepsize, state, info = ask(tuner, line, memory.state)
    return stepsize, Memory(state, Past(gradient, line.direction, stepsize)), info
