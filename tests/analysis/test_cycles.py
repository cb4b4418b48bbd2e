"""Cycles, folds and flips of maps against closed forms: logistic, Hénon, the fast map of Polyak and CDAT, descent."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eosmodel as eos
from eosmodel.analysis.cycles import cycles, flip, fold
from eosmodel.theory import FastMap

UNIT = np.linspace(0.02, 0.98, 25)[:, None]


def logistic(z, r):
    return r * z * (1 - z)


def henon(z, a, b):
    return jnp.stack([1 - a * z[0] ** 2 + z[1], b * z[0]])


def descent(w, eta, mu):
    """Gradient descent on ¼(x² − μ)², tuner and ray and all."""
    line = eos.ray(lambda w: 0.25 * jnp.sum((w**2 - mu) ** 2), w)
    step, _, _ = eos.tuners.Constant(eta)(line, ())
    return w + step * line.direction


class PolyakFamily(eqx.Module):
    """The fast map of Polyak in c, at a frozen A (traced: one compilation for all)."""

    A: jax.Array

    def __call__(self, z, c):
        return FastMap(eos.tuners.Polyak(c), A=self.A)(z)


class CdatFamily(eqx.Module):
    """The fast map of CDAT in σ; it carries two averages, which the map with ema = 0 forgets."""

    kappa: jax.Array

    def __call__(self, z, sigma):
        return FastMap(eos.tuners.CDAT(sigma, eps=0.0), kappa=self.kappa)(z)


def array(*values):
    return jnp.asarray(values, jnp.float64)


@settings(max_examples=40, deadline=None)
@given(st.floats(1.2, 4.0).filter(lambda r: abs(r - 3) > 1e-3))
def test_fixed_points_and_multipliers_of_the_logistic_map(r):
    result = cycles(logistic, UNIT, args=(jnp.asarray(r),))
    np.testing.assert_allclose(result.points.ravel(), [0, 1 - 1 / r], atol=1e-12)
    np.testing.assert_allclose(result.multipliers.ravel(), [r, 2 - r], atol=1e-11)
    assert result.stable.tolist() == [False, r < 3]
    assert result.period.tolist() == [1, 1]
    assert set(result.reached) <= {-1, 0, 1}


def test_every_six_cycle_at_r_4_and_the_shorter_ones_inside_it():
    # x = sin²θ turns the map into θ ↦ 2θ: f⁶(x) = x at sin²(πj/63) and sin²(πj/65).
    exact = np.unique(
        np.concatenate([np.sin(np.pi * np.arange(32) / 63) ** 2, np.sin(np.pi * np.arange(33) / 65) ** 2])
    )
    starts = np.sin(np.linspace(0.001, 0.499 * np.pi, 900)) ** 2
    result = cycles(logistic, starts[:, None], period=6, args=(array(4.0)[0],))
    assert result.period.tolist() == [1, 1, 2, 3, 3] + [6] * 9
    np.testing.assert_allclose(np.unique(result.points.round(9)), np.unique(exact.round(9)), atol=2e-9)
    sizes = np.where(result.points[:, 0, 0] < 1e-9, 4.0, 2.0**result.period)
    np.testing.assert_allclose(np.abs(result.multipliers[:, 0]), sizes, rtol=1e-9)
    assert not result.stable.any()


def test_cyclic_shifts_are_one_cycle_and_each_start_says_where_it_went():
    r = array(3.84)[0]
    orbit = cycles(logistic, UNIT, period=3, args=(r,))
    inner = orbit.points[orbit.stable][0]
    again = cycles(logistic, np.concatenate([inner[::-1], [[1 - 1 / 3.84]]]), period=3, args=(r,))
    assert again.period.tolist() == [1, 3]
    assert again.reached.tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(again.points[1], inner, atol=1e-12)
    assert np.argmin(again.points[1, :, 0]) == 0


def test_newton_that_fails_is_reported():
    none = cycles(lambda z: z + 1, UNIT)
    assert none.points.shape == (0, 1, 1)
    assert (none.reached == -1).all()
    # Log of a negative number, and of one that Newton sends there.
    half = cycles(lambda z: jnp.log(z) + 2, np.array([[-1.0], [3.0]]))
    assert half.reached.tolist() == [-1, 0]
    assert (cycles(logistic, UNIT, args=(array(3.7)[0],), max_steps=1).reached == -1).all()


def test_cycles_that_are_not_isolated():
    # A quarter turn: everything has period 4 except the centre.
    result = cycles(
        lambda z: jnp.stack([-z[1], z[0]]), np.array([[1.0, 0.0], [0.3, 0.4], [0.0, -1.0], [0.0, 0.0]]), period=4
    )
    assert result.period.tolist() == [1, 4, 4]
    assert result.reached.tolist() == [1, 2, 1, 0]
    # The centre's own are those of one turn, the others' of four.
    np.testing.assert_allclose(result.multipliers[1:], 1, atol=1e-15)
    np.testing.assert_allclose(np.sort_complex(result.multipliers[0]), [-1j, 1j], atol=1e-15)
    # The greedy rule at σ = 1 and κ = 0 sends r to 1/r.
    greedy = CdatFamily(array(0.0)[0])
    r = np.array([0.2, 1.0, 3.0])
    starts = np.stack([np.log(r), r, r], axis=1)
    swapped = cycles(greedy, starts, period=2, args=(array(1.0)[0],))
    assert swapped.period.tolist() == [2, 2, 2]
    np.testing.assert_allclose(swapped.points[..., 0].sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize(("a", "b"), [(1.4, 0.3), (0.2, 0.3), (0.9, -0.4)])
def test_fixed_points_of_the_henon_map(a, b):
    grid = np.stack(np.meshgrid(np.linspace(-4, 4, 9), [-1.0, 1.0]), -1).reshape(-1, 2)
    result = cycles(henon, grid, args=tuple(array(a, b)))
    x = np.sort(np.roots([a, 1 - b, -1]))
    np.testing.assert_allclose(result.points[:, 0], np.stack([x, b * x], axis=1), atol=1e-11)
    for row, at in zip(result.multipliers, x, strict=True):
        np.testing.assert_allclose(np.sort_complex(row), np.sort_complex(np.roots([1, 2 * a * at, -b])), atol=1e-11)


@pytest.mark.parametrize(("eta", "mu"), [(1.1, 1.0), (0.05, 23.0), (0.13, 10.0)])
def test_two_step_cycle_of_gradient_descent_on_the_quartic(eta, mu):
    # With X = √η x and a = ημ: X' = X − X(X² − a), whose 2-cycle about the minimum has sum √(3 + a) and product 1.
    a = eta * mu
    total = np.sqrt(3 + a)
    pair = np.sort(np.roots([1, -total, 1]).real) / np.sqrt(eta)
    starts = np.linspace(0.3, 1.7, 30)[:, None] * np.sqrt(mu)
    result = cycles(descent, starts, period=2, args=tuple(array(eta, mu)))
    about = (result.period == 2) & (result.points > 0).all(axis=(1, 2))
    np.testing.assert_allclose(result.points[about], pair[None, :, None], rtol=1e-10)
    np.testing.assert_allclose(result.multipliers[about], [[9 - 2 * (1 + a) ** 2]], atol=1e-8)
    assert result.stable[about].tolist() == [a < np.sqrt(5) - 1]
    minimum = np.isclose(result.points[:, 0, 0], np.sqrt(mu))
    np.testing.assert_allclose(result.multipliers[minimum], [[1 - 2 * a]], atol=1e-10)


def test_quartic_minimum_flips_at_one_over_mu_and_its_cycle_at_sqrt_5():
    mu = 2.0
    first = flip(lambda w, eta: descent(w, eta, jnp.asarray(mu, w.dtype)), [1.3], 0.4)
    assert first.converged
    np.testing.assert_allclose([first.parameter, first.points[0, 0]], [1 / mu, np.sqrt(mu)], rtol=1e-12)
    second = flip(lambda w, eta: descent(w, eta, jnp.asarray(mu, w.dtype)), [1.7], 0.6, period=2)
    assert (second.converged, second.period) == (True, 2)
    np.testing.assert_allclose(second.parameter * mu, np.sqrt(5) - 1, rtol=1e-12)


def test_folds_and_flips_of_the_logistic_map():
    cases = [(flip, 0.6, 2.8, 1, 3), (flip, 0.84, 3.4, 2, 1 + np.sqrt(6)), (fold, 0.5, 3.8, 3, 1 + np.sqrt(8))]
    for solve, z, r, period, exact in cases:
        result = solve(logistic, [z], r, period=period)
        assert (result.converged, result.period) == (True, period)
        np.testing.assert_allclose(result.parameter, exact, rtol=1e-13)
        np.testing.assert_allclose(result.multipliers, [1 if solve is fold else -1], atol=1e-12)
        assert result.residual < 1e-13


def test_folds_and_flips_of_the_henon_map():
    for b in (0.3, -0.2):
        family = HenonFamily(array(b)[0])
        at_fold, at_flip = fold(family, [2.5, 0.5], -0.1), flip(family, [0.8, 0.2], 0.4)
        assert at_fold.converged
        assert at_flip.converged
        np.testing.assert_allclose(at_fold.parameter, -((1 - b) ** 2) / 4, rtol=1e-12)
        np.testing.assert_allclose(at_flip.parameter, 3 * (1 - b) ** 2 / 4, rtol=1e-12)
        np.testing.assert_allclose(at_fold.points[0, 0], 2 / (1 - b), rtol=1e-10)
        np.testing.assert_allclose(np.sort(at_flip.multipliers.real), np.sort([-1, b]), atol=1e-10)


class HenonFamily(eqx.Module):
    b: jax.Array

    def __call__(self, z, a):
        return henon(z, a, self.b)


def test_bifurcations_that_are_not_there_are_reported():
    nowhere = flip(lambda z, p: z + 1 + 0 * p, [0.3], 1.0)
    assert not nowhere.converged
    assert nowhere.period == 0
    # Newton for a fold of period 2 that ends on a fixed point says so.
    assert fold(logistic, [0.1], 0.9, period=2).period == 1


def polyak_flips(A):
    """m = 1 + 2r*Φ'(r*) = −1 with r* = (A − 2c)/(2c − ½), Φ' = (½ − A)/(c(1 + r)²): 4c² − (A + 3/2)c + A/2 = 0."""
    return np.sort(np.roots([4, -(A + 1.5), A / 2]))


@pytest.mark.parametrize(("c", "A"), [(0.3, 10.0), (0.5, 10.0), (0.6, 10.0), (3.0, 10.0), (0.4, 50.0)])
def test_edge_equilibrium_of_polyak(c, A):
    result = cycles(PolyakFamily(array(A)[0]), np.linspace(-1, 6, 30)[:, None], args=(array(c)[0],))
    r = (A - 2 * c) / (2 * c - 0.5)
    slope = (0.5 - A) / (c * (1 + r) ** 2)
    best = np.argmin(np.abs(result.points[:, 0, 0] - np.log(r)))
    np.testing.assert_allclose(result.points[best, 0, 0], np.log(r), rtol=1e-11)
    np.testing.assert_allclose(result.multipliers[best, 0], 1 + 2 * r * slope, atol=1e-10)


def test_polyak_at_c_half_is_marginal_only_for_large_A():
    """At A = 10 the multiplier at c = ½ is −17/19 and the flip is at c = 0.534; both tend to −1 and ½ as A grows."""
    at_ten = cycles(PolyakFamily(array(10.0)[0]), array(np.log(6.0))[None], args=(array(0.5)[0],))
    np.testing.assert_allclose(at_ten.multipliers, [[-17 / 19]], rtol=1e-10)
    assert at_ten.stable.all()
    for A in (10.0, 1e2, 1e4, 1e6):
        low, high = polyak_flips(A)
        result = flip(PolyakFamily(array(A)[0]), [np.log(2 * A - 2)], 0.5)
        assert result.converged
        np.testing.assert_allclose(result.parameter, low, rtol=1e-10)
        # To first order in 1/A the flip is at ½ + 1/(4A).
        assert abs(4 * A * (result.parameter - 0.5) - 1) < 5 / A
        if A < 1e3:
            # The way back: beyond its second flip the equilibrium is stable again, until r* = 0 at c = A/2.
            again = flip(PolyakFamily(array(A)[0]), [np.log((A - 2 * high) / (2 * high - 0.5)) + 0.1], 0.98 * high)
            assert again.converged
            np.testing.assert_allclose(again.parameter, high, rtol=1e-10)


@pytest.mark.parametrize(("sigma", "kappa"), [(1.5, 0.0), (1.9, 0.0), (0.8, 0.0), (1.2, 0.3)])
def test_edge_equilibrium_of_cdat(sigma, kappa):
    r = (sigma - 2 * kappa) / (2 - sigma)
    starts = np.stack([np.log(r) + np.linspace(-0.3, 0.3, 4), *np.ones((2, 4))], axis=1)
    result = cycles(CdatFamily(array(kappa)[0]), starts, args=(array(sigma)[0],))
    best = np.argmin(np.abs(result.points[:, 0, 0] - np.log(r)))
    np.testing.assert_allclose(result.points[best, 0, 0], np.log(r), atol=1e-11)
    slope = sigma * (kappa - 1) / (kappa + r) ** 2
    if kappa == 0:
        np.testing.assert_allclose(1 + 2 * r * slope, 2 * sigma - 3, atol=1e-12)
    # The two averages are forgotten at once: multipliers 0.
    expected = np.sort([0, 0, 1 + 2 * r * slope])
    np.testing.assert_allclose(np.sort(result.multipliers[best].real), expected, atol=1e-9)


def test_greedy_sits_on_its_flip():
    result = flip(CdatFamily(array(0.0)[0]), [0.3, 1.0, 1.0], 1.2)
    assert result.converged
    np.testing.assert_allclose(result.parameter, 1, rtol=1e-12)
    np.testing.assert_allclose(result.points[0, 0], 0, atol=1e-12)


def test_single_precision():
    result = cycles(logistic, UNIT.astype(np.float32), period=3, args=(jnp.float32(3.84),))
    assert result.points.dtype == np.float32
    assert result.period.tolist() == [1, 1, 3, 3]
    double = cycles(logistic, UNIT, period=3, args=(array(3.84)[0],))
    np.testing.assert_allclose(result.points, double.points, atol=1e-5)
    at = flip(logistic, jnp.asarray([0.6], jnp.float32), 2.8)
    assert at.converged
    assert abs(at.parameter - 3) < 1e-5


def test_new_numbers_do_not_compile_again():
    traces = []

    class Counted(PolyakFamily):
        def __call__(self, z, c):
            traces.append(1)
            return super().__call__(z, c)

    starts = np.linspace(0, 5, 4)[:, None]
    cycles(Counted(array(10.0)[0]), starts, args=(array(0.3)[0],))
    before = len(traces)
    cycles(Counted(array(20.0)[0]), starts, args=(array(0.4)[0],))
    # Only the look at the shape of what the map returns.
    assert len(traces) == before + 1


def never(*_):
    raise AssertionError("the map was called")


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: cycles(never, [[0.1]], period=0), "period"),
        (lambda: cycles(never, [[0.1]], period=1.5), "period"),
        (lambda: cycles(never, [[0.1]], max_steps=0), "max_steps"),
        (lambda: cycles(never, [0.1]), "starts"),
        (lambda: cycles(never, np.zeros((0, 2))), "starts"),
        (lambda: cycles(never, [[np.nan]]), "starts"),
        (lambda: cycles(lambda z: jnp.append(z, z), [[0.1]]), "mapping"),
        (lambda: flip(never, [[0.1]], 1.0), "z"),
        (lambda: flip(never, [0.1], np.inf), "p must"),
        (lambda: fold(never, [0.1], 1.0, period=-1), "period"),
    ],
)
def test_bad_input_is_named_before_anything_is_computed(call, word):
    with pytest.raises(ValueError, match=word):
        call()
