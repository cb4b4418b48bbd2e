"""Step-size rules. A rule sees a ray and returns a step size, so the same rule runs on networks, toys and theories."""

from eosmodel.tuners._labels import spec_of
from eosmodel.tuners.adaptive import AdaGradNorm, Clipping, NormalizedGD, ScalarRMSProp
from eosmodel.tuners.armijo import Armijo, ArmijoRestart
from eosmodel.tuners.as_optax import as_optax
from eosmodel.tuners.base import AbstractTuner, TunerInfo
from eosmodel.tuners.bracketing import Goldstein, StrongWolfe
from eosmodel.tuners.cdat import CDAT, Greedy
from eosmodel.tuners.constant import Constant, Schedule
from eosmodel.tuners.hedge import EdgeHedge
from eosmodel.tuners.modifiers import AbstractModifier, Bounded, Scheduled, WarmupCosine
from eosmodel.tuners.nonmonotone import WindowArmijo, ZhangHager
from eosmodel.tuners.on_edge import OnEdge
from eosmodel.tuners.polyak import Polyak, SmoothedSPS, SPSPlus
from eosmodel.tuners.registry import MODIFIERS, REGISTRY, from_spec
from eosmodel.tuners.secants import BB1, BB2, AdGD, BarzilaiBorwein

__all__ = [
    "BB1",
    "BB2",
    "CDAT",
    "MODIFIERS",
    "REGISTRY",
    "AbstractModifier",
    "AbstractTuner",
    "AdGD",
    "AdaGradNorm",
    "Armijo",
    "ArmijoRestart",
    "BarzilaiBorwein",
    "Bounded",
    "Clipping",
    "Constant",
    "EdgeHedge",
    "Goldstein",
    "Greedy",
    "NormalizedGD",
    "OnEdge",
    "Polyak",
    "SPSPlus",
    "ScalarRMSProp",
    "Schedule",
    "Scheduled",
    "SmoothedSPS",
    "StrongWolfe",
    "TunerInfo",
    "WarmupCosine",
    "WindowArmijo",
    "ZhangHager",
    "as_optax",
    "from_spec",
    "spec_of",
]
