"""The criteria that the first theory of a validation should meet, and the cells of the validation as a table.

A cell is a run of one tuner, network, loss and seed. Each run is repeated from weights perturbed by a relative 1e-4. If
the two agree to 0.05 in the errors of λ, η and L, the run is *predictable*, and the theory must agree with it as well,
step by step; otherwise the run is *chaotic*, and the theory must agree with its statistics over the last half. A theory
that ended early does not meet the criteria of a cell.
"""

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import binomtest, spearmanr

from eosmodel._status import Status
from eosmodel.judging.claims import Claim, Verdict
from eosmodel.judging.quantities import LOST, NEAR, RUN_NUMBERS, STATISTICS, THEORY_NUMBERS
from eosmodel.judging.scoreboard import aligned
from eosmodel.theory import of_labels

SHARE = 0.9
"""Share of the cells that should meet a criterion."""
MEAN, DISTANCE, EXPONENT, COVERAGE = 0.1, 0.1, 0.05, 0.8
COST = 1.5
BEGINNING = 20
"""Steps in which a tuner jumps to the edge, before anything oscillates about a valley."""
ERRORS = ("sharpness_error", "stepsize_error", "loss_error")
COVERAGES = ("sharpness_coverage", "stepsize_coverage", "loss_coverage")

_KEY = ("workload", "loss_function", "tuner")


def judge(found: xr.Dataset) -> tuple[Claim, ...]:
    """The criteria, as claims about the first theory, with the numbers behind each.

    Args:
        found: dataset over (workload, loss_function, tuner, seed), from `Plan.combine`.
    """
    cells = found.stack(cell=(*_KEY, "seed"))
    name = str(found.theory.values[0])
    said = cells.sel(theory=name)
    # A run that blew up before it could be judged is no prediction that failed.
    ran = (cells.judged_steps > 1).values
    kept = _lasted(said).values
    chaotic = (cells.chaotic == 1).values
    copy = _statistics_of(cells, "copy")
    as_near = {key: met.values for key, (_, _, met) in _laws(copy).items()}
    claims = []
    for key, bar in _bars(said).items():
        asked = ran & (~chaotic if key == "steps" else chaotic & (key != "band" or _has_bands(said)))
        claims.append(_bar(key, name, bar, asked, kept, as_near.get(key)))
    claims.append(_as_a_run(name, _statistics_of(said, "single"), copy, ran & chaotic, kept))
    claims.append(_cost(name, said.cost.values[ran & kept]))
    claims.append(_warned(name, said, ran & kept & ~chaotic))
    claims.append(_begun(name, said, ~chaotic & (cells.judged_steps >= BEGINNING).values))
    baselines = _baselines(found)
    claims += [_ahead(name, other, cells, ran & kept & ~chaotic) for other in baselines]
    others = [other for other in found.theory.values[1:].tolist() if other not in baselines]
    claims += [_beside(name, other, cells, ran & ~chaotic) for other in others]
    return tuple(claims)


def _bars(said: xr.Dataset) -> dict[str, tuple[str, xr.DataArray, xr.DataArray]]:
    """What is asked of the first theory in words, its numbers, and where they are good enough: "steps" of runs known
    step by step, the others of chaotic ones."""
    covered = said[list(COVERAGES)].to_array().min("variable", skipna=False)
    return {
        "steps": (f"|Δ ln λ|, |Δ ln η|, |Δ ln L| ≤ {NEAR:g} each", _worst(said), _near(said)),
        **_laws(said),
        "band": (f"90 % band covers ≥ {COVERAGE:.0%} of λ, η and L", covered, covered >= COVERAGE),
    }


def _laws(said: xr.Dataset) -> dict[str, tuple[str, xr.DataArray, xr.DataArray]]:
    """The criteria on statistics, of a theory or of a perturbed copy of the run."""
    mean, distance, exponent = (abs(said[key]) for key in STATISTICS)
    return {
        "mean": ("mean λ within 10 %", mean, mean <= np.log1p(MEAN)),
        "law": (f"KS distance of s ≤ {DISTANCE:g}", distance, distance <= DISTANCE),
        "exponent": (f"edge exponent within {EXPONENT:g}", exponent, exponent <= EXPONENT),
    }


