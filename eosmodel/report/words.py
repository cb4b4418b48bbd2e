"""The sentences of the report, made from its numbers: summaries, and alternative texts of pictures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from eosmodel._status import SUCCESS, Status
from eosmodel.judging import conditions
from eosmodel.judging.verdicts import Claim, Verdict
from eosmodel.results.formatting import number
from eosmodel.results.labels import ERRORS
from eosmodel.results.names import VARIABLES

Rows = Sequence[Mapping[str, Any]]

_MOST = 8


def count(n: int, what: str) -> str:
    """3 runs, 1 run, 2 losses."""
    plural = "es" if what.endswith("s") else "s"
    return f"{n} {what}{plural * (n != 1)}"


def listed(items: Iterable[str], most: int = _MOST) -> str:
    """The first items, and how many more there are."""
    items = list(items)
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def finished(rows: Rows) -> Rows:
    """Rows of runs that did not end early; the last loss of a run that diverged is not ranked."""
    return [row for row in rows if row["status"] in SUCCESS]


def stopped(rows: Rows) -> list[str]:
    """Which runs stopped on purpose, the soonest first, and what that means for the numbers; nothing if none did."""
    steps: dict[str, list[int]] = {}
    for row in rows:
        if row["status"] == Status.REACHED.label:
            steps.setdefault(row["tuner"], []).append(row["steps"])
    soonest = sorted(steps, key=lambda tuner: np.median(steps[tuner]))
    named = listed(f"{tuner} after {_spread(steps[tuner])} steps" for tuner in soonest)
    if not named:
        return []
    compared = " The theories beside them are compared up to there." if theories_of(rows) else ""
    return [f"Stopped on purpose, where the loss or the accuracy asked for was reached: {named}.{compared}"]


def _spread(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def medians(rows: Rows, key: str) -> dict[str, float]:
    """Median over seeds of one number of the experiment by tuner, where it is known."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["experiment"].get(key) is not None:
            values.setdefault(row["tuner"], []).append(row["experiment"][key])
    return {tuner: float(np.median(known)) for tuner, known in values.items()}


def error_medians(rows: Rows, error: str) -> dict[tuple[str, str], float]:
    """Median over seeds of one error by theory and tuner, where it is known."""
    return {key: float(np.median(known)) for key, known in _of_theories(rows, error).items()}


