"""Regimes and streamed features against exact thresholds, exact multipliers, and an orbit that was stored."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.analysis import Features, Regime, decide, decide_training, features, probe
from eosmodel.analysis.parameters import find
from eosmodel.objectives import DiagonalQuadratic, DoubleWell, TwoLayerScalar, Valley, valley
from eosmodel.theory import FastMap


def over(made, steps, **axes):
    """Features along lists of parameters that change together, and the regimes as a list."""
    where = {name: find(made, name) for name in axes}
    dtype = made.init().dtype
    measured = _run(
        made,
        {name: jnp.asarray(values, dtype) for name, values in axes.items()},
        jnp.asarray(steps),
        tuple(where.values()),
    )
    return measured, [Regime(int(code)) for code in decide(measured)]


TRACES: list = []


@eqx.filter_jit
def _run(made, values, steps, where):
    TRACES.append(made)

    def one(values):
        placed = made
        for parameter in where:
            placed = parameter.put(placed, values[parameter.name])
        return features(placed, steps)

    return jax.vmap(one)(values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lewkowycz_regimes_of_a_two_layer_net(dtype):
    """Converged, catapult, diverged for ηλ₀ < 2, < 4, > 4 at target 0 and small f₀ (arXiv 2003.02218)."""
    u, v = np.ones(6), 1e-3 * np.array([1.0, -0.5, 0.3, 0.8, -0.2, 0.4])
    made = probe(TwoLayerScalar(jnp.asarray(np.concatenate([u, v]), dtype)), eos.tuners.Constant)
    first, product = (a.ravel() for a in np.meshgrid([0.5, 1.0, 2.0], [0.4, 1.5, 1.95, 2.05, 2.5, 3.2, 3.9, 4.05, 5.0]))
    kernel = (first**2 + 5 + np.sum(v**2)) / 6
    measured, regimes = over(made, 1500, **{"start[0]": first, "step": product / kernel})
    expected = np.where(product < 2, Regime.CONVERGED, np.where(product < 4, Regime.CATAPULT, Regime.DIVERGED))
    assert regimes == expected.tolist()
    kept = product < 4
    assert np.all(np.asarray(measured.final_sharpness)[kept] * (product / kernel)[kept] < 2)
    assert measured.edge_exponent.dtype == dtype


def test_chen_bruna_regimes_of_the_double_well():
    """a = ημ: a minimum for a < 1, a 2-cycle to √5 − 1, then 4, divergence for a > 2 (arXiv 2206.04172)."""
    made = probe(DoubleWell(1.0), eos.tuners.Constant)
    a = np.array([0.3, 0.97, 1.03, 1.1, 1.22, 1.26, 2.05, 2.5])
    mu = np.repeat([0.9, 1.5], len(a))
    measured, regimes = over(made, 2000, step=np.tile(a, 2) / mu, mu=mu)
    cycle = [Regime.PERIODIC] * 4
    assert regimes == 2 * ([Regime.CONVERGED] * 2 + cycle + [Regime.DIVERGED] * 2)
    assert measured.period.reshape(2, -1)[:, 2:6].tolist() == [[2, 2, 2, 4]] * 2
    # On the 2-cycle ηx² = t with t + 1/t = 1 + a, so that ⟨η(3x² − μ)⟩ = (3 + a)/2.
    np.testing.assert_allclose(measured.s.reshape(2, -1)[:, 2:5], [(3 + a[2:5]) / 2] * 2, rtol=1e-9)


def test_the_streamed_lyapunov_exponent_at_the_end_of_chaos_is_ln_3():
    """x' = x(3 − x²) is x = 2cos θ ↦ −2cos 3θ."""
    measured, regimes = over(probe(DoubleWell(2.0, start=[0.7]), eos.tuners.Constant), 20_000, step=[1.0])
    assert regimes == [Regime.CHAOTIC]
    assert float(measured.lyapunov[0]) == pytest.approx(np.log(3), abs=4 * float(measured.lyapunov_error[0]))
    assert float(measured.lyapunov_error[0]) < 0.01


