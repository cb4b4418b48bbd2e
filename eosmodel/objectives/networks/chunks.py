"""Samples in chunks: how many are in memory at once, and functions of samples that are computed so."""

import math
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array

from eosmodel._checks import check_count

# Share of the memory there is that the samples of a chunk may take, of all runs of a batch together. Every worker
# process takes as much.
_SHARE = 1 / 16
# Bytes that a sample takes in Hessian–vector products, in multiples of those of its forward pass. Compiled programs of
# the architectures here take 1.1 to 2.3.
_DERIVATIVES = 3
# Bytes of a chunk that is fast on a processor: of a CNN of width 32 on Fashion-MNIST, gradient and three Hessian–vector
# products take 2.6 times as long with 1500 samples at once, 1.6 GB, as with 25 or 50.
_FAST = 64 << 20
# Where the system does not say how much memory it has.
_UNKNOWN = 8 << 30
_LIMIT = Path("/sys/fs/cgroup/memory.max")


def per_sample(
    fn: Callable[..., Array],
    weights: Array,
    arrays: tuple[Array, ...],
    chunk: int | None,
    sharding: NamedSharding | None = None,
) -> Array:
    """`in_chunks`, where the samples may be sharded over devices, each of which goes through its own in chunks."""
    if sharding is None:
        return in_chunks(fn, weights, arrays, chunk)
    # Under `vmap` every operation of any model has the axis of the devices in front, along which XLA divides it. The
    # axis of samples itself would be gathered where a model merges it with others.
    shards = sharding.mesh.size
    split = [array.reshape(shards, -1, *array.shape[1:]) for array in arrays]
    out = jax.vmap(lambda *own: in_chunks(fn, weights, own, chunk))(*split)
    return out.reshape(-1, *out.shape[2:])


def in_chunks(fn: Callable[..., Array], weights: Array, arrays: tuple[Array, ...], chunk: int | None) -> Array:
    """fn(weights, *arrays), at most `chunk` samples at once; samples are along axis 0 of the arrays and of the result.

    Derivatives of any order and mode recompute the intermediate values of a chunk, so that those of one chunk at a time
    are in memory. All chunks have one size, as small as their number allows; where it does not divide the samples, the
    last chunk begins earlier, and what it repeats is dropped.

    Args:
        fn: a function of weights and samples.
        weights: what all samples share.
        arrays: inputs and targets, shape (samples, …).
        chunk: None for all samples at once, without a loop.
    """
    samples = len(arrays[0])
    if chunk is None or chunk >= samples:
        return fn(weights, *arrays)
    count = math.ceil(samples / chunk)
    size = math.ceil(samples / count)

    # Within a loop nothing that is recomputed can be merged with what it was computed from at first.
    @partial(jax.checkpoint, prevent_cse=False)
    def at(weights, start):
        return fn(weights, *(jax.lax.dynamic_slice_in_dim(array, start, size) for array in arrays))

    starts = jnp.minimum(size * jnp.arange(count), samples - size)
    out = jax.lax.map(lambda start: at(weights, start), starts)
    return jnp.concatenate([out[:-1].reshape(-1, *out.shape[2:]), out[-1, count * size - samples :]])


def chosen_chunk(chunk: int | None, losses: Callable[[Array], Array], weights: Array, runs: int = 1) -> int | None:
    """How many samples are in memory at once; None where they all are.

    Args:
        chunk: as asked for, an integer ≥ 1. None for all samples, if the Hessian–vector products of all runs then take
            at most a sixteenth of the memory there is; otherwise for as many as take that much, or on a CPU 64 MiB,
            which is faster.
        losses: w ↦ the loss of every sample.
        weights: any.
        runs: that are computed together, each with a chunk of its own in memory.

    Raises:
        ValueError: no integer ≥ 1.
    """
    samples = jax.eval_shape(losses, weights).shape[0]
    if chunk is None:
        each = runs * _DERIVATIVES * _bytes(jax.make_jaxpr(losses)(weights).jaxpr) / samples
        room = _SHARE * _memory()
        if each * samples > room and jax.default_backend() == "cpu":
            room = min(room, _FAST)
        chunk = max(int(room / each), 1)
    check_count("Network", "chunk", chunk)
    return int(chunk) if chunk < samples else None


def _bytes(jaxpr: Any) -> int:
    """The size of all intermediate values of a program."""
    total = 0
    for equation in jaxpr.eqns:
        params = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns"))
        inner = [getattr(leaf, "jaxpr", leaf) for leaf in params if hasattr(leaf, "eqns")]
        own = sum(math.prod(out.aval.shape) * out.aval.dtype.itemsize for out in equation.outvars)
        total += sum(map(_bytes, inner)) * equation.params.get("length", 1) if inner else own
    return total


@cache
def _memory() -> int:
    """Bytes of memory of the device, or of the machine where that is its processor."""
    known = jax.local_devices()[0].memory_stats()
    if known is not None and "bytes_limit" in known:
        return known["bytes_limit"]
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not Unix
        pages = _UNKNOWN
    try:
        return min(pages, int(_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return pages
