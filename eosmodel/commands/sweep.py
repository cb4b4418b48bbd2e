"""`eosmodel sweep`: check the input, prepare the folder, compute the blocks, judge, draw."""

from pathlib import Path
from typing import Any

import xarray as xr

from eosmodel import logs
from eosmodel._checks import check_range
from eosmodel.commands import shared
from eosmodel.commands.options import Sweep
from eosmodel.objectives.recipes import network
from eosmodel.report import write_sweep
from eosmodel.results import record
from eosmodel.studies import runners
from eosmodel.studies import sweep as sweeps
from eosmodel.studies.plans import Plan

DATASET = "sweep.nc"
OUTPUTS = (DATASET, "findings.json", "sweep.html", shared.BLOCKS, "log")
GROWING = ("tuners", "batch_sizes")
"""A sweep goes on in its folder with more or fewer of these."""


def run(options: Sweep) -> None:
    """Write sweep.nc, pictures, and what the numbers say."""
    if options.log is not None:
        logs.check(options.log)
    check_range("eosmodel", "--test-samples", options.test_samples, 0)
    net = shared.network_options(options)
    plan = _plan(options, net)
    runner = runners.chosen(options.workers, options.scheduler)
    # As the plan has them: grids expanded, all samples as the full batch.
    grown = {
        name: list(dict.fromkeys(block.config[key] for block in plan.blocks))
        for name, key in (("tuners", "tuner"), ("batch_sizes", "batch_size"))
    }
    config = shared.config_of(options, **net, **grown)
    shared.prepare(options, config, growing=GROWING)
    shared.save(shared.compute(plan, options, runner, options.log), options, DATASET, config)
    redraw(options.out)


def redraw(folder: Path) -> None:
    """Judge and draw a sweep again, from its dataset."""
    dataset = record.load(folder / DATASET)
    findings = sweeps.evaluate(dataset)
    page = write_sweep(dataset, findings, folder)
    print("\n".join(map(str, findings)))
    print(f"\nwrote {page}")


def _plan(options: Sweep, net: dict[str, Any]) -> Plan[xr.Dataset]:
    """Everything that can be wrong with the input, before anything is written."""
    with shared.precision(options):
        samples = network(**net, seed=0).x.shape[0]
        if options.devices is not None:
            shared.check_devices(options.devices, samples, len(options.seeds))
    return sweeps.make_plan(
        net,
        samples,
        options.tuners,
        options.batch_sizes,
        seeds=options.seeds,
        steps=options.steps,
        modes=options.modes,
        track_every=options.track_every,
        devices=options.devices,
    )
