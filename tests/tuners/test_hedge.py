"""The hedge between long and short steps: its choice by hand, its cap, and that it never sticks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eosmodel.rays import QuadraticRay, Secant, steepest
from eosmodel.theory import FastMap, Kind, classify, held
from eosmodel.tuners import BB1, BB2, EdgeHedge
from eosmodel.tuners.base import init_memory, select_stepsize

CURVATURES = np.asarray([5.0, 1.0, 0.3])
FREE = {"f_star": -jnp.inf}


def line(secant=(0.0, 0.0, 0.0), value=1.0, slope=-1.0, dtype=jnp.float64):
    numbers = (jnp.asarray(x, dtype) for x in (value, slope, 1.0))
    values = Secant(*(jnp.asarray(x, dtype) for x in secant))
    return QuadraticRay(*numbers, step=jnp.asarray(0), sharpness=jnp.asarray(jnp.nan, dtype), secant=values)


def descend(tuner, steps, start=(0.5, -2.0, 3.0)):
    def bowl(w):
        return 0.5 * jnp.sum(jnp.asarray(CURVATURES) * w**2)

    def body(carry, t):
        w, memory = carry
        along = steepest(bowl, w, *jax.value_and_grad(bowl)(w), t, jnp.asarray(jnp.nan))
        eta, memory, info = select_stepsize(tuner, along, memory, -along.direction)
        return (w + eta * along.direction, memory), (eta, along.value, info.failed)

    start = jnp.asarray(start)
    return (np.asarray(x) for x in jax.lax.scan(body, (start, init_memory(tuner, start)), jnp.arange(steps))[1])


@pytest.mark.parametrize(("threshold", "other"), [(0.0, BB1), (1.0, BB2)])
def test_at_either_end_it_is_barzilai_and_borweins(threshold, other):
    steps, _, failed = descend(EdgeHedge(threshold, initial=0.1, **FREE), 12)
    expected, *_ = descend(other(0.1), 12)
    np.testing.assert_allclose(steps, expected, rtol=1e-6)
    assert not failed.any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("size", [1.0, 1e-15, 1e15])
def test_the_angle_decides(dtype, size):
    """cos² = 0.16: long below it, short above; also where the square of s·y is out of the range of the type."""
    tiny = [x * size for x in (1.0, 2.0, 25.0)]
    for threshold, expected in ((0.159, 0.5), (0.161, 0.08)):
        tuner = EdgeHedge(threshold, **FREE)
        eta, _, info = tuner(line(tiny, dtype=dtype), tuner.init(dtype))
        np.testing.assert_allclose(eta, expected, rtol=1e-5)
        assert eta.dtype == dtype
        assert not info.failed


def test_a_step_beyond_the_cap_raises_every_convex_parabola_above_the_least_loss():
    rng = np.random.default_rng(0)
    tuner = EdgeHedge(f_star=0.2)
    for value, slope, spare in rng.uniform(0.3, 3, (100, 3)):
        cap, _, info = tuner(line((1.0, 1e-9, 1e-18), value, -slope), tuner.init())
        np.testing.assert_allclose(cap, 4 * (value - 0.2) / slope)
        assert not info.failed
        # Its minimum is at f* or above.
        second = slope**2 / (2 * (value - 0.2)) * spare
        rise = -slope * cap + 0.5 * second * cap**2
        assert (rise >= -1e-9) == (spare >= 1 - 1e-9)


def test_no_cap_where_there_is_nothing_left_to_fall():
    secant = (1.0, 2.0, 5.0)
    for value, f_star in ((0.0, 0.0), (-1.0, 0.0), (1e-9, -jnp.inf)):
        tuner = EdgeHedge(f_star=f_star)
        assert tuner(line(secant, value), tuner.init())[0] == pytest.approx(0.5)


def test_negative_curvature_takes_the_middle_of_the_two_and_says_so():
    tuner = EdgeHedge()
    for sy in (-2.0, 0.0):
        eta, state, info = tuner(line((1.0, sy, 16.0)), tuner.init())
        assert eta == pytest.approx(0.25)
        assert info.failed
        assert tuner(line(), state)[0] == pytest.approx(0.25)


@pytest.mark.parametrize("secant", [(np.nan, np.nan, np.nan), (1.0, 0.0, 0.0), (1.0, np.inf, np.inf)])
def test_a_secant_that_says_nothing_keeps_the_last_step(secant):
    tuner = EdgeHedge()
    first, state, _ = tuner(line((1.0, 2.0, 5.0)), tuner.init())
    eta, state, info = tuner(line(secant), state)
    assert eta == first
    assert info.failed
    assert tuner(line(), state)[0] == first
    assert not tuner(line(), state)[2].failed


def test_the_cap_and_an_ascent_do_not_stay_in_the_memory():
    tuner = EdgeHedge()
    eta, state, _ = tuner(line((1.0, 2.0, 5.0), value=1e-6), tuner.init())
    assert eta == pytest.approx(4e-6)
    assert tuner(line(), state)[0] == pytest.approx(0.5)
    eta, state, info = tuner(line((1.0, 2.0, 5.0), slope=1.0), tuner.init())
    assert eta == 0
    assert info.failed
    assert tuner(line(), state)[0] == pytest.approx(0.5)


def test_on_a_quadratic_it_goes_to_the_bottom_and_its_steps_stay_between_the_inverse_curvatures():
    steps, value, failed = descend(EdgeHedge(initial=0.2), 60)
    assert value[-1] < 1e-20 * value[0]
    assert (steps[1:] >= 0.2 * (1 - 1e-9)).all()
    assert (steps <= 1 / 0.3 * (1 + 1e-9)).all()
    assert not failed.any()


@pytest.mark.parametrize("kappa", [1e-3, 0.3])
@pytest.mark.parametrize("r", [1e-8, 1e-3, 0.05, 0.3, 4.0])
def test_response(r, kappa):
    """As its docstring says, the r of the step before held at r."""
    mixed = (kappa + r) ** 2 <= 0.1 * (1 + r) * (kappa**2 + r)
    step = (kappa + r) / (kappa**2 + r) if mixed else (1 + r) / (kappa + r)
    expected = min(step, (4 * 10.0 + 2 * r) / (1 + r))
    response = held(FastMap(EdgeHedge(), A=10.0, kappa=kappa, sharpness=3.0, bulk_gradient_sq=0.5), r)
    np.testing.assert_allclose([response.s, response.low, response.high], expected, rtol=1e-9)


@pytest.mark.parametrize(("kappa", "kind"), [(0.49, Kind.CLAMPED), (0.51, Kind.BELOW_EDGE)])
def test_it_clamps_below_a_half(kappa, kind):
    assert Kind(int(classify(FastMap(EdgeHedge(), kappa=kappa)).kind)) is kind


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"threshold": -0.1}, r"EdgeHedge: threshold must lie in \[0, 1\], got -0.1"),
        ({"threshold": 1.1}, r"EdgeHedge: threshold must lie in \[0, 1\], got 1.1"),
        ({"f_star": np.inf}, "EdgeHedge: f_star must lie in"),
        ({"initial": 0.0}, r"EdgeHedge: initial must lie in \(0, inf\), got 0.0"),
    ],
)
def test_hyper_parameters_are_checked(given, words):
    with pytest.raises(ValueError, match=words):
        EdgeHedge(**given)
