"""Networks that see an image as a sequence of patches: a vision transformer, and an MLP-Mixer."""

import equinox as eqx
import jax
import jax.numpy as jnp

from eosmodel.objectives.data import Data
from eosmodel.objectives.networks.building import as_images, assembled, check_divides, checked_dtype, origin_of
from eosmodel.objectives.networks.layers import ACTIVATIONS, Each, affine, layer_of, norm_layer
from eosmodel.objectives.networks.loss import Network
from eosmodel.objectives.networks.transformers import Transformer, transformer_of


def patches(image, size: int):
    """An image (height, width, channels) as its patches, row by row: (patches, size · size · channels)."""
    height, breadth, channels = image.shape
    tiles = image.reshape(height // size, size, breadth // size, size, channels)
    return tiles.transpose(0, 2, 1, 3, 4).reshape(-1, size * size * channels)


class _ViT(eqx.Module):
    transformer: Transformer
    patch: int = eqx.field(static=True)

    def __call__(self, image):
        # The read-out is linear: the mean of its outputs is its output at the mean.
        return jnp.mean(self.transformer(patches(image, self.patch)), axis=0)


class _MixerBlock(eqx.Module):
    """x + (mixing of patches)(norm(x)), then x + (mixing of channels)(norm(x)); (patches, width) in and out."""

    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    between: tuple[eqx.nn.Linear, eqx.nn.Linear]
    within: tuple[eqx.nn.Linear, eqx.nn.Linear]
    activation: str = eqx.field(static=True)

    def __call__(self, x):
        x = x + self._mixed(self.between, jax.vmap(self.norms[0])(x).T).T
        return x + self._mixed(self.within, jax.vmap(self.norms[1])(x))

    def _mixed(self, layers, h):
        return affine(layers[1], ACTIVATIONS[self.activation](affine(layers[0], h)))


class _Mixer(eqx.Module):
    embedding: eqx.nn.Linear
    blocks: tuple[_MixerBlock, ...]
    norm: eqx.nn.LayerNorm
    out: eqx.nn.Linear
    patch: int = eqx.field(static=True)

    def __call__(self, image):
        h = affine(self.embedding, patches(image, self.patch))
        for block in self.blocks:
            h = block(h)
        return affine(self.out, jnp.mean(jax.vmap(self.norm)(h), axis=0))


def vit(
    data: Data,
    width: int = 16,
    depth: int = 2,
    activation: str = "gelu",
    init_scale: float = 1.0,
    loss: str = "mse",
    seed: int = 0,
    dtype=None,
    chunk: int | None = None,
    weight_decay: float = 0.0,
    patch: int = 4,
    heads: int = 2,
) -> Network:
    """A vision transformer: the blocks of `transformer` on the patches of an image, and the mean over patches.

    Needs images, x of shape (samples, height, width, channels) or (samples, height, width), and depth ≥ 1. Arguments,
    initial weights and errors are otherwise those of `transformer`.

    Args:
        patch: side of a patch in pixels; divides height and width.
        heads: number of heads; divides the features `width`.

    Example:
        >>> import jax
        >>> from eosmodel.objectives import data, vit
        >>> net = vit(data.digits(50), width=8, depth=1, patch=2)
        >>> jax.eval_shape(net.predictions, net.initial(seed=1)).shape  # nothing is computed
        (50, 10)

    Source: Dosovitskiy et al., arXiv 2010.11929; the mean over patches, Beyer et al., arXiv 2205.01580.
    """
    dtype = checked_dtype(data, "vit", width, depth, 1, activation, init_scale, loss, seed, dtype)
    check_divides("vit", "heads", heads, of="width", whole=width)
    images, length = _tiled(data, "vit", patch)
    features = patch**2 * images.x.shape[3]
    shape = (length, features, data.y.shape[1], width, depth, heads)
    model = _ViT(transformer_of(*shape, activation, dtype, causal=False), patch)
    return assembled(Each(model), images, loss, init_scale, seed, dtype, chunk, weight_decay, origin_of(data))


def mixer(
    data: Data,
    width: int = 16,
    depth: int = 2,
    activation: str = "gelu",
    init_scale: float = 1.0,
    loss: str = "mse",
    seed: int = 0,
    dtype=None,
    chunk: int | None = None,
    weight_decay: float = 0.0,
    patch: int = 4,
) -> Network:
    """An MLP-Mixer: pre-norm blocks of a perceptron across the patches of an image and one across their features.

    A linear embedding of the patches is followed by `depth` blocks, with hidden layers of width/2, rounded up, across
    patches, and of 4·width across features; then by a norm, the mean over patches and a linear read-out.

    Needs images, x of shape (samples, height, width, channels) or (samples, height, width), and depth ≥ 1. Arguments,
    initial weights and errors are otherwise those of `mlp`; the norms are initially the identity.

    Args:
        patch: side of a patch in pixels; divides height and width.

    Example:
        >>> import jax
        >>> from eosmodel.objectives import data, mixer
        >>> net = mixer(data.digits(50), width=8, depth=1, patch=2)
        >>> jax.eval_shape(net.predictions, net.initial(seed=1)).shape  # nothing is computed
        (50, 10)

    Source: Tolstikhin et al., arXiv 2105.01601.
    """
    dtype = checked_dtype(data, "mixer", width, depth, 1, activation, init_scale, loss, seed, dtype)
    images, length = _tiled(data, "mixer", patch)

    def perceptron(size, hidden):
        return tuple(layer_of(eqx.nn.Linear, *sizes, dtype=dtype) for sizes in ((size, hidden), (hidden, size)))

    blocks = tuple(
        _MixerBlock(
            tuple(layer_of(norm_layer, width, dtype=dtype) for _ in range(2)),
            perceptron(length, (width + 1) // 2),
            perceptron(width, 4 * width),
            activation,
        )
        for _ in range(depth)
    )
    embedding = layer_of(eqx.nn.Linear, patch**2 * images.x.shape[3], width, dtype=dtype)
    out = layer_of(eqx.nn.Linear, width, data.y.shape[1], dtype=dtype)
    model = _Mixer(embedding, blocks, layer_of(norm_layer, width, dtype=dtype), out, patch)
    return assembled(Each(model), images, loss, init_scale, seed, dtype, chunk, weight_decay, origin_of(data))


def _tiled(data: Data, owner: str, patch: int) -> tuple[Data, int]:
    """The data as images that patches tile, and the number of patches."""
    images = as_images(data, owner)
    height, breadth = images.x.shape[1:3]
    check_divides(owner, "patch", patch, of="the height of images", whole=height)
    check_divides(owner, "patch", patch, of="the width of images", whole=breadth)
    return images, (height // patch) * (breadth // patch)
