"""Branches and bifurcation curves against closed forms, past folds, round loops and to where they end."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel.analysis.continuation import KINDS, branch, flip_curve, fold_curve
from eosmodel.theory import FastMap


def logistic(z, r):
    return r * z * (1 - z)


def henon(z, a, b):
    return jnp.stack([1 - a * z[0] ** 2 + z[1], b * z[0]])


def quadratic(z, p, q):
    """In qz this is X' = pq − X²: flips of period 1 and 2 at pq = 3/4 and 5/4, the fold of period 3 at 7/4."""
    return p - q * z**2


def polyak(z, c, A):
    return FastMap(eos.tuners.Polyak(c), A=A)(z)


class At(eqx.Module):
    """A map of two parameters at one value of the second."""

    family: callable
    second: jax.Array

    def __call__(self, z, first):
        return self.family(z, first, self.second)


def at(family, second):
    return At(family, jnp.asarray(second, jnp.float64))


def of(result, kind):
    return result.p.values[result.kind.values == kind]


@pytest.fixture(scope="module")
def line():
    return branch(logistic, [0.6], 2.5, (0.5, 4.0), name="r")


def test_every_point_of_a_branch_is_a_fixed_point_with_its_multiplier(line):
    r, z = line.p.values, line.z.values[:, 0, 0]
    # Where z = 0 crosses, the equations are singular.
    assert (np.abs(z - (1 - 1 / r)) < np.where(line.kind.values == "branch", 1e-8, 1e-12)).all()
    np.testing.assert_allclose(line.multiplier_real.values[:, 0], 2 - r, atol=1e-8)
    regular = line.kind.values == "regular"
    np.testing.assert_array_equal(line.stable.values[regular], np.abs(2 - r[regular]) < 1)
    assert line.residual.max() < 1e-13
    assert line.converged.all()
    np.testing.assert_allclose(r[[0, -1]], [0.5, 4.0], rtol=1e-14)
    assert (line.ended_low, line.ended_high) == ("bound", "bound")
    assert (np.diff(line.arclength) > 0).all()
    assert np.diff(line.arclength).max() < 0.021


def test_flip_and_crossing_of_the_logistic_branch(line):
    np.testing.assert_allclose(of(line, "flip"), [3], rtol=1e-13)
    np.testing.assert_allclose(of(line, "branch"), [1], atol=1e-8)
    assert set(line.kind.values) == {"regular", "flip", "branch"}
    assert set(line.kind.values) <= set(KINDS)


def test_two_cycle_from_its_birth_to_its_flip():
    result = branch(logistic, [0.8], 3.2, (2.5, 4.0), period=2)
    r = result.p.values
    # The points of the 2-cycle are the roots of r²z² − r(r + 1)z + r + 1, its multiplier 4 + 2r − r².
    np.testing.assert_allclose(result.z.sum(("phase", "component")), (r + 1) / r, atol=1e-12)
    np.testing.assert_allclose(result.z.prod(("phase", "component")), (r + 1) / r**2, atol=1e-12)
    np.testing.assert_allclose(result.multiplier_real.values[:, 0], 4 + 2 * r - r**2, atol=1e-10)
    # Both halves of the loop through r = 3 are this cycle, begun at either point.
    np.testing.assert_allclose(of(result, "flip"), [1 + np.sqrt(6)] * 2, rtol=1e-13)
    np.testing.assert_allclose(of(result, "branch"), [3], atol=1e-8)
    assert r.min() > 3 - 1e-8


def test_period_three_past_its_fold():
    result = branch(logistic, [0.16], 3.84, (3.5, 4.0), period=3)
    np.testing.assert_allclose(of(result, "fold"), [1 + np.sqrt(8)], rtol=1e-13)
    np.testing.assert_allclose(result.p.min(), 1 + np.sqrt(8), rtol=1e-13)
    assert (result.ended_low, result.ended_high) == ("bound", "bound")
    np.testing.assert_allclose(result.p.values[[0, -1]], [4.0, 4.0], rtol=1e-14)
    # The window's own flip, by the product of slopes round the cycle that numpy sees.
    (row,) = np.flatnonzero(result.kind.values == "flip")
    z, r = result.z.values[row, :, 0], result.p.values[row]
    np.testing.assert_allclose(np.roll(z, -1), r * z * (1 - z), atol=1e-13)
    np.testing.assert_allclose(np.prod(r * (1 - 2 * z)), -1, atol=1e-11)
    # Stable from fold to flip, and nowhere else.
    stable = result.p.values[result.stable.values]
    assert 1 + np.sqrt(8) < stable.min() < stable.max() < r


