"""Normalised, clipped, RMSProp and AdaGrad steps: their formulas, optax in one dimension, their responses by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eosmodel.rays import QuadraticRay, Secant, ray
from eosmodel.theory import FastMap, classify, held, response
from eosmodel.tuners import AdaGradNorm, Clipping, NormalizedGD, ScalarRMSProp

DTYPES = [jnp.float32, jnp.float64]


def sloped(slope, dtype=jnp.float64):
    numbers = (jnp.asarray(x, dtype) for x in (1.0, slope, 1.0))
    return QuadraticRay(*numbers, step=jnp.asarray(0), sharpness=jnp.asarray(jnp.nan, dtype), secant=Secant())


def bowl(w):
    return 0.5 * jnp.sum(jnp.asarray([4.0, 1.0, 0.25], w.dtype) * w**2)


def path(tuner, norms):
    """Steps for gradients of these norms, one after the other."""
    state, steps = tuner.init(), []
    for norm in norms:
        eta, state, _ = tuner(sloped(-(norm**2)), state)
        steps.append(float(eta))
    return np.asarray(steps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_normalized_step_has_the_length_asked_for(dtype):
    line = ray(bowl, jnp.asarray([0.5, -2.0, 3.0], dtype))
    eta, _, _ = NormalizedGD(0.3)(line, ())
    np.testing.assert_allclose(jnp.linalg.norm(eta * line.direction), 0.3, rtol=10 * float(jnp.finfo(dtype).eps))


def test_of_a_preconditioned_direction_the_norm_is_the_one_of_its_metric():
    w, inverse = jnp.asarray([0.5, -2.0, 3.0]), jnp.asarray([0.25, 1.0, 9.0])
    gradient = jax.grad(bowl)(w)
    line = ray(bowl, w, -inverse * gradient)
    # In the coordinates v = P^{1/2} w the direction is steepest.
    inside = ray(lambda v: bowl(jnp.sqrt(inverse) * v), w / jnp.sqrt(inverse))
    for tuner in (NormalizedGD(0.3), Clipping(0.2, 0.5)):
        np.testing.assert_allclose(tuner(line, ())[0], tuner(inside, ())[0], rtol=1e-14)


@pytest.mark.parametrize(("norm", "expected"), [(0.5, 0.2), (2.0, 0.2), (8.0, 0.05), (0.0, 0.2)])
def test_clipping_by_hand_and_against_optax(norm, expected):
    eta = path(Clipping(step=0.2, max_norm=2.0), [norm])[0]
    np.testing.assert_allclose(eta, expected, rtol=1e-15)
    gradient = jnp.asarray([0.6, -0.8]) * norm
    clipped, _ = optax.clip_by_global_norm(2.0).update(gradient, optax.EmptyState())
    np.testing.assert_allclose(eta * gradient, 0.2 * clipped, rtol=1e-6)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_rmsprop_is_optax_in_one_dimension(bias_correction):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=12)
    theirs = optax.scale_by_rms(0.7, 1e-2, eps_in_sqrt=False, bias_correction=bias_correction)
    state, expected = theirs.init(jnp.zeros(1)), []
    with jax.numpy_dtype_promotion("standard"):
        for g in gradients:
            update, state = theirs.update(jnp.asarray([g]), state)
            expected.append(0.3 * float(update[0]) / g)
    tuner = ScalarRMSProp(step=0.3, decay=0.7, eps=1e-2, bias_correction=bias_correction)
    np.testing.assert_allclose(path(tuner, np.abs(gradients)), expected, rtol=1e-5)


def test_adagrad_is_optax_in_one_dimension():
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=12)
    theirs = optax.scale_by_rss(initial_accumulator_value=0.25, eps=0.0)
    state, expected = theirs.init(jnp.zeros(1)), []
    for g in gradients:
        update, state = theirs.update(jnp.asarray([g]), state)
        expected.append(0.3 * float(update[0]) / g)
    np.testing.assert_allclose(path(AdaGradNorm(0.3, b0=0.5), np.abs(gradients)), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tuner", [NormalizedGD(), ScalarRMSProp(eps=0.0), AdaGradNorm(b0=1e-30), Clipping()])
def test_gradients_at_the_edge_of_the_type_give_finite_steps(tuner, dtype):
    limits = jnp.finfo(dtype)
    for slope in (-100 * limits.tiny, -limits.max / 2):
        eta, _, _ = tuner(sloped(slope, dtype), tuner.init(dtype))
        assert eta.dtype == dtype
        assert jnp.isfinite(eta)
        assert eta > 0


@pytest.mark.parametrize("tuner", [ScalarRMSProp(), AdaGradNorm()])
def test_a_memory_is_left_alone_uphill(tuner):
    _, state, _ = tuner(sloped(-2.0), tuner.init())
    eta, after, info = tuner(sloped(3.0), state)
    assert eta == 0
    assert info.failed
    assert jax.tree.map(float, after) == jax.tree.map(float, state)


R = np.geomspace(1e-3, 1e3, 13)
LAMBDA, G = 3.0, 0.5


def test_responses_without_memory():
    frozen = {"sharpness": LAMBDA, "bulk_gradient_sq": G}
    norm = np.sqrt(G * (1 + R))
    np.testing.assert_allclose(response(NormalizedGD(0.7), R, **frozen), LAMBDA * 0.7 / norm, rtol=1e-12)
    clipped = LAMBDA * 0.7 * np.minimum(1, 2.0 / norm)
    np.testing.assert_allclose(response(Clipping(0.7, 2.0), R, **frozen), clipped, rtol=1e-12)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_response_of_rmsprop_with_r_held(bias_correction):
    """ν = G(1 + r), exactly if corrected; else up to decay^64."""
    for r in R[::4]:
        fast = FastMap(ScalarRMSProp(0.7, 0.8, 0.1, bias_correction), sharpness=LAMBDA, bulk_gradient_sq=G)
        at_r = held(fast, r)
        np.testing.assert_allclose(at_r.s, LAMBDA * 0.7 / (np.sqrt(G * (1 + r)) + 0.1), rtol=1e-6)
        np.testing.assert_allclose(at_r.low, at_r.high, rtol=1e-6)


def test_response_of_adagrad_with_r_held():
    """s = λ·step/√(b0² + tG(1 + r)) at t = 65 … 192."""
    r = 2.0
    at_r = held(FastMap(AdaGradNorm(0.7, b0=3.0), sharpness=LAMBDA, bulk_gradient_sq=G), r)
    s = LAMBDA * 0.7 / np.sqrt(9 + np.arange(65, 193) * G * (1 + r))
    np.testing.assert_allclose([at_r.s, at_r.low, at_r.high], [s.mean(), s[-1], s[0]], rtol=1e-12)


@pytest.mark.parametrize(
    ("tuner", "size"), [(NormalizedGD(2.0), 2.0), (Clipping(1.5, 2.0), 3.0)], ids=["normalized", "clipping"]
)
def test_the_equilibrium_of_a_fixed_length_never_flips(tuner, size):
    """r* = (λ·size)²/4G − 1, m = (1 − r*)/(1 + r*); of clipping size = step·max_norm."""
    classification = classify(FastMap(tuner, sharpness=LAMBDA, bulk_gradient_sq=G))
    r_star = (LAMBDA * size) ** 2 / (4 * G) - 1
    np.testing.assert_allclose(classification.r_star[0], r_star, rtol=1e-9)
    np.testing.assert_allclose(classification.multiplier[0], (1 - r_star) / (1 + r_star), atol=1e-8)
    np.testing.assert_allclose(classification.means.r, r_star, rtol=1e-6)


def test_a_normalized_step_balances_where_the_sharpness_settles():
    """x² = step²/4 − G/λ² meets 2α/β at λ² = G/(step²/4 − 2α/β), and crosses it from below: q < 1 under that λ."""
    alpha, beta, step = 0.05, 0.2, 1.6
    level = 2 * alpha / beta
    balance = np.sqrt(G / (step**2 / 4 - level))
    for factor, trend in ((0.7, 1.0), (1.6, -1.0)):
        sharpness = factor * balance
        means = classify(FastMap(NormalizedGD(step), sharpness=sharpness, bulk_gradient_sq=G)).means
        amplitude_sq = means.kick / means.stepsize
        np.testing.assert_allclose(amplitude_sq, step**2 / 4 - G / sharpness**2, rtol=1e-6)
        assert np.sign(level - amplitude_sq) == trend


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NormalizedGD(0.0), r"NormalizedGD: step must lie in \(0, inf\), got 0.0"),
        (lambda: Clipping(np.inf), r"Clipping: step must lie in \(0, inf\), got inf"),
        (lambda: Clipping(max_norm=-1.0), r"Clipping: max_norm must lie in \(0, inf\], got -1.0"),
        (lambda: ScalarRMSProp(decay=1.0), r"ScalarRMSProp: decay must lie in \[0, 1\), got 1.0"),
        (lambda: ScalarRMSProp(eps=-1e-8), r"ScalarRMSProp: eps must lie in \[0, inf\), got -1e-08"),
        (lambda: AdaGradNorm(b0=0.0), r"AdaGradNorm: b0 must lie in \(0, inf\), got 0.0"),
    ],
)
def test_bad_hyper_parameters_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
