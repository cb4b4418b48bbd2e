"""Theories: dynamics that predict a run without making it, from the full network down to one mode."""

from eosmodel.theory.base import AbstractTheory, AbstractWholeTheory, Problem, Setup
from eosmodel.theory.center import AfterDescent, CenterOscillation
from eosmodel.theory.central_flow import CentralFlow
from eosmodel.theory.classes import Classification, Held, Kind, classify, held
from eosmodel.theory.closures import AbstractClosure, Floor, FrozenClosure, MeasuredClosure, ValleyClosure
from eosmodel.theory.edge_flow import EdgeFlow
from eosmodel.theory.entries import (
    CentralFlowTheory,
    EdgeFlowTheory,
    EdgeOnlyTheory,
    FrozenValleyTheory,
    GradientFlowTheory,
    MeasuredValleyTheory,
    OscillationTheory,
    RiverTheory,
    RodFlowTheory,
)
from eosmodel.theory.fast_map import Averages, FastMap, averages, response
from eosmodel.theory.gradient_flow import GradientFlow
from eosmodel.theory.low_dim import Coefficients, DrivenValley, FrozenValley, valley_at
from eosmodel.theory.noisy_averages import Stationary, stationary
from eosmodel.theory.noisy_map import NoisyFastMap
from eosmodel.theory.registry import THEORIES, from_spec, of_labels, parse
from eosmodel.theory.rod_flow import RodFlow
from eosmodel.theory.separation import Separation, separation
from eosmodel.theory.slow_flow import SlowFlow
from eosmodel.theory.slow_solution import SlowRegime, SlowSolution

__all__ = [
    "THEORIES",
    "AbstractClosure",
    "AbstractTheory",
    "AbstractWholeTheory",
    "AfterDescent",
    "Averages",
    "CenterOscillation",
    "CentralFlow",
    "CentralFlowTheory",
    "Classification",
    "Coefficients",
    "DrivenValley",
    "EdgeFlow",
    "EdgeFlowTheory",
    "EdgeOnlyTheory",
    "FastMap",
    "Floor",
    "FrozenClosure",
    "FrozenValley",
    "FrozenValleyTheory",
    "GradientFlow",
    "GradientFlowTheory",
    "Held",
    "Kind",
    "MeasuredClosure",
    "MeasuredValleyTheory",
    "NoisyFastMap",
    "OscillationTheory",
    "Problem",
    "RiverTheory",
    "RodFlow",
    "RodFlowTheory",
    "Separation",
    "Setup",
    "SlowFlow",
    "SlowRegime",
    "SlowSolution",
    "Stationary",
    "ValleyClosure",
    "averages",
    "classify",
    "from_spec",
    "held",
    "of_labels",
    "parse",
    "response",
    "separation",
    "stationary",
    "valley_at",
]
