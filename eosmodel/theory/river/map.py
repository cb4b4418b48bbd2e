"""The river's map: oscillation, springs, flow time and the tuner, a few hundred numbers from step to step."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import check_range
from eosmodel._status import Status
from eosmodel.dynamics import AbstractDynamics, divergence_bound
from eosmodel.rays import QuadraticRay, Secant
from eosmodel.theory._steps import model_report, relaxation
from eosmodel.theory.complementarity import symmetric_basis
from eosmodel.theory.river.flow import LEAST_EIGENVALUE
from eosmodel.theory.river.river import River
from eosmodel.tuners.base import AbstractTuner, ask, init_state

# The bulk's gradient, expanded about the river, is no smaller than this share of the river's.
_LEAST_GRADIENT = 1e-3
# ln λ was off by less than the first plus the second times the largest displacement of ln λ so far at 90 % of the steps
# on the network with which they were chosen (digits, tanh, seed 11; predictions from w_0 and from step 20).
_UNSURE, _UNSURE_SHARE = 0.05, 0.35


class RiverMap(AbstractDynamics):
    """A tuner on a river: the loss and ln H expanded about gradient flow, to second and to first order.

    The centre of a run is displaced from the river by δ, which the oscillation x pushes along E_ij ∇(ln H)_ij and the
    bulk pulls back. Spring b is the part of δ at curvature μ_b, E the energy of the oscillation in the metric of ln H,
    and everything of two indices is symmetric and has p = k(k + 1)/2 coordinates:

        s_b' = e^{−ημ_b} s_b + E (1 − e^{−ημ_b})/μ_b           P_j' = P_j + η h_j(τ) E
        s̃_b  = s_b + Σ_j ρ_bj(τ) P_j                            (what the flow remembers beyond e^{−μt})
        H    = R e^{−Σ_b W_b s̃_b} R,    R² = H_r(τ),           E = ½ y yᵀ,  y = e^{−Σ W_b s̃_b/2} R x
        x'   = (1 − ηH) x + (∫_τ^{τ+η} g_u − η g_u(τ)),         τ' = τ + η
        L̄    = L_r(τ) − Σ_b c_b·s̃_b + ½ Σ_b μ_b s̃_b·W_b s̃_b,    L = L̄ + g_u·x + ½ xᵀHx

    The loss at the centre in a row is the least one along the modes, L̄ − ½ g_uᵀH⁻¹g_u, as a run's is.

    The tuner looks along the parabola of this expansion, with the bulk's gradient in mode b displaced by
    f_b = E − μ_b s̃_b: its square is G_b + 2 c_b·f_b + f_b·W_b f_b, and curvatures weigh it with μ_b. The gradient along
    the modes is Hx + g_u, g_u that of the river.

    A row has `sharpness_uncertainty` as well, of ln λ: what linear response leaves out grows with the displacement
    |ln λ − ln λ_r(τ)|, and its largest value so far stands for it.

    Fields
        river: of the network, from the weights at which the prediction begins or a run has begun.
        tuner: the rule.
        reach: the theory has left its range where λ is below 1/reach of the river's. It is wide: a displacement that
            has grown slowly is predicted well at a twentieth of the river's λ, one from a kick is not at a third.
        divergence: a loss above this multiple of the river's first one ends the run. Of runs ½λ‖w₀‖² counts as well,
            see `divergence_bound`; a river does not know the weights.

    Status OUT_OF_RANGE: λ below that, a flow time beyond the river's length, or a loss of the centre that is not
    positive.

    Raises:
        ValueError: reach ≤ 1.
    """

    river: River
    tuner: AbstractTuner
    reach: float = eqx.field(static=True, default=50.0)
    divergence: float = eqx.field(static=True, default=1e6)

    class State(eqx.Module):
        tau: Float[Array, ""]
        amplitude: Float[Array, " modes"]
        springs: Float[Array, "springs pairs"]
        pushes: Float[Array, "launches pairs"]
        level: Float[Array, ""]
        tuner: Any
        secant: Secant
        bound: Float[Array, ""]
        displaced: Float[Array, ""]

    def __check_init__(self):
        check_range("RiverMap", "reach", self.reach, 1, low_open=True)

    def init(self, start):
        zero = jnp.zeros_like(start.tau)
        bound = divergence_bound(jnp.exp(self.river.log_loss[0]), self.divergence)
        memory = init_state(self.tuner, zero.dtype) if start.tuner is None else start.tuner
        return self.State(
            start.tau,
            start.amplitude,
            start.springs,
            start.pushes,
            start.level,
            memory,
            Secant(zero, zero, zero),
            bound,
            zero,
        )

    def step(self, state, t):
        river, tau, x = self.river, state.tau, state.amplitude
        mu = river.curvature
        basis = jnp.asarray(symmetric_basis(river.modes), mu.dtype)
        here = river.at(tau)
        springs = state.springs + here.recall @ state.pushes

        answer = jnp.einsum("bij,bj->bi", here.response, springs)
        growth = _exponential(-0.5 * jnp.einsum("n,nij->ij", jnp.sum(answer, axis=0), basis)) @ here.root
        hessian = growth.T @ growth
        y = growth @ x
        energy = 0.5 * jnp.einsum("i,nij,j->n", y, basis, y)
        values, axes = jnp.linalg.eigh(hessian)
        center = state.level * here.loss + jnp.sum(springs * (0.5 * mu[:, None] * answer - here.cross))
        value = center + here.pull @ x + 0.5 * y @ y
        # A run's centre is where the gradient along its modes vanishes.
        least = center - 0.5 * jnp.sum((here.pull @ axes) ** 2 / jnp.maximum(values, LEAST_EIGENVALUE * values[-1]))
        values = values[::-1]

        force = energy - mu[:, None] * springs
        shift = 2 * here.cross + jnp.einsum("bij,bj->bi", here.response, force)
        power = jnp.maximum(here.gradient + jnp.sum(force * shift, axis=1), _LEAST_GRADIENT * here.gradient)
        sharp = hessian @ x + here.pull
        bent = hessian @ sharp
        square = jnp.sum(power) + sharp @ sharp
        second = jnp.sum(mu * power) + sharp @ bent
        line = QuadraticRay(value, -square, second, t, values[0], state.secant)
        eta, memory, info = ask(self.tuner, line, state.tuner)

        apart = jnp.abs(jnp.log(jnp.maximum(values[0], LEAST_EIGENVALUE * here.sharpness) / here.sharpness))
        displaced = jnp.maximum(state.displaced, apart)
        decay = jnp.exp(-eta * mu)[:, None]
        new = self.State(
            tau + eta,
            x - eta * (hessian @ x) + river.climb(tau + eta) - here.climb - eta * here.pull,
            decay * state.springs + relaxation(eta, mu)[:, None] * energy,
            state.pushes + eta * river.hats(tau)[:, None] * energy,
            state.level,
            memory,
            Secant(eta**2 * square, eta**2 * second, eta**2 * (jnp.sum(mu**2 * power) + bent @ bent)),
            state.bound,
            displaced,
        )
        row, status = model_report(value, eta, jnp.sqrt(square), state.bound, values, least, info)
        row |= {"amplitude": x, "sharpness_uncertainty": _UNSURE + _UNSURE_SHARE * displaced}
        lost = (tau > river.length) | ~(values[0] * self.reach > here.sharpness) | ~(center > 0)
        status = jnp.where((status == int(Status.OK)) & lost, int(Status.OUT_OF_RANGE), status)
        return new, row, status.astype(jnp.int32)


def _exponential(matrix):
    """e^A of a small matrix: the Taylor polynomial of A/4 of degree 4, squared twice."""
    a = matrix / 4
    square = a @ a
    eye = jnp.eye(a.shape[0], dtype=a.dtype)
    e = eye + a + square @ (eye / 2 + a / 6 + square / 24)
    e = e @ e
    return e @ e
