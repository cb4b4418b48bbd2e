"""The central flow against closed forms, the slow flow, gradient flow, a dense integrator and a network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize, nnls

import eosmodel as eos
from eosmodel._status import Status
from eosmodel.objectives import DiagonalQuadratic, Valley
from eosmodel.simulation import run
from eosmodel.theory import (
    CentralFlow,
    FastMap,
    GradientFlow,
    SlowFlow,
    SlowRegime,
    ValleyClosure,
    averages,
    central_flow,
)
from eosmodel.theory.central_flow import _rests
from eosmodel.theory.complementarity import nonnegative, semidefinite, symmetric_basis
from eosmodel.tuners import CDAT, Armijo, Constant, Polyak, ScalarRMSProp

pytestmark = pytest.mark.usefixtures("lightly_compiled")
STEPS = 200


def valley(mu=(0.02, 0.01), start=(0.0, -5.0, 0.0)):
    return Valley(30.0, 4.0, jnp.array([1.0, 0.0]), jnp.asarray(mu), jnp.asarray(start))


def central(objective, tuner, steps=STEPS, modes=1):
    return run(CentralFlow(objective, jax.tree.map(jnp.asarray, tuner), modes), objective.initial(), steps)


def test_a_constant_step_settles_at_the_edge_and_at_what_self_stabilisation_holds():
    """λ = 2/η, and x² = 2α/β at the α of the moment: z, and with it α, stand still."""
    floor = valley(start=(0.0, -6.0, 0.0))
    rows = central(floor, Constant(0.1)).rows
    last = rows["sharpness"].size // 2
    np.testing.assert_allclose(rows["sharpness"][last:], 20.0, rtol=1e-9)
    # λ = 20 there is z = −5, α = −√b μ z = 0.2.
    np.testing.assert_allclose(rows["amplitude"][last:, 0] ** 2, 2 * 0.2 / 4.0, rtol=1e-6)
    np.testing.assert_allclose(rows["loss"] - rows["center_loss"], 10 * rows["amplitude"][:, 0] ** 2, rtol=1e-3)


@pytest.mark.parametrize(
    ("tuner", "regime"),
    [
        (Constant(0.1), SlowRegime.PINNED),
        (CDAT(1.5, eps=0.0), SlowRegime.CLAMPED),
        (CDAT(2.0, eps=0.0), SlowRegime.NEUTRAL),
    ],
)
def test_on_a_valley_it_is_the_slow_flow(tuner, regime):
    """Two ways to average the same dynamics. On the way to the balance, which takes some steps, they differ by what
    those do to λ, and that falls with μ at an equal slow time."""
    errors = []
    for factor in (1,) if regime is SlowRegime.PINNED else (1, 2):
        floor = valley((0.02 / factor, 0.01 / factor), (0.05, -5.2, 0.0))
        rows = central(floor, tuner, STEPS * factor).rows
        slow = SlowFlow(tuner, ValleyClosure(floor)).solve(STEPS * factor, save_every=STEPS // 20)
        at = np.flatnonzero((slow.regime == regime) & (slow.time >= 50 * factor) & (slow.time < STEPS * factor))
        ours = np.stack([rows["sharpness"], rows["stepsize"], rows["amplitude"][:, 0] ** 2])
        theirs = np.stack([slow.sharpness, slow.stepsize, slow.oscillation])
        assert at.size > 10
        errors.append(np.max(np.abs(np.log(ours[:, slow.time[at].astype(int)] / theirs[:, at])), axis=1))
    if regime is SlowRegime.PINNED:
        np.testing.assert_allclose(errors[0], 0, atol=1e-9)
    else:
        assert (errors[0] < [1e-3, 2e-3, 2e-2]).all()
        assert (errors[1] < errors[0]).all()


def test_below_the_edge_it_is_gradient_flow():
    bowl = DiagonalQuadratic(jnp.linspace(0.1, 3.0, 10))
    flow = GradientFlow(bowl, Constant(jnp.asarray(0.6)))
    rows, theirs = central(bowl, Constant(0.6), 50, modes=3).rows, run(flow, bowl.initial(), 50).rows
    for name in ("loss", "stepsize", "sharpness"):
        np.testing.assert_allclose(rows[name], theirs[name], rtol=1e-12)
    assert not rows["amplitude"].any()


def test_two_modes_at_the_edge_hold_each_other():
    """Two sharp directions over one bulk, at the edge together: ½ B X = α with the full matrix B of both."""
    slopes, mu = jnp.array([[2.0, 0.5], [0.5, 2.0]]), jnp.array([0.01, 0.01])

    def loss(w):
        x, z = w[:2], w[2:]
        return 0.5 * jnp.sum((30.0 + slopes @ z) * x**2) + 0.5 * jnp.sum(mu * z**2)

    start = jnp.array([0.0, 0.0, -4.3, -4.5])
    rows = central(eos.objective(loss, start), Constant(0.1), 600, modes=2).rows
    np.testing.assert_allclose(rows["eigenvalues"][-1], 20.0, rtol=1e-6)
    z = np.linalg.solve(slopes, [-10.0, -10.0])
    expected = np.linalg.solve(0.5 * slopes @ slopes.T, -slopes @ (mu * z))
    np.testing.assert_allclose(rows["amplitude"][-1] ** 2, expected, rtol=1e-5)


def test_complementarity_is_nonnegative_least_squares():
    """With B = AᵀA and q = Aᵀb it is the optimality condition of min ‖Ax − b‖, x ≥ 0."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.normal(size=(5, 4)), rng.normal(size=5)
        found, miss = nonnegative(jnp.asarray(a.T @ a))(jnp.asarray(a.T @ b))
        np.testing.assert_allclose(found, nnls(a, b)[0], atol=1e-10)
        assert miss < 1e-10


