"""Regimes: what an orbit does in the long run, as files store it and pictures name it."""

from eosmodel._status import Coded


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
