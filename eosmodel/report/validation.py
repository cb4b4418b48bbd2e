"""The page of a validation: which criteria the theory meets, and every cell of the matrix."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from eosmodel import plotting
from eosmodel.judging.criteria import COVERAGES, ERRORS, known_by
from eosmodel.judging.quantities import STATISTICS
from eosmodel.report import pages, words
from eosmodel.report.pages import Picture, number
from eosmodel.studies import validation


def write_validation(found: xr.Dataset, out: str | Path) -> Path:
    """Write pictures, validation.json and validation.html into a folder.

    Args:
        found: dataset over (workload, loss_function, tuner, seed), as `validation.Plan.combine` makes it.
        out: the folder.

    Returns:
        The path of validation.html.
    """
    out = Path(out)
    rows, judged = validation.rows(found), validation.judge(found)
    origin = pages.origin(found.attrs)
    content = {"config": origin["config"], "criteria": [vars(claim) for claim in judged], "rows": rows}
    pages.write(out / "validation.json", json.dumps(content, indent=2).encode())
    pictures = _pictures(found, rows)
    for picture in pictures:
        pages.write(out / f"{picture.name}.png", picture.png(dpi=130))
    page = pages.render(
        "validation.html.jinja",
        claims=judged,
        theory=str(found.theory.values[0]),
        others=found.theory.values[1:].tolist(),
        rows=[row | {"known": known_by(row), "said": _said(row)} for row in rows],
        theories=_theories(found),
        pictures=pictures,
        sentences=_summary(found, judged),
        variables=[
            (v.symbol, v.meaning) for v in (*validation.RUN_NUMBERS.values(), *validation.THEORY_NUMBERS.values())
        ],
        errors=ERRORS,
        statistics=list(zip(STATISTICS, (".3f", ".2f", ".3f"), strict=True)),
        origin=origin,
        references=pages.references([found]),
    )
    pages.write(out / "validation.html", page)
    return out / "validation.html"


def _said(row: dict[str, Any]) -> dict[str, Any]:
    """What the first theory says of a row, with the least of its coverages."""
    said = next(iter(row["theories"].values()))
    covers = [said[share] for share in COVERAGES if said[share] is not None]
    return said | {"cover": min(covers) if covers else None, "early": set(said["ended"]) - {"ok"}}


def _theories(found: xr.Dataset) -> list[dict[str, Any]]:
    """Medians of every theory over the predictable runs."""
    table = []
    for name in found.theory.values.tolist():
        said = found.sel(theory=name)
        asked = (found.chaotic == 0) & (found.judged_steps > 1) & said.sharpness_error.notnull()
        late = (said.theory_steps < found.judged_steps) & asked
        row: dict[str, Any] = {"name": name, "cells": int(asked.sum()), "early": int(late.sum())}
        for key in (*ERRORS, "reach", "cost"):
            known = said[key].where(asked).values
            known = known[np.isfinite(known)]
            row[key] = float(np.median(known)) if known.size else None
        table.append(row)
    return table


def _summary(found: xr.Dataset, judged) -> list[str]:
    sizes = [
        words.count(found.sizes[name], what)
        for name, what in {"workload": "network", "loss_function": "loss", "tuner": "tuner", "seed": "seed"}.items()
    ]
    ran, chaotic = int((found.judged_steps > 1).sum()), int((found.chaotic > 0).sum())
    edge = int(found.first_edge.notnull().sum())
    return [
        f"{' × '.join(sizes)}: {words.count(found.status.size, 'run')}, of which {edge} come to the edge of stability "
        f"(ηλ above 1.95) and {chaotic} are chaotic; {ran} last long enough to be judged.",
        *(f"{claim.text}: {claim.verdict}, {claim.evidence}." for claim in judged),
    ]


def _pictures(found: xr.Dataset, rows) -> list[Picture]:
    theory = str(found.theory.values[0])
    known = {
        (row["workload"], row["loss_function"], row["tuner"]): row["theories"][theory]["sharpness_error"]
        for row in rows
    }
    known = {key: value for key, value in known.items() if value is not None}
    said = ""
    if known:
        low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        said = f" From {number(known[low])} ({', '.join(low)}) to {number(known[high])} ({', '.join(high)}) in λ."
    pictures = [
        Picture(
            "validation-errors",
            plotting.validation_map(found),
            f"Errors of “{theory}”, medians over seeds. ○: a run is chaotic; †: the theory ended early.",
            f"Heat maps of the errors of λ, η and L, network and loss by tuner.{said}",
        )
    ]
    for workload in found.workload.values.tolist():
        for loss in found.loss_function.values.tolist():
            errors = "; ".join(
                f"{tuner} {number(value)}" for (w, f, tuner), value in known.items() if (w, f) == (workload, loss)
            )
            pictures.append(
                Picture(
                    f"validation-{workload}-{loss}",
                    plotting.validation_trajectories(found.sel(workload=workload, loss_function=loss)),
                    f"{workload}, {loss}: the first seed, and every theory from the same start. ○: the run is chaotic.",
                    f"Lines of λ, η and L against the step, a column for each tuner. Errors of λ, {theory}: {errors}.",
                )
            )
    return pictures
