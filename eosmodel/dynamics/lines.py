"""The line that a step takes: what a run carries for its `Direction`, and what that does to the edge of stability."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel.critical import critical_step
from eosmodel.curvature import AbstractTracker, Modes, linearize, scaled, unscale_by
from eosmodel.directions import Direction
from eosmodel.dynamics.base import Row
from eosmodel.dynamics.center import run_every
from eosmodel.objectives.base import AbstractObjective
from eosmodel.rays import FunctionRay, along


class DirectionState(eqx.Module):
    """What a run carries for its `Direction`.

    Fields
        state: the direction's own state.
        scale: S of its preconditioner, None where that is the identity.
        mode: an oscillating mode that the direction's linear memory amplifies or damps, see `Direction.growth`.
    """

    state: Any
    scale: Float[Array, " dim"] | None
    mode: Float[Array, "2"]


def init_direction(direction: Direction | None, objective: AbstractObjective, start, gradient) -> DirectionState | None:
    """The state before the first step; S is that of the first direction. None for steepest descent."""
    if direction is None:
        return None
    tree = objective.tree(start)
    state = direction.init(tree)
    scale = direction(objective.tree(gradient), state, tree)[2]
    return DirectionState(state, scale, jnp.asarray([1.0, 0.0], start.dtype))


def update_direction(
    direction: Direction | None, objective: AbstractObjective, weights, gradient, state: DirectionState | None
) -> tuple[Array | None, DirectionState | None]:
    """The direction d of a step and the new state; (None, None) for steepest descent."""
    if direction is None or state is None:
        return None, None
    d, inner, scale = direction(objective.tree(gradient), state.state, objective.tree(weights))
    return d, DirectionState(inner, scale, state.mode)


def update_growth(direction: Direction | None, state: DirectionState | None, stepsize, sharpness):
    """The state with its mode one step further, and the row `growth`; (None, {}) for steepest descent."""
    if direction is None or state is None:
        return None, {}
    mode, growth = direction.growth(state.mode, stepsize, sharpness)
    if not direction.understood:
        growth = jnp.full_like(growth, jnp.nan)
    return DirectionState(state.state, state.scale, mode), {"growth": growth}


def to_edge(direction: Direction | None, sharpness):
    """λ in units in which the edge of stability is at ηλ = 2, as a tuner that needs the sharpness sees it."""
    return sharpness if direction is None else sharpness * (2 / direction.edge)


class StepLine(NamedTuple):
    """What is known of a step before the tuner selects its size.

    Fields
        value, gradient: of the step's loss at the weights.
        ray: the loss along the step's direction.
        direction: the state of the `Direction` after this step's direction.
        scale: S of its preconditioner.
        pairs: eigenpairs of the step's loss at the weights, None where the tuner needs none.
        sharpness: λ_1 of those pairs, else NaN.
    """

    value: Array
    gradient: Array
    ray: FunctionRay
    direction: DirectionState | None
    scale: Array | None
    pairs: Modes | None
    sharpness: Array


def observe_critical(
    line: StepLine, stepsize, last: Float[Array, ""] | None, t, stride: int
) -> tuple[Float[Array, ""] | None, Row]:
    """The row `critical_sharpness`, λ_c = 2/η_c at every `stride`-th step, and η_c, the guess for the next; (None, {})
    where it is not tracked. The first guess, for a `last` of 0, is the step itself."""
    if last is None:
        return None, {}

    def observe(last):
        step, following = critical_step(line.ray, jnp.where(last > 0, last, stepsize))
        return following, {"critical_sharpness": 2 / step}

    return run_every(t, stride, last, observe)


def steepest_line(fn: Any, weights, tracker: AbstractTracker, pairs: Modes | None, t, elapsed: int = 1) -> StepLine:
    """The line of a step of steepest descent on `fn`; arguments as in `step_line`."""
    return step_line(fn, fn, weights, None, None, tracker, pairs, t, elapsed)


def step_line(
    fn: Any,
    full: AbstractObjective,
    weights: Float[Array, " dim"],
    direction: Direction | None,
    state: DirectionState | None,
    tracker: AbstractTracker | None,
    pairs: Modes | None,
    t,
    elapsed: int = 1,
) -> StepLine:
    """The line of a step on the loss `fn`.

    Args:
        fn: the loss of the step; `full` gives the shapes of the weights to the direction.
        weights: where the step begins.
        direction, state: where it goes; None for steepest descent.
        tracker, elapsed: how the eigenpairs are updated, where there are any.
        pairs: eigenpairs of the step before, None for a tuner that needs no sharpness.
        t: index of the step.
    """
    if pairs is None or tracker is None:
        value, gradient = jax.value_and_grad(fn)(weights)
        sharpness = jnp.full_like(value, jnp.nan)
    else:
        scale = None if state is None else state.scale
        value, gradient, matvec = linearize(scaled(fn, scale), unscale_by(weights, scale))
        gradient = unscale_by(gradient, scale)
        pairs, _ = tracker.update(matvec, pairs, elapsed)
        sharpness = pairs.values[0]
    d, state = update_direction(direction, full, weights, gradient, state)
    ray = along(fn, weights, value, gradient, d, t, to_edge(direction, sharpness))
    return StepLine(value, gradient, ray, state, None if state is None else state.scale, pairs, sharpness)
