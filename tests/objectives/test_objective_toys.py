"""The toy objectives: sharpness in closed form against dense Hessians, and the laws that each of them obeys."""

import equinox as eqx
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from eosmodel.objectives import AbstractObjective
from eosmodel.objectives.diagonal_linear import DiagonalLinear, diagonal_linear
from eosmodel.objectives.products import (
    EVEN_LOSSES,
    AbstractProduct,
    DoubleWell,
    MinimalistExample,
    ProductLoss,
    ScalarFactorization,
)
from eosmodel.objectives.second_order import SecondOrderRegression, random_regression, two_parameter_regression
from eosmodel.objectives.spectra import power_law, random_quadratic
from eosmodel.objectives.two_layer import (
    TeacherStudent,
    TwoLayerLinear,
    TwoLayerScalar,
    teacher_student,
    two_layer_linear,
    two_layer_scalar,
)

pytestmark = pytest.mark.usefixtures("lightly_compiled")


def pair(dtype):
    return jnp.asarray([0.3, 3.0], dtype)


CLOSED = {
    "power law": lambda dtype: power_law(6, 1.5, 10.0, dtype=dtype),
    "Wishart": lambda dtype: random_quadratic(6, 12, dtype=dtype),
    "one unit": lambda dtype: two_layer_scalar(1, 0.5, dtype=dtype),
    "many units": lambda dtype: two_layer_scalar(5, -0.5, dtype=dtype),
    "many units, target 0": lambda dtype: two_layer_scalar(5, dtype=dtype),
    "u⊙u − v⊙v": lambda dtype: diagonal_linear(dtype=dtype),
    "u⊙u": lambda dtype: diagonal_linear(signed=False, dtype=dtype),
    "log-cosh": lambda dtype: ProductLoss("log-cosh", pair(dtype)),
    "square-root": lambda dtype: ProductLoss("square-root", pair(dtype)),
    "quadratic": lambda dtype: ProductLoss("quadratic", pair(dtype)),
    "any link": lambda dtype: ProductLoss(lambda s: jnp.sin(s) + s**4, pair(dtype)),
    "factorisation": lambda dtype: ScalarFactorization(pair(dtype), 2.0),
    "minimalist": lambda dtype: MinimalistExample(pair(dtype)),
    "double well": lambda dtype: DoubleWell(jnp.asarray(2.0, dtype)),
    "two weights": lambda dtype: two_parameter_regression(0.1, dtype=dtype),
    "second order": lambda dtype: random_regression(3, 8, dtype=dtype),
}
OPEN = {
    "linear": lambda dtype: two_layer_linear(dtype=dtype),
    "tanh student": lambda dtype: teacher_student(dtype=dtype),
    "relu student": lambda dtype: teacher_student(activation="relu", dtype=dtype),
}


@eqx.filter_jit
def sharpnesses(toy, points):
    """Closed form, top of the dense Hessian, and the Hessian's norm, at each of several points."""
    hessians = jax.vmap(jax.hessian(toy))(points)
    closed = jax.vmap(toy.sharpness)(points)
    return closed, jnp.linalg.eigvalsh(hessians)[:, -1], jnp.linalg.norm(hessians, axis=(1, 2))


hessian = eqx.filter_jit(lambda toy, w: jax.hessian(toy)(w))


@pytest.mark.parametrize("name", CLOSED)
def test_sharpness_is_the_top_of_the_dense_hessian(name):
    toy = CLOSED[name](jnp.float64)
    start = toy.initial()
    rng = np.random.default_rng(1)
    points = jnp.stack([start, 0 * start, *(jnp.asarray(rng.normal(size=start.shape)) for _ in range(20))])
    closed, dense, scale = sharpnesses(toy, points)
    assert float(jnp.max(jnp.abs(closed - dense) / (1 + scale))) < 1e-12


@pytest.mark.parametrize("name", {**CLOSED, **OPEN})
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_both_precisions(name, dtype):
    toy = {**CLOSED, **OPEN}[name](dtype)
    assert isinstance(toy, AbstractObjective)
    assert {leaf.dtype for leaf in jax.tree.leaves(toy)} == {jnp.dtype(dtype)}
    w = toy.initial()
    loss = toy(w)
    assert w.dtype == loss.dtype == dtype
    if name in CLOSED:
        assert eqx.filter_eval_shape(toy.sharpness, w).dtype == dtype
    # One precision at weights of the other: the weights decide.
    other = jnp.float64 if dtype == jnp.float32 else jnp.float32
    converted = toy(w.astype(other))
    assert converted.dtype == other
    np.testing.assert_allclose(converted, loss, rtol=1e-4)
    assert float(loss) >= 0 or name == "any link"


