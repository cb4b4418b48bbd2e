"""The two classes of tuners, read off the response Φ: does the tuner bound the oscillation, or must λ do it?

The tuner is called on the two-mode ray with r held and its memory left to settle. What it then does to the oscillation
is one number, the held growth γ(r) = ⟨ln|1 − s|⟩; without memory γ = ln|1 − Φ(r)|. The sign of γ at both ends of r
decides whether the fast map stays away from r = 0 and from r = ∞, whatever it does in between (a fixed point, a cycle
or chaos), and nothing here knows which tuner it is.
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
"""Where Φ is looked at; an equilibrium outside counts as none."""

_POINTS = 193
_EQUILIBRIA = 4
_BISECTIONS = 40
# A tuner with memory settles, and is then averaged: enough for a few tens of periods of a search's sawtooth.
_SETTLE, _HOLD = 64, 128
# Step in ln λ of the difference that measures how γ answers λ, wider than the teeth of a line search.
_STEP = 0.25
# An answer smaller than this is none.
_ANSWER = 0.01
# λ answers first if it need not fall by more than this in ln λ; a rule that clamps is there sooner.
_REACH = 0.5
# Above this |γ(r*)| is not a root but a jump through 2.
_JUMP = 1e-3


class Kind(Coded):
    """What bounds the oscillation. The order is stable because files store the integers."""

    UNDECIDED = -1
    BELOW_EDGE = 0
    CLAMPED = 1
    SELF_STABILISED = 2

    def describe(self) -> str:
        """What it means, in one sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    Kind.UNDECIDED: "Φ does not decide: it sits at 2 and does not answer λ, only just reaches 2, or lets a small "
    "oscillation die and a large one grow",
    Kind.BELOW_EDGE: "Φ is below 2 throughout: the oscillation dies out, and λ drifts at the rate α",
    Kind.CLAMPED: "Φ falls through 2: the tuner holds x² near r*G/λ², nothing pins λ, and sign dλ/dt = sign(1 − q)",
    Kind.SELF_STABILISED: "Φ does not fall below 2 before λ answers: x² grows to 2α/β, where q = 1",
}


class Classification(NamedTuple):
    """What a tuner does with the oscillation at one state of the slow variables.

    Fields
        kind: a `Kind`, as an integer.
        growth_small, growth_large: γ at the ends of the range of r.
        r_star: edge equilibria γ(r*) = 0 (Φ(r*) = 2), increasing, shape (4,), NaN where there are fewer. Where a
            search makes Φ jump through 2, the place of the jump.
        multiplier: m = 1 + 2r*Φ'(r*) of each; NaN where the tuner's memory takes part or Φ jumps. Stable if |m| < 1.
        means: `Averages` over the fast map's orbit from r = 1; they mean something where the orbit stays bounded.
        q: βx²/(2α) with x² = ⟨ηx²⟩/⟨η⟩: 0 below the edge, 1 where λ is pinned, ∞ where x² grows and λ cannot stop it.
            NaN where α and β are not given, or nothing is decided.
        trend: sign of dλ/dt, 1, 0 or −1, while α and β stand still; NaN as for q.
        answer: ∂γ/∂ ln λ at fixed x, by differences, at x² = 2α/β (at r = 1 without α and β). Positive: a sharper
            valley brings on growth, the kick lowers λ, and the balance is stable. Negative, as for every rule whose s
            depends on r alone and falls: the balance is a saddle, and λ runs away on either side of it.
    """

    kind: Int[Array, ""]
    growth_small: Float[Array, ""]
    growth_large: Float[Array, ""]
    r_star: Float[Array, " equilibria"]
    multiplier: Float[Array, " equilibria"]
    means: Averages
    q: Float[Array, ""]
    trend: Float[Array, ""]
    answer: Float[Array, ""]


class Held(NamedTuple):
    """A tuner at held r, its memory settled: γ = ⟨ln|1 − s|⟩, ⟨s⟩, and the least and largest s."""

    growth: Float[Array, ""]
    s: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]


