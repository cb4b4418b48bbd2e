"""Statistics of one labelled run, which may have rows every few steps, missing values, and have ended early."""

import numpy as np
import xarray as xr

from eosmodel._status import Status

WINDOW = 25
"""Steps in a moving average, and in the mean that stands for a final value."""

# |1 − ηλ| below float32's resolution of 1 is rounding.
_SMALLEST_FACTOR = float(np.finfo(np.float32).eps)


def stall_reason(run: xr.Dataset) -> str:
    """Why the weights of a run with status STALLED never moved, as far as its rows say."""
    if "gradient_norm" in run and not np.nan_to_num(run.gradient_norm.values).any():
        return "zero gradient"
    if "search_failed" in run and run.search_failed.values[: steps_of(run)].all():
        return "the tuner could not meet its rule"
    if np.nan_to_num(run.stepsize.values).any():
        return "steps below the rounding of the weights"
    return "step size 0, as where the loss is below the tuner's f*"


def status_of(run: xr.Dataset) -> Status:
    """How one run ended; a run that is missing in a combined file was not run."""
    code = float(run["status"])
    return Status(int(code)) if np.isfinite(code) else Status.NOT_RUN


def steps_of(run: xr.Dataset) -> int:
    """Completed steps of one run."""
    steps = float(run["steps"])
    return int(steps) if np.isfinite(steps) else 0


def row_spacing(step: np.ndarray) -> int:
    """Steps between rows."""
    return int(np.median(np.diff(step))) if len(step) > 1 else 1


