"""Response curves as labelled data: Φ(r) of one tuner or several, with equilibria, multipliers and class."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel._checks import check_range
from eosmodel.theory.classes import R_RANGE, Kind, classify, held
from eosmodel.theory.fast_map import FastMap
from eosmodel.tuners.base import AbstractTuner


def response_curve(
    tuners: AbstractTuner | Mapping[str, AbstractTuner],
    r: Any = None,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    margin: float = 1e-6,
    **frozen: Any,
) -> xr.Dataset:
    """Φ(r) = ⟨s⟩ at constant r, with its edge equilibria, their multipliers, and the class of the tuner.

    Args:
        tuners: a tuner, or several by name.
        r: values of λ²x²/G > 0, increasing, shape (points,); 241 from 1e-3 to 1e4 when None.
        alpha, beta: both, for q and the trend.
        margin: as in `theory.classify`.
        frozen: A, kappa, sharpness, bulk_gradient_sq and step, as for `theory.FastMap`.

    Returns:
        Dataset over (tuner, r) of `s` and its range `s_low`, `s_high` (line searches vary at constant r); over (tuner,
        equilibrium) of `r_star`, `multiplier` and `stable`; over tuner of `kind`, `label`, `q`, `trend`, `r_mean` and
        `s_mean` (on the fast map's orbit).

    Raises:
        ValueError: an argument out of its range, or an empty mapping of tuners.

    Example:
        >>> import eosmodel as eos
        >>> curve = response_curve(eos.tuners.Polyak(c=0.3), A=10.0)
        >>> curve.label.item(), round(float(curve.r_star[0, 0]), 2), bool(curve.stable[0, 0])
        ('clamped', 94.0, True)
    """
    named = {type(tuners).__name__: tuners} if isinstance(tuners, AbstractTuner) else dict(tuners)
    if not named:
        raise ValueError("response_curve: tuners must name at least one tuner, got none")
    values = np.geomspace(1e-3, 1e4, 241) if r is None else np.asarray(r, float)
    check_range("response_curve", "r", values, 0, low_open=True, high_open=True)
    if values.ndim != 1 or values.size < 2 or np.any(np.diff(values) <= 0):
        raise ValueError(f"response_curve: r must be increasing numbers of shape (points ≥ 2,), got {r}")
    grid = jnp.asarray(values, jnp.result_type(float))
    curves, classifications = [], []
    for tuner in named.values():
        fast = FastMap(tuner, **frozen)
        curves.append(_curve(fast, grid))
        classifications.append(classify(fast, alpha, beta, margin=margin))
    curve, classes = (jax.tree.map(lambda *parts: np.stack(parts), *all_) for all_ in (curves, classifications))
    data = {
        "s": (("tuner", "r"), curve.s, {"long_name": "mean of s at constant r", "symbol": "Φ"}),
        "s_low": (("tuner", "r"), curve.low, {"long_name": "smallest s at constant r"}),
        "s_high": (("tuner", "r"), curve.high, {"long_name": "largest s at constant r"}),
        "r_star": (("tuner", "equilibrium"), classes.r_star, {"symbol": "r*"}),
        "multiplier": (("tuner", "equilibrium"), classes.multiplier, {"symbol": "m"}),
        "stable": (("tuner", "equilibrium"), np.abs(classes.multiplier) < 1, {"long_name": "|m| < 1"}),
        "kind": ("tuner", classes.kind, {"flag_values": [int(k) for k in Kind]}),
        "label": ("tuner", [Kind(int(kind)).label for kind in classes.kind]),
        "q": ("tuner", classes.q, {"long_name": "βx²/(2α) at the x² set by the tuner or by λ"}),
        "trend": ("tuner", classes.trend, {"long_name": "sign of dλ/dt"}),
        "r_mean": ("tuner", classes.means.r, {"long_name": "geometric mean of r on the orbit"}),
        "s_mean": ("tuner", classes.means.s, {"long_name": "mean of s on the orbit"}),
    }
    coords = {
        "tuner": list(named),
        "r": (
            "r",
            values,
            {"symbol": "r = λ²x²/G", "long_name": "squared gradient along the mode over that of the bulk"},
        ),
    }
    attrs = {name: float(value) for name, value in frozen.items()} | {"r_range": list(R_RANGE)}
    return xr.Dataset(data, coords, attrs)


@eqx.filter_jit
def _curve(fast, grid):
    return jax.vmap(lambda r: held(fast, r))(grid)
