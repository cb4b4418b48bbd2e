"""The comparators for constant steps: where they rest, what they conserve, what they reduce to, and what they cost."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import eosmodel as eos
from eosmodel._status import Status
from eosmodel.curvature import Tracker
from eosmodel.objectives import DenseQuadratic, Valley
from eosmodel.simulation import run
from eosmodel.theory import EdgeFlow, GradientFlow, RodFlow
from eosmodel.tuners import Constant

pytestmark = pytest.mark.usefixtures("lightly_compiled")

BOTH = [EdgeFlow, RodFlow]
ETA = 0.1


def valley(start):
    """λ = 20 = 2/η at z = −1, where α = −√b μ z = 1 and 2α/β = ½."""
    return Valley(22.0, 4.0, jnp.array([1.0]), jnp.array([0.5]), jnp.asarray(start))


def quadratic(dim=12):
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    matrix = (q * np.append(np.linspace(0.1, 1.0, dim - 1), 4.0)) @ q.T
    return matrix, DenseQuadratic(jnp.asarray(matrix), start=jnp.asarray(rng.normal(size=dim)))


def follow(theory, objective, eta, steps, **fields):
    """Rows of a run, and its last state."""
    dynamics = theory(objective, Constant(jnp.asarray(eta)), **fields)
    progress = run(dynamics, objective.initial(), steps)
    return progress.rows, progress.carry.state


@pytest.mark.parametrize("theory", BOTH)
@pytest.mark.parametrize("start", [(0.1, -3.0), (0.9, -1.0)], ids=["from below the edge", "from too large a swing"])
def test_a_valley_settles_at_the_edge_with_the_balanced_oscillation(theory, start):
    rows, _ = follow(theory, valley(start), ETA, 2000)
    np.testing.assert_allclose(rows["sharpness"][-1], 2 / ETA, rtol=1e-6)
    np.testing.assert_allclose(rows["amplitude"][-1, 0] ** 2, 0.5, rtol=1e-6)
    np.testing.assert_allclose((rows["loss"] - rows["center_loss"])[-1], 0.5 * 20 * 0.5, rtol=1e-6)


@pytest.mark.parametrize("theory", BOTH)
def test_the_balance_is_a_fixed_point(theory):
    floor, x = valley((0.0, -1.0)), jnp.array([np.sqrt(0.5), 0.0])
    dynamics = theory(floor, Constant(jnp.asarray(ETA)))
    state, step = dynamics.init(floor.initial()), eqx.filter_jit(dynamics.step)
    state = eqx.tree_at(lambda s: s.center, state, floor.initial())
    if theory is EdgeFlow:
        state = eqx.tree_at(lambda s: s.oscillation, state, x)
    else:
        state = eqx.tree_at(lambda s: s.extent, state, jnp.stack([x, 0 * x, 0 * x]))
    for t in range(20):
        state, row, status = step(state, jnp.asarray(t))
        assert int(status) == Status.OK
        np.testing.assert_allclose([row["sharpness"], row["amplitude"][0] ** 2], [20, 0.5], rtol=1e-12)


@pytest.mark.parametrize("theory", BOTH)
@pytest.mark.parametrize(("product", "grows"), [(1.9, False), (2.1, True)])
def test_the_oscillation_grows_beyond_the_edge_alone(theory, product, grows):
    _, objective = quadratic()
    rows, _ = follow(theory, objective, product / 4.0, 60)
    np.testing.assert_allclose(rows["sharpness"], 4.0, rtol=1e-12)
    x = np.abs(rows["amplitude"][:, 0])
    assert (x[-1] > x[30]) == grows


@pytest.mark.parametrize("theory", BOTH)
def test_a_softening_well_settles_on_its_two_cycle(theory):
    """½Sx² − ¼Qx⁴ has the cycle ±x with η(S − Qx²) = 2, which is there beyond the edge alone (Regis & Chewi)."""
    well = eos.objective(lambda w: jnp.sum(1.05 * w**2 - 0.25 * w**4), jnp.array([0.1]))
    rows, state = follow(theory, well, 1.0, 400)
    np.testing.assert_allclose(rows["amplitude"][-1, 0] ** 2, 0.1, rtol=1e-6)
    np.testing.assert_allclose(state.center, 0, atol=1e-12)


def test_edge_flow_conserves_the_iterate_of_descent():
    """With nothing beyond second order what the centre gets the oscillation loses: together they are descent itself,
    at the edge and below, and the centre moves as gradient flow does off its mode."""
    matrix, objective = quadratic()
    top = np.linalg.eigh(matrix)[1][:, -1]
    for eta in (0.1, 0.52):
        _, state = follow(EdgeFlow, objective, eta, 25)
        descent = np.linalg.matrix_power(np.eye(12) - eta * matrix, 25) @ objective.initial()
        np.testing.assert_allclose(state.center + state.oscillation, descent, rtol=1e-9, atol=1e-12)
        _, flow = follow(GradientFlow, objective, eta, 25, tracker=Tracker(1))
        bulk = flow.weights - top * (top @ flow.weights)
        np.testing.assert_allclose(state.center, bulk, rtol=1e-9, atol=1e-12)


def test_edge_flow_takes_two_gradients_and_one_product():
    """No loop, no solver, and the loss is evaluated at three points."""
    objective = eos.objective(lambda w: jnp.tanh(jnp.sum(w**2)), 0.1 * jnp.ones(40))
    dynamics = EdgeFlow(objective, Constant(jnp.asarray(ETA)))
    state = dynamics.init(objective.initial())
    jaxpr = str(jax.make_jaxpr(lambda s: dynamics.step(s, jnp.asarray(0)))(state))
    for solver in ("while", "scan", "eigh"):
        assert f"{solver}[" not in jaxpr
    assert jaxpr.count("tanh ") == 3
    assert (follow(EdgeFlow, objective, ETA, 5)[0]["products"] == 1).all()


def test_the_direction_converges_to_the_leading_eigenvector():
    """By powers of H, at the rate of the second eigenvalue over the first."""
    matrix, objective = quadratic()
    values, vectors = np.linalg.eigh(matrix)
    dynamics = EdgeFlow(objective, Constant(jnp.asarray(ETA)))
    state = dynamics.init(objective.initial())
    wrong = vectors[:, -1] + vectors[:, -2]
    state = eqx.tree_at(lambda s: s.direction, state, jnp.asarray(wrong / np.linalg.norm(wrong)))
    step = eqx.filter_jit(dynamics.step)
    for t in range(6):
        before = state.center + state.oscillation
        state, row, _ = step(state, jnp.asarray(t))
        tangent = (values[-2] / values[-1]) ** t
        cosine2 = 1 / (1 + tangent**2)
        np.testing.assert_allclose(row["sharpness"], values[-1] * cosine2 + values[-2] * (1 - cosine2), rtol=1e-9)
        # What the turning direction leaves behind is the centre's, so that nothing is lost at that point of the step.
        np.testing.assert_allclose(row["loss"], objective(before), rtol=1e-12)


def test_rod_flow_follows_the_midpoints_of_descent_to_second_order():
    matrix, objective = quadratic()
    errors, flows = [], []
    for eta, steps in ((0.1, 10), (0.05, 20), (0.025, 40)):
        _, state = follow(RodFlow, objective, eta, steps)
        step = np.eye(12) - eta * matrix
        midpoint = 0.5 * (np.eye(12) + step) @ np.linalg.matrix_power(step, steps) @ objective.initial()
        errors.append(np.linalg.norm(state.center - midpoint))
        flows.append(np.linalg.norm(state.center - expm(-(steps + 0.5) * eta * matrix) @ objective.initial()))
    # 4 for each halving at second order; descent itself is first order from gradient flow.
    assert all(3.2 < a / b < 5 for a, b in itertools.pairwise(errors))
    assert all(1.7 < a / b < 2.5 for a, b in itertools.pairwise(flows))


def test_rod_flow_is_its_equations_as_its_steps_shrink():
    """The flow of the whole matrix Σ, by an integrator of its own, in two dimensions with two rods."""
    eta, steps = 0.1, 12
    floor = valley((0.3, -1.5))

    def slope(w):
        x, z = w
        return np.array([(22 + 2 * z) * x, 0.5 * z + x**2])

    def bend(w):
        x, z = w
        return np.array([[22 + 2 * z, 2 * x], [2 * x, 0.5]])

    def velocity(_, y):
        w, sigma = y[:2], y[2:].reshape(2, 2)
        sizes, axes = np.linalg.eigh(sigma)
        even, bent, driven = slope(w), bend(w), np.zeros((2, 2))
        for size, axis in zip(sizes, axes.T, strict=True):
            rod = np.sqrt(max(size, 0)) * axis
            above, below = slope(w + rod), slope(w - rod)
            even = even + 0.5 * (above + below) - slope(w)
            bent = bent + 0.5 * (bend(w + rod) + bend(w - rod)) - bend(w)
            driven += np.outer(above - below, above - below) / 4
        center = -eta * (even + 0.5 * eta * bent @ even)
        return np.concatenate([center, (0.5 * eta**2 * (np.outer(even, even) + driven) - 2 * sigma).ravel()])

    first = -0.5 * eta * slope(np.array([0.3, -1.5]))
    start = np.concatenate([np.array([0.3, -1.5]) + first, np.outer(first, first).ravel()])
    exact = solve_ivp(velocity, (0, steps), start, rtol=1e-9, atol=1e-12).y[:, -1]
    errors = []
    for substeps in (4, 8, 16, 32):
        _, state = follow(RodFlow, floor, eta, steps, rods=2, substeps=substeps)
        here = np.concatenate([state.center, np.ravel(state.extent.T @ state.extent)])
        errors.append(np.abs(here - exact).max())
    assert errors[-1] < 0.02 * np.abs(exact).max()
    assert all(1.6 < a / b < 2.6 for a, b in itertools.pairwise(errors[1:]))


def test_one_rod_has_the_hessian_of_its_ends():
    """dw̄/dt = −η/2 (g₊ + g₋) − η²/8 (H₊ + H₋)(g₊ + g₋) (Regis & Chewi), less the share h that Euler's step supplies; at
    the middle the Hessian is another."""
    eta, h, center, rod = 0.3, 0.25, jnp.array([0.4, -0.2]), jnp.array([0.5, 0.3])

    def loss(w):
        return 0.5 * w[0] ** 2 + 0.3 * w[0] ** 4 + 0.2 * w[1] ** 4 + 0.1 * w[0] ** 2 * w[1]

    dynamics = RodFlow(eos.objective(loss, center), Constant(eta), rods=1, substeps=4)
    ends = [center + rod, center - rod]
    slopes = sum(jax.grad(loss)(end) for end in ends)
    bends = sum(jax.hessian(loss)(end) for end in ends)
    moved = (dynamics._flow(center, rod[None], eta)[0] - center) / h
    np.testing.assert_allclose(moved, -eta / 2 * slopes - (1 - h) * eta**2 / 8 * bends @ slopes, rtol=1e-9)
    middle = 2 * jax.hessian(loss)(center)
    assert np.abs((bends - middle) @ slopes).max() > 0.1 * np.abs(bends @ slopes).max()


def test_rod_flow_does_not_see_the_sign_of_a_rod():
    dynamics = RodFlow(valley((0.3, -1.5)), Constant(jnp.asarray(ETA)))
    _, state = follow(RodFlow, dynamics.objective, ETA, 5)
    turned = eqx.tree_at(lambda s: s.extent, state, -state.extent)
    step = eqx.filter_jit(dynamics.step)
    one, other = (step(s, jnp.asarray(5))[0] for s in (state, turned))
    np.testing.assert_allclose(one.center, other.center, rtol=1e-12)
    np.testing.assert_allclose(one.extent, other.extent, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_both_follow_a_network_where_gradient_flow_cannot():
    """Half of gradient flow's error: one oscillation is modelled, and more than one mode comes to the edge here."""
    network, tuner = eos.objectives.mlp(eos.data.digits(100), width=8, init_scale=0.5), Constant(1.5)
    experiment = eos.simulate(network, tuner, 300, progress=False)
    errors = {}
    for theory in ("edge-flow", "rod-flow", "gradient-flow"):
        predicted = eos.predict(network, tuner, 300, theory=theory, progress=False)
        assert int(predicted.status) == Status.OK
        errors[theory] = eos.measures.log_error(experiment.sharpness, predicted.sharpness)
    assert max(errors["edge-flow"], errors["rod-flow"]) < 0.5 * errors["gradient-flow"]


