"""A model of the user's own as a network."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from eosmodel._checks import check_count, check_precision, one_line
from eosmodel._specs import first_line
from eosmodel.objectives.data import Data
from eosmodel.objectives.networks.building import arrays_of, check_data, chunked, decayed, held_out_of, origin_of
from eosmodel.objectives.networks.layers import Each
from eosmodel.objectives.networks.loss import Network


def network(
    model,
    data: Data,
    loss: str = "mse",
    *,
    trainable: Any = None,
    seed: int | None = None,
    chunk: int | None = None,
    weight_decay: float = 0.0,
) -> Network:
    """A user-supplied model: any equinox module, or model of `flax.nnx`, that maps one sample to one output
    vector, without state or keys.

    The weights are its inexact arrays, which must share one real dtype; the data are converted to it. A model that is
    given as it is cannot be re-initialised: `initial(seed)` raises an error unless the seed is None. With a `seed`,
    what is given makes one of a random key, and `initial(seed)` makes another.

    Args:
        model: called as model(x_i), x_i of shape data.x.shape[1:]; returns shape (outputs,). With a seed a function
            of a key that returns such a model, always of the same shapes.
        data: see `eosmodel.objectives.data`.
        loss: "mse" or "ce", see `Network`.
        trainable: which arrays are weights: None for all inexact ones; a function of a leaf, or a tree of booleans like
            the model, as `equinox.partition` takes them, to keep masks and tables out.
        seed: of the key, `jax.random.key(seed)`; None for a model that is given as it is.
        chunk, weight_decay: as for `mlp`.

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
    check_data("network", data, loss)
    drawn = None
    if seed is not None:
        if not callable(model) or isinstance(model, eqx.Module):
            raise ValueError(f"network: with a seed, model must be a function of a key, got {one_line(model)}")
        check_count("network", "seed", seed, 0)
        make, model = model, model(jax.random.key(seed))

        def drawn(key):
            return ravel_pytree(_weights(make(key), trainable)[0])[0]

    if isinstance(model, type):
        raise ValueError(f"network: model must be an equinox module, got {one_line(model)}; make an instance")
    _check_layers(model)
    weights, frozen, static = _weights(model, trainable)
    model = eqx.combine(weights, static)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(weights)}
    if len(dtypes) != 1 or not jnp.issubdtype(next(iter(dtypes)), jnp.floating):
        names = ", ".join(sorted(map(str, dtypes))) or (
            f"no weights in {one_line(model)}: they must be arrays in the model itself, as of equinox and flax.nnx"
        )
        raise ValueError(f"network: the weights of model must share one real floating-point dtype, got {names}")
    dtype = dtypes.pop()
    check_precision("network", "the dtype of model's weights", dtype)
    frozen = None if frozen is None else Each(frozen)
    arrays, test = arrays_of(data, dtype), held_out_of(data, dtype)
    net = Network(Each(model), *arrays, None, loss, data.classes, frozen, origin_of(data), drawn=drawn, test=test)
    try:
        shape = eqx.filter_eval_shape(net.predictions, net.initial()).shape
    except TypeError as error:  # shapes that do not fit
        raise ValueError(f"network: model does not take x of shape {data.x.shape[1:]}: {error}") from None
    except Exception as error:
        alone = "model must be a function of its weights and x alone, without state or random numbers"
        raise ValueError(f"network: {alone}; {type(error).__name__}: {first_line(error)}") from error
    if shape != data.y.shape:
        raise ValueError(f"network: model must map x to outputs of shape {data.y.shape[1:]}, got {shape[1:]}")
    return decayed(chunked(net, chunk), weight_decay)


def _weights(model, trainable: Any) -> tuple[Any, Any, Any]:
    """A model in three parts: its weights, its other inexact arrays (None where there are none), and the rest."""
    if trainable is None:
        weights, static = eqx.partition(model, eqx.is_inexact_array)
        return weights, None, static
    # A tree of booleans may be a module, and so callable itself.
    is_tree = bool(jax.tree.structure(trainable) == jax.tree.structure(model))  # type: ignore[operator]
    if not is_tree and not callable(trainable):
        wanted = "None, a function of a leaf, or a tree of booleans like model"
        raise ValueError(f"network: trainable must be {wanted}, got {one_line(trainable)}")
    chosen = trainable if is_tree else lambda leaf: eqx.is_inexact_array(leaf) and trainable(leaf)
    weights, rest = eqx.partition(model, chosen)
    return weights, *eqx.partition(rest, eqx.is_inexact_array)


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
