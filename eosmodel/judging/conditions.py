"""The conditions that claims are made of: each a function of the runs, a tuner and a seed.

Such a function returns whether each of its conditions is met and the numbers behind them by name, or None where the run
cannot be tested. Bounds, all over the last half of the completed steps unless said otherwise:

- at the edge: median (Polyak: mean) of s = ηλ within 10 % of 2; beyond it: above; Λ ≈ 0: |Λ| ≤ 0.05;
- drift of a quantity: the gain of the least-squares line through its logarithm; level: |drift of λ| ≤ 0.05;
  sharpening without end: drift of λ > 0.05; η falls: its drift is negative;
- rises: the median λ is at least 1.1 times the first λ of the run;
- ahead early: lower loss, as a 25-step mean, at 10 % of the horizon; at the end: mean of the last 25 steps, infinite
  for a run that did not finish; the constant step compared with is the one of lowest final loss of the same seed.
  Where one of two runs stopped on purpose (status "reached"), their losses are those of the steps that both have;
- a run oscillates if s exceeds 2 at some step of the last half.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.results.measures import (
    edge_exponent,
    edge_products,
    final_mean,
    last_half,
    moving_average,
    status_of,
    steps_of,
)

NEAR = 0.10
DRIFT = 0.05
EXPONENT = 0.05
RISE = 1.1
EARLY = 0.1


class Runs:
    """Runs by tuner and seed."""

    def __init__(self, experiment: xr.Dataset) -> None:
        self.experiment = experiment
        self.tuners: list[str] = [str(label) for label in experiment.tuner.values]
        self.seeds = experiment.seed.values.tolist()

    def get(self, tuner: str, seed: int) -> xr.Dataset:
        return self.experiment.sel(tuner=tuner, seed=seed)

    def moved(self, tuner: str) -> list[int]:
        """The seeds whose run of a tuner moved at all: one that stalled says nothing of a claim."""
        return [seed for seed in self.seeds if status_of(self.get(tuner, seed)) is not Status.STALLED]

    def best(self, prefix: str, seed: int) -> xr.Dataset | None:
        """The finished run of lowest final loss among the tuners whose name has the prefix; one that reached the loss
        or the accuracy at which it was to stop is better than others, the sooner the better."""
        runs = [self.get(label, seed) for label in self.tuners if label.partition(":")[0].startswith(prefix)]
        runs = [run for run in runs if status_of(run).ok]
        reached = [run for run in runs if status_of(run) is Status.REACHED]
        return min(reached, key=steps_of) if reached else min(runs, key=_final_loss, default=None)


Tested = tuple[list[bool], dict[str, float]]
"""Whether each condition is met, and numbers by name."""

Condition = Callable[[Runs, str, int], Tested | None]
"""(runs, tuner, seed) ↦ what was tested; None where the run cannot be tested."""


def levels_at_edge(runs: Runs, tuner: str, seed: int) -> Tested:
    run = runs.get(tuner, seed)
    s, slope, rise = _median(edge_products(run)), _drift(run, "sharpness"), _rise(run)
    level = status_of(run).ok and abs(s / 2 - 1) <= NEAR and abs(slope) <= DRIFT
    return [level, level and rise >= RISE], {"median ηλ": s, "drift of ln λ": slope, "λ over its first value": rise}


def sharpens(runs: Runs, tuner: str, seed: int) -> Tested:
    run = runs.get(tuner, seed)
    slope, falling = _drift(run, "sharpness"), _drift(run, "stepsize")
    numbers = {"drift of ln λ": slope, "drift of ln η": falling, "median ηλ": _median(edge_products(run))}
    return [slope > DRIFT, slope > DRIFT and falling < 0], numbers


def stays_under_edge(runs: Runs, tuner: str, seed: int) -> Tested:
    s = edge_products(runs.get(tuner, seed))
    high = float(np.quantile(s, 0.9)) if s.size else np.nan
    share = 100 * float(np.mean(s > 2)) if s.size else np.nan
    numbers = {"median ηλ": _median(s), "90th percentile": high, "steps above 2 in per cent": share}
    return [_median(s) <= 2 * (1 + NEAR), high <= 2 * (1 + NEAR)], numbers


def is_overtaken(runs: Runs, tuner: str, seed: int) -> Tested | None:
    run, constant = runs.get(tuner, seed), runs.best("constant", seed)
    if constant is None or status_of(run) is Status.NOT_RUN:
        return None
    pair = _shared(run, constant)
    early, end = ratio(*map(_early_loss, pair)), ratio(*map(_final_loss, pair))
    return [end > 1, early < 1], {"loss over the best constant's, early": early, "at the end": end}


def beats_both(runs: Runs, tuner: str, seed: int) -> Tested | None:
    run, constant, armijo = runs.get(tuner, seed), runs.best("constant", seed), runs.best("armijo", seed)
    if constant is None or armijo is None or status_of(run) is Status.NOT_RUN:
        return None
    s, exponent = edge_products(run), edge_exponent(run)
    mean = float(np.mean(s)) if s.size else np.nan
    ratios = [ratio(*map(_final_loss, _shared(run, other))) for other in (constant, armijo)]
    numbers = {"mean ηλ": mean, "median ηλ": _median(s), "Λ": exponent}
    numbers |= {"final loss over the best constant's": ratios[0], "over Armijo's": ratios[1]}
    at_edge = mean >= 2 * (1 - NEAR) and abs(exponent) <= EXPONENT
    return [at_edge, ratios[0] < 1, ratios[1] < 1], numbers


def has_zero_exponent(runs: Runs, tuner: str, seed: int) -> Tested | None:
    run = runs.get(tuner, seed)
    if not status_of(run).ok or not np.any(edge_products(run) > 2):
        return None
    return [abs(edge_exponent(run)) <= EXPONENT], {"Λ": edge_exponent(run)}


def ratio(a: float, b: float) -> float:
    """a/b; 0/0 is NaN, and a/0 infinite."""
    return a / b if b > 0 else float("nan") if a == b else float("inf")


def _shared(run: xr.Dataset, other: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Two runs, cut to the steps that both have where one of them stopped on purpose: after that its loss did not rise,
    it was just not looked at."""
    pair = run, other
    if not any(status_of(one) is Status.REACHED for one in pair):
        return pair
    steps = max(min(map(steps_of, pair)), 1)
    first, second = (one.sel(step=one.step < steps).assign(steps=min(steps_of(one), steps)) for one in pair)
    return first, second


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
    # A stochastic run has the full loss on tracked rows alone; a run that has ended by then is not ahead.
    known = losses[np.isfinite(losses)]
    return float(known[-1]) if known.size and steps_of(run) > run.step.values[row] else float("inf")


def _final_loss(run: xr.Dataset) -> float:
    loss = final_mean(run, "loss")
    return loss if status_of(run).ok and np.isfinite(loss) else float("inf")


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else float("nan")
