"""`eosmodel train`: check the input, prepare the folder, compute the runs."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from eosmodel import logs
from eosmodel._checks import check_count, check_range
from eosmodel.commands import shared, starts
from eosmodel.commands.options import NetworkOptions, Train
from eosmodel.commands.words import NETWORK, STEEPEST
from eosmodel.judging.scoreboard import compare
from eosmodel.objectives import registry as toys
from eosmodel.report import write_report
from eosmodel.results import record
from eosmodel.results.formatting import megabytes
from eosmodel.studies import comparison, runners
from eosmodel.tuners.registry import from_spec

EXPERIMENT, THEORY = "experiment.nc", "theory.nc"
TRUNK = "trunk.nc"
OUTPUTS = (EXPERIMENT, TRUNK, "scoreboard.json", "report.html", shared.BLOCKS, "log")
NETWORK_OPTIONS = tuple(field.name for field in dataclasses.fields(NetworkOptions) if field.name != "dtype")


def run(options: Train) -> None:
    """Write experiment.nc."""
    compute(options)
    print(f"wrote {options.out / EXPERIMENT}; eosmodel report {options.out} draws it")


def redraw(folder: Path) -> None:
    """Write the scoreboard, the figures and the report of a folder from its datasets."""
    experiment, theory = load(folder)
    trunk = record.load(folder / TRUNK) if (folder / TRUNK).exists() else None
    page = write_report(experiment, theory, folder, trunk)
    print(compare(experiment, theory))
    if trunk is not None:
        print(branching(experiment, trunk))
    print(f"\nwrote {page}")


def load(folder: Path) -> tuple[xr.Dataset, xr.Dataset | None]:
    """The runs of a folder, and the theories of them if there are any."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; `eosmodel compare --out {folder}` makes one")
    theory = folder / THEORY
    return record.load(folder / EXPERIMENT), record.load(theory) if theory.exists() else None


def compute(options: Train, theories: tuple[str, ...] = ()) -> None:
    """Check the input, prepare the folder, and write experiment.nc, with theories also theory.nc."""
    begun = None if options.start is None else starts.read(options.start, options.seeds)
    if begun is not None:
        seeds = tuple(begun.runs.seed.values.tolist())
        options = dataclasses.replace(options, start=begun.written, seeds=seeds if options.objective == NETWORK else ())
    objective, dim = check(options)
    if begun is not None and begun.runs.sizes["weight"] != dim:
        kept = begun.runs.sizes["weight"]
        raise ValueError(f"--start {options.start}: {kept} weights are kept there, the objective has {dim}")
    runner = runners.chosen(options.workers, options.scheduler)
    plan = comparison.make_plan(
        objective,
        options.tuners,
        theories,
        seeds=_seeds(options) or (None,),
        steps=options.steps,
        modes=options.modes,
        track=options.track,
        track_every=options.track_every,
        keep_weights=options.keep_weights,
        start=None if begun is None else begun.plan,
        record_every=options.record_every,
        diverged_at=options.diverged_at,
        direction=None if options.direction == STEEPEST else options.direction,
        test_every=options.test_every,
        stop_loss=options.stop_loss,
        stop_accuracy=options.stop_accuracy,
        devices=options.devices,
    )
    config = config_of(options, objective)
    shared.prepare(options, config)
    if options.modes > dim:
        print(f"{options.objective} has {dim} weight{'s' * (dim > 1)}: {dim} of --modes {options.modes} are followed")
    if options.keep_weights:
        print(_size(options, dim, len(options.tuners) * max(len(_seeds(options)), 1)))
    runs = shared.compute(plan, options, runner, options.log)
    if begun is not None:
        trunk = begun.runs.drop_dims("kept_step")
        record.save(trunk.assign_attrs(forked_at=begun.step), options.out / TRUNK)
    shared.save(runs.experiment, options, EXPERIMENT, config)
    if runs.theory is not None:
        shared.save(runs.theory, options, THEORY, config)


def _size(options: Train, dim: int, runs: int) -> str:
    """How much the kept weights are, before any is computed."""
    steps = options.steps // options.keep_weights + 1
    size = steps * dim * np.dtype(options.dtype).itemsize
    return f"weights of {steps} steps are kept, {megabytes(size)} for each of {runs} run{'s' * (runs > 1)}"


def branching(experiment: xr.Dataset, trunk: xr.Dataset) -> str:
    """What the run itself did in the steps of its branches, and how far the branch of its own tuner is from it."""
    at, own = int(trunk.attrs["forked_at"]), trunk.tuner.item()
    rest = starts.rest_of(trunk, at, int(experiment.step[-1]))
    if rest.sizes["step"] == 0:
        return f"\nThese runs go on from step {at} of {own}, where that run ended."
    rows = rest.sizes["step"]
    shared_steps = "the same steps" if rows == experiment.sizes["step"] else f"the {rows} recorded steps that it has"
    lines = [f"\nThese runs branch off {own} at its step {at}. In {shared_steps}, the run itself came to:"]
    lines.append(str(compare(rest.drop_vars("tuner").expand_dims(tuner=[f"{own}, the run"]))))
    if own in experiment.tuner.values:
        branch, run = xr.align(experiment.loss.sel(tuner=own, drop=True), rest.loss.drop_vars("tuner"), join="inner")
        apart = float(np.abs(branch / run - 1).max())
        differs = f"differs from the run's by up to {apart:.1g} of it" if apart else "is the run's"
        lines.append(f"The tuner of the branch {own} starts afresh: its loss {differs}.")
    return "\n".join(lines)