@pytest.mark.parametrize("modes", [1, 2, 3, 5])
def test_semidefinite_complementarity_is_a_least_squares_problem_over_products(modes):
    """X minimises ½⟨X, B[X]⟩ − ⟨q, X⟩ over X = YYᵀ; scipy finds Y, whose square matrices leave no other minimum."""
    rng, basis = np.random.default_rng(modes), symmetric_basis(modes)
    solve = jax.jit(semidefinite)
    for _ in range(6):
        rows = rng.normal(size=(len(basis), len(basis) + 3))
        gram, q = rows @ rows.T, rng.normal(size=(modes, modes))
        q = 5 * (q + q.T)

        def form(y, gram=gram, q=q):
            y = y.reshape(modes, modes)
            x = np.einsum("nij,ij->n", basis, y @ y.T)
            slope = np.einsum("nij,n->ij", basis, gram @ x) - q
            return 0.5 * x @ gram @ x - np.sum(q * (y @ y.T)), 2 * (slope @ y).ravel()

        best = minimize(form, rng.normal(size=modes**2), jac=True, method="BFGS", options={"gtol": 1e-9})
        root = best.x.reshape(modes, modes)
        found, turn, miss = solve(jnp.asarray(gram), jnp.asarray(q))
        np.testing.assert_allclose(found, root @ root.T, atol=1e-5)
        left = np.einsum("nij,n->ij", basis, gram @ np.einsum("nij,ij->n", basis, found)) - q
        assert np.linalg.eigvalsh(left)[0] > -1e-6
        np.testing.assert_allclose(found @ left, 0, atol=1e-6)
        across = turn.T @ found @ turn
        np.testing.assert_allclose(across, np.diag(np.diag(across)), atol=1e-6)
        assert miss < 1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_semidefinite_complementarity_where_pairs_depend_on_each_other(dtype):
    """Made from a solution, with fewer independent gradients than pairs and scales a decade apart. X is then not the
    only one, but B[X] is; and without a solution it says so."""
    rng, basis = np.random.default_rng(0), symmetric_basis(3)
    solve = jax.jit(semidefinite)
    for _ in range(40):
        rows = rng.normal(size=(6, rng.integers(1, 6))) * 10 ** rng.uniform(-0.5, 0.5, size=(6, 1))
        turn, rank = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.integers(0, 4)
        sizes = np.exp(rng.normal(size=3)) * np.where(np.arange(3) < rank, 1, -1)
        x = np.einsum("nij,ij->n", basis, (turn * np.maximum(sizes, 0)) @ turn.T)
        q = np.einsum("nij,n->ij", basis, rows @ (rows.T @ x)) - (turn * np.maximum(-sizes, 0)) @ turn.T
        found, _, miss = solve(jnp.asarray(rows @ rows.T, dtype), jnp.asarray(q, dtype))
        # What the flow asks for.
        assert float(miss) < 1e-3 * np.abs(q).max()
        moved = rows.T @ np.einsum("nij,ij->n", basis, found)
        np.testing.assert_allclose(moved, rows.T @ x, atol=1e-2 * np.abs(rows.T @ x).max() + 1e-3)
    _, _, miss = solve(jnp.zeros((6, 6), dtype), jnp.eye(3, dtype=dtype))
    assert not float(miss) < 1e-3