@pytest.mark.parametrize("theory", ["edge-flow", "rod-flow"])
def test_several_runs_are_one_call_and_agree_with_each_alone(theory):
    floor = valley((0.1, -3.0))
    both = eos.predict(floor, Constant(jnp.array([0.12, ETA])), 60, theory=theory, progress=False)
    alone = eos.predict(floor, Constant(ETA), 60, theory=theory, progress=False)
    for name in ("loss", "sharpness", "amplitude"):
        np.testing.assert_allclose(both[name].isel(tuner_step=1), alone[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("theory", BOTH)
def test_single_precision_stays_single(theory):
    floor = valley(jnp.array([0.1, -3.0], jnp.float32))
    rows, _ = follow(theory, floor, jnp.float32(ETA), 300)
    assert all(rows[name].dtype == np.float32 for name in ("loss", "sharpness", "amplitude"))
    np.testing.assert_allclose(rows["sharpness"][-1], 20, rtol=0.05)


@pytest.mark.parametrize("theory", BOTH)
def test_without_positive_curvature_they_say_so(theory):
    ridge = eos.objective(lambda w: -0.5 * jnp.sum(w**2), jnp.ones(3))
    progress = run(theory(ridge, Constant(jnp.asarray(ETA))), ridge.initial(), 5)
    assert int(progress.carry.status) == Status.OUT_OF_RANGE


@pytest.mark.parametrize(("field", "value"), [("rods", 0), ("substeps", 1)])
def test_bad_counts_are_refused(field, value):
    with pytest.raises(ValueError, match=f"RodFlow: {field} must"):
        RodFlow(valley((0.1, -3.0)), Constant(ETA), **{field: value})