def test_a_constant_step_in_a_valley_is_self_stabilised_where_its_edge_can_be_reached():
    """x² = 2α/β at λ = 2/η for 2/λ_∞ < η < 5/(2λ_∞) (arXiv 2209.15594); it converges below the first."""
    step = np.array([0.03, 0.06, 0.088, 0.092, 0.1, 0.108])
    measured, regimes = over(probe(valley(), eos.tuners.Constant), 3000, step=step)
    assert regimes == [Regime.CONVERGED] * 3 + [Regime.SELF_STABILISED] * 3
    np.testing.assert_allclose(measured.final_sharpness[3:], 2 / step[3:], rtol=1e-3)
    np.testing.assert_allclose(measured.q[3:], 1, atol=1e-3)
    np.testing.assert_allclose(measured.final_sharpness[:3], 22, rtol=1e-6)


def test_polyak_on_the_fast_map_against_its_equilibrium_multiplier_and_flip():
    """r* = (A − 2c)/(2c − ½) with multiplier m = 1 + 2r*Φ'(r*), a flip at 4c² − (A + 3/2)c + A/2 = 0."""
    made = probe(FastMap(eos.tuners.Polyak()))
    A = np.repeat([8.0, 30.0, 120.0], 3)
    b = A + 1.5
    flip = (b - np.sqrt(b**2 - 8 * A)) / 8
    c = np.where(np.arange(9) % 3 == 0, 0.3, np.where(np.arange(9) % 3 == 1, 0.45, flip * 0.97))
    # Then just past the flip, where the tuner lets no oscillation live, in chaos, and where it bounds none.
    more = {"c": [*(flip[::3] * 1.004), 5.5, 1.0, 0.2], "A": [*A[::3], 10.0, 10.0, 10.0]}
    measured, regimes = over(made, 3000, c=[*c, *more["c"]], A=[*A, *more["A"]])
    assert regimes == [Regime.PERIODIC] * 12 + [Regime.CONVERGED, Regime.CHAOTIC, Regime.DIVERGED]
    assert measured.period[:12].tolist() == [1] * 9 + [2] * 3
    r = (A - 2 * c) / (2 * c - 0.5)
    slope = (0.5 - A) / (c * (1 + r) ** 2)
    np.testing.assert_allclose(measured.lyapunov[:9], np.log(np.abs(1 + 2 * r * slope)), atol=1e-5)
    np.testing.assert_allclose(np.exp(measured.state[:9, 0]), r, rtol=1e-4)
    np.testing.assert_allclose(measured.edge_exponent[:9], 0, atol=1e-6)
    before = len(TRACES)
    over(probe(FastMap(eos.tuners.Polyak(max=50.0), kappa=0.1)), 100, c=[*c, *more["c"]], A=[*A, *more["A"]])
    assert len(TRACES) == before


def test_greedy_on_the_fast_map_is_stable_with_multiplier_2_sigma_minus_3():
    sigma = np.array([1.05, 1.2, 1.4, 1.7, 1.9])
    measured, regimes = over(probe(FastMap(eos.tuners.Greedy(eps=0.0))), 2000, sigma=sigma)
    assert regimes == [Regime.PERIODIC] * 5
    np.testing.assert_allclose(measured.lyapunov, np.log(np.abs(2 * sigma - 3)), atol=1e-6)
    np.testing.assert_allclose(measured.s, 2, rtol=1e-6)


# One bulk mode so slow that λ is still rising at the end.
SLOW = Valley(22.0, 4.0, [1.0], [0.005], [0.1, -3.0])


@pytest.mark.parametrize("tuner", [eos.tuners.Armijo(), eos.tuners.CDAT(1.5, eps=0.0)])
def test_tuners_that_bound_a_small_oscillation_let_the_valley_sharpen(tuner):
    """x² = r*G/λ², so q = βx²/2α ≪ 1 and nothing pins λ."""
    measured, regimes = over(probe(SLOW, tuner), 3000, b=[3.0, 4.0])
    assert regimes == [Regime.CLAMPED_SHARPENING] * 2
    assert np.all(np.asarray(measured.q) < 0.01)
    assert np.all(np.abs(np.asarray(measured.edge_exponent)) < 0.005)


