"""The regime of an orbit, from its features and the thresholds below."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Int

from eosmodel.analysis.streams import Features
from eosmodel.results.regimes import Regime

EDGE = 0.01
"""Largest |Λ| of an oscillation at the edge; an e-fold per hundred steps."""
LEVEL = 0.02
"""Largest change of ln λ over the last half of a level sharpness."""
BALANCE = 0.1
"""Largest |q − 1| for which self-stabilisation balances progressive sharpening, and largest |⟨s⟩ − 2| in this case."""
STEADY = 0.01
"""Largest ln(max η/min η) of a constant step."""
SETTLED = 0.01
"""Largest gradient norm of a converged orbit, relative to its largest one."""
ROSE = 2.0
"""Least multiple of the initial loss that is reached in a catapult."""
CHAOS = 10.0, 3.0
"""An orbit is chaotic if nearby orbits separate by more than this many e-folds over the last half, and its Lyapunov
exponent exceeds this many standard errors. Mere growth, such as that of an unbounded λ, gives few e-folds."""


def decide_training(orbit: Features) -> Int[Array, "..."]:
    """The `Regime` of the training of a network, which ends before it converges; −1 if its features do not decide.

    Args:
        orbit: the features of the training.
    """
    cases = {
        Regime.DIVERGED: orbit.diverged,
        Regime.OUT_OF_RANGE: orbit.lost,
        Regime.CATAPULT: orbit.peak > ROSE,
        # A rule may settle at ηλ = 2 to four digits, on either side: that is at the edge.
        Regime.BELOW_EDGE: orbit.highest_s < 1 + math.exp(-EDGE),
        Regime.SELF_STABILISED: (orbit.stepsize_spread <= STEADY) | (jnp.abs(orbit.drift) <= LEVEL),
        Regime.CLAMPED_SHARPENING: orbit.drift > LEVEL,
        Regime.CLAMPED_FLATTENING: orbit.drift < -LEVEL,
    }
    return _first(cases)


def decide(orbit: Features) -> Int[Array, "..."]:
    """The `Regime` of an orbit, as an integer array of the shape of its features; −1 if they do not decide.

    Args:
        orbit: the features of the orbit, from `features`, with the Lyapunov exponent and the period.
    """
    at_edge = jnp.abs(orbit.edge_exponent) <= EDGE
    near_two = jnp.abs(orbit.s - 2) <= BALANCE
    level = (jnp.abs(orbit.drift) <= LEVEL) | orbit.frozen
    folds, errors = CHAOS
    chaotic = (orbit.lyapunov * orbit.averaged > folds) & (orbit.lyapunov > errors * orbit.lyapunov_error)

    below = (orbit.edge_exponent < -EDGE) & (jnp.where(orbit.arrived, orbit.s, orbit.highest_s) < 2)
    converged = below & (level | orbit.arrived) & (orbit.remaining <= SETTLED)
    flatter = orbit.final_sharpness < orbit.first_sharpness
    catapult = converged & (orbit.peak > ROSE) & flatter

    periodic = level & (orbit.period >= jnp.where(orbit.frozen, 1, 2))
    balanced = jnp.isfinite(orbit.q)
    moved = jnp.abs(jnp.log(jnp.abs(orbit.final_sharpness / orbit.first_sharpness))) > LEVEL
    stationary = level & (orbit.stepsize_spread <= STEADY) & moved & (orbit.remaining > SETTLED)
    pinned = near_two & jnp.where(balanced, jnp.abs(orbit.q - 1) <= BALANCE, stationary)
    varying_step = orbit.stepsize_spread > STEADY
    rising = varying_step & (orbit.drift > LEVEL) & ~(balanced & (orbit.q >= 1 - BALANCE))
    falling = varying_step & (orbit.drift < -LEVEL) & ~(balanced & (orbit.q <= 1 + BALANCE))
    slow = at_edge & ~orbit.frozen

    # Comparisons with NaN are false, so that unknown features do not decide.
    cases = {
        Regime.DIVERGED: orbit.diverged,
        Regime.CHAOTIC: chaotic,
        Regime.CATAPULT: catapult,
        Regime.CONVERGED: converged,
        Regime.PERIODIC: periodic,
        Regime.SELF_STABILISED: slow & pinned,
        Regime.CLAMPED_SHARPENING: slow & rising,
        Regime.CLAMPED_FLATTENING: slow & falling,
    }
    return _first(cases)


def _first(cases):
    """The first case that holds."""
    codes = [jnp.asarray(int(code), jnp.int32) for code in cases]
    return jnp.select(list(cases.values()), codes, jnp.asarray(int(Regime.UNDECIDED), jnp.int32))
