"""The river's map: oscillation, springs, flow time and the tuner, a few hundred numbers from step to step."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel._checks import check_range
from eosmodel._status import Status
from eosmodel.dynamics import AbstractDynamics, divergence_bound, step_report
from eosmodel.rays import QuadraticRay, Secant
from eosmodel.theory._steps import relaxation, valid
from eosmodel.theory.river.chart import log_fall, matrix_fall
from eosmodel.theory.river.flow import LEAST_EIGENVALUE
from eosmodel.theory.river.river import Flow, River
from eosmodel.tuners.base import AbstractTuner, ask, init_state

# The bulk's gradient, expanded about the river, is no smaller than this share of the river's.
_LEAST_GRADIENT = 1e-3
# Memory, in steps, of the mean displacement by which the nearest flow is chosen.
_RECENT = 50.0
# The largest curvature is found by so many squarings.
_SQUARINGS = 10
# Distance of a flow whose expansion has ended: far above a sum of displacements, and finite, or a diagram would take
# the state for one that has diverged.
_ENDED = 1e9
# ln λ was off by less than the first plus the second times the largest displacement of ln λ so far at 90 % of the steps
# on the network with which they were chosen (digits, tanh, seed 11; predictions from w_0 and from step 20, about the
# free flow alone).
_UNSURE, _UNSURE_SHARE = 0.05, 0.35


class FlowMap(eqx.Module):
    """A tuner on one flow: the loss expanded about it to second order, the leading curvatures in a chart.

    The centre of a run is displaced from the flow by δ, which the oscillation x pushes along E_ij ∇(ln H)_ij and the
    bulk pulls back; what holds the flow at its cap pushes the flow itself already. Spring b is the part of δ at
    curvature μ_b, E what the oscillation pushes with, E_r that which would hold the flow at its cap, h the chart of
    `theory.river.chart`, S(a) = −d ln h/da, and everything of two indices is symmetric and has p = k(k + 1)/2
    coordinates, or of a `River.diagonal` k:

        s_b' = e^{−ημ_b} s_b + (E − E_r(τ)) (1 − e^{−ημ_b})/μ_b     P_j' = P_j + η h_j(τ) (E − E_r(τ))
        s̃_b  = s_b + Σ_j ρ_bj(τ) P_j                                (what the flow remembers beyond e^{−μt})
        H    = R h(A) R,    R² = H_r(τ),    A = Σ_b W_b s̃_b,        E = ½ sym(S(A) y yᵀ),  y = h(A)^{1/2} R x
        x'   = (1 − ηH) x + (∫_τ^{τ+η} g_u − η g_u(τ)),             τ' = τ + η
        L̄    = L_r(τ) − Σ_b c_b·s̃_b + ½ Σ_b μ_b s̃_b·W_b s̃_b + Σ_b e_b,       L = L̄ + g_u·x + ½ xᵀHx

    What a run's centre has been displaced by without a change of ln H is not pushed and relaxes: e_b is its loss, and
    e_b' = e^{−2ημ_b} e_b. From the initial weights it is 0.

    The loss at the centre in a row is the least one along the modes, L̄ − ½ g_uᵀH⁻¹g_u, as a run's is.

    The tuner looks along the parabola of this expansion, with the bulk's gradient in mode b displaced by
    f_b = E − μ_b s̃_b: its square is G_b + 2 c_b·f_b + f_b·W_b f_b, and curvatures weigh it with μ_b. The gradient along
    the modes is Hx + g_u, g_u that of the flow.

    A row has `displacement` as well, ‖δ‖ = (Σ_b s̃_b·W_b s̃_b)^½, and `apart`, |ln λ − ln λ_r(τ)|.

    Fields
        flow: from the weights at which the prediction begins or a run has begun.
        tuner, reach: as in `RiverMap`.
    """

    flow: Flow
    tuner: AbstractTuner
    reach: float = eqx.field(static=True, default=50.0)

    class State(eqx.Module):
        tau: Float[Array, ""]
        amplitude: Float[Array, " modes"]
        springs: Float[Array, "springs pairs"]
        pushes: Float[Array, "launches pairs"]
        remainder: Float[Array, " springs"]
        tuner: Any
        secant: Secant
        bound: Float[Array, ""]

    def step(self, state, t):
        flow, tau, x = self.flow, state.tau, state.amplitude
        mu = flow.curvature
        here = flow.at(tau)
        springs = state.springs + here.recall @ state.pushes
        answer = jnp.einsum("bij,bj->bi", here.response, springs)
        pushed = jnp.sum(answer, axis=0)
        if flow.is_diagonal:  # h(A) without products of matrices
            fall, slope = log_fall(pushed)
            change = jnp.exp(-fall / 2)[:, None]
            growth = change * here.root
            hessian = here.root @ (change * growth)
            y = growth @ x
            energy = 0.5 * slope * y**2
        else:
            basis = jnp.asarray(flow.basis, mu.dtype)
            change, slope = matrix_fall(jnp.einsum("n,nij->ij", pushed, basis))
            growth = change @ here.root
            # Not growthᵀ growth, which is the same: of small matrices XLA multiplies a transpose several times slower.
            hessian = here.root @ (change @ growth)
            y = growth @ x
            energy = 0.5 * jnp.einsum("i,nij,j->n", slope @ y, basis, y)
        sharpness = largest_eigenvalue(hessian)
        center = here.loss + jnp.sum(springs * (0.5 * mu[:, None] * answer - here.cross)) + jnp.sum(state.remainder)
        value = center + here.pull @ x + 0.5 * y @ y

        force = energy - mu[:, None] * springs
        shift = 2 * here.cross + jnp.einsum("bij,bj->bi", here.response, force)
        power = jnp.maximum(here.gradient + jnp.sum(force * shift, axis=1), _LEAST_GRADIENT * here.gradient)
        sharp = hessian @ x + here.pull
        bent = hessian @ sharp
        square = jnp.sum(power) + sharp @ sharp
        second = jnp.sum(mu * power) + sharp @ bent
        line = QuadraticRay(value, -square, second, t, sharpness, state.secant)
        eta, memory, info = ask(self.tuner, line, state.tuner)

        excess = energy - here.held
        apart = jnp.abs(jnp.log(jnp.maximum(sharpness, LEAST_EIGENVALUE * here.sharpness) / here.sharpness))
        decay = jnp.exp(-eta * mu)
        new = self.State(
            tau + eta,
            x - eta * (hessian @ x) + flow.climb(tau + eta) - here.climb - eta * here.pull,
            decay[:, None] * state.springs + relaxation(eta, mu)[:, None] * excess,
            state.pushes + eta * flow.hats(tau)[:, None] * excess,
            decay**2 * state.remainder,
            memory,
            Secant(eta**2 * square, eta**2 * second, eta**2 * (jnp.sum(mu**2 * power) + bent @ bent)),
            state.bound,
        )
        row, status = step_report(value, eta, jnp.sqrt(square), state.bound, info)
        displacement = jnp.sqrt(jnp.maximum(jnp.sum(springs * answer), 0))
        row |= {"sharpness": sharpness, "amplitude": x, "displacement": displacement, "apart": apart}
        row |= {"hessian": hessian, "pull": here.pull, "center": center}
        lost = ~(sharpness * self.reach > here.sharpness) | ~(center > 0)
        left = jnp.where(lost, int(Status.OUT_OF_RANGE), int(Status.RIVER_ENDED))
        status = jnp.where((status == int(Status.OK)) & (lost | (tau > flow.length)), left, status)
        return new, row, valid(status, sharpness)


class RiverMap(AbstractDynamics):
    """A tuner on the river of a network: at every step the prediction of the flow that is nearest.

    An expansion about a flow holds near it, and tuners that take long steps hold λ far below gradient flow's. So the
    tuner drives a `FlowMap` on each flow, free and capped, and a row is that of the flow from which the centre is least
    displaced: by ‖δ‖ in weight space, averaged over the last steps with weights that fall by e in 50. The flows do not
    act on each other. A prediction ends with the flow that is nearest: from another, farther one it would go on wrong.

    A row has the `sharpness` that the tuner sees, which is the first of the `eigenvalues` to 5·10⁻⁴
    (`largest_eigenvalue`), the `cap` of the flow that it is read from, and `sharpness_uncertainty`, of ln λ: what
    linear response leaves out grows with |ln λ − ln λ_r|, and its largest value so far stands for it.

    Fields
        river: of the network, from the weights at which the prediction begins or a run has begun.
        tuner: the rule.
        reach: an expansion has left its range where λ is below 1/reach of its flow's. It is wide: a displacement that
            has grown slowly is predicted well at a twentieth of the flow's λ, one from a kick is not at a third.
        divergence: a loss above this multiple of the river's first one ends the run. Of runs ½λ‖w₀‖² counts as well,
            see `divergence_bound`; a river does not know the weights.

    Status OUT_OF_RANGE: on the nearest flow λ is below that, or the loss of the centre not positive. RIVER_ENDED: the
    flow time is beyond the length of the nearest flow. A flow on which that happens while another is nearer has no
    further part. DIVERGED: on the nearest one.

    Raises:
        ValueError: reach ≤ 1.
    """

    river: River
    tuner: AbstractTuner
    reach: float = eqx.field(static=True, default=50.0)
    divergence: float = eqx.field(static=True, default=1e6)

    class State(eqx.Module):
        maps: FlowMap.State
        distance: Float[Array, " flows"]
        displaced: Float[Array, ""]

        @property
        def nearest(self) -> Int[Array, ""]:
            return jnp.argmin(self.distance)

    def __check_init__(self):
        check_range("RiverMap", "reach", self.reach, 1, low_open=True)

    def init(self, start):
        flows, begin = self.river.flows, start.flows
        zeros = jnp.zeros_like(flows.cap)
        memory = init_state(self.tuner, zeros.dtype) if start.tuner is None else start.tuner
        maps = FlowMap.State(
            begin.tau,
            begin.amplitude,
            begin.springs,
            begin.pushes,
            begin.remainder,
            jax.tree.map(lambda a: jnp.broadcast_to(a, (*zeros.shape, *jnp.shape(a))), memory),
            Secant(zeros, zeros, zeros),
            divergence_bound(jnp.exp(flows.log_loss[:, 0]), self.divergence),
        )
        return self.State(maps, zeros, zeros[0])

    def step(self, state, t):
        flows = self.river.flows
        maps, rows, statuses = jax.vmap(lambda flow, each: FlowMap(flow, self.tuner, self.reach).step(each, t))(
            flows, state.maps
        )
        ended = state.distance >= _ENDED
        distance = (1 - 1 / _RECENT) * state.distance + rows["displacement"]
        distance = jnp.where(jnp.isfinite(distance), distance, state.distance)
        nearest = jnp.argmin(jnp.where(ended, _ENDED, distance))
        row = jax.tree.map(lambda a: a[nearest], rows)
        displaced = jnp.maximum(state.displaced, row.pop("apart"))
        row |= _spectrum(row.pop("hessian"), row.pop("pull"), row.pop("center"))
        row |= {"cap": flows.cap[nearest], "sharpness_uncertainty": _UNSURE + _UNSURE_SHARE * displaced}
        going = ~ended & (statuses == int(Status.OK))
        kept = jax.tree.map(lambda new, old: jax.vmap(jnp.where)(going, new, old), maps, state.maps)
        return self.State(kept, jnp.where(going, distance, _ENDED), displaced), row, statuses[nearest]


def _spectrum(hessian, pull, center):
    """The eigenvalues, and the loss at a run's centre, which is where the gradient along its modes vanishes."""
    values, axes = jnp.linalg.eigh(hessian)
    floor = jnp.maximum(values, LEAST_EIGENVALUE * values[-1])
    return {"eigenvalues": values[::-1], "center_loss": center - 0.5 * jnp.sum((pull @ axes) ** 2 / floor)}


def largest_eigenvalue(matrix):
    """The largest eigenvalue of a positive semidefinite matrix A of a few rows: tr A^{p+1}/tr A^p, p = 2048.

    It is a mean of the eigenvalues with weights λ_i^p, exact to rounding but where others are within some thousandths
    of the largest, and there too small by at most 5·10⁻⁴ of it for eight rows. An eigendecomposition takes five times
    as long, and XLA spreads those of a batch over threads."""
    power = matrix / jnp.trace(matrix)
    for i in range(_SQUARINGS):
        power = power @ power
        if i % 2:  # until then its trace is above k⁻³
            power = power / jnp.trace(power)
    return jnp.sum(power * (matrix @ power)) / jnp.sum(power * power)
