"""Networks: their losses on data, and the architectures, each in a module of its own."""

from collections.abc import Callable

from eosmodel.objectives.networks.convolutional import cnn
from eosmodel.objectives.networks.loss import Network
from eosmodel.objectives.networks.perceptron import mlp
from eosmodel.objectives.networks.transformers import transformer

NETWORKS: dict[str, tuple[Callable[..., Network], str]] = {
    "mlp": (mlp, "multilayer perceptron on flattened inputs"),
    "cnn": (cnn, "convolutional network of 3×3 filters with stride 2, on images"),
    "transformer": (transformer, "transformer encoder with an output at every position, on sequences (--data sorting)"),
}
"""Name -> (constructor, one-line description)."""
