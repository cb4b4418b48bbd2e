"""Theory against experiment over a matrix of networks, losses and tuners, with the bars that the theory should reach.

`matrix` says what is run, `cells` runs one cell of it, `bars` judges what they gave.
"""

from eosmodel.validation.bars import judge, rows, table
from eosmodel.validation.cells import NUMBERS, SAID, compute
from eosmodel.validation.matrix import LOSSES, TUNERS, WORKLOADS, Plan, make_plan

__all__ = [
    "LOSSES",
    "NUMBERS",
    "SAID",
    "TUNERS",
    "WORKLOADS",
    "Plan",
    "compute",
    "judge",
    "make_plan",
    "rows",
    "table",
]
