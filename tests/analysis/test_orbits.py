"""Lyapunov spectra against exact sums, periods against orbits made to have them, diagrams of the logistic family."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from eosmodel.analysis.orbits import detect_period, lyapunov, orbit_diagram

R = np.array([2.9, 3.2, 3.5, 3.7, 3.83, 3.9, 4.1])


def logistic(z, r):
    return r * z * (1 - z)


def henon(z, a, b):
    return jnp.stack([1 - a * z[0] ** 2 + z[1], b * z[0]])


def linear(z, matrix):
    return matrix @ z


def array(*values):
    return jnp.asarray(values, jnp.float64)


def test_logistic_map_at_r_4():
    # ln|f'(x)| = ln 2 + φ(f(x)) − φ(x) with φ = ½ ln x(1 − x): the sum along an orbit telescopes.
    steps, start = 5000, 0.3
    result = lyapunov(logistic, [start], args=(array(4.0)[0],), steps=steps, burn_in=0)

    def phi(x):
        return 0.5 * np.log(x * (1 - x))

    end = float(result.state[0])
    np.testing.assert_allclose(result.exponents[0], np.log(2) + (phi(end) - phi(start)) / steps, atol=1e-9)
    assert abs(result.exponents[0] - np.log(2)) < 4 * result.error[0] < 0.01
    assert result.finite


@pytest.mark.parametrize(("a", "b"), [(1.4, 0.3), (0.2, 0.3), (0.3, -0.5)])
def test_henon_exponents_sum_to_the_logarithm_of_its_determinant(a, b):
    result = lyapunov(henon, [0.1, 0.1], args=tuple(array(a, b)), steps=3000)
    np.testing.assert_allclose(result.exponents.sum(), np.log(abs(b)), atol=1e-12)
    if (a, b) == (0.3, -0.5):  # a spiral: a complex pair of multipliers
        np.testing.assert_allclose(result.exponents, 0.5 * np.log(0.5), atol=5 / 3000)
    else:
        assert result.exponents[0] > result.exponents[1]


def test_exponents_of_a_stable_cycle_are_its_multipliers():
    result = lyapunov(logistic, [0.3], args=(array(3.2)[0],), steps=1000)
    np.testing.assert_allclose(result.exponents, [0.5 * np.log(0.16)], rtol=1e-10)  # 4 + 2r − r² = 0.16
    assert result.error[0] < 1e-10


def test_spectrum_of_a_linear_map_is_that_of_its_eigenvalues():
    matrix = array(np.array([[0.5, 2.0, 0.0], [0.0, 1.5, -1.0], [0.0, 0.0, -0.9]])).reshape(3, 3)
    result = lyapunov(linear, [1e-3, 0.0, 0.0], args=(matrix,), steps=400, burn_in=0)
    # The sums differ from the limit by the logarithms of how the eigenvectors lie to the frame, O(1). The first axis
    # is an eigenvector, of the least eigenvalue: a frame begun there would stay.
    np.testing.assert_allclose(result.exponents, np.log([1.5, 0.9, 0.5]), atol=5 / 400)
    first = lyapunov(linear, [1e-3, 0.0, 0.0], args=(matrix,), steps=400, burn_in=0, count=1)
    np.testing.assert_allclose(first.exponents, [np.log(1.5)], atol=5 / 400)
    turn = array([0.6, -0.8], [0.8, 0.6])
    still = lyapunov(linear, [1.0, 0.0], args=(turn,), steps=400)
    np.testing.assert_allclose(still.exponents, 0, atol=1e-13)


def test_superstable_and_divergent_orbits_are_told():
    superstable = lyapunov(logistic, [0.5], args=(array(2.0)[0],), steps=100)
    assert superstable.finite
    assert superstable.exponents[0] < -100
    gone = lyapunov(logistic, [1.5], args=(array(4.0)[0],), steps=100)
    assert not gone.finite
    assert jnp.isnan(gone.exponents).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(0, 10**6))
def test_detected_period_is_the_one_put_in(period, seed):
    rng = np.random.default_rng(seed)
    points = rng.permutation(period)[:, None] + rng.uniform(-0.3, 0.3, (period, 2))
    orbit = np.resize(points, (120, 2)) + 1e-9 * rng.standard_normal((120, 2))
    assert int(detect_period(orbit, max_period=16)) == (period if period <= 16 else -1)


def test_orbits_without_a_period():
    turn = np.arange(200)[:, None] * (np.sqrt(5) - 1) / 2 % 1
    assert int(detect_period(turn)) == -1
    assert int(detect_period(np.full((200, 1), np.nan))) == -1
    # 34 turns come back to within 1/(34√5), 55 to 1/(55√5): differences of 0.083 and 0.051 of the cosine.
    assert int(detect_period(np.cos(2 * np.pi * turn), max_period=64, tolerance=0.035)) == 55
    assert int(detect_period(np.cos(2 * np.pi * turn), max_period=64, tolerance=0.045)) == 34
    approach = 0.99 ** np.arange(200)[:, None]
    assert int(detect_period(approach)) == -1
    assert int(detect_period(approach, tolerance=0.1)) == 1


@pytest.fixture(scope="module")
def diagram():
    return orbit_diagram(logistic, R, [0.3], chunk=4, name="r")


def test_periods_of_the_logistic_map(diagram):
    assert diagram.period.values.tolist() == [1, 2, 4, -1, 3, -1, -1]
    assert diagram.escaped.values.tolist() == [False] * 6 + [True]
    assert np.isnan(diagram.orbit[-1]).all()
    assert np.isnan(diagram.lyapunov[-1]).all()
    assert np.isfinite(diagram.orbit[:-1]).all()


def test_diagram_shows_the_attractors(diagram):
    one, two = diagram.orbit.values[0].ravel(), diagram.orbit.values[1].ravel()
    np.testing.assert_allclose(one, 1 - 1 / 2.9, atol=1e-10)
    r = 3.2
    exact = np.sort(np.roots([r**2, -r * (r + 1), r + 1]))
    np.testing.assert_allclose(np.sort(two.reshape(-1, 2), axis=1), np.tile(exact, (100, 1)), atol=1e-10)
    orbit = diagram.orbit.values[..., 0]
    np.testing.assert_allclose(orbit[:-1, 1:], logistic(orbit, R[:, None])[:-1, :-1], rtol=1e-12)
    np.testing.assert_allclose(diagram.lyapunov.values[:2, 0], [np.log(0.9), 0.5 * np.log(0.16)], rtol=1e-9)
    assert (diagram.lyapunov.values[[3, 5], 0] > 0.2).all()


def test_chunks_and_starts_change_nothing(diagram):
    xr.testing.assert_allclose(orbit_diagram(logistic, R, np.full((7, 1), 0.3), name="r"), diagram, atol=1e-12)


def test_each_parameter_may_have_its_own_start():
    # Two attractors, ±√p: the start decides.
    result = orbit_diagram(lambda z, p: z - 0.5 * (z**3 - p * z), [0.5, 0.6], [[-0.1], [0.1]], keep=70)
    np.testing.assert_allclose(result.orbit[:, -1, 0], [-np.sqrt(0.5), np.sqrt(0.6)], rtol=1e-12)


def test_single_precision_and_a_file(tmp_path):
    result = orbit_diagram(logistic, [3.2, 3.83], jnp.asarray([0.3], jnp.float32))
    assert result.orbit.dtype == np.float32
    assert result.period.values.tolist() == [2, 3]
    result.to_netcdf(tmp_path / "diagram.nc", engine="h5netcdf")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "diagram.nc", engine="h5netcdf"), result)


def never(*_):
    raise AssertionError("the map was called")


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: orbit_diagram(never, [], [0.1]), "parameters"),
        (lambda: orbit_diagram(never, [2.0, 1.0], [0.1]), "parameters"),
        (lambda: orbit_diagram(never, [[1.0]], [0.1]), "parameters"),
        (lambda: orbit_diagram(never, [1.0, 2.0], [[0.1]]), "z must"),
        (lambda: orbit_diagram(never, [1.0], 0.1), "z must"),
        (lambda: orbit_diagram(never, [1.0], [0.1], keep=10), "keep"),
        (lambda: orbit_diagram(never, [1.0], [0.1], chunk=0), "chunk"),
        (lambda: orbit_diagram(never, [1.0], [0.1], max_period=0), "max_period"),
        (lambda: orbit_diagram(never, [1.0], [0.1], burn_in=-1), "burn_in"),
        (lambda: orbit_diagram(never, [1.0], [0.1], lyapunov_steps=0), "lyapunov_steps"),
        (lambda: orbit_diagram(never, [1.0], [0.1], bound=0.0), "bound"),
        (lambda: lyapunov(never, [0.1], steps=5), "steps"),
        (lambda: lyapunov(never, [0.1], burn_in=-1), "burn_in"),
        (lambda: lyapunov(never, [0.1], count=2), "count"),
        (lambda: lyapunov(never, [[0.1]]), "z must"),
        (lambda: detect_period(np.zeros((10, 1))), "orbit"),
        (lambda: detect_period(np.zeros(100)), "orbit"),
        (lambda: detect_period(np.zeros((100, 1)), max_period=0), "max_period"),
        (lambda: detect_period(np.zeros((100, 1)), tolerance=-1.0), "tolerance"),
    ],
)
def test_bad_input_is_named_before_anything_is_computed(call, word):
    with pytest.raises(ValueError, match=word):
        call()
