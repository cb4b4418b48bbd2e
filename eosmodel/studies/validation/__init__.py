"""Theory against experiment over a matrix of networks, losses and tuners, with the bars that the theory should reach.

`matrix` says what is run, `cells` runs one cell of it, `bars` judges what they gave.
"""

from eosmodel.judging.criteria import judge, rows, table
from eosmodel.judging.quantities import NUMBERS, SAID
from eosmodel.studies.validation.cells import compute
from eosmodel.studies.validation.matrix import LOSSES, TUNERS, WORKLOADS, Plan, make_plan

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
