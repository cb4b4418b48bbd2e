"""The loop: a jitted, chunked scan that runs any dynamics, single or batched, and can be resumed.

A chunk is a fixed number of rows, and the last step is an argument and not a shape. So one compilation serves runs of
any length, and a resumed run executes the same machine code as an uninterrupted one. Products use the full precision of
their dtype, even where a device would use less by default.
"""

import gc
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from eosmodel._status import Status
from eosmodel.dynamics import AbstractDynamics, blank

_MAPS, _MOST = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")


class Carry(eqx.Module):
    """The data from which a run continues: the state of the dynamics, the index of the next step, and the status."""

    state: Any
    t: Any
    status: Any


Rows = dict[str, np.ndarray]


class Progress(NamedTuple):
    """A run up to some row, the content of a checkpoint.

    Fields
        carry: the data from which the run continues.
        chunks: the rows of each chunk: name → array with rows first, or batch first and rows second.
        axis: axis of the rows, 0 or 1.
        seconds: time of each chunk.
        compile_seconds: time of the compilation before the first chunk; NaN for a batch, where the first chunk
            includes it.
        kept: the weights that each chunk kept, in order of their steps: (kept, dim), or batch first and kept second.
    """

    carry: Carry
    chunks: tuple[Rows, ...]
    axis: int
    seconds: np.ndarray
    compile_seconds: float
    kept: tuple[np.ndarray, ...] = ()

    @property
    def rows(self) -> Rows:
        """All rows so far; every call concatenates them."""
        names = self.chunks[0]
        return {name: np.concatenate([chunk[name] for chunk in self.chunks], axis=self.axis) for name in names}


@eqx.filter_jit(inline=True)  # type: ignore[call-overload]
def _step(dynamics, state, t):
    """A step, which is traced once for all programs and runs. It is inlined, so that the text of a program does not say
    which traces there were before it."""
    return dynamics.step(state, t)


def _advance(dynamics, carry, t, last, axes):
    """The carry after step t and the row of step t; a run that has ended keeps its carry and gets a blank row."""

    def go(dynamics, carry):
        state, row, status = _step(dynamics, carry.state, t)
        good = (status == int(Status.OK)) | (status == int(Status.REACHED))
        row = jax.tree.map(lambda leaf, nothing: jnp.where(good, leaf, nothing), row, blank(row))
        return Carry(state, carry.t + good.astype(carry.t.dtype), status), row

    def stay(dynamics, carry):
        row = eqx.filter_eval_shape(_step, dynamics, carry.state, t)[1]
        return carry, blank(row)

    # In a batch t is the same number for all runs. A branch on `alive` would make it one number per run, and jax would
    # compute both sides of every branch on t inside a step (as for tracking every few steps). So the step is always
    # computed, and discarded for runs that have ended.
    def select(dynamics, carry):
        kept = go(dynamics, carry)
        gone = carry, blank(kept[1])
        alive = carry.status == int(Status.OK)
        return jax.tree.map(lambda new, old: jnp.where(alive, new, old), kept, gone)

    if axes is None:
        now, sides = (carry.status == int(Status.OK)) & (t < last), (go, stay)
    else:
        now, sides = t < last, (_each(select, axes), _each(stay, axes))
    return jax.lax.cond(now, *(partial(side, dynamics) for side in sides), carry)


def _each(fn, axes):
    """A function of the dynamics and the carry of one run, of a batch: run by run if `axes` is given."""
    return fn if axes is None else eqx.filter_vmap(fn, in_axes=(axes[0], eqx.if_array(0)))


