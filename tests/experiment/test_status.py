"""A run's status says what happened to it: what diverges, what is no number, and what the tuner did not declare."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.analysis.probes import probe
from eosmodel.analysis.streams import features as stream
from eosmodel.tuners.base import AbstractTuner, no_evaluations

pytestmark = pytest.mark.usefixtures("lightly_compiled")


def product():
    return eos.objective(lambda w: 0.5 * (1 - w[0] * w[1]) ** 2, jnp.asarray([3.0, (1 + 1e-4) / 3]))


def run(objective, stepsize, **options):
    options = {"steps": 200, "measure_every": 0, "progress": False} | options
    return eos.simulate(objective, eos.tuners.Constant(stepsize), **options)


def status(result):
    return eos.Status(int(result.status))


def test_a_catapult_that_comes_back_has_not_diverged_and_the_bound_is_an_argument():
    """It starts 10⁻⁴ from one minimum, with a loss of 5·10⁻⁹, and comes to rest in a flatter one of its size."""
    result = run(product(), 0.25)
    assert status(result) is eos.Status.OK
    assert result.loss.max() > 1e6 * result.loss[0]
    assert result.loss[-1] < 1e-25
    assert status(run(product(), 0.25, diverged_at=1.001)) is eos.Status.OK  # never above ½λ‖w₀‖² = 41
    lost = run(product(), 0.6)
    assert status(lost) is eos.Status.DIVERGED
    assert int(lost.steps) < 40


def test_a_bound_ends_growth_at_once_and_without_one_only_what_is_not_finite_does():
    """½w² at η = 3 doubles w: the loss is 4ᵗ/2, and with ½λ‖w₀‖² = ½ a multiple m is passed after log₄ m steps."""
    bowl = eos.objective(lambda w: 0.5 * jnp.sum(w**2), jnp.ones(1))
    for multiple, steps in ((10, 2), (1e6, 10)):
        result = run(bowl, 3.0, diverged_at=multiple)
        assert status(result) is eos.Status.DIVERGED
        assert int(result.steps) == steps
    endless = run(bowl, 3.0, steps=600, diverged_at=np.inf)
    assert status(endless) is eos.Status.NONFINITE
    assert int(endless.steps) > 500
    with pytest.raises(ValueError, match="diverged_at must lie in"):
        run(bowl, 3.0, diverged_at=1)


@pytest.mark.parametrize("theory", ["oscillation:after=1", "valley-frozen"])
def test_a_prediction_takes_the_bound(theory):
    bowl = eos.objective(lambda w: 0.5 * jnp.sum(w**2), jnp.ones(2))
    options = {"steps": 20, "theory": theory, "progress": False}
    tight, loose = (eos.predict(bowl, eos.tuners.Constant(3.0), diverged_at=at, **options) for at in (2.0, np.inf))
    # The frozen valley begins at a tenth of the run, which did not get so far.
    assert status(tight) is (eos.Status.NOT_RUN if theory == "valley-frozen" else eos.Status.DIVERGED)
    assert int(tight.steps) < int(loose.steps) == 20


@pytest.mark.parametrize("dim", [2, 40])
def test_a_hessian_that_is_not_finite_ends_the_run_with_a_status(dim):
    """|w|^1.5 has gradient 0 and an infinite second derivative at 0."""
    kink = eos.objective(lambda w: jnp.sum(jnp.abs(w) ** 1.5), jnp.zeros(dim))
    result = run(kink, 0.1, steps=5)
    assert status(result) is eos.Status.NONFINITE
    assert int(result.steps) == 0
    assert "sharpness" in eos.Status.NONFINITE.describe()


def test_rows_that_are_not_tracked_have_no_sharpness_and_a_run_goes_on():
    bowl = eos.objective(lambda w: 0.5 * jnp.sum(w**2), jnp.ones(2))
    result = run(bowl, 0.1, steps=7, track_every=3)
    assert status(result) is eos.Status.OK
    assert int(np.isfinite(result.sharpness).sum()) == 3


class Undeclared(AbstractTuner):
    """A rule that uses a part of the ray and does not say so."""

    part: str

    def __call__(self, ray, state):
        number = ray.sharpness if self.part == "sharpness" else ray.secant.ss
        return 1 / number, state, no_evaluations()


@pytest.mark.parametrize("part", ["sharpness", "secant"])
def test_a_tuner_that_does_not_declare_its_need_is_told_so_by_name(part):
    bowl = eos.objective(lambda w: 0.5 * jnp.sum(w**2), jnp.ones(2))
    for rule in (Undeclared(part), eos.tuners.Bounded(Undeclared(part), cap=1.0)):
        with pytest.raises(ValueError, match=rf"tuner Undeclared: uses ray\.{part}.*needs_{part}"):
            eos.simulate(bowl, rule, steps=2, progress=False)


def test_debugging_nans_does_not_stop_a_healthy_run():
    """Blank entries of rows are NaN on purpose."""
    bowl = eos.objective(lambda w: 0.5 * jnp.sum(w**2), jnp.ones(2))
    with jax.debug_nans(True):
        result = run(bowl, 0.1, steps=3, measure_every=2)
    assert status(result) is eos.Status.OK


def test_an_orbit_diverges_by_the_bound_of_a_run():
    """The catapult leaves a minimum, so that its loss passes any multiple of the first; bound · ½λ‖w₀‖² it does not."""
    features = [
        stream(probe(product(), eos.tuners.Constant(eta)), 200, bound=1e6, lyapunov=False) for eta in (0.25, 0.6)
    ]
    assert [bool(orbit.diverged) for orbit in features] == [False, True]
    assert features[0].final_loss < 1e-25
    assert features[0].peak > 1e6
