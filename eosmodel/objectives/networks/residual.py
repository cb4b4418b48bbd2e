"""Residual networks without batch statistics."""

import equinox as eqx
import jax
import jax.numpy as jnp

from eosmodel.objectives.data import Data
from eosmodel.objectives.networks.building import as_images, assembled, check_divides, checked_dtype, origin_of
from eosmodel.objectives.networks.convolutional import convolve
from eosmodel.objectives.networks.layers import ACTIVATIONS, affine_last, group_norm_layer, layer_of
from eosmodel.objectives.networks.loss import Network

_STAGES = 3


class _ResidualBlock(eqx.Module):
    """h + filters(act(norm(filters(act(norm(h)))))); (channels, height, width, samples) in and out."""

    norms: tuple[eqx.nn.GroupNorm, eqx.nn.GroupNorm]
    filters: tuple[eqx.nn.Conv2d, eqx.nn.Conv2d]
    projection: eqx.nn.Linear | None
    activation: str = eqx.field(static=True)
    stride: int = eqx.field(static=True)

    def __call__(self, h):
        act = ACTIVATIONS[self.activation]
        inner = convolve(self.filters[0], act(group_norm(self.norms[0], h)), self.stride)
        inner = convolve(self.filters[1], act(group_norm(self.norms[1], inner)), 1)
        if self.projection is None:
            return h + inner
        h = h[:, :: self.stride, :: self.stride]
        return inner + affine_last(self.projection, h.reshape(h.shape[0], -1)).reshape(inner.shape)


class _ResNet(eqx.Module):
    stem: eqx.nn.Conv2d
    blocks: tuple[_ResidualBlock, ...]
    norm: eqx.nn.GroupNorm
    out: eqx.nn.Linear
    activation: str = eqx.field(static=True)

    def __call__(self, x):
        # (channels, height, width, samples): the samples, the longest axis, come last.
        h = convolve(self.stem, jnp.transpose(x, (3, 1, 2, 0)), 1)
        for block in self.blocks:
            h = block(h)
        h = ACTIVATIONS[self.activation](group_norm(self.norm, h))
        return affine_last(self.out, jnp.mean(h, axis=(1, 2))).T


def group_norm(layer, h):
    """A GroupNorm applied to (channels, height, width, samples), of every sample alone."""
    channels, *_, samples = h.shape
    groups = h.reshape(layer.groups, -1, samples)
    centered = groups - jnp.mean(groups, axis=1, keepdims=True)
    normed = centered * jax.lax.rsqrt(jnp.mean(centered**2, axis=1, keepdims=True) + layer.eps)
    weight, bias = (array.reshape(channels, 1, 1, 1) for array in (layer.weight, layer.bias))
    return weight * normed.reshape(h.shape) + bias


def resnet(
    data: Data,
    width: int = 16,
    depth: int = 1,
    activation: str = "relu",
    init_scale: float = 1.0,
    loss: str = "mse",
    seed: int = 0,
    dtype=None,
    chunk: int | None = None,
    weight_decay: float = 0.0,
    groups: int = 2,
) -> Network:
    """A residual network with group normalisation: the ResNet of 6·depth + 2 layers for small images.

    3×3 filters, three stages of `depth` blocks, and after a last norm and activation the mean over the image and a
    linear read-out. A block is h + F₂ act(norm(F₁ act(norm h))) with 3×3 filters F. Each stage after the first
    doubles the channels and halves the image; there h itself passes through 1×1 filters. Norms are over groups of
    channels of one sample, so that the loss is a sum over samples, as batch normalisation would not have it.

    Needs images, x of shape (samples, height, width, channels) or (samples, height, width), and depth ≥ 1. Arguments,
    initial weights and errors are otherwise those of `cnn`; the norms are initially the identity.

    Args:
        width: channels of the first stage.
        groups: groups of channels in a norm; divides width. With 1 it is a LayerNorm over a sample's channels and
            pixels.

    Example:
        >>> import jax
        >>> from eosmodel.objectives import data, resnet
        >>> net = resnet(data.digits(50), width=4, depth=1)
        >>> jax.eval_shape(net.predictions, net.initial(seed=1)).shape  # nothing is computed
        (50, 10)

    Source: He et al., arXiv 1512.03385 (the network) and 1603.05027 (the order in a block); Wu & He, arXiv 1803.08494.
    """
    dtype = checked_dtype(data, "resnet", width, depth, 1, activation, init_scale, loss, seed, dtype)
    check_divides("resnet", "groups", groups, of="width", whole=width)
    images = as_images(data, "resnet")

    def filters(channels, count):
        return layer_of(eqx.nn.Conv2d, channels, count, 3, padding=1, dtype=dtype)

    def norm(channels):
        return layer_of(group_norm_layer, groups, channels, dtype=dtype)

    blocks, channels = [], width
    for stage in range(_STAGES):
        for block in range(depth):
            count, stride = width * 2**stage, 2 if stage and not block else 1
            projection = None if count == channels else layer_of(eqx.nn.Linear, channels, count, dtype=dtype)
            inner = filters(channels, count), filters(count, count)
            blocks.append(_ResidualBlock((norm(channels), norm(count)), inner, projection, activation, stride))
            channels = count
    out = layer_of(eqx.nn.Linear, channels, data.y.shape[1], dtype=dtype)
    model = _ResNet(filters(images.x.shape[3], width), tuple(blocks), norm(channels), out, activation)
    return assembled(model, images, loss, init_scale, seed, dtype, chunk, weight_decay, origin_of(data))