def test_henon_branch_turns_at_its_fold():
    result = branch(at(henon, 0.3), [0.6, 0.2], 1.0, (-0.3, 2.0), max_points=150, name="a")
    a, x = result.p.values, result.z.values[:, 0, 0]
    np.testing.assert_allclose(a * x**2 + 0.7 * x - 1, 0, atol=1e-11)
    np.testing.assert_allclose(of(result, "fold"), [-(0.7**2) / 4], rtol=1e-12)
    np.testing.assert_allclose(of(result, "flip"), [3 * 0.7**2 / 4], rtol=1e-12)
    # Beyond the fold the branch runs off to infinity as a → 0 and never meets a bound.
    assert (result.ended_low, result.ended_high) == ("max_points", "bound")
    det = np.prod(result.multiplier_real + 1j * result.multiplier_imag, axis=1)
    np.testing.assert_allclose(det, -0.3, atol=1e-10)


def test_neimark_sacker_point_of_the_delayed_logistic_map():
    result = branch(lambda z, a: jnp.stack([a * z[0] * (1 - z[1]), z[0]]), [0.4, 0.4], 1.7, (1.2, 2.5))
    np.testing.assert_allclose(result.z.values[:, 0, 0], 1 - 1 / result.p.values, atol=1e-12)
    np.testing.assert_allclose(of(result, "neimark-sacker"), [2], rtol=1e-12)
    assert set(result.kind.values) == {"regular", "neimark-sacker"}
    (row,) = np.flatnonzero(result.kind.values == "neimark-sacker")
    np.testing.assert_allclose(np.abs(result.multiplier_imag.values[row]), np.sin(np.pi / 3), atol=1e-10)
    np.testing.assert_allclose(result.multiplier_real.values[row], 0.5, atol=1e-10)


def test_a_neutral_saddle_is_no_bifurcation():
    # Real multipliers 2 and p, whose product passes 1 at p = ½.
    result = branch(lambda z, p: jnp.stack([2 * z[0] - 0.1, p * z[1] + 0.2]), [0.1, 0.3], 0.4, (0.2, 0.8))
    assert set(result.kind.values) == {"regular"}
    assert not result.stable.any()


def test_a_loop_comes_round():
    result = branch(lambda z, p: z + 0.3 * (z**2 + p**2 - 1), [1.0], 0.0, (-2.0, 2.0))
    assert (result.ended_low, result.ended_high) == ("closed", "closed")
    np.testing.assert_allclose(result.z.values[:, 0, 0] ** 2 + result.p.values**2, 1, atol=1e-12)
    np.testing.assert_allclose(np.sort(of(result, "fold")), [-1, 1], rtol=1e-13)
    np.testing.assert_allclose(result.p.values[-1], result.p.values[0], atol=1e-13)
    angle = np.unwrap(np.arctan2(result.z.values[:, 0, 0], result.p.values))
    np.testing.assert_allclose(abs(angle[-1] - angle[0]), 2 * np.pi, atol=1e-9)


def test_why_a_branch_ended_is_said():
    # A corner at p = 0; no fixed point; one with p too far from it.
    corner = branch(lambda z, p: jnp.abs(p) + 0 * z, [0.5], 0.5, (-1.0, 1.0))
    assert (corner.ended_low, corner.ended_high) == ("failed", "bound")
    assert 0 <= corner.p.values[0] < 1e-6
    none = branch(lambda z, p: z + 1 + p**2, [0.5], 0.5, (-1.0, 1.0))
    assert (none.ended_low, none.sizes["point"]) == ("no start", 0)
    assert none.z.shape == (0, 1, 1)


def test_flip_and_fold_curves_of_the_henon_map():
    bounds = ((-1.0, 4.0), (-0.9, 0.9))
    flips = flip_curve(henon, [0.9, 0.2], 0.36, 0.3, bounds, names=("a", "b"))
    folds = fold_curve(henon, [2.8, 0.8], -0.12, 0.3, bounds, names=("a", "b"))
    np.testing.assert_allclose(flips.p, 3 * (1 - flips.q) ** 2 / 4, atol=1e-12)
    np.testing.assert_allclose(folds.p, -((1 - folds.q) ** 2) / 4, atol=1e-12)
    for result, sign in ((flips, -1), (folds, 1)):
        np.testing.assert_allclose(np.sort(result.q.values[[0, -1]]), [-0.9, 0.9], rtol=1e-13)
        multipliers = result.multiplier_real + 1j * result.multiplier_imag
        np.testing.assert_allclose(np.abs(multipliers - sign).min("multiplier"), 0, atol=1e-9)
        assert result.residual.max() < 1e-12
        assert (result.p.symbol, result.q.symbol) == ("a", "b")


def test_curves_of_cycles_of_higher_period():
    bounds = ((0.3, 3.0), (0.3, 3.0))
    x = 0.5 + np.sqrt(0.5)  # on the 2-cycle X² − X + 1 − pq = 0 at pq = 5/4
    flips = flip_curve(quadratic, [x], 1.25, 1.0, bounds, period=2)
    np.testing.assert_allclose(flips.p * flips.q, 1.25, rtol=1e-11)
    folds = fold_curve(quadratic, [1.75], 1.75, 1.0, bounds, period=3)
    np.testing.assert_allclose(folds.p * folds.q, 1.75, rtol=1e-10)
    assert {flips.ended_low, flips.ended_high, folds.ended_low, folds.ended_high} == {"bound"}


