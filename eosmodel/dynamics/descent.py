"""The full-batch experiment: descent on an objective under a tuner, with the sharpness tracked at the centre."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._units import norm
from eosmodel.curvature import AbstractTracker, Modes, Tracker, as_tracker, scale_by, scaled, unscale_by
from eosmodel.directions import Direction
from eosmodel.dynamics.base import AbstractDynamics, observed_status, step_report
from eosmodel.dynamics.center import (
    alignment,
    begin,
    check_tracked,
    is_scheduled,
    observe_center,
    oscillation_center,
    run_every,
    smoothing_displacement,
    unobserved,
)
from eosmodel.dynamics.lines import (
    DirectionState,
    init_direction,
    observe_critical,
    step_line,
    to_edge,
    update_growth,
)
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
        tracker: how the leading eigenpairs are followed; a number stands for `Tracker(modes=number)`. None for not at
            all: λ is NaN, and nothing else of the Hessian is in the rows.
        track_every: solve for the eigenpairs every that many steps; rows between have NaN, never an old value.
        measure_every: measure α, β, κ, G every that many steps, and at every step of the first two such stretches
            (0: never); only on tracked steps.
        divergence: how many times larger a loss counts as diverged, see `divergence_bound`.
        tuner_state: the tuner's own state at the start; None for a fresh one.
        direction: where the steps go; None for steepest descent.
        critical: also measure the critical sharpness λ_c along the step, every `track_every` steps.

    Raises:
        ValueError: no tracker for a tuner that needs the sharpness.
    """

    objective: AbstractObjective
    tuner: AbstractTuner
    tracker: AbstractTracker | None = eqx.field(converter=as_tracker, default=Tracker())
    track_every: int = eqx.field(static=True, default=1)
    measure_every: int = eqx.field(static=True, default=10)
    divergence: float = eqx.field(static=True, default=1e6)
    tuner_state: Any = None
    direction: Direction | None = None
    critical: bool = eqx.field(static=True, default=False)

    class State(eqx.Module):
        weights: Float[Array, " dim"]
        tuner: Memory
        direction: DirectionState | None
        center: Modes | None
        iterate: Modes | None
        half_step: Float[Array, " dim"] | None
        bound: Float[Array, ""]
        critical: Float[Array, ""] | None

    def __check_init__(self):
        check_tracked("Descent", self.tuner, self.tracker)

    def init(self, start):
        gradient = None if self.direction is None else jax.grad(self.objective)(start)
        direction = init_direction(self.direction, self.objective, start, gradient)
        scale = None if direction is None else direction.scale
        pairs, bound = begin(self.tracker, scaled(self.objective, scale), unscale_by(start, scale), self.divergence)
        iterate = pairs if self.tuner.needs_sharpness else None
        memory = init_memory(self.tuner, start, self.tuner_state)
        half_step = None if pairs is None else jnp.zeros_like(start)
        critical = jnp.zeros((), start.dtype) if self.critical else None
        return self.State(start, memory, direction, pairs, iterate, half_step, bound, critical)

    def center(self, state, gradient, direction, stepsize, scale, t):
        """The centre at the state's weights, and the amplitudes x_i along the modes; both in the coordinates of the
        scale."""
        smoothing = unscale_by(self._smoothing(state, direction, stepsize, t)[0], scale)
        return oscillation_center(unscale_by(state.weights, scale), scale_by(gradient, scale), state.center, smoothing)

    def _smoothing(self, state, direction, stepsize, t):
        """`smoothing_displacement`, and ρd, which the next step needs."""
        sharpness = to_edge(self.direction, state.center.values[0])
        return smoothing_displacement(stepsize, direction, sharpness, state.half_step, t)

    def weights(self, state):
        return state.weights

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
        pairs, half_step, observed = self._observe(state, line, stepsize, t)
        critical, curvature = observe_critical(line, stepsize, state.critical, t, self.track_every)
        direction, growth = update_growth(self.direction, line.direction, stepsize, observed["sharpness"])
        size = norm(line.gradient)
        row, status = step_report(line.value, stepsize, size, state.bound, info)
        row |= {
            "iterate_sharpness": line.sharpness,
            "gradient_norm": size,
            "ascending": line.ray.slope > 0,
            **observed,
            **curvature,
            **growth,
        }
        weights = state.weights + stepsize * line.ray.direction
        row["moved"] = jnp.any(weights != state.weights)
        return (
            self.State(weights, memory, direction, pairs, line.pairs, half_step, state.bound, critical),
            row,
            observed_status(status, observed),
        )

    def _observe(self, state, line, stepsize, t):
        """The eigenpairs, ρd for the next step, and what the row has of them."""
        tracker = self.tracker
        if tracker is None:
            return None, None, unobserved(line.value)
        half_step = self._smoothing(state, line.ray.direction, stepsize, t)[1]

        def observe(pairs):
            center, amplitude = self.center(state, line.gradient, line.ray.direction, stepsize, line.scale, t)
            measured = is_scheduled(t, self.measure_every)
            fn = scaled(self.objective, line.scale)
            pairs, row = observe_center(fn, center, pairs, tracker, measured, self.track_every)
            return pairs, row | {"amplitude": amplitude}

        pairs, row = run_every(t, self.track_every, state.center, observe)
        return pairs, half_step, row | {"alignment": alignment(pairs, scale_by(line.gradient, line.scale))}
