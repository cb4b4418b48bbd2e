"""The theories that have a name: their parameters, what they need, and the dynamics that each sets up."""

from eosmodel.theory.entries.flows import (
    CentralFlowTheory,
    EdgeFlowTheory,
    EdgeOnlyTheory,
    GradientFlowTheory,
    RodFlowTheory,
)
from eosmodel.theory.entries.oscillation import OscillationTheory
from eosmodel.theory.entries.river import RiverTheory
from eosmodel.theory.entries.valley import FrozenValleyTheory, MeasuredValleyTheory

__all__ = [
    "CentralFlowTheory",
    "EdgeFlowTheory",
    "EdgeOnlyTheory",
    "FrozenValleyTheory",
    "GradientFlowTheory",
    "MeasuredValleyTheory",
    "OscillationTheory",
    "RiverTheory",
    "RodFlowTheory",
]