def coupled():
    """Two sharp directions whose curvature, off-diagonal part included, is set by three bulk ones, f = ½ x·H(z)x + ½ Σ
    μ_j z_j², H(z) = H_0 + Σ_j z_j M_j; with the z at which H = 20 and the X = ⟨xxᵀ⟩ that holds it there, ⟨M_j, X⟩ =
    −2μ_j z_j."""
    base, mu = np.array([[30.0, 3.0], [3.0, 30.0]]), np.array([0.01, 0.01, 0.005])
    bends = np.array([[[2.0, 0], [0, 0.5]], [[0.5, 0], [0, 2.0]], [[0, 1.0], [1.0, 0]]])
    columns = bends[:, [0, 1, 0], [0, 1, 1]]
    z = np.linalg.solve(columns.T, [-10.0, -10.0, -3.0])
    x11, x22, x12 = np.linalg.solve(columns * [1, 1, 2], -2 * mu * z)

    def curvature(z):
        return base + jnp.einsum("j,jab->ab", z, bends)

    def loss(w):
        return 0.5 * w[:2] @ curvature(w[2:]) @ w[:2] + 0.5 * jnp.sum(mu * w[2:] ** 2)

    return loss, z, np.array([[x11, x12], [x12, x22]])


def test_two_modes_coupled_off_the_diagonal_hold_each_other():
    loss, z, covariance = coupled()
    start = jnp.array([0.0, 0.0, -4.3, -4.5, -3.4])
    progress = central(eos.objective(loss, start), Constant(0.1), 800, modes=2)
    state = progress.carry.state
    np.testing.assert_allclose(state.center[2:], z, rtol=1e-5)
    turned = state.pairs.vectors.T @ state.covariance @ state.pairs.vectors
    np.testing.assert_allclose(turned[:2, :2], covariance, rtol=1e-3)
    assert covariance[0, 1] > 0.4 * covariance[0, 0]
    # It does not chatter from one direction to another: every eigenvalue stays.
    np.testing.assert_allclose(progress.rows["eigenvalues"][-200:], 20, rtol=1e-6)


def test_descent_has_the_covariance_of_the_central_flow():
    """⟨xxᵀ⟩ of gradient descent itself, over many of its rotations, started from another place."""
    loss, z, covariance = coupled()
    slope = jax.grad(loss)

    def step(w, _):
        w = w - 0.1 * slope(w)
        return w, (jnp.outer(w[:2], w[:2]), w[2:])

    seen, middle = jax.lax.scan(step, jnp.array([0.02, -0.01, -4.3, -4.5, -3.4]), None, length=60000)[1]
    np.testing.assert_allclose(np.mean(seen[20000:], axis=0), covariance, rtol=0.02)
    np.testing.assert_allclose(np.mean(middle[20000:], axis=0), z, rtol=0.01)


