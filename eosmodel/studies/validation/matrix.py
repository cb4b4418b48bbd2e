"""What is validated: networks on data, losses and tuners by their names, and the blocks that they make."""

from collections.abc import Sequence
from functools import partial

import xarray as xr

from eosmodel import _specs
from eosmodel._checks import check_count, check_distinct
from eosmodel.objectives.recipes import data_hash
from eosmodel.results import record
from eosmodel.results.names import VARIABLES
from eosmodel.studies.blocks import Block, plain, timed
from eosmodel.studies.comparison import river_block
from eosmodel.studies.plans import Plan
from eosmodel.studies.validated import LOSSES, TUNERS, WORKLOADS
from eosmodel.studies.validation.cells import compute, ended
from eosmodel.theory import from_spec as theory_from_spec
from eosmodel.tuners.registry import from_spec


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
) -> Plan[xr.Dataset]:
    """Check a validation. The plan's dataset is over workload, loss_function, tuner and seed.

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
        FileNotFoundError: data that are not on this machine.

    Example:
        >>> plan = make_plan(["sorting"], ["ce"], ["greedy", "cdat:sigma=1.9"], ["oscillation"], seeds=[0], steps=50)
        >>> [block.label for block in plan.blocks]
        ['sorting, ce, greedy', 'sorting, ce, cdat:sigma=1.9']
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
    # The blocks of a data set that was replaced are other blocks.
    hashes = {key: data_hash(**WORKLOADS[name]) for key, name in {_source(name): name for name in workloads}.items()}
    networks = {name: WORKLOADS[name] | {"data_sha256": hashes[_source(name)]} for name in workloads}
    rivers = {
        (workload, loss): tuple(
            river_block(networks[workload] | {"loss": loss, "dtype": dtype}, theory, seed, steps)
            for theory in map(theory_from_spec, theories)
            if theory.needs_river
            for seed in seeds
        )
        for workload in workloads
        for loss in losses
    }
    blocks = tuple(
        Block(
            compute,
            plain(
                workload=workload,
                loss_function=loss,
                tuner=tuner,
                network=networks[workload] | {"loss": loss, "dtype": dtype},
                template=TUNERS.get(tuner, tuner),
                theories=list(theories),
                seeds=list(seeds),
                **numbers,
            ),
            f"{workload}, {loss}, {tuner}",
            rivers[workload, loss],
        )
        for workload in workloads
        for loss in losses
        for tuner in tuners
    )
    # Parameters that do not enter it, as those of two specifications may, give one river.
    first = {block.name: block for of_network in rivers.values() for block in of_network}
    return Plan((*first.values(), *blocks), partial(_combined, len(first), blocks), ended)


def _source(workload: str) -> tuple[str, int]:
    return WORKLOADS[workload]["data"], WORKLOADS[workload]["samples"]


def _combined(rivers: int, blocks: Sequence[Block], datasets: Sequence[xr.Dataset]) -> xr.Dataset:
    order = {
        name: list(dict.fromkeys(block.config[name] for block in blocks))
        for name in ("workload", "loss_function", "tuner")
    }
    labelled = [
        timed(dataset).expand_dims({name: [block.config[name]] for name in order})
        for block, dataset in zip(blocks, datasets[rivers:], strict=True)
    ]
    whole = xr.combine_by_coords(labelled, combine_attrs="override")
    assert isinstance(whole, xr.Dataset)
    whole = whole.sel(order)
    whole["tuner"].attrs |= VARIABLES["tuner"].attrs()
    return record.describe(whole)
