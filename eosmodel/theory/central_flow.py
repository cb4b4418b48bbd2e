"""The central flow of a tuner: the motion of the centre alone, with an oscillation that is known from a balance."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from eosmodel._checks import check_count
from eosmodel._status import Status
from eosmodel._units import norm
from eosmodel.curvature import (
    AbstractTracker,
    Modes,
    linearize,
    off_modes,
    oscillation,
    sharp,
    sharpness_gradient,
)
from eosmodel.dynamics import AbstractDynamics, divergence_bound
from eosmodel.dynamics.center import blank_observation, is_scheduled
from eosmodel.objectives.base import AbstractObjective
from eosmodel.theory._steps import model_report, model_tracker, relaxation
from eosmodel.theory.complementarity import nonnegative, semidefinite, symmetric_basis
from eosmodel.theory.fast_map import FastMap
from eosmodel.tuners.base import AbstractTuner

# ln r where there is no oscillation; e^−60 fits float32.
_LOG_ZERO = -60.0
_BISECTIONS = 48
# The balance may not demand that λ falls by more than this share in one step.
_MAX_DROP = 0.5
# The fast map is followed over 2^6 and 2^7 steps about the balance.
_DOUBLINGS = 6
# A rule that jumps has no s = 2, and bisection ends at the jump.
_AT_TWO = 1e-3
# The complementarity may be violated by this share of the drop δ.
_TOLERANCE = 1e-3
# Searches for the level, each in the directions in which the solution of the one before oscillates.
_ROUNDS = 2


class _AtStep(AbstractTuner):
    """A rule that sees step t on every ray, for a fast map in the middle of a run."""

    tuner: AbstractTuner
    t: Any

    @property
    def needs_sharpness(self) -> bool:  # type: ignore[override]
        return self.tuner.needs_sharpness

    @property
    def needs_secant(self) -> bool:  # type: ignore[override]
        return self.tuner.needs_secant

    def init(self, dtype=None):
        return self.tuner.init(dtype)

    def __call__(self, ray, state):
        return self.tuner(eqx.tree_at(lambda r: r.step, ray, self.t), state)


class _Observation(NamedTuple):
    """The eigenpairs, ∇H of `symmetric_basis` and H in their modes."""

    pairs: Modes
    rises: Float[Array, "pairs dim"]
    curvature: Float[Array, "modes modes"]


class _Mean(NamedTuple):
    """⟨η⟩, ⟨ηx²⟩ and ⟨r⟩ over an orbit of the fast map."""

    stepsize: Float[Array, ""]
    kick: Float[Array, ""]
    r: Float[Array, ""]


class _Level(NamedTuple):
    """A drop δ of λ along fixed directions, the ln r there, and by how much the complementarity is violated."""

    drop: Float[Array, ""]
    log_r: Float[Array, ""]
    violation: Float[Array, ""]


class _Search(NamedTuple):
    """One round of the search: the directions in which X oscillates, X, the level, and by how much the complementarity
    of the whole X is violated."""

    directions: Float[Array, "modes modes"]
    covariance: Float[Array, "modes modes"]
    level: _Level
    violation: Float[Array, ""]


class _Balance(NamedTuple):
    """The balance at one moment.

    Fields
        covariance: X.
        level: the level c of λ.
        log_r: ln r.
        drop: δ from where λ goes without oscillation to c; 0 below the edge.
        exists: whether there is a balance.
        unsolved: whether one was missed: there is one along fixed directions, and no whole X was found.
    """

    covariance: Float[Array, "modes modes"]
    level: Float[Array, ""]
    log_r: Float[Array, ""]
    drop: Float[Array, ""]
    exists: Bool[Array, ""]
    unsolved: Bool[Array, ""]


class CentralFlow(AbstractDynamics):
    """The central flow under a tuner: the oscillation averaged out algebraically, with nothing fitted.

    Where the modes u_i oscillate with the covariance X = ⟨xxᵀ⟩ about the centre w̄, the mean force is ∇L + ½ Σ_ij X_ij
    ∇H_ij, with ∇H_ij = ∇(u_i·∇²L u_j), of which ∇λ_i is the diagonal. So

        dw̄/dt = −η (∇L + ½ Σ_ij X_ij ∇H_ij),      dH/dt = η (α − ½ B[X]),

        α_ij = −P⊥∇L·P⊥∇H_ij,      B[X]_ij = Σ_kl (P⊥∇H_ij·P⊥∇H_kl) X_kl,

    t in steps, H the curvature in the modes, P⊥ the projection off the sharp ones. Let H⁺ be H at the end of the step.
    For a constant η the oscillation is whatever keeps ηH ⪯ 2: X ⪰ 0, ηH⁺ ⪯ 2, ⟨X, 2 − ηH⁺⟩ = 0. For any tuner the same
    holds at the step that it takes while the modes oscillate, s = Φ(r), r = ⟨X, H²⟩/G:

        X ⪰ 0,   H⁺ ⪯ c,   ⟨X, c − H⁺⟩ = 0,   and   X = 0 with Φ(0) ≤ 2,   or   Φ(r) = 2 at λ = c          (balance)

    Φ is the tuner itself on the two-mode ray (`FastMap`). Both classes of tuners are limits of this one rule. A
    constant η does not see r, so c = 2/η, and one mode has x² = 2α/β + 2(λ − 2/η)/(ηβ), β = B: λ is pinned, and the
    second term takes back what an earlier step left above the edge. A tuner with Φ(r*) = 2 at any λ has x² = r*G/λ²: it
    clamps, and nothing pins λ. Under a cap the smaller of the two holds. The conditions on X at a given c are the
    semidefinite complementarity problem of the source, off-diagonal part included: modes of equal λ have no directions
    of their own, and those in which they oscillate are part of the answer. c is found by bisection.

    Where the fast map stays at the balance, that is all: ⟨η⟩ = 2/c and ⟨xxᵀ⟩ = X, and the tuner's memory goes on by
    one step. A memory that averages over many steps is then a variable of the flow like w̄. Of scalar RMSProp with
    k = (1 − decay)/decay this is the flow of the source,

        dν/dt = k(‖∇L‖² + λ²X − ν),      X from d(ηλ)/dt = 0,      η = step/√ν,

    stepped implicitly in ν, as the rule itself does it. Where the balance is unstable, or the tuner jumps over Φ = 2,
    the fast map runs on from there with λ held at c, memory and all; its measure gives ⟨η⟩, ⟨ηx²⟩/⟨η⟩ in place of
    the size of X, and ⟨x²⟩. The predicted loss is L(w̄) + ½⟨X, H⟩. A solver's step is the tuner's: exact along the
    modes, Euler's off them, as descent has it.

    A start above the edge is no balance. Its weights are split into centre and oscillation by one Newton step along
    the modes, and X' = AXA + kkᵀ, A = 1 − ηλ_i on the diagonal, k_i = (η − φ_i)(u_i·F), until it meets the balance (F
    the mean force, φ_i as in `CenterOscillation`: what a drifting floor leaves behind). The same holds where there is
    no balance to be had: for a tuner that nothing balances (Φ ≥ 2 for all r and λ: CDAT with σ = 2, on-edge), for a
    mode above the edge with no ∇λ to bring it back, and where λ would have to fall by half in one step.

    What it leaves out: delays and overshoots after the start, as when an oscillation that has died out comes back;
    even forces beyond ½ Σ X_ij ∇H_ij, and the softening of a large oscillation; the motion of the bulk inside a fast
    map. It ends with status OUT_OF_RANGE where λ ≤ 0, and where there is a balance along fixed directions but the
    complementarity of the whole covariance is not solved in the iterations that it has.

    A single step over n of the optimiser's would be unstable in the bulk beyond nηλ_b = 2, λ_b the largest curvature
    that is not among the modes; beside modes at ηλ = 2 that leaves little. But what is costly in a step, eigenpairs and
    third derivatives, changes slowly, and only every `stride`-th step computes it anew. Between, u_i and ∇H_ij are
    held, H moves on with w̄, H' = H + ∇H·Δw̄, and everything else is done as in every step. So there is a row for every
    step; in those between, `eigenvalues` and `sharpness` are this H's, and the tracker's columns are blank.

    A step takes one gradient, one Hessian–vector product and some 100 calls of the tuner on parabolas, `burn_in` +
    `window` more where it averages; where the modes are updated, the tracker's products and the third derivatives of
    modes(modes + 1)/2 pairs.

    Args:
        objective, tuner: what is modelled.
        tracker: how the modes that may oscillate are followed; a number stands for a `Tracker` of so many modes. The
            balance tries all 2^modes sets of them.
        divergence: how many times larger a loss counts as diverged, see `divergence_bound`.
        stride: steps from one update of the eigenpairs and third derivatives to the next; the first 2·`stride` steps
            have one each.
        burn_in, window: steps of the fast map left out and averaged over, in every step at an unstable balance.

    Raises:
        ValueError: burn_in < 0, window < 1 or stride < 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> from eosmodel.curvature import Tracker
        >>> from eosmodel.simulation import run
        >>> floor = eos.objectives.Valley(30.0, 4.0, [1.0], [0.01], [0.0, -5.0])
        >>> flow = CentralFlow(floor, eos.tuners.Constant(jnp.asarray(0.1)), Tracker(1))
        >>> rows = run(flow, floor.initial(), 50).rows
        >>> round(float(rows["sharpness"][-1]), 3), round(float(rows["amplitude"][-1, 0]) ** 2, 3)  # 2/η and 2α/β
        (20.0, 0.05)

    Source: Cohen, Damian, Talwalkar, Kolter & Lee (arXiv 2410.24206), for a constant η and for RMSProp.
    """

    objective: AbstractObjective
    tuner: AbstractTuner
    tracker: AbstractTracker = eqx.field(converter=model_tracker, default=model_tracker())
    divergence: float = eqx.field(static=True, default=1e6)
    stride: int = eqx.field(static=True, default=1)
    burn_in: int = eqx.field(static=True, default=64)
    window: int = eqx.field(static=True, default=128)

    class State(eqx.Module):
        """`rises` are ∇H of the pairs in `symmetric_basis`, `curvature` is H and `covariance` X, all in the modes of
        `pairs`; `side` is 0 at the balance, and off it the sign of X less that of the balance."""

        center: Float[Array, " dim"]
        pairs: Modes
        rises: Float[Array, "pairs dim"]
        curvature: Float[Array, "modes modes"]
        covariance: Float[Array, "modes modes"]
        side: Float[Array, ""]
        fast: Float[Array, " fast"]
        bound: Float[Array, ""]

    def __check_init__(self):
        check_count("CentralFlow", "burn_in", self.burn_in, 0)
        check_count("CentralFlow", "window", self.window)
        check_count("CentralFlow", "stride", self.stride)

    def init(self, start):
        value, gradient, pairs = self.tracker.init(self.objective, start)
        fast = FastMap(self.tuner).init().astype(start.dtype)
        above = _above_edge(self, start, pairs, fast)
        amplitude = jnp.where(above, oscillation(gradient, pairs), 0)
        center = start - amplitude @ pairs.vectors
        side = -above.astype(start.dtype)
        covariance, curvature = jnp.outer(amplitude, amplitude), jnp.diag(pairs.values)
        rises = jnp.zeros((len(symmetric_basis(pairs.values.size)), start.size), start.dtype)
        bound = divergence_bound(value, self.divergence, pairs.values[0], start)
        return self.State(center, pairs, rises, curvature, covariance, side, fast, bound)

    def weights(self, state):
        return state.center

    def step(self, state, t):
        value, gradient, matvec = linearize(self.objective, state.center)
        basis = jnp.asarray(symmetric_basis(state.pairs.values.size), gradient.dtype)
        (pairs, rises, curvature), tracked = self._observe(state, matvec, t)
        vectors, values = pairs.vectors, jnp.linalg.eigvalsh(curvature)[::-1]
        slopes = jnp.diagonal(curvature)
        rotation = vectors @ state.pairs.vectors.T
        carried = rotation @ state.covariance @ rotation.T

        # The balance, from H at the end of the step without oscillation and from B.
        steep = sharp(pairs)
        both_sharp = jnp.all(jnp.where(basis != 0, steep[:, None] & steep, True), axis=(1, 2))
        outside = jnp.where(both_sharp[:, None], jax.vmap(lambda rise: off_modes(rise, pairs))(rises), 0)
        free = curvature - 2 / values[0] * jnp.einsum("nij,n->ij", basis, outside @ gradient)
        fast = self._maps(value, gradient, matvec, t)
        bulk = fast(values[0]).bulk_gradient_sq
        balance = _balance(fast, state.fast, free, outside @ outside.T, bulk)
        stored = slopes**2 @ jnp.diagonal(carried)
        side = jnp.sign(stored - balance.level**2 * jnp.trace(balance.covariance))
        balanced = balance.exists & ((state.side == 0) | ((side != state.side) & (balance.drop > 0)))

        # The averages over the fast map there.
        at_edge = balanced & (balance.drop > 0)
        level = jnp.where(at_edge, balance.level, values[0])
        covariance = jnp.where(balanced, balance.covariance, carried)
        log_r = jnp.where(balanced, balance.log_r, jnp.log(stored / bulk))
        z = state.fast.at[0].set(jnp.clip(log_r, _LOG_ZERO, -_LOG_ZERO))
        at_rest = ~at_edge | _rests(fast(level), z)
        average, fast_next = self._averages(fast(level), z, at_rest)
        stepsize = average.stepsize
        tiny = jnp.finfo(values.dtype).tiny
        averaged = covariance * average.kick / (stepsize * jnp.maximum(jnp.trace(covariance), tiny))
        mean = jnp.where(at_edge, averaged, covariance)
        loss = value + 0.5 * jnp.where(at_edge, bulk * average.r / level, slopes @ jnp.diagonal(covariance))

        # The centre, and an oscillation that is not at the balance.
        force = gradient + 0.5 * jnp.einsum("nij,ij->n", basis, mean) @ rises
        to_oscillation = (stepsize - relaxation(stepsize, slopes)) * (vectors @ force)
        moved = to_oscillation @ vectors - stepsize * force
        factor = 1 - stepsize * slopes
        free_covariance = factor[:, None] * covariance * factor + jnp.outer(to_oscillation, to_oscillation)
        covariance = jnp.where(balanced, covariance, jnp.where(steep[:, None] & steep, free_covariance, 0))
        side = jnp.where(balanced, 0, side)
        curvature = curvature + jnp.einsum("nij,n->ij", basis, rises @ moved)

        row, status = model_report(loss, stepsize, norm(gradient), state.bound, values, value)
        row |= {"amplitude": jnp.sqrt(jnp.diagonal(mean)), **tracked}
        # Without curvature or an X the step may be no number, or a meaningless one: that status goes before all others.
        lost = (values[0] <= 0) | balance.unsolved
        status = jnp.where(lost, int(Status.OUT_OF_RANGE), status).astype(jnp.int32)
        center = state.center + moved
        return self.State(center, pairs, rises, curvature, covariance, side, fast_next, state.bound), row, status

    def _observe(self, state, matvec, t):
        """The `_Observation` of a step and the row of the tracker; between two updates as the flow itself has moved
        them."""

        def observe():
            pairs, info = self.tracker.update(matvec, state.pairs, self.stride)
            rises = _rises(self.objective, state.center, pairs.vectors)
            return _Observation(pairs, rises, jnp.diag(pairs.values)), info._asdict()

        if self.stride == 1:
            return observe()
        held = _Observation(state.pairs, state.rises, state.curvature)
        nothing = blank_observation(jax.eval_shape(observe)[1])
        return jax.lax.cond(is_scheduled(t, self.stride), observe, lambda: (held, nothing))

    def _averages(self, fast, z, at_rest):
        """The `_Mean` along the orbit from z, or at that one point where nothing has to be averaged; and the end of the
        orbit."""
        burn_in, window = jnp.where(at_rest, 0, self.burn_in), jnp.where(at_rest, 1, self.window)

        def add(i, carry):
            z, sums = carry
            at = fast.observe(z)
            terms = _Mean(at.stepsize, at.kick, at.r)
            return fast(z), jax.tree.map(lambda total, term: total + jnp.where(i >= burn_in, term, 0), sums, terms)

        zero = jnp.zeros((), z.dtype)
        z, sums = jax.lax.fori_loop(0, burn_in + window, add, (z, _Mean(zero, zero, zero)))
        return jax.tree.map(lambda total: total / window, sums), z

    def _maps(self, value, gradient, matvec, t):
        """The fast map for each level of λ, at one point of the flow."""
        # At a minimum r has no scale; any G does for a ray along which nothing falls.
        bulk = jnp.maximum(jnp.vdot(gradient, gradient), jnp.finfo(gradient.dtype).tiny)
        bent = jnp.vdot(gradient, matvec(gradient))
        tuner = _AtStep(self.tuner, t)
        return lambda level: FastMap(tuner, level * value / bulk, bent / (level * bulk), level, bulk)


@eqx.filter_jit
def _above_edge(flow, weights, pairs, z):
    """Whether a start is above the edge for the step that the tuner takes where nothing oscillates."""
    value, gradient, matvec = linearize(flow.objective, weights)
    fast = flow._maps(value, off_modes(gradient, pairs), matvec, jnp.asarray(0, jnp.int32))
    return fast(pairs.values[0]).observe(z.at[0].set(_LOG_ZERO)).s > 2


def _rests(fast, z):
    """Whether the balance z is one point: s = 2 there, and its fast map does not lead away, at most as slowly as by 1 %
    a step. It need not be a fixed point: a memory that is slow may be on its way."""
    slope = jax.jacfwd(fast)(z)
    for _ in range(_DOUBLINGS):
        slope = slope @ slope
    further = jnp.linalg.norm(slope @ slope)
    bounded = jnp.isfinite(further) & (further <= 2 * jnp.linalg.norm(slope))
    return bounded & (jnp.abs(fast.observe(z).s - 2) < _AT_TWO)


def _rises(objective, center, vectors):
    """∇(u·∇²L v) for the pairs (u, v) of `symmetric_basis`, from the quadratic form of one vector."""
    modes = vectors.shape[0]
    rows, columns = np.triu_indices(modes)
    apart = rows != columns
    between = jnp.where(apart[:, None], 0.5**0.5 * (vectors[rows] + vectors[columns]), vectors[rows])
    forms = jax.vmap(lambda u: sharpness_gradient(objective, center, u))(between)
    own = forms[np.flatnonzero(~apart)]
    mixed = 2**0.5 * (forms - 0.5 * (own[rows] + own[columns]))
    return jnp.where(apart[:, None], mixed, forms)


def _balance(fast, z, free, gram, bulk) -> _Balance:
    """The level c = top − δ at which the tuner, seeing the X that brings λ there, takes 2/c.

    δ is bisected in fixed directions, in which X is diagonal; the whole X at that δ then gives the directions of the
    next search. Where the tuner sees no r, and along one mode, the first search is exact."""
    modes = free.shape[0]
    basis = jnp.asarray(symmetric_basis(modes), free.dtype)
    sizes, axes = jnp.linalg.eigh(free)
    top = sizes[-1]
    dtype = top.dtype

    def log_ratio(level, total):
        return jnp.clip(jnp.log(level**3 * total / bulk), _LOG_ZERO, -_LOG_ZERO)

    def grows(level, log_r):
        return fast(level).observe(z.at[0].set(log_r)).s > 2

    least = jnp.log(top * jnp.finfo(dtype).eps ** 2)
    most = jnp.log(top * jnp.asarray(_MAX_DROP, dtype))

    def level_along(directions) -> _Level:
        squares = jnp.einsum("nij,ia,ja->an", basis, directions, directions)
        solve = nonnegative(squares @ gram @ squares.T)
        over = jnp.einsum("ia,ij,ja->a", directions, free, directions) - top

        def halve(_, ends):
            low, high = ends
            middle = 0.5 * (low + high)
            drop = jnp.exp(middle)
            total = jnp.sum(solve(over + drop)[0])
            up = grows(top - drop, log_ratio(top - drop, total))
            return jnp.where(up, middle, low), jnp.where(up, high, middle)

        log_drop = jax.lax.fori_loop(0, _BISECTIONS, halve, (least, most))[0]
        drop = jnp.exp(log_drop)
        sizes, violation = solve(over + drop)
        return _Level(drop, log_ratio(top - drop, jnp.sum(sizes)), violation)

    def improve(_, search: _Search) -> _Search:
        level = level_along(search.directions)
        identity = jnp.eye(modes, dtype=dtype)
        covariance, directions, violation = semidefinite(gram, free - (top - level.drop) * identity)
        return _Search(directions, covariance, level, violation)

    zero = jnp.zeros((), dtype)

    def search():
        start = _Search(axes, jnp.zeros_like(free), _Level(zero, zero, zero), zero)
        _, covariance, (drop, log_r, along_violation), violation = jax.lax.fori_loop(0, _ROUNDS, improve, start)
        level, tolerance = top - drop, _TOLERANCE * drop
        reached, solved = jnp.log(drop) < most - 1e-3, violation <= tolerance
        unsolved = reached & (along_violation <= tolerance) & ~solved
        return _Balance(level * covariance, level, log_r, drop, reached & solved, unsolved)

    rest = _Balance(jnp.zeros_like(free), top, zero + _LOG_ZERO, zero, jnp.asarray(True), jnp.asarray(False))
    return jax.lax.cond(grows(top, rest.log_r), search, lambda: rest)
