"""A test of the two classes of tuners: predicted from Φ, and measured on valleys by gradient descent with the tuner."""

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
    # A first step of exactly 1/λ would set x to 0 for good.
    "zhang-hager:initial=0.3",
    "armijo-window:initial=0.3",
    "goldstein:initial=0.3",
    "strong-wolfe:initial=0.3",
)
"""Rules, if possible with parameters on both sides of the edge; steps in units of 1/λ."""

# A drift of λ below this fraction of the one due to α alone counts as none, predicted or measured.
_STILL = 0.25
# |γ| below this counts as at the edge, because the coefficients are averages over an interval of a run.
_MARGIN = 0.02
# The oscillation decays if ln r falls by more than this over the interval …
_DIES = -3.0
# … or lies below this.
_DEAD = -30.0
# Least number of rows before a run leaves its valley for a measurement.
_SHORTEST = 40
# Difference of ln r between the two starts.
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
    """The valley with λ = G = 1 and given α, β and κ, started at r = λ²x²/G = start_ratio.

    It has two bulk modes of curvature κ: one along ∇λ, with the fraction α²/(βG) of G, and one that does not affect λ.

    Example:
        >>> import jax.numpy as jnp
        >>> floor = probe_valley(*jnp.asarray([1e-3, 1e-4, 1e-2, 1.0]))
        >>> w = floor.initial()
        >>> coefficients = floor.sharpness(w), floor.alpha(w), floor.bulk_gradient_sq(w), floor.kappa(w)
        >>> [round(float(x), 6) for x in coefficients]
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

    Units are chosen such that λ = G = 1 at the start, so that α, β and a tuner's steps are α/λ², βG/λ⁴ and ηλ. Each
    valley is run twice, from x² = 0.1 · 2α/β and from e² times that. The second half of the steps is evaluated. A run
    that leaves its valley (λ or the loss below 0, by too large an oscillation) ends there.

    Predicted are kind and q, by `classify` from the medians of λ, G, κ, A, α and β, with a margin of 0.02.

    Measured are

        the kind, from r̂ = ⟨ηr⟩/⟨η⟩, which is set by the tuner (clamped) or by 2α/β (self-stabilised):
            the run ended early                undecided; status out-of-range if it left its valley
            ln r falls by 3, or is below −30   below the edge
            ∂ ln r̂/∂ ln r(0) > ½               undecided: r̂ still depends on the start
            −∂ ln r̂/∂ ln β, along the grid     < ¼ clamped, > ¾ self-stabilised, else undecided
        q = 1 − Δλ/Σηα, which in a valley is Σηβx²/Σ2ηα

    and for both the trend, the sign of 1 − q, or 0 if |1 − q| < ¼.

    Known disagreements, and their reasons:

    - Constant steps with 4α > κλ² (α in these units): the equilibrium λ = 2/η, x² = 2α/β of the valley is an unstable
      spiral, so that λ oscillates about 2/η with growing amplitude. The class is that of the current λ.
    - CDAT at σ = 2: r grows by 4(1 − κ) per step for any λ. It takes r_q/4 steps to reach x² = 2α/β; after that λ is
      not stationary but decreases, or leaves the valley. It is stationary only if ∇λ contains most of the bulk gradient
      (α² ≈ β): then −½x²∇λ cancels that gradient at q = 1, and r stops growing.
    - `ArmijoRestart`: s takes only the values initial·λ·factorᵏ, and a value just above 2 acts as a constant step.
    - If q ≫ 1, the oscillation changes λ, G and κ within a few steps, without separation of time scales. The sign is
      then correct but not the size, and the run soon leaves the valley (Polyak: x² ~ L̄).
    - Chaos (Polyak, c > ½): ⟨ηx²⟩ is dominated by rare bursts, so that its slope along the grid has an error of order
      one.
    - On-edge at σ = 2 is undecided, until terms of higher order change x.
    - AdaGrad-norm is predicted from its initial state. In a run b has grown, and the rule ends below the edge for every
      step.
    - Rules that remember losses (Zhang–Hager, the window) have a reference above the loss while it falls, which the
      constant loss of the fast map neglects: the kind is correct, but r is larger than predicted.
    - Barzilai–Borwein: rare steps of 1/(κλ) move the whole bulk, so that no variable is slow. A bulk with a single
      curvature converges within tens of steps (BB2), or the run leaves the valley (BB1); where prediction and
      measurement agree, both are undecided.
    - A normalised or clipped step that is below the edge for a long time lets x decay; once above the edge, x needs
      time to grow again.

    Args:
        alpha: α, increasing, > 0, shape (alphas,).
        beta: β, increasing, ≥ α² (a valley has α² ≤ βG); shape (betas,), at least two.
        specs: tuners, as for `tuners.from_spec`; `default_specs()` when None.
        kappa: κ of both bulk modes; the slow variables change by a factor e^(−κs) per step.
        gamma: γ ≥ 0 of the valley, which bounds large oscillations.
        steps: number of steps of each run, ≥ 40.

    Returns:
        Dataset over (tuner, alpha, beta). `disagreements` lists the differences.

    Raises:
        ValueError: an argument out of its range, or an unknown tuner.

    Example:
        >>> result = check_classes([3e-4], [1e-6, 1e-5], ["cdat:1.5"], steps=300)
        >>> result.kind_measured.values.ravel().tolist()  # clamped
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
        raise ValueError(f"check_classes: beta must have at least two values, got {beta}")
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
    "lambda_change": "Δ ln λ over the second half of the run",
    "status": "how the runs from the two starts ended, the worse of both",
}


def _one(tuner, grid, kappa, gamma, steps):
    """The predictions and measurements for one tuner over the grid, arrays (alphas, betas)."""
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
        # Where λ or the loss is negative, the leading eigenvector is a different mode.
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
    """The measurements from rows of shape (starts, alphas, betas, steps), NaN outside the interval up to `end`."""
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
    decays = ((halves[1] - halves[0] < _DIES) | (halves[1] < _DEAD)) & (q < _STILL)
    return {
        # A run that left its valley has no value to compare.
        "kind_measured": _measured_kind(np.where(end == log_r.shape[-1], np.log(kick), np.nan), decays, log_beta),
        "q_measured": q,
        "trend_measured": _trend(q),
        "r_measured": kick[0],
        "edge_exponent": np.nanmean(np.log(np.abs(1 - eta[0] * sharpness[0])), -1),
        "lambda_change": np.nansum(steps, -1),
    }


def _measured_kind(log_r, decays, log_beta):
    """The kind from ln r̂ of both starts; undecided where it is NaN."""
    slopes = -np.diff(log_r[0], axis=1) / np.diff(log_beta, axis=1)
    # The mean over both neighbours, or one of them at the border and next to a run that ended early.
    sides = np.stack([np.pad(slopes, ((0, 0), pad), constant_values=np.nan) for pad in ((1, 0), (0, 1))])
    known = np.isfinite(sides)
    follows = np.where(known, sides, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
    free = (log_r[1] - log_r[0]) / _APART < 0.5
    return np.select(
        [decays, free & (follows < 0.25), free & (follows > 0.75)],
        [int(k) for k in (Kind.BELOW_EDGE, Kind.CLAMPED, Kind.SELF_STABILISED)],
        int(Kind.UNDECIDED),
    )


def _predicted(tuner, rows):
    dtype = jnp.result_type(float)
    middle = {name: np.nanmedian(rows[name], -1) for name in _SLOW}
    positive = [middle[name] > 0 for name in ("sharpness", "bulk_gradient_sq", "kappa", "center_loss")]
    valid = np.all(positive, axis=0) & (middle["kappa"] < 1)
    # Invalid points get placeholder values, whose results are discarded.
    values = {name: jnp.asarray(np.where(valid, value, 0.5), dtype) for name, value in middle.items()}

    def predict(sharpness, bulk, kappa, loss, alpha, beta):
        fast = FastMap(tuner, sharpness * loss / bulk, kappa, sharpness, bulk)
        result = classify(fast, alpha, beta, margin=_MARGIN)
        return result.kind, result.q, result.means.kick * sharpness**2 / (bulk * result.means.stepsize)

    kind, q, r = (np.asarray(x) for x in jax.vmap(jax.vmap(predict))(*(values[name] for name in _SLOW)))
    kind = np.where(valid, kind, int(Kind.UNDECIDED))
    q, r = np.where(valid, q, np.nan), np.where(valid & (kind == int(Kind.CLAMPED)), r, np.nan)
    return {"kind_predicted": kind, "q_predicted": q, "trend_predicted": _trend(q), "r_predicted": r}


def _trend(q):
    return np.where(np.isnan(q), np.nan, np.where(np.abs(1 - q) < _STILL, 0.0, np.sign(1 - q)))


def disagreements(dataset: xr.Dataset) -> str:
    """For each tuner the number of kinds and trends that agree, and a list of those that do not. Kinds are compared for
    runs that stayed in their valley, trends for all runs of at least 40 steps.

    Args:
        dataset: from `check_classes`.
    """
    stayed = dataset.status == int(Status.OK)
    kinds = (dataset.kind_predicted == dataset.kind_measured) & stayed
    # Trends are compared only where there is a prediction.
    comparable = dataset.q_measured.notnull() & dataset.trend_predicted.notnull()
    trends = (dataset.trend_predicted == dataset.trend_measured) & comparable
    lines = [f"{'tuner':<38} {'kinds agree':>14} {'trends agree':>14}"]
    for name in [*dataset.tuner.values, None]:
        one = {} if name is None else {"tuner": name}
        same, count, signs, total = (int(x.sel(one).sum()) for x in (kinds, stayed, trends, comparable))
        lines.append(f"{name or 'all'!s:<38} {f'{same} of {count}':>14} {f'{signs} of {total}':>14}")
    lines += ["", "Where they differ, predicted → measured:"]
    for place in np.argwhere(((stayed & ~kinds) | (comparable & ~trends)).values):
        row = dataset.isel(dict(zip(("tuner", "alpha", "beta"), place, strict=True)))
        predicted, measured = (Kind(int(row[f"kind_{way}"])).label for way in ("predicted", "measured"))
        pairs = [f"{x} {float(row[f'{x}_predicted']):8.3g} → {float(row[f'{x}_measured']):<8.3g}" for x in ("q", "r")]
        ended = Status(int(row.status)).label
        lines.append(
            f"{row.tuner.item():<38} α={float(row.alpha):.1e} β={float(row.beta):.1e} {predicted:>15} → {measured:<15} "
            f"{' '.join(pairs)} Λ {float(row.edge_exponent):6.3f}  Δ ln λ {float(row.lambda_change):5.2f} {ended}"
        )
    return "\n".join(lines)