def small():
    """A regression network of 12 weights, and a start for it."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(12, 2)))
    y = jnp.sin(2 * x[:, 0]) + 0.5 * x[:, 1]

    def loss(w):
        return 0.5 * jnp.mean((jnp.tanh(x @ w[:8].reshape(2, 4)) @ w[8:] - y) ** 2)

    return loss, 0.3 * rng.normal(size=12)


def test_a_constant_step_follows_the_central_flow_of_a_dense_integrator():
    """The flow of one critical mode in its textbook form, with nothing projected and nothing solved along modes: the
    whole Hessian, ∇λ by differences of its top eigenvalue, eight Euler steps to one."""
    loss, start = small()
    eta, steps, parts, width = 0.8, 200, 8, 1e-4
    hessians = jax.jit(jax.vmap(jax.hessian(loss)))
    slope = jax.jit(jax.grad(loss))
    moves = width * np.concatenate([np.zeros((1, 12)), np.eye(12), -np.eye(12)])
    w, h, seen = start.copy(), eta / parts, []
    for i in range(steps * parts):
        top = np.linalg.eigvalsh(np.asarray(hessians(jnp.asarray(w + moves))))[:, -1]
        rise, gradient = (top[1:13] - top[13:]) / (2 * width), np.asarray(slope(jnp.asarray(w)))
        square = max(0.0, 2 / (h * (rise @ rise)) * (top[0] - h * (gradient @ rise) - 2 / eta))
        if i % parts == 0:
            seen.append((top[0], square, float(loss(jnp.asarray(w)))))
        w = w - h * (gradient + 0.5 * square * rise)
    top, square, floor = np.array(seen).T
    rows = central(eos.objective(loss, jnp.asarray(start)), Constant(eta), steps, modes=3).rows
    # Past the approach, where the integrator's flow is exact in time and ours takes steps as descent does.
    np.testing.assert_allclose(rows["sharpness"][60:], top[60:], rtol=1e-3)
    np.testing.assert_allclose(rows["amplitude"][60:, 0] ** 2, square[60:], rtol=0.02)
    np.testing.assert_allclose(rows["center_loss"][60:], floor[60:], rtol=0.01)


@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_scalar_rmsprop_follows_the_published_flow(decay):
    """w and ν as Cohen, Damian et al. have them, with k = (1 − β₂)/β₂: dw/dt = −η(∇L + ½σ²∇λ),
    dν/dt = k(‖∇L‖² + σ²λ² − ν), η = step/√ν, σ² = 0 below the edge and from d(ηλ)/dt = 0 at it; with the whole Hessian
    and third derivative, by an adaptive integrator. The correction of ν for its start makes ν/q of ν, dq/dt = k(1 − q).
    """
    loss, start = small()
    step, steps, k = 0.1, 150, (1 - decay) / decay
    derivatives = jax.jit(
        lambda w: (loss(w), jax.grad(loss)(w), jax.hessian(loss)(w), jax.jacfwd(jax.hessian(loss))(w))
    )

    def look(y):
        value, gradient, hessian, third = map(np.asarray, derivatives(jnp.asarray(y[:12])))
        values, vectors = np.linalg.eigh(hessian)
        top, u, nu, weight = values[-1], vectors[:, -1], y[12], y[13]
        rise, eta, square = np.einsum("i,ijk,j", u, third, u), step / np.sqrt(nu / weight), gradient @ gradient
        # d ln λ/dt − ½ d ln(ν/q)/dt = without − σ²·each
        without = -eta * (rise @ gradient) / top - 0.5 * k * (square / nu - 1 / weight)
        each = eta * (rise @ rise) / (2 * top) + 0.5 * k * top**2 / nu
        return value, gradient, top, rise, eta, without, each

    def velocity(edge):
        def at(_, y):
            _, gradient, top, rise, eta, without, each = look(y)
            # The logarithm keeps ηλ at 2 against the errors of the integrator.
            sigma2 = max(0.0, (without + 0.5 * np.log(eta * top / 2)) / each) if edge else 0.0
            force, kick = gradient + 0.5 * sigma2 * rise, gradient @ gradient + sigma2 * top**2
            return np.concatenate([-eta * force, [k * (kick - y[12]), k * (1 - y[13])]])

        return at

    def reached(_, y):
        return look(y)[4] * look(y)[2] - 2

    reached.terminal = True
    gradient = np.asarray(jax.grad(loss)(jnp.asarray(start)))
    # Row 0 has one update of ν behind it.
    y = np.concatenate([start, (1 - decay) * np.array([gradient @ gradient, 1.0])])
    times, options = np.arange(steps), {"rtol": 1e-6, "atol": 1e-9}
    below = solve_ivp(velocity(False), (0, steps), y, events=reached, **options)
    moment = below.t[-1]
    rest = times[times > moment]
    edge = solve_ivp(velocity(True), (moment, steps), below.y[:, -1], t_eval=rest, **options)
    seen = [look(y) for y in edge.y.T]
    value, top, eta = (np.array([row[i] for row in seen]) for i in (0, 2, 4))
    sigma2 = np.array([row[5] / row[6] for row in seen])
    assert (sigma2 > 0).all()
    np.testing.assert_allclose(eta * top, 2, rtol=1e-3)

    rows = central(eos.objective(loss, jnp.asarray(start)), ScalarRMSProp(step, decay, eps=0.0), steps, modes=3).rows
    # Ours takes steps as descent does, and one of them changes η and λ by a per cent or two.
    late = slice(rest[0] + 10, None)
    np.testing.assert_allclose(rows["sharpness"][late], top[10:], rtol=0.02)
    np.testing.assert_allclose(rows["stepsize"][late], eta[10:], rtol=0.02)
    np.testing.assert_allclose(rows["center_loss"][late], value[10:], rtol=0.02)
    np.testing.assert_allclose(rows["amplitude"][late, 0] ** 2, sigma2[10:], rtol=0.02)
    # A memory that had come to rest would hold x² ≤ (step/2)² only.
    if decay == 0.99:
        assert (sigma2[10:20] > 1.5 * (step / 2) ** 2).all()


@pytest.mark.parametrize(("c", "stable"), [(0.35, True), (0.6, False)])
def test_a_rule_beyond_its_flip_is_averaged_and_a_stable_one_is_not(c, stable):
    """Polyak's balance has the multiplier 1/c − 3 for large A, so that it flips at c = ½."""
    fast = FastMap(Polyak(c=c), A=200.0)
    balance = fast.init((200.0 - 2 * c) / (2 * c - 0.5))
    np.testing.assert_allclose(jax.jacfwd(fast)(balance), 1 / c - 3, rtol=0.02)
    assert bool(_rests(fast, balance)) == stable


