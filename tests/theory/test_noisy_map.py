"""The fast map with noise, against closed forms and against descent on the noisy valley.

Statistical tolerances are in standard errors: 4 for one comparison, of which one in 16,000 fails by chance.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel import tuners
from eosmodel._checks import as_arrays
from eosmodel.objectives import NoisyValley, Valley
from eosmodel.rays import steepest
from eosmodel.theory import FastMap, NoisyFastMap, stationary
from eosmodel.theory.noisy_map import Draw
from eosmodel.tuners.base import init_memory, select_stepsize

pytestmark = pytest.mark.usefixtures("lightly_compiled")

ERRORS = 4.0


def make(name):
    specs = {"schedule": "schedule:cosine_decay_schedule,init_value=1.9,decay_steps=50", "constant": "constant:1.9"}
    return tuners.from_spec(specs.get(name, name))


def close(found, wanted, error):
    """Within so many standard errors, and not because there is no precision."""
    assert error < 0.2 * abs(wanted)
    assert abs(found - wanted) < ERRORS * error


def by_path(values):
    """Mean over independent paths, one value each, and its standard error."""
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


@eqx.filter_jit
def walk(batches, tuner, steps, seeds):
    """Weights and η of steepest descent on batches, nothing tracked; shapes (seeds, steps, …)."""
    start = batches.objective.initial()

    def one(seed):
        def body(carry, t):
            w, memory = carry
            batch = batches.draw(seed, t)
            value, gradient = jax.value_and_grad(batch)(w)
            line = steepest(batch, w, value, gradient, t, jnp.full_like(value, jnp.nan))
            eta, memory, _ = select_stepsize(tuner, line, memory, gradient)
            return (w - eta * gradient, memory), (w, eta)

        return jax.lax.scan(body, (start, init_memory(tuner, start)), jnp.arange(steps))[1]

    return jax.vmap(one)(seeds)


@eqx.filter_jit
def _both(fast, noisy, key):
    def body(carry, _):
        z, state = carry
        return (fast(z), noisy(state, key)), (jnp.exp(z[0]), state.y**2)

    return jax.lax.scan(body, (fast.init(3.0), noisy.init(3.0)), length=6)[1]


@pytest.mark.parametrize("name", sorted(tuners.REGISTRY))
def test_without_noise_it_is_the_fast_map(name):
    """For every tuner; and with noise every tuner runs on it."""
    fast = FastMap(make(name), kappa=0.1, sharpness=1.3, bulk_gradient_sq=0.7)
    plain, still = _both(*as_arrays((fast, NoisyFastMap(fast)), jnp.float64), jax.random.key(0))
    np.testing.assert_allclose(still, plain, rtol=1e-9)
    noisy = NoisyFastMap(fast, 4.0, 0.5, 0.05, 1.0, 0.5, 0.1, 0.3)
    _, shaken = _both(*as_arrays((fast, noisy), jnp.float64), jax.random.key(0))
    assert np.isfinite(shaken).all()
    assert (shaken[1:] != plain[1:]).all()


class Blind(tuners.AbstractTuner):
    """A constant step that asks for the secant."""

    eta: float = 0.1
    needs_secant = True

    def __call__(self, ray, state):
        return tuners.Constant(self.eta)(ray, state)


def test_the_line_is_that_of_the_valley_s_batch():
    """With one bulk mode and no coupling, whatever is drawn: value, slope, curvature, λ_B and the secant of one batch
    over the step that another one made; the map's x after a step is the valley's."""
    lam, mu, size, eta = 7.0, 0.6, 9.0, 0.11
    sigma = {"sigma_u": 0.8, "sigma_bulk": 0.5, "sigma_curvature": 1.2}
    floor = Valley(lam, 0.0, [1.0], [mu], [0.3, -1.5], offset=2.0)
    noisy, w = NoisyValley(floor, size, **sigma), floor.initial()
    bulk, bottom = float(floor.bulk_gradient_sq(w)), float(floor(w.at[0].set(0)))
    fast = FastMap(Blind(eta), lam * bottom / bulk, float(floor.kappa(w)), lam, bulk)
    reduced = NoisyFastMap(fast, size, 0.8**2, 1.2**2, 0.5**2, noise_loss=1.0, share=1.0)

    def normal(batch):
        """The numbers that the batch drew; the loss on the floor is off by what tilts the bulk."""
        root = np.sqrt(size)
        tilt, bend = batch.tilt * root / jnp.asarray([0.8, 0.5]), batch.bend * root / 1.2
        forward = jnp.sign(w[1]) * tilt[1]  # along the bulk gradient, μz
        return Draw(tilt[0], bend, forward, batch.tilt[1] * w[1] * root)

    first, second = noisy.draw(0, 0), noisy.draw(0, 1)

    @eqx.filter_jit
    def both(w, first, second):
        start = reduced.init(lam**2 * w[0] ** 2 / bulk)
        line, ray = reduced.line(start, normal(first)), eos.ray(first, w)
        found = [(line.value, line.slope, line.curvature(), line.sharpness)]
        wanted = [(ray.value, ray.slope, ray.curvature(), jax.hessian(first)(w)[0, 0])]
        state, _ = reduced.step(start, normal(first))
        new = w - eta * jax.grad(first)(w)
        s, y = new - w, jax.grad(second)(new) - jax.grad(second)(w)
        found += [line.secant, state.y, reduced.line(state, normal(second)).secant]
        return found, [(0.0, 0.0, 0.0), lam * new[0] / jnp.sqrt(bulk), (s @ s, s @ y, y @ y)], wanted

    found, later, now = both(w, first, second)
    for got, wanted in zip(found, now + later, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-11)


@pytest.mark.parametrize(("s", "a", "m"), [(0.5, 0.3, 0.0), (1.9, 0.3, 0.0), (1.9, 0.3, 0.01), (1.0, 0.1, 0.2)])
def test_oscillation_under_a_constant_step(s, a, m):
    """⟨x²⟩ = ησ_u²/(Bλ(2 − (1 + m)s))."""
    lam, bulk, size = 20.0, 3.0, 8.0
    noise = {"noise_along": a * size * bulk, "noise_curvature": m * size * lam**2}
    found = stationary(NoisyFastMap(FastMap(tuners.Constant(s / lam), 10.0, 0.1, lam, bulk), size, **noise))
    wanted = s / lam * noise["noise_along"] / (size * lam * (2 - (1 + m) * s))
    close(float(found.mean.amplitude_sq), wanted, float(found.error.amplitude_sq))
    np.testing.assert_allclose(found.mean.r, lam**2 * found.mean.amplitude_sq / bulk, rtol=1e-10)
    np.testing.assert_allclose(found.mean.kick, s / lam * found.mean.amplitude_sq, rtol=1e-10)
    # h has mean 1 and variance ρN, and a constant step does not answer it.
    assert float(found.mean.forward) == pytest.approx(s / lam, rel=1e-12)
    if m == 0:
        assert float(found.mean.edge_exponent) == pytest.approx(np.log(abs(1 - s)) if s != 1 else np.log(2.2e-308))


def test_standard_errors_are_those_of_repeated_orbits():
    """The scatter of 200 orbits about the formula, in the errors that each states: a variance of 1."""
    s, a = 1.8, 0.3
    noisy = as_arrays(NoisyFastMap(FastMap(tuners.Constant(s)), noise_along=a), jnp.float64)
    found = jax.vmap(lambda seed: stationary(noisy, seed, burn_in=200, steps=6400))(jnp.arange(200))
    off = (found.mean.amplitude_sq - s * a / (2 - s)) / found.error.amplitude_sq
    # Student's t with 31 degrees of freedom has a variance of 31/29.
    assert abs(np.var(off, ddof=1) / (31 / 29) - 1) < ERRORS * np.sqrt(2.5 / 200)
    assert abs(np.mean(off)) < ERRORS / np.sqrt(200)


@pytest.mark.parametrize("n", [0.0, 1.0, 15.0])
def test_spread_bulk_noise_lifts_the_clamp_of_cdat_and_lowers_that_of_polyak(n):
    """r* = (1 + N)(σ − 2κ)/(2 − σ), and (A − 2c(1 + N))/(2c − ½) until 1 + N = A/(2c): N is 1/B times a number."""
    kappa, a, c = 0.1, 20.0, 0.45
    size = 4.0

    def rest(tuner):
        fast = FastMap(tuner, a, kappa)
        return stationary(NoisyFastMap(fast, size, noise_bulk=n * size, kappa_noise=kappa)).mean

    greedy = rest(tuners.CDAT(1.5, eps=0.0))
    assert float(greedy.r) == pytest.approx((1 + n) * (1.5 - 2 * kappa) / (2 - 1.5), rel=1e-9)
    assert float(greedy.s) == pytest.approx(2, rel=1e-9)
    polyak = rest(tuners.Polyak(c))
    assert float(polyak.r) == pytest.approx((a - 2 * c * (1 + n)) / (2 * c - 0.5), rel=1e-9)


def test_small_batches_keep_polyak_below_the_edge():
    fast = FastMap(tuners.Polyak(0.5), 20.0)
    for n, below in ((18.0, False), (20.0, True)):  # 1 + N against A/(2c) = 20
        s = float(stationary(NoisyFastMap(fast, noise_bulk=n)).mean.s)
        assert s == pytest.approx(20 / 0.5 / (1 + n) / 1 if below else 2.0, rel=1e-6)


@pytest.mark.parametrize("spec", ["greedy:cap=0.4", "cdat:1.7,cap=0.4", "armijo"])
def test_the_map_is_the_valley_where_nothing_slow_moves(spec):
    """Averages of η, x² and of the step that the bulk makes along its gradient, against descent on a valley whose bulk
    is nearly straight. The last is not ⟨η⟩: greedy steps answer the noise along the gradient."""
    tuner = as_arrays(tuners.from_spec(spec), jnp.float64)
    lam, mu, size = 10.0, 1e-6, 4.0
    floor = Valley(lam, 0.0, [1.0], [mu], [0.3, -1 / mu])
    noisy = NoisyValley(floor, size, sigma_u=1.0, sigma_bulk=1.2, sigma_curvature=2.0)
    w, eta = (np.asarray(values)[:, 500:] for values in walk(noisy, tuner, 2500, jnp.arange(32)))
    run = {"stepsize": eta.mean(1), "amplitude_sq": (w[..., 0] ** 2).mean(1)}
    run["forward"] = (w[:, -1, 1] - w[:, 0, 1]) / (w.shape[1] - 1)  # μz = −1
    fast = FastMap(tuner, 10.0, mu / lam, lam, 1.0)
    theory = stationary(NoisyFastMap(fast, size, 1.0, 2.0**2, 1.2**2, share=1.0), steps=96_000)
    for name, values in run.items():
        mean, error = by_path(values)
        close(mean, float(getattr(theory.mean, name)), np.hypot(error, float(getattr(theory.error, name))))
    if spec != "armijo":
        gain = float(theory.mean.forward / theory.mean.stepsize) - 1
        assert abs(gain) > ERRORS * float(theory.error.forward / theory.mean.stepsize)


@pytest.mark.parametrize("spec", ["armijo", "cdat:1.9"])
def test_small_batches_attenuate_sharpening(spec):
    """A valley that sharpens at a steady rate, its noise spread over 30 more bulk directions: what λ gains in units of
    what it would gain at the same Ση without oscillation. The map has x² grow as 1 + N, and so what is lost."""
    tuner = as_arrays(tuners.from_spec(spec), jnp.float64)
    mu = np.r_[0.004, 0.001, np.geomspace(0.05, 1.0, 30)]
    start = np.r_[0.1, -40.0, 1000.0, np.zeros(30)]
    floor = Valley(55.0, 1.0, np.eye(32)[0], mu, start)

    def kept(size):
        spread = NoisyValley(floor, size, sigma_u=1.0, sigma_bulk=np.r_[0.0, 0.0, np.ones(30)])
        w, eta = (np.asarray(values) for values in walk(spread, tuner, 1500, jnp.arange(16)))
        free = 40 * (1 - np.prod(1 - mu[0] * eta[:, :-1], axis=1))
        return by_path((w[:, -1, 1] - start[1]) / free)

    (large, error), (middle, second), (small, third) = (kept(size) for size in (1e9, 64.0, 16.0))
    assert large - middle > ERRORS * np.hypot(error, second)
    assert middle - small > ERRORS * np.hypot(second, third)


def test_bad_arguments_are_named():
    fast = FastMap(tuners.Greedy())
    with pytest.raises(ValueError, match="NoisyFastMap: fast must be a FastMap"):
        NoisyFastMap(tuners.Greedy())
    for name, value in (("size", 0), ("noise_along", -1), ("kappa_noise", 1.0), ("share", 1.1), ("noise_loss", np.inf)):
        with pytest.raises(ValueError, match=f"NoisyFastMap: {name} must lie in"):
            NoisyFastMap(fast, **{name: value})
    with pytest.raises(ValueError, match="stationary: steps must be a multiple of stretches=32"):
        stationary(NoisyFastMap(fast), steps=1000)
    with pytest.raises(ValueError, match="stationary: noisy must be a NoisyFastMap"):
        stationary(fast)


def test_float32_and_no_second_compilation():
    with jax.enable_x64(False):
        traced = []

        @eqx.filter_jit
        def run(noisy):
            traced.append(None)
            return stationary(noisy, steps=320)

        fast = FastMap(tuners.Armijo())
        for size in (1.0, 4.0):
            found = run(as_arrays(NoisyFastMap(fast, size, noise_along=1.0), jnp.float32))
        assert len(traced) == 1
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found))
