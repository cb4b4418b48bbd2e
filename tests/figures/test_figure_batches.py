"""What the figures over batch sizes make of a sweep: means over seeds, and runs that ended early."""

import numpy as np
import pytest
import xarray as xr

from eosmodel._status import Status
from paper_figures._batches import best, final, over_seeds


@pytest.fixture
def runs():
    """Two tuners, two seeds, one batch size; a seed of the second tuner diverged on the way."""
    step = ("tuner", "seed", "step")
    ok, gone = int(Status.OK), int(Status.DIVERGED)
    return xr.Dataset(
        {
            "loss": (step, [[[1.0, 1.0], [4.0, 9.0]], [[1.0, 1.0], [1.0, np.nan]]]),
            "stepsize": (step, [[[1.0, 2.0], [4.0, 8.0]], [[1.0, 1.0], [1.0, np.nan]]]),
            "sharpness": (step, [[[2.0, 1.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, np.nan]]]),
            "final_loss": (("tuner", "seed"), [[2.0, 2.0], [1.0, 1.0]]),
            "status": (("tuner", "seed"), [[ok, ok], [ok, gone]]),
            "steps": (("tuner", "seed"), [[2, 2], [2, 1]]),
        },
        {"tuner": ["steady", "fast"], "seed": [0, 1], "step": [0, 1]},
    )


def test_means_over_seeds_are_geometric_and_stop_where_a_seed_does(runs):
    mean = over_seeds(runs)
    assert mean.loss.sel(tuner="steady").values == pytest.approx([2.0, 3.0])
    product = (runs.stepsize * runs.sharpness).sel(tuner="steady")
    expected = np.sqrt(product.prod("seed"))
    assert (mean.stepsize * mean.sharpness).sel(tuner="steady").values == pytest.approx(expected.values)
    assert np.isnan(mean.loss.sel(tuner="fast", step=1))
    assert int(mean.status.sel(tuner="fast")) == int(Status.DIVERGED)


def test_a_run_that_ended_early_is_the_worst(runs):
    assert final(runs).sel(tuner="fast").values.tolist() == [1.0, np.inf]
    assert best(runs) == "steady"
