"""Figures of labelled datasets. Each function takes a dataset, and optionally axes, and computes at most a smoothing.

Figures are `matplotlib.figure.Figure` objects without pyplot: they need no display and need not be closed, and
`figure.savefig` writes them.
"""

from eosmodel.plotting.ensembles import ensemble
from eosmodel.plotting.flows import slow_flow
from eosmodel.plotting.following import live
from eosmodel.plotting.held_out import held_out
from eosmodel.plotting.maps import basins, branch, orbit_diagram, portrait
from eosmodel.plotting.phase import phase_diagram
from eosmodel.plotting.responses import response, responses
from eosmodel.plotting.rivers import river, river_response
from eosmodel.plotting.sweeps import sweep_map, sweep_trajectories
from eosmodel.plotting.trajectories import errors, fork, summary, trajectories
from eosmodel.plotting.validation import validation_map, validation_trajectories

__all__ = [
    "basins",
    "branch",
    "ensemble",
    "errors",
    "fork",
    "held_out",
    "live",
    "orbit_diagram",
    "phase_diagram",
    "portrait",
    "response",
    "responses",
    "river",
    "river_response",
    "slow_flow",
    "summary",
    "sweep_map",
    "sweep_trajectories",
    "trajectories",
    "validation_map",
    "validation_trajectories",
]