def _has_bands(said: xr.Dataset) -> bool:
    """Whether there are ensembles at all; a band that is missing where others have one is not met."""
    return bool(said[COVERAGES[0]].notnull().any())


def _statistics_of(cells: xr.Dataset, whose: str) -> xr.Dataset:
    return cells[[f"{whose}_{key}" for key in STATISTICS]].rename({f"{whose}_{key}": key for key in STATISTICS})


def _worst(said: xr.Dataset) -> xr.DataArray:
    """The largest of the three errors; NaN where one is not known."""
    return said[list(ERRORS)].to_array().max("variable", skipna=False)


def _near(said: xr.Dataset) -> xr.DataArray:
    """Whether all three errors are those of a prediction step by step."""
    return _worst(said) <= NEAR


def _lasted(said: xr.Dataset) -> xr.DataArray:
    """Whether a theory was there to the end of what is judged."""
    return said.theory_steps >= said.judged_steps


def _bar(key, theory, bar, asked, kept, as_near) -> Claim:
    text, values, meets = bar[0], bar[1].values, bar[2].values
    kind = "predictable runs" if key == "steps" else "chaotic runs"
    criterion = f"at least {SHARE:.0%} of the cells; a theory that ended early misses"
    count = int(asked.sum())
    if not count:
        return Claim(key, f"{theory}: {text} ({kind})", "not tested", "no such cell", criterion)
    met = int((asked & meets & kept).sum())
    verdict: Verdict = "supported" if met >= SHARE * count else "partly" if met else "not supported"
    known = values[asked & np.isfinite(values)]
    middle = f"median {np.median(known):.3g}" if known.size else "none known"
    early = int((asked & ~kept).sum())
    evidence = f"{met} of {count} cells ({met / count:.0%}), {middle}, theory ended early in {early}"
    if as_near is not None:
        evidence += f"; the run's perturbed copy is as near in {int((asked & as_near).sum())}"
    return Claim(key, f"{theory}: {text} ({kind})", verdict, evidence, criterion)


def _as_a_run(theory: str, said: xr.Dataset, copy: xr.Dataset, asked: np.ndarray, kept: np.ndarray) -> Claim:
    """Whether a prediction is as near to a chaotic run as the run's perturbed copy; nearer none can be asked to be."""
    text = f"{theory}: one prediction is as near to a chaotic run as one more run of the network"
    criterion = (
        "a sign test at 5 % does not find the run's perturbed copy nearer more often, for mean λ, law of s and edge "
        "exponent"
    )
    if asked.sum() < 6:  # the sign test of five has p = 2/2⁵ at least
        return Claim("as-a-run", text, "not tested", "fewer than six such runs", criterion)
    worse, parts = 0, []
    for symbol, key in zip(("mean λ", "KS", "Λ"), STATISTICS, strict=True):
        # What is not known, or of a theory that has ended, is not near.
        mine, its = (np.nan_to_num(abs(one[key].values), nan=np.inf) for one in (said, copy))
        mine = np.where(kept, mine, np.inf)
        nearer, further = int((asked & (mine < its)).sum()), int((asked & (mine > its)).sum())
        chance = _sign_test(nearer, further)
        worse += nearer < further and chance < 0.05
        parts.append(f"{symbol} nearer in {nearer} of {nearer + further} (p = {chance:.1g})")
    verdict: Verdict = ("supported", "partly", "partly", "not supported")[worse]
    return Claim("as-a-run", text, verdict, ", ".join(parts), criterion)


def _sign_test(more: int, less: int) -> float:
    """The chance that a fair coin falls as unevenly; 1 where it is not thrown."""
    return float(binomtest(more, more + less).pvalue) if more + less else 1.0


def _cost(theory: str, ratios: np.ndarray) -> Claim:
    known = ratios[np.isfinite(ratios)]
    text, criterion = f"{theory}: a step costs at most {COST:g} tracked training steps", "median over cells"
    if not known.size:
        return Claim("cost", text, "not tested", "no such cell", criterion)
    low, middle, high = np.quantile(known, (0.1, 0.5, 0.9))
    verdict: Verdict = "supported" if middle <= COST else "not supported"
    return Claim("cost", text, verdict, f"{middle:.2f}, 80 % of the cells from {low:.2f} to {high:.2f}", criterion)


