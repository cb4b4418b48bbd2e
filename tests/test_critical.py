"""Critical sharpness against closed forms: parabolas, where it is gᵀHg/gᵀg, and lines whose critical step is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eosmodel as eos
from eosmodel.critical import critical_step
from eosmodel.rays import ray

pytestmark = pytest.mark.usefixtures("lightly_compiled")

CURVATURES = jnp.asarray([7.0, 2.0, 0.5])


def quadratic(w):
    return 0.5 * jnp.sum(CURVATURES.astype(w.dtype) * w**2)


@settings(max_examples=20, deadline=None)
@given(guess=st.floats(1e-4, 1e4), scale=st.sampled_from([1e-12, 1.0, 1e12]), dtype=st.sampled_from(["f4", "f8"]))
def test_of_a_parabola_it_is_the_curvature_along_the_step_from_any_guess(guess, scale, dtype):
    w = jnp.asarray([0.3, -1.0, 2.0], dtype) * scale
    g = CURVATURES.astype(dtype) * w
    step = 0.0
    for _ in range(2):  # a guess that is far off takes more than the trials of one step
        step, guess = measured(w, jnp.asarray(guess, dtype))
    exact = jnp.sum(CURVATURES.astype(dtype) * g**2) / jnp.sum(g**2)
    np.testing.assert_allclose(2 / step, exact, rtol=1e-5 if dtype == "f4" else 1e-12)
    assert step.dtype == dtype


measured = jax.jit(lambda w, guess: critical_step(ray(quadratic, w), guess))


LINES = {  # φ with φ(0) = 0 and φ'(0) = −1, and its critical step
    "cubic": (lambda x: x**3 - x, 1.0),
    "quartic below": (lambda x: x**4 / 8 - x, 2.0),
    "nothing beyond": (lambda x: jnp.where(x > 0.5, jnp.inf, x**2 / 0.4 - x), 0.4),
    "falls for ever": (lambda x: -x, np.nan),
    "rises": (lambda x: x, np.nan),
    "flat": (lambda x: 0 * x, np.nan),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("guess", [0.05, 1.0, 30.0])
def test_on_other_lines_it_is_the_first_step_that_does_not_lower_the_loss(name, guess):
    fn, exact = LINES[name]
    line, guess = ray(lambda w: fn(w[0]), jnp.zeros(1), jnp.ones(1)), jnp.asarray(guess)
    for _ in range(6):  # as many steps of a run
        step, guess = critical_step(line, guess)
        assert guess > 0
    np.testing.assert_allclose(step, exact, rtol=1e-4)


def test_a_run_records_it_at_every_tracked_step_beside_the_sharpness_or_alone():
    bowl = eos.objective(lambda w: 1.5 * jnp.sum(w**2), jnp.asarray([2.0]))
    both, alone, plain = (
        eos.simulate(bowl, "constant:0.1", 7, track=track, track_every=2, progress=False)
        for track in (("critical", "sharpness"), "critical", ())
    )
    np.testing.assert_allclose(both.critical_sharpness[::2], 3.0, rtol=1e-12)
    np.testing.assert_allclose(both.sharpness[::2], 3.0, rtol=1e-12)
    assert both.critical_sharpness[1::2].isnull().all()
    np.testing.assert_array_equal(alone.critical_sharpness, both.critical_sharpness)
    for run in (alone, plain):
        assert run.sharpness.isnull().all()
        assert "eigenvalues" not in run
        assert "alignment" not in run
        np.testing.assert_array_equal(run.loss, both.loss)
    assert "critical_sharpness" not in plain


def test_of_a_batch_it_is_that_of_the_loss_of_the_step():
    net = eos.objectives.mlp(eos.data.digits(12), width=2, depth=0)
    batches = eos.objectives.MiniBatches(net, 4)
    run = eos.simulate(batches, "constant:0.05", 3, track="critical", seeds=1, progress=False)
    w, batch = net.initial(1), batches.draw(jnp.asarray(1), jnp.asarray(0))
    g = jax.grad(batch)(w)  # a linear model: its loss is a parabola
    exact = g @ jax.jvp(jax.grad(batch), (w,), (g,))[1] / (g @ g)
    np.testing.assert_allclose(run.critical_sharpness[0], exact, rtol=1e-10)
    assert run.loss.notnull().all()
    assert run.sharpness.isnull().all()


@pytest.mark.parametrize(
    ("tuner", "track", "message"),
    [("on-edge", "critical", "OnEdge needs the sharpness"), ("armijo", "curvature", "track must be one of")],
)
def test_what_cannot_be_tracked_is_refused(tuner, track, message):
    with pytest.raises(ValueError, match=message):
        eos.simulate("valley", tuner, 2, track=track)
