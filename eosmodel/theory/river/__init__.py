"""The river: a network's gradient flow, measured once, as a map of a few hundred numbers that any tuner drives."""

from eosmodel.theory.river.coefficients import RiverCoefficients, classify_at, coefficients_at
from eosmodel.theory.river.flow import RiverFlow
from eosmodel.theory.river.map import RiverMap
from eosmodel.theory.river.river import Place, River, moves, river_of
from eosmodel.theory.river.start import RiverStart, at_step, at_weights

__all__ = [
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
    "moves",
    "river_of",
]
