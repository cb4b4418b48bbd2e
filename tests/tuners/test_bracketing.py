"""Goldstein and strong Wolfe: their inequalities on random lines, optax's zoom beside them, searches that fail."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eosmodel.rays import QuadraticRay, Secant, ray
from eosmodel.theory import FastMap, held
from eosmodel.tuners import Goldstein, StrongWolfe

EPS = np.finfo(float).eps
RULES = [Goldstein, StrongWolfe]
each_rule = pytest.mark.parametrize("rule", RULES)


def parabola(value, slope, second, dtype=jnp.float64):
    numbers = (jnp.asarray(x, dtype) for x in (value, slope, second))
    return QuadraticRay(*numbers, step=jnp.asarray(0), sharpness=jnp.asarray(jnp.nan, dtype), secant=Secant())


class Quartic(QuadraticRay):
    """φ(η) = value + slope·η + ½second·η² + ¼fourth·η⁴, not a number beyond `wall`."""

    fourth: jax.Array
    wall: jax.Array

    def evaluate(self, stepsize):
        inside = super().evaluate(stepsize) + 0.25 * self.fourth * stepsize**4
        return jnp.where(stepsize > self.wall, jnp.nan, inside)


SEARCH = jax.jit(lambda tuner, line: (*tuner(line, tuner.init(line.value.dtype)), line))


def excess(tuner, line, eta):
    """How far a step misses the two conditions of its rule; not above 0 where it meets them."""
    value = float(line.evaluate(eta)) - float(line.value)
    drop = float(eta) * float(line.slope)
    if isinstance(tuner, Goldstein):
        return value - tuner.c * drop, (1 - tuner.c) * drop - value
    slope = abs(float(line.slope_at(eta)))
    return value - tuner.c1 * drop, (slope - tuner.c2 * abs(float(line.slope))) * float(eta)


TUNERS = st.one_of(
    st.builds(Goldstein, c=st.floats(1e-3, 0.45), initial=st.floats(1e-3, 1e3)),
    st.builds(
        lambda c1, gap, initial: StrongWolfe(c1, c1 + gap * (1 - c1), initial),
        st.floats(1e-4, 0.4),
        st.floats(0.1, 0.9),
        st.floats(1e-3, 1e3),
    ),
)


@settings(max_examples=120, deadline=None)
@given(TUNERS, st.floats(-10, 10), st.floats(-1e2, -1e-2), st.floats(-5, 1e3), st.floats(0.1, 1e3), st.floats(2, 1e3))
def test_accepted_steps_meet_both_conditions(tuner, value, slope, second, fourth, wall):
    """On quartics, with curvatures of both signs, that are not finite beyond twice the minimum or more.

    φ(η) = φ(0) again before twice the minimum, so that there are steps to be found.
    """
    roots = np.roots([fourth, 0, second, slope])
    least = roots[np.isreal(roots) & (roots.real > 0)].real.min()
    numbers = [jnp.asarray(x) for x in (value, slope, second)]
    rest = [jnp.asarray(0), jnp.asarray(jnp.nan), Secant(), jnp.asarray(fourth), jnp.asarray(least * wall)]
    line = Quartic(*numbers, *rest)
    eta, following, info, _ = SEARCH(tuner, line)
    scale = 32 * EPS * (abs(value) + abs(slope * least))
    assume(scale < 1e-9 * abs(slope) * float(eta))
    assert not info.failed
    assert eta == following
    assert max(excess(tuner, line, eta)) <= 4 * EPS * abs(value) + scale


@settings(max_examples=40, deadline=None)
@given(TUNERS, st.floats(1e-3, 1e3))
def test_on_a_parabola_the_step_lies_in_the_window_of_the_rule(tuner, second):
    """η·φ''/|φ'| in [2c, 2(1 − c)] and in [1 − c2, min(1 + c2, 2(1 − c1))]; a first trial inside is taken."""
    wolfe = isinstance(tuner, StrongWolfe)
    low = 1 - tuner.c2 if wolfe else 2 * tuner.c
    high = min(1 + tuner.c2, 2 * (1 - tuner.c1)) if wolfe else 2 * (1 - tuner.c)
    eta, _, info, _ = SEARCH(tuner, parabola(0.0, -1.0, second))
    s = float(eta) * second
    assert low * (1 - 1e-9) <= s <= high * (1 + 1e-9)
    if low * (1 + 1e-9) < tuner.initial * second < high * (1 - 1e-9):
        assert eta == tuner.initial
        assert info.evaluations == (2 if wolfe else 1)


