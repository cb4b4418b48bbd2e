"""Polyak, CDAT, greedy, on-edge, constants and schedules against their formulas on quadratics, and against optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eosmodel.rays import QuadraticRay, Secant, ray
from eosmodel.theory import FastMap, held
from eosmodel.tuners import CDAT, Constant, Greedy, OnEdge, Polyak, Schedule, SmoothedSPS, SPSPlus

DTYPES = [jnp.float32, jnp.float64]
CURVATURES = np.asarray([4.0, 1.0, 0.25])
START = np.asarray([0.5, -2.0, 3.0])
G = float(np.sum((CURVATURES * START) ** 2))
GHG = float(np.sum(CURVATURES**3 * START**2))
LOSS = float(np.sum(CURVATURES * START**2) / 2)


def bowl(w):
    return 0.5 * jnp.sum(jnp.asarray(CURVATURES, w.dtype) * w**2)


def line(dtype=jnp.float64, **kwargs):
    return ray(bowl, jnp.asarray(START, dtype), **kwargs)


def parabola(value, slope, second, sharpness=np.nan):
    numbers = [jnp.asarray(x, float) for x in (value, slope, second)]
    return QuadraticRay(*numbers, step=jnp.asarray(0), sharpness=jnp.asarray(sharpness, float), secant=Secant())


def step(tuner, along):
    eta, _, info = tuner(along, tuner.init(along.value.dtype))
    return float(eta), bool(info.failed)


def close(actual, expected, dtype=jnp.float64):
    np.testing.assert_allclose(actual, expected, rtol=20 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("c", "f_star"), [(1.0, 0.0), (0.5, -2.0), (2.0, 1.0)])
def test_polyak_formula(c, f_star, dtype):
    eta, failed = step(Polyak(c=c, f_star=f_star), line(dtype))
    close(eta, (LOSS - f_star) / (c * G), dtype)
    assert not failed


def test_polyak_cap_and_edge_cases():
    assert step(Polyak(max=0.01), line())[0] == 0.01
    assert step(Polyak(f_star=LOSS + 1), line()) == (0.0, False)
    assert step(Polyak(), parabola(1.0, 0.0, 1.0)) == (0.0, False)
    assert step(Polyak(), parabola(1.0, 1.0, 1.0)) == (0.0, True)
    assert np.isnan(step(Polyak(), parabola(1.0, np.nan, 1.0))[0])


def test_polyak_solves_an_isotropic_bowl_in_one_step_at_c_half():
    w = jnp.asarray(START)
    along = ray(lambda w: 0.5 * jnp.sum(w**2), w)
    np.testing.assert_allclose(w + step(Polyak(c=0.5), along)[0] * along.direction, 0, atol=1e-15)


@pytest.mark.parametrize(("c", "cap"), [(1.0, 1e6), (0.5, 1e6), (0.7, 0.05)])
def test_polyak_is_optax_with_scaling_for_c(c, cap):
    # Optax scales the gradient first: its step is divided by `scaling`, its cap (1 unless told otherwise) multiplied.
    with jax.numpy_dtype_promotion("standard"):
        theirs = optax.polyak_sgd(max_learning_rate=cap / c, scaling=c, f_min=0.25)
        w = jnp.asarray(START)
        state = theirs.init(w)
        for _ in range(5):
            value, grad = jax.value_and_grad(bowl)(w)
            updates, state = theirs.update(grad, state, w, value=value)
            eta, _ = step(Polyak(c=c, f_star=0.25, max=cap), ray(bowl, w))
            np.testing.assert_allclose(-eta * grad, updates, rtol=1e-13)
            w = w + updates


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("tuner", "sigma"), [(CDAT(), 2.0), (Greedy(), 1.0), (CDAT(sigma=0.7), 0.7)])
def test_cdat_formula(tuner, sigma, dtype):
    eta, _ = step(tuner, line(dtype))
    close(eta, sigma * G / (GHG + 1e-5 * G), dtype)


def test_greedy_is_the_line_minimiser():
    eta, _ = step(Greedy(eps=0.0), line())
    slope = jax.grad(lambda s: line().evaluate(s))(jnp.asarray(eta))
    assert abs(slope) < 1e-12 * G


def test_sps_plus_is_the_positive_part_of_polyaks_step():
    for f_star in (-2.0, 0.0, LOSS / 2, LOSS + 1):
        close(step(SPSPlus(f_star), line())[0], max(LOSS - f_star, 0) / G)


def test_smoothed_sps_grows_by_its_factor_until_polyaks_step_binds():
    tuner = SmoothedSPS(c=2.0, initial=0.01, growth=3.0)
    state, etas = tuner.init(), []
    for value in (4.0, 4.0, 4.0, 4.0, 0.02, -1.0, 4.0):
        eta, state, _ = tuner(parabola(value, -1.0, 1.0), state)
        etas.append(float(eta))
    # min(value/2, 3·last); a step of 0 is not remembered.
    np.testing.assert_allclose(etas, [0.03, 0.09, 0.27, 0.81, 0.01, 0.0, 0.03], rtol=1e-14)
    assert step(tuner, parabola(1.0, 1.0, 1.0)) == (0.0, True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_smoothed_sps_never_remembers_0_or_infinity(dtype):
    tuner = SmoothedSPS(growth=1e30)
    state = tuner.init(dtype)
    limits = jnp.finfo(dtype)
    tiny, big = -limits.tiny, limits.max / 4
    for value, slope in [(big, tiny)] * 12 + [(limits.tiny, -big)] * 3 + [(np.nan, -1.0)]:
        numbers = (jnp.asarray(x, dtype) for x in (value, slope, 1.0))
        along = QuadraticRay(*numbers, jnp.asarray(0), jnp.asarray(1, dtype), Secant())
        _, state, _ = tuner(along, state)
        assert state > 0
        assert jnp.isfinite(state)


def test_smoothed_sps_responds_as_polyak_with_r_held():
    for r in (0.1, 3.0, 100.0):
        response = held(FastMap(SmoothedSPS(c=0.35, initial=1e-3), A=5.0), r)
        np.testing.assert_allclose([response.low, response.high], (5 + r / 2) / (0.35 * (1 + r)), rtol=1e-12)


@pytest.mark.parametrize(("dtype", "scale"), [(jnp.float32, 1e-16), (jnp.float64, 1e-150)])
def test_cdat_survives_vanishing_gradients(dtype, scale):
    eta, _ = step(CDAT(), ray(bowl, jnp.asarray(START * scale, dtype)))
    np.testing.assert_allclose(eta, 2 * G / (GHG + 1e-5 * G), rtol=1e-5)


def test_cdat_edge_cases():
    assert step(CDAT(), parabola(1.0, 0.0, 0.0)) == (0.0, False)
    assert step(CDAT(), parabola(1.0, 0.0, 3.0)) == (0.0, False)
    assert step(CDAT(), parabola(1.0, 1.0, 3.0)) == (0.0, True)
    assert step(CDAT(eps=0.0), parabola(1.0, -1.0, -4.0)) == (0.5, False)
    close(step(CDAT(sigma=2.0, eps=1e-3), parabola(1.0, -1.0, 0.0))[0], 2e3)
    assert step(CDAT(eps=0.0), parabola(1.0, -1.0, 0.0))[0] == np.inf
    assert np.isnan(step(CDAT(), parabola(1.0, np.nan, 3.0))[0])


def test_cdat_average_is_the_bias_corrected_one():
    rng = np.random.default_rng(0)
    slopes, seconds, decay = -rng.uniform(0.1, 2, 12), rng.normal(size=12), 0.7
    tuner = CDAT(sigma=1.9, eps=1e-3, ema=decay)
    state = tuner.init()
    for t in range(12):
        eta, state, _ = tuner(parabola(1.0, slopes[t], seconds[t]), state)
        weights = decay ** np.arange(t, -1, -1)
        weights /= weights.sum()
        n, h = weights @ -slopes[: t + 1], weights @ np.abs(seconds[: t + 1])
        np.testing.assert_allclose(eta, 1.9 * n / (h + 1e-3 * n), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_on_edge_formula(dtype):
    close(step(OnEdge(sigma=1.5), line(dtype, sharpness=4.0))[0], 0.375, dtype)


def test_on_edge_edge_cases():
    assert step(OnEdge(), parabola(1.0, -1.0, 1.0, sharpness=-4.0)) == (0.5, False)
    assert step(OnEdge(), parabola(1.0, -1.0, 1.0, sharpness=0.0)) == (0.0, True)
    assert np.isnan(step(OnEdge(), parabola(1.0, -1.0, 1.0))[0])
    assert OnEdge.needs_sharpness


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_and_schedule(dtype):
    assert step(Constant(0.4), line(dtype))[0] == dtype(0.4)
    schedule = optax.cosine_decay_schedule(0.4, 10)
    for t in range(12):
        exact = 0.4 * 0.5 * (1 + np.cos(np.pi * min(t, 10) / 10))
        eta, _ = step(Schedule(schedule), line(dtype, step=t))
        np.testing.assert_allclose(eta, exact, atol=10 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constant(0.0), r"Constant: step must lie in \(0, inf\], got 0.0"),
        (lambda: Constant("fast"), "Constant: step must be a number, got 'fast'"),
        (lambda: Schedule(0.1), "Schedule: schedule must be a function of the step, got 0.1"),
        (lambda: Polyak(c=0), r"Polyak: c must lie in \(0, inf\), got 0"),
        (lambda: Polyak(f_star=np.inf), r"Polyak: f_star must lie in \(-inf, inf\), got inf"),
        (lambda: Polyak(max=-1), r"Polyak: max must lie in \(0, inf\], got -1"),
        (lambda: SPSPlus(np.nan), r"Polyak: f_star must lie in \(-inf, inf\), got nan"),
        (lambda: SmoothedSPS(growth=0.5), r"SmoothedSPS: growth must lie in \[1, inf\), got 0.5"),
        (lambda: SmoothedSPS(initial=0), r"SmoothedSPS: initial must lie in \(0, inf\), got 0"),
        (lambda: SmoothedSPS(c=-1), r"SmoothedSPS: c must lie in \(0, inf\), got -1"),
        (lambda: CDAT(sigma=0), r"CDAT: sigma must lie in \(0, inf\), got 0"),
        (lambda: Greedy(eps=-1e-3), r"CDAT: eps must lie in \[0, inf\), got -0.001"),
        (lambda: CDAT(ema=1.0), r"CDAT: ema must lie in \[0, 1\), got 1.0"),
        (lambda: OnEdge(sigma=np.nan), r"OnEdge: sigma must lie in \(0, inf\), got nan"),
    ],
)
def test_bad_hyper_parameters_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
