"""Sweeps over step-size rules, batch sizes and seeds: independent blocks, done here, in processes or on a cluster."""

from eosmodel._runners import Runner, WorkersLost, cluster, here, processes
from eosmodel.sweeps.blocks import FULL, SCALARS, block_config, compute
from eosmodel.sweeps.findings import LEAST_SEEDS, LEVEL, Comparison, Finding, evaluate
from eosmodel.sweeps.grids import expand, parameters
from eosmodel.sweeps.plans import Plan, make_plan

__all__ = [
    "FULL",
    "LEAST_SEEDS",
    "LEVEL",
    "SCALARS",
    "Comparison",
    "Finding",
    "Plan",
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