@pytest.mark.parametrize("name", ["many units", "linear", "u⊙u", "tanh student", "second order"])
def test_seeds_draw_other_starts_of_the_same_problem(name):
    toy = {**CLOSED, **OPEN}[name](jnp.float64)
    np.testing.assert_array_equal(toy.initial(3), toy.initial(3))
    assert not np.any(toy.initial(3) == toy.initial(4))
    np.testing.assert_array_equal(toy.initial(), toy.initial(None))


def test_scale_is_the_standard_deviation_of_a_drawn_start():
    n = 20_000
    for scale in (0.5, 3.0):
        drawn = two_layer_scalar(n // 2, scale=scale).initial(7)
        # The standard error of a standard deviation is scale/√(2n); five of them.
        assert float(jnp.std(drawn)) == pytest.approx(scale, abs=5 * scale / np.sqrt(2 * n))


def full(value, *shape):
    return jnp.full(shape, value, jnp.float64)


VALUES = {
    "power law": lambda v: power_law(3, v, 1 + v),
    "scalar net": lambda v: TwoLayerScalar([0.5, 1.0, 2.0, 3.0], target=v, scale=v),
    "linear": lambda v: TwoLayerLinear(full(1, 3, 2), full(v, 3, 1), full(1, 6), v),
    "diagonal": lambda v: DiagonalLinear(full(1, 3, 2), full(v, 3), full(1, 4)),
    "student": lambda v: TeacherStudent(full(1, 3, 2), full(v, 3), full(1, 6), scale=v),
    "product": lambda v: ProductLoss("log-cosh", full(v, 2)),
    "factorisation": lambda v: ScalarFactorization([1.0, 2.0], v),
    "double well": lambda v: DoubleWell(v, [1.0]),
    "two weights": lambda v: two_parameter_regression(v),
    "second order": lambda v: random_regression(2, 3, curvature=v, jacobian=v, offset=v),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_data(name):
    make, traces = VALUES[name], []

    @eqx.filter_jit
    def value(toy, w):
        traces.append(1)
        return toy(w)

    w = jnp.linspace(0.5, 1.5, make(1.0).initial().size)
    alone = [value(make(v), w) for v in (0.3, 2, np.float32(0.5), jnp.asarray(0.7))]
    assert len(traces) == 1
    many = eqx.filter_vmap(lambda v: make(v)(w))(jnp.asarray([0.3, 2.0, 0.5, 0.7]))
    np.testing.assert_allclose(many, alone, rtol=1e-7)


def test_power_law_is_one():
    slopes = np.diff(np.log(power_law(50, 1.7, 3.0).eigenvalues)) / np.diff(np.log(np.arange(1, 51)))
    np.testing.assert_allclose(slopes, -1.7, rtol=1e-11)
    assert float(power_law(5, 2.0, 7.0).sharpness()) == 7.0


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_random_spectrum_ends_at_the_edge_of_marchenko_pastur(ratio):
    """The largest eigenvalue of XᵀX is (√n + √p)² to leading order, and what is left, in units of its Tracy–Widom
    scale, has mean −1.2065 and standard deviation 1.268 (Johnstone 2001); p − n eigenvalues vanish if p > n."""
    v, dim, draws, left = 2.0, 120, 25, []
    samples = int(dim / ratio)
    for seed in range(draws):
        bowl = random_quadratic(dim, samples, v, seed=seed)
        values = np.linalg.eigvalsh(np.asarray(bowl.matrix))
        assert np.sum(values > 1e-9) == min(dim, samples)
        root = np.sqrt(samples - 1) + np.sqrt(dim)
        scale = root * (1 / np.sqrt(samples - 1) + 1 / np.sqrt(dim)) ** (1 / 3)
        left.append((samples * values[-1] / v - root**2) / scale)
    assert float(bowl.sharpness()) == pytest.approx(values[-1])
    assert np.mean(left) == pytest.approx(-1.2065, abs=4 * 1.268 / np.sqrt(draws))
    assert np.std(left) == pytest.approx(1.268, rel=4 / np.sqrt(2 * draws))


def test_one_unit_is_the_scalar_factorisation():
    w = jnp.asarray([0.7, -1.3])
    net, product = TwoLayerScalar(w, target=0.4), ScalarFactorization(w, 0.4)
    np.testing.assert_allclose(net(w), product(w))
    np.testing.assert_allclose(net.sharpness(w), product.sharpness(w))


def test_kernel_is_the_squared_gradient_of_the_output():
    toy = two_layer_scalar(6, 0.3)
    w = toy.initial(2)
    assert float(toy.kernel(w)) == pytest.approx(float(jnp.sum(jax.grad(toy.output)(w) ** 2)))
    assert float(toy.kernel(w)) >= 2 * abs(float(toy.output(w))) / np.sqrt(6)


@pytest.mark.parametrize("name", ["log-cosh", "square-root", "quadratic"])
def test_even_losses_are_even_convex_and_unit(name):
    link = EVEN_LOSSES[name]
    s = jnp.linspace(-50.0, 50.0, 1001)
    np.testing.assert_allclose(jax.vmap(link)(s), jax.vmap(link)(-s), rtol=1e-14)
    assert float(jnp.min(jax.vmap(jax.grad(jax.grad(link)))(s))) >= 0
    assert float(link(0.0)) == 0.0
    assert float(jax.grad(jax.grad(link))(0.0)) == pytest.approx(1.0)


@pytest.mark.parametrize("s", [1e-9, 1e-3, 0.5, 5.0, 17.9, 18.1, 500.0])
def test_even_losses_keep_their_digits(s):
    import mpmath

    with mpmath.workdps(50):
        exact = {"log-cosh": mpmath.log(mpmath.cosh(s)), "square-root": mpmath.sqrt(1 + mpmath.mpf(s) ** 2) - 1}
    for name, value in exact.items():
        assert float(EVEN_LOSSES[name](jnp.asarray(s))) == pytest.approx(float(value), rel=1e-14)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(x=st.floats(-3, 3), y=st.floats(-3, 3), eta=st.floats(0.01, 1))
def test_a_step_multiplies_the_imbalance_of_every_product(x, y, eta):
    for toy in (ProductLoss("log-cosh", [0.0, 1.0]), ScalarFactorization([0.0, 1.0]), MinimalistExample([0.0, 1.0])):
        assert isinstance(toy, AbstractProduct)
        w = jnp.asarray([x, y])
        new = w - eta * jax.grad(toy)(w)
        slope = float(jax.grad(toy.link)(w[0] * w[1]))
        scale = float(jnp.sum(w**2 + new**2))
        factor = 1 - (eta * slope) ** 2
        assert float(new[0] ** 2 - new[1] ** 2) == pytest.approx((x**2 - y**2) * factor, abs=1e-13 * (1 + scale))


def test_minimalist_example_is_a_depth_four_network_with_tied_weights():
    """Gradient descent on ½(1 − xyzv)² keeps z = x, v = y and is there gradient descent on ¼(1 − x²y²)²."""
    toy, w = MinimalistExample([1.9, 0.4]), jnp.asarray([1.9, 0.4])
    deep = jnp.concatenate([w, w])
    for _ in range(20):
        w = w - 0.1 * jax.grad(toy)(w)
        deep = deep - 0.1 * jax.grad(lambda v: 0.5 * (1 - jnp.prod(v)) ** 2)(deep)
    np.testing.assert_allclose(deep, jnp.concatenate([w, w]), rtol=1e-13)


@pytest.mark.parametrize(("inputs", "width", "outputs"), [(3, 2, 2), (2, 5, 3)])
def test_linear_network_at_zero_loss(inputs, width, outputs):
    """On white inputs the sharpness of a minimum is ‖W₁‖² + ‖W₂‖² ≥ 2‖W₂W₁‖ (spectral norms)."""
    white = np.asarray(two_layer_linear(inputs, width, outputs).x)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(inputs), atol=1e-12)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(width, inputs)), rng.normal(size=(outputs, width))
    toy = TwoLayerLinear(white, white @ (second @ first).T, np.concatenate([first.ravel(), second.ravel()]))
    w = toy.initial()
    np.testing.assert_array_equal(toy.layers(w)[1], second)
    assert float(toy(w)) < 1e-28
    norms = [np.linalg.norm(matrix, 2) for matrix in (first, second, second @ first)]
    top = np.linalg.eigvalsh(np.asarray(hessian(toy, w)))[-1]
    assert top == pytest.approx(norms[0] ** 2 + norms[1] ** 2)
    assert top >= 2 * norms[2]
    shift = np.concatenate([np.ones(first.size), np.zeros(second.size)])
    off = white @ (second @ (first + 1) - second @ first).T
    assert float(toy(w + shift)) == pytest.approx(0.5 * np.mean(np.sum(off**2, axis=1)))


