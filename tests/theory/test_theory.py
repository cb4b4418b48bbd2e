"""Theories against what they must reduce to: exact dynamics on valleys and quadratics, gradient flow, each other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import eosmodel as eos
from eosmodel.curvature import Tracker, cold_start, linearize, slow_coefficients
from eosmodel.objectives import DenseQuadratic, Valley
from eosmodel.simulation import run
from eosmodel.theory import (
    THEORIES,
    AfterDescent,
    CenterOscillation,
    Coefficients,
    DrivenValley,
    GradientFlow,
    valley_at,
)

pytestmark = pytest.mark.usefixtures("lightly_compiled")


def valley(start=(0.05, -8.0), b=4.0, mu=0.05, limit=30.0):
    return Valley(sharpness_limit=limit, b=b, q=jnp.array([1.0]), mu=jnp.array([mu]), start=jnp.array(start))


def quadratic():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    matrix = (q * np.concatenate([np.linspace(0.01, 0.3, 18), [4.0, 5.0]])) @ q.T
    return DenseQuadratic(jnp.asarray(matrix), start=jnp.asarray(rng.normal(size=20)))


@pytest.mark.parametrize(
    "tuner", [eos.tuners.Constant(0.3), eos.tuners.Armijo(), eos.tuners.CDAT(1.7), eos.tuners.Polyak(0.4)]
)
def test_on_a_quadratic_the_oscillation_model_is_exact_along_its_modes(tuner):
    """No cubic terms: centre plus oscillation moves along the modes exactly as descent does."""
    objective = quadratic()
    experiment = eos.simulate(objective, tuner, 60, progress=False)
    theory = eos.predict(objective, tuner, 60, progress=False)
    np.testing.assert_allclose(theory.loss, experiment.loss, rtol=1e-8)
    np.testing.assert_allclose(theory.stepsize, experiment.stepsize, rtol=1e-8)
    np.testing.assert_allclose(theory.sharpness, 5.0, rtol=1e-12)


def test_what_the_model_leaves_out_is_all_that_parts_its_step_from_descent():
    """p' = p − ηg₊ + ηP⊥(A − HX): the iterate is conserved but for the share of the gradient that the row says,
    which is nothing before the model begins."""
    network = eos.objectives.mlp(eos.data.digits(60), width=6, init_scale=0.7)
    eta, tuner = 1.5, eos.tuners.Constant(jnp.asarray(1.5))
    dynamics = AfterDescent(CenterOscillation(network, tuner), 10)
    step, gradient = eqx.filter_jit(dynamics.step), jax.jit(jax.grad(network))
    state = dynamics.init(network.initial())
    shares = []
    for t in range(30):
        before = state.center + state.amplitude @ state.pairs.vectors
        state, row, _ = step(state, jnp.asarray(t))  # an integer would be compiled anew for every t
        after = state.center + state.amplitude @ state.pairs.vectors
        slope = gradient(before)
        shares.append(float(row["left_out"]))
        apart = np.linalg.norm(after - (before - eta * slope))
        assert apart / np.linalg.norm(eta * slope) == pytest.approx(shares[-1], rel=1e-6, abs=1e-12)
    assert max(shares[:10]) == 0 < min(shares[10:])
    assert 1e-4 < max(shares) < 1
    # Nothing of it is linear in the oscillation, although the tracked modes are not quite eigenvectors.
    sizes = np.array([0.04, 0.02])
    left = []
    for size in sizes:
        moved = eqx.tree_at(lambda s: s.amplitude, state, size * jnp.array([1.0, 0.5, -0.7]))
        above = gradient(moved.center + moved.amplitude @ moved.pairs.vectors)
        row = step(moved, jnp.asarray(30))[1]
        left.append(row["left_out"] * np.linalg.norm(above))
    assert row["residual"] > 1e-4
    assert left[0] / left[1] > 3.5
    flat = eos.predict(quadratic(), eos.tuners.Constant(0.3), 60, progress=False)
    np.testing.assert_allclose(flat.left_out, 0, atol=1e-9)


def test_gradient_flow_is_the_flow_along_its_modes():
    """On a quadratic with every mode tracked, one step of η is exp(−ηH)."""
    matrix = np.diag([5.0, 3.0, 1.0, 0.5])
    objective = DenseQuadratic(jnp.asarray(matrix), start=jnp.ones(4))
    dynamics = GradientFlow(objective, eos.tuners.Constant(jnp.asarray(0.7)), Tracker(4))
    state = run(dynamics, objective.initial(), 5).carry.state
    np.testing.assert_allclose(state.weights, expm(-5 * 0.7 * matrix) @ np.ones(4), rtol=1e-10)


def test_edge_only_asks_no_tuner():
    objective = eos.objectives.mlp(eos.data.digits(100), width=8, init_scale=0.5)
    results = [
        eos.predict(objective, tuner, 20, theory="edge-only", progress=False)
        for tuner in (eos.tuners.Constant(0.1), eos.tuners.Polyak())
    ]
    np.testing.assert_array_equal(results[0].stepsize, results[1].stepsize)
    np.testing.assert_allclose(results[0].stepsize * results[0].sharpness, 2.0, rtol=1e-12)


@pytest.mark.parametrize("tuner", [eos.tuners.Constant(0.1), eos.tuners.CDAT(1.9)])
def test_driven_valley_approaches_the_valley_as_time_scales_separate(tuner):
    """With the valley's own coefficients the driven valley differs from descent by its second-order terms only, so
    the difference falls with μ, the ratio of the time scales, at an equal slow time."""
    errors = []
    for mu, steps in ((0.02, 50), (0.01, 100), (0.005, 200)):
        objective = valley(mu=mu, b=1.0, start=(0.02, -14.0))
        experiment = eos.simulate(objective, tuner, steps, measure_every=1, progress=False)
        coefficients = eos.coefficients(experiment)
        driven = run(DrivenValley(coefficients, jax.tree.map(jnp.asarray, tuner)), objective.initial(), steps)
        errors.append(np.max(np.abs(np.log(driven.rows["sharpness"] / experiment.sharpness.values))))
    assert errors[0] < 0.02
    assert errors[2] < errors[1] < errors[0]


def test_driven_valley_rests_where_the_normal_form_does():
    """Constant coefficients and constant η: x² = 2α/β and λ = 2/η is a fixed point, up to the sign of x."""
    alpha, beta, eta = 0.05, 4.0, 0.1
    values = {"alpha": alpha, "beta": beta, "kappa": 0.0, "bulk_gradient_sq": 1e-9}
    coefficients = Coefficients(
        time=jnp.array([0.0, 1.0]),
        **{name: jnp.full(2, value) for name, value in values.items()},
        sharpness=jnp.asarray(2 / eta),
        center_loss=jnp.asarray(1.0),
        amplitude=jnp.asarray(np.sqrt(2 * alpha / beta)),
    )
    dynamics = DrivenValley(coefficients, eos.tuners.Constant(jnp.asarray(eta)))
    rows = run(dynamics, jnp.zeros(1), 50).rows
    np.testing.assert_allclose(rows["sharpness"], 2 / eta, rtol=1e-10)
    np.testing.assert_allclose(rows["amplitude"] ** 2, 2 * alpha / beta, rtol=1e-10)


def test_a_frozen_valley_agrees_with_the_network_at_its_moment():
    objective = eos.objectives.mlp(eos.data.digits(100), width=8, init_scale=0.7)
    weights = objective.initial()
    for _ in range(30):
        weights = weights - 0.3 * jax.grad(objective)(weights)
    _, gradient, matvec = linearize(objective, weights)
    pairs, _ = cold_start(matvec, gradient, 3, rtol=1e-8, budget=2000)
    reduced = valley_at(objective, weights, pairs)
    x = float(reduced.initial()[0])
    center = weights - (pairs.vectors @ gradient / pairs.values) @ pairs.vectors
    value, gradient, matvec = linearize(objective, center)
    pairs, _ = cold_start(matvec, gradient, 3, rtol=1e-8, budget=2000)
    slow = slow_coefficients(objective, center, gradient, pairs)
    w = reduced.initial()
    np.testing.assert_allclose(reduced.sharpness(w), pairs.values[0], rtol=1e-6)
    np.testing.assert_allclose(reduced.alpha(w), slow.alpha, rtol=1e-3)
    np.testing.assert_allclose(reduced.beta, slow.beta, rtol=1e-3)
    np.testing.assert_allclose(reduced.bulk_gradient_sq(w), slow.bulk_gradient_sq, rtol=1e-3)
    np.testing.assert_allclose(reduced.kappa(w), slow.kappa, rtol=1e-3)
    np.testing.assert_allclose(reduced(w), value + 0.5 * float(pairs.values[0]) * x**2, rtol=1e-3)


def test_a_frozen_valley_of_a_valley_is_that_valley():
    objective = valley()
    tuner = eos.tuners.Constant(0.08)
    experiment = eos.simulate(objective, tuner, 200, progress=False)
    theory = eos.predict(objective, tuner, 200, theory="valley-frozen", progress=False)
    assert np.isnan(theory.loss[:20]).all()
    # The frozen valley's first row has no earlier iterate to average over.
    np.testing.assert_allclose(theory.sharpness[21:], experiment.sharpness[21:], rtol=1e-6)
    np.testing.assert_allclose(theory.loss[20:], experiment.loss[20:], rtol=1e-6)


def test_theory_beats_its_baselines_on_a_network_at_the_edge():
    """The joint model follows a network through the edge, where gradient flow and the edge alone cannot."""
    objective = eos.objectives.mlp(eos.data.digits(200), width=12, init_scale=0.5)
    tuner = eos.tuners.Constant(1.5)
    experiment = eos.simulate(objective, tuner, 300, progress=False)
    errors = {}
    for theory in ("oscillation", "gradient-flow", "edge-only"):
        predicted = eos.predict(objective, tuner, 300, theory=theory, progress=False)
        row = eos.compare(experiment, predicted).rows()[0]
        errors[theory] = next(iter(row["theories"].values()))["sharpness_error"]
    assert errors["oscillation"] < 0.05
    assert errors["oscillation"] < 0.5 * min(errors["gradient-flow"], errors["edge-only"])


def test_unknown_theory_lists_the_known_ones():
    with pytest.raises(ValueError, match=f"unknown theory 'astrology'.*{', '.join(sorted(THEORIES))}"):
        eos.predict(quadratic(), eos.tuners.Constant(0.1), 5, theory="astrology")
