"""The loss of a neural network on a data set, as a function of its ravelled weights."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from eosmodel._checks import check_count, check_precision, check_range, one_line
from eosmodel._origin import Origin
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.data import Data

ACTIVATIONS: dict[str, Callable] = {"tanh": jnp.tanh, "relu": jax.nn.relu, "gelu": jax.nn.gelu, "silu": jax.nn.silu}
LOSSES = {"mse": "½ · mean over samples of ‖out − y‖²", "ce": "mean cross-entropy of softmax(out), in nats"}


class Network(AbstractObjective):
    """A network's full-batch loss, built by `mlp`, `cnn`, `transformer` or, for a user-supplied model, `network`.

        mse: L(w) = 1/(2n) Σ_i ‖f(x_i; w) − y_i‖²        ce: L(w) = −1/n Σ_i y_i · log softmax f(x_i; w)

    w are the flattened weights, shape (dim,), n is the number of samples, f the model. If each position of a sequence
    has its own target, the loss of a sample is the mean over its positions. Computations use the dtype of w.

    Args:
        model: an equinox module that maps all samples at once, with its initial weights (its inexact arrays are w).
        x: inputs, shape (samples, *features).
        y: targets, shape (samples, outputs) or (samples, positions, outputs).
        init_scale: σ of the distribution N(0, σ²/fan_in) that `initial(seed)` draws weights from; None for a
            user-supplied model.
        loss_name: "mse" or "ce".
        classes: number of classes; None for regression.
        frozen: the arrays of the model that are not weights, and None elsewhere; None where all are weights.
        origin: `name`, `sha256` and `samples` of the `Data`, for records.
    """

    model: Any
    x: Float[Array, "samples *features"]
    y: Float[Array, "samples *positions outputs"]
    init_scale: Float[Array, ""] | None
    loss_name: str = eqx.field(static=True)
    classes: int | None = eqx.field(static=True)
    frozen: Any = None
    origin: Origin = eqx.field(static=True, default=Origin())

    def __repr__(self) -> str:
        kind = type(self.model.model if isinstance(self.model, _Each) else self.model).__name__.removeprefix("_")
        dim = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(self.model, eqx.is_inexact_array)))
        return f"Network({kind}, {dim} weights, {self.loss_name}, {len(self.x)} samples, {self.x.dtype})"

    def tree(self, weights: Float[Array, " dim"]) -> Any:
        """Matrices and biases in their own shapes, a tuple."""
        return tuple(jax.tree.leaves(self._unravelled(weights)))

    def _unravelled(self, weights):
        return ravel_pytree(eqx.filter(self.model, eqx.is_inexact_array))[1](weights)

    def predictions(self, weights: Float[Array, " dim"]) -> Float[Array, "samples *positions outputs"]:
        """The network's outputs f(x_i; w) (logits under "ce")."""
        static = eqx.filter(self.model, eqx.is_inexact_array, inverse=True)
        parts = [self._unravelled(weights), static] + ([] if self.frozen is None else [self.frozen])
        model = eqx.combine(*parts)
        # By default an accelerator rounds the factors of a product to 10 bits or fewer, too coarse for curvature.
        with jax.default_matmul_precision("highest"):
            return model(self.x.astype(weights.dtype))

    def losses(self, weights: Float[Array, " dim"]) -> Float[Array, " samples"]:
        """ℓ_i(w), the loss of each sample; L is their mean."""
        out, y = self.predictions(weights), self.y.astype(weights.dtype)
        each = 0.5 * (out - y) ** 2 if self.loss_name == "mse" else -y * jax.nn.log_softmax(out)
        each = jnp.sum(each, axis=-1)
        return jnp.mean(each, axis=tuple(range(1, each.ndim)))

    def loss(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        return jnp.mean(self.losses(weights))

    def on(self, indices: Int[Array, " chosen"]) -> "Network":
        """The same network on the samples of these indices."""
        return dataclasses.replace(self, x=self.x[indices], y=self.y[indices], origin=Origin())

    def accuracy(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """The fraction of samples, or of positions, classified correctly. ValueError on regression data."""
        if self.classes is None:
            raise ValueError("accuracy is not defined for regression data (classes is None)")
        hits = jnp.argmax(self.predictions(weights), axis=-1) == jnp.argmax(self.y, axis=-1)
        return jnp.mean(hits.astype(weights.dtype))

    def initial(self, seed: int | None = None) -> Float[Array, " dim"]:
        """The weights of construction, or new random ones for a seed; a user-supplied model allows only None."""
        model = self.model
        if seed is not None:
            if self.init_scale is None:
                raise ValueError(f"a user-supplied model cannot be re-initialised; pass seed=None, got seed={seed}")
            model = _draw(model, self.init_scale, jax.random.key(seed))
        return ravel_pytree(eqx.filter(model, eqx.is_inexact_array))[0]


class _Each(eqx.Module):
    """A model of one sample, mapped over all samples."""

    model: Callable

    def __call__(self, x):
        return jax.vmap(self.model)(x)


class _MLP(eqx.Module):
    layers: tuple[eqx.nn.Linear, ...]
    activation: str = eqx.field(static=True)

    def __call__(self, x):
        *hidden, last = self.layers
        h = x.reshape(x.shape[0], -1)
        for layer in hidden:
            h = ACTIVATIONS[self.activation](_affine(layer, h))
        return _affine(last, h)


def _affine(layer: Any, h):
    # h Wᵀ rather than the layer's own W h: with the samples first it needs no transpose.
    return h @ layer.weight.T + layer.bias


class _CNN(eqx.Module):
    layers: tuple[eqx.nn.Conv2d | eqx.nn.Linear, ...]
    activation: str = eqx.field(static=True)

    def __call__(self, x):
        # (channels, height, width, samples): the samples, the longest axis, come last.
        h = jnp.transpose(x, (3, 1, 2, 0))
        *filters, last = self.layers
        for layer in filters:
            h = ACTIVATIONS[self.activation](_convolve(layer, h))
        return _affine_last(last, h.reshape(-1, h.shape[-1])).T


def _convolve(layer: Any, h):
    # The layer as one matrix product with the 3×3 patches; shape (channels, height, width, samples) in and out. With
    # XLA's convolution, which the layer calls, a tracked step takes 2.5 to 2.8 times as long on one CPU core
    # (tests/benchmarks/test_speed.py).
    channels, height, breadth, samples = h.shape
    rows, columns = (height + 1) // 2, (breadth + 1) // 2
    h = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [h[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for i in range(3) for j in range(3)]
    patches = jnp.stack(shifted, axis=1).reshape(9 * channels, -1)
    return _affine_last(layer, patches).reshape(-1, rows, columns, samples)


def _affine_last(layer: Any, columns):
    # A layer applied to inputs of shape (fan_in, samples); the inputs of a filter are the entries of a patch.
    return layer.weight.reshape(layer.weight.shape[0], -1) @ columns + layer.bias.reshape(-1, 1)


class _Block(eqx.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)); a sequence (length, width) in and out."""

    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    attention: eqx.nn.MultiheadAttention
    inner: eqx.nn.Linear
    outer: eqx.nn.Linear
    activation: str = eqx.field(static=True)

    def __call__(self, x):
        h = jax.vmap(self.norms[0])(x)
        x = x + self.attention(h, h, h)
        h = jax.vmap(self.norms[1])(x)
        return x + _affine(self.outer, ACTIVATIONS[self.activation](_affine(self.inner, h)))


class _Transformer(eqx.Module):
    embedding: eqx.nn.Linear
    blocks: tuple[_Block, ...]
    norm: eqx.nn.LayerNorm
    out: eqx.nn.Linear

    def __call__(self, x):
        positions = jnp.eye(x.shape[0], dtype=x.dtype)
        h = _affine(self.embedding, jnp.concatenate([x, positions], axis=-1))
        for block in self.blocks:
            h = block(h)
        return _affine(self.out, jax.vmap(self.norm)(h))


def mlp(
    data: Data,
    width: int = 64,
    depth: int = 2,
    activation: str = "tanh",
    init_scale: float = 1.0,
    loss: str = "mse",
    seed: int = 0,
    dtype=None,
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

    Raises:
        ValueError: a value out of its range, or "ce" with regression targets.

    Example:
        >>> from eosmodel.objectives import data, mlp
        >>> net = mlp(data.digits(50), width=8, depth=1)
        >>> w = net.initial()
        >>> w.shape, net.predictions(w).shape
        ((610,), (50, 10))
    """
    dtype = _check(data, "mlp", width, depth, 0, activation, init_scale, loss, seed, dtype)
    _check_vectors(data, "mlp")
    sizes = [math.prod(data.x.shape[1:]), *[width] * depth, data.y.shape[1]]
    layers = tuple(_layer(eqx.nn.Linear, i, o, dtype=dtype) for i, o in itertools.pairwise(sizes))
    return _network(_MLP(layers, activation), data, loss, init_scale, seed, dtype)


def cnn(
    data: Data,
    width: int = 16,
    depth: int = 2,
    activation: str = "tanh",
    init_scale: float = 1.0,
    loss: str = "mse",
    seed: int = 0,
    dtype=None,
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
    dtype = _check(data, "cnn", width, depth, 1, activation, init_scale, loss, seed, dtype)
    _check_vectors(data, "cnn")
    origin = _origin(data)
    if data.x.ndim == 3:  # images of one channel
        data = dataclasses.replace(data, x=data.x[..., None])
    if data.x.ndim != 4:
        raise ValueError(f"cnn: data.x must have shape (samples, height, width, channels), got {data.x.shape}")
    height, breadth, channels = data.x.shape[1:]
    layers: list[eqx.nn.Conv2d | eqx.nn.Linear] = []
    for _ in range(depth):
        layers.append(_layer(eqx.nn.Conv2d, channels, width, 3, stride=2, padding=1, dtype=dtype))
        height, breadth, channels = (height + 1) // 2, (breadth + 1) // 2, width
    layers.append(_layer(eqx.nn.Linear, height * breadth * channels, data.y.shape[1], dtype=dtype))
    return _network(_CNN(tuple(layers), activation), data, loss, init_scale, seed, dtype, origin)


def transformer(
    data: Data,
    width: int = 16,
    depth: int = 2,
    activation: str = "gelu",
    init_scale: float = 1.0,
    loss: str = "ce",
    seed: int = 0,
    dtype=None,
) -> Network:
    """A transformer encoder with an output at every position: pre-norm blocks of attention and a feed-forward layer.

    A linear embedding of token and position is followed by `depth` blocks, each with two heads of width/2 and a
    feed-forward layer of 4·width, then by a norm and a linear read-out. There is no mask and no dropout.

    Needs sequences, x of shape (samples, length, features) and y of shape (samples, length, outputs), as from
    `data.sorting`, an even width and depth ≥ 1. Arguments, initial weights and errors are otherwise those of `mlp`; the
    norms are initially the identity.

    Example:
        >>> from eosmodel.objectives import data, transformer
        >>> net = transformer(data.sorting(20), width=8, depth=1)
        >>> net.predictions(net.initial(seed=1)).shape
        (20, 8, 8)
    """
    dtype = _check(data, "transformer", width, depth, 1, activation, init_scale, loss, seed, dtype)
    if width % 2:
        raise ValueError(f"transformer: width must be even, for two heads, got {width}")
    if data.x.ndim != 3 or data.y.shape[:-1] != data.x.shape[:-1]:
        raise ValueError(
            "transformer: data.x must have shape (samples, length, features), data.y (samples, length, outputs), got "
            f"{data.x.shape} and {data.y.shape}; data set 'sorting' has them"
        )
    _, length, features = data.x.shape
    blocks = tuple(
        _Block(
            tuple(_layer(_norm, width, dtype=dtype) for _ in range(2)),
            _layer(_attention, width, dtype=dtype),
            _layer(eqx.nn.Linear, width, 4 * width, dtype=dtype),
            _layer(eqx.nn.Linear, 4 * width, width, dtype=dtype),
            activation,
        )
        for _ in range(depth)
    )
    embedding = _layer(eqx.nn.Linear, features + length, width, dtype=dtype)
    out = _layer(eqx.nn.Linear, width, data.y.shape[2], dtype=dtype)
    model = _Transformer(embedding, blocks, _layer(_norm, width, dtype=dtype), out)
    return _network(_Each(model), data, loss, init_scale, seed, dtype)


def network(model, data: Data, loss: str = "mse", *, trainable: Any = None) -> Network:
    """A user-supplied model: any equinox module that maps one sample to one output vector, without state or keys.

    The weights are its inexact arrays, which must share one real dtype; the data are converted to it. The model cannot
    be re-initialised, so `initial(seed)` raises an error unless the seed is None.

    Args:
        model: called as model(x_i), x_i of shape data.x.shape[1:]; returns shape (outputs,).
        data: see `eosmodel.objectives.data`.
        loss: "mse" or "ce", see `Network`.
        trainable: which arrays are weights: None for all inexact ones; a function of a leaf, or a tree of booleans like
            the model, as `equinox.partition` takes them, to keep masks and tables out.

    Raises:
        ValueError: no weights, or of several dtypes, or of half precision; layers that draw random numbers or keep
            state; outputs of another shape than the targets.

    Example:
        >>> import equinox as eqx, jax
        >>> from eosmodel.objectives import data, network
        >>> model = eqx.nn.Linear(2, 1, key=jax.random.key(0), dtype="float32")
        >>> network(model, data.from_arrays([[0.0, 1.0], [1.0, 3.0]], [0.5, 1.5]))
        Network(Linear, 3 weights, mse, 2 samples, float32)
    """
    _check_data("network", data, loss)
    if isinstance(model, type):
        raise ValueError(f"network: model must be an equinox module, got {one_line(model)}; make an instance")
    _check_layers(model)
    frozen = None
    if trainable is not None:
        # A tree of booleans may be a module, and so callable itself.
        is_tree = bool(jax.tree.structure(trainable) == jax.tree.structure(model))  # type: ignore[operator]
        chosen = trainable if is_tree else lambda leaf: eqx.is_inexact_array(leaf) and trainable(leaf)
        weights, rest = eqx.partition(model, chosen)
        frozen, static = eqx.partition(rest, eqx.is_inexact_array)
        model = eqx.combine(weights, static)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))}
    if len(dtypes) != 1 or not jnp.issubdtype(next(iter(dtypes)), jnp.floating):
        names = ", ".join(sorted(map(str, dtypes))) or f"no weights in {one_line(model)}"
        raise ValueError(f"network: the weights of model must share one real floating-point dtype, got {names}")
    dtype = dtypes.pop()
    check_precision("network", "the dtype of model's weights", dtype)
    frozen = None if frozen is None else _Each(frozen)
    net = Network(_Each(model), *_arrays(data, dtype), None, loss, data.classes, frozen, _origin(data))
    try:
        shape = eqx.filter_eval_shape(net.predictions, net.initial()).shape
    except TypeError as error:  # shapes that do not fit
        raise ValueError(f"network: model does not take x of shape {data.x.shape[1:]}: {error}") from None
    if shape != data.y.shape:
        raise ValueError(f"network: model must map x to outputs of shape {data.y.shape[1:]}, got {shape[1:]}")
    return net


