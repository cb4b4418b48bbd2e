"""What several commands need: a folder of their own, the configuration it was made with, blocks, checks of options."""

import dataclasses
import datetime
import json
import re
import shutil
import sys
from collections.abc import Collection
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import jax
import xarray as xr

from eosmodel._checks import check_count, check_distinct, check_range
from eosmodel.commands import config_file, module_of
from eosmodel.commands.options import COMMANDS, NetworkOptions, flag, name_of
from eosmodel.experiment import as_mesh
from eosmodel.objectives.data import load
from eosmodel.objectives.networks.sharding import check_divides
from eosmodel.objectives.recipes import CHOICE
from eosmodel.results import record
from eosmodel.simulation import atomic
from eosmodel.studies import runners
from eosmodel.studies.blocks import RESULTS, plain
from eosmodel.studies.plans import Plan, run_plan

Result = TypeVar("Result")

CONFIG = "config.json"
CONFIG_FILE = "run.toml"
BLOCKS = "blocks"
BEGAN = "began"
# Options that say where results go, how an old folder is treated, and where and in what portions they are computed.
_NOT_OF_RESULTS = ("out", "resume", "overwrite", "workers", "scheduler", "chunk", "devices", "log", "no_cache")
# What a configuration says for people, and results do not depend on.
_FOR_PEOPLE = {"version", BEGAN}


def distinct(name: str, values: tuple[Any, ...]) -> None:
    """Check that an option has values, and none twice."""
    check_distinct("eosmodel", flag(name), values)


def precision(options: Any) -> AbstractContextManager[None]:
    """A context with jax in the precision of --dtype."""
    return jax.enable_x64(options.dtype == "float64")


def network_options(options: NetworkOptions) -> dict[str, Any]:
    """The arguments of `objectives.recipes.network`: a path made absolute, the samples counted, the data hashed;
    what is off, as a chunk or a weight decay that is not asked for, is left out.

    The hash keeps results of other data apart, should the file be replaced.

    Args:
        options: of a command; one with `test_samples` holds so many out.
    """
    fields = dataclasses.fields(NetworkOptions)
    chosen = {field.name: getattr(options, field.name) for field in fields}
    held_out = getattr(options, "test_samples", 0)
    chosen |= {"test_samples": held_out} if held_out else {}
    off = [
        field.name
        for field in fields
        if field.name in (*CHOICE, "weight_decay") and field.default == chosen[field.name]
    ]
    if Path(options.data).suffix == ".npz":
        chosen["data"] = str(Path(options.data).resolve())
    samples = None if options.samples == "None" else options.samples
    try:
        choice = {key: chosen[key] for key in CHOICE if key in chosen.keys() - off}
        data = load(chosen["data"], "all" if samples is None else samples, **choice)
    except (ValueError, FileNotFoundError) as error:
        asked = "" if options.samples == NetworkOptions.samples else f" --samples {options.samples}"
        raise ValueError(f"--data {options.data}{asked}: {re.sub('^(path|spec): ', '', str(error))}") from None
    check_range("eosmodel", "--weight-decay", options.weight_decay, 0, high_open=True)
    chunk = chosen.pop("chunk")
    if chunk != "auto":
        chosen["chunk"] = len(data.x) if chunk == "all" else chunk
        check_count("eosmodel", "--chunk", chosen["chunk"])
    chosen = {name: value for name, value in chosen.items() if name not in off}
    return chosen | {"samples": len(data.x), "data_sha256": data.sha256}


def check_devices(devices: int, samples: int, runs: int = 1) -> None:
    """Check that there are so many devices, and that they divide the runs of a batch, or the samples."""
    as_mesh("eosmodel", devices, "--devices")
    if runs == 1 or runs % devices:
        check_divides(f"--devices {devices}", devices, samples)


def config_of(options: Any, **changes: Any) -> dict[str, Any]:
    """What decides the results of a command: its options but those of where they go and are computed, its name and the
    version of the numbers (`RESULTS`). The version of eosmodel is for people. `changes` replaces options and adds
    others."""
    config = {name: value for name, value in dataclasses.asdict(options).items() if name not in _NOT_OF_RESULTS}
    changes.pop("chunk", None)  # of `network_options`
    return plain(**config | changes, command=name_of(options), results=RESULTS, version=version("eosmodel"))


