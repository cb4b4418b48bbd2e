"""Caps, floors and schedules around any rule: formulas, what passes through, and the command line's four parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eosmodel.rays import QuadraticRay, Secant, ray
from eosmodel.theory import response
from eosmodel.tuners import (
    BB2,
    CDAT,
    MODIFIERS,
    AdGD,
    Armijo,
    Bounded,
    Constant,
    OnEdge,
    Polyak,
    Schedule,
    Scheduled,
    WarmupCosine,
    from_spec,
)
from eosmodel.tuners.registry import parameters


def sloped(value=1.0, slope=-1.0, second=1.0, step=0, dtype=jnp.float64, secant=Secant()):  # noqa: B008
    numbers = (jnp.asarray(x, dtype) for x in (value, slope, second))
    return QuadraticRay(*numbers, step=jnp.asarray(step), sharpness=jnp.asarray(4.0, dtype), secant=secant)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(("value", "expected"), [(0.01, 0.1), (0.5, 0.5), (7.0, 2.0), (0.0, 0.0), (np.nan, np.nan)])
def test_bounds_raise_what_is_positive_and_lower_what_is_large(value, expected, dtype):
    """Polyak's step on these rays is the loss."""
    eta, _, _ = Bounded(Polyak(), floor=0.1, cap=2.0)(sloped(value, dtype=dtype), ())
    assert eta.dtype == dtype
    np.testing.assert_array_equal(eta, dtype(expected))


def test_a_refused_search_stays_refused():
    tuner = Bounded(Armijo(max_evaluations=1), floor=0.5)
    eta, _, info = tuner(sloped(second=jnp.inf), tuner.init())
    assert eta == 0
    assert info.failed


def test_the_rule_inside_goes_on_from_its_own_step():
    """With a cap of 0.1 Armijo's trial still grows to the threshold 2(1 − c) of the parabola."""
    alone, capped = Armijo(initial=0.5), Bounded(Armijo(initial=0.5), cap=0.1)
    states = [alone.init(), capped.init()]
    for _ in range(6):
        own, states[0], _ = alone(sloped(), states[0])
        eta, states[1], _ = capped(sloped(), states[1])
        assert eta == 0.1
        assert states[0] == states[1]
    assert own > 1


@pytest.mark.parametrize("schedule", [optax.cosine_decay_schedule(1.0, 10), optax.linear_schedule(0.0, 1.0, 5)])
def test_a_schedule_of_a_constant_is_a_schedule(schedule):
    for t in range(12):
        for dtype in (jnp.float32, jnp.float64):
            line = sloped(step=t, dtype=dtype)
            eta, _, _ = Scheduled(Constant(1.0), schedule)(line, ())
            assert eta.dtype == dtype
            assert eta == Schedule(schedule)(line, ())[0]


@pytest.mark.parametrize(("warmup", "decay"), [(0, 0), (1, 0), (5, 0), (0, 8), (5, 8)])
def test_warmup_and_decay_are_those_of_optax(warmup, decay):
    rise = optax.linear_schedule(1 / warmup, 1.0, warmup - 1) if warmup > 1 else optax.constant_schedule(1.0)
    fall = optax.cosine_decay_schedule(1.0, decay) if decay else optax.constant_schedule(1.0)
    expected = optax.join_schedules([rise, fall], [warmup])
    ours = WarmupCosine(warmup, decay)
    with jax.numpy_dtype_promotion("standard"):
        for t in range(16):
            np.testing.assert_allclose(ours(jnp.asarray(t)), expected(t), atol=1e-6)


def test_needs_pass_through():
    for inner, sharpness, secant in ((OnEdge(), True, False), (BB2(), False, True), (Constant(), False, False)):
        for outer in (Bounded(inner, cap=1.0), Scheduled(Bounded(inner, cap=1.0), WarmupCosine(3))):
            assert (outer.needs_sharpness, outer.needs_secant) == (sharpness, secant)
    line = sloped(secant=Secant(*jnp.asarray([1.0, 2.0, 4.0])))
    tuner = Scheduled(AdGD(), WarmupCosine(2))
    assert tuner(line, tuner.init())[0] == 0.125