def _check_layers(model) -> None:
    """Refuse layers of equinox that need a key or a state: the loss must be a function of the weights alone."""

    def is_random(node):
        return isinstance(node, eqx.nn.Dropout) and not node.inference and node.p != 0

    def keeps_state(node):  # a Sequential counts as stateful whatever is in it
        return isinstance(node, eqx.nn.StatefulLayer) and not isinstance(node, eqx.nn.Sequential)

    for node in jax.tree.leaves(model, is_leaf=lambda node: is_random(node) or keeps_state(node)):
        name = type(node).__name__
        if keeps_state(node):
            raise ValueError(f"network: model has a {name}, which keeps state; use LayerNorm or GroupNorm")
        if is_random(node):
            raise ValueError(f"network: model has a {name}, which is random; pass eqx.nn.inference_mode(model)")


NETWORKS: dict[str, tuple[Callable[..., Network], str]] = {
    "mlp": (mlp, "multilayer perceptron on flattened inputs"),
    "cnn": (cnn, "convolutional network of 3×3 filters with stride 2, on images"),
    "transformer": (transformer, "transformer encoder with an output at every position, on sequences (--data sorting)"),
}
"""Name -> (constructor, one-line description)."""


def _layer(kind, *args, **options):
    """A layer with shapes in place of arrays, for `_draw` to fill in."""
    return eqx.filter_eval_shape(lambda key: kind(*args, key=key, **options), jax.random.key(0))