def bumpy(w):
    """Smooth, not convex, with curvatures up to 4: a step of 1 is taken at some places and not at others."""
    bowl = jnp.sum(jnp.log(jnp.cosh(jnp.asarray([1.0, 3.0, 6.0], w.dtype) * w))) + 0.1 * jnp.sum(w**2) + jnp.cos(w[0])
    return 0.1 * bowl


@pytest.mark.parametrize("c2", [0.2, 0.9])
def test_strong_wolfe_beside_the_zoom_of_optax(c2):
    """Both meet the conditions at the same points, and a first trial that meets them is taken by both."""
    tuner = StrongWolfe(c1=1e-3, c2=c2)
    search = optax.scale_by_zoom_linesearch(
        60, slope_rtol=1e-3, curv_rtol=c2, approx_dec_rtol=None, initial_guess_strategy="one"
    )

    @jax.jit
    def theirs(w):
        value, grad = jax.value_and_grad(bumpy)(w)
        return search.update(-grad, search.init(w), w, value=value, grad=grad, value_fn=bumpy)[1].learning_rate

    ours = jax.jit(lambda w: tuner(ray(bumpy, w), tuner.init()))
    taken = 0
    for w in np.random.default_rng(0).normal(size=(12, 3)) * np.asarray([1.0, 0.3, 0.05]):
        line = ray(bumpy, jnp.asarray(w))
        with jax.numpy_dtype_promotion("standard"):
            their = theirs(jnp.asarray(w))
        eta, _, info = ours(jnp.asarray(w))
        assert not info.failed
        for step in (eta, jnp.asarray(their, float)):
            assert max(excess(tuner, line, step)) <= 1e-9
        if max(excess(tuner, line, jnp.asarray(1.0))) <= 0:
            taken += 1
            assert eta == 1.0
            assert their == 1.0
    assert 0 < taken < 12


@each_rule
def test_the_next_search_begins_with_the_step_taken(rule):
    tuner = rule(initial=8.0)
    eta, state, first = tuner(parabola(1.0, -1.0, 1.0), tuner.init())
    again, _, info = tuner(parabola(1.0, -1.0, 1.0), state)
    assert again == eta == state
    assert info.evaluations < first.evaluations


@each_rule
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("outside", [np.nan, np.inf, -np.inf])
def test_trials_that_are_not_finite_are_too_long_and_never_stick(rule, dtype, outside):
    def fn(w):
        return jnp.where(jnp.abs(w[0]) <= 1, 0.5 * w[0] ** 2, jnp.asarray(outside, w.dtype))

    tuner = rule(initial=1e6, max_evaluations=2)
    search = jax.jit(lambda w, state: tuner(ray(fn, w), state))
    w, state, failures = jnp.ones(1, dtype), tuner.init(dtype), []
    for _ in range(30):
        eta, state, info = search(w, state)
        failures.append(bool(info.failed))
        assert (eta > 0) == (not info.failed)
        assert 0 < state < np.inf
    # From w = 1 they take η up to 1.8 and 1.9, and 10⁶/2²⁰ = 0.95 is the 21st trial. Goldstein has two in a search;
    # Wolfe has one, for the next might cost two evaluations.
    refused = 10 if rule is Goldstein else 20
    assert failures == [True] * refused + [False] * (30 - refused)


