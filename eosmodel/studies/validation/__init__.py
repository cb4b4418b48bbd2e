"""Theory against experiment over a matrix of networks, losses and tuners, and criteria for the theory.

`matrix` says what is run, `cells` runs one cell of it, `judging.criteria` judges what they gave.
"""

from eosmodel.judging.criteria import judge
from eosmodel.judging.quantities import RUN_NUMBERS, THEORY_NUMBERS
from eosmodel.judging.tables import rows, table
from eosmodel.studies.validation.cells import compute
from eosmodel.studies.validation.matrix import LOSSES, TUNERS, WORKLOADS, make_plan

__all__ = [
    "LOSSES",
    "RUN_NUMBERS",
    "THEORY_NUMBERS",
    "TUNERS",
    "WORKLOADS",
    "compute",
    "judge",
    "make_plan",
    "rows",
    "table",
]