def theories_of(rows: Rows) -> list[str]:
    """Theories in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row["theories"]))


def summary(rows: Rows, judged: Sequence[Claim]) -> list[str]:
    """The results of a folder of runs; numbers of single runs are those of the scoreboard, and not repeated."""
    tuners = {row["tuner"] for row in rows}
    steps = max((row["steps"] for row in rows), default=0)
    done = finished(rows)
    sentences = [
        f"{count(len(tuners), 'step-size tuner')} {'was' if len(tuners) == 1 else 'were'} run in "
        f"{count(len(rows), 'run')} of up to {steps} steps; {len(done)} of them finished."
    ]
    halted = stopped(rows)
    sentences += halted
    loss = medians([row for row in done if row["status"] == Status.OK.label], "final_loss")
    if len(loss) > 1:
        best, worst = min(loss, key=loss.__getitem__), max(loss, key=loss.__getitem__)
        of = "Of the runs that took all steps, lowest" if halted else "Lowest"
        sentences.append(f"{of} final loss with {best}, highest with {worst}.")
    product = medians(done, "median_edge_product")
    near = [name for name, value in product.items() if abs(value / 2 - 1) <= conditions.NEAR]
    if product:
        bound = number(conditions.NEAR, ".0%")
        sentences.append(
            f"The median of ηλ over the last half of the steps is within {bound} of 2 for {listed(near) or 'no tuner'}."
        )
    failed = {tuner: share for tuner, share in medians(rows, "failed_share").items() if share > 0}
    if failed:
        shares = listed(f"{tuner} ({number(share, '.1%')} of its steps)" for tuner, share in failed.items())
        sentences.append(f"The tuner could not meet its rule, and took its documented fallback, under {shares}.")
    sentences += [_theory(rows, name) for name in theories_of(rows)]
    nearest = _nearest(rows)
    if nearest and len(theories_of(rows)) > 1:
        sentences.append(f"Theory with the smallest error in λ, of those that did not end early: {nearest}.")
    return [*sentences, verdicts(judged)]


def verdicts(claims: Iterable[Claim]) -> str:
    """The number of claims by verdict, and which."""
    by: dict[Verdict, list[str]] = {}
    for claim in claims:
        by.setdefault(claim.verdict, []).append(claim.id)
    order = [verdict for verdict in Verdict if verdict in by]
    total = sum(map(len, by.values()))
    parts = "; ".join(f"{len(by[verdict])} {verdict} ({', '.join(by[verdict])})" for verdict in order)
    return f"Verdicts on {count(total, 'claim')}: {parts}."


def shows_runs(rows: Rows) -> str:
    """The summary picture in words."""
    numbers = (
        f"{row['tuner']} {number(row['experiment']['final_loss'])}, {number(row['experiment']['final_sharpness'])}, "
        f"{number(row['experiment']['median_edge_product'], '.2f')}"
        + ("" if row["status"] in SUCCESS else f" ({row['status']} after {row['steps']} steps)")
        for row in _first_seed(rows)
    )
    return (
        "Lines of loss, step size, sharpness and ηλ against the step. "
        f"Final loss, final λ and median ηλ: {listed(numbers, 12)}."
    )


def left(rows: Rows) -> str:
    """Which runs of the summary picture ended early, and may have left its axes; empty if none did."""
    early = (
        f"{row['tuner']} ({row['status']} after {row['steps']} steps)"
        for row in _first_seed(rows)
        if row["status"] not in SUCCESS
    )
    return f" Ended early, and perhaps outside the axes: {named}." if (named := listed(early)) else ""


def shows_theories(rows: Rows) -> str:
    """The picture of experiment and theories in words."""
    names = theories_of(rows)
    first = _first_seed(rows)
    beside = f" and {listed(names)}" if names else ""
    errors = "; ".join(
        f"{row['tuner']}: "
        + listed(f"{name} {number(entry['sharpness_error'], '.3f')}" for name, entry in row["theories"].items())
        for row in first[:12]
        if row["theories"]
    )
    return (
        f"Columns for {listed(row['tuner'] for row in first)}; in each, lines of loss, step size, sharpness, ηλ and "
        f"alignment against the step, from the experiment{beside}."
        + (f" Errors of sharpness: {errors}." if errors else "")
    )


def shows_held_out(rows: Rows) -> str:
    """Which tuner ends with the least loss on held-out samples."""
    loss, right = (medians(finished(rows), name) for name in ("test_loss", "test_accuracy"))
    if not loss:
        return "No run that finished was evaluated on held-out samples."
    best = min(loss, key=loss.__getitem__)
    share = f", of which it classifies {number(right[best], '.1%')} correctly" if best in right else ""
    return f"The loss on held-out samples ends lowest, at {number(loss[best])}, with {best}{share}."


def shows_errors(rows: Rows) -> str:
    """The picture of the errors in words."""
    parts = []
    for error, name in ERRORS.items():
        known = error_medians(rows, error)
        if known:
            low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
            parts.append(
                f"of {VARIABLES[name].symbol} from {number(known[low], '.3f')} ({low[0]}, {low[1]}) "
                f"to {number(known[high])} ({high[0]}, {high[1]})"
            )
    return f"Heat maps of errors, theory by tuner: {'; '.join(parts)}."


def _of_theories(rows: Rows, key: str) -> dict[tuple[str, str], list[float]]:
    """One number of the theories for every seed where it is known, by theory and tuner."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for theory, entry in row["theories"].items():
            if entry[key] is not None:
                values.setdefault((theory, row["tuner"]), []).append(entry[key])
    return values


def _theory(rows: Rows, theory: str) -> str:
    entries = [row["theories"][theory] for row in rows if theory in row["theories"]]
    parts = []
    for error, name in ERRORS.items():
        known = [entry[error] for entry in entries if entry[error] is not None]
        parts += [f"{VARIABLES[name].symbol} {number(np.median(known), '.2g')}"] if known else []
    early = sum(entry["status"] not in SUCCESS for entry in entries)
    ended = f"; {early} of its {count(len(entries), 'run')} ended early" if early else ""
    beyond = {of[1]: min(steps) for of, steps in _of_theories(rows, "left_out_beyond").items() if of[0] == theory}
    where = listed(f"{tuner} (step {step})" for tuner, step in beyond.items())
    beside = f"; it leaves out more than the gradient (ε > 1) under {where}" if where else ""
    apart = [entry["weight_distance"] for entry in entries if entry["weight_distance"] is not None]
    parts += [f"weights {number(np.median(apart), '.2g')} of the distance moved"] if apart else []
    errors = ", ".join(parts) or "none is known"
    return f"Median errors of the theory “{theory}” over all runs: {errors}{ended}{beside}."


def _nearest(rows: Rows) -> str:
    """By tuner, the theory of least error in λ, of those that ended early for no seed."""
    early = {
        (n, row["tuner"]) for row in rows for n, entry in row["theories"].items() if entry["status"] not in SUCCESS
    }
    known = {key: v for key, v in error_medians(rows, "sharpness_error").items() if key not in early}
    best: dict[str, tuple[float, str]] = {}
    for (theory, tuner), value in known.items():
        best[tuner] = min(best.get(tuner, (np.inf, "")), (value, theory))
    by: dict[str, list[str]] = {}
    for tuner, (_, theory) in best.items():
        by.setdefault(theory, []).append(tuner)
    return "; ".join(f"{theory} for {listed(tuners)}" for theory, tuners in by.items())


def _first_seed(rows: Rows) -> Rows:
    return [row for row in rows if row["seed"] == rows[0]["seed"]]