def test_polyak_on_a_floor_far_above_f_star_flattens_the_valley():
    """x² ≈ (L̄ − f*)/(λ(2c − ½)) for a floor at height L̄, here large: q > 1."""
    measured, regimes = over(probe(SLOW, eos.tuners.Polyak(c=0.4)), 200, offset=[0.2, 0.3])
    assert regimes == [Regime.CLAMPED_FLATTENING] * 2
    z = measured.state[:, 1]
    height, alpha = np.array([0.2, 0.3]) + 0.0025 * z**2, -2 * 0.005 * z
    # λ falls by 3 and 5 % over the average that q is.
    np.testing.assert_allclose(measured.q, 4 * height / (measured.final_sharpness * 0.3) / (2 * alpha), rtol=0.1)


def test_a_quadratic_is_never_said_to_be_stabilised():
    """Greedy steps hover at s = 2 there and λ is level, but nothing pins it: the features do not decide."""
    bowl = DiagonalQuadratic([10.0, 0.01, 0.02])
    _, regimes = over(probe(bowl, eos.tuners.CDAT(eps=0.0)), 1000, sigma=[1.2, 1.5, 1.8])
    assert set(regimes) <= {Regime.UNDECIDED, Regime.CONVERGED}


def test_an_objective_without_names_has_its_edge_equilibrium_as_a_cycle_of_period_2():
    floor = valley()
    bare = eos.objective(lambda w: floor.loss(w), floor.initial())
    measured, regimes = over(probe(bare, eos.tuners.Constant()), 2000, step=[0.1])
    assert regimes == [Regime.PERIODIC]
    assert int(measured.period[0]) == 2
    assert np.isnan(measured.q[0])


def test_streamed_features_are_those_of_the_stored_orbit():
    # Not a chaotic tuner, on which two compiled programs part after tens of steps.
    made = probe(valley(2, gamma=1.0), eos.tuners.CDAT(1.5, eps=0.0))
    steps = 647
    feature_values = eqx.filter_jit(features)(made, steps)

    def step(z, t):
        new, look = made.advance(z, t)
        return new, (look, z)

    last, (look, _) = jax.lax.scan(step, made.init(), jnp.arange(steps, dtype=jnp.int32))
    s = np.asarray(look.stepsize * look.sharpness)
    half = steps // 2
    np.testing.assert_allclose(feature_values.s, s[half:].mean(), rtol=1e-10)
    np.testing.assert_allclose(feature_values.log_s, np.log(np.abs(s[half:])).mean(), rtol=1e-10)
    np.testing.assert_allclose(feature_values.edge_exponent, np.log(np.abs(1 - s[half:])).mean(), rtol=1e-9)
    np.testing.assert_allclose(feature_values.highest_s, s[half:].max(), rtol=1e-12)
    np.testing.assert_allclose(feature_values.q, look.pull[half:].sum() / look.push[half:].sum(), rtol=1e-10)
    np.testing.assert_allclose(feature_values.peak, look.loss.max() / look.loss[0], rtol=1e-12)
    assert float(feature_values.final_loss) == pytest.approx(float(look.loss[-1]), rel=1e-12)
    np.testing.assert_allclose(feature_values.state, last, rtol=1e-10)
    quarter = 24 * steps // 32
    drift = 2 * np.log(np.mean(look.sharpness[quarter:]) / np.mean(look.sharpness[half:quarter]))
    np.testing.assert_allclose(feature_values.drift, drift, rtol=1e-9)


SETTLED = {
    "diverged": False, "arrived": False, "frozen": False, "averaged": 500.0, "edge_exponent": -0.5, "edge_error": 0.0,
    "lyapunov": -0.1, "lyapunov_error": 0.0, "s": 1.5, "log_s": 0.4, "highest_s": 1.6, "stepsize_spread": 0.0,
    "first_sharpness": 3.0, "final_sharpness": 3.0, "drift": 0.0, "q": np.nan, "final_loss": 0.0, "peak": 1.0,
    "remaining": 1e-6, "period": 1, "state": 0.0, "lost": False,
}  # fmt: skip
EDGE = {"edge_exponent": 1e-3, "s": 2.01, "highest_s": 2.5, "remaining": 0.5, "period": -1}
MOVING = EDGE | {"stepsize_spread": 0.3}


