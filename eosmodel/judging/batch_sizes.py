"""Four claims about batch sizes, judged from the numbers of a sweep with intervals over seeds.

Every claim is that some ratios are below 1. Of each ratio the mean over seeds of its logarithm is taken, the two runs
of a pair sharing a seed and so their initial weights, with the 90 % interval of Student's t. A ratio is

- *supported* if its whole interval is below 1, *not supported* if the whole interval is above 1;
- *undecided* if the interval contains 1, or if fewer than five seeds have both runs finished.

The verdict on a claim combines those on its ratios (`judging.verdicts.combine`); a claim without ratios, because its
tuners or batch sizes were not run, is not tested. A run that ended early has no final loss to compare; where the best σ
is sought it counts as the worst.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from eosmodel._status import SUCCESSES
from eosmodel.judging.verdicts import Claim, Verdict, combine
from eosmodel.results.formatting import number
from eosmodel.tuners.grids import parameters

LEVEL = 0.9
"""Confidence level of the intervals."""

LEAST_SEEDS = 5
"""Number of pairs of runs below which a ratio is undecided."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of two groups of runs, paired by seed.

    Attributes:
        what: the runs that are compared.
        ratio, low, high: geometric mean over seeds, and its 90 % interval.
        seeds: number of pairs.
        verdict: whether the ratio is below 1.
        levels: the two medians over seeds.
    """

    what: str
    ratio: float
    low: float
    high: float
    seeds: int
    verdict: Verdict
    levels: str

    def __str__(self) -> str:
        interval = f"{number(self.ratio)} [{number(self.low)}, {number(self.high)}]"
        return f"{self.what}: {interval}, {self.seeds} seeds, {self.verdict} ({self.levels})"


def evaluate(sweep: xr.Dataset) -> tuple[Claim, ...]:
    """Judge the four claims on a sweep, by the rules of the module's docstring.

    Args:
        sweep: dataset over (tuner, batch_size, seed), as its plan combines the blocks.
    """
    runs = _Runs(sweep)
    return (
        _claim(
            "a",
            "Sharpening is weaker at small batches.",
            "final λ of the constant step and of CDAT at the smallest batch over that at the full batch, below 1",
            runs.sharpening(),
        ),
        _claim(
            "b",
            "Armijo's rule and the greedy rule recover at small batches.",
            "final loss over the best constant step's of the same seed and batch size: at the middle and at the "
            "smallest batch over that at the full batch, below 1",
            runs.recovery(),
        ),
        _claim(
            "c",
            "The best σ of CDAT falls with the batch size.",
            "σ of lowest final loss without averages, among all σ and among σ ≥ 1 (the greedy rule has σ = 1): at each "
            "batch size over that at the next larger one, below 1",
            runs.best_sigma(),
        ),
        _claim(
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
        """σ by tuner, of the CDAT tuners that differ in σ and averages alone; the greedy rule is σ = 1."""
        _, default = parameters("cdat")
        family = {spec: p for spec, (rule, p) in self.tuners.items() if rule in ("cdat", "greedy")}
        return {
            spec: p["sigma"]
            for spec, p in family.items()
            if p | {"sigma": 0, "ema": 0} == default | {"sigma": 0, "ema": 0} and (p["ema"] > 0) == averaged
        }

    def get(self, name: str, tuner: str, size: int) -> np.ndarray:
        """A variable by seed, NaN where the run ended early."""
        runs = self.sweep.sel(tuner=tuner, batch_size=size)
        return np.where(np.isin(runs.status, SUCCESSES), runs[name].values, np.nan)

    def name(self, size: int) -> str:
        return "full" if size == self.full else str(size)

    def sharpening(self) -> Iterable[Ratio]:
        chosen = [spec for spec, (rule, _) in self.tuners.items() if rule == "constant"]
        for spec in [*chosen, *self.cdat(averaged=False)]:
            if self.full and self.small:
                small, full = (self.get("final_sharpness", spec, at) for at in (self.small[0], self.full))
                yield _compare(f"{spec}, B = {self.small[0]} over full", small, full)

    def recovery(self) -> Iterable[Ratio]:
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

    def best_sigma(self) -> Iterable[Ratio]:
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

    def averaging(self) -> Iterable[Ratio]:
        plain = {sigma: spec for spec, sigma in self.cdat(averaged=False).items()}
        sizes = [*([self.full] if self.full else []), *reversed(self.small)]
        for spec, sigma in self.cdat(averaged=True).items():
            for size in sizes if sigma in plain else []:
                what = f"{spec}, B = {self.name(size)}"
                yield _compare(what, *(self.get("final_loss", label, size) for label in (spec, plain[sigma])))


def _compare(what: str, a: np.ndarray, b: np.ndarray) -> Ratio:
    """The ratio a/b over seeds, and whether it is below 1."""
    from scipy.stats import t

    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(a / b)
    logs = logs[np.isfinite(logs)]
    levels = " against ".join(number(np.nanmedian(side)) if np.isfinite(side).any() else "none" for side in (a, b))
    count = len(logs)
    if count < LEAST_SEEDS:
        mean = float(np.mean(logs)) if count else np.nan
        return Ratio(what, float(np.exp(mean)), 0.0, np.inf, count, Verdict.UNDECIDED, levels)
    mean = float(np.mean(logs))
    half = float(t.ppf((1 + LEVEL) / 2, count - 1) * np.std(logs, ddof=1) / np.sqrt(count))
    verdict = Verdict.SUPPORTED if mean + half < 0 else Verdict.NOT_SUPPORTED if mean - half > 0 else Verdict.UNDECIDED
    ratio, low, high = (float(np.exp(x)) for x in (mean, mean - half, mean + half))
    return Ratio(what, ratio, low, high, count, verdict, levels)


def _claim(id: str, text: str, criterion: str, ratios: Iterable[Ratio]) -> Claim:
    evidence = tuple(ratios)
    return Claim(id, text, criterion, combine(ratio.verdict for ratio in evidence), evidence)
