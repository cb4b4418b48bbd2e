"""From a model of an architecture to its `Network`: the arguments that all share, and what is said of wrong ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from eosmodel._checks import check_count, check_precision, check_range
from eosmodel._origin import Origin
from eosmodel.objectives.data import Data
from eosmodel.objectives.networks.chunks import chosen_chunk
from eosmodel.objectives.networks.layers import ACTIVATIONS, draw
from eosmodel.objectives.networks.loss import LOSSES, Network


def assembled(
    model,
    data: Data,
    loss: str,
    init_scale: float,
    seed: int,
    dtype,
    chunk: int | None,
    weight_decay: float,
    origin: Origin | None = None,
) -> Network:
    """The `Network` of a model whose layers have shapes in place of arrays; `origin` is by default that of the data."""
    scale = jnp.asarray(init_scale, dtype)
    drawn = draw(model, scale, jax.random.key(seed))
    origin = origin_of(data) if origin is None else origin
    arrays, test = arrays_of(data, dtype), held_out_of(data, dtype)
    net = Network(drawn, *arrays, scale, loss, data.classes, origin=origin, test=test)
    return decayed(chunked(net, chunk), weight_decay)


def decayed(net: Network, weight_decay: float) -> Network:
    """The network with a weight decay."""
    check_range("network", "weight_decay", weight_decay, 0, high_open=True)
    return dataclasses.replace(net, weight_decay=float(weight_decay))


def chunked(net: Network, chunk: int | None) -> Network:
    """The network with the chunk asked for; None chooses one, see `chosen_chunk`, and another for a batch of runs."""
    return dataclasses.replace(net, chunk=chosen_chunk(chunk, net.losses, net.initial()), any_chunk=chunk is None)


def origin_of(data: Data) -> Origin:
    """What a record says of the data: the samples for training, and apart from them those that are held out."""
    test = data.test
    held_out = {} if test is None else {"held_out": len(test.x), "held_out_sha256": test.sha256}
    return Origin(name=data.name, sha256=dataclasses.replace(data, test=None).sha256, samples=len(data.x), **held_out)


def arrays_of(data: Data, dtype) -> tuple[Array, Array]:
    """Inputs and targets in a dtype."""
    return jnp.asarray(data.x, dtype), jnp.asarray(data.y, dtype)


def held_out_of(data: Data, dtype) -> tuple[Array, Array] | None:
    """Inputs and targets of what the data hold out, if anything."""
    return None if data.test is None else arrays_of(data.test, dtype)


def check_data(owner: str, data: Data, loss: str) -> None:
    """Check that there are data, and that the loss is one of theirs."""
    if not isinstance(data, Data):
        raise ValueError(f"{owner}: data must be a Data, got {type(data).__name__}; see data.load and data.from_arrays")
    if loss not in LOSSES:
        raise ValueError(f"{owner}: loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    if loss == "ce" and data.classes is None:
        raise ValueError(f"{owner}: loss 'ce' needs class labels, but {data.name!r} has regression targets")


def checked_dtype(data: Data, owner: str, width, depth, least, activation, init_scale, loss, seed, dtype) -> np.dtype:
    """Check the arguments that the architectures share, and return the dtype."""
    check_data(owner, data, loss)
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


def check_vectors(data: Data, owner: str) -> None:
    """Check that a sample has one target, and not one at every position."""
    if data.y.ndim != 2:
        raise ValueError(
            f"{owner}: data.y must have shape (samples, outputs), got {data.y.shape}; targets at every position need "
            "net 'transformer' or 'gpt'"
        )


def as_images(data: Data, owner: str) -> Data:
    """The data as images (samples, height, width, channels) with one target each."""
    check_vectors(data, owner)
    if data.x.ndim == 3:  # images of one channel
        test = data.test if data.test is None else dataclasses.replace(data.test, x=data.test.x[..., None])
        data = dataclasses.replace(data, x=data.x[..., None], test=test)
    if data.x.ndim != 4:
        raise ValueError(f"{owner}: data.x must have shape (samples, height, width, channels), got {data.x.shape}")
    return data


def check_divides(owner: str, name: str, value: int, *, of: str, whole: int) -> None:
    """Check a count that must divide another."""
    check_count(owner, name, value)
    if whole % value:
        raise ValueError(f"{owner}: {name} must divide {of}, {whole}, got {value}")
