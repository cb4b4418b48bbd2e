"""A study: one objective, several tuners and seeds, and the theories beside them, in one folder that can be resumed.

Every (tuner, seed) run and every theory of it is a part: a dataset in `parts/`, written when done, with a checkpoint
beside it while it is under way. What `compare` writes at the end is put together from the parts.
"""

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr
from tqdm.auto import tqdm

from eosmodel._checks import check_count, check_range
from eosmodel._status import Status
from eosmodel.commands.options import Compare, NetworkOptions, Train
from eosmodel.results import record
from eosmodel.studies import blocks
from eosmodel.studies.runners import WorkersLost

CONFIG = "config.json"
COMPARISON = Path("comparison.html")
NETWORK = "network"
STEEPEST = "steepest"
NETWORK_OPTIONS = tuple(field.name for field in dataclasses.fields(NetworkOptions) if field.name != "dtype")


def run_study(command: Train) -> None:
    """Run `eosmodel compare` or `eosmodel train`: check the input, prepare the folder, run the parts, combine, draw."""
    import jax

    if command.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    seeds: tuple[int | None, ...] = _seeds(command) or (None,)
    tuners, objective, direction = _check(command)
    config = _config(command)
    prepare(command, config)
    full = objective if command.batch_size is None else objective.objective
    dim = full.initial().size
    if command.modes > dim:
        print(f"{command.objective} has {dim} weight{'s' * (dim > 1)}: {dim} of --modes {command.modes} are followed")
    parts = command.out / "parts"
    parts.mkdir(exist_ok=True)
    theories = command.theories if isinstance(command, Compare) else ()
    total = len(tuners) * len(seeds) * (1 + len(theories))
    experiments, predictions = [], []
    done = 0
    for seed in seeds:
        for label, tuner in tuners.items():
            done += 1
            run = label if seed is None else f"{label}, seed {seed}"
            title = f"[{done}/{total}] {run}"
            experiment = _part(command, parts, "experiment", title, objective, tuner, label, seed, direction=direction)
            experiments.append(_label(experiment, tuner=label, seed=seed or 0))
            for theory in theories:
                done += 1
                title = f"[{done}/{total}] {run}: {theory}"
                predicted = _part(command, parts, theory, title, objective, tuner, label, seed, experiment)
                predictions.append(_label(predicted, theory=theory, tuner=label, seed=seed or 0))
    attrs = record.provenance(config)
    experiment = _combine(experiments, attrs)
    record.save(experiment, command.out / "experiment.nc")
    if theories:
        record.save(_combine(predictions, attrs), command.out / "theory.nc")
        redraw(command.out)
    else:
        print(f"wrote {command.out / 'experiment.nc'}")


def redraw(folder: Path) -> None:
    """Write the scoreboard, the figures and the report of a folder from its datasets."""
    from eosmodel.judging.scoreboard import compare
    from eosmodel.report import write_report

    folder = Path(folder)
    experiment, theory = _load(folder)
    write_report(experiment, theory, folder)
    print(compare(experiment, theory))
    print(f"\nwrote {folder / 'report.html'}")


def compare_folders(folders: Sequence[Path], out: Path | None) -> None:
    """Write the page that compares several folders; never over anything but an earlier such page."""
    from eosmodel.report import write_comparison

    if len(set(folders)) < len(folders):
        raise ValueError(f"report: the same folder twice: {' '.join(map(str, folders))}")
    for folder in folders:
        for kind in ("sweep", "validation"):
            if (folder / f"{kind}.nc").exists():
                raise ValueError(f"report: {folder} is a {kind}, which has a page of its own; only runs are compared")
    names = [folder.resolve().name for folder in folders]
    names = names if len({*names}) == len(names) else [str(folder) for folder in folders]
    page = write_comparison(
        {name: _load(folder) for name, folder in zip(names, folders, strict=True)}, out or COMPARISON
    )
    print(f"wrote {page}")


def _load(folder: Path) -> tuple[xr.Dataset, xr.Dataset | None]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; `eosmodel compare --out {folder}` makes one")
    theory = folder / "theory.nc"
    return record.load(folder / "experiment.nc"), record.load(theory) if theory.exists() else None


