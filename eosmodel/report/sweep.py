"""The page of a sweep over tuners, batch sizes and seeds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from eosmodel import plotting
from eosmodel._status import SUCCESSES
from eosmodel.judging.verdicts import Claim
from eosmodel.report import pages, words
from eosmodel.report.pages import Picture
from eosmodel.results.formatting import number, setting
from eosmodel.studies import sweep as sweeps
from eosmodel.tuners.registry import REGISTRY as TUNERS


def write_sweep(sweep: xr.Dataset, claims: Sequence[Claim], out: str | Path) -> Path:
    """Write pictures, findings.json and sweep.html into a folder.

    Args:
        sweep: dataset over (tuner, batch_size, seed), that the plan of a sweep makes.
        claims: from `sweeps.evaluate` of it.
        out: the folder.

    Returns:
        The path of sweep.html.
    """
    out = Path(out)
    pages.write(out / "findings.json", json.dumps([claim.as_dict() for claim in claims], indent=2).encode())
    pictures = _pictures(sweep)
    for picture in pictures:
        pages.write(out / f"{picture.name}.png", picture.png(dpi=130))
    origin = pages.origin(sweep.attrs)
    page = pages.render(
        "sweep.html.jinja",
        claims=claims,
        tuners=pages.meanings(map(str, sweep.tuner.values), TUNERS),
        pictures=pictures,
        setting=setting(origin["config"]),
        sentences=_summary(sweep, claims),
        samples=sweep.attrs["samples"],
        variables=[(of.symbol, of.meaning) for name, of in (sweeps.SCALARS | sweeps.HELD_OUT).items() if name in sweep],
        confidence=sweeps.LEVEL,
        least=sweeps.LEAST_SEEDS,
        origin=origin,
        references=pages.references([sweep]),
    )
    pages.write(out / "sweep.html", page)
    return out / "sweep.html"


def _summary(sweep: xr.Dataset, claims: Sequence[Claim]) -> list[str]:
    done = int(sweep.status.isin(SUCCESSES).sum())
    sizes = [words.count(sweep.sizes[name], what) for name, what in _AXES.items()]
    sentences = [f"{' × '.join(sizes)}: {words.count(sweep.status.size, 'run')}, of which {done} finished."]
    for size, losses in _medians(sweep, "final_loss").items():
        if losses:
            best = min(losses, key=losses.__getitem__)
            sentences.append(
                f"At {size} the lowest final loss, as median over seeds, is {number(losses[best])} with {best}."
            )
    if "final_test_loss" in sweep:
        sentences += [_held_out(sweep, size, losses) for size, losses in _medians(sweep, "final_test_loss").items()]
    return [*sentences, words.verdicts(claims)]


def _held_out(sweep: xr.Dataset, size: str, losses: Mapping[str, float]) -> str:
    """The tuner that does best on held-out samples at a batch size."""
    if not losses:
        return f"At {size} no tuner that was evaluated on held-out samples finished with every seed."
    best = min(losses, key=losses.__getitem__)
    right = _medians(sweep, "final_test_accuracy")[size] if "final_test_accuracy" in sweep else {}
    share = f", of which it classifies {number(right[best], '.1%')} correctly" if best in right else ""
    return f"At {size} the loss on held-out samples ends lowest, at {number(losses[best])}, with {best}{share}."


_AXES = {"tuner": "tuner", "batch_size": "batch size", "seed": "seed"}


def _medians(sweep: xr.Dataset, name: str) -> dict[str, dict[str, float]]:
    """Median over seeds by batch size and tuner, of tuners that finished with every seed."""
    known = sweep[name].where(sweep.status.isin(SUCCESSES)).median("seed", skipna=False)
    return {
        f"B = {size}" + " (full)" * bool(size == sweep.attrs["samples"]): {
            str(tuner): value
            for tuner in sweep.tuner.values
            if np.isfinite(value := float(known.sel(tuner=tuner, batch_size=size)))
        }
        for size in sweep.batch_size.values.tolist()
    }


def _shows(sweep: xr.Dataset, name: str, symbol: str) -> str:
    """The lowest and the highest of every batch size."""
    parts = []
    for size, values in _medians(sweep, name).items():
        if values:
            low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
            parts.append(f"{size} from {number(values[low])} ({low}) to {number(values[high])} ({high})")
        else:
            parts.append(f"{size} no tuner finished with every seed")
    return f"{symbol}, median over seeds: {'; '.join(parts)}."


def _pictures(sweep: xr.Dataset) -> list[Picture]:
    cell = "Median over seeds of the final {}, by tuner and batch size. A frame: the {} of a batch size."
    loss, sharpness = _shows(sweep, "final_loss", "final loss"), _shows(sweep, "final_sharpness", "final λ")
    held_out = [
        Picture(
            f"sweep-{name.removeprefix('final_').replace('_', '-')}",
            plotting.sweep_map(sweep, name),
            cell.format(what, best),
            f"Heat map, tuner by batch size, of the {_shows(sweep, name, what)}",
        )
        for name, what, best in (
            ("final_test_loss", "loss on held-out samples", "lowest"),
            ("final_test_accuracy", "accuracy on held-out samples", "highest"),
        )
        if name in sweep
    ]
    if held_out:
        held_out.append(
            Picture(
                "sweep-test-losses",
                plotting.sweep_trajectories(sweep, "test_loss"),
                "Loss on held-out samples along the runs.",
                "Lines of the loss on held-out samples against the step, a panel for each batch size and a line for "
                f"each tuner; {_shows(sweep, 'final_test_loss', 'final loss on held-out samples')}",
            )
        )
    return [
        Picture(
            "sweep-loss",
            plotting.sweep_map(sweep, "final_loss"),
            cell.format("full-batch loss", "lowest"),
            f"Heat map, tuner by batch size, of the {loss}",
        ),
        Picture(
            "sweep-sharpness",
            plotting.sweep_map(sweep, "final_sharpness"),
            cell.format("sharpness", "lowest"),
            f"Heat map, tuner by batch size, of the {sharpness}",
        ),
        Picture(
            "sweep-trajectories",
            plotting.sweep_trajectories(sweep),
            "Sharpness of the full loss along the runs.",
            f"Lines of λ against the step, a panel for each batch size and a line for each tuner; {sharpness}",
        ),
        Picture(
            "sweep-losses",
            plotting.sweep_trajectories(sweep, "loss"),
            "Full-batch loss along the runs.",
            f"Lines of the loss against the step, a panel for each batch size and a line for each tuner; {loss}",
        ),
        *held_out,
    ]
