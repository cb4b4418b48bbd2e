"""Running dynamics to a dataset: batch axes, checkpoints, progress bar, provenance. Shared by the two verbs."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import xarray as xr
from jax.sharding import Mesh
from tqdm.auto import tqdm

from eosmodel._status import Status
from eosmodel.dynamics import AbstractDynamics, Evaluated
from eosmodel.experiment._devices import placed
from eosmodel.experiment._labels import axis_of
from eosmodel.logs import Log
from eosmodel.results import record
from eosmodel.results.formatting import megabytes
from eosmodel.simulation import Progress, identity, load, run, save, template
from eosmodel.tuners._labels import vectors_of

_ROWS_PER_CHUNK = 100


class Settings(NamedTuple):
    """How a run is recorded and shown, whatever is run.

    Fields
        record_every: a row is kept every that many steps.
        config: settings that go into the dataset's provenance.
        label: of the progress bar and of errors.
        progress: whether a progress bar is shown.
        checkpoint: file to write after every chunk and to resume from, or None.
        throw: raise RuntimeError if a run ends early.
        log: called after every chunk with its rows, or None.
        keep_weights: keep the weights of every so many steps; 0 for none.
        mesh: the devices to run on, None for jax's default one.
    """

    record_every: int
    config: dict[str, Any]
    label: str
    progress: bool
    checkpoint: str | Path | None
    throw: bool
    log: Log | None = None
    keep_weights: int = 0
    mesh: Mesh | None = None


def run_to_dataset(
    dynamics: AbstractDynamics, start: Any, steps: int, settings: Settings, dims: tuple[str, ...] | None = None
) -> xr.Dataset:
    """Run dynamics and name the dimensions; `dims` is the one of the batch, by default the tuner's or "seed"."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    axes, batched = batch_axes(dynamics, start)
    dynamics, start, sharding = placed(dynamics, start, axes, settings.mesh)
    record_every, label, keep = settings.record_every, settings.label, settings.keep_weights
    _warn_of_size(label, start, steps, keep)
    resume, known, checkpoint = None, {}, None
    if settings.checkpoint is not None:
        checkpoint = Path(settings.checkpoint)
        known = identity(dynamics, start, axes, rows=_ROWS_PER_CHUNK, every=record_every, steps=steps, kept=keep)
        resume = load(checkpoint, template(dynamics, start, axes), known)
    with tqdm(
        total=steps,
        desc=label,
        unit="step",
        disable=not settings.progress,
        leave=False,
        dynamic_ncols=True,
        bar_format="{desc}: compiling…",  # before the first chunk, most of the time of a short run
    ) as bar:

        def after_chunk(progress: Progress) -> None:
            bar.bar_format = None
            if settings.log is not None:  # first, so that a run that goes on from its checkpoint leaves no gap
                settings.log(record.latest(progress, steps, record_every, batched if dims is None else dims))
            if checkpoint is not None:
                save(checkpoint, progress, known)
            bar.update(int(np.max(np.asarray(progress.carry.t))) - bar.n)

        progress = run(
            dynamics,
            start,
            steps,
            record_every=record_every,
            rows_per_chunk=_ROWS_PER_CHUNK,
            keep_weights=keep,
            axes=axes,
            resume=resume,
            after_chunk=after_chunk,
            sharding=sharding,
        )
    result = record.to_dataset(progress, record_every, batched if dims is None else dims, keep)
    inner = dynamics.inner if isinstance(dynamics, Evaluated) else dynamics
    made_of: dict[str, Any] = {"dynamics": type(inner).__name__, "dtype": str(jax.tree.leaves(start)[0].dtype)}
    made_of |= {} if settings.mesh is None else {"devices": settings.mesh.size}
    result.attrs = record.provenance(settings.config | made_of)
    if settings.throw:
        ended = max(map(Status, np.ravel(result.status.values).tolist()), key=lambda status: (not status.ok, status))
        if not ended.ok:
            raise RuntimeError(f"{label}: {ended.label} at step {int(result.steps.min())}: {ended.describe()}")
    return result


def _warn_of_size(label: str, start: Any, steps: int, keep: int) -> None:
    """Say how large the kept weights of a run are, before a gigabyte of them is computed."""
    if keep:
        weights = jax.tree.leaves(start)[0]
        size = weights.nbytes * (steps // keep + 1)
        if size >= 1e9:
            warnings.warn(
                f"{label}: keep_weights={keep} keeps {megabytes(size)}, in memory and in files; "
                f"{megabytes(weights.nbytes)} for each of {steps // keep + 1} steps",
                stacklevel=4,
            )


def batch_axes(dynamics, start):
    """Batch axes of (dynamics, start) and their names: tuner parameters given as vectors, then starts."""
    weights = jax.tree.leaves(start)[0]
    vectors = vectors_of(dynamics.tuner)
    lengths = {name: len(values) for name, values in vectors.items()}
    if len({*lengths.values()}) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"vector hyper-parameters of a tuner must have one length: {listed}")
    if vectors and weights.ndim == 2:
        raise ValueError("seeds and vector hyper-parameters cannot both be batched; loop over one of them")
    if not vectors and weights.ndim != 2:
        return None, ()
    is_batched = eqx.tree_at(
        lambda d: d.tuner,
        jax.tree.map(lambda _: None, dynamics),
        jax.tree.map(lambda leaf: 0 if eqx.is_array(leaf) and leaf.ndim == 1 else None, dynamics.tuner),
        is_leaf=lambda x: x is None,
    )
    return ((is_batched, None), (axis_of(dynamics.tuner),)) if vectors else ((None, 0), ("seed",))
