"""One cell of the matrix: a run, its perturbed copy, the theories of it, and what is measured of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.curvature import leading
from eosmodel.experiment import nearby, predict, river_in, simulate
from eosmodel.judging.quantities import AT_EDGE, FITTED, LOST, NEAR, RUN_NUMBERS, THEORY_NUMBERS
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.recipes import network
from eosmodel.results import measures, record
from eosmodel.results.names import VARIABLES
from eosmodel.studies.comparison import ended as river_ended
from eosmodel.theory import from_spec as theory_from_spec
from eosmodel.tuners.base import AbstractTuner
from eosmodel.tuners.constant import Constant
from eosmodel.tuners.registry import from_spec

ROWS = 60
"""Rows of a trajectory that a cell keeps, at most."""
RUN = "experiment"
_TRAJECTORIES = ("loss", "stepsize", "sharpness")


def compute(config: Mapping[str, Any], *rivers: xr.Dataset) -> xr.Dataset:
    """Run a cell of the matrix for all its seeds.

    A function of the configuration alone: jax's precision is set for it, whatever it is outside.

    Args:
        config: of a block, from `make_plan`.
        rivers: of the theories that need one, of each all seeds in order.

    Returns:
        Dataset over seed of the variables of `RUN_NUMBERS`, `status` and `steps`; over (theory, seed) of those of
        `THEORY_NUMBERS`, `theory_status` and `theory_steps`; over (source, seed, row) of the moving averages of
        loss, step size and sharpness at 60 rows at most, the run being the first source, and their `step`.
    """
    with jax.enable_x64(config["network"]["dtype"] == "float64"):
        net = network(**config["network"], seed=config["seeds"][0])
        count = len(config["seeds"])
        cells = [_one(net, config, seed, rivers[i::count]) for i, seed in enumerate(config["seeds"])]
    return record.describe(xr.concat(cells, xr.IndexVariable("seed", config["seeds"], VARIABLES["seed"].attrs())))


def ended(block: xr.Dataset) -> str:
    """How a cell ended, or the measurement of a river."""
    if "theory" not in block.dims:
        return river_ended(block)
    theory = block.isel(theory=0)
    errors = ", ".join(
        f"{symbol} {np.median(theory[f'{name}_error']):.3f}"
        for symbol, name in (("λ", "sharpness"), ("η", "stepsize"), ("L", "loss"))
    )
    chaotic = f"{int(block.chaotic.sum())} of {block.sizes['seed']} chaotic"
    return f"errors of {theory.theory.item()} {errors}; {chaotic}; {block.attrs['seconds']:.0f} s"


def tuner_at(template: str, objective: AbstractObjective, weights) -> AbstractTuner:
    """A tuner of `TUNERS`, or of any specification, with its scales measured at some weights."""
    _, gradient, pairs = leading(objective, weights, 1)
    sharpness = float(pairs.values[0])
    scales = {"inverse": 1 / sharpness, "trial": 4 / sharpness, "move": float(jnp.linalg.norm(gradient)) / sharpness}
    return from_spec(template.format(**scales))


def _one(net, config, seed, rivers) -> xr.Dataset:
    of_theories = iter(rivers)
    start = net.initial(seed)
    tuner = tuner_at(config["template"], net, start)
    options = {"steps": config["steps"], "modes": config["modes"], "progress": False}
    starts = nearby(start, config["members"] + 1)
    run = simulate(net, tuner, start=start, measure_every=0, **options)
    end = _fitted(run)
    run = _until(run, end)
    copy = _until(simulate(net, tuner, start=starts[-1], measure_every=0, **options), end)
    numbers = _numbers(run, copy, end)

    numbers_of: dict[str, dict[str, Any]] = {}
    trajectories = [_thin(run, end)]
    for i, spec in enumerate(config["theories"]):
        if theory_from_spec(spec).constant_steps_only and not isinstance(tuner, Constant):
            numbers_of[spec] = dict.fromkeys(THEORY_NUMBERS, np.nan) | {
                "theory_status": int(Status.NOT_RUN),
                "theory_steps": 0,
            }
            trajectories.append(xr.full_like(trajectories[0], np.nan))
            continue
        river = river_in(next(of_theories)) if theory_from_spec(spec).needs_river else None
        whole = predict(net, tuner, theory=spec, start=start, river=river, **options)
        one = _until(whole, end)
        others = []
        if i == 0 and river is None and numbers["chaotic"] and config["members"] > 1:
            others = [_until(predict(net, tuner, theory=spec, start=w, **options), end) for w in starts[:-1]]
        numbers_of[spec] = _theory_numbers(run, one, others, end) | {
            "theory_status": int(whole.status),
            "theory_steps": int(whole.steps),
        }
        trajectories.append(_thin(one, end))

    data: dict[str, Any] = {name: ((), numbers[name], RUN_NUMBERS[name].attrs()) for name in RUN_NUMBERS}
    data |= {name: ((), int(run[name])) for name in ("status", "steps")}
    for name in (*THEORY_NUMBERS, "theory_status", "theory_steps"):
        attrs = THEORY_NUMBERS[name].attrs() if name in THEORY_NUMBERS else {}
        data[name] = ("theory", [of[name] for of in numbers_of.values()], attrs)
    block = xr.Dataset(data, {"theory": list(numbers_of)})
    return block.merge(xr.concat(trajectories, xr.IndexVariable("source", [RUN, *numbers_of])))


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


def _numbers(run: xr.Dataset, copy: xr.Dataset, end: int) -> dict[str, float]:
    products = (run.stepsize * run.sharpness).values
    beyond = np.flatnonzero(products > 1.95)
    loss, center = measures.last_half(run, "loss", "center_loss")
    late = measures.edge_products(run)
    stepsize = run.stepsize.values[:, None] * run.eigenvalues.values
    half = slice(end // 2, end)
    error = max(_errors(run, copy).values(), key=lambda value: -1.0 if np.isnan(value) else value)
    excess = loss / center - 1
    return {
        "judged_steps": end,
        "first_edge": float(beyond[0]) if beyond.size else np.nan,
        "final_loss": measures.final_mean(run, "loss"),
        "final_sharpness": measures.final_mean(run, "sharpness"),
        "initial_sharpness": float(run.sharpness[0]),
        "median_edge_product": float(np.median(late)) if late.size else np.nan,
        "edge_exponent": measures.edge_exponent(run),
        "edge_modes": float((stepsize[half] > AT_EDGE).sum(axis=1).mean()) if end else np.nan,
        "excess": float(np.median(excess)) if excess.size else np.nan,
        "copy_error": error,
        "chaotic": int(error > NEAR),
    } | {f"copy_{name}": value for name, value in _statistics(run, [copy]).items()}


def _statistics(run: xr.Dataset, ensemble: Sequence[xr.Dataset]) -> dict[str, float]:
    """The numbers of `STATISTICS` of other runs or predictions taken together."""
    mean = [measures.last_half(member, "sharpness")[0] for member in ensemble]
    products = [measures.edge_products(member) for member in ensemble]
    exponents = np.array([measures.edge_exponent(member) for member in ensemble])
    exponents = exponents[np.isfinite(exponents)]
    return {
        "mean_sharpness": _log_ratio(np.concatenate(mean), measures.last_half(run, "sharpness")[0]),
        "distance": measures.law_distance(measures.edge_products(run), np.concatenate(products)),
        "exponent_difference": float(exponents.mean() - measures.edge_exponent(run)) if exponents.size else np.nan,
    }


def _theory_numbers(run: xr.Dataset, one: xr.Dataset, others: Sequence[xr.Dataset], end: int) -> dict[str, float]:
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
        members = xr.concat([member[list(_TRAJECTORIES)] for member in others], "member")
        numbers |= {f"{name}_coverage": measures.coverage(run[name], members[name]) for name in _TRAJECTORIES}
    else:
        numbers |= {f"{name}_coverage": np.nan for name in _TRAJECTORIES}
    return numbers


def _log_ratio(prediction: np.ndarray, of_run: np.ndarray) -> float:
    if not prediction.size or not of_run.size or not prediction.mean() > 0 or not of_run.mean() > 0:
        return float("nan")
    return float(np.log(prediction.mean() / of_run.mean()))


def _reach(run: xr.Dataset, prediction: xr.Dataset, end: int) -> float:
    first, second = measures.smoothed(run.sharpness, prediction.sharpness)
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
