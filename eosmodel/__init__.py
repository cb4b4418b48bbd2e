"""eosmodel: the joint dynamics of step sizes and sharpness at the edge of stability.

A step-size tuner (line search, Polyak step, CDAT, …) moves η in answer to the curvature λ that η itself shapes.
eosmodel runs one and the same tuner object on real networks, on toy losses and on theories of both, and compares
what they say. See `simulate`, `predict` and `compare`.

Names are loaded on first use, so that importing the package, and the command line's help, cost nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eosmodel import analysis, curvature, logs, objectives, plotting, report, theory, tuners
    from eosmodel._status import Status
    from eosmodel.analysis.phase import PhaseDiagram, phase_diagram
    from eosmodel.experiment import coefficients, measure_river, predict, rank, simulate, tune, weights
    from eosmodel.judging.scoreboard import Comparison, compare
    from eosmodel.objectives import data, objective
    from eosmodel.rays import ray
    from eosmodel.results import names, record

_NAMES = {
    "Comparison": "eosmodel.judging.scoreboard",
    "PhaseDiagram": "eosmodel.analysis.phase",
    "Status": "eosmodel._status",
    "coefficients": "eosmodel.experiment",
    "compare": "eosmodel.judging.scoreboard",
    "measure_river": "eosmodel.experiment",
    "objective": "eosmodel.objectives",
    "phase_diagram": "eosmodel.analysis.phase",
    "predict": "eosmodel.experiment",
    "rank": "eosmodel.experiment",
    "ray": "eosmodel.rays",
    "simulate": "eosmodel.experiment",
    "tune": "eosmodel.experiment",
    "weights": "eosmodel.experiment",
}
_MODULES = {
    "analysis": "eosmodel.analysis",
    "curvature": "eosmodel.curvature",
    "data": "eosmodel.objectives.data",
    "directions": "eosmodel.directions",
    "logs": "eosmodel.logs",
    "measures": "eosmodel.results.measures",
    "names": "eosmodel.results.names",
    "objectives": "eosmodel.objectives",
    "plotting": "eosmodel.plotting",
    "record": "eosmodel.results.record",
    "report": "eosmodel.report",
    "theory": "eosmodel.theory",
    "tuners": "eosmodel.tuners",
}

__all__ = [  # noqa: RUF022 - the order in which one meets them
    "objectives",
    "data",
    "objective",
    "tuners",
    "directions",
    "ray",
    "simulate",
    "predict",
    "measure_river",
    "rank",
    "tune",
    "weights",
    "compare",
    "Comparison",
    "measures",
    "coefficients",
    "theory",
    "phase_diagram",
    "PhaseDiagram",
    "analysis",
    "curvature",
    "record",
    "logs",
    "plotting",
    "report",
    "names",
    "Status",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("eosmodel")
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'eosmodel' has no attribute {name!r}")
    # Importing a submodule binds its own name in this package; `ray` and `compare` must be the functions.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