def test_diagonal_network_against_numpy():
    toy = diagonal_linear(features=4, samples=9, support=3)
    assert float(jnp.max(jnp.abs(toy.coefficients(toy.initial())))) == 0
    u, v = np.random.default_rng(0).normal(size=(2, 4))
    w = jnp.asarray(np.concatenate([u, v]))
    np.testing.assert_allclose(toy.coefficients(w), u**2 - v**2)
    x, y = np.asarray(toy.x), np.asarray(toy.y)
    assert float(toy(w)) == pytest.approx(np.sum((x @ (u**2 - v**2) - y) ** 2) / (2 * 9))
    np.testing.assert_allclose(np.linalg.lstsq(x, y, rcond=None)[0], [1, -1, 1, 0], atol=1e-12)
    only = DiagonalLinear(x, x @ u**2, u)
    assert float(only(only.initial())) < 1e-28


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_student_that_is_the_teacher_has_no_loss(activation):
    act = {"tanh": np.tanh, "relu": lambda h: np.maximum(h, 0)}[activation]
    rng = np.random.default_rng(0)
    w, v, x = rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=(10, 2))
    y = act(x @ w.T) @ v / np.sqrt(3)
    toy = TeacherStudent(x, y, np.concatenate([w.ravel(), v]), activation)
    np.testing.assert_allclose(toy.predictions(toy.initial()), y, rtol=1e-13)
    assert float(toy(toy.initial())) < 1e-28
    drawn = [teacher_student(activation=activation, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0].y, drawn[1].y)
    assert np.any(drawn[0].y != drawn[2].y)