def _norm(width, *, dtype, key):
    return eqx.nn.LayerNorm(width, dtype=dtype)


def _attention(width, *, dtype, key):
    return eqx.nn.MultiheadAttention(2, width, dtype=dtype, key=key)


def _network(model, data: Data, loss: str, init_scale: float, seed: int, dtype, origin: Origin | None = None):
    scale = jnp.asarray(init_scale, dtype)
    drawn = _draw(model, scale, jax.random.key(seed))
    origin = _origin(data) if origin is None else origin
    return Network(drawn, *_arrays(data, dtype), scale, loss, data.classes, origin=origin)


def _origin(data: Data) -> Origin:
    return Origin(name=data.name, sha256=data.sha256, samples=len(data.x))


def _arrays(data: Data, dtype) -> tuple[Array, Array]:
    return jnp.asarray(data.x, dtype), jnp.asarray(data.y, dtype)


@eqx.filter_jit
def _draw(model, scale: Array, key: Array):
    """The model with weights N(0, scale²/fan_in), biases 0 and norms equal to the identity; fan_in is the product of
    all axes of a weight but the first."""
    kinds = (eqx.nn.Linear, eqx.nn.Conv2d, eqx.nn.LayerNorm)

    def layers(model):
        nodes = jax.tree.leaves(model, is_leaf=lambda node: isinstance(node, kinds))
        return [node for node in nodes if isinstance(node, kinds)]

    def arrays(model):
        return [a for layer in layers(model) for a in (layer.weight, layer.bias) if a is not None]

    chosen, drawn = layers(model), []
    for layer, subkey in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
        weight, bias = layer.weight, layer.bias
        if isinstance(layer, eqx.nn.LayerNorm):
            drawn.append(jnp.ones(weight.shape, weight.dtype))
        else:
            fan_in = math.prod(weight.shape[1:])
            drawn.append(scale * jax.random.normal(subkey, weight.shape, weight.dtype) / fan_in**0.5)
        if bias is not None:
            drawn.append(jnp.zeros(bias.shape, bias.dtype))
    return eqx.tree_at(arrays, model, drawn)


