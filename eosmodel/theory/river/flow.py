"""Gradient flow from the initial weights, free or capped, and all along it that the river's map needs, without a run of
any tuner."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from eosmodel._checks import check_count, check_range
from eosmodel._status import Status
from eosmodel.curvature import Modes, Tracker, linearize, sharpness_gradient
from eosmodel.dynamics import AbstractDynamics, blank
from eosmodel.dynamics.center import is_scheduled
from eosmodel.objectives.base import AbstractObjective
from eosmodel.theory._steps import relaxation
from eosmodel.theory.complementarity import semidefinite, symmetric_basis
from eosmodel.theory.river.spectrum import krylov_measure, krylov_relaxation

# A step whose error is above this multiple of the tolerance is taken again, shorter.
_REJECT = 4.0
# Range of the factor from one step to the next.
_SHORTEN, _LENGTHEN = 0.3, 2.0
# The error is relative to the bulk's gradient, or to this share of the whole one where that is more.
_BULK = 1e-3
# A step is at most this share of τ + 1/λ(0), so that the rows between which the river is interpolated lie close.
_CLOSE = 0.15
# Fraction of 1/λ of the first step; later ones follow the error.
_FIRST = 0.1
# Flow times at which the response is launched: 0, this fraction of 1/λ(0), and a geometric progression.
_LAUNCH, _RATIO = 0.5, 3.0
# Krylov vectors of a step of a launched displacement.
_PUSHED = 8
# λ falls to a cap below its first value at most as the power of τ + 1/λ(0) with this exponent.
_FALL = 0.5
# Eigenvalues below this share of the first count as that share: d ln H needs positive ones.
LEAST_EIGENVALUE = 0.05


def launch_times(count: int) -> np.ndarray:
    """Flow times of the launches, in units of 1/λ(0)."""
    return np.concatenate([[0.0], _LAUNCH * _RATIO ** np.arange(count - 1)])


class RiverFlow(AbstractDynamics):
    """Gradient flow w' = −∇L(w) in steps as long as the curvature's change allows, with the spectra along it; free, or
    with λ held below a cap.

    One step of length h solves the flow linearised at w exactly,

        w(τ + h) = w − h φ₁(−hH) g,      φ₁(z) = (eᶻ − 1)/z,

    along the tracked modes by their eigenvalues and off them in a Krylov space of g, so that h is not bound to the
    edge of stability. The error is the gradient that this leaves unexplained, e = ‖P⊥(∇L(w') − g − H(w' − w))‖/‖P⊥g‖;
    it is of second order in h, and h follows it: h' = h √(tolerance/e).

    With a cap the flow is pushed off the modes as an oscillation of energy E would push it,

        w' = −∇L(w) − Σ_ij E_ij B_ij,        B_ij = P⊥∇(ln H)_ij,

    E ⪰ 0 the least that keeps the leading curvatures below the cap: over a step of length h the linearised ln H answers
    to E by −Σ_b B·P_b B (1 − e^{−hμ_b})/μ_b, P_b the parts of the spectral measure, and E solves the complementarity
    problem ln H(τ + h) ⪯ ln cap, ⟨E, ln cap − ln H(τ + h)⟩ = 0 (`complementarity.semidefinite`). B and its spectral
    measure are the last ones that were taken; ln H is that of the step, which corrects what the step before has missed.

    The modes are carried in a frame V that turns no more than it must: V' = QU with Q the rotation of the new
    eigenvectors U that is nearest to V. Within it the river has a matrix of curvatures H_ij = v_i·∇²L v_j, smooth where
    eigenvalues cross.

    Fields
        objective: the loss.
        modes: k, the number of leading modes.
        blocks: Krylov blocks of a spectral measure; each takes k(k + 1)/2 + 1 products.
        krylov: Krylov vectors of a step of the flow.
        measure_every: spectral measures at the first steps and every that many.
        launches: number of times at which the response of the flow itself is launched.
        cap: the sharpness that the flow may not exceed; none by default. A higher λ falls to it no faster than as
            (τ + 1/λ(0))^{−1/2}.
        tolerance: of the error e.

    A row, k modes and p = k(k + 1)/2 pairs of modes in the order of `symmetric_basis`:
        tau: flow time.
        loss: L.
        eigenvalues: λ_i, shape (k,).
        root: (H_r)^{1/2} in the frame, shape (k·k,).
        pull: v_i·∇L, shape (k,).
        climb: −v_i·(w − w_0) along the frame: its integral over τ, shape (k,).
        ritz: curvatures of the spectral measure, shape (n,); NaN where it was not due.
        weights: components along them of B_ij = P⊥∇(ln H)_ij and of g, shape (n·(p + 1),).
        held: the energy E of an oscillation that would hold λ at the cap, shape (p,).
        born: flow times of the launches along b = P⊥∇(Σ_i λ_i)/λ, shape (launches,); NaN before.
        memory: b(τ)·δ_j, δ_j the displacement of the flow that the j-th launch has become, shape (launches,).
        toll: ∇L·δ_j, shape (launches,).

    Raises:
        ValueError: a count below 1, or a tolerance outside (0, 1).

    Source: Hochbruck & Ostermann, Exponential integrators (2010), section 2.4, for the step (exponential Rosenbrock–
    Euler); the cap is that of a central flow (arXiv 2410.24206) under a constant step 2/cap, in the metric of ln H.
    """

    objective: AbstractObjective
    modes: int = eqx.field(static=True, default=8)
    blocks: int = eqx.field(static=True, default=6)
    krylov: int = eqx.field(static=True, default=12)
    measure_every: int = eqx.field(static=True, default=4)
    launches: int = eqx.field(static=True, default=8)
    tolerance: float = eqx.field(static=True, default=0.03)
    cap: float | Float[Array, ""] = float("inf")

    class State(eqx.Module):
        weights: Float[Array, " dim"]
        pairs: Modes
        frame: Float[Array, "modes dim"]
        climb: Float[Array, " modes"]
        tau: Float[Array, ""]
        length: Float[Array, ""]
        unit: Float[Array, ""]
        spectra: "_Spectra"
        born: Float[Array, " launches"]
        launched: Float[Array, "launches dim"]

    def __check_init__(self):
        for name in ("modes", "blocks", "krylov", "measure_every"):
            check_count("RiverFlow", name, getattr(self, name))
        check_range("RiverFlow", "tolerance", self.tolerance, 0, 1, low_open=True, high_open=True)

    @property
    def _tracker(self) -> Tracker:
        # Its steps are long, so that the pairs change much in each.
        return Tracker(self.modes, rtol=5e-3, budget=24)

    def init(self, start):
        _, _, pairs = self._tracker.init(self.objective, start)
        zero = jnp.zeros((), start.dtype)
        top = jnp.where(pairs.values[0] > 0, pairs.values[0], 1)
        still = jnp.zeros_like(pairs.values)
        like = eqx.filter_eval_shape(_measured_first, self, start, pairs)
        spectra = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
        born = jnp.full(self.launches, jnp.nan, start.dtype)
        launched = jnp.zeros((self.launches, start.size), start.dtype)
        return self.State(start, pairs, pairs.vectors, still, zero, _FIRST / top, 1 / top, spectra, born, launched)

    def step(self, state, t):
        weights = state.weights
        value, gradient, matvec = linearize(self.objective, weights)
        pairs, info = self._tracker.update(matvec, state.pairs)
        left, _, right = jnp.linalg.svd(state.frame @ pairs.vectors.T)
        turn = left @ right
        frame = turn @ pairs.vectors

        off, across = _across(matvec, pairs.vectors)
        bulk = off(gradient)
        h = jnp.minimum(state.length, _CLOSE * (state.tau + state.unit))
        floor = jnp.maximum(pairs.values, LEAST_EIGENVALUE * pairs.values[0])
        root = turn @ (jnp.sqrt(floor)[:, None] * turn.T)

        due = is_scheduled(t, self.measure_every)
        spectra = jax.lax.cond(
            due, lambda: self._measured(weights, pairs, turn, gradient, matvec), lambda: state.spectra
        )
        drift = krylov_relaxation(across, bulk, h, self.krylov)

        def hold():
            level = jnp.maximum(self.cap, jnp.exp(-_FALL * h / (state.tau + state.unit)) * floor[0])
            held = self._held(turn, jnp.log(floor / level), h, spectra, drift)
            return held, krylov_relaxation(across, off(held @ spectra.rises), h, self.krylov)

        trace = off(jnp.sum(_forms(self.objective, weights, pairs.vectors), axis=0)) / floor[0]
        due_at = jnp.asarray(launch_times(self.launches), h.dtype) * state.unit
        launching = jnp.isnan(state.born) & (state.tau >= due_at)
        born = jnp.where(launching, state.tau, state.born)
        launched = jnp.where(launching[:, None], trace, jax.vmap(off)(state.launched))
        later = jax.vmap(lambda d: d + krylov_relaxation(across, across(d), h, _PUSHED))(launched)

        nothing = jnp.zeros(spectra.rises.shape[0], weights.dtype), jnp.zeros_like(weights)
        held, pushed = jax.lax.cond(jnp.isfinite(self.cap), hold, lambda: nothing)
        along = -(relaxation(h, pairs.values) * (pairs.vectors @ gradient)) @ pairs.vectors
        move = along + drift + pushed
        new = weights + move
        rest = off(jax.grad(self.objective)(new) - gradient - matvec(move))
        size = jnp.maximum(jnp.linalg.norm(bulk), _BULK * jnp.linalg.norm(gradient))
        tiny = jnp.finfo(size.dtype).tiny
        error = jnp.linalg.norm(rest) / jnp.maximum(size, tiny)
        factor = jnp.sqrt(self.tolerance / jnp.maximum(error, tiny))
        taken = jnp.isfinite(error) & (error <= _REJECT * self.tolerance)
        factor = jnp.where(jnp.isfinite(error), jnp.clip(factor, _SHORTEN, _LENGTHEN), _SHORTEN)

        known = {"ritz": spectra.ritz, "weights": spectra.parts.ravel()}
        row = {
            "tau": state.tau,
            "loss": value,
            "eigenvalues": pairs.values,
            "root": root.ravel(),
            "pull": frame @ gradient,
            "climb": state.climb,
            "held": held,
            "born": born,
            "memory": launched @ trace,
            "toll": launched @ bulk,
            "error": error,
            **info._asdict(),
            **jax.tree.map(lambda a, nothing: jnp.where(due, a, nothing), known, blank(known)),
        }
        state = eqx.tree_at(
            lambda s: (s.pairs, s.frame, s.length, s.spectra, s.born, s.launched),
            state,
            (pairs, frame, h * factor, spectra, born, launched),
        )
        moved = eqx.tree_at(
            lambda s: (s.weights, s.climb, s.tau, s.launched),
            state,
            (new, state.climb - frame @ move, state.tau + h, later),
        )
        after = jax.tree.map(lambda a, b: jnp.where(taken, a, b), moved, state)
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
        status = jnp.where(finite, int(Status.OK), int(Status.NONFINITE))
        status = jnp.where(finite & ~(pairs.values[0] > 0), int(Status.OUT_OF_RANGE), status)
        return after, row, status.astype(jnp.int32)

    def _measured(self, weights, pairs, turn, gradient, matvec) -> "_Spectra":
        """The spectral measure of B and of the gradient, B in the frame that `turn` makes of the pairs."""
        off, across = _across(matvec, pairs.vectors)
        floor = jnp.maximum(pairs.values, LEAST_EIGENVALUE * pairs.values[0])
        rises = jax.vmap(off)(_log_rises(self.objective, weights, pairs.vectors, floor, turn))
        block = jnp.concatenate([rises, off(gradient)[None]])
        return _Spectra(*krylov_measure(across, block, self.blocks, pairs.vectors), rises)

    def _held(self, turn, above, h, spectra, drift):
        """E ⪰ 0, constant over the step, with ln H ⪯ ln cap at its end, in `symmetric_basis`.

        Args:
            above: ln(λ_i/cap).
            drift: what the flow moves off the modes without E.
        """
        basis = jnp.asarray(symmetric_basis(self.modes), above.dtype)
        parts = spectra.parts[:, :-1]
        gram = parts.T @ (relaxation(h, spectra.ritz)[:, None] * parts)
        free = turn @ (above[:, None] * turn.T) + jnp.einsum("n,nij->ij", spectra.rises @ drift, basis)
        held, _, _ = semidefinite(gram, free)
        return jnp.einsum("nij,ij->n", basis, held)


class _Spectra(NamedTuple):
    """Ritz values, the components of B and of the gradient along their vectors, and B, shape (p, dim)."""

    ritz: Float[Array, " ritz"]
    parts: Float[Array, "ritz pairs_and_gradient"]
    rises: Float[Array, "pairs dim"]


@eqx.filter_jit
def _measured_first(flow, start, pairs) -> _Spectra:
    """The spectra at the start, of which only the shapes are asked for: jit keeps the trace for other flows."""
    turn = jnp.eye(flow.modes, dtype=start.dtype)
    return flow._measured(start, pairs, turn, *linearize(flow.objective, start)[1:])


def _across(matvec, vectors):
    """v off the rows of `vectors`, and the operator there."""

    def off(v):
        for _ in range(2):
            v = v - (vectors @ v) @ vectors
        return v

    return off, lambda v: off(matvec(v))


def _forms(fn, weights, vectors) -> Array:
    """∇(u·∇²L u) at fixed u, of each row u."""
    return jax.lax.map(lambda u: sharpness_gradient(fn, weights, u), vectors)


def _log_rises(fn, weights, vectors, values, turn) -> Array:
    """∇(ln H)_ij in the coordinates of `symmetric_basis` of the frame, shape (p, dim): with R = H^{1/2} it is
    R⁻¹ ∇H R⁻¹, in the eigenbasis ∇(u_i·∇²L u_j)/√(λ_iλ_j)."""
    modes = vectors.shape[0]
    rows, columns = np.triu_indices(modes)
    basis = jnp.asarray(symmetric_basis(modes), vectors.dtype)
    apart = jnp.asarray(rows != columns)[:, None]
    between = jnp.where(apart, 0.5**0.5 * (vectors[rows] + vectors[columns]), vectors[rows])
    forms = _forms(fn, weights, between)
    own = forms[np.flatnonzero(rows == columns)]
    mixed = 2**0.5 * (forms - 0.5 * (own[rows] + own[columns]))
    rises = jnp.where(apart, mixed, forms) / jnp.sqrt(values[rows] * values[columns])[:, None]
    turned = jnp.einsum("mij,ia,jb,nab->mn", basis, turn, turn, basis)
    return turned @ rises
