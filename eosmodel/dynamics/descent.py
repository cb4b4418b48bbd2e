"""The full-batch experiment: descent on an objective under a tuner, with the sharpness tracked at the centre."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._units import norm
from eosmodel.curvature import AbstractTracker, Modes, Tracker, as_tracker, scale_by, scaled, unscale_by
from eosmodel.directions import Direction
from eosmodel.dynamics.base import AbstractDynamics, divergence_bound, observed_status, step_report
from eosmodel.dynamics.center import (
    alignment,
    is_scheduled,
    observe_center,
    oscillation_center,
    run_every,
    smoothing_displacement,
)
from eosmodel.dynamics.lines import DirectionState, init_direction, step_line, to_edge, update_growth
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
        tracker: how the leading eigenpairs are followed; a number stands for `Tracker(modes=number)`.
        track_every: solve for the eigenpairs every that many steps; rows between have NaN, never an old value.
        measure_every: measure α, β, κ, G every that many steps, and at every step of the first two such stretches
            (0: never); only on tracked steps.
        divergence: how many times larger a loss counts as diverged, see `divergence_bound`.
        tuner_state: the tuner's own state at the start; None for a fresh one.
        direction: where the steps go; None for steepest descent.
    """

    objective: AbstractObjective
    tuner: AbstractTuner
    tracker: AbstractTracker = eqx.field(converter=as_tracker, default=Tracker())
    track_every: int = eqx.field(static=True, default=1)
    measure_every: int = eqx.field(static=True, default=10)
    divergence: float = eqx.field(static=True, default=1e6)
    tuner_state: Any = None
    direction: Direction | None = None

    class State(eqx.Module):
        weights: Float[Array, " dim"]
        tuner: Memory
        direction: DirectionState | None
        center: Modes
        iterate: Modes | None
        half_step: Float[Array, " dim"]
        bound: Float[Array, ""]

    def init(self, start):
        gradient = None if self.direction is None else jax.grad(self.objective)(start)
        direction = init_direction(self.direction, self.objective, start, gradient)
        scale = None if direction is None else direction.scale
        at = unscale_by(start, scale)
        value, _, pairs = self.tracker.init(scaled(self.objective, scale), at)
        iterate = pairs if self.tuner.needs_sharpness else None
        bound = divergence_bound(value, self.divergence, pairs.values[0], at)
        memory = init_memory(self.tuner, start, self.tuner_state)
        return self.State(start, memory, direction, pairs, iterate, jnp.zeros_like(start), bound)

    def center(self, state, gradient, direction, stepsize, scale, t):
        """The centre at the state's weights, the amplitudes x_i along the modes, and ρd, which the next step needs; the
        first two in the coordinates of the scale."""
        sharpness = to_edge(self.direction, state.center.values[0])
        smoothing, half_step = smoothing_displacement(stepsize, direction, sharpness, state.half_step, t)
        weights = unscale_by(state.weights, scale)
        center, amplitude = oscillation_center(
            weights, scale_by(gradient, scale), state.center, unscale_by(smoothing, scale)
        )
        return center, amplitude, half_step

    def step(self, state, t):
        line = step_line(
            self.objective,
            self.objective,
            state.weights,
            self.direction,
            state.direction,
            self.tracker,
            state.iterate,
            t,
        )
        stepsize, memory, info = select_stepsize(self.tuner, line.ray, state.tuner, line.gradient)
        center, amplitude, half_step = self.center(state, line.gradient, line.ray.direction, stepsize, line.scale, t)

        def observe(pairs):
            measured = is_scheduled(t, self.measure_every)
            fn = scaled(self.objective, line.scale)
            pairs, row = observe_center(fn, center, pairs, self.tracker, measured, self.track_every)
            return pairs, row | {"amplitude": amplitude}

        pairs, observed = run_every(t, self.track_every, state.center, observe)
        direction, growth = update_growth(self.direction, line.direction, stepsize, observed["sharpness"])
        size = norm(line.gradient)
        row, status = step_report(line.value, stepsize, size, state.bound, info)
        row |= {
            "iterate_sharpness": line.sharpness,
            "gradient_norm": size,
            "alignment": alignment(pairs, scale_by(line.gradient, line.scale)),
            "ascending": line.ray.slope > 0,
            **observed,
            **growth,
        }
        weights = state.weights + stepsize * line.ray.direction
        return (
            self.State(weights, memory, direction, pairs, line.pairs, half_step, state.bound),
            row,
            observed_status(status, observed),
        )
