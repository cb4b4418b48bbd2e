"""What can be run: real descent, full batch or stochastic, and the contract that theories share with it."""

from eosmodel.dynamics.base import (
    AbstractDynamics,
    Row,
    SeededStart,
    blank,
    divergence_bound,
    observed_status,
    status_of,
    step_report,
)
from eosmodel.dynamics.descent import Descent
from eosmodel.dynamics.evaluated import Evaluated
from eosmodel.dynamics.stochastic import StochasticDescent

__all__ = [
    "AbstractDynamics",
    "Descent",
    "Evaluated",
    "Row",
    "SeededStart",
    "StochasticDescent",
    "blank",
    "divergence_bound",
    "observed_status",
    "status_of",
    "step_report",
]
