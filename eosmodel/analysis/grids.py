"""Sweeps: a small computation at every point of a parameter grid, vectorised, on all cores, in chunks."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from eosmodel._checks import check_count, check_range
from eosmodel.analysis.probes import sharpness_at
from eosmodel.objectives import AbstractObjective
from eosmodel.rays import steepest
from eosmodel.tuners.base import AbstractTuner, init_memory, select_stepsize

# Number of points advanced together. The arrays of a step of a small trajectory, 4 kB each in float64, then fit in the
# first or second level of cache, and a step still takes much longer than the 50 ns that start a loop over them.
_LANES = 512
_CHUNK = 16 * _LANES


def sweep(
    fn: Callable[[Any], Any], points: Any, *, chunk: int | None = None, start: int = 0, lanes: int | None = None
) -> Iterator[tuple[int, int, Any]]:
    """Evaluate a function at every point of a grid, in chunks.

    Each core computes one chunk at a time, `lanes` points together. There is one compilation for any number of points,
    and none for new numbers of the same shapes, if `fn` is the same function or an equinox module of the same structure
    (its arrays are arguments, not constants). In addition to the points, at most three chunks per core are in memory.

    Args:
        fn: a jax function of one point, called as `fn(point)`; returns a pytree of arrays.
        points: a pytree of arrays with a common leading axis of length n ≥ 1, which runs over the points.
        chunk: number of points in a chunk, ≥ 1; 8192, or fewer so that each core has a chunk.
        start: first point, 0 ≤ start ≤ n; the last `last` of an interrupted sweep to continue it.
        lanes: number of points advanced together, ≥ 1; 512 by default.

    Returns:
        An iterator over (first, last, results) in order: the results of points first, …, last − 1 along a leading axis,
        as read-only numpy arrays. Closing it early waits for the running chunks and discards the others. Results may
        be infinite or NaN.

    Raises:
        ValueError: no points, leading axes of different lengths, or a chunk or start out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.objectives import valley
        >>> from eosmodel.tuners import Constant
        >>> def final(point):
        ...     floor = valley()
        ...     return floor.sharpness(descend(floor, Constant(point["eta"]), 1000))
        >>> for first, last, sharpness in sweep(final, {"eta": jnp.asarray([0.05, 0.1, 0.105])}, chunk=2):
        ...     print(first, last, sharpness.round(1).tolist())  # λ_∞ = 22 where it is below 2/η, else 2/η
        0 2 [22.0, 20.0]
        2 3 [19.0]
    """
    points = jax.tree.map(np.asarray, points)
    shapes = [leaf.shape for leaf in jax.tree.leaves(points)]
    count = shapes[0][0] if shapes and shapes[0] else 0
    if not count or any(shape[:1] != (count,) for shape in shapes):
        raise ValueError(f"sweep: points must be arrays with one leading axis of one length ≥ 1, got shapes {shapes}")
    cores = os.cpu_count() or 1
    chunk = min(_CHUNK, -(-count // cores)) if chunk is None else chunk
    check_count("sweep", "chunk", chunk)
    check_count("sweep", "start", start, 0)
    check_range("sweep", "start", start, 0, count)
    lanes = _LANES if lanes is None else lanes
    check_count("sweep", "lanes", lanes)
    return _sweep(fn, points, count, min(chunk, count), start, cores, lanes)


def _sweep(fn, points, count, chunk, start, cores, most):
    if start == count:
        return
    blocks = -(-chunk // most)
    lanes = -(-chunk // blocks)
    # The workers are given jax arrays, because another thread may have a different default precision.
    fn = jax.tree.map(lambda leaf: jnp.asarray(leaf) if eqx.is_array(leaf) else leaf, fn)

    def batch(first):
        index = np.minimum(np.arange(first, first + blocks * lanes), min(first + chunk, count) - 1)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), points)

    # Traced and compiled here for the same reason. In a second sweep jax uses the result of the first.
    compiled = _evaluate.lower(fn, batch(start), lanes).compile()

    def work(batch):
        return jax.tree.map(np.asarray, jax.block_until_ready(compiled(fn, batch, lanes)))

    # The calls of a thread run one after another, and release the interpreter.
    pool = ThreadPoolExecutor(cores, thread_name_prefix="sweep")
    try:
        jobs = ((first, pool.submit(work, batch(first))) for first in range(start, count, chunk))
        # Twice as many jobs as cores, so that a fast core does not wait for the others.
        pending = deque(islice(jobs, 2 * cores))
        while pending:
            first, job = pending.popleft()
            results = job.result()
            pending.extend(islice(jobs, 1))
            last = min(first + chunk, count)
            yield first, last, jax.tree.map(lambda leaf, size=last - first: leaf[:size], results)
    finally:
        pool.shutdown(cancel_futures=True)


# By default XLA avoids the widest vectors, which slow down some processors; these loops are faster with them.
@eqx.filter_jit(compiler_options={"xla_cpu_prefer_vector_width": 512})  # type: ignore[call-overload]
def _evaluate(fn, points, lanes):
    blocks = jax.tree.map(lambda leaf: leaf.reshape(-1, lanes, *leaf.shape[1:]), points)
    results = jax.lax.map(jax.vmap(fn), blocks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), results)


def descend(
    objective: AbstractObjective, tuner: AbstractTuner, steps: int, weights: Any = None
) -> Float[Array, " dim"]:
    """The weights after a number of steps of steepest descent, w' = w − η∇f(w), without a record of the run.

    For sweeps over objectives with a few weights. Each weight is a separate scalar in the loop, not an entry of an
    array, so that in a batch every operation is over contiguous numbers, and a step becomes a few loops over the batch.

    Args:
        objective: f.
        tuner: the rule for η.
        steps: number of steps, an integer ≥ 0.
        weights: initial weights, shape (dim,); those of the objective when None.

    Raises:
        ValueError: a number of steps that is negative or not an integer.

    Example:
        >>> from eosmodel.objectives import valley
        >>> from eosmodel.tuners import Polyak
        >>> floor = valley()
        >>> bool(floor(descend(floor, Polyak(c=0.5), 100)) < floor(floor.initial()))
        True
    """
    check_count("descend", "steps", steps, 0)
    weights = objective.initial() if weights is None else jnp.asarray(weights)

    def step(t, carry):
        parts, memory = carry
        value, gradient = jax.value_and_grad(lambda parts: objective(jnp.stack(parts)))(parts)
        here = jnp.stack(parts)
        sharpness = sharpness_at(objective, here) if tuner.needs_sharpness else jnp.full_like(value, jnp.nan)
        stacked = jnp.stack(gradient)
        line = steepest(objective, here, value, stacked, t, sharpness)
        eta, memory, _ = select_stepsize(tuner, line, memory, stacked)
        return tuple(w - eta * g for w, g in zip(parts, gradient, strict=True)), memory

    parts, _ = jax.lax.fori_loop(0, steps, step, (tuple(weights), init_memory(tuner, weights)))
    return jnp.stack(parts)
