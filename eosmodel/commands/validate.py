"""`eosmodel validate`: check the input, prepare the folder, compute the cells of the matrix, judge, draw."""

from pathlib import Path

import xarray as xr

from eosmodel.commands import shared
from eosmodel.commands.options import Validate
from eosmodel.report import write_validation
from eosmodel.results import record
from eosmodel.studies import runners, validation
from eosmodel.studies.plans import Plan

DATASET = "validation.nc"
OUTPUTS = (DATASET, "validation.json", "validation.html", shared.BLOCKS)
GROWING = ("workloads", "losses", "tuners", "data_sha256")
"""A validation goes on in its folder with more or fewer of these."""


def run(options: Validate) -> None:
    """Write validation.nc, the table, and which criteria are met."""
    plan = _plan(options)
    runner = runners.chosen(options.workers, options.scheduler)
    networks = [block.config["network"] for block in plan.blocks if "network" in block.config]
    config = shared.config_of(options, data_sha256={net["data"]: net["data_sha256"] for net in networks})
    shared.prepare(options, config, growing=GROWING)
    shared.save(shared.compute(plan, options, runner), options, DATASET, config)
    redraw(options.out)


def redraw(folder: Path) -> None:
    """Judge and draw a validation again, from its dataset."""
    dataset = record.load(folder / DATASET)
    page = write_validation(dataset, folder)
    print(validation.table(validation.rows(dataset)))
    print()
    for claim in validation.judge(dataset):
        print(claim)
    print(f"\nwrote {page}")


def _plan(options: Validate) -> Plan[xr.Dataset]:
    """Everything that can be wrong with the input, before anything is written."""
    return validation.make_plan(
        options.workloads,
        options.losses,
        options.tuners,
        options.theories,
        seeds=options.seeds,
        steps=options.steps,
        modes=options.modes,
        members=options.members,
        dtype=options.dtype,
    )
