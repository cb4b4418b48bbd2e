"""`python -m paper_figures`: every figure is a block of a study, computed once and drawn from its file."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import jax
import matplotlib
import tyro
import xarray as xr

import paper_figures
from eosmodel import _specs
from eosmodel.objectives.recipes import data_hash
from eosmodel.results import record
from eosmodel.simulation import atomic
from eosmodel.studies.blocks import Block, path_of, plain
from eosmodel.studies.plans import run_blocks
from eosmodel.studies.validated import WORKLOADS
from paper_figures._style import RC

MANIFEST = "manifest.json"
BLOCKS = "blocks"
FORMATS = ("pdf", "png")


@dataclass(frozen=True)
class Figures:
    """Compute and draw the figures of the field; writes NAME.pdf, NAME.png and the data behind them as NAME.nc, and
    manifest.json with the caption, claims and command of each.

    A figure that is computed already is drawn from its file.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Figures to draw; all of them if none is named."""
    list: bool = False
    """Print the names and titles of all figures, and do nothing else."""
    quick: bool = False
    """Tiny networks and small grids, to see that everything works; the claims mean nothing then."""
    out: Path = Path("runs/figures")
    """Folder for the results."""
    overwrite: bool = False
    """Compute again what is there."""


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of `python -m paper_figures`. Exit codes: 0 done, 2 bad input (one line on standard error)."""
    command = tyro.cli(Figures, args=args, prog="python -m paper_figures", config=(tyro.conf.FlagCreatePairsOff,))
    try:
        run(command)
    except (ValueError, FileExistsError, NotADirectoryError, PermissionError) as error:
        print(f"paper_figures: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def run(command: Figures) -> None:
    """Write NAME.nc, NAME.pdf and NAME.png of every figure that is asked for, and manifest.json."""
    titles = paper_figures.titles()
    if command.list:
        print("\n".join(f"{name:<20}{title}" for name, title in titles.items()))
        return
    for name in command.names:
        _specs.look_up(name, titles, "figure")
    chosen = [name for name in titles if not command.names or name in command.names]
    _prepare(command.out)
    blocks = [block_of(name, command.quick) for name in chosen]
    if command.overwrite:
        for block in blocks:
            path_of(command.out / BLOCKS, block).unlink(missing_ok=True)
    for block, dataset, new in run_blocks(blocks, command.out / BLOCKS):
        print(
            f"{block.label}: " + (f"computed in {dataset.attrs['seconds']:.1f} s" if new else "from its file"),
            flush=True,
        )
        module, stem = paper_figures.load(block.label), command.out / block.label
        record.save(dataset, stem.with_name(f"{block.label}.nc"))
        _draw(module, dataset, stem)
        # Read again, for another process may have added to it meanwhile.
        entries = json.loads((command.out / MANIFEST).read_text()) | {block.label: entry(block.label, module, dataset)}
        _write(command.out / MANIFEST, dict(sorted(entries.items())))
    print(f"wrote {len(chosen)} figure{'s' * (len(chosen) > 1)} and {command.out / MANIFEST}")


def block_of(name: str, quick: bool) -> Block:
    """The figure as a block of a study, known by the numbers and the data that decide its result."""
    module = paper_figures.load(name)
    settings = module.settings(quick)
    config = plain(**settings, data_sha256=hashes_in(settings), figure=name, quick=quick, dtype=module.DTYPE)
    return Block(compute, config, name)


def hashes_in(settings: Any) -> dict[str, str]:
    """The hashes of the data that the settings of a figure name: of every network, and of the workloads."""
    if isinstance(settings, list | tuple):
        parts = list(settings)
    elif isinstance(settings, dict):
        parts = [*settings.values(), *(WORKLOADS[name] for name in settings.get("workloads", ()))]
    else:
        return {}
    found = {name: value for part in parts for name, value in hashes_in(part).items()}
    if isinstance(settings, dict) and {"data", "samples"} <= {*settings}:
        found[f"{settings['data']}, {settings['samples']} samples"] = data_hash(**settings)
    return found


def compute(config: dict[str, Any]) -> xr.Dataset:
    """The dataset of a figure, in the figure's own precision."""
    print(f"{config['figure']}: computing", flush=True)
    module = paper_figures.load(config["figure"])
    with jax.enable_x64(config["dtype"] == "float64"):
        dataset = module.compute(config["quick"])
    return dataset.assign_attrs(record.provenance(config))


def entry(name: str, module: ModuleType, dataset: xr.Dataset) -> dict[str, Any]:
    """What the manifest says of a figure."""
    config = json.loads(dataset.attrs["config"])
    return {
        "title": (module.__doc__ or "").partition("\n")[0],
        "caption": " ".join(module.CAPTION.split()),
        "sources": [f"arXiv:{number}" for number in module.SOURCES],
        "claims": [claim.as_dict() for claim in module.judge(dataset)],
        "command": f"python -m paper_figures {name}{' --quick' * config['quick']}",
        "seconds": float(dataset.attrs["seconds"]),
        "created": dataset.attrs["created"],
        "device": dataset.attrs["device"],
        "versions": json.loads(dataset.attrs["versions"]),
        "config": config,
        "files": [f"{name}.{suffix}" for suffix in ("nc", *FORMATS)],
    }


def _prepare(out: Path) -> None:
    """A folder with a manifest; one that holds other things is refused."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out} is a file; name a folder")
    if (out / MANIFEST).exists():
        return
    if out.is_dir() and any(out.iterdir()):
        raise FileExistsError(f"--out {out} is not empty and holds no figures of eosmodel; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    _write(out / MANIFEST, {})


def _draw(module: ModuleType, dataset: xr.Dataset, stem: Path) -> None:
    figure = module.draw(dataset)
    # How text is embedded is decided when a file is written.
    with matplotlib.rc_context(RC):
        for suffix in FORMATS:
            with atomic(stem.with_name(f"{stem.name}.{suffix}")) as temporary:
                figure.savefig(temporary, format=suffix, facecolor="white")


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
