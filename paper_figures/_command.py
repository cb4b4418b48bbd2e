"""`eosmodel figures`: compute what is not cached, draw, and keep the manifest."""

import dataclasses
import json
import time
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import xarray as xr

from eosmodel import _specs
from eosmodel.commands.options import Figures
from eosmodel.results import record
from eosmodel.simulation import atomic
from eosmodel.studies import blocks

MANIFEST = "manifest.json"
FORMATS = ("pdf", "png")


def run_figures(command: Figures) -> None:
    """Run `eosmodel figures`: NAME.nc, NAME.pdf and NAME.png of every figure, and manifest.json."""
    import paper_figures

    known = paper_figures.titles()
    for name in command.names:
        _specs.look_up(name, known, "figure")
    chosen = [name for name in known if not command.names or name in command.names]
    _prepare(command.out)
    for i, name in enumerate(chosen):
        module = paper_figures.load(name)
        title = f"[{i + 1}/{len(chosen)}] {name}"
        found = _dataset(name, module, command, title)
        _draw(module, found, command.out / name)
        # Read again, for another process may have added to it meanwhile.
        entries = json.loads((command.out / MANIFEST).read_text()) | {name: entry(name, module, found)}
        _write(command.out / MANIFEST, dict(sorted(entries.items())))
    print(f"wrote {len(chosen)} figure{'s' * (len(chosen) > 1)} and {command.out / MANIFEST}")


def entry(name: str, module: ModuleType, found: xr.Dataset) -> dict[str, Any]:
    """What the manifest says of a figure."""
    config = json.loads(found.attrs["config"])
    return {
        "title": (module.__doc__ or "").partition("\n")[0],
        "caption": " ".join(module.CAPTION.split()),
        "sources": [f"arXiv:{number}" for number in module.SOURCES],
        "claims": [dataclasses.asdict(claim) for claim in module.judge(found)],
        "command": f"eosmodel figures {name}{' --quick' * config['quick']}",
        "seconds": float(found.attrs["seconds"]),
        "created": found.attrs["created"],
        "device": found.attrs["device"],
        "versions": json.loads(found.attrs["versions"]),
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


def _dataset(name: str, module: ModuleType, command: Figures, title: str) -> xr.Dataset:
    """From the cache if it is of this configuration and version, else computed and cached."""
    import jax

    mine = {"figure": name, "quick": command.quick, "dtype": module.DTYPE, "version": version("eosmodel")}
    config = blocks.config_of(**module.settings(command.quick), **mine)
    path = command.out / f"{name}.nc"
    if path.exists() and not command.overwrite:
        found = record.load(path)
        if json.loads(found.attrs["config"]) == config:
            print(f"{title}: from {path}", flush=True)
            return found
    print(f"{title}: computing", flush=True)
    begin = time.perf_counter()
    with jax.enable_x64(module.DTYPE == "float64"):
        found = module.compute(command.quick)
    seconds = time.perf_counter() - begin
    found = found.assign_attrs(record.provenance(config) | {"seconds": seconds})
    record.save(found, path)
    print(f"{title}: computed in {seconds:.1f} s", flush=True)
    return record.load(path)


def _draw(module: ModuleType, found: xr.Dataset, stem: Path) -> None:
    import matplotlib

    from paper_figures._style import RC

    figure = module.draw(found)
    # How text is embedded is decided when a file is written.
    with matplotlib.rc_context(RC):  # type: ignore[arg-type]
        for suffix in FORMATS:
            with atomic(stem.with_name(f"{stem.name}.{suffix}")) as temporary:
                figure.savefig(temporary, format=suffix, facecolor="white")


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
