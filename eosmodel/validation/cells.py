"""One cell of the matrix: a run, its twin, the theories of it, and what is measured of them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel import blocks, measures, record
from eosmodel._status import Status
from eosmodel.curvature import leading
from eosmodel.experiment import nearby, predict, simulate
from eosmodel.names import VARIABLES, Variable
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.recipes import network
from eosmodel.theory import parse
from eosmodel.tuners.base import AbstractTuner
from eosmodel.tuners.constant import Constant
from eosmodel.tuners.registry import from_spec

NEAR = 0.05
"""An error up to this is one of a prediction step by step."""
FITTED = 0.01
"""A run is judged until its smoothed loss has fallen to this share of the first: little is left to learn then, and
under cross-entropy no curvature either."""
ROWS = 60
"""Rows of a trajectory that a cell keeps, at most."""
RUN = "experiment"

_TRAJECTORIES = ("loss", "stepsize", "sharpness")
_CONSTANT_ONLY = ("edge-flow", "rod-flow")
LOST = 0.1
"""The sharpness has been lost where the errors of its logarithm are above this."""
# From which ηλ on a mode counts as being at the edge.
_AT_EDGE = 1.8

STATISTICS: dict[str, Variable] = {
    "mean_sharpness": Variable("Δ ln⟨λ⟩", "ln of the mean λ over the last half, against that of the run"),
    "distance": Variable("KS", "Kolmogorov–Smirnov distance of s = ηλ from the run, over the last half"),
    "exponent_difference": Variable("ΔΛ", "edge exponent less that of the run"),
}
"""How far another run, or a prediction, is from a run in what a chaotic run can be known by."""

NUMBERS: dict[str, Variable] = {
    "judged_steps": Variable("T", f"steps judged: until the smoothed loss is {FITTED:g} of the first, or the end"),
    "first_edge": Variable("t₂", "first step at which ηλ is above 1.95, NaN if it never is"),
    "final_loss": Variable("L", f"loss, mean over the last {measures.WINDOW} judged steps"),
    "final_sharpness": Variable("λ", f"sharpness, mean over the last {measures.WINDOW} judged steps"),
    "initial_sharpness": Variable("λ₀", "sharpness at the first step"),
    "median_edge_product": Variable("median s", "median of s = ηλ over the last half"),
    "edge_exponent": Variable("Λ", "mean of ln|1 − s| over the last half"),
    "edge_modes": Variable("k", f"modes with ηλ_i > {_AT_EDGE}, of those followed, mean over the last half"),
    "excess": Variable("L/L̄ − 1", "loss of the oscillation against that of the centre, median over the last half"),
    "twin_error": Variable("twin", "largest of the errors of λ, η and L of a run that starts 1e-4 away"),
    "chaotic": Variable("chaotic", f"1: the twin error is above {NEAR:g}, so the run cannot be known step by step"),
} | {f"twin_{key}": Variable(f"twin {of.symbol}", f"{of.meaning}, the twin") for key, of in STATISTICS.items()}
"""What a cell keeps of every run, beside `status` and `steps`."""

SAID: dict[str, Variable] = {
    "sharpness_error": Variable("error λ", "median over steps of |Δ ln λ|, of moving averages"),
    "stepsize_error": Variable("error η", "the same of the step size"),
    "loss_error": Variable("error L", "the same of the loss"),
    **STATISTICS,
    **{
        f"single_{key}": Variable(f"one {of.symbol}", f"{of.meaning}, one prediction") for key, of in STATISTICS.items()
    },
    "sharpness_coverage": Variable("cover λ", "share of the steps with λ of the run in the ensemble's 90 % band"),
    "stepsize_coverage": Variable("cover η", "the same of the step size"),
    "loss_coverage": Variable("cover L", "the same of the loss"),
    "reach": Variable("reach", f"steps until the smoothed |Δ ln λ| first exceeds {LOST:g}; all judged steps if never"),
    "left_out": Variable("ε", "share of the gradient that the theory leaves out, mean; NaN of one that does not say"),
    "cost": Variable("cost", "seconds a step, in those of the tracked run"),
}
"""What a cell keeps of every theory of every run, beside its `status` and `steps`."""


def compute(config: Mapping[str, Any]) -> xr.Dataset:
    """Run a cell of the matrix for all its seeds.

    A function of the configuration alone: jax's precision is set for it, whatever it is outside.

    Args:
        config: of a block, from `make_plan`.

    Returns:
        Dataset over seed of the variables of `NUMBERS`, `status` and `steps`; over (theory, seed) of those of `SAID`,
        `theory_status` and `theory_steps`; over (source, seed, row) of the moving averages of loss, step size and
        sharpness at 60 rows at most, the run being the first source, and their `step`.
    """
    begin = time.perf_counter()
    with jax.enable_x64(config["network"]["dtype"] == "float64"):
        net = network(**config["network"], seed=config["seeds"][0])
        found = [_one(net, config, seed) for seed in config["seeds"]]
    block = xr.concat(found, xr.IndexVariable("seed", config["seeds"], VARIABLES["seed"].attrs()))
    return blocks.finish(record.describe(block), config, time.perf_counter() - begin)


def tuner_at(template: str, objective: AbstractObjective, weights) -> AbstractTuner:
    """A tuner of `TUNERS`, or of any specification, with its scales measured at some weights."""
    _, gradient, pairs = leading(objective, weights, 1)
    sharpness = float(pairs.values[0])
    scales = {"inverse": 1 / sharpness, "trial": 4 / sharpness, "move": float(jnp.linalg.norm(gradient)) / sharpness}
    return from_spec(template.format(**scales))


def _one(net, config, seed) -> xr.Dataset:
    start = net.initial(seed)
    tuner = tuner_at(config["template"], net, start)
    options = {"steps": config["steps"], "modes": config["modes"], "progress": False}
    starts = nearby(start, config["members"] + 1)
    run = simulate(net, tuner, w0=start, measure_every=0, **options)
    end = _fitted(run)
    run = _until(run, end)
    twin = _until(simulate(net, tuner, w0=starts[-1], measure_every=0, **options), end)
    numbers = _numbers(run, twin, end)

    said = {}
    trajectories = [_thin(run, end)]
    for i, spec in enumerate(config["theories"]):
        name = parse(spec)[0]
        if name in _CONSTANT_ONLY and not isinstance(tuner, Constant):
            said[spec] = dict.fromkeys(SAID, np.nan) | {"theory_status": int(Status.NOT_RUN), "theory_steps": 0}
            trajectories.append(xr.full_like(trajectories[0], np.nan))
            continue
        whole = predict(net, tuner, theory=spec, w0=start, **options)
        one = _until(whole, end)
        others = []
        if i == 0 and numbers["chaotic"] and config["members"] > 1:
            others = [_until(predict(net, tuner, theory=spec, w0=w, **options), end) for w in starts[:-1]]
        said[spec] = _said(run, one, others, end) | {
            "theory_status": int(whole.status),
            "theory_steps": int(whole.steps),
        }
        trajectories.append(_thin(one, end))

    data: dict[str, Any] = {name: ((), numbers[name], NUMBERS[name].attrs()) for name in NUMBERS}
    data |= {name: ((), int(run[name])) for name in ("status", "steps")}
    for name in (*SAID, "theory_status", "theory_steps"):
        attrs = SAID[name].attrs() if name in SAID else {}
        data[name] = ("theory", [of[name] for of in said.values()], attrs)
    block = xr.Dataset(data, {"theory": list(said)})
    return block.merge(xr.concat(trajectories, xr.IndexVariable("source", [RUN, *said])))


def _fitted(run: xr.Dataset) -> int:
    """Steps until the smoothed loss is a hundredth of the first; all that were taken if it never is."""
    taken = measures.steps_of(run)
    smooth = measures.moving_average(run.loss.values, run.step.values)[:taken]
    below = np.flatnonzero(smooth < FITTED * smooth[0]) if taken else np.array([], int)
    return int(below[0]) if below.size else taken


def _until(run: xr.Dataset, end: int) -> xr.Dataset:
    """A run as if it had been ended there."""
    return run.isel(step=slice(0, max(end, 1))).assign(steps=min(measures.steps_of(run), end))


def _errors(run: xr.Dataset, other: xr.Dataset) -> dict[str, float]:
    return {f"{name}_error": measures.log_error(run[name], other[name]) for name in _TRAJECTORIES}


def _numbers(run: xr.Dataset, twin: xr.Dataset, end: int) -> dict[str, float]:
    products = (run.stepsize * run.sharpness).values
    beyond = np.flatnonzero(products > 1.95)
    loss, center = measures.last_half(run, "loss", "center_loss")
    late = measures.edge_products(run)
    stepsize = run.stepsize.values[:, None] * run.eigenvalues.values
    half = slice(end // 2, end)
    error = max(_errors(run, twin).values(), key=lambda value: -1.0 if np.isnan(value) else value)
    excess = loss / center - 1
    return {
        "judged_steps": end,
        "first_edge": float(beyond[0]) if beyond.size else np.nan,
        "final_loss": measures.final_mean(run, "loss"),
        "final_sharpness": measures.final_mean(run, "sharpness"),
        "initial_sharpness": float(run.sharpness[0]),
        "median_edge_product": float(np.median(late)) if late.size else np.nan,
        "edge_exponent": measures.edge_exponent(run),
        "edge_modes": float((stepsize[half] > _AT_EDGE).sum(axis=1).mean()) if end else np.nan,
        "excess": float(np.median(excess)) if excess.size else np.nan,
        "twin_error": error,
        "chaotic": int(error > NEAR),
    } | {f"twin_{name}": value for name, value in _statistics(run, [twin]).items()}


def _statistics(run: xr.Dataset, ensemble: Sequence[xr.Dataset]) -> dict[str, float]:
    """The numbers of `STATISTICS` of other runs or predictions taken together."""
    mean = [measures.last_half(said, "sharpness")[0] for said in ensemble]
    products = [measures.edge_products(said) for said in ensemble]
    exponents = np.array([measures.edge_exponent(said) for said in ensemble])
    exponents = exponents[np.isfinite(exponents)]
    return {
        "mean_sharpness": _log_ratio(np.concatenate(mean), measures.last_half(run, "sharpness")[0]),
        "distance": measures.law_distance(measures.edge_products(run), np.concatenate(products)),
        "exponent_difference": float(exponents.mean() - measures.edge_exponent(run)) if exponents.size else np.nan,
    }


def _said(run: xr.Dataset, one: xr.Dataset, others: Sequence[xr.Dataset], end: int) -> dict[str, float]:
    """What a theory says of a run; its statistics are those of the ensemble, where there is one."""
    single = _statistics(run, [one])
    numbers = _errors(run, one) | (_statistics(run, [one, *others]) if others else single)
    numbers |= {f"single_{name}": value for name, value in single.items()}
    numbers |= {
        "reach": _reach(run, one, end),
        "left_out": float(one.left_out.mean()) if "left_out" in one else np.nan,
        "cost": float(one.seconds_per_step / run.seconds_per_step),
    }
    if others:
        members = xr.concat([said[list(_TRAJECTORIES)] for said in others], "member")
        numbers |= {f"{name}_coverage": measures.coverage(run[name], members[name]) for name in _TRAJECTORIES}
    else:
        numbers |= {f"{name}_coverage": np.nan for name in _TRAJECTORIES}
    return numbers


def _log_ratio(said: np.ndarray, of_run: np.ndarray) -> float:
    if not said.size or not of_run.size or not said.mean() > 0 or not of_run.mean() > 0:
        return float("nan")
    return float(np.log(said.mean() / of_run.mean()))


def _reach(run: xr.Dataset, said: xr.Dataset, end: int) -> float:
    first, second = measures.smoothed(run.sharpness, said.sharpness)
    known = np.flatnonzero(np.isfinite(first))
    if not known.size:
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = ~(np.abs(np.log(second / first)) <= LOST)
    # A theory that begins late is asked from there on.
    beyond = np.flatnonzero(lost[known[0] : end])
    return float(beyond[0] if beyond.size else end - known[0])


def _thin(run: xr.Dataset, end: int) -> xr.Dataset:
    """The moving averages at a few steps, as many rows in every cell."""
    step = run.step.values
    rows = np.unique(np.linspace(0, max(end - 1, 0), ROWS).round().astype(int))
    data: dict[str, Any] = {
        name: ("row", _padded(measures.moving_average(run[name].values, step)[rows])) for name in _TRAJECTORIES
    }
    return xr.Dataset(data | {"step": ("row", _padded(step[rows].astype(float)))})


def _padded(values: np.ndarray) -> np.ndarray:
    return np.pad(values, (0, ROWS - len(values)), constant_values=np.nan)
