"""Where the steps of a run go: what it carries for a `Direction`, and what that does to the edge of stability."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel.curvature import Modes, cold_start, linearize
from eosmodel.directions import Direction
from eosmodel.dynamics.center import scaled, shrink
from eosmodel.objectives.base import AbstractObjective


class Course(eqx.Module):
    """Where steps go: the state of a `Direction`, S of its preconditioner, and the mode whose growth is followed."""

    state: Any
    scale: Float[Array, " dim"] | None
    mode: Float[Array, "2"]


def set_out(direction: Direction | None, objective: AbstractObjective, start, gradient) -> Course | None:
    """The course before the first step; S is that of the first direction."""
    if direction is None:
        return None
    tree = objective.tree(start)
    state = direction.init(tree)
    scale = direction(objective.tree(gradient), state, tree)[2]
    return Course(state, scale, jnp.asarray([1.0, 0.0], start.dtype))


def turn(direction: Direction | None, objective: AbstractObjective, weights, gradient, course: Course | None):
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


@eqx.filter_jit
def eigenpairs(fn: Any, weights: Float[Array, " dim"], scale: Array | None, modes: int) -> tuple[Array, Array, Modes]:
    """Loss, gradient and leading eigenpairs at the start, from scratch, in the coordinates of a scale; compiled once
    for all that start there."""
    fn, weights = scaled(fn, scale), shrink(weights, scale)
    value, gradient, matvec = linearize(fn, weights)
    return value, gradient, cold_start(matvec, gradient, modes)[0]
