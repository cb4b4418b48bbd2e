"""The claims of Roulet, Agarwala and Pedregosa (arXiv 2312.00209), judged one by one from recorded numbers.

Each claim is a list of conditions on one tuner. A tuner meets a condition if more than half of its seeds do. A claim is

- *supported* if every tuner that it speaks of meets all of its conditions,
- *partly* supported if some condition is met by some tuner,
- *not supported* if none is, and *not tested* if the tuners (or theories) that it speaks of are missing.

Bounds, all over the last half of the completed steps unless said otherwise:

- at the edge: median (Polyak: mean) of s = ηλ within 10 % of 2, beyond it: above; Λ ≈ 0: |Λ| ≤ 0.05;
- drift of a quantity: what the least-squares line through its logarithm gains; level: |drift of λ| ≤ 0.05, sharpening
  without end: drift of λ > 0.05; η falls: its drift is negative;
- rises: the median λ is at least 1.1 times the first λ of the run;
- ahead early: lower loss, as a 25-step mean, at 10 % of the horizon; at the end: mean of the last 25 steps, infinite
  for a run that did not finish; the constant step compared with is the one of lowest final loss of the same seed;
- error of a theory: sum of its errors of λ, η and L, which counts if it covers at least 90 % of the run's steps;
- a run oscillates if s exceeds 2 at some step of the last half.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.judging.scoreboard import compare
from eosmodel.results.labels import ERRORS
from eosmodel.results.measures import (
    edge_exponent,
    edge_products,
    final_mean,
    last_half,
    moving_average,
    status_of,
    steps_of,
)
from eosmodel.theory import of_labels

Verdict = Literal["supported", "partly", "not supported", "not tested"]

NEAR = 0.10
DRIFT = 0.05
EXPONENT = 0.05
RISE = 1.1
EARLY = 0.1
COVERED = 0.9


@dataclass(frozen=True)
class Claim:
    """A claim, how it is judged, the verdict, and the numbers behind it."""

    id: str
    text: str
    verdict: Verdict
    evidence: str
    criterion: str = ""


@dataclass(frozen=True)
class _Finding:
    """One tuner's seeds: which conditions each met, and numbers to report as medians over seeds."""

    tuner: str
    met: np.ndarray  # (seeds, conditions)
    numbers: Mapping[str, Sequence[float]]

    def __str__(self) -> str:
        known = {key: [v for v in values if not np.isnan(v)] for key, values in self.numbers.items()}
        text = ", ".join(f"{key} {_show(float(np.median(v)))}" for key, v in known.items() if v)
        count = f" ({int(self.met.all(axis=1).sum())} of {len(self.met)} seeds)" if len(self.met) > 1 else ""
        return f"{self.tuner}: {text or 'no numbers'}{count}"


def evaluate(experiment: xr.Dataset, theory: xr.Dataset | None = None) -> tuple[Claim, ...]:
    """Judge every claim on these runs; the bounds are those of the module's docstring.

    Args:
        experiment: dataset over (tuner, seed, step); tuners are known by the name before the colon.
        theory: dataset over (theory, tuner, seed, step); without it the claim about theories is not tested.
    """
    comparison = compare(experiment, theory)
    runs = _Runs(comparison.experiment)
    return (
        runs.judge(
            "1",
            "With a constant step, sharpness rises and then levels at 2/η; so it does with CDAT at σ = 2.",
            "median ηλ within 10 % of 2 and |drift of ln λ| ≤ 0.05 over the last half, after a rise of at least 10 %",
            lambda name: name == "constant" or name == "cdat",
            _levels,
            skip=lambda label: label.partition(":")[0] == "cdat" and _parameter(label, "sigma", 2.0) != 2.0,
        ),
        runs.judge(
            "2",
            "Under Armijo's rule sharpness keeps rising while the step shrinks; so it does under greedy and on-edge.",
            "drift of ln λ above 0.05 over the last half, with η falling meanwhile",
            lambda name: name.startswith("armijo") or name in ("greedy", "on-edge"),
            _sharpens,
        ),
        runs.judge(
            "2b",
            "Armijo's normalised step ηλ stays near or under 2.",
            "median ηλ at most 2.2 over the last half, and at most 2.2 at 90 % of these steps",
            lambda name: name.startswith("armijo"),
            _stays_under,
        ),
        runs.judge(
            "3",
            "Armijo's rule is ahead early and ends behind a well-tuned constant step.",
            "higher final loss than the best constant step given, and lower loss at 10 % of the horizon",
            lambda name: name.startswith("armijo"),
            _overtaken,
        ),
        runs.judge(
            "4",
            "Polyak's step works at the edge of stability or beyond, and ends below both.",
            "mean ηλ at least 1.8 and |Λ| ≤ 0.05; lower final loss than the best constant step and than Armijo's rule",
            lambda name: name in ("polyak", "sps-max"),
            _beats_both,
        ),
        _theories(comparison.rows(), comparison.experiment, comparison.theory),
        runs.judge(
            "6",
            "The edge exponent Λ = ⟨ln|1 − ηλ|⟩ is zero for every tuner whose oscillation stays bounded.",
            "|Λ| ≤ 0.05 over the last half, for runs that finished and whose ηλ exceeds 2 at some of these steps",
            lambda name: True,
            _exponent,
        ),
    )


