"""Known results, one test each: what the literature proves and what the theory of tuners derives, against the code.

A limit is shown as a limit: the deviation shrinks as the limit is approached. A condition that a result needs is shown
from both sides.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import brentq

import eosmodel as eos
from eosmodel import tuners
from eosmodel.analysis.symbolic import compile, noise_gap
from eosmodel.objectives import DiagonalQuadratic, Valley
from eosmodel.theory import FastMap, averages

MODES = {"modes": 1, "measure_every": 1, "progress": False}


def last(run, name):
    """The last recorded value of a variable."""
    value = run[name].dropna("step").isel(step=-1)
    return float(value.isel(mode=0) if "mode" in value.dims else value)


def edge(run):
    """λ, x², α, β, G at the end of a run."""
    names = ("sharpness", "amplitude", "alpha", "beta", "bulk_gradient_sq")
    lam, x, alpha, beta, bulk = (last(run, name) for name in names)
    return lam, x**2, alpha, beta, bulk


# --- a quadratic ---------------------------------------------------------------------------------------------------


def test_quadratic_is_stable_if_and_only_if_eta_lambda_is_below_two():
    """Cohen et al. (arXiv 2103.00065). The run, and optax's own descent, gain |1 − ηλ| a step."""
    sharpness = 5.0
    bowl = DiagonalQuadratic(jnp.asarray([sharpness, 1e-3]), start=jnp.asarray([1.0, 0.0]))
    grid = np.array([1.9, 1.99, 2.01, 2.1])
    runs = eos.simulate(bowl, tuners.Constant(jnp.asarray(grid / sharpness)), 60, **MODES)
    growth = np.sqrt(runs.loss[:, -1] / runs.loss[:, 0]) ** (1 / 59)
    np.testing.assert_allclose(growth, abs(1 - grid), rtol=1e-10)
    np.testing.assert_array_equal(growth < 1, grid < 2)
    for s in grid:
        np.testing.assert_allclose(optax_growth(optax.sgd(s / sharpness), sharpness), abs(1 - s), rtol=1e-10)


