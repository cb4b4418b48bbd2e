"""A comparator for constant steps: two consecutive iterates as a rod, whose centre and extent flow."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import check_count
from eosmodel._units import norm
from eosmodel.curvature import AbstractTracker, Modes, linearize
from eosmodel.dynamics import AbstractDynamics, divergence_bound
from eosmodel.objectives.base import AbstractObjective
from eosmodel.rays import steepest
from eosmodel.theory._steps import model_report, model_tracker
from eosmodel.tuners.base import AbstractTuner, Memory, init_memory, select_stepsize


class RodFlow(AbstractDynamics):
    """Rod Flow, with several rods: descent as a rod, with the ends w̄ ± δ for two consecutive iterates.

    The centre w̄ = ½(w_t + w_{t+1}) and the extent Σ = δδᵀ, δ = ½(w_{t+1} − w_t), of descent obey, with F the mean and
    A half the difference of the gradients at both ends,

        w̄' − w̄ = −ηF,      Σ' − Σ = ½η²(FFᵀ + AAᵀ) − 2Σ,

    exactly. Σ does not see the sign of an oscillation that flips at every step, so that both change slowly and may
    flow, t in steps and H the mean of ∇²L at both ends:

        dw̄/dt = −η(F + ½ηHF),      dΣ/dt = ½η²(FFᵀ + AAᵀ) − 2Σ

    ½ηHF is the backward error of descent, by which the flow agrees with it to second order in η. Along a mode Σ grows
    at the rate ½(ηλ)² − 2, positive beyond the edge; what drifts has the extent ½ηF of a step. These are the equations
    of the source, where g± = F ± A. It is not the authors' code, and had to decide:

    - A drift and an oscillation are two directions, and Σ the sum of both: it is kept as `rods` orthogonal rods, the
      leading eigenpairs of what each part of a step makes of them. F is ∇L(w̄) and what each rod's pair of ends adds to
      it, H the same of ∇²L, and every rod has its A. The drift takes one of the rods. What is smallest is dropped, also
      where it would grow later: with two rods the edge is sometimes noticed too late.
    - A step is `substeps` Euler steps of length h = 1/`substeps`. Euler's own error supplies the share h of the
      backward error, so that ½(1 − h)ηHF is added; with h = 1 the model would be descent itself.

    It is made for constant steps and schedules. Any tuner works: it looks along the true line through w̄ − Σ_k δ_k, each
    δ_k pointing downhill. The start is the first step of descent. `loss` is the mean over the ends, half a step later
    than a run's. The eigenpairs at w̄, and with them `sharpness`, are tracked beside the flow, which does not use them.
    `amplitude` is √(u_i·Σu_i). Where λ ≤ 0 it ends with status OUT_OF_RANGE, as the other theories do.

    A step takes 2·`rods` + 1 gradients and Hessian–vector products per substep, as many gradients again, and the
    tracker's products.

    Args:
        objective, tuner: what is modelled.
        tracker: how the leading eigenpairs are followed; a number stands for a `Tracker` of so many modes.
        divergence: how many times larger a loss counts as diverged, see `divergence_bound`.
        rods: rank of Σ, ≥ 1.
        substeps: Euler steps in a step, ≥ 2; with 4 the flow along a mode is stable up to ηλ = 3.4.

    Raises:
        ValueError: a count below its least.

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> from eosmodel.simulation import run
        >>> floor = eos.objectives.Valley(22.0, 4.0, [1.0], [0.5], [0.1, -3.0])
        >>> rows = run(RodFlow(floor, eos.tuners.Constant(jnp.asarray(0.1))), floor.initial(), 2000).rows
        >>> round(float(rows["sharpness"][-1]), 3), round(float(rows["amplitude"][-1, 0]) ** 2, 3)  # 2/η and 2α/β
        (20.0, 0.5)

    Source: Regis & Chewi (arXiv 2602.01480).
    """

    objective: AbstractObjective
    tuner: AbstractTuner
    tracker: AbstractTracker = eqx.field(converter=model_tracker, default=model_tracker())
    divergence: float = eqx.field(static=True, default=1e6)
    rods: int = eqx.field(static=True, default=3)
    substeps: int = eqx.field(static=True, default=4)

    class State(eqx.Module):
        center: Float[Array, " dim"]
        extent: Float[Array, "rods dim"]
        pairs: Modes
        tuner: Memory
        bound: Float[Array, ""]

    def __check_init__(self):
        check_count("RodFlow", "rods", self.rods)
        check_count("RodFlow", "substeps", self.substeps, 2)

    def init(self, start):
        value, gradient, pairs = self.tracker.init(self.objective, start)
        memory, first = init_memory(self.tuner, start), jnp.asarray(0, jnp.int32)
        line = steepest(self.objective, start, value, gradient, first, pairs.values[0])
        stepsize = select_stepsize(self.tuner, line, memory, gradient)[0]
        extent = jnp.zeros((self.rods, start.size), start.dtype).at[0].set(-0.5 * stepsize * gradient)
        bound = divergence_bound(value, self.divergence, pairs.values[0], start)
        return self.State(start + extent[0], extent, pairs, memory, bound)

    def weights(self, state):
        return state.center - jnp.sum(state.extent, axis=0)

    def step(self, state, t):
        center_loss, _, matvec = linearize(self.objective, state.center)
        pairs, tracked = self.tracker.update(matvec, state.pairs)
        added = jax.vmap(self.objective)(_ends(state.center, state.extent)) - center_loss
        loss = center_loss + 0.5 * jnp.sum(added)

        iterate = state.center - jnp.sum(state.extent, axis=0)
        value, gradient = jax.value_and_grad(self.objective)(iterate)
        line = steepest(self.objective, iterate, value, gradient, t, pairs.values[0])
        stepsize, memory, info = select_stepsize(self.tuner, line, state.tuner, gradient)
        center, extent = jax.lax.fori_loop(
            0, self.substeps, lambda _, rod: self._flow(rod[0], rod[1], stepsize), (state.center, state.extent)
        )
        row, status = model_report(loss, stepsize, norm(gradient), state.bound, pairs.values, center_loss, info)
        row |= {"amplitude": jnp.linalg.norm(pairs.vectors @ state.extent.T, axis=1), **tracked._asdict()}
        return self.State(center, extent, pairs, memory, state.bound), row, status

    def _flow(self, center, extent, stepsize):
        """One Euler step of the flow."""
        h = 1 / self.substeps
        slope = jax.grad(self.objective)

        def parts_of(center):
            middle, slopes = slope(center), jax.vmap(slope)(_ends(center, extent))
            above, below = slopes[: self.rods], slopes[self.rods :]
            return middle + jnp.sum(0.5 * (above + below) - middle, axis=0), 0.5 * (above - below)

        (even, odd), product = jax.linearize(parts_of, center)
        grown = jnp.concatenate([even[None], odd])
        # Σ is partsᵀ·parts, and its eigenvectors are mixes of the parts.
        parts = jnp.concatenate([(1 - 2 * h) ** 0.5 * extent, (0.5 * h) ** 0.5 * stepsize * grown])
        new = jnp.linalg.eigh(parts @ parts.T)[1][:, : -self.rods - 1 : -1].T @ parts
        new = jnp.where(new @ even > 0, -1, 1)[:, None] * new
        return center - h * stepsize * (even + 0.5 * (1 - h) * product(stepsize * even)[0]), new


def _ends(center, extent):
    """w̄ + δ_k of all rods, then all w̄ − δ_k."""
    return jnp.concatenate([center + extent, center - extent])
