"""The river: a network's gradient flow, measured once, as a map of a few hundred numbers that any tuner drives."""

from eosmodel.theory.river.coefficients import RiverCoefficients, classify_at, coefficients_at
from eosmodel.theory.river.flow import RiverFlow
from eosmodel.theory.river.map import FlowMap, RiverMap
from eosmodel.theory.river.river import Flow, Place, River, flow_of, moves, stacked
from eosmodel.theory.river.start import FlowStart, RiverStart, at_step, at_weights

__all__ = [
    "Flow",
    "FlowMap",
    "FlowStart",
    "Place",
    "River",
    "RiverCoefficients",
    "RiverFlow",
    "RiverMap",
    "RiverStart",
    "at_step",
    "at_weights",
    "classify_at",
    "coefficients_at",
    "flow_of",
    "moves",
    "stacked",
]
