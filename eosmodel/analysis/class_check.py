"""The two classes put to the test: predicted from Φ, measured on valleys where the real tuner drives real descent."""

import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel._checks import check_count, check_range
from eosmodel._status import Status
from eosmodel.curvature import Tracker
from eosmodel.dynamics import Descent
from eosmodel.objectives.valleys import Valley
from eosmodel.simulation import run
from eosmodel.theory.classes import Kind, classify
from eosmodel.theory.fast_map import FastMap
from eosmodel.tuners.registry import REGISTRY, from_spec

SPECS = (
    "constant:0.8",
    "constant:2.02",
    "schedule:constant_schedule,value=2.02",
    "armijo:initial=0.3",
    "armijo-restart:initial=0.7",
    "armijo-restart:initial=30",
    "polyak:1",
    "polyak:0.5",
    "polyak:0.35",
    "polyak:0.2",
    "sps-max:c=1,max=0.8",
    "sps-max:c=1,max=2.02",
    "greedy",
    "cdat:1.5",
    "cdat:1.9",
    "cdat:2",
    "on-edge:1.9",
    "on-edge:2",
    "normalized:0.8",
    "normalized:4",
    "clipping:step=2.02,max_norm=0.8",
    "clipping:step=2.02,max_norm=2",
    "rmsprop:0.8",
    "rmsprop:4",
    "adagrad-norm:1",
    "adagrad-norm:100",
    "sps-smoothed:0.35",
    "sps-smoothed:0.2",
    # A first step of exactly 1/λ would end the oscillation for good.
    "zhang-hager:initial=0.3",
    "armijo-window:initial=0.3",
    "goldstein:initial=0.3",
    "strong-wolfe:initial=0.3",
)
"""Rules on both sides of the edge where their parameters allow it; steps in units of 1/λ."""

# A drift within a quarter of what α alone gives counts as none, predicted or measured.
_STILL = 0.25
# γ within this of 0 is at the edge: the coefficients are means over a stretch of a run.
_MARGIN = 0.02
# ln r falls by more than this over the stretch: the oscillation dies.
_DIES = -3.0
# … or lies below this, where it has died already.
_DEAD = -30.0
# Rows before a run leaves its valley, at the least, to say anything about it.
_SHORTEST = 40
# The second start has this much more ln r.
_APART = 2.0
_BATCHED = eqx.if_array(0)
_SLOW = ("sharpness", "bulk_gradient_sq", "kappa", "center_loss", "alpha", "beta")
_ROWS = (*_SLOW, "stepsize", "loss", "amplitude")


def default_specs() -> tuple[str, ...]:
    """`SPECS`, and every other rule of the registry with its defaults.

    Example:
        >>> "armijo:initial=0.3" in default_specs(), "adgd" in default_specs()
        (True, True)
    """
    named = {spec.partition(":")[0] for spec in SPECS}
    return (*SPECS, *(name for name in REGISTRY if name not in named))


def probe_valley(alpha, beta, kappa, start_ratio, gamma=0.0) -> Valley:
    """The valley with λ = G = 1 and given α, β, κ, started with the energy r = start_ratio in its oscillation.

    Two bulk modes of curvature κ: one along ∇λ, which holds the share α²/(βG) of G, and one that λ does not feel.

    Example:
        >>> import jax.numpy as jnp
        >>> floor = probe_valley(*jnp.asarray([1e-3, 1e-4, 1e-2, 1.0]))
        >>> w = floor.initial()
        >>> seen = floor.sharpness(w), floor.alpha(w), floor.bulk_gradient_sq(w), floor.kappa(w)
        >>> [round(float(x), 6) for x in seen]
        [1.0, 0.001, 1.0, 0.01]
    """
    along = -alpha / (jnp.sqrt(beta) * kappa)
    across = jnp.sqrt(jnp.maximum(1 - alpha**2 / beta, 0)) / kappa
    mu = jnp.stack([kappa, kappa])
    start = jnp.stack([jnp.sqrt(start_ratio), along, across])
    return Valley(1 + alpha / kappa, beta, jnp.asarray([1.0, 0.0], start.dtype), mu, start, gamma)