def _warned(theory: str, said: xr.Dataset, asked: np.ndarray) -> Claim:
    """Whether the theory's own share of what it leaves out tells where it is off."""
    text = f"{theory}: where it leaves out more of the gradient it is further off (predictable runs)"
    criterion = "rank correlation of ε with the largest of the three errors, positive with p < 0.01"
    worst = _worst(said).values
    known = asked & np.isfinite(worst) & np.isfinite(said.left_out.values)
    share, error = said.left_out.values[known], worst[known]
    if known.sum() < 3 or min(np.ptp(share), np.ptp(error)) == 0:
        return Claim("warned", text, "not tested", "fewer than three such runs, or all alike", criterion)
    found = spearmanr(share, error, alternative="greater")
    verdict: Verdict = "supported" if found.pvalue < 0.01 else "not supported"
    evidence = f"{found.statistic:.2f} over {int(known.sum())} runs, p = {found.pvalue:.1g}"
    return Claim("warned", text, verdict, evidence, criterion)


def _begun(theory: str, said: xr.Dataset, asked: np.ndarray) -> Claim:
    """Whether a theory that is off went off at the beginning."""
    text = f"{theory}: where it is off, it goes off in the first {BEGINNING} steps (predictable runs)"
    criterion = (
        f"|Δ ln λ| > {LOST:g} by then in more than half of the runs with an error above {NEAR:g}, and in a smaller "
        "share of the others"
    )
    met, early = _near(said).values, (said.reach < BEGINNING).values
    missed, others = early[asked & ~met], early[asked & met]
    if not missed.size:
        return Claim("begun", text, "not tested", "no such run", criterion)
    share = missed.mean()
    verdict: Verdict = "supported" if share > 0.5 and (not others.size or others.mean() < share) else "not supported"
    evidence = f"in {missed.sum()} of {missed.size}, and in {others.sum()} of {others.size} others"
    return Claim("begun", text, verdict, evidence, criterion)


def _baselines(found: xr.Dataset) -> list[str]:
    baselines = {label for label, theory in of_labels(found.theory.values.tolist()).items() if theory.baseline}
    return [name for name in found.theory.values[1:].tolist() if name in baselines]


def _ahead(theory: str, other: str, cells: xr.Dataset, asked: np.ndarray) -> Claim:
    """By what factor the error of λ is smaller than another theory's."""
    mine, its = (cells.sharpness_error.sel(theory=name).values[asked] for name in (theory, other))
    known = np.isfinite(mine) & np.isfinite(its) & (mine > 0)
    text = f"{theory} is nearer to λ than {other} (predictable runs)"
    criterion = f"smaller error in at least {SHARE:.0%} of the cells that both have"
    if not known.any():
        return Claim(f"ahead-{other}", text, "not tested", "no such cell", criterion)
    factor = its[known] / mine[known]
    ahead = float((factor > 1).mean())
    verdict: Verdict = "supported" if ahead >= SHARE else "partly" if ahead > 0 else "not supported"
    low, middle, high = np.quantile(factor, (0.1, 0.5, 0.9))
    evidence = f"in {ahead:.0%} of {int(known.sum())} cells; factor {middle:.3g}, 80 % from {low:.2g} to {high:.3g}"
    return Claim(f"ahead-{other}", text, verdict, evidence, criterion)


def _beside(theory: str, other: str, cells: xr.Dataset, asked: np.ndarray) -> Claim:
    """Whether another theory meets the criterion of predictable runs where the first does not, or the other way."""
    both = [cells.sel(theory=name) for name in (theory, other)]
    asked = asked & (both[1].theory_status != int(Status.NOT_RUN)).values
    worst = [_worst(said).values[asked] for said in both]
    text = f"{other} meets the criterion in more of the predictable runs than {theory}"
    criterion = f"errors of λ, η and L ≤ {NEAR:g}; supported if a sign test of gained against lost has p < 0.05"
    if not asked.any():
        return Claim(f"beside-{other}", text, "not tested", "no such run", criterion)
    mine, its = ((_near(said) & _lasted(said)).values[asked] for said in both)
    gained, lost = int((its & ~mine).sum()), int((mine & ~its).sum())
    chance = _sign_test(gained, lost)
    verdict: Verdict = "not supported" if gained <= lost else "supported" if chance < 0.05 else "partly"
    # An error that is not known is none that is small.
    middles = " against ".join(f"{np.median(np.nan_to_num(errors, nan=np.inf)):.3g}" for errors in reversed(worst))
    evidence = (
        f"{its.sum()} against {mine.sum()} of {its.size}, {gained} gained and {lost} lost (p = {chance:.1g}), "
        f"largest error {middles} in the median"
    )
    return Claim(f"beside-{other}", text, verdict, evidence, criterion)