def _keep(dynamics, carry, kept, t, first, last, keep, axes):
    """The weights kept so far, and those of step t if it is one of every `keep`; NaN of a run that has ended."""
    # A place in any case, in which a loop writes without a copy of all the others.
    place = jnp.where((t % keep == 0) & (t < last), t // keep + (-first) // keep, len(kept) - 1)

    def of(dynamics, carry):
        return jnp.where(carry.status == int(Status.OK), dynamics.weights(carry.state), jnp.nan)

    return jax.lax.dynamic_update_index_in_dim(kept, _each(of, axes)(dynamics, carry), place, 0)


def initial_carry(dynamics, start, axes=None) -> Carry:
    """The carry before the first step, with a leading batch axis where `axes` is given."""

    # Not jitted as a whole: the expensive parts of an `init` are jitted there, once for all dynamics that share them.
    def single(dynamics, start):
        return Carry(dynamics.init(start), jnp.asarray(0, jnp.int32), jnp.asarray(int(Status.OK), jnp.int32))

    return single(dynamics, start) if axes is None else eqx.filter_vmap(single, in_axes=axes)(dynamics, start)


def chunk_of(dynamics, carry, first, last, rows, stride, axes, keep=0):
    """The carry after `rows` rows from step `first` on, `stride` steps each and none from `last` on; the rows; and the
    weights of every `keep`-th step, None for 0."""

    def advance(t, carry):
        carry, kept = carry
        if keep:
            kept = _keep(dynamics, carry, kept, t, first, last, keep, axes)
        carry, row = _advance(dynamics, carry, t, last, axes)
        return (carry, kept), row

    def body(carry, t):
        carry, row = advance(t, carry)
        if stride > 1:  # the steps between rows are not recorded
            carry = jax.lax.fori_loop(t + 1, t + stride, lambda t, c: advance(t, c)[0], carry)
        return carry, row

    with jax.default_matmul_precision("highest"):
        kept = None
        if keep:
            weights = _each(lambda dynamics, carry: dynamics.weights(carry.state), axes)(dynamics, carry)
            # As many as any chunk has, and a place for what is not kept.
            kept = jnp.full((-(-rows * stride // keep) + 1, *weights.shape), jnp.nan, weights.dtype)
        times = first + stride * jnp.arange(rows, dtype=first.dtype)
        (carry, kept), table = jax.lax.scan(body, (carry, kept), times)
        if axes is not None:  # the runs first
            table, kept = jax.tree.map(lambda found: jnp.moveaxis(found, 1, 0), (table, kept))
        return carry, table, kept


_run_chunk = eqx.filter_jit(chunk_of)


def _run_quietly(*args):
    # NaN marks what a row does not have, and a status says where a run stopped being finite. So jax's own check for NaN
    # (JAX_DEBUG_NANS), which would raise at the first blank entry, is off within a run.
    with jax.debug_nans(False), jax.debug_infs(False):
        return _run_chunk(*args)


def template(dynamics: AbstractDynamics, start: Any, axes: Any = None) -> Carry:
    """Shapes and dtypes of the carry, without computing it; the structure into which a checkpoint is read."""
    return eqx.filter_eval_shape(initial_carry, dynamics, start, axes)


def run(
    dynamics: AbstractDynamics,
    start: Any,
    steps: int,
    *,
    record_every: int = 1,
    rows_per_chunk: int = 100,
    keep_weights: int = 0,
    axes: Any = None,
    resume: Progress | None = None,
    after_chunk: Callable[[Progress], None] = lambda progress: None,
    sharding: jax.sharding.Sharding | None = None,
) -> Progress:
    """Run `dynamics` from `start` for `steps` steps, or until every run of the batch has ended.

    Args:
        dynamics: the dynamics.
        start: argument of `dynamics.init`: initial weights, with a leading batch axis when `axes` is given.
        steps: number of updates.
        record_every: number of steps between rows, starting at step 0.
        rows_per_chunk: number of rows computed between two returns to Python. A resumed run must use the same number.
        keep_weights: keep the weights of every so many steps, from step 0 on and with those after the last; 0 for none.
        axes: None for a single run; for a batch, in_axes of (dynamics, start) as in `equinox.filter_vmap`.
        resume: progress from which to continue, as passed to `after_chunk` earlier.
        after_chunk: called after every chunk with the progress so far, for progress bars and checkpoints.
        sharding: of the carry, where the run is on several devices; None for one device.

    Returns:
        `Progress` with ⌈steps/record_every⌉ rows and the weights of ⌊steps/keep_weights⌋ + 1 steps, each in one piece;
        after the end of a run they are blank (NaN, −1, False).
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    _make_room()
    batched = axes is not None
    row_axis = 1 if batched else 0
    total = -(-steps // record_every)
    if resume is None:
        progress = Progress(initial_carry(dynamics, start, axes), (), row_axis, np.zeros(0), float("nan"))
    else:
        progress = resume
    if sharding is not None:
        progress = progress._replace(carry=jax.device_put(progress.carry, sharding))
    last = jnp.asarray(steps, jnp.int32)
    if resume is None and not batched:
        # An empty chunk, to measure the time of the compilation.
        begin = time.perf_counter()
        zero = jnp.zeros_like(last)
        chunk = rows_per_chunk, record_every, axes, keep_weights
        jax.block_until_ready(_run_quietly(dynamics, progress.carry, zero, zero, *chunk))
        progress = progress._replace(compile_seconds=time.perf_counter() - begin)
    chunks, kept = list(progress.chunks), list(progress.kept)
    while len(chunks) * rows_per_chunk < total:
        if bool(np.all(np.asarray(progress.carry.status) != int(Status.OK))):
            break
        begin = time.perf_counter()
        first = len(chunks) * rows_per_chunk * record_every
        carry, rows, weights = _run_quietly(
            dynamics,
            progress.carry,
            jnp.asarray(first, jnp.int32),
            last,
            rows_per_chunk,
            record_every,
            axes,
            keep_weights,
        )
        if sharding is not None:  # as before, so that nothing is compiled again
            carry = jax.device_put(carry, sharding)
        chunks.append({name: np.asarray(value) for name, value in rows.items()})
        if keep_weights:
            end = min(first + rows_per_chunk * record_every, steps)
            due = (end - 1) // keep_weights - (first - 1) // keep_weights
            kept.append(np.take(np.asarray(weights), range(due), row_axis))
        seconds = np.append(progress.seconds, time.perf_counter() - begin)
        progress = progress._replace(carry=carry, chunks=tuple(chunks), seconds=seconds, kept=tuple(kept))
        after_chunk(progress)
    fitted = {name: _fit(values, total, row_axis) for name, values in progress.rows.items()}
    if keep_weights:
        kept = [_all_kept(dynamics, progress, axes, steps, keep_weights)]
    return progress._replace(chunks=(fitted,), kept=tuple(kept))


def _all_kept(dynamics, progress, axes, steps, keep_weights):
    """The weights kept of a whole run, with those after the last step."""
    kept = list(progress.kept)
    if steps % keep_weights == 0:
        carry = progress.carry
        of = dynamics.weights if axes is None else eqx.filter_vmap(dynamics.weights)
        good = (np.asarray(carry.status) == int(Status.OK)) & (np.asarray(carry.t) == steps)
        last = np.where(good[..., None], np.asarray(of(carry.state)), np.nan)
        kept.append(np.expand_dims(last, progress.axis).astype(last.dtype))
    return _fit(np.concatenate(kept, axis=progress.axis), steps // keep_weights + 1, progress.axis)


def _make_room() -> None:
    """Clear the compilation caches before there are too many compiled programs. Each takes hundreds of memory maps, and
    beyond the limit of Linux for a process the compiler aborts."""
    try:
        many = 2 * _MAPS.read_bytes().count(b"\n") > int(_MOST.read_text())
    except OSError:  # not Linux
        return
    if many:
        jax.clear_caches()
        gc.collect()


def _fit(array: np.ndarray, total: int, axis: int) -> np.ndarray:
    """Remove the padding of the last chunk, or extend a run that ended early by blank rows."""
    have = array.shape[axis]
    if have >= total:
        return np.take(array, np.arange(total), axis=axis)
    value = np.nan if np.issubdtype(array.dtype, np.inexact) else (False if array.dtype == bool else -1)
    shape = [*array.shape[:axis], total - have, *array.shape[axis + 1 :]]
    return np.concatenate([array, np.full(shape, value, array.dtype)], axis=axis)
