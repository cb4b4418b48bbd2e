"""Theories: dynamics that predict a run without making it, from the full network down to one mode."""

from eosmodel.theory.center import CenterOscillation, GradientFlow
from eosmodel.theory.fast_map import Averages, FastMap, averages, response
from eosmodel.theory.low_dim import Coefficients, DrivenValley, valley_at

THEORIES = {
    "oscillation": "centre and oscillation of the whole network, stepped together; nothing fitted, needs no run",
    "valley": "one mode, λ and L̄ with α, β, κ, G measured along the run of the same tuner",
    "valley-frozen": "one mode and a few bulk modes frozen at a tenth of the run, extrapolated from there",
    "edge-only": "gradient flow with η = 2/λ whatever the tuner does: the edge of stability alone",
    "gradient-flow": "gradient flow clocked by the tuner's own step, without oscillation",
}

__all__ = [
    "THEORIES",
    "Averages",
    "CenterOscillation",
    "Coefficients",
    "DrivenValley",
    "FastMap",
    "GradientFlow",
    "averages",
    "response",
    "valley_at",
]