def _check_data(owner: str, data: Data, loss: str) -> None:
    if not isinstance(data, Data):
        raise ValueError(f"{owner}: data must be a Data, got {type(data).__name__}; see data.load and data.from_arrays")
    if loss not in LOSSES:
        raise ValueError(f"{owner}: loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    if loss == "ce" and data.classes is None:
        raise ValueError(f"{owner}: loss 'ce' needs class labels, but {data.name!r} has regression targets")


def _check(data: Data, owner: str, width, depth, least, activation, init_scale, loss, seed, dtype) -> np.dtype:
    """Check the arguments that the architectures share, and return the dtype."""
    _check_data(owner, data, loss)
    for name, value, low in (("width", width, 1), ("depth", depth, least), ("seed", seed, 0)):
        check_count(owner, name, value, low)
    check_range(owner, "init_scale", init_scale, 0, low_open=True, high_open=True)
    if activation not in ACTIVATIONS:
        raise ValueError(f"{owner}: activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    dtype = np.dtype(jnp.result_type(float) if dtype is None else dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{owner}: dtype must be a floating-point one, got {dtype}")
    check_precision(owner, "dtype", dtype)
    if dtype == np.float64 and not jax.config.read("jax_enable_x64"):
        raise ValueError(f"{owner}: dtype float64 needs jax.config.update('jax_enable_x64', True)")
    return dtype


def _check_vectors(data: Data, owner: str) -> None:
    if data.y.ndim != 2:
        raise ValueError(
            f"{owner}: data.y must have shape (samples, outputs), got {data.y.shape}; targets at every position need "
            "net 'transformer'"
        )
