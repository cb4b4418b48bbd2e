"""The two classes of tuners, from the response Φ: is the oscillation bounded by the tuner, or by a change of λ?

The tuner is called on the two-mode ray at constant r until its memory has converged. The oscillation then grows at the
rate γ(r) = ⟨ln|1 − s|⟩; without memory γ = ln|1 − Φ(r)|. The sign of γ at both ends of the range of r decides whether
the fast map stays away from r = 0 and from r = ∞, whatever it does in between (a fixed point, a cycle or chaos). The
classification uses nothing else about a tuner.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel._checks import as_arrays, check_count, check_range
from eosmodel._status import Coded
from eosmodel.theory.fast_map import Averages, FastMap, averages

R_RANGE = (1e-6, 1e6)
"""The range of r in which Φ is evaluated; equilibria outside it are not considered."""

_POINTS = 193
_EQUILIBRIA = 4
_BISECTIONS = 40
# Steps for the memory of a tuner to converge, and steps averaged over: a few tens of periods of a line search.
_SETTLE, _HOLD = 64, 128
# Step in ln λ of the finite difference for ∂γ/∂ ln λ, larger than the discontinuities of a line search.
_STEP = 0.25
# A derivative ∂γ/∂ ln λ below this counts as 0.
_LEAST_SENSITIVITY = 0.01
# λ bounds the oscillation before the tuner does if ln λ need not fall by more than this.
_REACH = 0.5
# If |γ(r*)| is larger than this, r* is not a root but a jump of Φ through 2.
_JUMP = 1e-3


class Kind(Coded):
    """What bounds the oscillation. Files store the integers, so they must not change."""

    UNDECIDED = -1
    BELOW_EDGE = 0
    CLAMPED = 1
    SELF_STABILISED = 2

    def describe(self) -> str:
        """The meaning, in one sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    Kind.UNDECIDED: "Φ does not decide: it equals 2 and does not depend on λ, only just reaches 2, or lets a small "
    "oscillation decay and a large one grow",
    Kind.BELOW_EDGE: "Φ is below 2 everywhere: the oscillation decays, and λ drifts at the rate α",
    Kind.CLAMPED: "Φ falls through 2: the tuner keeps x² near r*G/λ², λ is not fixed, and sign dλ/dt = sign(1 − q)",
    Kind.SELF_STABILISED: "Φ does not fall below 2 before λ changes: x² grows to 2α/β, where q = 1",
}


class Classification(NamedTuple):
    """The oscillation under a tuner, at one value of the slow variables.

    Fields
        kind: a `Kind`, as an integer.
        growth_small, growth_large: γ at the ends of the range of r.
        r_star: edge equilibria γ(r*) = 0 (Φ(r*) = 2), increasing, shape (4,), padded with NaN. If Φ jumps through 2, as
            with a line search, the position of the jump.
        multiplier: m = 1 + 2r*Φ'(r*) of each; NaN if it depends on the tuner's memory or Φ jumps. Stable if |m| < 1.
        means: `Averages` over the fast map's orbit from r = 1; meaningful only if the orbit is bounded.
        q: βx²/(2α) with x² = ⟨ηx²⟩/⟨η⟩: 0 below the edge, 1 where λ is stationary, ∞ where x² grows and λ cannot stop
            it. NaN without α and β, and for UNDECIDED.
        trend: sign of dλ/dt, 1, 0 or −1, at constant α and β; NaN as for q.
        sensitivity: ∂γ/∂ ln λ at fixed x, by differences, at x² = 2α/β (at r = 1 without α and β). If positive, a
            larger λ makes the oscillation grow, the oscillation lowers λ, and the equilibrium is stable. If negative,
            as for every rule whose s is a decreasing function of r alone, the equilibrium is a saddle, from which λ
            moves away on either side.
    """

    kind: Int[Array, ""]
    growth_small: Float[Array, ""]
    growth_large: Float[Array, ""]
    r_star: Float[Array, " equilibria"]
    multiplier: Float[Array, " equilibria"]
    means: Averages
    q: Float[Array, ""]
    trend: Float[Array, ""]
    sensitivity: Float[Array, ""]


class Held(NamedTuple):
    """A tuner at constant r, after its memory has converged: γ = ⟨ln|1 − s|⟩, ⟨s⟩, the smallest and the largest s."""

    growth: Float[Array, ""]
    s: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]


@eqx.filter_jit
def held(fast: FastMap, r: float | Array) -> Held:
    """The response of a tuner at constant r and constant slow variables.

    Args:
        fast: the tuner on its two-mode ray.
        r: λ²x²/G > 0, one number.

    Example:
        >>> import eosmodel as eos
        >>> float(held(eos.theory.FastMap(eos.tuners.OnEdge(3.0)), 5.0).s)
        3.0
    """
    states, growth = _hold(fast, jnp.log(jnp.asarray(r, jnp.result_type(float))))
    s = jax.vmap(lambda z: fast.observe(z).s)(states)
    return Held(jnp.mean(growth), jnp.mean(s), jnp.min(s), jnp.max(s))


