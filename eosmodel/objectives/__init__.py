"""Objectives: losses of one flat array of weights, from quadratics to networks."""

from eosmodel.objectives import data
from eosmodel.objectives.base import AbstractObjective, FunctionObjective, objective
from eosmodel.objectives.batches import AbstractBatches, GaussianBatches, MiniBatches, Noise
from eosmodel.objectives.data import Data
from eosmodel.objectives.diagonal_linear import DiagonalLinear, diagonal_linear
from eosmodel.objectives.networks import NETWORKS, Network, cnn, gpt, mixer, mlp, resnet, transformer, vgg, vit
from eosmodel.objectives.networks.own import network
from eosmodel.objectives.noisy_valley import NoisyValley
from eosmodel.objectives.products import (
    EVEN_LOSSES,
    AbstractProduct,
    DoubleWell,
    MinimalistExample,
    ProductLoss,
    ScalarFactorization,
)
from eosmodel.objectives.quadratics import DenseQuadratic, DiagonalQuadratic
from eosmodel.objectives.registry import TOYS, from_spec
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
    **{name: toy.description for name, toy in TOYS.items()},
    "network": "a user-supplied equinox model on a data set",
    "DenseQuadratic": "½ (w − c)ᵀ H (w − c), given by its Hessian",
    "SecondOrderRegression": "½‖z₀ + Jθ + ½θᵀQθ‖², given by z₀, J and Q",
    "objective": "any jax function of a flat array",
    "MiniBatches": "a network's loss on a new batch of its samples at every step",
    "NoisyValley": "a valley's loss with new noise of given strength at every step",
}
"""Name -> one-line description of the objectives in this package."""

__all__ = [
    "EVEN_LOSSES",
    "NETWORKS",
    "OBJECTIVES",
    "TOYS",
    "AbstractBatches",
    "AbstractObjective",
    "AbstractProduct",
    "Data",
    "DenseQuadratic",
    "DiagonalLinear",
    "DiagonalQuadratic",
    "DoubleWell",
    "FunctionObjective",
    "GaussianBatches",
    "MiniBatches",
    "MinimalistExample",
    "Network",
    "Noise",
    "NoisyValley",
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
    "from_spec",
    "gpt",
    "mixer",
    "mlp",
    "network",
    "objective",
    "power_law",
    "random_quadratic",
    "random_regression",
    "resnet",
    "teacher_student",
    "transformer",
    "two_layer_linear",
    "two_layer_scalar",
    "two_parameter_regression",
    "valley",
    "vgg",
    "vit",
]