@eqx.filter_jit
def held(fast: FastMap, r: float | Array) -> Held:
    """What a tuner does while r, and everything slow, is held.

    Args:
        fast: the tuner on its two-mode ray.
        r: energy ratio > 0, one number.

    Example:
        >>> import eosmodel as eos
        >>> float(held(eos.theory.FastMap(eos.tuners.OnEdge(3.0)), 5.0).s)
        3.0
    """
    states, growth = _hold(fast, jnp.log(jnp.asarray(r, jnp.result_type(float))))
    s = jax.vmap(lambda z: fast.observe(z).s)(states)
    return Held(jnp.mean(growth), jnp.mean(s), jnp.min(s), jnp.max(s))


def _hold(fast, log_r):
    """States with r put back after every step, once the memory has settled, and the growth ln|1 − s| of each."""

    def step(z, _):
        new = fast(z)
        return new.at[0].set(log_r), (z, 0.5 * (new[0] - log_r))

    z = fast.init(1.0).at[0].set(log_r)
    settle, hold = (_SETTLE, _HOLD) if z.size > 1 else (0, 1)
    states, growth = jax.lax.scan(step, z, None, length=settle + hold)[1]
    return states[settle:], growth[settle:]


def _growths(fast, log_r, steps):
    """γ and ⟨s⟩ at each r for the same x in a valley whose λ is larger by the factor e^step."""

    def one(log_r, step):
        factor = jnp.exp(step)
        slow = (fast.A * factor, fast.kappa / factor, fast.sharpness * factor)
        changed = eqx.tree_at(lambda f: (f.A, f.kappa, f.sharpness), fast, slow)
        states, growth = _hold(changed, log_r + 2 * step)
        return jnp.mean(growth), jnp.mean(jax.vmap(lambda z: changed.observe(z).s)(states))

    return jax.vmap(one)(log_r, steps)


def _equilibria(fast, grid, growth):
    """Where γ changes sign along the grid, by bisection, and the multiplier there."""
    rounding = 64 * jnp.finfo(grid.dtype).eps
    seen = jnp.maximum(jnp.abs(growth[:-1]), jnp.abs(growth[1:])) > rounding
    crossing = ((growth[:-1] >= 0) != (growth[1:] >= 0)) & seen
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
        found = i >= 0
        return jnp.where(found, jnp.exp(z[0]), jnp.nan), jnp.where(found & smooth, row[0], jnp.nan)

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

    Features: γ at 193 values of r from 1e-6 to 1e6, r held; with α and β also γ and the answer ∂γ/∂ ln λ (at fixed x)
    at the level x² = 2α/β, r_q = 2αλ²/(βG), where λ stops rising. "Above", "at" and "below" mean γ > margin,
    |γ| ≤ margin and γ < −margin, or γ < 0 with s < 1, far below; "answers" means an answer above 0.01. The first line
    that holds decides:

        below for all r                                                   below the edge
        below at small r                                                  undecided: depends on where r begins
        at for all r                                                      self-stabilised if s answers λ, else undecided
        0 ≤ γ ≤ ½ answer at r_q, to within the margin, and s answers λ    self-stabilised: λ answers first, and
        (only with α, β > 0)                                                need not fall by more than e^½ for it
        below at large r: above at small r, or else                       clamped, or else undecided
        not below at large r                                              self-stabilised

    Without α and β λ answers last: only a Φ that never falls below 2 is then self-stabilised. The trend is the sign
    of α below the edge, that of 1 − q where the tuner clamps, and where λ must answer 0 if s answers λ and −1 if it
    does not, for x² then grows past 2α/β and keeps lowering λ. Where α < 0 or β = 0 there is no level 2α/β, and where
    λ must answer the trend is −1 or the sign of α.

    Args:
        fast: the tuner at a state: λ, G, κ, A. Arrays or numbers; new ones do not recompile.
        alpha, beta: α and β ≥ 0 there, both or neither.
        margin: ≥ 0, what counts as γ = 0. Raise it for measured coefficients: a valley held at s = 2 to 1 % has
            γ = 0 to 0.01.
        burn_in, steps: of the orbit that the averages are taken over.

    Returns:
        `Classification`. Vmapped over arrays in `fast`, α and β, one of each.

    Raises:
        ValueError: only one of α and β, or an argument out of its range.

    Example:
        >>> import eosmodel as eos
        >>> fast = eos.theory.FastMap(eos.tuners.CDAT(1.5, eps=0.0), sharpness=20.0)
        >>> found = classify(fast, alpha=0.1, beta=4.0)
        >>> Kind(int(found.kind)).label, round(float(found.r_star[0]), 3), round(float(found.q), 3)
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
    # As arrays, another number needs no other compilation.
    fast, alpha, beta, margin = as_arrays((fast, alpha, beta, margin), dtype)
    return _classify(fast, alpha, beta, margin, burn_in, steps)


