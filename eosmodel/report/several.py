"""The page that compares the scoreboards of several folders."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from eosmodel import plotting
from eosmodel._status import SUCCESS
from eosmodel.judging import claims
from eosmodel.judging.scoreboard import Comparison, compare
from eosmodel.judging.verdicts import Claim
from eosmodel.report import pages, words
from eosmodel.report.pages import Picture
from eosmodel.results.formatting import number, setting
from eosmodel.results.labels import ERRORS
from eosmodel.results.measures import WINDOW, edge_of
from eosmodel.results.names import VARIABLES
from eosmodel.theory import THEORIES
from eosmodel.tuners.registry import REGISTRY as TUNERS

FINAL = {
    "final_loss": "final loss",
    "final_sharpness": "final λ",
    "median_edge_product": "median ηλ",
    "edge_exponent": "Λ",
}
_FORMATS = {"median_edge_product": ".2f", "edge_exponent": "+.3f"}

# Losses can be compared only where these options agree.
_OF_THE_LOSS = ("objective", "data", "samples", "subset_seed", "classes", "loss", "weight_decay")

_GENERATOR = "eosmodel comparison"


@dataclass(frozen=True)
class _Folder:
    """One folder's name and what is in it."""

    name: str
    comparison: Comparison
    origin: Mapping[str, Any]

    @property
    def config(self) -> Mapping[str, Any]:
        return self.origin["config"]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.comparison.rows()


