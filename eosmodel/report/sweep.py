"""The page of a sweep over tuners, batch sizes and seeds."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from eosmodel import plotting
from eosmodel._status import Status
from eosmodel.report import pages, words
from eosmodel.report.pages import Picture, number
from eosmodel.studies import sweep as sweeps


def write_sweep(found: xr.Dataset, judged: Sequence[sweeps.Finding], out: str | Path) -> Path:
    """Write pictures, findings.json and sweep.html into a folder.

    Args:
        found: dataset over (tuner, batch_size, seed), as `sweeps.Plan.combine` makes it.
        judged: what it says, from `sweeps.evaluate`.
        out: the folder.

    Returns:
        The path of sweep.html.
    """
    out = Path(out)
    pages.write(out / "findings.json", json.dumps([_strict(dataclasses.asdict(f)) for f in judged], indent=2).encode())
    pictures = _pictures(found)
    for picture in pictures:
        pages.write(out / f"{picture.name}.png", picture.png(dpi=130))
    origin = pages.origin(found.attrs)
    page = pages.render(
        "sweep.html.jinja",
        findings=judged,
        pictures=pictures,
        setting=words.setting(origin["config"]),
        sentences=_summary(found, judged),
        samples=found.attrs["samples"],
        variables=[(variable.symbol, variable.meaning) for variable in sweeps.SCALARS.values()],
        confidence=sweeps.LEVEL,
        least=sweeps.LEAST_SEEDS,
        origin=origin,
        references=pages.references([found]),
    )
    pages.write(out / "sweep.html", page)
    return out / "sweep.html"


def _strict(value: Any) -> Any:
    """Ready for JSON, which has no infinity: None in its place."""
    if isinstance(value, dict):
        return {key: _strict(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(of) for of in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _summary(found: xr.Dataset, judged: Sequence[sweeps.Finding]) -> list[str]:
    done = int((found.status == int(Status.OK)).sum())
    sizes = [words.count(found.sizes[name], what) for name, what in _AXES.items()]
    said = [f"{' × '.join(sizes)}: {words.count(found.status.size, 'run')}, of which {done} finished."]
    for size, losses in _medians(found, "final_loss").items():
        if losses:
            best = min(losses, key=losses.__getitem__)
            said.append(f"At {size} the lowest final loss is {best}'s, {number(losses[best])} (median over seeds).")
    return [*said, words.verdicts(((finding.id, finding.verdict) for finding in judged), "statement")]


_AXES = {"tuner": "tuner", "batch_size": "batch size", "seed": "seed"}


def _medians(found: xr.Dataset, name: str) -> dict[str, dict[str, float]]:
    """Median over seeds by batch size and tuner, of tuners that finished with every seed."""
    known = found[name].where(found.status == int(Status.OK)).median("seed", skipna=False)
    return {
        f"B = {size}" + " (full)" * bool(size == found.attrs["samples"]): {
            str(tuner): value
            for tuner in found.tuner.values
            if np.isfinite(value := float(known.sel(tuner=tuner, batch_size=size)))
        }
        for size in found.batch_size.values.tolist()
    }


def _shows(found: xr.Dataset, name: str, symbol: str) -> str:
    """The lowest and the highest of every batch size."""
    parts = []
    for size, values in _medians(found, name).items():
        if values:
            low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
            parts.append(f"{size} from {number(values[low])} ({low}) to {number(values[high])} ({high})")
        else:
            parts.append(f"{size} no tuner finished with every seed")
    return f"{symbol}, median over seeds: {'; '.join(parts)}."


def _pictures(found: xr.Dataset) -> list[Picture]:
    cell = "Median over seeds of the final {}, by tuner and batch size. A frame: the lowest of a batch size."
    loss, sharpness = _shows(found, "final_loss", "final loss"), _shows(found, "final_sharpness", "final λ")
    return [
        Picture(
            "sweep-loss",
            plotting.sweep_map(found, "final_loss"),
            cell.format("full-batch loss"),
            f"Heat map, tuner by batch size, of the {loss}",
        ),
        Picture(
            "sweep-sharpness",
            plotting.sweep_map(found, "final_sharpness"),
            cell.format("sharpness"),
            f"Heat map, tuner by batch size, of the {sharpness}",
        ),
        Picture(
            "sweep-trajectories",
            plotting.sweep_trajectories(found),
            "Sharpness of the full loss along the runs.",
            f"Lines of λ against the step, a panel for each batch size and a line for each tuner; {sharpness}",
        ),
        Picture(
            "sweep-losses",
            plotting.sweep_trajectories(found, "loss"),
            "Full-batch loss along the runs.",
            f"Lines of the loss against the step, a panel for each batch size and a line for each tuner; {loss}",
        ),
    ]
