"""What is validated: networks on data, losses and tuners by their names, and the blocks that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from eosmodel import _specs
from eosmodel._checks import check_count, check_distinct
from eosmodel.results import record
from eosmodel.results.names import VARIABLES
from eosmodel.studies import blocks
from eosmodel.studies.runners import Runner, here
from eosmodel.studies.validation.cells import compute
from eosmodel.theory import from_spec as theory_from_spec
from eosmodel.tuners.registry import from_spec

LOSSES = ("mse", "ce")
"""Squared error and cross-entropy, as networks name them."""

# Widths, and by default seeds, other than those that the theories were developed with (16 and 32, and 0 to 2). Initial
# scales are those at which the sharpness has room to grow.
WORKLOADS: dict[str, dict[str, Any]] = {
    f"{name}-{net}": {"data": data, "samples": 1000, "init_scale": scale} | options
    for name, data, scale in (("digits", "digits", 0.5), ("fashion", "fashion-mnist", 0.25))
    for net, options in {
        "tanh": {"net": "mlp", "width": 24, "activation": "tanh"},
        "gelu": {"net": "mlp", "width": 24, "activation": "gelu", "init_scale": 0.5},
        "cnn": {"net": "cnn", "width": 6, "activation": "tanh", "init_scale": 0.5},
    }.items()
} | {
    "sorting": {
        "data": "sorting",
        "samples": 500,
        "init_scale": 0.5,
        "net": "transformer",
        "width": 12,
        "depth": 1,
        "activation": "gelu",
    }
}
"""Name -> arguments of `objectives.recipes.network`, the loss, the seed and the dtype left out."""

TUNERS = {
    "constant": "constant:{inverse}",
    "armijo": "armijo",
    "armijo-restart": "armijo-restart:initial={trial}",
    "polyak": "polyak:c=1",
    "polyak-half": "polyak:c=0.5",
    "polyak-third": "polyak:c=0.35",
    "sps-max": "sps-max:max={trial}",
    "greedy": "greedy",
    "cdat": "cdat:sigma=2",
    "on-edge": "on-edge",
    "rmsprop": "rmsprop:step={move}",
}
"""Name -> specification, in which {inverse} is 1/λ, {trial} 4/λ and {move} ‖g‖/λ, all at w_0."""


@dataclass(frozen=True)
class Plan:
    """A validation that has been checked. Made by `make_plan`.

    Attributes:
        workloads, losses, tuners: names; a tuner's may be a specification.
        configs: configuration of every block, in the order of workloads, losses, tuners.
    """

    workloads: tuple[str, ...]
    losses: tuple[str, ...]
    tuners: tuple[str, ...]
    configs: tuple[dict[str, Any], ...]

    def run(self, folder: Path, runner: Runner = here) -> blocks.Blocks:
        """Every block as it is known, those that are done already first; see `blocks.run`."""
        return blocks.run(compute, self.configs, folder, runner)

    def combine(self, folder: Path, attrs: Mapping[str, str]) -> xr.Dataset:
        """All blocks as one dataset over workload, loss_function, tuner and seed.

        Raises:
            FileNotFoundError: a block that is not done.
        """
        return self.assemble(blocks.load_all(folder, self.configs)).assign_attrs(dict(attrs))

    def assemble(self, found: Sequence[xr.Dataset]) -> xr.Dataset:
        """One dataset of blocks, which are in the order of `configs`."""
        names = {"workload": self.workloads, "loss_function": self.losses, "tuner": self.tuners}
        labelled = [
            block.drop_attrs(deep=False).expand_dims({name: [config[name]] for name in names})
            for config, block in zip(self.configs, found, strict=True)
        ]
        whole = xr.combine_by_coords(labelled, combine_attrs="override")
        assert isinstance(whole, xr.Dataset)
        whole = whole.sel({name: list(values) for name, values in names.items()})
        whole["tuner"].attrs |= VARIABLES["tuner"].attrs()
        return record.describe(whole)


def make_plan(
    workloads: Sequence[str],
    losses: Sequence[str],
    tuners: Sequence[str],
    theories: Sequence[str],
    *,
    seeds: Sequence[int],
    steps: int,
    modes: int = 3,
    members: int = 20,
    dtype: str = "float32",
) -> Plan:
    """Check a validation.

    Args:
        workloads, losses: of `WORKLOADS` and `LOSSES`.
        tuners: of `TUNERS`, or specifications.
        theories: specifications; those that are fitted to the run are not allowed. The first one is judged.
        seeds: of the initial weights.
        steps, modes: as in `simulate`.
        members: runs of the judged theory from starts that differ a little, where the run is chaotic; 1 for no ensemble
            and so no band.
        dtype: "float32" or "float64".

    Raises:
        ValueError: nothing to run, a value given twice, an unknown name, or a number out of its range.

    Example:
        >>> plan = make_plan(["sorting"], ["ce"], ["greedy", "cdat:sigma=1.9"], ["oscillation"], seeds=[0], steps=50)
        >>> len(plan.configs)
        2
    """
    owner = "validate"
    given = {"workloads": workloads, "losses": losses, "tuners": tuners, "theories": theories, "seeds": seeds}
    for name, values in given.items():
        check_distinct(owner, name, values)
    for name in workloads:
        _specs.look_up(name, WORKLOADS, "workload")
    for name in losses:
        _specs.look_up(name, dict.fromkeys(LOSSES), "loss")
    for name in tuners:
        from_spec(TUNERS.get(name, name).format(inverse=1.0, trial=1.0, move=1.0))
    for spec in theories:
        if theory_from_spec(spec).needs_run:
            raise ValueError(f"{owner}: theory {spec!r} is fitted to the run; only predictions are judged")
    for seed in seeds:
        check_count(owner, "seed", seed, 0)
    numbers = {"steps": steps, "modes": modes, "members": members}
    for name, number in numbers.items():
        check_count(owner, name, number)
    configs = tuple(
        blocks.config_of(
            workload=workload,
            loss_function=loss,
            tuner=tuner,
            network=WORKLOADS[workload] | {"loss": loss, "dtype": dtype},
            template=TUNERS.get(tuner, tuner),
            theories=list(theories),
            seeds=list(seeds),
            **numbers,
        )
        for workload in workloads
        for loss in losses
        for tuner in tuners
    )
    return Plan(tuple(workloads), tuple(losses), tuple(tuners), configs)
