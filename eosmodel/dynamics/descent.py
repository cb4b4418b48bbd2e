"""The full-batch experiment: real descent on an objective under a tuner, with the sharpness followed at the centre."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel.curvature import Modes, grow, leading, scaled, shrink
from eosmodel.directions import Direction
from eosmodel.dynamics.base import AbstractDynamics, divergence_bound, status_of
from eosmodel.dynamics.center import alignment, due, every, look, oscillation_center, turning
from eosmodel.dynamics.lines import Course, aim, followed, init_direction, to_edge
from eosmodel.objectives.base import AbstractObjective
from eosmodel.tuners.base import AbstractTuner, Memory, init_memory, select_stepsize


class Descent(AbstractDynamics):
    """Descent w' = w + ηd, d = −∇L(w) or a `Direction`'s, η from the tuner on the true ray along d; the sharpness is
    tracked beside it.

    Eigenpairs, L̄ and the slow coefficients are solved for at the centre of three iterates,
    w̄_t = w_t − Σ_i x_i u_i + ½ P⊥(ρ_t d_t − ρ_{t−1} d_{t−1}), see `dynamics.center.oscillation_center`. Of
    a preconditioned direction all of this is in the coordinates in which its preconditioner is the identity.

    Fields
        objective, tuner: what is run.
        modes: number of leading eigenpairs followed.
        track_every: solve for the eigenpairs every that many steps; rows between have NaN, never an old value.
        measure_every: measure α, β, κ, G every that many steps, and at every step of the first two such stretches
            (0: never); only on tracked steps.
        divergence: a loss above this multiple of the initial one ends the run.
        tuner_state: the tuner's own state at the start; None for a fresh one.
        direction: where the steps go; None for steepest descent.
    """

    objective: AbstractObjective
    tuner: AbstractTuner
    modes: int = eqx.field(static=True, default=3)
    track_every: int = eqx.field(static=True, default=1)
    measure_every: int = eqx.field(static=True, default=10)
    divergence: float = eqx.field(static=True, default=1e6)
    tuner_state: Any = None
    direction: Direction | None = None

    class State(eqx.Module):
        weights: Float[Array, " dim"]
        tuner: Memory
        course: Course | None
        center: Modes
        iterate: Modes | None
        pull: Float[Array, " dim"]
        bound: Float[Array, ""]

    def init(self, start):
        gradient = None if self.direction is None else jax.grad(self.objective)(start)
        course = init_direction(self.direction, self.objective, start, gradient)
        scale = None if course is None else course.scale
        value, _, pairs = leading(scaled(self.objective, scale), shrink(start, scale), self.modes)
        iterate = pairs if self.tuner.needs_sharpness else None
        bound = divergence_bound(value, self.divergence)
        memory = init_memory(self.tuner, start, self.tuner_state)
        return self.State(start, memory, course, pairs, iterate, jnp.zeros_like(start), bound)

    def center(self, state, gradient, direction, stepsize, scale, t):
        """The centre at the state's weights, the amplitudes x_i along the modes, and ρd, which the next step needs; the
        first two in the coordinates of the scale."""
        top = to_edge(self.direction, state.center.values[0])
        turned, pull = turning(stepsize, direction, top, state.pull, t)
        here = shrink(state.weights, scale)
        return *oscillation_center(here, grow(gradient, scale), state.center, shrink(turned, scale)), pull

    def step(self, state, t):
        aimed = aim(self.objective, self.objective, state.weights, self.direction, state.course, state.iterate, t)
        value, gradient, line, course, scale, iterate, sharpness = aimed
        norm = jnp.linalg.norm(gradient)
        stepsize, memory, info = select_stepsize(self.tuner, line, state.tuner, gradient)
        center, amplitude, pull = self.center(state, gradient, line.direction, stepsize, scale, t)

        def seen(pairs):
            pairs, row = look(
                scaled(self.objective, scale), center, pairs, due(t, self.measure_every), self.track_every
            )
            return pairs, row | {"amplitude": amplitude}

        pairs, tracked = every(t, self.track_every, state.center, seen)
        course, extra = followed(self.direction, course, stepsize, tracked["sharpness"])
        row = {
            "loss": value,
            "stepsize": stepsize,
            "iterate_sharpness": sharpness,
            "gradient_norm": norm,
            "alignment": alignment(pairs, grow(gradient, scale)),
            "evaluations": info.evaluations,
            "search_failed": info.failed,
            "ascending": line.slope > 0,
            **tracked,
            **extra,
        }
        new = state.weights + stepsize * line.direction
        status = status_of(value, stepsize, norm, state.bound)
        return self.State(new, memory, course, pairs, iterate, pull, state.bound), row, status