def config_of(options: Train, objective: dict[str, Any]) -> dict[str, Any]:
    """What decides the results, see `shared.config_of`; the objective, from `check`, has the hash of the data."""
    if options.objective == NETWORK:
        return shared.config_of(options, **objective, seeds=_seeds(options))
    config = shared.config_of(options)
    return {name: value for name, value in config.items() if name not in NETWORK_OPTIONS}


def check(options: Train) -> tuple[dict[str, Any], int]:
    """Everything that can be wrong with the input, before anything is written.

    Returns:
        The objective, as `studies.comparison.build` takes it, and its number of weights.
    """
    for name in ("width", "depth", "steps", "track_every", "modes", "record_every", "test_every"):
        check_range("eosmodel", shared.flag(name), getattr(options, name), 1)
    check_range("eosmodel", "--keep-weights", options.keep_weights, 0)
    check_range("eosmodel", "--diverged-at", options.diverged_at, 1, low_open=True)
    check_range("eosmodel", "--init-scale", options.init_scale, 0, low_open=True)
    if options.stop_accuracy is not None:
        check_range("eosmodel", "--stop-accuracy", options.stop_accuracy, 0, 1, low_open=True)
        if options.objective != NETWORK:
            raise ValueError(f"--stop-accuracy is for networks alone; {options.objective} classifies nothing")
    if options.test_samples and options.objective != NETWORK:
        raise ValueError(f"--test-samples is for networks alone; {options.objective} has no samples")
    check_range("eosmodel", "--test-samples", options.test_samples, 0)
    if options.log is not None:
        logs.check(options.log)
    shared.distinct("tuners", options.tuners)
    if options.seeds:
        shared.distinct("seeds", options.seeds)
    shared.distinct("track", options.track)
    _check_tracked(options)
    objective = _network(options) if options.objective == NETWORK else _toy(options)
    with shared.precision(options):
        built = comparison.build(objective)
        net = built if options.batch_size is None else built.objective
        if options.stop_accuracy is not None and net.classes is None:
            raise ValueError(f"--stop-accuracy needs classes; --data {options.data} has regression targets")
        if options.devices is not None:
            shared.check_devices(options.devices, len(net.x))
        return objective, net.initial().size


def _check_tracked(options: Train) -> None:
    needy = [spec for spec in options.tuners if from_spec(spec).needs_sharpness]
    if needy and "sharpness" not in options.track:
        raise ValueError(f"--track: tuner {needy[0]} needs the sharpness; add it to --track, or name other --tuners")


def _seeds(options: Train) -> tuple[int, ...]:
    """The seeds asked for, 0 for a network by default; none is a toy's own start."""
    return options.seeds or ((0,) if options.objective == NETWORK else ())


def _network(options: Train) -> dict[str, Any]:
    if options.batch_size is None:
        if options.replacement:
            raise ValueError("--replacement is for mini-batches; give --batch-size")
        return shared.network_options(options)
    batches = {"batch_size": options.batch_size, "replacement": options.replacement}
    return shared.network_options(options) | batches


def _toy(options: Train) -> dict[str, Any]:
    name = options.objective
    kind = name.partition(":")[0]
    if options.batch_size is not None:
        raise ValueError(f"--batch-size is for networks alone; {name} has no samples")
    if options.devices is not None:
        raise ValueError(f"--devices is for networks alone; {name} has no samples")
    if options.replacement:
        raise ValueError("--replacement is for mini-batches; give --batch-size")
    if kind == NETWORK:
        raise ValueError(f"--objective {name!r}: a network has its parameters in {_flags(NETWORK_OPTIONS)}")
    objective = {"toy": name, "dtype": options.dtype}
    with shared.precision(options):
        toy = comparison.build(objective)
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    unused = [option for option in NETWORK_OPTIONS if getattr(options, option) != defaults[option]]
    if unused:
        raise ValueError(f"--objective {name}: {_flags(unused)} are for networks alone; leave them out")
    if options.seeds and toys.has_start(name):
        raise ValueError(f"--objective {name}: --seeds and start cannot both be given: a start has no seed")
    if options.seeds and np.array_equal(toy.initial(0), toy.initial(1)):
        raise ValueError(f"--objective {name} has one start, which all seeds would repeat; leave out --seeds")
    for seed in options.seeds:
        check_count("eosmodel", "--seeds", seed, 0)
    return objective


def _flags(options) -> str:
    return ", ".join(map(shared.flag, options))
