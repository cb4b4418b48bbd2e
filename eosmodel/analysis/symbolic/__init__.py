"""Closed forms derived by sympy, each of which compiles to a jax function.

`RESPONSES` contains the tuners' responses with their edge equilibria, multipliers and flips; `normal_form` is gradient
descent in the valley; `noise_gap` is the distance to the edge of stability under gradient noise; `quartic_thresholds`
and `momentum_thresholds` are the stability limits of gradient descent on two textbook losses.
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
