"""Analysis of maps: cycles and their stability, continuation, orbits and portraits.

`eosmodel.analysis.symbolic` (sympy) is loaded only where it is imported, because importing sympy is slow.
"""

from eosmodel.analysis.continuation import branch, flip_curve, fold_curve
from eosmodel.analysis.cycles import Bifurcation, Cycles, cycles, flip, fold
from eosmodel.analysis.orbits import Lyapunov, detect_period, lyapunov, orbit_diagram
from eosmodel.analysis.portraits import basins, portrait

__all__ = [
    "Bifurcation",
    "Cycles",
    "Lyapunov",
    "basins",
    "branch",
    "cycles",
    "detect_period",
    "flip",
    "flip_curve",
    "fold",
    "fold_curve",
    "lyapunov",
    "orbit_diagram",
    "portrait",
]
