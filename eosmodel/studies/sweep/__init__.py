"""Sweeps over step-size rules, batch sizes and seeds: a block for every rule at every batch size."""

from eosmodel.judging.batch_sizes import LEAST_SEEDS, LEVEL, Ratio, evaluate
from eosmodel.studies.sweep.cells import FULL, HELD_OUT, SCALARS, compute, make_block
from eosmodel.studies.sweep.plans import make_plan
from eosmodel.tuners.grids import expand, parameters

__all__ = [
    "FULL",
    "HELD_OUT",
    "LEAST_SEEDS",
    "LEVEL",
    "SCALARS",
    "Ratio",
    "compute",
    "evaluate",
    "expand",
    "make_block",
    "make_plan",
    "parameters",
]
