"""Theories: dynamics that predict a run without making it, from the full network down to one mode."""

from eosmodel.theory.center import CenterOscillation, GradientFlow
from eosmodel.theory.central_flow import CentralFlow
from eosmodel.theory.classes import Classification, Held, Kind, classify, held
from eosmodel.theory.closures import AbstractClosure, Floor, FrozenClosure, MeasuredClosure, ValleyClosure
from eosmodel.theory.fast_map import Averages, FastMap, averages, response
from eosmodel.theory.low_dim import Coefficients, DrivenValley, valley_at
from eosmodel.theory.noisy_averages import Stationary, stationary
from eosmodel.theory.noisy_map import NoisyFastMap
from eosmodel.theory.separation import Separation, separation
from eosmodel.theory.slow_flow import SlowFlow
from eosmodel.theory.slow_solution import SlowRegime, SlowSolution

THEORIES = {
    "oscillation": "centre and oscillation of the whole network, stepped together; nothing fitted, needs no run",
    "valley": "one mode, λ and L̄ with α, β, κ, G measured along the run of the same tuner",
    "valley-frozen": "one mode and a few bulk modes frozen at a tenth of the run, extrapolated from there",
    "central-flow": "centre of the whole network alone, its oscillation averaged out algebraically",
    "edge-only": "gradient flow with η = 2/λ whatever the tuner does: the edge of stability alone",
    "gradient-flow": "gradient flow clocked by the tuner's own step, without oscillation",
}

__all__ = [
    "THEORIES",
    "AbstractClosure",
    "Averages",
    "CenterOscillation",
    "CentralFlow",
    "Classification",
    "Coefficients",
    "DrivenValley",
    "FastMap",
    "Floor",
    "FrozenClosure",
    "GradientFlow",
    "Held",
    "Kind",
    "MeasuredClosure",
    "NoisyFastMap",
    "Separation",
    "SlowFlow",
    "SlowRegime",
    "SlowSolution",
    "Stationary",
    "ValleyClosure",
    "averages",
    "classify",
    "held",
    "response",
    "separation",
    "stationary",
    "valley_at",
]