@pytest.mark.slow
def test_it_follows_a_network_where_gradient_flow_cannot():
    network = eos.objectives.mlp(eos.data.digits(200), width=12, init_scale=0.5)
    tuner = Constant(1.5)
    experiment = eos.simulate(network, tuner, 300, progress=False)
    errors = {}
    flows = ("central-flow", "central-flow:stride=4")
    for theory in (*flows, "gradient-flow"):
        predicted = eos.predict(network, tuner, 300, theory=theory, progress=False)
        names = ("sharpness", "loss", "center_loss")
        errors[theory] = np.array([eos.measures.log_error(experiment[n], predicted[n]) for n in names])
        if theory in flows:
            np.testing.assert_allclose(predicted.sharpness[150:], 2 / 1.5, rtol=0.01)
    for theory in flows:
        assert errors[theory][0] < 0.05
        assert (errors[theory] < errors["gradient-flow"]).all()
        assert errors[theory][2] < 0.25 * errors["gradient-flow"][2]


def test_a_look_now_and_then_is_enough_where_the_curvature_is_linear():
    """On a valley H is linear in w̄ and u stands still, so that between looks the flow knows all."""
    objective = valley(start=(0.05, -5.2, 0.0))
    dynamics = {n: CentralFlow(objective, Constant(jnp.asarray(0.1)), 1, stride=n) for n in (1, 5)}
    plain, sparse = (run(flow, objective.initial(), 60).rows for flow in dynamics.values())
    for name in ("loss", "sharpness", "amplitude", "center_loss", "stepsize"):
        np.testing.assert_allclose(sparse[name], plain[name], rtol=1e-9)
    assert (sparse["products"][10:].reshape(-1, 5)[:, 1:] == 0).all()
    assert (np.append(sparse["products"][:10], sparse["products"][10::5]) > 0).all()


