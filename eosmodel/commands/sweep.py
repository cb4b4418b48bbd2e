"""`eosmodel sweep`: check the input, prepare the folder, run the blocks, combine, judge, draw."""

import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.commands.compare import follow, network_options, prepare
from eosmodel.commands.options import Sweep
from eosmodel.objectives.recipes import network
from eosmodel.report import write_sweep
from eosmodel.results import record
from eosmodel.studies import blocks
from eosmodel.studies import runners as _runners
from eosmodel.studies import sweep as sweeps

DATASET = "sweep.nc"
GROWING = ("tuners", "batch_sizes")
"""A sweep goes on in its folder with more or fewer of these."""


def run_sweep(command: Sweep) -> None:
    """Run `eosmodel sweep`: sweep.nc, pictures, and what the numbers say."""
    plan = _check(command)
    runner = _runners.chosen(command.workers, command.scheduler)
    config = _config(command, plan)
    prepare(command, config, growing=GROWING)
    folder = command.out / "blocks"
    follow(lambda: plan.run(folder, runner), len(plan.configs), "sweep", _line)
    record.save(plan.combine(folder, record.provenance(config)), command.out / DATASET)
    redraw(command.out)


def redraw(folder: Path) -> None:
    """Judge and draw a sweep again, from its dataset."""
    found = record.load(folder / DATASET)
    judged = sweeps.evaluate(found)
    page = write_sweep(found, judged, folder)
    print("\n".join(map(str, judged)))
    print(f"\nwrote {page}")


def _check(command: Sweep) -> sweeps.Plan:
    """Everything that can be wrong with the input, before anything is written."""
    options = network_options(command)
    with jax.enable_x64(command.dtype == "float64"):
        samples = network(**options, seed=0).x.shape[0]
    return sweeps.make_plan(
        options,
        samples,
        command.tuners,
        command.batch_sizes,
        seeds=command.seeds,
        steps=command.steps,
        modes=command.modes,
        track_every=command.track_every,
    )


def _config(command: Sweep, plan: sweeps.Plan) -> dict[str, Any]:
    """What decides the results: everything but where they are computed and go, and how an old folder is treated."""
    config = dataclasses.asdict(command) | network_options(command)
    for name in ("out", "resume", "overwrite", "workers", "scheduler"):
        del config[name]
    config |= {"tuners": plan.tuners, "batch_sizes": plan.batch_sizes}
    config |= {"command": "sweep", "version": version("eosmodel")}
    return blocks.config_of(**config)


def _line(config: dict[str, Any], block: xr.Dataset) -> str:
    """How a block ended, in one line."""
    codes, counts = np.unique(block.status.values, return_counts=True)
    ended = ", ".join(f"{n} {Status(int(code)).label}" for code, n in zip(codes, counts, strict=True))
    loss, sharpness = (float(np.median(block[name])) for name in ("final_loss", "final_sharpness"))
    size, seconds = config["batch_size"], float(block.seconds)
    return f"{config['tuner']}, B = {size}: {ended}, loss {loss:.3g}, λ {sharpness:.3g} (medians), {seconds:.1f} s"
