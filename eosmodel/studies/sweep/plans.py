"""The plan of a sweep: which blocks it has, and the dataset that they make together."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from eosmodel._checks import check_count, check_distinct
from eosmodel.results import record
from eosmodel.results.names import VARIABLES
from eosmodel.studies.blocks import timed
from eosmodel.studies.plans import Plan
from eosmodel.studies.sweep.cells import FULL, ended, make_block
from eosmodel.tuners.grids import expand, parameters
from eosmodel.tuners.registry import from_spec


def make_plan(
    network: Mapping[str, Any],
    samples: int,
    tuners: Sequence[str],
    batch_sizes: Sequence[int | str],
    *,
    seeds: Sequence[int],
    steps: int,
    modes: int = 3,
    track_every: int = 11,
    devices: int | None = None,
) -> Plan[xr.Dataset]:
    """Check a sweep.

    The plan's dataset is over tuner, batch_size and seed, trajectories also over step. The full batch's size is the
    number of samples. `rule` is the name of each tuner, and each of its numbers that differs between tuners is a
    coordinate `tuner_sigma` and the like, NaN for tuners that have no such number.

    Args:
        network: arguments of `objectives.recipes.network`, the seed left out.
        samples: how many samples that network has.
        tuners: specifications, each perhaps a grid (see `expand`).
        batch_sizes: integers in [1, samples], as numbers or texts, or "full"; all samples are the full batch.
        seeds: of the initial weights and of the batches.
        steps, modes, track_every: as in `simulate`. An odd number of steps between tracked rows sees both phases of an
            oscillation of period two.
        devices: how many devices every block is computed on; None for jax's default one.

    Raises:
        ValueError: nothing to run, a value given twice, a tuner that is not allowed, a number out of its range.

    Example:
        >>> net = {"data": "digits", "samples": 100, "width": 4, "dtype": "float32"}
        >>> plan = make_plan(net, 100, ["cdat:sigma={1,2}"], ["full", 10], seeds=[0, 1], steps=50)
        >>> [block.label for block in plan.blocks]
        ['cdat:sigma=1, B = full', 'cdat:sigma=1, B = 10', 'cdat:sigma=2, B = full', 'cdat:sigma=2, B = 10']
    """
    owner = "sweep"
    specs = [spec for grid in tuners for spec in expand(grid)]
    sizes = [_size(owner, size, samples) for size in batch_sizes]
    for name, values in (("tuners", specs), ("batch sizes", sizes), ("seeds", seeds)):
        check_distinct(owner, name, values)
    for spec in specs:
        from_spec(spec)
    for seed in seeds:
        check_count(owner, "seed", seed, 0)
    run: dict[str, Any] = {"steps": steps, "modes": modes, "track_every": track_every}
    for name, number in run.items():
        check_count(owner, name, number)
    run |= {} if devices is None else {"mesh": devices}
    blocks = tuple(make_block(network, spec, size, seeds=list(seeds), **run) for spec in specs for size in sizes)
    return Plan(blocks, partial(_combined, specs, sizes, samples), ended)


def _combined(
    tuners: Sequence[str], sizes: Sequence[int | str], samples: int, blocks: Sequence[xr.Dataset]
) -> xr.Dataset:
    parts = [timed(block) for block in blocks]
    rows = [xr.concat(parts[i : i + len(sizes)], "batch_size") for i in range(0, len(parts), len(sizes))]
    whole = xr.concat(rows, "tuner")
    named = [parameters(spec) for spec in tuners]
    numbers = [samples if size == FULL else size for size in sizes]
    coords: dict[str, Any] = {
        "tuner": ("tuner", list(tuners), VARIABLES["tuner"].attrs()),
        "rule": ("tuner", [name for name, _ in named], {"long_name": "name of the step-size rule"}),
        "batch_size": ("batch_size", numbers, {"symbol": "B", "long_name": "samples in a batch", "units": "1"}),
    }
    for key in dict.fromkeys(key for _, given in named for key in given):
        values = [given.get(key, np.nan) for _, given in named]
        if len({value for value in values if not np.isnan(value)}) > 1:
            coords[f"tuner_{key}"] = ("tuner", values, {"long_name": f"{key} of the step-size rule"})
    whole = whole.assign_coords(coords).transpose("tuner", "batch_size", "seed", ...)
    return record.describe(whole).assign_attrs(samples=samples)


def _size(owner: str, size: int | str, samples: int) -> int | str:
    if size == FULL:
        return FULL
    try:
        number = int(size)
    except ValueError:
        number = 0
    if not 1 <= number <= samples:
        raise ValueError(f"{owner}: a batch size must be {FULL!r} or lie in [1, {samples}], got {size!r}")
    return FULL if number == samples else number