def check_classes(
    alpha: Any,
    beta: Any,
    specs: Sequence[str] | None = None,
    *,
    kappa: float = 3e-4,
    gamma: float = 0.0,
    steps: int = 1600,
) -> xr.Dataset:
    """Kind and sign of dλ/dt of tuners over a grid of valleys, predicted and measured.

    Units are those in which λ = G = 1 at the start, so α, β and a tuner's steps are α/λ², βG/λ⁴ and ηλ. Each valley is
    run twice, from x² = 0.1 · 2α/β and from e² times that. The stretch looked at is the second half of the steps.

    A run that leaves its valley (λ or the loss below 0: the kick of the oscillation was too large for it) ends there.

    Predicted, by `classify` from the medians of λ, G, κ, A, α, β over the stretch, with a margin of 0.02: kind and q.

    Measured:

        kind, from r̂ = ⟨ηr⟩/⟨η⟩: does the oscillation follow the tuner (clamped), or 2α/β (self-stabilised)?
            ended early                     undecided; status out-of-range where it left its valley
            ln r falls by 3, or below −30   below the edge
            ∂ ln r̂/∂ ln r(0) > ½            undecided: neither has set it
            −∂ ln r̂/∂ ln β, along the grid  < ¼ clamped, > ¾ self-stabilised, else undecided
        q = 1 − Δλ/Σηα, which in a valley is Σηβx²/Σ2ηα

    and of both the trend, the sign of 1 − q, 0 where |1 − q| < ¼.

    Where they are known to differ, and why:

    - Constant steps with 4α > κλ² (α in these units): the balance λ = 2/η, x² = 2α/β of the valley is an unstable
      spiral, and λ swings about 2/η more and more. The class is that of the moment, below the edge or above.
    - CDAT at σ = 2: r grows by 4(1 − κ) a step whatever λ does. The balance takes r_q/4 steps to be reached; after it
      λ slides down behind x² = 2α/β, or falls out of the valley, and is not pinned. It is held only where ∇λ takes
      up most of the bulk's gradient (α² ≈ β): the kick −½x²∇λ then cancels that gradient at q = 1, and r with it.
    - `ArmijoRestart`: s takes the values initial·λ·factorᵏ only, and a tooth just above 2 acts as a constant step.
    - Where q ≫ 1 the kick changes λ, G and κ within a few steps: no separation of time scales. The sign is right, its
      size is not, and the run soon leaves the valley (Polyak: x² ~ L̄).
    - Chaos (Polyak, c > ½): ⟨ηx²⟩ rests on rare bursts, so its slope along the grid is noise of order one.
    - On-edge at σ = 2 is undecided, and stays undecided until terms of higher order move x.
    - AdaGrad-norm is predicted from a fresh memory; a run's b has grown, and it ends below the edge whatever its step.
    - A rule that remembers losses (Zhang–Hager, the window) sees its reference lie above a floor that falls, which the
      frozen floor of the fast map leaves out: the kind is right, r is larger than predicted.
    - Barzilai–Borwein: their rare steps of 1/(κλ) move the bulk at once, so that nothing is slow. The bulk of one
      curvature is solved within tens of steps (BB2), or the valley left (BB1); agreement that is found there is of
      undecided with undecided.
    - A normalised or clipped step that is below the edge for long lets x die; above the edge it is missed for as long
      as it takes to grow back.

    Args:
        alpha: α, increasing, > 0, shape (alphas,).
        beta: β, increasing, ≥ α² (a valley has α² ≤ βG); shape (betas,), two or more.
        specs: tuners, as `tuners.from_spec` takes them; `default_specs()` when None.
        kappa: κ of both bulk modes; the slow variables change by a factor e^(−κs) a step.
        gamma: γ ≥ 0 of the valley, which stiffens a large oscillation.
        steps: of each run, ≥ 40.

    Returns:
        Dataset over (tuner, alpha, beta). `disagreements` lists where the two differ.

    Raises:
        ValueError: an argument out of its range, or an unknown tuner.

    Example:
        >>> found = check_classes([3e-4], [1e-6, 1e-5], ["cdat:1.5"], steps=300)
        >>> found.kind_measured.values.ravel().tolist()  # clamped
        [1, 1]
    """
    alpha, beta = np.atleast_1d(np.asarray(alpha, float)), np.atleast_1d(np.asarray(beta, float))
    check_range("check_classes", "alpha", alpha, 0, low_open=True, high_open=True)
    check_range("check_classes", "beta", beta, float(np.max(alpha)) ** 2, high_open=True)
    check_range("check_classes", "kappa", kappa, 0, 1, low_open=True, high_open=True)
    check_range("check_classes", "gamma", gamma, 0, high_open=True)
    check_count("check_classes", "steps", steps, 40)
    for name, values in (("alpha", alpha), ("beta", beta)):
        if values.ndim != 1 or np.any(np.diff(values) <= 0):
            raise ValueError(f"check_classes: {name} must be increasing, got {values}")
    if beta.size < 2:
        raise ValueError(f"check_classes: beta must have two values or more, got {beta}")
    grid = np.stack(np.meshgrid(alpha, beta, indexing="ij"), axis=-1)
    specs = default_specs() if specs is None else specs
    parts = [_one(from_spec(spec), grid, kappa, gamma, steps) for spec in specs]
    data = {
        name: (("tuner", "alpha", "beta"), np.stack([part[name] for part in parts]), {"long_name": meaning})
        for name, meaning in _MEANINGS.items()
    }
    coords = {
        "tuner": list(specs),
        "alpha": ("alpha", alpha, {"symbol": "α/λ²"}),
        "beta": ("beta", beta, {"symbol": "βG/λ⁴"}),
    }
    result = xr.Dataset(data, coords, {"kappa": kappa, "gamma": gamma, "steps": steps})
    for name in ("kind_predicted", "kind_measured"):
        result[name].attrs |= {"flag_values": [int(k) for k in Kind], "flag_meanings": " ".join(k.label for k in Kind)}
    return result