def config_in(folder: Path) -> dict[str, Any] | None:
    """The configuration that a command wrote into a folder; None where no command did."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text()) if path.exists() else None
    except ValueError:
        return None
    return config if isinstance(config, dict) and config.get("command") in COMMANDS else None


def prepare(options: Any, config: dict[str, Any], growing: Collection[str] = ()) -> None:
    """Make the folder --out ours, or refuse: nothing of another configuration is mixed in or overwritten unasked.

    Args:
        options: with `out`, `resume` and `overwrite`.
        config: from `config_of`; written to config.json with the time at which the folder was begun, the options
            themselves to run.toml.
        growing: options that may differ from those that the folder was begun with; of tables, entries that both have
            may not.

    Raises:
        ValueError: both --resume and --overwrite.
        NotADirectoryError, FileExistsError: a folder that cannot be used, and what to do.
    """
    out = options.out
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if options.resume and options.overwrite:
        raise ValueError("--resume and --overwrite exclude each other")
    check_folder(out)
    if out.is_dir() and any(out.iterdir()):
        old = config_in(out)
        if old is None:
            raise foreign(out)
        if options.overwrite:
            _clear(out, old)
        elif not options.resume:
            raise FileExistsError(f"--out {out} is not empty; --resume goes on with it, --overwrite starts it again")
        else:
            differing = [key for key in sorted({*old, *config} - _FOR_PEOPLE) if _differ(old, config, key, growing)]
            if differing:
                raise FileExistsError(
                    f"--out {out} holds results of another configuration (differs in {', '.join(differing)}"
                    + (f": eosmodel {old.get('version')} computes other numbers" if "results" in differing else "")
                    + "); name another folder, or --overwrite"
                )
            began = old.get(BEGAN, began)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (
        (CONFIG, json.dumps(config | {BEGAN: began}, indent=2) + "\n"),
        (CONFIG_FILE, config_file.written(options)),
    ):
        with atomic(out / name) as temporary:
            temporary.write_text(text)


def _differ(old: dict[str, Any], new: dict[str, Any], key: str, growing: Collection[str]) -> bool:
    before, now = old.get(key), new.get(key)
    if key not in growing:
        return before != now
    return isinstance(before, dict) and isinstance(now, dict) and any(before[k] != now[k] for k in before if k in now)


def check_folder(out: Path) -> None:
    """Raise NotADirectoryError where --out is a file."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out} is a file; name a folder")


def foreign(out: Path) -> FileExistsError:
    """What is said of a folder --out with files of something else in it."""
    return FileExistsError(f"--out {out} is not empty and was not written by eosmodel; name another folder")


def _clear(folder: Path, old: dict[str, Any]) -> None:
    """Delete what an earlier command wrote, and nothing else."""
    outputs = [folder / name for name in (CONFIG, CONFIG_FILE, *module_of(old["command"]).OUTPUTS)]
    tables = [path.with_suffix(".csv") for path in outputs if path.suffix == ".nc"]  # of `eosmodel export`
    for path in (*folder.glob("*.png"), *outputs, *tables):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def compute(plan: Plan[Result], options: Any, runner: runners.Runner, log: str | None = None) -> Result:
    """Compute the plan of a command in the folder `blocks` of --out, showing how it goes; `log` as in `run_plan`.

    Raises:
        SystemExit: with code 1, when workers are lost; what is done is kept.
    """
    try:
        return run_plan(plan, options.out / BLOCKS, runner, progress=name_of(options), log=log)
    except runners.WorkersLost as error:
        print(f"eosmodel: {error}; the same command with --resume goes on from here", file=sys.stderr)
        raise SystemExit(1) from None


def save(dataset: xr.Dataset, options: Any, file: str, config: dict[str, Any]) -> None:
    """Write a dataset to the folder --out, with what it takes to make it again, and when the folder was begun."""
    began = (config_in(options.out) or {}).get(BEGAN, "")
    record.save(dataset.assign_attrs(record.provenance(config) | {BEGAN: began}), options.out / file)
