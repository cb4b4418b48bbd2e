"""The central flow of a tuner: the motion of the centre alone, with an oscillation that is known from a balance."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from eosmodel._checks import check_count
from eosmodel._status import Status
from eosmodel.curvature import Modes, leading, linearize, off_modes, oscillation, sharp, sharpness_gradient, track
from eosmodel.dynamics import AbstractDynamics, divergence_bound, status_of
from eosmodel.objectives.base import AbstractObjective
from eosmodel.theory.center import _relaxation, _valid
from eosmodel.theory.fast_map import FastMap
from eosmodel.tuners.base import AbstractTuner

# ln r where there is no oscillation; e^−60 fits float32.
_NONE = -60.0
_BISECTIONS = 48
# The balance may not ask for a fall of λ by more than this share in one step.
_REACH = 0.5
# The fast map is followed over 2^6 and 2^7 steps about the balance.
_DOUBLINGS = 6
# A rule that jumps has no s = 2, and bisection ends at the jump.
_AT_TWO = 1e-3
# Share of the pull-back by which the complementarity may be missed.
_MISSED = 1e-3


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


class _Balance(NamedTuple):
    """X_i, the level c of λ, ln r, the drop δ from where λ goes without oscillation to c, 0 below the edge, and whether
    there is a balance."""

    energy: Float[Array, " modes"]
    level: Float[Array, ""]
    log_r: Float[Array, ""]
    drop: Float[Array, ""]
    found: Bool[Array, ""]


def _complementarity(gram):
    """A function q ↦ (X, miss) for X ≥ 0, q − BX ≤ 0, X·(q − BX) = 0, B positive semidefinite, by trying every set of
    active modes. `miss` is the largest violation, in units of q."""
    modes = gram.shape[0]
    codes = np.arange(2**modes)
    sets = (codes[:, None] >> np.arange(modes)) & 1 == 1
    both = sets[:, :, None] & sets[:, None, :]
    inverse = jnp.linalg.inv(jnp.where(both, gram, jnp.eye(modes, dtype=gram.dtype)))
    size = jnp.diagonal(gram)

    def solve(q):
        found = jnp.einsum("sij,sj->si", inverse, jnp.where(sets, q, 0))
        left = q - found @ gram
        miss = jnp.max(jnp.maximum(jnp.where(sets, jnp.abs(left), left), -found * size), axis=1)
        # Modes with dependent gradients have no inverse together, and one of them does the work of both.
        miss = jnp.where(jnp.isfinite(miss), miss, jnp.inf)
        best = jnp.argmin(miss)
        return jnp.maximum(found[best], 0), miss[best]

    return solve


class CentralFlow(AbstractDynamics):
    """The central flow under a tuner: the oscillation averaged out algebraically, with nothing fitted.

    Where modes oscillate with energies X_i = ⟨x_i²⟩ about the centre w̄, the mean force is ∇L + ½ Σ_i X_i ∇λ_i, so that

        dw̄/dt = −η (∇L + ½ Σ_i X_i ∇λ_i),      dλ_i/dt = η (α_i − ½ Σ_j B_ij X_j),

        α_i = −P⊥∇L·P⊥∇λ_i,      B_ij = P⊥∇λ_i·P⊥∇λ_j,

    t in steps, P⊥ the projection off the sharp modes. Let λ_i⁺ be λ_i at the end of the step. For a constant η the
    oscillation is whatever keeps ηλ ≤ 2: X_i ≥ 0, ηλ_i⁺ ≤ 2, X_i(2 − ηλ_i⁺) = 0. For any tuner the same holds at the
    step that it takes while the modes oscillate, s = Φ(r), r = Σ_i λ_i²X_i/G:

        X_i ≥ 0,   λ_i⁺ ≤ c,   X_i(c − λ_i⁺) = 0,   and   X = 0 with Φ(0) ≤ 2,   or   Φ(r) = 2 at λ = c        (balance)

    Φ is the tuner itself on the two-mode ray (`FastMap`). Both classes of tuners are limits of this one rule. A
    constant η does not see r, so c = 2/η, and one mode has x² = 2α/β + 2(λ − 2/η)/(ηβ): λ is pinned, and the second
    term takes back what an earlier step left above the edge. A tuner with Φ(r*) = 2 at any λ has x² = r*G/λ²: it
    clamps, and nothing pins λ. Under a cap the smaller of the two holds. The conditions on X at a given c are a linear
    complementarity problem, solved exactly; c is found by bisection.

    Where the fast map stays at the balance, that is all: ⟨η⟩ = 2/c and ⟨x²⟩ = X, and the tuner's memory goes on by one
    step. A memory that averages over many steps is then a variable of the flow like w̄. Of scalar RMSProp with
    k = (1 − decay)/decay this is the flow of the source,

        dν/dt = k(‖∇L‖² + λ²X − ν),      X from d(ηλ)/dt = 0,      η = step/√ν,

    stepped implicitly in ν, as the rule itself does it. Where the balance is unstable, or the tuner jumps over Φ = 2,
    the fast map runs on from there with λ held at c, memory and all; its measure gives ⟨η⟩, ⟨ηx²⟩/⟨η⟩ in place of X,
    and ⟨x²⟩. The predicted loss is L(w̄) + ½ Σ λ_i⟨x_i²⟩. A solver's step is the tuner's: exact along the modes,
    Euler's off them, as descent has it.

    A start above the edge is no balance. Its weights are split into centre and oscillation by one Newton step along
    the modes, and X_i' = (1 − ηλ_i)²X_i + (η − φ_i)²(u_i·F)² until it meets the balance (F the mean force, φ_i as in
    `CenterOscillation`: what a drifting floor leaves behind). The same holds where there is no balance to be had: for
    a tuner that nothing balances (Φ ≥ 2 for all r and λ: CDAT with σ = 2, on-edge), for a mode above the edge with no
    ∇λ to bring it back, and where λ would have to fall by half in one step.

    What it leaves out: the off-diagonal part of ⟨x_i x_j⟩ between modes of equal λ (the source's semidefinite problem
    is solved in its diagonal form); delays and overshoots after the start, as when an oscillation that has died out
    comes back; even forces beyond ½x²∇λ, and the softening of a large oscillation; the motion of the bulk inside a
    fast map. Where λ ≤ 0 it ends with status OUT_OF_RANGE.

    A step takes one gradient, the tracker's products and one more, the `modes` third derivatives ∇λ_i, and some 50
    calls of the tuner on parabolas, `burn_in` + `window` more where it averages.

    Args:
        objective, tuner: what is modelled.
        modes: number of modes that may oscillate; the balance tries all 2^modes sets of them.
        divergence: a loss above this multiple of the initial one ends the run.
        burn_in, window: steps of the fast map left out and averaged over, in every step at an unstable balance.

    Raises:
        ValueError: burn_in < 0 or window < 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> from eosmodel.simulation import run
        >>> floor = eos.objectives.Valley(30.0, 4.0, [1.0], [0.01], [0.0, -5.0])
        >>> flow = CentralFlow(floor, eos.tuners.Constant(jnp.asarray(0.1)), modes=1)
        >>> rows = run(flow, floor.initial(), 50).rows
        >>> round(float(rows["sharpness"][-1]), 3), round(float(rows["amplitude"][-1, 0]) ** 2, 3)  # 2/η and 2α/β
        (20.0, 0.05)

    Source: Cohen, Damian, Talwalkar, Kolter & Lee (arXiv 2410.24206), for a constant η and for RMSProp.
    """

    objective: AbstractObjective
    tuner: AbstractTuner
    modes: int = eqx.field(static=True, default=3)
    divergence: float = eqx.field(static=True, default=1e6)
    burn_in: int = eqx.field(static=True, default=64)
    window: int = eqx.field(static=True, default=128)

    class State(eqx.Module):
        """`side` is 0 at the balance, and off it the sign of X less that of the balance."""

        center: Float[Array, " dim"]
        pairs: Modes
        energy: Float[Array, " modes"]
        side: Float[Array, ""]
        fast: Float[Array, " fast"]
        bound: Float[Array, ""]

    def __check_init__(self):
        check_count("CentralFlow", "burn_in", self.burn_in, 0)
        check_count("CentralFlow", "window", self.window)

    def init(self, start):
        value, gradient, pairs = leading(self.objective, start, self.modes)
        fast = FastMap(self.tuner).init().astype(start.dtype)
        off = _above_edge(self, start, pairs, fast)
        amplitude = jnp.where(off, oscillation(gradient, pairs), 0)
        center = start - amplitude @ pairs.vectors
        side = -off.astype(start.dtype)
        return self.State(center, pairs, amplitude**2, side, fast, divergence_bound(value, self.divergence))

    def step(self, state, t):
        value, gradient, matvec = linearize(self.objective, state.center)
        pairs, info = track(matvec, state.pairs, max_expansions=4)
        values, vectors = pairs.values, pairs.vectors
        tiny = jnp.finfo(values.dtype).tiny
        rises = jax.vmap(lambda u: sharpness_gradient(self.objective, state.center, u))(vectors)
        fast = self._maps(value, gradient, matvec, t)

        outside = jax.vmap(lambda rise: off_modes(rise, pairs))(rises)
        free = jnp.where(sharp(pairs), values - 2 / values[0] * (outside @ gradient), -jnp.inf)
        bulk = fast(values[0]).bulk_gradient
        balance = _balance(fast, state.fast, free, outside @ outside.T, bulk)
        carried = jnp.sum(values**2 * state.energy)
        side = jnp.sign(carried - jnp.sum(balance.level**2 * balance.energy))
        met = balance.found & ((state.side == 0) | ((side != state.side) & (balance.drop > 0)))

        at_edge = met & (balance.drop > 0)
        level = jnp.where(at_edge, balance.level, values[0])
        energy = jnp.where(met, balance.energy, state.energy)
        log_r = jnp.where(met, balance.log_r, jnp.log(carried / bulk))
        z = state.fast.at[0].set(jnp.clip(log_r, _NONE, -_NONE))
        at_rest = ~at_edge | _rests(fast(level), z)
        (stepsize, kick, r), after = self._averages(fast(level), z, at_rest)
        mean = jnp.where(at_edge, energy * kick / (stepsize * jnp.maximum(jnp.sum(energy), tiny)), energy)
        loss = value + 0.5 * jnp.where(at_edge, bulk * r / level, values @ energy)

        even = gradient + 0.5 * mean @ rises
        force = vectors @ even
        left = stepsize - _relaxation(stepsize, values)
        center = state.center - stepsize * even + (left * force) @ vectors
        # By its own map until it meets the balance; what the drifting floor leaves behind adds to it.
        alone = (1 - stepsize * values) ** 2 * energy + (left * force) ** 2
        row = {
            "loss": loss,
            "stepsize": stepsize,
            "sharpness": values[0],
            "center_loss": value,
            "eigenvalues": values,
            "amplitude": jnp.sqrt(mean),
            "residual": info.residual,
            "products": info.products,
            "converged": info.converged,
        }
        # Without curvature the scales divided by it, and the step, may be no numbers: the theory has nothing to say.
        status = _valid(status_of(loss, stepsize, jnp.linalg.norm(gradient), state.bound), values[0])
        status = jnp.where(values[0] <= 0, int(Status.OUT_OF_RANGE), status).astype(jnp.int32)
        energy = jnp.where(met, energy, jnp.where(sharp(pairs), alone, 0))
        side = jnp.where(met, 0, side)
        return self.State(center, pairs, energy, side, after, state.bound), row, status

    def _averages(self, fast, z, at_rest):
        """⟨η⟩, ⟨ηx²⟩ and ⟨r⟩ along the orbit from z, or of that one point where nothing has to be averaged."""
        burn_in, window = jnp.where(at_rest, 0, self.burn_in), jnp.where(at_rest, 1, self.window)

        def look(i, carry):
            z, sums = carry
            seen = fast.observe(z)
            row = jnp.stack([seen.stepsize, seen.kick, seen.r])
            return fast(z), sums + jnp.where(i >= burn_in, row, 0)

        z, sums = jax.lax.fori_loop(0, burn_in + window, look, (z, jnp.zeros(3, z.dtype)))
        return sums / window, z

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
    return fast(pairs.values[0]).observe(z.at[0].set(_NONE)).s > 2


def _rests(fast, z):
    """Whether the balance z is one point: s = 2 there, and its fast map does not lead away, at most as slowly as by 1 %
    a step. It need not be a fixed point: a memory that is slow may be on its way."""
    slope = jax.jacfwd(fast)(z)
    for _ in range(_DOUBLINGS):
        slope = slope @ slope
    further = jnp.linalg.norm(slope @ slope)
    bounded = jnp.isfinite(further) & (further <= 2 * jnp.linalg.norm(slope))
    return bounded & (jnp.abs(fast.observe(z).s - 2) < _AT_TWO)


def _balance(fast, z, free, gram, bulk) -> _Balance:
    """The level c = top − δ at which the tuner, seeing the X that brings λ there, takes 2/c."""
    solve = _complementarity(gram)
    top = jnp.max(free)
    dtype = top.dtype

    def at(drop):
        level = top - drop
        scaled, miss = solve(jnp.maximum(free - top, -1e3 * top) + drop)
        energy = level * scaled
        log_r = jnp.clip(jnp.log(level**2 * jnp.sum(energy) / bulk), _NONE, -_NONE)
        return _Balance(energy, level, log_r, drop, miss <= _MISSED * drop)

    def grows(trial):
        return fast(trial.level).observe(z.at[0].set(trial.log_r)).s > 2

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        up = grows(at(jnp.exp(middle)))
        return jnp.where(up, middle, low), jnp.where(up, high, middle)

    least = jnp.log(top * jnp.finfo(dtype).eps ** 2)
    most = jnp.log(top * jnp.asarray(_REACH, dtype))

    def search():
        log_drop = jax.lax.fori_loop(0, _BISECTIONS, halve, (least, most))[0]
        trial = at(jnp.exp(log_drop))
        return trial._replace(found=trial.found & (log_drop < most - 1e-3))

    none = jnp.zeros((), dtype)
    rest = _Balance(jnp.zeros_like(free), top, none + _NONE, none, jnp.asarray(True))
    return jax.lax.cond(grows(rest), search, lambda: rest)
