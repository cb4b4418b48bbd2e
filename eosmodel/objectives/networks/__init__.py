"""Networks: their losses on data, and the architectures, each in a module of its own."""

from collections.abc import Callable

from eosmodel.objectives.networks.convolutional import cnn, vgg
from eosmodel.objectives.networks.loss import Network
from eosmodel.objectives.networks.perceptron import mlp
from eosmodel.objectives.networks.residual import resnet
from eosmodel.objectives.networks.transformers import gpt, transformer
from eosmodel.objectives.networks.vision import mixer, vit

NETWORKS: dict[str, tuple[Callable[..., Network], str]] = {
    "mlp": (mlp, "multilayer perceptron on flattened inputs"),
    "cnn": (cnn, "convolutional network of 3×3 filters with stride 2, on images"),
    "vgg": (vgg, "stages of two layers of 3×3 filters and average pooling, on images"),
    "resnet": (resnet, "residual network of 6·depth + 2 layers with group normalisation, on images"),
    "vit": (vit, "vision transformer, on images"),
    "mixer": (mixer, "MLP-Mixer, on images"),
    "transformer": (transformer, "transformer encoder with an output at every position, on sequences (--data sorting)"),
    "gpt": (gpt, "causal transformer with an output at every position, on sequences (--data markov)"),
}
"""Name -> (constructor, one-line description)."""
