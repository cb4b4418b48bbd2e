"""Convolutional networks: filters that halve the image, and filters in pairs with pooling between them."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from eosmodel.objectives.data import Data
from eosmodel.objectives.networks.building import as_images, assembled, checked_dtype, origin_of
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
            h = ACTIVATIONS[self.activation](convolve(layer, h, 2))
        return affine_last(last, h.reshape(-1, h.shape[-1])).T


def convolve(layer: Any, h, stride: int):
    """A layer of 3×3 filters with padding 1 as one matrix product with the patches; shape (channels, height, width,
    samples) in and out."""
    # With XLA's convolution, which the layer calls, a tracked step takes 2.5 to 2.8 times as long on one CPU core
    # (tests/benchmarks/test_speed.py).
    channels, height, breadth, samples = h.shape
    rows, columns = -(-height // stride), -(-breadth // stride)
    h = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
    down, right = stride * (rows - 1) + 1, stride * (columns - 1) + 1
    shifted = [h[:, i : i + down : stride, j : j + right : stride] for i in range(3) for j in range(3)]
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
    weight_decay: float = 0.0,
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
    images = as_images(data, "cnn")
    height, breadth, channels = images.x.shape[1:]
    layers: list[eqx.nn.Conv2d | eqx.nn.Linear] = []
    for _ in range(depth):
        layers.append(layer_of(eqx.nn.Conv2d, channels, width, 3, stride=2, padding=1, dtype=dtype))
        height, breadth, channels = (height + 1) // 2, (breadth + 1) // 2, width
    layers.append(layer_of(eqx.nn.Linear, height * breadth * channels, data.y.shape[1], dtype=dtype))
    return assembled(
        _CNN(tuple(layers), activation), images, loss, init_scale, seed, dtype, chunk, weight_decay, origin_of(data)
    )


class _VGG(eqx.Module):
    stages: tuple[tuple[eqx.nn.Conv2d, eqx.nn.Conv2d], ...]
    out: eqx.nn.Linear
    activation: str = eqx.field(static=True)

    def __call__(self, x):
        h = jnp.transpose(x, (3, 1, 2, 0))
        for stage in self.stages:
            for filters in stage:
                h = ACTIVATIONS[self.activation](convolve(filters, h, 1))
            h = _pooled(h)
        return affine_last(self.out, h.reshape(-1, h.shape[-1])).T


def _pooled(h):
    """The means of squares of 2×2 pixels; an odd last row or column is left out."""
    channels, height, breadth, samples = h.shape
    h = h[:, : height // 2 * 2, : breadth // 2 * 2]
    return jnp.mean(h.reshape(channels, height // 2, 2, breadth // 2, 2, samples), axis=(2, 4))


def vgg(
    data: Data,
    width: int = 16,
    depth: int = 2,
    activation: str = "tanh",
    init_scale: float = 1.0,
    loss: str = "mse",
    seed: int = 0,
    dtype=None,
    chunk: int | None = None,
    weight_decay: float = 0.0,
) -> Network:
    """A VGG-like network: `depth` stages of two layers of 3×3 filters and 2×2 average pooling, and a linear read-out.

    The first stage has `width` channels, and each later one twice as many as the one before. Pooling is by averages, so
    that the loss is as smooth as the activation. Needs images of at least 2^depth pixels a side. Arguments, initial
    weights and errors are otherwise those of `cnn`.

    Example:
        >>> from eosmodel.objectives import data, vgg
        >>> net = vgg(data.digits(50), width=4, depth=1)
        >>> net.predictions(net.initial(seed=1)).shape
        (50, 10)

    Source: Simonyan & Zisserman, arXiv 1409.1556.
    """
    dtype = checked_dtype(data, "vgg", width, depth, 1, activation, init_scale, loss, seed, dtype)
    images = as_images(data, "vgg")
    height, breadth, channels = images.x.shape[1:]
    if min(height, breadth) < 2**depth:
        raise ValueError(f"vgg: images must have at least 2^depth pixels a side, {2**depth}, got {height}×{breadth}")
    stages = []
    for stage in range(depth):
        count = width * 2**stage
        sizes = (channels, count), (count, count)
        stages.append(tuple(layer_of(eqx.nn.Conv2d, *size, 3, padding=1, dtype=dtype) for size in sizes))
        height, breadth, channels = height // 2, breadth // 2, count
    out = layer_of(eqx.nn.Linear, height * breadth * channels, data.y.shape[1], dtype=dtype)
    return assembled(
        _VGG(tuple(stages), out, activation),
        images,
        loss,
        init_scale,
        seed,
        dtype,
        chunk,
        weight_decay,
        origin_of(data),
    )