def moving_average(values: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Centred mean over 25 steps, that is over max(1, round(25/R)) rows R steps apart; shorter at the ends.

    Only finite values count; the result is NaN where the value itself is not finite.
    """
    values = np.asarray(values, dtype=float)
    finite = np.isfinite(values)
    width = min(max(1, round(WINDOW / row_spacing(step))), len(values))
    if not finite.any():
        return np.full(values.shape, np.nan)
    ones = np.ones(width)
    sums = np.convolve(np.where(finite, values, 0.0), ones, mode="same")
    counts = np.convolve(finite.astype(float), ones, mode="same")
    return np.where(finite, sums / np.maximum(counts, 1.0), np.nan)


def smoothed(first: xr.DataArray, second: xr.DataArray) -> np.ndarray:
    """Moving averages of two variables over their common rows, shape (2, rows); NaN where one is not finite."""
    first, second = xr.align(first, second, join="inner")
    pair = np.stack([first.values.astype(float), second.values.astype(float)])
    pair[:, ~np.isfinite(pair).all(axis=0)] = np.nan
    return np.stack([moving_average(values, first.step.values) for values in pair])


def log_error(first: xr.DataArray, second: xr.DataArray) -> float:
    """Median over steps of |ln a − ln b|, a and b the moving averages over their common rows.

    Rows where an average is not positive have no logarithm and are left out; NaN if none remain.
    """
    smooth = smoothed(first, second)
    smooth = smooth[:, (smooth > 0).all(axis=0)]
    return float(np.median(np.abs(np.diff(np.log(smooth), axis=0)))) if smooth.size else float("nan")


def above_rounding(run: xr.Dataset, prediction: xr.Dataset) -> np.ndarray:
    """The steps, of those that two runs have in common, at which one of their losses is more than rounding.

    Rounding is ε|L(w₀)|, with ε of the loss's floating type and L(w₀) the first loss of `run`: the terms of a loss are
    of that size, so that what is left of them below it says nothing, and neither do the step sizes made of it.
    """
    first, second = xr.align(run.loss, prediction.loss, join="inner")
    known = run.loss.values[np.isfinite(run.loss.values)]
    dtype = known.dtype if np.issubdtype(known.dtype, np.floating) else np.dtype(float)
    floor = np.finfo(dtype).eps * abs(known[0]) if known.size else 0.0
    at_rest = (np.abs(first.values) < floor) & (np.abs(second.values) < floor)
    return first.step.values[~at_rest]


def failed_share(run: xr.Dataset) -> float:
    """The share of the completed steps that are recorded at which the tuner could not meet its rule; NaN if unknown."""
    if "search_failed" not in run:
        return float("nan")
    failed = run.search_failed.values[run.step.values < steps_of(run)]
    return float(np.nan_to_num(failed.astype(float)).mean()) if failed.size else float("nan")


def final_mean(run: xr.Dataset, name: str) -> float:
    """Mean over the last 25 completed steps; if none of them has a value, the last that is known; else NaN."""
    step, values, steps = run.step.values, run[name].values.astype(float), steps_of(run)
    known = (step < steps) & np.isfinite(values)
    recent = known & (step >= steps - WINDOW)
    if recent.any():
        return float(values[recent].mean())
    return float(values[known][-1]) if known.any() else float("nan")


def late_mean(run: xr.Dataset, name: str) -> float:
    """Mean over the last quarter of the rows, one at least."""
    return float(run[name][-max(1, run.sizes["step"] // 4) :].mean())


def final_loss(run: xr.Dataset) -> float:
    """`final_mean` of the loss; of a run that stopped where it was to, the last loss, which was low enough."""
    return last_known(run, "loss") if status_of(run) is Status.REACHED else final_mean(run, "loss")


def last_known(run: xr.Dataset, name: str) -> float:
    """The last value of a variable that is known; NaN if none is, or the run does not have it."""
    values = run[name].dropna("step").values if name in run else np.zeros(0)
    return float(values[-1]) if values.size else float("nan")


def last_half(run: xr.Dataset, *names: str) -> np.ndarray:
    """Values of variables over the last half of the completed steps, where all are finite: (names, rows)."""
    steps = steps_of(run)
    values = np.stack([run[name].values.astype(float) for name in names])
    kept = (run.step.values >= steps / 2) & (run.step.values < steps) & np.isfinite(values).all(axis=0)
    return values[:, kept]


def edge_of(run: xr.Dataset) -> float:
    """The edge of stability of ηλ: 2, or what a run along another direction has recorded."""
    return float(run["edge"]) if "edge" in run else 2.0


def edge_products(run: xr.Dataset) -> np.ndarray:
    """η_t λ_t over the last half of the completed steps, in units in which the run's edge of stability is 2."""
    return np.prod(last_half(run, "stepsize", "sharpness"), axis=0) * (2 / edge_of(run))


def edge_exponent(run: xr.Dataset) -> float:
    """Λ = ⟨ln|1 − η_t λ_t|⟩ over the last half, each factor at least float32's resolution; NaN without rows.

    For a run along a direction with memory it is the mean of the growth rate that the run has recorded.
    """
    if "growth" in run:
        growth = last_half(run, "growth")[0]
        return float(growth.mean()) if growth.size else float("nan")
    products = edge_products(run)
    if products.size == 0:
        return float("nan")
    return float(np.mean(np.log(np.maximum(np.abs(1 - products), _SMALLEST_FACTOR))))


def weight_distance(run: xr.Dataset, prediction: xr.Dataset) -> xr.DataArray:
    """‖w_run − w_theory‖ / ‖w_run − w_0‖ at the steps whose weights both have kept, w_0 the first of the run's.

    NaN where the run has not moved, and where one of the two has ended.
    """
    first, second = xr.align(run.weights, prediction.weights, join="inner")

    def norm(weights):
        return np.sqrt((weights.astype(float) ** 2).sum("weight", skipna=False))

    moved = norm(first - run.weights.isel(kept_step=0, drop=True))
    return norm(first - second) / moved.where(moved > 0)


def law_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The Kolmogorov–Smirnov distance sup_s |F₁(s) − F₂(s)| of two samples; NaN if one is empty.

    Computed in integers, so that equal distances compare equally with a bound; scipy's `ks_2samp` subtracts two rounded
    shares.
    """
    if not (first.size and second.size):
        return float("nan")
    values = np.concatenate([first, second])
    below = [np.searchsorted(np.sort(sample), values, side="right") for sample in (first, second)]
    return float(np.abs(below[0] * second.size - below[1] * first.size).max() / (first.size * second.size))


def band(ensemble: xr.DataArray, level: float = 0.9) -> tuple[xr.DataArray, xr.DataArray]:
    """The band of an ensemble over its dimension "member" in which one more draw of its law lies with chance `level`.

    Between the order statistics of ranks (1 ± level)(n + 1)/2 of n members, with interpolation: the i-th of n has the
    mean quantile i/(n + 1). n below (1 + level)/(1 − level), 19 at 90 %, have too few ranks: their whole range is
    given, and holds a draw with chance (n − 1)/(n + 1). Members that have ended leave the band; NaN where none is left.

    Source:
        Hyndman and Fan, Sample quantiles in statistical packages (1996), definition 6.
    """
    from scipy.stats import quantile  # slow to import

    tail = (1 - level) / 2
    options = {"method": "weibull", "axis": -1, "nan_policy": "omit"}

    def end(share):
        return xr.apply_ufunc(quantile, ensemble, share, input_core_dims=[["member"], []], kwargs=options)

    return end(tail), end(1 - tail)


def coverage(run: xr.DataArray, ensemble: xr.DataArray, level: float = 0.9) -> float:
    """The share of the steps with values of both at which a run lies in the central band of an ensemble."""
    low, high = band(ensemble, level)
    run, low, high = xr.align(run, low, high, join="inner")
    known = (run.notnull() & low.notnull()).values
    inside = ((run >= low) & (run <= high)).values
    return float(inside[known].mean()) if known.any() else float("nan")