@each_rule
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_endless_descent_takes_the_longest_step_and_stays_finite(rule, dtype):
    """Nothing is ever too long: the last too short trial is taken, and it is `failed`."""
    tuner = rule()
    state, search = tuner.init(dtype), jax.jit(lambda line, state: tuner(line, state))
    for _ in range(40):
        eta, state, info = search(parabola(0.0, -1.0, -1e-3, dtype), state)
        assert jnp.isfinite(eta)
        assert 0 < state < np.inf
    assert info.failed
    eta, state, info = search(parabola(0.0, -1.0, 1.0, dtype), state)
    for _ in range(60):
        eta, state, info = search(parabola(0.0, -1.0, 1.0, dtype), state)
    assert not info.failed


def test_out_of_evaluations_the_longest_too_short_step_is_taken():
    # In [0.2, 1.8] nothing is found from 0.01 in three evaluations: 0.01, 0.02, 0.04.
    eta, state, info = Goldstein(c=0.1, initial=0.01, max_evaluations=3)(parabola(1.0, -1.0, 1.0), jnp.asarray(0.01))
    assert (float(eta), float(state), int(info.evaluations), bool(info.failed)) == (0.04, 0.08, 3, True)
    eta, state, info = Goldstein(initial=64.0, max_evaluations=3)(parabola(1.0, -1.0, 1.0), jnp.asarray(64.0))
    assert (float(eta), float(state), int(info.evaluations), bool(info.failed)) == (0.0, 8.0, 3, True)


@each_rule
@pytest.mark.parametrize(("slope", "failed"), [(0.0, False), (1.0, True), (np.nan, True)])
def test_without_descent_there_is_no_step_and_no_evaluation(rule, slope, failed):
    tuner = rule()
    eta, new, info = tuner(parabola(1.0, slope, 1.0), tuner.init())
    assert eta == 0
    assert info.evaluations == 0
    assert bool(info.failed) == failed
    assert new == tuner.init()


@each_rule
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_rounding_near_a_minimum_does_not_refuse_steps(rule, dtype):
    tuner = rule()
    eta, _, info = tuner(ray(lambda w: 1 + 0.5 * jnp.sum(w**2), jnp.full(3, 1e-10, dtype)), tuner.init(dtype))
    assert eta == 1
    assert not info.failed


@pytest.mark.parametrize(
    ("tuner", "low", "high"), [(Goldstein(0.2, 0.3), 0.4, 1.6), (StrongWolfe(1e-4, 0.6, 0.3), 0.4, 1.6)]
)
@pytest.mark.parametrize("r", [0.02, 1.0, 30.0])
def test_response_with_r_held_stays_in_the_window(tuner, low, high, r):
    kappa = 0.05
    response = held(FastMap(tuner, kappa=kappa), r)
    assert low <= float(response.low) * (kappa + r) / (1 + r) <= float(response.high) * (kappa + r) / (1 + r) <= high
    np.testing.assert_allclose(response.low, response.high, rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Goldstein(c=0.5), r"Goldstein: c must lie in \(0, 0.5\), got 0.5"),
        (lambda: Goldstein(initial=0.0), r"Goldstein: initial must lie in \(0, inf\), got 0.0"),
        (lambda: Goldstein(max_evaluations=0), "Goldstein: max_evaluations must lie in .*, got 0"),
        (lambda: StrongWolfe(c1=0.0), r"StrongWolfe: c1 must lie in \(0, 1\), got 0.0"),
        (lambda: StrongWolfe(c2=1.0), r"StrongWolfe: c2 must lie in \(0, 1\), got 1.0"),
        (lambda: StrongWolfe(0.5, 0.4), "StrongWolfe: c1 must lie below c2, got c1=0.5, c2=0.4"),
        (lambda: StrongWolfe(max_evaluations=1), "StrongWolfe: max_evaluations must lie in .*, got 1"),
        (lambda: StrongWolfe(max_evaluations=2.5), "StrongWolfe: max_evaluations must be an integer, got 2.5"),
    ],
)
def test_bad_hyper_parameters_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
