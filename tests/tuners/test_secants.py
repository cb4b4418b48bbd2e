"""Barzilai–Borwein and AdGD: their identities on quadratics, the algorithm as published, their maps by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eosmodel.rays import QuadraticRay, Secant, ray, steepest
from eosmodel.theory import FastMap, held
from eosmodel.tuners import BB1, BB2, AdGD, BarzilaiBorwein
from eosmodel.tuners.base import init_memory, select_stepsize

DTYPES = [jnp.float32, jnp.float64]
CURVATURES = np.asarray([5.0, 1.0, 0.3])
RULES = [BB1(), BB2(), AdGD()]
NAMES = ["bb1", "bb2", "adgd"]
each_rule = pytest.mark.parametrize("tuner", RULES, ids=NAMES)


def bowl(w):
    return 0.5 * jnp.sum(jnp.asarray(CURVATURES, w.dtype) * w**2)


def bumpy(w):
    return jnp.sum(jnp.log(jnp.cosh(jnp.asarray([1.0, 3.0, 6.0], w.dtype) * w))) + 0.05 * jnp.sum(w**2)


def descend(tuner, fn, weights, steps):
    """Weights before every step, steps and failures."""

    def body(carry, t):
        w, memory = carry
        line = steepest(fn, w, *jax.value_and_grad(fn)(w), t, jnp.asarray(jnp.nan, w.dtype))
        eta, memory, info = select_stepsize(tuner, line, memory, -line.direction)
        return (w + eta * line.direction, memory), (w, eta, info.failed)

    _, rows = jax.lax.scan(body, (weights, init_memory(tuner, weights)), jnp.arange(steps))
    return (np.asarray(x) for x in rows)


def on(secant, slope=-1.0, dtype=jnp.float64):
    numbers = (jnp.asarray(x, dtype) for x in (1.0, slope, 1.0))
    values = Secant(*(jnp.asarray(x, dtype) for x in secant))
    return QuadraticRay(*numbers, step=jnp.asarray(0), sharpness=jnp.asarray(jnp.nan, dtype), secant=values)


@pytest.mark.parametrize("long", [True, False])
def test_on_a_quadratic_the_steps_are_those_of_the_gradient_before(long):
    """Long: its exact line search, g·g/g·Hg. Short: its smallest next gradient, g·Hg/g·H²g."""
    w, eta, failed = descend(BarzilaiBorwein(0.1, long), bowl, jnp.asarray([0.5, -2.0, 3.0]), 12)
    g = CURVATURES * w
    power = 0 if long else 1
    expected = np.sum(CURVATURES**power * g**2, 1) / np.sum(CURVATURES ** (power + 1) * g**2, 1)
    assert eta[0] == 0.1
    np.testing.assert_allclose(eta[1:], expected[:-1], rtol=1e-6)
    assert not failed.any()


def test_the_short_step_is_shorter_and_both_lie_between_the_inverse_curvatures():
    rng = np.random.default_rng(0)
    for s in rng.normal(size=(50, 3)):
        y = CURVATURES * s
        line = on((s @ s, s @ y, y @ y))
        long, short = (float(tuner(line, tuner.init())[0]) for tuner in (BB1(), BB2()))
        assert 1 / 5 * (1 - 1e-12) <= short <= long <= 1 / 0.3 * (1 + 1e-12)


def published_adgd(grad, w, first, steps):
    """Algorithm 1 of Malitsky and Mishchenko, in numpy."""
    etas, theta, g = [first], np.inf, grad(w)
    for _ in range(steps - 1):
        after = w - etas[-1] * g
        new = grad(after)
        moved, changed = np.linalg.norm(after - w), np.linalg.norm(new - g)
        eta = min(np.sqrt(1 + theta) * etas[-1], moved / (2 * changed))
        theta = eta / etas[-1]
        etas.append(eta)
        w, g = after, new
    return etas


@pytest.mark.parametrize("first", [1e-3, 0.3])
def test_adgd_is_the_algorithm_as_published(first):
    start = jnp.asarray([0.7, -1.1, 0.4])
    _, eta, failed = descend(AdGD(first), bumpy, start, 40)
    grad = jax.jit(jax.grad(bumpy))
    expected = published_adgd(lambda w: np.asarray(grad(w)), np.asarray(start), first, 40)
    np.testing.assert_allclose(eta, expected, rtol=1e-6)
    assert not failed.any()
    # Both terms of the minimum have had their turn.
    growth = np.sqrt(1 + eta[1:-1] / eta[:-2]) * eta[1:-1]
    bound = np.isclose(eta[2:], growth, rtol=1e-6)
    assert bound.any()
    assert not bound.all()


@each_rule
def test_a_preconditioned_direction_is_steepest_descent_in_its_own_coordinates(tuner):
    inverse = jnp.asarray([0.25, 1.0, 9.0])
    inside = lambda v: bumpy(jnp.sqrt(inverse) * v)  # noqa: E731
    start = jnp.asarray([0.7, -1.1, 0.4])
    _, expected, _ = descend(tuner, inside, start / jnp.sqrt(inverse), 10)
    w, memory, etas = start, init_memory(tuner, start), []
    for t in range(10):
        gradient = jax.grad(bumpy)(w)
        line = ray(bumpy, w, -inverse * gradient, step=t)
        eta, memory, _ = select_stepsize(tuner, line, memory, gradient)
        w = w + eta * line.direction
        etas.append(float(eta))
    np.testing.assert_allclose(etas, expected, rtol=1e-6)


@each_rule
def test_without_a_secant_the_last_step_is_kept(tuner):
    eta, state, info = tuner(on((0.0, 0.0, 0.0)), tuner.init())
    assert eta == tuner.initial
    assert not info.failed
    first, state, _ = tuner(on((1.0, 2.0, 5.0)), state)
    assert first != tuner.initial
    eta, state, info = tuner(on((0.0, 0.0, 0.0)), state)
    assert eta == first
    assert not info.failed


@pytest.mark.parametrize("tuner", RULES[:2], ids=NAMES[:2])
@pytest.mark.parametrize("secant", [(1.0, -2.0, 5.0), (1.0, 0.0, 5.0), (np.nan, np.nan, np.nan)])
def test_negative_curvature_keeps_the_last_step_and_says_so(tuner, secant):
    first, state, _ = tuner(on((1.0, 2.0, 5.0)), tuner.init())
    eta, state, info = tuner(on(secant), state)
    assert eta == first
    assert info.failed
    assert tuner(on((1.0, 2.0, 5.0)), state)[0] == first


def test_adgd_goes_by_norms_and_keeps_its_step_only_where_they_say_nothing():
    tuner = AdGD()
    eta, state, info = tuner(on((1.0, -2.0, 4.0)), tuner.init())
    assert (float(eta), bool(info.failed)) == (0.25, False)
    # θ = 0.25/0.01: no curvature, so the first term binds.
    eta, _, info = tuner(on((1.0, 0.0, 0.0)), state)
    np.testing.assert_allclose(eta, np.sqrt(26) * 0.25, rtol=1e-14)
    assert not info.failed
    for start, secant in ((tuner.init(), (1.0, 0.0, 0.0)), (state, (np.nan, np.nan, np.nan))):
        eta, same, info = tuner(on(secant), start)
        assert eta == start[0]
        assert info.failed
        assert jax.tree.map(float, same) == jax.tree.map(float, start)


@each_rule
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_that_leave_the_range_of_the_type_never_stick(tuner, dtype):
    limits = jnp.finfo(dtype)
    state = tuner.init(dtype)
    for secant in (
        (limits.tiny, limits.tiny, limits.max),
        (limits.max, limits.tiny, limits.tiny),
        (limits.max, limits.max, limits.tiny),
        (limits.tiny, 0.0, 0.0),
    ):
        eta, state, _ = tuner(on(secant, dtype=dtype), state)
        assert eta.dtype == dtype
        assert jnp.isfinite(eta)
        assert eta > 0
    for _ in range(300):  # AdGD grows at most by a factor a step
        eta, state, _ = tuner(on((1.0, 2.0, 4.0), dtype=dtype), state)
    np.testing.assert_allclose(eta, {"bb1": 0.5, "bb2": 0.5, "adgd": 0.25}[NAMES[RULES.index(tuner)]], rtol=1e-6)


@each_rule
def test_uphill_there_is_no_step_and_the_memory_stays(tuner):
    _, state, _ = tuner(on((1.0, 2.0, 5.0)), tuner.init())
    eta, after, info = tuner(on((0.0, 0.0, 0.0), slope=1.0), state)
    assert eta == 0
    assert info.failed
    assert jax.tree.map(float, after) == jax.tree.map(float, state)


RESPONSES = {
    "bb1": lambda r, kappa: (1 + r) / (kappa + r),
    "bb2": lambda r, kappa: (kappa + r) / (kappa**2 + r),
    "adgd": lambda r, kappa: 0.5 * np.sqrt((1 + r) / (kappa**2 + r)),
}


@pytest.mark.parametrize(("tuner", "name"), list(zip(RULES, NAMES, strict=True)), ids=NAMES)
@pytest.mark.parametrize("kappa", [0.03, 0.2])
def test_responses_with_r_held(tuner, name, kappa):
    for r in (1e-3, 0.1, 1.0, 50.0):
        response = held(FastMap(tuner, kappa=kappa, sharpness=3.0, bulk_gradient_sq=0.5), r)
        np.testing.assert_allclose([response.s, response.low, response.high], RESPONSES[name](r, kappa), rtol=1e-9)


@pytest.mark.parametrize(("tuner", "name"), list(zip(RULES[:2], NAMES[:2], strict=True)), ids=NAMES[:2])
def test_the_step_is_that_of_the_r_before(tuner, name):
    fast = FastMap(tuner, kappa=0.1, sharpness=3.0)
    z = fast(fast.init(2.0))
    for _ in range(6):
        before, z = float(fast.observe(z).r), fast(z)
        np.testing.assert_allclose(fast.observe(z).s, RESPONSES[name](before, 0.1), rtol=1e-9)


@pytest.mark.parametrize(("tuner", "r_of"), [(BB1(), lambda k: 1 - 2 * k), (BB2(), lambda k: k * (1 - 2 * k))])
def test_the_equilibrium_turns_unstable_at_kappa_one_third(tuner, r_of):
    """Multipliers of ln r' = ln r + 2 ln|1 − s(r₋)| at r*: their product is 2(1 − 2κ)/(1 − κ), 1 at κ = ⅓."""

    def distance(kappa):
        fast = FastMap(tuner, kappa=kappa)
        z = fast(fast(fast.init(r_of(kappa) * 1.01)))
        near = jnp.log(r_of(kappa)) + 0.01
        # Both r and the r before it start near r*.
        z = z.at[0].set(near).at[-2].set(near).at[-1].set(2.0)
        end = jax.jit(lambda z: jax.lax.fori_loop(0, 400, lambda _, z: fast(z), z))(z)
        return abs(float(end[0]) - np.log(r_of(kappa)))

    assert distance(0.38) < 1e-8
    assert distance(0.29) > 0.1


@pytest.mark.parametrize("build", [BB1, BB2, AdGD])
def test_bad_hyper_parameters_are_named(build):
    with pytest.raises(ValueError, match=r"(BarzilaiBorwein|AdGD): initial must lie in \(0, inf\), got 0"):
        build(0)
