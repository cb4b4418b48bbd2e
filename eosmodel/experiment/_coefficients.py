"""The slow coefficients of a recorded run, as theories take them."""

import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel.theory import Coefficients


def coefficients(experiment: xr.Dataset, dtype=None, *, at: int = 0) -> Coefficients:
    """The slow coefficients measured along one run, against its flow time τ = Σ η.

    Args:
        experiment: one run from `simulate` with every step recorded and `measure_every` > 0.
        dtype: floating type of the result; jax's default when None.
        at: step to begin at; the first measured row from there on is used.
    """
    if "alpha" not in experiment or experiment.loss.ndim != 1:
        raise ValueError("coefficients: experiment must be one run of `simulate` (select one tuner and seed first)")
    if experiment.sizes["step"] > 1 and int(experiment.step[1] - experiment.step[0]) != 1:
        raise ValueError("coefficients: experiment must have every step recorded (record_every=1), to sum its steps")
    measured = np.isfinite(experiment.alpha.values) & np.isfinite(experiment.amplitude.values[:, 0])
    rows = np.flatnonzero(measured & (experiment.step.values >= at))
    if rows.size == 0:
        raise ValueError(f"coefficients: no measured rows from step {at} on; simulate with measure_every > 0")
    elapsed = np.concatenate([[0.0], np.cumsum(np.nan_to_num(experiment.stepsize.values))[:-1]])
    dtype = jnp.result_type(float) if dtype is None else dtype

    def array(values):
        return jnp.asarray(values, dtype)

    first = rows[0]
    return Coefficients(
        time=array(elapsed[rows] - elapsed[first]),
        **{name: array(experiment[name].values[rows]) for name in ("alpha", "beta", "kappa", "bulk_gradient_sq")},
        sharpness=array(experiment.sharpness.values[first]),
        center_loss=array(experiment.center_loss.values[first]),
        amplitude=array(experiment.amplitude.values[first, 0]),
    )
