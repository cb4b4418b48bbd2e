"""The cells of a validation as rows for JSON, and as a table of text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.judging.cells import COVERAGES, meets_criteria
from eosmodel.judging.quantities import RUN_NUMBERS, THEORY_NUMBERS
from eosmodel.results.formatting import aligned, number
from eosmodel.results.labels import ERRORS

_HEADER = (
    "network",
    "loss",
    "tuner",
    "met",
    "T",
    "k",
    "compared by",
    "ε",
    "error λ",
    "error η",
    "error L",
    "KS",
    "ΔΛ",
    "cover",
)


def rows(validation: xr.Dataset) -> list[dict[str, Any]]:
    """One dictionary per (workload, loss, tuner), ready for JSON: medians over seeds, None where nothing is known.

    `ended` and, by theory, `theory_ended` count the seeds by how they ended; `met` is how many seeds, of `seeds`, meet
    the criteria.

    Args:
        validation: dataset over (workload, loss_function, tuner, seed, theory).
    """
    met = meets_criteria(validation)
    table = []
    for workload in validation.workload.values.tolist():
        for loss in validation.loss_function.values.tolist():
            for tuner in validation.tuner.values.tolist():
                here = {"workload": workload, "loss_function": loss, "tuner": tuner}
                cell = validation.sel(here)
                row: dict[str, Any] = here | {name: _median(cell[name]) for name in RUN_NUMBERS}
                row |= {"chaotic": int(cell.chaotic.sum()), "ended": _ended(cell.status)}
                row |= {"met": int(met.sel(here).sum()), "seeds": cell.sizes["seed"]}
                row["theories"] = {
                    name: {key: _median(cell[key].sel(theory=name)) for key in THEORY_NUMBERS}
                    | {"ended": _ended(cell.theory_status.sel(theory=name))}
                    for name in validation.theory.values.tolist()
                }
                table.append(row)
    return table


def _median(values: xr.DataArray) -> float | None:
    known = values.values[np.isfinite(values.values)]
    return float(np.median(known)) if known.size else None


def _ended(status: xr.DataArray) -> dict[str, int]:
    codes, counts = np.unique(status.values[np.isfinite(status.values)], return_counts=True)
    return {Status(int(code)).label: int(n) for code, n in zip(codes, counts, strict=True)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as aligned text, with the numbers of the first theory."""
    lines: list[tuple[str, ...]] = [_HEADER]
    for row in rows:
        theory = next(iter(row["theories"].values()))
        lines.append(
            (
                row["workload"],
                row["loss_function"],
                row["tuner"],
                f"{row['met']}/{row['seeds']}",
                number(row["judged_steps"], ".0f"),
                number(row["edge_modes"], ".1f"),
                compared_by(row),
                number(theory["left_out"], ".3f"),
                *(number(theory[error], ".3f") for error in ERRORS),
                number(theory["distance"], ".2f"),
                number(theory["exponent_difference"], "+.3f"),
                number(least_coverage(theory), ".2f"),
            )
        )
    return aligned(lines, left=(0, 1, 2, 6))


def least_coverage(theory: dict[str, Any]) -> float | None:
    """The least of the coverages of λ, η and L by the band of a theory; None without a band."""
    return min((theory[name] for name in COVERAGES if theory[name] is not None), default=None)


def compared_by(row: dict[str, Any]) -> str:
    """How the runs of a row are compared: by their steps, by their statistics, or some one way and some the other."""
    return {0: "steps", row["seeds"]: "statistics"}.get(row["chaotic"], f"{row['chaotic']} by statistics")
