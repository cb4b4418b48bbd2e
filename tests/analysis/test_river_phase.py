"""Phase diagrams of a river: each point is the prediction, its regime says how it ended, and real runs are held against
it."""

import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.analysis import Regime
from eosmodel.objectives import valley

STEPS = 80


@pytest.fixture(scope="module")
def floor():
    return valley(modes=3, dtype=jnp.float64)


@pytest.fixture(scope="module")
def diagram(floor):
    river = eos.measure_river(floor, time=9.0, modes=1, progress=False)
    # The largest steps need more flow time than the river has.
    axes = {"max": np.array([0.02, 0.1, 1.2 * float(river.length) / STEPS]), "c": np.array([0.1, 0.2])}
    options = {"steps": STEPS, "checks": 4, "network": floor, "progress": False}
    return river, eos.phase_diagram(river, eos.tuners.Polyak(), axes, **options)


def test_a_point_is_the_prediction_with_its_numbers(diagram):
    river, made = diagram
    for cap in (0.02, 0.1):
        point = made.dataset.sel(max=cap, c=0.2)
        said = eos.predict(river, eos.tuners.Polyak(c=0.2, max=cap), STEPS)
        assert int(said.status) == 0
        assert float(point.final_loss) == pytest.approx(float(said.loss[-1]), rel=1e-6)
        below = float((said.stepsize * said.sharpness)[STEPS // 2 :].max()) < 2
        assert (int(point.regime) == Regime.BELOW_EDGE) == below


def test_where_the_theory_ends_the_diagram_says_so(diagram):
    river, made = diagram
    point = made.dataset.isel(max=2, c=1)
    said = eos.predict(river, eos.tuners.Polyak(c=0.2, max=point["max"].item()), STEPS)
    assert eos.Status(int(said.status)) is eos.Status.RIVER_ENDED
    assert int(point.regime) == Regime.OUT_OF_RANGE
    assert np.isnan(float(point.final_loss))


def test_real_runs_are_beside_it(floor, diagram):
    _, made = diagram
    data = made.dataset
    assert data.sizes["check"] == 4
    for i in range(4):
        at = data.isel(check=i)
        run = eos.simulate(
            floor, eos.tuners.Polyak(c=at.check_y.item(), max=at.check_x.item()), STEPS, modes=1, progress=False
        )
        ended = int(run.status) != 0
        assert np.isnan(at.check_loss) if ended else at.check_loss == pytest.approx(float(run.loss[-1]), rel=1e-6)
        point = data.sel(max=at.check_x, c=at.check_y)
        assert point.regime == at.predicted_regime
    text = made.plot().axes[0].texts[-1].get_text()
    agree = int((data.check_regime == data.predicted_regime).sum())
    assert f"same regime {agree} of 4" in text
    with pytest.raises(ValueError, match="network"):
        eos.phase_diagram(diagram[0], eos.tuners.Polyak(), max=(0.1, 0.2, 2), c=(0.5, 1, 2), checks=2)