class _Runs:
    """The runs by tuner and seed, with what the conditions ask of them."""

    def __init__(self, experiment: xr.Dataset) -> None:
        self.experiment = experiment
        self.tuners: list[str] = [str(label) for label in experiment.tuner.values]
        self.seeds = experiment.seed.values.tolist()

    def get(self, tuner: str, seed: int) -> xr.Dataset:
        return self.experiment.sel(tuner=tuner, seed=seed)

    def best(self, prefix: str, seed: int) -> xr.Dataset | None:
        """The finished run of lowest final loss among the tuners of a name."""
        runs = [self.get(label, seed) for label in self.tuners if _name(label).startswith(prefix)]
        runs = [run for run in runs if status_of(run) is Status.OK]
        return min(runs, key=_final_loss, default=None)

    def judge(
        self,
        id: str,
        text: str,
        criterion: str,
        chosen: Callable[[str], bool],
        check: Callable[["_Runs", str, int], tuple[list[bool], dict[str, float]] | None],
        skip: Callable[[str], bool] = lambda label: False,
    ) -> Claim:
        findings = []
        for tuner in self.tuners:
            if not chosen(_name(tuner)) or skip(tuner):
                continue
            results = [result for seed in self.seeds if (result := check(self, tuner, seed)) is not None]
            if results:
                numbers = {key: [r[1].get(key, np.nan) for r in results] for r0 in results for key in r0[1]}
                findings.append(_Finding(tuner, np.array([r[0] for r in results]), numbers))
        return Claim(id, text, _verdict(findings), _evidence(findings), criterion)


def _levels(runs: _Runs, tuner: str, seed: int):
    run = runs.get(tuner, seed)
    s, drift, rise = _median(edge_products(run)), _drift(run, "sharpness"), _rise(run)
    level = status_of(run) is Status.OK and abs(s / 2 - 1) <= NEAR and abs(drift) <= DRIFT
    return [level, level and rise >= RISE], {"median ηλ": s, "drift of ln λ": drift, "λ over its first value": rise}


def _sharpens(runs: _Runs, tuner: str, seed: int):
    run = runs.get(tuner, seed)
    drift, falling = _drift(run, "sharpness"), _drift(run, "stepsize")
    numbers = {"drift of ln λ": drift, "drift of ln η": falling, "median ηλ": _median(edge_products(run))}
    return [drift > DRIFT, drift > DRIFT and falling < 0], numbers


def _stays_under(runs: _Runs, tuner: str, seed: int):
    s = edge_products(runs.get(tuner, seed))
    high = float(np.quantile(s, 0.9)) if s.size else np.nan
    share = 100 * float(np.mean(s > 2)) if s.size else np.nan
    numbers = {"median ηλ": _median(s), "90th percentile": high, "steps above 2 in per cent": share}
    return [_median(s) <= 2 * (1 + NEAR), high <= 2 * (1 + NEAR)], numbers


def _overtaken(runs: _Runs, tuner: str, seed: int):
    run, constant = runs.get(tuner, seed), runs.best("constant", seed)
    if constant is None or status_of(run) is Status.NOT_RUN:
        return None
    early = _ratio(_early_loss(run), _early_loss(constant))
    end = _ratio(_final_loss(run), _final_loss(constant))
    return [end > 1, early < 1], {"loss over the best constant's, early": early, "at the end": end}