def _check(command: Train):
    """Everything that can be wrong with the input, before anything is written."""
    from eosmodel import directions
    from eosmodel.objectives import MiniBatches
    from eosmodel.theory import THEORIES, from_spec
    from eosmodel.tuners import from_spec as tuner_from_spec

    for name in ("width", "depth", "steps", "track_every", "modes", "record_every"):
        check_range("eosmodel", f"--{name.replace('_', '-')}", getattr(command, name), 1)
    check_range("eosmodel", "--init-scale", command.init_scale, 0, low_open=True)
    theories: tuple[str, ...] = ()
    lists: dict[str, tuple[Any, ...]] = {"tuners": command.tuners, "seeds": command.seeds}
    if isinstance(command, Compare):
        lists["theories"] = theories = command.theories
    for name, values in lists.items():
        if not values and name != "seeds":
            raise ValueError(f"--{name} needs at least one value")
        if len(set(values)) < len(values):
            raise ValueError(f"--{name} has the same value twice: {' '.join(map(str, values))}")
    asked = {spec: from_spec(spec) for spec in theories}
    whole_record = [spec for spec, theory in asked.items() if theory.needs_every_row]
    if command.record_every > 1 and whole_record:
        raise ValueError(f"--theories {whole_record[0]} reads the run row by row and needs --record-every 1")
    tuners = {spec: tuner_from_spec(spec) for spec in command.tuners}
    direction = None if command.direction == STEEPEST else directions.from_spec(command.direction)
    if theories and direction is not None:
        raise ValueError(f"--direction {command.direction}: theories know steepest descent alone; use `eosmodel train`")
    if command.batch_size is None:
        if command.replacement:
            raise ValueError("--replacement is for mini-batches; give --batch-size")
        return tuners, _network(command) if command.objective == NETWORK else _toy(command), direction
    if command.objective != NETWORK:
        raise ValueError(f"--batch-size is for networks alone; {command.objective} has no samples")
    unknown = [spec for spec, theory in asked.items() if not theory.knows_noise]
    if unknown:
        known = " ".join(name for name, entry in THEORIES.items() if entry.factory.knows_noise)
        raise ValueError(f"--batch-size: no stochastic theory {', '.join(unknown)}; add --theories {known}")
    return tuners, MiniBatches(_network(command), command.batch_size, command.replacement), direction


def _seeds(command: Train) -> tuple[int, ...]:
    """The seeds asked for, 0 for a network by default; none is a toy's own start."""
    return command.seeds or ((0,) if command.objective == NETWORK else ())


def _network(command: Train):
    from eosmodel.objectives.recipes import network

    return network(**network_options(command), seed=_seeds(command)[0])


def network_options(command: NetworkOptions) -> dict[str, Any]:
    """The arguments of `objectives.recipes.network`, a path made absolute."""
    options = {field.name: getattr(command, field.name) for field in dataclasses.fields(NetworkOptions)}
    if Path(command.data).suffix == ".npz":
        options["data"] = str(Path(command.data).resolve())
    return options


def _toy(command: Train):
    import numpy as np

    from eosmodel import _specs
    from eosmodel.objectives import registry

    name = command.objective
    kind = name.partition(":")[0]
    _specs.look_up(kind, {NETWORK: None, **registry.TOYS}, "objective")
    if kind == NETWORK:
        raise ValueError(f"--objective {name!r}: a network has its parameters in {_flags(NETWORK_OPTIONS)}")
    toy = registry.from_spec(name, command.dtype)
    defaults = {field.name: field.default for field in dataclasses.fields(command)}
    unused = [option for option in NETWORK_OPTIONS if getattr(command, option) != defaults[option]]
    if unused:
        raise ValueError(f"--objective {name}: {_flags(unused)} are for networks alone; leave them out")
    if command.seeds and registry.has_start(name):
        raise ValueError(f"--objective {name}: --seeds and start cannot both be given: a start has no seed")
    if command.seeds and np.array_equal(toy.initial(0), toy.initial(1)):
        raise ValueError(f"--objective {name} has one start, which all seeds would repeat; leave out --seeds")
    for seed in command.seeds:
        check_count("eosmodel", "--seeds", seed, 0)
    return toy


def _flags(options) -> str:
    return ", ".join(f"--{option.replace('_', '-')}" for option in options)


def _config(command: Train) -> dict[str, Any]:
    """What decides the results: everything but where they go and how an old folder is treated."""
    config = dataclasses.asdict(command)
    for name in ("out", "resume", "overwrite"):
        del config[name]
    config["seeds"] = _seeds(command)
    if command.objective != NETWORK:
        for name in NETWORK_OPTIONS:
            del config[name]
    else:
        config |= network_options(command)
    config["command"] = type(command).__name__.lower()
    config["version"] = version("eosmodel")
    return blocks.config_of(**config)


