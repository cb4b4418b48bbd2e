"""Regimes: what an orbit does in the long run, decided from its features by the thresholds written here."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from eosmodel._status import Coded
from eosmodel.analysis.streams import Features

EDGE = 0.01
"""|Λ| up to which an oscillation is at the edge; e-fold per hundred steps."""
LEVEL = 0.02
"""Change of ln λ over the last half up to which the sharpness is level."""
BALANCE = 0.1
"""|q − 1| up to which self-stabilisation balances progressive sharpening, and |⟨s⟩ − 2| beside it."""
STEADY = 0.01
"""ln(max η/min η) up to which the tuner holds its step."""
SETTLED = 0.01
"""Share of the largest gradient norm that an orbit may have left to have converged."""
ROSE = 2.0
"""Multiple of the first loss that makes a rise a catapult."""
CHAOS = 10.0, 3.0
"""An orbit is chaotic if nearby ones separate by this many e-folds over the last half, and its Lyapunov exponent
exceeds this many of its standard errors. What merely runs away, as λ without bound, grows by few."""


class Regime(Coded):
    """What an orbit does; the order is stable because files store the integers.

    Decided from the `Features` of the orbit, the first of these that applies:

    - `DIVERGED`: a value not finite, or a loss beyond the bound. Of a fast map, whose λ is held: the tuner does not
      bound the oscillation, which a sharpness that may answer would have to.
    - `CHAOTIC`: the largest Lyapunov exponent exceeds three standard errors, and ten e-folds in the last half.
    - `CATAPULT`: converged as below, after the loss had been over twice its first value; λ ended lower than it began.
    - `CONVERGED`: Λ < −0.01, s < 2 throughout the last half, λ level there, and the gradient's norm under a hundredth
      of its largest. (Of an orbit on which the gradient vanished before the end only ⟨s⟩ < 2 is asked.)
    - `PERIODIC`: λ level, and the fast coordinates recur with a period from 2 to 32: ln(λ²x²/G) in a valley, where x at
      the plain edge equilibrium merely changes sign; of another objective all weights and the tuner's state, so that
      there an edge equilibrium of exact period 2 is called periodic. A fast map has no λ that moves, and its edge
      equilibrium s = 2 has the period 1.
    - `SELF_STABILISED`: at the edge, |Λ| ≤ 0.01 and |⟨s⟩ − 2| ≤ 0.1, the oscillation balances progressive sharpening:
      q = βx²/2α is within 0.1 of 1 in a valley (a tuner that clamps may pass by there). Elsewhere α is not known, and
      a level λ is taken for pinned only if it has moved over 2 % since the start, the gradient has not gone, and the
      tuner holds its step to 1 %, so that it cannot be what bounds the oscillation.
    - `CLAMPED_SHARPENING`, `CLAMPED_FLATTENING`: at the edge, |Λ| ≤ 0.01, the tuner moves its step by over 1 %, and
      ln λ rises or falls by over 0.02 in the last half; in a valley q < 0.9 or q > 1.1 as well.
    - `UNDECIDED` otherwise, for example an orbit still under way, or within these thresholds of a boundary.
    """

    UNDECIDED = -1
    CONVERGED = 0
    SELF_STABILISED = 1
    CLAMPED_SHARPENING = 2
    CLAMPED_FLATTENING = 3
    CATAPULT = 4
    PERIODIC = 5
    CHAOTIC = 6
    DIVERGED = 7

    def describe(self) -> str:
        """What it means, in one sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    Regime.UNDECIDED: "the features do not decide",
    Regime.CONVERGED: "converged below the edge: the oscillation died out while ηλ stayed under 2",
    Regime.SELF_STABILISED: "at the edge, with the sharpness pinned by the oscillation that it feeds",
    Regime.CLAMPED_SHARPENING: "at the edge, the oscillation bounded by the tuner and too small to stop sharpening",
    Regime.CLAMPED_FLATTENING: "at the edge, the oscillation bounded by the tuner and so large that sharpness falls",
    Regime.CATAPULT: "the loss rose far above its start, the sharpness fell, and then the orbit converged",
    Regime.PERIODIC: "the fast coordinates repeat, while the sharpness stands still",
    Regime.CHAOTIC: "nearby orbits separate exponentially",
    Regime.DIVERGED: "values grew beyond every bound",
}


def decide(found: Features) -> Int[Array, "..."]:
    """The `Regime` that features decide, as an integer array of their shape; −1 where they do not decide.

    Args:
        found: from `features`, with the Lyapunov exponent and the period.
    """
    at_edge = jnp.abs(found.edge_exponent) <= EDGE
    near_two = jnp.abs(found.s - 2) <= BALANCE
    level = (jnp.abs(found.drift) <= LEVEL) | found.frozen
    folds, errors = CHAOS
    chaotic = (found.lyapunov * found.averaged > folds) & (found.lyapunov > errors * found.lyapunov_error)

    below = (found.edge_exponent < -EDGE) & (jnp.where(found.arrived, found.s, found.highest_s) < 2)
    converged = below & (level | found.arrived) & (found.remaining <= SETTLED)
    flatter = found.final_sharpness < found.first_sharpness
    catapult = converged & (found.peak > ROSE) & flatter

    periodic = level & (found.period >= jnp.where(found.frozen, 1, 2))
    balanced = jnp.isfinite(found.q)
    moved = jnp.abs(jnp.log(jnp.abs(found.final_sharpness / found.first_sharpness))) > LEVEL
    held = level & (found.stepsize_spread <= STEADY) & moved & (found.remaining > SETTLED)
    pinned = near_two & jnp.where(balanced, jnp.abs(found.q - 1) <= BALANCE, held)
    answers = found.stepsize_spread > STEADY
    rising = answers & (found.drift > LEVEL) & ~(balanced & (found.q >= 1 - BALANCE))
    falling = answers & (found.drift < -LEVEL) & ~(balanced & (found.q <= 1 + BALANCE))
    slow = at_edge & ~found.frozen

    # The first that holds; NaN compares false, so what is not known decides nothing.
    cases = {
        Regime.DIVERGED: found.diverged,
        Regime.CHAOTIC: chaotic,
        Regime.CATAPULT: catapult,
        Regime.CONVERGED: converged,
        Regime.PERIODIC: periodic,
        Regime.SELF_STABILISED: slow & pinned,
        Regime.CLAMPED_SHARPENING: slow & rising,
        Regime.CLAMPED_FLATTENING: slow & falling,
    }
    codes = [jnp.asarray(int(code), jnp.int32) for code in cases]
    return jnp.select(list(cases.values()), codes, jnp.asarray(int(Regime.UNDECIDED), jnp.int32))