def rows(found: xr.Dataset) -> list[dict[str, Any]]:
    """One dictionary per (workload, loss, tuner), ready for JSON: medians over seeds, None where nothing is known.

    `ended` and, by theory, `theory_ended` count the seeds by how they ended; `met` is how many seeds, of `seeds`, meet
    the criteria.
    """
    met = _met(found)
    table = []
    for workload in found.workload.values.tolist():
        for loss in found.loss_function.values.tolist():
            for tuner in found.tuner.values.tolist():
                here = {"workload": workload, "loss_function": loss, "tuner": tuner}
                cell = found.sel(here)
                row: dict[str, Any] = here | {name: _median(cell[name]) for name in RUN_NUMBERS}
                row |= {"chaotic": int(cell.chaotic.sum()), "ended": _ended(cell.status)}
                row |= {"met": int(met.sel(here).sum()), "seeds": cell.sizes["seed"]}
                row["theories"] = {
                    name: {key: _median(cell[key].sel(theory=name)) for key in THEORY_NUMBERS}
                    | {"ended": _ended(cell.theory_status.sel(theory=name))}
                    for name in found.theory.values.tolist()
                }
                table.append(row)
    return table


def _met(found: xr.Dataset) -> xr.DataArray:
    """Whether the first theory meets all criteria of a cell."""
    said = found.isel(theory=0, drop=True)
    met = {key: good for key, (_, _, good) in _bars(said).items()}
    by_step = met.pop("steps")
    if not _has_bands(said):
        del met["band"]
    by_law = reduce(and_, met.values())
    return xr.where(found.chaotic == 1, by_law, by_step) & _lasted(said)


def _median(values: xr.DataArray) -> float | None:
    known = values.values[np.isfinite(values.values)]
    return float(np.median(known)) if known.size else None


def _ended(status: xr.DataArray) -> dict[str, int]:
    codes, counts = np.unique(status.values[np.isfinite(status.values)], return_counts=True)
    return {Status(int(code)).label: int(n) for code, n in zip(codes, counts, strict=True)}


_HEADER = (
    "network",
    "loss",
    "tuner",
    "met",
    "T",
    "k",
    "known by",
    "ε",
    "error λ",
    "error η",
    "error L",
    "KS",
    "ΔΛ",
    "cover",
)


def table(found: Sequence[dict[str, Any]]) -> str:
    """The rows as aligned text, for the first theory of each."""

    def show(value: float | None, digits: str = ".3f") -> str:
        return "–" if value is None else format(value, digits)

    lines: list[tuple[str, ...]] = [_HEADER]
    for row in found:
        said = next(iter(row["theories"].values()))
        covers = [said[share] for share in COVERAGES if said[share] is not None]
        lines.append(
            (
                row["workload"],
                row["loss_function"],
                row["tuner"],
                f"{row['met']}/{row['seeds']}",
                show(row["judged_steps"], ".0f"),
                show(row["edge_modes"], ".1f"),
                known_by(row),
                show(said["left_out"]),
                *(show(said[error]) for error in ERRORS),
                show(said["distance"], ".2f"),
                show(said["exponent_difference"], "+.3f"),
                show(min(covers) if covers else None, ".2f"),
            )
        )
    return aligned(lines, left=(0, 1, 2, 6))


def known_by(row: dict[str, Any]) -> str:
    """How the runs of a row can be known: step by step, by their statistics, or some one way and some the other."""
    return {0: "steps", row["seeds"]: "statistics"}.get(row["chaotic"], f"{row['chaotic']} statistics")
