"""`eosmodel sweep`: check the input, prepare the folder, run the blocks, combine, judge, draw."""

import base64
import dataclasses
import io
import json
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from eosmodel import plotting, record, sweeps
from eosmodel._status import Status
from eosmodel.cli import Sweep
from eosmodel.objectives.recipes import network
from eosmodel.simulation import atomic
from eosmodel.study import network_options, prepare

DATASET = "sweep.nc"
GROWING = ("tuners", "batch_sizes")
"""A sweep goes on in its folder with more or fewer of these."""


def run_sweep(command: Sweep) -> None:
    """Run `eosmodel sweep`: sweep.nc, pictures, and what the numbers say."""
    plan = _check(command)
    runner = _runner(command)
    config = _config(command, plan)
    prepare(command, config, growing=GROWING)
    blocks = command.out / "blocks"
    try:
        _run(plan, blocks, runner)
    except sweeps.WorkersLost as error:
        print(f"eosmodel: {error}; the same command with --resume goes on from here", file=sys.stderr)
        raise SystemExit(1) from None
    record.save(plan.combine(blocks, record.provenance(config)), command.out / DATASET)
    redraw(command.out)


def redraw(folder: Path) -> None:
    """Judge and draw a sweep again, from its dataset."""
    found = record.load(folder / DATASET)
    judged = sweeps.evaluate(found)
    _write(folder / "findings.json", json.dumps([dataclasses.asdict(f) for f in judged], indent=2).encode())
    figures = _figures(found)
    for name, (_, png) in figures.items():
        _write(folder / f"{name}.png", png)
    _write(folder / "sweep.html", _page(found, judged, figures).encode())
    print("\n".join(map(str, judged)))
    print(f"\nwrote {folder / 'sweep.html'}")


def _check(command: Sweep) -> sweeps.Plan:
    """Everything that can be wrong with the input, before anything is written."""
    if command.workers is not None and command.scheduler is not None:
        raise ValueError("--workers and --scheduler exclude each other")
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


def _runner(command: Sweep) -> sweeps.Runner:
    if command.scheduler is not None:
        return sweeps.cluster(command.scheduler)
    return sweeps.here if command.workers is None else sweeps.processes(command.workers)


def _config(command: Sweep, plan: sweeps.Plan) -> dict[str, Any]:
    """What decides the results: everything but where they are computed and go, and how an old folder is treated."""
    config = dataclasses.asdict(command) | network_options(command)
    for name in ("out", "resume", "overwrite", "workers", "scheduler"):
        del config[name]
    config |= {"tuners": plan.tuners, "batch_sizes": plan.batch_sizes}
    config |= {"command": "sweep", "version": version("eosmodel")}
    return json.loads(json.dumps(config))


def _run(plan: sweeps.Plan, folder: Path, runner: sweeps.Runner) -> None:
    total, done = len(plan.configs), 0
    with (
        tqdm(total=total, desc="sweep", unit="block", dynamic_ncols=True) as bar,
        closing(plan.run(folder, runner)) as blocks,
    ):
        for config, block, new in blocks:
            done += 1
            bar.update()
            if new:
                bar.write(f"[{done}/{total}] {_line(config, block)}")


def _line(config: dict[str, Any], block: xr.Dataset) -> str:
    """How a block ended, in one line."""
    codes, counts = np.unique(block.status.values, return_counts=True)
    ended = ", ".join(f"{n} {Status(int(code)).label}" for code, n in zip(codes, counts, strict=True))
    loss, sharpness = (float(np.median(block[name])) for name in ("final_loss", "final_sharpness"))
    size, seconds = config["batch_size"], float(block.seconds)
    return f"{config['tuner']}, B = {size}: {ended}, loss {loss:.3g}, λ {sharpness:.3g} (medians), {seconds:.1f} s"


def _figures(found: xr.Dataset) -> dict[str, tuple[str, bytes]]:
    """Caption and picture by name."""
    cell = "Median over seeds of the final {}, by tuner and batch size. A frame: the lowest of a batch size."
    figures = {
        "sweep-loss": (cell.format("full-batch loss"), plotting.sweep_map(found, "final_loss")),
        "sweep-sharpness": (cell.format("sharpness"), plotting.sweep_map(found, "final_sharpness")),
        "sweep-trajectories": ("Sharpness of the full loss along the runs.", plotting.sweep_trajectories(found)),
        "sweep-losses": ("Full-batch loss along the runs.", plotting.sweep_trajectories(found, "loss")),
    }

    def png(figure) -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130, facecolor="white")
        return buffer.getvalue()

    return {name: (caption, png(figure)) for name, (caption, figure) in figures.items()}


def _page(found: xr.Dataset, judged: tuple[sweeps.Finding, ...], figures: dict[str, tuple[str, bytes]]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("eosmodel"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("sweep.html.jinja").render(
        findings=judged,
        figures=[{"caption": caption, "data": base64.b64encode(png).decode()} for caption, png in figures.values()],
        config=json.loads(found.attrs["config"]),
        samples=found.attrs["samples"],
        provenance=found.attrs,
        variables=[(variable.symbol, variable.meaning) for variable in sweeps.SCALARS.values()],
        level=sweeps.LEVEL,
        least=sweeps.LEAST_SEEDS,
    )


def _write(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)
