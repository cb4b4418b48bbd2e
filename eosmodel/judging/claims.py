"""The claims of Roulet, Agarwala and Pedregosa (arXiv 2312.00209), judged one by one from recorded numbers.

Each claim is a list of conditions on one tuner; `judging.conditions` has them with their bounds. A tuner meets a
condition if more than half of its seeds do, and the verdict on a tuner combines those on its conditions, that on the
claim those on its tuners (`judging.verdicts.combine`). So a claim is

- *supported* if every tuner that it speaks of meets all of its conditions,
- *partly* supported if some condition is met by some tuner,
- *not supported* if none is, and *not tested* if the tuners (or theories) that it speaks of are missing.

The error of a theory is the sum of its errors of λ, η and L; it counts if the theory covers at least 90 % of the run's
steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from eosmodel.judging import conditions
from eosmodel.judging.conditions import Condition, Runs, ratio
from eosmodel.judging.scoreboard import compare
from eosmodel.judging.verdicts import Claim, Verdict, combine
from eosmodel.results.formatting import number
from eosmodel.results.labels import ERRORS
from eosmodel.results.measures import steps_of
from eosmodel.theory import of_labels

COVERED = 0.9


@dataclass(frozen=True)
class TunerEvidence:
    """One tuner's runs.

    Attributes:
        tuner: its name.
        verdict: the verdict on its conditions.
        met: seeds that meet all conditions.
        seeds: seeds tested.
        numbers: medians over the seeds where they are known.
    """

    tuner: str
    verdict: Verdict
    met: int
    seeds: int
    numbers: Mapping[str, float]

    def __str__(self) -> str:
        text = ", ".join(f"{name} {number(value)}" for name, value in self.numbers.items())
        count = f" ({self.met} of {self.seeds} seeds)" if self.seeds > 1 else ""
        return f"{self.tuner}: {text or 'no numbers'}{count}"


def evaluate(experiment: xr.Dataset, theory: xr.Dataset | None = None) -> tuple[Claim, ...]:
    """Judge every claim on these runs; by the rules of the module's docstring.

    Args:
        experiment: dataset over (tuner, seed, step); tuners are known by the name before the colon.
        theory: dataset over (theory, tuner, seed, step); without it the claim about theories is not tested.
    """
    comparison = compare(experiment, theory)
    runs = Runs(comparison.experiment)
    return (
        _judge(
            runs,
            "1",
            "With a constant step, and with CDAT at σ = 2, sharpness rises and then levels off at 2/η.",
            "median ηλ within 10 % of 2 and |drift of ln λ| ≤ 0.05 over the last half, after a rise of at least 10 %",
            lambda name: name == "constant" or name == "cdat",
            conditions.levels_at_edge,
            skip=lambda label: label.partition(":")[0] == "cdat" and _parameter(label, "sigma", 2.0) != 2.0,
        ),
        _judge(
            runs,
            "2",
            "Under Armijo's rule, and under greedy and on-edge, sharpness keeps rising while the step size shrinks.",
            "drift of ln λ above 0.05 over the last half, with η falling meanwhile",
            lambda name: name.startswith("armijo") or name in ("greedy", "on-edge"),
            conditions.sharpens,
        ),
        _judge(
            runs,
            "2b",
            "Armijo's normalised step ηλ stays near or under 2.",
            "median ηλ at most 2.2 over the last half, and at most 2.2 at 90 % of these steps",
            lambda name: name.startswith("armijo"),
            conditions.stays_under_edge,
        ),
        _judge(
            runs,
            "3",
            "Armijo's rule is ahead early and ends behind a well-tuned constant step.",
            "higher final loss than the best constant step given, and lower loss at 10 % of the horizon",
            lambda name: name.startswith("armijo"),
            conditions.is_overtaken,
        ),
        _judge(
            runs,
            "4",
            "Polyak's step works at or beyond the edge of stability, and ends below a constant step and Armijo's rule.",
            "mean ηλ at least 1.8 and |Λ| ≤ 0.05; lower final loss than the best constant step and than Armijo's rule",
            lambda name: name in ("polyak", "sps-max"),
            conditions.beats_both,
        ),
        _theories(comparison.rows(), comparison.experiment, comparison.theory),
        _judge(
            runs,
            "6",
            "The edge exponent Λ = ⟨ln|1 − ηλ|⟩ is zero for every tuner whose oscillation stays bounded.",
            "|Λ| ≤ 0.05 over the last half, for runs that finished and whose ηλ exceeds 2 at some of these steps",
            lambda name: True,
            conditions.has_zero_exponent,
        ),
    )


def _judge(
    runs: Runs,
    id: str,
    text: str,
    criterion: str,
    chosen: Callable[[str], bool],
    condition: Condition,
    skip: Callable[[str], bool] = lambda label: False,
) -> Claim:
    evidence = []
    for tuner in runs.tuners:
        if not chosen(_name(tuner)) or skip(tuner):
            continue
        tested = [result for seed in runs.moved(tuner) if (result := condition(runs, tuner, seed)) is not None]
        if tested:
            names = dict.fromkeys(name for _, numbers in tested for name in numbers)
            columns = {name: [numbers.get(name, np.nan) for _, numbers in tested] for name in names}
            evidence.append(_evidence(tuner, np.array([met for met, _ in tested]), columns))
    return Claim(id, text, criterion, combine(part.verdict for part in evidence), tuple(evidence))


def _evidence(tuner: str, met: np.ndarray, columns: Mapping[str, Sequence[float]]) -> TunerEvidence:
    """Of conditions (seeds, conditions) and numbers by name, one for every seed."""
    known = {name: [v for v in values if not np.isnan(v)] for name, values in columns.items()}
    medians = {name: float(np.median(values)) for name, values in known.items() if values}
    majority = combine((met.mean(axis=0) > 0.5).tolist())
    return TunerEvidence(tuner, majority, int(met.all(axis=1).sum()), len(met), medians)


def _theories(rows: Sequence[Mapping[str, Any]], experiment: xr.Dataset, theory: xr.Dataset | None) -> Claim:
    """Claim 5: errors of the joint theory against those of the edge alone, over the errors that both have."""
    results: dict[str, list[tuple[bool, float, float]]] = {}
    joint_name, alone_name = _joint_and_alone(theory)
    for row in rows:
        joint, alone = (row["theories"].get(name) for name in (joint_name, alone_name))
        if theory is None or joint is None or alone is None:
            continue
        known = [error for error in ERRORS if joint[error] is not None and alone[error] is not None]
        if not known:
            continue
        where = {"tuner": row["tuner"], "seed": row["seed"]}
        covered = steps_of(theory.sel(theory=joint_name, **where)) / max(steps_of(experiment.sel(**where)), 1)
        ours, theirs = (sum(errors[error] for error in known) for errors in (joint, alone))
        results.setdefault(row["tuner"], []).append((ours < theirs and covered >= COVERED, ours, theirs))
    evidence = []
    for tuner, by_seed in results.items():
        met, ours, theirs = zip(*by_seed, strict=True)
        factor = [ratio(b, a) for a, b in zip(ours, theirs, strict=True)]
        numbers = {"errors of the joint theory": ours, "of the edge alone": theirs, "factor": factor}
        evidence.append(_evidence(tuner, np.array(met)[:, None], numbers))
    return Claim(
        "5",
        "The edge alone (η = 2/λ) does not explain the dynamics; a theory of η and λ together does better.",
        "for every tuner, a smaller sum of the errors of λ, η and L, over at least 90 % of the run's steps",
        combine(part.verdict for part in evidence),
        tuple(evidence),
    )


def _joint_and_alone(theory: xr.Dataset | None) -> tuple[str | None, str | None]:
    """The first prediction that is no baseline, and the first that ignores the tuner, in the registry's order."""
    known = of_labels([] if theory is None else map(str, theory.theory.values))
    joint = (label for label, one in known.items() if not (one.baseline or one.needs_run))
    alone = (label for label, one in known.items() if one.ignores_tuner)
    return next(joint, None), next(alone, None)


def _name(label: str) -> str:
    return label.partition(":")[0]


def _parameter(label: str, name: str, default: float) -> float:
    """A parameter out of a tuner's name: `cdat:1.9`, `cdat:sigma=1.9`, `cdat:eps=0,sigma=1.9`."""
    for i, item in enumerate(filter(None, label.partition(":")[2].split(","))):
        key, equals, value = item.partition("=")
        if equals and key.strip() == name:
            return float(value)
        if not equals and i == 0:
            return float(item)
    return default
