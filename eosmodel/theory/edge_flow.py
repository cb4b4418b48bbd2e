"""A comparator for constant steps: a centre and one oscillation vector, whose direction one product a step carries."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._units import norm
from eosmodel.curvature import leading, linearize, oscillation
from eosmodel.dynamics import AbstractDynamics, divergence_bound
from eosmodel.objectives.base import AbstractObjective
from eosmodel.rays import steepest
from eosmodel.theory._steps import model_report, relaxation
from eosmodel.tuners.base import AbstractTuner, Memory, init_memory, select_stepsize


class EdgeFlow(AbstractDynamics):
    """A model of the type of Edge Flow: centre w̄ and one oscillation vector xu, without an eigen-solver on the way.

    Derived here from the abstract of the source; its equations were not at hand, and this is not the author's code.

    With g± = ∇L(w̄ ± xu), F = ½(g₊ + g₋), A = ½(g₊ − g₋), H = ∇²L(w̄) and the Rayleigh quotient λ = u·Hu, one step is

        w̄' = w̄ − η(F − u(u·F)) − φ u(u·F),      φ = (1 − e^{−ηλ})/λ
        x' = x − η u·A − (η − φ) u·F
        u' = Hu/‖Hu‖

    Taken from the source are the three variables centre, direction and magnitude; a centre that descends the loss
    averaged over w̄ ± xu (F is the gradient of that average); a direction that follows the Rayleigh quotient flow
    u̇ ∝ Hu − λu, of which u' is one Euler step of length 1/λ; a magnitude that grows where ηλ > 2 and shrinks where
    ηλ < 2; and the price, two gradients and one Hessian–vector product. The rest is `CenterOscillation` with one mode:
    its step in time, its split of the start along the leading mode (the one eigen-solve that there is), and its
    conservation of the iterate w̄ + xu, by which a drifting floor and a turning u feed the oscillation and the centre
    what the other loses. So no first magnitude has to be chosen.

    It is made for constant steps and schedules. Any tuner works: it looks along the true line through w̄ + xu down
    −g₊. `sharpness` is the Rayleigh quotient, which is never above the largest eigenvalue of H, and `residual` is
    ‖Hu − λu‖/λ: where two eigenvalues are close, one product a step follows slowly when they change places. A
    second mode at the edge is not modelled; the centre oscillates along it. Where λ ≤ 0, which is also where u has
    turned to a negative curvature larger than all positive ones, it ends with status OUT_OF_RANGE.

    Fields
        objective, tuner: what is modelled.
        divergence: how many times larger a loss counts as diverged, see `divergence_bound`.

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> from eosmodel.simulation import run
        >>> floor = eos.objectives.Valley(22.0, 4.0, [1.0], [0.5], [0.1, -3.0])
        >>> rows = run(EdgeFlow(floor, eos.tuners.Constant(jnp.asarray(0.1))), floor.initial(), 2000).rows
        >>> round(float(rows["sharpness"][-1]), 3), round(float(rows["amplitude"][-1, 0]) ** 2, 3)  # 2/η and 2α/β
        (20.0, 0.5)

    Source: Marion (arXiv 2606.18080), its abstract alone.
    """

    objective: AbstractObjective
    tuner: AbstractTuner
    divergence: float = eqx.field(static=True, default=1e6)

    class State(eqx.Module):
        center: Float[Array, " dim"]
        oscillation: Float[Array, " dim"]
        direction: Float[Array, " dim"]
        tuner: Memory
        bound: Float[Array, ""]

    def init(self, start):
        value, gradient, pairs = leading(self.objective, start, 1)
        displacement = oscillation(gradient, pairs) @ pairs.vectors
        memory = init_memory(self.tuner, start)
        bound = divergence_bound(value, self.divergence, pairs.values[0], start)
        return self.State(start - displacement, displacement, pairs.vectors[0], memory, bound)

    def weights(self, state):
        return state.center + state.oscillation

    def step(self, state, t):
        u = state.direction
        center_loss, _, matvec = linearize(self.objective, state.center)
        bent = matvec(u)
        sharpness = u @ bent
        amplitude = u @ state.oscillation
        displacement = amplitude * u
        # The part of the oscillation that u has rotated away from goes to the centre.
        resting = state.center + (state.oscillation - displacement)

        iterate = resting + displacement
        value, above = jax.value_and_grad(self.objective)(iterate)
        below = jax.grad(self.objective)(resting - displacement)
        even, odd = 0.5 * (above + below), 0.5 * (above - below)
        line = steepest(self.objective, iterate, value, above, t, sharpness)
        stepsize, memory, info = select_stepsize(self.tuner, line, state.tuner, above)

        to_oscillation = (stepsize - relaxation(stepsize, sharpness)) * (u @ even)
        center = resting - stepsize * even + to_oscillation * u
        displacement = (amplitude - stepsize * (u @ odd) - to_oscillation) * u
        length = norm(bent)
        direction = jnp.where(length > 0, bent / jnp.where(length > 0, length, 1), u)
        row, status = model_report(value, stepsize, norm(above), state.bound, sharpness[None], center_loss, info)
        row |= {
            "amplitude": amplitude[None],
            "residual": norm(bent - sharpness * u) / jnp.abs(sharpness),
            "products": jnp.asarray(1, jnp.int32),
        }
        return self.State(center, displacement, direction, memory, state.bound), row, status
