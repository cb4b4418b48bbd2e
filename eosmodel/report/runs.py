"""The report of a folder of runs: figures, `scoreboard.json`, and one HTML page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from eosmodel import plotting
from eosmodel._status import SUCCESS, Status
from eosmodel.judging import claims
from eosmodel.judging.scoreboard import compare, scoreboard
from eosmodel.judging.verdicts import Claim, Verdict
from eosmodel.report import pages, words
from eosmodel.report.pages import Picture
from eosmodel.results.formatting import number, setting
from eosmodel.results.labels import ERRORS
from eosmodel.results.measures import WINDOW
from eosmodel.results.names import VARIABLES
from eosmodel.theory import THEORIES
from eosmodel.tuners.registry import REGISTRY as TUNERS

# Named in the claims.
_CLAIMED = ("constant", "armijo", "polyak", "greedy", "cdat", "on-edge")
_MARKS = {Verdict.SUPPORTED: "✓", Verdict.PARTLY: "◐", Verdict.NOT_SUPPORTED: "✗"}
# Numbers of the evidence that the scoreboard has for every run.
_ON_SCOREBOARD = ("median ηλ", "Λ")


def write_report(
    experiment: xr.Dataset, theory: xr.Dataset | None, out: str | Path, trunk: xr.Dataset | None = None
) -> Path:
    """Write summary.png, trajectories.png, held_out.png, errors.png, scoreboard.json and report.html into a folder.

    Every file is written whole or not at all. Pictures show the first seed, tables all seeds. held_out.png is written
    if samples are held out, and errors.png if there are errors to show; on the page it stands where there are several
    seeds, for it shows medians.

    Args:
        experiment: dataset over (tuner, seed, step), or one run.
        theory: dataset over (theory, tuner, seed, step), or None.
        out: folder; made if it does not exist.
        trunk: the runs over (seed, step) that these branched off, at the step `forked_at` of its attributes; drawn as
            fork.png.

    Returns:
        The path of report.html.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    comparison = compare(experiment, theory)
    experiment, theory, rows = comparison.experiment, comparison.theory, comparison.rows()
    pictures = _pictures(experiment, theory, rows)
    if trunk is not None:
        pictures.insert(0, _fork(experiment, trunk))
    for picture in pictures:
        pages.write(out / f"{picture.name}.png", picture.png())
    origin = pages.origin(experiment.attrs)
    text = json.dumps(scoreboard(origin["config"], rows), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    pages.write(out / "scoreboard.json", text.encode())
    judged = claims.evaluate(experiment, theory)
    ended = _statuses(rows)
    ran = {row["tuner"].partition(":")[0] for row in rows}
    page = pages.render(
        "report.html.jinja",
        rows=rows,
        theories=words.theories_of(rows),
        tuners=pages.meanings((row["tuner"] for row in rows), TUNERS),
        meanings=pages.meanings(words.theories_of(rows), THEORIES),
        errors={error: VARIABLES[name].symbol for error, name in ERRORS.items()},
        claims=[(claim, _evidence(claim)) for claim in judged],
        others=pages.meanings((name for name in _CLAIMED if name not in ran), TUNERS),
        # Of one seed the table of errors is this picture already.
        pictures=[one for one in pictures if one.name != "errors" or experiment.sizes["seed"] > 1],
        setting=setting(origin["config"]),
        sentences=words.summary(rows, judged),
        success=SUCCESS,
        statuses=[status for status in Status if status.label in ended],
        left_out=VARIABLES["left_out"].meaning if theory is not None and "left_out" in theory else None,
        origin=origin,
        definition=_definition(experiment),
        variables=[
            (v.symbol, v.meaning) for name, v in VARIABLES.items() if name in {*experiment.data_vars} - {"sharpness"}
        ],
        window=WINDOW,
        references=pages.references([experiment, theory]),
    )
    pages.write(out / "report.html", page)
    return out / "report.html"


def _fork(experiment: xr.Dataset, trunk: xr.Dataset) -> Picture:
    at, own = trunk.attrs["forked_at"], trunk.tuner.item()
    return Picture(
        "fork",
        plotting.fork(experiment, trunk),
        f"Branches off the run under {own} at its step {at}, the dotted line. Moving averages over "
        f"{WINDOW} steps. Seed {experiment.seed.values[0]}.",
        f"Lines of loss, step size, sharpness and ηλ against the step: the run under {own}, and from step {at} on the "
        f"branches under {words.listed(map(str, experiment.tuner.values))}.",
    )


def _pictures(experiment: xr.Dataset, theory: xr.Dataset | None, rows: Sequence[Mapping[str, Any]]) -> list[Picture]:
    shown = f" Seed {experiment.seed.values[0]}." if experiment.sizes["seed"] > 1 else ""
    pictures = [
        Picture(
            "summary",
            plotting.summary(experiment),
            f"All tuners: loss, step size, sharpness and their product, as moving averages over {WINDOW} steps. "
            f"Dotted: 2/η of a constant step. Dashed: ηλ = 2.{words.left(rows)}{shown}",
            words.shows_runs(rows),
        ),
        Picture(
            "trajectories",
            plotting.trajectories(experiment, theory),
            "Experiment and theories, one column per tuner. Thin light lines: every recorded row. A cross: a run or a "
            f"theory ended early. ηλ is drawn on a logarithmic scale above 4.{shown}",
            words.shows_theories(rows),
        ),
    ]
    if "test_loss" in experiment:
        caption = f"Thin: training samples. Thick: held-out samples.{shown}"
        pictures.append(Picture("held_out", plotting.held_out(experiment), caption, words.shows_held_out(rows)))
    if any(words.error_medians(rows, error) for error in ERRORS):
        caption = (
            "Errors of the theories, medians over seeds. A dagger: the theory ended early for some seed, and is "
            "compared up to there. Grey: no error is known."
        )
        pictures.append(Picture("errors", plotting.errors(rows), caption, words.shows_errors(rows)))
    return pictures


def _evidence(claim: Claim) -> list[dict[str, Any]]:
    """Tuner by tuner, whether it meets the criterion of a claim, and by which numbers."""
    return [
        {
            "tuner": part.tuner,
            "verdict": part.verdict,
            "mark": _MARKS.get(part.verdict, "–"),
            "numbers": [f"{name} {number(value)}" for name, value in part.numbers.items() if name not in _ON_SCOREBOARD]
            + [f"{part.met} of {part.seeds} seeds"] * (part.seeds > 1),
        }
        for part in claim.evidence
    ]


def _statuses(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    return {row["status"] for row in rows} | {entry["status"] for row in rows for entry in row["theories"].values()}


def _definition(experiment: xr.Dataset) -> str:
    """How the sharpness of the runs was computed: as the dataset says, else the meaning of the variable."""
    attrs = experiment["sharpness"].attrs
    return str(attrs.get("definition", attrs.get("long_name", VARIABLES["sharpness"].meaning)))
