"""The stochastic experiment: every step sees a loss drawn for it, and the full loss is looked at beside it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel.curvature import Modes, grow, leading, scaled, shrink
from eosmodel.directions import Direction
from eosmodel.dynamics.base import AbstractDynamics, divergence_bound, status_of
from eosmodel.dynamics.center import alignment, due, every, look, oscillation_center
from eosmodel.dynamics.lines import Course, aim, followed, init_direction
from eosmodel.objectives.batches import AbstractBatches, Noise
from eosmodel.rays import along
from eosmodel.tuners.base import AbstractTuner, Memory, gradient_change, init_memory, select_stepsize


class StochasticDescent(AbstractDynamics):
    """Descent on batches: gradient, line and whatever the tuner looks at are those of the loss drawn for the
    step; a rule that needs the sharpness gets the batch's own, one that needs the secant the last step's on this batch.

    Beside it, on tracked steps, of the full loss: its value, and at the centre w̄ = w − Σ_i x_i u_i,
    x_i = (u_i·∇L)/λ_i, eigenpairs, L̄ and slow coefficients. Iterates are not averaged off the modes, as they are
    without noise, for noise does not alternate. Of the batch: its value, and its curvature along its own gradient,
    g·H_B g/‖g‖², whose mean is the "batch sharpness" (Andreyev & Beneventano, arXiv 2412.20553). Where α, β, κ, G are
    measured so is the noise, see `Noise`.

    The start is a `SeededStart`: weights, and the seed of the draws.

    Fields
        batches: the stochastic objective.
        tuner, modes, track_every, measure_every, divergence, direction: as in `Descent`; a batch's loss above the
            bound ends the run.
    """

    batches: AbstractBatches
    tuner: AbstractTuner
    modes: int = eqx.field(static=True, default=3)
    track_every: int = eqx.field(static=True, default=1)
    measure_every: int = eqx.field(static=True, default=10)
    divergence: float = eqx.field(static=True, default=1e6)
    direction: Direction | None = None

    class State(eqx.Module):
        weights: Float[Array, " dim"]
        seed: Int[Array, ""]
        tuner: Memory
        course: Course | None
        center: Modes
        batch: Modes | None
        bound: Float[Array, ""]

    def init(self, start):
        weights, seed = start
        full = self.batches.objective
        gradient = None
        if self.direction is not None:
            gradient = jax.grad(self.batches.draw(seed, jnp.zeros_like(seed)))(weights)
        course = init_direction(self.direction, full, weights, gradient)
        scale = None if course is None else course.scale
        value, _, pairs = leading(scaled(full, scale), shrink(weights, scale), self.modes)
        batch = pairs if self.tuner.needs_sharpness else None
        bound = divergence_bound(value, self.divergence)
        return self.State(weights, seed, init_memory(self.tuner, weights), course, pairs, batch, bound)

    def step(self, state, t):
        weights, dtype = state.weights, state.weights.dtype
        full, batch = self.batches.objective, self.batches.draw(state.seed, t)
        aimed = aim(batch, full, weights, self.direction, state.course, state.batch, t)
        value, gradient, line, course, scale, modes, sharpness = aimed
        norm = jnp.linalg.norm(gradient)
        change = gradient_change(batch, weights, gradient, state.tuner, scale)
        stepsize, memory, info = select_stepsize(self.tuner, line, state.tuner, gradient, change)

        def seen(pairs):
            loss, whole = jax.value_and_grad(full)(weights)
            center, amplitude = oscillation_center(shrink(weights, scale), grow(whole, scale), pairs)
            now = due(t, self.measure_every)
            pairs, row = look(scaled(full, scale), center, pairs, now, self.track_every)
            here = grow(center, scale)
            nothing = Noise.unknown(pairs.values.shape[0], dtype)
            noise = jax.lax.cond(now, lambda: self.batches.noise(here, pairs, scale), lambda: nothing)
            steep = along(batch, weights, value, gradient, None, t, sharpness)
            square = jnp.vdot(gradient, gradient)
            row = row | {
                "loss": loss,
                "amplitude": amplitude,
                "alignment": alignment(pairs, grow(gradient, scale)),
                "batch_sharpness": steep.curvature() / jnp.where(square > 0, square, jnp.nan),
                **noise._asdict(),
            }
            return pairs, row

        pairs, tracked = every(t, self.track_every, state.center, seen)
        course, extra = followed(self.direction, course, stepsize, tracked["sharpness"])
        row = {
            "batch_loss": value,
            "stepsize": stepsize,
            "iterate_sharpness": sharpness,
            "gradient_norm": norm,
            "evaluations": info.evaluations,
            "search_failed": info.failed,
            "ascending": line.slope > 0,
            **tracked,
            **extra,
        }
        new = weights + stepsize * line.direction
        status = status_of(value, stepsize, norm, state.bound)
        return self.State(new, state.seed, memory, course, pairs, modes, state.bound), row, status