def test_second_order_residuals_against_numpy():
    toy = random_regression(3, 4, curvature=0.5, jacobian=2.0, offset=0.3, seed=1)
    theta = np.random.default_rng(0).normal(size=4)
    q, j, z = (np.asarray(array) for array in (toy.curvature, toy.jacobian, toy.offset))
    residuals = z + j @ theta + 0.5 * np.einsum("aij,i,j->a", q, theta, theta)
    w = jnp.asarray(theta)
    np.testing.assert_allclose(toy.residuals(w), residuals, rtol=1e-12)
    assert float(toy(w)) == pytest.approx(0.5 * residuals @ residuals)
    tangent = np.asarray(jax.jacobian(toy.residuals)(w))
    np.testing.assert_allclose(toy.tangent(w), tangent, rtol=1e-12)
    assert float(toy.kernel(w)) == pytest.approx(np.linalg.norm(tangent, 2) ** 2)


def test_random_regression_has_the_sizes_it_was_given():
    toy = random_regression(40, 40, curvature=0.5, jacobian=2.0, offset=3.0)
    scaled = [toy.curvature / 0.5 * np.sqrt(40), toy.jacobian / 2.0 * np.sqrt(40), toy.offset / 3.0]
    off_diagonal = scaled[0][:, ~np.eye(40, dtype=bool)]
    for array in (off_diagonal, *scaled[1:]):
        # Half of the entries of Q are copies of the others: the standard error of a variance is then 2/√size.
        assert float(jnp.mean(array**2)) == pytest.approx(1, abs=5 * 2 / np.sqrt(array.size))


GOOD = {
    TwoLayerScalar: {"start": [1.0, 2.0]},
    TwoLayerLinear: {"x": [[1.0, 0.0]], "y": [[1.0]], "start": [1.0, 2.0, 3.0]},
    DiagonalLinear: {"x": [[1.0, 0.0]], "y": [1.0], "start": [1.0, 2.0]},
    TeacherStudent: {"x": [[1.0, 0.0]], "y": [1.0], "start": [1.0, 2.0, 3.0]},
    ProductLoss: {"link": "log-cosh", "start": [1.0, 2.0]},
    ScalarFactorization: {"start": [1.0, 2.0]},
    MinimalistExample: {"start": [1.0, 2.0]},
    DoubleWell: {"mu": 1.0},
    SecondOrderRegression: {"curvature": [[[1.0, 2.0], [2.0, 3.0]]]},
    power_law: {"dim": 2},
    random_quadratic: {"dim": 2},
    two_layer_scalar: {},
    two_layer_linear: {},
    diagonal_linear: {},
    teacher_student: {},
    two_parameter_regression: {},
    random_regression: {},
}


