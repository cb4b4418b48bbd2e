"""The valley: its closed forms against automatic differentiation, and gradient descent against the normal form."""

import equinox as eqx
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from eosmodel.objectives import Valley, valley

pytestmark = pytest.mark.usefixtures("lightly_compiled")


def number(low, high):
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
    limit=number(-5, 50),
    b=number(0, 10),
    mu=number(0, 2),
    x=number(-1, 1),
    z=number(-5, 5),
    eta=number(1e-3, 0.5),
    sign=st.sampled_from([-1.0, 1.0]),
)
def test_gradient_descent_is_the_normal_form(limit, b, mu, x, z, eta, sign):
    floor = Valley(limit, b, [sign], [mu], [x, z])
    w = floor.initial()
    lam, alpha = float(floor.sharpness(w)), float(floor.alpha(w))
    new = w - eta * jax.grad(floor)(w)
    scale = 1e-13 * (1 + abs(limit) + b * 10) * 10
    np.testing.assert_allclose(new[0], (1 - eta * lam) * x, atol=scale)
    np.testing.assert_allclose(floor.sharpness(new), lam + eta * (alpha - 0.5 * float(floor.beta) * x**2), atol=scale)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_closed_forms(dtype):
    rng = np.random.default_rng(0)
    q = rng.normal(size=4)
    q /= np.linalg.norm(q)
    mu = rng.uniform(0.1, 2.0, 4)
    w = jnp.asarray([0.0, *rng.normal(size=4)], dtype)  # on the floor
    floor = Valley(30.0, 3.0, q, mu, w, gamma=2.0, offset=1.5)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(floor))
    rtol = 1e-12 if dtype == jnp.float64 else 1e-5
    close = lambda got, wanted: np.testing.assert_allclose(got, wanted, rtol=rtol)  # noqa: E731
    hessian, gradient = np.asarray(jax.hessian(floor)(w)), np.asarray(jax.grad(floor)(w))
    slope = np.asarray(jax.grad(lambda v: jax.hessian(floor)(v)[0, 0])(w))
    close(floor.sharpness(w), np.linalg.eigvalsh(hessian)[-1])
    close(floor.beta, slope @ slope)
    close(floor.alpha(w), -gradient @ slope)
    close(floor.bulk_gradient_sq(w), gradient @ gradient)
    close(floor.kappa(w), gradient @ hessian @ gradient / (floor.sharpness(w) * (gradient @ gradient)))
    for method in (floor.sharpness, floor.alpha, floor.bulk_gradient_sq, floor.kappa, floor.loss):
        assert method(w).dtype == jax.jit(jax.vmap(method))(w[None]).dtype == dtype
    x = jnp.asarray(0.7, dtype)
    close(floor(w.at[0].set(x)) - floor(w), 0.5 * floor.sharpness(w) * 0.49 + 0.5 * 0.7**4)
    close(floor(jnp.zeros_like(w)), 1.5)


def edge_run(floor, eta, steps):
    step = lambda w, _: (w - eta * jax.grad(floor)(w), floor.sharpness(w))  # noqa: E731
    return jax.lax.scan(step, floor.initial(), length=steps)


@pytest.mark.parametrize("modes", [1, 4])
def test_default_valley_crosses_the_edge_and_settles_there(modes):
    floor = valley(modes)
    w, sharpness = edge_run(floor, 0.1, 3000)
    assert float(sharpness[0]) == pytest.approx(16.0)
    assert 20 < float(sharpness.max()) < 22.5
    assert float(sharpness[-1]) == pytest.approx(20.0, abs=1e-3)
    assert float(w[0] ** 2) == pytest.approx(float(2 * floor.alpha(w) / floor.beta), rel=1e-3)


@pytest.mark.parametrize(("limit", "settles"), [(24.8, True), (25.2, False)])
def test_the_edge_equilibrium_attracts_below_five_halves(limit, settles):
    z = (20 - limit) / 2
    x = np.sqrt(2 * (-2 * 0.5 * z) / 4)
    floor = Valley(limit, 4.0, [1.0], [0.5], [x * 1.01, z])
    _, sharpness = edge_run(floor, 0.1, 2000)
    first, last = (float(jnp.abs(part - 20).max()) for part in (sharpness[:100], sharpness[-100:]))
    assert (last < 0.8 * first) == settles
    assert (last > 1.25 * first) != settles


def test_values_are_data_and_do_not_recompile():
    traces = []

    @eqx.filter_jit
    def value(floor, w):
        traces.append(1)
        return floor(w)

    for limit, gamma in ((20.0, 0), (21, 0.5), (np.float32(22.0), jnp.asarray(1.0))):
        floor = Valley(limit, 4.0, [1.0], [0.5], [0.1, -3.0], gamma=gamma)
        value(floor, floor.initial())
    assert len(traces) == 1
    many = eqx.filter_vmap(lambda b: Valley(22.0, b, [1.0], [0.5], [0.1, -3.0]).alpha(jnp.array([0.0, -3.0])))
    np.testing.assert_allclose(many(jnp.array([1.0, 4.0])), [1.5, 3.0])


def test_valley_dtype():
    assert valley().initial().dtype == jnp.float64
    floor = valley(3, gamma=1.0, dtype=jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(floor)} == {jnp.dtype("float32")}
    assert floor.initial(3).shape == (4,)
    assert Valley(22, 4, [1], [1], [1, 2]).initial().dtype == jnp.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": [0.6, 0.7]}, "q must be a unit vector, got a norm of 0.92"),
        ({"q": 1.0}, "q must have shape"),
        ({"b": -1.0}, r"b must lie in \[0, inf\), got -1.0"),
        ({"b": [1.0, 2.0]}, r"b must be a scalar, got shape \(2,\)"),
        ({"mu": [0.5]}, r"mu must have shape \(2,\) for q of 2 modes, got \(1,\)"),
        ({"mu": [0.5, -0.1]}, r"mu must lie in \[0, inf\)"),
        ({"start": [0.1, 0.2]}, r"start must have shape \(3,\)"),
        ({"start": [0.1, 0.2, np.nan]}, r"start must lie in \(-inf, inf\)"),
        ({"gamma": -0.1}, r"gamma must lie in \[0, inf\)"),
        ({"offset": np.inf}, "offset must lie in"),
        ({"sharpness_limit": "high"}, "sharpness_limit must be a number, got 'high'"),
    ],
)
def test_errors(change, message):
    good = {"sharpness_limit": 22.0, "b": 4.0, "q": [0.6, 0.8], "mu": [0.5, 0.1], "start": [0.1, -1.0, -1.0]}
    Valley(**good)
    with pytest.raises(ValueError, match=f"Valley: {message}"):
        Valley(**{**good, **change})
    with pytest.raises(ValueError, match="modes must be an integer ≥ 1, got 0"):
        valley(0)
