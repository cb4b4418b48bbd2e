"""Closed forms derived by sympy, each of which compiles to a jax function.

`RESPONSES` has the tuners' responses with their edge equilibria, multipliers and flips; `normal_form` what gradient
descent does in the valley; `noise_gap` how far below the edge gradient noise holds it; `quartic_thresholds` and
`momentum_thresholds` where gradient descent on two textbook losses loses stability, and to what.
"""

from eosmodel.analysis.symbolic.compiling import compile
from eosmodel.analysis.symbolic.responses import RESPONSES, CompiledResponse, SymbolicResponse
from eosmodel.analysis.symbolic.thresholds import (
    MomentumThreshold,
    QuarticThresholds,
    momentum_thresholds,
    quartic_thresholds,
)
from eosmodel.analysis.symbolic.valley import NoiseGap, NormalForm, noise_gap, normal_form

__all__ = [
    "RESPONSES",
    "CompiledResponse",
    "MomentumThreshold",
    "NoiseGap",
    "NormalForm",
    "QuarticThresholds",
    "SymbolicResponse",
    "compile",
    "momentum_thresholds",
    "noise_gap",
    "normal_form",
    "quartic_thresholds",
]