def test_a_balance_that_is_not_solved_ends_the_flow_at_that_step_and_keeps_what_came_before(monkeypatch):
    """The floor goes through λ = 2/η where the constant step needs its first balance. The odd window keeps the program
    made with the broken solver from being that of another test."""
    floor = valley(start=(0.0, -6.0, 0.0))
    tuner = jax.tree.map(jnp.asarray, Constant(0.1))
    whole = run(CentralFlow(floor, tuner, 1), floor.initial(), STEPS).rows

    def broken(gram, q):
        solution, turn, _ = semidefinite(gram, q)
        return solution, turn, jnp.full((), jnp.inf, q.dtype)

    monkeypatch.setattr(central_flow, "semidefinite", broken)
    ended = run(CentralFlow(floor, tuner, 1, window=127), floor.initial(), STEPS)
    assert int(ended.carry.status) == int(Status.OUT_OF_RANGE)
    first = int(np.argmax(whole["amplitude"][:, 0] > 0))
    assert 10 < first < STEPS
    assert int(ended.carry.t) == first
    np.testing.assert_array_equal(ended.rows["sharpness"][:first], whole["sharpness"][:first])


def test_several_runs_are_one_call_and_agree_with_each_alone():
    both = eos.predict(valley(), Constant(jnp.array([0.12, 0.1])), 60, theory="central-flow", modes=1, progress=False)
    alone = central(valley(), Constant(0.1), 60).rows
    np.testing.assert_allclose(both.sharpness.isel(tuner_step=1), alone["sharpness"], rtol=1e-9)
    np.testing.assert_allclose(both.loss.isel(tuner_step=1), alone["loss"], rtol=1e-9)


def test_a_search_with_memory_is_averaged_over_in_single_precision():
    floor = Valley(30.0, 4.0, [1.0], [0.01], jnp.array([0.05, -5.2], jnp.float32))
    tuner = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), Armijo())
    progress = run(CentralFlow(floor, tuner, 1), floor.initial(), 100)
    sharpness, stepsize = progress.rows["sharpness"], progress.rows["stepsize"]
    assert sharpness.dtype == np.float32
    w = jnp.concatenate([jnp.zeros(1, jnp.float32), progress.carry.state.center[1:]])
    a = floor.sharpness(w) * floor.loss(w) / floor.bulk_gradient_sq(w)
    fast = FastMap(Armijo(), a, floor.kappa(w), floor.sharpness(w), floor.bulk_gradient_sq(w))
    np.testing.assert_allclose((stepsize * sharpness)[-20:].mean(), averages(fast)[0].s, rtol=0.02)
    # Clamped: λ goes on rising, by what is left of ηα.
    assert (np.diff(sharpness[10:]) > 0).all()


def test_without_positive_curvature_it_says_so():
    ridge = eos.objective(lambda w: -0.5 * jnp.sum(w**2), jnp.ones(3))
    progress = central(ridge, Constant(0.1), 5)
    assert int(progress.carry.status) == int(Status.OUT_OF_RANGE)


@pytest.mark.parametrize("name", ["window", "stride"])
def test_bad_counts_are_refused(name):
    with pytest.raises(ValueError, match=f"CentralFlow: {name} must lie in"):
        CentralFlow(valley(), Constant(0.1), **{name: 0})
    with pytest.raises(ValueError, match="stride must lie in"):
        eos.theory.parse("central-flow:stride=0")


def test_the_command_line_knows_the_stride():
    assert eos.theory.parse("central-flow:stride=4,modes=2") == ("central-flow", {"stride": 4, "modes": 2})
