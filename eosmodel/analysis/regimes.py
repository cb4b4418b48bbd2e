"""Which regime an orbit is in: decided from its features by the thresholds written here."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from eosmodel.analysis.streams import Features
from eosmodel.results.regimes import Regime

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
