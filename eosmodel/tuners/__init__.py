"""Step-size rules. Each sees a ray and returns a step size, so each runs on networks, toys and theories alike."""

from eosmodel.tuners.armijo import Armijo, ArmijoRestart
from eosmodel.tuners.base import AbstractTuner, TunerInfo
from eosmodel.tuners.cdat import CDAT, Greedy
from eosmodel.tuners.constant import Constant, Schedule
from eosmodel.tuners.on_edge import OnEdge
from eosmodel.tuners.polyak import Polyak
from eosmodel.tuners.registry import REGISTRY, from_spec

__all__ = [
    "CDAT",
    "REGISTRY",
    "AbstractTuner",
    "Armijo",
    "ArmijoRestart",
    "Constant",
    "Greedy",
    "OnEdge",
    "Polyak",
    "Schedule",
    "TunerInfo",
    "from_spec",
]
