"""The low-dimensional theory: one oscillating mode, the sharpness and the loss of the valley floor.

There are two versions. `DrivenValley` takes its slow coefficients from measurements along a run. `valley_at`
approximates a network at one time by a `Valley` with a few bulk modes, which runs under any tuner like any objective.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._status import Status
from eosmodel.curvature import Modes, Tracker, linearize, off_modes, oscillation, sharpness_gradient
from eosmodel.dynamics import AbstractDynamics, Descent, divergence_bound, step_report
from eosmodel.objectives.valleys import Valley
from eosmodel.rays import QuadraticRay, Secant, two_mode_secant
from eosmodel.tuners.base import AbstractTuner, ask, init_state

# Smallest amplitude. It is too small to have an effect, and replaces the drift of a real valley floor, which keeps the
# oscillation from vanishing.
AMPLITUDE_FLOOR = 1e-6


class Coefficients(eqx.Module):
    """Slow coefficients measured along a run, as functions of the flow time τ = Σ η, so that a theory that takes other
    steps evaluates them at the same point of the slow path and not at the same step.

    Fields
        time: τ of each measurement, increasing, shape (times,).
        alpha, beta, kappa, bulk_gradient_sq: α, β, κ, G at these times; interpolated linearly, constant outside.
        sharpness, center_loss, amplitude: λ, L̄ and x at the first measurement.
    """

    time: Float[Array, " times"]
    alpha: Float[Array, " times"]
    beta: Float[Array, " times"]
    kappa: Float[Array, " times"]
    bulk_gradient_sq: Float[Array, " times"]
    sharpness: Float[Array, ""]
    center_loss: Float[Array, ""]
    amplitude: Float[Array, ""]


class DrivenValley(AbstractDynamics):
    """The valley's normal form with measured coefficients:

        x' = (1 − ηλ)x,   ln λ' = ln λ + η(α − ½βx²)/λ,   L̄' = L̄ − η(G − ½αx²) + ½η²κλG

    and the tuner on the two-mode ray φ(η) = L̄ + ½λx² − η(G + λ²x²) + ½η²λ(κG + λ²x²). The oscillation moves the centre
    along −½x²∇λ, and ∇L·∇λ = −α, which gives the term ½αx² in L̄'. The equation for ln λ agrees with
    λ' = λ + η(α − ½βx²) to first order in the change of λ, and keeps λ > 0 for large oscillations. The coefficients are
    evaluated at the theory's own flow time Σ η.

    Source: the normal form of Damian, Nichani & Lee (arXiv 2209.15594), with a step size that varies.

    Fields
        coefficients: measured along a run.
        tuner: the rule.
        f_min: lower bound of the loss; a floor loss below it is outside the range of validity.
        divergence: a loss above this multiple of the first one, L̄ + ½λx², ends the run; the weights are not known.
    """

    coefficients: Coefficients
    tuner: AbstractTuner
    f_min: float = eqx.field(static=True, default=0.0)
    divergence: float = eqx.field(static=True, default=1e6)

    class State(eqx.Module):
        amplitude: Float[Array, ""]
        sharpness: Float[Array, ""]
        center_loss: Float[Array, ""]
        time: Float[Array, ""]
        tuner: Any
        secant: Secant
        bound: Float[Array, ""]

    def init(self, start):
        c = self.coefficients
        loss = c.center_loss + 0.5 * c.sharpness * c.amplitude**2
        zero = jnp.zeros((), start.dtype)
        return self.State(
            c.amplitude,
            c.sharpness,
            c.center_loss,
            zero,
            init_state(self.tuner, start.dtype),
            Secant(zero, zero, zero),
            divergence_bound(loss, self.divergence),
        )

    def step(self, state, t):
        c = self.coefficients
        alpha, beta, kappa, bulk = (
            jnp.interp(state.time, c.time, series) for series in (c.alpha, c.beta, c.kappa, c.bulk_gradient_sq)
        )
        x, sharpness = state.amplitude, state.sharpness
        sharp_gradient_sq = sharpness**2 * x**2
        value = state.center_loss + 0.5 * sharpness * x**2
        slope, second = -(bulk + sharp_gradient_sq), sharpness * (kappa * bulk + sharp_gradient_sq)
        line = QuadraticRay(value, slope, second, t, sharpness, state.secant)
        eta, tuner_state, info = ask(self.tuner, line, state.tuner)
        moved = (1 - eta * sharpness) * x
        floor = jnp.asarray(AMPLITUDE_FLOOR, x.dtype)
        moved = jnp.where(jnp.abs(moved) < floor, jnp.where(moved < 0, -floor, floor), moved)
        new = self.State(
            moved,
            sharpness * jnp.exp(eta * (alpha - 0.5 * beta * x**2) / sharpness),
            state.center_loss - eta * (bulk - 0.5 * alpha * x**2) + 0.5 * eta**2 * kappa * sharpness * bulk,
            state.time + eta,
            tuner_state,
            two_mode_secant(eta, sharpness, kappa, bulk, sharp_gradient_sq),
            state.bound,
        )
        row, status = step_report(value, eta, x, state.bound, info)
        row |= {"sharpness": sharpness, "center_loss": state.center_loss, "amplitude": x}
        lost = (status == int(Status.OK)) & ((sharpness <= 0) | (state.center_loss < self.f_min))
        return new, row, jnp.where(lost, int(Status.OUT_OF_RANGE), status).astype(jnp.int32)


class FrozenValley(AbstractDynamics):
    """Descent on a frozen valley, ended with status OUT_OF_RANGE where its loss falls below zero.

    The losses that networks have are never negative: a frozen valley whose loss is has been followed too far.

    Fields
        valley: from `valley_at`.
        tuner: the rule.
        tuner_state: the tuner's own state at the moment of freezing; None for a fresh one.
        divergence: how many times larger a loss counts as diverged, see `divergence_bound`.
    """

    valley: Valley
    tuner: AbstractTuner
    tuner_state: Any = None
    divergence: float = eqx.field(static=True, default=1e6)

    @property
    def _descent(self) -> Descent:
        return Descent(self.valley, self.tuner, Tracker(1), 1, 0, self.divergence, self.tuner_state)

    def init(self, start):
        return self._descent.init(start)

    def step(self, state, t):
        new, row, status = self._descent.step(state, t)
        below = (status == int(Status.OK)) & (row["loss"] < 0)
        return new, row, jnp.where(below, int(Status.OUT_OF_RANGE), status).astype(jnp.int32)


@eqx.filter_jit
def valley_at(fn, weights: Float[Array, " dim"], pairs: Modes, krylov: int = 3) -> Valley:
    """The valley that agrees with a loss at one point, without fitted parameters.

    The bulk is the quadratic model of the loss at the centre, restricted to the span of g, Hg, …, and ∇λ, H∇λ, …
    (`krylov` vectors of each, with the sharp modes projected out of g, H and ∇λ). On this space loss, gradient,
    curvature and ∇λ agree, and with them L̄, G, κ, α and β at this point, and for a constant ∇λ the first 2·krylov
    derivatives of the slow path. In the eigenbasis of the restricted Hessian the model is a `Valley`.

    Args:
        fn: the loss.
        weights: the iterate.
        pairs: leading pairs there or at the previous step; the first is the oscillating mode.
        krylov: number of Krylov vectors from each of g and ∇λ.

    Returns:
        A `Valley` that starts at this point, including the oscillation.
    """
    gradient = jax.grad(fn)(weights)
    amplitude = oscillation(gradient, pairs)
    center = weights - amplitude @ pairs.vectors
    value, gradient, matvec = linearize(fn, center)
    # A tight tolerance, because the error of u enters all coefficients below, and the pairs are solved for only once.
    pairs, _ = Tracker(rtol=1e-4, budget=200).update(matvec, pairs)
    amplitude = pairs.vectors @ (weights - center)
    bulk = off_modes(gradient, pairs)
    rise = off_modes(sharpness_gradient(fn, center, pairs.vectors[0]), pairs)
    rounding = jnp.finfo(weights.dtype).eps ** 0.5
    columns: list[Array] = []
    for seed in (bulk, rise):
        v = seed
        for _ in range(krylov):
            whole = jnp.linalg.norm(v)
            for _ in range(2):
                for u in columns:
                    v = v - (u @ v) * u
            # If the space is complete earlier, the column is zero: a bulk mode without coupling.
            norm = jnp.linalg.norm(v)
            new = norm > rounding * whole
            v = jnp.where(new, v / jnp.where(new, norm, 1), 0)
            columns.append(v)
            v = off_modes(matvec(v), pairs)
    basis = jnp.stack(columns)
    restricted = basis @ jnp.stack([off_modes(matvec(v), pairs) for v in columns]).T
    mu, axes = jnp.linalg.eigh(0.5 * (restricted + restricted.T))
    # A flat direction has no minimum from which to measure z, so its curvature is set to the level of rounding.
    scale = rounding * pairs.values[0]
    mu = jnp.where(jnp.abs(mu) < scale, jnp.where(mu < 0, -scale, scale), mu)
    z = (axes.T @ (basis @ bulk)) / mu
    q = axes.T @ (basis @ rise)
    size = jnp.linalg.norm(q)
    # If λ is constant, as on a quadratic, then b = 0 and q may be any unit vector.
    q = jnp.where(size > 0, q / jnp.where(size > 0, size, 1), jnp.zeros_like(q).at[0].set(1))
    sharpness = pairs.values[0]
    return Valley(
        sharpness_limit=sharpness - size * (q @ z),
        b=size**2,
        q=q,
        mu=mu,
        offset=value - 0.5 * jnp.sum(mu * z**2),
        start=jnp.concatenate([amplitude[:1], z]),
    )
