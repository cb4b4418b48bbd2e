"""Searches against a reference above φ(0): what they reduce to, their references by hand, and losses that jump."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eosmodel.rays import QuadraticRay, Secant, steepest
from eosmodel.theory import FastMap, held
from eosmodel.tuners import Armijo, WindowArmijo, ZhangHager

RULES = [ZhangHager(), WindowArmijo(window=4)]
each_rule = pytest.mark.parametrize("tuner", RULES, ids=["zhang-hager", "window"])


def parabola(value, slope, second, dtype=jnp.float64):
    numbers = (jnp.asarray(x, dtype) for x in (value, slope, second))
    return QuadraticRay(*numbers, step=jnp.asarray(0), sharpness=jnp.asarray(jnp.nan, dtype), secant=Secant())


def bumpy(w):
    return jnp.sum(jnp.log(jnp.cosh(jnp.asarray([1.0, 3.0, 6.0], w.dtype) * w))) + 0.05 * jnp.sum(w**2)


@jax.jit
def descend(tuner, weights):
    """Losses, slopes, steps, losses after them, evaluations."""

    def body(carry, t):
        w, state = carry
        line = steepest(bumpy, w, *jax.value_and_grad(bumpy)(w), t, jnp.asarray(jnp.nan, w.dtype))
        eta, state, info = tuner(line, state)
        new = w + eta * line.direction
        return (new, state), (line.value, line.slope, eta, bumpy(new), info.evaluations, info.failed)

    return jax.lax.scan(body, (weights, tuner.init(weights.dtype)), jnp.arange(60))[1]


START = jnp.asarray([0.7, -1.1, 0.4])


@pytest.mark.parametrize("tuner", [ZhangHager(zeta=0.0, c=0.1), WindowArmijo(window=1, c=0.1)])
def test_without_memory_they_are_armijo(tuner):
    for ours, theirs in zip(descend(tuner, START), descend(Armijo(c=0.1), START), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def references(tuner, losses):
    if isinstance(tuner, WindowArmijo):
        return np.asarray([losses[max(0, t - tuner.window + 1) : t + 1].max() for t in range(len(losses))])
    weights = tuner.zeta ** np.arange(len(losses))[::-1]
    return np.asarray([weights[-t:] @ losses[:t] / weights[-t:].sum() for t in range(1, len(losses) + 1)])


@pytest.mark.parametrize("tuner", [ZhangHager(0.1), ZhangHager(0.1, 1.0), WindowArmijo(0.1, 4), WindowArmijo(0.1, 50)])
def test_every_step_meets_its_inequality_and_the_trial_before_did_not(tuner):
    """References from all losses at once: ζ-weighted means, largest of a window."""
    losses, slopes, eta, after, evaluations, failed = (np.asarray(x) for x in descend(tuner, START))
    limit = references(tuner, losses)
    assert not failed.any()
    room = 1e-12
    assert (after <= limit + 0.1 * eta * slopes + room).all()
    # Somewhere the loss did rise, which Armijo forbids, and somewhere a trial was refused.
    assert (after > losses).any()
    assert (evaluations > 1).any()


def test_what_was_refused_was_above_the_reference():
    """On parabolas the inequality is ½hη² − (1 − c)nη ≤ reference − φ(0): the largest trial that meets it is taken."""
    rng = np.random.default_rng(0)
    for tuner in (ZhangHager(0.1, 0.6), WindowArmijo(0.1, 3)):
        losses = rng.uniform(1, 3, 20)
        limit = references(tuner, losses)
        state = tuner.init()
        for t, value in enumerate(losses):
            first = float(state[0])
            eta, state, info = tuner(parabola(value, -1.0, 2.0), state)
            trials = first * 0.8 ** np.arange(50)
            level = np.maximum(limit[t], value) - value
            met = trials**2 - 0.9 * trials <= level + 1e-13
            np.testing.assert_allclose(eta, trials[np.argmax(met)], rtol=1e-12)
            assert int(info.evaluations) == np.argmax(met) + 1


@each_rule
def test_a_loss_that_is_not_finite_is_refused_and_forgotten(tuner):
    state, other = tuner.init(), tuner.init()
    _, state, _ = tuner(parabola(2.0, -1.0, 1.0), state)
    before = state
    for value in (np.nan, np.inf):
        eta, state, info = tuner(parabola(value, -1.0, 1.0), state)
        assert eta == 0
        assert info.failed
    for one, old in zip(jax.tree.leaves(state[1:]), jax.tree.leaves(before[1:]), strict=True):
        np.testing.assert_array_equal(one, old)
    eta, _, info = tuner(parabola(2.0, -1.0, 1.0), state)
    assert eta > 0
    assert not info.failed
    # At the very start too.
    eta, other, _ = tuner(parabola(np.nan, -1.0, 1.0), other)
    assert eta == 0
    assert tuner(parabola(2.0, -1.0, 1.0), other)[0] > 0


def test_a_loss_drawn_anew_above_the_average_is_its_own_reference():
    tuner = ZhangHager(c=0.1)
    _, state, _ = tuner(parabola(1.0, -1.0, 1.0), tuner.init())
    eta, _, info = tuner(parabola(100.0, -1.0, 1.0), state)
    assert eta > 0
    assert not info.failed


@each_rule
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_searches_that_fail_stay_positive_and_finite(tuner, dtype):
    state, search = tuner.init(dtype), jax.jit(lambda line, state: tuner(line, state))
    for second in [np.inf] * 60 + [0.0] * 5:
        _, state, _ = search(parabola(1.0, -1.0, second, dtype), state)
        assert state[0] > 0
        assert jnp.isfinite(state[0])


@each_rule
@pytest.mark.parametrize("r", [0.3, 5.0])
def test_response_with_r_held_is_the_sawtooth_of_armijo(tuner, r):
    kappa = 0.05
    top = 2 * (1 - 1e-4) * (1 + r) / (kappa + r)
    response = held(FastMap(tuner, kappa=kappa), r)
    assert 0.8 * top * 0.999 < float(response.low) < float(response.s) < float(response.high) <= top * 1.001


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ZhangHager(zeta=1.1), r"ZhangHager: zeta must lie in \[0, 1\], got 1.1"),
        (lambda: ZhangHager(increase=0.5), r"ZhangHager: increase must lie in \[1, inf\), got 0.5"),
        (lambda: WindowArmijo(window=0), "WindowArmijo: window must lie in .*, got 0"),
        (lambda: WindowArmijo(window=2.5), "WindowArmijo: window must be an integer, got 2.5"),
        (lambda: WindowArmijo(max=0.0), r"WindowArmijo: max must lie in \(0, inf\], got 0.0"),
    ],
)
def test_bad_hyper_parameters_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
