"""The stochastic experiment: every step sees a loss drawn for it, and the full loss is observed beside it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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
    unobserved,
)
from eosmodel.dynamics.lines import DirectionState, init_direction, observe_critical, step_line, update_growth
from eosmodel.objectives.batches import AbstractBatches, Noise
from eosmodel.rays import steepest
from eosmodel.tuners.base import AbstractTuner, Memory, gradient_change, init_memory, select_stepsize


class StochasticDescent(AbstractDynamics):
    """Descent on batches: gradient, line and whatever the tuner evaluates are those of the loss drawn for the
    step; a rule that needs the sharpness gets the batch's own, one that needs the secant the last step's on this batch.

    Beside it, on tracked steps, of the full loss: its value, and at the centre w̄ = w − Σ_i x_i u_i,
    x_i = (u_i·∇L)/λ_i, eigenpairs, L̄ and slow coefficients. Iterates are not averaged off the modes, as they are
    without noise, for noise does not alternate. Of the batch: its value, and its curvature along its own gradient,
    g·H_B g/‖g‖², whose mean is the "batch sharpness" (Andreyev & Beneventano, arXiv 2412.20553). Where α, β, κ, G are
    measured so is the noise, see `Noise`.

    The start is a `SeededStart`: weights, and the seed of the draws.

    Fields
        batches: the stochastic objective.
        tuner, tracker, track_every, measure_every, divergence, direction, critical: as in `Descent`; a batch's loss
            above the bound ends the run, and λ_c is that of the batch's loss.
        first: steps of the run that this one continues, whose batches are past.
    """

    batches: AbstractBatches
    tuner: AbstractTuner
    tracker: AbstractTracker | None = eqx.field(converter=as_tracker, default=Tracker())
    track_every: int = eqx.field(static=True, default=1)
    measure_every: int = eqx.field(static=True, default=10)
    divergence: float = eqx.field(static=True, default=1e6)
    direction: Direction | None = None
    critical: bool = eqx.field(static=True, default=False)
    first: Int[Array, ""] | int = 0

    class State(eqx.Module):
        weights: Float[Array, " dim"]
        seed: Int[Array, ""]
        tuner: Memory
        direction: DirectionState | None
        center: Modes | None
        batch: Modes | None
        bound: Float[Array, ""]
        critical: Float[Array, ""] | None

    def __check_init__(self):
        check_tracked("StochasticDescent", self.tuner, self.tracker)

    def init(self, start):
        weights, seed = start
        full = self.batches.objective
        gradient = None
        if self.direction is not None:
            gradient = jax.grad(self.batches.draw(seed, jnp.zeros_like(seed) + self.first))(weights)
        direction = init_direction(self.direction, full, weights, gradient)
        scale = None if direction is None else direction.scale
        pairs, bound = begin(self.tracker, scaled(full, scale), unscale_by(weights, scale), self.divergence)
        batch = pairs if self.tuner.needs_sharpness else None
        critical = jnp.zeros((), weights.dtype) if self.critical else None
        return self.State(weights, seed, init_memory(self.tuner, weights), direction, pairs, batch, bound, critical)

    def weights(self, state):
        return state.weights

    def step(self, state, t):
        weights = state.weights
        full, batch = self.batches.objective, self.batches.draw(state.seed, t + self.first)
        line = step_line(batch, full, weights, self.direction, state.direction, self.tracker, state.batch, t)
        change = gradient_change(batch, weights, line.gradient, state.tuner, line.scale)
        stepsize, memory, info = select_stepsize(self.tuner, line.ray, state.tuner, line.gradient, change)

        pairs, observed = run_every(
            t, self.track_every, state.center, lambda pairs: self._observe(batch, weights, line, pairs, t)
        )
        critical, curvature = observe_critical(line, stepsize, state.critical, t, self.track_every)
        if pairs is not None:
            observed |= {"alignment": alignment(pairs, scale_by(line.gradient, line.scale))}
        direction, growth = update_growth(self.direction, line.direction, stepsize, observed["sharpness"])
        size = norm(line.gradient)
        row, status = step_report(line.value, stepsize, size, state.bound, info)
        row |= {
            "batch_loss": line.value,
            "iterate_sharpness": line.sharpness,
            "gradient_norm": size,
            "ascending": line.ray.slope > 0,
            **observed,  # with `loss`, the full one
            **curvature,
            **growth,
        }
        # A sample that is no number spoils the full loss, and not a run whose batches never meet it.
        status = jnp.where(jnp.isfinite(observed["loss"]), observed_status(status, observed), status)
        new = weights + stepsize * line.ray.direction
        row["moved"] = jnp.any(new != weights)
        following = self.State(new, state.seed, memory, direction, pairs, line.pairs, state.bound, critical)
        return following, row, status

    def _observe(self, batch, weights, line, pairs, t):
        """Of the full loss: its value, and what there is at the centre; of the batch: its curvature along its own
        gradient."""
        full, scale = self.batches.objective, line.scale
        if self.tracker is None:
            return None, unobserved(line.value) | {"loss": full(weights)}
        loss, gradient = jax.value_and_grad(full)(weights)
        center, amplitude = oscillation_center(unscale_by(weights, scale), scale_by(gradient, scale), pairs)
        measured = is_scheduled(t, self.measure_every)
        pairs, row = observe_center(scaled(full, scale), center, pairs, self.tracker, measured, self.track_every)
        unknown = Noise.unknown(pairs.values.shape[0], weights.dtype)
        center = scale_by(center, scale)
        noise = jax.lax.cond(measured, lambda: self.batches.noise(center, pairs, scale), lambda: unknown)
        ray = steepest(batch, weights, line.value, line.gradient, t, line.sharpness)
        square = jnp.vdot(line.gradient, line.gradient)
        row |= {
            "loss": loss,
            "amplitude": amplitude,
            "batch_sharpness": ray.curvature() / jnp.where(square > 0, square, jnp.nan),
            **noise._asdict(),
        }
        return pairs, row