_MEANINGS = {
    "kind_predicted": "kind predicted from Φ",
    "kind_measured": "kind measured on the run",
    "q_predicted": "q = βx²/(2α) predicted",
    "q_measured": "1 − Δλ/Σηα of the run",
    "trend_predicted": "sign of dλ/dt predicted, 0 within a quarter of α",
    "trend_measured": "sign of Δλ, 0 within a quarter of Σηα",
    "r_predicted": "⟨ηr⟩/⟨η⟩ on the fast map, where the tuner clamps",
    "r_measured": "⟨ηr⟩/⟨η⟩ of the run, r = λ²x²/G",
    "edge_exponent": "⟨ln|1 − ηλ|⟩ of the run",
    "lambda_change": "Δ ln λ over the stretch",
    "status": "how the runs from the two starts ended, the worse",
}


def _one(tuner, grid, kappa, gamma, steps):
    """Predicted and measured for one tuner over the grid, arrays (alphas, betas)."""
    dtype = jnp.result_type(float)
    a, b = grid[..., 0], grid[..., 1]
    ratio = 0.2 * a / b * np.exp([[[0.0]], [[_APART]]])  # starts, alphas, betas
    flat = [np.broadcast_to(x, ratio.shape).ravel() for x in (a, b, kappa, ratio, gamma)]
    valleys = eqx.filter_vmap(probe_valley)(*(jnp.asarray(x, dtype) for x in flat))
    rules = jax.tree.map(
        lambda leaf: jnp.full(ratio.size, leaf, dtype) if eqx.is_array_like(leaf) else leaf,
        tuner,
    )
    dynamics = Descent(valleys, rules, tracker=Tracker(1), measure_every=1)
    done = run(dynamics, valleys.start, steps, axes=(_BATCHED, 0))
    rows = {name: done.rows[name].reshape(*ratio.shape, steps) for name in _ROWS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows past the end of a run are NaN
        # Where λ or the loss is negative the mode found is another one.
        inside = (rows["loss"] >= 0) & (rows["sharpness"] > 2 * kappa)
        end = np.where(inside.all(-1), steps, np.argmin(inside, -1))[..., None]
        time = np.arange(steps)
        rows = {name: np.where((time >= end // 2) & (time < end), values, np.nan) for name, values in rows.items()}
        measured = _measured(rows, np.log(b), end[..., 0])
        predicted = _predicted(tuner, {name: values[0] for name, values in rows.items()})
    ended = np.asarray(done.carry.status).reshape(ratio.shape)
    status = np.where(inside.all(-1) | (ended != int(Status.OK)), ended, int(Status.OUT_OF_RANGE))
    return predicted | measured | {"status": status.max(0)}


def _measured(rows, log_beta, end):
    """From rows of shape (starts, alphas, betas, steps), NaN outside the stretch that ends at `end`."""
    eta, sharpness = rows["stepsize"], rows["sharpness"]
    r = sharpness**2 * rows["amplitude"] ** 2 / rows["bulk_gradient_sq"]
    kick = np.nansum(eta * r, -1) / np.nansum(eta, -1)
    log_r = np.log(np.maximum(r, np.finfo(r.dtype).tiny))[0]
    third = (end // 2 + end)[0, ..., None] // 2
    time = np.arange(log_r.shape[-1])
    halves = [np.nanmean(np.where(part, log_r, np.nan), -1) for part in (time < third, time >= third)]
    steps = np.log(sharpness[0][..., 1:] / sharpness[0][..., :-1])
    q = 1 - np.nansum(np.diff(sharpness[0], axis=-1), -1) / np.nansum((eta * rows["alpha"])[0, ..., :-1], -1)
    q = np.where(end.min(0) >= _SHORTEST, q, np.nan)
    dies = ((halves[1] - halves[0] < _DIES) | (halves[1] < _DEAD)) & (q < _STILL)
    return {
        # Beside a run that left its valley there is nothing to compare with.
        "kind_measured": _measured_kind(np.where(end == log_r.shape[-1], np.log(kick), np.nan), dies, log_beta),
        "q_measured": q,
        "trend_measured": _trend(q),
        "r_measured": kick[0],
        "edge_exponent": np.nanmean(np.log(np.abs(1 - eta[0] * sharpness[0])), -1),
        "lambda_change": np.nansum(steps, -1),
    }


def _measured_kind(log_r, dies, log_beta):
    """From ln r̂ of both starts; NaN in it decides nothing."""
    slopes = -np.diff(log_r[0], axis=1) / np.diff(log_beta, axis=1)
    # Of both neighbours where both ran, of one at the border and beside a run that ended early.
    sides = np.stack([np.pad(slopes, ((0, 0), pad), constant_values=np.nan) for pad in ((1, 0), (0, 1))])
    known = np.isfinite(sides)
    follows = np.where(known, sides, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
    free = (log_r[1] - log_r[0]) / _APART < 0.5
    return np.select(
        [dies, free & (follows < 0.25), free & (follows > 0.75)],
        [int(k) for k in (Kind.BELOW_EDGE, Kind.CLAMPED, Kind.SELF_STABILISED)],
        int(Kind.UNDECIDED),
    )


def _predicted(tuner, rows):
    dtype = jnp.result_type(float)
    middle = {name: np.nanmedian(rows[name], -1) for name in _SLOW}
    positive = [middle[name] > 0 for name in ("sharpness", "bulk_gradient_sq", "kappa", "center_loss")]
    valid = np.all(positive, axis=0) & (middle["kappa"] < 1)
    # Stand-ins keep the batch whole; what comes of them is thrown away.
    values = {name: jnp.asarray(np.where(valid, value, 0.5), dtype) for name, value in middle.items()}

    def predict(sharpness, bulk, kappa, loss, alpha, beta):
        fast = FastMap(tuner, sharpness * loss / bulk, kappa, sharpness, bulk)
        found = classify(fast, alpha, beta, margin=_MARGIN)
        return found.kind, found.q, found.means.kick * sharpness**2 / (bulk * found.means.stepsize)

    kind, q, r = (np.asarray(x) for x in jax.vmap(jax.vmap(predict))(*(values[name] for name in _SLOW)))
    kind = np.where(valid, kind, int(Kind.UNDECIDED))
    q, r = np.where(valid, q, np.nan), np.where(valid & (kind == int(Kind.CLAMPED)), r, np.nan)
    return {"kind_predicted": kind, "q_predicted": q, "trend_predicted": _trend(q), "r_predicted": r}


def _trend(q):
    return np.where(np.isnan(q), np.nan, np.where(np.abs(1 - q) < _STILL, 0.0, np.sign(1 - q)))


def disagreements(dataset: xr.Dataset) -> str:
    """For each tuner how many kinds and trends agree, and the cases that do not: kinds of runs that stayed in
    their valley, trends of all that lasted 40 steps.

    Args:
        dataset: from `check_classes`.
    """
    stayed = dataset.status == int(Status.OK)
    kinds = (dataset.kind_predicted == dataset.kind_measured) & stayed
    # Where nothing is predicted nothing can be wrong.
    said = dataset.q_measured.notnull() & dataset.trend_predicted.notnull()
    trends = (dataset.trend_predicted == dataset.trend_measured) & said
    lines = [f"{'tuner':<38} {'kinds agree':>14} {'trends agree':>14}"]
    for name in [*dataset.tuner.values, None]:
        one = {} if name is None else {"tuner": name}
        same, count, signs, total = (int(x.sel(one).sum()) for x in (kinds, stayed, trends, said))
        lines.append(f"{name or 'all'!s:<38} {f'{same} of {count}':>14} {f'{signs} of {total}':>14}")
    lines += ["", "Where they differ, predicted → measured:"]
    for place in np.argwhere(((stayed & ~kinds) | (said & ~trends)).values):
        row = dataset.isel(dict(zip(("tuner", "alpha", "beta"), place, strict=True)))
        predicted, measured = (Kind(int(row[f"kind_{way}"])).label for way in ("predicted", "measured"))
        pairs = [f"{x} {float(row[f'{x}_predicted']):8.3g} → {float(row[f'{x}_measured']):<8.3g}" for x in ("q", "r")]
        ended = Status(int(row.status)).label
        lines.append(
            f"{row.tuner.item():<38} α={float(row.alpha):.1e} β={float(row.beta):.1e} {predicted:>15} → {measured:<15} "
            f"{' '.join(pairs)} Λ {float(row.edge_exponent):6.3f}  Δ ln λ {float(row.lambda_change):5.2f} {ended}"
        )
    return "\n".join(lines)