def test_response_between_the_bounds():
    r = np.geomspace(1e-3, 1e3, 9)
    phi = (10 + r / 2) / (0.3 * (1 + r))
    s = response(Bounded(Polyak(0.3), floor=1.0, cap=4.0), r, sharpness=2.0)
    np.testing.assert_allclose(s, np.clip(phi, 2.0, 8.0), rtol=1e-12)
    s = response(Scheduled(Polyak(0.3), WarmupCosine(4)), r, step=1)
    np.testing.assert_allclose(s, phi / 2, rtol=1e-12)


def test_the_command_line_puts_the_bounds_inside_the_schedule():
    tuner = from_spec("cdat:sigma=1.9,cap=0.5,floor=0.1,warmup=4,decay_steps=6")
    assert isinstance(tuner, Scheduled)
    assert isinstance(tuner.tuner, Bounded)
    assert isinstance(tuner.tuner.tuner, CDAT)
    assert tuner.schedule == WarmupCosine(4, 6)
    assert (tuner.tuner.floor, tuner.tuner.cap) == (0.1, 0.5)
    for t in range(12):
        eta, _, _ = tuner(sloped(step=t), tuner.init())
        np.testing.assert_allclose(eta, 0.5 * WarmupCosine(4, 6)(t), rtol=1e-6)
    assert eta == 0


@pytest.mark.parametrize("key", MODIFIERS)
def test_nothing_is_put_around_a_rule_that_does_not_ask(key):
    assert type(from_spec("armijo")) is Armijo
    assert key not in dict(parameters("armijo"))
    outer = from_spec(f"armijo:{key}=1")
    assert type(outer) is (Bounded if key in ("cap", "floor") else Scheduled)
    assert type(outer.tuner) is Armijo


def test_a_parameter_of_the_tuners_own_is_its_own():
    tuner = from_spec("schedule:cosine_decay_schedule,init_value=0.4,decay_steps=10,cap=0.3")
    assert isinstance(tuner, Bounded)
    for t in range(12):
        eta, _, _ = tuner(ray(lambda w: jnp.sum(w**2), jnp.ones(2), step=t), ())
        np.testing.assert_allclose(eta, min(0.3, optax.cosine_decay_schedule(0.4, 10)(t)), rtol=1e-6)
    outer = from_spec("schedule:constant_schedule,value=0.4,decay_steps=10")
    assert outer.schedule == WarmupCosine(0, 10)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Bounded(Polyak(), floor=-1), r"Bounded: floor must lie in \[0, inf\), got -1"),
        (lambda: Bounded(Polyak(), cap=0.0), r"Bounded: cap must lie in \(0, inf\], got 0.0"),
        (lambda: Bounded(Polyak(), 1.0, 0.5), "Bounded: floor must lie below cap, got floor=1.0, cap=0.5"),
        (lambda: Scheduled(Polyak(), 0.1), "Scheduled: schedule must be a function of the step, got 0.1"),
        (lambda: WarmupCosine(-1), "WarmupCosine: warmup must lie in .*, got -1"),
        (lambda: WarmupCosine(1, 2.5), "WarmupCosine: decay_steps must be an integer, got 2.5"),
        (lambda: from_spec("polyak:cap=0"), "tuner 'polyak:cap=0': Bounded: cap must lie in"),
        (lambda: from_spec("polyak:warmup=2.5"), "tuner 'polyak:warmup=2.5': warmup must be an integer, got '2.5'"),
        (lambda: from_spec("polyak:warmp=2"), r"'warmp' \(did you mean warmup\?\); it has: c, f_star, max, cap, floor"),
        (lambda: from_spec("rmsprop:bias_correction=1"), "bias_correction must be true or false, got '1'"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