def write_comparison(runs: Mapping[str, tuple[xr.Dataset, xr.Dataset | None]], out: str | Path) -> Path:
    """Write one page that compares several folders: the options that differ, final values and errors by tuner.

    Numbers are medians over seeds, final values over the seeds that finished.

    Args:
        runs: experiment and theory (or None), as for `write_report`, by the name of the folder.
        out: file of the page; an earlier comparison there is replaced.

    Returns:
        The path of the page.

    Raises:
        FileExistsError: `out` is a file that is no comparison.
        ValueError: fewer than two folders.
    """
    out = Path(out)
    if len(runs) < 2:
        raise ValueError(f"write_comparison: runs must be two folders or more, got {len(runs)}")
    if out.exists() and not _is_comparison(out):
        raise FileExistsError(f"{out} is not a comparison written by eosmodel; name another file")
    folders = [
        _Folder(name, compare(experiment, theory), pages.origin(experiment.attrs))
        for name, (experiment, theory) in runs.items()
    ]
    differing, shared = _options(folders)
    judged = _claims(folders)
    tuners = _ordered(row["tuner"] for folder in folders for row in folder.rows)
    page = pages.render(
        "comparison.html.jinja",
        generator=_GENERATOR,
        folders=[folder.name for folder in folders],
        origins={folder.name: folder.origin for folder in folders},
        settings={folder.name: text for folder in folders if (text := _setting(folder))},
        sentences=_summary(folders, differing, judged),
        differing=differing,
        shared=shared,
        environments=_environments(folders),
        measures=FINAL,
        finals={tuner: [[_final(folder, tuner, key) for folder in folders] for key in FINAL] for tuner in tuners},
        errors={error: VARIABLES[name].symbol for error, name in ERRORS.items()},
        theories=_theories(folders),
        meanings=pages.meanings(tuners, TUNERS) | pages.meanings(_named_theories(folders), THEORIES),
        claims=judged,
        pictures=[_picture(tuner, folders) for tuner in tuners if len(_having(tuner, folders)) > 1],
        window=WINDOW,
        references=pages.references(d for f in folders for d in (f.comparison.experiment, f.comparison.theory)),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    pages.write(out, page)
    return out


def _is_comparison(path: Path) -> bool:
    """Whether the page names this generator in its head."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(2000)
    return re.search(rb'name="generator" content="' + _GENERATOR.encode(), head) is not None


def _ordered(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))


def _setting(folder: _Folder) -> str:
    """The objective of a folder in a few words, and how many weights it has."""
    weights = re.search(r"\d+ weights", folder.comparison.experiment.attrs.get("objective", ""))
    return ", ".join(filter(None, (setting(folder.config), weights and weights.group())))


def _options(folders: list[_Folder]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Options that differ, with their values by folder, and options that do not."""
    table = {
        name: [pages.words(folder.config[name]) if name in folder.config else "–" for folder in folders]
        for name in _ordered(name for folder in folders for name in folder.config)
    }
    differing = {name: values for name, values in table.items() if len({*values}) > 1}
    return differing, {name: values[0] for name, values in table.items() if name not in differing}


def _environments(folders: list[_Folder]) -> dict[str, list[str]]:
    """Device, versions and times by folder."""
    made = [{**folder.origin["times"], **folder.origin["environment"]} for folder in folders]
    return {name: [of.get(name) or "–" for of in made] for name in _ordered(name for of in made for name in of)}


def _final(folder: _Folder, tuner: str, key: str) -> str:
    """Median over the seeds that finished; how the first one ended if none did."""
    rows = [row for row in folder.rows if row["tuner"] == tuner]
    if not rows:
        return ""
    done = words.finished(rows)
    if not done:
        return rows[0]["status"]
    return number(words.medians(done, key).get(tuner), _FORMATS.get(key, ".3g")) + "*" * (len(done) < len(rows))


def _named_theories(folders: list[_Folder]) -> list[str]:
    return _ordered(name for folder in folders for name in words.theories_of(folder.rows))


def _theories(folders: list[_Folder]) -> list[tuple[str, str, list[list[tuple[float | None, str]]]]]:
    """Theory, tuner, and by error and folder the median over seeds, with an asterisk where the run or the theory ended
    early for one of them."""
    known = {error: [words.error_medians(folder.rows, error) for folder in folders] for error in ERRORS}
    keys = _ordered((theory, row["tuner"]) for folder in folders for row in folder.rows for theory in row["theories"])
    order = _ordered(theory for theory, _ in keys)
    ended = [
        {
            (theory, row["tuner"])
            for row in folder.rows
            for theory, entry in row["theories"].items()
            if not {row["status"], entry["status"]} <= SUCCESS
        }
        for folder in folders
    ]
    return [
        (
            *key,
            [[(of.get(key), "*" * (key in early)) for of, early in zip(known[e], ended, strict=True)] for e in ERRORS],
        )
        for key in sorted(keys, key=lambda key: order.index(key[0]))
    ]


def _claims(folders: list[_Folder]) -> list[tuple[Claim, list[str]]]:
    """Every claim, and its verdict by folder."""
    judged = [claims.evaluate(folder.comparison.experiment, folder.comparison.theory) for folder in folders]
    return [(same[0], [claim.verdict for claim in same]) for same in zip(*judged, strict=True)]


def _summary(
    folders: list[_Folder], differing: Mapping[str, list[str]], judged: list[tuple[Claim, list[str]]]
) -> list[str]:
    """What differs between the folders, and the best tuner of each where losses can be compared."""
    changed = [name for name, values in differing.items() if len({*values} - {"–"}) > 1]
    partial = [name for name in differing if name not in changed]
    sentences = [
        f"{len(folders)} folders are compared; "
        + (f"they differ in {', '.join(changed)}." if changed else "their options do not contradict each other.")
        + (f" Only some of them have {', '.join(partial)}." if partial else "")
    ]
    shared = set.intersection(*({row["tuner"] for row in folder.rows} for folder in folders))
    sentences.append(f"Tuners in all of them: {words.listed(sorted(shared)) or 'none'}.")
    for folder in folders:
        sentences += [f"In {folder.name}: {sentence}" for sentence in words.stopped(folder.rows)]
    loss = [words.medians(words.finished(folder.rows), "final_loss") for folder in folders]
    lowest = [
        f"{number(min(of.values()))} with {min(of, key=of.__getitem__)} in {folder.name}"
        for folder, of in zip(folders, loss, strict=True)
        if of
    ]
    sentences += [f"Lowest final loss: {'; '.join(lowest)}."] if lowest else []
    others = [name for name in _OF_THE_LOSS if name in differing]
    if others:
        sentences.append(f"Final losses cannot be ranked across folders that differ in {', '.join(others)}.")
    for theory in _named_theories(folders):
        parts = []
        for folder in folders:
            known = [
                v for (name, _), v in words.error_medians(folder.rows, "sharpness_error").items() if name == theory
            ]
            parts += [f"{number(np.median(known), '.2g')} in {folder.name}"] if known else []
        sentences += [f"Median error in λ of the theory “{theory}” over tuners: {', '.join(parts)}."] if parts else []
    moved = [claim.id for claim, verdicts in judged if len({*verdicts}) > 1]
    sentences.append(f"Claims judged differently: {', '.join(moved) or 'none'}.")
    return sentences


def _having(tuner: str, folders: list[_Folder]) -> list[_Folder]:
    return [folder for folder in folders if tuner in folder.comparison.experiment.tuner.values]


def _picture(tuner: str, folders: list[_Folder]) -> Picture:
    """Runs of one tuner in every folder that has it, a line for each folder."""
    parts, rows = [], []
    for folder in _having(tuner, folders):
        run = folder.comparison.experiment.sel(tuner=tuner).isel(seed=0)
        run = run[["loss", "stepsize", "sharpness", "status", "steps"]].assign(edge=edge_of(run))
        parts.append(run.drop_vars(["tuner", "seed"]).assign_coords(tuner=folder.name).expand_dims("tuner"))
        first = next(row for row in folder.rows if row["tuner"] == tuner)
        rows.append({**first, "tuner": folder.name, "seed": 0})
    joined = xr.concat(parts, "tuner", join="outer", combine_attrs="drop")
    joined.attrs["objective"] = f"under {tuner}"  # the title
    return Picture(
        f"tuner-{tuner}",
        plotting.summary(joined),
        f"{tuner}: loss, step size, sharpness and their product, as moving averages over {WINDOW} steps, in every "
        f"folder that has it (first seed). Dashed: ηλ = 2.{words.left(rows)}",
        f"Under {tuner}. {words.shows_runs(rows)}",
    )
