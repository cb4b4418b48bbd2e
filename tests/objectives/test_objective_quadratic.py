"""Quadratics against numpy's eigenvalues and the exact solution of gradient descent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from eosmodel.experiment import simulate
from eosmodel.objectives import OBJECTIVES, AbstractObjective, DenseQuadratic, DiagonalQuadratic, objective
from eosmodel.tuners import Constant


def random_matrix(dtype=jnp.float64, dim=5):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(dim, dim))
    return jnp.asarray(a + a.T, dtype), jnp.asarray(rng.normal(size=dim), dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dense_against_numpy(dtype):
    matrix, center = random_matrix(dtype)
    bowl = DenseQuadratic(matrix, center=center)
    w = bowl.initial()
    rtol = 1e-12 if dtype == jnp.float64 else 1e-5
    values, vectors = np.linalg.eigh(np.asarray(matrix, np.float64))
    np.testing.assert_allclose(bowl.sharpness(w), values[-1], rtol=rtol)
    np.testing.assert_allclose(jax.hessian(bowl)(w), matrix, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(w, center + 1)
    rotated = DiagonalQuadratic(jnp.asarray(values, dtype))
    turned = jnp.asarray(vectors.T, dtype) @ (w - center)
    np.testing.assert_allclose(bowl(w), rotated(turned), rtol=10 * rtol)
    np.testing.assert_allclose(bowl.sharpness(), rotated.sharpness(), rtol=rtol)
    for quadratic in (bowl, rotated):
        assert quadratic(w).dtype == quadratic.sharpness().dtype == dtype
        assert jax.jit(jax.vmap(quadratic))(jnp.stack([w, w])).shape == (2,)
        assert {leaf.dtype for leaf in jax.tree.leaves(quadratic)} == {jnp.dtype(dtype)}


def test_gradients_and_gradient_descent():
    spectrum = np.array([-1.0, 0.5, 3.0])
    bowl = DiagonalQuadratic(spectrum, center=[1, 2, 3], start=[0.0, 0.0, 1.0])
    check_grads(bowl.loss, (bowl.initial(),), order=2, modes=["rev"], rtol=1e-6)
    w, eta = bowl.initial(seed=5), 0.3
    for _ in range(10):
        w = w - eta * jax.grad(bowl)(w)
    exact = np.array([1.0, 2, 3]) + (1 - eta * spectrum) ** 10 * (np.array([0.0, 0, 1]) - np.array([1.0, 2, 3]))
    np.testing.assert_allclose(w, exact, rtol=1e-12)
    assert float(bowl.sharpness()) == 3.0
    assert float(bowl.loss(bowl.center)) == 0.0


@pytest.mark.parametrize("eta", [0.19, 0.21])
def test_stable_if_and_only_if_s_is_below_two(eta):
    bowl = DiagonalQuadratic([1.0, 10.0])
    w, _ = jax.lax.scan(lambda w, _: (w - eta * jax.grad(bowl)(w), None), bowl.initial(), length=200)
    assert (float(jnp.abs(w[1])) < 1) == (eta * 10 < 2)


def test_integers_become_floats_and_construction_works_under_vmap():
    assert DiagonalQuadratic([1, 2]).initial().dtype == jnp.float64
    assert DenseQuadratic([[1, 0], [0, 2]]).initial().dtype == jnp.float64
    matrices = jnp.stack([jnp.eye(2), 3 * jnp.eye(2)])
    np.testing.assert_allclose(jax.vmap(lambda m: DenseQuadratic(m).sharpness())(matrices), [1, 3])
    np.testing.assert_allclose(jax.vmap(lambda e: DiagonalQuadratic(e).sharpness())(jnp.eye(2)), [1, 1])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DiagonalQuadratic([[1.0]]), r"eigenvalues must have shape \(dim,\), got \(1, 1\)"),
        (lambda: DiagonalQuadratic([]), r"eigenvalues must have shape \(dim,\), got \(0,\)"),
        (lambda: DiagonalQuadratic([1.0, np.nan]), "eigenvalues must be finite"),
        (lambda: DiagonalQuadratic([1.0, 2.0], center=[0.0]), r"center must have shape \(2,\), got \(1,\)"),
        (lambda: DiagonalQuadratic([1.0], start=[np.inf]), "start must be finite"),
        (lambda: DenseQuadratic([1.0, 2.0]), r"matrix must have shape \(dim, dim\), got \(2,\)"),
        (lambda: DenseQuadratic([[1.0, np.nan], [0.0, 1.0]]), "matrix must be finite"),
        (lambda: DenseQuadratic([[1.0, 2.0], [0.0, 1.0]]), r"matrix must be symmetric, got max \|H − Hᵀ\| = 2"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_any_function_is_an_objective():
    quartic = objective(lambda w: jnp.sum(w**4), jnp.ones(3))
    assert isinstance(quartic, AbstractObjective)
    assert float(quartic(quartic.initial(seed=1))) == 3.0
    for start, message in (
        ([1, 2], "w0 must hold floating-point arrays of one dtype, got int"),
        ({}, "w0 must hold floating-point arrays of one dtype, got no arrays"),
        (
            {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(2, jnp.float64)},
            "w0 must hold floating-point arrays of one dtype, got float32, float64",
        ),
        (["a"], "w0 must be an array or a tree of arrays"),
        (jnp.ones(2, jnp.bfloat16), "the dtype of w0 must be float32 or float64, got bfloat16"),
    ):
        with pytest.raises(ValueError, match="objective: " + message):
            objective(lambda w: jnp.sum(jnp.asarray(jax.tree.leaves(w))), start)
    with pytest.raises(ValueError, match="fn must return a scalar, got"):
        objective(lambda w: w, jnp.ones(3))
    with pytest.raises(ValueError, match=r"fn must be a function of the weights, got 1\.0"):
        objective(1.0, jnp.ones(3))
    assert all(text and "\n" not in text for text in OBJECTIVES.values())


def test_a_tree_of_parameters_is_a_start():
    def loss(parameters):
        return jnp.sum(parameters["matrix"] ** 2) + sum(parameters["rest"]) ** 2

    start = {"matrix": jnp.arange(4.0).reshape(2, 2), "rest": (jnp.asarray(1.0), jnp.asarray(2.0))}
    tree = objective(loss, start)
    flat = tree.initial()
    assert flat.shape == (6,)
    assert float(tree(flat)) == loss(start) == 23.0
    back = tree.tree(2 * flat)
    assert jax.tree.structure(back) == jax.tree.structure(start)
    np.testing.assert_array_equal(back["matrix"], 2 * start["matrix"])
    run = simulate(tree, Constant(0.1), steps=5, progress=False)
    other = simulate(
        objective(lambda w: jnp.sum(w[:4] ** 2) + (w[4] + w[5]) ** 2, flat), Constant(0.1), 5, progress=False
    )
    np.testing.assert_array_equal(run.loss, other.loss)


def test_lists_of_numbers_are_arrays_and_repr_is_one_line():
    bowl = objective(lambda w: w @ w, [3.0, 4.0])
    assert float(bowl(bowl.initial())) == 25.0
    assert repr(bowl) == f"objective(<lambda>, 2 weights, {jnp.result_type(float)})"
    assert objective(lambda w: w**2, 3.0).initial().shape == (1,)