@pytest.mark.parametrize(
    ("build", "change", "message"),
    [
        (TwoLayerScalar, {"start": [1.0]}, "start must hold as many u as v, got 1 numbers"),
        (TwoLayerScalar, {"target": np.nan}, r"target must lie in \(-inf, inf\), got nan"),
        (TwoLayerScalar, {"scale": 0.0}, r"scale must lie in \(0, inf\), got 0.0"),
        (TwoLayerLinear, {"start": [1.0, 2.0]}, "start must hold a multiple of 3 weights, got 2"),
        (TwoLayerLinear, {"y": [1.0]}, r"y must have shape \(samples, outputs\), got \(1,\)"),
        (TwoLayerLinear, {"x": [1.0]}, r"x must have shape \(samples, features\)"),
        (DiagonalLinear, {"start": [1.0]}, r"start must hold 2 \(u⊙u\) or 4"),
        (DiagonalLinear, {"y": [[1.0]]}, r"y must have shape \(samples,\), got \(1, 1\)"),
        (DiagonalLinear, {"x": [[np.nan, 1.0]]}, "x must be finite"),
        (TeacherStudent, {"activation": "step"}, "activation must be one of tanh, .*, got 'step'"),
        (TeacherStudent, {"start": [1.0]}, "start must hold a multiple of 3 weights, got 1"),
        (TeacherStudent, {"y": [[1.0]]}, r"y must have shape \(samples,\), got \(1, 1\)"),
        (ProductLoss, {"link": "cosh"}, "link must be a function or one of log-cosh, square-root, .*, got 'cosh'"),
        (ProductLoss, {"start": [1.0]}, r"start must have shape \(2,\), got \(1,\)"),
        (ScalarFactorization, {"target": np.inf}, "target must lie in"),
        (MinimalistExample, {"start": [1.0, np.inf]}, "start must be finite"),
        (DoubleWell, {"mu": 0.0}, r"mu must lie in \(0, inf\), got 0.0"),
        (DoubleWell, {"start": [1.0, 2.0]}, r"start must have shape \(1,\), got \(2,\)"),
        (
            SecondOrderRegression,
            {"curvature": [[1.0]]},
            r"curvature must have shape \(outputs, dim, dim\), got \(1, 1\)",
        ),
        (SecondOrderRegression, {"curvature": [[[1.0, 2.0], [0.0, 1.0]]]}, r"symmetric, got max \|Q − Qᵀ\| = 2"),
        (SecondOrderRegression, {"jacobian": [[1.0]]}, r"jacobian must have shape \(1, 2\), got \(1, 1\)"),
        (SecondOrderRegression, {"offset": [1.0, 2.0]}, r"offset must have shape \(1,\), got \(2,\)"),
        (power_law, {"dim": 0}, r"dim must lie in \[1, inf\], got 0"),
        (power_law, {"dim": 2.5}, "dim must be an integer, got 2.5"),
        (power_law, {"exponent": -1.0}, r"exponent must lie in \[0, inf\), got -1.0"),
        (power_law, {"largest": 0.0}, "largest must lie in"),
        (random_quadratic, {"samples": 0}, "samples must lie in"),
        (random_quadratic, {"variance": -1.0}, "variance must lie in"),
        (two_layer_scalar, {"width": 0}, "width must lie in"),
        (two_layer_linear, {"samples": 3}, r"samples must lie in \[4, inf\], got 3"),
        (diagonal_linear, {"support": 7}, r"support must lie in \[1, 6\], got 7"),
        (teacher_student, {"teacher_width": 0}, "teacher_width must lie in"),
        (teacher_student, {"activation": "step"}, "activation must be one of"),
        (two_parameter_regression, {"eps": 0.0}, r"eps must lie in \(0, inf\), got 0.0"),
        (random_regression, {"curvature": -0.1}, "curvature must lie in"),
    ],
)
def test_errors_name_owner_argument_and_value(build, change, message):
    build(**GOOD[build])
    with pytest.raises(ValueError, match=f"{build.__name__}: .*{message}"):
        build(**{**GOOD[build], **change})