def _hold(fast, log_r):
    """States with r reset after every step, from when the memory has converged, and the growth ln|1 − s| of each."""

    def step(z, _):
        new = fast(z)
        return new.at[0].set(log_r), (z, 0.5 * (new[0] - log_r))

    z = fast.init(1.0).at[0].set(log_r)
    settle, hold = (_SETTLE, _HOLD) if z.size > 1 else (0, 1)
    states, growth = jax.lax.scan(step, z, None, length=settle + hold)[1]
    return states[settle:], growth[settle:]


def _growths(fast, log_r, steps):
    """γ and ⟨s⟩ at each r, for the same x and a λ that is larger by the factor e^step."""

    def one(log_r, step):
        factor = jnp.exp(step)
        slow = (fast.A * factor, fast.kappa / factor, fast.sharpness * factor)
        changed = eqx.tree_at(lambda f: (f.A, f.kappa, f.sharpness), fast, slow)
        states, growth = _hold(changed, log_r + 2 * step)
        return jnp.mean(growth), jnp.mean(jax.vmap(lambda z: changed.observe(z).s)(states))

    return jax.vmap(one)(log_r, steps)


def _equilibria(fast, grid, growth):
    """The sign changes of γ along the grid, by bisection, and their multipliers."""
    rounding = 64 * jnp.finfo(grid.dtype).eps
    significant = jnp.maximum(jnp.abs(growth[:-1]), jnp.abs(growth[1:])) > rounding
    crossing = ((growth[:-1] >= 0) != (growth[1:] >= 0)) & significant
    (index,) = jnp.nonzero(crossing, size=_EQUILIBRIA, fill_value=-1)

    def refine(i):
        def halve(_, carry):
            low, high, *_ = carry
            middle = 0.5 * (low + high)
            states, gain = _hold(fast, middle)
            left = (jnp.mean(gain) >= 0) == (growth[i] >= 0)
            return jnp.where(left, middle, low), jnp.where(left, high, middle), jnp.mean(gain), states[-1]

        start = (grid[i], grid[i + 1], growth[i], fast.init(1.0))
        *_, gain, z = jax.lax.fori_loop(0, _BISECTIONS, halve, start)
        row = jax.jacfwd(fast)(z)[0]
        smooth = (jnp.abs(gain) < _JUMP) & jnp.all(row[1:] == 0)
        exists = i >= 0
        return jnp.where(exists, jnp.exp(z[0]), jnp.nan), jnp.where(exists & smooth, row[0], jnp.nan)

    return jax.vmap(refine)(index)


def classify(
    fast: FastMap,
    alpha: float | Array | None = None,
    beta: float | Array | None = None,
    *,
    margin: float = 1e-6,
    burn_in: int = 500,
    steps: int = 2000,
) -> Classification:
    """Tuner-clamped or self-stabilised, from Φ alone; with α and β also q and the sign of dλ/dt.

    γ is evaluated at 193 values of r from 1e-6 to 1e6, at constant r. With α and β, γ and the derivative a = ∂γ/∂ ln λ
    (at fixed x) are also evaluated at r_q = 2αλ²/(βG), where x² = 2α/β and λ stops rising. "Above", "at" and "below"
    the edge mean γ > margin, |γ| ≤ margin and γ < −margin (or γ < 0 with s < 1); "γ depends on λ" means a > 0.01. The
    first line that holds decides:

        below for all r                                            below the edge
        below at small r                                           undecided: depends on the initial r
        at for all r                                               self-stabilised if γ depends on λ, else undecided
        0 ≤ γ ≤ a/2 at r_q, within the margin, γ depends on λ      self-stabilised: λ changes before the tuner clamps,
        (only with α, β > 0)                                         and need not fall by more than a factor e^½
        below at large r                                           clamped if above at small r, else undecided
        not below at large r                                       self-stabilised

    Without α and β the fourth line does not apply: only a Φ that never falls below 2 is then self-stabilised. The trend
    is the sign of α below the edge and that of 1 − q for a clamped tuner. For a self-stabilised one it is 0 if γ
    depends on λ, and −1 if it does not, because x² then grows past 2α/β and keeps lowering λ. If α < 0 or β = 0 there
    is no equilibrium x² = 2α/β, and the trend of a self-stabilised tuner is −1, or the sign of α if β = 0.

    Args:
        fast: the tuner with λ, G, κ and A, arrays or numbers; new values do not recompile.
        alpha, beta: α and β ≥ 0, both or neither.
        margin: ≥ 0; |γ| ≤ margin counts as γ = 0. Raise it for measured coefficients: if s = 2 to 1 %, then γ = 0 to
            within 0.01.
        burn_in, steps: lengths of the orbit for the averages, as for `averages`.

    Returns:
        `Classification`. Use `jax.vmap` for arrays in `fast`, α and β.

    Raises:
        ValueError: only one of α and β, or an argument out of its range.

    Example:
        >>> import eosmodel as eos
        >>> fast = eos.theory.FastMap(eos.tuners.CDAT(1.5, eps=0.0), sharpness=20.0)
        >>> result = classify(fast, alpha=0.1, beta=4.0)
        >>> Kind(int(result.kind)).label, round(float(result.r_star[0]), 3), round(float(result.q), 3)
        ('clamped', 3.0, 0.15)
    """
    if (alpha is None) != (beta is None):
        raise ValueError(f"classify: alpha and beta must be given together, got alpha={alpha!r}, beta={beta!r}")
    check_range("classify", "margin", margin, 0, high_open=True)
    check_count("classify", "burn_in", burn_in, 0)
    check_count("classify", "steps", steps)
    if alpha is None:
        alpha = beta = jnp.nan
    else:
        check_range("classify", "alpha", alpha, low_open=True, high_open=True)
        check_range("classify", "beta", beta, 0, high_open=True)
    dtype = jnp.result_type(float)
    # As arrays, so that new numbers do not recompile.
    fast, alpha, beta, margin = as_arrays((fast, alpha, beta, margin), dtype)
    return _classify(fast, alpha, beta, margin, burn_in, steps)


