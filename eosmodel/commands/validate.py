"""`eosmodel validate`: check the input, prepare the folder, run the cells, combine, judge, draw."""

import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from eosmodel.commands.compare import follow, prepare
from eosmodel.commands.options import Validate
from eosmodel.objectives.data import load
from eosmodel.report import write_validation
from eosmodel.results import record
from eosmodel.studies import blocks, validation
from eosmodel.studies import runners as _runners

DATASET = "validation.nc"
GROWING = ("workloads", "losses", "tuners")
"""A validation goes on in its folder with more or fewer of these."""


def run_validation(command: Validate) -> None:
    """Run `eosmodel validate`: validation.nc, the table, and which criteria are met."""
    plan = _check(command)
    runner = _runners.chosen(command.workers, command.scheduler)
    config = _config(command)
    prepare(command, config, growing=GROWING)
    folder = command.out / "blocks"
    follow(lambda: plan.run(folder, runner), len(plan.configs), "validate", _line)
    record.save(plan.combine(folder, record.provenance(config)), command.out / DATASET)
    redraw(command.out)


def redraw(folder: Path) -> None:
    """Judge and draw a validation again, from its dataset."""
    found = record.load(folder / DATASET)
    page = write_validation(found, folder)
    print(validation.table(validation.rows(found)))
    print()
    for claim in validation.judge(found):
        print(claim)
    print(f"\nwrote {page}")


def _check(command: Validate) -> validation.Plan:
    """Everything that can be wrong with the input, before anything is written."""
    plan = validation.make_plan(
        command.workloads,
        command.losses,
        command.tuners,
        command.theories,
        seeds=command.seeds,
        steps=command.steps,
        modes=command.modes,
        members=command.members,
        dtype=command.dtype,
    )
    for name in command.workloads:
        load(validation.WORKLOADS[name]["data"], samples=1)
    return plan


def _config(command: Validate) -> dict[str, Any]:
    """What decides the results: everything but where they are computed and go, and how an old folder is treated."""
    config = dataclasses.asdict(command)
    for name in ("out", "resume", "overwrite", "workers", "scheduler"):
        del config[name]
    return blocks.config_of(**config, command="validate", version=version("eosmodel"))


def _line(config: dict[str, Any], block: xr.Dataset) -> str:
    """How a block ended, in one line."""
    said = block.isel(theory=0)
    errors = ", ".join(
        f"{symbol} {np.median(said[f'{name}_error']):.3f}"
        for symbol, name in (("λ", "sharpness"), ("η", "stepsize"), ("L", "loss"))
    )
    kind = f"{int(block.chaotic.sum())} of {block.sizes['seed']} chaotic"
    name = f"{config['workload']}, {config['loss_function']}, {config['tuner']}"
    return f"{name}: errors of {config['theories'][0]} {errors}; {kind}; {float(block.seconds):.0f} s"
