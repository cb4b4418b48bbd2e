"""The leading eigenpairs of the Hessian, tracked along a run inside jitted code, and the slow coefficients there.

A tracker keeps the leading Ritz pairs of the full-batch Hessian from step to step. Each update takes fresh
Hessian–vector products only, so every Ritz value is a lower bound of the eigenvalue it stands for (Courant–Fischer),
and the residual ‖Hu − λu‖/λ that comes with it bounds the distance to a true eigenvalue from above.
"""

from eosmodel.curvature.block import BlockTracker
from eosmodel.curvature.products import Scaled, hvp, linearize, scale_by, scaled, unscale_by
from eosmodel.curvature.ritz import Modes, TrackInfo
from eosmodel.curvature.scout import Scout
from eosmodel.curvature.slow import (
    SlowCoefficients,
    off_modes,
    oscillation,
    sharp,
    sharpness_gradient,
    slow_coefficients,
)
from eosmodel.curvature.tracked import Tracked
from eosmodel.curvature.tracker import AbstractTracker, Tracker, as_tracker, cold_start, leading

__all__ = [
    "AbstractTracker",
    "BlockTracker",
    "Modes",
    "Scaled",
    "Scout",
    "SlowCoefficients",
    "TrackInfo",
    "Tracked",
    "Tracker",
    "as_tracker",
    "cold_start",
    "hvp",
    "leading",
    "linearize",
    "off_modes",
    "oscillation",
    "scale_by",
    "scaled",
    "sharp",
    "sharpness_gradient",
    "slow_coefficients",
    "unscale_by",
]
