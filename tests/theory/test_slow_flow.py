"""The slow flow against what it must reduce to: closed forms, independent integrators, descent on the valley itself.

Averaging is an approximation of first order in the separation ε of the time scales. That order is measured here, and so
are the ends where it is lost.
"""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import eosmodel as eos
from eosmodel import plotting
from eosmodel._status import Status
from eosmodel.objectives import Valley
from eosmodel.theory import (
    Coefficients,
    FrozenClosure,
    MeasuredClosure,
    SlowFlow,
    SlowRegime,
    ValleyClosure,
    separation,
)
from eosmodel.theory import slow_flow as module
from eosmodel.tuners import CDAT, Armijo, Constant, OnEdge, Polyak

pytestmark = pytest.mark.usefixtures("lightly_compiled")

ROWS = 20
TIGHT = {"rtol": 1e-9, "atol": 1e-10}
SCALES = np.array([1.0, 0.5, 0.25, 0.125])


def valley(mu=(0.02, 0.01), z=(-5.0, 0.0), q=(1.0, 0.0), limit=30.0, dtype=jnp.float64):
    start = jnp.asarray([0.05, *z], dtype)
    return Valley(limit, 4.0, jnp.asarray(q, dtype), jnp.asarray(mu, dtype), start)


def flow(tuner, floor, steps, **kwargs):
    return SlowFlow(tuner, ValleyClosure(floor)).solve(steps, save_every=steps // ROWS, **(TIGHT | kwargs))


@eqx.filter_jit
def descend(tuner, floor, start, steps):
    """Weights before each step, and the steps."""

    def step(w, t):
        line = eos.ray(floor, w, step=t)
        eta = tuner(line, tuner.init(w.dtype))[0]
        return w + eta * line.direction, (w, eta)

    return jax.lax.scan(step, start, jnp.arange(steps + 1))[1]


def order(sizes, errors):
    """The slope of ln error against ln size, between neighbours."""
    return np.diff(np.log(errors)) / np.diff(np.log(sizes))


def frozen(**changes):
    numbers = {
        "alpha": 1.0,
        "beta": 4.0,
        "kappa": 0.05,
        "bulk_gradient_sq": 0.1,
        "sharpness": 18.0,
        "center_loss": 10.0,
    }
    return FrozenClosure(**(numbers | changes))


# --- below the edge --------------------------------------------------------------------------------------------------


def test_below_the_edge_it_is_the_gradient_flow_that_passes_through_the_steps_of_descent():
    """dw/dt = −η∇(f + ¼η‖∇f‖²), integrated by scipy; the plain flow −η∇f is off by O(ημ)."""
    eta, floor, steps = 0.05, valley(z=(-5.0, 3.0), q=(0.8, 0.6)), 400
    solution = flow(Constant(eta), floor, steps)
    assert set(solution.regime) == {SlowRegime.BELOW}
    assert solution.status == Status.OK

    def modified(w):
        return floor(w) + 0.25 * eta * jnp.sum(jax.grad(floor)(w) ** 2)

    slope = jax.jit(jax.grad(modified))
    start = np.asarray(floor.initial().at[0].set(0.0))
    exact = solve_ivp(
        lambda t, w: -eta * np.asarray(slope(w)), (0, steps), start, "DOP853", solution.time, rtol=1e-12, atol=1e-14
    )
    weights = jnp.asarray(exact.y.T)
    np.testing.assert_allclose(solution.sharpness, jax.vmap(floor.sharpness)(weights), rtol=1e-8)
    np.testing.assert_allclose(solution.center_loss, jax.vmap(floor)(weights), rtol=1e-8)
    np.testing.assert_array_equal(solution.oscillation, 0)
    np.testing.assert_allclose(solution.edge_exponent, np.log(abs(1 - eta * solution.sharpness)), rtol=1e-10)


def test_without_oscillation_the_flow_is_of_second_order_in_the_length_of_a_step():
    study = separation(Constant(0.05), valley(mu=(0.4, 0.2)), SCALES, 40, **TIGHT)
    np.testing.assert_allclose(order(SCALES, study.error), 2, atol=0.1)


# --- events, in closed form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.1, 0.105])
def test_frozen_coefficients_meet_the_edge_and_stay_there_at_the_times_of_the_closed_form(eta):
    """Below: λ = λ₀ + ηαt up to 2/η. Pinned: x² = 2α/β. L̄ is a polynomial in t in both."""
    floor = frozen()
    alpha, beta, kappa, bulk = (float(v) for v in (floor.alpha, floor.beta, floor.kappa, floor.bulk_gradient_sq))
    crossing = (2 / eta - 18.0) / (eta * alpha)
    solution = SlowFlow(Constant(eta), floor).solve(40, save_every=2, **TIGHT)
    np.testing.assert_allclose(solution.event_time, [crossing], rtol=1e-9)
    np.testing.assert_array_equal(solution.entered, [SlowRegime.PINNED])
    t = solution.time
    below = np.minimum(t, crossing)
    np.testing.assert_allclose(solution.sharpness, 18.0 + eta * alpha * below, rtol=1e-9)
    np.testing.assert_array_equal(solution.regime, np.where(t < crossing, SlowRegime.BELOW, SlowRegime.PINNED))
    np.testing.assert_allclose(solution.oscillation, np.where(t < crossing, 0, 2 * alpha / beta), rtol=1e-9)
    travelled = 18.0 * t + eta * alpha * below**2 / 2 + eta * alpha * crossing * (t - below)  # ∫λ dt
    center = 10.0 - eta * bulk * t + 0.5 * eta**2 * kappa * bulk * travelled + eta * alpha**2 / beta * (t - below)
    np.testing.assert_allclose(solution.center_loss, center, rtol=1e-9)


def test_a_floor_that_falls_below_the_least_loss_ends_the_flow_and_keeps_what_was():
    """L̄ reaches 0 at L̄₀/(ηG), κ = 0."""
    eta, bulk = 0.1, 0.1
    solution = SlowFlow(Constant(eta), frozen(alpha=0.0, kappa=0.0, center_loss=0.195, bulk_gradient_sq=bulk)).solve(
        40, save_every=2, **TIGHT
    )
    assert solution.status == Status.OUT_OF_RANGE
    kept = solution.time <= 0.195 / (eta * bulk)
    np.testing.assert_array_equal(np.isfinite(solution.center_loss), kept)
    np.testing.assert_array_equal(solution.regime >= 0, kept)
    assert solution.event_time.size == 0


def test_a_start_far_above_the_edge_of_a_constant_step_has_no_averaged_flow():
    solution = SlowFlow(Constant(0.15), frozen()).solve(40, save_every=2)
    assert solution.status == Status.OUT_OF_RANGE
    assert (solution.regime == -1).all()
    assert np.isnan(solution.sharpness).all()


def test_the_flow_leaves_the_edge_where_sharpening_turns_into_flattening():
    """λ rises past λ_∞ to 2/η while a fast mode relaxes, is held there, and falls when α < 0. At the edge q·z stands
    still, and the rest of z relaxes by a factor 1 − η p·Mp a step, p ⊥ q."""
    eta, q, mu = 0.1, np.array([0.8, 0.6]), np.diag([0.02, 0.002])
    p = np.array([0.6, -0.8])
    z = np.array([-20.0, 26.5])
    floor = valley(mu=np.diag(mu), z=z, q=q, limit=19.0)
    solution = flow(Constant(eta), floor, 8000)
    np.testing.assert_array_equal(solution.entered, [SlowRegime.PINNED, SlowRegime.BELOW])
    entered, left = solution.event_time

    rates = np.log(1 - eta * np.diag(mu))
    np.testing.assert_allclose(19.0 + 2 * q @ (z * np.exp(rates * entered)), 2 / eta, rtol=1e-7)
    at_entry = z * np.exp(rates * entered)
    along, across = q @ at_entry, p @ at_entry
    rest = -along * (p @ mu @ q) / (p @ mu @ p)
    # α = 0: (q·Mq) along + (q·Mp) across = 0.
    goal = -along * (q @ mu @ q) / (q @ mu @ p)
    duration = np.log((goal - rest) / (across - rest)) / np.log(1 - eta * p @ mu @ p)
    # The flow keeps the second order of a step; what is left is (ημ)².
    np.testing.assert_allclose(left - entered, duration, rtol=(eta * 0.02) ** 2)
    held = solution.regime == SlowRegime.PINNED
    assert held.sum() > 2
    np.testing.assert_allclose(solution.sharpness[held], 2 / eta, rtol=1e-8)
    assert (solution.sharpness[solution.time > left] < 2 / eta).all()


# --- at the edge, against descent on the valley ----------------------------------------------------------------------


def test_a_constant_step_settles_where_the_flow_is_pinned():
    """λ = 2/η and x² = 2α/β, in the valley's own run once its overshoot has died out."""
    eta, floor = 0.1, eos.objectives.valley(modes=2)
    solution = flow(Constant(eta), floor, 2000)
    run = eos.simulate(floor, Constant(eta), 2000, modes=1, measure_every=1, progress=False)
    assert solution.regime[-1] == SlowRegime.PINNED
    np.testing.assert_allclose(solution.sharpness[-1], 2 / eta, rtol=1e-8)
    last = run.isel(step=-1)
    np.testing.assert_allclose(2 * last.alpha / last.beta, last.amplitude.isel(mode=0) ** 2, rtol=1e-6)
    np.testing.assert_allclose(solution.oscillation[-1], last.amplitude.isel(mode=0) ** 2, rtol=1e-6)
    np.testing.assert_allclose(solution.center_loss[-1], last.center_loss, rtol=1e-6)


@pytest.mark.slow
def test_a_capped_polyak_is_pinned_or_clamped_as_its_clamp_lies_above_or_below_self_stabilisation():
    """r* = (A − 2c)/(2c − ½) against r_p = 2αλ²/(βG), at the cap's edge λ = 2/max."""
    cap = 0.08
    for c, expected in ((0.26, SlowRegime.PINNED), (0.5, SlowRegime.CLAMPED)):
        solution = flow(Polyak(c, max=cap), valley(z=(-2.6, 0.0)), 200, rtol=1e-6)
        np.testing.assert_array_equal(solution.entered, [expected])
        np.testing.assert_array_equal(solution.regime[[0, -1]], [SlowRegime.BELOW, expected])
        sharpness, bulk = solution.sharpness[-1], solution.bulk_gradient_sq[-1]
        clamp = (sharpness * solution.center_loss[-1] / bulk - 2 * c) / (2 * c - 0.5)
        stable = 2 * solution.alpha[-1] * sharpness**2 / (solution.beta[-1] * bulk)
        assert (clamp > stable) == (expected is SlowRegime.PINNED)
        np.testing.assert_allclose(solution.r[-1], min(clamp, stable), rtol=1e-3)
        if expected is SlowRegime.PINNED:
            np.testing.assert_allclose(sharpness, 2 / cap, rtol=1e-8)


@pytest.mark.parametrize(("tuner", "steps"), [(CDAT(1.5), 400), (Polyak(0.3), 120)], ids=["cdat", "polyak"])
def test_the_error_of_averaging_is_of_first_order_in_the_separation_of_time_scales(tuner, steps):
    """The averaging principle: O(ε) over a time 1/ε, where the fast map forgets at a rate of its own."""
    study = separation(tuner, valley(), SCALES, steps, **TIGHT)
    np.testing.assert_allclose(order(SCALES, study.error)[1:], 1, atol=0.05)
    assert study.error[0] < 0.05 * np.ptp(np.log(study.run[0]))  # small against the way that λ went


@pytest.mark.slow
def test_a_line_search_with_memory_is_averaged_too():
    """Armijo's sawtooth never settles, so the error falls with ε only down to the noise of its averages."""
    study = separation(Armijo(), valley(), [4.0, 0.5], 400)
    assert study.error[1] < study.error[0] / 2
    assert study.error[0] < 0.05 * np.ptp(np.log(study.run[0]))


@pytest.mark.slow
def test_on_edge_leaves_the_oscillation_where_it_is():
    """s = 2 for every r: x² is as slow as λ, and nothing but the start sets it."""
    study = separation(OnEdge(2.0), valley(), SCALES, 400, **TIGHT)
    assert (order(SCALES, study.error) > 0.95).all()
    solution = flow(OnEdge(2.0), valley(), 400)
    assert set(solution.regime) == {SlowRegime.NEUTRAL}
    np.testing.assert_allclose(solution.oscillation, 0.05**2, rtol=1e-9)


# --- where averaging fails -------------------------------------------------------------------------------------------


def test_the_lag_of_the_oscillation_grows_as_the_fast_map_forgets_more_slowly():
    """Near its measure ln r relaxes by m = 2σ − 3 a step and is driven by the slow path: as r* → ∞ (σ → 2) it lags by
    δ/(1 − m), which is not small once 1 − m comes down to the rate of the slow path."""
    sigma = np.array([1.95, 1.975, 1.9875])
    floor, steps = valley(mu=(2e-4, 1e-4)), 4000
    lag = []
    for value in sigma:
        solution = flow(CDAT(value, eps=0.0), floor, steps)
        w = descend(CDAT(value, eps=0.0), floor, floor.initial(), steps)[0][-1]
        r = floor.sharpness(w) ** 2 * w[0] ** 2 / floor.bulk_gradient_sq(w)
        clamp = (value - 2 * solution.kappa[-1]) / (2 - value)
        lag.append(abs(np.log(r / clamp)))
    np.testing.assert_allclose(order(4 - 2 * sigma, lag), -1, atol=0.1)


@pytest.mark.slow
def test_averaging_is_lost_where_time_scales_do_not_separate():
    """CDAT at σ = 2 grows by terms that the two-mode ray leaves out; Polyak beyond its flip takes steps of ημ = 1/(2c)
    however small μ is, since its step on the bulk alone is L̄/(cG). Neither error goes down with ε."""
    for tuner, steps, floor in ((CDAT(2.0, eps=0.0), 400, 1e-3), (Polyak(1.0), 120, 1e-2)):
        study = separation(tuner, valley(), SCALES[::3], steps)
        assert (study.error > floor).all()
        assert order(SCALES[::3], study.error)[0] < 0.5


def test_large_steps_are_beyond_averaging():
    """At ε of order λ/μ the bulk moves as fast as the oscillation."""
    study = separation(CDAT(1.5), valley(), [1.0, 256.0], 5120, rows=20)
    assert study.error[1] > 50 * study.error[0]


# --- closures --------------------------------------------------------------------------------------------------------


def test_coefficients_measured_along_a_run_give_the_flow_of_the_valley_itself():
    """The two differ by how a series is read, which is of second order in a step."""
    differences = []
    for scale in SCALES[:2]:
        floor = valley(mu=np.array([0.02, 0.01]) * scale)
        steps = round(200 / scale)
        exact = flow(CDAT(1.5), floor, steps)
        start = floor.initial().at[0].set(np.sqrt(exact.oscillation[0]))
        w, eta = descend(CDAT(1.5), floor, start, steps)
        series = ValleyClosure(floor)
        at = jax.vmap(lambda w, series=series: series.floor(w[1:]))(w)
        coefficients = Coefficients(
            time=jnp.cumsum(eta) - eta,
            alpha=at.alpha,
            beta=jnp.broadcast_to(at.beta, eta.shape),
            kappa=at.kappa,
            bulk_gradient_sq=at.bulk_gradient_sq,
            sharpness=at.sharpness[0],
            center_loss=at.center_loss[0],
            amplitude=w[0, 0],
        )
        again = SlowFlow(CDAT(1.5), MeasuredClosure(coefficients)).solve(
            steps, save_every=steps // ROWS, rtol=1e-8, atol=1e-9
        )
        paths = [np.log(np.stack([seen.sharpness, seen.center_loss])) for seen in (again, exact)]
        differences.append(np.max(np.abs(paths[0] - paths[1])))
    assert differences[0] < 1e-4
    np.testing.assert_allclose(order(SCALES[:2], differences), 2, atol=0.3)


def test_the_measured_closure_takes_its_coefficients_from_a_run_of_simulate():
    """The whole way of a user: run, measure, flow. What is left is the error of averaging, of first order in ε."""
    errors = []
    for scale in SCALES[:2]:
        floor = valley(mu=np.array([0.02, 0.01]) * scale)
        steps = round(200 / scale)
        x = np.sqrt(flow(CDAT(1.5), floor, steps).oscillation[0])
        start = floor.initial().at[0].set(x)
        run = eos.simulate(floor, CDAT(1.5), steps=steps + 1, start=start, measure_every=1, progress=False)
        measured = MeasuredClosure(eos.coefficients(run))
        found = SlowFlow(CDAT(1.5), measured).solve(steps, save_every=steps // ROWS, rtol=1e-8, atol=1e-9)
        there = run.sharpness.sel(step=found.time).values
        errors.append(np.max(np.abs(np.log(found.sharpness / there))))
    np.testing.assert_allclose(order(SCALES[:2], errors), 1, atol=0.3)
    assert errors[0] < 0.05 * np.ptp(np.log(there))


# --- the solver ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("solver", "expected"), [(dfx.Euler(), 1), (dfx.Heun(), 2), (dfx.Tsit5(), 5)], ids=str)
def test_between_events_the_flow_converges_at_the_order_of_its_solver(solver, expected):
    """Tsit5's own fifth-order term is so small that it shows more: for it the order is a bound."""
    floor = valley(mu=(0.2, 0.1))
    fine = flow(CDAT(1.5), floor, 400, rtol=1e-12, atol=1e-13).sharpness[-1]
    sizes = np.array([40.0, 20.0, 10.0]) if expected > 2 else np.array([10.0, 5.0, 2.5])
    errors = [abs(flow(CDAT(1.5), floor, 400, solver=solver, dt=dt).sharpness[-1] - fine) for dt in sizes]
    measured = order(sizes, errors)[-1]
    assert measured > expected - 0.2
    assert expected == 5 or measured < expected + 0.2


# --- the picture -----------------------------------------------------------------------------------------------------


def test_the_picture_shows_the_path_the_edge_and_the_regimes():
    solution = SlowFlow(Constant(0.1), frozen()).solve(40, save_every=2)
    figure = plotting.slow_flow(solution)
    top, middle, bottom = figure.axes
    np.testing.assert_array_equal(top.lines[0].get_ydata(), solution.sharpness)
    np.testing.assert_array_equal(top.lines[1].get_ydata(), 2 / solution.stepsize)
    np.testing.assert_array_equal(middle.lines[0].get_ydata(), solution.oscillation)
    np.testing.assert_array_equal(bottom.lines[0].get_ydata(), solution.center_loss)
    shown = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"below", "pinned"} <= shown
    assert "clamped" not in shown


# --- plumbing --------------------------------------------------------------------------------------------------------


def test_float32_stays_float32_and_agrees():
    narrow = eqx.tree_at(
        lambda f: [f.alpha, f.beta, f.kappa, f.bulk_gradient_sq, f.sharpness, f.center_loss, f.amplitude],
        frozen(),
        replace_fn=lambda leaf: jnp.asarray(leaf, jnp.float32),
    )
    solution = SlowFlow(Constant(0.1), narrow).solve(40, save_every=2)
    np.testing.assert_allclose(solution.event_time, [20.0], rtol=1e-5)
    np.testing.assert_allclose(solution.sharpness[-1], 20.0, rtol=1e-5)
    assert solution.time.dtype == np.float32


def test_a_change_of_numbers_compiles_nothing():
    SlowFlow(Constant(0.1), frozen()).solve(40, save_every=2)
    before = module._segment._cached._cache_size()
    SlowFlow(Constant(0.11), frozen(alpha=2.0)).solve(20, save_every=1, rtol=1e-6)
    assert module._segment._cached._cache_size() == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SlowFlow(Constant(), frozen(), window=0), "SlowFlow: window"),
        (lambda: SlowFlow(Constant(), frozen(), margin=0.0), "SlowFlow: margin"),
        (lambda: SlowFlow(Constant(), frozen()).solve(0), "SlowFlow.solve: steps"),
        (lambda: SlowFlow(Constant(), frozen()).solve(5, dt=0.0), "SlowFlow.solve: dt"),
        (lambda: frozen(beta=-1.0), "FrozenClosure: beta"),
        (lambda: ValleyClosure(eos.objectives.valley(gamma=1.0)), "ValleyClosure: valley.gamma"),
        (lambda: separation(Constant(), valley(), [0.0], 20), "separation: scales"),
        (lambda: separation(Constant(), valley(), [1.0], 10), "separation: steps"),
    ],
)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
