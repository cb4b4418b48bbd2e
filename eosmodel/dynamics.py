"""What can be run: a state that a step advances, and the row of quantities that the step reports.

Experiments and theories are both dynamics, so that one loop runs them and one set of names labels them. `Descent` is
the experiment: real gradient descent on an objective under a tuner, with the sharpness followed at the centre of the
oscillation.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel._status import Status
from eosmodel.curvature import Modes, leading, linearize, off_modes, oscillation, slow_coefficients, track
from eosmodel.objectives.base import AbstractObjective
from eosmodel.rays import steepest
from eosmodel.tuners.base import AbstractTuner, Memory, begin, choose

Row = dict[str, Array]


class AbstractDynamics(eqx.Module):
    """A discrete dynamical system that the loop can run.

    The least an extension supplies: `init` makes the state at step 0 from the starting weights, and `step` maps
    (state, step index) to the next state, a row of scalars and small vectors describing the state *before* the
    update (and the step size taken from it), and a status code; a code other than `Status.OK` ends the run and
    drops the row.
    """

    @abc.abstractmethod
    def init(self, start: Float[Array, " dim"]) -> Any: ...

    @abc.abstractmethod
    def step(self, state: Any, t: Int[Array, ""]) -> tuple[Any, Row, Int[Array, ""]]: ...


def status_of(loss, stepsize, gradient_norm, bound) -> Int[Array, ""]:
    """The status of a step from its numbers; `bound` is the loss beyond which a run counts as diverged."""
    finite = jnp.isfinite(loss) & jnp.isfinite(stepsize) & jnp.isfinite(gradient_norm)
    bad = jnp.where(finite, int(Status.DIVERGED), int(Status.NONFINITE))
    return jnp.where(finite & (loss <= bound), int(Status.OK), bad).astype(jnp.int32)


def divergence_bound(value, multiple) -> Float[Array, ""]:
    """The loss beyond which a run that began at `value` counts as diverged; a start at 0 has rounding to grow from."""
    return multiple * jnp.maximum(jnp.abs(value), jnp.finfo(value.dtype).eps)


class Descent(AbstractDynamics):
    """Gradient descent w' = w − η∇L(w), η from the tuner on the true ray; the sharpness tracked beside it.

    The centre of a real run is w̄_t = w_t − Σ_i x_i u_i − ½ P⊥(ρ_t g_t − ρ_{t−1} g_{t−1}), g = ∇L(w): a Newton step
    x_i = (u_i·g_t)/λ_i along the modes tracked at the previous centre, and off them, with ρ = min(η/2, 1/λ_1), the
    average (w_{t−1} + 2w_t + w_{t+1})/4 of three iterates, shorter where a step goes beyond the edge. The average
    cancels the oscillation of every mode near the edge, tracked or not, and leaves a smooth path in place. Without
    it the Hessian at the centre would alternate with the modes that are not tracked. Eigenpairs, L̄ and the slow
    coefficients are solved for at w̄_t.

    Fields
        objective, tuner: what is run.
        modes: number of leading eigenpairs followed.
        track_every: solve for the eigenpairs every that many steps; rows between have NaN, never an old value.
        measure_every: measure α, β, κ, G every that many steps, and at every step of the first two such stretches
            (0: never); only on tracked steps.
        divergence: a loss above this multiple of the initial one ends the run.
        tuner_state: the tuner's own state at the start; None for a fresh one.
    """

    objective: AbstractObjective
    tuner: AbstractTuner
    modes: int = eqx.field(static=True, default=3)
    track_every: int = eqx.field(static=True, default=1)
    measure_every: int = eqx.field(static=True, default=10)
    divergence: float = eqx.field(static=True, default=1e6)
    tuner_state: Any = None

    class State(eqx.Module):
        weights: Float[Array, " dim"]
        tuner: Memory
        center: Modes
        iterate: Modes | None
        pull: Float[Array, " dim"]
        bound: Float[Array, ""]

    def init(self, start):
        value, _, pairs = leading(self.objective, start, self.modes)
        iterate = pairs if self.tuner.needs_sharpness else None
        bound = divergence_bound(value, self.divergence)
        memory = begin(self.tuner, start, self.tuner_state)
        return self.State(start, memory, pairs, iterate, jnp.zeros_like(start), bound)

    def center(self, state, gradient, stepsize, t):
        """The centre at the state's weights, the amplitudes x_i along the modes, and ρ∇L, which the next step needs."""
        pairs = state.center
        amplitude = oscillation(gradient, pairs)
        edge = jnp.where(pairs.values[0] > 0, 1 / jnp.where(pairs.values[0] > 0, pairs.values[0], 1), 0)
        pull = jnp.minimum(0.5 * stepsize, edge) * gradient
        turned = 0.5 * (pull - jnp.where(t == 0, pull, state.pull))
        return state.weights - amplitude @ pairs.vectors - off_modes(turned, pairs), amplitude, pull

    def step(self, state, t):
        weights, dtype = state.weights, state.weights.dtype
        nan = jnp.asarray(jnp.nan, dtype)
        if self.tuner.needs_sharpness:
            value, gradient, matvec = linearize(self.objective, weights)
            iterate, _ = track(matvec, state.iterate)
            sharpness = iterate.values[0]
        else:
            value, gradient = jax.value_and_grad(self.objective)(weights)
            iterate, sharpness = None, nan

        square = jnp.vdot(gradient, gradient)
        norm = jnp.sqrt(square)
        line = steepest(self.objective, weights, value, gradient, t, sharpness)
        stepsize, memory, info = choose(self.tuner, line, state.tuner, gradient)
        center, amplitude, pull = self.center(state, gradient, stepsize, t)

        def tracked(pairs):
            center_loss, center_gradient, center_matvec = linearize(self.objective, center)
            pairs, solved = track(center_matvec, pairs)
            # The first steps change everything at once; a grid that misses them misplaces all that follows.
            due = jnp.asarray(False)
            if self.measure_every:
                due = (t % self.measure_every == 0) | (t < 2 * self.measure_every)
            slow = jax.lax.cond(
                due,
                lambda: tuple(slow_coefficients(self.objective, center, center_gradient, pairs)),
                lambda: (nan, nan, nan, nan),
            )
            return pairs, (pairs.values, amplitude, center_loss, *solved, *slow)

        def skipped(pairs):
            blank = jnp.full((pairs.values.shape[0],), jnp.nan, dtype)
            none = (nan, jnp.asarray(0, jnp.int32), jnp.asarray(False))
            return pairs, (blank, blank, nan, *none, nan, nan, nan, nan)

        if self.track_every == 1:
            pairs, seen = tracked(state.center)
        else:
            pairs, seen = jax.lax.cond(t % self.track_every == 0, tracked, skipped, state.center)
        eigenvalues, amplitude, center_loss, residual, products, converged, alpha, beta, kappa, bulk = seen

        row = {
            "loss": value,
            "stepsize": stepsize,
            "sharpness": eigenvalues[0],
            "iterate_sharpness": sharpness,
            "center_loss": center_loss,
            "gradient_norm": norm,
            "alignment": jnp.abs(pairs.vectors[0] @ gradient) / jnp.where(norm > 0, norm, 1),
            "eigenvalues": eigenvalues,
            "amplitude": amplitude,
            "residual": residual,
            "products": products,
            "converged": converged,
            "alpha": alpha,
            "beta": beta,
            "kappa": kappa,
            "bulk_gradient": bulk,
            "evaluations": info.evaluations,
            "search_failed": info.failed,
        }
        new = self.State(weights - stepsize * gradient, memory, pairs, iterate, pull, state.bound)
        return new, row, status_of(value, stepsize, norm, state.bound)
