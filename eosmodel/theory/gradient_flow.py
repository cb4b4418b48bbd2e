"""Gradient flow clocked by a tuner: the centre–oscillation model without oscillation."""

import equinox as eqx
from jaxtyping import Array, Float

from eosmodel._units import norm
from eosmodel.curvature import AbstractTracker, Modes, linearize
from eosmodel.dynamics import AbstractDynamics, divergence_bound
from eosmodel.objectives.base import AbstractObjective
from eosmodel.rays import steepest
from eosmodel.theory._steps import model_report, model_tracker, relaxation
from eosmodel.theory.ingredients import outside
from eosmodel.tuners.base import AbstractTuner, Memory, init_memory, select_stepsize


class GradientFlow(AbstractDynamics):
    """Gradient flow with the tuner's own step as its clock: the model with the oscillation left out.

    The tuner looks along the ray at the flow's weights w, and the flow is advanced by a time η:
    exactly along the tracked modes, w' = w − η P⊥g − Σ_i u_i φ_i (u_i·g), to first order off them, where ηλ is small.
    Under the on-edge tuner this is the EOS-only model: η = 2/λ, whatever λ does.

    Fields as in `CenterOscillation`.
    """

    objective: AbstractObjective
    tuner: AbstractTuner
    tracker: AbstractTracker = eqx.field(converter=model_tracker, default=model_tracker())
    divergence: float = eqx.field(static=True, default=1e6)

    class State(eqx.Module):
        weights: Float[Array, " dim"]
        pairs: Modes
        tuner: Memory
        bound: Float[Array, ""]

    def init(self, start):
        value, _, pairs = self.tracker.init(self.objective, start)
        bound = divergence_bound(value, self.divergence, pairs.values[0], start)
        return self.State(start, pairs, init_memory(self.tuner, start), bound)

    def weights(self, state):
        return state.weights

    def step(self, state, t):
        value, gradient, matvec = linearize(self.objective, state.weights)
        pairs, info = self.tracker.update(matvec, state.pairs)
        values, vectors = pairs.values, pairs.vectors
        line = steepest(self.objective, state.weights, value, gradient, t, values[0])
        stepsize, memory, tuner_info = select_stepsize(self.tuner, line, state.tuner, gradient)
        # Twice: at ηλ ≫ 1 what rounding leaves of the sharp modes would move them by that multiple of their size.
        bulk = outside(outside(gradient, pairs), pairs)
        weights = state.weights - stepsize * bulk - (relaxation(stepsize, values) * (vectors @ gradient)) @ vectors
        row, status = model_report(value, stepsize, norm(gradient), state.bound, values, value, tuner_info)
        return self.State(weights, pairs, memory, state.bound), row | info._asdict(), status
