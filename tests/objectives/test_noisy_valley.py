"""The noisy valley: its draws have the mean and the variances that it says, at every level at which a rule looks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.curvature import Modes
from eosmodel.objectives import NoisyValley, Valley, valley

pytestmark = pytest.mark.usefixtures("lightly_compiled")

STRENGTHS = {"sigma_u": 2.0, "sigma_bulk": [0.5, 1.5, 0.0], "sigma_curvature": 3.0, "sigma_loss": 0.7}
DRAWS = 4000


def small(dtype=jnp.float64):
    return valley(3, gamma=1.0, dtype=dtype)


def drawn(noisy, weights, draws=DRAWS):
    """Loss, gradient and Hessian of many draws."""

    def one(t):
        batch = noisy.draw(jnp.asarray(7), t)
        return batch(weights), jax.grad(batch)(weights), jax.hessian(batch)(weights)

    return [np.asarray(values) for values in jax.jit(jax.vmap(one))(jnp.arange(draws))]


def assert_mean_and_variance(values, mean, variance, errors=4.5):
    """Of independent normal numbers, within so many standard errors; where there is no noise, exactly."""
    n = len(values)
    quiet = np.broadcast_to(np.asarray(variance) == 0, values.shape[1:])
    np.testing.assert_allclose(values[:, quiet], np.broadcast_to(np.asarray(mean)[quiet], values[:, quiet].shape))
    off = np.abs(values.mean(0) - mean)[~quiet] / np.sqrt(variance / n)[~quiet]
    assert np.all(off < errors)
    off = np.abs(values.var(0, ddof=1) / np.where(quiet, 1, variance) - 1)[~quiet] / np.sqrt(2 / (n - 1))
    assert np.all(off < errors)


@pytest.mark.parametrize("size", [1.0, 40.0])
def test_draws_have_the_stated_mean_and_variances(size):
    floor = small()
    w = jnp.asarray([0.6, -1.0, 0.4, 2.0])
    noisy = NoisyValley(floor, size, **STRENGTHS)
    losses, gradients, hessians = drawn(noisy, w)
    pairs = Modes(jnp.ones(1), jnp.eye(4)[:1])
    known = noisy.noise(w, pairs, None)
    assert_mean_and_variance(losses, floor(w), known.noise_loss / size)
    variances = np.array([2.0**2 + (3.0 * 0.6) ** 2, 0.5**2, 1.5**2, 0]) / size
    assert_mean_and_variance(gradients, jax.grad(floor)(w), variances)
    assert_mean_and_variance(hessians[:, 0, 0], jax.hessian(floor)(w)[0, 0], known.noise_curvature / size)
    rest = hessians - hessians[:, :1, :1] * np.eye(4)[:, :1] * np.eye(4)[:1]
    assert np.ptp(rest, axis=0).max() < 1e-12
    np.testing.assert_allclose(known.noise_along, variances[:1] * size)
    np.testing.assert_allclose(known.noise_bulk, variances[1:].sum() * size)


def test_noise_along_turned_modes_and_in_scaled_coordinates():
    """Against the covariance of the draws themselves, along two modes that are no axes."""
    noisy = NoisyValley(small(), 1.0, **STRENGTHS)
    w, scale = jnp.asarray([0.6, -1.0, 0.4, 2.0]), jnp.asarray([0.5, 2.0, 1.0, 3.0])
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0][:2]
    known = noisy.noise(w, Modes(jnp.ones(2), jnp.asarray(vectors)), scale)
    _, gradients, hessians = drawn(noisy, w)
    grown = gradients * np.asarray(scale)
    along = grown @ vectors.T
    assert_mean_and_variance(along, np.asarray(scale * jax.grad(noisy.objective)(w)) @ vectors.T, known.noise_along)
    bends = np.einsum("i,nij,j->n", vectors[0] * scale, hessians, vectors[0] * scale)
    np.testing.assert_allclose(bends.var(ddof=1), known.noise_curvature, rtol=4.5 * np.sqrt(2 / DRAWS))
    off = grown.var(0, ddof=1).sum() - along.var(0, ddof=1).sum()
    np.testing.assert_allclose(off, known.noise_bulk, rtol=4.5 * np.sqrt(4 / DRAWS))


def test_a_draw_depends_on_seed_and_step_alone():
    noisy, w = NoisyValley(small(), 4.0, sigma_u=1.0, sigma_bulk=0.5), small().initial()
    one = noisy.draw(3, 5)(w)
    assert one == jax.jit(lambda seed, t: noisy.draw(seed, t)(w))(3, 5)
    assert len({float(noisy.draw(seed, t)(w)) for seed in range(3) for t in range(3)}) == 9
    assert noisy.surrogate() is noisy


def test_without_noise_it_is_the_valley():
    floor = small()
    run = eos.simulate(NoisyValley(floor, 1.0), eos.tuners.Constant(0.08), 60, modes=1, progress=False)
    plain = eos.simulate(floor, eos.tuners.Constant(0.08), 60, modes=1, progress=False)
    np.testing.assert_allclose(run.loss, plain.loss, rtol=1e-12)
    np.testing.assert_array_equal(run.batch_loss, run.loss)
    assert float(abs(run[["noise_loss", "noise_bulk"]].to_array()).max()) == 0


def test_a_run_records_the_strengths():
    noisy = NoisyValley(small(), 16.0, sigma_u=0.5, sigma_bulk=0.25, sigma_curvature=2.0, sigma_loss=0.1)
    run = eos.simulate(noisy, eos.tuners.Constant(0.05), 20, modes=1, progress=False).isel(step=-10)
    np.testing.assert_allclose(run.noise_curvature, 4.0, rtol=1e-6)
    np.testing.assert_allclose(run.noise_along[0], 0.25, rtol=1e-6)  # at the centre, where ζ tilts nothing
    np.testing.assert_allclose(run.noise_bulk, 3 / 16, rtol=1e-6)


def test_numbers_are_arrays():
    """Another value does not compile again, and noisy valleys can be batched over any number."""
    traced = []

    @eqx.filter_jit
    def value(noisy, w):
        traced.append(None)
        return noisy.draw(0, 1)(w)

    floor, w = small(), small().initial()
    values = [float(value(NoisyValley(floor, size, sigma_u=u), w)) for size, u in ((1, 1.0), (4, 2.0), (9.0, 3))]
    assert len(traced) == 1
    np.testing.assert_allclose(values, values[0])  # σ_u/√B is the same
    batched = jax.vmap(lambda size: NoisyValley(floor, size, sigma_u=1.0).draw(0, 1)(w) - floor(w))
    np.testing.assert_allclose(batched(jnp.asarray([1.0, 4.0])), (values[0] - floor(w)) / np.array([1.0, 2.0]))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_both_precisions(dtype):
    noisy = NoisyValley(small(dtype), 4, **STRENGTHS)
    batch = noisy.draw(0, 0)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves((noisy, batch)))
    assert jax.grad(batch)(noisy.objective.initial()).dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must lie in"),
        ({"size": [1.0, 2.0]}, "size must have shape"),
        ({"sigma_u": -1}, "sigma_u must lie in"),
        ({"sigma_bulk": [1.0, 1.0]}, "sigma_bulk must have shape"),
        ({"sigma_bulk": -0.1}, "sigma_bulk must lie in"),
        ({"sigma_curvature": jnp.inf}, "sigma_curvature must lie in"),
        ({"sigma_loss": [0.1, 0.2]}, "sigma_loss must have shape"),
        ({"objective": lambda w: w}, "objective must be a Valley"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"NoisyValley: {message}"):
        NoisyValley(**({"objective": Valley(20.0, 1.0, [1.0], [0.5], [0.1, -1.0]), "size": 1} | arguments))
