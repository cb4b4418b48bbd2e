"""Backtracking: its inequality, its sawtooth on a parabola, optax's search beside it, and searches that fail."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eosmodel.rays import QuadraticRay, Secant, ray
from eosmodel.tuners import Armijo, ArmijoRestart

BOTH = [Armijo, ArmijoRestart]
EPS = np.finfo(float).eps


def parabola(value, slope, second, dtype=jnp.float64):
    numbers = (jnp.asarray(x, dtype) for x in (value, slope, second))
    return QuadraticRay(*numbers, step=jnp.asarray(0), sharpness=jnp.asarray(jnp.nan, dtype), secant=Secant())


def step_once(tuner, line):
    return tuner(line, tuner.init(line.value.dtype))


@partial(jax.jit, static_argnums=1)
def descend(tuner, fn, weights, state):
    line = ray(fn, weights)
    eta, state, info = tuner(line, state)
    return weights + eta * line.direction, state, eta, info


SEARCH = jax.jit(step_once)
SEARCH_FROM = jax.jit(lambda tuner, line, state: tuner(line, state))


def sawtooth(tuner, steps, second=3.0):
    """Normalised steps s = ηλ of many searches along one parabola."""

    def body(state, _):
        eta, state, _ = tuner(parabola(1.0, -1.0, second), state)
        return state, eta * second

    return np.asarray(jax.jit(lambda: jax.lax.scan(body, tuner.init(), length=steps))()[1])


@pytest.mark.parametrize("c", [1e-4, 0.3])
def test_on_a_parabola_the_steps_are_a_sawtooth_below_the_threshold(c):
    # φ(η) ≤ φ(0) + cηφ'(0) on a parabola is ηλ ≤ 2(1 − c).
    steps = 20_000
    xi = sawtooth(Armijo(c=c, factor=0.8, increase=1.5), steps)[20:] / (2 * (1 - c))
    assert xi.min() >= 0.8 * (1 - 1e-12)
    assert xi.max() <= 1 + 1e-12
    # ln ξ is rotated by ln 1.5 modulo ln 1.25, an irrational angle, so it fills (ln 0.8, 0] evenly and the mean of ξ
    # is the logarithmic mean of 0.8 and 1. Koksma: the error is at most the range of ξ, 0.2, times the discrepancy,
    # which for a rotation with small partial quotients is below 5 ln(N)/N.
    tolerance = 0.2 * 5 * np.log(steps) / steps
    assert tolerance < 6e-4
    assert abs(xi.mean() - 0.2 / np.log(1.25)) < tolerance
    assert abs(np.log(xi).mean() - 0.5 * np.log(0.8)) < tolerance / 0.8


def test_restarting_takes_the_same_step_every_time():
    s = sawtooth(ArmijoRestart(factor=0.8, initial=1.0), 10)
    powers = 3.0 * 0.8 ** np.arange(20)
    np.testing.assert_allclose(s, powers[powers <= 2 * (1 - 1e-4)].max(), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    value=st.floats(-10, 10),
    slope=st.floats(-1e3, -1e-3),
    second=st.floats(-10, 1e4),
    c=st.floats(1e-6, 0.9),
    factor=st.floats(0.3, 0.95),
    initial=st.floats(1e-2, 1e2),
)
def test_accepted_steps_satisfy_the_inequality_and_the_one_before_did_not(value, slope, second, c, factor, initial):
    line = parabola(value, slope, second)
    tuner = ArmijoRestart(c=c, factor=factor, initial=initial, max_evaluations=600)
    eta, _, info = SEARCH(tuner, line)

    def excess(stepsize):
        return float(line.evaluate(stepsize) - (line.value + c * stepsize * line.slope))

    scale = 32 * EPS * (abs(value) + abs(slope) * initial + abs(second) * initial**2)
    assume(scale < 1e-9 * abs(slope) * float(eta))  # rounding must be far from deciding
    assert not info.failed
    assert excess(eta) <= scale
    np.testing.assert_allclose(eta, initial * factor ** (int(info.evaluations) - 1), rtol=1e-10)
    if info.evaluations > 1:
        assert excess(eta / factor) > -scale


def bumpy(w):
    """Smooth, not convex, with curvatures from 0.2 to 40."""
    return jnp.sum(jnp.log(jnp.cosh(jnp.asarray([1.0, 3.0, 6.0], w.dtype) * w))) + 0.1 * jnp.sum(w**2) + jnp.cos(w[0])


def test_the_same_steps_as_optax():
    # Optax starts from increase × 1; more trials than it can use, and no cap, keep it away from its silent fallbacks.
    tuner = Armijo(c=0.1, factor=0.7, increase=2.0, initial=2.0)
    with jax.numpy_dtype_promotion("standard"):
        search = optax.scale_by_backtracking_linesearch(
            100, slope_rtol=0.1, decrease_factor=0.7, increase_factor=2.0, max_learning_rate=1e6
        )
        theirs, w = [], jnp.asarray([0.7, -1.1, 0.4])
        state = search.init(w)
        for _ in range(12):
            value, grad = jax.value_and_grad(bumpy)(w)
            updates, state = search.update(-grad, state, w, value=value, grad=grad, value_fn=bumpy)
            w = w + updates
            theirs.append((float(state.learning_rate), int(state.info.num_linesearch_steps)))
    ours, w = [], jnp.asarray([0.7, -1.1, 0.4])
    memory = tuner.init()
    for _ in range(12):
        w, memory, eta, info = descend(tuner, bumpy, w, memory)
        ours.append((float(eta), int(info.evaluations)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert len({evaluations for _, evaluations in ours}) > 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("outside", [np.nan, np.inf, -np.inf])
def test_trials_that_are_not_finite_shorten_and_never_stick(outside, dtype):
    def fn(w):
        inside = jnp.abs(w[0]) <= 1
        return jnp.where(inside, 0.5 * w[0] ** 2, jnp.asarray(outside, w.dtype))

    tuner = Armijo(initial=1e6, max_evaluations=3)
    w, state, etas, failures = jnp.ones(1, dtype), tuner.init(dtype), [], []
    for _ in range(60):
        w, state, eta, info = descend(tuner, fn, w, state)
        etas.append(float(eta))
        failures.append(bool(info.failed))
    # ln(2e-6)/ln 0.8 = 58.8: the 60th trial is the first to land inside, in the 20th search.
    assert failures == [True] * 19 + [False] * 41
    assert not any(etas[:19])
    assert all(0.8 * 2 * (1 - 1e-3) <= eta <= 2 for eta in etas[19:])
    assert abs(w[0]) < 1e-3


def test_a_search_that_always_fails_stays_positive_and_recovers():
    tuner = Armijo(max_evaluations=1)
    refused = parabola(1.0, -1.0, jnp.inf)
    state = jnp.asarray(1e-307)
    for _ in range(30):
        eta, state, info = SEARCH_FROM(tuner, refused, state)
        assert eta == 0
        assert info.failed
    assert state > 0
    eta, grown, info = SEARCH_FROM(tuner, parabola(1.0, -1.0, 1.0), state)
    assert eta == state
    assert grown > state
    assert not info.failed


@pytest.mark.parametrize("tuner_class", BOTH)
def test_out_of_trials_the_last_is_taken_only_if_it_does_not_raise_the_loss(tuner_class):
    # Sufficient decrease needs η ≤ 0.2, any decrease η ≤ 2.
    for initial, expected in [(1.0, 1.0), (2.5, 0.0)]:
        tuner = tuner_class(c=0.9, initial=initial, max_evaluations=1)
        eta, _, info = step_once(tuner, parabola(1.0, -1.0, 1.0))
        assert eta == expected
        assert info.failed
        assert info.evaluations == 1


@pytest.mark.parametrize("tuner_class", BOTH)
@pytest.mark.parametrize(("slope", "failed"), [(0.0, False), (1.0, True), (np.nan, True)])
def test_without_descent_there_is_no_step_and_no_evaluation(tuner_class, slope, failed):
    tuner = tuner_class()
    state = tuner.init()
    eta, new, info = tuner(parabola(1.0, slope, 1.0), state)
    assert eta == 0
    assert info.evaluations == 0
    assert bool(info.failed) == failed
    assert new == state


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_endless_descent_leaves_the_trial_finite(dtype):
    tuner = Armijo(increase=1e30)
    state = tuner.init(dtype)
    for _ in range(20):
        eta, state, _ = SEARCH_FROM(tuner, parabola(0.0, -1.0, 0.0, dtype), state)
        assert jnp.isfinite(eta)
        assert jnp.isfinite(state)


def test_the_cap_bounds_every_trial():
    tuner = Armijo(max=0.25)
    state = tuner.init()
    for _ in range(5):
        eta, state, info = tuner(parabola(1.0, -1.0, 1.0), state)
        assert eta == 0.25
        assert info.evaluations == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_rounding_near_a_minimum_does_not_refuse_steps(dtype):
    # The decrease, of order 1e-20, is invisible beside φ(0) = 1; the slack is what accepts a step.
    def fn(w):
        return 1 + 0.5 * jnp.sum(w**2)

    eta, _, info = step_once(Armijo(), ray(fn, jnp.full(3, 1e-10, dtype)))
    assert eta == 1
    assert not info.failed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"c": 0.0}, r"c must lie in \(0, 1\), got 0.0"),
        ({"c": 1.0}, r"c must lie in \(0, 1\), got 1.0"),
        ({"factor": 1.2}, r"factor must lie in \(0, 1\), got 1.2"),
        ({"initial": -1.0}, r"initial must lie in \(0, inf\), got -1.0"),
        ({"initial": np.inf}, r"initial must lie in \(0, inf\), got inf"),
        ({"max_evaluations": 0}, "max_evaluations must lie in .*, got 0"),
        ({"max_evaluations": 2.5}, "max_evaluations must be an integer, got 2.5"),
        ({"factor": "high"}, "factor must be a number, got 'high'"),
        ({"factor": jnp.asarray([0.5, 1.5])}, "factor must lie in"),
    ],
)
@pytest.mark.parametrize("tuner_class", BOTH)
def test_bad_hyper_parameters_are_named(tuner_class, arguments, message):
    with pytest.raises(ValueError, match=f"{tuner_class.__name__}: {message}"):
        tuner_class(**arguments)


@pytest.mark.parametrize("arguments", [{"increase": 0.9}, {"increase": np.inf}, {"max": 0.0}, {"max": np.nan}])
def test_bad_warm_starts_are_named(arguments):
    with pytest.raises(ValueError, match=f"Armijo: {next(iter(arguments))} must lie in"):
        Armijo(**arguments)
