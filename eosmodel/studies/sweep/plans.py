"""A sweep that has been checked: its blocks, what of them is done, and the dataset that they make together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from eosmodel._checks import check_count, check_distinct
from eosmodel.results import record
from eosmodel.results.names import VARIABLES
from eosmodel.studies import blocks
from eosmodel.studies.runners import Runner, here
from eosmodel.studies.sweep.cells import FULL, block_config, compute
from eosmodel.tuners.grids import expand, parameters
from eosmodel.tuners.registry import from_spec


@dataclass(frozen=True)
class Plan:
    """A sweep that has been checked. Made by `make_plan`.

    Attributes:
        tuners: specifications, grids expanded.
        batch_sizes: numbers of samples, or "full".
        samples: number of samples of the full batch.
        configs: configuration of every block, the batch sizes of one tuner after each other.
    """

    tuners: tuple[str, ...]
    batch_sizes: tuple[int | str, ...]
    samples: int
    configs: tuple[dict[str, Any], ...]

    def run(self, folder: Path, runner: Runner = here) -> blocks.Blocks:
        """Every block as it is known, those that are done already first; see `blocks.run`."""
        return blocks.run(compute, self.configs, folder, runner)

    def combine(self, folder: Path, attrs: Mapping[str, str]) -> xr.Dataset:
        """All blocks as one dataset over tuner, batch_size and seed, trajectories also over step.

        The full batch's size is the number of samples. `rule` is the name of each tuner, and each of its numbers that
        differs between tuners is a coordinate `tuner_sigma` and the like, NaN for tuners that have no such number.

        Raises:
            FileNotFoundError: a block that is not done.
        """
        found = [block.drop_attrs(deep=False) for block in blocks.load_all(folder, self.configs)]
        width = len(self.batch_sizes)
        rows = [xr.concat(found[i : i + width], "batch_size") for i in range(0, len(found), width)]
        dataset = xr.concat(rows, "tuner")
        named = [parameters(spec) for spec in self.tuners]
        sizes = [self.samples if size == FULL else size for size in self.batch_sizes]
        coords: dict[str, Any] = {
            "tuner": ("tuner", list(self.tuners), VARIABLES["tuner"].attrs()),
            "rule": ("tuner", [name for name, _ in named], {"long_name": "name of the step-size rule"}),
            "batch_size": ("batch_size", sizes, {"symbol": "B", "long_name": "samples in a batch", "units": "1"}),
        }
        for key in dict.fromkeys(key for _, numbers in named for key in numbers):
            values = [numbers.get(key, np.nan) for _, numbers in named]
            if len({value for value in values if not np.isnan(value)}) > 1:
                coords[f"tuner_{key}"] = ("tuner", values, {"long_name": f"{key} of the step-size rule"})
        dataset = dataset.assign_coords(coords).transpose("tuner", "batch_size", "seed", ...)
        return record.describe(dataset).assign_attrs(dict(attrs) | {"samples": self.samples})


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
) -> Plan:
    """Check a sweep.

    Args:
        network: arguments of `objectives.recipes.network`, the seed left out.
        samples: how many samples that network has.
        tuners: specifications, each perhaps a grid (see `expand`).
        batch_sizes: integers in [1, samples], as numbers or texts, or "full"; all samples are the full batch.
        seeds: of the initial weights and of the batches.
        steps, modes, track_every: as in `simulate`. An odd number of steps between tracked rows sees both phases of an
            oscillation of period two.

    Raises:
        ValueError: nothing to run, a value given twice, a tuner that is not allowed, a number out of its range.

    Example:
        >>> net = {"data": "digits", "samples": 100, "width": 4, "dtype": "float32"}
        >>> plan = make_plan(net, 100, ["cdat:sigma={1,2}"], ["full", 10], seeds=[0, 1], steps=50)
        >>> len(plan.configs), plan.tuners
        (4, ('cdat:sigma=1', 'cdat:sigma=2'))
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
    run = {"steps": steps, "modes": modes, "track_every": track_every}
    for name, number in run.items():
        check_count(owner, name, number)
    configs = tuple(block_config(network, spec, size, seeds=list(seeds), **run) for spec in specs for size in sizes)
    return Plan(tuple(specs), tuple(sizes), samples, configs)


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
