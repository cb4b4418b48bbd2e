"""Slow coefficients off a river are those of the loss along its gradient flow, and the class of a tuner with them."""

import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.theory import FastMap, Kind, classify
from eosmodel.theory.river import classify_at, coefficients_at

pytestmark = pytest.mark.usefixtures("lightly_compiled")


@pytest.fixture(scope="module")
def floor():
    return eos.objectives.valley(modes=3, dtype=jnp.float64)


@pytest.fixture(scope="module")
def river(floor):
    return eos.measure_river(floor, time=4.0, modes=1, progress=False)


def test_they_are_those_of_the_flow_in_closed_form(floor, river):
    """z_j(τ) = z_j(0) e^{−μ_j τ} on the valley's floor, where x is 0: α, β, G and κ are formulas of z."""
    z0, mu = np.asarray(floor.initial()[1:]), np.asarray(floor.mu)
    for tau in (0.5, 1.5, 4.0):
        z = z0 * np.exp(-mu * tau)
        weights = jnp.asarray([0.0, *z])
        got = coefficients_at(river, tau)
        np.testing.assert_allclose(got.sharpness, floor.sharpness(weights), rtol=2e-3)
        np.testing.assert_allclose(got.alpha, floor.alpha(weights), rtol=2e-2)
        np.testing.assert_allclose(got.beta, floor.beta, rtol=2e-2)
        np.testing.assert_allclose(got.bulk_gradient_sq, np.sum((mu * z) ** 2), rtol=2e-2)
        kappa = np.sum(mu * (mu * z) ** 2) / np.sum((mu * z) ** 2) / floor.sharpness(weights)
        np.testing.assert_allclose(got.kappa, kappa, rtol=5e-2)
        np.testing.assert_allclose(got.center_loss, floor(weights), rtol=5e-3)


def test_the_class_is_that_of_the_fast_map_there(floor, river):
    tau, rule = 1.5, eos.tuners.CDAT(1.5, eps=0.0)
    weights = jnp.asarray([0.0, *(floor.initial()[1:] * jnp.exp(-floor.mu * tau))])
    got = classify_at(river, rule, tau)
    assert int(got.kind) == Kind.CLAMPED
    G = floor.bulk_gradient_sq(weights)
    at = coefficients_at(river, tau)
    A = float(floor.sharpness(weights) * floor(weights) / G)
    fast = FastMap(
        rule,
        A=A,
        kappa=float(at.kappa),
        sharpness=float(floor.sharpness(weights)),
        bulk_gradient_sq=float(G),
    )
    expected = classify(fast, float(floor.alpha(weights)), float(floor.beta))
    np.testing.assert_allclose(got.q, expected.q, rtol=0.05)
    assert float(got.trend) == float(expected.trend) == 1