def optax_growth(method, sharpness, steps=4000):
    """The mean factor per step of an optax method on ½λx²."""

    def body(carry, _):
        x, state, grown = carry
        updates, state = method.update(sharpness * x, state, x)
        x = optax.apply_updates(x, updates)
        # The method is linear: rescaling its whole state keeps it in range.
        size = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves((x, state)) if leaf.dtype == x.dtype))
        rescaled = jax.tree.map(lambda leaf: leaf / size if leaf.dtype == x.dtype else leaf, (x, state))
        return (*rescaled, grown + jnp.log(size)), grown + jnp.log(size)

    x = jnp.asarray(1.0)
    with jax.numpy_dtype_promotion("standard"):  # optax adds its own integers
        _, grown = jax.jit(lambda: jax.lax.scan(body, (x, method.init(x), jnp.asarray(0.0)), length=steps))()
    return float(jnp.exp((grown[-1] - grown[steps // 2]) / (steps - 1 - steps // 2)))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_momentum_thresholds(beta, nesterov):
    """Heavy ball 2(1 + β)/η and Nesterov (2 + 2β)/((1 + 2β)η) (Cohen et al., arXiv 2103.00065): there the growth
    per step of optax's methods crosses 1."""
    eta = 0.07
    threshold = (2 + 2 * beta) / (1 + 2 * beta) / eta if nesterov else 2 * (1 + beta) / eta
    method = optax.sgd(eta, momentum=beta, nesterov=nesterov)
    below, above = (optax_growth(method, factor * threshold) for factor in (0.99, 1.01))
    assert below < 1 - 1e-4
    assert above > 1 + 1e-4


# --- ¼(x² − μ)² ----------------------------------------------------------------------------------------------------


def test_quartic_minimum_two_cycle_and_period_doubling():
    """On ¼(x² − μ)² the minimum is unstable for η > 1/μ and a two-cycle takes over (Chen & Bruna, arXiv 2206.04172):
    x = [√(μ + 3/η) ± √(μ − 1/η)]/2, with multiplier 9 − 2(1 + ημ)². It doubles its period at ημ = √5 − 1."""
    mu, flip = 2.0, np.sqrt(5) - 1
    eta = np.array([0.99, 1.02, 1.1, 1.2, flip - 0.01, flip + 0.01]) / mu
    well = eos.objective(lambda w: 0.25 * (w[0] ** 2 - mu) ** 2, jnp.asarray([1.3]))
    runs = eos.simulate(well, tuners.Constant(jnp.asarray(eta)), 3000, modes=1, measure_every=0, progress=False)
    assert (runs.steps == 3000).all()
    losses = runs.loss.values[:, -5:]
    np.testing.assert_allclose(losses[0], 0, atol=1e-20)
    root = np.sqrt(mu - 1 / eta[1:5])
    points = np.stack([np.sqrt(mu + 3 / eta[1:5]) + sign * root for sign in (-1, 1)], axis=1) / 2
    np.testing.assert_allclose(np.sort(losses[1:5, :2]), np.sort(0.25 * (points**2 - mu) ** 2), rtol=1e-8)
    np.testing.assert_allclose(losses[1:5, 2:4], losses[1:5, :2], rtol=1e-8)
    assert abs(losses[5, 2] / losses[5, 0] - 1) > 1e-2
    np.testing.assert_allclose(losses[5, 4], losses[5, 0], rtol=1e-8)


# --- the valley under a constant step ------------------------------------------------------------------------------


def test_valley_settles_at_the_edge():
    """x² = 2α/β, λ = 2/η (Damian, Nichani & Lee, arXiv 2209.15594), measured by the tracker along the run. For one
    bulk mode this needs ηλ_∞ < 5/2: beyond, the run leaves."""
    eta = 0.1
    for limit in (21.0, 22.0, 24.0):
        floor = Valley(limit, 4.0, [1.0], [0.5], jnp.asarray([0.3, (19.5 - limit) / 2]))
        lam, amplitude_sq, alpha, beta, _ = edge(eos.simulate(floor, tuners.Constant(eta), 4000, **MODES))
        np.testing.assert_allclose(lam, 2 / eta, rtol=1e-6)
        np.testing.assert_allclose(amplitude_sq, 2 * alpha / beta, rtol=1e-6)
        np.testing.assert_allclose(alpha, 0.5 * (limit - 2 / eta), rtol=1e-6)
    floor = Valley(26.0, 4.0, [1.0], [0.5], jnp.asarray([1.2, -3.0]))  # next to the equilibrium, x² = 1.5
    away = abs(eos.simulate(floor, tuners.Constant(eta), 400, **MODES).sharpness - 2 / eta)
    assert float(away[-50:].max()) > 4 * float(away[1:51].max())  # a swing's worth of rows; row 0 has no centre yet


# --- the valley with gradient noise --------------------------------------------------------------------------------


def noisy_normal_form(a, q, burn_in=5000, steps=3000, paths=1000, seed=0):
    """x' = (1 − ηλ)x − ηξ, λ' = λ + η(α − ½βx²), ξ of variance σ_u², α constant; many paths, after `burn_in`.

    The two numbers that matter are a = η²α, how fast ηλ moves, and q = η²βσ_u²/(2α), the noise. Returns d = 2 − ηλ at
    the end of every path, its mean over time, and ½q + ½a Var(X) + ½⟨X d²⟩ of every path, X = βx²/(2α).
    """
    eta, beta = 0.1, 4.0
    alpha = a / eta**2
    noise = np.sqrt(2 * alpha * q / (eta**2 * beta))
    rng = np.random.default_rng(seed)
    lam, x = np.full(paths, (2 - q / 2) / eta), np.sqrt(2 * alpha / beta) * rng.normal(size=paths)
    sums = np.zeros((3, paths))
    for step in range(burn_in + steps):
        if step >= burn_in:
            ratio, below = beta * x**2 / (2 * alpha), 2 - eta * lam
            sums += (below, (ratio - 1) ** 2, ratio * below**2)
        lam, x = lam + eta * (alpha - 0.5 * beta * x**2), (1 - eta * lam) * x - eta * noise * rng.normal(size=paths)
    below, variance, product = sums / steps
    return 2 - eta * lam, below, 0.5 * (q + a * variance + product)


def mean_and_error(paths):
    return paths.mean(), paths.std(ddof=1) / np.sqrt(paths.size)


def test_noise_holds_the_sharpness_below_the_edge():
    """2/η − λ = ηβσ_u²/(4α) (arXiv 2604.21016) is the leading order in q = η²βσ_u²/(2α); in units of 1/η it is q/2.

    It is a limit, q → 0 with a = η²α ≪ q. Along a = q²/50 the measured gap over q/2 falls to 1 as 1 + q/4 + 3a/q: the
    first correction is that of 1 − √(1 − q), exact for slow λ, the second that of a λ that moves about its mean.
    """
    excess = []
    for q in (0.2, 0.1, 0.05):
        a = q**2 / 50
        gap, error = mean_and_error(noisy_normal_form(a, q)[1])
        excess.append(gap / (q / 2) - 1)
        assert abs(excess[-1] - (q / 4 + 3 * a / q)) < 4 * error / (q / 2) + q**2
    assert excess[0] > 1.5 * excess[1] > 2.25 * excess[2] > 0


@pytest.mark.parametrize(
    ("a", "q", "least"), [(1e-3, 0.1, 1.05), (1e-2, 0.1, 1.4), (1e-3, 0.02, 1.15), (1e-3, 0.005, 1.6)]
)
def test_noise_gap_needs_noise_above_the_drift(a, q, least):
    """The formula of arXiv 2604.21016 fails where βσ_u² is not ≫ 2α² (q ≫ a): the gap is then wider, and does not
    vanish with the noise. What holds for every a and q is ⟨d⟩ = ½q + ½a Var(X) + ½⟨X d²⟩, d = 2 − ηλ, X = βx²/(2α):
    stationarity of x² and of λ², shown within four standard errors."""
    _, below, identity = noisy_normal_form(a, q)
    difference, error = mean_and_error(below - identity)
    assert abs(difference) < 4 * error
    assert error < 0.05 * q / 2
    assert below.mean() > least * q / 2


def test_noise_gap_ends_where_the_noise_alone_is_too_much():
    """At q = η²βσ_u²/(2α) = 1 the equilibrium 2 − ηλ = 1 − √(1 − q) disappears: below it λ stays (ηλ > 1), above it
    every path's λ has fallen past the least noisy point ηλ = 1, although q/2 would still put it at ηλ = 1.25."""
    end, below, _ = noisy_normal_form(2e-3, 0.7, burn_in=1000, steps=1000)
    assert (end < 1).all()
    eta, alpha, beta = 0.1, 0.2, 4.0  # of the same simulation
    known = noise_gap()
    most = float(compile(known.largest_noise, known.symbols)(eta, alpha, beta, 0.0))
    assert most == pytest.approx(2 * alpha / (eta**2 * beta))
    predicted = eta * float(compile(known.adiabatic, known.symbols)(eta, alpha, beta, 0.7 * most))
    assert predicted == pytest.approx(1 - np.sqrt(0.3))
    assert below.mean() == pytest.approx(predicted, rel=0.05)
    end, _, _ = noisy_normal_form(2e-3, 1.5, burn_in=0, steps=500)
    assert (end > 1).mean() > 0.99


# --- the response of a tuner (theory of the fast map)---------------------------------------------------------------


@eqx.filter_jit
def _orbit(fast, z, burn_in):
    z = jax.lax.fori_loop(0, burn_in, lambda _, z: fast(z), z)
    return jnp.exp(jax.lax.scan(lambda z, _: (fast(z), z[0]), z, length=4)[1])


def orbit(tuner, start=50.0, burn_in=5000, **frozen):
    """r at four successive steps, after a while."""
    tuner, frozen = jax.tree.map(jnp.asarray, (tuner, frozen))
    fast = FastMap(tuner, **frozen)
    return np.asarray(_orbit(fast, fast.init(start), jnp.asarray(burn_in)))


@eqx.filter_jit
def _excess_and_slope(fast, log_r):
    z = fast.init(jnp.exp(log_r))
    return fast.observe(z).s - 2, jax.jacobian(fast)(z)[0, 0]


def numerical_flip(build, low, high, **frozen):
    """The parameter at which the slope of the fast map at its own fixed point, where the response is 2, is −1; both by
    bracketing, nothing symbolic."""

    def at(parameter, log_r):
        fast = jax.tree.map(jnp.asarray, FastMap(build(parameter), **frozen))
        return [float(value) for value in _excess_and_slope(fast, jnp.asarray(log_r))]

    def slope(parameter):
        point = brentq(lambda log_r: at(parameter, log_r)[0], -15, 15, xtol=1e-13)
        return at(parameter, point)[1]

    return brentq(lambda parameter: slope(parameter) + 1, low, high, xtol=1e-9)


def test_polyak_at_a_equal_ten():
    """r* = (A − 2c)/(2c − ½), m = 1 − 2(A − 2c)(2c − ½)/(c(A − ½)); with A = 10: c = 0.3 rests at r = 94.00, c = 0.6 is
    a two-cycle, c = 1 is chaotic with ⟨s⟩ ≈ 4.4.

    Conditions. c = ½ is the flip for A → ∞ only; at A = 10 it attracts with m = −17/19, and the flip is at c = 0.534.
    Chaos "beyond" ends: the second flip is at c = 2.341, after which r* attracts again until it reaches 0 at c = A/2.
    """
    np.testing.assert_allclose(orbit(tuners.Polyak(0.3), A=10.0), 94.0, rtol=1e-10)
    np.testing.assert_allclose(orbit(tuners.Polyak(0.5), A=10.0), 18.0, rtol=1e-10)
    cycle = orbit(tuners.Polyak(0.6), A=10.0)
    np.testing.assert_allclose(cycle[2:], cycle[:2], rtol=1e-9)
    assert cycle.max() > 10 * cycle.min()
    np.testing.assert_allclose(orbit(tuners.Polyak(2.4), A=10.0), 5.2 / 4.3, rtol=1e-10)

    stable, _ = averages(FastMap(tuners.Polyak(jnp.asarray(0.5)), A=10.0))
    assert float(stable.lyapunov) == pytest.approx(np.log(17 / 19), rel=1e-3)
    chaos, _ = averages(FastMap(tuners.Polyak(jnp.asarray(1.0)), A=10.0), steps=40_000)
    assert float(chaos.lyapunov) > 0.5
    assert float(chaos.s) == pytest.approx(4.4, abs=0.1)
    assert abs(float(chaos.edge_exponent)) < 1e-3


def test_polyak_flips_at_one_half_for_large_a():
    """The flip → ½, as ½ + 1/(4A); in closed form it solves 4c² − (A + 3/2)c + A/2 = 0, without root for A < 9/2."""
    for a in (10.0, 100.0, 1000.0):
        flip = numerical_flip(tuners.Polyak, 0.45, 0.6, A=a)
        exact = (a + 1.5 - np.sqrt((a - 0.5) * (a - 4.5))) / 8
        np.testing.assert_allclose(flip, exact, rtol=1e-6)
        assert abs(flip - 0.5 - 1 / (4 * a)) < 1 / a**2
    for c in np.linspace(0.26, 1.9, 12):
        np.testing.assert_allclose(orbit(tuners.Polyak(c), A=4.0), (4 - 2 * c) / (2 * c - 0.5), rtol=1e-6)


def test_greedy_sits_on_the_flip_only_without_bulk_curvature():
    """r* = (σ − 2κ)/(2 − σ) and the flip at σ = 1, for κ → 0: it is at σ = 1 − κ + O(κ²).

    So for 0 < κ < ½ the greedy rule itself is beyond the flip on the *stable* side, m = −(1 − 3κ)/(1 − κ), and for
    κ > 1/9 no σ flips. At κ = 0 its map is r' = 1/r: marginal everywhere, every orbit is a two-cycle.
    """
    for k in (0.04, 0.02, 0.01):
        flip = numerical_flip(lambda g: tuners.CDAT(g, eps=0.0), 0.9, 1.0, kappa=k)
        np.testing.assert_allclose(flip, 0.5 * (1 + 3 * k + np.sqrt((1 - k) * (1 - 9 * k))), rtol=1e-6)
        assert abs(flip - (1 - k)) < 6 * k**2
    for sigma in (1.0, 1.5, 1.9):
        np.testing.assert_allclose(
            orbit(tuners.CDAT(sigma, eps=0.0), kappa=0.1), (sigma - 0.2) / (2 - sigma), rtol=1e-9
        )
    np.testing.assert_allclose(orbit(tuners.CDAT(1.0, eps=0.0), start=3.0, burn_in=100), [3, 1 / 3] * 2, rtol=1e-9)
    beyond = orbit(tuners.CDAT(0.8, eps=0.0), kappa=0.01)
    assert abs(np.log(beyond[0] / beyond[1])) > 0.1


# --- CDAT on the valley ----------------------------------------------------------------------------------------------


def cdat_on_valley(sigma, mu, steps):
    floor = Valley(22.0, 4.0, [1.0], [mu], jnp.asarray([0.01, -3.0]))
    return eos.simulate(floor, tuners.CDAT(sigma, eps=0.0), steps, **MODES)


@pytest.mark.parametrize(("sigma", "prediction"), [(1.5, 3.0), (1.9, 19.0)])
def test_cdat_clamps_the_oscillation_on_the_valley(sigma, prediction):
    """r → (σ − 2κ)/(2 − σ) = 3 and 19 as the bulk gets slow, μ → 0, which is what the fast map freezes. The deviation
    is proportional to μ; λ rises on, far from any pinning (q = βx²/(2α) ≪ 1)."""
    deviations = []
    for mu in (0.02, 0.01, 0.005):
        lam, amplitude_sq, alpha, beta, bulk = edge(cdat_on_valley(sigma, mu, 300))
        deviations.append(lam**2 * amplitude_sq / bulk / prediction - 1)
        assert beta * amplitude_sq / (2 * alpha) < 0.01
    assert 0.3 < deviations[2] / deviations[1] < 0.7
    assert 0.3 < deviations[1] / deviations[0] < 0.7
    assert abs(deviations[2]) < 0.015


def test_cdat_at_the_edge_hands_over_to_self_stabilisation():
    """σ = 2: no r* (it moves off to infinity), and the oscillation grows until βx²/(2α) = 1.

    That is an exact orbit of descent at *every* λ below λ_∞, because σ = 2 follows λ: x' = −x, z' = z. So λ comes to
    rest, but not at a value that the tuner prescribes.
    """
    rests = []
    for start in (-3.0, -1.5):
        floor = Valley(22.0, 4.0, [1.0], [0.05], jnp.asarray([0.01, start]))
        run = eos.simulate(floor, tuners.CDAT(2.0, eps=0.0), 3000, **MODES)
        lam, amplitude_sq, alpha, beta, _ = edge(run)
        np.testing.assert_allclose(beta * amplitude_sq / (2 * alpha), 1, rtol=1e-4)
        np.testing.assert_allclose(last(run, "stepsize") * lam, 2, rtol=1e-4)
        assert abs(float(run.sharpness[-1] - run.sharpness[-500])) < 1e-3
        rests.append(lam)
    assert abs(rests[0] - rests[1]) > 0.1