def prepare(command: Any, config: dict[str, Any], growing: Collection[str] = ()) -> None:
    """Make the folder ours, or refuse: nothing of another configuration is mixed in or overwritten unasked.

    Options that are `growing` may differ from those that the folder was begun with.
    """
    from eosmodel.simulation import atomic

    out = command.out
    if command.resume and command.overwrite:
        raise ValueError("--resume and --overwrite exclude each other")
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()):
        ours = (out / CONFIG).exists()
        if not ours:
            raise FileExistsError(f"--out {out} is not empty and was not written by eosmodel; name another folder")
        if command.overwrite:
            for path in (*out.glob("*.png"), *(out / name for name in OUTPUTS)):
                path.unlink(missing_ok=True)
            for parts in ("parts", "blocks"):
                shutil.rmtree(out / parts, ignore_errors=True)
        elif not command.resume:
            raise FileExistsError(f"--out {out} is not empty; --resume goes on with it, --overwrite starts it again")
        else:
            found = json.loads((out / CONFIG).read_text())
            differing = sorted(key for key in {*found, *config} - {*growing} if found.get(key) != config.get(key))
            if differing:
                raise FileExistsError(
                    f"--out {out} holds results of another configuration (differs in {', '.join(differing)}); "
                    "name another folder, or --overwrite"
                )
    out.mkdir(parents=True, exist_ok=True)
    with atomic(out / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n")


def follow(found: Callable[[], blocks.Blocks], total: int, title: str, line: Callable[..., str]) -> None:
    """Compute all blocks of a study, with a progress bar and a line for each that is new.

    Args:
        found: starts the blocks.
        total: their number.
        title: of the bar.
        line: (configuration, block) ↦ how it ended.

    Raises:
        SystemExit: with code 1, when workers are lost; what is done is kept.
    """
    done = 0
    try:
        with tqdm(total=total, desc=title, unit="block", dynamic_ncols=True) as bar, closing(found()) as stream:
            for config, block, new in stream:
                done += 1
                bar.update()
                if new:
                    bar.write(f"[{done}/{total}] {line(config, block)}")
    except WorkersLost as error:
        print(f"eosmodel: {error}; the same command with --resume goes on from here", file=sys.stderr)
        raise SystemExit(1) from None


OUTPUTS = (
    CONFIG,
    "experiment.nc",
    "theory.nc",
    "scoreboard.json",
    "report.html",
    "phase.nc",
    "orbit.nc",
    "sweep.nc",
    "sweep.html",
    "findings.json",
    "validation.nc",
    "validation.json",
    "validation.html",
)


def _part(command, folder, kind, title, objective, tuner, label, seed, experiment=None, direction=None) -> xr.Dataset:
    """One run or one theory of it: read if it is done, resumed if it was begun, else computed."""
    from eosmodel.experiment import predict, simulate
    from eosmodel.theory import from_spec

    # All tuners share the one prediction of a theory that ignores them.
    owner = "any" if kind != "experiment" and from_spec(kind).ignores_tuner else label
    slug = re.sub(r"[^A-Za-z0-9.=+-]+", "_", f"{kind}.{owner}")
    path = folder / f"{slug}.{seed or 0}.nc"
    if path.exists():
        return record.load(path)
    checkpoint = path.with_suffix(".checkpoint.npz")
    common = {
        "steps": command.steps,
        "seeds": seed,
        "modes": command.modes,
        "record_every": command.record_every,
        "progress": title,
        "checkpoint": checkpoint,
    }
    if kind == "experiment":
        result = simulate(objective, tuner, direction=direction, track_every=command.track_every, **common)
    else:
        result = predict(objective, tuner, theory=kind, experiment=experiment, **common)
    record.save(result, path)
    checkpoint.unlink(missing_ok=True)
    loss = float(result.loss.dropna("step")[-1]) if result.loss.notnull().any() else float("nan")
    status = Status(int(result.status))
    print(f"{title}: {status.label}, {int(result.steps)} steps, loss {loss:.4g}", flush=True)
    return result


def _label(dataset: xr.Dataset, **coords) -> xr.Dataset:
    return dataset.expand_dims({name: [value] for name, value in coords.items()})


def _combine(parts: list[xr.Dataset], attrs: dict[str, str]) -> xr.Dataset:
    # Theories differ in the variables and in the number of modes that they have: the union, blank where missing.
    combined = xr.combine_by_coords(
        [part.drop_attrs(deep=False) for part in parts], join="outer", compat="no_conflicts", combine_attrs="override"
    )
    assert isinstance(combined, xr.Dataset)
    order = {
        name: list(dict.fromkeys(part[name].item() for part in parts))
        for name in ("theory", "tuner", "seed")
        if name in combined.dims
    }
    return record.describe(combined.sel(order)).assign_attrs(attrs)
