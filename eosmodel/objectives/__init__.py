"""Objectives: losses of one flat array of weights, from quadratics to networks."""

from eosmodel.objectives import data
from eosmodel.objectives.base import AbstractObjective, FunctionObjective, objective
from eosmodel.objectives.data import Data
from eosmodel.objectives.networks import NETWORKS, Network, cnn, mlp, network
from eosmodel.objectives.quadratics import DenseQuadratic, DiagonalQuadratic
from eosmodel.objectives.valleys import Valley, valley

OBJECTIVES: dict[str, str] = {
    **{name: description for name, (_, description) in NETWORKS.items()},
    "network": "an equinox model of one's own on a data set",
    "DiagonalQuadratic": "½ Σ λ_i (w_i − c_i)², given by its spectrum",
    "DenseQuadratic": "½ (w − c)ᵀ H (w − c), given by its Hessian",
    "Valley": "one sharp direction coupled to a quadratic bulk: the normal form of the edge of stability",
    "objective": "any jax function of a flat array",
}
"""Name -> one-line description of what this module offers."""

__all__ = [
    "NETWORKS",
    "OBJECTIVES",
    "AbstractObjective",
    "Data",
    "DenseQuadratic",
    "DiagonalQuadratic",
    "FunctionObjective",
    "Network",
    "Valley",
    "cnn",
    "data",
    "mlp",
    "network",
    "objective",
    "valley",
]
