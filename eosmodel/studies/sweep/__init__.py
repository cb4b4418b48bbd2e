"""Sweeps over step-size rules, batch sizes and seeds: independent blocks, done here, in processes or on a cluster."""

from eosmodel.judging.batch_sizes import LEAST_SEEDS, LEVEL, Ratio, evaluate
from eosmodel.studies.runners import Runner, WorkersLost, cluster, here, processes
from eosmodel.studies.sweep.cells import FULL, SCALARS, block_config, compute
from eosmodel.studies.sweep.plans import Plan, make_plan
from eosmodel.tuners.grids import expand, parameters

__all__ = [
    "FULL",
    "LEAST_SEEDS",
    "LEVEL",
    "SCALARS",
    "Plan",
    "Ratio",
    "Runner",
    "WorkersLost",
    "block_config",
    "cluster",
    "compute",
    "evaluate",
    "expand",
    "here",
    "make_plan",
    "parameters",
    "processes",
]
