"""Where the steps of a run go: what it carries for a `Direction`, and what that does to the edge of stability."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel.curvature import Modes, linearize, scaled, shrink, track
from eosmodel.directions import Direction
from eosmodel.objectives.base import AbstractObjective
from eosmodel.rays import FunctionRay, along


class Course(eqx.Module):
    """Where steps go: the state of a `Direction`, S of its preconditioner, and the mode whose growth is followed."""

    state: Any
    scale: Float[Array, " dim"] | None
    mode: Float[Array, "2"]


def init_direction(direction: Direction | None, objective: AbstractObjective, start, gradient) -> Course | None:
    """The course before the first step; S is that of the first direction."""
    if direction is None:
        return None
    tree = objective.tree(start)
    state = direction.init(tree)
    scale = direction(objective.tree(gradient), state, tree)[2]
    return Course(state, scale, jnp.asarray([1.0, 0.0], start.dtype))


def update_direction(
    direction: Direction | None, objective: AbstractObjective, weights, gradient, course: Course | None
):
    """The direction of a step and the new course; (None, None) for steepest descent."""
    if direction is None or course is None:
        return None, None
    d, state, scale = direction(objective.tree(gradient), course.state, objective.tree(weights))
    return d, Course(state, scale, course.mode)


def followed(direction: Direction | None, course: Course | None, stepsize, sharpness):
    """The course with its mode one step further, and the row of it: nothing without a direction."""
    if direction is None or course is None:
        return None, {}
    mode, growth = direction.growth(course.mode, stepsize, sharpness)
    if not direction.understood:
        growth = jnp.full_like(growth, jnp.nan)
    return Course(course.state, course.scale, mode), {"growth": growth}


def to_edge(direction: Direction | None, sharpness):
    """λ in units in which the edge of stability is at ηλ = 2, as a tuner that needs the sharpness sees it."""
    return sharpness if direction is None else sharpness * (2 / direction.edge)


class Aim(NamedTuple):
    """What a step sees before its tuner does: value and gradient of the step's loss, the line, the course turned along
    it, S of its preconditioner, and where the tuner needs them the eigenpairs of the step's loss at the weights (else
    None, and a λ of NaN)."""

    value: Array
    gradient: Array
    line: FunctionRay
    course: Course | None
    scale: Array | None
    pairs: Modes | None
    sharpness: Array


def aim(fn: Any, full: AbstractObjective, weights, direction: Direction | None, course: Course | None, pairs, t) -> Aim:
    """Look at a step's loss `fn`, and turn towards where the step goes.

    Args:
        fn: the loss of the step; `full` gives the weights' shapes to the direction.
        pairs: eigenpairs of the step before, None for a tuner that needs no sharpness.
    """
    if pairs is None:
        value, gradient = jax.value_and_grad(fn)(weights)
        sharpness = jnp.full_like(value, jnp.nan)
    else:
        scale = None if course is None else course.scale
        value, gradient, matvec = linearize(scaled(fn, scale), shrink(weights, scale))
        gradient = shrink(gradient, scale)
        pairs, _ = track(matvec, pairs)
        sharpness = pairs.values[0]
    d, course = update_direction(direction, full, weights, gradient, course)
    line = along(fn, weights, value, gradient, d, t, to_edge(direction, sharpness))
    return Aim(value, gradient, line, course, None if course is None else course.scale, pairs, sharpness)
