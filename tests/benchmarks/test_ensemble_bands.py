"""How much of a stochastic run lies in the band of the theory: digits (500), MLP 64-16-16-10, float32, 400 steps.

A study, printed and not judged: `pytest -s tests/benchmarks/test_ensemble_bands.py`. Both sides as 25-step moving
averages over the rows that the run tracked; the band holds the central 90 % of 16 members.
"""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel.results.measures import coverage, log_error, moving_average

NAMES = ("sharpness", "stepsize", "loss")
EVERY = 7


def smooth(values):
    step = values.step.values
    rows = np.apply_along_axis(moving_average, -1, values.values, step)
    return xr.DataArray(rows, coords=values.coords, dims=values.dims)


@pytest.mark.parametrize("size", [250, 50, 10])
@pytest.mark.parametrize("spec", ["constant:0.6", "armijo", "greedy", "cdat:1.5"])
def test_coverage(benchmark, spec, size):
    tuner = eos.tuners.from_spec(spec)
    net = eos.objectives.mlp(eos.data.digits(500), width=16, init_scale=0.5, dtype=jnp.float32)
    batches = eos.objectives.MiniBatches(net, size)
    found = []
    for seed in range(2):
        run = eos.simulate(batches, tuner, 400, seeds=seed, track_every=EVERY, measure_every=0, progress=False)
        theory = eos.predict(batches, tuner, 400, seeds=seed, members=16, progress=False)
        rows = run.isel(step=slice(None, None, EVERY)), theory.isel(step=slice(None, None, EVERY))
        inside = [coverage(smooth(rows[0][name]), smooth(rows[1][name])) for name in NAMES]
        error = [log_error(rows[0][name], rows[1][name].median("member")) for name in NAMES]
        found.append([*inside, *error])
    mean = np.mean(found, axis=0)
    benchmark.extra_info |= {"coverage": mean[:3].tolist(), "error": mean[3:].tolist()}
    benchmark.pedantic(lambda: None, rounds=1)
    numbers = "  ".join(f"{name} {mean[i]:4.0%} {mean[i + 3]:.3f}" for i, name in enumerate(NAMES))
    print(f"\n{spec}, B = {size}: inside the band, and median |Δ ln|: {numbers}")
