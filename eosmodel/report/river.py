"""The page of `eosmodel river`: a network's river, and the tuners that were predicted on it."""

from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from eosmodel import plotting
from eosmodel._status import Status
from eosmodel.report import pages, words
from eosmodel.report.pages import Picture
from eosmodel.results.formatting import number, setting
from eosmodel.studies import rivers
from eosmodel.tuners.registry import REGISTRY as TUNERS


def write_river(
    measured: Mapping[int, xr.Dataset], predictions: xr.Dataset, order: xr.Dataset, out: str | Path
) -> Path:
    """Write pictures and river.html into a folder. Pictures show the first seed, the table all.

    Args:
        measured: rivers by seed.
        predictions: dataset over (tuner, seed, step).
        order: from `studies.rivers.ranking` of them.
        out: the folder.

    Returns:
        The path of river.html.
    """
    out = Path(out)
    table = rivers.rows(order)
    pictures = _pictures(measured, predictions, table)
    for picture in pictures:
        pages.write(out / f"{picture.name}.png", picture.png(dpi=130))
    origin = pages.origin(predictions.attrs)
    page = pages.render(
        "river.html.jinja",
        rows=table,
        tuners=pages.meanings((row["tuner"] for row in table), TUNERS),
        pictures=pictures,
        setting=setting(origin["config"]),
        sentences=_summary(measured, table),
        origin=origin,
        references=pages.references([predictions.expand_dims(theory=["river"])]),
    )
    pages.write(out / "river.html", page)
    return out / "river.html"


def _summary(measured, table) -> list[str]:
    sentences = []
    for seed, dataset in measured.items():
        status = Status(int(dataset.status))
        if status is not Status.OK:
            sentences.append(f"Seed {seed}: gradient flow ended: {status.describe()}.")
            continue
        free, caps = dataset.isel(flow=-1), [number(float(cap)) for cap in dataset.cap[:-1]]
        low, high = (number(float(free.sharpness[i])) for i in (0, -1))
        first, last = (number(float(free.loss[i])) for i in (0, -1))
        again = f" It was measured again with λ held below {words.listed(caps)}." if caps else ""
        sentences.append(
            f"Seed {seed}: gradient flow up to τ = {number(float(free.length))} takes the loss from {first} to "
            f"{last} and λ from {low} to {high}.{again}"
        )
    known = [row["tuner"] for row in table if row["final_center_loss"] == row["final_center_loss"]]
    if known:
        sentences.append(f"Lowest predicted loss: {known[0]}; highest: {known[-1]}.")
    lost = [row["tuner"] for row in table if row["ended"]]
    if lost:
        sentences.append(f"The theory says nothing of the end of {words.listed(lost)}, and does not rank them.")
    return sentences


def _pictures(measured, predictions, table) -> list[Picture]:
    seed, dataset = next(iter(measured.items()))
    if int(dataset.status) != int(Status.OK):
        return []
    shown = predictions.sel(seed=seed)
    losses = "; ".join(f"{row['tuner']} {number(row['final_loss'])}" for row in table)
    return [
        Picture(
            "river",
            plotting.river(dataset, shown),
            f"Gradient flow (grey; thin: λ held below a cap) and the predicted tuners against flow time. Seed {seed}.",
            f"Lines of loss and λ against Ση. Predicted final losses: {losses}.",
        ),
        Picture(
            "predictions",
            plotting.summary(predictions),
            f"The predicted runs: loss, step size, sharpness and their product. Seed {seed}.",
            f"Lines against the step. Predicted final losses: {losses}.",
        ),
        Picture(
            "response",
            plotting.river_response(dataset),
            "What a push of the oscillation answers to along the flow, by the curvature at which it relaxes.",
            "Stacked bands against flow time, one for each curvature.",
        ),
    ]