@eqx.filter_jit
def _classify(fast, alpha, beta, margin, burn_in, steps):
    low, high = jnp.log(jnp.asarray(R_RANGE, margin.dtype))
    grid = jnp.linspace(low, high, _POINTS, dtype=margin.dtype)
    # Without α and β, which are then NaN, or without an equilibrium x² = 2α/β, r = 1 replaces r_q.
    balanced = (alpha > 0) & (beta > 0)
    ratio = 2 * alpha * fast.sharpness**2 / (jnp.where(balanced, beta, 1) * fast.bulk_gradient_sq)
    level = jnp.clip(jnp.log(jnp.where(balanced, ratio, 1)), grid[0], grid[-1])
    # A single call, because a line search takes seconds to compile.
    step = jnp.asarray(_STEP, level.dtype)
    ends = jnp.stack([-step, jnp.zeros_like(step), step])
    all_growth, s = _growths(
        fast, jnp.append(grid, jnp.broadcast_to(level, (3,))), jnp.append(jnp.zeros_like(grid), ends)
    )
    growth, (flatter, growth_at_level, sharper) = all_growth[:-3], all_growth[-3:]
    sensitivity = (sharper - flatter) / (2 * step)
    sensitive = sensitivity > _LEAST_SENSITIVITY
    r_star, multiplier = _equilibria(fast, grid, growth)
    means, _ = averages(fast, burn_in=burn_in, steps=steps)

    # γ also tends to 0 where s does, which is far below the edge and not at it.
    far = (s[:-3] < 1) & (growth < 0)
    below = far | (growth < -margin)
    near = growth_at_level <= _REACH * sensitivity
    rules = [
        (~jnp.all(jnp.isfinite(growth)), Kind.UNDECIDED),
        (jnp.all(below), Kind.BELOW_EDGE),
        (below[0], Kind.UNDECIDED),
        (jnp.all(~below & (jnp.abs(growth) <= margin)) & ~sensitive, Kind.UNDECIDED),
        (balanced & sensitive & (growth_at_level >= -margin) & near, Kind.SELF_STABILISED),
        (below[-1] & (growth[0] > margin), Kind.CLAMPED),
        (below[-1], Kind.UNDECIDED),
    ]
    kind = jnp.asarray(int(Kind.SELF_STABILISED), jnp.int32)
    for holds, value in reversed(rules):
        kind = jnp.where(holds, jnp.asarray(int(value), jnp.int32), kind)

    kinds = [kind == int(k) for k in (Kind.BELOW_EDGE, Kind.CLAMPED, Kind.SELF_STABILISED)]
    zero, nan = jnp.zeros_like(alpha), jnp.full_like(alpha, jnp.nan)
    # If only λ could bound the oscillation and γ does not depend on it, x² grows without bound.
    unbounded = jnp.where(balanced & sensitive, 1, jnp.sign(alpha) * jnp.where(beta > 0, jnp.inf, 0))
    q = jnp.select(kinds, [zero, beta * means.kick / (2 * alpha * means.stepsize), unbounded], nan)
    runaway = jnp.where(beta > 0, -1, jnp.sign(alpha))
    drift = jnp.sign(alpha * means.stepsize - 0.5 * beta * means.kick)
    trend = jnp.select(kinds, [jnp.sign(alpha), drift, jnp.where(balanced & sensitive, 0, runaway)], nan)
    q, trend = (jnp.where(jnp.isnan(alpha), nan, value) for value in (q, trend))
    return Classification(kind, growth[0], growth[-1], r_star, multiplier, means, q, trend, sensitivity)
