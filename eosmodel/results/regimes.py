"""Regimes of orbits: their integers in files and their labels in figures."""

from eosmodel._status import Coded


class Regime(Coded):
    """The regime of an orbit. Files store the integers, so they must not change.

    It is the first of these that applies to the `Features` of the orbit:

    - `DIVERGED`: a value is not finite, or the loss exceeds the bound. For a fast map, whose λ is constant, this means
      that the tuner does not bound the oscillation, so that only a change of λ could.
    - `CHAOTIC`: the largest Lyapunov exponent exceeds three standard errors, and ten e-folds in the last half.
    - `CATAPULT`: converged as below, after the loss exceeded twice its initial value, with a lower final λ.
    - `CONVERGED`: Λ < −0.01; s < 2 throughout the last half, or only ⟨s⟩ < 2 if the gradient vanished before the end;
      λ level in the last half; and a gradient norm below a hundredth of its largest value.
    - `PERIODIC`: λ level, and the fast coordinates have a period from 2 to 32. In a valley the coordinate is
      ln(λ²x²/G), which is constant where x only changes its sign at the edge equilibrium. For other objectives the
      coordinates are all weights and the tuner's state, so that an edge equilibrium of exact period 2 is periodic. A
      fast map has a constant λ, and its edge equilibrium s = 2 is periodic with period 1.
    - `SELF_STABILISED`: at the edge, |Λ| ≤ 0.01 and |⟨s⟩ − 2| ≤ 0.1, and the oscillation balances progressive
      sharpening: in a valley q = βx²/2α is within 0.1 of 1 (which a tuner that clamps may pass temporarily). Elsewhere,
      where α is not known, λ is level, has changed by over 2 % since the start, the gradient has not vanished, and the
      step is constant to 1 %, so that the tuner does not bound the oscillation.
    - `CLAMPED_SHARPENING`, `CLAMPED_FLATTENING`: at the edge, |Λ| ≤ 0.01, the step varies by over 1 %, and ln λ rises
      or falls by over 0.02 in the last half; in a valley also q < 0.9 or q > 1.1.

    Of the training of a network, which ends long before it converges, `analysis.decide_training` says instead:

    - `DIVERGED` as above; `OUT_OF_RANGE`: the theory says nothing of the rest of the training.
    - `CATAPULT`: the loss exceeded twice its initial value and came down again.
    - `BELOW_EDGE`: ηλ < 1.99 throughout the last half, ln(ηλ − 1) < −0.01.
    - `SELF_STABILISED`: ηλ reaches that, and the step is constant to 1 % or λ is level.
    - `CLAMPED_SHARPENING`, `CLAMPED_FLATTENING`: ηλ reaches it with a step that varies, and ln λ rises or falls by over
      0.02 in the last half.
    - `UNDECIDED` otherwise, for example in a transient, or within these thresholds of a boundary.
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
    OUT_OF_RANGE = 8
    BELOW_EDGE = 9

    def describe(self) -> str:
        """The meaning, in one sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    Regime.UNDECIDED: "the features do not decide",
    Regime.CONVERGED: "converged below the edge: the oscillation decayed while ηλ stayed under 2",
    Regime.SELF_STABILISED: "at the edge, with a sharpness that the oscillation keeps constant",
    Regime.CLAMPED_SHARPENING: "at the edge, with an oscillation bounded by the tuner and too small to stop sharpening",
    Regime.CLAMPED_FLATTENING: "at the edge, with an oscillation bounded by the tuner and so large that λ falls",
    Regime.CATAPULT: "the loss rose far above its initial value, the sharpness fell, and then the orbit converged",
    Regime.PERIODIC: "the fast coordinates are periodic, and the sharpness is constant",
    Regime.CHAOTIC: "nearby orbits separate exponentially",
    Regime.DIVERGED: "values exceeded the bound",
    Regime.OUT_OF_RANGE: "the theory left its range of validity on the way",
    Regime.BELOW_EDGE: "ηλ stayed under 2 until the end of the training",
}
