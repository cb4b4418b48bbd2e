"""The river's map: oscillation, springs, flow time and the tuner, a few dozen numbers from step to step."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from eosmodel._status import Status
from eosmodel.dynamics import AbstractDynamics, divergence_bound, status_of
from eosmodel.rays import QuadraticRay, Secant
from eosmodel.theory._steps import relaxation
from eosmodel.theory.complementarity import symmetric_basis
from eosmodel.theory.river.river import River
from eosmodel.tuners.base import AbstractTuner


class RiverStart(eqx.Module):
    """Where a prediction begins.

    Fields
        tau: flow time Σ η so far.
        amplitude: oscillation along the frame, shape (modes,).
        springs: s_b, shape (springs, pairs).
        pushes: ∫ E dτ by launch, shape (launches, pairs).
        level: factor of the river's loss.
        tuner: the rule's own state; None for a fresh one.
        time: index of the step.
    """

    tau: Float[Array, ""]
    amplitude: Float[Array, " modes"]
    springs: Float[Array, "springs pairs"]
    pushes: Float[Array, "launches pairs"]
    level: Float[Array, ""]
    tuner: Any = None


class RiverMap(AbstractDynamics):
    """A tuner on a river."""

    river: River
    tuner: AbstractTuner
    noise: float = eqx.field(static=True, default=1e-7)
    reach: float = eqx.field(static=True, default=3.0)
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

    def init(self, start):
        tau = jnp.asarray(start.tau)
        zero = jnp.zeros_like(tau)
        bound = divergence_bound(jnp.exp(self.river.log_loss[0]), self.divergence)
        memory = self.tuner.init(tau.dtype) if start.tuner is None else start.tuner
        return self.State(tau, start.amplitude, start.springs, start.pushes, start.level, memory, Secant(zero, zero, zero), bound)

    def step(self, state, t):
        river = self.river
        mu = river.curvature
        basis = jnp.asarray(symmetric_basis(river.modes), mu.dtype)
        here = river.at(state.tau)
        x, s = state.amplitude, state.springs + here.recall @ state.pushes
        eye = jnp.eye(river.modes, dtype=mu.dtype)

        answer = jnp.einsum("bij,bj->bi", here.response, s)
        half = -jnp.einsum("i,ijk->jk", jnp.sum(answer, axis=0), basis) / 2
        growth = _exponential(half) @ here.root
        hessian = growth.T @ growth
        y = growth @ x
        stored = 0.5 * y @ y
        energy = 0.5 * jnp.einsum("i,nij,j->n", y, basis, y)
        values = jnp.linalg.eigvalsh(hessian)[::-1]
        center = state.level * here.loss + jnp.sum(s * (0.5 * mu[:, None] * answer - here.cross))

        force = energy - mu[:, None] * s
        bent = jnp.einsum("bij,bj->bi", here.response, force)
        power = here.gradient + jnp.sum(force * (2 * here.cross + bent), axis=1)
        power = jnp.maximum(power, 1e-3 * here.gradient)
        sharp = hessian @ x + here.pull
        once = hessian @ sharp
        square = jnp.sum(power) + sharp @ sharp
        bend = jnp.sum(mu * power) + sharp @ once
        twice = jnp.sum(mu**2 * power) + once @ once
        value = center + stored
        line = QuadraticRay(value, -square, bend, t, values[0], state.secant)
        eta, memory, info = self.tuner(line, state.tuner)

        kick = river.climb(state.tau + eta) - here.climb - eta * here.pull
        moved = x - eta * (hessian @ x) + kick
        decay = jnp.exp(-eta * mu)[:, None]
        springs = decay * state.springs + relaxation(eta, mu)[:, None] * energy
        pushes = state.pushes + eta * river.hats(state.tau)[:, None] * energy
        row = {
            "loss": value,
            "stepsize": eta,
            "sharpness": values[0],
            "center_loss": center,
            "eigenvalues": values,
            "amplitude": x,
            "flow_time": state.tau,
            "evaluations": info.evaluations,
            "search_failed": info.failed,
        }
        status = status_of(value, eta, jnp.sqrt(square), state.bound)
        top = jnp.linalg.norm(here.root, 2)**2 if False else jnp.linalg.eigvalsh(here.root)[-1] ** 2
        lost = (state.tau > river.length) | ~(values[0] * self.reach > top) | ~(center > 0)
        status = jnp.where((status == int(Status.OK)) & lost, int(Status.OUT_OF_RANGE), status).astype(jnp.int32)
        secant = Secant(eta**2 * square, eta**2 * bend, eta**2 * twice)
        del eye
        return self.State(state.tau + eta, moved, springs, pushes, state.level, memory, secant, state.bound), row, status


def _exponential(matrix):
    """e^A of a small symmetric matrix: the Taylor polynomial of A/4 of degree 4, squared twice."""
    a = matrix / 4
    square = a @ a
    eye = jnp.eye(a.shape[0], dtype=a.dtype)
    e = eye + a + square @ (eye / 2 + a / 6 + square / 24)
    e = e @ e
    return e @ e


def start_at(river: River, tau, values, amplitude, loss, springs=None, pushes=None, tuner=None) -> RiverStart:
    """Where a prediction begins that goes on from a run (numpy).

    The curvatures λ_i of the run are those of the river displaced within its eigenbasis; what `springs` (those that
    the run's own oscillation has driven, 0 by default) do not explain is shared over the springs as 1/(μ_b + 1/τ).
    """
    k = river.modes
    basis = symmetric_basis(k)
    tau = jnp.asarray(tau, river.rate.dtype)
    here = river.at(tau)
    mu, response, cross = (np.asarray(v, float) for v in (river.curvature, here.response, here.cross))
    roots, turn = np.linalg.eigh(np.asarray(here.root, float))
    roots, turn = roots[::-1], turn[:, ::-1]
    wanted = np.einsum("nij,ia,a,ja->n", basis, turn, np.log(np.asarray(values, float) / roots**2), turn)
    s = np.zeros((mu.size, len(basis))) if springs is None else np.asarray(springs, float)
    pushes = np.zeros((river.launches.size, len(basis))) if pushes is None else np.asarray(pushes, float)
    recall = np.asarray(here.recall, float) @ pushes
    share = 1 / (mu + 1 / max(float(tau), 1e-6))
    left = -wanted - np.einsum("bij,bj->i", response, s + recall)
    kernel = np.einsum("b,bij->ij", share, response)
    ridge = 1e-3 * np.trace(kernel) / len(basis) * np.eye(len(basis))
    s = s + share[:, None] * np.linalg.solve(kernel + ridge, left)
    both = s + recall
    displaced = np.sum(both * (0.5 * mu[:, None] * np.einsum("bij,bj->bi", response, both) - cross))
    level = (float(loss) - displaced) / float(here.loss)

    def array(v):
        return jnp.asarray(v, river.rate.dtype)

    return RiverStart(tau, array(turn @ np.asarray(amplitude, float)), array(s), array(pushes), array(level), tuner)


def start_of(river: River) -> RiverStart:
    """At the initial weights: nothing oscillates, nothing is displaced."""
    mu = river.curvature
    pairs = river.places.cross.shape[-1]
    return RiverStart(
        jnp.zeros_like(river.rate), jnp.zeros(river.modes, mu.dtype), jnp.zeros((mu.size, pairs), mu.dtype), jnp.zeros((river.launches.size, pairs), mu.dtype),
        jnp.ones_like(river.rate),
    )
