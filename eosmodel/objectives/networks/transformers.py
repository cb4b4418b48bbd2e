"""Transformers with an output at every position of a sequence: all seen by all, or causal."""

import equinox as eqx
import jax
import jax.numpy as jnp

from eosmodel.objectives.data import Data
from eosmodel.objectives.networks.building import assembled, check_divides, checked_dtype
from eosmodel.objectives.networks.layers import ACTIVATIONS, Each, affine, attention_layer, layer_of, norm_layer
from eosmodel.objectives.networks.loss import Network


class _Block(eqx.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)); a sequence (length, width) in and out."""

    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    attention: eqx.nn.MultiheadAttention
    inner: eqx.nn.Linear
    outer: eqx.nn.Linear
    activation: str = eqx.field(static=True)
    causal: bool = eqx.field(static=True)

    def __call__(self, x):
        h = jax.vmap(self.norms[0])(x)
        mask = jnp.tril(jnp.ones((len(x), len(x)), bool)) if self.causal else None
        x = x + self.attention(h, h, h, mask)
        h = jax.vmap(self.norms[1])(x)
        return x + affine(self.outer, ACTIVATIONS[self.activation](affine(self.inner, h)))


class Transformer(eqx.Module):
    """Blocks between a linear embedding of token and position and a linear read-out, of one sequence."""

    embedding: eqx.nn.Linear
    blocks: tuple[_Block, ...]
    norm: eqx.nn.LayerNorm
    out: eqx.nn.Linear

    def __call__(self, x):
        positions = jnp.eye(x.shape[0], dtype=x.dtype)
        h = affine(self.embedding, jnp.concatenate([x, positions], axis=-1))
        for block in self.blocks:
            h = block(h)
        return affine(self.out, jax.vmap(self.norm)(h))


def transformer(
    data: Data,
    width: int = 16,
    depth: int = 2,
    activation: str = "gelu",
    init_scale: float = 1.0,
    loss: str = "ce",
    seed: int = 0,
    dtype=None,
    chunk: int | None = None,
    weight_decay: float = 0.0,
) -> Network:
    """A transformer encoder with an output at every position: pre-norm blocks of attention and a feed-forward layer.

    A linear embedding of token and position is followed by `depth` blocks, each with two heads of width/2 and a
    feed-forward layer of 4·width, then by a norm and a linear read-out. There is no mask and no dropout.

    Needs sequences, x of shape (samples, length, features) and y of shape (samples, length, outputs), as from
    `data.sorting`, an even width and depth ≥ 1. Arguments, initial weights and errors are otherwise those of `mlp`; the
    norms are initially the identity.

    Example:
        >>> import jax
        >>> from eosmodel.objectives import data, transformer
        >>> net = transformer(data.sorting(20), width=8, depth=1)
        >>> jax.eval_shape(net.predictions, net.initial(seed=1)).shape  # nothing is computed
        (20, 8, 8)
    """
    dtype = checked_dtype(data, "transformer", width, depth, 1, activation, init_scale, loss, seed, dtype)
    if width % 2:
        raise ValueError(f"transformer: width must be even, for two heads, got {width}")
    model = _on_sequences(data, "transformer", width, depth, 2, activation, dtype, causal=False)
    return assembled(Each(model), data, loss, init_scale, seed, dtype, chunk, weight_decay)


def gpt(
    data: Data,
    width: int = 16,
    depth: int = 2,
    activation: str = "gelu",
    init_scale: float = 1.0,
    loss: str = "ce",
    seed: int = 0,
    dtype=None,
    chunk: int | None = None,
    weight_decay: float = 0.0,
    heads: int = 2,
) -> Network:
    """A causal transformer, which at every position sees the tokens up to there: `transformer` with a mask.

    For sequences whose target at a position is the next token, as from `data.markov`. Arguments, initial weights and
    errors are otherwise those of `transformer`; `heads` must divide width.

    Example:
        >>> import jax
        >>> from eosmodel.objectives import data, gpt
        >>> net = gpt(data.markov(20), width=8, depth=1)
        >>> jax.eval_shape(net.predictions, net.initial(seed=1)).shape  # nothing is computed
        (20, 16, 4)

    Source: Radford et al., "Language models are unsupervised multitask learners" (2019).
    """
    dtype = checked_dtype(data, "gpt", width, depth, 1, activation, init_scale, loss, seed, dtype)
    check_divides("gpt", "heads", heads, of="width", whole=width)
    model = _on_sequences(data, "gpt", width, depth, heads, activation, dtype, causal=True)
    return assembled(Each(model), data, loss, init_scale, seed, dtype, chunk, weight_decay)


def _on_sequences(data: Data, owner: str, width, depth, heads, activation, dtype, *, causal) -> Transformer:
    if data.x.ndim != 3 or data.y.shape[:-1] != data.x.shape[:-1]:
        raise ValueError(
            f"{owner}: data.x must have shape (samples, length, features), data.y (samples, length, outputs), got "
            f"{data.x.shape} and {data.y.shape}; data sets 'sorting' and 'markov' have them"
        )
    _, length, features = data.x.shape
    return transformer_of(length, features, data.y.shape[2], width, depth, heads, activation, dtype, causal=causal)


def transformer_of(length, features, outputs, width, depth, heads, activation, dtype, *, causal) -> Transformer:
    """A transformer with shapes in place of arrays."""
    blocks = tuple(
        _Block(
            tuple(layer_of(norm_layer, width, dtype=dtype) for _ in range(2)),
            layer_of(attention_layer, heads, width, dtype=dtype),
            layer_of(eqx.nn.Linear, width, 4 * width, dtype=dtype),
            layer_of(eqx.nn.Linear, 4 * width, width, dtype=dtype),
            activation,
            causal,
        )
        for _ in range(depth)
    )
    embedding = layer_of(eqx.nn.Linear, features + length, width, dtype=dtype)
    out = layer_of(eqx.nn.Linear, width, outputs, dtype=dtype)
    return Transformer(embedding, blocks, layer_of(norm_layer, width, dtype=dtype), out)
