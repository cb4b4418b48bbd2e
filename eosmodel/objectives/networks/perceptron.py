"""Multilayer perceptrons."""

import itertools
import math

import equinox as eqx

from eosmodel.objectives.data import Data
from eosmodel.objectives.networks.building import assembled, check_vectors, checked_dtype
from eosmodel.objectives.networks.layers import ACTIVATIONS, affine, layer_of
from eosmodel.objectives.networks.loss import Network


class _MLP(eqx.Module):
    layers: tuple[eqx.nn.Linear, ...]
    activation: str = eqx.field(static=True)

    def __call__(self, x):
        *hidden, last = self.layers
        h = x.reshape(x.shape[0], -1)
        for layer in hidden:
            h = ACTIVATIONS[self.activation](affine(layer, h))
        return affine(last, h)


def mlp(
    data: Data,
    width: int = 64,
    depth: int = 2,
    activation: str = "tanh",
    init_scale: float = 1.0,
    loss: str = "mse",
    seed: int = 0,
    dtype=None,
    chunk: int | None = None,
    weight_decay: float = 0.0,
) -> Network:
    """A multilayer perceptron on flattened inputs: h_l = act(W_l h_{l−1} + b_l), and a linear read-out.

    Initial weights are N(0, init_scale²/fan_in), initial biases 0. With a small scale (½ or less) the initial sharpness
    is low and rises a lot.

    Args:
        data: see `eosmodel.objectives.data`.
        width: neurons in each hidden layer.
        depth: number of hidden layers; 0 is a linear model.
        activation: "tanh", "relu", "gelu" or "silu".
        init_scale: factor of the standard deviation of all initial weights.
        loss: "mse" or "ce", see `Network`.
        seed: seed of the initial weights.
        dtype: dtype of weights and data; None for jax's default float.
        chunk: samples in memory at once, an integer ≥ 1; None for all where they take a sixteenth of the memory there
            is, else for as many as are fast, see [chunks](devices.md#samples-in-chunks); a batch of runs counts as many
            times as it has runs. Results differ by rounding.
        weight_decay: ω ≥ 0, by which ½ω‖w‖² is added to the loss, of biases and norms too.

    Raises:
        ValueError: a value out of its range, or "ce" with regression targets.

    Example:
        >>> from eosmodel.objectives import data, mlp
        >>> net = mlp(data.digits(50), width=8, depth=1)
        >>> w = net.initial()
        >>> w.shape, net.predictions(w).shape
        ((610,), (50, 10))
    """
    dtype = checked_dtype(data, "mlp", width, depth, 0, activation, init_scale, loss, seed, dtype)
    check_vectors(data, "mlp")
    sizes = [math.prod(data.x.shape[1:]), *[width] * depth, data.y.shape[1]]
    layers = tuple(layer_of(eqx.nn.Linear, i, o, dtype=dtype) for i, o in itertools.pairwise(sizes))
    return assembled(_MLP(layers, activation), data, loss, init_scale, seed, dtype, chunk, weight_decay)