def test_polyak_flips_at_two_values_of_c_and_below_A_9_halves_at_none():
    curve = flip_curve(polyak, [np.log(15.0)], 0.53, 10.0, ((0.3, 5.0), (1.0, 20.0)), names=("c", "A"))
    c, A = curve.p.values, curve.q.values
    np.testing.assert_allclose(4 * c**2 - (A + 1.5) * c + A / 2, 0, atol=1e-11)
    # Its two arms, c → ½ and c ≈ A/4, meet where (A + 3/2)² = 8A: A = 9/2 at c = ¾.
    low = np.argmin(A)
    assert 0 <= A[low] - 4.5 < 1e-3
    assert abs(c[low] - 0.75) < 0.02
    np.testing.assert_allclose([A[0], A[-1]], [20, 20], rtol=1e-12)
    above = branch(at(polyak, 10.0), [np.log(94.0)], 0.3, (0.26, 4.9), name="c")
    np.testing.assert_allclose(of(above, "flip"), np.sort(np.roots([4, -11.5, 5])), rtol=1e-11)
    r = (10 - 2 * above.p) / (2 * above.p - 0.5)
    np.testing.assert_allclose(above.z.values[:, 0, 0], np.log(r), atol=1e-10)
    below = branch(at(polyak, 4.4), [np.log(38.0)], 0.3, (0.26, 2.1), name="c")
    assert set(below.kind.values) == {"regular"}
    assert below.stable.all()


def test_averaging_takes_the_flip_of_the_greedy_rule_away():
    """CDAT with decay e on n and h, κ = 0: in (ln r, ln n/h) the Jacobian has determinant e and trace
    1 + e − 2(1 − e)(2 − σ), so the flip is at σ = (1 − 3e)/(1 − e), and for e ≥ ⅓ there is none."""

    def cdat(z, sigma, ema):
        return FastMap(eos.tuners.CDAT(sigma, eps=0.0, ema=ema))(z)

    result = flip_curve(cdat, [0.0, 2.0, 1.0], 1.0, 0.05, ((0.05, 1.9), (0.0, 0.95)), names=("σ", "e"))
    np.testing.assert_allclose(result.p, (1 - 3 * result.q) / (1 - result.q), atol=1e-11)
    np.testing.assert_allclose(np.sort(result.p.values[[0, -1]]), [0.05, 1.0], rtol=1e-11)
    calm = branch(at(cdat, 0.4), [np.log(3.0), 4.0, 3.0], 1.5, (0.05, 1.9), max_step=0.05)
    assert set(calm.kind.values) == {"regular"}
    assert calm.stable.all()


def test_single_precision():
    result = branch(logistic, jnp.asarray([0.6], jnp.float32), 2.5, (1.5, 4.0))
    assert result.z.dtype == np.float32
    np.testing.assert_allclose(of(result, "flip"), [3], atol=1e-4)
    np.testing.assert_allclose(result.z.values[:, 0, 0], 1 - 1 / result.p.values, atol=1e-5)


def test_branches_survive_a_file(line, tmp_path):
    line.to_netcdf(tmp_path / "branch.nc", engine="h5netcdf")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "branch.nc", engine="h5netcdf"), line)


def never(*_):
    raise AssertionError("the map was called")


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: branch(never, [0.5], 1.0, (2.0, 0.0)), "bounds"),
        (lambda: branch(never, [0.5], 1.0, (1.0, 1.0)), "bounds"),
        (lambda: branch(never, [0.5], 1.0, (0.0, 1.0, 2.0)), "bounds"),
        (lambda: branch(never, [0.5], 3.0, (0.0, 2.0)), "p must"),
        (lambda: branch(never, [0.5], 1.0, (0.0, 2.0), period=0), "period"),
        (lambda: branch(never, [0.5], 1.0, (0.0, 2.0), max_step=0), "max_step"),
        (lambda: branch(never, [0.5], 1.0, (0.0, 2.0), max_points=0), "max_points"),
        (lambda: branch(never, [[0.5]], 1.0, (0.0, 2.0)), "z must"),
        (lambda: flip_curve(never, [0.5], 1.0, 1.0, (0.0, 2.0)), "bounds"),
        (lambda: fold_curve(never, [0.5], 1.0, 3.0, ((0.0, 2.0), (0.0, 2.0))), "q must"),
        (lambda: fold_curve(never, [0.5], 1.0, 1.0, ((0.0, 2.0), (2.0, 0.0))), "bounds"),
    ],
)
def test_bad_input_is_named_before_anything_is_computed(call, word):
    with pytest.raises(ValueError, match=word):
        call()
