"""Convolutional networks."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from eosmodel.objectives.data import Data
from eosmodel.objectives.networks.building import assembled, check_vectors, checked_dtype, origin_of
from eosmodel.objectives.networks.layers import ACTIVATIONS, affine_last, layer_of
from eosmodel.objectives.networks.loss import Network


class _CNN(eqx.Module):
    layers: tuple[eqx.nn.Conv2d | eqx.nn.Linear, ...]
    activation: str = eqx.field(static=True)

    def __call__(self, x):
        # (channels, height, width, samples): the samples, the longest axis, come last.
        h = jnp.transpose(x, (3, 1, 2, 0))
        *filters, last = self.layers
        for layer in filters:
            h = ACTIVATIONS[self.activation](_convolve(layer, h))
        return affine_last(last, h.reshape(-1, h.shape[-1])).T


def _convolve(layer: Any, h):
    # The layer as one matrix product with the 3×3 patches; shape (channels, height, width, samples) in and out. With
    # XLA's convolution, which the layer calls, a tracked step takes 2.5 to 2.8 times as long on one CPU core
    # (tests/benchmarks/test_speed.py).
    channels, height, breadth, samples = h.shape
    rows, columns = (height + 1) // 2, (breadth + 1) // 2
    h = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [h[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for i in range(3) for j in range(3)]
    patches = jnp.stack(shifted, axis=1).reshape(9 * channels, -1)
    return affine_last(layer, patches).reshape(-1, rows, columns, samples)


def cnn(
    data: Data,
    width: int = 16,
    depth: int = 2,
    activation: str = "tanh",
    init_scale: float = 1.0,
    loss: str = "mse",
    seed: int = 0,
    dtype=None,
    chunk: int | None = None,
) -> Network:
    """A convolutional network: `depth` layers of `width` 3×3 filters (stride 2, padding 1), and a linear read-out.

    Needs images, x of shape (samples, height, width, channels) or (samples, height, width), and depth ≥ 1.
    Arguments, initial weights and errors are otherwise those of `mlp`; fan_in is 9 · input channels for a filter.

    Example:
        >>> from eosmodel.objectives import cnn, data
        >>> net = cnn(data.digits(50), width=4, depth=1, loss="ce")
        >>> net.predictions(net.initial(seed=1)).shape
        (50, 10)
    """
    dtype = checked_dtype(data, "cnn", width, depth, 1, activation, init_scale, loss, seed, dtype)
    check_vectors(data, "cnn")
    origin = origin_of(data)
    if data.x.ndim == 3:  # images of one channel
        data = dataclasses.replace(data, x=data.x[..., None])
    if data.x.ndim != 4:
        raise ValueError(f"cnn: data.x must have shape (samples, height, width, channels), got {data.x.shape}")
    height, breadth, channels = data.x.shape[1:]
    layers: list[eqx.nn.Conv2d | eqx.nn.Linear] = []
    for _ in range(depth):
        layers.append(layer_of(eqx.nn.Conv2d, channels, width, 3, stride=2, padding=1, dtype=dtype))
        height, breadth, channels = (height + 1) // 2, (breadth + 1) // 2, width
    layers.append(layer_of(eqx.nn.Linear, height * breadth * channels, data.y.shape[1], dtype=dtype))
    return assembled(_CNN(tuple(layers), activation), data, loss, init_scale, seed, dtype, chunk, origin)
