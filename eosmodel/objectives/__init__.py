"""Objectives: losses of one flat array of weights, from quadratics to networks."""

from eosmodel.objectives import data
from eosmodel.objectives.base import AbstractObjective, FunctionObjective, objective
from eosmodel.objectives.data import Data
from eosmodel.objectives.diagonal_linear import DiagonalLinear, diagonal_linear
from eosmodel.objectives.networks import NETWORKS, Network, cnn, mlp, network
from eosmodel.objectives.products import (
    EVEN_LOSSES,
    AbstractProduct,
    DoubleWell,
    MinimalistExample,
    ProductLoss,
    ScalarFactorization,
)
from eosmodel.objectives.quadratics import DenseQuadratic, DiagonalQuadratic
from eosmodel.objectives.second_order import SecondOrderRegression, random_regression, two_parameter_regression
from eosmodel.objectives.spectra import power_law, random_quadratic
from eosmodel.objectives.two_layer import (
    TeacherStudent,
    TwoLayerLinear,
    TwoLayerScalar,
    teacher_student,
    two_layer_linear,
    two_layer_scalar,
)
from eosmodel.objectives.valleys import Valley, valley

OBJECTIVES: dict[str, str] = {
    **{name: description for name, (_, description) in NETWORKS.items()},
    "network": "an equinox model of one's own on a data set",
    "DiagonalQuadratic": "½ Σ λ_i (w_i − c_i)², given by its spectrum",
    "DenseQuadratic": "½ (w − c)ᵀ H (w − c), given by its Hessian",
    "Valley": "one sharp direction coupled to a quadratic bulk: the normal form of the edge of stability",
    "power_law": "DiagonalQuadratic with λ_i = largest · i^(−exponent)",
    "random_quadratic": "DenseQuadratic with a seeded Wishart Hessian",
    "TwoLayerScalar": "two-layer scalar net ½(n^(−½) u·v − y)², of one unit or many",
    "TwoLayerLinear": "two-layer linear network W₂W₁x with matrices",
    "DiagonalLinear": "diagonal linear network, regression with u⊙u − v⊙v or u⊙u",
    "TeacherStudent": "two-layer student of a fixed teacher, tanh or ReLU",
    "ProductLoss": "ℓ(xy) for an even ℓ: log-cosh, square root, quadratic or one's own",
    "ScalarFactorization": "½(target − xy)²",
    "MinimalistExample": "¼(1 − x²y²)², the degree-four example of the edge of stability",
    "DoubleWell": "¼(x² − μ)²",
    "SecondOrderRegression": "½‖z₀ + Jθ + ½θᵀQθ‖², a quadratic model of the residuals",
    "objective": "any jax function of a flat array",
}
"""Name -> one-line description of what this module offers."""

__all__ = [
    "EVEN_LOSSES",
    "NETWORKS",
    "OBJECTIVES",
    "AbstractObjective",
    "AbstractProduct",
    "Data",
    "DenseQuadratic",
    "DiagonalLinear",
    "DiagonalQuadratic",
    "DoubleWell",
    "FunctionObjective",
    "MinimalistExample",
    "Network",
    "ProductLoss",
    "ScalarFactorization",
    "SecondOrderRegression",
    "TeacherStudent",
    "TwoLayerLinear",
    "TwoLayerScalar",
    "Valley",
    "cnn",
    "data",
    "diagonal_linear",
    "mlp",
    "network",
    "objective",
    "power_law",
    "random_quadratic",
    "random_regression",
    "teacher_student",
    "two_layer_linear",
    "two_layer_scalar",
    "two_parameter_regression",
    "valley",
]
