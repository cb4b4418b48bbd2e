"""What a sweep says about four statements, judged from its numbers with intervals over seeds.

Every comparison is the mean over seeds of the logarithm of a ratio, the two sides of a pair sharing a seed and so
their initial weights, with the 90 % interval of Student's t. It is

- *supported* if the whole interval is on the side that the statement names, *not supported* if it is on the other side;
- *undecided* if it holds 1 (as a ratio), or if fewer than five seeds have both runs finished.

A statement is *supported* if all of its comparisons are, *partly* if some are, *not supported* if none is and some
are on the other side, *undecided* if nothing is decided, and *not tested* if its tuners or batch sizes were not run.
A run that ended early has no final loss to compare; where the best σ is sought it counts as worst.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.tuners.grids import parameters

Verdict = Literal["supported", "partly", "not supported", "undecided", "not tested"]

LEVEL = 0.9
"""Probability of the intervals that comparisons are judged by."""

LEAST_SEEDS = 5
"""Pairs of seeds below which nothing is decided."""


@dataclass(frozen=True)
class Comparison:
    """A ratio, geometric mean over seeds, its 90 % interval and what it says.

    Attributes:
        what: which is compared with which.
        ratio, low, high: the ratio and its interval.
        seeds: pairs compared.
        verdict: what it says of the statement.
        levels: medians over seeds of what is compared.
    """

    what: str
    ratio: float
    low: float
    high: float
    seeds: int
    verdict: Verdict
    levels: str

    def __str__(self) -> str:
        interval = f"{self.ratio:.3g} [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.what}: {interval}, {self.seeds} seeds, {self.verdict} ({self.levels})"


@dataclass(frozen=True)
class Finding:
    """A statement, how it is judged, the verdict and the comparisons behind it."""

    id: str
    text: str
    criterion: str
    verdict: Verdict
    comparisons: tuple[Comparison, ...]

    def __str__(self) -> str:
        lines = [f"({self.id}) {self.text} {self.verdict.upper()}", f"    judged by: {self.criterion}"]
        return "\n".join([*lines, *(f"    - {comparison}" for comparison in self.comparisons)])


def evaluate(sweep: xr.Dataset) -> tuple[Finding, ...]:
    """Judge the four statements on a sweep, by the rules of the module's docstring.

    Args:
        sweep: dataset over (tuner, batch_size, seed), as `Plan.combine` makes it.
    """
    runs = _Runs(sweep)
    return (
        _finding(
            "a",
            "Sharpening is weaker at small batches.",
            "final λ of the constant step and of CDAT at the smallest batch over that at the full batch, below 1",
            runs.sharpening(),
        ),
        _finding(
            "b",
            "Armijo's rule and the greedy rule recover at small batches.",
            "final loss over the best constant step's of the same seed and batch size: at the middle and at the "
            "smallest batch over that at the full batch, below 1",
            runs.recovery(),
        ),
        _finding(
            "c",
            "The best σ of CDAT falls with the batch size.",
            "σ of lowest final loss, of those run without averages, all or from the greedy rule's σ = 1 on: at each "
            "batch size over that at the next larger one, below 1",
            runs.best_sigma(),
        ),
        _finding(
            "d",
            "Moving averages of numerator and denominator help CDAT.",
            "final loss with averages over that without, at the same σ and batch size, below 1",
            runs.averaging(),
        ),
    )


class _Runs:
    """Runs by tuner and batch size: arrays over seeds."""

    def __init__(self, sweep: xr.Dataset) -> None:
        self.sweep = sweep
        self.tuners = {str(spec): parameters(str(spec)) for spec in sweep.tuner.values}
        sizes = sorted(int(size) for size in sweep.batch_size.values)
        self.full = next((size for size in sizes if size == sweep.attrs["samples"]), None)
        self.small = [size for size in sizes if size != self.full]

    def cdat(self, averaged: bool) -> dict[str, float]:
        """σ of the tuners of CDAT's family that differ in σ and averages alone, the greedy rule being σ = 1."""
        _, default = parameters("cdat")
        family = {spec: p for spec, (rule, p) in self.tuners.items() if rule in ("cdat", "greedy")}
        return {
            spec: p["sigma"]
            for spec, p in family.items()
            if p | {"sigma": 0, "ema": 0} == default | {"sigma": 0, "ema": 0} and (p["ema"] > 0) == averaged
        }

    def get(self, name: str, tuner: str, size: int) -> np.ndarray:
        """A number of every seed, NaN where the run ended early."""
        runs = self.sweep.sel(tuner=tuner, batch_size=size)
        return np.where(runs.status.values == int(Status.OK), runs[name].values, np.nan)

    def name(self, size: int) -> str:
        return "full" if size == self.full else str(size)

    def sharpening(self) -> Iterable[Comparison]:
        chosen = [spec for spec, (rule, _) in self.tuners.items() if rule == "constant"]
        for spec in [*chosen, *self.cdat(averaged=False)]:
            if self.full and self.small:
                small, full = (self.get("final_sharpness", spec, at) for at in (self.small[0], self.full))
                yield _compare(f"{spec}, B = {self.small[0]} over full", small, full)

    def recovery(self) -> Iterable[Comparison]:
        constants = [spec for spec, (rule, _) in self.tuners.items() if rule == "constant"]
        chosen = [spec for spec, (rule, _) in self.tuners.items() if rule in ("armijo", "armijo-restart", "greedy")]
        full = self.full
        if not constants or full is None:
            return
        sizes = dict.fromkeys([self.small[len(self.small) // 2], self.small[0]] if self.small else [])

        def relative(spec, size):
            best = np.fmin.reduce([self.get("final_loss", constant, size) for constant in constants])
            return self.get("final_loss", spec, size) / best

        for spec in chosen:
            for size in sizes:
                yield _compare(f"{spec}, B = {size} over full", relative(spec, size), relative(spec, full))

    def best_sigma(self) -> Iterable[Comparison]:
        sigmas = self.cdat(averaged=False)
        sizes = [*self.small, *([self.full] if self.full else [])][::-1]
        scopes = {"all σ": sigmas, "σ ≥ 1": {spec: sigma for spec, sigma in sigmas.items() if sigma >= 1}}
        if scopes["all σ"] == scopes["σ ≥ 1"]:
            del scopes["σ ≥ 1"]

        def best(scope, size):
            losses = np.stack([self.get("final_loss", spec, size) for spec in scope])
            where = np.argmin(np.where(np.isnan(losses), np.inf, losses), axis=0)
            return np.where(np.isnan(losses).all(axis=0), np.nan, np.array(list(scope.values()))[where])

        for name, scope in scopes.items():
            if len(set(scope.values())) < 2:
                continue
            for larger, size in itertools.pairwise(sizes):
                what = f"{name}, B = {size} over {self.name(larger)}"
                yield _compare(what, best(scope, size), best(scope, larger))

    def averaging(self) -> Iterable[Comparison]:
        plain = {sigma: spec for spec, sigma in self.cdat(averaged=False).items()}
        sizes = [*([self.full] if self.full else []), *reversed(self.small)]
        for spec, sigma in self.cdat(averaged=True).items():
            for size in sizes if sigma in plain else []:
                what = f"{spec}, B = {self.name(size)}"
                yield _compare(what, *(self.get("final_loss", label, size) for label in (spec, plain[sigma])))


def _compare(what: str, a: np.ndarray, b: np.ndarray) -> Comparison:
    """The ratio a/b over seeds; the statement says that it is below 1."""
    from scipy.stats import t

    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(a / b)
    logs = logs[np.isfinite(logs)]
    levels = " against ".join(f"{np.nanmedian(side):.3g}" if np.isfinite(side).any() else "none" for side in (a, b))
    count = len(logs)
    if count < LEAST_SEEDS:
        mean = float(np.mean(logs)) if count else np.nan
        return Comparison(what, float(np.exp(mean)), 0.0, np.inf, count, "undecided", levels)
    mean = float(np.mean(logs))
    half = float(t.ppf((1 + LEVEL) / 2, count - 1) * np.std(logs, ddof=1) / np.sqrt(count))
    verdict: Verdict = "supported" if mean + half < 0 else "not supported" if mean - half > 0 else "undecided"
    ratio, low, high = (float(np.exp(x)) for x in (mean, mean - half, mean + half))
    return Comparison(what, ratio, low, high, count, verdict, levels)


def _finding(id: str, text: str, criterion: str, comparisons: Iterable[Comparison]) -> Finding:
    found = tuple(comparisons)
    said = [comparison.verdict for comparison in found]
    verdict: Verdict
    if not said:
        verdict = "not tested"
    elif all(v == "supported" for v in said):
        verdict = "supported"
    elif "supported" in said:
        verdict = "partly"
    else:
        verdict = "not supported" if "not supported" in said else "undecided"
    return Finding(id, text, criterion, verdict, found)