def _beats_both(runs: _Runs, tuner: str, seed: int):
    run, constant, armijo = runs.get(tuner, seed), runs.best("constant", seed), runs.best("armijo", seed)
    if constant is None or armijo is None or status_of(run) is Status.NOT_RUN:
        return None
    s, exponent = edge_products(run), edge_exponent(run)
    mean = float(np.mean(s)) if s.size else np.nan
    ratios = [_ratio(_final_loss(run), _final_loss(other)) for other in (constant, armijo)]
    numbers = {"mean ηλ": mean, "median ηλ": _median(s), "Λ": exponent}
    numbers |= {"final loss over the best constant's": ratios[0], "over Armijo's": ratios[1]}
    at_edge = mean >= 2 * (1 - NEAR) and abs(exponent) <= EXPONENT
    return [at_edge, ratios[0] < 1, ratios[1] < 1], numbers


def _exponent(runs: _Runs, tuner: str, seed: int):
    run = runs.get(tuner, seed)
    if status_of(run) is not Status.OK or not np.any(edge_products(run) > 2):
        return None
    return [abs(edge_exponent(run)) <= EXPONENT], {"Λ": edge_exponent(run)}


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
        ours, theirs = (sum(said[error] for error in known) for said in (joint, alone))
        results.setdefault(row["tuner"], []).append((ours < theirs and covered >= COVERED, ours, theirs))
    findings = []
    for tuner, found in results.items():
        met, ours, theirs = (np.array(column) for column in zip(*found, strict=True))
        factor = np.array([_ratio(b, a) for a, b in zip(ours, theirs, strict=True)])
        numbers: dict[str, Any] = {"errors of the joint theory": ours, "of the edge alone": theirs, "factor": factor}
        findings.append(_Finding(tuner, met[:, None].astype(bool), numbers))
    return Claim(
        "5",
        "The edge alone (η = 2/λ) does not explain the dynamics; the theory that moves η and λ together does better.",
        _verdict(findings),
        _evidence(findings),
        "for every tuner, a smaller sum of the errors of λ, η and L, over at least 90 % of the run's steps",
    )


def _joint_and_alone(theory: xr.Dataset | None) -> tuple[str | None, str | None]:
    """The first prediction that is no baseline, and the first that ignores the tuner, in the registry's order."""
    known = of_labels([] if theory is None else map(str, theory.theory.values))
    joint = (label for label, one in known.items() if not (one.baseline or one.needs_run))
    alone = (label for label, one in known.items() if one.ignores_tuner)
    return next(joint, None), next(alone, None)


def _verdict(findings: Sequence[_Finding]) -> Verdict:
    if not findings:
        return "not tested"
    met = [f.met.mean(axis=0) > 0.5 for f in findings]
    if all(m.all() for m in met):
        return "supported"
    return "partly" if any(m.any() for m in met) else "not supported"


def _evidence(findings: Sequence[_Finding]) -> str:
    return "; ".join(map(str, findings)) + "." if findings else "These runs have nothing to judge it by."


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


def _drift(run: xr.Dataset, name: str) -> float:
    step, values = last_half(run.assign(time=run.step), "time", name)
    step, values = step[values > 0], values[values > 0]
    if len(values) < 3:
        return float("nan")
    time = (step - step.mean()) / np.ptp(step)
    return float(time @ np.log(values) / (time @ time))


def _rise(run: xr.Dataset) -> float:
    values = run.sharpness.values[np.isfinite(run.sharpness.values)]
    late = _median(last_half(run, "sharpness")[0])
    return late / float(values[0]) if values.size and values[0] > 0 else float("inf") if values.size else float("nan")


def _early_loss(run: xr.Dataset) -> float:
    row = round(EARLY * (run.sizes["step"] - 1))
    losses = moving_average(run.loss.values, run.step.values)[: row + 1]
    # A stochastic run knows the full loss on tracked rows alone; one that has ended by then is not ahead.
    known = losses[np.isfinite(losses)]
    return float(known[-1]) if known.size and steps_of(run) > run.step.values[row] else float("inf")


def _final_loss(run: xr.Dataset) -> float:
    loss = final_mean(run, "loss")
    return loss if status_of(run) is Status.OK and np.isfinite(loss) else float("inf")


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("nan") if a == b else float("inf")


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else float("nan")


def _show(value: float) -> str:
    text = "∞" if np.isinf(value) else f"{round(value, 3) + 0.0:g}" if abs(value) < 10 else f"{value:.3g}"
    return text.replace("-", "−")