@eqx.filter_jit
def _classify(fast, alpha, beta, margin, burn_in, steps):
    low, high = jnp.log(jnp.asarray(R_RANGE, margin.dtype))
    grid = jnp.linspace(low, high, _POINTS, dtype=margin.dtype)
    # Without α and β, which are NaN then, or without a balance of the two, r = 1 stands for the level.
    balanced = (alpha > 0) & (beta > 0)
    ratio = 2 * alpha * fast.sharpness**2 / (jnp.where(balanced, beta, 1) * fast.bulk_gradient_sq)
    level = jnp.clip(jnp.log(jnp.where(balanced, ratio, 1)), grid[0], grid[-1])
    # One call for all of it: a line search takes seconds to compile.
    step = jnp.asarray(_STEP, level.dtype)
    ends = jnp.stack([-step, jnp.zeros_like(step), step])
    seen, s = _growths(fast, jnp.append(grid, jnp.broadcast_to(level, (3,))), jnp.append(jnp.zeros_like(grid), ends))
    growth, (flatter, growth_at_level, sharper) = seen[:-3], seen[-3:]
    answer = (sharper - flatter) / (2 * step)
    answers = answer > _ANSWER
    r_star, multiplier = _equilibria(fast, grid, growth)
    means, _ = averages(fast, burn_in=burn_in, steps=steps)

    # γ also goes to 0 where s does, and there it is far below the edge and not at it.
    far = (s[:-3] < 1) & (growth < 0)
    below = far | (growth < -margin)
    near = growth_at_level <= _REACH * answer
    rules = [
        (~jnp.all(jnp.isfinite(growth)), Kind.UNDECIDED),
        (jnp.all(below), Kind.BELOW_EDGE),
        (below[0], Kind.UNDECIDED),
        (jnp.all(~below & (jnp.abs(growth) <= margin)) & ~answers, Kind.UNDECIDED),
        (balanced & answers & (growth_at_level >= -margin) & near, Kind.SELF_STABILISED),
        (below[-1] & (growth[0] > margin), Kind.CLAMPED),
        (below[-1], Kind.UNDECIDED),
    ]
    kind = jnp.asarray(int(Kind.SELF_STABILISED), jnp.int32)
    for holds, value in reversed(rules):
        kind = jnp.where(holds, jnp.asarray(int(value), jnp.int32), kind)

    kinds = [kind == int(k) for k in (Kind.BELOW_EDGE, Kind.CLAMPED, Kind.SELF_STABILISED)]
    zero, nan = jnp.zeros_like(alpha), jnp.full_like(alpha, jnp.nan)
    # Where λ must answer and cannot, x² grows past every level.
    unbounded = jnp.where(balanced & answers, 1, jnp.sign(alpha) * jnp.where(beta > 0, jnp.inf, 0))
    q = jnp.select(kinds, [zero, beta * means.kick / (2 * alpha * means.stepsize), unbounded], nan)
    runaway = jnp.where(beta > 0, -1, jnp.sign(alpha))
    drift = jnp.sign(alpha * means.stepsize - 0.5 * beta * means.kick)
    trend = jnp.select(kinds, [jnp.sign(alpha), drift, jnp.where(balanced & answers, 0, runaway)], nan)
    q, trend = (jnp.where(jnp.isnan(alpha), nan, value) for value in (q, trend))
    return Classification(kind, growth[0], growth[-1], r_star, multiplier, means, q, trend, answer)
