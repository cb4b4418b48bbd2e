"""The page of a validation: which criteria the theory meets, and every cell of the matrix."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from eosmodel import plotting
from eosmodel._status import SUCCESS
from eosmodel.judging.cells import lasted
from eosmodel.judging.quantities import STATISTICS
from eosmodel.judging.tables import compared_by, least_coverage
from eosmodel.report import pages, words
from eosmodel.report.pages import Picture
from eosmodel.results.formatting import number
from eosmodel.results.labels import ERRORS
from eosmodel.studies import validation
from eosmodel.studies.validated import TUNERS as MATRIX
from eosmodel.theory import THEORIES
from eosmodel.tuners.registry import REGISTRY as TUNERS


def write_validation(dataset: xr.Dataset, out: str | Path) -> Path:
    """Write pictures, validation.json and validation.html into a folder.

    Args:
        dataset: over (workload, loss_function, tuner, seed, theory), as its plan combines the blocks.
        out: the folder.

    Returns:
        The path of validation.html.
    """
    out = Path(out)
    rows, claims = validation.rows(dataset), validation.judge(dataset)
    origin = pages.origin(dataset.attrs)
    content = {"config": origin["config"], "criteria": [claim.as_dict() for claim in claims], "rows": rows}
    pages.write(out / "validation.json", json.dumps(content, indent=2).encode())
    pictures = _pictures(dataset, rows)
    for picture in pictures:
        pages.write(out / f"{picture.name}.png", picture.png(dpi=130))
    page = pages.render(
        "validation.html.jinja",
        claims=claims,
        theory=str(dataset.theory.values[0]),
        others=dataset.theory.values[1:].tolist(),
        rows=[row | _of_first_theory(row) for row in rows],
        theories=_theories(dataset),
        pictures=pictures,
        meanings=_meanings(dataset),
        summary=_summary(dataset),
        variables=[
            (v.symbol, v.meaning) for v in (*validation.RUN_NUMBERS.values(), *validation.THEORY_NUMBERS.values())
        ],
        errors=ERRORS,
        statistics=list(zip(STATISTICS, (".3f", ".2f", ".3f"), strict=True)),
        origin=origin,
        references=pages.references([dataset]),
    )
    pages.write(out / "validation.html", page)
    return out / "validation.html"


def _of_first_theory(row: dict[str, Any]) -> dict[str, Any]:
    """How the runs of a row are compared, and the numbers of the first theory of them."""
    theory = next(iter(row["theories"].values()))
    return {
        "compared_by": compared_by(row),
        "theory": theory | {"coverage": least_coverage(theory), "early": set(theory["ended"]) - SUCCESS},
    }


def _meanings(dataset: xr.Dataset) -> dict[str, str]:
    """What the tuners, known by their names in the matrix, and the theories are."""
    tuners = {name: MATRIX.get(name, name) for name in map(str, dataset.tuner.values)}
    known = pages.meanings(tuners.values(), TUNERS)
    of = {name: f"{spec}: {known[spec]}" if spec != name else known[spec] for name, spec in tuners.items()}
    return of | pages.meanings(map(str, dataset.theory.values), THEORIES)


def _theories(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Medians of every theory over the predictable runs."""
    table = []
    for name in dataset.theory.values.tolist():
        theory = dataset.sel(theory=name)
        compared = (dataset.chaotic == 0) & (dataset.judged_steps > 1) & theory.sharpness_error.notnull()
        early = ~lasted(theory) & compared
        row: dict[str, Any] = {"name": name, "cells": int(compared.sum()), "early": int(early.sum())}
        for key in (*ERRORS, "reach", "cost"):
            known = theory[key].where(compared).values
            known = known[np.isfinite(known)]
            row[key] = float(np.median(known)) if known.size else None
        table.append(row)
    return table


def _summary(dataset: xr.Dataset) -> str:
    sizes = [
        words.count(dataset.sizes[name], what)
        for name, what in {"workload": "network", "loss_function": "loss", "tuner": "tuner", "seed": "seed"}.items()
    ]
    ran, chaotic = int((dataset.judged_steps > 1).sum()), int((dataset.chaotic > 0).sum())
    edge = int(dataset.first_edge.notnull().sum())
    return (
        f"{' × '.join(sizes)}: {words.count(dataset.status.size, 'run')}, of which {edge} reach the edge of stability "
        f"(ηλ above 1.95) and {chaotic} are chaotic; {ran} last long enough to be judged."
    )


def _pictures(dataset: xr.Dataset, rows) -> list[Picture]:
    theory = str(dataset.theory.values[0])
    known = {
        (row["workload"], row["loss_function"], row["tuner"]): row["theories"][theory]["sharpness_error"]
        for row in rows
    }
    known = {key: value for key, value in known.items() if value is not None}
    extremes = ""
    if known:
        low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        extremes = f" From {number(known[low])} ({', '.join(low)}) to {number(known[high])} ({', '.join(high)}) in λ."
    pictures = [
        Picture(
            "validation-errors",
            plotting.validation_map(dataset),
            f"Errors of “{theory}”, medians over seeds. ○: a run is chaotic; †: the theory ended early.",
            f"Heat maps of the errors of λ, η and L, network and loss by tuner.{extremes}",
        )
    ]
    for workload in dataset.workload.values.tolist():
        for loss in dataset.loss_function.values.tolist():
            errors = "; ".join(
                f"{tuner} {number(value)}" for (w, f, tuner), value in known.items() if (w, f) == (workload, loss)
            )
            pictures.append(
                Picture(
                    f"validation-{workload}-{loss}",
                    plotting.validation_trajectories(dataset.sel(workload=workload, loss_function=loss)),
                    f"{workload}, {loss}: the first seed, and every theory from the same start. ○: the run is chaotic.",
                    f"Lines of λ, η and L against the step, a column for each tuner. Errors of λ, {theory}: {errors}.",
                )
            )
    return pictures
