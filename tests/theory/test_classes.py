"""The classes of tuners against analysis by hand: equilibria, multipliers, kinds, q and the sign of dλ/dt."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eosmodel as eos
from eosmodel.theory import FastMap, Kind, classify, held

T = eos.tuners


def kind_of(tuner, alpha=None, beta=None, **frozen):
    return Kind(int(classify(FastMap(tuner, **frozen), alpha, beta).kind))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.27, 2.0), st.floats(5.0, 500.0))
def test_polyak_equilibrium_and_multiplier(c, a):
    found = classify(FastMap(T.Polyak(c), A=a))
    r = (a - 2 * c) / (2 * c - 0.5)
    slope = (0.5 - a) / (c * (1 + r) ** 2)
    np.testing.assert_allclose(found.r_star[0], r, rtol=1e-9)
    np.testing.assert_allclose(found.multiplier[0], 1 + 2 * r * slope, rtol=1e-8)
    assert np.isnan(found.r_star[1:]).all()
    assert Kind(int(found.kind)) is Kind.CLAMPED


@pytest.mark.parametrize("sigma", [1.0, 1.3, 1.9])
@pytest.mark.parametrize("kappa", [0.0, 0.05, 0.3])
def test_cdat_equilibrium_and_multiplier(sigma, kappa):
    found = classify(FastMap(T.CDAT(sigma, eps=0.0), kappa=kappa))
    np.testing.assert_allclose(found.r_star[0], (sigma - 2 * kappa) / (2 - sigma), rtol=1e-9)
    m = 1 - 2 * (sigma - 2 * kappa) * (2 - sigma) / (sigma * (1 - kappa))
    np.testing.assert_allclose(found.multiplier[0], m, atol=1e-8)


def test_polyak_flips_where_its_quadratic_says():
    """4c² − (A + 3/2)c + A/2 = 0; the attractor leaves the equilibrium there."""
    a = 40.0
    flip = min(np.roots([4, -(a + 1.5), a / 2]).real)
    at = classify(FastMap(T.Polyak(flip), A=a))
    np.testing.assert_allclose(at.multiplier[0], -1.0, atol=1e-8)
    before, after = (classify(FastMap(T.Polyak(flip + d), A=a)) for d in (-0.02, 0.02))
    np.testing.assert_allclose(before.means.r, before.r_star[0], rtol=1e-6)
    assert abs(np.log(after.means.r / after.r_star[0])) > 1e-3
    assert after.kind == before.kind == int(Kind.CLAMPED)


def test_a_constant_step_exactly_at_the_edge_is_held_by_the_sharpness_and_the_on_edge_rule_is_not():
    at = classify(FastMap(T.Constant(0.1), sharpness=20.0), 1.0, 4.0)
    assert Kind(int(at.kind)) is Kind.SELF_STABILISED
    assert (float(at.q), float(at.trend)) == (1.0, 0.0)
    assert float(at.sensitivity) > 1
    probe = classify(FastMap(T.OnEdge(2.0), sharpness=20.0), 1.0, 4.0)
    assert Kind(int(probe.kind)) is Kind.UNDECIDED
    assert np.isnan([probe.q, probe.trend]).all()


@pytest.mark.parametrize("beta", [0.1, 10.0])
def test_q_and_the_sign_of_a_clamped_tuner(beta):
    """q = βx²/(2α) with x² = r*G/λ², r* = 3."""
    alpha, sharpness, bulk = 0.5, 4.0, 2.0
    found = classify(FastMap(T.CDAT(1.5, eps=0.0), sharpness=sharpness, bulk_gradient_sq=bulk), alpha, beta)
    q = beta * 3 * bulk / sharpness**2 / (2 * alpha)
    np.testing.assert_allclose(found.q, q, rtol=1e-10)
    assert float(found.trend) == np.sign(1 - q)
    # The balance x² = 2α/β of a rule whose s falls with r alone is a saddle.
    assert float(found.sensitivity) < 0


def test_sharpness_answers_a_capped_rule_first_where_its_level_is_reached_first():
    """η_max λ > 2: Polyak clamps at r* unless x² = 2α/β, where λ begins to fall and s with it, comes before."""
    fast = FastMap(T.Polyak(1.0, max=2.1), A=50.0)
    r_star = (50 - 2) / 1.5
    for level, kind in ((r_star / 4, Kind.SELF_STABILISED), (r_star * 4, Kind.CLAMPED)):
        found = classify(fast, 1.0, 2 / level)  # r_q = 2αλ²/(βG)
        assert Kind(int(found.kind)) is kind
    assert float(found.trend) == 1.0
    # The same Φ at that λ without a cap that answers: clamped wherever the level is.
    assert kind_of(T.Polyak(1.0), 1.0, 8 / r_star, A=50.0) is Kind.CLAMPED


def test_trends_without_a_balance():
    below, unbounded = FastMap(T.Constant(1.5)), FastMap(T.Constant(2.5))
    assert [float(classify(below, a, 1.0).trend) for a in (1.0, -1.0)] == [1.0, -1.0]
    assert float(classify(unbounded, -1.0, 1.0).trend) == -1.0
    assert float(classify(unbounded, 1.0, 0.0).trend) == 1.0
    assert float(classify(FastMap(T.CDAT(2.0, eps=0.0)), 1.0, 1.0).trend) == -1.0


@settings(max_examples=15, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3))
def test_the_units_of_loss_and_weights_do_not_matter(loss, weight):
    """f → cf, w → kw: λ → c/k², G → c²/k², α → c²/k⁴, β → c²/k⁶."""
    c, k = 10**loss, 10**weight
    for tuner in (T.Polyak(0.4), T.CDAT(1.7, eps=0.0), T.Greedy(eps=0.0)):
        first, second = (
            classify(FastMap(tuner, 20.0, 0.01, c / k**2, c**2 / k**2), 1e-3 * c**2 / k**4, 1e-4 * c**2 / k**6)
            for c, k in ((1.0, 1.0), (c, k))
        )
        assert first.kind == second.kind
        np.testing.assert_allclose(second.r_star[0], first.r_star[0], rtol=1e-7)
        np.testing.assert_allclose(second.q, first.q, rtol=1e-6)
        assert first.trend == second.trend


def test_held_armijo_runs_through_its_sawtooth():
    """s in [factor, 1]·2(1 − c)(1 + r)/(κ + r); the equilibrium has no multiplier, for the memory takes part."""
    fast = FastMap(T.Armijo(c=0.1, factor=0.8, increase=1.5, initial=0.3), kappa=0.05)
    top = 2 * 0.9 * (1 + 3.0) / (0.05 + 3.0)
    seen = held(fast, 3.0)
    assert 0.8 * top * 0.999 < float(seen.low) < float(seen.s) < float(seen.high) <= top * 1.001
    found = classify(fast)
    np.testing.assert_allclose(held(fast, found.r_star[0]).growth, 0.0, atol=2e-2)
    assert np.isnan(found.multiplier).all()


def test_a_jump_through_the_edge_is_a_place_without_a_multiplier():
    """Restarted from 3 with factor ½, s is 3 or 1.5: it drops where 2(1 − c)(1 + r)/(κ + r) = 3."""
    found = classify(FastMap(T.ArmijoRestart(c=1e-4, factor=0.5, initial=3.0)))
    np.testing.assert_allclose(found.r_star[0], 2 * (1 - 1e-4) / (3 - 2 * (1 - 1e-4)), rtol=1e-6)
    assert np.isnan(found.multiplier).all()


def test_vmapped_over_a_grid_without_recompiling():
    alphas, betas = jnp.asarray([0.1, 1.0]), jnp.asarray([1.0, 2.0])
    traces = []

    @eqx.filter_jit
    def grid(c, alphas, betas):
        traces.append(None)
        one = lambda a, b: classify(FastMap(T.Polyak(c), A=20.0), a, b)  # noqa: E731
        return jax.vmap(one)(alphas, betas)

    found = grid(jnp.asarray(0.4), alphas, betas)
    again = grid(jnp.asarray(0.3), alphas, betas)
    assert len(traces) == 1
    assert found.kind.shape == (2,)
    np.testing.assert_allclose(again.r_star[:, 0], (20 - 0.6) / 0.1, rtol=1e-9)
    np.testing.assert_allclose(found.q[1], classify(FastMap(T.Polyak(0.4), A=20.0), 1.0, 2.0).q, rtol=1e-12)


def test_single_precision_decides_the_same():
    cases = [("cdat:sigma=2,eps=0", 0.0), ("cdat:1.9", 0.1), ("cdat:1.9", 0.96), ("cdat:2.1", 0.0)]
    double = [kind_of(T.from_spec(spec), kappa=kappa) for spec, kappa in cases]
    with jax.enable_x64(False):
        single = [kind_of(T.from_spec(spec), kappa=kappa) for spec, kappa in cases]
        assert classify(FastMap(T.CDAT(1.5))).r_star.dtype == jnp.float32
    assert single == double


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.0}, "alpha and beta must be given together"),
        ({"alpha": 1.0, "beta": -1.0}, "beta must lie in"),
        ({"margin": -1.0}, "margin must lie in"),
        ({"steps": 0}, "steps must lie in"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        classify(FastMap(T.Constant(1.0)), **arguments)


def test_kinds_describe_themselves():
    assert [k.label for k in Kind] == ["undecided", "below-edge", "clamped", "self-stabilised"]
    assert len({k.describe() for k in Kind}) == len(Kind)
