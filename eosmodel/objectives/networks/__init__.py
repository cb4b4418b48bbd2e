"""Networks: their losses on data, and the architectures."""

from eosmodel.objectives.networks.loss import ACTIVATIONS, LOSSES, NETWORKS, Network, cnn, mlp, network, transformer

__all__ = ["ACTIVATIONS", "LOSSES", "NETWORKS", "Network", "cnn", "mlp", "network", "transformer"]