@pytest.mark.parametrize(
    ("changes", "regime"),
    [
        ({}, Regime.CONVERGED),
        ({"peak": 30.0, "final_sharpness": 2.0}, Regime.CATAPULT),
        ({"peak": 30.0}, Regime.CONVERGED),
        ({"highest_s": 2.2}, Regime.UNDECIDED),
        ({"drift": 0.05}, Regime.UNDECIDED),
        ({"remaining": 0.5}, Regime.UNDECIDED),
        ({"diverged": True}, Regime.DIVERGED),
        ({"lyapunov": 0.3, "lyapunov_error": 0.01}, Regime.CHAOTIC),
        ({"lyapunov": 0.01, "lyapunov_error": 0.001}, Regime.CONVERGED),
        ({"lyapunov": 0.3, "lyapunov_error": np.inf}, Regime.CONVERGED),
        (MOVING | {"drift": 0.1}, Regime.CLAMPED_SHARPENING),
        (MOVING | {"drift": -0.1}, Regime.CLAMPED_FLATTENING),
        (MOVING | {"drift": 0.1, "q": 1.3}, Regime.UNDECIDED),
        (MOVING | {"drift": 0.1, "q": 0.2}, Regime.CLAMPED_SHARPENING),
        (MOVING | {"drift": -0.1, "q": 3.0}, Regime.CLAMPED_FLATTENING),
        (EDGE | {"drift": 0.1}, Regime.UNDECIDED),
        (MOVING, Regime.UNDECIDED),
        (EDGE | {"q": 1.02}, Regime.SELF_STABILISED),
        (EDGE | {"q": 1.02, "s": 2.5}, Regime.UNDECIDED),
        (EDGE, Regime.UNDECIDED),
        (EDGE | {"final_sharpness": 4.0}, Regime.SELF_STABILISED),
        (EDGE | {"period": 4}, Regime.PERIODIC),
        (MOVING | {"period": 4, "drift": 0.1}, Regime.CLAMPED_SHARPENING),
        (EDGE | {"period": 1, "frozen": True}, Regime.PERIODIC),
        (MOVING | {"frozen": True, "drift": 0.1}, Regime.UNDECIDED),
        (dict.fromkeys(SETTLED, np.nan) | {"diverged": False, "arrived": False, "frozen": False}, Regime.UNDECIDED),
    ],
)
def test_decisions_from_features(changes, regime):
    feature_values = Features(**{name: jnp.asarray(value) for name, value in (SETTLED | changes).items()})
    assert int(decide(feature_values)) == regime


def test_every_regime_has_a_label_and_a_meaning():
    assert len({code.label for code in Regime}) == len({code.describe() for code in Regime}) == len(Regime) == 11
    assert Regime.UNDECIDED == -1


@pytest.mark.parametrize(
    ("changes", "regime"),
    [
        ({}, Regime.BELOW_EDGE),
        ({"highest_s": 1.98, "drift": 0.1, "stepsize_spread": 0.3}, Regime.BELOW_EDGE),
        ({"highest_s": 1.9998, "drift": 0.1, "stepsize_spread": 0.3}, Regime.CLAMPED_SHARPENING),
        ({"highest_s": 2.1}, Regime.SELF_STABILISED),
        ({"highest_s": 2.1, "drift": 0.1}, Regime.SELF_STABILISED),
        ({"highest_s": 2.1, "stepsize_spread": 0.3}, Regime.SELF_STABILISED),
        (MOVING | {"drift": 0.1}, Regime.CLAMPED_SHARPENING),
        (MOVING | {"drift": -0.1}, Regime.CLAMPED_FLATTENING),
        ({"peak": 2.5}, Regime.CATAPULT),
        ({"peak": 2.5, "lost": True}, Regime.OUT_OF_RANGE),
        ({"peak": 2.5, "diverged": True}, Regime.DIVERGED),
        (dict.fromkeys(SETTLED, np.nan) | {"diverged": False, "lost": False}, Regime.UNDECIDED),
    ],
)
def test_regimes_of_a_training(changes, regime):
    feature_values = Features(**{name: jnp.asarray(value) for name, value in (SETTLED | changes).items()})
    assert int(decide_training(feature_values)) == regime
