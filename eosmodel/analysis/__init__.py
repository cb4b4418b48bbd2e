"""Analysis of maps: cycles and their stability, continuation, orbits, portraits, regimes and phase diagrams.

`eosmodel.analysis.symbolic` (sympy) is loaded only where it is imported, because importing sympy is slow.
"""

from eosmodel.analysis.class_check import check_classes, disagreements
from eosmodel.analysis.continuation import branch, flip_curve, fold_curve
from eosmodel.analysis.cycles import Bifurcation, Cycles, cycles, flip, fold
from eosmodel.analysis.grids import sweep
from eosmodel.analysis.hedging import (
    bulk_progress,
    chebyshev_exponent,
    chebyshev_steps,
    normalised_steps,
    silver_steps,
)
from eosmodel.analysis.orbits import Lyapunov, detect_period, lyapunov, orbit_diagram
from eosmodel.analysis.phase import OBSERVABLES, PhaseDiagram, phase_diagram
from eosmodel.analysis.portraits import basins, portrait
from eosmodel.analysis.probes import probe
from eosmodel.analysis.regimes import decide, decide_training
from eosmodel.analysis.response_curves import response_curve
from eosmodel.analysis.streams import Features, features
from eosmodel.results.regimes import Regime

__all__ = [
    "OBSERVABLES",
    "Bifurcation",
    "Cycles",
    "Features",
    "Lyapunov",
    "PhaseDiagram",
    "Regime",
    "basins",
    "branch",
    "bulk_progress",
    "chebyshev_exponent",
    "chebyshev_steps",
    "check_classes",
    "cycles",
    "decide",
    "decide_training",
    "detect_period",
    "disagreements",
    "features",
    "flip",
    "flip_curve",
    "fold",
    "fold_curve",
    "lyapunov",
    "normalised_steps",
    "orbit_diagram",
    "phase_diagram",
    "portrait",
    "probe",
    "response_curve",
    "silver_steps",
    "sweep",
]
