"""What architectures are made of: activations, layers, and the law of the initial weights."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

ACTIVATIONS: dict[str, Callable] = {"tanh": jnp.tanh, "relu": jax.nn.relu, "gelu": jax.nn.gelu, "silu": jax.nn.silu}


class Each(eqx.Module):
    """A model of one sample, mapped over all samples."""

    model: Callable

    def __call__(self, x):
        return jax.vmap(self.model)(x)


def affine(layer: Any, h):
    """A linear layer applied to inputs of shape (…, fan_in)."""
    # h Wᵀ rather than the layer's own W h: with the samples first it needs no transpose.
    return h @ layer.weight.T + layer.bias


def affine_last(layer: Any, columns):
    """A layer applied to inputs of shape (fan_in, samples); the inputs of a filter are the entries of a patch."""
    return layer.weight.reshape(layer.weight.shape[0], -1) @ columns + layer.bias.reshape(-1, 1)


def layer_of(kind, *args, **options):
    """A layer with shapes in place of arrays, for `draw` to fill in."""
    return eqx.filter_eval_shape(lambda key: kind(*args, key=key, **options), jax.random.key(0))


def norm_layer(width, *, dtype, key):
    """A LayerNorm, which takes no key, for `layer_of`."""
    return eqx.nn.LayerNorm(width, dtype=dtype)


def group_norm_layer(groups, channels, *, dtype, key):
    """A GroupNorm, which takes no key, for `layer_of`."""
    return eqx.nn.GroupNorm(groups, channels, dtype=dtype)


def attention_layer(heads, width, *, dtype, key):
    """Attention of several heads, for `layer_of`."""
    return eqx.nn.MultiheadAttention(heads, width, dtype=dtype, key=key)


def draw(model, scale: Array, key: Array):
    """The model with weights N(0, scale²/fan_in), biases 0 and norms equal to the identity; fan_in is the product of
    all axes of a weight but the first."""
    norms = (eqx.nn.LayerNorm, eqx.nn.GroupNorm)
    kinds = (eqx.nn.Linear, eqx.nn.Conv2d, *norms)

    def layers(model):
        nodes = jax.tree.leaves(model, is_leaf=lambda node: isinstance(node, kinds))
        return [node for node in nodes if isinstance(node, kinds)]

    def arrays(model):
        return [a for layer in layers(model) for a in (layer.weight, layer.bias) if a is not None]

    # Ones and zeros are numpy's, which nothing is compiled for.
    chosen, drawn = layers(model), []
    for layer, subkey in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
        weight, bias = layer.weight, layer.bias
        if isinstance(layer, norms):
            drawn.append(jnp.asarray(np.ones(weight.shape, weight.dtype)))
        else:
            drawn.append(_normal(subkey, scale, weight.shape, weight.dtype))
        if bias is not None:
            drawn.append(jnp.asarray(np.zeros(bias.shape, bias.dtype)))
    return eqx.tree_at(arrays, model, drawn)


@partial(jax.jit, static_argnames=("shape", "dtype"))
def _normal(key, scale, shape, dtype):
    """N(0, scale²/fan_in), a program for each shape: one for a whole network takes longer to compile than its parts,
    which layers and networks share. Drawn flat, for a filter's four axes triple the time."""
    flat = jax.random.normal(key, (math.prod(shape),), dtype)
    return (scale * flat / math.prod(shape[1:]) ** 0.5).reshape(shape)
